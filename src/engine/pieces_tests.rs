//! Tiles of numbers alone, which are cut into pieces: the same bits whatever runs them, with and without a matrix.

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use gristmill_kernels::dtype::DType;
use gristmill_kernels::tile::{Cut, parts};
use gristmill_kernels::{Call, Tier};
use mpi_launch::{Solo, threads};

use super::tests::{bits, fit, fit_with, plan};
use crate::optim::problems::numbers;
use crate::plan::TrainPlan;

const GRAIN_ROWS: usize = 2_100;

/// Numbers and a vector column with weights; no row weighs as much as the next.
fn dense(folder: &std::path::Path, label: &str) -> Dataset {
    let mut next = numbers(23);
    let rows = 8_500;
    let a: Vec<f32> = (0..rows).map(|_| next() as f32 * 3.0).collect();
    let b: Vec<f32> = (0..rows).map(|_| next() as f32).collect();
    let vectors: Vec<f64> = (0..rows * 3).map(|_| next()).collect();
    let target = |row: usize, noise: f64| {
        let z = f64::from(a[row]) - f64::from(b[row]) + vectors[3 * row] + noise;
        match label {
            "binary" => f32::from(z > 0.3),
            "several" => (z + 2.0).clamp(0.0, 3.9).floor() as f32,
            _ => z as f32,
        }
    };
    let y = (0..rows).map(|row| target(row, next())).collect();
    SampleDataset::new(GRAIN_ROWS)
        .f32("a", Role::Feature, a.clone())
        .f32("b", Role::Feature, b.clone())
        .vectors("v", DType::F32, 3, &vectors)
        .f32("y", Role::Label, y)
        .f32("w", Role::Weight, (0..rows).map(|row| 0.25 + (row % 7) as f32).collect())
        .write(&folder.join(label))
        .expect("a dataset")
}

#[test]
fn a_tile_is_whole_runs_and_a_grain_more_than_a_tile() {
    let Cut { tile, run, piece } = Cut::dense(20, 5);
    assert!(piece <= run && tile.is_multiple_of(run) && 2 * tile < GRAIN_ROWS && !GRAIN_ROWS.is_multiple_of(run));
    let several = Cut::dense(20, 5).several();
    let cut: Vec<_> = parts(&(0..GRAIN_ROWS), tile).flat_map(|rows| several.pieces(&rows)).collect();
    let only = Call { first: true, last: true };
    assert_eq!(cut, parts(&(0..GRAIN_ROWS), run).map(|run| (run, only)).collect::<Vec<_>>());
}

#[test]
fn pieces_have_the_same_bits_on_threads_tiers_and_ranks() {
    let folder = tempfile::tempdir().expect("a folder");
    for (label, text) in [
        ("binary", r#"{"model": "logistic", "solver": "newton", "l2": [0.1, 0.01], "folds": 2, "threads": 1}"#),
        ("binary", r#"{"model": "logistic", "solver": "lbfgs", "l2": 0.01, "class-weight": "balanced", "threads": 1}"#),
        ("binary", r#"{"model": "logistic", "l1": 0.01, "threads": 1}"#),
        ("several", r#"{"model": "softmax", "solver": "newton", "l2": 0.01, "threads": 1}"#),
        ("several", r#"{"model": "logistic", "multiclass": "ovr", "l2": 0.01, "threads": 1}"#),
    ] {
        let dataset = match Dataset::open(folder.path().join(label)) {
            Ok(dataset) => dataset,
            Err(_) => dense(folder.path(), label),
        };
        let one = plan(text);
        let base = bits(&fit_with(&dataset, &one, &Solo).expect("trains"));
        let three = TrainPlan { threads: 3, ..one.clone() };
        assert_eq!(base, bits(&fit_with(&dataset, &three, &Solo).expect("trains")), "{text}: 3 threads");
        for tier in Tier::available().into_iter().filter(|tier| *tier != Tier::Portable) {
            let other = TrainPlan { tier: Some(tier.name().into()), ..one.clone() };
            assert_eq!(base, bits(&fit_with(&dataset, &other, &Solo).expect("trains")), "{text}: {}", tier.name());
        }
        for trained in threads::run(2, |comm| fit_with(&dataset, &one, comm)) {
            assert_eq!(base, bits(&trained.expect("trains")), "{text}: 2 ranks");
        }
    }
}

/// Of one point and so many columns a run is made in several pieces on every machine, of two at once.
#[test]
fn a_model_in_pieces_has_the_bits_of_one_among_others_in_whole_runs() {
    let (mut next, rows, count) = (numbers(29), 4_300, 36);
    let columns: Vec<Vec<f32>> = (0..count).map(|_| (0..rows).map(|_| next() as f32).collect()).collect();
    let label = (0..rows).map(|row| f32::from(columns[3][row] - columns[30][row] + next() as f32 > 0.2));
    let mut sample = SampleDataset::new(GRAIN_ROWS).f32("y", Role::Label, label.collect()).f32(
        "w",
        Role::Weight,
        (0..rows).map(|row| 0.25 + (row % 7) as f32).collect(),
    );
    for (number, column) in columns.into_iter().enumerate() {
        sample = sample.f32(&format!("x{number}"), Role::Feature, column);
    }
    let bytes: Vec<f64> = (0..rows).map(|row| (row * row % 251) as f64).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = sample.stored("b", Role::Feature, DType::U8, 0.0, 0.01, &bytes).write(&folder.path().join("data"));
    let dataset = dataset.expect("a dataset");
    assert!(Cut::dense(4 * count + 1, count + 1).carries());
    for solver in ["lbfgs", "newton"] {
        let text = |l2: &str| format!(r#"{{"model": "logistic", "solver": "{solver}", "l2": {l2}, "threads": 2}}"#);
        let both = fit(&dataset, &text("[0.1, 0.01]")).expect("trains").models;
        let alone = ["0.1", "0.01"].map(|l2| fit(&dataset, &text(l2)).expect("trains").models.swap_remove(0));
        assert_eq!(both, alone, "{solver}");
    }
}

/// The first pass of each solver is at the same point.
#[test]
fn a_matrix_changes_no_bit_of_loss_and_gradient() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = dense(folder.path(), "binary");
    let first = |solver: &str| {
        let text = format!(r#"{{"model": "logistic", "solver": "{solver}", "l2": 0.1, "threads": 2}}"#);
        fit(&dataset, &text).expect("trains").history.swap_remove(0).first
    };
    let [newton, lbfgs] = ["newton", "lbfgs"].map(first);
    assert_ne!(newton.collected, lbfgs.collected);
    assert_eq!(newton.objective.to_bits(), lbfgs.objective.to_bits());
    assert_eq!(newton.gradient_norm.to_bits(), lbfgs.gradient_norm.to_bits());
}

/// Of squares a step of Newton's is the answer, if every row has the curvature that is its own.
#[test]
fn every_row_bends_the_matrix_by_its_own_weight() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = dense(folder.path(), "real");
    let newton = fit(&dataset, r#"{"model": "linear", "solver": "newton", "l2": 0.1, "threads": 2}"#).expect("trains");
    let closed =
        fit(&dataset, r#"{"model": "linear", "solver": "cholesky", "l2": 0.1, "threads": 2}"#).expect("trains");
    assert_eq!(newton.history.len(), 2, "the step, and that there is nothing left");
    for (one, other) in newton.models[0].weights.iter().zip(&closed.models[0].weights) {
        assert!((one - other).abs() < 1e-6, "{one} {other}");
    }
}
