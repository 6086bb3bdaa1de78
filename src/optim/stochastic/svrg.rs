//! Stochastic variance-reduced gradient (Johnson, Zhang, "Accelerating stochastic gradient descent using predictive variance
//! reduction", 2013), with the penalty as a proximal step (Xiao, Zhang, "A proximal stochastic gradient method with progressive
//! variance reduction", 2014, option of the last iterate):
//!
//! ```text
//! at the start of every epoch     anchor a = w,   mu = grad f(a) over all rows                       one pass
//! every batch B                   u = w - h (grad f_B(w) - grad f_B(a) + mu)
//!                                 w = soft(u, h l1) / (1 + h l2)
//! ```
//! The direction has the full gradient as its mean, and its variance vanishes as w and a near the minimum: with a constant rate the
//! gap of a strongly convex objective falls by a factor an epoch, where the gap of plain steps stays at the size of the rate. A
//! proximal step rests exactly where the objective is least, which the flow of other optimisers does only as h goes to 0.
//!
//! State: mu of the coordinate. The anchor's weights are lines of their own (`engine::online::columns`), so that both gradients of a
//! batch come from one reading of its rows. Every coordinate moves in every batch.

use gristmill_kernels::Real;

use super::{Optimiser, Pull};

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Svrg;

impl Optimiser for Svrg {
    type State<R: Real> = [R; 1];

    const ANCHORED: bool = true;

    fn step<R: Real>(&self, rate: f64, gradient: f64, weight: f64, state: &mut [R; 1]) -> f64 {
        weight - rate * (gradient + state[0].to_f64())
    }

    /// The penalty is in the proximal step.
    fn settle<R: Real>(&self, weight: f64, _state: &[R; 1], _pull: &Pull) -> f64 {
        weight
    }

    fn metric<R: Real>(&self, _state: &[R; 1]) -> f64 {
        1.0
    }
}
