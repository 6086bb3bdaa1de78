//! Log-loss: `sum w log(1 + exp(-s z)) / sum w` with the margin `z` and `s = +1` for class 1, `-1` for class 0.
//!
//! It is computed from margins, so probabilities that round to 0 or 1 need no clipping.

use super::{Figure, Metric, Rows, ratio};

/// The room.
#[derive(Clone, Copy, Debug)]
pub struct LogLoss;

impl Metric for LogLoss {
    fn sums(&self) -> usize {
        2
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        for (margin, label, weight) in rows.iter() {
            let agreement = if label > 0.5 { margin } else { -margin };
            sums[0] += weight * softplus(-agreement);
            sums[1] += weight;
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        vec![ratio("log_loss", sums[0], sums[1])]
    }
}

/// `log(1 + exp(x))` without overflow.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
