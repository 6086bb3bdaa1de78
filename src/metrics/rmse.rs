//! Root mean squared error: `sqrt(sum w (p - y)^2 / sum w)`, in the units of the label.

use super::{Figure, Metric, Rows, ratio};

/// The room.
#[derive(Clone, Copy, Debug)]
pub struct Rmse;

impl Metric for Rmse {
    fn sums(&self) -> usize {
        2
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        for (prediction, label, weight) in rows.iter() {
            sums[0] += weight * (prediction - label).powi(2);
            sums[1] += weight;
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        let mut figure = ratio("rmse", sums[0], sums[1]);
        figure.value = figure.value.map(f64::sqrt);
        vec![figure]
    }
}
