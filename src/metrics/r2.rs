//! Coefficient of determination: `R2 = 1 - sum w (p - y)^2 / sum w (y - mean)^2`, with the weighted mean of these
//! labels; not defined for a constant label.
//!
//! Labels are shifted by `Rows::centre` before squaring: with `d = y - centre`, the total is
//! `sum w d^2 - (sum w d)^2 / sum w`, which cancels badly only when the centre is far from the mean.

use super::{Figure, Metric, Rows, rounding};

/// The room.
#[derive(Clone, Copy, Debug)]
pub struct R2;

impl Metric for R2 {
    fn sums(&self) -> usize {
        5
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        for (prediction, label, weight) in rows.iter() {
            let shifted = label - rows.centre;
            sums[0] += weight * (prediction - label).powi(2);
            sums[1] += weight;
            sums[2] += weight * shifted;
            sums[3] += weight * shifted * shifted;
            sums[4] += 1.0;
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        let [residual, weight, first, second, rows] = [sums[0], sums[1], sums[2], sums[3], sums[4]];
        let total = second - first * first / weight;
        // Below the rounding of the sums there is no spread to explain.
        let spread = weight > 0.0 && total > second * rounding(rows);
        vec![Figure { name: "r2".into(), value: spread.then(|| 1.0 - residual / total) }]
    }
}
