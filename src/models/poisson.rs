//! Poisson regression: the mean of a count, or of a rate with its exposure as weight, is the exponential of the margin.
//! The model `tweedie` with power 1: loss e^z - y z up to what depends on y alone, residual e^z - y.

use super::tweedie::Tweedie;
use super::{Bounds, Loss, Model, Moments, Reach, Settings, Shape};
use crate::metrics::Task;
use crate::plan::SolverName;

/// The model `poisson`.
pub struct Poisson;

/// What it is in its family.
const FAMILY: Tweedie = Tweedie { power: 1.0 };

impl Model for Poisson {
    fn name(&self) -> &'static str {
        "poisson"
    }

    fn about(&self) -> &'static str {
        "regression of counts and rates: Poisson deviance, log link"
    }

    fn with(&self, _settings: &Settings) -> Box<dyn Model> {
        Box::new(Poisson)
    }

    fn loss(&self) -> Loss {
        FAMILY.loss()
    }

    fn task(&self) -> Task {
        FAMILY.task()
    }

    fn mean(&self, margin: f64) -> f64 {
        FAMILY.mean(margin)
    }

    fn margin(&self, mean: f64) -> f64 {
        FAMILY.margin(mean)
    }

    fn null_loss(&self, moments: &Moments) -> f64 {
        FAMILY.null_loss(moments)
    }

    fn bounds(&self, reach: &Reach) -> Bounds {
        FAMILY.bounds(reach)
    }

    fn solver(&self, shape: &Shape) -> SolverName {
        FAMILY.solver(shape)
    }
}
