//! Which way is fastest between these ranks? A short trial at the start, so that nobody has to know the network.
//!
//! Every way sums slices of growing length in turn, each a few times; what counts is the best time of a rank, and of
//! those the slowest rank's. All ranks see the same numbers, so all decide alike. The trial ends before the next length
//! once it has taken `SECONDS_MAX`; lengths that were not tried keep the default choice.
//!
//! Cost: some tens of milliseconds on one machine, `SECONDS_MAX` and one length more on a slow network.

use std::time::Instant;

use crate::algorithm::{Algorithm, Settings};
use crate::communicator::{Communicator, Result};
use crate::group::Group;
use crate::transport::Transport;

/// Bytes of the slices that are tried.
const LENGTHS: [usize; 6] = [256, 4 << 10, 32 << 10, 256 << 10, 1 << 20, 4 << 20];
/// No longer length is begun after this.
const SECONDS_MAX: f64 = 0.2;
/// The MPI library must beat the ring by so much to get sums of the greatest length tried and beyond: a ring sends the
/// least that any algorithm can, and one measurement is noisy.
const MARGIN: f64 = 1.25;

/// Seconds of a sum by each way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Bytes of the slice.
    pub bytes: usize,
    /// By the tree.
    pub tree: f64,
    /// Around the ring.
    pub ring: f64,
    /// By the MPI library's own `MPI_Allreduce`, where there is one and it may be used.
    pub mpi: Option<f64>,
}

/// What the trial found.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// By length.
    pub timings: Vec<Timing>,
    /// Settings with which [`Algorithm::Auto`] chooses by it.
    pub settings: Settings,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Calibration {
    /// The choice in words: `tree below 256 KiB, ring from there on`.
    #[must_use]
    pub fn words(&self) -> String {
        let settings = &self.settings;
        let (short, bytes) = match settings.short_by_mpi && self.timings.iter().any(|timing| timing.mpi.is_some()) {
            true => ("mpi", settings.ring_over_mpi_bytes_min),
            false => ("tree", settings.ring_bytes_min),
        };
        match bytes {
            0 => "ring at every length".to_string(),
            usize::MAX => format!("{short} at every length"),
            _ if bytes % (1 << 20) == 0 => format!("{short} below {} MiB, ring from there on", bytes >> 20),
            _ if bytes % (1 << 10) == 0 => format!("{short} below {} KiB, ring from there on", bytes >> 10),
            _ => format!("{short} below {bytes} bytes, ring from there on"),
        }
    }
}

/// Times the ways and sets the group to choose by them. Collective.
///
/// # Errors
/// [`crate::CommError`] when a rank is lost or failed.
pub(crate) fn calibrate<T: Transport>(group: &Group<T>) -> Result<Calibration> {
    let began = Instant::now();
    let before = group.settings();
    let timings = timings(group, before, began);
    // Set again whatever happened, so that an error leaves no half-made choice.
    group.set(before);
    let timings = timings?;
    let settings = chosen(before, &timings);
    group.set(settings);
    Ok(Calibration { timings, settings, seconds: began.elapsed().as_secs_f64() })
}

fn timings<T: Transport>(group: &Group<T>, settings: Settings, began: Instant) -> Result<Vec<Timing>> {
    let native = settings.patience.is_none() && group.transport().has_native_all_reduce();
    let ways = if native {
        &[Algorithm::Tree, Algorithm::Ring, Algorithm::Mpi][..]
    } else {
        &[Algorithm::Tree, Algorithm::Ring]
    };
    let mut timings = Vec::new();
    for bytes in LENGTHS {
        let mut values = vec![0_i64; bytes / 8];
        let (rounds, calls) = if bytes < 256 << 10 { (5, 8) } else { (3, 1) };
        let mut own = vec![f64::INFINITY; ways.len()];
        for round in 0..=rounds {
            for (&algorithm, best) in ways.iter().zip(&mut own) {
                // The ring itself at every length, whatever `Ring` would take for a short one.
                group.set(Settings { algorithm, short_segment_bytes: 0, ..settings });
                group.barrier()?;
                let start = Instant::now();
                for _call in 0..calls {
                    group.all_reduce_vec(&mut values)?;
                }
                // The first round warms up connections and buffers.
                if round > 0 {
                    *best = best.min(start.elapsed().as_secs_f64() / f64::from(calls));
                }
            }
        }
        own.push(began.elapsed().as_secs_f64());
        let slowest = slowest(group, &own)?;
        timings.push(Timing { bytes, tree: slowest[0], ring: slowest[1], mpi: native.then(|| slowest[2]) });
        if slowest.last().is_some_and(|elapsed| *elapsed > SECONDS_MAX) {
            break;
        }
    }
    Ok(timings)
}

/// Of each number the greatest over ranks, on every rank.
fn slowest<T: Transport>(group: &Group<T>, own: &[f64]) -> Result<Vec<f64>> {
    let bytes: Vec<u8> = own.iter().flat_map(|seconds| seconds.to_le_bytes()).collect();
    let mut most = vec![0.0_f64; own.len()];
    for rank in group.all_gather(&bytes)? {
        for (most, seconds) in most.iter_mut().zip(rank.as_chunks().0) {
            *most = most.max(f64::from_le_bytes(*seconds));
        }
    }
    Ok(most)
}

/// The settings that these times call for: short sums by the tree or the MPI library, whichever is faster over the lengths
/// at which the ring is not; the ring from the least length on from which it is never slower.
fn chosen(before: Settings, timings: &[Timing]) -> Settings {
    let first_won = |others: &dyn Fn(&Timing) -> f64| {
        let longest = timings.len().saturating_sub(1);
        let loses = |(place, timing): (usize, &Timing)| {
            let margin = if place == longest { MARGIN } else { 1.0 };
            timing.ring > others(timing) * margin
        };
        match timings.iter().enumerate().rposition(loses) {
            Some(last) if last == longest => usize::MAX,
            Some(last) => timings[last + 1].bytes,
            None => 0,
        }
    };
    let ring_bytes_min = match first_won(&|timing| timing.tree) {
        // Where not even the longest slice tried was long enough, lengths beyond it keep the default.
        usize::MAX => before.ring_bytes_min.max(timings.last().map_or(0, |timing| 2 * timing.bytes)),
        found => found,
    };
    let ring_over_mpi_bytes_min = match first_won(&|timing| timing.mpi.unwrap_or(f64::INFINITY)) {
        usize::MAX if timings.last().is_none_or(|longest| longest.bytes < before.ring_over_mpi_bytes_min) => {
            before.ring_over_mpi_bytes_min
        }
        found => found,
    };
    // Products of ratios, so that each length counts alike.
    let short = timings.iter().filter(|timing| timing.bytes < ring_over_mpi_bytes_min.max(ring_bytes_min));
    let ratio: f64 = short.filter_map(|timing| Some((timing.mpi? / timing.tree).ln())).sum();
    let short_by_mpi = ratio < 0.0 && ring_over_mpi_bytes_min > 0;
    let measured = timings.iter().any(|timing| timing.mpi.is_some());
    Settings {
        ring_bytes_min,
        ring_over_mpi_bytes_min: if measured { ring_over_mpi_bytes_min } else { before.ring_over_mpi_bytes_min },
        short_by_mpi: if measured { short_by_mpi } else { before.short_by_mpi },
        ..before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(bytes: usize, tree: f64, ring: f64, mpi: Option<f64>) -> Timing {
        Timing { bytes, tree, ring, mpi }
    }

    #[test]
    fn the_fastest_way_is_chosen_at_each_length() {
        let found = [
            timing(256, 2.0, 4.0, Some(1.0)),
            timing(4096, 4.0, 6.0, Some(3.0)),
            timing(1 << 18, 300.0, 200.0, Some(240.0)),
            timing(1 << 20, 1800.0, 800.0, Some(900.0)),
        ];
        let settings = chosen(Settings::default(), &found);
        assert_eq!((settings.ring_bytes_min, settings.ring_over_mpi_bytes_min), (1 << 18, 1 << 18));
        assert_eq!(
            [8, 4096, 1 << 18, 1 << 30].map(|bytes| settings.chosen(bytes, 2, true)),
            [Algorithm::Mpi, Algorithm::Mpi, Algorithm::Ring, Algorithm::Ring]
        );
        let calibration = Calibration { timings: found.to_vec(), settings, seconds: 0.1 };
        assert_eq!(calibration.words(), "mpi below 256 KiB, ring from there on");
    }

    #[test]
    fn a_slow_library_is_not_used() {
        let found = [timing(256, 1.0, 4.0, Some(3.0)), timing(1 << 20, 9.0, 6.0, Some(9.0))];
        let settings = chosen(Settings::default(), &found);
        assert!(!settings.short_by_mpi);
        assert_eq!(settings.chosen(8, 2, true), Algorithm::Tree);
        assert_eq!(settings.chosen(1 << 20, 2, true), Algorithm::Ring);
        let without = [timing(256, 1.0, 4.0, None), timing(1 << 20, 9.0, 6.0, None)];
        let calibration = Calibration { timings: without.to_vec(), settings: chosen(settings, &without), seconds: 0.0 };
        assert_eq!(calibration.words(), "tree below 1 MiB, ring from there on");
    }

    #[test]
    fn a_library_that_knows_its_network_keeps_long_sums() {
        let found = [timing(256, 1.0, 2.0, Some(0.5)), timing(1 << 20, 9.0, 8.0, Some(4.0))];
        let settings = chosen(Settings::default(), &found);
        assert_eq!(settings.chosen(1 << 30, 2, true), Algorithm::Mpi);
        // A lead within the noise does not count there.
        let close = [timing(256, 1.0, 2.0, Some(0.5)), timing(1 << 20, 9.0, 8.0, Some(7.0))];
        assert_eq!(chosen(Settings::default(), &close).chosen(1 << 30, 2, true), Algorithm::Ring);
        let none = [timing(256, 1.0, 2.0, None), timing(1 << 16, 1.0, 2.0, None)];
        let settings = chosen(Settings::default(), &none);
        assert_eq!(settings.ring_bytes_min, 256 << 10);
    }
}
