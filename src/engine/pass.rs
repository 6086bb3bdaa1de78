//! A pass (stages 4 to 7): workers share the grains of this rank, each whole grains, tile by tile; what they found at every
//! point is one flat sum, added over workers and ranks.
//!
//! ```text
//! for each tile      what every point adds (see `tile`)
//! for each grain     fold what dense columns added into fixed point
//! for the pass       add workers, all-reduce
//! ```
//! Data are read once for all points; what a point finds is the same to the bit as if it were alone. Nothing is allocated a tile.

use std::time::Instant;

use gristmill_io::tiles::{Pick, ScanReport};
use gristmill_io::watch::Progress;
use gristmill_kernels::ops::gram::{GramLayout, Shape};
use gristmill_kernels::tile::{Cut, Grain};
use gristmill_kernels::{Kernels, LossSums, Real};

use super::late::{Late, Pace};
use super::part::{Gatherer, Key, Part};
use super::reduce::{Reduced, reduce};
use super::setup::Setup;
use super::sheet::{LEVEL_MAX, Sheet};
use super::space::Stored;
use super::tile::{Job, Worker};
use crate::error::{Error, Result};
use crate::models::Smoothing;
use crate::optim::Sample;
use crate::ranks;
use crate::train::TrainWatch;

/// With this many grains a part of a sample, it takes whole grains, so that the others need not be read: from a disk, one tile in
/// 64 of every grain costs as much as all of them. Fewer grains would make a poor sample of rows that lie in some order.
const GRAINS_PER_PART: usize = 4;
/// Rows of a grain that one call for a Gram matrix takes where several matrices are gathered, so that they are still in the
/// cache for the next: a multiple of the span over which that kernel keeps its lanes, so that pieces change no bit.
const GRAM_ROWS: usize = 2_048;

/// What a pass collects at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Loss and gradient.
    Gradient,
    /// And the Hessian.
    Hessian,
    /// The Gram matrix of columns, constant and target; wherever the point is. No other point of the pass wants anything else.
    Gram,
}

impl Want {
    /// Multiply-adds of a row and margin, about: every stored number once for margins and once for the gradient, every pair of
    /// them and the constant, and the target where it is there, once for a matrix; each pair of classes of a joint loss has one.
    pub fn multiply_adds(self, setup: &Setup<'_>) -> f64 {
        let numbers = setup.numbers_of_row();
        let pairs = |numbers: f64| numbers * (numbers + 1.0) / 2.0;
        match self {
            Want::Gradient => 2.0 * numbers,
            Want::Hessian if setup.joint > 1 => 2.0 * numbers + pairs(numbers + 1.0) * (setup.joint - 1) as f64 / 2.0,
            Want::Hessian => 2.0 * numbers + pairs(numbers + 1.0),
            Want::Gram => pairs(numbers + 2.0),
        }
    }
}

/// A point of a pass: the weights of one margin of a row. Points of margins that make one loss stand together.
#[derive(Clone, Debug)]
pub struct Point {
    /// Where.
    pub at: Stored,
    /// What to collect.
    pub want: Want,
    /// The fold whose rows do not count; none: all rows count.
    pub left_out: Option<u16>,
    /// The class that is 1 to the loss, all others 0; none: the loss takes targets as they are.
    pub against: Option<u16>,
    /// What is taken for a loss with a kink.
    pub smoothing: Smoothing,
}

/// What a pass found at a point, as sums over rows.
#[derive(Clone, Debug)]
pub struct Found {
    /// Loss, residual and weight.
    pub loss: LossSums,
    /// Residual times stored column.
    pub gradient: Vec<f64>,
    /// Matrices over (columns, constant, target where it was wanted): none, one, or of a class of a joint loss one for each class
    /// behind it.
    pub matrices: Vec<Vec<f64>>,
    /// True when rows are so far off that there are no sums: the loss counts as infinite.
    pub beyond: bool,
}

/// The order of one pass.
pub struct Order<'a> {
    /// Where, and what to collect there.
    pub points: &'a [Point],
    /// Over which rows.
    pub sample: Sample,
    /// True to form products of a Gram matrix in `f64`.
    pub exact: bool,
}

impl Order<'_> {
    /// True for the pass of a closed form.
    pub fn is_gram(&self) -> bool {
        self.points.iter().any(|point| point.want == Want::Gram)
    }

    /// How grains are cut for this pass.
    fn cut(&self, setup: &Setup<'_>) -> Cut {
        match (self.is_gram() && self.sample.is_all(), self.points.len()) {
            (false, 2..) => setup.cut.several(),
            (true, 1) => Cut { tile: setup.grain_rows, ..setup.cut },
            (true, _) => Cut { tile: GRAM_ROWS.min(setup.grain_rows), ..setup.cut },
            (false, _) => setup.cut,
        }
    }
}

/// Makes passes: buffers that live from pass to pass.
pub struct Passes<R: Real> {
    kernels: Kernels<R>,
    wide: Kernels<f64>,
    workers: Vec<Worker<R>>,
    shapes: Option<Vec<Shape>>,
    /// How much of a pass hides its communication.
    pace: Pace,
}

impl<R: Real + Default> Passes<R> {
    /// For a training.
    pub fn new(setup: &Setup<'_>) -> Passes<R> {
        let workers = (0..setup.threads).map(|_| Worker::default()).collect();
        Passes {
            kernels: Kernels::new(setup.tier),
            wide: Kernels::new(setup.tier),
            workers,
            shapes: None,
            pace: Pace::default(),
        }
    }

    /// Makes a pass. All ranks make it together.
    ///
    /// # Errors
    /// When data cannot be read, a sum leaves its bound, a rank is lost, or the training was interrupted.
    pub fn make(&mut self, setup: &Setup<'_>, order: &Order<'_>) -> Result<(Vec<Found>, Reduced)> {
        let (mut found, mut reduced) = self.at_level(setup, order, 0)?;
        for level in 1..=LEVEL_MAX {
            let beyond: Vec<usize> = (0..found.len()).filter(|&point| found[point].beyond).collect();
            if beyond.is_empty() {
                break;
            }
            let points: Vec<Point> = beyond.iter().map(|&point| order.points[point].clone()).collect();
            let (again, more) = self.at_level(setup, &Order { points: &points, ..*order }, level)?;
            beyond.into_iter().zip(again).for_each(|(point, own)| found[point] = own);
            reduced.add(&more);
        }
        Ok((found, reduced))
    }

    /// A pass with guesses of that level (see [`super::sheet`]).
    fn at_level(&mut self, setup: &Setup<'_>, order: &Order<'_>, level: usize) -> Result<(Vec<Found>, Reduced)> {
        let of_all = |error| ranks::of_all(setup.company.comm, error);
        let layout = self.gram_layout(setup, order).map_err(of_all)?;
        let sheet = Sheet::new(setup, order.points, level, layout.as_ref()).map_err(of_all)?;
        let (grains_every, tiles_every) = parts(setup, order.sample);
        let job = Job::new(setup, order, &sheet, (self.kernels, self.wide), order.cut(setup));
        self.workers.iter_mut().for_each(|worker| job.prepare(worker));
        let watch = setup.company.watch;
        let key = Key::of(setup, order, sheet.count(), level);
        let begun = key.as_ref().and_then(|key| watch.begun(key));
        self.begin(begun.as_ref());
        let gatherer = Gatherer::new(key, watch, self.workers.len());
        let began = Instant::now();
        let visit = |worker: &mut Worker<R>, number: usize, grain: &Grain<'_>| {
            job.grain(worker, number, grain, tiles_every)?;
            let mut done = std::mem::take(&mut worker.done);
            gatherer.done(&mut done, number, || {
                job.merge(worker);
                &worker.cells
            });
            worker.done = done;
            Ok(())
        };
        let rest = begun.as_ref().map(|part| rest(setup, &part.grains));
        let late = Late::of(setup, order, &sheet);
        // As many residuals as the wide sums of the workers have bytes.
        let rows_max = |late: &Late| late.cells() * 8 * self.workers.len() / (order.points.len() * size_of::<R>());
        let tail = late.as_ref().map_or(Vec::new(), |late| {
            self.pace.tail(setup, rest.as_deref().unwrap_or(&setup.own_grains), rows_max(late))
        });
        let first =
            if tail.is_empty() { rest } else { Some(without(rest.as_ref().unwrap_or(&setup.own_grains), &tail)) };
        let scanned = match &first {
            Some(grains) => scan_picked(setup, &mut self.workers, Pick::List(grains), visit),
            None => scan(setup, &mut self.workers, grains_every, visit),
        };
        self.workers.iter_mut().for_each(|worker| job.merge(worker));
        if matches!(scanned, Err(Error::Data(gristmill_io::Error::Interrupted))) {
            gatherer.left(self.workers.iter_mut().map(|worker| (&mut worker.done, worker.cells.as_slice())));
        }
        let (reduced, sum) = match late {
            Some(late) => late.reduce(&job, &mut self.workers, (began, scanned), &tail, &mut self.pace)?,
            None => reduce(setup, began, scanned, self.workers.iter_mut().map(|worker| &mut worker.cells))?,
        };
        Ok((sheet.found(sum).map_err(of_all)?, reduced))
    }

    /// Begins with what an earlier process found of this pass; one rank has the sum, and it alone counts the grains in it.
    fn begin(&mut self, part: Option<&Part>) {
        let part = part.filter(|part| !part.sum.is_empty());
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let own = part.filter(|part| number == 0 && part.sum.len() == worker.cells.len());
            worker.done.begin(own);
            if let Some(own) = own {
                worker.cells.copy_from_slice(&own.sum);
            }
        }
    }

    fn gram_layout(&mut self, setup: &Setup<'_>, order: &Order<'_>) -> Result<Option<GramLayout>> {
        if order.points.iter().all(|point| point.want == Want::Gradient) {
            return Ok(None);
        }
        let shapes = self.shapes.get_or_insert_with(|| setup.gram_shapes());
        let layout = GramLayout::new(shapes, order.is_gram());
        layout.map(Some).ok_or_else(|| {
            Error::training(format!(
                "the Gram matrix of {} parameters does not fit into memory. Use --solver lbfgs (or owlqn for l1)",
                setup.space.mean.len()
            ))
        })
    }
}

/// Every so-manieth grain, and every so-manieth tile of those, that make up a sample.
pub(super) fn parts(setup: &Setup<'_>, sample: Sample) -> (usize, usize) {
    let every = sample.every as usize;
    if setup.grains >= GRAINS_PER_PART * every { (every, 1) } else { (1, every) }
}

/// Visits one grain in `grains_every` of this rank's.
///
/// # Errors
/// The first error of reading or of `visit`.
pub fn scan<W: Send>(
    setup: &Setup<'_>,
    workers: &mut [W],
    grains_every: usize,
    visit: impl Fn(&mut W, usize, &Grain<'_>) -> Result<()> + Sync,
) -> Result<ScanReport> {
    let pick = if grains_every == 1 { Pick::All } else { Pick::Every { step: grains_every, offset: 0 } };
    scan_picked(setup, workers, pick, visit)
}

fn scan_picked<W: Send>(
    setup: &Setup<'_>,
    workers: &mut [W],
    pick: Pick<'_>,
    visit: impl Fn(&mut W, usize, &Grain<'_>) -> Result<()> + Sync,
) -> Result<ScanReport> {
    let company = setup.company;
    setup.stream.scan(workers, pick, company.cancel, &Told(company.watch), visit)
}

/// The grains of this rank that are not among `done`, which are in rising order.
fn rest(setup: &Setup<'_>, done: &[u32]) -> Vec<usize> {
    setup.own_grains.iter().copied().filter(|number| done.binary_search(&(*number as u32)).is_err()).collect()
}

/// Those of `grains` that are not in the tail; both are in rising order.
fn without(grains: &[usize], tail: &[usize]) -> Vec<usize> {
    grains.iter().copied().filter(|grain| tail.binary_search(grain).is_err()).collect()
}

/// Tells of rows.
pub(super) struct Told<'a>(pub(super) &'a dyn TrainWatch);

impl Progress for Told<'_> {
    fn begin(&self, _stage: &str, _bytes: Option<u64>) {}

    fn advance(&self, rows: u64, _bytes: u64) {
        self.0.rows(rows);
    }

    fn end(&self) {}
}
