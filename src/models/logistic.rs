//! Logistic regression: the margin is the log odds of the second class, the loss the negative log likelihood
//! log(1 + exp(z)) - y z with y = 0 for the first class and 1 for the second.
//!
//! Residual: sigmoid(z) - y, never above 1 in size. Curvature: sigmoid(z) (1 - sigmoid(z)), never above 1/4. The loss is
//! convex and smooth, so Newton's method (IRLS) ends in a handful of passes while p^2 / 2 multiply-adds a row are
//! affordable; for wider problems a quasi-Newton method takes more passes of 2 p each.

use super::{Bounds, Loss, Model, Moments, Reach, Settings, Shape, smooth_solver};
use crate::metrics::Task;
use crate::plan::SolverName;

/// The model `logistic`.
pub struct Logistic;

impl Model for Logistic {
    fn name(&self) -> &'static str {
        "logistic"
    }

    fn about(&self) -> &'static str {
        "logistic regression of two classes: log-loss; l1, l2 and elastic net penalties"
    }

    fn with(&self, _settings: &Settings) -> Box<dyn Model> {
        Box::new(Logistic)
    }

    fn loss(&self) -> Loss {
        Loss::Logistic
    }

    fn task(&self) -> Task {
        Task::Binary
    }

    fn is_open(&self) -> bool {
        true
    }

    fn mean(&self, margin: f64) -> f64 {
        if margin >= 0.0 {
            1.0 / (1.0 + (-margin).exp())
        } else {
            let odds = margin.exp();
            odds / (1.0 + odds)
        }
    }

    fn margin(&self, mean: f64) -> f64 {
        (mean / (1.0 - mean)).ln()
    }

    fn null_loss(&self, moments: &Moments) -> f64 {
        let part = |share: f64| if share > 0.0 { -share * share.ln() } else { 0.0 };
        part(moments.mean) + part(1.0 - moments.mean)
    }

    fn bounds(&self, reach: &Reach) -> Bounds {
        Bounds { loss: reach.margin() + std::f64::consts::LN_2, residual: 1.0, curvature: 0.25 }
    }

    fn solver(&self, shape: &Shape) -> SolverName {
        smooth_solver(shape)
    }
}
