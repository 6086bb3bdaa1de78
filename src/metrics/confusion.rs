//! Accuracy, precision, recall and F1 of class 1, from the weighted confusion matrix at probability one half.
//!
//! A row is predicted as class 1 when its margin is above zero (scikit-learn's `decision_function > 0`). With true
//! positives TP and so on: accuracy = (TP + TN) / all, precision = TP / (TP + FP), recall = TP / (TP + FN),
//! F1 = 2 TP / (2 TP + FP + FN); each is left undefined where its denominator is zero.

use super::{Figure, Metric, Rows, ratio};

/// The room.
#[derive(Clone, Copy, Debug)]
pub struct Confusion;

impl Metric for Confusion {
    fn sums(&self) -> usize {
        4
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        for (margin, label, weight) in rows.iter() {
            let cell = 2 * usize::from(label > 0.5) + usize::from(margin > 0.0);
            sums[cell] += weight;
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        let [tn, fp, fneg, tp] = [sums[0], sums[1], sums[2], sums[3]];
        vec![
            ratio("accuracy", tp + tn, tp + tn + fp + fneg),
            ratio("precision", tp, tp + fp),
            ratio("recall", tp, tp + fneg),
            ratio("f1", 2.0 * tp, 2.0 * tp + fp + fneg),
        ]
    }
}
