//! Poisson regression: the mean of a count, or of a rate with its exposure as weight, is the exponential of the margin.
//! The model `tweedie` with power 1: loss e^z - y z up to what depends on y alone, residual e^z - y.

use super::tweedie::Tweedie;
use super::{Bounds, Loss, Model, Moments, Reach, Settings, Shape};
use crate::metrics::Task;
use crate::plan::SolverName;

/// The model `poisson`, as what it is in its family.
pub struct Poisson(pub Tweedie);

/// With default settings.
pub const DEFAULT: Poisson = Poisson(Tweedie::new(1.0));

impl Model for Poisson {
    fn name(&self) -> &'static str {
        "poisson"
    }

    fn about(&self) -> &'static str {
        "regression of counts and rates: Poisson deviance, log link"
    }

    fn with(&self, _settings: &Settings) -> Box<dyn Model> {
        Box::new(DEFAULT)
    }

    fn near(&self, mean: f64) -> Option<Box<dyn Model>> {
        Some(Box::new(Poisson(self.0.of_mean(mean))))
    }

    fn loss(&self) -> Loss {
        self.0.loss()
    }

    fn least_loss(&self, label: f64) -> f64 {
        self.0.least_loss(label)
    }

    fn task(&self) -> Task {
        self.0.task()
    }

    fn mean(&self, margin: f64) -> f64 {
        self.0.mean(margin)
    }

    fn margin(&self, mean: f64) -> f64 {
        self.0.margin(mean)
    }

    fn null_loss(&self, moments: &Moments) -> f64 {
        self.0.null_loss(moments)
    }

    fn bounds(&self, reach: &Reach) -> Bounds {
        self.0.bounds(reach)
    }

    fn solver(&self, shape: &Shape) -> SolverName {
        self.0.solver(shape)
    }
}
