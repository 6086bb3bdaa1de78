//! Lasso and elastic net by cyclic coordinate descent on the Gram matrix.
//!
//! | | |
//! |---|---|
//! | objective | f quadratic, l1 and l2 |
//! | input | one pass: the Gram matrix; a point to start from (the neighbour's solution on a path) |
//! | output | the minimiser, with the duality gap that proves it |
//! | cost | n multiply-adds for each coordinate that moves; sweeps go over the active coordinates until they rest, then once over all; the end is one linear system in the active coordinates |
//! | paper | Friedman, Hastie, Tibshirani, "Regularization Paths for Generalized Linear Models via Coordinate Descent" (2010), covariance updates; gap: Kim et al., "An Interior-Point Method for Large-Scale l1-Regularized Least Squares" (2007) |
//!
//! Coordinate descent finds the signs quickly and the values slowly when columns are collinear. So, once the active set
//! rests, the linear system of the active coordinates is solved: if its solution keeps all signs it is the minimum over
//! that set, exactly. If not, the way to it is gone until the first coordinate is 0, which leaves, and so on with the others
//! (feature-sign search: Lee, Battle, Raina, Ng, "Efficient Sparse Coding Algorithms", 2007). Where the active columns are
//! combinations of each other, the part of the derivative that no curvature answers is a way of its own: along it the
//! objective falls until a coordinate is 0. The same room solves the subproblems of proximal Newton.

use super::dense::{Factor, axpy, dot, norm};
use super::penalty::soft;
use super::quadratic::{At, Quadratic};
use super::{Outcome, Penalty};

/// Most sweeps over all coordinates.
const SWEEPS_MAX: usize = 10_000;
/// Sweeps over the active coordinates between two sweeps over all.
const ACTIVE_SWEEPS_MAX: usize = 20;
/// Most active coordinates for which their linear system is solved,
const POLISH_MAX: usize = 4_096;
/// after each of so many sweeps over all coordinates, then at powers of two,
const POLISH_SWEEPS: usize = 16;
/// several times where n^3 multiply-adds each are together no more than this.
const POLISH_WORK: usize = 1 << 31;
/// A derivative is answered by curvature when no more than this share of it is left by the best solution.
const ANSWERED: f64 = 1e-9;

/// How far is enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Until {
    /// The duality gap is at most that; the loss of the quadratic must be a mean of squares.
    DualityGap(f64),
    /// The coordinates together could lower the objective by about that much, each alone.
    Stationary(f64),
}

/// The minimum of `quadratic` under `penalty`, from `start`.
pub fn solve(quadratic: &Quadratic, penalty: &Penalty, start: &[f64], until: Until) -> Outcome {
    let (Until::DualityGap(enough) | Until::Stationary(enough)) = until;
    let mut descent = Descent::new(quadratic, penalty, start);
    let mut gap = f64::INFINITY;
    let mut sweeps = 0;
    while sweeps < SWEEPS_MAX {
        sweeps += 1;
        descent.sweep(false);
        for _ in 0..ACTIVE_SWEEPS_MAX {
            if descent.sweep(true) <= enough * 1e-2 {
                break;
            }
        }
        if sweeps <= POLISH_SWEEPS || sweeps.is_power_of_two() {
            descent.polish();
        }
        gap = descent.gap(until);
        if gap <= enough {
            break;
        }
    }
    let at = quadratic.at(&descent.point, penalty);
    let converged = gap <= enough;
    let share = gap / at.objective.max(f64::MIN_POSITIVE);
    Outcome {
        loss: at.loss,
        objective: at.objective,
        gradient_norm: Some(norm(&penalty.subgradient(&descent.point, &at.smooth))),
        converged: Some(converged),
        reason: if converged {
            format!("duality gap {share:.1e} of the objective")
        } else {
            format!("{SWEEPS_MAX} sweeps, duality gap {share:.1e} of the objective")
        },
        warnings: Vec::new(),
        dependent: Vec::new(),
        point: descent.point,
    }
}

struct Descent<'a> {
    quadratic: &'a Quadratic,
    penalty: &'a Penalty,
    point: Vec<f64>,
    /// Gradient of the loss at `point`, kept up to date.
    gradient: Vec<f64>,
}

impl<'a> Descent<'a> {
    fn new(quadratic: &'a Quadratic, penalty: &'a Penalty, start: &[f64]) -> Descent<'a> {
        let mut descent = Descent { quadratic, penalty, point: start.to_vec(), gradient: vec![0.0; quadratic.n()] };
        descent.refresh();
        descent
    }

    /// Computes the gradient anew, so that the rounding of many updates does not add up.
    fn refresh(&mut self) {
        self.quadratic.hessian.times(&self.point, &mut self.gradient);
        axpy(1.0, &self.quadratic.gradient, &mut self.gradient);
    }

    /// One round over the coordinates (those that are not 0, or all); how much it lowered the objective, about.
    fn sweep(&mut self, active: bool) -> f64 {
        let mut lowered = 0.0;
        for j in 0..self.point.len() {
            let (old, bend) = (self.point[j], self.quadratic.hessian.at(j, j));
            // A column that is constant (bend 0) changes nothing but the penalty: its best value is 0.
            if old == 0.0 && (active || bend <= 0.0) {
                continue;
            }
            let (l1, l2) = (self.penalty.l1[j], self.penalty.l2[j]);
            let new = if bend > 0.0 { soft(bend * old - self.gradient[j], l1) / (bend + l2) } else { 0.0 };
            if new != old {
                self.point[j] = new;
                axpy(new - old, self.quadratic.hessian.row(j), &mut self.gradient);
                lowered += (bend + l2) * (new - old) * (new - old) / 2.0;
            }
        }
        lowered
    }

    /// Goes to the minimum over the active coordinates with their signs held, or as far as it can be followed.
    fn polish(&mut self) {
        self.refresh();
        loop {
            let active: Vec<usize> = (0..self.point.len()).filter(|&j| self.point[j] != 0.0).collect();
            let again = POLISH_WORK / active.len().max(1).pow(3);
            let left = !active.is_empty() && active.len() <= POLISH_MAX && self.advance(&active);
            self.refresh();
            if !left || again <= 1 {
                return;
            }
        }
    }

    /// Goes to the minimum over the active coordinates, or until one that is penalised comes to 0: true then. The gradient
    /// has to be computed anew after it.
    fn advance(&mut self, active: &[usize]) -> bool {
        let mut matrix = self.quadratic.hessian.part(active);
        let mut slope = Vec::with_capacity(active.len());
        for (k, &j) in active.iter().enumerate() {
            let (l1, l2) = (self.penalty.l1[j], self.penalty.l2[j]);
            matrix.values[k * active.len() + k] += l2;
            slope.push(-self.gradient[j] - l2 * self.point[j] - l1 * self.point[j].signum());
        }
        let factor = Factor::new(&matrix);
        let mut way = factor.solve(&slope);
        let (mut reach, mut leaves) = (1.0, None);
        if factor.rank() < active.len() {
            let mut flat = vec![0.0; active.len()];
            matrix.times(&way, &mut flat);
            flat.iter_mut().zip(&slope).for_each(|(flat, slope)| *flat = slope - *flat);
            if norm(&flat) > ANSWERED * norm(&slope) {
                (way, reach) = (flat, f64::INFINITY);
            }
        }
        for (&j, way) in active.iter().zip(&way) {
            let there = -self.point[j] / way;
            if self.penalty.l1[j] > 0.0 && there > 0.0 && there <= reach {
                (reach, leaves) = (there, Some(j));
            }
        }
        if !reach.is_finite() {
            return false;
        }
        for (&j, way) in active.iter().zip(&way) {
            self.point[j] += reach * way;
        }
        if let Some(j) = leaves {
            self.point[j] = 0.0;
        }
        leaves.is_some()
    }

    /// A bound, or an estimate, of the distance from the minimum.
    fn gap(&self, until: Until) -> f64 {
        let at = self.quadratic.at(&self.point, self.penalty);
        match until {
            Until::DualityGap(_) => self.duality_gap(&at),
            Until::Stationary(_) => {
                let left = self.penalty.subgradient(&self.point, &at.smooth);
                left.iter().enumerate().map(|(j, v)| self.worth(j, *v)).sum()
            }
        }
    }

    /// What a derivative `v` of coordinate `j` is worth: v^2 / (2 bend).
    fn worth(&self, j: usize, v: f64) -> f64 {
        let bend = self.quadratic.hessian.at(j, j) + self.penalty.l2[j];
        if bend > 0.0 { v * v / (2.0 * bend) } else { 0.0 }
    }

    /// With the l2 part taken into the squares (a row sqrt(l2_j) e_j with target 0 a coordinate), R2 = 2 f + sum l2 t^2 is
    /// the mean squared residual and q = -gradient of all squares their correlation with the columns; c r is dual feasible
    /// for c = min(1, l1_j / |q_j|), and the gap is F - (c (R2 + t'q) - c^2 R2 / 2). Coordinates without l1 need q_j = 0;
    /// what is left of them is counted by the step that would remove it.
    fn duality_gap(&self, at: &At) -> f64 {
        let (mut scale, mut left) = (1.0f64, 0.0);
        for (j, q) in at.smooth.iter().map(|g| -g).enumerate() {
            let l1 = self.penalty.l1[j];
            if l1 > 0.0 {
                scale = scale.min(l1 / q.abs().max(l1));
            } else {
                left += self.worth(j, q);
            }
        }
        let l2: f64 = self.point.iter().zip(&self.penalty.l2).map(|(t, l2)| l2 * t * t).sum();
        let squares = 2.0 * at.loss + l2;
        let dual = scale * (squares - dot(&self.point, &at.smooth)) - scale * scale * squares / 2.0;
        (at.objective - dual).max(0.0) + left
    }
}
