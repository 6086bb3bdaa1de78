//! From the sums of a pass (in stored space) to what a solver takes in (in its own space): means, and the chain rule of
//! `space`.
//!
//! ```text
//! gradient   (G_j - m_j R) / d_j / W                                          intercept: R / W
//! Hessian    (M_jk - m_j M_1k - m_k M_1j + m_j m_k M_11) / (d_j d_k) / W      intercept: (M_1j - m_j M_11) / d_j / W, M_11 / W
//! ```
//! with W the sum of weights, M the sums of h s_j s_k and 1 the constant. A Gram matrix with the target y is a squared loss
//! at a constant margin c (0 with an intercept): G_j = c M_1j - M_jy, R = c M_11 - M_1y, loss (M_yy - 2 c M_1y + c^2 M_11) / 2.
//!
//! Softmax has a margin for each of K classes, and with p the probabilities of a row the Hessian by margins is diag(p) - p p', which
//! is sum_{a<b} p_a p_b (e_a - e_b)(e_a - e_b)': the Laplacian of a graph in which all classes are joined. So K (K - 1) / 2 matrices B_ab, each
//! as above with h = w p_a p_b, make the whole one, positive semi-definite whatever rounding does to p:
//!
//! ```text
//! H_ab = -B_ab        H_aa = sum_{b != a} B_ab
//! ```
//! What is added to all classes alike changes no probability: H is 0 in these directions, and a penalty is least where the classes
//! sum to 0. A spring of the size of the diagonal holds that sum, c_j / 2 (sum_a t_aj)^2, and makes H a matrix that can be solved; at points whose
//! classes sum to 0 it is 0, and so is its pull: minimum and steps are those of H.

use super::pass::Found;
use super::space::Space;
use crate::error::{Error, Result};
use crate::optim::Evaluation;
use crate::optim::dense::{Matrix, axpy};

/// Loss and derivatives of a pass at the points of the margins that make one loss.
///
/// # Errors
/// [`Error::Training`] when the rows weigh nothing.
pub fn evaluation(space: &Space, found: &[Found]) -> Result<Evaluation> {
    let has_matrix = found.iter().any(|found| !found.matrices.is_empty());
    if found.iter().any(|found| found.beyond) {
        // The largest number there is, and not infinity: it goes into checkpoints, which are JSON.
        let n = found.len() * space.coordinates();
        return Ok(Evaluation { loss: f64::MAX, gradient: vec![0.0; n], hessian: has_matrix.then(|| Matrix::zero(n)) });
    }
    let weight = total(found.first().map_or(0.0, |found| found.loss.weight))?;
    let slopes = found.iter().flat_map(|found| gradient(space, &found.gradient, found.loss.residual, weight));
    let loss: f64 = found.iter().map(|found| found.loss.loss).sum();
    let of_margin = |matrix: &Vec<f64>| hessian(space, matrix, space.mean.len() + 1, weight);
    let hessian = match found {
        [only] => only.matrices.first().map(of_margin),
        all => has_matrix.then(|| joined(space.coordinates(), all, of_margin)),
    };
    Ok(Evaluation { loss: loss / weight, gradient: slopes.collect(), hessian })
}

/// The squared loss at 0 from a Gram matrix with the target.
///
/// # Errors
/// [`Error::Training`] when the rows weigh nothing.
pub fn quadratic(space: &Space, found: &Found) -> Result<Evaluation> {
    let weight = total(found.loss.weight)?;
    let n = space.mean.len() + 2;
    let Some(matrix) = found.matrices.first() else {
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

/// The Hessian of all classes from those of pairs of them, with the spring that the head of the file speaks of.
fn joined(n: usize, found: &[Found], of_pair: impl Fn(&Vec<f64>) -> Matrix) -> Matrix {
    let classes = found.len();
    let mut whole = Matrix::zero(classes * n);
    for (a, found) in found.iter().enumerate() {
        for (b, pair) in (a + 1..).zip(&found.matrices) {
            let pair = of_pair(pair);
            for i in 0..n {
                for (place, sign) in [((a, a), 1.0), ((b, b), 1.0), ((a, b), -1.0), ((b, a), -1.0)] {
                    axpy(sign, pair.row(i), &mut whole.row_mut(place.0 * n + i)[place.1 * n..(place.1 + 1) * n]);
                }
            }
        }
    }
    for j in 0..n {
        let diagonal: f64 = (0..classes).map(|a| whole.at(a * n + j, a * n + j)).sum();
        let spring = diagonal / (classes * classes) as f64;
        for a in 0..classes {
            (0..classes).for_each(|b| whole.row_mut(a * n + j)[b * n + j] += spring);
        }
    }
    whole
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
