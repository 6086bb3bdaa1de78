//! Models: what is learnt. One file a model, one door ([`Model`]), one registry ([`MODELS`]).
//!
//! A generalised linear model sees a row as one number, its margin z = intercept + sum_j w_j s_j, and says what
//! z costs against the target (the loss), how the cost changes (the residual, the curvature) and what z means (the
//! link). Everything else (columns, penalties, solvers, ranks) is the engine's. To add a model: one file with a `Model`,
//! one line in the registry, and, for a new loss, its arithmetic in `kernels/src/losses`.

mod absolute;
mod gamma;
mod hinge;
mod huber;
mod linear;
mod logistic;
mod poisson;
mod quantile;
mod softmax;
mod squared_hinge;
mod tweedie;

use std::fmt;

pub use gristmill_kernels::{Loss, Smoothing};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::metrics::Task;
use crate::plan::SolverName;
use crate::synonyms::{self, instead};

/// Every model, in the order of help and tables, with the settings that it has by default.
pub const MODELS: &[&dyn Model] = &[
    &linear::Linear,
    &logistic::Logistic,
    &softmax::Softmax { classes: 2 },
    &huber::Huber { delta: huber::DELTA },
    &squared_hinge::SquaredHinge,
    &hinge::Hinge,
    &absolute::Absolute,
    &quantile::Quantile { quantile: quantile::QUANTILE },
    &poisson::DEFAULT,
    &gamma::DEFAULT,
    &tweedie::Tweedie::new(tweedie::POWER),
];

/// The most parameters for which Newton's method is the default. A Hessian pass costs about p / 4 gradient passes and
/// Newton needs about a tenth of the passes of L-BFGS, most of them on a sample of the rows; above this the p^3 / 3 of
/// the factorisation and the p^2 cells of every worker no longer pay either.
const HESSIAN_PARAMETERS_MAX: usize = 512;

/// What a model is told beside its name; none: its default. A model refuses what is not its own (see `plan`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the Huber loss becomes straight, in units of the label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub huber_delta: Option<f64>,
    /// The power of the mean that the variance of a Tweedie distribution grows with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tweedie_power: Option<f64>,
    /// The quantile of the label that is predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
}

/// How wide and long a problem is, to choose a solver by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Training rows of all ranks.
    pub rows: u64,
    /// Numbers a row holds (stored entries for sparse rows).
    pub entries_per_row: f64,
    /// Parameters without the intercept.
    pub parameters: usize,
    /// True when some configuration has an l1 penalty.
    pub any_l1: bool,
}

/// What is known of the target before a first pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Weighted mean, as the model sees the target.
    pub mean: f64,
    /// Weighted mean of its square.
    pub square: f64,
    /// Weighted mean of the least loss that any margin has with a row's target; 0 where that is 0 for every target.
    pub saturated: f64,
    /// Share of the weight that lies on each class, of a model with several margins a row; else empty.
    pub shares: Vec<f64>,
}

/// Where straight lines of a loss meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kink {
    /// How much the slope changes there.
    pub slopes: f64,
}

/// Where targets and margins of rows can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// Largest |target|.
    pub label: f64,
    /// Least margin.
    pub low: f64,
    /// Largest margin.
    pub high: f64,
}

/// Largest sizes of what a row adds, with weight 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Of the loss.
    pub loss: f64,
    /// Of its derivative by the margin.
    pub residual: f64,
    /// Of the second derivative.
    pub curvature: f64,
}

impl Reach {
    /// Largest |margin|.
    pub fn margin(&self) -> f64 {
        self.low.abs().max(self.high.abs())
    }
}

/// The door of the models.
pub trait Model: Sync + Send {
    /// Its name in flags and files.
    fn name(&self) -> &'static str;

    /// One line for help and tables.
    fn about(&self) -> &'static str;

    /// The same model with other settings.
    fn with(&self, settings: &Settings) -> Box<dyn Model>;

    /// The model for targets that are divided by `label_scale`, where that makes it another.
    fn in_units(&self, _label_scale: f64) -> Option<Box<dyn Model>> {
        None
    }

    /// The model for targets of that mean, where that makes it another: the same, whose losses lose no digits there.
    fn near(&self, _mean: f64) -> Option<Box<dyn Model>> {
        None
    }

    /// The model for so many classes, where that makes it another.
    fn of_classes(&self, _classes: usize) -> Option<Box<dyn Model>> {
        None
    }

    /// True when a row has a margin for each class and all of them make one loss: softmax with cross-entropy
    /// (`kernels/src/ops/softmax.rs`).
    fn is_joint(&self) -> bool {
        false
    }

    /// The loss of a row as a function of one margin; of a joint model that of a class against all others.
    fn loss(&self) -> Loss;

    /// The least loss that any margin has with that target.
    fn least_loss(&self, _label: f64) -> f64 {
        0.0
    }

    /// The loss with its kink rounded, where it has one.
    fn smoothed(&self, _smoothing: Smoothing) -> Loss {
        self.loss()
    }

    /// The kink of a loss that has no curvature: full-batch solvers round it.
    fn kink(&self) -> Option<Kink> {
        None
    }

    /// True when the loss takes real labels and not stored ones: it is not a square that scales with them.
    fn reads_real(&self) -> bool {
        matches!(self.task(), Task::Deviance(_))
    }

    /// What is predicted, and so by which figures it is judged.
    fn task(&self) -> Task;

    /// True when the target is a class.
    fn is_classifier(&self) -> bool {
        self.task().has_classes()
    }

    /// True when the loss is a square of the margin, so that one pass (the Gram matrix) says all.
    fn is_quadratic(&self) -> bool {
        false
    }

    /// True when the loss of a row is 0 at infinity only: without a penalty there is no minimum on data that a plane
    /// separates.
    fn is_open(&self) -> bool {
        false
    }

    /// The mean of the target given a margin (the inverse link).
    fn mean(&self, margin: f64) -> f64;

    /// The margin that best fits a target of that mean by itself (the link): where the intercept starts.
    fn margin(&self, mean: f64) -> f64;

    /// Where the intercepts start, one a margin.
    fn start(&self, moments: &Moments) -> Vec<f64> {
        vec![self.margin(moments.mean)]
    }

    /// Mean loss of the best intercept alone, or about that: the scale of an objective.
    fn null_loss(&self, moments: &Moments) -> f64;

    /// Largest loss and derivatives of a row with target and margin in reach.
    fn bounds(&self, reach: &Reach) -> Bounds;

    /// What `--solver auto` means for a problem of that shape.
    fn solver(&self, shape: &Shape) -> SolverName;
}

/// What `auto` means for a loss that is no square: second-order steps while a Hessian is affordable.
pub fn smooth_solver(shape: &Shape) -> SolverName {
    match (shape.parameters <= HESSIAN_PARAMETERS_MAX, shape.any_l1) {
        (true, false) => SolverName::Newton,
        (true, true) => SolverName::ProximalNewton,
        (false, false) => SolverName::Lbfgs,
        (false, true) => SolverName::Owlqn,
    }
}

/// The name of a registered model; serialised as that name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ModelName(&'static str);

impl ModelName {
    /// The model of that name.
    ///
    /// # Errors
    /// [`Error::Usage`] with what to write instead.
    pub fn find(name: &str) -> Result<ModelName> {
        if let Some(model) = MODELS.iter().find(|model| model.name() == name) {
            return Ok(ModelName(model.name()));
        }
        let advice = instead(synonyms::MODELS, name, MODELS.iter().map(|model| model.name()), |_| true);
        Err(Error::usage(format!("unknown model '{name}'.{advice} Models: {}", names())))
    }

    /// The model itself, with the settings that it has by default.
    pub fn model(self) -> &'static dyn Model {
        // A ModelName is made from the registry only, so the search finds it; the first entry is never the answer.
        MODELS.iter().copied().find(|model| model.name() == self.0).unwrap_or(MODELS[0])
    }
}

/// The names of all models, for messages.
pub fn names() -> String {
    let names: Vec<&str> = MODELS.iter().map(|model| model.name()).collect();
    names.join(", ")
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for ModelName {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for ModelName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<ModelName, D::Error> {
        let name = String::deserialize(from)?;
        ModelName::find(&name).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bounds against the reference arithmetic of the loss; link against its inverse.
    #[test]
    fn every_model_keeps_its_bounds() {
        for model in MODELS.iter().filter(|model| !model.is_joint()) {
            let labels: &[f64] = match model.task() {
                Task::Binary | Task::Margin | Task::Multiclass(_) | Task::Multilabel(_) => &[0.0, 1.0],
                Task::Regression | Task::Quantile(_) => &[-3.0, 0.0, 2.5],
                Task::Deviance(_) => &[0.0, 0.25, 7.0],
            };
            for &y in labels {
                for z in [-20.0, -3.0, -0.1, 0.0, 0.7, 5.0, 30.0] {
                    let terms = gristmill_kernels::reference::terms(model.loss(), z, y);
                    let bounds = model.bounds(&Reach { label: y.abs(), low: z - 0.5, high: z + 0.1 });
                    let kept = terms.loss.abs() <= bounds.loss
                        && terms.residual.abs() <= bounds.residual
                        && (0.0..=bounds.curvature).contains(&terms.curvature);
                    assert!(kept, "{} {z} {y}: {terms:?} {bounds:?}", model.name());
                }
            }
            for mean in [0.1, 0.5, 0.9] {
                assert!((model.mean(model.margin(mean)) - mean).abs() < 1e-12);
            }
        }
    }

    /// The margin of the mean is the least of the mean loss of targets with that mean, and the loss there the null loss.
    #[test]
    fn the_null_model_is_the_best_intercept() {
        for model in MODELS.iter().filter(|model| model.kink().is_none()) {
            let labels: [f64; 4] = if model.is_classifier() { [1.0, 0.0, 1.0, 1.0] } else { [0.3, 0.5, 0.75, 0.25] };
            let mean = labels.iter().sum::<f64>() / 4.0;
            let square = labels.iter().map(|y| y * y).sum::<f64>() / 4.0;
            let z = model.margin(mean);
            let terms = labels.map(|y| gristmill_kernels::reference::terms(model.loss(), z, y));
            let slope: f64 = terms.iter().map(|terms| terms.residual).sum();
            let loss = terms.iter().map(|terms| terms.loss).sum::<f64>() / 4.0;
            assert!(slope.abs() < 1e-12, "{}: {slope}", model.name());
            let saturated = labels.iter().map(|y| model.least_loss(*y)).sum::<f64>() / 4.0;
            let null = model.null_loss(&Moments { mean, square, saturated, shares: vec![1.0 - mean, mean] });
            assert!((null - (loss - saturated)).abs() < 1e-12, "{}: {null} {loss}", model.name());
        }
    }

    /// The Tweedie family meets the Poisson and the gamma distribution at its ends.
    #[test]
    fn the_ends_of_the_tweedie_family_are_poisson_and_gamma() {
        for (power, other) in [(1.0, "poisson"), (2.0, "gamma")] {
            let ours = tweedie::Tweedie::new(power);
            let theirs = ModelName::find(other).expect("registered").model();
            assert_eq!((ours.loss(), ours.task()), (theirs.loss(), theirs.task()));
            let near = if power == 1.0 { 1.0 + 1e-7 } else { 2.0 - 1e-7 };
            for (z, y) in [(-2.0, 0.5), (0.3, 4.0), (3.0, 1.0)] {
                let terms = |loss| gristmill_kernels::reference::terms(loss, z, y);
                let (a, b) = (terms(ours.loss()), terms(Loss::Tweedie(near, 1.0)));
                assert!((a.loss - b.loss).abs() < 1e-5 && (a.residual - b.residual).abs() < 1e-5, "{a:?} {b:?}");
                assert!((a.curvature - b.curvature).abs() < 1e-5, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn names_are_unique_and_found() {
        for model in MODELS {
            assert_eq!(ModelName::find(model.name()).expect("registered").model().name(), model.name());
            assert_eq!(MODELS.iter().filter(|other| other.name() == model.name()).count(), 1);
        }
    }
}
