//! Gamma regression: the mean of a positive number, whose deviation is a constant share of it, is the exponential of the
//! margin. The model `tweedie` with power 2: loss z + y e^-z up to what depends on y alone, residual 1 - y e^-z.

use super::tweedie::Tweedie;
use super::{Bounds, Loss, Model, Moments, Reach, Settings, Shape};
use crate::metrics::Task;
use crate::plan::SolverName;

/// The model `gamma`.
pub struct Gamma;

/// What it is in its family.
const FAMILY: Tweedie = Tweedie { power: 2.0 };

impl Model for Gamma {
    fn name(&self) -> &'static str {
        "gamma"
    }

    fn about(&self) -> &'static str {
        "regression of positive numbers: gamma deviance, log link"
    }

    fn with(&self, _settings: &Settings) -> Box<dyn Model> {
        Box::new(Gamma)
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
