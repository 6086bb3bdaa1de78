//! The door of a batch's columns: margins out, gradient in, a step. One file a kind: `dense`, `codes`, `sparse`.
//!
//! A row has as many *lines* as margins make its loss: one, or one a class of a joint model (softmax). Margins and residuals of a
//! batch lie line after line, `z[line * rows + i]`; a coordinate's slots lie side by side, so that a level's classes share cache
//! lines and all lines of a row come from one reading of the data. An optimiser with an anchor has as many again, at the anchor.

use std::ops::Range;

use gristmill_kernels::tile::Block;
use gristmill_kernels::{FixedScale, Kernels, OutOfRange, Real};

use super::slot::{Coordinates, Entry, Move};

/// The rows of a batch that this rank has.
pub struct Tile<'a> {
    /// The open grains of this rank: of each the blocks, one a [`Columns`].
    pub grains: &'a [Vec<Block<'a>>],
    /// Where the rows lie.
    pub parts: &'a [Part],
}

/// Rows of a grain.
#[derive(Clone, Debug)]
pub struct Part {
    /// Number among the open grains of this rank.
    pub grain: usize,
    /// Rows of the grain.
    pub rows: Range<usize>,
    /// Where the first of them stands among the rows of the batch.
    pub at: usize,
}

impl Part {
    /// The places of its rows in the batch.
    pub fn places(&self) -> Range<usize> {
        self.at..self.at + self.rows.len()
    }
}

impl<'a> Tile<'a> {
    /// The block of column group `number` with every part.
    pub fn blocks(&self, number: usize) -> impl Iterator<Item = (&'a Block<'a>, &'a Part)> {
        let grains = self.grains;
        self.parts.iter().map(move |part| (&grains[part.grain][number], part))
    }
}

/// The residuals of a batch's rows.
pub struct Residuals<'a, R> {
    /// Weighted residuals.
    pub real: &'a [R],
    /// The same as integers at `scale`.
    pub quantised: &'a [i64],
    /// Rows of a line.
    pub rows: usize,
    /// Their sum over each part, in `f64`: line after line.
    pub sums: &'a [f64],
    /// Of sums in coordinates whose values are at most 1.
    pub scale: FixedScale,
    /// Its exponent.
    pub exponent: i32,
    /// Largest size of a residual.
    pub largest: f64,
}

impl<R> Residuals<'_, R> {
    /// Places of the rows of a part in a line.
    pub fn places(&self, line: usize, part: &Part) -> Range<usize> {
        places(self.rows, line, part)
    }
}

/// Places of the rows of a part in a line of so many rows.
pub fn places(rows: usize, line: usize, part: &Part) -> Range<usize> {
    let own = part.places();
    line * rows + own.start..line * rows + own.end
}

/// Some columns of one kind: a part of the margin, and the coordinates that go with it.
pub trait Columns<R: Real>: Send {
    /// Adds to the margins of a batch, at weights that are settled at the time before.
    fn margins(&mut self, kernels: &Kernels<R>, tile: &Tile<'_>, order: &Move, z: &mut [R]);

    /// Adds the gradient of this rank's rows to the sums.
    ///
    /// # Errors
    /// When a residual or value is beyond its bound.
    fn gather(&mut self, kernels: &Kernels<R>, tile: &Tile<'_>, residuals: &Residuals<'_, R>)
    -> Result<(), OutOfRange>;

    /// Moves what the batch touched, on a rank that is alone.
    fn step(&mut self, tile: &Tile<'_>, order: &Move);

    /// Takes the sums that are not 0 out of their slots.
    fn take(&mut self, tile: &Tile<'_>, entries: &mut Vec<Entry>);

    /// Moves what any rank touched, once all sums were added.
    fn step_shared(&mut self, entries: &[Entry], order: &Move) {
        self.coordinates_mut().step_entries(entries, order);
    }

    /// The gradient that a sum stands for.
    fn gradient_of(&self, entry: &Entry, order: &Move) -> f64 {
        entry.1 as f64 * order.unit
    }

    /// Its coordinates.
    fn coordinates(&self) -> &dyn Coordinates;
    /// The same, to be moved.
    fn coordinates_mut(&mut self) -> &mut dyn Coordinates;
}
