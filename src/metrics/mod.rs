//! Metrics: how good predictions are (stage 10), streaming, weighted and mergeable.
//!
//! Most metrics are a few weighted sums over rows: a room names how many it keeps, adds rows to them, and turns the
//! totals into figures. All sums of all metrics of a model lie in one flat slice, so partial results of chunks, threads
//! or ranks are merged by adding slices, in the order of the chunks: the figures do not depend on the number of
//! threads. What needs the order of the scores (AUC, average precision) keeps them in [`ranking::Ranking`], which
//! spills sorted runs to disk beyond its memory.
//!
//! | room | figures | for |
//! |---|---|---|
//! | [`rmse`] | `rmse` | regression |
//! | [`mae`] | `mae` | regression |
//! | [`r2`] | `r2` | regression |
//! | [`deviance`] | `deviance`, `d2` | positive means |
//! | [`log_loss`] | `log_loss` | probabilities |
//! | [`hinge`] | `hinge_loss`, `squared_hinge_loss` | classes by margin |
//! | [`confusion`] | `accuracy`, `precision`, `recall`, `f1` | both |
//! | [`ranking`] | `auc`, `average_precision` | both |
//! | [`calibration`] | the calibration table | probabilities |
//!
//! A new metric is a file here and a line in [`Task::metrics`].

pub mod calibration;
pub mod confusion;
pub mod deviance;
pub mod hinge;
pub mod log_loss;
pub mod mae;
pub mod r2;
pub mod ranking;
pub mod rmse;
mod scoreboard;

use serde::{Deserialize, Serialize};

pub use scoreboard::{Evaluation, Scoreboard};

/// What a model predicts, as far as metrics care.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// A number.
    Regression,
    /// A positive mean, judged by the deviance of this power.
    Deviance(f64),
    /// One of two classes, with its probability.
    Binary,
    /// One of two classes, without.
    Margin,
}

/// Rows to be judged; the slices have the same length.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The predicted value; of classes the margin, that is, the log-odds of class 1 where there are probabilities.
    pub prediction: &'a [f64],
    /// The true value; of classes 0 or 1.
    pub label: &'a [f64],
    /// Sample weights; none: 1 each.
    pub weight: Option<&'a [f64]>,
    /// A number near the labels' mean (the training mean): it is subtracted before squaring, so that labels far from
    /// zero lose no digits.
    pub centre: f64,
}

/// A named number; none where it is not defined (AUC of a single class, R2 of a constant label).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Its name in reports and files.
    pub name: String,
    /// Its value.
    pub value: Option<f64>,
}

/// The door of the metrics that are made of weighted sums.
pub trait Metric: Sync {
    /// How many sums it keeps.
    fn sums(&self) -> usize;
    /// Add rows to its sums (as many as [`Metric::sums`] says).
    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]);
    /// What the sums of all rows say.
    fn figures(&self, sums: &[f64]) -> Vec<Figure>;
}

impl Task {
    /// The metrics of such models.
    pub fn metrics(self) -> Vec<Box<dyn Metric>> {
        match self {
            Task::Regression => vec![Box::new(rmse::Rmse), Box::new(mae::Mae), Box::new(r2::R2)],
            Task::Deviance(power) => {
                vec![Box::new(deviance::Deviance { power }), Box::new(rmse::Rmse), Box::new(mae::Mae), Box::new(r2::R2)]
            }
            Task::Binary => vec![Box::new(log_loss::LogLoss), Box::new(confusion::Confusion)],
            Task::Margin => vec![Box::new(hinge::Hinge), Box::new(confusion::Confusion)],
        }
    }

    /// True when a class is predicted.
    pub fn has_classes(self) -> bool {
        matches!(self, Task::Binary | Task::Margin)
    }
}

impl Rows<'_> {
    /// Prediction, label and weight of every row.
    pub fn iter(&self) -> impl Iterator<Item = (f64, f64, f64)> + '_ {
        (0..self.prediction.len())
            .map(|i| (self.prediction[i], self.label[i], self.weight.map_or(1.0, |weight| weight[i])))
    }
}

/// A named figure: `numerator / denominator`, not defined when the denominator is zero.
fn ratio(name: &str, numerator: f64, denominator: f64) -> Figure {
    Figure { name: name.to_string(), value: (denominator != 0.0).then(|| numerator / denominator) }
}

#[cfg(test)]
mod tests;
