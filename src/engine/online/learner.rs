//! The columns of a row as units of work, and all slots of the models that learn side by side.
//!
//! A unit is what one worker does alone: the intercept, up to 64 numeric columns, a vector, a categorical or a sparse column.
//! Units form at most [`BUNDLES_MAX`] bundles of about equal cost, by the layout alone: a bundle's part of the margin is added up
//! in the order of its units, the margin in the order of bundles. Workers own bundles, so that a slot is written by one
//! worker only, without atomic operations; which worker cannot be seen in the result.

use std::ops::Range;

use gristmill_kernels::Real;
use gristmill_kernels::ops::gram::Shape;
use gristmill_kernels::tile::{Block, Columns as Numbers, Grain};

use super::codes::CodeColumn;
use super::columns::Columns;
use super::crossed::CrossedColumn;
use super::dense::{DenseColumns, Intercept};
use super::slot::Slots;
use super::sparse::SparseColumn;
use crate::engine::setup::Setup;
use crate::engine::space::Space;
use crate::metrics::Task;
use crate::models::Reach;
use crate::optim::Penalty;
use crate::optim::stochastic::{Optimiser, OptimiserVisitor, Step};

/// Most bundles, and so most threads that share a batch.
pub const BUNDLES_MAX: usize = 16;
/// Most numeric columns of a unit.
const COLUMNS_MAX: usize = 64;

/// What one worker does alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// What it is.
    pub kind: UnitKind,
    /// Block of the row's layout.
    block: usize,
    /// Columns of that block.
    columns: Range<usize>,
    /// True for levels that are made of those of other columns.
    is_crossed: bool,
    /// Its parameters; none for the intercept.
    pub parameters: Range<usize>,
    /// Nanoseconds a row, about.
    pub cost: f64,
}

/// Kinds of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// The column of ones.
    Intercept,
    /// Numbers.
    Dense,
    /// Levels.
    Codes,
    /// Entries.
    Sparse,
}

/// How the coordinates that are learnt belong to those of a solver: the target is divided by `scale`, numbers are centred
/// and scaled as for a solver, levels and sparse elements are neither, but sparse elements are divided by their largest.
pub struct Online<'a> {
    space: &'a Space,
    /// Margins that make a row's loss: the classes of a joint model, else 1.
    pub margins: usize,
    /// Lines of a row: its margins, and those at the anchor where the optimiser has one.
    pub lines: usize,
    /// Deviation of the target where the margin is a number in its units, else 1.
    pub scale: f64,
    /// Residual of a row whose target is that far from its margin, else 1: the objective is divided by `scale` times this, so that
    /// neither margins nor residuals that are learnt from depend on units.
    pub residual: f64,
    /// The units.
    pub units: Vec<Unit>,
    /// Factor from a coordinate (times `scale`) to that of a solver.
    factor: Vec<f64>,
    /// Parameters that are not centred.
    scattered: Vec<Range<usize>>,
}

impl<'a> Online<'a> {
    /// For a training; `deviation` is that of its target, `anchored`: its optimiser has an anchor.
    pub fn new(setup: &'a Setup<'_>, deviation: f64, anchored: bool) -> Online<'a> {
        let units = units(setup);
        let space = &setup.space;
        let mut factor = vec![1.0; space.mean.len()];
        let mut scattered = Vec::new();
        for unit in units.iter().filter(|unit| matches!(unit.kind, UnitKind::Codes | UnitKind::Sparse)) {
            for j in unit.parameters.clone() {
                let inverse = space.inverse[j];
                factor[j] = if inverse == 0.0 { 0.0 } else { of_largest(unit.kind, space.largest[j]) / inverse };
            }
            scattered.push(unit.parameters.clone());
        }
        let is_number = matches!(setup.model.task(), Task::Regression | Task::Quantile(_));
        let (scale, residual) = if is_number && deviation > 0.0 && deviation.is_finite() {
            let reach = Reach { label: deviation, low: 0.0, high: 0.0 };
            (deviation, setup.model.bounds(&reach).residual)
        } else {
            (1.0, 1.0)
        };
        let (margins, lines) = (setup.joint, setup.joint * if anchored { 2 } else { 1 });
        Online { space, margins, lines, scale, residual, units, factor, scattered }
    }

    /// A penalty of a line's coordinates of a solver in those that are learnt, the objective divided as is said above.
    pub fn penalty(&self, penalty: &Penalty) -> Penalty {
        let stretch = self.scale / self.residual;
        let factors = || self.factor.iter().copied().chain(std::iter::once(1.0));
        Penalty {
            l1: penalty.l1.iter().zip(factors()).map(|(l1, factor)| l1 * factor / self.residual).collect(),
            l2: penalty.l2.iter().zip(factors()).map(|(l2, factor)| l2 * factor * factor * stretch).collect(),
        }
    }

    /// What the centres of scattered parameters take from the intercept.
    fn shift(&self, point: &[f64]) -> f64 {
        let parameters = self.scattered.iter().cloned().flatten();
        parameters.map(|j| point[j] * self.space.inverse[j] * self.space.mean[j]).sum()
    }

    /// From a point of a solver, line after line.
    pub fn from_point(&self, point: &[f64]) -> Vec<f64> {
        point.chunks_exact(self.space.coordinates().max(1)).flat_map(|line| self.line_from_point(line)).collect()
    }

    fn line_from_point(&self, point: &[f64]) -> Vec<f64> {
        let slopes = point.iter().zip(&self.factor);
        let own = |(t, factor): (&f64, &f64)| if *factor == 0.0 { 0.0 } else { t / factor / self.scale };
        let mut weights: Vec<f64> = slopes.map(own).collect();
        if self.space.intercept {
            weights.push((point[self.factor.len()] - self.shift(point)) / self.scale);
        }
        weights
    }

    /// To a point of a solver, line after line.
    pub fn to_point(&self, weights: &[f64]) -> Vec<f64> {
        weights.chunks_exact(self.space.coordinates().max(1)).flat_map(|line| self.line_to_point(line)).collect()
    }

    fn line_to_point(&self, weights: &[f64]) -> Vec<f64> {
        let slopes = weights.iter().zip(&self.factor);
        let mut point: Vec<f64> = slopes.map(|(weight, factor)| weight * factor * self.scale).collect();
        if self.space.intercept {
            point.push(weights[self.factor.len()] * self.scale + self.shift(&point));
        }
        point
    }

    /// From the gradient of a solver's objective: by the chain rule of [`Online::to_point`], the objective divided.
    pub fn from_gradient(&self, gradient: &[f64]) -> Vec<f64> {
        gradient.chunks_exact(self.space.coordinates().max(1)).flat_map(|line| self.line_from_gradient(line)).collect()
    }

    fn line_from_gradient(&self, gradient: &[f64]) -> Vec<f64> {
        let slopes = gradient.iter().zip(&self.factor);
        let mut own: Vec<f64> = slopes.map(|(slope, factor)| slope * factor / self.residual).collect();
        if self.space.intercept {
            let level = gradient[self.factor.len()] / self.residual;
            for j in self.scattered.iter().cloned().flatten() {
                own[j] += level * self.factor[j] * self.space.inverse[j] * self.space.mean[j];
            }
            own.push(level);
        }
        own
    }

    /// The columns of a unit with slots of their own.
    fn columns<O: Optimiser, R: Real>(
        &self,
        number: usize,
        optimiser: O,
        penalty: Option<&Penalty>,
    ) -> Box<dyn Columns<R>> {
        let (unit, space) = (&self.units[number], self.space);
        let own = unit.parameters.clone();
        let strengths = penalty.map(|penalty| (&penalty.l1[own.clone()], &penalty.l2[own.clone()]));
        let slots = Slots::new(optimiser, (own.len(), self.lines), strengths);
        match unit.kind {
            UnitKind::Intercept => Box::new(Intercept { slots: Slots::new(optimiser, (1, self.lines), None) }),
            UnitKind::Dense => {
                let own = (&space.mean[own.clone()], &space.inverse[own.clone()], &space.largest[own]);
                Box::new(DenseColumns::new(number, slots, own.0, own.1, own.2))
            }
            UnitKind::Codes => {
                // A level that every row has says nothing beyond the intercept; then there is no other.
                let is_constant = own.clone().any(|j| space.inverse[j] == 0.0 && space.largest[j] > 0.0);
                let levels = unit.parameters.len();
                let column = CodeColumn { block: number, slots, is_constant };
                if unit.is_crossed { Box::new(CrossedColumn::new(column, levels)) } else { Box::new(column) }
            }
            UnitKind::Sparse => {
                let inverse =
                    |j: usize| if self.factor[j] == 0.0 { 0.0 } else { of_largest(unit.kind, space.largest[j]) };
                Box::new(SparseColumn { block: number, slots, inverse: own.map(inverse).collect() })
            }
        }
    }

    /// The blocks of a grain, one a unit.
    pub fn cut<'g>(&self, grain: &Grain<'g>) -> Vec<Block<'g>> {
        let of_unit = |unit: &Unit| match (unit.kind, &grain.blocks.get(unit.block)) {
            (UnitKind::Intercept, _) | (_, None) => Block::Columns(Numbers::U8(Vec::new())),
            (_, Some(Block::Columns(numbers))) => Block::Columns(some(numbers, unit.columns.clone())),
            (_, Some(block)) => (*block).clone(),
        };
        self.units.iter().map(of_unit).collect()
    }
}

/// 1 / the largest size of a value, for kinds whose values are scaled by it.
fn of_largest(kind: UnitKind, largest: f64) -> f64 {
    if kind == UnitKind::Sparse && largest > 0.0 { 1.0 / largest } else { 1.0 }
}

fn some<'g>(numbers: &Numbers<'g>, range: Range<usize>) -> Numbers<'g> {
    match numbers {
        Numbers::F64(columns) => Numbers::F64(columns[range].to_vec()),
        Numbers::F32(columns) => Numbers::F32(columns[range].to_vec()),
        Numbers::F16(columns) => Numbers::F16(columns[range].to_vec()),
        Numbers::U16(columns) => Numbers::U16(columns[range].to_vec()),
        Numbers::U8(columns) => Numbers::U8(columns[range].to_vec()),
    }
}

/// The units of a row.
fn units(setup: &Setup<'_>) -> Vec<Unit> {
    let mut units = Vec::new();
    if setup.space.intercept {
        let none = 0..0;
        let (columns, parameters) = (none.clone(), none);
        units.push(Unit { kind: UnitKind::Intercept, block: 0, columns, is_crossed: false, parameters, cost: 1.0 });
    }
    let rows = (setup.statistics.rows as f64).max(1.0);
    for ((block, layout), shape) in setup.stream.layout().blocks.iter().enumerate().zip(setup.gram_shapes()) {
        let (first, count) = (layout.first_parameter, layout.parameters);
        let is_crossed =
            layout.columns.iter().any(|&number| setup.dataset.manifest().columns[number].kind.is_crossed());
        let (kind, cost, step) = match shape {
            Shape::Dense(_) if layout.columns.len() == count => (UnitKind::Dense, 0.5, COLUMNS_MAX),
            Shape::Dense(_) => (UnitKind::Dense, 0.3, count),
            // A level costs more where slots do not fit the caches: 5 ns, and one more for every factor of 8.
            Shape::Codes(_) => (UnitKind::Codes, (5.0 + (count as f64).log2() / 3.0) / count as f64, count),
            Shape::Sparse(_) => {
                let nonzero: u64 = setup.statistics.nonzero[first..first + count].iter().sum();
                (UnitKind::Sparse, 8.0 * nonzero as f64 / rows / count as f64, count)
            }
        };
        for start in (0..count).step_by(step.max(1)) {
            let columns = start..count.min(start + step);
            let parameters = first + columns.start..first + columns.end;
            units.push(Unit { kind, block, cost: cost * parameters.len() as f64, columns, is_crossed, parameters });
        }
    }
    units
}

/// Shares out things of some cost, the dearest first, each to whoever has least; the numbers of everyone's in rising order.
pub fn share(costs: &[f64], among: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by(|a, b| costs[*b].total_cmp(&costs[*a]).then(a.cmp(b)));
    let mut shares = vec![(0.0f64, Vec::new()); among.clamp(1, costs.len().max(1))];
    for number in order {
        let least = (0..shares.len()).min_by(|a, b| shares[*a].0.total_cmp(&shares[*b].0)).unwrap_or(0);
        shares[least].0 += costs[number];
        shares[least].1.push(number);
    }
    let mut numbers: Vec<Vec<usize>> = shares.into_iter().map(|(_, numbers)| numbers).collect();
    numbers.iter_mut().for_each(|numbers| numbers.sort_unstable());
    numbers
}

/// Units that one worker does together.
pub struct Bundle<R: Real> {
    /// Their numbers.
    pub units: Vec<usize>,
    /// Nanoseconds a row.
    pub cost: f64,
    /// For each model the columns, unit by unit.
    pub models: Vec<Vec<Box<dyn Columns<R>>>>,
}

/// The bundles of a row, without models.
pub fn bundles<R: Real>(units: &[Unit]) -> Vec<Bundle<R>> {
    let costs: Vec<f64> = units.iter().map(|unit| unit.cost).collect();
    let of = |units: Vec<usize>| {
        let cost = units.iter().map(|unit| costs[*unit]).sum();
        Bundle { units, cost, models: Vec::new() }
    };
    share(&costs, BUNDLES_MAX).into_iter().map(of).collect()
}

/// Gives every bundle the columns of one more model.
pub struct AddModel<'a, 'b, R: Real> {
    /// Where.
    pub online: &'a Online<'b>,
    /// To what.
    pub bundles: &'a mut [Bundle<R>],
    /// With this penalty, in the coordinates that are learnt,
    pub penalty: &'a Penalty,
    /// at this point.
    pub start: &'a [f64],
    /// The first step.
    pub step: Step,
}

impl<R: Real> OptimiserVisitor for AddModel<'_, '_, R> {
    /// Whether gradients are sums.
    type Output = bool;

    fn visit<O: Optimiser>(self, optimiser: O) -> bool {
        let penalty = Some(self.penalty).filter(|penalty| !penalty.is_none());
        for bundle in self.bundles {
            let of_unit = |&unit: &usize| {
                let mut columns = self.online.columns::<O, R>(unit, optimiser, penalty);
                columns.coordinates_mut().start(&self.online.own(unit, self.start), &self.step);
                columns
            };
            bundle.models.push(bundle.units.iter().map(of_unit).collect());
        }
        O::SUMS
    }
}

impl Online<'_> {
    /// The part of some weights that belongs to a unit, in the order of its slots; those of anchors are the same.
    pub fn own(&self, unit: usize, weights: &[f64]) -> Vec<f64> {
        let lines =
            |j: usize| (0..self.lines).map(move |line| weights[line % self.margins * self.space.coordinates() + j]);
        self.place(unit).flat_map(lines).collect()
    }

    /// Where the weights of a unit stand in a line; the intercept is the last.
    fn place(&self, unit: usize) -> Range<usize> {
        match self.units[unit].kind {
            UnitKind::Intercept => self.factor.len()..self.factor.len() + 1,
            _ => self.units[unit].parameters.clone(),
        }
    }

    /// The weights of a model line after line, in each the intercept last.
    pub fn weights<R: Real>(&self, bundles: &[Bundle<R>], model: usize) -> Vec<f64> {
        let coordinates = self.space.coordinates();
        let mut weights = vec![0.0; self.margins * coordinates];
        let mut own = Vec::new();
        for bundle in bundles {
            for (&unit, columns) in bundle.units.iter().zip(&bundle.models[model]) {
                let place = self.place(unit);
                if self.lines == 1 {
                    columns.coordinates().weights(&mut weights[place]);
                    continue;
                }
                own.resize(place.len() * self.lines, 0.0);
                columns.coordinates().weights(&mut own);
                for (j, lines) in place.zip(own.chunks_exact(self.lines)) {
                    let own = lines.iter().take(self.margins).enumerate();
                    own.for_each(|(line, weight)| weights[line * coordinates + j] = *weight);
                }
            }
        }
        weights
    }
}
