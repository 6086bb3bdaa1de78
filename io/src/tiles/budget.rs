//! What stays in memory between passes, and how much may be on its way.
//!
//! ```text
//! budget = resident + window        all fits: resident = everything, window only while it is first read
//!                                   else:     window = budget / 8, at least a grain a worker and two more,
//!                                             at most 128 MiB and a grain a worker
//! ```
//!
//! The resident grains are spread evenly over the others, so that a pass in order computes on them while the disk works
//! on the rest: data of 1.2 times the budget cost 0.2 of the disk time. Where maps are read in huge pages, which hold the end of one grain and
//! the beginning of the next, runs of grains stay, so that few pages hold one that stays and one that goes; the window is a run and a grain a
//! worker.

use crate::dataset::GrainEntry;
use crate::error::{Error, Result};
use crate::manifest::{Column, Kind};
use crate::mmap::{HUGE_PAGE, PAGE};

/// A wider window than this buys nothing: the disk is busy long before.
const WINDOW_BYTES_MAX: u64 = 128 << 20;

/// Grains that stay where maps are in huge pages, and no more than a window, so that the disk does not wait while workers are at them.
const RUN_BYTES: u64 = 32 << 20;

/// How a stream's memory is divided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    /// True for grains that stay in memory once read, in the order of the stream.
    pub resident: Vec<bool>,
    /// Memory of those.
    pub resident_bytes: u64,
    /// Bytes read again in every pass.
    pub streamed_bytes: u64,
    /// Memory for grains on their way.
    pub window_bytes: u64,
}

impl Residency {
    /// Divide `budget` among grains that take `bytes` each when they stay and at most `moving_bytes` on their way, for
    /// `threads` workers.
    ///
    /// # Errors
    /// [`Error::Tight`] when the budget is too small to work at all.
    pub fn of(bytes: &[u64], moving_bytes: u64, budget: u64, threads: usize) -> Result<Residency> {
        let total: u64 = bytes.iter().sum();
        let least = moving_bytes * (threads as u64 + 2);
        if total <= budget {
            let window_bytes = least.max(WINDOW_BYTES_MAX);
            let resident = vec![true; bytes.len()];
            return Ok(Residency { resident, resident_bytes: total, streamed_bytes: 0, window_bytes });
        }
        if least > budget {
            return Err(Error::Tight { left_bytes: budget, least_bytes: least, threads });
        }
        let most = WINDOW_BYTES_MAX + moving_bytes * threads as u64;
        let window_bytes = (budget / 8).min(most).max(least);
        let (resident, resident_bytes) = spread(bytes, budget - window_bytes, 1, 0);
        Ok(Residency { resident, resident_bytes, streamed_bytes: total - resident_bytes, window_bytes })
    }

    /// True where something streams, and what huge pages hold beside the grains on their way is little beside the window.
    pub fn has_room_for_huge_pages(&self) -> bool {
        self.streamed_bytes > 0 && self.window_bytes >= 2 * RUN_BYTES
    }

    /// The same with runs of grains that stay, and a window as long as one: what is read into few pages is read faster.
    pub fn in_runs(self, bytes: &[u64], moving_bytes: u64, budget: u64, threads: usize) -> Residency {
        let threads = threads as u64;
        let most = (RUN_BYTES + moving_bytes * threads).max(moving_bytes * (threads + 2));
        let window_bytes = self.window_bytes.min(most.next_multiple_of(HUGE_PAGE as u64));
        let total: u64 = bytes.iter().sum();
        let run = (RUN_BYTES as f64 * bytes.len() as f64 / total as f64).ceil() as usize;
        // At either end of a run, and of what is on its way.
        let edges = 2 * HUGE_PAGE as u64;
        let room = budget.saturating_sub(window_bytes + edges);
        let (resident, resident_bytes) = spread(bytes, room, run, edges);
        Residency { resident, resident_bytes, streamed_bytes: total - resident_bytes, window_bytes }
    }
}

/// Choose runs of so many grains of at most `room` bytes, evenly: each adds its share to the credit that pays for whole runs, which take
/// `edges` bytes more.
fn spread(bytes: &[u64], room: u64, run: usize, edges: u64) -> (Vec<bool>, u64) {
    let total: u64 = bytes.iter().sum();
    let share = room as f64 / (total + edges * bytes.len().div_ceil(run) as u64) as f64;
    let (mut credit, mut used, mut taken) = (0.0, 0, 0);
    let mut resident = Vec::with_capacity(bytes.len());
    for grains in bytes.chunks(run) {
        let own: u64 = grains.iter().sum();
        credit += (own + edges) as f64 * share;
        let stays = credit >= (own + edges) as f64 && taken + own + edges <= room;
        if stays {
            credit -= (own + edges) as f64;
            taken += own + edges;
            used += own;
        }
        resident.resize(resident.len() + grains.len(), stays);
    }
    (resident, used)
}

/// Memory that the wanted columns of each grain take in a map: their bytes, whole pages at the ends of each run of
/// neighbouring columns, and the views of them. For sparse columns an upper bound: all that the others leave of the body.
pub fn mapped_bytes(columns: &[Column], wanted: &[usize], grains: &[&GrainEntry]) -> Vec<u64> {
    let mut is_wanted = vec![false; columns.len()];
    for &column in wanted {
        is_wanted[column] = true;
    }
    let runs = (0..columns.len()).filter(|&i| is_wanted[i] && (i == 0 || !is_wanted[i - 1])).count() as u64;
    let any_sparse = wanted.iter().any(|&column| columns[column].kind.is_sparse());
    let of_grain = |&grain: &&GrainEntry| {
        let size = |i: usize| row_bytes(&columns[i].kind).saturating_mul(grain.rows as u64).next_multiple_of(64);
        let dense: u64 = (0..columns.len()).map(size).sum();
        let mut bytes: u64 = wanted.iter().map(|&i| size(i)).sum();
        if any_sparse {
            bytes += grain.bytes.saturating_sub(dense);
        }
        bytes + runs * 2 * PAGE as u64 + wanted.len() as u64 * VIEW_BYTES
    };
    grains.iter().map(of_grain).collect()
}

/// Memory of a column's view.
const VIEW_BYTES: u64 = 96;

/// Bytes a row of a column without its sparse entries.
fn row_bytes(kind: &Kind) -> u64 {
    match kind {
        Kind::Numeric { dtype, .. } | Kind::Labels { dtype, .. } => dtype.bytes() as u64,
        Kind::Indicator { .. } => 1,
        Kind::Categorical { .. } | Kind::Hashed { .. } | Kind::Bucketized { .. } => {
            kind.codes().map_or(0, |(bytes, _)| u64::from(bytes))
        }
        Kind::Vector { dtype, width } => dtype.bytes() as u64 * *width as u64,
        Kind::Sparse { .. } | Kind::Text { .. } | Kind::Crossed { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn all_stays_when_all_fits() {
        let residency = Residency::of(&[4 * MIB; 10], 4 * MIB, 40 * MIB, 2).unwrap();
        assert_eq!((residency.resident_bytes, residency.streamed_bytes), (40 * MIB, 0));
        assert!(residency.resident.iter().all(|&stays| stays));
        assert!(Residency::of(&[], 0, 0, 2).unwrap().resident.is_empty());
    }

    #[test]
    fn a_part_stays_evenly_when_not_all_fits() {
        // Budget 1000 MiB for 1200: the window takes 125, so 875 / 1200 of the grains stay.
        let residency = Residency::of(&[4 * MIB; 300], 4 * MIB, 1000 * MIB, 2).unwrap();
        assert_eq!(residency.window_bytes, 125 * MIB);
        assert!(residency.resident_bytes <= 875 * MIB && residency.resident_bytes > 860 * MIB);
        assert_eq!(residency.resident_bytes + residency.streamed_bytes, 1200 * MIB);
        // In any ten grains in a row, seven or eight stay.
        for ten in residency.resident.windows(10) {
            assert!((7..=8).contains(&ten.iter().filter(|&&stays| stays).count()));
        }
    }

    #[test]
    fn memory_is_never_more_than_the_budget() {
        for threads in [1, 2, 64] {
            for budget in [1, 4 * MIB, 12 * MIB, 100 * MIB, 600 * MIB, 1 << 40] {
                let bytes: Vec<u64> = (0..100).map(|i| (i % 5) * MIB + 17).collect();
                match Residency::of(&bytes, 5 * MIB, budget, threads) {
                    Ok(residency) => {
                        let streams = residency.streamed_bytes > 0;
                        let window = if streams { residency.window_bytes } else { 0 };
                        assert!(residency.resident_bytes + window <= budget);
                        assert!(residency.window_bytes >= 5 * MIB * (threads as u64 + 2));
                    }
                    Err(error) => assert!(error.to_string().contains("--memory"), "{error}"),
                }
            }
        }
    }
}
