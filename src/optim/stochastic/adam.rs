//! Adam: moments `m = a m + (1 - a) g`, `v = b v + (1 - b) g^2`, corrected for their start at 0 by the number of the step k,
//!
//! ```text
//! w -= h m / (1 - a^k) / (sqrt(v / (1 - b^k)) + e)
//! ```
//! (Kingma, Ba, "Adam: a method for stochastic optimization", 2015; PyTorch's `Adam`, a = 0.9, b = 0.999, e = 1e-8.)
//! AdamW is the same with the penalty outside of the metric: every step shrinks weights by the rate alone (Loshchilov,
//! Hutter, "Decoupled weight decay regularization", 2019), so it does not end at the minimum of the penalised objective.

use gristmill_kernels::Real;

use super::adagrad::inverse_root;
use super::{Optimiser, Step};

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Adam<const DECOUPLED: bool> {
    beta: (f64, f64),
    epsilon: f64,
    /// 1 / (1 - a^k) and 1 / (1 - b^k).
    correction: (f64, f64),
}

impl<const DECOUPLED: bool> Adam<DECOUPLED> {
    /// With a and b, and e.
    pub fn new(beta: (f64, f64), epsilon: f64) -> Adam<DECOUPLED> {
        Adam { beta, epsilon, correction: (1.0, 1.0) }
    }
}

impl<const DECOUPLED: bool> Optimiser for Adam<DECOUPLED> {
    type State<R: Real> = [R; 2];

    fn at(self, step: &Step) -> Self {
        let left = |beta: f64| 1.0 / (1.0 - beta.powf(step.number as f64));
        Adam { correction: (left(self.beta.0), left(self.beta.1)), ..self }
    }

    #[inline(always)]
    fn step<R: Real>(&self, rate: f64, gradient: f64, weight: f64, state: &mut [R; 2]) -> f64 {
        let mean = self.beta.0 * state[0].to_f64() + (1.0 - self.beta.0) * gradient;
        let square = self.beta.1 * state[1].to_f64() + (1.0 - self.beta.1) * gradient * gradient;
        *state = [R::from_f64(mean), R::from_f64(square)];
        weight - rate * mean * self.correction.0 / ((square * self.correction.1).sqrt() + self.epsilon)
    }

    fn metric<R: Real>(&self, state: &[R; 2]) -> f64 {
        if DECOUPLED { 1.0 } else { inverse_root(state[1].to_f64() * self.correction.1, self.epsilon) }
    }
}
