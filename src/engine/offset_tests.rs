//! Offsets: generalised linear models against those of statsmodels (tests/reference/offset.py says how they were made), and an
//! offset against what it means.

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use gristmill_kernels::dtype::DType;
use mpi_launch::{Solo, threads};
use serde::Deserialize;

use super::tests::{bits, complaint, fit, fit_with, plan};
use crate::plan::TrainPlan;

const ROWS: i64 = 1_200;

#[derive(Deserialize)]
struct Answers {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    weighted: bool,
    loss: f64,
    coefficients: Vec<f64>,
}

fn column(value: impl Fn(i64) -> f64) -> Vec<f64> {
    (0..ROWS).map(value).collect()
}

fn count(i: i64) -> f64 {
    let more = if (i * 7_919) % 401 > 200 { 2 * ((i * 17) % 5) } else { 0 };
    ((i * 31) % 11 + more) as f64
}

fn label(model: &str) -> Vec<f64> {
    column(|i| match model {
        "gamma" => count(i) + 1.0,
        "logistic" => f64::from(count(i) > 7.0),
        _ => count(i),
    })
}

/// The rows of the recipe; offset and label of a regression may be stored otherwise than they are.
fn sample(model: &str, weighted: bool, stored: (f64, f64)) -> SampleDataset {
    let (offset, scale) = stored;
    let known = column(|i| f64::from((((1 + (i * i) % 37) as f64).ln()) as f32));
    let known: Vec<f64> = known.into_iter().map(|value| (value - offset) / scale).collect();
    let mut sample = SampleDataset::new(192)
        .f64("a", Role::Feature, column(|i| ((i * 7_919) % 401 - 200) as f64 / 128.0))
        .f64("b", Role::Feature, column(|i| ((i * 104_729) % 307 - 150) as f64 / 64.0))
        .stored("e", Role::Offset, DType::F64, offset, scale, &known);
    let units = if model == "linear" { (3.0, 0.5) } else { (0.0, 1.0) };
    let label: Vec<f64> = label(model).into_iter().map(|y| (y - units.0) / units.1).collect();
    sample = sample.stored("y", Role::Label, DType::F64, units.0, units.1, &label);
    if weighted { sample.f64("w", Role::Weight, column(|i| (1 + i % 4) as f64)) } else { sample }
}

fn written(sample: SampleDataset, folder: &std::path::Path, name: &str) -> Dataset {
    sample.write(&folder.join(name)).expect("a dataset")
}

#[test]
fn offsets_mean_what_they_mean_to_statsmodels() {
    let answers: Answers =
        serde_json::from_str(include_str!("../../tests/reference/offset.json")).expect("the committed file");
    let folder = tempfile::tempdir().expect("a folder");
    for (number, case) in answers.cases.iter().enumerate() {
        let dataset = written(sample(&case.model, case.weighted, (1.5, 0.25)), folder.path(), &number.to_string());
        for solver in ["auto", "lbfgs", "owlqn"] {
            let model = &case.model;
            let text = format!(r#"{{"model": "{model}", "solver": "{solver}", "tolerance": 1e-9, "threads": 1}}"#);
            let fitted = &fit(&dataset, &text).expect("trains").models[0];
            assert!(fitted.has_converged() && (fitted.objective / case.loss - 1.0).abs() < 1e-6, "{text}: {fitted:?}");
            let found = fitted.real_intercepts.iter().chain(&fitted.coefficients);
            for (found, expected) in found.zip(&case.coefficients) {
                assert!((found - expected).abs() < 2e-3, "{text}: {fitted:?}, {:?}", case.coefficients);
            }
        }
    }
}

/// A count with the logarithm of its exposure as offset is the rate with the exposure as weight.
#[test]
fn a_poisson_offset_is_a_weighted_rate() {
    let folder = tempfile::tempdir().expect("a folder");
    let counts = fit(
        &written(sample("poisson", false, (0.0, 1.0)), folder.path(), "counts"),
        r#"{"model": "poisson", "tolerance": 1e-9}"#,
    );
    let exposure = |i: i64| f64::from((((1 + (i * i) % 37) as f64).ln()) as f32).exp();
    let rates = SampleDataset::new(192)
        .f64("a", Role::Feature, column(|i| ((i * 7_919) % 401 - 200) as f64 / 128.0))
        .f64("b", Role::Feature, column(|i| ((i * 104_729) % 307 - 150) as f64 / 64.0))
        .f64("y", Role::Label, column(|i| count(i) / exposure(i)))
        .f64("w", Role::Weight, column(exposure));
    let rates = fit(&written(rates, folder.path(), "rates"), r#"{"model": "poisson", "tolerance": 1e-9}"#);
    let [counts, rates] = [counts, rates].map(|trained| trained.expect("trains").models.remove(0));
    for (one, other) in counts.coefficients.iter().zip(&rates.coefficients) {
        assert!((one - other).abs() < 1e-4, "{counts:?} {rates:?}");
    }
}

#[test]
fn offsets_change_no_bit_by_who_reads_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for (model, rest) in
        [("poisson", r#""l2": 0.01"#), ("logistic", r#""l1": 0.01, "folds": 3"#), ("linear", r#""l1": 0.1"#)]
    {
        let dataset = written(sample(model, true, (0.0, 1.0)), folder.path(), model);
        let one = plan(&format!(r#"{{"model": "{model}", {rest}, "threads": 1}}"#));
        let base = fit_with(&dataset, &one, &Solo).expect("trains");
        for threads in [2, 5] {
            let other = fit_with(&dataset, &TrainPlan { threads, ..one.clone() }, &Solo).expect("trains");
            assert_eq!(
                (bits(&base), &base.validation),
                (bits(&other), &other.validation),
                "{model}: {threads} threads"
            );
        }
        for trained in (2..=3).flat_map(|ranks| threads::run(ranks, |comm| fit_with(&dataset, &one, comm))) {
            let trained = trained.expect("trains");
            assert_eq!((bits(&base), &base.validation), (bits(&trained), &trained.validation), "{model}");
        }
    }
}

#[test]
fn what_takes_no_offset_says_so() {
    let said = complaint(sample("linear", false, (0.0, 1.0)), r#"{"model": "linear", "solver": "cholesky"}"#);
    assert!(said.contains("takes no offset") && said.contains("--solver newton"), "{said}");
    let said = complaint(sample("logistic", false, (0.0, 1.0)), r#"{"model": "softmax"}"#);
    assert!(said.contains("offset 'e'") && said.contains("changes nothing"), "{said}");
}
