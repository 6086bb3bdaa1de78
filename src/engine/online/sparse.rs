//! A sparse column: a slot an element. Values are divided by the largest of their element, x' = x / max |x|, so that a step is
//! as long in every element (scikit-learn's `MaxAbsScaler`); they are not centred, which would fill the zeros.
//!
//! `z += sum w x'`, `sum[j] += r x'`, and a step for each element that the batch holds.

use gristmill_kernels::tile::Block;
use gristmill_kernels::{Kernels, OutOfRange, Real};

use super::columns::{Columns, Part, Residuals, Tile, places};
use super::slot::{Coordinates, Entry, Move, Slots};
use crate::optim::stochastic::Optimiser;

/// See the head of the file.
pub struct SparseColumn<O: Optimiser, R: Real> {
    /// Number of its block.
    pub block: usize,
    /// A slot an element and line.
    pub slots: Slots<O, R>,
    /// 1 / max |x| of each element; 0 where it is left out.
    pub inverse: Vec<f64>,
}

/// Each entry of the rows of a part: place of the row in the part, element, value.
fn entries<'a>(block: &'a Block<'a>, part: &Part) -> impl Iterator<Item = (usize, usize, f64)> + 'a {
    let (offsets, indices, values): (&[i32], &[u32], &[f32]) = match block {
        Block::Sparse { offsets, indices, values, .. } => (&offsets[part.rows.start..=part.rows.end], indices, values),
        _ => (&[], &[], &[]),
    };
    offsets.windows(2).enumerate().flat_map(move |(row, ends)| {
        let own = ends[0] as usize..ends[1] as usize;
        let pairs = indices[own.clone()].iter().zip(&values[own]);
        pairs.map(move |(&element, &value)| (row, element as usize, f64::from(value)))
    })
}

impl<O: Optimiser, R: Real> Columns<R> for SparseColumn<O, R> {
    fn margins(&mut self, _kernels: &Kernels<R>, tile: &Tile<'_>, order: &Move, z: &mut [R]) {
        let optimiser = self.slots.at(&order.step);
        let lines = self.slots.lines;
        let rows = z.len() / lines;
        for (block, part) in tile.blocks(self.block) {
            for line in 0..lines {
                let z = &mut z[places(rows, line, part)];
                let (mut row, mut sum) = (0, 0.0);
                for (own, element, value) in entries(block, part) {
                    if own != row {
                        z[row] += R::from_f64(sum);
                        (row, sum) = (own, 0.0);
                    }
                    let weight = self.slots.read(&optimiser, element * lines + line, order);
                    sum += weight.to_f64() * (value * self.inverse[element]);
                }
                z[row] += R::from_f64(sum);
            }
        }
    }

    fn gather(
        &mut self,
        _kernels: &Kernels<R>,
        tile: &Tile<'_>,
        residuals: &Residuals<'_, R>,
    ) -> Result<(), OutOfRange> {
        let (mut inside, lines) = (true, self.slots.lines);
        for (block, part) in tile.blocks(self.block) {
            for line in 0..lines {
                let real = &residuals.real[residuals.places(line, part)];
                for (row, element, value) in entries(block, part) {
                    let (quantised, fits) =
                        residuals.scale.quantise(real[row].to_f64() * (value * self.inverse[element]));
                    let sum = &mut self.slots.slots[element * lines + line].sum;
                    *sum = sum.wrapping_add(quantised);
                    inside &= fits;
                }
            }
        }
        if inside { Ok(()) } else { Err(OutOfRange) }
    }

    fn step(&mut self, tile: &Tile<'_>, order: &Move) {
        if O::ANCHORED {
            return self.slots.step_anchored(order, |_| 1.0);
        }
        let (optimiser, lines) = (self.slots.at(&order.step), self.slots.lines);
        for (block, part) in tile.blocks(self.block) {
            for (_, element, _) in entries(block, part) {
                (element * lines..(element + 1) * lines).for_each(|slot| self.slots.touch(&optimiser, slot, order));
            }
        }
    }

    fn take(&mut self, tile: &Tile<'_>, out: &mut Vec<Entry>) {
        let lines = self.slots.lines;
        for (block, part) in tile.blocks(self.block) {
            for (_, element, _) in entries(block, part) {
                let first = element * lines;
                for (slot, own) in (first..).zip(&mut self.slots.slots[first..first + lines]) {
                    if own.sum != 0 {
                        out.push((slot as u32, std::mem::take(&mut own.sum)));
                    }
                }
            }
        }
    }

    fn coordinates(&self) -> &dyn Coordinates {
        &self.slots
    }

    fn coordinates_mut(&mut self) -> &mut dyn Coordinates {
        &mut self.slots
    }
}
