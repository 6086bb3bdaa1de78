//! The squared loss: `(z - y)^2 / 2`, residual `z - y`, curvature 1.

use super::{LossFunction, Terms};
use crate::isa::{Group, Isa, Real};

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Squared;

impl LossFunction for Squared {
    #[inline(always)]
    fn terms<T: Isa, R: Real, const N: usize>(
        self,
        tier: T,
        z: Group<T, R, N>,
        y: Group<T, R, N>,
    ) -> Terms<Group<T, R, N>> {
        let residual = z - y;
        let half = Group::splat(tier, R::from_f64(0.5));
        Terms { loss: half * residual * residual, residual, curvature: Group::splat(tier, R::ONE) }
    }

    fn reference(self, z: f64, y: f64) -> Terms<f64> {
        Terms { loss: (z - y) * (z - y) / 2.0, residual: z - y, curvature: 1.0 }
    }
}
