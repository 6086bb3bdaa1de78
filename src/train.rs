//! Training: from an opened dataset and a plan to fitted models (stages 4 to 8 of the way of the data).
//!
//! This page holds what goes in and what comes out; the loop itself is `engine::drive`.

use std::sync::Arc;

use gristmill_io::statistics::LabelStatistics;
use gristmill_io::tiles::Way;
use gristmill_io::trace::Trace;
use gristmill_io::watch::Cancel;
use mpi_launch::Communicator;
use serde::{Deserialize, Serialize};

use crate::engine::part::{Key, Part};
use crate::plan::{Strengths, TrainPlan};

/// Where training starts.
#[derive(Clone, Debug, Default)]
pub enum Start {
    /// At the best intercept and no slope.
    #[default]
    Cold,
    /// At a given point in stored space: one weight a parameter of the layout, and the intercept, of each margin.
    From {
        /// Weights on stored values; of several margins one after the other.
        weights: Vec<f64>,
        /// Intercept on stored values of each margin.
        intercepts: Vec<f64>,
    },
    /// Where an interrupted training of the same plan and data stopped; the result has the same bits as if it had not.
    Resume(Box<Checkpoint>),
}

/// What an interrupted training leaves behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Version of this structure.
    pub format: u32,
    /// The plan it was made under.
    pub plan: TrainPlan,
    /// Fingerprint of the dataset.
    pub fingerprint: String,
    /// How far each model is.
    pub tasks: Vec<Task>,
    /// Where models start that have not begun; none: cold, or all have begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<f64>>,
    /// Passes so far, full and sampled.
    pub history: Vec<PassReport>,
    /// Bytes read in them.
    pub bytes_read: u64,
    /// Rows read in them.
    pub rows_read: u64,
}

impl Checkpoint {
    /// Passes so far, full and sampled.
    pub fn passes(&self) -> u32 {
        self.history.len() as u32
    }
}

/// How training ended when it did not fail.
#[derive(Clone, Debug)]
pub enum Ended {
    /// With models.
    Trained(Box<Trained>),
    /// Because it was asked to stop; training resumes from here.
    Interrupted(Box<Checkpoint>),
}

/// What training made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// One a configuration of the path, in the order of [`TrainPlan::path`].
    pub models: Vec<Fitted>,
    /// The classes by number from 0, for classifiers.
    pub classes: Option<Vec<String>>,
    /// Of the label over the training rows, in stored units.
    pub label: Option<LabelStatistics>,
    /// How the configurations did on held-out rows, where folds were asked for.
    pub validation: Option<Validation>,
    /// All passes in order.
    pub history: Vec<PassReport>,
    /// The solver that was used; the solvers, where configurations differ in it.
    pub solver: String,
    /// The instruction set that was used.
    pub tier: String,
    /// What a user should know: collinear columns, separable data, limits reached. Full sentences.
    pub warnings: Vec<String>,
    /// Training rows of all ranks.
    pub rows: u64,
    /// Passes in all, full ones.
    pub passes: u32,
    /// Rows read over all passes and ranks.
    pub rows_read: u64,
    /// Bytes of features, label and weight read over all passes and ranks.
    pub bytes_read: u64,
    /// Seconds from the opened dataset to the models.
    pub seconds: f64,
    /// Of these, before the first pass: statistics, targets, streams.
    pub opening_seconds: f64,
    /// Of these, taking copies for checkpoints.
    pub checkpointing_seconds: f64,
    /// The type of margins and residuals: "f32" or "f64".
    pub arithmetic: String,
    /// How this rank read its grains, and why.
    pub way: Way,
}

/// A fitted configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitted {
    /// Its penalty.
    pub strengths: Strengths,
    /// Weight of each parameter on stored values; of several margins a row (one a class) one after the other.
    pub weights: Vec<f64>,
    /// Intercept of each margin on stored values: margin = intercept + sum of weight * stored value.
    pub intercepts: Vec<f64>,
    /// Coefficient of each parameter in the units of the source columns; margin after margin.
    pub coefficients: Vec<f64>,
    /// Intercepts that go with `coefficients`.
    pub real_intercepts: Vec<f64>,
    /// Objective at the fitted point, penalty included.
    pub objective: f64,
    /// Weighted mean loss at the fitted point, without the penalty.
    pub loss: f64,
    /// Euclidean norm of the (sub)gradient of the objective in standardised coordinates at the fitted point; none where no pass
    /// was made there, and objective and loss are progressive: of each batch of the last epoch before it was learnt from.
    pub gradient_norm: Option<f64>,
    /// Passes over all rows.
    pub passes: u32,
    /// Whether the stopping rule was met; none of a solver that ends after so many epochs, which has none.
    pub converged: Option<bool>,
    /// Why it stopped, a short phrase: "estimated gap 3.1e-9 of the objective", "pass limit", "separable data".
    pub reason: String,
    /// The solver that was used.
    pub solver: String,
}

impl Fitted {
    /// True when the stopping rule was met.
    pub fn has_converged(&self) -> bool {
        self.converged == Some(true)
    }
}

/// One pass, told while training runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassReport {
    /// Number of the pass, from 1.
    pub pass: u32,
    /// Share of the rows that it read, 1 for a full pass.
    pub share: f64,
    /// What it found at the first of its points.
    #[serde(flatten)]
    pub first: PointReport,
    /// What it found at all of its points, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<PointReport>,
    /// Rows read, of all ranks.
    pub rows: u64,
    /// Bytes read, of all ranks.
    pub bytes: u64,
    /// Seconds. Not part of a checkpoint's promise of equal bits, as those below.
    pub seconds: f64,
    /// Of these, seconds that a worker of this rank waited for data, on average.
    #[serde(default)]
    pub waiting_seconds: f64,
    /// Of these, seconds that a worker of this rank took to look at what was read, and to let go of it, on average.
    #[serde(default)]
    pub reading_seconds: f64,
    /// Of these, seconds that a worker of this rank computed, on average.
    #[serde(default)]
    pub computing_seconds: f64,
    /// Of these, seconds that adding over workers and ranks took.
    #[serde(default)]
    pub reducing_seconds: f64,
    /// Seconds in which sums went over the ranks while this rank scanned rows.
    #[serde(default)]
    pub overlapped_seconds: f64,
    /// Bytes that this rank read into memory.
    #[serde(default)]
    pub read_bytes: u64,
    /// Multiply-adds of all ranks, about: every stored number once for margins and once for the gradient, every pair of
    /// them once for a matrix.
    #[serde(default)]
    pub multiply_adds: f64,
}

/// What a pass found at one point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointReport {
    /// Number of the configuration of the path, from 0.
    pub configuration: usize,
    /// The fold whose rows were left out; none: all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u16>,
    /// The class that is told from all others; none: all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<u16>,
    /// What was collected: "gradient", "hessian", "gram", "figures".
    pub collected: String,
    /// Objective at the point (of the sample, where `share` < 1).
    pub objective: f64,
    /// Euclidean norm of the (sub)gradient in standardised coordinates.
    pub gradient_norm: f64,
    /// Mean loss over held-out rows, where that is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<f64>,
}

/// Who watches a training.
pub trait TrainWatch: Sync {
    /// A pass is done. Called on every rank, from the thread that called `train`.
    fn pass(&self, report: &PassReport);

    /// Part of a pass is done: rows read on this rank since the last call. Called from worker threads.
    fn rows(&self, rows: u64);

    /// A pass is about to be made: `take` copies what a later process needs to make it. Called on every rank, with the same
    /// state on all of them.
    fn stand(&self, _take: &dyn Fn() -> Checkpoint) {}

    /// Whether where the training stands is wanted, after so many passes; asked between batches, where telling costs a copy of
    /// the whole model. What one rank wants, all of them show.
    fn wants_stand(&self, _passes: u32) -> bool {
        false
    }

    /// Whether the part of the pass that is done so far is wanted; asked after every grain, from worker threads.
    fn wants_part(&self) -> bool {
        false
    }

    /// The part that was wanted, or what was done of a pass that is left before its end; from a worker thread.
    fn part(&self, _part: Part) {}

    /// What an earlier process did of the pass that is about to be made. Called on every rank, with the same grains on all
    /// of them and the sum on one.
    fn begun(&self, _key: &Key) -> Option<Part> {
        None
    }

    /// Where a record of who did what when is wanted.
    fn trace(&self) -> Option<&Arc<Trace>> {
        None
    }
}

/// A training that nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl TrainWatch for Unwatched {
    fn pass(&self, _report: &PassReport) {}
    fn rows(&self, _rows: u64) {}
}

/// Who is around a training.
pub struct Company<'a> {
    /// The ranks.
    pub comm: &'a dyn Communicator,
    /// Who is told of every pass.
    pub watch: &'a dyn TrainWatch,
    /// Who may ask to stop. On several ranks any may; all stop together.
    pub cancel: &'a Cancel,
}

impl Company<'_> {
    /// Who may stop a scan that all ranks make to its end: nobody, where there are several.
    pub fn cancel_alone(&self) -> Cancel {
        if self.comm.size() == 1 { self.cancel.clone() } else { Cancel::new() }
    }
}

pub use crate::engine::drive::train;
pub use crate::engine::tasks::Task;
pub use crate::engine::validation::Validation;
