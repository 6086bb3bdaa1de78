//! The Poisson loss with log link: `(e^z - 1) - y z` for a target `y >= 0`; residual `e^z - y`, curvature `e^z`.
//!
//! Half the unit deviance, up to a number that depends on `y` alone, and 0 at `z = 0`. It is computed in `f64` whatever the
//! arithmetic type of the run: for large counts both terms are far larger than what they differ by.

use super::{LossFunction, Terms};
use crate::isa::{Group, Isa, Real};
use crate::math;

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Poisson;

impl LossFunction for Poisson {
    const WIDE: bool = true;

    #[inline(always)]
    fn terms<T: Isa, R: Real, const N: usize>(
        self,
        tier: T,
        z: Group<T, R, N>,
        y: Group<T, R, N>,
    ) -> Terms<Group<T, R, N>> {
        let mean = math::exp(tier, z);
        let grown = mean - Group::splat(tier, R::ONE);
        Terms { loss: (-y).fma(z, grown), residual: mean - y, curvature: mean }
    }

    fn reference(self, z: f64, y: f64) -> Terms<f64> {
        let mean = z.exp();
        Terms { loss: (mean - 1.0) - y * z, residual: mean - y, curvature: mean }
    }
}
