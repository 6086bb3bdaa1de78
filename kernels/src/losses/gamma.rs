//! The gamma loss with log link: `(z - log u) + y (e^-z - 1/u)` for a target `y > 0`; residual `1 - y e^-z`, curvature `y e^-z`.
//!
//! Half the unit deviance, up to a number that depends on `y` alone, and 0 where the mean is `u`: see [`super::Tweedie`]. Computed
//! in `f64` whatever the arithmetic type of the run, as [`super::Poisson`].

use super::{LossFunction, Terms};
use crate::isa::{Group, Isa, Real};
use crate::math;

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Gamma {
    /// `log u`.
    level: f64,
    /// `1 / u`.
    shrunk: f64,
}

impl Gamma {
    /// The loss that is 0 for this mean.
    pub fn new(unit: f64) -> Gamma {
        Gamma { level: unit.ln(), shrunk: 1.0 / unit }
    }
}

impl LossFunction for Gamma {
    const WIDE: bool = true;

    #[inline(always)]
    fn terms<T: Isa, R: Real, const N: usize>(
        self,
        tier: T,
        z: Group<T, R, N>,
        y: Group<T, R, N>,
    ) -> Terms<Group<T, R, N>> {
        let constant = |value: f64| Group::splat(tier, R::from_f64(value));
        let shrunk = math::exp(tier, -z);
        let ratio = y * shrunk;
        let loss = y.fma(shrunk - constant(self.shrunk), z - constant(self.level));
        Terms { loss, residual: constant(1.0) - ratio, curvature: ratio }
    }

    fn reference(self, z: f64, y: f64) -> Terms<f64> {
        let ratio = y * (-z).exp();
        Terms { loss: (z - self.level) + (ratio - y * self.shrunk), residual: 1.0 - ratio, curvature: ratio }
    }
}
