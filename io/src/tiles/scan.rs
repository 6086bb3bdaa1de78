//! One pass: workers take grains in order, whole grains each; the first error stops all.

use std::fs::File;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gristmill_kernels::tile::Grain;

use super::TileStream;
use super::feed::Feed;
use super::load::Loaded;
use super::options::{Pick, ScanReport};
use crate::error::{Error, Result};
use crate::watch::{Cancel, Progress};

/// Progress is told at most this often by each worker.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(20);

/// Threads that read ahead: two keep a disk busy, one waits for a request while the other's is on its way.
const READERS: usize = 2;

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
        self.check_unchanged()?;
        let Some((first, others)) = workers.split_first_mut() else {
            return Err(Error::Usage("a scan needs at least one worker".to_string()).into());
        };
        let pass = Pass::new(self, &picked, cancel, progress);
        let mut outcomes = Vec::with_capacity(others.len() + 1);
        std::thread::scope(|scope| {
            let (pass, visit) = (&pass, &visit);
            let readers: Vec<_> = (0..pass.to_read.len().min(READERS)).map(|_| scope.spawn(|| pass.read())).collect();
            let threads: Vec<_> = others.iter_mut().map(|state| scope.spawn(move || pass.work(state, visit))).collect();
            outcomes.push(pass.work(first, visit));
            for thread in threads {
                outcomes.push(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            for reader in readers {
                reader.join().unwrap_or_else(|panic| resume_unwind(panic));
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

/// What the threads of one pass share.
struct Pass<'s> {
    stream: &'s TileStream<'s>,
    picked: &'s [usize],
    /// For each picked grain its place in the queue of those to read, or [`AT_HAND`].
    items: Vec<u32>,
    /// The grains to read.
    to_read: Vec<usize>,
    feed: Feed,
    next: AtomicUsize,
    stop: AtomicBool,
    cancel: &'s Cancel,
    progress: &'s dyn Progress,
}

/// The mark of a grain whose view is in memory.
const AT_HAND: u32 = u32::MAX;

impl<'s> Pass<'s> {
    fn new(
        stream: &'s TileStream<'s>,
        picked: &'s [usize],
        cancel: &'s Cancel,
        progress: &'s dyn Progress,
    ) -> Pass<'s> {
        let (mut items, mut to_read, mut bytes) = (Vec::with_capacity(picked.len()), Vec::new(), Vec::new());
        for &number in picked {
            let index = number - stream.range.start;
            if stream.views[index].get().is_some() {
                items.push(AT_HAND);
                continue;
            }
            items.push(to_read.len() as u32);
            to_read.push(number);
            let stays = stream.residency.resident[index];
            let moving = stream.block_bytes.filter(|_| !stays);
            bytes.push(moving.unwrap_or(stream.mapped_bytes[index]));
        }
        let feed = Feed::new(bytes, stream.residency.window_bytes);
        Pass {
            stream,
            picked,
            items,
            to_read,
            feed,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            cancel,
            progress,
        }
    }

    /// A reader's life.
    fn read(&self) {
        let mut guard = StopUnlessDone { pass: self, done: false };
        let mut reader = Reader { stream: self.stream, open: None };
        self.feed.read(&self.stop, |item| reader.load(self.to_read[item]));
        guard.done = true;
    }

    /// A worker's life: take grains until there are none, or someone says stop.
    fn work<S, E, V>(&self, state: &mut S, visit: &V) -> Result<ScanReport, E>
    where
        E: From<Error>,
        V: Fn(&mut S, usize, &Grain<'_>) -> Result<(), E>,
    {
        // Stops the others when this worker returns early, also by a panic.
        let mut guard = StopUnlessDone { pass: self, done: false };
        let mut report = ScanReport::default();
        let mut news = News { last: Instant::now(), rows: 0, bytes: 0 };
        while !self.stop.load(Ordering::Relaxed) {
            self.cancel.check()?;
            let position = self.next.fetch_add(1, Ordering::Relaxed);
            let (Some(&number), Some(&item)) = (self.picked.get(position), self.items.get(position)) else { break };
            let at_hand = self.stream.views[number - self.stream.range.start].get().filter(|_| item == AT_HAND);
            let bytes = match at_hand {
                Some(view) => {
                    visit(state, number, &view.grain(&self.stream.shape)?)?;
                    view.bytes
                }
                None => {
                    let Some(bytes) = self.visit_read(state, number, item as usize, &mut report, visit)? else {
                        continue;
                    };
                    report.read_bytes += bytes;
                    bytes
                }
            };
            let rows = self.stream.grains[number].rows as u64;
            report.grains += 1;
            report.rows += rows;
            report.bytes += bytes;
            news.add(rows, bytes, self.progress);
        }
        news.tell(self.progress);
        guard.done = true;
        Ok(report)
    }

    /// Wait for a grain that is being read, visit it, and keep it or let it go. The number of its bytes; none when
    /// all are to stop.
    fn visit_read<S, E, V>(
        &self,
        state: &mut S,
        number: usize,
        item: usize,
        report: &mut ScanReport,
        visit: &V,
    ) -> Result<Option<u64>, E>
    where
        E: From<Error>,
        V: Fn(&mut S, usize, &Grain<'_>) -> Result<(), E>,
    {
        let (stream, wait) = (self.stream, Instant::now());
        let stop = || self.stop.load(Ordering::Relaxed) || self.cancel.requested();
        let loaded = self.feed.take(item, &stop);
        report.wait_seconds += wait.elapsed().as_secs_f64();
        let Some(loaded) = loaded else { return Ok(None) };
        let loaded = loaded?;
        let (entry, index) = (&stream.grains[number], number - stream.range.start);
        let view = loaded.view(stream.shard(entry), entry, &stream.shape)?;
        let bytes = view.bytes;
        if stream.residency.resident[index] {
            let view = stream.views[index].get_or_init(|| view);
            visit(state, number, &view.grain(&stream.shape)?)?;
        } else {
            visit(state, number, &view.grain(&stream.shape)?)?;
            // The views go first: a block is written again only when nobody looks at it.
            drop(view);
            loaded.drop_behind(stream.shard(entry), entry, &stream.spare)?;
        }
        self.feed.release(item);
        Ok(Some(bytes))
    }
}

/// Loads grains for the feed; keeps the last shard open.
struct Reader<'s> {
    stream: &'s TileStream<'s>,
    open: Option<(usize, File)>,
}

impl Reader<'_> {
    fn load(&mut self, number: usize) -> Result<Loaded> {
        let stream = self.stream;
        let entry = &stream.grains[number];
        let shard = stream.shard(entry);
        let stays = stream.residency.resident[number - stream.range.start];
        let Some(block_bytes) = stream.block_bytes.filter(|_| !stays) else {
            return Loaded::mapped(shard, entry, &stream.shape);
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != entry.shard) {
            let file = shard.open_direct()?.ok_or_else(|| {
                Error::Usage(format!(
                    "{} cannot be read by direct I/O. Maps can read it (Io::Mmap)",
                    shard.path().display()
                ))
            })?;
            self.open = Some((entry.shard, file));
        }
        match &self.open {
            Some((_, file)) => {
                Loaded::direct(shard, file, entry, &stream.shape, stream.spare.take(block_bytes as usize)?)
            }
            None => Loaded::mapped(shard, entry, &stream.shape),
        }
    }
}

struct StopUnlessDone<'a> {
    pass: &'a Pass<'a>,
    done: bool,
}

impl Drop for StopUnlessDone<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.pass.stop.store(true, Ordering::Relaxed);
            self.pass.feed.wake();
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
