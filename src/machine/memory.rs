//! Memory-read bandwidth of several threads together.
//!
//! Each thread owns a share of a buffer that is much larger than the caches, writes it once (so that every page is a
//! page of its own, on the NUMA node of its thread) and then adds it up in rounds; all threads start a round together
//! and a round ends with the last. Bandwidth = bytes of all shares / seconds of the round.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use gristmill_io::memory::Limits;
use serde::{Deserialize, Serialize};

use super::Processor;

/// How to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryTest {
    /// Threads that read, at least 1.
    pub threads: usize,
    /// Bytes of the buffers of all threads together.
    pub bytes: u64,
    /// Rounds, at least 1.
    pub rounds: usize,
}

/// Memory-read bandwidth, bytes a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryBandwidth {
    /// Threads that read.
    pub threads: usize,
    /// Bytes read in a round.
    pub bytes: u64,
    /// The fastest round: what the memory can do. The ruler of reports.
    pub best: f64,
    /// The median round: what it did while other programs ran.
    pub median: f64,
}

/// Independent accumulators: eight 16-byte vectors, which hide the latency of an addition and fit every register file.
const LANES: usize = 16;

impl MemoryTest {
    /// Eight times the outermost caches, between 64 and 512 MiB, at most `bytes_max` and a quarter of the memory that is
    /// free and of what the cgroup allows: data that the cache holds must not be driven out.
    pub fn quick(threads: usize, processor: &Processor, bytes_max: u64) -> MemoryTest {
        let threads = threads.max(1);
        let caches = processor.outer_cache_bytes(threads).unwrap_or(32 << 20);
        let wanted = caches.saturating_mul(8).clamp(64 << 20, 512 << 20);
        let limits = Limits::now();
        let free = limits.available_bytes.min(limits.group_bytes.unwrap_or(u64::MAX));
        let bytes = wanted.min(free / 4).min(bytes_max);
        MemoryTest { threads, bytes, rounds: 9 }
    }
}

/// Buffers that are read again and again, to hold each of many measurements against what memory gives at that moment.
#[derive(Debug)]
pub struct MemoryRuler {
    shares: Vec<Vec<u64>>,
    best: f64,
}

impl MemoryRuler {
    /// Buffers of `bytes` bytes together, one a thread and written by it.
    pub fn new(threads: usize, bytes: usize) -> MemoryRuler {
        let threads = threads.max(1);
        let words = (bytes / threads / 8).next_multiple_of(LANES).max(LANES) as u64;
        let shares = std::thread::scope(|scope| {
            let fill = |thread: u64| move || (0..words).map(|word| word ^ thread).collect::<Vec<u64>>();
            let fillers: Vec<_> = (0..threads as u64).map(|thread| scope.spawn(fill(thread))).collect();
            fillers.into_iter().filter_map(|filler| filler.join().ok()).collect()
        });
        MemoryRuler { shares, best: 0.0 }
    }

    /// Bytes a second of one reading by all threads.
    pub fn read(&mut self) -> f64 {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for share in &self.shares {
                scope.spawn(|| black_box(add_up(black_box(share))));
            }
        });
        let bytes: usize = self.shares.iter().map(|share| 8 * share.len()).sum();
        let rate = bytes as f64 / start.elapsed().as_secs_f64().max(1e-9);
        self.best = self.best.max(rate);
        rate
    }

    /// The best reading so far.
    pub fn best(&self) -> f64 {
        self.best
    }
}

/// Measures; takes about `bytes / 2 GB/s` to write the buffers plus `rounds * bytes / bandwidth`.
pub fn measure(test: &MemoryTest) -> MemoryBandwidth {
    let threads = test.threads.max(1);
    let words = (test.bytes as usize / threads / 8).next_multiple_of(LANES).max(LANES);
    let barrier = Barrier::new(threads + 1);
    let mut rates = std::thread::scope(|scope| {
        for thread in 0..threads {
            let barrier = &barrier;
            scope.spawn(move || reader(barrier, words, thread as u64, test.rounds.max(1)));
        }
        barrier.wait();
        let bytes = (words * 8 * threads) as f64;
        (0..test.rounds.max(1)).map(|_| bytes / round(&barrier)).collect::<Vec<f64>>()
    });
    rates.sort_by(f64::total_cmp);
    MemoryBandwidth {
        threads,
        bytes: (words * 8 * threads) as u64,
        best: rates[rates.len() - 1],
        median: rates[rates.len() / 2],
    }
}

/// Starts a round, waits for its end and returns its seconds.
fn round(barrier: &Barrier) -> f64 {
    barrier.wait();
    let start = Instant::now();
    barrier.wait();
    start.elapsed().as_secs_f64().max(1e-9)
}

/// One thread: writes its buffer, then reads it once a round.
fn reader(barrier: &Barrier, words: usize, seed: u64, rounds: usize) {
    let buffer: Vec<u64> = (0..words as u64).map(|word| word ^ seed).collect();
    barrier.wait();
    for _ in 0..rounds {
        barrier.wait();
        black_box(add_up(black_box(&buffer)));
        barrier.wait();
    }
}

/// The wrapping sum of the words: loads with as little arithmetic as there can be.
fn add_up(words: &[u64]) -> u64 {
    let mut lanes = [0_u64; LANES];
    for chunk in words.chunks_exact(LANES) {
        for (lane, word) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_add(*word);
        }
    }
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_every_word() {
        let words: Vec<u64> = (0..LANES as u64 * 3).collect();
        let last = LANES as u64 * 3 - 1;
        assert_eq!(add_up(&words), last * (last + 1) / 2);
    }

    #[test]
    fn measures_with_any_number_of_threads() {
        for threads in [0, 1, 3] {
            let found = measure(&MemoryTest { threads, bytes: 3 << 20, rounds: 3 });
            assert_eq!(found.threads, threads.max(1));
            assert!(found.bytes >= 3 << 20 && found.bytes < 4 << 20, "{found:?}");
            // From a tenth of a gigabyte a second (a loaded machine) to a cache that serves a thousand.
            assert!(found.median > 1e8 && found.best < 1e13 && found.best >= found.median, "{found:?}");
        }
    }

    #[test]
    fn quick_is_much_larger_than_the_caches_and_bounded() {
        let test = MemoryTest::quick(2, &super::super::processor(), u64::MAX);
        assert!(test.bytes <= 512 << 20 && test.threads == 2);
    }
}
