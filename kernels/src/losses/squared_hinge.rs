//! The squared hinge loss: `max(0, 1 - s z)^2` with `s = 2 y - 1`, which is -1 for the first class and 1 for the second.
//!
//! Residual `-2 s m` with `m = max(0, 1 - s z)`; curvature `2 s^2` where `m > 0`, else 0 (the generalised second derivative of
//! Keerthi and DeCoste 2005, section 2). LIBLINEAR's L2-loss.

use super::{LossFunction, Terms};
use crate::isa::{Group, Isa, Real};

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct SquaredHinge;

impl LossFunction for SquaredHinge {
    #[inline(always)]
    fn terms<T: Isa, R: Real, const N: usize>(
        self,
        tier: T,
        z: Group<T, R, N>,
        y: Group<T, R, N>,
    ) -> Terms<Group<T, R, N>> {
        let (zero, one, two) = (Group::zero(tier), Group::splat(tier, R::ONE), Group::splat(tier, R::from_f64(2.0)));
        let side = two.fma(y, -one);
        // `zero` first: where the margin is not a number, neither is the loss.
        let missing = zero.max((-side).fma(z, one));
        Terms {
            loss: missing * missing,
            residual: -(two * side * missing),
            curvature: Group::select(zero.less(missing), two * side * side, zero),
        }
    }

    fn reference(self, z: f64, y: f64) -> Terms<f64> {
        let side = 2.0 * y - 1.0;
        let missing = (1.0 - side * z).max(0.0);
        let curvature = if missing > 0.0 { 2.0 * side * side } else { 0.0 };
        Terms { loss: missing * missing, residual: -2.0 * side * missing, curvature }
    }
}
