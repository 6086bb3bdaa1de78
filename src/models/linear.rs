//! Linear regression: the target is the margin, the loss half the squared difference.
//!
//! With l1 = 0 it is ridge regression (or least squares), with l2 = 0 the lasso, with both the elastic net. The loss is a
//! square, so one pass that collects the Gram matrix of (columns, 1, target) answers every configuration of a path.
//! Cost of that pass: p^2 / 2 multiply-adds a row, against 2 p for a gradient.

use super::{Bounds, Loss, Model, Moments, Reach, Settings, Shape};
use crate::metrics::Task;
use crate::plan::SolverName;

/// The most parameters for which a Gram matrix is the default: 2,048^2 / 2 cells of 16 bytes are 34 MB a worker, and its
/// decomposition takes a second or two.
const GRAM_PARAMETERS_MAX: usize = 2_048;

/// The model `linear`.
pub struct Linear;

impl Model for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn about(&self) -> &'static str {
        "linear regression: squared loss; ridge, lasso and elastic net by --l1 and --l2"
    }

    fn with(&self, _settings: &Settings) -> Box<dyn Model> {
        Box::new(Linear)
    }

    fn loss(&self) -> Loss {
        Loss::Squared
    }

    fn task(&self) -> Task {
        Task::Regression
    }

    fn is_quadratic(&self) -> bool {
        true
    }

    fn mean(&self, margin: f64) -> f64 {
        margin
    }

    fn margin(&self, mean: f64) -> f64 {
        mean
    }

    fn null_loss(&self, moments: &Moments) -> f64 {
        (moments.square - moments.mean * moments.mean).max(0.0) / 2.0
    }

    fn bounds(&self, reach: &Reach) -> Bounds {
        let residual = reach.label + reach.margin();
        Bounds { loss: residual * residual / 2.0, residual, curvature: 1.0 }
    }

    fn solver(&self, shape: &Shape) -> SolverName {
        match (shape.parameters <= GRAM_PARAMETERS_MAX, shape.any_l1) {
            (true, false) => SolverName::Cholesky,
            (true, true) => SolverName::CoordinateDescent,
            (false, false) => SolverName::Lbfgs,
            (false, true) => SolverName::Owlqn,
        }
    }
}
