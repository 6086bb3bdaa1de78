//! The promises of stochastic training: the steps of the optimisers as their papers have them, the same bits whatever runs them,
//! the minimum that solvers by passes find.

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use gristmill_io::watch::Cancel;
use gristmill_kernels::Tier;
use mpi_launch::{Communicator, Solo, threads};

use crate::engine::drive::train;
use crate::engine::tests::{bits, complaint, fit, fit_with, mixed, plan};
use crate::error::Result;
use crate::plan::TrainPlan;
use crate::train::{Company, Ended, PassReport, Start, TrainWatch, Trained, Unwatched};

/// A plan for every optimiser and every feature that touches bits: the kind of label and the request.
const PLANS: [(&str, &str); 27] = [
    ("binary", r#"{"model": "logistic", "solver": "sgd", "learning-rate": 0.1}"#),
    (
        "binary",
        r#"{"model": "logistic", "solver": "sgd", "momentum": 0.9, "nesterov": true, "l2": 0.01, "batch-rows": 100}"#,
    ),
    ("binary", r#"{"model": "logistic", "solver": "adagrad", "l1": 0.01, "class-weight": "balanced", "epochs": 2}"#),
    ("binary", r#"{"model": "logistic", "solver": "rmsprop", "standardize": false, "l2": 0.1, "batch-rows": 64}"#),
    (
        "binary",
        r#"{"model": "squared-hinge", "solver": "adam", "l2": 0.01, "schedule": "one-cycle", "batch-rows": 32}"#,
    ),
    ("binary", r#"{"model": "logistic", "solver": "adamw", "l2": 0.1, "schedule": "cosine", "intercept": false}"#),
    (
        "binary",
        r#"{"model": "logistic", "solver": "ftrl", "l1": 0.001, "l2": 0.01, "batch-rows": 50, "open-grains": 3}"#,
    ),
    (
        "real",
        r#"{"model": "linear", "solver": "sgd", "learning-rate": [0.05, 0.01], "l2": [0.1, 0], "batch-rows": 64}"#,
    ),
    ("real", r#"{"model": "linear", "solver": "adagrad", "schedule": "inverse-time", "batch-rows": 7}"#),
    ("real", r#"{"model": "huber", "solver": "adam", "schedule": "step", "warmup": 0.5, "batch-rows": 64}"#),
    ("positive", r#"{"model": "poisson", "solver": "adagrad", "l2": 0.01, "epochs": 2, "batch-rows": 64}"#),
    ("several", r#"{"model": "logistic", "multiclass": "ovr", "solver": "adagrad", "l2": 0.01, "batch-rows": 64}"#),
    (
        "several",
        r#"{"model": "squared-hinge", "multiclass": "ovr", "solver": "svrg", "learning-rate": 0.01, "l2": 0.1, "folds": 2}"#,
    ),
    (
        "several",
        r#"{"model": "hinge", "multiclass": "ovr", "solver": "sgd", "momentum": 0.9, "learning-rate": 0.01, "batch-rows": 33}"#,
    ),
    (
        "several",
        r#"{"model": "logistic", "multiclass": "ovr", "solver": "ftrl", "l1": 0.001, "averaging": 0, "then": "owlqn"}"#,
    ),
    ("several", r#"{"model": "softmax", "solver": "adagrad", "l1": 0.001, "l2": 0.01, "batch-rows": 64, "folds": 2}"#),
    (
        "several",
        r#"{"model": "softmax", "solver": "sgd", "learning-rate": [0.1, 0.01], "momentum": 0.9, "nesterov": true, "batch-rows": 50}"#,
    ),
    (
        "several",
        r#"{"model": "softmax", "solver": "rmsprop", "class-weight": "balanced", "l2": 0.01, "batch-rows": 33}"#,
    ),
    (
        "several",
        r#"{"model": "softmax", "solver": "adam", "l2": 0.1, "clip-norm": 0.1, "averaging": 0.5, "intercept": false, "batch-rows": 8}"#,
    ),
    ("several", r#"{"model": "softmax", "solver": "adamw", "schedule": "cosine", "l2": 0.01, "then": "lbfgs"}"#),
    ("several", r#"{"model": "softmax", "solver": "ftrl", "l1": 0.001, "l2": 0.01, "batch-rows": 50}"#),
    (
        "binary",
        r#"{"model": "logistic", "solver": "svrg", "l1": 0.001, "l2": [0.01, 0.1], "epochs": 2, "batch-rows": 50}"#,
    ),
    ("several", r#"{"model": "softmax", "solver": "svrg", "l2": 0.01, "intercept": false, "epochs": 2}"#),
    ("positive", r#"{"model": "poisson", "solver": "svrg", "learning-rate": 0.01, "l2": 0.1, "folds": 2}"#),
    ("positive", r#"{"model": "gamma", "solver": "adam", "folds": 2, "batch-rows": 64}"#),
    (
        "binary",
        r#"{"model": "logistic", "solver": "ftrl", "l1": 0.001, "clip-norm": 0.1, "averaging": 0, "batch-rows": 8}"#,
    ),
    (
        "positive",
        r#"{"model": "poisson", "solver": "sgd", "l2": 0.1, "clip-norm": 0.5, "averaging": 0.25, "then": "lbfgs", "batch-rows": 6}"#,
    ),
];

fn with_threads(text: &str, threads: usize) -> TrainPlan {
    TrainPlan { threads, ..plan(text) }
}

#[test]
fn the_bits_do_not_depend_on_threads_tiers_or_ranks() {
    let folder = tempfile::tempdir().expect("a folder");
    for label in ["binary", "real", "several", "positive"] {
        let dataset = mixed(&folder.path().join(label), label);
        for (_, text) in PLANS.iter().filter(|(of, _)| *of == label) {
            let one = with_threads(text, 1);
            let base = fit_with(&dataset, &one, &Solo).expect("trains");
            assert!(base.models.iter().all(|model| model.weights.iter().any(|w| *w != 0.0)), "{text}");
            for threads in [2, 5] {
                let other = fit_with(&dataset, &with_threads(text, threads), &Solo).expect("trains");
                assert_eq!(bits(&base), bits(&other), "{text}: {threads} threads");
            }
            for tier in Tier::available().into_iter().filter(|tier| *tier != Tier::Portable) {
                let other = TrainPlan { tier: Some(tier.name().into()), ..one.clone() };
                let other = fit_with(&dataset, &other, &Solo).expect("trains");
                assert_eq!(bits(&base), bits(&other), "{text}: {}", tier.name());
            }
            for (ranks, threads) in [(1, 2), (2, 1), (3, 2), (12, 1)] {
                let plan = with_threads(text, threads);
                for trained in threads::run(ranks, |comm| fit_with(&dataset, &plan, comm)) {
                    let trained = trained.expect("trains");
                    assert_eq!(bits(&base), bits(&trained), "{text}: {ranks} ranks");
                    let told =
                        |of: &Trained| of.history.iter().map(|pass| pass.first.objective.to_bits()).collect::<Vec<_>>();
                    assert_eq!(told(&base), told(&trained), "{text}: {ranks} ranks tell otherwise");
                }
            }
        }
    }
}

/// Asks to stop as soon as so many rows were learnt from.
struct StopAfterRows {
    rows: std::sync::atomic::AtomicU64,
    cancel: Cancel,
}

impl TrainWatch for StopAfterRows {
    fn pass(&self, _report: &PassReport) {}

    fn rows(&self, rows: u64) {
        let order = std::sync::atomic::Ordering::Relaxed;
        let left = self.rows.load(order).saturating_sub(rows);
        self.rows.store(left, order);
        if left == 0 {
            self.cancel.request();
        }
    }
}

/// Trains until so many rows were learnt from on this rank.
pub(super) fn interrupted(
    dataset: &Dataset,
    plan: &TrainPlan,
    rows: u64,
    start: Start,
    comm: &dyn Communicator,
) -> Result<Ended> {
    let cancel = Cancel::new();
    let watch = StopAfterRows { rows: rows.into(), cancel: cancel.clone() };
    train(dataset, plan, start, &Company { comm, watch: &watch, cancel: &cancel })
}

/// Stopped in the middle of epochs, gone on with on another number of ranks and threads.
#[test]
fn an_interrupted_training_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    for label in ["binary", "real", "several", "positive"] {
        let dataset = mixed(&folder.path().join(label), label);
        for (_, text) in PLANS.iter().filter(|(of, _)| *of == label) {
            // Small batches, so that many stretches end within an epoch.
            let of = |threads| {
                let mut plan = with_threads(text, threads);
                let online = plan.online.as_mut().expect("stochastic");
                (online.batch_rows, online.epochs) = (Some(9), 2);
                plan
            };
            let whole = fit_with(&dataset, &of(1), &Solo).expect("trains");
            for (stop, ranks, threads) in [(100, 1, 2), (1_500, 2, 1), (2_100, 3, 1), (3_999, 1, 1)] {
                let Ended::Interrupted(checkpoint) =
                    interrupted(&dataset, &of(1), stop, Start::Cold, &Solo).expect("stops")
                else {
                    panic!("{text}: it was not stopped after {stop} rows");
                };
                let text = serde_json::to_string(&checkpoint).expect("serialises");
                let plan = of(threads);
                for trained in threads::run(ranks, |comm| {
                    let start = Start::Resume(serde_json::from_str(&text).expect("parses"));
                    let cancel = Cancel::new();
                    let company = Company { comm, watch: &Unwatched, cancel: &cancel };
                    match train(&dataset, &plan, start, &company).expect("resumes") {
                        Ended::Trained(trained) => Ok::<_, crate::error::Error>(bits(&trained)),
                        Ended::Interrupted(_) => panic!("nobody asked to stop"),
                    }
                }) {
                    let trained = trained.expect("no rank is lost");
                    assert_eq!(bits(&whole), trained, "{text} stopped after {stop}");
                }
            }
        }
    }
}

/// 640 rows of two standard normal columns in one grain and one batch: the steps of each optimiser by its paper, in plain
/// `f64`, from the gradients of the mean loss.
#[test]
fn steps_are_those_of_the_papers() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut next = crate::optim::problems::numbers(5);
    let rows = 640;
    let x: Vec<[f64; 2]> = (0..rows).map(|_| [next(), next()]).collect();
    // With the same mean and deviation for all steps: columns are centred and scaled by these.
    let y: Vec<f64> = x.iter().map(|x| f64::from(x[0] - 0.5 * x[1] + 0.5 * next() > 0.0)).collect();
    let dataset = SampleDataset::new(640)
        .stored(
            "a",
            Role::Feature,
            gristmill_kernels::dtype::DType::F64,
            0.0,
            1.0,
            &x.iter().map(|x| x[0]).collect::<Vec<_>>(),
        )
        .stored(
            "b",
            Role::Feature,
            gristmill_kernels::dtype::DType::F64,
            0.0,
            1.0,
            &x.iter().map(|x| x[1]).collect::<Vec<_>>(),
        )
        .f32("y", Role::Label, y.iter().map(|y| *y as f32).collect())
        .write(&folder.path().join("data"))
        .expect("a dataset");
    let centred: Vec<[f64; 3]> = {
        let n = f64::from(rows);
        let mean = [0, 1].map(|j: usize| x.iter().map(|x| x[j]).sum::<f64>() / n);
        let deviation = [0, 1].map(|j| (x.iter().map(|x| (x[j] - mean[j]).powi(2)).sum::<f64>() / (n - 1.0)).sqrt());
        x.iter().map(|x| [(x[0] - mean[0]) / deviation[0], (x[1] - mean[1]) / deviation[1], 1.0]).collect()
    };
    let share = y.iter().sum::<f64>() / f64::from(rows);
    type Step = fn(k: i32, g: f64, w: f64, state: &mut [f64; 2]) -> f64;
    let cases: [(&str, Step); 8] = [
        (r#""solver": "sgd", "learning-rate": 0.3"#, |_, g, w, _| w - 0.3 * g),
        (r#""solver": "sgd", "learning-rate": 0.3, "momentum": 0.8"#, |_, g, w, s| {
            s[0] = 0.8 * s[0] + g;
            w - 0.3 * s[0]
        }),
        (r#""solver": "sgd", "learning-rate": 0.3, "momentum": 0.8, "nesterov": true"#, |_, g, w, s| {
            s[0] = 0.8 * s[0] + g;
            w - 0.3 * (g + 0.8 * s[0])
        }),
        (r#""solver": "adagrad", "learning-rate": 0.3"#, |_, g, w, s| {
            s[0] += g * g;
            w - 0.3 * g / (s[0].sqrt() + 1e-10)
        }),
        (r#""solver": "rmsprop", "learning-rate": 0.02"#, |_, g, w, s| {
            s[0] = 0.99 * s[0] + 0.01 * g * g;
            w - 0.02 * g / (s[0].sqrt() + 1e-8)
        }),
        (r#""solver": "adam", "learning-rate": 0.02"#, |k, g, w, s| {
            s[0] = 0.9 * s[0] + 0.1 * g;
            s[1] = 0.999 * s[1] + 0.001 * g * g;
            let root = (s[1] / (1.0 - 0.999f64.powi(k))).sqrt();
            w - 0.02 * (s[0] / (1.0 - 0.9f64.powi(k))) / (root + 1e-8)
        }),
        (
            r#""solver": "sgd", "learning-rate": 0.4, "schedule": "inverse-time", "decay": 2, "power": 0.5"#,
            |k, g, w, _| w - 0.4 / (1.0 + 2.0 * f64::from(k - 1)).sqrt() * g,
        ),
        // Of the sums over rows.
        (r#""solver": "ftrl", "learning-rate": 0.2"#, |k, g, w, s| {
            let g = g * 640.0;
            if k == 1 {
                s[0] = -w / 0.2;
            }
            s[0] += g - ((s[1] + g * g).sqrt() - s[1].sqrt()) / 0.2 * w;
            s[1] += g * g;
            -s[0] / ((1.0 + s[1].sqrt()) / 0.2)
        }),
    ];
    for (settings, step) in cases {
        let text = format!(r#"{{"model": "logistic", {settings}, "epochs": 4, "batch-rows": 640, "threads": 1}}"#);
        let found = &fit(&dataset, &text).expect("trains").models[0];
        let mut w = [0.0, 0.0, (share / (1.0 - share)).ln()];
        let mut state = [[0.0; 2]; 3];
        for k in 1..=4 {
            let mut gradient = [0.0; 3];
            for (x, y) in centred.iter().zip(&y) {
                let z: f64 = x.iter().zip(&w).map(|(x, w)| x * w).sum();
                let residual = 1.0 / (1.0 + (-z).exp()) - y;
                gradient.iter_mut().zip(x).for_each(|(g, x)| *g += residual * x / f64::from(rows));
            }
            for j in 0..3 {
                w[j] = step(k, gradient[j], w[j], &mut state[j]);
            }
        }
        // Back to coefficients of the columns as they are.
        let deviation = |j: usize| {
            let mean = x.iter().map(|x| x[j]).sum::<f64>() / f64::from(rows);
            (x.iter().map(|x| (x[j] - mean).powi(2)).sum::<f64>() / (f64::from(rows) - 1.0)).sqrt()
        };
        for (j, w) in w[..2].iter().enumerate() {
            let expected = w / deviation(j);
            let error = (found.coefficients[j] - expected).abs() / expected.abs();
            assert!(error < 1e-6, "{settings}: {} {expected}", found.coefficients[j]);
        }
    }
}

/// The minimum that solvers by passes find, to one part in a thousand, for every loss; the penalties included.
#[test]
fn the_minimum_is_that_of_solvers_by_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = [
        ("binary", "logistic", r#""l2": 0.01"#),
        ("binary", "logistic", r#""l1": 0.005"#),
        ("binary", "squared-hinge", r#""l2": 0.01"#),
        ("real", "linear", r#""l2": 0.05"#),
        ("real", "linear", r#""l1": 0.01, "l2": 0.01"#),
        ("real", "huber", r#""l2": 0.01"#),
        ("positive", "poisson", r#""l2": 0.01"#),
        ("positive", "gamma", r#""l2": 0.01"#),
        ("positive", "tweedie", r#""l2": 0.01"#),
    ];
    let mut far = Vec::new();
    for (label, model, penalty) in cases {
        let dataset = mixed(&folder.path().join(format!("{label}-{model}-{}", penalty.len())), label);
        let best = fit(&dataset, &format!(r#"{{"model": "{model}", {penalty}, "threads": 1}}"#)).expect("trains");
        for solver in [
            r#""sgd", "learning-rate": 0.02, "momentum": 0.9, "schedule": "cosine", "warmup": 2"#,
            r#""adagrad", "learning-rate": 0.6, "averaging": 60"#,
            r#""rmsprop", "learning-rate": 0.02, "beta2": 0.999, "schedule": "cosine""#,
            r#""adam", "learning-rate": 0.02, "schedule": "cosine""#,
            r#""ftrl", "learning-rate": 0.6, "averaging": 60"#,
        ] {
            let text = format!(
                r#"{{"model": "{model}", {penalty}, "solver": {solver}, "epochs": 100, "batch-rows": 50, "threads": 1}}"#
            );
            let found = fit(&dataset, &text).expect("trains").models[0].objective;
            let best = best.models[0].objective;
            // The metric of rmsprop leans on the gradient that it divides, which tells where gradients are skewed.
            let allowed = if solver.contains("rmsprop") { 1.002 } else { 1.001 };
            if !(found >= best - 1e-9 && found <= best * allowed) {
                far.push(format!("{model} {penalty} {solver}: {found}, {best}"));
            }
        }
    }
    assert!(far.is_empty(), "{}", far.join("\n"));
}

/// With a constant rate the gap of a strongly convex objective falls by a factor an epoch, to the rounding of `f32`, where plain steps
/// stay at a gap of the size of the rate; the minimum is that of solvers by passes, penalties included.
#[test]
fn variance_reduced_steps_converge_linearly() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = [
        ("binary", "logistic", r#""l2": 0.05"#, 0.4),
        ("binary", "logistic", r#""l1": 0.01, "l2": 0.05"#, 0.4),
        ("real", "linear", r#""l2": 0.1"#, 0.1),
        ("several", "softmax", r#""l2": 0.05"#, 0.25),
    ];
    for (label, model, penalty, rate) in cases {
        let dataset = mixed(&folder.path().join(format!("{model}-{}", penalty.len())), label);
        let best = fit(&dataset, &format!(r#"{{"model": "{model}", {penalty}, "tolerance": 1e-10, "threads": 1}}"#));
        let best = best.expect("trains").models[0].objective;
        let gaps = |solver: &str| -> Vec<f64> {
            let text = format!(
                r#"{{"model": "{model}", {penalty}, "solver": "{solver}", "learning-rate": {rate}, "epochs": 40, "batch-rows": 32}}"#
            );
            let trained = fit(&dataset, &text).expect("trains");
            let passes = trained.history.iter().filter(|pass| pass.first.collected == "gradient");
            passes.map(|pass| pass.first.objective / best - 1.0).collect()
        };
        let (reduced, plain) = (gaps("svrg"), gaps("sgd"));
        assert_eq!((reduced.len(), plain.len()), (41, 1));
        for (epoch, pair) in reduced.windows(9).step_by(8).enumerate() {
            assert!(pair[8] < 0.5 * pair[0] || pair[8].abs() < 1e-6, "{model} {penalty} {epoch}: {reduced:?}");
        }
        assert!(reduced[40].abs() < 1e-6, "{model} {penalty}: {reduced:?}");
        assert!(plain[0] > 20.0 * reduced[40].abs(), "{model} {penalty}: {plain:?} {reduced:?}");
    }
}

/// One epoch, then a solver by passes: the same minimum, in fewer passes than from a cold start.
#[test]
fn a_solver_by_passes_goes_on_from_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = mixed(folder.path(), "binary");
    for (penalty, then) in [(r#""l2": 0.001"#, "lbfgs"), (r#""l1": 0.001"#, "owlqn"), (r#""l2": 0.001"#, "auto")] {
        let text =
            |rest: &str| format!(r#"{{"model": "logistic", {penalty}, "standardize": false, "threads": 1, {rest}}}"#);
        let cold = fit(&dataset, &text(r#""solver": "auto""#)).expect("trains");
        let online =
            format!(r#""solver": "adagrad", "learning-rate": 0.3, "epochs": 3, "batch-rows": 50, "then": "{then}""#);
        let hybrid = fit(&dataset, &text(&online)).expect("trains");
        let (cold, hybrid) = (&cold.models[0], &hybrid.models[0]);
        assert!(
            (hybrid.objective / cold.objective - 1.0).abs() < 1e-6,
            "{then}: {} {}",
            hybrid.objective,
            cold.objective
        );
        assert!(hybrid.has_converged() && hybrid.solver.starts_with("adagrad then "), "{}", hybrid.solver);
    }
}

/// A model that no longer does better on held-out rows stops, and is what it was at its best.
#[test]
fn patience_ends_at_the_best_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut next = crate::optim::problems::numbers(31);
    let (rows, columns) = (600, 200);
    let x: Vec<Vec<f32>> = (0..columns).map(|_| (0..rows).map(|_| next() as f32).collect()).collect();
    let y: Vec<f32> = (0..rows).map(|i| f32::from(f64::from(x[0][i]) + next() > 0.0)).collect();
    let mut sample = SampleDataset::new(64).test_rows(300);
    for (number, column) in x.into_iter().enumerate() {
        sample = sample.f32(&format!("x{number}"), Role::Feature, column);
    }
    let dataset = sample.f32("y", Role::Label, y).write(&folder.path().join("data")).expect("a dataset");
    let text = r#"{"model": "logistic", "solver": "adagrad", "learning-rate": 0.1, "batch-rows": 16, "epochs": 100, "patience": 3, "threads": 1}"#;
    let trained = fit(&dataset, text).expect("trains");
    let losses: Vec<f64> = trained.history.iter().filter_map(|pass| pass.first.held_out).collect();
    assert!(losses.len() > 3 && losses.len() < 100, "{losses:?}");
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(losses[losses.len() - 4], best, "{losses:?}");
    let reason = format!("held-out loss was best after epoch {}", losses.len() - 3);
    assert_eq!(trained.models[0].reason, reason);
    let short = text.replace("\"epochs\": 100, \"patience\": 3", &format!("\"epochs\": {}", losses.len() - 3));
    assert_eq!(fit(&dataset, &short).expect("trains").models[0].weights, trained.models[0].weights);
    let none = complaint(
        SampleDataset::new(64).f32("x", Role::Feature, vec![0.0, 1.0]).f32("y", Role::Label, vec![0.0, 1.0]),
        text,
    );
    assert!(none.contains("--test-share"), "{none}");
}

/// Without the last pass the model is the same, and what is told of it is the progressive loss of the epoch that it ended at.
#[test]
fn the_last_pass_may_be_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    for (label, model) in [("binary", "logistic"), ("positive", "gamma"), ("several", "softmax")] {
        let dataset = mixed(&folder.path().join(label), label);
        let text =
            |rest: &str| format!(r#"{{"model": "{model}", "solver": "adagrad", "l2": 0.1, "epochs": 2 {rest}}}"#);
        let whole = fit(&dataset, &text("")).expect("trains");
        let short = fit(&dataset, &text(r#", "final-pass": false"#)).expect("trains");
        let (with, without) = (&whole.models[0], &short.models[0]);
        assert_eq!((&with.weights, &with.intercepts), (&without.weights, &without.intercepts), "{model}");
        assert_eq!((whole.history.len(), short.history.len()), (3, 2));
        assert!(with.gradient_norm.is_some() && without.gradient_norm.is_none());
        let told = short.history[1].first.objective;
        assert!((without.objective / told - 1.0).abs() < 1e-12, "{model}: {} {told}", without.objective);
        assert!((without.objective / with.objective - 1.0).abs() < 0.5, "{model}: {}", without.objective);
        assert!((without.objective - without.loss - (with.objective - with.loss)).abs() < 1e-9, "the penalty");
    }
}

/// A time limit ends a training in the middle of an epoch, with a model and a reason.
#[test]
fn a_time_limit_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = mixed(folder.path(), "binary");
    let text = r#"{"model": "logistic", "solver": "sgd", "batch-rows": 1, "max-seconds": 1e-9, "epochs": 1000}"#;
    let trained = fit(&dataset, text).expect("trains");
    assert!(trained.models[0].reason.starts_with("time limit after 0."), "{}", trained.models[0].reason);
    assert!(trained.history[0].share < 1.0 && trained.models[0].objective < 0.7, "{:?}", trained.history);
}

/// FTRL-Proximal sets the coefficients of useless columns to exact zeros, and not all others.
#[test]
fn an_l1_penalty_makes_exact_zeros() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut next = crate::optim::problems::numbers(23);
    let rows = 4_000;
    let columns: Vec<Vec<f32>> = (0..20).map(|_| (0..rows).map(|_| next() as f32).collect()).collect();
    let codes: Vec<u32> = (0..rows).map(|_| ((next() + 1.0) * 50.0) as u32).collect();
    let y = (0..rows).map(|i| f32::from(columns[0][i] - columns[1][i] + next() as f32 * 0.3 > 0.0)).collect();
    let mut sample = SampleDataset::new(192);
    for (number, column) in columns.into_iter().enumerate() {
        sample = sample.f32(&format!("x{number}"), Role::Feature, column);
    }
    let dataset =
        sample.codes("c", Role::Feature, 100, &codes).f32("y", Role::Label, y).write(&folder.path().join("data"));
    let dataset = dataset.expect("a dataset");
    for solver in ["ftrl", "adagrad", "sgd"] {
        let text = format!(
            r#"{{"model": "logistic", "l1": 0.03, "solver": "{solver}", "learning-rate": 0.1, "epochs": 10, "batch-rows": 100}}"#
        );
        let weights = &fit(&dataset, &text).expect("trains").models[0].weights;
        assert!(weights[0] > 0.1 && weights[1] < -0.1, "{solver}: {weights:?}");
        let zeros = weights[2..].iter().filter(|weight| **weight == 0.0).count();
        assert!(zeros > 60, "{solver}: {zeros} of 118");
    }
}

/// Rows sorted by label train as well as in random order: the order of an epoch mixes them.
#[test]
fn sorted_rows_train_as_well_as_shuffled_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut next = crate::optim::problems::numbers(29);
    let mut rows: Vec<([f32; 3], f32)> = (0..20_000)
        .map(|_| {
            let x = [next() as f32, next() as f32, next() as f32];
            (x, f32::from(f64::from(x[0] - 0.5 * x[1]) + 0.5 * next() - 0.4 > 0.0))
        })
        .collect();
    let objective = |name: &str, rows: &[([f32; 3], f32)]| {
        let mut sample = SampleDataset::new(192);
        for j in 0..3 {
            sample = sample.f32(&format!("x{j}"), Role::Feature, rows.iter().map(|(x, _)| x[j]).collect());
        }
        let dataset = sample.f32("y", Role::Label, rows.iter().map(|(_, y)| *y).collect());
        let dataset = dataset.write(&folder.path().join(name)).expect("a dataset");
        let text = r#"{"model": "logistic", "l2": 0.001, "solver": "adagrad", "learning-rate": 0.5, "batch-rows": 128, "epochs": 3}"#;
        let best = fit(&dataset, r#"{"model": "logistic", "l2": 0.001}"#).expect("trains").models[0].objective;
        fit(&dataset, text).expect("trains").models[0].objective / best
    };
    let shuffled = objective("shuffled", &rows);
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    let sorted = objective("sorted", &rows);
    assert!(shuffled < 1.02 && sorted < shuffled + 0.005, "{shuffled} {sorted}");
}

#[test]
fn a_training_that_diverges_says_so() {
    let x: Vec<f32> = (0..500).map(|i| (i * 37 % 101) as f32).collect();
    let y: Vec<f32> = x.iter().map(|x| 3.0 * x + 1.0).collect();
    let sample = SampleDataset::new(64).f32("x", Role::Feature, x).f32("y", Role::Label, y);
    let text = r#"{"model": "linear", "solver": "sgd", "learning-rate": 1000, "batch-rows": 10, "epochs": 50}"#;
    let message = complaint(sample, text);
    assert!(message.contains("diverged in epoch") && message.contains("--learning-rate"), "{message}");
}

/// Labels in other units, with what else has their unit, train to the same model in these units; and to a good one.
#[test]
fn the_units_of_the_label_do_not_matter() {
    let mut next = crate::optim::problems::numbers(37);
    let x: Vec<f32> = (0..2_000).map(|_| next() as f32).collect();
    let y: Vec<f32> = x.iter().map(|x| 3.0 * x + next() as f32 + 5.0).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = |unit: f32| {
        SampleDataset::new(256)
            .f32("x", Role::Feature, x.clone())
            .f32("y", Role::Label, y.iter().map(|y| y * unit).collect())
            .write(&folder.path().join(unit.to_string()))
            .expect("a dataset")
    };
    let (ones, thousands) = (dataset(1.0), dataset(4096.0));
    for (model, square) in [("linear", true), ("huber", true), ("absolute", false), ("quantile", false)] {
        for solver in ["sgd", "svrg", "adagrad"] {
            let text = |unit: f64, solver: &str| {
                let own = match model {
                    "huber" => format!(r#""huber-delta": {},"#, 0.25 * unit),
                    "quantile" => r#""quantile": 0.8,"#.into(),
                    _ => String::new(),
                };
                let l2 = if square { 0.01 } else { 0.01 / unit };
                format!(r#"{{"model": "{model}", {own} "l2": {l2}, "threads": 1, {solver}}}"#)
            };
            let found = |dataset: &Dataset, unit: f64, solver: &str| {
                let unit_of_loss = if square { unit * unit } else { unit };
                fit(dataset, &text(unit, solver)).expect("trains").models[0].objective / unit_of_loss
            };
            let online = format!(r#""solver": "{solver}", "epochs": 5, "batch-rows": 20, "learning-rate": 0.05"#);
            let (one, thousand) = (found(&ones, 1.0, &online), found(&thousands, 4096.0, &online));
            assert!((thousand / one - 1.0).abs() < 1e-5, "{model} {solver}: {one} {thousand}");
            let best = found(&ones, 1.0, r#""solver": "auto""#);
            assert!(one < 1.1 * best, "{model} {solver}: {one}, {best}");
        }
    }
}

/// A stochastic solver ends after its epochs: whether that is near the minimum it does not know, but where it is worse than a constant.
#[test]
fn epochs_are_no_convergence() {
    let folder = tempfile::tempdir().expect("a folder");
    let dataset = mixed(folder.path(), "binary");
    let text = |rate: f64| {
        format!(
            r#"{{"model": "logistic", "l2": 0.001, "solver": "sgd", "learning-rate": {rate}, "batch-rows": 50, "threads": 1}}"#
        )
    };
    let (good, bad) = (fit(&dataset, &text(0.01)).expect("trains"), fit(&dataset, &text(1e5)).expect("trains"));
    assert!(good.models[0].converged.is_none() && good.warnings.is_empty(), "{:?} {:?}", good.models[0], good.warnings);
    assert!(bad.warnings.iter().any(|text| text.contains("times that of the best constant")), "{:?}", bad.warnings);
}
