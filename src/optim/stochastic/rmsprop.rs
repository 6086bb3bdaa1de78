//! RMSProp: `v = a v + (1 - a) g^2`, `w -= h g / (sqrt(v) + e)` (Tieleman, Hinton 2012; PyTorch's `RMSprop` without momentum,
//! a = 0.99, e = 1e-8).

use gristmill_kernels::Real;

use super::Optimiser;
use super::adagrad::inverse_root;

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Rmsprop {
    /// a.
    pub decay: f64,
    /// e.
    pub epsilon: f64,
}

impl Optimiser for Rmsprop {
    type State<R: Real> = [R; 1];

    #[inline(always)]
    fn step<R: Real>(&self, rate: f64, gradient: f64, weight: f64, state: &mut [R; 1]) -> f64 {
        let square = self.decay * state[0].to_f64() + (1.0 - self.decay) * gradient * gradient;
        state[0] = R::from_f64(square);
        weight - rate * gradient / (square.sqrt() + self.epsilon)
    }

    fn metric<R: Real>(&self, state: &[R; 1]) -> f64 {
        inverse_root(state[0].to_f64(), self.epsilon)
    }
}
