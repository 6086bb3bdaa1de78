//! One pass: workers take grains in order, whole grains each; the first error stops all.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gristmill_kernels::tile::Grain;

use super::TileStream;
use super::feed::Feed;
use super::load::Loaded;
use super::options::{Pick, ScanReport};
use super::pages::{Pages, Piece, Turn};
use super::reader::Reader;
use super::view::GrainView;
use crate::dataset::GrainEntry;
use crate::error::{Error, Result};
use crate::mmap::HUGE_PAGE;
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
        let pass = Pass::new(self, &picked, cancel, progress)?;
        let mut outcomes = Vec::with_capacity(others.len() + 1);
        let mut load_seconds = 0.0;
        std::thread::scope(|scope| {
            let (pass, visit) = (&pass, &visit);
            let most = if pass.pages.is_some() { READERS_IN_HUGE_PAGES } else { READERS };
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
        if let Some(pages) = &pass.pages {
            while let Some(page) = pages.rest() {
                pass.let_go(pages, page)?;
            }
        }
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
    /// What a grain in huge pages shares with its neighbours.
    fn piece(&self, Picked { number, index }: Picked) -> Result<Piece> {
        let entry = &self.grains[number];
        let place = |entry: &GrainEntry| self.shard(entry).place(entry.batch);
        let beside = |at: Option<usize>| {
            let stays = at.filter(|&at| self.residency.resident.get(at) == Some(&true));
            let other = stays.map(|at| &self.grains[self.numbers[at]]).filter(|other| other.shard == entry.shard);
            other.map(place).transpose()
        };
        let (before, after) = (beside(index.checked_sub(1))?, beside(Some(index + 1))?);
        let own = place(entry)?;
        Ok(Piece {
            shard: entry.shard,
            file: own.offset..own.end(),
            stays: self.residency.resident[index],
            beside: [before.map(|place| place.end()), after.map(|place| place.offset)],
        })
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
    /// What is read and goes when, where maps are read in huge pages.
    pages: Option<Pages>,
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
    ) -> Result<Pass<'s>> {
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
        let pages = match in_order {
            true => {
                let pieces: Vec<_> = to_read.iter().map(|grain| stream.piece(*grain)).collect::<Result<_>>()?;
                Some(Pages::new(pieces.into_iter(), stream.residency.window_bytes as usize / HUGE_PAGE))
            }
            false => None,
        };
        Ok(Pass {
            stream,
            picked,
            items,
            to_read,
            feed,
            pages,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            cancel,
            progress,
        })
    }

    /// A reader's life; the seconds it took to load grains.
    fn read(&self, number: usize) -> f64 {
        let mut guard = StopUnlessDone { pass: self, done: false };
        let lane = Lane::of(self.stream.trace.as_deref(), || format!("reader {number}"));
        let seconds = match &self.pages {
            Some(pages) => self.read_pages(pages, lane),
            None => Reader::new(self.stream, &self.to_read, lane).run(&self.feed, &self.stop),
        };
        guard.done = true;
        seconds
    }

    /// Read huge pages, one after the other; the seconds it took.
    fn read_pages(&self, pages: &Pages, mut lane: Lane<'_>) -> f64 {
        let (mut seconds, mut told) = (0.0, None);
        while let Some(Turn { gone, page }) = pages.claim(&self.stop) {
            let start = Instant::now();
            let (item, shard) = (pages.item(page), pages.place(page).0);
            let is_new = told.replace(shard) != Some(shard);
            match gone.map_or(Ok(()), |gone| self.let_go(pages, gone)).and_then(|()| self.populate(pages, page, is_new))
            {
                Ok(()) => {
                    for item in pages.arrived(page) {
                        let entry = &self.stream.grains[self.to_read[item].number];
                        self.feed.put(item, Loaded::populated(self.stream.shard(entry), entry));
                    }
                }
                Err(error) => self.feed.put(item, Err(error)),
            }
            lane.span("load", start, Some(self.to_read[item].number as u64));
            seconds += start.elapsed().as_secs_f64();
        }
        seconds
    }

    /// Read a page, of a shard whose map may not know yet how.
    fn populate(&self, pages: &Pages, page: usize, is_new: bool) -> Result<()> {
        let (shard, part) = pages.place(page);
        let map = self.stream.dataset.shards()[shard].map()?;
        if is_new {
            map.in_huge_pages();
        }
        map.populate(part.start..part.end.min(map.len()))
    }

    fn let_go(&self, pages: &Pages, page: usize) -> Result<()> {
        let (shard, part) = pages.place(page);
        let map = self.stream.dataset.shards()[shard].map()?;
        map.evict(part.start..part.end.min(map.len()));
        Ok(())
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
            if self.pages.is_none() {
                loaded.drop_behind(stream.shard(entry), entry, &stream.spare)?;
            }
            view_seconds += dropping.elapsed().as_secs_f64();
            desk.lane.span("let go", dropping, Some(number as u64));
        }
        self.release(item);
        desk.report.view_seconds += view_seconds;
        Ok(Some(bytes))
    }

    /// A grain that was read is done.
    fn release(&self, item: usize) {
        match &self.pages {
            Some(pages) => pages.done(item),
            None => self.feed.release(item),
        }
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
            if let Some(pages) = &self.pass.pages {
                pages.wake();
            }
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
