//! AdaGrad: `n += g^2`, `w -= h g / (sqrt(n) + e)`: coordinates that are seldom seen take longer steps (Duchi, Hazan, Singer,
//! "Adaptive subgradient methods for online learning and stochastic optimization", 2011; PyTorch's `Adagrad`, e = 1e-10).

use gristmill_kernels::Real;

use super::Optimiser;

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Adagrad {
    /// e.
    pub epsilon: f64,
}

impl Optimiser for Adagrad {
    type State<R: Real> = [R; 1];

    #[inline(always)]
    fn step<R: Real>(&self, rate: f64, gradient: f64, weight: f64, state: &mut [R; 1]) -> f64 {
        let squares = gradient * gradient + state[0].to_f64();
        state[0] = R::from_f64(squares);
        weight - rate * gradient / (squares.sqrt() + self.epsilon)
    }

    fn metric<R: Real>(&self, state: &[R; 1]) -> f64 {
        inverse_root(state[0].to_f64(), self.epsilon)
    }
}

/// 1 / (sqrt(v) + e), and 0 for a coordinate that has seen no gradient: its weight rests where it began.
pub fn inverse_root(squares: f64, epsilon: f64) -> f64 {
    if squares > 0.0 { 1.0 / (squares.sqrt() + epsilon) } else { 0.0 }
}
