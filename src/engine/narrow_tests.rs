//! Losses with a kink against scikit-learn's linear programs and support vector machines (tests/reference/kinked.py says how they
//! were made).

use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use gristmill_kernels::dtype::DType;
use gristmill_kernels::reference;
use serde::Deserialize;

use super::reference_tests::Reference;
use super::tests::{fit, plan};
use crate::optim::dense::dot;

#[derive(Deserialize)]
struct Answers {
    sets: Vec<Cases>,
}

#[derive(Deserialize)]
struct Cases {
    name: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    quantile: f64,
    l1: f64,
    l2: f64,
    objective: f64,
}

impl Case {
    fn request(&self) -> String {
        let own = if self.model == "quantile" { format!(r#""quantile": {},"#, self.quantile) } else { String::new() };
        format!(
            r#"{{"model": "{}", {own} "l1": {}, "l2": {}, "tolerance": 3e-7, "threads": 1}}"#,
            self.model, self.l1, self.l2
        )
    }
}

/// Within 1e-6 of the least objective, and certified to be.
#[test]
fn objectives_are_those_of_linear_programs() {
    let sets: Reference =
        serde_json::from_str(include_str!("../../tests/reference/models.json")).expect("the committed file");
    let answers: Answers =
        serde_json::from_str(include_str!("../../tests/reference/kinked.json")).expect("the committed file");
    let folder = tempfile::tempdir().expect("a folder");
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for answer in &answers.sets {
        let set = sets.sets.iter().find(|set| set.name == answer.name).expect("a set of that name");
        for kind in ["linear", "binary"] {
            let plain = set.plain(sets.unit, kind);
            let dataset = set.dataset(&plain, DType::F64, &folder.path().join(format!("{}-{kind}", set.name)));
            for case in answer.cases.iter().filter(|case| (case.model == "hinge") == (kind == "binary")) {
                let text = case.request();
                let trained = fit(&dataset, &text).expect("trains");
                let fitted = &trained.models[0];
                let loss = plan(&text).model().loss();
                let mut sums = (0.0, 0.0);
                for ((row, y), w) in plain.x.iter().zip(&plain.y).zip(&plain.w) {
                    let z = dot(row, &fitted.coefficients) + fitted.real_intercepts[0];
                    sums = (sums.0 + w * reference::terms(loss, z, *y).loss, sums.1 + w);
                }
                let b = plain.penalised(&fitted.coefficients, true);
                let penalty = case.l1 * b.iter().map(|b| b.abs()).sum::<f64>() + case.l2 / 2.0 * dot(&b, &b);
                let off = (sums.0 / sums.1 + penalty) / case.objective - 1.0;
                let told = fitted.objective / case.objective - 1.0;
                checked += 1;
                if !(off.abs() < 1e-6 && told.abs() < 1e-6 && fitted.has_converged()) {
                    let (reason, passes) = (&fitted.reason, fitted.passes);
                    wrong.push(format!("{} {text}: off {off:.1e}, told {told:.1e}, {reason} ({passes})", set.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {checked}:\n{}", wrong.len(), wrong.join("\n"));
}

/// At the minimum all rows of a level are beyond the kink of the squared hinge loss, and its columns have rounding for a Hessian.
/// The least objective is that of scipy 1.17.1 `minimize(method="BFGS", gtol=1e-12)` from five starts.
#[test]
fn a_level_without_curvature_has_no_long_steps() {
    let a = [3.0, -4.0, -5.0, 8.0, -6.0, -4.0, 2.0, 5.0, 2.0, 6.0];
    let weight = [0.8, 0.8, 0.6, 0.7, 2.5, 1.3, 0.8, 1.8, 1.9, 2.0];
    let label = [0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    for (levels, codes) in [(2, [0, 1, 1, 1, 1, 1, 0, 0, 1, 1]), (3, [1, 0, 0, 0, 0, 0, 1, 1, 0, 0])] {
        let folder = tempfile::tempdir().expect("a folder");
        let dataset = SampleDataset::new(64)
            .f32("a", Role::Feature, a.to_vec())
            .codes("b", Role::Feature, levels, &codes)
            .f32("w", Role::Weight, weight.to_vec())
            .f32("y", Role::Label, label.to_vec())
            .write(&folder.path().join("data"))
            .expect("a dataset");
        let trained = fit(&dataset, r#"{"model": "squared-hinge", "threads": 1}"#).expect("trains");
        let fitted = &trained.models[0];
        let off = fitted.objective / 0.47233239986481756 - 1.0;
        assert!(fitted.has_converged() && off.abs() < 1e-6, "off {off:.1e}, {}", fitted.reason);
    }
}

/// Two columns of so many levels and labels, from a linear congruential generator.
fn many_levels(rows: usize, levels: u64, seed: u64) -> (Vec<u32>, Vec<u32>, Vec<f64>) {
    let mut state = seed;
    let mut next = move || {
        state = (1_103_515_245 * state + 12_345) % (1 << 31);
        state >> 16
    };
    let (mut a, mut b, mut y) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rows {
        let (one, two, noise) = (next() % levels, next() % levels, next() % 2_001);
        let effects = (one * one % 17) as f64 - 8.0 + (two * 7 % 11) as f64 - 5.0;
        y.push(effects + (noise as f64 - 1000.0) / 250.0);
        a.push(one as u32);
        b.push(two as u32);
    }
    (a, b, y)
}

/// Most rows of most levels are far from the kink, where the loss is all but straight. Least objectives are those of scipy 1.17.1
/// `linprog(method="highs")`.
#[test]
fn levels_far_from_the_kink_are_no_way_without_end() {
    let cases = [
        (120, 25, 1, r#""model": "quantile", "quantile": 0.9"#, 0.18715999999999997),
        (300, 40, 2, r#""model": "quantile", "quantile": 0.9"#, 0.26282266666666665),
        (300, 40, 2, r#""model": "absolute""#, 1.5406000000000004),
        (300, 40, 2, r#""model": "hinge""#, 0.04666666666666667),
    ];
    for (rows, levels, seed, model, least) in cases {
        let (a, b, y) = many_levels(rows, levels, seed);
        let y = if model.contains("hinge") { y.iter().map(|&y| f64::from(y > 1.0)).collect() } else { y };
        let folder = tempfile::tempdir().expect("a folder");
        let dataset = SampleDataset::new(64)
            .codes("a", Role::Feature, levels as usize, &a)
            .codes("b", Role::Feature, levels as usize, &b)
            .f64("y", Role::Label, y)
            .write(&folder.path().join("data"))
            .expect("a dataset");
        let trained = fit(&dataset, &format!(r#"{{{model}, "threads": 1}}"#)).expect("trains");
        let fitted = &trained.models[0];
        let off = fitted.objective / least - 1.0;
        let told = format!("{rows} {model}: off {off:.1e}, {} ({} passes)", fitted.reason, fitted.passes);
        assert!(fitted.has_converged() && off.abs() < 1e-6 && fitted.passes < 250, "{told}");
    }
}
