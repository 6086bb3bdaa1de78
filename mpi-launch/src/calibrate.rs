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
/// Shorter sums take no ring wherever there is a tree: how rings compare there does not matter.
const RING_BYTES_LEAST: usize = 32 << 10;
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
    /// Around rings of nodes, where there are several of as many ranks.
    pub hierarchical: Option<f64>,
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
        let by_nodes = settings.by_nodes && self.timings.iter().any(|timing| timing.hierarchical.is_some());
        let long = if by_nodes { "hierarchical" } else { "ring" };
        match bytes {
            0 => format!("{long} at every length"),
            usize::MAX => format!("{short} at every length"),
            _ if bytes % (1 << 20) == 0 => format!("{short} below {} MiB, {long} from there on", bytes >> 20),
            _ if bytes % (1 << 10) == 0 => format!("{short} below {} KiB, {long} from there on", bytes >> 10),
            _ => format!("{short} below {bytes} bytes, {long} from there on"),
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

/// Seconds by every way that there is, length by length.
fn timings<T: Transport>(group: &Group<T>, settings: Settings, began: Instant) -> Result<Vec<Timing>> {
    let native = settings.patience.is_none() && group.transport().has_native_all_reduce();
    let mut ways = vec![Algorithm::Tree, Algorithm::Ring];
    ways.extend(native.then_some(Algorithm::Mpi));
    ways.extend(group.has_nodes().then_some(Algorithm::Hierarchical));
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
        let of = |way| ways.iter().position(|other| *other == way).map(|place| slowest[place]);
        let (mpi, hierarchical) = (of(Algorithm::Mpi), of(Algorithm::Hierarchical));
        timings.push(Timing { bytes, tree: slowest[0], ring: slowest[1], hierarchical, mpi });
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
/// at which the ring is not; the ring from the least length on from which it is never slower. The ring is that of all ranks or
/// those of nodes, whichever is faster over the lengths that go around a ring.
fn chosen(before: Settings, timings: &[Timing]) -> Settings {
    let long = timings.iter().filter(|timing| timing.bytes >= RING_BYTES_LEAST);
    let by_nodes =
        is_faster(long.filter_map(|timing| Some((timing.hierarchical?, timing.ring)))).unwrap_or(before.by_nodes);
    let around = |timing: &Timing| timing.hierarchical.filter(|_| by_nodes).unwrap_or(timing.ring);
    let first_won = |others: &dyn Fn(&Timing) -> f64| {
        let longest = timings.len().saturating_sub(1);
        let loses = |(place, timing): (usize, &Timing)| {
            let margin = if place == longest { MARGIN } else { 1.0 };
            around(timing) > others(timing) * margin
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
    let short = timings.iter().filter(|timing| timing.bytes < ring_over_mpi_bytes_min.max(ring_bytes_min));
    let short_by_mpi = is_faster(short.filter_map(|timing| Some((timing.mpi?, timing.tree)))).unwrap_or(false);
    let measured = timings.iter().any(|timing| timing.mpi.is_some());
    Settings {
        ring_bytes_min,
        ring_over_mpi_bytes_min: if measured { ring_over_mpi_bytes_min } else { before.ring_over_mpi_bytes_min },
        short_by_mpi: if measured { short_by_mpi && ring_over_mpi_bytes_min > 0 } else { before.short_by_mpi },
        by_nodes,
        ..before
    }
}

/// Whether the first of each pair of times is the less on the whole; none where there are none. Products of ratios, so that
/// each length counts alike.
fn is_faster(times: impl Iterator<Item = (f64, f64)>) -> Option<bool> {
    let logs: Vec<f64> = times.map(|(own, other)| (own / other).ln()).collect();
    (!logs.is_empty()).then(|| logs.iter().sum::<f64>() < 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::Choice;

    const TWO: Choice = Choice { ranks: 2, has_native: true, has_nodes: false };

    fn timing(bytes: usize, tree: f64, ring: f64, mpi: Option<f64>) -> Timing {
        Timing { bytes, tree, ring, hierarchical: None, mpi }
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
            [8, 4096, 1 << 18, 1 << 30].map(|bytes| settings.chosen(bytes, TWO)),
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
        assert_eq!(settings.chosen(8, TWO), Algorithm::Tree);
        assert_eq!(settings.chosen(1 << 20, TWO), Algorithm::Ring);
        let without = [timing(256, 1.0, 4.0, None), timing(1 << 20, 9.0, 6.0, None)];
        let calibration = Calibration { timings: without.to_vec(), settings: chosen(settings, &without), seconds: 0.0 };
        assert_eq!(calibration.words(), "tree below 1 MiB, ring from there on");
    }

    #[test]
    fn a_library_that_knows_its_network_keeps_long_sums() {
        let found = [timing(256, 1.0, 2.0, Some(0.5)), timing(1 << 20, 9.0, 8.0, Some(4.0))];
        let settings = chosen(Settings::default(), &found);
        assert_eq!(settings.chosen(1 << 30, TWO), Algorithm::Mpi);
        // A lead within the noise does not count there.
        let close = [timing(256, 1.0, 2.0, Some(0.5)), timing(1 << 20, 9.0, 8.0, Some(7.0))];
        assert_eq!(chosen(Settings::default(), &close).chosen(1 << 30, TWO), Algorithm::Ring);
        let none = [timing(256, 1.0, 2.0, None), timing(1 << 16, 1.0, 2.0, None)];
        let settings = chosen(Settings::default(), &none);
        assert_eq!(settings.ring_bytes_min, 256 << 10);
    }

    #[test]
    fn rings_of_nodes_are_taken_where_they_are_faster() {
        let nodes = Choice { ranks: 4, has_native: false, has_nodes: true };
        let with = |times: [(f64, f64); 3]| {
            let of = |(bytes, (ring, own))| Timing { hierarchical: Some(own), ..timing(bytes, 3.0, ring, None) };
            [256, 64 << 10, 1 << 20].into_iter().zip(times).map(of).collect::<Vec<_>>()
        };
        // What is slower where the tree is taken does not count.
        let faster = with([(4.0, 9.0), (4.0, 2.0), (4.0, 2.0)]);
        let settings = chosen(Settings::default(), &faster);
        assert_eq!((settings.ring_bytes_min, settings.chosen(1 << 20, nodes)), (64 << 10, Algorithm::Hierarchical));
        let calibration = Calibration { timings: faster, settings, seconds: 0.0 };
        assert_eq!(calibration.words(), "tree below 64 KiB, hierarchical from there on");
        let slower = chosen(Settings::default(), &with([(4.0, 1.0), (2.0, 2.5), (2.0, 2.5)]));
        assert_eq!(slower.chosen(1 << 20, nodes), Algorithm::Ring);
        let untried = chosen(Settings::default(), &with([(4.0, 9.0); 3])[..1]);
        assert!(untried.by_nodes);
    }
}
