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

use super::dense::{Factor, Matrix, axpy, norm};
use super::quadratic::Quadratic;
use super::{Outcome, Penalty};

/// The minimum of `quadratic` under the l2 part of `penalty`.
pub fn solve(quadratic: &Quadratic, penalty: &Penalty) -> Outcome {
    let system = System::new(quadratic, penalty);
    let factor = Factor::new(&system.matrix);
    let mut x = factor.solve(&system.right);
    for _ in 0..2 {
        let mut missing = vec![0.0; x.len()];
        system.matrix.times(&x, &mut missing);
        for (missing, right) in missing.iter_mut().zip(&system.right) {
            *missing = right - *missing;
        }
        axpy(1.0, &factor.solve(&missing), &mut x);
    }
    let point = system.point(quadratic, &x);
    let at = quadratic.at(&point, penalty);
    let dependent = factor.dependent();
    Outcome {
        loss: at.loss,
        objective: at.objective,
        gradient_norm: Some(norm(&at.smooth)),
        converged: true,
        reason: if dependent.is_empty() {
            "closed form".into()
        } else {
            "closed form, solution of smallest norm".into()
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

    /// The solution of the scaled system in the coordinates of the solver, the intercept filled in.
    fn point(&self, quadratic: &Quadratic, x: &[f64]) -> Vec<f64> {
        let mut point: Vec<f64> = x.iter().zip(&quadratic.metric).map(|(x, metric)| x / metric).collect();
        if quadratic.intercept {
            let slopes = point.len();
            let row = quadratic.hessian.row(slopes);
            let pull: f64 = super::dense::dot(&row[..slopes], &point);
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
