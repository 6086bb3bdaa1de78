//! The Huber loss: with `e = z - y`, `e^2 / 2` up to `|e| = delta` and `delta (|e| - delta / 2)` beyond; residual `e`, cut off
//! at `delta`.
//!
//! Beyond `delta` the second derivative is 0: a row there says nothing of how far to go, and where all rows are there Newton's
//! method knows no step at all. The curvature given here is [`FAR`] times `delta / |e|` there (and 1 inside, the true
//! one). `delta / |e|` itself is the weight of iteratively reweighted least squares (Huber 1981, 7.8), whose parabola lies above
//! the loss everywhere, so that its steps always fall, by a constant factor each; a small part of it keeps every step defined
//! and a factor of about [`FAR`].

use super::{LossFunction, Terms};
use crate::isa::{Group, Isa, Real};

/// Part of the weight of reweighted least squares that counts as curvature beyond `delta`.
const FAR: f64 = 0.0625;

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Huber {
    /// Where the parabola ends.
    pub delta: f64,
}

impl LossFunction for Huber {
    #[inline(always)]
    fn terms<T: Isa, R: Real, const N: usize>(
        self,
        tier: T,
        z: Group<T, R, N>,
        y: Group<T, R, N>,
    ) -> Terms<Group<T, R, N>> {
        let constant = |value: f64| Group::splat(tier, R::from_f64(value));
        let (delta, half) = (constant(self.delta), constant(0.5));
        let error = z - y;
        let size = error.abs();
        // `delta` last: where `size` is not a number, neither is the loss.
        let near = delta.min(size);
        let residual = Group::select(error.less(Group::zero(tier)), -near, near);
        let far = constant(FAR) * delta / size;
        Terms {
            loss: near * (size - half * near),
            residual,
            curvature: Group::select(delta.less(size), far, constant(1.0)),
        }
    }

    fn reference(self, z: f64, y: f64) -> Terms<f64> {
        let error = z - y;
        if error.abs() <= self.delta {
            return Terms { loss: error * error / 2.0, residual: error, curvature: 1.0 };
        }
        Terms {
            loss: self.delta * (error.abs() - self.delta / 2.0),
            residual: self.delta.copysign(error),
            curvature: FAR * self.delta / error.abs(),
        }
    }
}
