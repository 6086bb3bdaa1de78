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
//! The deviance of the mean needs no second look at the rows: it is that of any number c less that of the mean from c,
//! sum w d(y, mean) = sum w d(y, c) - W d(mean, c), with W = sum w, as of squares in R2; which cancels badly only when c
//! (`Rows::centre`) is far from the mean. Labels count in units of c, d(y, c) = c^(2-p) d(y / c, 1), so that none is too large or small.

use super::{Figure, Metric, Rows, ratio, rounding};

/// The room.
#[derive(Clone, Copy, Debug)]
pub struct Deviance {
    /// The power p.
    pub power: f64,
}

/// d(y, m).
fn unit(power: f64, y: f64, mean: f64) -> f64 {
    2.0 * terms(power, y, mean).iter().sum::<f64>()
}

/// What half of d(y, m) is the sum of.
fn terms(power: f64, y: f64, mean: f64) -> [f64; 3] {
    if power == 1.0 {
        return [if y > 0.0 { y * (y / mean).ln() } else { 0.0 }, -y, mean];
    }
    if power == 2.0 {
        return [(mean / y).ln(), y / mean, -1.0];
    }
    let (up, down) = (2.0 - power, power - 1.0);
    [y * mean.powf(-down) / down, mean.powf(up) / up, -y.powf(up) / (down * up)]
}

impl Metric for Deviance {
    fn sums(&self) -> usize {
        7
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        let centre = if rows.centre > 0.0 { rows.centre } else { 1.0 };
        let scale = centre.powf(2.0 - self.power);
        for (prediction, label, weight) in rows.iter() {
            let (deviance, share) = (unit(self.power, label, prediction), label / centre);
            let from_centre = terms(self.power, share, 1.0);
            sums[0] += weight * deviance;
            sums[1] += weight;
            sums[2] += weight * (deviance / scale);
            sums[3] += weight * share;
            sums[4] += weight * unit(self.power, share, 1.0);
            sums[5] += weight * from_centre.map(f64::abs).iter().sum::<f64>();
            sums[6] += 1.0;
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        let [deviance, weight, of_shares, shares] = [sums[0], sums[1], sums[2], sums[3]];
        let [from_centre, terms, rows] = [sums[4], sums[5], sums[6]];
        let null = from_centre - weight * unit(self.power, shares / weight, 1.0);
        // Below the rounding of the sums there is no spread to explain.
        let spread = null > terms * rounding(rows);
        vec![
            ratio("deviance", deviance, weight),
            Figure { name: "d2".into(), value: spread.then(|| 1.0 - of_shares / null) },
        ]
    }
}
