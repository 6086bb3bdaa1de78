//! Least squares and ridge regression in closed form.
//!
//! | | |
//! |---|---|
//! | objective | f quadratic, l2 |
//! | input | one pass: the Gram matrix |
//! | output | the minimiser; where there are many (collinear columns, more columns than rows, no l2) the one of smallest norm in the metric of the penalty, which is the limit of the ridge solutions as l2 falls to 0 |
//! | cost | n^3 / 3 multiply-adds a configuration; twice that where columns are dependent |
//! | paper | Björck, "Numerical Methods for Least Squares Problems" (1996), chapter 2; dependent columns: see `dense` |
//!
//! The intercept is eliminated first (its row of the Gram matrix holds sums, so this is centring by the weighted means),
//! then every column is scaled by its metric, so that neither the intercept nor the units of a column count in the norm.
//! Two steps of refinement against the matrix itself follow.
//!
//! A Hessian of rounded arithmetic has noise where dependent columns have nothing, and its inverse makes long steps of that. Without
//! a penalty such a matrix is factorised again with the noise left out, and the smaller solution is taken where the quadratic
//! is as low there as rounding can tell: columns that are only nearly dependent keep what they can explain.

use super::dense::{Factor, Matrix, RANK_TOLERANCE, axpy, dot, norm};
use super::quadratic::Quadratic;
use super::{Outcome, Penalty};

/// Noise of a pivot in units of that of the numbers of the matrix: those of many columns add up.
const NOISE: f64 = 10.0;
/// Noise of a pivot that is that of `f64`.
const NOISE_MIN: f64 = 10.0 * RANK_TOLERANCE;

/// Why it ended where [`Factor::is_smallest`] does not hold.
pub const LEFT_OUT: &str = "closed form, without the columns that depend on others";

/// The minimum of `quadratic` under the l2 part of `penalty`.
pub fn solve(quadratic: &Quadratic, penalty: &Penalty) -> Outcome {
    let system = System::new(quadratic, penalty);
    let mut factor = Factor::new(&system.matrix);
    let mut x = system.solution(&factor);
    let noise = NOISE * quadratic.noise;
    if noise > NOISE_MIN && penalty.is_none() {
        let firm = Factor::above(&system.matrix, noise);
        if firm.rank() < factor.rank() {
            let smaller = system.solution(&firm);
            if system.value(&smaller) - system.value(&x) <= quadratic.noise * quadratic.loss.abs() {
                (factor, x) = (firm, smaller);
            }
        }
    }
    let point = system.point(quadratic, &x);
    let at = quadratic.at(&point, penalty);
    let dependent = factor.dependent();
    Outcome {
        loss: at.loss,
        objective: at.objective,
        gradient_norm: Some(norm(&at.smooth)),
        converged: Some(true),
        reason: match (dependent.is_empty(), factor.is_smallest()) {
            (true, _) => "closed form".into(),
            (_, true) => "closed form, solution of smallest norm".into(),
            (_, false) => LEFT_OUT.into(),
        },
        warnings: Vec::new(),
        dependent,
        point,
    }
}

/// The normal equations of the slopes, scaled.
struct System {
    matrix: Matrix,
    right: Vec<f64>,
}

impl System {
    fn new(quadratic: &Quadratic, penalty: &Penalty) -> System {
        let slopes = quadratic.n() - usize::from(quadratic.intercept);
        let mut matrix = Matrix::zero(slopes);
        let mut right: Vec<f64> = quadratic.gradient[..slopes].iter().map(|g| -g).collect();
        for i in 0..slopes {
            matrix.row_mut(i).copy_from_slice(&quadratic.hessian.row(i)[..slopes]);
        }
        if quadratic.intercept {
            eliminate(quadratic, slopes, &mut matrix, &mut right);
            for i in (0..slopes).filter(|&i| penalty.l2[i] == 0.0 && quadratic.hessian.at(i, i) > 0.0) {
                // A column that is constant where the loss bends leaves rounding, which the factorisation could not tell from curvature.
                if matrix.at(i, i) <= RANK_TOLERANCE * quadratic.hessian.at(i, i) {
                    matrix.row_mut(i).fill(0.0);
                    (0..slopes).for_each(|j| matrix.row_mut(j)[i] = 0.0);
                }
            }
        }
        for i in 0..slopes {
            matrix.values[i * slopes + i] += penalty.l2[i];
        }
        for (i, (right, by)) in right.iter_mut().zip(&quadratic.metric).enumerate() {
            *right /= by;
            for (value, metric) in matrix.row_mut(i).iter_mut().zip(&quadratic.metric) {
                *value /= by * metric;
            }
        }
        System { matrix, right }
    }

    fn solution(&self, factor: &Factor) -> Vec<f64> {
        let mut x = factor.solve(&self.right);
        for _ in 0..2 {
            let mut missing = vec![0.0; x.len()];
            self.matrix.times(&x, &mut missing);
            for (missing, right) in missing.iter_mut().zip(&self.right) {
                *missing = right - *missing;
            }
            axpy(1.0, &factor.solve(&missing), &mut x);
        }
        x
    }

    /// The quadratic there, less a constant.
    fn value(&self, x: &[f64]) -> f64 {
        let mut bent = vec![0.0; x.len()];
        self.matrix.times(x, &mut bent);
        dot(x, &bent) / 2.0 - dot(x, &self.right)
    }

    /// The solution of the scaled system in the coordinates of the solver, the intercept filled in.
    fn point(&self, quadratic: &Quadratic, x: &[f64]) -> Vec<f64> {
        let mut point: Vec<f64> = x.iter().zip(&quadratic.metric).map(|(x, metric)| x / metric).collect();
        if quadratic.intercept {
            let slopes = point.len();
            let row = quadratic.hessian.row(slopes);
            let pull: f64 = dot(&row[..slopes], &point);
            point.push(if row[slopes] > 0.0 { -(quadratic.gradient[slopes] + pull) / row[slopes] } else { 0.0 });
        }
        point
    }
}

/// The Schur complement of the intercept.
fn eliminate(quadratic: &Quadratic, slopes: usize, matrix: &mut Matrix, right: &mut [f64]) {
    let row = quadratic.hessian.row(slopes);
    let (row, weight) = (&row[..slopes], row[slopes]);
    if weight > 0.0 {
        axpy(quadratic.gradient[slopes] / weight, row, right);
        for i in 0..slopes {
            axpy(-row[i] / weight, row, matrix.row_mut(i));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::Evaluation;

    /// Columns a, b and a - b, with a Hessian that is off by 1e-8: the smallest norm is that of the exact one. Where the third
    /// column differs by more than noise and explains something, it is no combination.
    #[test]
    fn noise_makes_no_columns_independent() {
        let of = |off: f64, pull: f64, noise: f64| {
            let values = vec![1.0, 0.0, 1.0, 0.0, 1.0, -1.0, 1.0, -1.0, 2.0 + off];
            let found = Evaluation {
                loss: 1.0,
                gradient: vec![-1.0, -2.0, 1.0 + pull],
                hessian: Some(Matrix { n: 3, values }),
            };
            let quadratic = Quadratic { noise, ..Quadratic::new(found, false, vec![1.0; 3]).expect("has a Hessian") };
            solve(&quadratic, &Penalty::none(3))
        };
        // a = (1, 0, 1) x, b = (0, 1, -1) x: x = X'(XX')^-1 (1, 2) = (4/3, 5/3, -1/3).
        let want = [4.0 / 3.0, 5.0 / 3.0, -1.0 / 3.0];
        for off in [1e-8, -1e-8, 0.0] {
            let found = of(off, 1e-9, 1e-7);
            assert_eq!(found.dependent.len(), 1);
            for (x, want) in found.point.iter().zip(want) {
                assert!((x - want).abs() < 1e-6, "{off}: {found:?}");
            }
        }
        let apart = of(1e-6, 1e-2, 1e-7);
        assert!(apart.dependent.is_empty() && (apart.point[2] + 1e4).abs() < 10.0, "{apart:?}");
        assert!(of(1e-8, 1e-9, 0.0).dependent.is_empty());
    }
}
