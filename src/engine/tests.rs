//! The promises of a training, on small datasets: the same bits whatever runs it, and a proper answer to bad data.

use std::sync::Mutex;

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use gristmill_io::watch::Cancel;
use gristmill_kernels::Tier;
use gristmill_kernels::dtype::DType;
use mpi_launch::{Communicator, Solo, threads};

use super::drive::train;
use super::shares::PROCESS_BYTES;
use crate::error::{Error, Result};
use crate::optim::problems::numbers;
use crate::plan::{TrainPlan, TrainRequest};
use crate::train::{Company, Ended, PassReport, Start, TrainWatch, Trained, Unwatched};

/// Every thread of it is at work: the data of tests are too few to need them.
pub(crate) fn plan(text: &str) -> TrainPlan {
    let plan = serde_json::from_str::<TrainRequest>(text).expect("a request").resolve().expect("a valid plan");
    TrainPlan { every_thread: true, ..plan }
}

pub(crate) fn fit_with(dataset: &Dataset, plan: &TrainPlan, comm: &dyn Communicator) -> Result<Trained> {
    let cancel = Cancel::new();
    let company = Company { comm, watch: &Unwatched, cancel: &cancel };
    match train(dataset, plan, Start::Cold, &company)? {
        Ended::Trained(trained) => Ok(*trained),
        Ended::Interrupted(_) => panic!("nobody asked to stop"),
    }
}

pub(crate) fn fit(dataset: &Dataset, text: &str) -> Result<Trained> {
    fit_with(dataset, &plan(text), &Solo)
}

/// Every kind of column, 2,000 rows in grains of 192.
pub(crate) fn mixed(folder: &std::path::Path, label: &str) -> Dataset {
    let mut next = numbers(17);
    let rows = 2_000;
    let a: Vec<f32> = (0..rows).map(|_| next() as f32 * 3.0).collect();
    let b: Vec<f64> = (0..rows).map(|_| (next() * 100.0).round()).collect();
    let codes: Vec<u32> = (0..rows).map(|_| ((next() + 1.0) * 2.4) as u32).collect();
    let vectors: Vec<f64> = (0..rows * 3).map(|_| next()).collect();
    let sparse: Vec<Vec<(u32, f32)>> =
        (0..rows).map(|i| (0..7).filter(|j| (i + j) % 5 == 0).map(|j| (j as u32, next() as f32)).collect()).collect();
    let target: Vec<f32> = (0..rows)
        .map(|i| {
            let z = f64::from(a[i]) * 0.5 - b[i] * 0.01 + f64::from(codes[i]) * 0.4 + vectors[3 * i] - 0.7 + next();
            match label {
                "binary" => f32::from(z > 0.0),
                "positive" => z.exp() as f32,
                "several" => [-1.0, 0.0, 4.0, 5.0][((z + 2.0).clamp(0.0, 3.9)) as usize],
                _ => z as f32,
            }
        })
        .collect();
    let weight: Vec<f32> = (0..rows).map(|_| 1.0 + next() as f32).collect();
    SampleDataset::new(192)
        .grains_per_shard(4)
        .f32("a", Role::Feature, a)
        .stored("b", Role::Feature, DType::U8, -100.0, 1.0, &b.iter().map(|b| b + 100.0).collect::<Vec<_>>())
        .codes("c", Role::Feature, 5, &codes)
        .vectors("v", DType::F32, 3, &vectors)
        .sparse("s", 7, &sparse)
        .f32("y", Role::Label, target)
        .f32("w", Role::Weight, weight)
        .write(&folder.join("data"))
        .expect("a dataset")
}

pub(crate) fn bits(trained: &Trained) -> Vec<u64> {
    let numbers = trained
        .models
        .iter()
        .flat_map(|m| m.weights.iter().chain(&m.intercepts).chain([&m.objective]).chain(&m.gradient_norm));
    numbers.map(|x| x.to_bits()).collect()
}

pub(crate) const PLANS: [(&str, &str); 27] = [
    ("real", r#"{"model": "linear", "l2": 0.1, "threads": 1}"#),
    ("real", r#"{"model": "linear", "l1": [0.1, 0.01], "l2": 0.01, "threads": 1}"#),
    ("real", r#"{"model": "linear", "l2": 0.1, "solver": "lbfgs", "standardize": false, "threads": 1}"#),
    ("binary", r#"{"model": "logistic", "l2": 0.01, "threads": 1}"#),
    ("binary", r#"{"model": "logistic", "l2": 0.01, "class-weight": "balanced", "intercept": false, "threads": 1}"#),
    ("binary", r#"{"model": "logistic", "l2": 0.01, "solver": "lbfgs", "threads": 1}"#),
    ("binary", r#"{"model": "logistic", "l1": 0.01, "threads": 1}"#),
    ("binary", r#"{"model": "logistic", "l1": 0.01, "solver": "owlqn", "threads": 1}"#),
    ("real", r#"{"model": "huber", "huber-delta": 0.5, "l2": 0.01, "threads": 1}"#),
    ("real", r#"{"model": "huber", "huber-delta": 0.5, "l1": 0.01, "solver": "owlqn", "threads": 1}"#),
    ("binary", r#"{"model": "squared-hinge", "l2": 0.01, "class-weight": "balanced", "threads": 1}"#),
    ("binary", r#"{"model": "squared-hinge", "l1": 0.01, "threads": 1}"#),
    ("binary", r#"{"model": "hinge", "l2": [0.01, 0.1], "class-weight": "balanced", "tolerance": 1e-6, "threads": 1}"#),
    ("real", r#"{"model": "absolute", "l2": 0.01, "tolerance": 1e-6, "threads": 1}"#),
    ("real", r#"{"model": "quantile", "quantile": 0.9, "l1": 0.01, "tolerance": 1e-6, "threads": 1}"#),
    ("several", r#"{"model": "hinge", "multiclass": "ovr", "l2": 0.01, "tolerance": 1e-6, "threads": 1}"#),
    ("several", r#"{"model": "softmax", "l2": [0.01, 0.1], "threads": 1}"#),
    ("several", r#"{"model": "softmax", "l2": 0.01, "solver": "lbfgs", "threads": 1}"#),
    ("several", r#"{"model": "softmax", "l2": 0.01, "class-weight": "balanced", "intercept": false, "threads": 1}"#),
    ("several", r#"{"model": "softmax", "l1": 0.01, "class-weight": "balanced", "intercept": false, "threads": 1}"#),
    ("several", r#"{"model": "logistic", "multiclass": "ovr", "l2": [0.01, 0.1], "threads": 1}"#),
    ("several", r#"{"model": "squared-hinge", "multiclass": "ovr", "l1": 0.01, "solver": "owlqn", "threads": 1}"#),
    ("positive", r#"{"model": "poisson", "l2": [0.01, 0.1], "threads": 1}"#),
    ("positive", r#"{"model": "poisson", "l1": 0.01, "solver": "owlqn", "threads": 1}"#),
    ("positive", r#"{"model": "gamma", "l2": 0.01, "solver": "lbfgs", "threads": 1}"#),
    ("positive", r#"{"model": "gamma", "l1": 0.01, "intercept": false, "threads": 1}"#),
    ("positive", r#"{"model": "tweedie", "tweedie-power": 1.3, "l2": 0.01, "threads": 1}"#),
];

#[test]
fn the_bits_do_not_depend_on_threads_tiers_or_ranks() {
    let folder = tempfile::tempdir().expect("a folder");
    for label in ["real", "binary", "several", "positive"] {
        let dataset = mixed(&folder.path().join(label), label);
        for (_, text) in PLANS.iter().filter(|(of, _)| *of == label) {
            let one = plan(text);
            let base = fit_with(&dataset, &one, &Solo).expect("trains");
            assert!(base.models.iter().all(|m| m.has_converged()), "{text}: {:?}", base.models);
            for threads in [2, 5] {
                let other = fit_with(&dataset, &TrainPlan { threads, ..one.clone() }, &Solo).expect("trains");
                assert_eq!(bits(&base), bits(&other), "{text}: {threads} threads");
            }
            for tier in Tier::available().into_iter().filter(|tier| *tier != Tier::Portable) {
                let other = TrainPlan { tier: Some(tier.name().into()), ..one.clone() };
                let other = fit_with(&dataset, &other, &Solo).expect("trains");
                assert_eq!(bits(&base), bits(&other), "{text}: {}", tier.name());
            }
            for ranks in 1..=5 {
                let all = threads::run(ranks, |comm| fit_with(&dataset, &one, comm));
                for trained in all {
                    assert_eq!(bits(&base), bits(&trained.expect("trains")), "{text}: {ranks} ranks");
                }
            }
        }
    }
}

/// Different ways to the same minimum: closed form or Gram matrix, Newton, quasi-Newton.
#[test]
fn solvers_agree_on_every_kind_of_column() {
    let folder = tempfile::tempdir().expect("a folder");
    let solvers = [
        ("real", "linear", ["cholesky", "newton", "lbfgs"]),
        ("real", "huber", ["newton", "lbfgs", "owlqn"]),
        ("binary", "logistic", ["newton", "lbfgs", "owlqn"]),
        ("binary", "squared-hinge", ["newton", "lbfgs", "owlqn"]),
        ("several", "softmax", ["newton", "lbfgs", "owlqn"]),
        ("positive", "poisson", ["newton", "lbfgs", "owlqn"]),
        ("positive", "gamma", ["newton", "lbfgs", "owlqn"]),
        ("positive", "tweedie", ["newton", "lbfgs", "owlqn"]),
    ];
    for (label, model, solvers) in solvers {
        let dataset = mixed(&folder.path().join(label), label);
        for (standardize, intercept) in [(true, true), (false, true), (true, false), (false, false)] {
            let objective = |solver: &str| {
                let text = format!(
                    r#"{{"model": "{model}", "l2": 0.05, "standardize": {standardize}, "intercept": {intercept},
                        "solver": "{solver}", "tolerance": 1e-9, "threads": 2}}"#
                );
                fit(&dataset, &text).expect("trains").models[0].objective
            };
            let all: Vec<f64> = solvers.iter().map(|solver| objective(solver)).collect();
            for other in &all {
                assert!((other / all[0] - 1.0).abs() < 1e-6, "{model} {standardize} {intercept}: {all:?}");
            }
        }
    }
}

/// Asks to stop after so many passes.
pub(crate) struct StopAfter {
    passes: Mutex<u32>,
    cancel: Cancel,
}

impl StopAfter {
    /// Asks `cancel`.
    pub(crate) fn new(passes: u32, cancel: &Cancel) -> StopAfter {
        StopAfter { passes: Mutex::new(passes), cancel: cancel.clone() }
    }
}

impl TrainWatch for StopAfter {
    fn pass(&self, _report: &PassReport) {
        let mut left = self.passes.lock().expect("not poisoned");
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.cancel.request();
        }
    }

    fn rows(&self, _rows: u64) {}
}

fn fit_from(dataset: &Dataset, plan: &TrainPlan, start: Start) -> Trained {
    let cancel = Cancel::new();
    let company = Company { comm: &Solo, watch: &Unwatched, cancel: &cancel };
    match train(dataset, plan, start, &company).expect("trains") {
        Ended::Trained(trained) => *trained,
        Ended::Interrupted(_) => panic!("nobody asked to stop"),
    }
}

/// Trains whole, then stopped after each number of passes and resumed from the checkpoint as text: the same bits. How often it could
/// be stopped.
pub(crate) fn resumes_to_the_same_bits(dataset: &Dataset, plan: &TrainPlan, start: &Start) -> usize {
    let whole = fit_from(dataset, plan, start.clone());
    for stop in 1..6 {
        let cancel = Cancel::new();
        let watch = StopAfter::new(stop, &cancel);
        let company = Company { comm: &Solo, watch: &watch, cancel: &cancel };
        let checkpoint = match train(dataset, plan, start.clone(), &company).expect("stops") {
            Ended::Interrupted(checkpoint) => checkpoint,
            Ended::Trained(_) => return stop as usize - 1,
        };
        let text = serde_json::to_string(&checkpoint).expect("serialises");
        let checkpoint = serde_json::from_str(&text).expect("parses");
        let resumed = fit_from(dataset, plan, Start::Resume(checkpoint));
        assert_eq!(bits(&whole), bits(&resumed), "{plan:?} stopped after {stop}");
    }
    5
}

#[test]
fn an_interrupted_training_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    for (label, model) in [("binary", "logistic"), ("several", "softmax")] {
        let dataset = mixed(&folder.path().join(label), label);
        for solver in ["newton", "lbfgs"] {
            let text = format!(r#"{{"model": "{model}", "l2": [0.1, 0.001], "solver": "{solver}", "threads": 2}}"#);
            assert!(resumes_to_the_same_bits(&dataset, &plan(&text), &Start::Cold) >= 2, "{text}");
        }
    }
}

/// Memory for three models at a time: two begin after the training was resumed, and where they were told to.
#[test]
fn a_warm_start_is_kept_for_models_that_have_not_begun() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = mixed(folder.path(), "binary");
    let near = fit(&dataset, r#"{"model": "logistic", "l2": 0.02, "threads": 1}"#).expect("trains").models.remove(0);
    let start = Start::From { weights: near.weights, intercepts: near.intercepts };
    let path = plan(r#"{"model": "logistic", "l2": [0.1, 0.08, 0.06, 0.04, 0.01], "solver": "lbfgs", "threads": 1}"#);
    let path = TrainPlan { memory: Some(PROCESS_BYTES + 150_000), ..path };
    assert!(resumes_to_the_same_bits(&dataset, &path, &start) >= 2);
}

fn small(label: &[f32]) -> SampleDataset {
    let x = (0..label.len()).map(|i| (i * i % 7) as f32).collect();
    SampleDataset::new(64).f32("x", Role::Feature, x).f32("y", Role::Label, label.to_vec())
}

pub(crate) fn complaint(sample: SampleDataset, text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    match fit(&sample.write(&folder.path().join("data")).expect("a dataset"), text) {
        Err(Error::Training(message) | Error::Usage(message)) => message,
        other => panic!("expected a complaint, found {other:?}"),
    }
}

#[test]
fn labels_that_say_nothing_are_refused() {
    let logistic = r#"{"model": "logistic", "l2": 1, "threads": 1}"#;
    assert!(complaint(small(&[1.0; 8]), logistic).contains("1 distinct value in the training rows (1)"));
    assert!(complaint(small(&[0.0, 1.0, 2.0]), logistic).contains("3 distinct values in the training rows (0, 1, 2)"));
    let weightless = small(&[0.0, 1.0, 1.0]).f32("w", Role::Weight, vec![0.0; 3]);
    assert!(complaint(weightless, logistic).contains("sum to 0"));
    let one_sided = small(&[0.0, 1.0, 1.0]).f32("w", Role::Weight, vec![0.0, 1.0, 2.0]);
    assert!(complaint(one_sided, logistic).contains("one class"));
    // 2^53 and its neighbour are one number.
    let large = small(&[0.0, 9_007_199_254_740_992.0, 0.0]);
    assert!(complaint(large, logistic).contains("ingest the label with --categorical y"));
    let named = r#"{"model": "logistic", "class-weight": {"2": 3}, "threads": 1}"#;
    assert!(complaint(small(&[0.0, 1.0, 1.0]), named).contains("'0', '1'"));
}

/// The square of the scale of such a column is 0 or infinite in f64: so is its penalty.
#[test]
fn a_model_without_finite_numbers_is_not_kept() {
    for (model, label) in [("linear", [0.5, 2.0, 3.0, 7.0]), ("logistic", [0.0, 1.0, 0.0, 1.0])] {
        let sample = SampleDataset::new(64)
            .stored("x", Role::Feature, DType::F64, 0.0, 1.0, &[1e-160, 2e-160, 3e-160, -1e-160])
            .f32("y", Role::Label, label.to_vec());
        let text = format!(r#"{{"model": "{model}", "l2": 0.1, "standardize": false, "threads": 1}}"#);
        let said = complaint(sample, &text);
        assert!(said.contains("cannot be kept") && said.contains("1e-150"), "{said}");
    }
}

#[test]
fn classes_may_be_any_two_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let binary: Vec<f32> = (0..60).map(|i| f32::from(i % 3 == 0 || i % 7 == 4)).collect();
    let other: Vec<f32> = binary.iter().map(|y| 7.0 - 9.0 * y).collect();
    let text = r#"{"model": "logistic", "l2": 0.01, "threads": 1}"#;
    let a = fit(&small(&binary).write(&folder.path().join("a")).expect("a dataset"), text).expect("trains");
    let b = fit(&small(&other).write(&folder.path().join("b")).expect("a dataset"), text).expect("trains");
    assert_eq!(b.classes, Some(vec!["-2".to_string(), "7".to_string()]));
    // The order of the classes is turned: so is every sign.
    assert!((a.models[0].intercepts[0] + b.models[0].intercepts[0]).abs() < 1e-4);
    assert!((a.models[0].objective / b.models[0].objective - 1.0).abs() < 1e-6);
}

#[test]
fn constant_and_dependent_columns_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let x: Vec<f32> = (0..50).map(|i| ((i * 13) % 17) as f32).collect();
    let label = x.iter().enumerate().map(|(i, x)| 2.0 * x + 1.0 + (i % 3) as f32).collect();
    let dataset = SampleDataset::new(64)
        .f32("x", Role::Feature, x.clone())
        .f32("twice", Role::Feature, x.iter().map(|x| 2.0 * x).collect())
        .f32("same", Role::Feature, vec![3.0; 50])
        .f32("y", Role::Label, label)
        .write(&folder.path().join("data"))
        .expect("a dataset");
    for standardize in [true, false] {
        let trained = fit(&dataset, &format!(r#"{{"model": "linear", "standardize": {standardize}, "threads": 1}}"#));
        let trained = trained.expect("trains");
        assert!(trained.warnings.iter().any(|w| w.contains("'same'")), "{:?}", trained.warnings);
        assert!(trained.warnings.iter().any(|w| w.contains("'twice'") || w.contains("'x'")), "{:?}", trained.warnings);
        let [x, twice, same] = trained.models[0].coefficients[..] else { panic!("three coefficients") };
        assert_eq!(same, 0.0);
        // Smallest norm: of standardised coefficients both count alike, of plain ones x : twice = 1 : 2.
        let share = if standardize { 2.0 } else { 0.5 };
        assert!((x / twice - share).abs() < 1e-9, "{standardize}: {x} {twice}");
        let ridge = format!(r#"{{"model": "linear", "l2": 1e-9, "standardize": {standardize}, "threads": 1}}"#);
        let ridge = fit(&dataset, &ridge).expect("trains");
        assert!((ridge.models[0].coefficients[0] / x - 1.0).abs() < 1e-5, "the limit of ridge");
    }
}

/// What Newton's method knows of the curvature is rounded to `f32`: noise in directions that no row has makes no long steps, and
/// the answer is that of gradients alone, which have no part in these directions.
#[test]
fn dependent_columns_share_in_newtons_method_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut next = numbers(31);
    let [x, z, u]: [Vec<f32>; 3] = std::array::from_fn(|_| (0..500).map(|_| next() as f32).collect());
    let rows = || x.iter().zip(&z);
    let label = rows().zip(&u).map(|((x, z), u)| f32::from(x - 2.0 * z + 0.7 * u > 0.1)).collect();
    let dataset = SampleDataset::new(64)
        .f32("x", Role::Feature, x.clone())
        .f32("half", Role::Feature, x.iter().map(|x| x / 2.0).collect())
        .f32("apart", Role::Feature, rows().map(|(x, z)| x - z).collect())
        .f32("z", Role::Feature, z.clone())
        .f32("y", Role::Label, label)
        .write(&folder.path().join("data"))
        .expect("a dataset");
    let of = |solver: &str| {
        let text = format!(r#"{{"model": "logistic", "solver": "{solver}", "tolerance": 1e-9, "threads": 1}}"#);
        fit(&dataset, &text).expect("trains")
    };
    let (newton, lbfgs) = (of("newton"), of("lbfgs"));
    for (a, b) in newton.models[0].coefficients.iter().zip(&lbfgs.models[0].coefficients) {
        assert!((a - b).abs() < 0.01, "{:?} {:?}", newton.models[0].coefficients, lbfgs.models[0].coefficients);
    }
    let named = newton.warnings.iter().find(|warning| warning.contains("Combinations of other columns"));
    assert_eq!(named.map(|warning| warning.split(". ").next().unwrap_or_default().matches('\'').count()), Some(4));
}

/// A matrix of 300,001 x 300,001 numbers takes terabytes: asked for by name, it is refused before anything is allocated.
#[test]
fn a_matrix_that_does_not_fit_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let sparse: Vec<Vec<(u32, f32)>> = (0..64).map(|i| vec![(i * 4_000, 1.0)]).collect();
    let y = (0..64).map(|i| f32::from(i % 3 == 0)).collect();
    let dataset = SampleDataset::new(64).sparse("s", 300_000, &sparse).f32("y", Role::Label, y);
    let dataset = dataset.write(&folder.path().join("data")).expect("a dataset");
    for (model, solver) in [
        ("logistic", "newton"),
        ("logistic", "proximal-newton"),
        ("linear", "cholesky"),
        ("linear", "coordinate-descent"),
    ] {
        let plan = format!(r#"{{"model": "{model}", "l1": 0.1, "solver": "{solver}", "threads": 2}}"#);
        let plan = if solver == "newton" || solver == "cholesky" { plan.replace("l1", "l2") } else { plan };
        let error = fit(&dataset, &plan).expect_err("terabytes").to_string();
        assert!(error.contains("300001 x 300001") && error.contains("--solver lbfgs"), "{solver}: {error}");
    }
}
