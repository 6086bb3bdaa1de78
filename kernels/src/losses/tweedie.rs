//! The Tweedie loss of a power `1 < p < 2` with log link, for a target `y >= 0`:
//!
//! ```text
//! loss        (e^(2-p)z - u^(2-p)) / (2-p)  +  y (e^(1-p)z - u^(1-p)) / (p-1)
//! residual    e^(2-p)z - y e^(1-p)z
//! curvature   (2-p) e^(2-p)z + (p-1) y e^(1-p)z
//! ```
//! Half the unit deviance, up to a number that depends on `y` alone, and 0 where the mean is `u`; so it goes over into the Poisson
//! loss for `p -> 1` and into the gamma loss for `p -> 2`. With `u` near the targets no term is far larger than the deviance,
//! however large or small the targets are. Computed in `f64` whatever the arithmetic type of the run, as those.

use super::{LossFunction, Terms};
use crate::isa::{Group, Isa, Real};
use crate::math;

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Tweedie {
    /// `2 - p` and `p - 1`.
    rates: (f64, f64),
    /// `u^(2-p)` and `u^(1-p)`.
    unit: (f64, f64),
}

impl Tweedie {
    /// The loss of the power `p` of the mean that the variance grows with, 0 for the mean `unit`.
    pub fn new(power: f64, unit: f64) -> Tweedie {
        let (up, down) = (2.0 - power, power - 1.0);
        Tweedie { rates: (up, down), unit: (unit.powf(up), unit.powf(-down)) }
    }
}

impl LossFunction for Tweedie {
    const WIDE: bool = true;

    #[inline(always)]
    fn terms<T: Isa, R: Real, const N: usize>(
        self,
        tier: T,
        z: Group<T, R, N>,
        y: Group<T, R, N>,
    ) -> Terms<Group<T, R, N>> {
        let constant = |value: f64| Group::splat(tier, R::from_f64(value));
        let (up, down) = self.rates;
        let grown = math::exp(tier, constant(up) * z);
        let shrunk = math::exp(tier, constant(-down) * z);
        let pull = y * shrunk;
        let pulled = y * (shrunk - constant(self.unit.1)) * constant(1.0 / down);
        Terms {
            loss: (grown - constant(self.unit.0)).fma(constant(1.0 / up), pulled),
            residual: grown - pull,
            curvature: constant(up).fma(grown, constant(down) * pull),
        }
    }

    fn reference(self, z: f64, y: f64) -> Terms<f64> {
        let (up, down) = self.rates;
        let (grown, pull) = ((up * z).exp(), y * (-down * z).exp());
        Terms {
            loss: (grown - self.unit.0) / up + (pull - y * self.unit.1) / down,
            residual: grown - pull,
            curvature: up * grown + down * pull,
        }
    }
}
