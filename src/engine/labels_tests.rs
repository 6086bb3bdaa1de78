//! Several labels a row: against scikit-learn's objectives (tests/reference/labels.py says how they were made), and each label against
//! the model that is trained alone.

use std::path::Path;

use gristmill_io::dataset::Dataset;
use gristmill_io::encode::labels::dtype;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use gristmill_kernels::Loss;
use gristmill_kernels::dtype::DType;
use gristmill_kernels::reference;
use mpi_launch::{Solo, threads};
use serde::Deserialize;

use super::tests::{bits, complaint, fit, fit_with, plan, resumes_to_the_same_bits};
use crate::optim::dense::dot;
use crate::optim::problems::numbers;
use crate::plan::TrainPlan;
use crate::train::{Fitted, Start};

#[derive(Deserialize)]
struct Answers {
    sets: Vec<Set>,
}

#[derive(Deserialize)]
struct Set {
    name: String,
    unit: f64,
    x: Vec<Vec<i64>>,
    y: Vec<Vec<u8>>,
    w: Option<Vec<f64>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    l1: f64,
    l2: f64,
    standardize: bool,
    intercept: bool,
    objectives: Vec<f64>,
}

impl Set {
    fn column(&self, j: usize) -> Vec<f64> {
        self.x.iter().map(|row| row[j] as f64 * self.unit).collect()
    }

    fn dataset(&self, dtype: DType, folder: &Path) -> Dataset {
        let mut sample = SampleDataset::new(64);
        for j in 0..self.x[0].len() {
            sample = sample.stored(&format!("x{j}"), Role::Feature, dtype, 0.0, 1.0, &self.column(j));
        }
        let of_row = |y: &Vec<u8>| y.iter().enumerate().map(|(k, y)| u64::from(*y) << k).sum();
        sample = sample.labels(self.y[0].len(), &self.y.iter().map(of_row).collect::<Vec<u64>>());
        if let Some(weight) = &self.w {
            sample = sample.stored("w", Role::Weight, dtype, 0.0, 1.0, weight);
        }
        sample.write(folder).expect("a dataset")
    }

    /// The objective of a label's real coefficients, in `f64` from its definition.
    fn objective(&self, case: &Case, fitted: &Fitted, label: usize) -> f64 {
        let n = self.x[0].len();
        let own = &fitted.coefficients[label * n..(label + 1) * n];
        let (mut loss, mut total) = (0.0, 0.0);
        for (i, row) in self.x.iter().enumerate() {
            let x: Vec<f64> = row.iter().map(|&x| x as f64 * self.unit).collect();
            let z = dot(&x, own) + fitted.real_intercepts[label];
            let weight = self.w.as_ref().map_or(1.0, |w| w[i]);
            loss += weight * reference::terms(Loss::Logistic, z, f64::from(self.y[i][label])).loss;
            total += weight;
        }
        let spread = |j: usize| {
            let column = self.column(j);
            let mean = column.iter().sum::<f64>() / column.len() as f64;
            let squares: f64 = column.iter().map(|x| (x - mean) * (x - mean)).sum();
            (squares / (column.len() as f64 - 1.0)).sqrt()
        };
        let b: Vec<f64> = (0..n).map(|j| own[j] * if case.standardize { spread(j) } else { 1.0 }).collect();
        loss / total + case.l1 * b.iter().map(|b| b.abs()).sum::<f64>() + case.l2 / 2.0 * dot(&b, &b)
    }
}

#[test]
fn every_label_reaches_the_objective_of_scikit_learn() {
    let answers: Answers =
        serde_json::from_str(include_str!("../../tests/reference/labels.json")).expect("the committed file");
    assert!(answers.sets.len() >= 3);
    let folder = tempfile::tempdir().expect("a folder");
    for set in &answers.sets {
        for dtype in [DType::F32, DType::F64] {
            let dataset = set.dataset(dtype, &folder.path().join(format!("{}-{}", set.name, dtype.name())));
            for case in &set.cases {
                let text = format!(
                    r#"{{"model": "logistic", "l1": {}, "l2": {}, "standardize": {}, "intercept": {}, "tolerance": 1e-8, "threads": 1}}"#,
                    case.l1, case.l2, case.standardize, case.intercept
                );
                let trained = fit(&dataset, &text).expect("trains");
                let fitted = &trained.models[0];
                assert_eq!(fitted.intercepts.len(), case.objectives.len());
                for (label, expected) in case.objectives.iter().enumerate() {
                    let off = set.objective(case, fitted, label) / expected - 1.0;
                    assert!(off.abs() < 1e-6, "{} {} {text} label {label}: {off:e}", set.name, dtype.name());
                }
                let told = fitted.objective / case.objectives.iter().sum::<f64>() - 1.0;
                assert!(told.abs() < 1e-6, "{} {} {text}: {told:e}", set.name, dtype.name());
            }
        }
    }
}

const ROWS: usize = 700;

/// Two columns and weights, with whatever label is put beside them.
fn sample(features: DType) -> SampleDataset {
    let mut next = numbers(5);
    let x: Vec<Vec<f64>> = (0..2).map(|_| (0..ROWS).map(|_| f64::from(next() as f32) * 3.0).collect()).collect();
    let w: Vec<f64> = (0..ROWS).map(|i| 1.0 + (i % 4) as f64).collect();
    SampleDataset::new(64)
        .test_rows(100)
        .stored("a", Role::Feature, features, 0.0, 1.0, &x[0])
        .stored("b", Role::Feature, features, 0.0, 1.0, &x[1])
        .stored("w", Role::Weight, DType::U8, 0.0, 1.0, &w)
}

/// Labels of rows, each from a line of its own through the columns.
fn labels(count: usize) -> Vec<u64> {
    let mut next = numbers(5);
    let x: Vec<Vec<f64>> = (0..2).map(|_| (0..ROWS).map(|_| next()).collect()).collect();
    let has = |i: usize, k: usize| {
        let (s, c) = (k as f64).sin_cos();
        s * x[0][i] + c * x[1][i] + ((i * 7 + k) % 11) as f64 / 11.0 > 0.4
    };
    (0..ROWS).map(|i| (0..count).map(|k| u64::from(has(i, k)) << k).sum()).collect()
}

/// A label is the model that is trained alone, bit for bit, whatever holds the labels and however they are learnt.
#[test]
fn a_label_is_a_model_of_two_classes() {
    let folder = tempfile::tempdir().expect("a folder");
    let plans = [
        r#""model": "logistic", "l2": 0.01"#,
        r#""model": "logistic", "l1": [0.01, 0.1], "l2": 0.01"#,
        r#""model": "logistic", "l2": 0.1, "solver": "lbfgs", "intercept": false"#,
        r#""model": "squared-hinge", "l1": 0.01, "solver": "owlqn""#,
        r#""model": "hinge", "l2": 0.1, "tolerance": 1e-5"#,
        r#""model": "logistic", "l2": 0.01, "solver": "adagrad", "batch-rows": 32, "patience": 1, "epochs": 3"#,
        r#""model": "hinge", "l2": 0.01, "solver": "sgd", "momentum": 0.9, "batch-rows": 32, "learning-rate": 0.01"#,
        r#""model": "logistic", "l1": 0.001, "solver": "ftrl", "then": "owlqn", "batch-rows": 50"#,
    ];
    for (count, features, plans) in [
        (3, DType::F32, &plans[..]),
        (9, DType::F64, &plans[..1]),
        (20, DType::F32, &plans[5..6]),
        (30, DType::F32, &plans[..1]),
    ] {
        let held = labels(count);
        let several =
            sample(features).labels(count, &held).write(&folder.path().join(format!("{count}"))).expect("data");
        for text in plans {
            let together = fit(&several, &format!("{{{text}, \"threads\": 2}}")).expect("trains");
            for label in [0, 1, count - 1] {
                let own: Vec<f64> = held.iter().map(|held| (held >> label & 1) as f64).collect();
                // In the arithmetic that as many labels are learnt in.
                let wide = if dtype(count) == DType::F64 { DType::F64 } else { DType::U8 };
                let path = folder.path().join(format!("{count}-{label}-{}", text.len()));
                let alone = sample(features).stored("y", Role::Label, wide, 0.0, 1.0, &own).write(&path).expect("data");
                let alone = fit(&alone, &format!("{{{text}, \"threads\": 1}}")).expect("trains");
                for (all, one) in together.models.iter().zip(&alone.models) {
                    assert_eq!(all.intercepts.len(), count);
                    assert_eq!(all.weights[2 * label..2 * label + 2], one.weights[..], "{text}: {label} of {count}");
                    assert_eq!(all.intercepts[label], one.intercepts[0], "{text}: {label} of {count}");
                }
                std::fs::remove_dir_all(&path).expect("removed");
            }
        }
    }
}

#[test]
fn the_bits_of_labels_do_not_depend_on_threads_or_ranks() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = sample(DType::F32).labels(3, &labels(3)).write(folder.path()).expect("data");
    for text in [
        r#"{"model": "logistic", "l2": [0.01, 0.1], "folds": 3, "threads": 1}"#,
        r#"{"model": "squared-hinge", "l1": 0.01, "threads": 1}"#,
        r#"{"model": "logistic", "solver": "adam", "l2": 0.01, "batch-rows": 33, "epochs": 2, "threads": 1}"#,
        r#"{"model": "hinge", "solver": "svrg", "l2": 0.01, "batch-rows": 64, "learning-rate": 0.01, "epochs": 2, "threads": 1}"#,
    ] {
        let one = plan(text);
        let base = fit_with(&dataset, &one, &Solo).expect("trains");
        for threads in [2, 5] {
            let other = fit_with(&dataset, &TrainPlan { threads, ..one.clone() }, &Solo).expect("trains");
            assert_eq!(bits(&base), bits(&other), "{text}: {threads} threads");
            assert_eq!(base.validation, other.validation, "{text}: {threads} threads");
        }
        for ranks in [2, 3] {
            for trained in threads::run(ranks, |comm| fit_with(&dataset, &one, comm)) {
                let trained = trained.expect("trains");
                assert_eq!(bits(&base), bits(&trained), "{text}: {ranks} ranks");
                assert_eq!(base.validation, trained.validation, "{text}: {ranks} ranks");
            }
        }
    }
}

#[test]
fn an_interrupted_training_of_labels_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = sample(DType::F32).labels(3, &labels(3)).write(folder.path()).expect("data");
    for text in [
        r#"{"model": "logistic", "l2": [0.1, 0.001], "threads": 2}"#,
        r#"{"model": "squared-hinge", "l1": 0.01, "solver": "owlqn", "folds": 2, "threads": 2}"#,
        r#"{"model": "logistic", "solver": "adam", "batch-rows": 33, "epochs": 4, "averaging": 1, "threads": 2}"#,
        r#"{"model": "logistic", "solver": "adagrad", "batch-rows": 50, "epochs": 2, "then": "newton", "threads": 2}"#,
    ] {
        assert!(resumes_to_the_same_bits(&dataset, &plan(text), &Start::Cold) >= 3, "{text}");
    }
}

/// Folds judge labels as `evaluate` would: the held-out loss is the sum of the labels' log-losses.
#[test]
fn folds_judge_labels() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = sample(DType::F32).labels(3, &labels(3)).write(folder.path()).expect("data");
    let trained = fit(&dataset, r#"{"model": "logistic", "l2": [0.01, 10], "folds": 3}"#).expect("trains");
    let validation = trained.validation.as_ref().expect("folds");
    assert_eq!((validation.configurations.len(), validation.best), (2, 0));
    for held_out in &validation.configurations {
        let names: Vec<&str> = held_out.figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(names[..3], ["log_loss", "subset_accuracy", "hamming_loss"]);
        let [loss, log_loss] = [&held_out.loss, &held_out.figures[0]].map(|spread| spread.mean.expect("a mean"));
        assert!((loss - 3.0 * log_loss).abs() < 1e-6, "{loss} {log_loss}");
    }
}

#[test]
fn labels_that_cannot_be_learnt_are_refused() {
    let of = |held: Vec<u64>| {
        let x = (0..held.len()).map(|i| (i * i % 7) as f32).collect();
        SampleDataset::new(64).f32("x", Role::Feature, x).labels(3, &held)
    };
    let some = || of((0..90).map(|i| i % 8).collect());
    for (model, what) in [("linear", "--model logistic"), ("softmax", "--model logistic")] {
        let said = complaint(some(), &format!(r#"{{"model": "{model}"}}"#));
        assert!(said.contains("'label0', 'label1', 'label2'") && said.contains(what), "{said}");
    }
    let said = complaint(some(), r#"{"model": "logistic", "multiclass": "ovr"}"#);
    assert!(said.contains("multiclass is set") && said.contains("several labels"), "{said}");
    let said = complaint(some(), r#"{"model": "logistic", "class-weight": "balanced"}"#);
    assert!(said.contains("class-weight is set") && said.contains("several labels"), "{said}");
    let said = complaint(of((0..90).map(|i| i % 4).collect()), r#"{"model": "logistic"}"#);
    assert!(said.contains("'label2' is 0 in the training rows"), "{said}");
    let said = complaint(of((0..90).map(|i| i % 4 + 4).collect()), r#"{"model": "logistic"}"#);
    assert!(said.contains("'label2' is 1 in the training rows"), "{said}");
    let rare = (0..90).map(|i| i % 4 + if i == 40 { 4 } else { 0 }).collect();
    let said = complaint(of(rare), r#"{"model": "logistic", "folds": 3}"#);
    assert!(said.contains("'label2' is 0 in the rows outside fold") && said.contains("Use fewer --folds"), "{said}");
}
