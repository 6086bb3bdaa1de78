//! Stochastic gradient descent: `w -= h g`; with momentum `v = m v + g`, `w -= h v` (Nesterov: `w -= h (g + m v)`), as
//! PyTorch's `SGD` has it, without dampening.
//!
//! With momentum steady gradients move a weight by h / (1 - m) a step, and so does the penalty.

use gristmill_kernels::Real;

use super::Optimiser;

/// Without momentum.
#[derive(Clone, Copy, Debug)]
pub struct Sgd;

impl Optimiser for Sgd {
    type State<R: Real> = [R; 0];

    fn step<R: Real>(&self, rate: f64, gradient: f64, weight: f64, _state: &mut [R; 0]) -> f64 {
        weight - rate * gradient
    }

    fn metric<R: Real>(&self, _state: &[R; 0]) -> f64 {
        1.0
    }
}

/// With momentum.
#[derive(Clone, Copy, Debug)]
pub struct Momentum {
    /// m, in (0, 1).
    pub momentum: f64,
    /// Look ahead.
    pub nesterov: bool,
}

impl Optimiser for Momentum {
    type State<R: Real> = [R; 1];

    fn step<R: Real>(&self, rate: f64, gradient: f64, weight: f64, state: &mut [R; 1]) -> f64 {
        let velocity = self.momentum * state[0].to_f64() + gradient;
        state[0] = R::from_f64(velocity);
        let direction = if self.nesterov { gradient + self.momentum * velocity } else { velocity };
        weight - rate * direction
    }

    fn metric<R: Real>(&self, _state: &[R; 1]) -> f64 {
        1.0 / (1.0 - self.momentum)
    }
}
