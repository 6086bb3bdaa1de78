//! Memory-read bandwidth of several threads together.
//!
//! Each thread owns a share of a buffer that is much larger than the caches, in huge pages where the system has them, writes
//! it once (so that every page is a page of its own, on the NUMA node of its thread) and then adds it up in rounds; all
//! threads start a round together; it lasts from the first start to the last end. Bandwidth = bytes of all shares / seconds
//! of the round.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use gristmill_io::memory::Limits;
use gristmill_io::mmap::Block;
use serde::{Deserialize, Serialize};

use super::Processor;
use super::clock::Stretch;
use crate::error::Result;

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
/// Bytes that one step over all accumulators reads.
const LINE: usize = 8 * LANES;
/// What buffers are filled with: pages of zeros could all be the same page.
const WRITTEN: u8 = 0xA5;

impl MemoryTest {
    /// Four times the outermost caches, between 64 and 512 MiB, at most `bytes_max` and a quarter of the memory that is
    /// free and of what the cgroup allows: data that the cache holds must not be driven out. Every training waits for it,
    /// so it is no larger and no longer than a steady figure needs.
    pub fn quick(threads: usize, processor: &Processor, bytes_max: u64) -> MemoryTest {
        let threads = threads.max(1);
        let caches = processor.outer_cache_bytes(threads).unwrap_or(32 << 20);
        let wanted = caches.saturating_mul(4).clamp(64 << 20, 512 << 20);
        let bytes = wanted.min(Limits::now().free_bytes() / 4).min(bytes_max);
        MemoryTest { threads, bytes, rounds: 5 }
    }
}

/// Buffers that are read again and again, to hold each of many measurements against what memory gives at that moment.
#[derive(Debug)]
pub struct MemoryRuler {
    shares: Vec<Block>,
    best: f64,
}

impl MemoryRuler {
    /// Buffers of `bytes` bytes together, one a thread and written by it.
    ///
    /// # Errors
    /// When there is no memory for the buffers.
    pub fn new(threads: usize, bytes: usize) -> Result<MemoryRuler> {
        let mut shares = shares(threads, bytes)?;
        std::thread::scope(|scope| {
            for share in &mut shares {
                scope.spawn(|| share.bytes_mut().fill(WRITTEN));
            }
        });
        Ok(MemoryRuler { shares, best: 0.0 })
    }

    /// Bytes a second of one reading by all threads.
    pub fn read(&mut self) -> f64 {
        let start = Instant::now();
        self.read_all();
        let rate = self.bytes() / start.elapsed().as_secs_f64().max(1e-9);
        self.best = self.best.max(rate);
        rate
    }

    /// The same by the threads' own clocks: what memory gives while other programs have cores of ours.
    pub fn read_running(&mut self) -> f64 {
        let rate = self.bytes() / self.read_all();
        self.best = self.best.max(rate);
        rate
    }

    /// Every share by its thread; the time that the one that ran longest ran.
    fn read_all(&mut self) -> f64 {
        let reader = |share: &mut Block| {
            let stretch = Stretch::start();
            black_box(add_up(black_box(share.bytes_mut())));
            stretch.seconds()
        };
        std::thread::scope(|scope| {
            let readers: Vec<_> = self.shares.iter_mut().map(|share| scope.spawn(move || reader(share))).collect();
            readers.into_iter().filter_map(|reader| reader.join().ok()).fold(1e-9, f64::max)
        })
    }

    fn bytes(&self) -> f64 {
        self.shares.iter().map(Block::len).sum::<usize>() as f64
    }

    /// The best reading so far.
    pub fn best(&self) -> f64 {
        self.best
    }
}

/// A buffer a thread, of `bytes` bytes together, in huge pages where the system has them.
fn shares(threads: usize, bytes: usize) -> Result<Vec<Block>> {
    let threads = threads.max(1);
    let share = (bytes / threads).max(1).next_multiple_of(LINE);
    Ok((0..threads).map(|_| Block::for_long(share)).collect::<gristmill_io::Result<_>>()?)
}

/// Measures; takes about `bytes / 4 GB/s` to write the buffers plus `rounds * bytes / bandwidth`.
///
/// # Errors
/// When there is no memory for the buffers.
pub fn measure(test: &MemoryTest) -> Result<MemoryBandwidth> {
    let threads = test.threads.max(1);
    let blocks = shares(threads, test.bytes as usize)?;
    let bytes: usize = blocks.iter().map(Block::len).sum();
    let barrier = Barrier::new(threads);
    let times: Vec<Vec<(Instant, Instant)>> = std::thread::scope(|scope| {
        let reading = |block| scope.spawn(|| reader(&barrier, block, test.rounds.max(1)));
        let readers: Vec<_> = blocks.into_iter().map(reading).collect();
        readers.into_iter().filter_map(|reader| reader.join().ok()).collect()
    });
    let seconds = |round: usize| {
        let rounds = || times.iter().filter_map(|of_thread| of_thread.get(round));
        let (first, last) = (rounds().map(|(start, _)| *start).min(), rounds().map(|(_, end)| *end).max());
        first.zip(last).map_or(f64::INFINITY, |(first, last)| (last - first).as_secs_f64().max(1e-9))
    };
    let mut rates: Vec<f64> = (0..test.rounds.max(1)).map(|round| bytes as f64 / seconds(round)).collect();
    rates.sort_by(f64::total_cmp);
    Ok(MemoryBandwidth { threads, bytes: bytes as u64, best: rates[rates.len() - 1], median: rates[rates.len() / 2] })
}

/// One thread: writes its buffer, then reads it once a round; start and end of each round. The threads that read take the
/// times: one that only waited for them could come to its clock when they are half through.
fn reader(barrier: &Barrier, mut block: Block, rounds: usize) -> Vec<(Instant, Instant)> {
    block.bytes_mut().fill(WRITTEN);
    let mut round = || {
        barrier.wait();
        let start = Instant::now();
        black_box(add_up(black_box(block.bytes_mut())));
        (start, Instant::now())
    };
    (0..rounds).map(|_| round()).collect()
}

/// The wrapping sum of the words: loads with as little arithmetic as there can be.
fn add_up(bytes: &[u8]) -> u64 {
    let mut lanes = [0_u64; LANES];
    for line in bytes.as_chunks::<8>().0.as_chunks::<LANES>().0 {
        for (lane, word) in lanes.iter_mut().zip(line) {
            *lane = lane.wrapping_add(u64::from_ne_bytes(*word));
        }
    }
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_every_word() {
        let words: Vec<u8> = (0..LANES as u64 * 3).flat_map(u64::to_ne_bytes).collect();
        let last = LANES as u64 * 3 - 1;
        assert_eq!(add_up(&words), last * (last + 1) / 2);
    }

    #[test]
    fn measures_with_any_number_of_threads() {
        for threads in [0, 1, 3] {
            let found = measure(&MemoryTest { threads, bytes: 3 << 20, rounds: 3 }).expect("a few megabytes");
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
