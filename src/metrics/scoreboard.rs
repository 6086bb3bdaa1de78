//! All metrics of a model at once: partial sums of chunks, added up in chunk order.

use std::path::Path;

use gristmill_io::Result;
use serde::{Deserialize, Serialize};

use super::ranking::Ranking;
use super::{Figure, Rows, Task, calibration};

/// The sums of one chunk of rows, made by any thread.
#[derive(Clone, Debug)]
pub struct Partial {
    sums: Vec<f64>,
    rows: u64,
}

/// Sums of all chunks so far, and the order of the scores.
#[derive(Debug)]
pub struct Scoreboard {
    task: Task,
    total: Partial,
    ranking: Option<Ranking>,
}

/// How good the predictions are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// What the model predicts.
    pub task: Task,
    /// Number of rows.
    pub rows: u64,
    /// The figures, in the order of the registry.
    pub figures: Vec<Figure>,
    /// The calibration table (binary models).
    pub calibration: Vec<calibration::Bin>,
}

impl Partial {
    /// The sums of these rows.
    pub fn of(task: Task, rows: &Rows<'_>) -> Partial {
        let mut sums = vec![0.0; sums_of(task)];
        let mut rest = sums.as_mut_slice();
        for metric in task.metrics() {
            let (own, others) = rest.split_at_mut(metric.sums());
            metric.add(rows, own);
            rest = others;
        }
        if task == Task::Binary {
            calibration::add(rows, rest);
        }
        Partial { sums, rows: rows.prediction.len() as u64 }
    }
}

impl Scoreboard {
    /// No rows yet; the order of scores takes at most `memory_bytes`, and scratch files in `scratch` beyond.
    pub fn new(task: Task, memory_bytes: usize, scratch: &Path) -> Scoreboard {
        let total = Partial { sums: vec![0.0; sums_of(task)], rows: 0 };
        Scoreboard { task, total, ranking: (task == Task::Binary).then(|| Ranking::new(memory_bytes, scratch)) }
    }

    /// Add a chunk: its sums and, for the order of the scores, its rows. Chunks come in the order of the data.
    ///
    /// # Errors
    /// [`gristmill_io::Error::Io`] when sorted scores cannot be written to a scratch file.
    pub fn add(&mut self, partial: &Partial, rows: &Rows<'_>) -> Result<()> {
        self.total.rows += partial.rows;
        for (sum, more) in self.total.sums.iter_mut().zip(&partial.sums) {
            *sum += more;
        }
        match &mut self.ranking {
            Some(ranking) => ranking.add(rows),
            None => Ok(()),
        }
    }

    /// The figures of all rows.
    ///
    /// # Errors
    /// [`gristmill_io::Error::Io`] when sorted scores cannot be read back.
    pub fn finish(self) -> Result<Evaluation> {
        let mut figures = Vec::new();
        let mut rest = self.total.sums.as_slice();
        for metric in self.task.metrics() {
            let (own, others) = rest.split_at(metric.sums());
            figures.extend(metric.figures(own));
            rest = others;
        }
        let mut table = Vec::new();
        if let Some(ranking) = self.ranking {
            let ranked = ranking.finish()?;
            figures.push(Figure { name: "auc".into(), value: ranked.auc });
            figures.push(Figure { name: "average_precision".into(), value: ranked.average_precision });
            figures.push(Figure { name: "calibration_error".into(), value: calibration::expected_error(rest) });
            table = calibration::table(rest);
        }
        Ok(Evaluation { task: self.task, rows: self.total.rows, figures, calibration: table })
    }
}

impl Evaluation {
    /// The figure of that name, where it is defined.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name)?.value
    }
}

/// Length of the flat slice of sums.
fn sums_of(task: Task) -> usize {
    let metrics: usize = task.metrics().iter().map(|metric| metric.sums()).sum();
    metrics + if task == Task::Binary { calibration::SUMS } else { 0 }
}
