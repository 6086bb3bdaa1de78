//! The Tweedie loss of a power `1 < p < 2` with log link, for a target `y >= 0`:
//!
//! ```text
//! loss        (e^(2-p)z - 1) / (2-p)  +  y (e^(1-p)z - 1) / (p-1)
//! residual    e^(2-p)z - y e^(1-p)z
//! curvature   (2-p) e^(2-p)z + (p-1) y e^(1-p)z
//! ```
//! Half the unit deviance, up to a number that depends on `y` alone, and 0 at `z = 0`; so it goes over into the Poisson loss
//! for `p -> 1` and into the gamma loss for `p -> 2`. Computed in `f64` whatever the arithmetic type of the run, as those.

use super::{LossFunction, Terms};
use crate::isa::{Group, Isa, Real};
use crate::math;

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Tweedie {
    /// The power `p` of the mean that the variance grows with.
    pub power: f64,
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
        let (up, down) = (2.0 - self.power, self.power - 1.0);
        let one = constant(1.0);
        let grown = math::exp(tier, constant(up) * z);
        let shrunk = math::exp(tier, constant(-down) * z);
        let pull = y * shrunk;
        let pulled = y * (shrunk - one) * constant(1.0 / down);
        Terms {
            loss: (grown - one).fma(constant(1.0 / up), pulled),
            residual: grown - pull,
            curvature: constant(up).fma(grown, constant(down) * pull),
        }
    }

    fn reference(self, z: f64, y: f64) -> Terms<f64> {
        let (up, down) = (2.0 - self.power, self.power - 1.0);
        let (grown, pull) = ((up * z).exp(), y * (-down * z).exp());
        Terms {
            loss: (grown - 1.0) / up + (pull - y) / down,
            residual: grown - pull,
            curvature: up * grown + down * pull,
        }
    }
}
