//! What the algorithms put on the wire, counted; and messages that come late or not in the order of the streams.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use mpi_launch::threads::{ThreadTransport, transports};
use mpi_launch::{Algorithm, Communicator, Group, Result, Settings, Tag, Transport};

/// Counts what a rank sends, and hides each message from the first few polls.
struct Counted {
    inner: ThreadTransport,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// Greatest number of polls that a message is held back.
    lateness: u64,
    random: AtomicU64,
    /// Polls still to be refused, by the stream's next message.
    held: Mutex<Vec<((usize, Tag), u64)>>,
}

impl Counted {
    fn new(inner: ThreadTransport, lateness: u64) -> Self {
        let random = AtomicU64::new(inner.rank() as u64 + 1);
        let (messages, bytes, held) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::default());
        Self { inner, messages, bytes, lateness, random, held }
    }

    /// Whether this poll is refused.
    fn late(&self, from: usize, tag: Tag) -> bool {
        if self.lateness == 0 {
            return false;
        }
        let mut held = self.held.lock().unwrap();
        match held.iter_mut().find(|(stream, _)| *stream == (from, tag)) {
            Some((_, 0)) => {
                held.retain(|(stream, _)| *stream != (from, tag));
                false
            }
            Some((_, polls)) => {
                *polls -= 1;
                true
            }
            None => {
                let next = self.random.load(Ordering::Relaxed).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                self.random.store(next, Ordering::Relaxed);
                held.push(((from, tag), (next >> 33) % self.lateness));
                true
            }
        }
    }
}

impl Transport for Counted {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn send(&self, to: usize, tag: Tag, message: Vec<u8>) -> Result<()> {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(message.len(), Ordering::Relaxed);
        self.inner.send(to, tag, message)
    }

    fn expect(&self, from: usize, tag: Tag, bytes: usize) -> Result<()> {
        self.inner.expect(from, tag, bytes)
    }

    fn poll(&self, from: usize, tag: Tag) -> Result<Option<Vec<u8>>> {
        if self.late(from, tag) { Ok(None) } else { self.inner.poll(from, tag) }
    }

    fn sent(&self, operation: u32) -> Result<bool> {
        self.inner.sent(operation)
    }

    fn arrivals(&self) -> u64 {
        self.inner.arrivals()
    }

    fn pause(&self, seen: u64, idle: u32) {
        if self.lateness == 0 {
            self.inner.pause(seen, idle);
        } else {
            std::thread::yield_now();
        }
    }

    fn buffer(&self, bytes: usize) -> Vec<u8> {
        self.inner.buffer(bytes)
    }

    fn recycle(&self, buffer: Vec<u8>) {
        self.inner.recycle(buffer);
    }

    fn set_patience(&self, patience: Option<Duration>) {
        self.inner.set_patience(patience);
    }

    fn patience(&self) -> Option<Duration> {
        self.inner.patience()
    }

    fn abort(&self, message: &str, exit_code: i32) {
        self.inner.abort(message, exit_code);
    }
}

/// Each rank's sum of `length` values, messages sent and bytes sent.
fn summed(ranks: usize, length: usize, settings: Settings, lateness: u64) -> Vec<(Vec<i64>, usize, usize)> {
    let groups = transports(ranks, None).into_iter().map(|inner| Counted::new(inner, lateness));
    let sum = |transport: Counted| {
        let group = Group::new(transport, settings);
        let mut sum: Vec<i64> = (0..length).map(|index| (index * 10 + group.rank()) as i64).collect();
        group.all_reduce(&mut sum).unwrap();
        let counts = group.transport();
        (sum, counts.messages.load(Ordering::Relaxed), counts.bytes.load(Ordering::Relaxed))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = groups.map(|transport| scope.spawn(|| sum(transport))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn expected(ranks: usize, length: usize) -> Vec<i64> {
    (0..length).map(|index| (ranks * index * 10 + ranks * (ranks - 1) / 2) as i64).collect()
}

/// 2 (N-1)/N of the buffer where N divides it; elsewhere a rank's two skipped segments may be one element shorter.
#[test]
fn the_ring_sends_the_least_bytes_an_all_reduce_can() {
    for ranks in [1, 2, 3, 4, 5, 8] {
        for length in [0, 1, ranks * 1000, ranks * 1000 + 1, 12_345] {
            let settings = Settings {
                algorithm: Algorithm::Ring,
                chunk_bytes: 4096,
                short_segment_bytes: 0,
                ..Settings::default()
            };
            for (rank, (sum, _, bytes)) in summed(ranks, length, settings, 0).into_iter().enumerate() {
                assert_eq!(sum, expected(ranks, length));
                let exact = 2 * (ranks - 1) * length * 8;
                let shape = format!("rank {rank} of {ranks}, length {length}");
                assert!((bytes * ranks).abs_diff(exact) <= 2 * 8 * ranks, "{shape}: {bytes} bytes");
                assert!(length % ranks != 0 || bytes * ranks == exact, "{shape}: {bytes} bytes");
            }
        }
    }
}

/// log2 N messages a rank, plus one where N is no power of two.
#[test]
fn the_tree_sends_the_fewest_messages() {
    for (ranks, messages_max) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (8, 3)] {
        let settings = Settings { algorithm: Algorithm::Tree, ..Settings::default() };
        for (sum, messages, _) in summed(ranks, 3, settings, 0) {
            assert_eq!(sum, expected(ranks, 3));
            assert!(messages <= messages_max, "{messages} messages on {ranks} ranks");
        }
    }
}

#[test]
fn late_messages_change_nothing() {
    for algorithm in [Algorithm::Ring, Algorithm::Tree] {
        for ranks in [2, 3, 5] {
            for lateness in [2, 7, 60] {
                let settings = Settings { algorithm, chunk_bytes: 40, short_segment_bytes: 0, ..Settings::default() };
                for (sum, _, _) in summed(ranks, 777, settings, lateness) {
                    assert_eq!(sum, expected(ranks, 777), "{algorithm:?}, {ranks} ranks");
                }
            }
        }
    }
}
