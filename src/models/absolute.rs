//! Least absolute deviations: the loss |y - z|, whose best prediction is the median of the label given the row. A row far off pulls no
//! harder than any other. Twice the model `quantile` at 0.5; the kink is rounded for full-batch solvers: see `engine::narrow`.

use super::{Bounds, Kink, Loss, Model, Moments, Reach, Settings, Shape, Smoothing, smooth_solver};
use crate::metrics::Task;
use crate::plan::SolverName;

/// The model `absolute`.
pub struct Absolute;

impl Model for Absolute {
    fn name(&self) -> &'static str {
        "absolute"
    }

    fn about(&self) -> &'static str {
        "regression of the median: least absolute deviations"
    }

    fn with(&self, _settings: &Settings) -> Box<dyn Model> {
        Box::new(Absolute)
    }

    fn loss(&self) -> Loss {
        Loss::Absolute(Smoothing::Exact)
    }

    fn smoothed(&self, smoothing: Smoothing) -> Loss {
        Loss::Absolute(smoothing)
    }

    fn kink(&self) -> Option<Kink> {
        Some(Kink { slopes: 2.0 })
    }

    fn reads_real(&self) -> bool {
        true
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

    /// No more than the deviation.
    fn null_loss(&self, moments: &Moments) -> f64 {
        (moments.square - moments.mean * moments.mean).max(0.0).sqrt()
    }

    fn bounds(&self, reach: &Reach) -> Bounds {
        Bounds { loss: reach.label + reach.margin(), residual: 1.0, curvature: 0.0 }
    }

    fn solver(&self, shape: &Shape) -> SolverName {
        smooth_solver(shape)
    }
}
