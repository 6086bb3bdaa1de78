//! The tile stream (stage 4): grains of a split, handed to workers, inside a memory budget.
//!
//! A [`TileStream`] is made once for a set of columns; each [`TileStream::scan`] is one pass. Only the columns asked for
//! are read. Grains are views into maps: nothing is copied.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`options`] | what is read, of which grains, in how much memory? |
//! | [`view`] | how do stored columns become the blocks of a kernel's grain? |
//! | [`scan`] | how do workers share the grains of a pass? |

pub mod options;
pub mod scan;
pub mod view;

use std::ops::Range;
use std::sync::OnceLock;

pub use options::{Pick, ScanReport, StreamOptions};
use view::{GrainView, Shape};

use crate::dataset::{Dataset, GrainEntry};
use crate::error::{Error, Result};
use crate::manifest::Layout;
use crate::shard::reader::Check;

/// The grains of a split, ready to be scanned.
#[derive(Debug)]
pub struct TileStream<'d> {
    dataset: &'d Dataset,
    shape: Shape,
    grains: &'d [GrainEntry],
    range: Range<usize>,
    views: Vec<OnceLock<GrainView>>,
}

impl Dataset {
    /// Make a stream of grains.
    ///
    /// # Errors
    /// [`Error::Usage`] when the options ask for what the dataset does not have.
    pub fn stream(&self, options: StreamOptions) -> Result<TileStream<'_>> {
        let grains = self.grains(options.split);
        let range = options.grains.clone().unwrap_or(0..grains.len());
        if range.start > range.end || range.end > grains.len() {
            let message = format!("grains {} to {} were asked for, there are {}", range.start, range.end, grains.len());
            return Err(Error::Usage(message));
        }
        let shape = Shape::of(self.manifest(), &options)?;
        let views = range.clone().map(|_| OnceLock::new()).collect();
        Ok(TileStream { dataset: self, shape, grains, range, views })
    }
}

impl TileStream<'_> {
    /// Which parameter lies where.
    pub fn layout(&self) -> &Layout {
        &self.shape.layout
    }

    /// The numbers of the stream's grains.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The grains of the stream.
    pub fn grains(&self) -> &[GrainEntry] {
        &self.grains[self.range.clone()]
    }

    /// The view of grain number `number`, made on first use.
    fn view(&self, number: usize) -> Result<&GrainView> {
        let slot = &self.views[number - self.range.start];
        if let Some(view) = slot.get() {
            return Ok(view);
        }
        let view = self.map_grain(&self.grains[number])?;
        Ok(slot.get_or_init(|| view))
    }

    fn map_grain(&self, entry: &GrainEntry) -> Result<GrainView> {
        let shard = &self.dataset.shards()[entry.shard];
        let layout = shard.layout(entry.batch)?;
        let map = shard.map()?;
        let buffer = map.buffer();
        let mut columns = Vec::with_capacity(self.shape.columns.len());
        for &column in &self.shape.columns {
            let pieces = &layout.columns[column];
            for piece in pieces {
                map.populate(piece.start as usize..piece.end as usize)?;
            }
            let find = |piece: &Range<u64>| {
                Some(buffer.slice_with_length(piece.start as usize, (piece.end - piece.start) as usize))
            };
            columns.push(shard.view(entry.batch, column, pieces, Check::Kernels, find)?);
        }
        let bytes =
            self.shape.columns.iter().flat_map(|&column| &layout.columns[column]).map(|p| p.end - p.start).sum();
        Ok(GrainView { rows: entry.rows, bytes, columns })
    }
}

#[cfg(test)]
mod tests;
