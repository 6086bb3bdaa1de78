//! One pass: workers take grains in order, whole grains each; the first error stops all.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gristmill_kernels::tile::Grain;

use super::TileStream;
use super::options::{Pick, ScanReport};
use crate::error::{Error, Result};
use crate::watch::{Cancel, Progress};

/// Progress is told at most this often by each worker.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(20);

impl TileStream<'_> {
    /// Visit the picked grains, each once, with one thread a worker (the first is the caller's).
    ///
    /// `visit` gets the worker's state, the grain's number in the split and the grain. Which worker gets which grain is
    /// left to chance: what is summed must not depend on it.
    ///
    /// # Errors
    /// The first error of `visit`, of reading, or [`Error::Interrupted`]; other workers stop after their grain.
    ///
    /// # Panics
    /// When `visit` panics, after all workers have stopped.
    pub fn scan<S, E, V>(
        &self,
        workers: &mut [S],
        pick: Pick<'_>,
        cancel: &Cancel,
        progress: &dyn Progress,
        visit: V,
    ) -> Result<ScanReport, E>
    where
        S: Send,
        E: From<Error> + Send,
        V: Fn(&mut S, usize, &Grain<'_>) -> Result<(), E> + Sync,
    {
        let start = Instant::now();
        let picked = self.pick(pick)?;
        let Some((first, others)) = workers.split_first_mut() else {
            return Err(Error::Usage("a scan needs at least one worker".to_string()).into());
        };
        let pass = Pass {
            stream: self,
            picked: &picked,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            cancel,
            progress,
        };
        let mut outcomes = Vec::with_capacity(others.len() + 1);
        std::thread::scope(|scope| {
            let (pass, visit) = (&pass, &visit);
            let threads: Vec<_> = others.iter_mut().map(|state| scope.spawn(move || pass.work(state, visit))).collect();
            outcomes.push(pass.work(first, visit));
            for thread in threads {
                outcomes.push(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
        });
        let mut report = ScanReport::default();
        for outcome in outcomes {
            let part = outcome?;
            report.grains += part.grains;
            report.rows += part.rows;
            report.bytes += part.bytes;
            report.wait_seconds += part.wait_seconds;
            report.read_bytes += part.read_bytes;
        }
        report.seconds = start.elapsed().as_secs_f64();
        Ok(report)
    }

    fn pick(&self, pick: Pick<'_>) -> Result<Vec<usize>> {
        match pick {
            Pick::All => Ok(self.range().collect()),
            Pick::Every { step: 0, .. } => Err(Error::Usage("a step of 0 grains is not possible".to_string())),
            Pick::Every { step, offset } => Ok(self.range().filter(|number| number % step == offset % step).collect()),
            Pick::List(numbers) => match numbers.iter().find(|number| !self.range().contains(number)) {
                Some(number) => Err(Error::Usage(format!("grain {number} is not in the stream"))),
                None => Ok(numbers.to_vec()),
            },
        }
    }
}

/// What the workers of one pass share.
struct Pass<'s> {
    stream: &'s TileStream<'s>,
    picked: &'s [usize],
    next: AtomicUsize,
    stop: AtomicBool,
    cancel: &'s Cancel,
    progress: &'s dyn Progress,
}

impl Pass<'_> {
    /// Take grains until there are none, or someone says stop.
    fn work<S, E, V>(&self, state: &mut S, visit: &V) -> Result<ScanReport, E>
    where
        E: From<Error>,
        V: Fn(&mut S, usize, &Grain<'_>) -> Result<(), E>,
    {
        // Stops the others when this worker returns early, also by a panic.
        let mut guard = StopUnlessDone { stop: &self.stop, done: false };
        let mut report = ScanReport::default();
        let mut news = News { last: Instant::now(), rows: 0, bytes: 0 };
        while !self.stop.load(Ordering::Relaxed) {
            self.cancel.check()?;
            let Some(&number) = self.picked.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            let view = self.stream.view(number)?;
            visit(state, number, &view.grain(&self.stream.shape)?)?;
            report.grains += 1;
            report.rows += view.rows as u64;
            report.bytes += view.bytes;
            news.add(view.rows as u64, view.bytes, self.progress);
        }
        news.tell(self.progress);
        guard.done = true;
        Ok(report)
    }
}

struct StopUnlessDone<'a> {
    stop: &'a AtomicBool,
    done: bool,
}

impl Drop for StopUnlessDone<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// Progress gathered until it is worth telling.
struct News {
    last: Instant,
    rows: u64,
    bytes: u64,
}

impl News {
    fn add(&mut self, rows: u64, bytes: u64, progress: &dyn Progress) {
        self.rows += rows;
        self.bytes += bytes;
        if self.last.elapsed() >= PROGRESS_INTERVAL {
            self.tell(progress);
        }
    }

    fn tell(&mut self, progress: &dyn Progress) {
        if self.rows > 0 {
            progress.advance(self.rows, self.bytes);
        }
        (self.last, self.rows, self.bytes) = (Instant::now(), 0, 0);
    }
}
