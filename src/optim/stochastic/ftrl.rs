//! FTRL-Proximal: "follow the regularised leader" with a learning rate a coordinate (McMahan and others, "Ad click prediction: a
//! view from the trenches", 2013, algorithm 1). With the sum g of the gradients of a batch's rows:
//!
//! ```text
//! s = (sqrt(n + g^2) - sqrt(n)) / alpha,   z += g - s w,   n += g^2
//! w = 0 where |z| <= t l1, else -(z - sign(z) t l1) / ((beta + sqrt(n)) / alpha + t l2)
//! ```
//! The paper's strengths are those of a whole stream; here t, the rows seen so far, makes them those of the mean loss, so that
//! l1 and l2 mean what they mean to every other solver (paper's lambda = rows * strength). A weight follows from (z, n, t)
//! alone: a coordinate that was not seen loses nothing, and zeros are exact.

use gristmill_kernels::Real;

use super::{Optimiser, Pull, Step};

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Ftrl {
    /// The rate of the step.
    pub alpha: f64,
    /// beta.
    pub beta: f64,
}

impl Ftrl {
    fn weight(&self, z: f64, n: f64, l1: f64, l2: f64) -> f64 {
        if z.abs() <= l1 {
            return 0.0;
        }
        -(z - l1.copysign(z)) / ((self.beta + n.sqrt()) / self.alpha + l2)
    }
}

impl Optimiser for Ftrl {
    type State<R: Real> = [R; 2];

    const SUMS: bool = true;

    fn at(self, step: &Step) -> Self {
        Ftrl { alpha: step.rate, ..self }
    }

    fn begin<R: Real>(&self, weight: f64) -> [R; 2] {
        [R::from_f64(-weight * self.beta / self.alpha), R::default()]
    }

    #[inline(always)]
    fn step<R: Real>(&self, rate: f64, gradient: f64, weight: f64, state: &mut [R; 2]) -> f64 {
        let [z, n] = state.map(|number| number.to_f64());
        let squares = n + gradient * gradient;
        let sigma = (squares.sqrt() - n.sqrt()) / rate;
        *state = [R::from_f64(z + gradient - sigma * weight), R::from_f64(squares)];
        self.weight(state[0].to_f64(), state[1].to_f64(), 0.0, 0.0)
    }

    #[inline(always)]
    fn settle<R: Real>(&self, _weight: f64, state: &[R; 2], pull: &Pull) -> f64 {
        self.weight(state[0].to_f64(), state[1].to_f64(), pull.now * pull.l1, pull.now * pull.l2)
    }

    fn metric<R: Real>(&self, _state: &[R; 2]) -> f64 {
        1.0
    }
}
