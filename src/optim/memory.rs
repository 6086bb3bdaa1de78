//! The memory of a limited-memory quasi-Newton method: the last steps and the changes of the gradient along them, and
//! the inverse Hessian that they imply (Nocedal 1980, the two-loop recursion; Nocedal and Wright, algorithm 7.4).
//!
//! Cost of a product: 4 m n multiply-adds for m pairs of n numbers. A copy shares the pairs, which never change: a checkpoint
//! is taken before every pass.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dense::{axpy, dot};

/// Pairs that are kept.
const PAIRS_MAX: usize = 10;

/// Steps `s` and gradient changes `y`, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    #[serde(with = "shared")]
    pairs: Vec<Arc<Pair>>,
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
    /// Remembers a step, unless the gradient did not change along it in the way of a convex function.
    pub fn push(&mut self, s: Vec<f64>, y: Vec<f64>) {
        let along = dot(&s, &y);
        if along.is_nan() || along <= 1e-12 * dot(&y, &y).sqrt() * dot(&s, &s).sqrt() {
            return;
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

    /// `-H g`: the direction of descent.
    pub fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let alpha = pair.rho * dot(&pair.s, &q);
            axpy(-alpha, &pair.y, &mut q);
            alphas.push(alpha);
        }
        if let Some(last) = self.pairs.last() {
            let scale = 1.0 / (last.rho * dot(&last.y, &last.y));
            q.iter_mut().for_each(|q| *q *= scale);
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
        memory.push(vec![1.0, 0.0], vec![1.0, 0.0]);
        memory.push(vec![0.0, 2.0], vec![0.0, 8.0]);
        assert_eq!(memory.direction(&[3.0, 4.0]), [-3.0, -1.0]);
    }

    #[test]
    fn a_step_without_curvature_is_not_remembered() {
        let mut memory = Memory::default();
        memory.push(vec![1.0, 0.0], vec![0.0, 1.0]);
        memory.push(vec![1.0, 0.0], vec![f64::NAN, 1.0]);
        assert!(memory.is_empty());
    }
}
