//! Grains that are open side by side, for whoever wants to go through several of them at once (stage 4): a batch of rows
//! that come from many places of a dataset.
//!
//! An [`OpenGrain`] holds its bytes in memory until it is closed or dropped. Grains that stay in memory are views that the
//! stream keeps; the others are read when they are opened (by map or direct I/O, as in a scan) and let go of when they are
//! closed. The caller bounds how many are open; what the stream's options call `threads` is that number.

use std::sync::atomic::Ordering;

use gristmill_kernels::tile::Grain;

use super::TileStream;
use super::load::{Loaded, Reading, Step, explain, read};
use super::view::GrainView;
use crate::error::{Error, Result};

/// A grain whose bytes are in memory.
pub struct OpenGrain<'s> {
    stream: &'s TileStream<'s>,
    number: usize,
    held: Held<'s>,
    read_bytes: u64,
}

enum Held<'s> {
    /// The stream keeps it.
    Stays(&'s GrainView),
    /// It is let go of again.
    Moves(Box<(GrainView, Loaded)>),
}

impl TileStream<'_> {
    /// Opens the grain with that number in the split.
    ///
    /// # Errors
    /// When it is not in the stream, cannot be read, or holds a value that is not allowed.
    pub fn open(&self, number: usize) -> Result<OpenGrain<'_>> {
        let Ok(index) = self.numbers.binary_search(&number) else {
            return Err(Error::Usage(format!("grain {number} is not in the stream")));
        };
        if let Some(view) = self.views[index].get() {
            return Ok(OpenGrain { stream: self, number, held: Held::Stays(view), read_bytes: 0 });
        }
        let (entry, shard) = (&self.grains[number], self.shard(&self.grains[number]));
        shard.check_unchanged()?;
        let loaded = self.load(number, index)?;
        let view = loaded.view(shard, entry, &self.shape, self.is_first(index));
        shard.check_pages()?;
        let view = view?;
        let read_bytes = view.bytes;
        let held = if self.residency.resident[index] {
            Held::Stays(self.views[index].get_or_init(|| view))
        } else {
            Held::Moves(Box::new((view, loaded)))
        };
        Ok(OpenGrain { stream: self, number, held, read_bytes })
    }

    /// True the first time that it is asked of a grain.
    pub(super) fn is_first(&self, index: usize) -> bool {
        !self.seen[index].swap(true, Ordering::Relaxed)
    }

    /// Reads a grain, by map or direct I/O as it is in a scan.
    fn load(&self, number: usize, index: usize) -> Result<Loaded> {
        let (entry, stays) = (&self.grains[number], self.residency.resident[index]);
        let shard = self.shard(entry);
        let Some(block_bytes) = self.block_bytes else {
            Loaded::ask(shard, entry, &self.shape)?;
            return Loaded::mapped(shard, entry, &self.shape);
        };
        let block = match stays {
            true => self.spare.cut(self.stay_bytes[index] as usize)?,
            false => self.spare.take(block_bytes as usize)?,
        };
        let file = shard.open_direct()?.ok_or_else(|| {
            Error::Usage(format!("{} cannot be read by direct I/O. Use --io mmap", shard.path().display()))
        })?;
        let mut step = Step::Again(Reading::begin(shard, entry, &self.shape, block.len())?, block);
        loop {
            match step {
                Step::Loaded(loaded) => return Ok(loaded),
                Step::Again(reading, mut block) => {
                    read(&file, &mut block, reading.parts()).map_err(|failure| explain(shard, &failure))?;
                    step = reading.arrived(shard, entry, &self.shape, block)?;
                }
            }
        }
    }
}

impl OpenGrain<'_> {
    /// Its number in the split.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Bytes of its columns.
    pub fn bytes(&self) -> u64 {
        self.view().bytes
    }

    /// Bytes that opening it read; 0 where they were at hand.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The grain as kernels take it.
    ///
    /// # Errors
    /// When the view does not have the stream's shape.
    pub fn grain(&self) -> Result<Grain<'_>> {
        self.view().grain(&self.stream.shape)
    }

    /// An error once a page of it could not be read: what was computed from it may be wrong.
    ///
    /// # Errors
    /// [`Error::Data`] with the offset.
    pub fn check(&self) -> Result<()> {
        self.stream.shard(&self.stream.grains[self.number]).check_pages()
    }

    /// Lets go of its memory, unless it stays.
    ///
    /// # Errors
    /// As [`OpenGrain::check`].
    pub fn close(self) -> Result<()> {
        self.check()?;
        let (stream, number) = (self.stream, self.number);
        if let Held::Moves(moves) = self.held {
            let entry = &stream.grains[number];
            // The views go first: a block is written again only when nobody looks at it.
            let (view, loaded) = *moves;
            drop(view);
            loaded.drop_behind(stream.shard(entry), entry, &stream.spare)?;
        }
        Ok(())
    }

    fn view(&self) -> &GrainView {
        match &self.held {
            Held::Stays(view) => view,
            Held::Moves(moves) => &moves.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::{Role, Split};
    use crate::testing::SampleDataset;
    use crate::tiles::{Io, StreamOptions};

    /// Every way of reading gives the same rows, and what does not stay is let go of.
    #[test]
    fn grains_open_side_by_side_hold_their_rows() {
        let folder = tempfile::tempdir().unwrap();
        let x: Vec<f32> = (0..4_000).map(|i| i as f32).collect();
        let y = x.iter().map(|x| x % 2.0).collect();
        let sample = SampleDataset::new(192).f32("x", Role::Feature, x).f32("y", Role::Label, y);
        let dataset = sample.write(&folder.path().join("data")).unwrap();
        for (budget_bytes, io) in [(u64::MAX, Io::Mmap), (160 << 10, Io::Mmap), (160 << 10, Io::Auto)] {
            let stream =
                dataset.stream(StreamOptions { budget_bytes, io, threads: 4, ..StreamOptions::new(Split::Train) });
            let stream = stream.unwrap();
            assert_eq!(stream.residency().streamed_bytes > 0, budget_bytes < u64::MAX);
            for first in (0..dataset.grains(Split::Train).len()).step_by(4) {
                let numbers = first..dataset.grains(Split::Train).len().min(first + 4);
                let open: Vec<_> = numbers.clone().map(|number| stream.open(number).unwrap()).collect();
                for (open, number) in open.iter().zip(numbers) {
                    let grain = open.grain().unwrap();
                    let mut labels = vec![0.0f32; grain.rows];
                    let kernels = gristmill_kernels::Kernels::<f32>::new(gristmill_kernels::Tier::Portable);
                    kernels.convert(grain.label.as_ref().unwrap(), 0..grain.rows, &mut labels);
                    let parity = |row: usize| ((number * 192 + row) % 2) as f32;
                    assert!(labels.iter().enumerate().all(|(row, label)| *label == parity(row)));
                    assert_eq!((open.number(), open.bytes() > 0), (number, true));
                }
                open.into_iter().for_each(|open| open.close().unwrap());
            }
            assert!(stream.open(dataset.grains(Split::Train).len()).is_err());
        }
    }
}
