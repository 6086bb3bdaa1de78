//! From the sums of a pass (in stored space) to what a solver takes in (in its own space): means, and the chain rule of
//! `space`.
//!
//! ```text
//! gradient   (G_j - m_j R) / d_j / W                                          intercept: R / W
//! Hessian    (M_jk - m_j M_1k - m_k M_1j + m_j m_k M_11) / (d_j d_k) / W      intercept: (M_1j - m_j M_11) / d_j / W, M_11 / W
//! ```
//! with W the sum of weights, M the sums of h s_j s_k and 1 the constant. A Gram matrix with the target y is a squared loss
//! at a constant margin c (0 with an intercept): G_j = c M_1j - M_jy, R = c M_11 - M_1y, loss (M_yy - 2 c M_1y + c^2 M_11) / 2.

use super::pass::Found;
use super::space::Space;
use crate::error::{Error, Result};
use crate::optim::Evaluation;
use crate::optim::dense::Matrix;

/// Loss and derivatives of a pass at the points of the margins that make one loss; a Hessian is that of a single margin.
///
/// # Errors
/// [`Error::Training`] when the rows weigh nothing.
pub fn evaluation(space: &Space, found: &[Found]) -> Result<Evaluation> {
    let matrix = found.first().and_then(|found| found.matrix.as_ref());
    if found.iter().any(|found| found.beyond) {
        // The largest number there is, and not infinity: it goes into checkpoints, which are JSON.
        let n = found.len() * space.coordinates();
        return Ok(Evaluation { loss: f64::MAX, gradient: vec![0.0; n], hessian: matrix.map(|_| Matrix::zero(n)) });
    }
    let weight = total(found.first().map_or(0.0, |found| found.loss.weight))?;
    let slopes = found.iter().flat_map(|found| gradient(space, &found.gradient, found.loss.residual, weight));
    let loss: f64 = found.iter().map(|found| found.loss.loss).sum();
    let hessian = matrix.map(|matrix| hessian(space, matrix, space.mean.len() + 1, weight));
    Ok(Evaluation { loss: loss / weight, gradient: slopes.collect(), hessian })
}

/// The squared loss at 0 from a Gram matrix with the target.
///
/// # Errors
/// [`Error::Training`] when the rows weigh nothing.
pub fn quadratic(space: &Space, found: &Found) -> Result<Evaluation> {
    let weight = total(found.loss.weight)?;
    let n = space.mean.len() + 2;
    let Some(matrix) = &found.matrix else {
        return Err(Error::Sum("a pass for a closed form brought no Gram matrix".into()));
    };
    let (one, target) = (n - 2, n - 1);
    let c = space.base;
    let at = |a: usize, b: usize| matrix[a * n + b];
    let pulls: Vec<f64> = (0..one).map(|j| c * at(j, one) - at(j, target)).collect();
    let squares = at(target, target) - 2.0 * c * at(one, target) + c * c * at(one, one);
    Ok(Evaluation {
        loss: squares / weight / 2.0,
        gradient: gradient(space, &pulls, c * at(one, one) - at(one, target), weight),
        hessian: Some(hessian(space, matrix, n, weight)),
    })
}

fn total(weight: f64) -> Result<f64> {
    if weight > 0.0 {
        return Ok(weight);
    }
    Err(Error::training(
        "the weights of the training rows sum to 0: there is nothing to learn from. Check the weight column, or ingest \
         without it"
            .to_string(),
    ))
}

fn gradient(space: &Space, sums: &[f64], residual: f64, weight: f64) -> Vec<f64> {
    let slopes = sums.iter().zip(&space.mean).zip(&space.inverse);
    let mut gradient: Vec<f64> =
        slopes.map(|((sum, mean), inverse)| (sum - mean * residual) * inverse / weight).collect();
    if space.intercept {
        gradient.push(residual / weight);
    }
    gradient
}

/// `sums` is symmetric with rows of `n`; its variables are the parameters, the constant and maybe more.
fn hessian(space: &Space, sums: &[f64], n: usize, weight: f64) -> Matrix {
    let one = space.mean.len();
    let mut hessian = Matrix::zero(space.coordinates());
    let total = sums[one * n + one];
    for j in 0..one {
        let (mean_j, by_j) = (space.mean[j], space.inverse[j] / weight);
        let row = &sums[j * n..(j + 1) * n];
        let out = hessian.row_mut(j);
        for k in 0..one {
            let mean_k = space.mean[k];
            let centred = row[k] - mean_j * sums[one * n + k] - mean_k * row[one] + mean_j * mean_k * total;
            out[k] = centred * by_j * space.inverse[k];
        }
        if space.intercept {
            let with_one = (row[one] - mean_j * total) * by_j;
            out[one] = with_one;
            hessian.row_mut(one)[j] = with_one;
        }
    }
    if space.intercept {
        hessian.row_mut(one)[one] = total / weight;
    }
    hessian
}
