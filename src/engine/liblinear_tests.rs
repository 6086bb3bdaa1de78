//! Answers against LIBLINEAR's: objectives of its four losses and penalties that are ours too (tests/reference/liblinear_models.py says how
//! they were made, and how its penalised intercept was made equal to ours).

use gristmill_kernels::dtype::DType;
use serde::Deserialize;

use super::reference_tests::{Plain, Reference};
use super::tests::fit;
use crate::optim::dense::dot;
use crate::train::Fitted;

#[derive(Deserialize)]
struct Answers {
    sets: Vec<Set>,
}

#[derive(Deserialize)]
struct Set {
    name: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    l1: f64,
    l2: f64,
    intercept: bool,
    objective: f64,
}

/// The objective of real coefficients, in `f64` from its definition.
fn objective(plain: &Plain, case: &Case, fitted: &Fitted) -> f64 {
    let b = &fitted.coefficients;
    let of_row = |(row, y): (&Vec<f64>, &f64)| {
        let z = dot(row, b) + fitted.real_intercepts[0];
        let gap = (1.0 - (2.0 * y - 1.0) * z).max(0.0);
        match case.model.as_str() {
            "logistic" => z.max(0.0) + (-z.abs()).exp().ln_1p() - y * z,
            "squared-hinge" => gap * gap,
            _ => gap,
        }
    };
    let loss: f64 = plain.x.iter().zip(&plain.y).map(of_row).sum();
    loss / plain.y.len() as f64 + case.l1 * b.iter().map(|b| b.abs()).sum::<f64>() + case.l2 / 2.0 * dot(b, b)
}

#[test]
fn objectives_are_those_of_liblinear() {
    let answers: Answers =
        serde_json::from_str(include_str!("../../tests/reference/liblinear_models.json")).expect("the committed file");
    let reference: Reference =
        serde_json::from_str(include_str!("../../tests/reference/models.json")).expect("the committed file");
    let folder = tempfile::tempdir().expect("a folder");
    let mut wrong = Vec::new();
    for set in &answers.sets {
        let own = reference.sets.iter().find(|own| own.name == set.name).expect("a set of models.json");
        let plain = own.plain(reference.unit, "logistic");
        for dtype in [DType::F32, DType::F64] {
            let dataset = own.dataset(&plain, dtype, &folder.path().join(format!("{}-{}", set.name, dtype.name())));
            for case in &set.cases {
                let text = format!(
                    r#"{{"model": "{}", "l1": {}, "l2": {}, "intercept": {}, "standardize": false, "tolerance": 1e-8, "threads": 1}}"#,
                    case.model, case.l1, case.l2, case.intercept
                );
                let trained = fit(&dataset, &text).expect("trains");
                let off = objective(&plain, case, &trained.models[0]) / case.objective - 1.0;
                if off.abs() >= 1e-6 {
                    wrong.push(format!("{} {} {text}: {off:.1e}", set.name, dtype.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
