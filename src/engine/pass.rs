//! A pass (stages 4 to 7): workers share the grains of this rank, each whole grains, tile by tile; what they found is one flat
//! sum, added over workers and ranks.
//!
//! ```text
//! for each tile      z = b; z += X_block w_block for every block; z -> residual (and h); g_block += X_block' residual; G += X' h X
//! for each grain     fold what dense columns added into fixed point
//! for the pass       add workers, all-reduce
//! ```
//! Cost a row of p numbers: 2 p multiply-adds for a gradient, p^2 / 2 more for a Gram matrix; bytes: each number once.
//! Nothing is allocated a tile.

use std::ops::Range;
use std::time::Instant;

use gristmill_io::Error as IoError;
use gristmill_io::tiles::{Pick, ScanReport};
use gristmill_io::watch::Progress;
use gristmill_kernels::ops::gram::{GramLayout, GramRows, GramScratch, GramSums};
use gristmill_kernels::tile::Grain;
use gristmill_kernels::{Kernels, LossSums, Real, Residuals};

use super::cells::{Bounds, Cells};
use super::drive;
use super::setup::Setup;
use super::space::Stored;
use super::target;
use crate::error::{Error, Result};
use crate::models::Reach;
use crate::optim::Sample;
use crate::train::TrainWatch;

/// With this many grains a part of a sample, it takes whole grains, so that the others need not be read.
const GRAINS_PER_PART: usize = 16;

/// What a pass collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Loss and gradient at a point.
    Gradient,
    /// And the Hessian.
    Hessian,
    /// The Gram matrix of columns, constant and target; no point.
    Gram,
}

/// What a pass found, as sums over rows.
#[derive(Clone, Debug)]
pub struct Found {
    /// Loss, residual and weight.
    pub loss: LossSums,
    /// Residual times stored column.
    pub gradient: Vec<f64>,
    /// The matrix over (columns, constant, target where it was wanted).
    pub matrix: Option<Vec<f64>>,
    /// True when some rank was asked to stop.
    pub stop: bool,
    /// What this rank read; bytes and seconds are those of all ranks together.
    pub report: ScanReport,
    /// Seconds of these that adding over workers and ranks took.
    pub reducing_seconds: f64,
}

/// The order of one pass.
pub struct Order<'a> {
    /// What to collect.
    pub want: Want,
    /// Where.
    pub point: &'a Stored,
    /// Over which rows.
    pub sample: Sample,
    /// True to form products of a Gram matrix in `f64`.
    pub exact: bool,
}

/// Makes passes: buffers that live from pass to pass.
pub struct Passes<R: Real> {
    kernels: Kernels<R>,
    wide: Kernels<f64>,
    workers: Vec<Worker<R>>,
    shapes: Option<Vec<gristmill_kernels::ops::gram::Shape>>,
}

/// A worker's buffers.
#[derive(Default)]
struct Worker<R> {
    z: Vec<R>,
    y: Vec<R>,
    weight: Vec<R>,
    bend: Vec<R>,
    wide_bend: Vec<f64>,
    quantised: Vec<i64>,
    loss: LossSums,
    gradient: Vec<f64>,
    gram: Vec<f64>,
    scratch: GramScratch<R>,
    wide_scratch: GramScratch<f64>,
    cells: Vec<i64>,
}

/// What workers read while a pass runs.
struct Job<'a, R: Real> {
    setup: &'a Setup<'a>,
    order: &'a Order<'a>,
    cells: &'a Cells,
    kernels: Kernels<R>,
    wide: Kernels<f64>,
    weights: Vec<R>,
    intercept: R,
    /// First parameter and end of each block.
    blocks: Vec<Range<usize>>,
    /// Every so-manieth tile.
    tiles_every: usize,
}

impl<R: Real + Default> Passes<R> {
    /// For a training.
    pub fn new(setup: &Setup<'_>) -> Passes<R> {
        let workers = (0..setup.threads).map(|_| Worker::default()).collect();
        Passes { kernels: Kernels::new(setup.tier), wide: Kernels::new(setup.tier), workers, shapes: None }
    }

    /// Makes a pass. All ranks make it together.
    ///
    /// # Errors
    /// When data cannot be read, a sum leaves its bound, a rank is lost, or the training was interrupted.
    pub fn make(&mut self, setup: &Setup<'_>, order: &Order<'_>) -> Result<Found> {
        let layout = self.gram_layout(setup, order.want)?;
        let cells = Cells::new(setup, bounds(setup, order), layout)?;
        let (grains_every, tiles_every) = parts(setup, order.sample);
        let job = Job {
            setup,
            order,
            cells: &cells,
            kernels: self.kernels,
            wide: self.wide,
            weights: order.point.weights.iter().map(|&w| R::from_f64(w)).collect(),
            intercept: R::from_f64(order.point.intercept),
            blocks: setup
                .stream
                .layout()
                .blocks
                .iter()
                .map(|b| b.first_parameter..b.first_parameter + b.parameters)
                .collect(),
            tiles_every,
        };
        for worker in &mut self.workers {
            worker.prepare(setup, &cells, order);
        }
        let began = Instant::now();
        let scanned = scan(&job, &mut self.workers, grains_every);
        let comm = setup.company.comm;
        let left = matches!(scanned, Err(Error::Data(IoError::Interrupted)));
        // A rank that is asked to stop may not leave the others alone in the sum: the wish travels with it.
        let mut lane = drive::lane(setup);
        lane.span("scan", began, None);
        let mut report = if left && comm.size() > 1 { ScanReport::default() } else { scanned? };
        let reducing = Instant::now();
        let Some(sum) = self.merge() else { return Err(Error::usage("a pass needs at least one thread")) };
        if setup.company.cancel.requested() {
            cells.ask_to_stop(sum);
        }
        if left {
            cells.leave(sum);
        }
        cells.count_bytes(sum, report.bytes);
        comm.all_reduce_vec(sum)?;
        lane.span("reduce", reducing, None);
        let reducing_seconds = reducing.elapsed().as_secs_f64();
        // Of all ranks, and with the wait for the slowest.
        (report.bytes, report.seconds) = (cells.bytes(sum), began.elapsed().as_secs_f64());
        if cells.is_left(sum) {
            return Err(Error::from(IoError::Interrupted));
        }
        Ok(Found {
            loss: cells.loss(sum),
            gradient: cells.gradient(sum),
            matrix: cells.matrix(sum),
            stop: cells.stops(sum),
            report,
            reducing_seconds,
        })
    }

    fn gram_layout(&mut self, setup: &Setup<'_>, want: Want) -> Result<Option<GramLayout>> {
        if want == Want::Gradient {
            return Ok(None);
        }
        let shapes = self.shapes.get_or_insert_with(|| setup.gram_shapes());
        let layout = GramLayout::new(shapes, want == Want::Gram);
        layout.map(Some).ok_or_else(|| {
            Error::training(format!(
                "the Gram matrix of {} parameters does not fit into memory. Use --solver lbfgs (or owlqn for l1)",
                setup.space.mean.len()
            ))
        })
    }

    /// The workers' sums, added into the first's.
    fn merge(&mut self) -> Option<&mut Vec<i64>> {
        let (first, others) = self.workers.split_first_mut()?;
        for worker in others {
            for (sum, cell) in first.cells.iter_mut().zip(&worker.cells) {
                *sum = sum.wrapping_add(*cell);
            }
        }
        Some(&mut first.cells)
    }
}

/// Every so-manieth grain, and every so-manieth tile of those, that make up a sample.
fn parts(setup: &Setup<'_>, sample: Sample) -> (usize, usize) {
    let every = sample.every as usize;
    if setup.grains >= GRAINS_PER_PART * every { (every, 1) } else { (1, every) }
}

fn bounds(setup: &Setup<'_>, order: &Order<'_>) -> Bounds {
    let (low, high) = setup.space.margins(order.point);
    let row = setup.model.bounds(&Reach { label: setup.target.largest, low, high });
    let bend = if order.want == Want::Gram { 1.0 } else { row.curvature };
    let weight = setup.weight_max;
    Bounds { loss: weight * row.loss, residual: weight * row.residual, bend: weight * bend }
}

fn scan<R: Real + Default>(job: &Job<'_, R>, workers: &mut [Worker<R>], grains_every: usize) -> Result<ScanReport> {
    let company = job.setup.company;
    let pick = if grains_every == 1 { Pick::All } else { Pick::Every { step: grains_every, offset: 0 } };
    job.setup.stream.scan(workers, pick, company.cancel, &Told(company.watch), |worker, number, grain| {
        job.grain(worker, number, grain)
    })
}

struct Told<'a>(&'a dyn TrainWatch);

impl Progress for Told<'_> {
    fn begin(&self, _stage: &str, _bytes: Option<u64>) {}

    fn advance(&self, rows: u64, _bytes: u64) {
        self.0.rows(rows);
    }

    fn end(&self) {}
}

impl<R: Real + Default> Worker<R> {
    fn prepare(&mut self, setup: &Setup<'_>, cells: &Cells, order: &Order<'_>) {
        let tile = if order.want == Want::Gram { setup.grain_rows } else { setup.tile_rows };
        for buffer in [&mut self.z, &mut self.y, &mut self.weight, &mut self.bend] {
            buffer.resize(tile, R::default());
        }
        self.quantised.resize(if order.want == Want::Gram { 0 } else { tile }, 0);
        self.wide_bend.resize(if order.exact { tile } else { 0 }, 0.0);
        self.gradient.resize(cells.dense, 0.0);
        self.gram.resize(cells.gram().map_or(0, |gram| gram.layout.dense_len()), 0.0);
        self.cells.clear();
        self.cells.resize(cells.flat_len(), 0);
    }
}

impl<R: Real + Default> Job<'_, R> {
    fn grain(&self, worker: &mut Worker<R>, number: usize, grain: &Grain<'_>) -> Result<()> {
        worker.loss = LossSums::default();
        worker.gradient.fill(0.0);
        worker.gram.fill(0.0);
        // A matrix alone needs no tiles, which are there for numbers that are read twice.
        if self.order.want == Want::Gram && self.tiles_every == 1 {
            self.gram_tile(worker, grain, 0..grain.rows)?;
            return self.cells.fold(&worker.loss, &worker.gradient, &worker.gram, &mut worker.cells);
        }
        let first = number * self.setup.grain_rows.div_ceil(self.setup.tile_rows);
        for (tile, start) in (0..grain.rows).step_by(self.setup.tile_rows).enumerate() {
            if (first + tile).is_multiple_of(self.tiles_every) {
                self.tile(worker, grain, start..grain.rows.min(start + self.setup.tile_rows))?;
            }
        }
        self.cells.fold(&worker.loss, &worker.gradient, &worker.gram, &mut worker.cells)
    }

    fn tile(&self, worker: &mut Worker<R>, grain: &Grain<'_>, rows: Range<usize>) -> Result<()> {
        if self.order.want == Want::Gram {
            return self.gram_tile(worker, grain, rows);
        }
        self.read_target(worker, grain, &rows);
        let n = rows.len();
        let z = &mut worker.z[..n];
        z.fill(self.intercept);
        for (block, range) in grain.blocks.iter().zip(&self.blocks) {
            self.kernels.margins(block, rows.clone(), &self.weights[range.clone()], z);
        }
        let weight = self.has_weights().then_some(&worker.weight[..n]);
        let bend = (self.order.want == Want::Hessian).then_some(&mut worker.bend[..n]);
        worker.loss += self.kernels.loss(self.setup.model.loss(), z, &worker.y[..n], weight, bend);
        let (scattered, _) = self.cells.scattered(&mut worker.cells);
        let mut residuals = Residuals::new(z, &mut worker.quantised[..n]);
        for ((block, range), &scale) in grain.blocks.iter().zip(&self.blocks).zip(&self.cells.scales) {
            if block.is_scattered() {
                let range = range.start - self.cells.dense..range.end - self.cells.dense;
                self.kernels
                    .scatter(block, rows.clone(), &mut residuals, scale, &mut scattered[range])
                    .map_err(|e| Error::Sum(e.to_string()))?;
            } else {
                self.kernels.gradient(block, rows.clone(), residuals.real(), &mut worker.gradient[range.clone()]);
            }
        }
        if self.order.want == Want::Hessian { self.add_gram(worker, grain, rows, true) } else { Ok(()) }
    }

    fn has_weights(&self) -> bool {
        self.setup.weighted || self.setup.target.weighs_classes()
    }

    fn read_target(&self, worker: &mut Worker<R>, grain: &Grain<'_>, rows: &Range<usize>) {
        let n = rows.len();
        target::read(&self.kernels, grain.label.as_ref(), rows.clone(), &mut worker.y[..n]);
        if self.has_weights() {
            target::read(&self.kernels, grain.weight.as_ref(), rows.clone(), &mut worker.weight[..n]);
        }
        let weight = self.has_weights().then_some(&mut worker.weight[..n]);
        self.setup.target.apply(&mut worker.y[..n], weight);
    }

    /// A tile of a closed form: no margins, only products.
    fn gram_tile(&self, worker: &mut Worker<R>, grain: &Grain<'_>, rows: Range<usize>) -> Result<()> {
        let n = rows.len();
        if self.has_weights() {
            self.read_target(worker, grain, &rows);
            worker.bend[..n].copy_from_slice(&worker.weight[..n]);
            worker.loss.weight += worker.weight[..n].iter().map(|w| w.to_f64()).sum::<f64>();
        } else {
            worker.loss.weight += n as f64;
        }
        self.add_gram(worker, grain, rows, self.has_weights())
    }

    fn add_gram(&self, worker: &mut Worker<R>, grain: &Grain<'_>, rows: Range<usize>, bent: bool) -> Result<()> {
        let Some(gram) = self.cells.gram() else { return Ok(()) };
        let n = rows.len();
        let (_, scattered) = self.cells.scattered(&mut worker.cells);
        let sums = GramSums { dense: &mut worker.gram, scattered };
        let added = if self.order.exact {
            for (wide, bend) in worker.wide_bend[..n].iter_mut().zip(&worker.bend[..n]) {
                *wide = bend.to_f64();
            }
            let weight = bent.then_some(&worker.wide_bend[..n]);
            let tile = GramRows { grain, rows, weight };
            self.wide.gram(&gram.layout, &gram.scales, &tile, &mut worker.wide_scratch, sums)
        } else {
            let tile = GramRows { grain, rows, weight: bent.then_some(&worker.bend[..n]) };
            self.kernels.gram(&gram.layout, &gram.scales, &tile, &mut worker.scratch, sums)
        };
        added.map_err(|e| Error::Sum(e.to_string()))
    }
}
