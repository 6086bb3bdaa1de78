//! What goes over the ranks while rows are scanned changes no bit: wide categories and sparse vectors, several points, folds,
//! trainings that are stopped.

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use gristmill_io::watch::Cancel;
use mpi_launch::{Solo, threads};

use super::drive::train;
use super::tests::{StopAfter, bits, fit_with, plan};
use crate::optim::problems::numbers;
use crate::plan::TrainPlan;
use crate::train::{Company, Ended, Start, Unwatched};

/// Three categories and a sparse vector, each wide enough for a segment of its own, beside dense and narrow columns.
fn wide(folder: &std::path::Path, label: &str) -> Dataset {
    const LEVELS: usize = 70_000;
    let mut next = numbers(5);
    let rows = 2_500;
    let a: Vec<f32> = (0..rows).map(|_| next() as f32).collect();
    let mut codes = |levels: usize| -> Vec<u32> {
        (0..rows).map(|_| (((next() + 1.0) / 2.0).powi(3).clamp(0.0, 0.999_999) * levels as f64) as u32).collect()
    };
    let [few, b, c, d] = [7, LEVELS, LEVELS, LEVELS].map(&mut codes);
    let sparse = |row: usize| (0..5).map(|k| ((k * 14_000 + row * 31 % 9_000) as u32, 0.1 + k as f32)).collect();
    let target = |row: usize| {
        let z = f64::from(a[row]) + f64::from(b[row] % 3) - 0.5 * f64::from(few[row] % 4);
        match label {
            "binary" => f32::from(z > 0.4),
            "classes" => (row * 7 % 11 % 3) as f32,
            _ => z.exp() as f32,
        }
    };
    SampleDataset::new(192)
        .grains_per_shard(9)
        .f32("a", Role::Feature, a.clone())
        .codes("b", Role::Feature, LEVELS, &b)
        .codes("few", Role::Feature, 7, &few)
        .codes("c", Role::Feature, LEVELS, &c)
        .codes("d", Role::Feature, LEVELS, &d)
        .sparse("s", LEVELS, &(0..rows).map(sparse).collect::<Vec<_>>())
        .f32("y", Role::Label, (0..rows).map(target).collect())
        .write(&folder.join(label))
        .expect("a dataset")
}

#[test]
fn sums_that_overlap_the_scan_change_no_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    for (label, text) in [
        ("binary", r#"{"model": "logistic", "solver": "lbfgs", "l2": [0.1, 0.01], "threads": 2, "max-passes": 6}"#),
        ("binary", r#"{"model": "logistic", "solver": "owlqn", "l1": 0.001, "threads": 1, "max-passes": 5}"#),
        (
            "positive",
            r#"{"model": "poisson", "solver": "lbfgs", "l2": 0.1, "threads": 2, "folds": 2, "max-passes": 4}"#,
        ),
    ] {
        let dataset = match Dataset::open(folder.path().join(label)) {
            Ok(dataset) => dataset,
            Err(_) => wide(folder.path(), label),
        };
        let plan = plan(text);
        let alone = fit_with(&dataset, &plan, &Solo).expect("trains");
        assert!(alone.history.iter().all(|pass| pass.overlapped_seconds == 0.0), "one rank has nothing to overlap");
        for ranks in [2, 3] {
            let mut overlapped = false;
            for trained in threads::run(ranks, |comm| fit_with(&dataset, &plan, comm)) {
                let trained = trained.expect("trains");
                assert_eq!(bits(&trained), bits(&alone), "{ranks} ranks: {text}");
                assert_eq!(trained.rows_read, alone.rows_read, "{ranks} ranks: {text}");
                assert_eq!(trained.bytes_read, alone.bytes_read, "{ranks} ranks: {text}");
                overlapped |= trained.history.iter().any(|pass| pass.overlapped_seconds > 0.0);
            }
            assert!(overlapped, "{ranks} ranks hid nothing: {text}");
        }
    }
}

#[test]
fn a_stop_at_any_pass_changes_nothing_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = wide(folder.path(), "binary");
    let plan = plan(r#"{"model": "logistic", "solver": "lbfgs", "l2": 0.01, "threads": 1, "max-passes": 6}"#);
    let whole = fit_with(&dataset, &plan, &Solo).expect("trains");
    for stop in [2, 4] {
        let stopped = threads::run(2, |comm| {
            let cancel = Cancel::new();
            let watch = StopAfter::new(stop, &cancel);
            let company = Company { comm, watch: &watch, cancel: &cancel };
            train(&dataset, &plan, Start::Cold, &company)
        });
        let checkpoint = match stopped.into_iter().next() {
            Some(Ok(Ended::Interrupted(checkpoint))) => checkpoint,
            other => panic!("not stopped after pass {stop}: {other:?}"),
        };
        let resumed = threads::run(3, |comm| {
            let company = Company { comm, watch: &Unwatched, cancel: &Cancel::new() };
            let plan = TrainPlan { threads: 2, ..plan.clone() };
            train(&dataset, &plan, Start::Resume(checkpoint.clone()), &company)
        });
        for ended in resumed {
            match ended.expect("resumes") {
                Ended::Trained(trained) => assert_eq!(bits(&trained), bits(&whole), "stopped after pass {stop}"),
                Ended::Interrupted(_) => panic!("nobody asked to stop"),
            }
        }
    }
}
