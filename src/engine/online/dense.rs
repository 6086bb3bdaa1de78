//! Numeric columns and vectors, centred and scaled: x = (s - m) / d of the stored value s, as every solver sees them (see
//! `engine::space`). Kernels multiply stored values; centre and scale are folded into weights and sums:
//!
//! ```text
//! w_j = t_j / d_j           z += sum_j w_j s_j - sum_j w_j m_j
//! sum_j += round((sum_i r_i s_ij - m_j sum_i r_i) / d_j 2^e_j)      part by part, so that nobody sees who has which part
//! ```
//! Every coordinate takes a step in every batch. The intercept is a column of ones of its own ([`Intercept`]).

use gristmill_kernels::{FixedScale, Kernels, OutOfRange, Real};

use super::columns::{Columns, Residuals, Tile};
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
    weights: Vec<R>,
    gradient: Vec<f64>,
}

impl<O: Optimiser, R: Real> DenseColumns<O, R> {
    /// For a block: mean and 1 / deviation of each column, and the largest size of its stored values.
    pub fn new(block: usize, slots: Slots<O, R>, mean: &[f64], inverse: &[f64], largest: &[f64]) -> DenseColumns<O, R> {
        let reach = |((largest, mean), inverse): ((&f64, &f64), &f64)| (largest + mean.abs()) * inverse;
        let largest: Vec<f64> = largest.iter().zip(mean).zip(inverse).map(reach).collect();
        let exponents = largest.iter().map(|&largest| exponent_above(largest)).collect();
        let count = mean.len();
        DenseColumns {
            block,
            slots,
            mean: mean.to_vec(),
            inverse: inverse.to_vec(),
            largest,
            exponents,
            weights: vec![R::default(); count],
            gradient: vec![0.0; count],
        }
    }

    /// A gradient from its sum.
    fn gradient(&self, column: usize, order: &Move) -> f64 {
        let sum = self.slots.slots[column].sum as f64;
        sum * order.unit * 2f64.powi(self.exponents[column])
    }
}

impl<O: Optimiser, R: Real> Columns<R> for DenseColumns<O, R> {
    fn margins(&mut self, kernels: &Kernels<R>, tile: &Tile<'_>, order: &Move, z: &mut [R]) {
        let optimiser = self.slots.at(&order.step);
        let mut shift = 0.0;
        for (column, weight) in self.weights.iter_mut().enumerate() {
            let own = self.slots.settled(&optimiser, column, order.time.0).to_f64() * self.inverse[column];
            *weight = R::from_f64(own);
            shift -= weight.to_f64() * self.mean[column];
        }
        let shift = R::from_f64(shift);
        for (block, part) in tile.blocks(self.block) {
            let z = &mut z[part.places()];
            z.iter_mut().for_each(|z| *z += shift);
            kernels.margins(block, part.rows.clone(), &self.weights, z);
        }
    }

    fn gather(
        &mut self,
        kernels: &Kernels<R>,
        tile: &Tile<'_>,
        residuals: &Residuals<'_, R>,
    ) -> Result<(), OutOfRange> {
        let mut inside = true;
        for ((block, part), total) in tile.blocks(self.block).zip(residuals.sums) {
            self.gradient.fill(0.0);
            kernels.gradient(block, part.rows.clone(), &residuals.real[part.places()], &mut self.gradient);
            let bound = part.rows.len() as f64 * residuals.largest * SLACK;
            for (column, sum) in self.gradient.iter().enumerate() {
                let scale = FixedScale::new(residuals.exponent - self.exponents[column], bound * self.largest[column]);
                let (quantised, fits) = scale.quantise((sum - self.mean[column] * total) * self.inverse[column]);
                let cell = &mut self.slots.slots[column].sum;
                *cell = cell.wrapping_add(quantised);
                inside &= fits;
            }
        }
        if inside { Ok(()) } else { Err(OutOfRange) }
    }

    fn step(&mut self, _tile: &Tile<'_>, order: &Move) {
        let optimiser = self.slots.at(&order.step);
        for column in 0..self.mean.len() {
            let gradient = self.gradient(column, order);
            self.slots.push(&optimiser, column, gradient, order);
        }
    }

    fn take(&mut self, _tile: &Tile<'_>, entries: &mut Vec<Entry>) {
        let slots = self.slots.slots.iter_mut().enumerate();
        entries.extend(slots.map(|(column, slot)| (column as u32, std::mem::take(&mut slot.sum))));
    }

    fn step_shared(&mut self, _entries: &[Entry], order: &Move) {
        self.step(&Tile { grains: &[], parts: &[] }, order);
    }

    fn gradient_of(&self, entry: &Entry, order: &Move) -> f64 {
        entry.1 as f64 * order.unit * 2f64.powi(self.exponents[entry.0 as usize])
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
    /// One.
    pub slots: Slots<O, R>,
}

impl<O: Optimiser, R: Real> Columns<R> for Intercept<O, R> {
    fn margins(&mut self, _kernels: &Kernels<R>, _tile: &Tile<'_>, _order: &Move, z: &mut [R]) {
        let weight = self.slots.slots[0].weight;
        z.iter_mut().for_each(|z| *z += weight);
    }

    fn gather(
        &mut self,
        _kernels: &Kernels<R>,
        tile: &Tile<'_>,
        residuals: &Residuals<'_, R>,
    ) -> Result<(), OutOfRange> {
        for (part, total) in tile.parts.iter().zip(residuals.sums) {
            let largest = part.rows.len() as f64 * residuals.largest * SLACK;
            let (quantised, fits) = FixedScale::new(residuals.exponent, largest).quantise(*total);
            let cell = &mut self.slots.slots[0].sum;
            *cell = cell.wrapping_add(quantised);
            if !fits {
                return Err(OutOfRange);
            }
        }
        Ok(())
    }

    fn step(&mut self, _tile: &Tile<'_>, order: &Move) {
        let optimiser = self.slots.at(&order.step);
        let gradient = self.slots.slots[0].sum as f64 * order.unit;
        self.slots.push(&optimiser, 0, gradient, order);
    }

    fn take(&mut self, _tile: &Tile<'_>, entries: &mut Vec<Entry>) {
        entries.push((0, std::mem::take(&mut self.slots.slots[0].sum)));
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
