//! Losses beside squares and logarithms of odds, against others' answers: tests/reference/losses.py says how these were made.

use std::collections::BTreeMap;

use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use gristmill_kernels::dtype::DType;
use gristmill_kernels::reference;
use mpi_launch::Solo;
use serde::Deserialize;

use super::reference_tests::{Plain, Reference};
use super::tests::{bits, complaint, fit, fit_with, plan};
use crate::optim::dense::dot;
use crate::optim::problems::numbers;
use crate::plan::TrainPlan;

#[derive(Deserialize)]
struct Answers {
    power: f64,
    sets: Vec<Labels>,
}

#[derive(Deserialize)]
struct Labels {
    name: String,
    labels: BTreeMap<String, Vec<i64>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    l1: f64,
    l2: f64,
    standardize: bool,
    intercept: bool,
    delta: f64,
    objective: f64,
}

impl Case {
    fn request(&self, power: f64, solver: &str) -> String {
        let own = match self.model.as_str() {
            "huber" => format!(r#""huber-delta": {},"#, self.delta),
            "tweedie" => format!(r#""tweedie-power": {power},"#),
            _ => String::new(),
        };
        format!(
            r#"{{"model": "{}", {own} "l1": {}, "l2": {}, "standardize": {}, "intercept": {}, "solver": "{solver}",
                "tolerance": 1e-8, "max-passes": 3000, "threads": 1}}"#,
            self.model, self.l1, self.l2, self.standardize, self.intercept
        )
    }

    /// The objective of real coefficients, in `f64` from its definition.
    fn objective(&self, plan: &TrainPlan, plain: &Plain, coefficients: &[f64], intercept: f64) -> f64 {
        let model = plan.model();
        let (mut loss, mut total) = (0.0, 0.0);
        for ((row, y), w) in plain.x.iter().zip(&plain.y).zip(&plain.w) {
            let least = model.least_loss(*y);
            loss += w * (reference::terms(model.loss(), dot(row, coefficients) + intercept, *y).loss - least);
            total += w;
        }
        let b = plain.penalised(coefficients, self.standardize);
        loss / total + self.l1 * b.iter().map(|b| b.abs()).sum::<f64>() + self.l2 / 2.0 * dot(&b, &b)
    }
}

/// Within 1e-6 of the least objective, by second-order and by quasi-Newton steps, whether the columns are f32 or f64. Only the
/// latter may say, seldom, that they did not come to an end (at the noise of f32, or on collinear columns under a loss with
/// kinks), and be within 2e-5 all the same.
#[test]
fn objectives_are_the_least() {
    let sets: Reference =
        serde_json::from_str(include_str!("../../tests/reference/models.json")).expect("the committed file");
    let answers: Answers =
        serde_json::from_str(include_str!("../../tests/reference/losses.json")).expect("the committed file");
    let folder = tempfile::tempdir().expect("a folder");
    let (mut wrong, mut checked, mut unconverged) = (Vec::new(), 0, 0);
    for labels in &answers.sets {
        let set = sets.sets.iter().find(|set| set.name == labels.name).expect("a set of that name");
        for (model, label) in &labels.labels {
            for dtype in [DType::F32, DType::F64] {
                let mut plain = set.plain(sets.unit, "linear");
                plain.y = label.iter().map(|&y| y as f64 * sets.unit).collect();
                let at = folder.path().join(format!("{}-{}-{model}", set.name, dtype.name()));
                let dataset = set.dataset(&plain, dtype, &at);
                for case in labels.cases.iter().filter(|case| case.model == *model) {
                    for solver in ["auto", if case.l1 > 0.0 { "owlqn" } else { "lbfgs" }] {
                        let text = case.request(answers.power, solver);
                        let trained = fit(&dataset, &text).unwrap_or_else(|e| panic!("{} {text}: {e}", set.name));
                        let fitted = &trained.models[0];
                        let found =
                            case.objective(&plan(&text), &plain, &fitted.coefficients, fitted.real_intercepts[0]);
                        let (off, told) = (found / case.objective - 1.0, fitted.objective / case.objective - 1.0);
                        let open = solver != "auto" && !fitted.has_converged();
                        let most = if open { 2e-5 } else { 1e-6 };
                        checked += 1;
                        unconverged += usize::from(open);
                        if !(off.abs() < most && told.abs() < most && (fitted.has_converged() || open)) {
                            wrong.push(format!(
                                "{} {} {text}: off {off:.1e}, told {told:.1e}, {} ({} passes)",
                                set.name,
                                dtype.name(),
                                fitted.reason,
                                fitted.passes
                            ));
                        }
                    }
                }
            }
        }
    }
    assert!(unconverged * 50 <= checked, "{unconverged} of {checked} did not converge");
    assert!(wrong.is_empty(), "{} of {checked}:\n{}", wrong.len(), wrong.join("\n"));
}

fn counts(label: Vec<f32>) -> SampleDataset {
    let x = (0..label.len()).map(|i| (i * i % 7) as f32).collect();
    SampleDataset::new(64).f32("x", Role::Feature, x).f32("y", Role::Label, label)
}

#[test]
fn labels_that_a_mean_cannot_have_are_named_with_their_row() {
    let mut label = vec![1.0; 300];
    label[200] = -2.0;
    let message = complaint(counts(label.clone()), r#"{"model": "poisson", "threads": 1}"#);
    assert!(message.contains("-2 in training grain 3, row 9") && message.contains("0 or greater"), "{message}");
    label[200] = 0.0;
    let message = complaint(counts(label), r#"{"model": "gamma", "threads": 1}"#);
    assert!(message.contains("0 in training grain 3, row 9") && message.contains("greater than 0"), "{message}");
    let message = complaint(counts(vec![0.0; 100]), r#"{"model": "tweedie", "threads": 1}"#);
    assert!(message.contains("all 0"), "{message}");
}

/// Amounts of any size are learnt as ordinary numbers are: the answers of scikit-learn 1.9.1 (`PoissonRegressor`, `TweedieRegressor`,
/// `GammaRegressor`, alpha 0.01, tol 1e-12) to the labels below, and for labels times u those with the intercept log u higher and the objective
/// u^(2-p) times as large. Offsets and folds see the same.
#[test]
fn amounts_of_any_size_are_learnt() {
    let folder = tempfile::tempdir().expect("a folder");
    let x: Vec<f64> = (0..600i64).map(|i| ((i * 7_919) % 401 - 200) as f64 / 128.0).collect();
    let more = |i: i64| if (i * 7_919) % 401 > 200 { (i * 17) % 5 } else { 0 };
    let y: Vec<f64> = (0..600i64).map(|i| (1 + (i * 31) % 11 + (i * i) % 7 + more(i)) as f64).collect();
    for (model, power, slope, intercept, objective) in [
        ("poisson", 1.0, 0.11382803562251764, 2.1877146740334377, 0.7862844437820641),
        ("tweedie", 1.5, 0.11396088910279092, 2.1876881342807377, 0.28398707114451965),
        ("gamma", 2.0, 0.1134107964904215, 2.1876684469498264, 0.1063249198011475),
    ] {
        let mut held_out = None;
        for k in [0, -300, -84, -40, 14, 43, 84, 300] {
            let unit = 2f64.powi(k);
            let grown = unit.powf(2.0 - power);
            let label = y.iter().map(|y| y * unit).collect();
            let mut sample = SampleDataset::new(192).f64("x", Role::Feature, x.clone()).f64("y", Role::Label, label);
            let shift = if k == 14 { 3.0 } else { 0.0 };
            if shift > 0.0 {
                sample = sample.f64("o", Role::Offset, vec![shift; x.len()]);
            }
            let dataset = sample.write(&folder.path().join(format!("{model}{k}"))).expect("a dataset");
            let text = format!(
                r#"{{"model": "{model}", "l2": {:e}, "standardize": false, "tolerance": 1e-9, "folds": 3,
                    "threads": 1}}"#,
                0.01 * grown
            );
            let trained = fit(&dataset, &text).unwrap_or_else(|error| panic!("{model} 2^{k}: {error}"));
            let fitted = &trained.models[0];
            let what = format!("{model} 2^{k}: {fitted:?}");
            let level = fitted.real_intercepts[0] + shift - unit.ln();
            assert!((fitted.coefficients[0] - slope).abs() < 1e-4, "{what}");
            assert!((level - intercept).abs() < 1e-4, "{what}");
            assert!((fitted.objective / grown / objective - 1.0).abs() < 1e-8, "{what}");
            assert!(fitted.has_converged() && fitted.passes < 30, "{what}");
            let validation = trained.validation.expect("folds");
            let own = validation.configurations[0].loss.mean.expect("a mean") / grown;
            let same = held_out.get_or_insert(own);
            assert!((own / *same - 1.0).abs() < 1e-6, "{what}: {own} {same}");
        }
    }
}

/// A row that is a thousand deviations off makes trial steps whose means no number holds; they are turned back, and the bits are
/// the same whoever made them.
#[test]
fn means_beyond_all_numbers_are_turned_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut next = numbers(29);
    let mut x: Vec<f32> = (0..1_500).map(|_| next() as f32).collect();
    let y = x.iter().map(|x| ((f64::from(*x) * 1.5).exp() * 2.0 * (1.0 + next())).floor() as f32).collect();
    x[700] = 1_000.0;
    let codes: Vec<u32> = (0..1_500).map(|i| (i * i) % 5).collect();
    let dataset = SampleDataset::new(192)
        .f32("x", Role::Feature, x)
        .codes("c", Role::Feature, 5, &codes)
        .f32("y", Role::Label, y)
        .write(&folder.path().join("data"))
        .expect("a dataset");
    for solver in ["newton", "lbfgs", "owlqn"] {
        let plan = plan(&format!(r#"{{"model": "poisson", "l2": 1e-6, "solver": "{solver}", "threads": 1}}"#));
        let one = fit_with(&dataset, &plan, &Solo).expect("trains");
        assert!(one.models[0].objective.is_finite() && one.models[0].has_converged(), "{solver}: {:?}", one.models[0]);
        let three = fit_with(&dataset, &TrainPlan { threads: 3, ..plan }, &Solo).expect("trains");
        assert_eq!(bits(&one), bits(&three), "{solver}");
    }
}
