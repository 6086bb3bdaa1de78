//! Hinge losses of margins: `sum w h / sum w` with `h = max(0, 1 - s z)`, `s = +1` for class 1 and `-1` for class 0, and the
//! same of `h^2`. The first is scikit-learn's `hinge_loss`, the second what the model is trained with.

use super::{Figure, Metric, Rows, ratio};

/// The room.
#[derive(Clone, Copy, Debug)]
pub struct Hinge;

impl Metric for Hinge {
    fn sums(&self) -> usize {
        3
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        for (margin, label, weight) in rows.iter() {
            let missing = (1.0 - if label > 0.5 { margin } else { -margin }).max(0.0);
            sums[0] += weight * missing;
            sums[1] += weight * missing * missing;
            sums[2] += weight;
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        vec![ratio("hinge_loss", sums[0], sums[2]), ratio("squared_hinge_loss", sums[1], sums[2])]
    }
}
