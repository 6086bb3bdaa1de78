//! Numeric columns and vectors, centred and scaled: x = (s - m) / d of the stored value s, as every solver sees them (see
//! `engine::space`). Kernels multiply stored values; centre and scale are folded into weights and sums:
//!
//! ```text
//! w_j = t_j / d_j           z += sum_j w_j s_j - sum_j w_j m_j
//! sum_j += round((sum_i r_i s_ij - m_j sum_i r_i) / d_j 2^e_j)      part by part, so that nobody sees who has which part
//! ```
//! Every coordinate takes a step in every batch. The intercept is a column of ones of its own ([`Intercept`]).

use gristmill_kernels::tile::Block;
use gristmill_kernels::{FixedScale, Kernels, OutOfRange, Real};

use super::columns::{Columns, Part, Residuals, Tile, places};
use super::slot::{Coordinates, Entry, Move, Slots};
use crate::engine::sum::exponent_above;
use crate::optim::stochastic::Optimiser;

/// Bounds hold for exact arithmetic; this much more is allowed for rounding.
const SLACK: f64 = 1.001;

/// Columns of one block.
pub struct DenseColumns<O: Optimiser, R: Real> {
    block: usize,
    slots: Slots<O, R>,
    /// m.
    mean: Vec<f64>,
    /// 1 / d.
    inverse: Vec<f64>,
    /// Largest |x|.
    largest: Vec<f64>,
    /// The least power of two above that, its exponent.
    exponents: Vec<i32>,
    /// Line after line.
    weights: Vec<R>,
    gradient: Vec<f64>,
    /// Margins or residuals of a part, line after line, where there are several.
    near: Vec<R>,
}

impl<O: Optimiser, R: Real> DenseColumns<O, R> {
    /// For a block: mean and 1 / deviation of each column, and the largest size of its stored values.
    pub fn new(block: usize, slots: Slots<O, R>, mean: &[f64], inverse: &[f64], largest: &[f64]) -> DenseColumns<O, R> {
        let reach = |((largest, mean), inverse): ((&f64, &f64), &f64)| (largest + mean.abs()) * inverse;
        let largest: Vec<f64> = largest.iter().zip(mean).zip(inverse).map(reach).collect();
        let exponents = largest.iter().map(|&largest| exponent_above(largest)).collect();
        let count = mean.len() * slots.lines;
        DenseColumns {
            block,
            slots,
            mean: mean.to_vec(),
            inverse: inverse.to_vec(),
            largest,
            exponents,
            weights: vec![R::default(); count],
            gradient: vec![0.0; count],
            near: Vec::new(),
        }
    }

    /// The gradient that the sum of a slot stands for.
    fn gradient(&self, slot: usize, sum: i64, order: &Move) -> f64 {
        sum as f64 * order.unit * 2f64.powi(self.exponents[slot / self.slots.lines])
    }

    /// Adds a part's margins of all lines: a value that was loaded serves them all.
    fn add_margins(&mut self, kernels: &Kernels<R>, block: &Block<'_>, part: &Part, z: &mut [R]) {
        let (lines, rows) = (self.slots.lines, z.len() / self.slots.lines);
        if lines == 1 {
            return kernels.margins(block, part.rows.clone(), &self.weights, &mut z[part.places()]);
        }
        self.near.clear();
        (0..lines).for_each(|line| self.near.extend_from_slice(&z[places(rows, line, part)]));
        kernels.margins_k(block, part.rows.clone(), &self.weights, &mut self.near);
        for (line, own) in self.near.chunks_exact(part.rows.len().max(1)).enumerate() {
            z[places(rows, line, part)].copy_from_slice(own);
        }
    }

    /// Finds a part's gradients of all lines.
    fn find_gradient(&mut self, kernels: &Kernels<R>, block: &Block<'_>, part: &Part, residuals: &Residuals<'_, R>) {
        self.gradient.fill(0.0);
        if self.slots.lines == 1 {
            let real = &residuals.real[part.places()];
            return kernels.gradient(block, part.rows.clone(), real, &mut self.gradient);
        }
        self.near.clear();
        let lines = 0..self.slots.lines;
        lines.for_each(|line| self.near.extend_from_slice(&residuals.real[residuals.places(line, part)]));
        kernels.gradient_k(block, part.rows.clone(), &self.near, &mut self.gradient);
    }
}

impl<O: Optimiser, R: Real> Columns<R> for DenseColumns<O, R> {
    fn margins(&mut self, kernels: &Kernels<R>, tile: &Tile<'_>, order: &Move, z: &mut [R]) {
        let optimiser = self.slots.at(&order.step);
        let (lines, count) = (self.slots.lines, self.mean.len());
        let rows = z.len() / lines;
        for line in 0..lines {
            let mut shift = 0.0;
            for (column, weight) in self.weights[line * count..(line + 1) * count].iter_mut().enumerate() {
                let own = self.slots.settle_one(&optimiser, column * lines + line, order.time.0);
                *weight = R::from_f64(own.to_f64() * self.inverse[column]);
                shift -= weight.to_f64() * self.mean[column];
            }
            let shift = R::from_f64(shift);
            z[line * rows..(line + 1) * rows].iter_mut().for_each(|z| *z += shift);
        }
        for (block, part) in tile.blocks(self.block) {
            self.add_margins(kernels, block, part, z);
        }
    }

    fn gather(
        &mut self,
        kernels: &Kernels<R>,
        tile: &Tile<'_>,
        residuals: &Residuals<'_, R>,
    ) -> Result<(), OutOfRange> {
        let (mut inside, lines, count) = (true, self.slots.lines, self.mean.len());
        for (number, (block, part)) in tile.blocks(self.block).enumerate() {
            self.find_gradient(kernels, block, part, residuals);
            let bound = part.rows.len() as f64 * residuals.largest * SLACK;
            for (line, gradient) in self.gradient.chunks_exact(count.max(1)).enumerate() {
                let total = residuals.sums[line * tile.parts.len() + number];
                for (column, sum) in gradient.iter().enumerate() {
                    let scale =
                        FixedScale::new(residuals.exponent - self.exponents[column], bound * self.largest[column]);
                    let (quantised, fits) = scale.quantise((sum - self.mean[column] * total) * self.inverse[column]);
                    let cell = &mut self.slots.slots[column * lines + line].sum;
                    *cell = cell.wrapping_add(quantised);
                    inside &= fits;
                }
            }
        }
        if inside { Ok(()) } else { Err(OutOfRange) }
    }

    fn step(&mut self, _tile: &Tile<'_>, order: &Move) {
        if O::ANCHORED {
            return self.slots.step_anchored(order, |column| 2f64.powi(self.exponents[column]));
        }
        let optimiser = self.slots.at(&order.step);
        for slot in 0..self.slots.slots.len() {
            let gradient = self.gradient(slot, self.slots.slots[slot].sum, order);
            self.slots.push(&optimiser, slot, gradient, order);
        }
    }

    fn take(&mut self, _tile: &Tile<'_>, entries: &mut Vec<Entry>) {
        let slots = self.slots.slots.iter_mut().enumerate();
        entries.extend(slots.map(|(number, slot)| (number as u32, std::mem::take(&mut slot.sum))));
    }

    fn step_shared(&mut self, _entries: &[Entry], order: &Move) {
        self.step(&Tile { grains: &[], parts: &[] }, order);
    }

    fn gradient_of(&self, entry: &Entry, order: &Move) -> f64 {
        self.gradient(entry.0 as usize, entry.1, order)
    }

    fn coordinates(&self) -> &dyn Coordinates {
        &self.slots
    }

    fn coordinates_mut(&mut self) -> &mut dyn Coordinates {
        &mut self.slots
    }
}

/// The column of ones.
pub struct Intercept<O: Optimiser, R: Real> {
    /// One a line.
    pub slots: Slots<O, R>,
}

impl<O: Optimiser, R: Real> Columns<R> for Intercept<O, R> {
    fn margins(&mut self, _kernels: &Kernels<R>, _tile: &Tile<'_>, _order: &Move, z: &mut [R]) {
        let rows = z.len() / self.slots.lines;
        for (z, slot) in z.chunks_exact_mut(rows.max(1)).zip(&self.slots.slots) {
            z.iter_mut().for_each(|z| *z += slot.weight);
        }
    }

    fn gather(
        &mut self,
        _kernels: &Kernels<R>,
        tile: &Tile<'_>,
        residuals: &Residuals<'_, R>,
    ) -> Result<(), OutOfRange> {
        let mut inside = true;
        for (slot, totals) in self.slots.slots.iter_mut().zip(residuals.sums.chunks_exact(tile.parts.len().max(1))) {
            for (part, total) in tile.parts.iter().zip(totals) {
                let largest = part.rows.len() as f64 * residuals.largest * SLACK;
                let (quantised, fits) = FixedScale::new(residuals.exponent, largest).quantise(*total);
                slot.sum = slot.sum.wrapping_add(quantised);
                inside &= fits;
            }
        }
        if inside { Ok(()) } else { Err(OutOfRange) }
    }

    fn step(&mut self, _tile: &Tile<'_>, order: &Move) {
        if O::ANCHORED {
            return self.slots.step_anchored(order, |_| 1.0);
        }
        let optimiser = self.slots.at(&order.step);
        for slot in 0..self.slots.slots.len() {
            let gradient = self.slots.slots[slot].sum as f64 * order.unit;
            self.slots.push(&optimiser, slot, gradient, order);
        }
    }

    fn take(&mut self, _tile: &Tile<'_>, entries: &mut Vec<Entry>) {
        let slots = self.slots.slots.iter_mut().enumerate();
        entries.extend(slots.map(|(number, slot)| (number as u32, std::mem::take(&mut slot.sum))));
    }

    fn step_shared(&mut self, _entries: &[Entry], order: &Move) {
        self.step(&Tile { grains: &[], parts: &[] }, order);
    }

    fn coordinates(&self) -> &dyn Coordinates {
        &self.slots
    }

    fn coordinates_mut(&mut self) -> &mut dyn Coordinates {
        &mut self.slots
    }
}
