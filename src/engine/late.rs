//! Sums of wide categories go over the ranks while rows are still being scanned (stages 5 to 7).
//!
//! A sum is complete when the last row is in it, and a row adds to all columns. But once the residuals of all rows are known,
//! columns can be completed one after the other. So the last grains of a pass, its tail, are taken in two steps:
//!
//! ```text
//!   first grains   tail: margins, losses, dense sums   tail: blocks A    blocks B      blocks C
//!   whole          (residuals are kept)                scatter           scatter       scatter
//!                                                      rest over ranks   A             B            C
//! ```
//! The rest is the dense sums and the head, complete when the margins are.
//!
//! Blocks are those of categories and sparse vectors: their sums are the wide ones, one integer a parameter, and their
//! scatter is bound by latency, so that a second look at the codes costs next to nothing. For dense columns the same would
//! read the tail twice from memory: S + C seconds (scan and communication) become S + f S + max(0, C - f S) with a tail of a
//! share f of the rows, never less.
//!
//! How large a tail is each rank decides for itself ([`Pace`]): so that its scatter lasts as long as the communication. Which
//! segments there are follows from the layout, so all ranks reduce the same ones in the same order. Sums are
//! integers: nothing of this shows in a result. The thread that began the pass moves the messages meanwhile, every
//! [`POLL_INTERVAL`], and those of all sums that are under way; a ring has a megabyte under way, enough for ten gigabytes a second.
//!
//! Cost: residuals of the tail in memory, at most as many bytes as the workers' wide sums; brought to fixed point once a
//! segment instead of once.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gristmill_io::Error as IoError;
use gristmill_io::manifest::Split;
use gristmill_io::tiles::{Pick, ScanReport};
use gristmill_io::watch::{Cancel, Silent};
use gristmill_kernels::Real;
use mpi_launch::Pending;

use super::pass::{Order, Told};
use super::reduce::{self, Reduced};
use super::setup::Setup;
use super::sheet::Sheet;
use super::tile::{Job, Worker};
use crate::error::{Error, Result};

/// How often messages are moved while rows are scanned: well below the time that what is under way takes.
pub const POLL_INTERVAL: Duration = Duration::from_micros(100);
/// Cells of a segment, at least: half a MiB, which a ring moves at the rate of the link.
const SEGMENT_CELLS_MIN: usize = 1 << 16;
/// The last segment's, at least: it is reduced when nothing is left to scan, so it should be short.
const LAST_CELLS_MIN: usize = 1 << 13;
/// Segments below which there is nothing to overlap.
const SEGMENTS_MIN: usize = 2;
/// The largest tail, as a share of the rows: there is always something to scan whole.
const SHARE_MAX: f64 = 0.9;
/// No tail takes longer: a training that is asked to stop does so after the tail, and keeps no part of it.
const TAIL_SECONDS_MAX: f64 = 5.0;
/// Seconds of scan that hide a second of communication: a third of a scan or less is scatter, for the margins wait for memory; and
/// the scatter of the first segment hides nothing.
const AHEAD: f64 = 4.0;
/// Communication beyond the tail, as a share of it, above which the tail grows.
const SLACK: f64 = 0.1;

/// The parts of a flat sum that are reduced on their own, in this order, and what is reduced first.
pub struct Late {
    segments: Vec<Segment>,
    /// The other cells; the head is among the first.
    rest: Vec<Range<usize>>,
}

/// The sums of some blocks at one point.
pub struct Segment {
    /// Number of the point.
    pub point: usize,
    /// Numbers of the blocks.
    pub blocks: Range<usize>,
    /// Where they lie in the flat sum.
    cells: Range<usize>,
}

impl Late {
    /// The segments of a pass; none where there is nothing to gain.
    pub fn of(setup: &Setup<'_>, order: &Order<'_>, sheet: &Sheet) -> Option<Late> {
        if setup.company.comm.size() == 1 || !order.sample.is_all() || order.is_gram() {
            return None;
        }
        let blocks = setup.stream.layout().blocks.iter();
        let blocks: Vec<Range<usize>> =
            blocks.map(|block| block.first_parameter..block.first_parameter + block.parameters).collect();
        let mut segments = Vec::new();
        for (point, cells) in sheet.cells.iter().enumerate() {
            let (dense, start) = (cells.slopes.dense, sheet.section(point).start + cells.scattered_start());
            for run in runs(&blocks, dense) {
                let parameters = blocks[run.start].start..blocks[run.end - 1].end;
                let cells = start + parameters.start - dense..start + parameters.end - dense;
                segments.push(Segment { point, blocks: run, cells });
            }
        }
        if segments.len() < SEGMENTS_MIN {
            return None;
        }
        let rest = between(segments.iter().map(|segment| &segment.cells), sheet.count());
        // The longest first: they have the scatter of all others to hide behind.
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.cells.len()));
        Some(Late { segments, rest })
    }

    /// Cells of all segments.
    pub fn cells(&self) -> usize {
        self.segments.iter().map(|segment| segment.cells.len()).sum()
    }

    /// Scans the tail, and adds the sums of workers and ranks meanwhile; `began` and `scanned` are those of the grains before
    /// it. As [`reduce::reduce`].
    ///
    /// # Errors
    /// What a scan failed with, [`IoError::Interrupted`] when some rank left, and when a rank is lost.
    pub fn reduce<'w, R: Real + Default>(
        &self,
        job: &Job<'_, R>,
        workers: &'w mut [Worker<R>],
        (began, scanned): (Instant, Result<ScanReport>),
        tail: &[usize],
        pace: &mut Pace,
    ) -> Result<(Reduced, &'w [i64])> {
        let comm = job.setup().company.comm;
        let left = matches!(scanned, Err(Error::Data(IoError::Interrupted)));
        let mut report = if left { ScanReport::default() } else { scanned? };
        let tail = Tail::new(job, if left { &[] } else { tail });
        tail.margins(workers, &mut report)?;
        let scan_seconds = began.elapsed().as_secs_f64();
        let mut rest = self.rest_of(workers);
        reduce::sign(job.setup(), &mut rest, left, report.bytes);
        let mut buffers: Vec<Vec<i64>> = self.segments.iter().map(|segment| vec![0; segment.cells.len()]).collect();
        let mut flying = Flying::default();
        flying.queue.push_back(comm.start_all_reduce(&mut rest)?);
        for (segment, buffer) in self.segments.iter().zip(&mut buffers) {
            tail.scatter(workers, segment, &mut flying, &mut report)?;
            for worker in workers.iter() {
                add(buffer, &worker.cells[segment.cells.clone()]);
            }
            flying.queue.push_back(comm.start_all_reduce(buffer)?);
            flying.is_wide = true;
        }
        let tail_seconds = began.elapsed().as_secs_f64() - scan_seconds;
        reduce::lane_of_scan(job.setup(), began);
        let (reducing, overlapped_seconds) = (Instant::now(), flying.hidden_seconds);
        flying.land()?;
        pace.learn(scan_seconds, tail_seconds, overlapped_seconds, reducing.elapsed().as_secs_f64());
        let sum = self.together(workers, &rest, &buffers)?;
        let reduced = reduce::ended(job.setup(), sum, (began, reducing), report)?;
        Ok((Reduced { overlapped_seconds, ..reduced }, sum))
    }

    /// What is in no segment, of all workers.
    fn rest_of<R: Real>(&self, workers: &[Worker<R>]) -> Vec<i64> {
        let mut rest = vec![0; self.rest.iter().map(ExactSizeIterator::len).sum()];
        for worker in workers {
            let mut left = rest.as_mut_slice();
            for range in &self.rest {
                let (own, others) = left.split_at_mut(range.len());
                add(own, &worker.cells[range.clone()]);
                left = others;
            }
        }
        rest
    }

    /// Puts the sum together from what went over the ranks.
    fn together<'w, R: Real>(
        &self,
        workers: &'w mut [Worker<R>],
        mut rest: &[i64],
        buffers: &[Vec<i64>],
    ) -> Result<&'w [i64]> {
        let sum = &mut workers.first_mut().ok_or_else(reduce::no_worker)?.cells;
        for (segment, buffer) in self.segments.iter().zip(buffers) {
            sum[segment.cells.clone()].copy_from_slice(buffer);
        }
        for range in &self.rest {
            let (own, others) = rest.split_at(range.len());
            sum[range.clone()].copy_from_slice(own);
            rest = others;
        }
        Ok(sum)
    }
}

fn add(sum: &mut [i64], more: &[i64]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.wrapping_add(*more));
}

/// Runs of neighbouring blocks behind the dense ones, each of as many parameters as a segment needs.
fn runs(blocks: &[Range<usize>], dense: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut first = blocks.iter().position(|block| block.start >= dense).unwrap_or(blocks.len());
    for (number, block) in blocks.iter().enumerate().skip(first) {
        if block.end - blocks[first].start >= SEGMENT_CELLS_MIN {
            runs.push(first..number + 1);
            first = number + 1;
        }
    }
    let left = match (blocks.get(first), blocks.last()) {
        (Some(first), Some(last)) => last.end - first.start,
        _ => 0,
    };
    match runs.last_mut() {
        Some(_) if left >= LAST_CELLS_MIN => runs.push(first..blocks.len()),
        // What is too little for a run of its own belongs to the one before it.
        Some(last) => last.end = blocks.len(),
        None => {}
    }
    runs
}

/// What of `0..end` lies in none of `ranges`, which are in rising order.
fn between<'r>(ranges: impl Iterator<Item = &'r Range<usize>>, end: usize) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut between = Vec::new();
    for range in ranges {
        between.push(start..range.start);
        start = range.end;
    }
    between.push(start..end);
    between.retain(|range| !range.is_empty());
    between
}

/// Sums under way over the ranks, in the order in which they were begun.
#[derive(Default)]
struct Flying<'a> {
    queue: VecDeque<Box<dyn Pending + 'a>>,
    /// Whether a segment was begun: what comes before it is short.
    is_wide: bool,
    /// Seconds in which some were under way, segments among them, and rows were scanned.
    hidden_seconds: f64,
}

impl Flying<'_> {
    /// Moves what can be moved of every sum: while one waits for its last message, the link has room for another's first.
    fn poll(&mut self) -> mpi_launch::Result<()> {
        let mut place = 0;
        while let Some(pending) = self.queue.get_mut(place) {
            if pending.progress()? {
                self.queue.remove(place);
            } else {
                place += 1;
            }
        }
        Ok(())
    }

    /// Waits for all.
    fn land(mut self) -> mpi_launch::Result<()> {
        while let Some(first) = self.queue.pop_front() {
            first.wait_while(&mut || self.poll())?;
        }
        Ok(())
    }
}

/// The grains that are taken in two steps, and their residuals in between.
struct Tail<'t, 's, R: Real> {
    job: &'t Job<'s, R>,
    /// In rising order.
    grains: &'t [usize],
    kept: Vec<OnceLock<Vec<R>>>,
}

impl<'t, 's, R: Real + Default> Tail<'t, 's, R> {
    fn new(job: &'t Job<'s, R>, grains: &'t [usize]) -> Tail<'t, 's, R> {
        Tail { job, grains, kept: grains.iter().map(|_| OnceLock::new()).collect() }
    }

    fn kept(&self, grain: usize) -> Result<&OnceLock<Vec<R>>> {
        let place = self.grains.binary_search(&grain).ok().and_then(|place| self.kept.get(place));
        place.ok_or_else(|| Error::usage(format!("grain {grain} is none of the tail")))
    }

    /// The first step. Nobody stops in it: the tail is short, and half of it would be in the sums.
    fn margins(&self, workers: &mut [Worker<R>], report: &mut ScanReport) -> Result<()> {
        if self.grains.is_empty() {
            return Ok(());
        }
        let (setup, job) = (self.job.setup(), self.job);
        let told = Told(setup.company.watch);
        let more =
            setup.stream.scan(workers, Pick::List(self.grains), &Cancel::new(), &told, |worker, number, grain| {
                let mut kept = Vec::new();
                job.grain_but_scattered(worker, number, grain, &mut kept)?;
                let slot = self.kept(number)?;
                slot.get_or_init(|| kept);
                Ok::<(), Error>(())
            })?;
        (report.grains, report.rows, report.bytes) =
            (report.grains + more.grains, report.rows + more.rows, report.bytes + more.bytes);
        add_time(report, &more);
        Ok(())
    }

    /// The second step for the blocks of a segment, while sums are under way.
    fn scatter(
        &self,
        workers: &mut [Worker<R>],
        segment: &Segment,
        flying: &mut Flying<'_>,
        report: &mut ScanReport,
    ) -> Result<()> {
        if self.grains.is_empty() {
            return Ok(flying.poll()?);
        }
        let (setup, job) = (self.job.setup(), self.job);
        let visit = |worker: &mut Worker<R>, number: usize, grain: &gristmill_kernels::tile::Grain<'_>| {
            let kept = self.kept(number)?.get().map_or(&[][..], Vec::as_slice);
            job.scatter_kept(worker, grain, kept, segment)
        };
        let scan = || setup.stream.scan(workers, Pick::List(self.grains), &Cancel::new(), &Silent, visit);
        let more = std::thread::scope(|scope| {
            let scanning = scope.spawn(scan);
            let mut since = Instant::now();
            while !scanning.is_finished() {
                let busy = flying.is_wide && !flying.queue.is_empty();
                flying.poll()?;
                std::thread::sleep(POLL_INTERVAL);
                let now = Instant::now();
                flying.hidden_seconds += if busy { (now - since).as_secs_f64() } else { 0.0 };
                since = now;
            }
            scanning.join().unwrap_or_else(|panic| resume_unwind(panic))
        })?;
        add_time(report, &more);
        Ok(())
    }
}

/// Counts the time of another scan of the same rows.
fn add_time(report: &mut ScanReport, more: &ScanReport) {
    report.wait_seconds += more.wait_seconds;
    report.view_seconds += more.view_seconds;
    report.visit_seconds += more.visit_seconds;
    report.load_seconds += more.load_seconds;
    report.read_bytes += more.read_bytes;
}

/// How large this rank's tails are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// As a share of the rows; 0 until a pass has shown what there is to hide.
    share: f64,
}

impl Pace {
    /// The tail of a pass over `grains`: the last of those that stay in memory, with as many rows as fit `rows_max`.
    pub fn tail(self, setup: &Setup<'_>, grains: &[usize], rows_max: usize) -> Vec<usize> {
        let (resident, all) = (&setup.stream.residency().resident, setup.dataset.grains(Split::Train));
        let stays = |grain: &usize| setup.own_grains.binary_search(grain).is_ok_and(|place| resident[place]);
        let rows: usize = grains.iter().map(|&grain| all[grain].rows).sum();
        let mut left = ((self.share * rows as f64) as usize).min(rows_max);
        let mut tail = Vec::new();
        for &grain in grains.iter().rev().filter(|grain| stays(grain)) {
            let Some(fewer) = left.checked_sub(all[grain].rows) else { break };
            left = fewer;
            tail.push(grain);
        }
        tail.reverse();
        tail
    }

    /// Looks back on a pass: the scan before the tail's second step, that step, how much of it sums were under way, and how
    /// long they were after it.
    fn learn(&mut self, scan: f64, tail: f64, hidden: f64, exposed: f64) {
        let share = match self.share {
            0.0 => AHEAD * exposed / scan.max(1e-9),
            share if exposed > SLACK * tail => share * 1.25,
            share if hidden < 0.4 * tail => share * 0.8,
            share => share,
        };
        self.share = share.min(SHARE_MAX).min(TAIL_SECONDS_MAX / (scan + tail).max(1e-9));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_long_enough_and_leave_nothing_out() {
        let k = SEGMENT_CELLS_MIN;
        let blocks = |lengths: &[usize]| -> Vec<Range<usize>> {
            let ends = lengths.iter().scan(0, |end, length| {
                *end += length;
                Some(*end - length..*end)
            });
            ends.collect()
        };
        assert_eq!(runs(&blocks(&[10, 5, 2 * k, 3, k, 7, 9]), 15), [2..3, 3..7]);
        assert_eq!(runs(&blocks(&[10, k / 2, k / 2, LAST_CELLS_MIN]), 10), [1..3, 3..4]);
        let one = runs(&blocks(&[10, k / 2, k / 2, LAST_CELLS_MIN - 1]), 10);
        assert!(one.len() == 1 && one[0] == (1..4), "{one:?}");
        assert!(runs(&blocks(&[10, 5, k - 6]), 10).is_empty());
        assert!(runs(&blocks(&[10]), 10).is_empty());
        assert_eq!(between([3..5, 5..7, 9..10].iter(), 12), [0..3, 7..9, 10..12]);
    }

    #[test]
    fn a_tail_lasts_as_long_as_what_it_hides() {
        let mut pace = Pace::default();
        // A tenth of a second to hide behind a second.
        pace.learn(1.0, 0.0, 0.0, 0.1);
        assert!((pace.share - 0.4).abs() < 1e-12);
        // Too much of it was left: longer. What was hidden filled less than half of the tail: shorter.
        pace.learn(0.9, 0.1, 0.1, 0.05);
        assert!((pace.share - 0.5).abs() < 1e-12);
        pace.learn(0.9, 0.2, 0.05, 0.0);
        assert!((pace.share - 0.4).abs() < 1e-12);
        // Never longer than a stop may take.
        pace.learn(1_000.0, 10.0, 10.0, 500.0);
        assert!(pace.share * 1_010.0 <= TAIL_SECONDS_MAX + 1e-9);
    }
}
