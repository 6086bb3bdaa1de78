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
    /// Of these, bytes to ranks of another node of so many ranks.
    ranks_per_node: usize,
    bytes_abroad: AtomicUsize,
    /// Greatest number of polls that a message is held back.
    lateness: u64,
    random: AtomicU64,
    /// Polls still to be refused, by the stream's next message.
    held: Mutex<Vec<((usize, Tag), u64)>>,
}

impl Counted {
    fn new(inner: ThreadTransport, ranks_per_node: usize, lateness: u64) -> Self {
        let random = AtomicU64::new(inner.rank() as u64 + 1);
        let [messages, bytes, bytes_abroad] = [const { AtomicUsize::new(0) }; 3];
        Self { inner, messages, bytes, ranks_per_node, bytes_abroad, lateness, random, held: Mutex::default() }
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

    fn nodes(&self) -> Vec<usize> {
        (0..self.size()).map(|rank| rank - rank % self.ranks_per_node).collect()
    }

    fn send(&self, to: usize, tag: Tag, message: Vec<u8>) -> Result<()> {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(message.len(), Ordering::Relaxed);
        if to / self.ranks_per_node != self.rank() / self.ranks_per_node {
            self.bytes_abroad.fetch_add(message.len(), Ordering::Relaxed);
        }
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

/// What a rank came to.
struct Summed {
    sum: Vec<i64>,
    messages: usize,
    bytes: usize,
    bytes_abroad: usize,
}

/// Each rank's sum of `length` values, and what it sent.
fn summed(ranks: usize, length: usize, settings: Settings, lateness: u64) -> Vec<Summed> {
    summed_on_nodes(ranks, ranks, length, settings, lateness)
}

fn summed_on_nodes(
    ranks: usize,
    ranks_per_node: usize,
    length: usize,
    settings: Settings,
    lateness: u64,
) -> Vec<Summed> {
    let groups = transports(ranks, None).into_iter().map(|inner| Counted::new(inner, ranks_per_node, lateness));
    let sum = |transport: Counted| {
        let group = Group::new(transport, settings);
        let mut sum: Vec<i64> = (0..length).map(|index| (index * 10 + group.rank()) as i64).collect();
        group.all_reduce(&mut sum).unwrap();
        let counts = group.transport();
        let [messages, bytes, bytes_abroad] =
            [&counts.messages, &counts.bytes, &counts.bytes_abroad].map(|count| count.load(Ordering::Relaxed));
        Summed { sum, messages, bytes, bytes_abroad }
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
                factored_bytes_max: 0,
                factored_in_memory_bytes_max: 0,
                ..Settings::default()
            };
            for (rank, Summed { sum, bytes, .. }) in summed(ranks, length, settings, 0).into_iter().enumerate() {
                assert_eq!(sum, expected(ranks, length));
                let exact = 2 * (ranks - 1) * length * 8;
                let shape = format!("rank {rank} of {ranks}, length {length}");
                assert!((bytes * ranks).abs_diff(exact) <= 2 * 8 * ranks, "{shape}: {bytes} bytes");
                assert!(length % ranks != 0 || bytes * ranks == exact, "{shape}: {bytes} bytes");
            }
        }
    }
}

/// With k ranks on each of M nodes: 2 (N-1)/N of the buffer from a rank as around the ring, and 2 (M-1)/M from all ranks of a
/// node together to other nodes, where the ring sends 2 (N-1)/N from one of them.
#[test]
fn rings_of_nodes_send_the_least_bytes_between_nodes() {
    for (ranks, together) in [(4, 2), (6, 2), (6, 3), (8, 2), (8, 4)] {
        let nodes = ranks / together;
        let length = ranks * ranks * 100;
        let bytes_of = |algorithm| {
            let settings = Settings {
                algorithm,
                chunk_bytes: 1 << 14,
                short_segment_bytes: 0,
                factored_bytes_max: 0,
                factored_in_memory_bytes_max: 0,
                ..Settings::default()
            };
            summed_on_nodes(ranks, together, length, settings, 0)
        };
        let shape = format!("{ranks} ranks, {together} a node");
        for own in bytes_of(Algorithm::Hierarchical) {
            assert_eq!(own.sum, expected(ranks, length));
            assert_eq!(own.bytes * ranks, 2 * (ranks - 1) * length * 8, "{shape}");
            assert_eq!(own.bytes_abroad * together * nodes, 2 * (nodes - 1) * length * 8, "{shape}");
        }
        let abroad: Vec<usize> = bytes_of(Algorithm::Ring).iter().map(|own| own.bytes_abroad).collect();
        assert_eq!(abroad.iter().sum::<usize>() / nodes * ranks, 2 * (ranks - 1) * length * 8, "{shape}");
    }
}

/// Rings of the prime factors of N: no more bytes, and 2 (d-1) messages for every factor d in place of 2 (N-1).
#[test]
fn rings_of_factors_send_fewer_messages_and_no_more_bytes() {
    for (ranks, messages_each) in [(2, 2), (3, 4), (4, 4), (5, 8), (6, 6), (8, 6)] {
        for length in [0, 1, ranks * ranks * 10, 1001] {
            let settings = Settings {
                algorithm: Algorithm::Ring,
                short_segment_bytes: 0,
                factored_bytes_max: usize::MAX,
                ..Settings::default()
            };
            for Summed { sum, messages, bytes, .. } in summed(ranks, length, settings, 0) {
                assert_eq!(sum, expected(ranks, length));
                let columns = usize::from(length > 0);
                assert_eq!(messages, messages_each * columns, "{ranks} ranks, length {length}");
                // Each message may be an element longer than its share.
                let exact = 2 * (ranks - 1) * length * 8;
                assert!(bytes * ranks <= exact + messages * 8 * ranks, "{ranks} ranks, length {length}: {bytes} bytes");
                assert!(length % (ranks * ranks) != 0 || bytes * ranks == exact, "{ranks} ranks: {bytes} bytes");
            }
        }
    }
}

/// log2 N messages a rank, plus one where N is no power of two.
#[test]
fn the_tree_sends_the_fewest_messages() {
    for (ranks, messages_max) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (8, 3)] {
        let settings = Settings { algorithm: Algorithm::Tree, ..Settings::default() };
        for Summed { sum, messages, .. } in summed(ranks, 3, settings, 0) {
            assert_eq!(sum, expected(ranks, 3));
            assert!(messages <= messages_max, "{messages} messages on {ranks} ranks");
        }
    }
}

#[test]
fn late_messages_change_nothing() {
    let numbers: [(Algorithm, &[usize]); 3] =
        [(Algorithm::Ring, &[2, 3, 5]), (Algorithm::Tree, &[2, 3, 5]), (Algorithm::Hierarchical, &[4])];
    for (algorithm, numbers) in numbers {
        for &ranks in numbers {
            for lateness in [2, 7, 60] {
                let settings = Settings { algorithm, chunk_bytes: 40, short_segment_bytes: 0, ..Settings::default() };
                for Summed { sum, .. } in summed_on_nodes(ranks, 2, 777, settings, lateness) {
                    assert_eq!(sum, expected(ranks, 777), "{algorithm:?}, {ranks} ranks");
                }
            }
        }
    }
}
