//! Mean absolute error: `sum w |p - y| / sum w`, in the units of the label.

use super::{Figure, Metric, Rows, ratio};

/// The room.
#[derive(Clone, Copy, Debug)]
pub struct Mae;

impl Metric for Mae {
    fn sums(&self) -> usize {
        2
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        for (prediction, label, weight) in rows.iter() {
            sums[0] += weight * (prediction - label).abs();
            sums[1] += weight;
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        vec![ratio("mae", sums[0], sums[1])]
    }
}
