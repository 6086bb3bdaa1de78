//! What a tile adds at every point of a pass (stages 4 and 5).
//!
//! ```text
//! for each piece of the tile (of several points: for each run), for each group of eight points
//!     z_k = b_k; z_k += X_block w_k,block for every block
//!     z_k -> residual_k (and h_k), point after point; of a joint loss all z_k -> residual_k (and G_k)
//!     g_k,block += X_block' residual_k for every block
//! G_k += X' h_k X over the whole tile, point after point
//! ```
//! A value that was loaded serves the whole group; margins and residuals of a group stay in the first-level cache. The tile
//! itself is in the second-level cache from the first group to the last. Pieces are short so that memory is busy, runs of pieces longer so that
//! lanes are seldom added up, tiles for the matrix (see [`Cut`]); losses and gradients have the same bits whichever there are.
//!
//! Cost a row of p numbers and a point: 2 p multiply-adds for a gradient, p^2 / 2 more for a matrix; bytes: each number once
//! for all points.

use std::ops::Range;

use gristmill_io::mmap;
use gristmill_kernels::ops::gram::{GramRows, GramScratch, GramSums};
use gristmill_kernels::ops::lines;
use gristmill_kernels::tile::{Cut, Grain, parts};
use gristmill_kernels::{
    Aligned, Call, Carried, Kernels, LANES, LossLanes, LossRows, LossSums, Next, Real, Residuals, Softmax,
};

use super::cells::Cells;
use super::group::{Blocks, Group};
use super::late::Segment;
use super::part::Done;
use super::pass::{Order, Point, Want};
use super::rows::{LeftOut, Rows};
use super::setup::Setup;
use super::sheet::Sheet;
use super::space::Stored;
use crate::error::{Error, Result};

/// Levels whose lines are moved at a time: they stay in the caches from point to point.
const LEVELS: usize = 1_024;

/// A worker's buffers; what it writes tile after tile is `Aligned`, apart from what others write.
#[derive(Default)]
#[repr(align(128))]
pub struct Worker<R: Real> {
    /// Its flat sum, but for what is in `lines` yet.
    pub cells: Vec<i64>,
    /// Sums of levels of the groups that are lined: group after group, level after level, point after point.
    lines: Aligned<i64>,
    /// The grains in it.
    pub done: Done,
    rows: Rows<R>,
    /// Margins, then residuals, of a group: point after point.
    z: Aligned<R>,
    bend: Aligned<R>,
    wide_bend: Aligned<f64>,
    quantised: Aligned<i64>,
    /// Of each point.
    loss: Aligned<LossSums>,
    /// Of each group: block after block, in a block point after point.
    gradient: Aligned<f64>,
    /// Of one point, what the pieces of a run carry: its losses, and its gradient, parameter after parameter.
    loss_lanes: LossLanes,
    lanes: Aligned<[R; LANES]>,
    /// Sums of residuals of the margins of one loss.
    residuals: Aligned<f64>,
    /// Probabilities of the classes of a joint loss, class after class, where a matrix is wanted.
    shares: Aligned<f64>,
    /// Of each point that wants a matrix.
    gram: Aligned<f64>,
    scratch: GramScratch<R>,
    wide_scratch: GramScratch<f64>,
}

/// What workers read while a pass runs.
pub struct Job<'a, R: Real> {
    setup: &'a Setup<'a>,
    order: &'a Order<'a>,
    sheet: &'a Sheet,
    kernels: Kernels<R>,
    wide: Kernels<f64>,
    groups: Vec<Group<R>>,
    left_out: LeftOut,
    blocks: Blocks,
    /// Dense parameters: the first so many.
    dense: usize,
    /// Whether there are others.
    scatters: bool,
    /// Where the matrix of each point begins, and where the last ends.
    gram_starts: Vec<usize>,
    cut: Cut,
}

impl<'a, R: Real + Default> Job<'a, R> {
    /// For a pass; the kernels in the arithmetic type of the run and in `f64`.
    pub fn new(
        setup: &'a Setup<'a>,
        order: &'a Order<'a>,
        sheet: &'a Sheet,
        (kernels, wide): (Kernels<R>, Kernels<f64>),
        cut: Cut,
    ) -> Job<'a, R> {
        let blocks = Blocks::of(setup.stream.layout(), &setup.dataset.manifest().columns);
        let points: Vec<&Stored> = order.points.iter().map(|point| &point.at).collect();
        let mut gram_starts = vec![0];
        gram_starts.extend(sheet.cells.iter().scan(0, |end, cells| {
            *end += cells.dense_gram_len();
            Some(*end)
        }));
        let dense = sheet.cells.first().map_or(0, |cells| cells.slopes.dense);
        let scatters = blocks.iter().any(|block| block.end > dense);
        Job {
            groups: Group::all(&points, &blocks, setup.joint),
            left_out: LeftOut::new(order.points.iter().map(|point| point.left_out)),
            dense,
            scatters,
            setup,
            order,
            sheet,
            kernels,
            wide,
            blocks,
            gram_starts,
            cut,
        }
    }

    /// What the training knows.
    pub fn setup(&self) -> &'a Setup<'a> {
        self.setup
    }

    /// Makes a worker's buffers as large as this pass needs them, and its sum zero.
    pub fn prepare(&self, worker: &mut Worker<R>) {
        let (tile, points) = (self.cut.tile, self.order.points.len());
        worker.rows.prepare(tile, &self.left_out);
        worker.bend.resize(tile * points);
        let margins = if self.order.is_gram() { 0 } else { self.cut.piece };
        worker.z.resize(margins * Group::most(&self.groups));
        worker.quantised.resize(margins * Group::most(&self.groups));
        worker.wide_bend.resize(if self.order.exact { tile } else { 0 });
        worker.loss.resize(points);
        worker.gradient.resize(points * self.dense);
        worker.lanes.resize(if self.cut.carries() { self.dense } else { 0 });
        worker.residuals.resize(self.setup.joint);
        let shares = if self.setup.joint > 1 && self.gram_starts[points] > 0 { tile * self.setup.joint } else { 0 };
        worker.shares.resize(shares);
        worker.gram.resize(self.gram_starts[points]);
        worker.cells.clear();
        if worker.cells.capacity() < self.sheet.count() {
            worker.cells = mmap::table(self.sheet.count());
        }
        worker.cells.resize(self.sheet.count(), 0);
        let lined = self.groups.iter().filter(|group| group.is_lined() && margins > 0);
        let lines = lined.map(|group| group.part(&self.blocks.levels()).len()).sum();
        if worker.lines.len() == lines {
            worker.lines.fill(0);
        } else {
            worker.lines = Aligned::within(mmap::table(Aligned::<i64>::room(lines)), lines);
        }
    }

    /// Adds one tile in `tiles_every` of a grain.
    ///
    /// # Errors
    /// [`Error::Sum`] when a sum leaves its bound.
    pub fn grain(&self, worker: &mut Worker<R>, number: usize, grain: &Grain<'_>, tiles_every: usize) -> Result<()> {
        self.tiles(worker, (number, grain), tiles_every, None)
    }

    /// Adds a grain but for what scattered blocks add to gradients, and keeps the residuals that these need: tile after tile,
    /// in a tile point after point.
    ///
    /// # Errors
    /// [`Error::Sum`] when a sum leaves its bound.
    pub fn grain_but_scattered(
        &self,
        worker: &mut Worker<R>,
        number: usize,
        grain: &Grain<'_>,
        kept: &mut Vec<R>,
    ) -> Result<()> {
        kept.reserve_exact(grain.rows * self.order.points.len());
        self.tiles(worker, (number, grain), 1, Some(kept))
    }

    /// Adds what the blocks of a segment add to its point's gradient, from the residuals that were kept.
    ///
    /// # Errors
    /// [`Error::Sum`] when a sum leaves its bound.
    pub fn scatter_kept(&self, worker: &mut Worker<R>, grain: &Grain<'_>, kept: &[R], segment: &Segment) -> Result<()> {
        for rows in parts(&(0..grain.rows), self.cut.piece) {
            let first = rows.start * self.order.points.len() + segment.point * rows.len();
            let residuals = &kept[first..first + rows.len()];
            let Worker { cells, quantised, .. } = worker;
            self.scatter(cells, (residuals, quantised), (grain, &rows), segment.point, &segment.blocks)?;
        }
        Ok(())
    }

    fn tiles(
        &self,
        worker: &mut Worker<R>,
        (number, grain): (usize, &Grain<'_>),
        tiles_every: usize,
        mut kept: Option<&mut Vec<R>>,
    ) -> Result<()> {
        worker.loss.fill(LossSums::default());
        worker.gradient.fill(0.0);
        worker.gram.fill(0.0);
        let first = number * self.setup.grain_rows.div_ceil(self.cut.tile);
        for (tile, rows) in parts(&(0..grain.rows), self.cut.tile).enumerate() {
            if (first + tile).is_multiple_of(tiles_every) {
                self.tile(worker, (number, grain), &rows, kept.as_deref_mut())?;
            }
        }
        self.fold(worker)
    }

    /// Folds what dense columns added into the flat sum.
    fn fold(&self, worker: &mut Worker<R>) -> Result<()> {
        for group in &self.groups {
            let gradient = &worker.gradient[group.points.start * self.dense..];
            for (place, point) in group.points.clone().enumerate() {
                let dense = self.blocks.iter().take_while(|block| block.end <= self.dense);
                let own = dense.flat_map(|block| {
                    let start = group.part(block).start + place * block.len();
                    &gradient[start..start + block.len()]
                });
                let gram = &worker.gram[self.gram_starts[point]..self.gram_starts[point + 1]];
                let section = &mut worker.cells[self.sheet.section(point)];
                let folded = self.sheet.cells[point].fold(&worker.loss[point], own, gram, section);
                self.unless_beyond(folded, section)?;
            }
        }
        Ok(())
    }

    /// Adds a tile; but for its scattered blocks, whose residuals go into `kept` where that is there.
    fn tile(
        &self,
        worker: &mut Worker<R>,
        grain: (usize, &Grain<'_>),
        rows: &Range<usize>,
        mut kept: Option<&mut Vec<R>>,
    ) -> Result<()> {
        if self.order.is_gram() {
            return self.products(worker, grain, rows);
        }
        for (piece, call) in self.cut.pieces(rows) {
            self.piece(worker, grain, (rows, &piece, call), kept.as_deref_mut())?;
        }
        if self.setup.model.is_joint() { Ok(()) } else { self.matrices(worker, grain.1, rows) }
    }

    /// Adds what a piece of a tile adds to losses and gradients; of a joint loss, whose tiles are one piece, to matrices too.
    fn piece(
        &self,
        worker: &mut Worker<R>,
        grain: (usize, &Grain<'_>),
        (tile, rows, call): (&Range<usize>, &Range<usize>, Call),
        mut kept: Option<&mut Vec<R>>,
    ) -> Result<()> {
        worker.rows.read(&self.kernels, self.setup, grain, rows, &self.left_out);
        for group in &self.groups {
            let z = &mut worker.z[..group.points.len() * rows.len()];
            let next = grain.1.blocks.iter().find_map(|block| Next::after(block, rows));
            group.margins(&self.kernels, &self.blocks, (grain.1, rows), worker.rows.offset(), z);
            for (place, point) in group.points.clone().enumerate().step_by(self.setup.joint) {
                if self.setup.model.is_joint() {
                    self.joint_loss(worker, rows.len(), (place, point));
                    if self.order.points[point].want == Want::Hessian {
                        self.joint_matrices(worker, grain.1, rows, (place, point))?;
                    }
                } else {
                    self.loss(worker, (tile, rows, call), (place, point), next.filter(|_| place == 0));
                }
            }
            self.gradient(worker, grain.1, (rows, call), group);
            let Worker { z, cells, quantised, .. } = &mut *worker;
            if let Some(kept) = kept.as_deref_mut() {
                kept.extend_from_slice(&z[..group.points.len() * rows.len()]);
                continue;
            }
            if !self.scatters {
                continue;
            }
            let alone = if group.is_lined() { self.blocks.codes().end } else { 0 }..grain.1.blocks.len();
            for (residuals, point) in z.chunks_exact(rows.len()).zip(group.points.clone()) {
                self.scatter(cells, (residuals, quantised), (grain.1, rows), point, &alone)?;
            }
            if group.is_lined() {
                self.scatter_lines(worker, grain.1, rows, group)?;
            }
        }
        Ok(())
    }

    /// Adds what categorical blocks add to the gradients of a group that is lined.
    fn scatter_lines(
        &self,
        worker: &mut Worker<R>,
        grain: &Grain<'_>,
        rows: &Range<usize>,
        group: &Group<R>,
    ) -> Result<()> {
        let (codes, levels, n, count) = (self.blocks.codes(), self.blocks.levels(), rows.len(), group.points.len());
        if codes.is_empty() {
            return Ok(());
        }
        let Worker { z, cells, quantised, lines, .. } = worker;
        let quantised = &mut quantised[..count * n];
        for ((residuals, own), point) in z.chunks_exact(n).zip(quantised.chunks_exact_mut(n)).zip(group.points.clone())
        {
            // All categorical blocks have one scale.
            let scale = self.sheet.cells[point].slopes.scattered[codes.start];
            let fits = self.kernels.quantise(residuals, scale, own).map_err(|e| Error::Sum(e.to_string()));
            if fits.is_err() {
                own.fill(0);
            }
            self.unless_beyond(fits, &mut cells[self.sheet.section(point)])?;
        }
        let g = &mut lines[group.points.start * levels.len()..group.points.end * levels.len()];
        let blocks = &grain.blocks[codes];
        self.kernels.scatter_lines(lines::Scatter { blocks, rows: rows.clone(), count, quantised, g });
        Ok(())
    }

    /// Moves what is in lines into the flat sum.
    pub fn merge(&self, worker: &mut Worker<R>) {
        let levels = self.blocks.levels();
        let Worker { cells, lines, .. } = worker;
        if lines.is_empty() {
            return;
        }
        for group in self.groups.iter().filter(|group| group.is_lined()) {
            let count = group.points.len();
            let own = &mut lines[group.points.start * levels.len()..group.points.end * levels.len()];
            for (chunk, lines) in own.chunks_mut(LEVELS * count).enumerate() {
                let first = levels.start - self.dense + chunk * LEVELS;
                for (place, point) in group.points.clone().enumerate() {
                    let (scattered, _) = self.sheet.cells[point].scattered(&mut cells[self.sheet.section(point)]);
                    for (cell, line) in scattered[first..].iter_mut().zip(lines.chunks_exact(count)) {
                        *cell = cell.wrapping_add(line[place]);
                    }
                }
                lines.fill(0);
            }
        }
    }

    /// Turns the margins of a point into residuals, and keeps curvatures where it wants a matrix.
    fn loss(
        &self,
        worker: &mut Worker<R>,
        (tile, rows, call): (&Range<usize>, &Range<usize>, Call),
        (place, point): (usize, usize),
        next: Option<Next<'_>>,
    ) {
        let (n, first) = (rows.len(), point * self.cut.tile + rows.start - tile.start);
        let Point { want, against, smoothing, .. } = self.order.points[point];
        worker.rows.turn_against(&self.setup.target, against);
        let y = if against.is_some() { worker.rows.against() } else { worker.rows.y() };
        let weight = worker.rows.weight(self.setup, &self.left_out, point);
        let curvature = (want == Want::Hessian).then_some(&mut worker.bend[first..first + n]);
        let z = &mut worker.z[place * n..(place + 1) * n];
        let rows = LossRows { z, y, weight, curvature, next };
        let carried = self.cut.carries().then_some(Carried { call, lanes: &mut worker.loss_lanes });
        worker.loss[point] += self.kernels.loss_of_run(self.setup.model.smoothed(smoothing), rows, carried);
    }

    /// Gathers the matrices of a tile from the curvatures that its pieces left.
    fn matrices(&self, worker: &mut Worker<R>, grain: &Grain<'_>, rows: &Range<usize>) -> Result<()> {
        let mut points = self.order.points.iter().enumerate().filter(|(_, point)| point.want == Want::Hessian);
        points.try_for_each(|(point, _)| self.matrix(worker, grain, rows, (point, 0), true))
    }

    /// Turns the margins of all classes, at as many points from `point` on, into residuals. The loss counts at the first.
    fn joint_loss(&self, worker: &mut Worker<R>, n: usize, (place, point): (usize, usize)) {
        let joint = self.setup.joint;
        let weight = worker.rows.weight(self.setup, &self.left_out, point);
        worker.residuals.fill(0.0);
        let z = &mut worker.z[place * n..(place + joint) * n];
        let rows = Softmax { z, y: worker.rows.y(), weight, residuals: &mut worker.residuals };
        let found = self.kernels.softmax(rows);
        for (class, &residual) in worker.residuals.iter().enumerate() {
            let loss = if class == 0 { found.loss } else { 0.0 };
            worker.loss[point + class] += LossSums { loss, residual, curvature: 0.0, weight: found.weight };
        }
    }

    /// Gathers the matrix of every pair of classes, at as many points from `point` on: the product of their probabilities
    /// bends a row. Margins have become residuals: w p_k, less w for the own class.
    fn joint_matrices(
        &self,
        worker: &mut Worker<R>,
        grain: &Grain<'_>,
        rows: &Range<usize>,
        (place, point): (usize, usize),
    ) -> Result<()> {
        let (n, joint) = (rows.len(), self.setup.joint);
        let weight = worker.rows.weight(self.setup, &self.left_out, point);
        let weight_of = |row: usize| weight.map_or(1.0, |weight| weight[row].to_f64());
        for (class, shares) in worker.shares.chunks_exact_mut(n).take(joint).enumerate() {
            let residuals = &worker.z[(place + class) * n..(place + class + 1) * n];
            for (row, (share, residual)) in shares.iter_mut().zip(residuals).enumerate() {
                let own = if worker.rows.y()[row].to_f64() == class as f64 { 1.0 } else { 0.0 };
                // A row without weight has no residual, and bends nothing.
                let bare = residual.to_f64() / weight_of(row).max(f64::MIN_POSITIVE);
                *share = (own + bare).max(0.0);
            }
        }
        for class in 0..joint {
            for (matrix, other) in (class + 1..joint).enumerate() {
                let weight = worker.rows.weight(self.setup, &self.left_out, point);
                let shares = |class: usize| &worker.shares[class * n..(class + 1) * n];
                let pairs = shares(class).iter().zip(shares(other));
                let first = (point + class) * self.cut.tile;
                for (row, (bend, (one, two))) in worker.bend[first..first + n].iter_mut().zip(pairs).enumerate() {
                    *bend = R::from_f64(weight.map_or(1.0, |weight| weight[row].to_f64()) * (one * two));
                }
                self.matrix(worker, grain, rows, (point + class, matrix), true)?;
            }
        }
        Ok(())
    }

    fn gradient(
        &self,
        worker: &mut Worker<R>,
        grain: &Grain<'_>,
        (rows, call): (&Range<usize>, Call),
        group: &Group<R>,
    ) {
        let residuals = &worker.z[..group.points.len() * rows.len()];
        let sums = &mut worker.gradient[group.points.start * self.dense..];
        for (block, range) in grain.blocks.iter().zip(self.blocks.iter()).filter(|(block, _)| !block.is_scattered()) {
            let sums = &mut sums[group.part(range)];
            if group.points.len() == 1 {
                let carried =
                    self.cut.carries().then(|| Carried { call, lanes: &mut worker.lanes[range.start..range.end] });
                self.kernels.gradient_of_run(block, rows.clone(), residuals, carried, sums);
            } else {
                self.kernels.gradient_k(block, rows.clone(), residuals, sums);
            }
        }
    }

    /// Adds what those of the blocks `wanted` that are scattered add to a point's gradient.
    fn scatter(
        &self,
        sum: &mut [i64],
        (residuals, quantised): (&[R], &mut [i64]),
        (grain, rows): (&Grain<'_>, &Range<usize>),
        point: usize,
        wanted: &Range<usize>,
    ) -> Result<()> {
        let cells = &self.sheet.cells[point];
        let (scattered, _) = cells.scattered(&mut sum[self.sheet.section(point)]);
        let mut residuals = Residuals::new(residuals, &mut quantised[..rows.len()]);
        let blocks = grain.blocks.iter().zip(self.blocks.iter()).zip(&cells.slopes.scattered);
        let blocks = blocks.take(wanted.end).skip(wanted.start);
        let mut blocks = blocks.filter(|((block, _), _)| block.is_scattered());
        let added = blocks.try_for_each(|((block, range), &scale)| {
            let sums = &mut scattered[range.start - self.dense..range.end - self.dense];
            self.kernels.scatter(block, rows.clone(), &mut residuals, scale, sums)
        });
        let added = added.map_err(|e| Error::Sum(e.to_string()));
        self.unless_beyond(added, &mut sum[self.sheet.section(point)])
    }

    /// A tile of a closed form: no margins, only products.
    fn products(&self, worker: &mut Worker<R>, grain: (usize, &Grain<'_>), rows: &Range<usize>) -> Result<()> {
        let n = rows.len();
        if self.setup.has_weights() || !self.left_out.is_empty() {
            worker.rows.read(&self.kernels, self.setup, grain, rows, &self.left_out);
        }
        for point in 0..self.order.points.len() {
            let total = &mut worker.loss[point].weight;
            let weight = worker.rows.weight(self.setup, &self.left_out, point);
            match weight {
                // One after the other, so that the sum does not depend on how the grain is cut.
                Some(weight) => {
                    weight.iter().for_each(|w| *total += w.to_f64());
                    worker.bend[point * self.cut.tile..][..n].copy_from_slice(weight);
                }
                None => *total += n as f64,
            }
            let weighs = weight.is_some();
            self.matrix(worker, grain.1, rows, (point, 0), weighs)?;
        }
        Ok(())
    }

    /// Adds a tile's products to one of a point's matrices, each row with its `bend` where it has one.
    fn matrix(
        &self,
        worker: &mut Worker<R>,
        grain: &Grain<'_>,
        rows: &Range<usize>,
        (point, number): (usize, usize),
        bent: bool,
    ) -> Result<()> {
        let cells = &self.sheet.cells[point];
        let Some(gram) = cells.gram() else { return Ok(()) };
        let (of_dense, of_scattered) = (gram.layout.dense_len(), gram.layout.scattered_len());
        let (_, scattered) = cells.scattered(&mut worker.cells[self.sheet.section(point)]);
        let scattered = &mut scattered[number * of_scattered..(number + 1) * of_scattered];
        let first = self.gram_starts[point] + number * of_dense;
        let dense = &mut worker.gram[first..first + of_dense];
        let sums = GramSums { dense, scattered };
        let (n, rows) = (rows.len(), rows.clone());
        let bend = &worker.bend[point * self.cut.tile..][..n];
        let added = if self.order.exact {
            for (wide, bend) in worker.wide_bend[..n].iter_mut().zip(bend) {
                *wide = bend.to_f64();
            }
            let tile = GramRows { grain, rows, weight: bent.then_some(&worker.wide_bend[..n]) };
            self.wide.gram(&gram.layout, &gram.scales, &tile, &mut worker.wide_scratch, sums)
        } else {
            let tile = GramRows { grain, rows, weight: bent.then_some(bend) };
            self.kernels.gram(&gram.layout, &gram.scales, &tile, &mut worker.scratch, sums)
        };
        let added = added.map_err(|e| Error::Sum(e.to_string()));
        self.unless_beyond(added, &mut worker.cells[self.sheet.section(point)])
    }

    /// What is too large for a scale that was only guessed is no error: the section notes it.
    fn unless_beyond(&self, added: Result<()>, section: &mut [i64]) -> Result<()> {
        match added {
            Err(Error::Sum(_)) if self.setup.deviance().is_some() => {
                Cells::note_beyond(section);
                Ok(())
            }
            added => added,
        }
    }
}
