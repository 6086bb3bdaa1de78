//! The logistic loss: `log(1 + e^z) - y z` for a target `y` in [0, 1]; residual `sigmoid(z) - y`, curvature
//! `sigmoid(z) sigmoid(-z)`.
//!
//! Written in `e^-|z|`, so that nothing overflows and a row that is told apart well (`y` = 1, `z` large) keeps the
//! relative precision of its small loss and residual.

use super::{LossFunction, Terms};
use crate::isa::{Group, Isa, Real};
use crate::math;

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Logistic;

impl LossFunction for Logistic {
    #[inline(always)]
    fn terms<T: Isa, R: Real, const N: usize>(
        self,
        tier: T,
        z: Group<T, R, N>,
        y: Group<T, R, N>,
    ) -> Terms<Group<T, R, N>> {
        let (zero, one) = (Group::zero(tier), Group::splat(tier, R::ONE));
        let math::Logistic { decay, greater, lesser } = math::logistic(tier, z);
        let linear = (-y).fma(z, z.max(zero));
        Terms {
            loss: linear + math::log1p_unit(tier, decay),
            residual: Group::select(z.less(zero), lesser - y, (one - y) - lesser),
            curvature: greater * lesser,
        }
    }

    fn reference(self, z: f64, y: f64) -> Terms<f64> {
        let decay = (-z.abs()).exp();
        let (greater, lesser) = (1.0 / (1.0 + decay), decay / (1.0 + decay));
        Terms {
            loss: (z.max(0.0) - y * z) + decay.ln_1p(),
            residual: if z < 0.0 { lesser - y } else { (1.0 - y) - lesser },
            curvature: greater * lesser,
        }
    }
}
