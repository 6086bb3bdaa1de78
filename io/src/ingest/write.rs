//! Pass B, the encoding (stage 2): kept rows become grains, grains become shards.
//!
//! A worker takes a shard of its own and makes its grains one after the other; when no shard is left, it helps with the others.
//! [`Shards`] writes grains in their order, whoever made them. A rank makes the shards that begin among its own rows.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};

use arrow::array::RecordBatch;

use super::decide::Decision;
use super::sequence::lock;
use super::shards::{Encoded, Grain, Job, Shape, Shards};
use super::share::Share;
use super::shuffle::Lot;
use super::tally::GrainTally;
use crate::dataset_writer::DatasetWriter;
use crate::encode::column::{Encoder, Raw, Stored};
use crate::error::{Error, Result};
use crate::manifest::Split;
use crate::watch::{Cancel, Progress};

/// The rows of a split, in their final order.
pub struct Rows {
    split: Split,
    lots: Vec<Lot>,
    /// Rows before each lot, and before what comes after the last.
    starts: Vec<usize>,
    /// How many there are on all ranks.
    all: usize,
    /// Those among which the shards begin that are to be made.
    own: Range<usize>,
    /// Lots from this one on come from other ranks.
    others: usize,
}

impl Rows {
    /// Of lots in order.
    pub fn new(split: Split, lots: Vec<Lot>) -> Rows {
        let mut starts = vec![0];
        lots.iter().for_each(|lot| starts.push(starts[starts.len() - 1] + lot.rows()));
        let (all, others) = (starts[lots.len()], lots.len());
        Rows { split, lots, starts, all, own: 0..all, others }
    }

    /// Those of one rank, from row `first` on, of `all`: lots of its own and of `others`, for the shards that begin in `own`.
    pub fn part(split: Split, lots: [Vec<Lot>; 2], first: usize, own: Range<usize>, all: usize) -> Rows {
        let [mut lots, others] = lots;
        let own_lots = lots.len();
        lots.extend(others);
        let mut rows = Rows::new(split, lots);
        rows.starts.iter_mut().for_each(|start| *start += first);
        Rows { all, own, others: own_lots, ..rows }
    }
}

/// What pass B is told.
pub struct Encoding<'a> {
    /// Rows of both splits.
    pub rows: [Rows; 2],
    /// How columns are stored.
    pub decisions: &'a [Decision],
    /// What makes columns of the raw rows of other ranks; their levels have other numbers.
    pub others: &'a [Encoder],
    /// How rows become grains and shards.
    pub shape: Shape,
    /// Where shards go.
    pub writer: &'a DatasetWriter,
    /// Number of threads.
    pub threads: usize,
    /// Who watches.
    pub progress: &'a dyn Progress,
    /// Who stops.
    pub cancel: &'a Cancel,
}

/// Who makes what.
struct Schedule {
    /// (grains handed out, grains written) by job.
    progress: Vec<(usize, usize)>,
    stopped: bool,
}

struct Shared<'a> {
    encoding: &'a Encoding<'a>,
    shards: Shards<'a>,
    schedule: Mutex<Schedule>,
    moved: Condvar,
    failed: Mutex<Option<((usize, usize), Error)>>,
}

impl Encoding<'_> {
    /// Write every shard.
    ///
    /// # Errors
    /// When a file cannot be written, or on [`Cancel`].
    pub fn run(&self) -> Result<Encoded> {
        self.make(self.shards()).map(Shards::finish)
    }

    /// Write the shards of this rank.
    ///
    /// # Errors
    /// As [`Encoding::run`].
    pub fn share(&self) -> Result<Share> {
        self.make(self.shards().apart()).map(|shards| Share::new(BTreeMap::new(), shards))
    }

    fn shards(&self) -> Shards<'_> {
        let counts = self.rows.each_ref().map(|rows| (rows.split, rows.all));
        Shards::new(self.decisions, &counts, self.shape, self.threads, self.writer, self.progress)
    }

    fn make<'b>(&'b self, shards: Shards<'b>) -> Result<Shards<'b>> {
        let done = |job: &Job| if self.rows_of(job.split).1.own.contains(&job.first_row) { 0 } else { job.grains };
        let progress = shards.jobs.iter().map(|job| (done(job), done(job))).collect();
        let schedule = Schedule { progress, stopped: false };
        let shared = Shared {
            encoding: self,
            shards,
            schedule: Mutex::new(schedule),
            moved: Condvar::new(),
            failed: Mutex::new(None),
        };
        std::thread::scope(|scope| {
            (1..self.threads).for_each(|_| drop(scope.spawn(|| shared.work())));
            shared.work();
        });
        match shared.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(shared.shards),
        }
    }

    /// The rows of a split, and which of the two they are.
    fn rows_of(&self, split: Split) -> (usize, &Rows) {
        match &self.rows {
            [rows, _] if rows.split == split => (0, rows),
            [_, rows] => (1, rows),
        }
    }
}

impl Shared<'_> {
    fn work(&self) {
        let mut own = None;
        let mut loaded = Loaded { key: (usize::MAX, 0), batch: None };
        while let Some((job, grain)) = self.claim(&mut own) {
            let made =
                self.encoding.cancel.check().and_then(|()| self.make(&self.shards.jobs[job], grain, &mut loaded));
            let written = made.and_then(|made| self.shards.hand_in(job, grain, made));
            match written {
                Ok(written) => {
                    let mut schedule = lock(&self.schedule);
                    schedule.progress[job].1 = schedule.progress[job].1.max(written);
                }
                Err(error) => self.fail((job, grain), error),
            }
            self.moved.notify_all();
        }
    }

    fn fail(&self, at: (usize, usize), error: Error) {
        let mut failed = lock(&self.failed);
        if failed.as_ref().is_none_or(|(first, _)| at < *first) {
            *failed = Some((at, error));
        }
        drop(failed);
        lock(&self.schedule).stopped = true;
    }

    /// The next grain to make: of the worker's own shard, else of one that nobody began, else of the one with most left.
    fn claim(&self, own: &mut Option<usize>) -> Option<(usize, usize)> {
        let ahead = 2 * self.encoding.threads + 2;
        let mut schedule = lock(&self.schedule);
        loop {
            if schedule.stopped {
                return None;
            }
            let left = |job: usize| self.shards.jobs[job].grains - schedule.progress[job].0;
            let free = |job: &usize| left(*job) > 0 && schedule.progress[*job].0 < schedule.progress[*job].1 + ahead;
            let all = 0..self.shards.jobs.len();
            let choice = own
                .filter(free)
                .or_else(|| all.clone().find(|&job| schedule.progress[job].0 == 0))
                .or_else(|| all.clone().filter(free).max_by_key(|&job| left(job)));
            if let Some(job) = choice {
                *own = Some(job);
                let grain = schedule.progress[job].0;
                schedule.progress[job].0 += 1;
                return Some((job, grain));
            }
            if all.clone().all(|job| left(job) == 0) {
                return None;
            }
            schedule = self.moved.wait(schedule).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn make(&self, job: &Job, grain: usize, loaded: &mut Loaded) -> Result<Grain> {
        let (split, rows) = self.encoding.rows_of(job.split);
        let shape = self.encoding.shape;
        let first = job.first_row + grain * shape.grain_rows;
        let end = (first + shape.grain_rows).min(rows.all).min(job.first_row + shape.shard_rows());
        let decisions = self.encoding.decisions;
        let mut stored: Vec<Stored> = decisions.iter().map(|decision| decision.encoder.start(end - first)).collect();
        let mut worst = vec![0.0f64; decisions.len()];
        let mut at = first;
        while at < end {
            let lot = rows.starts.partition_point(|&start| start <= at) - 1;
            let stop = rows.starts[lot + 1].min(end);
            let batch = loaded.get(split, lot, rows)?.slice(at - rows.starts[lot], stop - at);
            for (number, (stored, worst)) in stored.iter_mut().zip(&mut worst).enumerate() {
                let decision = &decisions[number];
                let encoder = if lot < rows.others { &decision.encoder } else { &self.encoding.others[number] };
                let raw = Raw::from_array(batch.column(decision.raw), encoder);
                let error = raw.and_then(|raw| encoder.append(&raw, stored));
                let error = error.map_err(|fault| {
                    Error::Usage(format!("column '{}': {} {}", decision.column.name, fault.message, fault.help))
                })?;
                *worst = worst.max(error);
            }
            at = stop;
        }
        let tally = (job.split == Split::Train).then(|| GrainTally::of(&stored, decisions, end - first));
        Ok(Grain { stored, tally, rows: end - first, worst })
    }
}

/// The lot that a worker loaded last.
struct Loaded {
    key: (usize, usize),
    batch: Option<RecordBatch>,
}

impl Loaded {
    fn get(&mut self, split: usize, lot: usize, rows: &Rows) -> Result<&RecordBatch> {
        if self.key != (split, lot) {
            self.batch = None;
            self.key = (split, lot);
        }
        match &mut self.batch {
            Some(batch) => Ok(batch),
            empty => Ok(empty.insert(rows.lots[lot].load()?)),
        }
    }
}
