//! Quantile regression (Koenker and Bassett 1978): the pinball loss q (y - z) for labels above the prediction and (1 - q) (z - y) for
//! those below, whose best prediction is the q-th quantile (`--quantile`) of the label given the row. The kink is rounded for
//! full-batch solvers: see `engine::narrow`.

use super::{Bounds, Kink, Loss, Model, Moments, Reach, Settings, Shape, Smoothing, smooth_solver};
use crate::metrics::Task;
use crate::plan::SolverName;

/// Default of the quantile: the median, as in scikit-learn's `QuantileRegressor`.
pub const QUANTILE: f64 = 0.5;

/// The model `quantile`.
pub struct Quantile {
    /// Which, between 0 and 1.
    pub quantile: f64,
}

impl Model for Quantile {
    fn name(&self) -> &'static str {
        "quantile"
    }

    fn about(&self) -> &'static str {
        "regression of a quantile of the label, --quantile: pinball loss"
    }

    fn with(&self, settings: &Settings) -> Box<dyn Model> {
        Box::new(Quantile { quantile: settings.quantile.unwrap_or(QUANTILE) })
    }

    fn loss(&self) -> Loss {
        Loss::Quantile(self.quantile, Smoothing::Exact)
    }

    fn smoothed(&self, smoothing: Smoothing) -> Loss {
        Loss::Quantile(self.quantile, smoothing)
    }

    fn kink(&self) -> Option<Kink> {
        Some(Kink { slopes: 1.0 })
    }

    fn reads_real(&self) -> bool {
        true
    }

    fn task(&self) -> Task {
        Task::Quantile(self.quantile)
    }

    fn mean(&self, margin: f64) -> f64 {
        margin
    }

    fn margin(&self, mean: f64) -> f64 {
        mean
    }

    /// No more than at the mean, where labels above and below weigh the same: half the mean deviation.
    fn null_loss(&self, moments: &Moments) -> f64 {
        (moments.square - moments.mean * moments.mean).max(0.0).sqrt() / 2.0
    }

    fn bounds(&self, reach: &Reach) -> Bounds {
        let steeper = self.quantile.max(1.0 - self.quantile);
        Bounds { loss: steeper * (reach.label + reach.margin()), residual: steeper, curvature: 0.0 }
    }

    fn solver(&self, shape: &Shape) -> SolverName {
        smooth_solver(shape)
    }
}
