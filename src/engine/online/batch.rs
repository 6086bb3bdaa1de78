//! What workers do with a batch (stages 4 to 8), all of them together, without a lock and with one wait a batch:
//!
//! ```text
//! own bundles    z_bundle = sum of its units' margins over the rows of the batch
//! wait           everybody's parts of the margin are there
//! everybody      z = base + scale * sum z_bundle; residuals r; loss           (cheaper than a second wait)
//! own bundles    sums of r x as integers; a step for every coordinate that the batch touched
//! ```
//! Parts of the margin lie in two buffers in turn, so that a worker that is through may begin the next batch. With several
//! ranks each has some rows of every batch, and sums travel before the step: pairs (coordinate, integer) of what a rank
//! touched, gathered by all (see `exchange`).

use std::sync::RwLock;

use gristmill_io::Error as IoError;
use gristmill_kernels::ops::softmax::Softmax;
use gristmill_kernels::tile::{Block, Grain};
use gristmill_kernels::{FixedScale, Kernels, Real};

use super::barrier::{Barrier, Broken};
use super::columns::{Part, Residuals, Tile, places};
use super::exchange::Exchange;
use super::learner::{Bundle, Online};
use super::order::Round;
use super::slot::Move;
use crate::engine::exact;
use crate::engine::setup::Setup;
use crate::engine::sum::exponent_above;
use crate::engine::target::{self, Target};
use crate::error::{Error, Result};
use crate::models::Reach;
use crate::optim::stochastic::Step;
use crate::optim::stochastic::rates::Rates;

/// Bits of a sum over a batch, at most.
const SUM_BITS: i32 = 60;
/// Bounds hold for exact arithmetic; this much more is allowed for rounding.
const SLACK: f64 = 1.001;

/// A model that learns.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its learning rates.
    pub rates: Rates,
    /// True when gradients are sums over rows.
    pub sums: bool,
    /// The fold that it does not see.
    pub left_out: Option<u16>,
    /// The class that it tells from all others, where there are several.
    pub against: Option<u16>,
    /// Mean weight of a row that it sees, over all rows.
    pub mean_weight: f64,
    /// The time of its penalty.
    pub time: f64,
}

/// Where an epoch stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// Batches so far, over all epochs.
    pub steps: u64,
    /// Epochs before this one.
    pub epoch: u32,
    /// Rows so far in this epoch.
    pub rows: u64,
}

/// What all workers read.
pub struct Shared<'a, R: Real> {
    /// The training.
    pub setup: &'a Setup<'a>,
    /// Coordinates and units.
    pub online: &'a Online<'a>,
    /// Kernels.
    pub kernels: Kernels<R>,
    /// The round.
    pub round: &'a Round,
    /// The first slot of this rank.
    pub first_slot: usize,
    /// Open grains of this rank, slot by slot; none where a slot has run out.
    pub grains: &'a [Option<Grain<'a>>],
    /// Their blocks, one a unit.
    pub blocks: &'a [Vec<Block<'a>>],
    /// Batches of the round to learn from.
    pub batches: std::ops::Range<usize>,
    /// Where the first of them stands.
    pub place: Place,
    /// Largest residual of a row whatever its margin, where there is one.
    pub residual_max: Option<f64>,
    /// Largest norm of a gradient.
    pub clip_norm: Option<f64>,
    /// Where workers wait.
    pub barrier: &'a Barrier,
    /// Parts of the margins: two buffers for each bundle, in each the models one after the other, of each its lines.
    pub margins: &'a [[RwLock<Vec<Vec<R>>>; 2]],
    /// The other ranks.
    pub exchange: &'a Exchange<'a>,
}

/// Loss and weight of the rows that a model saw, as exact sums.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Of losses.
    pub loss: Vec<i64>,
    /// Of weights.
    pub weight: Vec<i64>,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen { loss: vec![0; exact::CELLS], weight: vec![0; exact::CELLS] }
    }
}

/// A worker: some bundles, and buffers.
pub struct Worker<'a, R: Real> {
    /// Numbers of its bundles, and they.
    pub bundles: Vec<(usize, &'a mut Bundle<R>)>,
    /// Where it counts losses; one worker does.
    pub seen: Option<&'a mut [Seen]>,
    /// The models.
    pub models: Vec<Model>,
    /// True for the worker that speaks with other ranks.
    pub leads: bool,
    rows: Rows<R>,
    parts: Vec<Part>,
    /// Of each model, line after line.
    residuals: Vec<Vec<R>>,
    quantised: Vec<Vec<i64>>,
    /// Over each part, line after line.
    sums: Vec<Vec<f64>>,
    /// Margins of a part, line after line.
    near: Vec<R>,
}

/// Targets and weights of a batch.
#[derive(Default)]
struct Rows<R> {
    y: Vec<R>,
    weight: Vec<R>,
    fold: Vec<u16>,
    outside: Vec<R>,
    against: Vec<R>,
    /// Of margins; empty where there are none.
    offset: Vec<R>,
    scratch: Vec<R>,
}

impl<'a, R: Real> Worker<'a, R> {
    /// With these bundles.
    pub fn new(
        bundles: Vec<(usize, &'a mut Bundle<R>)>,
        models: Vec<Model>,
        seen: Option<&'a mut [Seen]>,
        leads: bool,
    ) -> Worker<'a, R> {
        let count = models.len();
        Worker {
            bundles,
            seen,
            models,
            leads,
            rows: Rows::default(),
            parts: Vec::new(),
            residuals: vec![Vec::new(); count],
            quantised: vec![Vec::new(); count],
            sums: vec![Vec::new(); count],
            near: Vec::new(),
        }
    }

    /// Learns from all batches.
    ///
    /// # Errors
    /// When numbers overflow, or a rank is lost.
    pub fn run(mut self, shared: &Shared<'_, R>) -> Result<Vec<Model>> {
        let guard = shared.barrier.guard();
        let mut place = shared.place;
        for batch in shared.batches.clone() {
            let rows = self.gather_parts(shared, batch);
            self.batch(shared, (place, rows, batch % 2)).map_err(|error| explain(error, place))?;
            place = Place { steps: place.steps + 1, rows: place.rows + rows as u64, ..place };
        }
        guard.done();
        Ok(self.models)
    }

    /// Finds the rows of a batch that this rank has; how many all ranks have.
    fn gather_parts(&mut self, shared: &Shared<'_, R>, batch: usize) -> usize {
        self.parts.clear();
        let (mut at, mut rows) = (0, 0);
        for piece in shared.round.batch(batch) {
            rows += piece.rows.len();
            let Some(grain) = piece.slot.checked_sub(shared.first_slot).filter(|slot| *slot < shared.grains.len())
            else {
                continue;
            };
            self.parts.push(Part { grain, rows: piece.rows.clone(), at });
            at += piece.rows.len();
        }
        rows
    }

    fn batch(&mut self, shared: &Shared<'_, R>, (place, rows, turn): (Place, usize, usize)) -> Result<()> {
        let parts = std::mem::take(&mut self.parts);
        let tile = Tile { grains: shared.blocks, parts: &parts };
        let own_rows = parts.last().map_or(0, |part| part.places().end);
        let orders: Vec<Move> = self.models.iter().map(|model| order(model, shared.setup, place, rows)).collect();
        for (number, bundle) in &mut self.bundles {
            let mut margins = shared.margins[*number][turn].write().map_err(|_| broken(Broken))?;
            for ((columns, order), z) in bundle.models.iter_mut().zip(&orders).zip(&mut *margins) {
                z.clear();
                z.resize(own_rows * shared.online.lines, R::default());
                columns.iter_mut().for_each(|columns| columns.margins(&shared.kernels, &tile, order, z));
            }
        }
        shared.barrier.wait().map_err(broken)?;
        self.rows.read(shared, &parts, own_rows);
        let found = (0..self.models.len()).try_for_each(|model| self.residuals(shared, &parts, model, turn));
        let is_sound = shared.exchange.note(found)?;
        let largest = self.largest(shared)?;
        for (model, order) in orders.into_iter().enumerate().filter(|_| is_sound) {
            let learnt = self.learn(shared, &tile, (model, order), largest[model], rows);
            shared.exchange.note(learnt)?;
        }
        if shared.exchange.is_needed() {
            self.share(shared, place, rows, &largest)?;
        }
        for model in &mut self.models {
            model.time = order(model, shared.setup, place, rows).time.1;
        }
        self.parts = parts;
        Ok(())
    }

    /// Margins of a model as residuals, and its loss.
    fn residuals(&mut self, shared: &Shared<'_, R>, parts: &[Part], model: usize, turn: usize) -> Result<()> {
        let (residuals, sums) = (&mut self.residuals[model], &mut self.sums[model]);
        let lines = shared.online.lines;
        residuals.clear();
        residuals.resize(lines * parts.last().map_or(0, |part| part.places().end), R::default());
        for bundle in shared.margins {
            let own = bundle[turn].read().map_err(|_| broken(Broken))?;
            residuals.iter_mut().zip(&own[model]).for_each(|(sum, z)| *sum += *z);
        }
        let (base, scale) = (shared.setup.space.base, shared.online.scale);
        if (base, scale) != (0.0, 1.0) {
            residuals.iter_mut().for_each(|z| *z = R::from_f64(base + scale * z.to_f64()));
        }
        for line in residuals.chunks_exact_mut(self.rows.y.len().max(1)) {
            line.iter_mut().zip(&self.rows.offset).for_each(|(z, offset)| *z += *offset);
        }
        let left_out = self.models[model].left_out;
        if let Some(fold) = left_out {
            self.rows.leave_out(shared, parts, fold);
        }
        let against = self.models[model].against;
        self.rows.turn_against(&shared.setup.target, against);
        let weight = self.rows.weight(shared.setup, left_out);
        let targets = if against.is_some() { &self.rows.against } else { &self.rows.y };
        sums.clear();
        sums.resize(lines * parts.len(), 0.0);
        let mut seen = self.seen.as_mut().map(|seen| &mut seen[model]);
        for (number, part) in parts.iter().enumerate() {
            let weight = weight.map(|weight| &weight[part.places()]);
            let y = &targets[part.places()];
            for first in (0..lines).step_by(shared.online.margins) {
                let (loss, total) = if shared.setup.model.is_joint() {
                    joint(shared, (residuals, first), (part, y, weight), &mut self.near, |line, sum| {
                        sums[line * parts.len() + number] = sum;
                    })
                } else {
                    let z = &mut residuals[places(targets.len(), first, part)];
                    let found = shared.kernels.loss(shared.setup.model.loss(), z, y, weight, None, None);
                    sums[first * parts.len() + number] = found.residual;
                    (found.loss, found.weight)
                };
                // What is told is the loss at the weights, not at their anchor.
                if let Some(seen) = seen.as_deref_mut().filter(|_| first == 0) {
                    if !loss.is_finite() {
                        return Err(Error::Sum(format!("the loss of a batch is {loss}")));
                    }
                    exact::add(loss, &mut seen.loss)?;
                    exact::add(total, &mut seen.weight)?;
                }
            }
        }
        Ok(())
    }

    /// The largest residual of each model: what is proven, or what the batch has on all ranks.
    fn largest(&self, shared: &Shared<'_, R>) -> Result<Vec<f64>> {
        if let Some(largest) = shared.residual_max {
            return Ok(vec![largest; self.models.len()]);
        }
        let of = |residuals: &Vec<R>| {
            // Put so that NaN is seen.
            let most = |most: f64, r: &R| if r.to_f64().abs() <= most { most } else { r.to_f64().abs() };
            residuals.iter().fold(0.0, most)
        };
        let own: Vec<f64> = self.residuals.iter().map(of).collect();
        shared.exchange.largest(own, shared.barrier, self.leads)
    }

    /// Adds a model's gradient to its sums; where there is nobody else, its step.
    fn learn(
        &mut self,
        shared: &Shared<'_, R>,
        tile: &Tile<'_>,
        (model, order): (usize, Move),
        largest: f64,
        rows: usize,
    ) -> Result<()> {
        let order = scaled(&order, &self.models[model], shared.online.residual, largest, rows)?;
        let exponent = sum_exponent(largest, rows);
        let scale = FixedScale::new(exponent, largest * SLACK);
        let (real, quantised) = (&self.residuals[model], &mut self.quantised[model]);
        let mut inside = true;
        quantised.clear();
        quantised.extend(real.iter().map(|residual| {
            let (quantised, fits) = scale.quantise(residual.to_f64());
            inside &= fits;
            quantised
        }));
        if !inside {
            return Err(Error::Sum("a residual is not a finite number".into()));
        }
        let rows = real.len() / shared.online.lines;
        let residuals = Residuals { real, quantised, rows, sums: &self.sums[model], scale, exponent, largest };
        let alone = !shared.exchange.is_needed();
        for (number, bundle) in &mut self.bundles {
            for (unit, columns) in bundle.models[model].iter_mut().enumerate() {
                columns.gather(&shared.kernels, tile, &residuals).map_err(|e| Error::Sum(e.to_string()))?;
                if alone {
                    columns.step(tile, &order);
                } else {
                    let place = (*number, model, unit);
                    shared.exchange.post(place, exponent, |entries| columns.take(tile, entries))?;
                }
            }
        }
        Ok(())
    }

    /// The steps of all models by the sums of all ranks.
    fn share(&mut self, shared: &Shared<'_, R>, place: Place, rows: usize, largest: &[f64]) -> Result<()> {
        shared.barrier.wait().map_err(broken)?;
        if self.leads {
            shared.exchange.gather()?;
        }
        shared.barrier.wait().map_err(broken)?;
        let mut orders = Vec::new();
        for (own, largest) in self.models.iter().zip(largest) {
            orders.push(scaled(&order(own, shared.setup, place, rows), own, shared.online.residual, *largest, rows)?);
        }
        let mut merged = Vec::new();
        for (number, bundle) in &mut self.bundles {
            for (model, columns) in bundle.models.iter_mut().enumerate() {
                let order = &orders[model];
                let mean = if self.models[model].sums { 1.0 / rows as f64 } else { 1.0 };
                for (unit, columns) in columns.iter_mut().enumerate() {
                    let mut entries = shared.exchange.entries((*number, model, unit))?;
                    columns.coordinates_mut().merge(&mut entries);
                    let squares = entries.iter().map(|entry| (columns.gradient_of(entry, order) * mean).powi(2));
                    shared.exchange.add_norm(model, squares)?;
                    merged.push(entries);
                }
            }
        }
        if let Some(limit) = shared.clip_norm {
            shared.barrier.wait().map_err(broken)?;
            for (model, order) in orders.iter_mut().enumerate() {
                order.unit *=
                    shared.exchange.norm(model).map_or(1.0, |norm| if norm > limit { limit / norm } else { 1.0 });
            }
        }
        let mut merged = merged.iter();
        for (_, bundle) in &mut self.bundles {
            for (columns, order) in bundle.models.iter_mut().zip(&orders) {
                for (columns, entries) in columns.iter_mut().zip(merged.by_ref()) {
                    columns.coordinates_mut().add(entries);
                    columns.step_shared(entries, order);
                }
            }
        }
        Ok(())
    }
}

impl<R: Real> Rows<R> {
    fn read(&mut self, shared: &Shared<'_, R>, parts: &[Part], count: usize) {
        let setup = shared.setup;
        self.y.resize(count, R::default());
        let weighs = setup.has_weights() || setup.folds.is_some();
        self.weight.resize(if weighs { count } else { 0 }, R::default());
        for part in parts {
            let Some(grain) = &shared.grains[part.grain] else { continue };
            let places = part.places();
            target::read(&shared.kernels, grain.label.as_ref(), part.rows.clone(), &mut self.y[places.clone()]);
            if weighs {
                target::read(&shared.kernels, grain.weight.as_ref(), part.rows.clone(), &mut self.weight[places]);
            }
        }
        setup.target.apply(&mut self.y, weighs.then_some(&mut self.weight[..]));
        self.offset.clear();
        for part in parts {
            let Some(grain) = &shared.grains[part.grain] else { continue };
            setup.read_offset(&shared.kernels, grain, &part.rows, &mut self.scratch);
            self.offset.extend_from_slice(&self.scratch);
        }
    }

    /// Weighs the rows for a model that does not see a fold.
    fn leave_out(&mut self, shared: &Shared<'_, R>, parts: &[Part], left_out: u16) {
        let setup = shared.setup;
        let Some(folds) = setup.folds else { return };
        self.fold.resize(self.weight.len(), 0);
        for part in parts {
            let Some(number) = shared.round.grains[shared.first_slot + part.grain] else { continue };
            folds.read(setup.first_row(number) + part.rows.start as u64, &mut self.fold[part.places()]);
        }
        self.outside.clear();
        let pairs = self.fold.iter().zip(&self.weight);
        self.outside.extend(pairs.map(|(fold, weight)| if *fold == left_out { R::default() } else { *weight }));
    }

    /// Makes the targets of a model that tells a class from all others, or of a label.
    fn turn_against(&mut self, target: &Target, class: Option<u16>) {
        let Some(class) = class else { return };
        self.against.resize(self.y.len(), R::default());
        target.turn(class, &self.y, &mut self.against);
    }

    /// Weights as a model counts them; none: 1 each.
    fn weight(&self, setup: &Setup<'_>, left_out: Option<u16>) -> Option<&[R]> {
        match left_out {
            Some(_) => Some(&self.outside),
            None => setup.has_weights().then_some(&self.weight[..]),
        }
    }
}

/// Margins of a part's rows as residuals of the loss that the lines from `first` on make together; hands out their sum over each line, and
/// returns loss and weight.
fn joint<R: Real>(
    shared: &Shared<'_, R>,
    (residuals, first): (&mut [R], usize),
    (part, y, weight): (&Part, &[R], Option<&[R]>),
    near: &mut Vec<R>,
    mut sum: impl FnMut(usize, f64),
) -> (f64, f64) {
    let (lines, rows) = (first..first + shared.online.margins, residuals.len() / shared.online.lines);
    near.clear();
    lines.clone().for_each(|line| near.extend_from_slice(&residuals[places(rows, line, part)]));
    let mut totals = vec![0.0; lines.len()];
    let found = shared.kernels.softmax(Softmax { z: near, y, weight, residuals: &mut totals });
    for (line, (own, total)) in lines.zip(near.chunks_exact(part.rows.len().max(1)).zip(totals)) {
        residuals[places(rows, line, part)].copy_from_slice(own);
        sum(line, total);
    }
    (found.loss, found.weight)
}

/// What a batch does to a model's coordinates, up to the unit of sums.
fn order(model: &Model, setup: &Setup<'_>, place: Place, rows: usize) -> Move {
    let all = setup.statistics.rows as f64;
    let before = f64::from(place.epoch) + place.rows as f64 / all;
    let step = Step { number: place.steps + 1, rate: model.rates.at(before, rows as f64 / all), rows: rows as f64 };
    let lapse = if model.sums { step.rows } else { step.rate };
    Move { step, unit: 0.0, time: (model.time, model.time + lapse) }
}

/// The exponent of sums over a batch.
fn sum_exponent(largest: f64, rows: usize) -> i32 {
    SUM_BITS - exponent_above(largest * SLACK * rows as f64)
}

/// The same with the unit.
fn scaled(order: &Move, model: &Model, residual: f64, largest: f64, rows: usize) -> Result<Move> {
    if !largest.is_finite() {
        return Err(Error::Sum(format!("the largest residual of a batch is {largest}")));
    }
    let mean = if model.sums { model.mean_weight } else { model.mean_weight * rows as f64 };
    let unit = 2f64.powi(-sum_exponent(largest, rows)) / (mean * residual);
    Ok(Move { unit, ..*order })
}

/// The bound of a residual that holds whatever the margin, where the loss has one.
pub fn residual_max(setup: &Setup<'_>) -> Option<f64> {
    let bound = |far: f64| setup.model.bounds(&Reach { label: setup.target.largest, low: -far, high: far }).residual;
    let (near, far) = (bound(1e3), bound(1e9));
    (near == far && near.is_finite()).then_some(near * setup.weight_max)
}

/// Another worker failed, and tells why.
pub fn broken(_: Broken) -> Error {
    Error::Data(IoError::Interrupted)
}

/// An overflow says that the training left all bounds.
fn explain(error: Error, place: Place) -> Error {
    match error {
        Error::Everywhere(error) => Error::Everywhere(Box::new(explain(*error, place))),
        Error::Sum(message) => Error::training(format!(
            "the training diverged in epoch {}, {} batches after its start: {message}. Use a smaller --learning-rate, or \
             --warmup",
            place.epoch + 1,
            place.steps
        )),
        other => other,
    }
}
