//! Deviance of positive means: how much less likely an observation is under its predicted mean than under itself, in the
//! Tweedie family of power p (1: Poisson, 2: gamma, between: compound Poisson-gamma), and the share of it that is explained.
//!
//! ```text
//! d(y, m)     2 (y log(y / m) - y + m)                                                                 p = 1
//!             2 (log(m / y) + y / m - 1)                                                               p = 2
//!             2 (y^(2-p) / ((1-p)(2-p)) - y m^(1-p) / (1-p) + m^(2-p) / (2-p))                         1 < p < 2
//! deviance    sum w d(y, m) / sum w                                      scikit-learn's `mean_tweedie_deviance`
//! d2          1 - sum w d(y, m) / sum w d(y, mean of y)                                 its `d2_tweedie_score`
//! ```
//! The deviance of the mean needs no second look at the rows: half of it is W S(mean) - sum w S(y), with S as [`saturated`].

use super::{Figure, Metric, Rows, ratio, rounding};

/// The room.
#[derive(Clone, Copy, Debug)]
pub struct Deviance {
    /// The power p.
    pub power: f64,
}

/// Half the deviance of a mean m is L(log m, y) - S(y), with L the loss that models are trained with
/// (`kernels/src/losses/tweedie.rs`); this is S(y) = L(log y, y), its least value.
pub fn saturated(power: f64, y: f64) -> f64 {
    if power == 1.0 {
        return if y > 0.0 { y - 1.0 - y * y.ln() } else { -1.0 };
    }
    if power == 2.0 {
        return y.ln() + 1.0 - y;
    }
    let (up, down) = (2.0 - power, power - 1.0);
    let grown = y.powf(up);
    (grown - 1.0) / up + (grown - y) / down
}

/// d(y, m).
fn unit(power: f64, y: f64, mean: f64) -> f64 {
    if power == 1.0 {
        let part = if y > 0.0 { y * (y / mean).ln() } else { 0.0 };
        return 2.0 * (part - y + mean);
    }
    if power == 2.0 {
        return 2.0 * ((mean / y).ln() + y / mean - 1.0);
    }
    let (up, down) = (2.0 - power, power - 1.0);
    2.0 * (y * mean.powf(-down) / down + mean.powf(up) / up - y.powf(up) / (down * up))
}

impl Metric for Deviance {
    fn sums(&self) -> usize {
        6
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        for (prediction, label, weight) in rows.iter() {
            sums[0] += weight * unit(self.power, label, prediction);
            sums[1] += weight;
            sums[2] += weight * label;
            let least = saturated(self.power, label);
            sums[3] += weight * least;
            sums[4] += weight * (1.0 + label + least.abs());
            sums[5] += 1.0;
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        let [deviance, weight, labels, least] = [sums[0], sums[1], sums[2], sums[3]];
        let [terms, rows] = [sums[4], sums[5]];
        let null = 2.0 * (weight * saturated(self.power, labels / weight) - least);
        // Below the rounding of the sums there is no spread to explain.
        let spread = null > terms * rounding(rows);
        vec![
            ratio("deviance", deviance, weight),
            Figure { name: "d2".into(), value: spread.then(|| 1.0 - deviance / null) },
        ]
    }
}
