//! The promises of ranks that differ: what each may do by its own memory makes no other model, and what one of them finds ends all
//! at once, in the words of that rank.

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use mpi_launch::{Solo, threads};

use super::tests::{bits, fit_with, mixed, plan};
use crate::error::{Error, Result};
use crate::plan::TrainPlan;
use crate::train::Trained;

/// What the process is reckoned with in a memory limit.
const PROCESS_BYTES: u64 = 24 << 20;
const PLENTY_BYTES: u64 = 1 << 30;

/// What comes of a training on two ranks; none ends before the other has heard of it.
fn on_two(dataset: &Dataset, of_rank: impl Fn(usize) -> TrainPlan + Sync) -> Vec<Result<Trained>> {
    let found = threads::run(2, |comm| Ok::<_, Error>(fit_with(dataset, &of_rank(comm.rank()), comm)));
    found.into_iter().map(|own| own.expect("no rank is lost")).collect()
}

/// Two ranks of one thread, the second with so many bytes of memory beyond those of the process.
fn unequal(dataset: &Dataset, text: &str, bytes: u64) -> Vec<Result<Trained>> {
    on_two(dataset, |rank| {
        let memory = Some([PLENTY_BYTES, PROCESS_BYTES + bytes][rank]);
        TrainPlan { memory, threads: 1, ..plan(text) }
    })
}

/// By rank, what went wrong: the error of one, and that the other stopped because of it.
fn alone(found: &[Result<Trained>], rank: usize) -> String {
    let [own, other] = [&found[rank], &found[1 - rank]];
    assert!(matches!(other, Err(Error::Elsewhere { rank: first, .. }) if *first == rank), "{found:?}");
    match own {
        Err(error @ Error::OnRank { name, .. }) if name.starts_with(&format!("rank {rank} of 2 on ")) => {
            error.to_string()
        }
        _ => panic!("rank {rank} has no error of its own: {found:?}"),
    }
}

/// The second has room for fewer models in a pass than the first.
#[test]
fn ranks_of_unequal_memory_train_as_many_models_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for (label, text) in [
        ("binary", r#"{"model": "logistic", "solver": "lbfgs", "l2": [0.1, 0.03, 0.01, 0.001], "folds": 2}"#),
        ("real", r#"{"model": "linear", "solver": "cholesky", "l2": [0.1], "folds": 4}"#),
        ("several", r#"{"model": "logistic", "multiclass": "ovr", "l2": [0.1, 0.01]}"#),
    ] {
        let dataset = mixed(&folder.path().join(label), label);
        let whole = fit_with(&dataset, &TrainPlan { threads: 1, ..plan(text) }, &Solo).expect("trains");
        for trained in unequal(&dataset, text, 155_000) {
            let trained = trained.expect("trains");
            assert_eq!(bits(&whole), bits(&trained), "{text}");
            // So the memory of one rank does matter.
            assert!(trained.history.len() > whole.history.len(), "{text}");
        }
    }
}

/// Forty grains of 64 rows.
fn forty_grains(of_row: impl Fn(usize) -> (f32, f32)) -> SampleDataset {
    let (x, y): (Vec<f32>, Vec<f32>) = (0..2_560).map(of_row).unzip();
    SampleDataset::new(64).grains_per_shard(10).f32("x", Role::Feature, x).f32("y", Role::Label, y)
}

#[test]
fn a_rank_that_cannot_open_its_grains_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = forty_grains(|row| ((row % 7) as f32, (row % 2) as f32));
    let dataset = sample.write(&folder.path().join("data")).expect("a dataset");
    // A pass needs three grains at a time, two rounds of open grains ten.
    let text = r#"{"model": "logistic", "solver": "adagrad", "open-grains": 8, "batch-rows": 64}"#;
    let told = alone(&unequal(&dataset, text, 100_000), 1);
    assert!(told.contains("the memory limit leaves") && told.contains("fewer --open-grains"), "{told}");
}

/// The rows of the second rank alone leave all bounds: where the loss has no bound on residuals, and where it has.
#[test]
fn a_training_that_diverges_on_one_rank_ends_on_all() {
    let folder = tempfile::tempdir().expect("a folder");
    for (model, rate) in [("poisson", "1"), ("huber", "1e39")] {
        let of_row =
            |row: usize| if row > 1_400 && row.is_multiple_of(8) { (1.0, 1e3) } else { (0.0, (row % 2) as f32) };
        let dataset = forty_grains(of_row).write(&folder.path().join(model)).expect("a dataset");
        let text = format!(
            r#"{{"model": "{model}", "solver": "sgd", "learning-rate": {rate}, "batch-rows": 64, "open-grains": 4,
                "intercept": false, "threads": 1}}"#
        );
        let found = on_two(&dataset, |_| plan(&text));
        let says = |own: &Result<Trained>| match own {
            Err(error @ Error::Everywhere(_)) => error.to_string(),
            other => panic!("{model}: not found by all: {:?}", other.as_ref().map(|trained| &trained.history)),
        };
        let [first, second] = [says(&found[0]), says(&found[1])];
        assert_eq!(first, second);
        assert!(
            first.contains("the training diverged in epoch 1") && first.contains("smaller --learning-rate"),
            "{first}"
        );
        assert!(matches!(fit_with(&dataset, &plan(&text), &Solo), Err(Error::Training(_))));
    }
}
