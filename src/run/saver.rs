//! Who writes checkpoints while a training goes on: a thread of rank 0, so that no pass waits for a disk.
//!
//! Before each pass the training shows where it stands, and the saver keeps a copy in memory; that state is the same on all
//! ranks, so one rank's copy is the whole checkpoint. When the time has come, or a signal asks, the copy is written: at once,
//! even in the middle of a pass, because a scheduler may end the job before the pass is over.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gristmill_io::durable::{self, Claim, Staging};
use gristmill_io::trace::{Lane, Trace};
use gristmill_io::watch::Cancel;

use super::checkpoint::{self, Every, Interruption};
use super::folder::{self, CONFIG_FILE};
use super::write::Job;
use crate::error::Result;
use crate::train::Checkpoint;

/// How soon a signal is noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// See the head of the file.
pub struct Saver<'a> {
    job: &'a Job<'a>,
    cancel: Cancel,
    /// Set by SIGUSR1.
    asked: Arc<AtomicBool>,
    state: Mutex<State>,
    wake: Condvar,
    /// Holds other trainings off the run.
    _claim: Claim,
}

/// What the training and the thread share.
struct State {
    /// Where the training stands, until it is written.
    latest: Option<Checkpoint>,
    /// Pass of the last one written, and when.
    written_pass: u32,
    written_at: Instant,
    /// Number of the last one written; 0: none.
    number: u64,
    closed: bool,
}

impl<'a> Saver<'a> {
    /// For a training whose run folder has checkpoints up to `number` (0: the folder is not this training's yet).
    ///
    /// # Errors
    /// When another process is training into that folder, or it cannot be written.
    pub fn new(job: &'a Job<'a>, number: u64, cancel: &Cancel, asked: &Arc<AtomicBool>) -> Result<Saver<'a>> {
        let claim = Claim::of(job.output)?;
        // Another training may have ended there since the output was looked at.
        job.replace().check(job.output)?;
        let state = State { latest: None, written_pass: 0, written_at: Instant::now(), number, closed: false };
        Ok(Saver {
            job,
            cancel: cancel.clone(),
            asked: Arc::clone(asked),
            state: Mutex::new(state),
            wake: Condvar::new(),
            _claim: claim,
        })
    }

    /// The training stands here.
    pub fn stand(&self, checkpoint: Checkpoint) {
        self.state().latest = Some(checkpoint);
        self.wake.notify_one();
    }

    /// True when the run folder holds checkpoints of this training.
    pub fn owns(&self) -> bool {
        self.state().number > 0
    }

    /// Ends [`Saver::work`].
    pub fn close(&self) {
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// Writes checkpoints until closed; `tell` is told when one cannot be written: the training goes on.
    pub fn work(&self, trace: Option<&Trace>, tell: impl Fn(&str)) {
        let mut state = self.state();
        while !state.closed {
            if self.is_due(&state)
                && let Some(latest) = state.latest.take()
            {
                self.asked.store(false, Ordering::Relaxed);
                // The next attempt, should this one fail, comes after the interval as well.
                (state.written_at, state.written_pass) = (Instant::now(), latest.passes());
                let (number, owned) = (state.number + 1, state.number > 0);
                drop(state);
                let began = Instant::now();
                let written = self.write(number, owned, latest);
                Lane::of(trace, || "checkpoints".into()).span("write", began, Some(number));
                state = self.state();
                match written {
                    Ok(()) => state.number = number,
                    Err(error) => tell(&format!("a checkpoint could not be written, the training goes on: {error}")),
                }
                continue;
            }
            state = self.wake.wait_timeout(state, LOOK_INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes the checkpoint that an interrupted training ends with.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&self, checkpoint: Checkpoint) -> Result<()> {
        let mut state = self.state();
        let (number, owned) = (state.number + 1, state.number > 0);
        self.write(number, owned, checkpoint)?;
        state.number = number;
        Ok(())
    }

    /// Whether a checkpoint would be written now, after so many passes.
    pub fn wants(&self, passes: u32) -> bool {
        self.is_time(&self.state(), passes)
    }

    fn is_due(&self, state: &State) -> bool {
        state.latest.as_ref().is_some_and(|latest| self.is_time(state, latest.passes()))
    }

    fn is_time(&self, state: &State, passes: u32) -> bool {
        let by_plan = match self.job.keeping.every {
            Every::Never => false,
            Every::Time(time) => state.written_at.elapsed() >= time,
            Every::Passes(every) => passes >= state.written_pass.saturating_add(every),
        };
        by_plan || self.asked.load(Ordering::Relaxed) || self.cancel.requested()
    }

    /// The first checkpoint makes the run folder, in place of an old one where `--force` allows it; a finished model stays in it until then.
    fn write(&self, number: u64, owned: bool, mut checkpoint: Checkpoint) -> Result<()> {
        let job = self.job;
        // What was asked for, not this rank's share of the machine.
        checkpoint.plan = job.plan.clone();
        let dataset = job.dataset.folder();
        let dataset: PathBuf = std::path::absolute(dataset).unwrap_or_else(|_| dataset.to_path_buf());
        let interruption = Interruption { dataset, config: job.config.clone(), checkpoint };
        if owned {
            return checkpoint::write(job.output, number, &interruption, job.keeping.kept);
        }
        let staging = Staging::create(job.output, job.replace())?;
        folder::keep_finished(job.output, staging.folder())?;
        checkpoint::write(staging.folder(), number, &interruption, job.keeping.kept)?;
        durable::write_bytes(&staging.folder().join(CONFIG_FILE), job.config.as_bytes())?;
        Ok(staging.commit()?)
    }

    /// Counters and an option: whole whatever happened to the thread that had them last.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
