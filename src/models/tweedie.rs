//! Regression of a positive mean with log link in the Tweedie family: the variance grows with the power p of the mean,
//! 1 <= p <= 2 (`--tweedie-power`). 1 is the Poisson distribution of counts, 2 the gamma distribution of positive numbers, between
//! them a sum of a Poisson number of gamma numbers: exactly 0 for some rows, positive for others (claims, rain, sales).
//!
//! The loss is half the unit deviance, as in scikit-learn's `TweedieRegressor`, so the objective is 0 for a perfect fit: the
//! kernels' loss (`kernels/src/losses/tweedie.rs`) less its least mean value, which depends on the targets alone.
//!
//! The margin is the logarithm of the mean, so residuals have no useful bound: `engine::sheet` finds their scale.

use super::{Bounds, Loss, Model, Moments, Reach, Settings, Shape, smooth_solver};
use crate::metrics::Task;
use crate::metrics::deviance::saturated;
use crate::plan::SolverName;

/// Default of the power.
pub const POWER: f64 = 1.5;

/// The model `tweedie`.
pub struct Tweedie {
    /// The power p.
    pub power: f64,
}

impl Model for Tweedie {
    fn name(&self) -> &'static str {
        "tweedie"
    }

    fn about(&self) -> &'static str {
        "regression of a mean that is never negative, often 0: Tweedie deviance of --tweedie-power, log link"
    }

    fn with(&self, settings: &Settings) -> Box<dyn Model> {
        Box::new(Tweedie { power: settings.tweedie_power.unwrap_or(POWER) })
    }

    fn loss(&self) -> Loss {
        match self.power {
            1.0 => Loss::Poisson,
            2.0 => Loss::Gamma,
            power => Loss::Tweedie(power),
        }
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
        (saturated(self.power, moments.mean) - moments.saturated).max(0.0)
    }

    /// The mean and the pull of the target, e^(2-p)z and y e^(1-p)z, have opposite signs in the residual and the same in the
    /// curvature; the loss is the sum of their integrals.
    fn bounds(&self, reach: &Reach) -> Bounds {
        let (up, down) = (2.0 - self.power, self.power - 1.0);
        let (mean, pull) = ((up * reach.high).exp(), reach.label * (-down * reach.low).exp());
        let integral = |rate: f64| {
            let at = |z: f64| if rate == 0.0 { z } else { (rate * z).exp_m1() / rate };
            at(reach.low).abs().max(at(reach.high).abs())
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
