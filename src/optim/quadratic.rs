//! A quadratic loss: one pass says all there is to know, f(t) = loss + g't + t'Ht / 2.

use serde::{Deserialize, Serialize};

use super::dense::{Matrix, dot};
use super::{Evaluation, Penalty};

/// The loss as a function of the coordinates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quadratic {
    /// Loss at 0.
    pub loss: f64,
    /// Gradient at 0.
    pub gradient: Vec<f64>,
    /// Hessian, everywhere.
    pub hessian: Matrix,
    /// True when the last coordinate is an intercept.
    pub intercept: bool,
    /// For each coordinate the root of its l2 factor: the lengths in which a solution of smallest norm is meant.
    pub metric: Vec<f64>,
    /// Share by which numbers of the Hessian may be off, from the arithmetic of a row; 0: by no more than `f64` rounds.
    pub noise: f64,
}

/// Value and derivative of the objective at a point.
pub struct At {
    /// Mean loss.
    pub loss: f64,
    /// Objective.
    pub objective: f64,
    /// Gradient of the smooth part (loss and l2).
    pub smooth: Vec<f64>,
}

impl Quadratic {
    /// From what a pass found at 0; none without a Hessian.
    pub fn new(found: Evaluation, intercept: bool, metric: Vec<f64>) -> Option<Quadratic> {
        let hessian = found.hessian?;
        Some(Quadratic { loss: found.loss, gradient: found.gradient, hessian, intercept, metric, noise: 0.0 })
    }

    /// Number of coordinates.
    pub fn n(&self) -> usize {
        self.gradient.len()
    }

    /// Value and derivative at `point`.
    pub fn at(&self, point: &[f64], penalty: &Penalty) -> At {
        let mut smooth = vec![0.0; self.n()];
        self.hessian.times(point, &mut smooth);
        // f(t) - f(0) = t'(g + Ht / 2); a loss is not negative, so less is rounding.
        let bend = dot(point, &smooth);
        let loss = (self.loss + dot(point, &self.gradient) + bend / 2.0).max(0.0);
        for (smooth, g) in smooth.iter_mut().zip(&self.gradient) {
            *smooth += g;
        }
        penalty.add_smooth(point, &mut smooth);
        At { loss, objective: loss + penalty.value(point), smooth }
    }
}
