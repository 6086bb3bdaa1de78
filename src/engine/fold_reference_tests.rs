//! Cross-validation against scikit-learn's `cross_val_score` on the same folds (tests/reference/folds.py says how they were made;
//! it writes the folds' generator again, so that they are checked as well).

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use serde::Deserialize;

use super::folds::Folds;
use super::tests::fit;
use super::validation::Validation;

#[derive(Deserialize)]
struct Reference {
    unit: f64,
    seed: u64,
    folds: Vec<u16>,
    x: Vec<Vec<i64>>,
    binary: Vec<u8>,
    real: Vec<i64>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    l2: f64,
    log_loss: Vec<f64>,
    accuracy: Vec<f64>,
    squared: Vec<f64>,
}

impl Reference {
    fn dataset(&self, label: Vec<f64>, folder: &std::path::Path) -> Dataset {
        let column = |j: usize| self.x.iter().map(|row| row[j] as f64 * self.unit).collect();
        let mut sample = SampleDataset::new(64);
        for j in 0..self.x[0].len() {
            sample = sample.f64(&format!("x{j}"), Role::Feature, column(j));
        }
        sample.f64("y", Role::Label, label).write(folder).expect("a dataset")
    }

    fn validation(&self, model: &str, dataset: &Dataset) -> Validation {
        let strengths: Vec<f64> = self.cases.iter().map(|case| case.l2).collect();
        let text = format!(
            r#"{{"model": "{model}", "l2": {strengths:?}, "standardize": false, "tolerance": 1e-12, "folds": 5,
                "seed": {}, "threads": 2}}"#,
            self.seed
        );
        fit(dataset, &text).expect("trains").validation.expect("folds")
    }
}

/// Held-out scores are of first order in the coefficients, which a gap of 1e-12 leaves off by some 1e-6.
fn check(name: &str, l2: f64, found: &[Option<f64>], want: impl Iterator<Item = f64>) {
    for (found, want) in found.iter().zip(want) {
        let found = found.expect("defined");
        assert!((found / want - 1.0).abs() < 1e-6, "{name}, l2 {l2}: {found} is not {want}");
    }
}

#[test]
fn held_out_scores_are_those_of_scikit_learn() {
    let reference: Reference =
        serde_json::from_str(include_str!("../../tests/reference/folds.json")).expect("the committed file");
    let folds = Folds::new(reference.seed, 5).expect("five");
    assert!(reference.folds.iter().enumerate().all(|(row, fold)| folds.of(row as u64) == *fold));
    let folder = tempfile::tempdir().expect("a folder");
    let binary = reference.binary.iter().map(|&y| f64::from(y)).collect();
    let logistic = reference.validation("logistic", &reference.dataset(binary, &folder.path().join("binary")));
    for (held_out, case) in logistic.configurations.iter().zip(&reference.cases) {
        check("loss", case.l2, &held_out.loss.folds, case.log_loss.iter().copied());
        let accuracy = held_out.figures.iter().find(|spread| spread.name == "accuracy").expect("a figure");
        check("accuracy", case.l2, &accuracy.folds, case.accuracy.iter().copied());
    }
    let real = reference.real.iter().map(|&y| y as f64 * reference.unit).collect();
    let linear = reference.validation("linear", &reference.dataset(real, &folder.path().join("real")));
    for (held_out, case) in linear.configurations.iter().zip(&reference.cases) {
        check("loss", case.l2, &held_out.loss.folds, case.squared.iter().map(|squared| squared / 2.0));
    }
    // The best by mean held-out loss, as one would choose by the mean of the scores.
    let mean = |losses: &[f64]| losses.iter().sum::<f64>();
    let best = |loss: fn(&Case) -> &[f64]| {
        (0..reference.cases.len())
            .min_by(|&a, &b| mean(loss(&reference.cases[a])).total_cmp(&mean(loss(&reference.cases[b]))))
    };
    assert_eq!(Some(logistic.best), best(|case| &case.log_loss));
    assert_eq!(Some(linear.best), best(|case| &case.squared));
}
