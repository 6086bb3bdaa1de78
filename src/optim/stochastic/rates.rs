//! Learning rates over a training: a function of how many epochs have passed, e (a real number), of E in all.
//!
//! ```text
//! constant       h
//! step           h f^floor(e / s)                                                    PyTorch StepLR (s = 1, f = 0.1)
//! cosine         h (1 + cos(pi e / E)) / 2                                           Loshchilov, Hutter 2017; CosineAnnealingLR
//! inverse-time   h / (1 + d e)^p                                                     p = 1, d = 1: Keras InverseTimeDecay a epoch
//! one-cycle      from h / 25 up to h at 0.3 E, down to h / 250,000, by half cosines    Smith, Topin 2018; PyTorch OneCycleLR
//! ```
//! During the first `warmup` epochs the rate is multiplied by (e + one batch) / warmup.

use serde::{Deserialize, Serialize};

/// The form of the curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// One rate throughout.
    #[default]
    Constant,
    /// Lower by a factor every so many epochs.
    Step,
    /// Half a cosine down to 0.
    Cosine,
    /// As a power of time.
    InverseTime,
    /// Up, and further down.
    OneCycle,
}

impl Schedule {
    /// Every schedule with the name that flags and files use.
    pub const ALL: [(Schedule, &'static str); 5] = [
        (Schedule::Constant, "constant"),
        (Schedule::Step, "step"),
        (Schedule::Cosine, "cosine"),
        (Schedule::InverseTime, "inverse-time"),
        (Schedule::OneCycle, "one-cycle"),
    ];
}

/// Shares of the peak that one-cycle begins and ends with, and the share of the training after which the peak comes.
const CYCLE: (f64, f64, f64) = (1.0 / 25.0, 1.0 / 250_000.0, 0.3);

/// A curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// h.
    pub peak: f64,
    /// The form.
    pub schedule: Schedule,
    /// E.
    pub epochs: f64,
    /// Epochs of warm-up.
    pub warmup: f64,
    /// s and f.
    pub step: (f64, f64),
    /// d and p.
    pub decay: (f64, f64),
}

impl Rates {
    /// The rate of a batch that begins after `before` epochs and is `batch` epochs long.
    pub fn at(&self, before: f64, batch: f64) -> f64 {
        let half_cosine =
            |from: f64, to: f64, share: f64| to + (from - to) * (1.0 + (std::f64::consts::PI * share).cos()) / 2.0;
        let share = (before / self.epochs).min(1.0);
        let factor = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Step => self.step.1.powf((before / self.step.0).floor()),
            Schedule::Cosine => half_cosine(1.0, 0.0, share),
            Schedule::InverseTime => (1.0 + self.decay.0 * before).powf(-self.decay.1),
            Schedule::OneCycle if share < CYCLE.2 => half_cosine(CYCLE.0, 1.0, share / CYCLE.2),
            Schedule::OneCycle => half_cosine(1.0, CYCLE.1, (share - CYCLE.2) / (1.0 - CYCLE.2)),
        };
        let warm = if before < self.warmup { ((before + batch) / self.warmup).min(1.0) } else { 1.0 };
        self.peak * factor * warm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule) -> Rates {
        Rates { peak: 0.5, schedule, epochs: 10.0, warmup: 0.0, step: (2.0, 0.1), decay: (1.0, 0.5) }
    }

    #[test]
    fn curves_have_their_forms() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        near(rates(Schedule::Constant).at(7.3, 0.1), 0.5);
        near(rates(Schedule::Step).at(3.9, 0.1), 0.05);
        near(rates(Schedule::Step).at(4.0, 0.1), 0.005);
        near(rates(Schedule::Cosine).at(0.0, 0.1), 0.5);
        near(rates(Schedule::Cosine).at(5.0, 0.1), 0.25);
        near(rates(Schedule::Cosine).at(10.0, 0.1), 0.0);
        near(rates(Schedule::InverseTime).at(3.0, 0.1), 0.25);
        near(rates(Schedule::OneCycle).at(0.0, 0.1), 0.02);
        near(rates(Schedule::OneCycle).at(3.0, 0.1), 0.5);
        near(rates(Schedule::OneCycle).at(10.0, 0.1), 2e-6);
        let warm = Rates { warmup: 2.0, ..rates(Schedule::Constant) };
        near(warm.at(0.0, 0.5), 0.125);
        near(warm.at(1.5, 0.5), 0.5);
        near(warm.at(2.0, 0.5), 0.5);
    }
}
