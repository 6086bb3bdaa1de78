//! Multinomial logistic regression, also called softmax regression: every class k has a margin z_k of its own, and probability
//! e^z_k / sum_j e^z_j; the loss is the negative log likelihood, log(sum_j e^z_j) - z_y.
//!
//! The symmetric form of scikit-learn and Spark: all K classes have coefficients, none is the reference. The same number
//! added to all intercepts changes nothing, and without a penalty neither does the same vector added to all coefficients; starting
//! from intercepts that sum to 0 and no slopes, every step sums to 0 over the classes and so does the answer.
//!
//! K p + K coordinates, class after class; a pass costs 2 K p multiply-adds a row, all classes from one reading of the data. A
//! Hessian has (K p)^2 numbers and costs K (K - 1) / 2 weighted Gram matrices (`engine/derive`): Newton's method where that is
//! affordable, else quasi-Newton methods.

use super::{Bounds, Loss, Model, Moments, Reach, Settings, Shape};
use crate::metrics::{Multiclass, Odds, Task};
use crate::plan::SolverName;

/// The most parameters of all classes for which Newton's method is the default. A Hessian pass costs about (K - 1) p / 8
/// gradient passes.
const HESSIAN_PARAMETERS_MAX: usize = 256;
/// The most classes for which it is: rows go through a kernel once for each pair of them, however few their columns are.
const HESSIAN_CLASSES_MAX: usize = 16;

/// The model `softmax`.
pub struct Softmax {
    /// Number of classes.
    pub classes: usize,
}

impl Model for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn about(&self) -> &'static str {
        "multinomial logistic regression of two or more classes: cross-entropy; l1, l2 and elastic net penalties"
    }

    fn with(&self, _settings: &Settings) -> Box<dyn Model> {
        Box::new(Softmax { classes: self.classes })
    }

    fn of_classes(&self, classes: usize) -> Option<Box<dyn Model>> {
        Some(Box::new(Softmax { classes }))
    }

    fn is_joint(&self) -> bool {
        true
    }

    fn loss(&self) -> Loss {
        Loss::Logistic
    }

    fn task(&self) -> Task {
        Task::Multiclass(Multiclass { classes: self.classes, odds: Odds::Joint })
    }

    fn is_open(&self) -> bool {
        true
    }

    fn mean(&self, margin: f64) -> f64 {
        super::logistic::Logistic.mean(margin)
    }

    fn margin(&self, mean: f64) -> f64 {
        super::logistic::Logistic.margin(mean)
    }

    /// The logarithms of the classes' shares, less their mean.
    fn start(&self, moments: &Moments) -> Vec<f64> {
        let logarithms: Vec<f64> = moments.shares.iter().map(|share| share.ln()).collect();
        let mean = logarithms.iter().sum::<f64>() / logarithms.len().max(1) as f64;
        logarithms.iter().map(|logarithm| logarithm - mean).collect()
    }

    /// The entropy of the classes.
    fn null_loss(&self, moments: &Moments) -> f64 {
        moments.shares.iter().map(|&share| if share > 0.0 { -share * share.ln() } else { 0.0 }).sum()
    }

    fn bounds(&self, reach: &Reach) -> Bounds {
        let spread = reach.high - reach.low;
        Bounds { loss: spread + (self.classes as f64).ln(), residual: 1.0, curvature: 0.25 }
    }

    fn solver(&self, shape: &Shape) -> SolverName {
        let few = self.classes <= HESSIAN_CLASSES_MAX && self.classes * shape.parameters <= HESSIAN_PARAMETERS_MAX;
        match (shape.any_l1, few) {
            (true, _) => SolverName::Owlqn,
            (false, true) => SolverName::Newton,
            (false, false) => SolverName::Lbfgs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worst rows of a reach: the own class at its low end, all others at the high one, and the other way round.
    #[test]
    fn rows_keep_their_bounds() {
        for classes in [2, 3, 10] {
            for (low, high) in [(0.0, 0.0), (-3.0, 2.0), (40.0, 90.0)] {
                let bounds = Softmax { classes }.bounds(&Reach { label: (classes - 1) as f64, low, high });
                for (own, others) in [(low, high), (high, low)] {
                    let mut z = vec![others; classes];
                    z[0] = own;
                    let sums = gristmill_kernels::reference::softmax(&mut z, &[0.0], None, &mut vec![0.0; classes]);
                    assert!(sums.loss <= bounds.loss * (1.0 + 1e-15), "{sums:?} {bounds:?}");
                    assert!(z.iter().all(|residual| residual.abs() <= bounds.residual), "{z:?}");
                }
            }
        }
    }

    #[test]
    fn a_hessian_is_for_few_classes_and_columns() {
        let solver = |classes, parameters, any_l1| {
            Softmax { classes }.solver(&Shape { rows: 1_000, entries_per_row: 1.0, parameters, any_l1 })
        };
        for (classes, parameters) in [(2, 128), (3, 85), (16, 16)] {
            assert_eq!(solver(classes, parameters, false), SolverName::Newton, "{classes} {parameters}");
            assert_eq!(solver(classes, parameters, true), SolverName::Owlqn);
            assert_eq!(solver(classes, parameters + 1, false), SolverName::Lbfgs);
        }
        assert_eq!(solver(17, 2, false), SolverName::Lbfgs);
    }

    /// At the start the mean loss is the entropy, and every class's residuals cancel.
    #[test]
    fn intercepts_start_at_the_shares() {
        let shares = vec![0.5, 0.3, 0.2];
        let moments = Moments { shares: shares.clone(), ..Moments::default() };
        let model = Softmax { classes: 3 };
        let start = model.start(&moments);
        assert!(start.iter().sum::<f64>().abs() < 1e-15);
        let (mut loss, mut residuals) = (0.0, vec![0.0; 3]);
        for (class, share) in shares.iter().enumerate() {
            let (mut z, y, weight) = (start.clone(), [class as f64], [*share]);
            loss += gristmill_kernels::reference::softmax(&mut z, &y, Some(&weight), &mut residuals).loss;
        }
        assert!((loss - model.null_loss(&moments)).abs() < 1e-15);
        assert!(residuals.iter().all(|residual| residual.abs() < 1e-15), "{residuals:?}");
    }
}
