//! A crossed column: the codes of a batch are made once, in the order of its rows, and then are those of a categorical column
//! ([`super::codes`]) of the batch.
//!
//! Cost: a code a row and part is read, and 4 bytes a row of the batch are kept until its step.

use gristmill_kernels::tile::{Block, Codes};
use gristmill_kernels::{Kernels, OutOfRange, Real};

use super::codes::CodeColumn;
use super::columns::{Columns, Part, Residuals, Tile};
use super::slot::{Coordinates, Entry, Move};
use crate::optim::stochastic::Optimiser;

/// See the head of the file.
pub struct CrossedColumn<O: Optimiser, R: Real> {
    /// Number of its block.
    block: usize,
    /// The column of the batch.
    column: CodeColumn<O, R>,
    codes: Vec<u32>,
    levels: usize,
}

impl<O: Optimiser, R: Real> CrossedColumn<O, R> {
    /// Of a column of so many levels as it would be if it were stored.
    pub fn new(column: CodeColumn<O, R>, levels: usize) -> CrossedColumn<O, R> {
        CrossedColumn { block: column.block, column: CodeColumn { block: 0, ..column }, codes: Vec::new(), levels }
    }

    /// Makes the codes of a batch.
    fn cross(&mut self, kernels: &Kernels<R>, tile: &Tile<'_>) {
        let rows = tile.parts.last().map_or(0, |part| part.places().end);
        self.codes.resize(rows, 0);
        for (block, part) in tile.blocks(self.block) {
            if let Block::Crossed(cross) = block {
                kernels.cross(cross, part.rows.clone(), &mut self.codes[part.places()]);
            }
        }
    }

    /// Does something with the column of the batch.
    fn with_column<T>(&mut self, work: impl FnOnce(&mut CodeColumn<O, R>, &Tile<'_>) -> T) -> T {
        let grains = [vec![Block::Codes { codes: Codes::U32(&self.codes), levels: self.levels }]];
        let parts = [Part { grain: 0, rows: 0..self.codes.len(), at: 0 }];
        work(&mut self.column, &Tile { grains: &grains, parts: &parts })
    }
}

impl<O: Optimiser, R: Real> Columns<R> for CrossedColumn<O, R> {
    fn margins(&mut self, kernels: &Kernels<R>, tile: &Tile<'_>, order: &Move, z: &mut [R]) {
        self.cross(kernels, tile);
        self.with_column(|column, tile| column.margins(kernels, tile, order, z));
    }

    fn gather(
        &mut self,
        kernels: &Kernels<R>,
        _tile: &Tile<'_>,
        residuals: &Residuals<'_, R>,
    ) -> Result<(), OutOfRange> {
        self.with_column(|column, tile| column.gather(kernels, tile, residuals))
    }

    fn step(&mut self, _tile: &Tile<'_>, order: &Move) {
        self.with_column(|column, tile| column.step(tile, order));
    }

    fn take(&mut self, _tile: &Tile<'_>, entries: &mut Vec<Entry>) {
        self.with_column(|column, tile| Columns::take(column, tile, entries));
    }

    fn step_shared(&mut self, entries: &[Entry], order: &Move) {
        self.column.step_shared(entries, order);
    }

    fn gradient_of(&self, entry: &Entry, order: &Move) -> f64 {
        self.column.gradient_of(entry, order)
    }

    fn coordinates(&self) -> &dyn Coordinates {
        self.column.coordinates()
    }

    fn coordinates_mut(&mut self) -> &mut dyn Coordinates {
        self.column.coordinates_mut()
    }
}
