//! A pass that is left in its middle is gone on with by other ranks and threads, to the same bits, and without reading again
//! what was read.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use gristmill_io::dataset::Dataset;
use gristmill_io::watch::Cancel;
use mpi_launch::{Communicator, Solo, threads};

use super::drive::train;
use super::part::{Key, Part, joined};
use super::tests::{PLANS, bits, fit_with, mixed, plan};
use crate::error::Result;
use crate::plan::TrainPlan;
use crate::train::{Company, Ended, PassReport, Start, TrainWatch};

/// Asks to stop after so many grains, and keeps what was done of the pass then.
struct Leaver<'a> {
    cancel: &'a Cancel,
    grains: AtomicUsize,
    stop_at: usize,
    /// Wants a part after every grain.
    greedy: bool,
    begun: Mutex<Vec<Part>>,
    kept: Mutex<Vec<Part>>,
    used: &'a AtomicUsize,
}

impl TrainWatch for Leaver<'_> {
    fn pass(&self, _report: &PassReport) {}
    fn rows(&self, _rows: u64) {}

    fn wants_part(&self) -> bool {
        if self.grains.fetch_add(1, Ordering::Relaxed) + 1 == self.stop_at {
            self.cancel.request();
        }
        self.greedy
    }

    fn part(&self, part: Part) {
        self.kept.lock().expect("no panic").push(part);
    }

    fn begun(&self, key: &Key) -> Option<Part> {
        let mut begun = self.begun.lock().expect("no panic");
        let place = begun.iter().position(|part| part.key == *key)?;
        self.used.fetch_add(1, Ordering::Relaxed);
        Some(begun.swap_remove(place))
    }
}

/// One rank's training that stops after so many grains, with its last part of the pass it left and its grains.
fn left(
    dataset: &Dataset,
    plan: &TrainPlan,
    comm: &dyn Communicator,
    start: Start,
    begun: &[Part],
    (stop_at, greedy, used): (usize, bool, &AtomicUsize),
) -> Result<(Ended, Option<Part>, usize)> {
    let cancel = Cancel::new();
    // The sum is on rank 0 alone.
    let of_rank = |part: &Part| match comm.rank() {
        0 => part.clone(),
        _ => Part { sum: Vec::new(), ..part.clone() },
    };
    let begun = Mutex::new(begun.iter().map(of_rank).collect());
    let watch =
        Leaver { cancel: &cancel, grains: AtomicUsize::new(0), stop_at, greedy, begun, kept: Mutex::default(), used };
    let ended = train(dataset, plan, start, &Company { comm, watch: &watch, cancel: &cancel })?;
    let (kept, grains) = (watch.kept.into_inner().expect("no panic").pop(), watch.grains.into_inner());
    Ok((ended, kept, grains))
}

#[test]
fn a_pass_left_in_its_middle_is_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let (used, mut saved) = (AtomicUsize::new(0), 0);
    for label in ["real", "binary"] {
        let dataset = mixed(&folder.path().join(label), label);
        for (_, text) in PLANS.iter().filter(|(of, _)| *of == label) {
            let one = plan(text);
            let two = TrainPlan { threads: 2, ..one.clone() };
            let whole = bits(&fit_with(&dataset, &one, &Solo).expect("trains"));
            for (from, to, stop_at) in [(1, 1, 3), (1, 3, 9), (3, 1, 2), (3, 2, 3), (2, 3, 12)] {
                let first = |greedy| {
                    let leave = |comm: &dyn Communicator| {
                        left(&dataset, &two, comm, Start::Cold, &[], (stop_at, greedy, &used))
                    };
                    threads::run(from, leave)
                };
                let ends: Vec<_> = first(from == 2).into_iter().map(|end| end.expect("no rank is lost")).collect();
                let Ended::Interrupted(checkpoint) = ends[0].0.clone() else { continue };
                let parts = joined(ends.into_iter().filter_map(|(_, part, _)| part).collect());
                let resumed = threads::run(to, |comm| {
                    let start = Start::Resume(checkpoint.clone());
                    left(&dataset, &one, comm, start, &parts, (usize::MAX, false, &used))
                });
                let again = threads::run(to, |comm| {
                    let start = Start::Resume(checkpoint.clone());
                    left(&dataset, &one, comm, start, &[], (usize::MAX, false, &used))
                });
                let mut grains = [0, 0];
                for (place, ends) in [resumed, again].into_iter().enumerate() {
                    for (ended, _, own) in ends.into_iter().map(|end| end.expect("no rank is lost")) {
                        let Ended::Trained(trained) = ended else { panic!("nobody asked to stop") };
                        assert!(
                            bits(&trained) == whole,
                            "{text}: {from} ranks left after {stop_at} grains, {to} went on"
                        );
                        grains[place] += own;
                    }
                }
                let skipped: usize = parts.iter().map(|part| part.grains.len()).sum();
                // A part of a pass that another rank had finished serves nobody.
                assert!(grains[0] <= grains[1] && grains[0] + skipped >= grains[1], "{grains:?}, {skipped} in parts");
                saved += grains[1] - grains[0];
            }
        }
    }
    assert!(used.into_inner() > 20 && saved > 50, "{saved} grains were saved");
}
