//! Calibration table: do events predicted with probability p happen with frequency p?
//!
//! Ten bins of equal width over the predicted probability, closed above (scikit-learn's `calibration_curve` with
//! `strategy="uniform"`); for each the weight, the mean prediction and the observed share of class 1. The expected
//! calibration error is the weighted mean of their distance.

use serde::{Deserialize, Serialize};

use super::Rows;

/// Number of bins.
pub const BINS: usize = 10;

/// Sums that the table keeps: weight, weighted probability, weight of class 1, for every bin.
pub const SUMS: usize = 3 * BINS;

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Predictions above this (from the first bin's: not below).
    pub above: f64,
    /// Predictions up to this.
    pub up_to: f64,
    /// Weight of the rows.
    pub weight: f64,
    /// Their mean predicted probability.
    pub predicted: Option<f64>,
    /// Their share of class 1.
    pub observed: Option<f64>,
}

/// Add rows to the sums of the table.
pub fn add(rows: &Rows<'_>, sums: &mut [f64]) {
    for (margin, label, weight) in rows.iter() {
        let probability = sigmoid(margin);
        let bin = 3 * bin_of(probability);
        sums[bin] += weight;
        sums[bin + 1] += weight * probability;
        sums[bin + 2] += weight * f64::from(u8::from(label > 0.5));
    }
}

/// The table that the sums of all rows say.
pub fn table(sums: &[f64]) -> Vec<Bin> {
    (0..BINS)
        .map(|bin| {
            let [weight, predicted, observed] = [sums[3 * bin], sums[3 * bin + 1], sums[3 * bin + 2]];
            let share = |sum: f64| (weight > 0.0).then(|| sum / weight);
            Bin {
                above: bin as f64 / BINS as f64,
                up_to: (bin + 1) as f64 / BINS as f64,
                weight,
                predicted: share(predicted),
                observed: share(observed),
            }
        })
        .collect()
}

/// Weighted mean distance of predicted from observed.
pub fn expected_error(sums: &[f64]) -> Option<f64> {
    let weight: f64 = (0..BINS).map(|bin| sums[3 * bin]).sum();
    let distance: f64 = (0..BINS).map(|bin| (sums[3 * bin + 1] - sums[3 * bin + 2]).abs()).sum();
    (weight > 0.0).then(|| distance / weight)
}

/// The bin with `edge(bin) < probability <= edge(bin + 1)`; zero falls into the first.
fn bin_of(probability: f64) -> usize {
    (1..BINS).filter(|&edge| probability > edge as f64 / BINS as f64).count()
}

/// `1 / (1 + exp(-z))` without overflow.
pub fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 {
        1.0 / (1.0 + (-z).exp())
    } else {
        let e = z.exp();
        e / (1.0 + e)
    }
}
