//! Regression of a positive mean with log link in the Tweedie family: the variance grows with the power p of the mean,
//! 1 <= p <= 2 (`--tweedie-power`). 1 is the Poisson distribution of counts, 2 the gamma distribution of positive numbers, between
//! them a sum of a Poisson number of gamma numbers: exactly 0 for some rows, positive for others (claims, rain, sales).
//!
//! The loss is half the unit deviance, as in scikit-learn's `TweedieRegressor`, so the objective is 0 for a perfect fit: the
//! kernels' loss (`kernels/src/losses/tweedie.rs`) less its least mean value, which depends on the targets alone. Both are counted
//! from the deviance of one mean, the unit u. 1 serves means that are ordinary numbers; counted from there, amounts of 1e12 have losses
//! of 1e12 that differ by parts of 1, so that u is near their mean.
//!
//! The margin is the logarithm of the mean, so residuals have no useful bound: `engine::sheet` finds their scale.

use super::{Bounds, Loss, Model, Moments, Reach, Settings, Shape, smooth_solver};
use crate::metrics::Task;
use crate::plan::SolverName;

/// Default of the power.
pub const POWER: f64 = 1.5;

/// How many powers of two a mean is off 1 before losses are counted from near it.
const ORDINARY: i32 = 10;

/// The model `tweedie`.
#[derive(Clone, Copy)]
pub struct Tweedie {
    /// The power p.
    pub power: f64,
    /// The mean that losses are counted from.
    pub unit: f64,
}

impl Tweedie {
    /// For means that are ordinary numbers.
    pub const fn new(power: f64) -> Tweedie {
        Tweedie { power, unit: 1.0 }
    }

    /// For targets of that mean: the unit is 1 or the power of two below it, so that multiples of it are exact.
    pub fn of_mean(self, mean: f64) -> Tweedie {
        let ordinary = 2f64.powi(-ORDINARY)..2f64.powi(ORDINARY);
        // Without its digits, a number is the power of two below it.
        let below = f64::from_bits(mean.to_bits() & f64::INFINITY.to_bits());
        let known = mean.is_normal() && mean > 0.0 && !ordinary.contains(&mean);
        Tweedie { unit: if known { below } else { 1.0 }, ..self }
    }
}

impl Model for Tweedie {
    fn name(&self) -> &'static str {
        "tweedie"
    }

    fn about(&self) -> &'static str {
        "regression of a mean that is never negative, often 0: Tweedie deviance of --tweedie-power, log link"
    }

    fn with(&self, settings: &Settings) -> Box<dyn Model> {
        Box::new(Tweedie::new(settings.tweedie_power.unwrap_or(POWER)))
    }

    fn near(&self, mean: f64) -> Option<Box<dyn Model>> {
        Some(Box::new(self.of_mean(mean)))
    }

    fn loss(&self) -> Loss {
        match self.power {
            1.0 => Loss::Poisson(self.unit),
            2.0 => Loss::Gamma(self.unit),
            power => Loss::Tweedie(power, self.unit),
        }
    }

    fn least_loss(&self, y: f64) -> f64 {
        let (power, unit) = (self.power, self.unit);
        if power == 1.0 {
            return if y > 0.0 { y - unit - y * (y / unit).ln() } else { -unit };
        }
        if power == 2.0 {
            return (y / unit).ln() + 1.0 - y / unit;
        }
        let (up, down) = (2.0 - power, power - 1.0);
        let grown = y.powf(up);
        (grown - unit.powf(up)) / up + (grown - y * unit.powf(-down)) / down
    }

    fn task(&self) -> Task {
        Task::Deviance(self.power)
    }

    fn mean(&self, margin: f64) -> f64 {
        margin.exp()
    }

    fn margin(&self, mean: f64) -> f64 {
        mean.ln()
    }

    fn null_loss(&self, moments: &Moments) -> f64 {
        (self.least_loss(moments.mean) - moments.saturated).max(0.0)
    }

    /// The mean and the pull of the target, e^(2-p)z and y e^(1-p)z, have opposite signs in the residual and the same in the
    /// curvature; the loss is the sum of their integrals.
    fn bounds(&self, reach: &Reach) -> Bounds {
        let (up, down) = (2.0 - self.power, self.power - 1.0);
        let (mean, pull) = ((up * reach.high).exp(), reach.label * (-down * reach.low).exp());
        let level = self.unit.ln();
        let integral = |rate: f64| {
            let at = |z: f64| if rate == 0.0 { z } else { self.unit.powf(rate) * ((rate * z).exp_m1() / rate) };
            at(reach.low - level).abs().max(at(reach.high - level).abs())
        };
        Bounds {
            loss: integral(up) + reach.label * integral(-down),
            residual: mean.max(pull),
            curvature: up * mean + down * pull,
        }
    }

    fn solver(&self, shape: &Shape) -> SolverName {
        smooth_solver(shape)
    }
}
