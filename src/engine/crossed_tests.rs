//! The promises of crossed columns: a model with a cross is the model of a dataset that stores it, bit for bit, whatever the solver
//! and whatever runs it; its objectives are those of scikit-learn on one-hot columns (tests/reference/crossed.py).

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use gristmill_kernels::Tier;
use gristmill_kernels::dtype::DType;
use gristmill_kernels::ops::crossed::code;
use gristmill_kernels::tile::{Codes, Cross, Part};
use mpi_launch::{Solo, threads};
use serde::Deserialize;

use super::tests::{bits, fit_with, plan};
use crate::error::Error;
use crate::optim::problems::numbers;
use crate::plan::TrainPlan;

/// A power of two, so that the deviation of a level has the same bits by whatever formula.
const ROWS: usize = 2_048;
const LEVELS: [usize; 3] = [6, 300, 11];
/// Crosses with the bits of their hash: exact, hashed, and of three parts.
const CROSSES: [(&str, u32); 3] = [("a*c", 18), ("b*a", 6), ("c*b*a", 8)];

struct Sample {
    codes: [Vec<u32>; 3],
    label: Vec<f32>,
}

impl Sample {
    fn new() -> Sample {
        let mut next = numbers(5);
        let codes = LEVELS.map(|levels| -> Vec<u32> {
            (0..ROWS).map(|_| ((next() + 1.0) / 2.0 * (next() + 1.0) / 2.0 * levels as f64) as u32).collect()
        });
        let label = (0..ROWS).map(|row| {
            let [a, b, c] = [0, 1, 2].map(|part| codes[part][row]);
            let z = f64::from(a) * 0.3 - f64::from(b % 7) * 0.2 + f64::from((a + c) % 3) - 1.0 + next();
            f32::from(z > 0.0)
        });
        Sample { label: label.collect(), codes: codes.clone() }
    }

    /// The codes of a cross, and its levels.
    fn cross(&self, cross: &str, bits: u32) -> (Vec<u32>, usize) {
        let part = |name: &str| "abc".find(name).expect("a part");
        let parts: Vec<usize> = cross.split('*').map(part).collect();
        let product: usize = parts.iter().map(|&part| LEVELS[part]).product();
        let hash_bits = (product > 1 << bits).then_some(bits);
        let levels = hash_bits.map_or(product, |bits| 1 << bits);
        let of = |&part: &usize| Part { codes: Codes::U32(&self.codes[part]), levels: LEVELS[part] };
        let cross = Cross { parts: parts.iter().map(of).collect(), levels, hash_bits };
        ((0..ROWS).map(|row| code(&cross, row)).collect(), levels)
    }

    /// The dataset with the columns of these crosses stored.
    fn dataset(&self, folder: &std::path::Path, stored: &[(&str, u32)]) -> Dataset {
        let mut next = numbers(6);
        let x = (0..ROWS).map(|_| next() as f32).collect();
        let sparse: Vec<Vec<(u32, f32)>> =
            (0..ROWS).map(|row| vec![((row % 5) as u32, 1.0), (5 + (row % 3) as u32, 0.5)]).collect();
        let mut sample = SampleDataset::new(192).grains_per_shard(4).test_rows(0).f32("x", Role::Feature, x);
        for (name, (levels, codes)) in ["a", "b", "c"].iter().zip(LEVELS.iter().zip(&self.codes)) {
            sample = sample.codes(name, Role::Feature, *levels, codes);
        }
        for (cross, bits) in stored {
            let (codes, levels) = self.cross(cross, *bits);
            sample = sample.codes(&cross.replace('*', " by "), Role::Feature, levels, &codes);
        }
        sample.sparse("s", 8, &sparse).f32("y", Role::Label, self.label.clone()).write(folder).expect("a dataset")
    }
}

/// One request a way of training; the crosses are added.
const REQUESTS: [&str; 11] = [
    r#""model": "linear", "solver": "cholesky", "l2": 0.1"#,
    r#""model": "linear", "solver": "coordinate-descent", "l1": 0.01"#,
    r#""model": "logistic", "solver": "newton", "l2": 0.01"#,
    r#""model": "logistic", "solver": "proximal-newton", "l1": 0.01"#,
    r#""model": "logistic", "solver": "lbfgs", "l2": [0.1, 0.01], "folds": 2"#,
    r#""model": "logistic", "solver": "owlqn", "l1": 0.01, "standardize": false"#,
    r#""model": "softmax", "l2": 0.01"#,
    r#""model": "softmax", "solver": "adagrad", "l2": 0.01, "batch-rows": 64"#,
    r#""model": "logistic", "solver": "svrg", "l2": 0.01, "batch-rows": 64, "epochs": 2"#,
    r#""model": "logistic", "solver": "adagrad", "l2": [0.01, 0.001], "batch-rows": 100, "epochs": 2"#,
    r#""model": "logistic", "solver": "ftrl", "l1": 0.001, "batch-rows": 64, "averaging": 0.5, "clip-norm": 1, "then": "owlqn""#,
];

fn request(request: &str, cross: &str, bits: u32) -> TrainPlan {
    plan(&format!(r#"{{{request}, "cross": ["{cross}"], "cross-bits": {bits}, "threads": 2}}"#))
}

#[test]
fn a_cross_is_the_column_that_it_stands_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = Sample::new();
    for (number, cross) in CROSSES.into_iter().enumerate() {
        let stored = sample.dataset(&folder.path().join(format!("stored{number}")), &[cross]);
        let plain = sample.dataset(&folder.path().join(format!("plain{number}")), &[]);
        let crossed = request(REQUESTS[0], cross.0, cross.1).crossed(plain).expect("columns to cross");
        for text in REQUESTS {
            let with = fit_with(&crossed, &request(text, cross.0, cross.1), &Solo).expect("trains");
            let without = fit_with(&stored, &plan(&format!("{{{text}, \"threads\": 2}}")), &Solo).expect("trains");
            assert!(bits(&with) == bits(&without), "{cross:?}: {text}");
            assert_eq!(
                with.validation.map(|found| found.configurations.len()),
                without.validation.map(|found| found.configurations.len())
            );
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_threads_tiers_or_ranks() {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = Sample::new();
    let (cross, hash_bits) = CROSSES[2];
    let dataset = request(REQUESTS[0], cross, hash_bits).crossed(sample.dataset(folder.path(), &[])).expect("crosses");
    for text in REQUESTS {
        let one = TrainPlan { threads: 1, ..request(text, cross, hash_bits) };
        let base = fit_with(&dataset, &one, &Solo).expect("trains");
        for threads in [2, 5] {
            let other = fit_with(&dataset, &TrainPlan { threads, ..one.clone() }, &Solo).expect("trains");
            assert!(bits(&base) == bits(&other), "{text}: {threads} threads");
        }
        for tier in Tier::available().into_iter().filter(|tier| *tier != Tier::Portable) {
            let other = TrainPlan { tier: Some(tier.name().into()), ..one.clone() };
            assert!(bits(&base) == bits(&fit_with(&dataset, &other, &Solo).expect("trains")), "{text}: {tier}");
        }
        for ranks in [2, 3] {
            for trained in threads::run(ranks, |comm| fit_with(&dataset, &one, comm)) {
                assert!(bits(&base) == bits(&trained.expect("trains")), "{text}: {ranks} ranks");
            }
        }
    }
}

#[test]
fn a_plan_and_a_dataset_of_other_crosses_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = Sample::new().dataset(folder.path(), &[]);
    let refused = fit_with(&dataset, &request(REQUESTS[0], "a*b", 18), &Solo);
    assert!(matches!(refused, Err(Error::Usage(message)) if message.contains("opened with 0 crossed columns")));
}

#[derive(Deserialize)]
struct Reference {
    x: Vec<i32>,
    real: Vec<i32>,
    binary: Vec<u8>,
    a: Vec<u32>,
    b: Vec<u32>,
    c: Vec<u32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    crosses: Vec<String>,
    bits: u32,
    model: String,
    l1: f64,
    l2: f64,
    standardize: bool,
    objective: f64,
}

#[test]
fn objectives_are_those_of_one_hot_columns() {
    let text = include_str!("../../tests/reference/crossed.json");
    let reference: Reference = serde_json::from_str(text).expect("a reference");
    let folder = tempfile::tempdir().expect("a folder");
    let scaled = |values: &[i32]| values.iter().map(|&value| f64::from(value) / 64.0).collect::<Vec<f64>>();
    let open = |model: &str| {
        let sample = SampleDataset::new(128)
            .stored("x", Role::Feature, DType::F64, 0.0, 1.0, &scaled(&reference.x))
            .codes("a", Role::Feature, 5, &reference.a)
            .codes("b", Role::Feature, 7, &reference.b)
            .codes("c", Role::Feature, 3, &reference.c);
        let label = match model {
            "linear" => scaled(&reference.real),
            _ => reference.binary.iter().map(|&class| f64::from(class)).collect(),
        };
        let inside = tempfile::tempdir_in(folder.path()).expect("a folder").keep();
        sample.f64("y", Role::Label, label).write(&inside.join("data")).expect("a dataset")
    };
    for case in &reference.cases {
        let Case { crosses, bits, model, l1, l2, standardize, objective } = case;
        let solvers = match (model.as_str(), *l1 > 0.0) {
            ("linear", false) => ["cholesky", "lbfgs"],
            ("linear", true) => ["coordinate-descent", "owlqn"],
            (_, false) => ["newton", "lbfgs"],
            (_, true) => ["proximal-newton", "owlqn"],
        };
        for solver in solvers {
            let text = format!(
                r#"{{"model": "{model}", "l1": {l1}, "l2": {l2}, "standardize": {standardize}, "solver": "{solver}", "cross": {},
                    "cross-bits": {bits}, "tolerance": 1e-10}}"#,
                serde_json::to_string(crosses).expect("JSON")
            );
            let plan = plan(&text);
            let dataset = plan.crossed(open(model)).expect("columns to cross");
            let found = fit_with(&dataset, &plan, &Solo).expect("trains").models[0].objective;
            assert!((found / objective - 1.0).abs() < 1e-6, "{text}: {found}, scikit-learn found {objective}");
        }
    }
}
