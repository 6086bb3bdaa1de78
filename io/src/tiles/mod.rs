//! The tile stream (stage 4): grains of a split, handed to workers, inside a memory budget.
//!
//! A [`TileStream`] is made once for a set of columns; each [`TileStream::scan`] is one pass. Only the columns asked for
//! are read. Grains are views into maps: nothing is copied.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`options`] | what is read, of which grains, in how much memory? |
//! | [`budget`] | which grains stay in memory, and how many may be on their way? |
//! | [`load`] | how does one grain get into memory, by map or direct I/O? |
//! | [`feed`] | how do readers stay ahead of the workers? |
//! | [`view`] | how do stored columns become the blocks of a kernel's grain? |
//! | [`scan`] | how do workers share the grains of a pass? |

pub mod budget;
pub mod feed;
pub mod load;
pub mod options;
pub mod scan;
pub mod view;

use std::ops::Range;
use std::sync::OnceLock;

use budget::Residency;
use load::Spare;
pub use options::{Io, Pick, ScanReport, StreamOptions};
use view::{GrainView, Shape};

use crate::dataset::{Dataset, GrainEntry};
use crate::error::{Error, Result};
use crate::manifest::Layout;
use crate::shard::Shard;

/// The grains of a split, ready to be scanned, one scan at a time (two at once would take the window's memory twice).
#[derive(Debug)]
pub struct TileStream<'d> {
    dataset: &'d Dataset,
    shape: Shape,
    grains: &'d [GrainEntry],
    range: Range<usize>,
    residency: Residency,
    /// Memory of each grain in its map, in the order of the stream.
    mapped_bytes: Vec<u64>,
    /// Bytes of a read buffer, when grains that do not stay are read by direct I/O.
    block_bytes: Option<u64>,
    /// Views of the grains that stay, made on first use.
    views: Vec<OnceLock<GrainView>>,
    spare: Spare,
}

impl Dataset {
    /// Make a stream of grains.
    ///
    /// # Errors
    /// [`Error::Usage`] when the options ask for what the dataset or the memory does not have.
    // By value, as literals with `..StreamOptions::new(split)` are written in the call.
    #[allow(clippy::needless_pass_by_value)]
    pub fn stream(&self, options: StreamOptions) -> Result<TileStream<'_>> {
        let grains = self.grains(options.split);
        let range = options.grains.clone().unwrap_or(0..grains.len());
        if range.start > range.end || range.end > grains.len() {
            let message = format!("grains {} to {} were asked for, there are {}", range.start, range.end, grains.len());
            return Err(Error::Usage(message));
        }
        let shape = Shape::of(self.manifest(), &options)?;
        let chosen = &grains[range.clone()];
        let mapped_bytes = budget::mapped_bytes(&self.manifest().columns, &shape.columns, chosen);
        let fits = mapped_bytes.iter().sum::<u64>() <= options.budget_bytes;
        let block_bytes = if fits { None } else { self.direct_block_bytes(options.io, chosen, &shape, &mapped_bytes)? };
        let moving_bytes = block_bytes.unwrap_or(mapped_bytes.iter().copied().max().unwrap_or(0));
        let residency = Residency::of(&mapped_bytes, moving_bytes, options.budget_bytes, options.threads)?;
        let views = range.clone().map(|_| OnceLock::new()).collect();
        let spare = Spare::default();
        Ok(TileStream { dataset: self, shape, grains, range, residency, mapped_bytes, block_bytes, views, spare })
    }

    /// Size of a read buffer for direct I/O, or none when maps are to be used.
    fn direct_block_bytes(
        &self,
        io: Io,
        grains: &[GrainEntry],
        shape: &Shape,
        mapped_bytes: &[u64],
    ) -> Result<Option<u64>> {
        let Some(first) = grains.first().filter(|_| io != Io::Mmap) else { return Ok(None) };
        if self.shards()[first.shard].open_direct()?.is_none() {
            return match io {
                Io::Direct => Err(Error::Usage(format!(
                    "the file system of {} has no direct I/O. Maps can read it (Io::Mmap or Io::Auto)",
                    self.folder().display()
                ))),
                _ => Ok(None),
            };
        }
        let mut most = 0;
        for (entry, &bytes) in grains.iter().zip(mapped_bytes) {
            most = most.max(load::block_bytes(&self.shards()[entry.shard], entry, shape, bytes)?);
        }
        Ok(Some(most.next_multiple_of(crate::mmap::PAGE as u64)))
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

    /// How its memory is divided.
    pub fn residency(&self) -> &Residency {
        &self.residency
    }

    /// How grains that do not stay are read.
    pub fn io(&self) -> Io {
        if self.block_bytes.is_some() { Io::Direct } else { Io::Mmap }
    }

    fn shard(&self, entry: &GrainEntry) -> &Shard {
        &self.dataset.shards()[entry.shard]
    }

    /// An error when a shard of the stream changed since it was opened.
    fn check_unchanged(&self) -> Result<()> {
        let mut last = None;
        for entry in self.grains() {
            if last != Some(entry.shard) {
                self.shard(entry).check_unchanged()?;
                last = Some(entry.shard);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
