//! Logistic regression: the margin is the log odds of the second class, the loss the negative log likelihood
//! log(1 + exp(z)) - y z with y = 0 for the first class and 1 for the second.
//!
//! Residual: sigmoid(z) - y, never above 1 in size. Curvature: sigmoid(z) (1 - sigmoid(z)), never above 1/4. The loss is
//! convex and smooth, so Newton's method (IRLS) ends in a handful of passes while p^2 / 2 multiply-adds a row are
//! affordable; for wider problems a quasi-Newton method takes more passes of 2 p each.

use super::{Loss, Model, Shape};
use crate::plan::SolverName;

/// The most parameters for which Newton's method is the default. A Hessian pass costs about p / 4 gradient passes and
/// Newton needs about a tenth of the passes of L-BFGS, most of them on a sample of the rows; above this the p^3 / 3 of
/// the factorisation and the p^2 cells of every worker no longer pay either.
const HESSIAN_PARAMETERS_MAX: usize = 512;

/// The model `logistic`.
pub struct Logistic;

impl Model for Logistic {
    fn name(&self) -> &'static str {
        "logistic"
    }

    fn about(&self) -> &'static str {
        "logistic regression of two classes: log-loss; l1, l2 and elastic net penalties"
    }

    fn loss(&self) -> Loss {
        Loss::Logistic
    }

    fn is_classifier(&self) -> bool {
        true
    }

    fn is_quadratic(&self) -> bool {
        false
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

    fn null_loss(&self, mean: f64, _mean_square: f64) -> f64 {
        let part = |share: f64| if share > 0.0 { -share * share.ln() } else { 0.0 };
        part(mean) + part(1.0 - mean)
    }

    fn residual_bound(&self, _label: f64, _margin: f64) -> f64 {
        1.0
    }

    fn loss_bound(&self, _label: f64, margin: f64) -> f64 {
        margin + std::f64::consts::LN_2
    }

    fn curvature_bound(&self) -> f64 {
        0.25
    }

    fn solver(&self, shape: &Shape) -> SolverName {
        match (shape.parameters <= HESSIAN_PARAMETERS_MAX, shape.any_l1) {
            (true, false) => SolverName::Newton,
            (true, true) => SolverName::ProximalNewton,
            (false, false) => SolverName::Lbfgs,
            (false, true) => SolverName::Owlqn,
        }
    }
}
