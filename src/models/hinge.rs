//! Linear support vector machine with the hinge loss max(0, 1 - s z), s = -1 for the first class and 1 for the second: LIBLINEAR's
//! solver 3, scikit-learn's `LinearSVC(loss="hinge")`, and with an unpenalised intercept `SVC(kernel="linear")`.
//!
//! There the objective is |b|^2 / 2 + C sum_i w_i loss_i; here the mean loss and l2 = 1 / (C W) with W = sum_i w_i. The intercept is
//! not penalised. A margin means no probability, its sign is the class. The kink is rounded for full-batch solvers: see
//! `engine::narrow`.

use super::{Bounds, Kink, Loss, Model, Moments, Reach, Settings, Shape, Smoothing, smooth_solver};
use crate::metrics::Task;
use crate::plan::SolverName;

/// The model `hinge`.
pub struct Hinge;

impl Model for Hinge {
    fn name(&self) -> &'static str {
        "hinge"
    }

    fn about(&self) -> &'static str {
        "linear support vector machine of two classes: hinge loss, as LIBLINEAR's L1-loss"
    }

    fn with(&self, _settings: &Settings) -> Box<dyn Model> {
        Box::new(Hinge)
    }

    fn loss(&self) -> Loss {
        Loss::Hinge(Smoothing::Exact)
    }

    fn smoothed(&self, smoothing: Smoothing) -> Loss {
        Loss::Hinge(smoothing)
    }

    fn kink(&self) -> Option<Kink> {
        Some(Kink { slopes: 1.0 })
    }

    fn task(&self) -> Task {
        Task::Margin
    }

    /// As for the squared hinge loss.
    fn mean(&self, margin: f64) -> f64 {
        (1.0 + margin) / 2.0
    }

    fn margin(&self, mean: f64) -> f64 {
        2.0 * mean - 1.0
    }

    /// At the margin -1 or 1 of the class with more weight: 2 for each row of the other.
    fn null_loss(&self, moments: &Moments) -> f64 {
        2.0 * moments.mean.min(1.0 - moments.mean)
    }

    fn bounds(&self, reach: &Reach) -> Bounds {
        Bounds { loss: 1.0 + reach.margin(), residual: 1.0, curvature: 0.0 }
    }

    fn solver(&self, shape: &Shape) -> SolverName {
        smooth_solver(shape)
    }
}
