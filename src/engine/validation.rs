//! What a cross-validation says: for every configuration the loss and the figures of its models, each on the rows of the fold
//! that it was trained without; their mean over folds, and its standard error s / sqrt(n), s the sample standard deviation of
//! the n folds (Hastie, Tibshirani, Friedman, "The Elements of Statistical Learning", 2009, 7.10). The best configuration is that of
//! the lowest mean loss.

use serde::{Deserialize, Serialize};

use crate::metrics::Figure;
use crate::plan::Strengths;

/// How the configurations did on held-out rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Rows of each fold.
    pub rows: Vec<u64>,
    /// The configurations, in the order of the path.
    pub configurations: Vec<HeldOut>,
    /// Number of the configuration with the lowest mean loss, from 0.
    pub best: usize,
}

/// How one configuration did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Its penalty.
    pub strengths: Strengths,
    /// The loss of the objective, weights of rows and classes counted, without the penalty.
    pub loss: Spread,
    /// Figures as `evaluate` gives them.
    pub figures: Vec<Spread>,
    /// Models that did not converge.
    pub unconverged: usize,
}

/// A figure over folds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Its name.
    pub name: String,
    /// Mean over folds; none where it is not defined on some fold.
    pub mean: Option<f64>,
    /// Standard error of that mean.
    pub standard_error: Option<f64>,
    /// On each fold.
    pub folds: Vec<Option<f64>>,
}

impl Spread {
    /// Of a figure's values on folds.
    pub fn of(name: &str, folds: Vec<Option<f64>>) -> Spread {
        let (mean, standard_error) =
            folds.iter().copied().collect::<Option<Vec<f64>>>().map(|all| moments(&all)).unzip();
        Spread { name: name.into(), mean, standard_error, folds }
    }
}

/// Mean, and standard error of the mean.
fn moments(all: &[f64]) -> (f64, f64) {
    let n = all.len() as f64;
    let mean = all.iter().sum::<f64>() / n;
    let squares: f64 = all.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, (squares / (n - 1.0).max(1.0) / n).sqrt())
}

impl HeldOut {
    /// Of one configuration: the losses and the figures of its folds.
    pub fn new(strengths: Strengths, losses: Vec<f64>, figures: &[Vec<Figure>], unconverged: usize) -> HeldOut {
        let names = figures.first().into_iter().flatten().enumerate();
        let spread = |(place, first): (usize, &Figure)| {
            Spread::of(&first.name, figures.iter().map(|fold| fold[place].value).collect())
        };
        HeldOut {
            strengths,
            loss: Spread::of("loss", losses.into_iter().map(Some).collect()),
            figures: names.map(spread).collect(),
            unconverged,
        }
    }
}

impl Validation {
    /// With the best found; of equals the first.
    pub fn new(rows: Vec<u64>, configurations: Vec<HeldOut>) -> Validation {
        let loss = |held_out: &HeldOut| held_out.loss.mean.unwrap_or(f64::INFINITY);
        let best = (0..configurations.len())
            .min_by(|&a, &b| loss(&configurations[a]).total_cmp(&loss(&configurations[b])))
            .unwrap_or(0);
        Validation { rows, configurations, best }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 1, 2, 6: mean 3, squares 4 + 1 + 9 = 14, sample variance 7, standard error sqrt(7 / 3).
    #[test]
    fn mean_and_standard_error() {
        let spread = Spread::of("loss", vec![Some(1.0), Some(2.0), Some(6.0)]);
        assert_eq!((spread.mean, spread.standard_error), (Some(3.0), Some((7.0f64 / 3.0).sqrt())));
        assert_eq!(Spread::of("r2", vec![Some(1.0), None]).mean, None);
    }

    #[test]
    fn the_lowest_mean_loss_is_the_best() {
        let strengths = Strengths { l1: 0.0, l2: 1.0, rate: None };
        let of = |losses: &[f64]| HeldOut::new(strengths, losses.to_vec(), &[], 0);
        let best = |all: Vec<HeldOut>| Validation::new(vec![1, 1], all).best;
        assert_eq!(best(vec![of(&[2.0, 3.0]), of(&[1.0, 2.0]), of(&[2.0, 1.0])]), 1);
        assert_eq!(best(vec![of(&[f64::NAN, 3.0]), of(&[4.0, 5.0])]), 1);
    }
}
