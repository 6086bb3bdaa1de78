//! Shards in the making (stage 2): encoded grains come from any thread in any order, and are tallied and written in theirs.
//!
//! Whoever hands in the grain that a shard waits for writes it, and those behind it that are there already; everybody else goes
//! on at once. Tallies of shards are merged in their order. So files and statistics have the same bytes for any number of
//! threads.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};

use super::decide::Decision;
use super::sequence::{Fold, lock};
use super::tally::{GrainTally, Tally};
use crate::dataset_writer::DatasetWriter;
use crate::encode::column::Stored;
use crate::error::{Error, Result};
use crate::manifest::{Column, ShardEntry, Split};
use crate::shard::ShardWriter;
use crate::watch::Progress;

/// How rows become grains and shards.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows of a grain.
    pub grain_rows: usize,
    /// Grains of a shard.
    pub shard_grains: usize,
}

impl Shape {
    /// Rows of a shard.
    pub fn shard_rows(&self) -> usize {
        self.grain_rows * self.shard_grains
    }
}

/// An encoded grain.
pub struct Grain {
    /// Its columns.
    pub stored: Vec<Stored>,
    /// What is counted of training rows.
    pub tally: Option<GrainTally>,
    /// How many rows.
    pub rows: usize,
    /// Largest error of every column.
    pub worst: Vec<f64>,
}

/// What was made of all grains.
pub struct Encoded {
    /// The shards.
    pub shards: Vec<ShardEntry>,
    /// Of the training rows.
    pub tally: Tally,
    /// Largest error of every stored column.
    pub worst: Vec<f64>,
}

/// A shard to make.
pub struct Job {
    /// Of which rows.
    pub split: Split,
    /// Its number among those of its split.
    pub number: usize,
    /// Its first row among those of its split.
    pub first_row: usize,
    /// Its number of grains.
    pub grains: usize,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// The grain that is to be written next.
    next: usize,
    pending: BTreeMap<usize, Grain>,
    /// Not here while somebody writes.
    making: Option<Making>,
    busy: bool,
    entry: Option<ShardEntry>,
    worst: Vec<f64>,
}

#[derive(Default)]
struct Making {
    writer: Option<ShardWriter>,
    tally: Option<Tally>,
}

/// All shards of a dataset.
pub struct Shards<'a> {
    decisions: &'a [Decision],
    columns: Vec<Column>,
    /// The shards, training rows first.
    pub jobs: Vec<Job>,
    writer: &'a DatasetWriter,
    progress: &'a dyn Progress,
    /// Grains of a shard that wait, at most, while another is being written.
    waiting_max: usize,
    /// Of the shards that are done and have none before them that is not: tallies of wide sparse columns are large.
    tally: Fold<Tally, Option<Tally>>,
}

impl<'a> Shards<'a> {
    /// Shards for so many rows of each split.
    pub fn new(
        decisions: &'a [Decision],
        rows: &[(Split, usize)],
        shape: Shape,
        threads: usize,
        writer: &'a DatasetWriter,
        progress: &'a dyn Progress,
    ) -> Shards<'a> {
        let mut jobs = Vec::new();
        for &(split, count) in rows {
            for (number, first_row) in (0..count).step_by(shape.shard_rows()).enumerate() {
                let grains = shape.shard_rows().min(count - first_row).div_ceil(shape.grain_rows);
                let state = State { making: Some(Making::default()), ..State::default() };
                jobs.push(Job { split, number, first_row, grains, state: Mutex::new(state), moved: Condvar::new() });
            }
        }
        let columns = decisions.iter().map(|decision| decision.column.clone()).collect();
        let tally = Fold::new(Tally::new(decisions));
        Shards { decisions, columns, jobs, writer, progress, waiting_max: 2 * threads + 2, tally }
    }

    /// The same, with tallies that somebody else will merge.
    #[must_use]
    pub fn apart(self) -> Shards<'a> {
        Shards { tally: Fold::keeping(Tally::new(&[])), ..self }
    }

    /// Hand grain `grain` of shard `number` in; returns how many of that shard are written.
    ///
    /// # Errors
    /// When it cannot be written; the shards are then to be given up.
    pub fn hand_in(&self, number: usize, grain: usize, made: Grain) -> Result<usize> {
        let job = &self.jobs[number];
        let mut state = lock(&job.state);
        state.worst.resize(made.worst.len(), 0.0);
        state.worst.iter_mut().zip(&made.worst).for_each(|(all, worst)| *all = all.max(*worst));
        state.pending.insert(grain, made);
        // The disk is slower than those who encode: memory stays bounded. Who writes never waits, so this ends.
        while state.busy && state.pending.len() > self.waiting_max {
            state = job.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.busy {
            return Ok(state.next);
        }
        // Where an error took it away, somebody has reported that.
        let Some(mut making) = state.making.take() else { return Ok(state.next) };
        state.busy = true;
        let written = loop {
            let next = state.next;
            let Some(grain) = state.pending.remove(&next) else {
                state.making = Some(making);
                break Ok(state.next);
            };
            drop(state);
            let written = self.write(job, &mut making, grain, next + 1 == job.grains);
            state = lock(&job.state);
            match written {
                Ok(entry) => (state.next, state.entry) = (next + 1, entry),
                Err(error) => break Err(error),
            }
            job.moved.notify_all();
            if state.entry.is_some() {
                let tally = making.tally.take();
                drop(state);
                let merged = self.tally.push(number as u64, tally, |sum, next| {
                    next.into_iter().for_each(|next| sum.merge(next));
                    Ok::<(), Error>(())
                });
                state = lock(&job.state);
                break merged.map(|()| state.next);
            }
        };
        state.busy = false;
        drop(state);
        job.moved.notify_all();
        written
    }

    /// The next grain of a shard; the shard where this is the last.
    fn write(&self, job: &Job, making: &mut Making, grain: Grain, is_last: bool) -> Result<Option<ShardEntry>> {
        if let Some(tally) = grain.tally {
            making.tally.get_or_insert_with(|| Tally::new(self.decisions)).add(tally, &grain.stored);
        }
        let arrays = grain.stored.into_iter().map(Stored::into_array).collect::<std::result::Result<Vec<_>, _>>();
        let arrays = arrays.map_err(|fault| Error::Usage(fault.message))?;
        let bytes: usize = arrays.iter().map(|array| array.get_buffer_memory_size()).sum();
        let mut writer = match making.writer.take() {
            Some(writer) => writer,
            None => self.writer.shard(job.split, job.number, &self.columns)?,
        };
        writer.write(arrays)?;
        self.progress.advance(grain.rows as u64, bytes as u64);
        if is_last {
            return writer.finish().map(Some);
        }
        making.writer = Some(writer);
        Ok(None)
    }

    /// What was made, once all grains are in.
    pub fn finish(self) -> Encoded {
        let (shards, worst) = entries(self.jobs, self.decisions.len());
        Encoded { shards, tally: self.tally.into_inner(), worst }
    }

    /// The shards of [`Shards::apart`], the largest error of every column, and tallies by number of the shard.
    pub fn finish_apart(self) -> (Vec<ShardEntry>, Vec<f64>, BTreeMap<u64, Tally>) {
        let (shards, worst) = entries(self.jobs, self.decisions.len());
        let kept = self.tally.into_kept().into_iter();
        (shards, worst, kept.filter_map(|(number, tally)| Some((number, tally?))).collect())
    }
}

/// The shards that were made, and the largest error of every column.
fn entries(jobs: Vec<Job>, columns: usize) -> (Vec<ShardEntry>, Vec<f64>) {
    let (mut shards, mut worst) = (Vec::new(), vec![0.0f64; columns]);
    for job in jobs {
        let state = job.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        shards.extend(state.entry);
        worst.iter_mut().zip(&state.worst).for_each(|(all, worst)| *all = all.max(*worst));
    }
    (shards, worst)
}
