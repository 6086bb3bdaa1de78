//! What must not be seen of ranks where they have least to tell each other: coordinates that one rank reads and none moves.

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use mpi_launch::{Solo, threads};

use crate::engine::tests::{bits, fit_with, plan};
use crate::train::Trained;

/// The objectives of all passes.
fn told(trained: &Trained) -> Vec<u64> {
    let points = trained.history.iter().flat_map(|pass| std::iter::once(&pass.first).chain(&pass.points));
    points.map(|point| point.objective.to_bits()).collect()
}

/// A third of the rows weigh nothing; levels and elements that few rows have.
fn light(folder: &std::path::Path, classes: u32) -> Dataset {
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
    SampleDataset::new(64)
        .grains_per_shard(4)
        .f32("a", Role::Feature, a)
        .codes("b", Role::Feature, 51, &levels)
        .codes("c", Role::Feature, 2, &pair)
        .sparse("s", 40, &sparse)
        .f32("y", Role::Label, y)
        .f32("w", Role::Weight, (0..rows).map(|i| (i % 3) as f32).collect())
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
        let dataset = light(&folder.path().join(classes.to_string()), classes);
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
