//! The Poisson loss with log link: `(e^z - u) - y (z - log u)` for a target `y >= 0`; residual `e^z - y`, curvature `e^z`.
//!
//! Half the unit deviance, up to a number that depends on `y` alone, and 0 where the mean is `u`: see [`super::Tweedie`]. It is
//! computed in `f64` whatever the arithmetic type of the run: for large counts both terms are far larger than what they differ by.

use super::{LossFunction, Terms};
use crate::isa::{Group, Isa, Real};
use crate::math;

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Poisson {
    unit: f64,
    /// `log u`.
    level: f64,
}

impl Poisson {
    /// The loss that is 0 for this mean.
    pub fn new(unit: f64) -> Poisson {
        Poisson { unit, level: unit.ln() }
    }
}

impl LossFunction for Poisson {
    const WIDE: bool = true;

    #[inline(always)]
    fn terms<T: Isa, R: Real, const N: usize>(
        self,
        tier: T,
        z: Group<T, R, N>,
        y: Group<T, R, N>,
    ) -> Terms<Group<T, R, N>> {
        let constant = |value: f64| Group::splat(tier, R::from_f64(value));
        let mean = math::exp(tier, z);
        let loss = (-y).fma(z - constant(self.level), mean - constant(self.unit));
        Terms { loss, residual: mean - y, curvature: mean }
    }

    fn reference(self, z: f64, y: f64) -> Terms<f64> {
        let mean = z.exp();
        Terms { loss: (mean - self.unit) - y * (z - self.level), residual: mean - y, curvature: mean }
    }
}
