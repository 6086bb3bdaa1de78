//! The gamma loss with log link: `z + y (e^-z - 1)` for a target `y > 0`; residual `1 - y e^-z`, curvature `y e^-z`.
//!
//! Half the unit deviance, up to a number that depends on `y` alone, and 0 at `z = 0`. Computed in `f64` whatever the
//! arithmetic type of the run, as [`super::Poisson`].

use super::{LossFunction, Terms};
use crate::isa::{Group, Isa, Real};
use crate::math;

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Gamma;

impl LossFunction for Gamma {
    const WIDE: bool = true;

    #[inline(always)]
    fn terms<T: Isa, R: Real, const N: usize>(
        self,
        tier: T,
        z: Group<T, R, N>,
        y: Group<T, R, N>,
    ) -> Terms<Group<T, R, N>> {
        let one = Group::splat(tier, R::ONE);
        let shrunk = math::exp(tier, -z);
        let ratio = y * shrunk;
        Terms { loss: y.fma(shrunk - one, z), residual: one - ratio, curvature: ratio }
    }

    fn reference(self, z: f64, y: f64) -> Terms<f64> {
        let ratio = y * (-z).exp();
        Terms { loss: z + (ratio - y), residual: 1.0 - ratio, curvature: ratio }
    }
}
