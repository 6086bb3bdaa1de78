//! Several classes: what margins say, and log-loss.
//!
//! ```text
//! Joint   p_k = e^z_k / sum_j e^z_j                          softmax
//! Each    p_k = s(z_k) / sum_j s(z_j), s the sigmoid         one model a class against all others (scikit-learn's OneVsRestClassifier)
//! Never   no probabilities
//! log_loss = sum w (-log p_y) / sum w
//! ```
//! The predicted class is the first of those with the greatest margin.

use serde::{Deserialize, Serialize};

use super::calibration::sigmoid;
use super::class_table::ClassTable;
use super::log_loss::softplus;
use super::top_k::TopK;
use super::{Figure, Metric, Rows, ratio};

/// Of top-k accuracy, where there are more classes than that.
const TOP_K: usize = 5;

/// Classes, and what their margins mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Multiclass {
    /// How many.
    pub classes: usize,
    /// What margins say of probabilities.
    pub odds: Odds,
}

/// What margins say of probabilities; see the head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Odds {
    /// All together.
    Joint,
    /// Each for its own class.
    Each,
    /// Nothing.
    Never,
}

/// The metrics of several classes.
pub fn metrics(of: Multiclass, top_k: Option<usize>) -> Vec<Box<dyn Metric>> {
    let mut metrics: Vec<Box<dyn Metric>> = Vec::new();
    if of.odds != Odds::Never {
        metrics.push(Box::new(LogLoss { of }));
    }
    metrics.push(Box::new(ClassTable { classes: of.classes }));
    if let Some(k) = top_k.or(Some(TOP_K)).filter(|&k| k < of.classes) {
        metrics.push(Box::new(TopK { classes: of.classes, k }));
    }
    metrics
}

/// Number of the predicted class of margins, one a class.
pub fn predicted(margins: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (class, margin) in margins.enumerate() {
        if margin > best.1 {
            best = (class, margin);
        }
    }
    best.0
}

impl Multiclass {
    /// Turns the margins of a row into probabilities.
    pub fn probabilities(self, margins: &mut [f64]) {
        match self.odds {
            Odds::Never => return,
            Odds::Joint => {
                let most = margins.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                margins.iter_mut().for_each(|margin| *margin = (*margin - most).exp());
            }
            Odds::Each => margins.iter_mut().for_each(|margin| *margin = sigmoid(*margin)),
        }
        let total: f64 = margins.iter().sum();
        // Where every class is impossible by itself they are equally likely, as in scikit-learn.
        let classes = margins.len() as f64;
        margins.iter_mut().for_each(|share| *share = if total > 0.0 { *share / total } else { 1.0 / classes });
    }

    /// -log of the probability of class `own`, from margins.
    fn loss(self, margins: &[f64], own: usize) -> f64 {
        match self.odds {
            Odds::Each => {
                let total: f64 = margins.iter().map(|margin| sigmoid(*margin)).sum();
                softplus(-margins[own]) + total.ln()
            }
            Odds::Joint | Odds::Never => {
                let most = margins.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let others = margins.iter().enumerate().filter(|(class, _)| *class != own);
                let others: f64 = others.map(|(_, margin)| (margin - most).exp()).sum();
                let share = (margins[own] - most).exp();
                if share == 1.0 { others.ln_1p() } else { (share + others).ln() + most - margins[own] }
            }
        }
    }
}

/// The room.
#[derive(Clone, Copy, Debug)]
struct LogLoss {
    of: Multiclass,
}

impl Metric for LogLoss {
    fn sums(&self) -> usize {
        2
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        let mut margins = vec![0.0; self.of.classes];
        for row in 0..rows.label.len() {
            rows.margins(row, &mut margins);
            let weight = rows.weight.map_or(1.0, |weight| weight[row]);
            sums[0] += weight * self.of.loss(&margins, rows.label[row] as usize);
            sums[1] += weight;
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        vec![ratio("log_loss", sums[0], sums[1])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_losses_are_their_logarithms() {
        for odds in [Odds::Joint, Odds::Each] {
            let of = Multiclass { classes: 3, odds };
            for margins in [[0.3, -2.0, 1.5], [40.0, -3.0, 0.0], [-1.0, -1.0, -1.0]] {
                let mut shares = margins;
                of.probabilities(&mut shares);
                assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-15, "{shares:?}");
                for (own, share) in shares.iter().enumerate() {
                    assert!((of.loss(&margins, own) + share.ln()).abs() < 1e-12, "{margins:?} {own}");
                }
            }
        }
        let mut none = [-800.0; 4];
        Multiclass { classes: 4, odds: Odds::Each }.probabilities(&mut none);
        assert_eq!(none, [0.25; 4]);
    }

    #[test]
    fn the_first_of_the_greatest_is_predicted() {
        assert_eq!(predicted([1.0, 3.0, 3.0, -1.0].into_iter()), 1);
    }
}
