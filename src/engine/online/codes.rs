//! A categorical column: a slot a level. `z += w[code]`, `sum[code] += r`, and a step for each level that the batch holds.
//!
//! Cost a row: two reads of a slot that lie in one cache line, some 5 ns while slots are in the second-level cache.

use gristmill_kernels::ops::codes::Code;
use gristmill_kernels::tile::{Block, Codes};
use gristmill_kernels::{Kernels, OutOfRange, Real};

use super::columns::{Columns, Residuals, Tile, places};
use super::slot::{Coordinates, Entry, Move, Slots};
use crate::optim::stochastic::Optimiser;

/// See the head of the file.
pub struct CodeColumn<O: Optimiser, R: Real> {
    /// Number of its block.
    pub block: usize,
    /// A slot a level and line.
    pub slots: Slots<O, R>,
    /// True when all rows have the same level: it is left out.
    pub is_constant: bool,
}

/// Calls `$body` with `$codes` as the slice of codes of a part, whatever their width.
macro_rules! each_width {
    ($block:expr, $rows:expr, $codes:ident => $body:expr) => {
        match $block {
            Block::Codes { codes: Codes::U8(codes), .. } => {
                let $codes = &codes[$rows];
                $body
            }
            Block::Codes { codes: Codes::U16(codes), .. } => {
                let $codes = &codes[$rows];
                $body
            }
            Block::Codes { codes: Codes::U32(codes), .. } => {
                let $codes = &codes[$rows];
                $body
            }
            _ => {}
        }
    };
}

impl<O: Optimiser, R: Real> CodeColumn<O, R> {
    /// Of the slots that `at` says.
    fn add_weights<C: Code>(&mut self, codes: &[C], order: &Move, z: &mut [R], at: impl Fn(&C) -> usize) {
        if self.slots.is_free() {
            let slots = &self.slots.slots;
            for (z, code) in z.iter_mut().zip(codes) {
                *z += slots[at(code)].weight;
            }
        } else {
            let optimiser = self.slots.at(&order.step);
            for (z, code) in z.iter_mut().zip(codes) {
                *z += self.slots.read(&optimiser, at(code), order);
            }
        }
    }

    fn touch<C: Code>(&mut self, optimiser: &O, codes: &[C], order: &Move) {
        let lines = self.slots.lines;
        // The inner loop, of one line as a rule, would cost as much as a slot.
        if lines == 1 {
            return codes.iter().for_each(|code| self.slots.touch(optimiser, code.index(), order));
        }
        for code in codes {
            let first = code.index() * lines;
            (first..first + lines).for_each(|slot| self.slots.touch(optimiser, slot, order));
        }
    }

    /// To the slots that `at` says.
    fn add_sums<C: Code>(&mut self, codes: &[C], quantised: &[i64], at: impl Fn(&C) -> usize) {
        let slots = &mut self.slots.slots;
        for (code, quantised) in codes.iter().zip(quantised) {
            let sum = &mut slots[at(code)].sum;
            *sum = sum.wrapping_add(*quantised);
        }
    }

    fn take<C: Code>(&mut self, codes: &[C], entries: &mut Vec<Entry>) {
        let lines = self.slots.lines;
        for code in codes {
            let first = code.index() * lines;
            for (slot, own) in (first..).zip(&mut self.slots.slots[first..first + lines]) {
                if own.sum != 0 {
                    entries.push((slot as u32, std::mem::take(&mut own.sum)));
                }
            }
        }
    }
}

impl<O: Optimiser, R: Real> Columns<R> for CodeColumn<O, R> {
    fn margins(&mut self, _kernels: &Kernels<R>, tile: &Tile<'_>, order: &Move, z: &mut [R]) {
        let lines = self.slots.lines;
        if lines == 1 {
            for (block, part) in tile.blocks(self.block) {
                let z = &mut z[part.places()];
                each_width!(block, part.rows.clone(), codes => self.add_weights(codes, order, z, |code| code.index()));
            }
            return;
        }
        let rows = z.len() / lines;
        for (block, part) in tile.blocks(self.block) {
            for line in 0..lines {
                let z = &mut z[places(rows, line, part)];
                let at = |code: usize| code * lines + line;
                each_width!(block, part.rows.clone(), codes => self.add_weights(codes, order, z, |code| at(code.index())));
            }
        }
    }

    fn gather(
        &mut self,
        _kernels: &Kernels<R>,
        tile: &Tile<'_>,
        residuals: &Residuals<'_, R>,
    ) -> Result<(), OutOfRange> {
        if self.is_constant {
            return Ok(());
        }
        let lines = self.slots.lines;
        for (block, part) in tile.blocks(self.block) {
            if lines == 1 {
                let quantised = &residuals.quantised[part.places()];
                each_width!(block, part.rows.clone(), codes => self.add_sums(codes, quantised, |code| code.index()));
                continue;
            }
            for line in 0..lines {
                let quantised = &residuals.quantised[residuals.places(line, part)];
                let at = |code: usize| code * lines + line;
                each_width!(block, part.rows.clone(), codes => self.add_sums(codes, quantised, |code| at(code.index())));
            }
        }
        Ok(())
    }

    fn step(&mut self, tile: &Tile<'_>, order: &Move) {
        if O::ANCHORED {
            return self.slots.step_anchored(order, |_| 1.0);
        }
        let optimiser = self.slots.at(&order.step);
        for (block, part) in tile.blocks(self.block) {
            each_width!(block, part.rows.clone(), codes => self.touch(&optimiser, codes, order));
        }
    }

    fn take(&mut self, tile: &Tile<'_>, entries: &mut Vec<Entry>) {
        for (block, part) in tile.blocks(self.block) {
            each_width!(block, part.rows.clone(), codes => self.take(codes, entries));
        }
    }

    fn coordinates(&self) -> &dyn Coordinates {
        &self.slots
    }

    fn coordinates_mut(&mut self) -> &mut dyn Coordinates {
        &mut self.slots
    }
}
