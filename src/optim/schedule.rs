//! Samples of the rows, small to all: a solver that starts far away learns most of the way from few rows.
//!
//! A sample is every k-th grain, or every k-th tile of every grain where there are few: a function of the dataset's layout alone. The minimiser of a sample of n rows
//! misses the minimum of all rows by about p / (2 n) of the loss, so steps on a sample stop paying near that gap. What is learnt
//! from samples is only where to start: the stopping rule always reads all rows.

use serde::{Deserialize, Serialize};

use super::second_order::Problem;

/// Fewest rows of a sample.
const ROWS_MIN: u64 = 8_192;
/// Fewest rows a parameter of a sample.
const ROWS_PER_PARAMETER: u64 = 64;
/// A sample below the whole is never more than this part of it.
const LARGEST: u32 = 8;

/// Every `every`-th grain, or tile of every grain; 1 is all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// At least 1.
    pub every: u32,
}

impl Sample {
    /// All rows.
    pub const ALL: Sample = Sample { every: 1 };

    /// True for all rows.
    pub fn is_all(self) -> bool {
        self.every == 1
    }
}

/// The samples that a solver goes through, the last of them all rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    samples: Vec<Sample>,
    at: usize,
    rows: u64,
    parameters: u64,
    /// Passes over the sample in use.
    #[serde(default)]
    passes: u32,
}

impl Schedule {
    /// The samples for a problem of that size.
    pub fn new(rows: u64, parameters: usize) -> Schedule {
        let parameters = parameters as u64 + 1;
        let smallest = ROWS_MIN.max(ROWS_PER_PARAMETER * parameters);
        let samples = [LARGEST * 8, LARGEST, 1]
            .into_iter()
            .filter(|&every| every == 1 || rows / u64::from(every) >= smallest)
            .map(|every| Sample { every })
            .collect();
        Schedule { samples, at: 0, rows, parameters, passes: 0 }
    }

    /// All rows from the start.
    pub fn whole() -> Schedule {
        Schedule { samples: vec![Sample::ALL], at: 0, rows: 0, parameters: 0, passes: 0 }
    }

    /// The sample in use.
    pub fn sample(&self) -> Sample {
        self.samples[self.at]
    }

    /// Gap, as a share of the objective, at which the sample in use has told what it can: a tenth of p / (2 n).
    pub fn gap(&self) -> f64 {
        0.05 * self.parameters as f64 / self.sample_rows()
    }

    /// Rows of the sample in use, about.
    pub fn sample_rows(&self) -> f64 {
        (self.rows / u64::from(self.sample().every)).max(1) as f64
    }

    /// A pass over the sample in use was made.
    pub fn count(&mut self) {
        self.passes = self.passes.saturating_add(1);
    }

    /// True when a sample has had as many passes as all rows may have at most, or an unpenalised loss that has no minimum there.
    pub fn is_spent(&self, problem: &Problem, loss: f64) -> bool {
        let limits = &problem.limits;
        self.passes >= limits.passes_max || (problem.penalty.is_none() && limits.is_separated(loss))
    }

    /// Go on to the next sample.
    pub fn advance(&mut self) {
        self.passes = 0;
        self.at = (self.at + 1).min(self.samples.len() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_grow_to_all_rows() {
        let mut schedule = Schedule::new(1_000_000, 28);
        let mut seen = vec![schedule.sample().every];
        while !schedule.sample().is_all() {
            schedule.advance();
            seen.push(schedule.sample().every);
        }
        assert_eq!(seen, [64, 8, 1]);
        assert!(Schedule::new(10_000, 3).sample().is_all());
        assert!(Schedule::new(1_000_000, 100_000).sample().is_all());
    }
}
