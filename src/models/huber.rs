//! Robust linear regression: the Huber loss, a parabola for errors up to `--huber-delta` and straight lines beyond, so that a
//! row far off pulls no harder than one that is `delta` off.
//!
//! `delta` is in the units of the label. It is a constant: scikit-learn's `HuberRegressor` minimises another function, in which
//! a scale of the errors is estimated too and `epsilon` counts in that scale. For a given scale `sigma` both agree at
//! `delta = epsilon sigma`.

use super::{Bounds, Loss, Model, Moments, Reach, Settings, Shape, smooth_solver};
use crate::metrics::Task;
use crate::plan::SolverName;

/// Default of `delta`: that of PyTorch's `HuberLoss` and of XGBoost's `huber_slope`.
pub const DELTA: f64 = 1.0;

/// The model `huber`.
pub struct Huber {
    /// Where the parabola ends.
    pub delta: f64,
}

impl Model for Huber {
    fn name(&self) -> &'static str {
        "huber"
    }

    fn about(&self) -> &'static str {
        "robust linear regression: squared loss up to --huber-delta, absolute beyond"
    }

    fn with(&self, settings: &Settings) -> Box<dyn Model> {
        Box::new(Huber { delta: settings.huber_delta.unwrap_or(DELTA) })
    }

    fn in_units(&self, label_scale: f64) -> Option<Box<dyn Model>> {
        Some(Box::new(Huber { delta: self.delta / label_scale }))
    }

    fn loss(&self) -> Loss {
        Loss::Huber(self.delta)
    }

    fn task(&self) -> Task {
        Task::Regression
    }

    fn mean(&self, margin: f64) -> f64 {
        margin
    }

    fn margin(&self, mean: f64) -> f64 {
        mean
    }

    /// No more than half the variance, and no more than `delta` times the deviation.
    fn null_loss(&self, moments: &Moments) -> f64 {
        let variance = (moments.square - moments.mean * moments.mean).max(0.0);
        (variance / 2.0).min(self.delta * variance.sqrt())
    }

    fn bounds(&self, reach: &Reach) -> Bounds {
        let error = reach.label + reach.margin();
        let residual = error.min(self.delta);
        Bounds { loss: residual * error, residual, curvature: 1.0 }
    }

    fn solver(&self, shape: &Shape) -> SolverName {
        smooth_solver(shape)
    }
}
