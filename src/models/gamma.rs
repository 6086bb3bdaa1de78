//! Gamma regression: the mean of a positive number, whose deviation is a constant share of it, is the exponential of the
//! margin. The model `tweedie` with power 2: loss z + y e^-z up to what depends on y alone, residual 1 - y e^-z.

use super::tweedie::Tweedie;
use super::{Bounds, Loss, Model, Moments, Reach, Settings, Shape};
use crate::metrics::Task;
use crate::plan::SolverName;

/// The model `gamma`, as what it is in its family.
pub struct Gamma(pub Tweedie);

/// With default settings.
pub const DEFAULT: Gamma = Gamma(Tweedie::new(2.0));

impl Model for Gamma {
    fn name(&self) -> &'static str {
        "gamma"
    }

    fn about(&self) -> &'static str {
        "regression of positive numbers: gamma deviance, log link"
    }

    fn with(&self, _settings: &Settings) -> Box<dyn Model> {
        Box::new(DEFAULT)
    }

    fn near(&self, mean: f64) -> Option<Box<dyn Model>> {
        Some(Box::new(Gamma(self.0.of_mean(mean))))
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
