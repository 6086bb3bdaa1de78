//! The promises of trainings with many models: a model of a path is the model alone, a fold's model is that of the other rows,
//! and nothing depends on how many are trained side by side.

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use gristmill_io::watch::Cancel;
use mpi_launch::{Solo, threads};

use super::drive::train;
use super::folds::Folds;
use super::tests::{StopAfter, fit, fit_with, mixed, plan};
use crate::optim::dense::dot;
use crate::optim::problems::numbers;
use crate::plan::TrainPlan;
use crate::train::{Company, Ended, Start, Trained, Unwatched};

/// What must be the same to the bit: models, and how they did on held-out rows.
fn answer(trained: &Trained) -> String {
    let validation = serde_json::to_string(&trained.validation).expect("serialises");
    format!("{}\n{validation}", serde_json::to_string(&trained.models).expect("serialises"))
}

/// Label, model and solver, and the penalties of a path.
type Path = (&'static str, &'static str, &'static str, &'static [f64], &'static [f64]);

/// The first two have more models than kernels take together.
const PATHS: [Path; 5] = [
    ("binary", "logistic", "auto", &[0.0, 0.002, 0.01], &[0.3, 0.01, 0.001, 0.0001]),
    ("binary", "logistic", "lbfgs", &[0.0], &[1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001]),
    ("binary", "logistic", "owlqn", &[0.003, 0.01, 0.03], &[0.01, 0.0]),
    ("real", "linear", "auto", &[0.0, 0.1], &[0.1, 0.01]),
    ("real", "linear", "owlqn", &[0.01, 0.1], &[0.1, 0.01]),
];

fn text(model: &str, solver: &str, l1: &[f64], l2: &[f64], more: &str) -> String {
    format!(r#"{{"model": "{model}", "solver": "{solver}", "l1": {l1:?}, "l2": {l2:?}, "threads": 2 {more}}}"#)
}

#[test]
fn a_model_of_a_path_is_the_model_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    for (label, model, solver, l1, l2) in PATHS {
        let dataset = mixed(&folder.path().join(format!("{label}-{solver}")), label);
        let path = fit(&dataset, &text(model, solver, l1, l2, "")).expect("trains");
        let alone = plan(&text(model, solver, l1, l2, "")).path().into_iter().map(|strengths| {
            let text = text(model, solver, &[strengths.l1], &[strengths.l2], "");
            fit(&dataset, &text).expect("trains").models.swap_remove(0)
        });
        let alone: Vec<_> = alone.collect();
        assert!(alone.iter().all(|fitted| fitted.has_converged()), "{model} {solver}");
        assert_eq!(path.models, alone, "{model} {solver}");
        let longest = alone.iter().map(|fitted| fitted.passes).max();
        assert_eq!(Some(path.passes), longest, "{model} {solver}: no more passes than the longest takes");
    }
}

#[test]
fn folds_change_no_model_and_nothing_depends_on_threads_ranks_or_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    for (label, model, solver, l1, l2) in [PATHS[0], PATHS[2], PATHS[3]] {
        let dataset = mixed(&folder.path().join(format!("{label}-{solver}")), label);
        let one = plan(&text(model, solver, l1, &l2[..2], r#", "folds": 3"#));
        let base = fit_with(&dataset, &one, &Solo).expect("trains");
        let without = fit_with(&dataset, &TrainPlan { folds: 0, ..one.clone() }, &Solo).expect("trains");
        assert_eq!(base.models, without.models, "{model} {solver}");
        assert!(without.validation.is_none());
        for threads in [1, 5] {
            let other = fit_with(&dataset, &TrainPlan { threads, ..one.clone() }, &Solo).expect("trains");
            assert_eq!(answer(&base), answer(&other), "{model} {solver}: {threads} threads");
        }
        for ranks in 1..=3 {
            for other in threads::run(ranks, |comm| fit_with(&dataset, &one, comm)) {
                assert_eq!(answer(&base), answer(&other.expect("trains")), "{model} {solver}: {ranks} ranks");
            }
        }
        // Room for few models at once: 24 MiB are the process's own, and the data takes some 200 KiB.
        let narrow = TrainPlan { memory: Some((24 << 20) + (500 << 10)), ..one.clone() };
        let other = fit_with(&dataset, &narrow, &Solo).expect("trains");
        let most = |trained: &Trained| trained.history.iter().map(|pass| pass.points.len()).max();
        assert!(most(&other) < most(&base), "{model} {solver}: {:?} of {:?} at once", most(&other), most(&base));
        assert_eq!(answer(&base), answer(&other), "{model} {solver}: few at once");
    }
}

#[test]
fn an_interruption_at_any_pass_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    for (label, model, solver, l1, l2) in [PATHS[0], PATHS[1], PATHS[3]] {
        let dataset = mixed(&folder.path().join(format!("{label}-{solver}")), label);
        let plan = plan(&text(model, solver, &l1[..1], &l2[..2], r#", "folds": 2"#));
        let whole = fit_with(&dataset, &plan, &Solo).expect("trains");
        for stop in 1..whole.history.len() as u32 {
            let cancel = Cancel::new();
            let watch = StopAfter::new(stop, &cancel);
            let company = Company { comm: &Solo, watch: &watch, cancel: &cancel };
            let Ended::Interrupted(checkpoint) = train(&dataset, &plan, Start::Cold, &company).expect("stops") else {
                panic!("{model} {solver}: not stopped after pass {stop}")
            };
            assert_eq!(checkpoint.passes(), stop);
            let text = serde_json::to_string(&checkpoint).expect("serialises");
            let checkpoint = serde_json::from_str(&text).expect("parses");
            let cancel = Cancel::new();
            let company = Company { comm: &Solo, watch: &Unwatched, cancel: &cancel };
            match train(&dataset, &plan, Start::Resume(checkpoint), &company).expect("resumes") {
                Ended::Trained(resumed) => assert_eq!(answer(&whole), answer(&resumed), "{model} {solver}: {stop}"),
                Ended::Interrupted(_) => panic!("nobody asked to stop"),
            }
        }
    }
}

/// 1,500 rows of three columns, a class and a number, and weights.
struct Plain {
    x: Vec<[f32; 3]>,
    class: Vec<f32>,
    number: Vec<f32>,
    weight: Vec<f32>,
}

impl Plain {
    fn new() -> Plain {
        let mut next = numbers(91);
        let mut plain = Plain { x: Vec::new(), class: Vec::new(), number: Vec::new(), weight: Vec::new() };
        for _ in 0..1_500 {
            let x = [next() as f32, 3.0 * next() as f32 + 1.0, next() as f32];
            let z = f64::from(x[0]) - 0.5 * f64::from(x[1]) + 0.4 + 1.5 * next();
            plain.x.push(x);
            plain.class.push(f32::from(z > 0.0));
            plain.number.push(z as f32);
            plain.weight.push(1.5 + next() as f32);
        }
        plain
    }

    fn dataset(&self, rows: &[usize], label: &[f32], folder: &std::path::Path) -> Dataset {
        let pick = |values: &[f32]| rows.iter().map(|&row| values[row]).collect::<Vec<f32>>();
        let mut sample = SampleDataset::new(192);
        for j in 0..3 {
            let column: Vec<f32> = self.x.iter().map(|x| x[j]).collect();
            sample = sample.f32(&format!("x{j}"), Role::Feature, pick(&column));
        }
        let sample = sample.f32("y", Role::Label, pick(label)).f32("w", Role::Weight, pick(&self.weight));
        sample.write(folder).expect("a dataset")
    }
}

/// A fold's figures are those of a model trained on a dataset of the other rows, computed row by row from its coefficients.
#[test]
fn folds_are_trained_on_the_other_rows_and_judged_on_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = Plain::new();
    let all: Vec<usize> = (0..plain.x.len()).collect();
    for (model, label) in [("logistic", &plain.class), ("linear", &plain.number)] {
        let whole = plain.dataset(&all, label, &folder.path().join(format!("{model}-whole")));
        let config = format!(
            r#"{{"model": "{model}", "l2": 0.02, "standardize": false, "tolerance": 1e-10, "folds": 4, "seed": 5}}"#
        );
        let validation = fit(&whole, &config).expect("trains").validation.expect("folds");
        let folds = Folds::new(5, 4).expect("four");
        for fold in 0..4u16 {
            let (own, others): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&row| folds.of(row as u64) == fold);
            let other = plain.dataset(&others, label, &folder.path().join(format!("{model}-{fold}")));
            let alone = fit(&other, &config.replace(r#""folds": 4"#, r#""folds": 0"#)).expect("trains");
            let fitted = &alone.models[0];
            let (mut loss, mut right, mut weight) = (0.0, 0.0, 0.0);
            for &row in &own {
                let x = plain.x[row].map(f64::from);
                let (z, y, w) = (
                    dot(&x, &fitted.coefficients) + fitted.real_intercepts[0],
                    f64::from(label[row]),
                    f64::from(plain.weight[row]),
                );
                loss += w * if model == "linear" { (z - y) * (z - y) / 2.0 } else { (1.0 + z.exp()).ln() - y * z };
                right += if (z > 0.0) == (y > 0.5) { w } else { 0.0 };
                weight += w;
            }
            let held_out = &validation.configurations[0];
            assert_eq!(validation.rows[usize::from(fold)], own.len() as u64);
            let told = held_out.loss.folds[usize::from(fold)].expect("a loss");
            assert!((told / (loss / weight) - 1.0).abs() < 1e-5, "{model} {fold}: {told} {}", loss / weight);
            let figure = |name: &str| held_out.figures.iter().find(|spread| spread.name == name);
            let folds = |name: &str| figure(name).and_then(|spread| spread.folds[usize::from(fold)]);
            if model == "logistic" {
                assert!((folds("accuracy").expect("defined") - right / weight).abs() < 1e-3);
            } else {
                assert!((folds("rmse").expect("defined").powi(2) / 2.0 / told - 1.0).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn the_best_configuration_is_chosen_by_held_out_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = mixed(folder.path(), "binary");
    let config = r#"{"model": "logistic", "l2": [100, 0.001, 10], "folds": 5, "threads": 1}"#;
    let validation = fit(&dataset, config).expect("trains").validation.expect("folds");
    assert_eq!(validation.best, 1);
    let means: Vec<f64> = validation.configurations.iter().filter_map(|held_out| held_out.loss.mean).collect();
    assert!(means[1] < means[2] && means[2] < means[0], "{means:?}");
    assert_eq!(validation.rows.iter().sum::<u64>(), 2_000);
}

#[test]
fn folds_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |label: Vec<f32>, name: &str| {
        let x = (0..label.len()).map(|i| i as f32).collect();
        let sample = SampleDataset::new(64).f32("x", Role::Feature, x).f32("y", Role::Label, label);
        sample.write(&folder.path().join(name)).expect("a dataset")
    };
    let complaint = |dataset: &Dataset, folds: u32| {
        let config = format!(r#"{{"model": "logistic", "l2": 1, "threads": 1, "folds": {folds}}}"#);
        fit(dataset, &config).expect_err("refused").to_string()
    };
    let few = write(vec![0.0, 1.0, 0.0, 1.0, 1.0, 0.0], "few");
    let told = complaint(&few, 50);
    assert!(told.contains("holds none of the 6 training rows") && told.contains("--folds"), "{told}");
    // One row of a class: the fold that holds it leaves none outside.
    let rare = write((0..200).map(|i| f32::from(i == 77)).collect(), "rare");
    let told = complaint(&rare, 2);
    assert!(told.contains("rows outside fold") && told.contains("one class"), "{told}");
}
