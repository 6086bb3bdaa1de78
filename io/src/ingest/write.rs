//! Pass B, the encoding (stage 2): kept rows become grains, grains become shards.
//!
//! A worker takes a shard of its own and makes its grains one after the other; when no shard is left, it helps with the others.
//! Grains of a shard are encoded by any worker and written, and tallied, in order. Tallies of shards are merged in their
//! order. So files and statistics have the same bytes for any number of threads.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};

use arrow::array::RecordBatch;

use super::decide::Decision;
use super::sequence::{Fold, lock};
use super::shuffle::Lot;
use super::tally::{GrainTally, Tally};
use crate::dataset_writer::DatasetWriter;
use crate::encode::column::{Raw, Stored};
use crate::error::{Error, Result};
use crate::manifest::{Column, ShardEntry, Split};
use crate::shard::ShardWriter;
use crate::watch::{Cancel, Progress};

/// The rows of a split, in their final order.
pub struct Rows {
    split: Split,
    lots: Vec<Lot>,
    /// Rows before each lot, and all of them.
    starts: Vec<usize>,
}

impl Rows {
    /// Of lots in order.
    pub fn new(split: Split, lots: Vec<Lot>) -> Rows {
        let mut starts = vec![0];
        lots.iter().for_each(|lot| starts.push(starts[starts.len() - 1] + lot.rows()));
        Rows { split, lots, starts }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.starts[self.lots.len()]
    }
}

/// What pass B is told.
pub struct Encoding<'a> {
    /// Rows of both splits.
    pub rows: [Rows; 2],
    /// How columns are stored.
    pub decisions: &'a [Decision],
    /// Rows of a grain.
    pub grain_rows: usize,
    /// Grains of a shard.
    pub shard_grains: usize,
    /// Where shards go.
    pub writer: &'a DatasetWriter,
    /// Number of threads.
    pub threads: usize,
    /// Who watches.
    pub progress: &'a dyn Progress,
    /// Who stops.
    pub cancel: &'a Cancel,
}

/// What pass B made.
pub struct Encoded {
    /// The shards.
    pub shards: Vec<ShardEntry>,
    /// Of the training rows.
    pub tally: Tally,
    /// Largest error of every stored column.
    pub worst: Vec<f64>,
}

/// A shard to make.
struct Job {
    rows: usize,
    split: Split,
    number: usize,
    first_row: usize,
    grains: usize,
    state: Mutex<JobState>,
}

#[derive(Default)]
struct JobState {
    writer: Option<ShardWriter>,
    next: usize,
    pending: BTreeMap<usize, Grain>,
    tally: Option<Tally>,
    entry: Option<ShardEntry>,
}

/// An encoded grain.
struct Grain {
    stored: Vec<Stored>,
    tally: Option<GrainTally>,
    rows: usize,
}

/// Who makes what.
struct Schedule {
    /// (grains handed out, grains written) by job.
    progress: Vec<(usize, usize)>,
    stopped: bool,
}

struct Shared<'a> {
    encoding: &'a Encoding<'a>,
    columns: Vec<Column>,
    jobs: Vec<Job>,
    schedule: Mutex<Schedule>,
    moved: Condvar,
    worst: Mutex<Vec<f64>>,
    /// Of the shards that are done and have none before them that is not: tallies of wide sparse columns are large.
    tally: Fold<Tally, Option<Tally>>,
    failed: Mutex<Option<((usize, usize), Error)>>,
}

impl Encoding<'_> {
    /// Write every shard.
    ///
    /// # Errors
    /// When a file cannot be written, or on [`Cancel`].
    pub fn run(&self) -> Result<Encoded> {
        let jobs = self.jobs();
        let schedule = Schedule { progress: vec![(0, 0); jobs.len()], stopped: false };
        let shared = Shared {
            encoding: self,
            columns: self.decisions.iter().map(|decision| decision.column.clone()).collect(),
            jobs,
            schedule: Mutex::new(schedule),
            moved: Condvar::new(),
            worst: Mutex::new(vec![0.0; self.decisions.len()]),
            tally: Fold::new(Tally::new(self.decisions)),
            failed: Mutex::new(None),
        };
        std::thread::scope(|scope| {
            (1..self.threads).for_each(|_| drop(scope.spawn(|| shared.work())));
            shared.work();
        });
        if let Some((_, error)) = shared.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut all = Encoded {
            shards: Vec::new(),
            tally: shared.tally.into_inner(),
            worst: shared.worst.into_inner().unwrap_or_else(PoisonError::into_inner),
        };
        for job in shared.jobs {
            let state = job.state.into_inner().unwrap_or_else(PoisonError::into_inner);
            all.shards.extend(state.entry);
        }
        Ok(all)
    }

    fn jobs(&self) -> Vec<Job> {
        let shard_rows = self.grain_rows * self.shard_grains;
        let mut jobs = Vec::new();
        for (index, rows) in self.rows.iter().enumerate() {
            for (number, first_row) in (0..rows.count()).step_by(shard_rows).enumerate() {
                let here = shard_rows.min(rows.count() - first_row);
                let grains = here.div_ceil(self.grain_rows);
                let state = Mutex::new(JobState::default());
                jobs.push(Job { rows: index, split: rows.split, number, first_row, grains, state });
            }
        }
        jobs
    }
}

impl Shared<'_> {
    fn work(&self) {
        let mut own = None;
        let mut loaded = Loaded { key: (usize::MAX, 0), batch: None };
        while let Some((job, grain)) = self.claim(&mut own) {
            let made = self.encoding.cancel.check().and_then(|()| self.make(&self.jobs[job], grain, &mut loaded));
            let written = made.and_then(|made| self.write(job, grain, made));
            match written {
                Ok(written) => lock(&self.schedule).progress[job].1 = written,
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
            let left = |job: usize| self.jobs[job].grains - schedule.progress[job].0;
            let free = |job: &usize| left(*job) > 0 && schedule.progress[*job].0 < schedule.progress[*job].1 + ahead;
            let all = 0..self.jobs.len();
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
        let rows = &self.encoding.rows[job.rows];
        let first = job.first_row + grain * self.encoding.grain_rows;
        let shard_end = job.first_row + self.encoding.grain_rows * self.encoding.shard_grains;
        let end = (first + self.encoding.grain_rows).min(rows.count()).min(shard_end);
        let decisions = self.encoding.decisions;
        let mut stored: Vec<Stored> = decisions.iter().map(|decision| decision.encoder.start(end - first)).collect();
        let mut worst = vec![0.0f64; decisions.len()];
        let mut at = first;
        while at < end {
            let lot = rows.starts.partition_point(|&start| start <= at) - 1;
            let stop = rows.starts[lot + 1].min(end);
            let batch = loaded.get(job.rows, lot, rows)?.slice(at - rows.starts[lot], stop - at);
            for ((decision, stored), worst) in decisions.iter().zip(&mut stored).zip(&mut worst) {
                let raw = Raw::from_array(batch.column(decision.raw), &decision.encoder);
                let error = raw.and_then(|raw| decision.encoder.append(&raw, stored));
                let error = error.map_err(|fault| {
                    Error::Usage(format!("column '{}': {} {}", decision.column.name, fault.message, fault.help))
                })?;
                *worst = worst.max(error);
            }
            at = stop;
        }
        lock(&self.worst).iter_mut().zip(worst).for_each(|(all, worst)| *all = all.max(worst));
        let tally = (job.split == Split::Train).then(|| GrainTally::of(&stored, decisions, end - first));
        Ok(Grain { stored, tally, rows: end - first })
    }

    /// Hand a grain in and write those whose turn it is; returns how many are written.
    fn write(&self, number: usize, grain: usize, made: Grain) -> Result<usize> {
        let job = &self.jobs[number];
        let mut state = lock(&job.state);
        let state = &mut *state;
        state.pending.insert(grain, made);
        while let Some(next) = state.pending.remove(&state.next) {
            if let Some(tally) = next.tally {
                let decisions = self.encoding.decisions;
                state.tally.get_or_insert_with(|| Tally::new(decisions)).add(tally, &next.stored);
            }
            let arrays = next.stored.into_iter().map(Stored::into_array).collect::<std::result::Result<Vec<_>, _>>();
            let arrays = arrays.map_err(|fault| Error::Usage(fault.message))?;
            let bytes: usize = arrays.iter().map(|array| array.get_buffer_memory_size()).sum();
            if state.writer.is_none() {
                state.writer = Some(self.encoding.writer.shard(job.split, job.number, &self.columns)?);
            }
            if let Some(writer) = &mut state.writer {
                writer.write(arrays)?;
            }
            state.next += 1;
            self.encoding.progress.advance(next.rows as u64, bytes as u64);
        }
        if state.next == job.grains
            && let Some(writer) = state.writer.take()
        {
            state.entry = Some(writer.finish()?);
            self.tally.push(number as u64, state.tally.take(), |sum, next| {
                next.into_iter().for_each(|next| sum.merge(next));
                Ok::<(), Error>(())
            })?;
        }
        Ok(state.next)
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
