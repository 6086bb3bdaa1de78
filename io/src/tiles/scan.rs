//! One pass: workers take grains in order, whole grains each; the first error stops all.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gristmill_kernels::tile::Grain;

use super::TileStream;
use super::behind::{self, Behind, Beside};
use super::feed::Feed;
use super::options::{Pick, ScanReport};
use super::reader::Reader;
use super::view::GrainView;
use crate::error::{Error, Result};
use crate::trace::Lane;
use crate::watch::{Cancel, Progress};

/// Progress is told at most this often by each worker.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(20);

/// Threads that read ahead: two keep a disk busy, one waits for a request while the other's is on its way.
const READERS: usize = 2;
/// The same of maps in huge pages, which are read one page a reader: four got 8 % less, sixteen no more.
const READERS_IN_HUGE_PAGES: usize = 8;

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
        let mut load_seconds = 0.0;
        std::thread::scope(|scope| {
            let (pass, visit) = (&pass, &visit);
            let most = if pass.behind.is_some() { READERS_IN_HUGE_PAGES } else { READERS };
            let readers: Vec<_> =
                (0..pass.to_read.len().min(most)).map(|reader| scope.spawn(move || pass.read(reader))).collect();
            let threads: Vec<_> =
                (1..).zip(others).map(|(worker, state)| scope.spawn(move || pass.work(worker, state, visit))).collect();
            outcomes.push(pass.work(0, first, visit));
            for thread in threads {
                outcomes.push(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            for reader in readers {
                load_seconds += reader.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
        });
        let mut report = ScanReport { load_seconds, ..ScanReport::default() };
        for outcome in outcomes {
            let part = outcome?;
            report.grains += part.grains;
            report.rows += part.rows;
            report.bytes += part.bytes;
            report.wait_seconds += part.wait_seconds;
            report.view_seconds += part.view_seconds;
            report.visit_seconds += part.visit_seconds;
            report.read_bytes += part.read_bytes;
        }
        // The end of a file that was cut off inside a page reads as zeros, without any fault.
        self.check_unchanged()?;
        report.seconds = start.elapsed().as_secs_f64();
        Ok(report)
    }

    fn pick(&self, pick: Pick<'_>) -> Result<Vec<Picked>> {
        let all = self.numbers.iter().enumerate().map(|(index, &number)| Picked { number, index });
        match pick {
            Pick::All => Ok(all.collect()),
            Pick::Every { step: 0, .. } => Err(Error::Usage("a step of 0 grains is not possible".to_string())),
            Pick::Every { step, offset } => Ok(all.filter(|grain| grain.number % step == offset % step).collect()),
            Pick::List(numbers) => {
                let find = |&number: &usize| {
                    let index = self.numbers.binary_search(&number);
                    let index = index.map_err(|_| Error::Usage(format!("grain {number} is not in the stream")))?;
                    Ok(Picked { number, index })
                };
                numbers.iter().map(find).collect()
            }
        }
    }
}

impl TileStream<'_> {
    /// The part of a file that goes with a grain.
    fn part(&self, Picked { number, index }: Picked) -> behind::Part {
        let entry = &self.grains[number];
        let beside = |index: Option<usize>| match index.filter(|&at| at < self.numbers.len()) {
            Some(at) if self.grains[self.numbers[at]].shard != entry.shard => Beside::Nothing,
            Some(at) if self.residency.resident[at] => Beside::Stays,
            Some(_) => Beside::Moves,
            None => Beside::Nothing,
        };
        // A grain without a place is told of when it is read.
        let part = match self.shard(entry).place(entry.batch).ok().filter(|_| !self.residency.resident[index]) {
            Some(place) => {
                behind::part(&(place.offset..place.end()), [beside(index.checked_sub(1)), beside(Some(index + 1))])
            }
            None => 0..0,
        };
        (entry.shard, part)
    }
}

/// A grain of a pass.
#[derive(Clone, Copy)]
pub struct Picked {
    /// Its number in the split.
    pub number: usize,
    /// Its place in the stream.
    pub index: usize,
}

/// What the threads of one pass share.
struct Pass<'s> {
    stream: &'s TileStream<'s>,
    picked: &'s [Picked],
    /// For each picked grain its place in the queue of those to read, or [`AT_HAND`].
    items: Vec<u32>,
    /// The grains to read.
    to_read: Vec<Picked>,
    feed: Feed,
    /// What goes when, where maps are read in huge pages.
    behind: Option<Behind>,
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
        picked: &'s [Picked],
        cancel: &'s Cancel,
        progress: &'s dyn Progress,
    ) -> Pass<'s> {
        let (mut items, mut to_read, mut bytes) = (Vec::with_capacity(picked.len()), Vec::new(), Vec::new());
        for &grain in picked {
            let index = grain.index;
            if stream.views[index].get().is_some() {
                items.push(AT_HAND);
                continue;
            }
            items.push(to_read.len() as u32);
            to_read.push(grain);
            let stays = stream.residency.resident[index];
            let moving = stream.block_bytes.filter(|_| !stays);
            bytes.push(moving.unwrap_or(stream.stay_bytes[index]));
        }
        let feed = Feed::new(bytes, stream.residency.window_bytes);
        // Of some grains here and there, huge pages would bring their neighbours too.
        let in_order = stream.huge_pages && picked.len() == stream.numbers.len();
        let behind = in_order.then(|| Behind::new(to_read.iter().map(|grain| stream.part(*grain)).collect()));
        Pass {
            stream,
            picked,
            items,
            to_read,
            feed,
            behind,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            cancel,
            progress,
        }
    }

    /// A reader's life; the seconds it took to load grains.
    fn read(&self, number: usize) -> f64 {
        let mut guard = StopUnlessDone { pass: self, done: false };
        let lane = Lane::of(self.stream.trace.as_deref(), || format!("reader {number}"));
        let seconds = Reader::new(self.stream, &self.to_read, self.behind.is_some(), lane).run(&self.feed, &self.stop);
        guard.done = true;
        seconds
    }

    /// A worker's life: take grains until there are none, or someone says stop.
    fn work<S, E, V>(&self, worker: usize, state: &mut S, visit: &V) -> Result<ScanReport, E>
    where
        E: From<Error>,
        V: Fn(&mut S, usize, &Grain<'_>) -> Result<(), E>,
    {
        // Stops the others when this worker returns early, also by a panic.
        let mut guard = StopUnlessDone { pass: self, done: false };
        let mut desk = Desk {
            report: ScanReport::default(),
            lane: Lane::of(self.stream.trace.as_deref(), || format!("worker {worker}")),
        };
        let mut news = News { last: Instant::now(), rows: 0, bytes: 0 };
        while !self.stop.load(Ordering::Relaxed) {
            self.cancel.check()?;
            let position = self.next.fetch_add(1, Ordering::Relaxed);
            let (Some(&grain), Some(&item)) = (self.picked.get(position), self.items.get(position)) else { break };
            let at_hand = self.stream.views[grain.index].get().filter(|_| item == AT_HAND);
            let bytes = match at_hand {
                Some(view) => {
                    self.visit(&mut desk, state, grain.number, view, visit)?;
                    view.bytes
                }
                None => {
                    let Some(bytes) = self.visit_read(&mut desk, state, grain, item as usize, visit)? else {
                        continue;
                    };
                    desk.report.read_bytes += bytes;
                    bytes
                }
            };
            let rows = self.stream.grains[grain.number].rows as u64;
            desk.report.grains += 1;
            desk.report.rows += rows;
            desk.report.bytes += bytes;
            news.add(rows, bytes, self.progress);
        }
        news.tell(self.progress);
        guard.done = true;
        Ok(desk.report)
    }

    /// Visit a grain. What came of it counts only if every page of it could be read.
    fn visit<S, E, V>(
        &self,
        desk: &mut Desk<'_>,
        state: &mut S,
        number: usize,
        view: &GrainView,
        visit: &V,
    ) -> Result<(), E>
    where
        E: From<Error>,
        V: Fn(&mut S, usize, &Grain<'_>) -> Result<(), E>,
    {
        let grain = view.grain(&self.stream.shape)?;
        let start = Instant::now();
        let visited = visit(state, number, &grain);
        desk.report.visit_seconds += start.elapsed().as_secs_f64();
        desk.lane.span("compute", start, Some(number as u64));
        self.stream.shard(&self.stream.grains[number]).check_pages()?;
        visited
    }

    /// Wait for a grain that is being read, visit it, and keep it or let it go. The number of its bytes; none when
    /// all are to stop.
    fn visit_read<S, E, V>(
        &self,
        desk: &mut Desk<'_>,
        state: &mut S,
        Picked { number, index }: Picked,
        item: usize,
        visit: &V,
    ) -> Result<Option<u64>, E>
    where
        E: From<Error>,
        V: Fn(&mut S, usize, &Grain<'_>) -> Result<(), E>,
    {
        let (stream, wait) = (self.stream, Instant::now());
        let stop = || self.stop.load(Ordering::Relaxed) || self.cancel.requested();
        let loaded = self.feed.take(item, &stop);
        desk.report.wait_seconds += wait.elapsed().as_secs_f64();
        desk.lane.span("wait", wait, Some(number as u64));
        let Some(loaded) = loaded else { return Ok(None) };
        let loaded = loaded?;
        let entry = &stream.grains[number];
        let viewing = Instant::now();
        let view = loaded.view(stream.shard(entry), entry, &stream.shape, stream.is_first(index));
        stream.shard(entry).check_pages()?;
        let (view, mut view_seconds) = (view?, viewing.elapsed().as_secs_f64());
        desk.lane.span("view", viewing, Some(number as u64));
        let bytes = view.bytes;
        if stream.residency.resident[index] {
            self.visit(desk, state, number, stream.views[index].get_or_init(|| view), visit)?;
        } else {
            self.visit(desk, state, number, &view, visit)?;
            let dropping = Instant::now();
            // The views go first: a block is written again only when nobody looks at it.
            drop(view);
            if self.behind.is_none() {
                loaded.drop_behind(stream.shard(entry), entry, &stream.spare)?;
            }
            view_seconds += dropping.elapsed().as_secs_f64();
            desk.lane.span("let go", dropping, Some(number as u64));
        }
        self.release(item)?;
        desk.report.view_seconds += view_seconds;
        Ok(Some(bytes))
    }

    /// A grain that was read is done.
    fn release(&self, item: usize) -> Result<()> {
        let Some(behind) = &self.behind else {
            self.feed.release(item);
            return Ok(());
        };
        let gone = behind.done(item);
        for (shard, part) in gone.parts {
            let map = self.stream.dataset.shards()[shard].map()?;
            map.evict(part.start as usize..map.len().min(part.end as usize));
        }
        gone.items.for_each(|item| self.feed.release(item));
        Ok(())
    }
}

/// What a worker notes beside its work.
struct Desk<'t> {
    report: ScanReport,
    lane: Lane<'t>,
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
