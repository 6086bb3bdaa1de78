//! The memory of a limited-memory quasi-Newton method: the last steps and the changes of the gradient along them, and
//! the inverse Hessian that they imply (Nocedal 1980, the two-loop recursion; Nocedal and Wright, algorithm 7.4).
//!
//! The recursion starts from the inverse of a diagonal:
//!
//! ```text
//! B_j = c + l2_j        c = |v|^2 / s'v,  v = y - l2 s        y = (H + diag(l2)) s, so v = H s is the part of the loss
//! ```
//! The curvature of the penalty is known, and only that of the loss is learnt from the last step; without a penalty that is the usual
//! start y'y / s'y. Columns have the deviation 1 in the solver's space, so one number serves all of them in the loss, while
//! l2_j = l2 / deviation^2 of unstandardised penalties runs over many powers of ten where columns are rare or of many units.
//!
//! Cost of a product: 4 m n multiply-adds for m pairs of n numbers. A copy shares the pairs, which never change: a checkpoint
//! is taken before every pass.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dense::{axpy, dot};

/// Pairs that are kept.
const PAIRS_MAX: usize = 10;
/// Curvature of the loss before a step was made: that of squares.
const CURVATURE: f64 = 1.0;
/// Cosine between a step and the change of the loss's gradient below which the change is rounding.
const ALONG_MIN: f64 = 1e-6;

/// Steps `s` and gradient changes `y`, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    #[serde(with = "shared")]
    pairs: Vec<Arc<Pair>>,
    /// c, of the last step that told it.
    curvature: f64,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { pairs: Vec::new(), curvature: CURVATURE }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
    /// 1 / s'y.
    rho: f64,
}

/// Pairs as they are written: each by itself.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Pair;

    pub fn serialize<S: Serializer>(pairs: &[Arc<Pair>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(pairs.iter().map(Arc::as_ref))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Arc<Pair>>, D::Error> {
        Ok(Vec::<Pair>::deserialize(from)?.into_iter().map(Arc::new).collect())
    }
}

impl Memory {
    /// Remembers a step under a penalty `l2`, unless the gradient did not change along it in the way of a convex function.
    pub fn push(&mut self, s: Vec<f64>, y: Vec<f64>, l2: &[f64]) {
        let (along, length) = (dot(&s, &y), dot(&s, &s));
        if along.is_nan() || along <= 1e-12 * dot(&y, &y).sqrt() * length.sqrt() {
            return;
        }
        let of_loss: Vec<f64> = y.iter().zip(&s).zip(l2).map(|((y, s), l2)| y - l2 * s).collect();
        let (along_loss, change) = (dot(&s, &of_loss), dot(&of_loss, &of_loss));
        if along_loss > ALONG_MIN * (change * length).sqrt() {
            self.curvature = change / along_loss;
        }
        if self.pairs.len() == PAIRS_MAX {
            self.pairs.remove(0);
        }
        self.pairs.push(Arc::new(Pair { s, y, rho: 1.0 / along }));
    }

    /// True when no step is remembered.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Forgets all steps.
    pub fn clear(&mut self) {
        self.pairs.clear();
    }

    /// Minus the inverse Hessian times `gradient` under a penalty `l2`: the direction of descent.
    pub fn direction(&self, gradient: &[f64], l2: &[f64]) -> Vec<f64> {
        let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let alpha = pair.rho * dot(&pair.s, &q);
            axpy(-alpha, &pair.y, &mut q);
            alphas.push(alpha);
        }
        for (q, l2) in q.iter_mut().zip(l2) {
            *q /= self.curvature + l2;
        }
        for (pair, alpha) in self.pairs.iter().zip(alphas.iter().rev()) {
            let beta = pair.rho * dot(&pair.y, &q);
            axpy(alpha - beta, &pair.s, &mut q);
        }
        q
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After n conjugate steps on a quadratic the memory is the inverse Hessian: diag(1, 4) here.
    #[test]
    fn a_quadratic_is_learnt() {
        let mut memory = Memory::default();
        memory.push(vec![1.0, 0.0], vec![1.0, 0.0], &[0.0; 2]);
        memory.push(vec![0.0, 2.0], vec![0.0, 8.0], &[0.0; 2]);
        assert_eq!(memory.direction(&[3.0, 4.0], &[0.0; 2]), [-3.0, -1.0]);
    }

    /// A loss of curvature 2 in every direction and any penalty: one step tells the whole Hessian, diag(3, 1002, 2).
    #[test]
    fn the_curvature_of_the_penalty_is_known() {
        let l2 = [1.0, 1000.0, 0.0];
        let mut memory = Memory::default();
        memory.push(vec![1.0, 0.0, 1.0], vec![3.0, 0.0, 2.0], &l2);
        let direction = memory.direction(&[3.0, 1002.0, 2.0], &l2);
        for d in direction {
            assert!((d + 1.0).abs() < 1e-12, "{d}");
        }
    }

    #[test]
    fn a_step_without_curvature_is_not_remembered() {
        let mut memory = Memory::default();
        memory.push(vec![1.0, 0.0], vec![0.0, 1.0], &[0.0; 2]);
        memory.push(vec![1.0, 0.0], vec![f64::NAN, 1.0], &[0.0; 2]);
        assert!(memory.is_empty());
    }
}
