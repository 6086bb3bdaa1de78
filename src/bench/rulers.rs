//! What does the machine give right now? Every run of a case lies between two readings of this.
//!
//! A case is held against all rulers that could bound it, since the resources of a machine drift apart: a neighbour that reads
//! much slows memory and leaves the clock alone, a warm processor the other way round. The share that is reported is
//! that of the lower ceiling (the roofline: the greater of the two shares); the guard looks at both.

use gristmill_kernels::Tier;
use serde::{Deserialize, Serialize};

use super::median;
use crate::machine::fma;
use crate::machine::memory::MemoryRuler;

/// What a case is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ruler {
    /// Memory-read bandwidth of all threads.
    Memory,
    /// Peak of multiply-adds of all threads, of the case's tier and type.
    MultiplyAdds,
    /// Direct reads of the same files.
    Disk,
}

impl Ruler {
    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Ruler::Memory => "memory",
            Ruler::MultiplyAdds => "multiply-adds",
            Ruler::Disk => "disk",
        }
    }
}

/// The share of a ruler that a case reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The ruler.
    pub ruler: Ruler,
    /// The median: over the rounds of a run, or the runs of a record.
    pub share: f64,
    /// How far the lowest of them is below the median, as a part of it.
    pub spread: f64,
}

impl Held {
    /// Of the shares of several rounds or runs.
    pub fn of(ruler: Ruler, shares: Vec<f64>) -> Held {
        let lowest = shares.iter().copied().fold(f64::INFINITY, f64::min);
        let share = median(shares);
        Held { ruler, share, spread: if share > 0.0 { (1.0 - lowest / share).max(0.0) } else { 0.0 } }
    }
}

/// One reading.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Bytes a second, or multiply-adds a second.
    pub rate: f64,
    /// Of what.
    pub ruler: Ruler,
}

/// The rulers of cases that compute on what is in memory.
#[derive(Debug)]
pub struct Rulers<'a> {
    memory: &'a mut MemoryRuler,
    threads: usize,
}

impl<'a> Rulers<'a> {
    /// For cases of so many threads.
    pub fn new(memory: &'a mut MemoryRuler, threads: usize) -> Rulers<'a> {
        Rulers { memory, threads }
    }

    /// Memory, and the multiply-adds of a tier in `f64` (`wide`) or `f32`, by the threads' own clocks.
    pub fn read(&mut self, tier: Tier, wide: bool) -> [Reading; 2] {
        // A multiply-add is two operations.
        let peak = if wide { fma::peak::<f64>(tier, self.threads) } else { fma::peak::<f32>(tier, self.threads) } / 2.0;
        let memory = Reading { rate: self.memory.read_running(), ruler: Ruler::Memory };
        [memory, Reading { rate: peak, ruler: Ruler::MultiplyAdds }]
    }

    /// What a case could have had between two readings: others only ever slow a reading, so the better of each.
    pub fn between(before: [Reading; 2], after: [Reading; 2]) -> [Reading; 2] {
        let better = |at: usize| Reading { rate: before[at].rate.max(after[at].rate), ruler: before[at].ruler };
        [better(0), better(1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_medians_and_spreads_reach_down_to_the_lowest() {
        assert_eq!(
            Held::of(Ruler::Memory, vec![0.5, 0.8, 0.4, 0.9, 0.8]),
            Held { ruler: Ruler::Memory, share: 0.8, spread: 0.5 }
        );
        assert_eq!(Held::of(Ruler::Disk, Vec::new()).spread, 0.0);
    }

    #[test]
    fn both_rulers_give_something_and_the_better_reading_counts() {
        let mut memory = MemoryRuler::new(1, 1 << 20).unwrap();
        let [bytes, adds] = Rulers::new(&mut memory, 1).read(Tier::best(), false);
        assert!(bytes.rate > 0.0 && adds.rate > 0.0 && bytes.ruler == Ruler::Memory);
        let of = |rate| Reading { rate, ruler: Ruler::Memory };
        let [first, second] = Rulers::between([of(1.0), of(4.0)], [of(2.0), of(3.0)]);
        assert_eq!([first.rate, second.rate], [2.0, 4.0]);
    }
}
