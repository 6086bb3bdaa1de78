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
//! | [`pinball`] | `pinball_loss`, `below` | quantiles |
//! | [`r2`] | `r2` | regression |
//! | [`deviance`] | `deviance`, `d2` | positive means |
//! | [`log_loss`] | `log_loss` | probabilities |
//! | [`hinge`] | `hinge_loss`, `squared_hinge_loss` | classes by margin |
//! | [`confusion`] | `accuracy`, `precision`, `recall`, `f1` | two classes |
//! | [`multiclass`] | `log_loss` | several classes |
//! | [`class_table`] | `accuracy`, `macro_f1` and others, the confusion matrix | several classes |
//! | [`top_k`] | `top_5_accuracy` | several classes |
//! | [`multilabel`] | `subset_accuracy`, `hamming_loss` and others, and those of each label | several labels |
//! | [`ranking`] | `auc`, `average_precision` | two classes, each label |
//! | [`calibration`] | the calibration table | probabilities |
//!
//! A new metric is a file here and a line in [`Task::metrics`].

pub mod calibration;
pub mod class_table;
pub mod confusion;
pub mod deviance;
pub mod hinge;
pub mod log_loss;
pub mod mae;
pub mod multiclass;
pub mod multilabel;
pub mod pinball;
pub mod r2;
pub mod ranking;
pub mod rmse;
mod scoreboard;
pub mod top_k;

use serde::{Deserialize, Serialize};

pub use multiclass::{Multiclass, Odds};
pub use multilabel::{Multilabel, OfLabel};
pub use scoreboard::{Evaluation, Scoreboard};

/// What a model predicts, as far as metrics care.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// A number.
    Regression,
    /// This quantile of a number.
    Quantile(f64),
    /// A positive mean, judged by the deviance of this power.
    Deviance(f64),
    /// One of two classes, with its probability.
    Binary,
    /// One of two classes, without.
    Margin,
    /// One of several classes.
    Multiclass(Multiclass),
    /// Several labels, each there or not.
    Multilabel(Multilabel),
}

/// Rows to be judged; the slices have the same length, but predictions of several classes or labels.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The predicted value; of two classes the margin, that is, the log-odds of class 1 where there are probabilities; of
    /// several, or of labels, the margins of all, class after class.
    pub prediction: &'a [f64],
    /// The true value; of classes their number, from 0; of several labels a whole number with a bit for each.
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
    /// The weights of rows by true (a line each) and predicted class, where the sums hold them.
    fn matrix(&self, _sums: &[f64]) -> Option<Vec<Vec<f64>>> {
        None
    }
    /// The figures of each label by itself, where the sums hold them.
    fn labels(&self, _sums: &[f64]) -> Vec<Vec<Figure>> {
        Vec::new()
    }
}

impl Task {
    /// The metrics of such models; `top_k`: of top-k accuracy, instead of the default.
    pub fn metrics(self, top_k: Option<usize>) -> Vec<Box<dyn Metric>> {
        match self {
            Task::Regression => vec![Box::new(rmse::Rmse), Box::new(mae::Mae), Box::new(r2::R2)],
            Task::Quantile(quantile) => {
                vec![
                    Box::new(pinball::Pinball { quantile }),
                    Box::new(rmse::Rmse),
                    Box::new(mae::Mae),
                    Box::new(r2::R2),
                ]
            }
            Task::Deviance(power) => {
                vec![Box::new(deviance::Deviance { power }), Box::new(rmse::Rmse), Box::new(mae::Mae), Box::new(r2::R2)]
            }
            Task::Binary => vec![Box::new(log_loss::LogLoss), Box::new(confusion::Confusion)],
            Task::Margin => vec![Box::new(hinge::Hinge), Box::new(confusion::Confusion)],
            Task::Multiclass(of) => multiclass::metrics(of, top_k),
            Task::Multilabel(of) => vec![Box::new(multilabel::LabelTable::new(of))],
        }
    }

    /// The task of so many classes, each of which is told from all others by a model of this task; 0: the task itself.
    #[must_use]
    pub fn against(self, classes: usize) -> Task {
        let odds = if self == Task::Binary { Odds::Each } else { Odds::Never };
        if classes == 0 { self } else { Task::Multiclass(Multiclass { classes, odds }) }
    }

    /// The task of so many labels, each of which has a model of this task.
    #[must_use]
    pub fn of_labels(self, labels: usize) -> Task {
        Task::Multilabel(Multilabel { labels, probabilities: self == Task::Binary })
    }

    /// True when a class is predicted.
    pub fn has_classes(self) -> bool {
        matches!(self, Task::Binary | Task::Margin | Task::Multiclass(_))
    }

    /// How many scores of a row have an order that counts.
    pub fn rankings(self) -> usize {
        match self {
            Task::Binary | Task::Margin => 1,
            Task::Multilabel(of) => of.labels,
            _ => 0,
        }
    }
}

impl Rows<'_> {
    /// The margins of a row, one a class.
    pub fn margins(&self, row: usize, margins: &mut [f64]) {
        let rows = self.label.len();
        margins.iter_mut().enumerate().for_each(|(class, margin)| *margin = self.prediction[class * rows + row]);
    }

    /// Prediction (the margin of the first class where there are several), label and weight of every row.
    pub fn iter(&self) -> impl Iterator<Item = (f64, f64, f64)> + '_ {
        (0..self.label.len()).map(|i| (self.prediction[i], self.label[i], self.weight.map_or(1.0, |weight| weight[i])))
    }
}

/// A named figure: `numerator / denominator`, not defined when the denominator is zero.
fn ratio(name: &str, numerator: f64, denominator: f64) -> Figure {
    Figure { name: name.to_string(), value: (denominator != 0.0).then(|| numerator / denominator) }
}

/// What share of a sum may be rounding, when so many equal terms were added up in chunks: each addition rounds the same way.
fn rounding(terms: f64) -> f64 {
    f64::EPSILON * terms.clamp(64.0, 65_536.0)
}

#[cfg(test)]
mod tests;
