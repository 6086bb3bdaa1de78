//! Linear support vector machine with the squared hinge loss max(0, 1 - s z)^2, s = -1 for the first class and 1 for the second:
//! LIBLINEAR's solvers 1 and 2, scikit-learn's `LinearSVC`.
//!
//! There the objective is |b|^2 / 2 + C sum_i w_i loss_i; here, divided by C W with W = sum_i w_i, the mean loss and
//! l2 = 1 / (C W). The intercept is not penalised (LIBLINEAR penalises it as one more coefficient). A margin means no
//! probability, its sign is the class. The loss has a continuous first derivative and a generalised second one, with which
//! Newton's method ends after finitely many steps (Mangasarian, "A finite Newton method for classification", 2002).

use super::{Bounds, Loss, Model, Moments, Reach, Settings, Shape, smooth_solver};
use crate::metrics::Task;
use crate::plan::SolverName;

/// The model `squared-hinge`.
pub struct SquaredHinge;

impl Model for SquaredHinge {
    fn name(&self) -> &'static str {
        "squared-hinge"
    }

    fn about(&self) -> &'static str {
        "linear support vector machine of two classes: squared hinge loss, as LIBLINEAR's L2-loss"
    }

    fn with(&self, _settings: &Settings) -> Box<dyn Model> {
        Box::new(SquaredHinge)
    }

    fn loss(&self) -> Loss {
        Loss::SquaredHinge
    }

    fn task(&self) -> Task {
        Task::Margin
    }

    /// The share of the second class for which this margin is the best.
    fn mean(&self, margin: f64) -> f64 {
        (1.0 + margin) / 2.0
    }

    /// Least p (1 - z)^2 + (1 - p) (1 + z)^2.
    fn margin(&self, mean: f64) -> f64 {
        2.0 * mean - 1.0
    }

    fn null_loss(&self, moments: &Moments) -> f64 {
        4.0 * moments.mean * (1.0 - moments.mean)
    }

    fn bounds(&self, reach: &Reach) -> Bounds {
        let missing = 1.0 + reach.margin();
        Bounds { loss: missing * missing, residual: 2.0 * missing, curvature: 2.0 }
    }

    fn solver(&self, shape: &Shape) -> SolverName {
        smooth_solver(shape)
    }
}
