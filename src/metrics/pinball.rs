//! Of a predicted quantile q: the pinball loss, sum w (q max(y - p, 0) + (1 - q) max(p - y, 0)) / sum w (scikit-learn's
//! `mean_pinball_loss`), and the share of labels that are not above the prediction, which should be q.

use super::{Figure, Metric, Rows, ratio};

/// The room.
#[derive(Clone, Copy, Debug)]
pub struct Pinball {
    /// The quantile.
    pub quantile: f64,
}

impl Metric for Pinball {
    fn sums(&self) -> usize {
        3
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        for (prediction, label, weight) in rows.iter() {
            let error = label - prediction;
            sums[0] += weight * (self.quantile * error.max(0.0) + (1.0 - self.quantile) * (-error).max(0.0));
            sums[1] += weight;
            sums[2] += if error <= 0.0 { weight } else { 0.0 };
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        vec![ratio("pinball_loss", sums[0], sums[1]), ratio("below", sums[2], sums[1])]
    }
}
