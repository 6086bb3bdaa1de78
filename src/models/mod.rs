//! Models: what is learnt. One file a model, one door ([`Model`]), one registry ([`MODELS`]).
//!
//! A generalised linear model sees a row as one number, its margin z = intercept + sum_j w_j s_j, and says what
//! z costs against the target (the loss), how the cost changes (the residual, the curvature) and what z means (the
//! link). Everything else (columns, penalties, solvers, ranks) is the engine's. To add a model: one file with a `Model`,
//! one line in the registry, and, for a new loss, its arithmetic in `kernels/src/losses`.

mod linear;
mod logistic;

use std::fmt;

pub use gristmill_kernels::Loss;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::plan::SolverName;

/// Every model, in the order of help and tables.
pub const MODELS: &[&dyn Model] = &[&linear::Linear, &logistic::Logistic];

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

/// The door of the models.
pub trait Model: Sync {
    /// Its name in flags and files.
    fn name(&self) -> &'static str;

    /// One line for help and tables.
    fn about(&self) -> &'static str;

    /// The loss of a row.
    fn loss(&self) -> Loss;

    /// True when the target is a class.
    fn is_classifier(&self) -> bool;

    /// True when the loss is a square of the margin, so that one pass (the Gram matrix) says all.
    fn is_quadratic(&self) -> bool;

    /// The mean of the target given a margin (the inverse link).
    fn mean(&self, margin: f64) -> f64;

    /// The margin that best fits a target of that mean by itself (the link): where the intercept starts.
    fn margin(&self, mean: f64) -> f64;

    /// Mean loss of the best intercept alone, given the means of the target and of its square.
    fn null_loss(&self, mean: f64, mean_square: f64) -> f64;

    /// Largest absolute residual (derivative of the loss by the margin) of a row with |y| <= `label` and |z| <= `margin`.
    fn residual_bound(&self, label: f64, margin: f64) -> f64;

    /// Largest loss of a row with |y| <= `label` and |z| <= `margin`.
    fn loss_bound(&self, label: f64, margin: f64) -> f64;

    /// Largest second derivative of the loss by the margin.
    fn curvature_bound(&self) -> f64;

    /// What `--solver auto` means for a problem of that shape.
    fn solver(&self, shape: &Shape) -> SolverName;
}

/// The name of a registered model; serialised as that name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ModelName(&'static str);

impl ModelName {
    /// The model of that name.
    ///
    /// # Errors
    /// [`Error::Usage`] with the nearest name.
    pub fn find(name: &str) -> Result<ModelName> {
        if let Some(model) = MODELS.iter().find(|model| model.name() == name) {
            return Ok(ModelName(model.name()));
        }
        let nearest = MODELS
            .iter()
            .map(|model| model.name())
            .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        Err(Error::usage(format!(
            "unknown model '{name}'. Did you mean '{}'? Models: {}",
            nearest.unwrap_or_default(),
            names()
        )))
    }

    /// The model itself.
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

    /// The residual bound, the curvature bound and the link against numerical derivatives of the loss.
    #[test]
    fn every_model_keeps_its_bounds() {
        for model in MODELS {
            let loss = |z: f64, y: f64| match model.loss() {
                Loss::Squared => (z - y) * (z - y) / 2.0,
                Loss::Logistic => z.max(0.0) + (-z.abs()).exp().ln_1p() - y * z,
            };
            let labels: &[f64] = if model.is_classifier() { &[0.0, 1.0] } else { &[-3.0, 0.0, 2.5] };
            for &y in labels {
                for z in [-20.0, -3.0, -0.1, 0.0, 0.7, 5.0, 30.0] {
                    let step = 1e-4;
                    let slope = (loss(z + step, y) - loss(z - step, y)) / (2.0 * step);
                    let bend = (loss(z + step, y) - 2.0 * loss(z, y) + loss(z - step, y)) / (step * step);
                    assert!(
                        slope.abs() <= model.residual_bound(y.abs(), f64::abs(z)) + 1e-6,
                        "{} {z} {y}",
                        model.name()
                    );
                    assert!(bend <= model.curvature_bound() + 1e-4, "{} {z} {y}: {bend}", model.name());
                    assert!(loss(z, y) <= model.loss_bound(y.abs(), f64::abs(z)));
                }
            }
            for mean in [0.1, 0.5, 0.9] {
                assert!((model.mean(model.margin(mean)) - mean).abs() < 1e-12);
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
