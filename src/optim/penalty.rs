//! The penalty: l1_j |t_j| + l2_j t_j^2 / 2, a pair of strengths a coordinate (0 for the intercept).

use serde::{Deserialize, Serialize};

/// Strengths by coordinate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Penalty {
    /// Of |t_j|.
    pub l1: Vec<f64>,
    /// Of t_j^2 / 2.
    pub l2: Vec<f64>,
}

impl Penalty {
    /// No penalty on `n` coordinates.
    pub fn none(n: usize) -> Penalty {
        Penalty { l1: vec![0.0; n], l2: vec![0.0; n] }
    }

    /// The same on `times` vectors of coordinates, one after the other.
    #[must_use]
    pub fn repeated(self, times: usize) -> Penalty {
        Penalty { l1: self.l1.repeat(times), l2: self.l2.repeat(times) }
    }

    /// Its value at `point`.
    pub fn value(&self, point: &[f64]) -> f64 {
        let terms = point.iter().zip(&self.l1).zip(&self.l2);
        terms.map(|((t, l1), l2)| l1 * t.abs() + l2 / 2.0 * t * t).sum()
    }

    /// True when nothing is penalised.
    pub fn is_none(&self) -> bool {
        self.l1.iter().chain(&self.l2).all(|&strength| strength == 0.0)
    }

    /// True when some coordinate has an l1 penalty.
    pub fn has_l1(&self) -> bool {
        self.l1.iter().any(|&strength| strength > 0.0)
    }

    /// Adds the derivative of the l2 part to `gradient`.
    pub fn add_smooth(&self, point: &[f64], gradient: &mut [f64]) {
        for ((g, t), l2) in gradient.iter_mut().zip(point).zip(&self.l2) {
            *g += l2 * t;
        }
    }

    /// The subgradient of smallest norm of the whole objective, given `smooth`, the gradient of its smooth part
    /// (loss and l2): zero exactly at the minimum. (Andrew and Gao 2007 call it the pseudo-gradient.)
    pub fn subgradient(&self, point: &[f64], smooth: &[f64]) -> Vec<f64> {
        let terms = point.iter().zip(smooth).zip(&self.l1);
        terms
            .map(|((&t, &g), &l1)| {
                if t > 0.0 {
                    g + l1
                } else if t < 0.0 {
                    g - l1
                } else {
                    soft(g, l1)
                }
            })
            .collect()
    }
}

/// The soft threshold: `x` moved towards zero by `by`, and no further than zero.
pub fn soft(x: f64, by: f64) -> f64 {
    if x > by {
        x - by
    } else if x < -by {
        x + by
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subgradient_is_zero_at_the_minimum_only() {
        // F(t) = (t - 3)^2 / 2 + |t| has its minimum at 2; G(t) = (t - 0.5)^2 / 2 + |t| at 0.
        let penalty = Penalty { l1: vec![1.0, 1.0], l2: vec![0.0, 0.0] };
        assert_eq!(penalty.subgradient(&[2.0, 0.0], &[-1.0, -0.5]), [0.0, 0.0]);
        assert_eq!(penalty.subgradient(&[1.0, -1.0], &[-2.0, -1.5]), [-1.0, -2.5]);
        assert_eq!(penalty.value(&[2.0, -1.0]), 3.0);
    }
}
