//! Losses with one kink: straight lines that meet at an error of 0, and what full-batch solvers take for them.
//!
//! ```text
//! value       up max(u, 0) + down max(-u, 0)
//! hinge       u = 1 - s z with s = 2 y - 1, up 1, down 0               the linear support vector machine, LIBLINEAR's L1-loss
//! absolute    u = y - z, up 1, down 1
//! quantile    u = y - z, up q, down 1 - q                              the pinball loss of Koenker and Bassett (1978)
//! ```
//! At a width m > 0 the kink is rounded (Chen and Mangasarian 1996), everywhere from above and by at most (up + down) m log 2:
//!
//! ```text
//! smooth      up max(u, 0) + down max(-u, 0) + (up + down) m log(1 + e^(-|u|/m))
//! slope r     up - (up + down) sigmoid(-u/m), always between -down and up
//! gap         value - r u = (up + down) |u| sigmoid(-|u|/m)
//! chord       (up + down) tanh(|u| / 2m) / 2|u|, at least the curvature
//! ```
//! The parabola through a row's value and slope whose curvature is the chord's lies nowhere below the smooth loss (Jaakkola and Jordan
//! 2000): far from the kink, where the loss is all but straight, it says how far the kink is. A lifted curvature is part of the way there.
//! The slopes are a feasible point of the dual problem, so at a minimum of the smooth objective the mean gap bounds how far the point
//! is from the minimum of the objective itself.

use super::{LossFunction, Terms};
use crate::isa::{Group, Isa, Real};
use crate::math;

/// What is taken for a loss with a kink.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Smoothing {
    /// The loss itself; its slope at the kink is 0.
    #[default]
    Exact,
    /// The loss rounded at this width.
    Width(f64),
    /// The same, with curvatures that are lifted by so much of the way to the chord's, from 0 to 1.
    Lifted(f64, f64),
    /// In place of the loss the gap of that width, with the slopes of the rounded loss.
    Gap(f64),
}

/// Nearer to the kink than this share of the width, the chord's curvature is that at the kink.
const NEAR: f64 = 1e-3;

/// How an error follows from margin and target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Error {
    /// `1 - s z`.
    Hinge,
    /// `y - z`.
    Distance,
}

/// See the head of the file.
#[derive(Clone, Copy, Debug)]
pub struct Kinked {
    /// The error.
    pub error: Error,
    /// Slope above 0.
    pub up: f64,
    /// Slope below 0, turned round.
    pub down: f64,
    /// What is taken for it.
    pub smoothing: Smoothing,
}

impl LossFunction for Kinked {
    #[inline(always)]
    fn terms<T: Isa, R: Real, const N: usize>(
        self,
        tier: T,
        z: Group<T, R, N>,
        y: Group<T, R, N>,
    ) -> Terms<Group<T, R, N>> {
        let constant = |value: f64| Group::<T, R, N>::splat(tier, R::from_f64(value));
        let (zero, one, up, down) = (Group::zero(tier), constant(1.0), constant(self.up), constant(self.down));
        let side = match self.error {
            Error::Hinge => constant(2.0).fma(y, -one),
            Error::Distance => one,
        };
        let error = match self.error {
            Error::Hinge => (-side).fma(z, one),
            Error::Distance => y - z,
        };
        // `zero` first: where the margin is not a number, neither is the loss.
        let value = up * zero.max(error) + down * zero.max(-error);
        let width = match self.smoothing {
            Smoothing::Exact => {
                let slope = Group::select(zero.less(error), up, Group::select(error.less(zero), -down, zero));
                return Terms { loss: value, residual: -(side * slope), curvature: zero };
            }
            Smoothing::Width(width) | Smoothing::Lifted(width, _) | Smoothing::Gap(width) => width,
        };
        let both = constant(self.up + self.down);
        let math::Logistic { decay, greater, lesser } = math::logistic(tier, error * constant(1.0 / width));
        let slope = Group::select(error.less(zero), both.fma(lesser, -down), (-both).fma(lesser, up));
        let loss = match self.smoothing {
            Smoothing::Gap(_) => both * error.abs() * lesser,
            _ => (both * constant(width)).fma(math::log1p_unit(tier, decay), value),
        };
        let mut curvature = constant((self.up + self.down) / width) * (greater * lesser);
        if let Smoothing::Lifted(_, lift) = self.smoothing {
            let distance = error.abs();
            let chord = both * (greater - lesser) / (distance + distance);
            let limit = constant((self.up + self.down) / (4.0 * width));
            let chord = Group::select(distance.less(constant(NEAR * width)), limit, chord);
            curvature = constant(lift).fma(chord - curvature, curvature);
        }
        let curvature = side * side * curvature;
        Terms { loss, residual: -(side * slope), curvature }
    }

    fn reference(self, z: f64, y: f64) -> Terms<f64> {
        let (up, down, both) = (self.up, self.down, self.up + self.down);
        let (side, error) = match self.error {
            Error::Hinge => (2.0 * y - 1.0, 1.0 - (2.0 * y - 1.0) * z),
            Error::Distance => (1.0, y - z),
        };
        let value = up * error.max(0.0) + down * (-error).max(0.0);
        let (Smoothing::Width(width) | Smoothing::Lifted(width, _) | Smoothing::Gap(width)) = self.smoothing else {
            let slope = if error > 0.0 { up } else { -down * f64::from(error < 0.0) };
            return Terms { loss: value, residual: -side * slope, curvature: 0.0 };
        };
        let decay = (-(error / width).abs()).exp();
        let lesser = decay / (1.0 + decay);
        let slope = if error < 0.0 { both * lesser - down } else { up - both * lesser };
        let is_gap = matches!(self.smoothing, Smoothing::Gap(_));
        let mut curvature = both / width * lesser / (1.0 + decay);
        if let Smoothing::Lifted(_, lift) = self.smoothing {
            let near = error.abs() < NEAR * width;
            let chord = if near {
                both / (4.0 * width)
            } else {
                both * (error.abs() / width / 2.0).tanh() / (2.0 * error.abs())
            };
            curvature += lift * (chord - curvature);
        }
        Terms {
            loss: if is_gap { both * error.abs() * lesser } else { value + both * width * decay.ln_1p() },
            residual: -side * slope,
            curvature: side * side * curvature,
        }
    }
}
