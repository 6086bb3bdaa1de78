//! All metrics of a model at once: partial sums of chunks, made in any order by any thread of any rank, added up in chunk
//! order. Ranks send theirs to rank 0 ([`Scoreboard::gathered`]): 8 bytes a sum and chunk, and 16 a row where the order of
//! the scores counts, a megabyte at a time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use gristmill_io::Result;
use mpi_launch::Communicator;
use serde::{Deserialize, Serialize};

use super::ranking::Ranking;
use super::{Figure, Metric, OfLabel, Rows, Task, calibration};

/// Rows of a ranking that a rank sends at a time.
const ROWS_AT_A_TIME: usize = 1 << 16;

/// The sums of one chunk of rows.
#[derive(Clone, Debug)]
struct Partial {
    sums: Vec<f64>,
    rows: u64,
}

/// Sums of chunks, added up as soon as all chunks before them are.
#[derive(Debug)]
struct Total {
    /// Of all chunks with smaller numbers than `next`.
    sums: Partial,
    next: u64,
    /// Of other chunks.
    waiting: BTreeMap<u64, Partial>,
}

impl Total {
    fn add(&mut self, number: u64, partial: Partial) {
        if number == self.next {
            self.sums.add(&partial);
            self.next += 1;
            while let Some(partial) = self.waiting.remove(&self.next) {
                self.sums.add(&partial);
                self.next += 1;
            }
        } else {
            self.waiting.insert(number, partial);
        }
    }

    /// Adds up all chunks below a number; none of them is to come.
    fn settle(&mut self, before: u64) {
        let rest = self.waiting.split_off(&before);
        for partial in std::mem::replace(&mut self.waiting, rest).values() {
            self.sums.add(partial);
        }
        self.next = self.next.max(before);
    }
}

/// Sums of every chunk so far, and the order of the scores.
pub struct Scoreboard {
    task: Task,
    metrics: Vec<Box<dyn Metric>>,
    total: Mutex<Total>,
    rankings: Vec<Mutex<Ranking>>,
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
    /// The calibration table (models with probabilities).
    pub calibration: Vec<calibration::Bin>,
    /// Weights of rows by true class (a line each) and predicted class, of several classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<f64>>,
    /// The figures of each of several labels by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<OfLabel>,
}

impl Partial {
    /// The sums of these rows.
    fn of(board: &Scoreboard, rows: &Rows<'_>) -> Partial {
        let mut sums = vec![0.0; board.sums()];
        let mut rest = sums.as_mut_slice();
        for metric in &board.metrics {
            let (own, others) = rest.split_at_mut(metric.sums());
            metric.add(rows, own);
            rest = others;
        }
        if board.task == Task::Binary {
            calibration::add(rows, rest);
        }
        Partial { sums, rows: rows.label.len() as u64 }
    }

    fn is_finite(&self) -> bool {
        self.sums.iter().all(|sum| sum.is_finite())
    }

    fn add(&mut self, next: &Partial) {
        self.rows += next.rows;
        for (sum, more) in self.sums.iter_mut().zip(&next.sums) {
            *sum += more;
        }
    }
}

impl Scoreboard {
    /// No rows yet; the order of scores takes at most `memory_bytes`, and scratch files in `scratch` beyond.
    pub fn new(task: Task, top_k: Option<usize>, memory_bytes: usize, scratch: &Path) -> Scoreboard {
        let of_label = |_| Mutex::new(Ranking::new(memory_bytes / task.rankings(), scratch));
        let rankings = (0..task.rankings()).map(of_label).collect();
        let sums = Partial { sums: Vec::new(), rows: 0 };
        let total = Mutex::new(Total { sums, next: 0, waiting: BTreeMap::new() });
        let mut board = Scoreboard { task, metrics: task.metrics(top_k), total, rankings };
        let sums = vec![0.0; board.sums()];
        board.total.get_mut().unwrap_or_else(PoisonError::into_inner).sums.sums = sums;
        board
    }

    /// Add chunk number `number`, once, from any thread; true when all its sums are finite, so that figures can be.
    ///
    /// # Errors
    /// [`gristmill_io::Error::Io`] when sorted scores cannot be written to a scratch file.
    pub fn add(&self, number: u64, rows: &Rows<'_>) -> Result<bool> {
        let partial = Partial::of(self, rows);
        let is_finite = partial.is_finite();
        self.total.lock().unwrap_or_else(PoisonError::into_inner).add(number, partial);
        let mut own = Vec::new();
        for (label, ranking) in self.rankings.iter().enumerate() {
            let mut ranking = ranking.lock().unwrap_or_else(PoisonError::into_inner);
            match self.task {
                Task::Multilabel(_) => ranking.add(&rows.of_label(label, &mut own))?,
                _ => ranking.add(rows)?,
            }
        }
        Ok(is_finite)
    }

    /// True when all sums of these rows are finite.
    pub fn is_finite(&self, rows: &Rows<'_>) -> bool {
        Partial::of(self, rows).is_finite()
    }

    /// No chunk with a smaller number than `before` is to come, here or on another rank: what waits for one need not.
    pub fn settle(&self, before: u64) {
        self.total.lock().unwrap_or_else(PoisonError::into_inner).settle(before);
    }

    /// The board of all ranks' rows on rank 0; none elsewhere. The figures are those of one process that has seen all.
    ///
    /// # Errors
    /// When a rank is lost, or scores cannot be read back or written to a scratch file.
    pub fn gathered(mut self, comm: &dyn Communicator) -> crate::error::Result<Option<Scoreboard>> {
        if comm.size() == 1 {
            return Ok(Some(self));
        }
        let length = 2 + self.sums();
        let total = self.total.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut own = std::mem::take(&mut total.waiting);
        if comm.rank() != 0 && total.next > 0 {
            // Chunk 0 was here: the sums up to where these end begin those of all ranks.
            own.insert(0, total.sums.clone());
        }
        let numbers: Vec<u64> = own
            .iter()
            .flat_map(|(number, partial)| {
                [*number, partial.rows].into_iter().chain(partial.sums.iter().map(|sum| sum.to_bits()))
            })
            .collect();
        let received = comm.gather(&to_bytes(&numbers), 0)?;
        for numbers in received.into_iter().flatten().map(|bytes| from_bytes(&bytes)) {
            for partial in numbers.chunks_exact(length) {
                let sums = partial[2..].iter().map(|bits| f64::from_bits(*bits)).collect();
                total.waiting.insert(partial[0], Partial { sums, rows: partial[1] });
            }
        }
        for ranking in &mut self.rankings {
            gather_ranking(ranking.get_mut().unwrap_or_else(PoisonError::into_inner), comm)?;
        }
        Ok((comm.rank() == 0).then_some(self))
    }

    /// Length of the flat slice of sums.
    fn sums(&self) -> usize {
        let metrics: usize = self.metrics.iter().map(|metric| metric.sums()).sum();
        metrics + if self.task == Task::Binary { calibration::SUMS } else { 0 }
    }

    /// The figures of all rows.
    ///
    /// # Errors
    /// [`gristmill_io::Error::Io`] when sorted scores cannot be read back.
    pub fn finish(self) -> Result<Evaluation> {
        let mut total = self.total.into_inner().unwrap_or_else(PoisonError::into_inner);
        total.settle(u64::MAX);
        let total = total.sums;
        let (mut figures, mut confusion, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = total.sums.as_slice();
        for metric in &self.metrics {
            let (own, others) = rest.split_at(metric.sums());
            figures.extend(metric.figures(own));
            confusion.extend(metric.matrix(own).into_iter().flatten());
            let each = metric.labels(own).into_iter().enumerate();
            labels.extend(each.map(|(number, figures)| OfLabel { label: number.to_string(), figures }));
            rest = others;
        }
        let mut table = Vec::new();
        let mut ranked = Vec::new();
        for ranking in self.rankings {
            let found = ranking.into_inner().unwrap_or_else(PoisonError::into_inner).finish()?;
            ranked.push([("auc", found.auc), ("average_precision", found.average_precision)]);
        }
        match self.task {
            Task::Multilabel(_) => {
                for (own, ranked) in labels.iter_mut().zip(&ranked) {
                    own.figures.extend(ranked.map(|(name, value)| Figure { name: name.into(), value }));
                }
                figures.extend(means(&ranked));
            }
            _ => figures.extend(ranked.into_iter().flatten().map(|(name, value)| Figure { name: name.into(), value })),
        }
        if self.task == Task::Binary {
            figures.push(Figure { name: "calibration_error".into(), value: calibration::expected_error(rest) });
            table = calibration::table(rest);
        }
        Ok(Evaluation { task: self.task, rows: total.rows, figures, calibration: table, confusion, labels })
    }
}

/// The means over labels of what their orders say, where each says something.
fn means(ranked: &[[(&str, Option<f64>); 2]]) -> [Figure; 2] {
    [0, 1].map(|which| {
        let values: Option<Vec<f64>> = ranked.iter().map(|ranked| ranked[which].1).collect();
        let value = values.map(|values| values.iter().sum::<f64>() / values.len() as f64);
        Figure { name: format!("macro_{}", ranked[0][which].0), value }
    })
}

/// All ranks' scores go to rank 0's ranking, which orders them.
fn gather_ranking(ranking: &mut Ranking, comm: &dyn Communicator) -> crate::error::Result<()> {
    let lengths = comm.all_gather(&(ranking.rows() as u64).to_le_bytes())?;
    let others = lengths.iter().skip(1).flat_map(|bytes| from_bytes(bytes));
    let turns = others.map(|rows| rows.div_ceil(ROWS_AT_A_TIME as u64)).max().unwrap_or(0);
    for _turn in 0..turns {
        // Rank 0 keeps its own. What fails here is told by the rank that fails: it ends all.
        let own = if comm.rank() == 0 { Vec::new() } else { ranking.take(ROWS_AT_A_TIME)? };
        for numbers in comm.gather(&to_bytes(&own), 0)?.into_iter().flatten() {
            ranking.put(&from_bytes(&numbers))?;
        }
    }
    Ok(())
}

fn to_bytes(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

impl Evaluation {
    /// The labels by name instead of by number.
    #[must_use]
    pub fn with_labels(mut self, names: &[String]) -> Evaluation {
        self.labels.iter_mut().zip(names).for_each(|(own, name)| own.label.clone_from(name));
        self
    }

    /// The figure of that name, where it is defined.
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name)?.value
    }
}
