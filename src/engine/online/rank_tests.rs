//! What must not be seen of ranks where they have least to tell each other: coordinates that one rank reads and none moves, losses
//! of an epoch that stops in its middle, rows that weigh nothing.

use std::sync::Mutex;

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use gristmill_io::watch::Cancel;
use mpi_launch::{Communicator, Solo, threads};

use super::tests::interrupted;
use crate::engine::drive::train;
use crate::engine::tests::{bits, fit_with, mixed, plan};
use crate::error::{Error, Result};
use crate::train::{Checkpoint, Company, Ended, PassReport, Start, TrainWatch, Trained, Unwatched};

/// The objectives of all passes.
fn told(trained: &Trained) -> Vec<u64> {
    let points = trained.history.iter().flat_map(|pass| std::iter::once(&pass.first).chain(&pass.points));
    points.map(|point| point.objective.to_bits()).collect()
}

/// A third of the rows weigh nothing, or all but one in `weighty`; levels and elements that few rows have.
fn light(folder: &std::path::Path, classes: u32, weighty: usize) -> Dataset {
    let mut next = crate::optim::problems::numbers(41);
    let rows = 1_200;
    let a: Vec<f32> = (0..rows).map(|_| next() as f32).collect();
    let levels: Vec<u32> = (0..rows).map(|_| ((next() + 1.0) * 25.0) as u32).collect();
    let pair: Vec<u32> = (0..rows).map(|_| u32::from(next() > 0.4)).collect();
    let sparse: Vec<Vec<(u32, f32)>> = (0..rows)
        .map(|i| (0..40).filter(|j| (i * 7 + j * 13) % 31 == 0).map(|j| (j as u32, 1.0 + next() as f32)).collect())
        .collect();
    let y = (0..rows).map(|i| {
        let z = f64::from(a[i]) + f64::from(levels[i]) * 0.04 - 1.0 + 0.5 * next();
        ((z + 1.0) * 0.5 * f64::from(classes)).clamp(0.0, f64::from(classes) - 1.0).floor() as f32
    });
    let y: Vec<f32> = y.collect();
    let weight = |i: usize| if weighty == 0 { (i % 3) as f32 } else { f32::from(i.is_multiple_of(weighty)) };
    SampleDataset::new(64)
        .grains_per_shard(4)
        .f32("a", Role::Feature, a)
        .codes("b", Role::Feature, 51, &levels)
        .codes("c", Role::Feature, 2, &pair)
        .sparse("s", 40, &sparse)
        .f32("y", Role::Label, y)
        .f32("w", Role::Weight, (0..rows).map(weight).collect())
        .write(folder)
        .expect("a dataset")
}

/// A rank that reads a weight for a margin may be the only one that does, and its rows may add nothing: beyond the margin of a hinge,
/// of weight 0, in a fold that is left out. Then nothing travels, and yet all ranks have to hold the same weights.
#[test]
fn what_is_read_and_not_moved_stays_the_same_on_all_ranks() {
    let folder = tempfile::tempdir().expect("a folder");
    let plans = [
        (2, r#""model": "hinge", "solver": "sgd", "l2": 0.01, "learning-rate": 0.1"#),
        (2, r#""model": "hinge", "solver": "sgd", "momentum": 0.9, "l1": 0.001, "l2": 0.01, "clip-norm": 0.5"#),
        (2, r#""model": "squared-hinge", "solver": "adagrad", "l2": 0.1, "learning-rate": 0.3"#),
        (2, r#""model": "squared-hinge", "solver": "ftrl", "l1": 0.001, "l2": 0.01, "averaging": 1"#),
        // Rates so small that the time of the penalty stands still in f32.
        (2, r#""model": "hinge", "solver": "adam", "l2": 1, "learning-rate": 3, "schedule": "one-cycle", "epochs": 9"#),
        (3, r#""model": "softmax", "solver": "sgd", "l2": 0.1, "learning-rate": 0.1"#),
        (3, r#""model": "softmax", "solver": "rmsprop", "l2": 0.1, "folds": 3"#),
        (3, r#""model": "logistic", "multiclass": "ovr", "solver": "adam", "l2": 0.1, "folds": 3"#),
        (3, r#""model": "logistic", "multiclass": "ovr", "solver": "adamw", "l1": 0.001, "l2": 0.1"#),
        (3, r#""model": "softmax", "solver": "svrg", "l2": 0.1, "folds": 2"#),
    ];
    let mut differing = Vec::new();
    for classes in [2, 3] {
        let dataset = light(&folder.path().join(classes.to_string()), classes, 0);
        for (_, settings) in plans.iter().filter(|(of, _)| *of == classes) {
            let epochs = if settings.contains("epochs") { "" } else { r#""epochs": 3,"# };
            let plan = plan(&format!(r#"{{{settings}, {epochs} "batch-rows": 10, "threads": 1}}"#));
            let base = fit_with(&dataset, &plan, &Solo).expect("trains");
            assert!(base.models.iter().all(|model| model.weights.iter().any(|w| *w != 0.0)), "{settings}");
            for ranks in [2, 3] {
                for (rank, trained) in
                    threads::run(ranks, |comm| fit_with(&dataset, &plan, comm)).into_iter().enumerate()
                {
                    let trained = trained.expect("trains");
                    if (bits(&base), told(&base)) != (bits(&trained), told(&trained)) {
                        differing.push(format!("{settings}: rank {rank} of {ranks}"));
                    }
                }
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// Wants to know where the training stands on rank 0, as a saver does, and keeps the first that is in the middle of an epoch.
struct Keeper {
    wants: bool,
    kept: Mutex<Option<Checkpoint>>,
}

impl TrainWatch for Keeper {
    fn pass(&self, _report: &PassReport) {}

    fn rows(&self, _rows: u64) {}

    fn wants_stand(&self, passes: u32) -> bool {
        self.wants && passes == 1 && self.kept.lock().expect("not poisoned").is_none()
    }

    fn stand(&self, take: &dyn Fn() -> Checkpoint) {
        let mut kept = self.kept.lock().expect("not poisoned");
        let checkpoint = take();
        if self.wants && checkpoint.history.len() == 1 && kept.is_none() {
            *kept = Some(checkpoint);
        }
    }
}

fn resumed(dataset: &Dataset, plan: &crate::plan::TrainPlan, text: &str, comm: &dyn Communicator) -> Result<Trained> {
    let start = Start::Resume(serde_json::from_str(text).expect("parses"));
    match train(dataset, plan, start, &Company { comm, watch: &Unwatched, cancel: &Cancel::new() })? {
        Ended::Trained(trained) => Ok(*trained),
        Ended::Interrupted(_) => panic!("nobody asked to stop"),
    }
}

/// Several ranks stop in the middle of an epoch, or one of them keeps a checkpoint there: what is told of the epoch is that of all
/// its rows, each once, on whatever number of ranks it goes on.
#[test]
fn a_checkpoint_of_several_ranks_holds_the_losses_of_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = mixed(folder.path(), "binary");
    for rest in [r#""final-pass": false"#, r#""folds": 2, "learning-rate": [0.1, 0.01]"#] {
        let text = format!(
            r#"{{"model": "logistic", "solver": "adagrad", "l2": 0.01, "batch-rows": 9, "epochs": 3, "threads": 1, {rest}}}"#
        );
        let plan = plan(&text);
        let whole = fit_with(&dataset, &plan, &Solo).expect("trains");
        for ranks in [2, 3] {
            let stopped = threads::run(ranks, |comm| {
                match interrupted(&dataset, &plan, 2_300 / ranks as u64, Start::Cold, comm)? {
                    Ended::Interrupted(checkpoint) => Ok::<_, Error>(*checkpoint),
                    Ended::Trained(_) => panic!("it was not stopped"),
                }
            });
            let kept = threads::run(ranks, |comm| {
                let watch = Keeper { wants: comm.rank() == 0, kept: Mutex::default() };
                let company = Company { comm, watch: &watch, cancel: &Cancel::new() };
                let Ended::Trained(trained) = train(&dataset, &plan, Start::Cold, &company)? else {
                    panic!("nobody asked to stop")
                };
                assert_eq!((bits(&whole), told(&whole)), (bits(&trained), told(&trained)), "{rest}: {ranks} ranks");
                Ok::<_, Error>(watch.kept.into_inner().expect("not poisoned"))
            });
            let kept = kept.into_iter().map(|kept| kept.expect("trains")).next().flatten();
            let kept = kept.expect("a checkpoint of rank 0");
            let stopped = stopped.into_iter().map(|stopped| stopped.expect("stops"));
            for checkpoint in stopped.chain([kept]) {
                let text = serde_json::to_string(&checkpoint).expect("serialises");
                for onto in [1, 2, 3] {
                    for trained in threads::run(onto, |comm| resumed(&dataset, &plan, &text, comm)) {
                        let trained = trained.expect("resumes");
                        let found = (bits(&trained), told(&trained));
                        assert_eq!((bits(&whole), told(&whole)), found, "{rest}: from {ranks} ranks on {onto}");
                    }
                }
            }
        }
    }
}

/// A time limit waits for rows that weigh something: before them there is no loss to tell.
#[test]
fn a_time_limit_waits_for_a_row_that_weighs_something() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = light(folder.path(), 2, 200);
    let text = r#"{"model": "logistic", "solver": "sgd", "batch-rows": 1, "max-seconds": 1e-9, "final-pass": false}"#;
    for ranks in [1, 2] {
        for trained in threads::run(ranks, |comm| fit_with(&dataset, &plan(text), comm)) {
            let trained = trained.expect("trains");
            assert!(trained.models[0].objective.is_finite(), "{:?}", trained.models[0]);
            assert!(trained.history[0].first.objective.is_finite() && trained.history[0].share < 1.0);
        }
    }
}
