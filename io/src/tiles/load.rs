//! How one grain gets into memory, and out of it again.
//!
//! Two ways behind one door: *mapped* populates the pages of the wanted columns in the shard's map; *direct* reads them
//! past the page cache into a page-aligned block (O_DIRECT, about half the processor time of the map). Either way the worker
//! that takes the grain makes and checks the views, while its bytes are warm in the cache.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::buffer::Buffer;

use super::view::{GrainView, Shape};
use crate::dataset::GrainEntry;
use crate::error::{Error, Place, Result};
use crate::mmap::ring::{Failure, Part};
use crate::mmap::{Block, PAGE};
use crate::shard::Shard;
use crate::shard::message::{BatchLayout, Piece};
use crate::shard::reader::Check;

/// Wanted pieces closer than this are read in one request, with what lies between them.
const GAP_BYTES: u64 = 64 << 10;
/// When more of a grain than this is wanted, all of it is read, in one request.
const WHOLE_SHARE: f64 = 0.75;

/// A grain whose bytes are in memory.
pub enum Loaded {
    /// In the shard's map.
    Mapped(BatchLayout),
    /// In a block.
    Direct {
        /// Where the columns lie in the file.
        layout: BatchLayout,
        /// The memory.
        block: Arc<Block>,
        /// Which parts of the file it holds, ascending.
        extents: Vec<Extent>,
    },
}

/// A part of a file in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The part of the file, whole pages.
    pub file: Range<u64>,
    /// Where in the block it begins.
    pub at: usize,
}

impl Loaded {
    /// A grain that was populated in its shard's map, all of it, its message too.
    ///
    /// # Errors
    /// [`Error::Data`] when its message is damaged.
    pub fn populated(shard: &Shard, entry: &GrainEntry) -> Result<Loaded> {
        shard.layout(entry.batch).map(Loaded::Mapped)
    }

    /// Have the disk begin to read a grain that will be mapped: all of it where all is wanted, else the message that says where the
    /// columns are.
    ///
    /// # Errors
    /// When there is no such grain, or its shard cannot be mapped.
    pub fn ask(shard: &Shard, entry: &GrainEntry, shape: &Shape) -> Result<()> {
        let place = shard.place(entry.batch)?;
        let end = if shape.is_whole() { place.end() } else { place.body() };
        shard.map()?.ask(place.offset as usize..end as usize);
        Ok(())
    }

    /// Populate the wanted columns of a grain that was asked for in its shard's map.
    ///
    /// # Errors
    /// Of reading.
    pub fn mapped(shard: &Shard, entry: &GrainEntry, shape: &Shape) -> Result<Loaded> {
        let layout = shard.layout(entry.batch)?;
        let map = shard.map()?;
        let ranges = merge(wanted(&layout, shape), PAGE as u64);
        let ranges = || ranges.iter().map(|range| range.start as usize..range.end as usize);
        if !shape.is_whole() {
            ranges().for_each(|range| map.ask(range));
        }
        ranges().try_for_each(|range| map.populate(range))?;
        Ok(Loaded::Mapped(layout))
    }

    /// Make and check the views. Checksums cost as much as a pass, so they are compared where a grain comes `first` in this stream, and not
    /// where a file is mapped that is as ingest left it: its bytes are mostly in memory since then.
    ///
    /// # Errors
    /// [`Error::Data`] for a value that is not allowed, or bytes that changed.
    pub fn view(&self, shard: &Shard, entry: &GrainEntry, shape: &Shape, first: bool) -> Result<GrainView> {
        let is_trusted = matches!(self, Loaded::Mapped(_)) && shard.is_as_finished();
        let check = if first && !is_trusted { Check::Bytes } else { Check::Kernels };
        let (layout, buffer, extents) = match self {
            Loaded::Mapped(layout) => (layout, shard.map()?.buffer(), None),
            Loaded::Direct { layout, block, extents } => (layout, block.buffer(), Some(extents)),
        };
        let find = |piece: &Piece| find(&buffer, extents.map(Vec::as_slice), piece);
        let mut columns = Vec::with_capacity(shape.columns.len());
        for &column in &shape.columns {
            columns.push(shard.view(entry.batch, column, &layout.columns[column], check, find)?);
        }
        let bytes = wanted(layout, shape).iter().map(|piece| piece.end - piece.start).sum();
        Ok(GrainView { rows: entry.rows, bytes, columns })
    }

    /// Let go of the memory of a grain that does not stay.
    ///
    /// # Errors
    /// None in practice: the map exists.
    pub fn drop_behind(self, shard: &Shard, entry: &GrainEntry, spare: &Spare) -> Result<()> {
        match self {
            Loaded::Mapped(_) => {
                let place = shard.place(entry.batch)?;
                shard.map()?.evict(place.offset as usize..place.end() as usize);
            }
            Loaded::Direct { block, .. } => spare.put(block),
        }
        Ok(())
    }
}

/// Blocks are cut from memory of this length, in huge pages: a grain by itself begins and ends inside one, or is less.
const CUT_BYTES: usize = 32 << 20;

/// Blocks to read into. Those of grains that do not stay are kept from pass to pass; there are never more than fit the window.
#[derive(Debug, Default)]
pub struct Spare(Mutex<Pool>);

#[derive(Debug, Default)]
struct Pool {
    free: Vec<Arc<Block>>,
    /// What is left of the memory that blocks are cut from, not touched yet.
    uncut: Option<Block>,
}

impl Spare {
    /// A block of at least `bytes` bytes.
    ///
    /// # Errors
    /// When there is no memory for one.
    pub fn take(&self, bytes: usize) -> Result<Arc<Block>> {
        let block = self.lock().free.pop();
        match block.filter(|block| block.len() >= bytes) {
            Some(block) => Ok(block),
            None => self.cut(bytes),
        }
    }

    /// A block of at least `bytes` bytes that nobody had.
    ///
    /// # Errors
    /// When there is no memory for one.
    pub fn cut(&self, bytes: usize) -> Result<Arc<Block>> {
        let mut pool = self.lock();
        if let Some(block) = pool.uncut.as_mut().and_then(|uncut| uncut.cut(bytes)) {
            return Ok(Arc::new(block));
        }
        let mut uncut = Block::for_long(bytes.next_multiple_of(PAGE).max(CUT_BYTES))?;
        let block = uncut.cut(bytes);
        pool.uncut = Some(uncut);
        block.map(Arc::new).ok_or_else(|| Error::Usage("a grain is larger than all memory".to_string()))
    }

    fn put(&self, block: Arc<Block>) {
        self.lock().free.push(block);
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that a block for a grain needs, whatever share of it is wanted.
pub fn block_bytes(shard: &Shard, entry: &GrainEntry, shape: &Shape, mapped_bytes: u64) -> Result<u64> {
    let place = shard.place(entry.batch)?;
    // Each extent is widened to whole pages; between two merged ones lie at most so many bytes.
    let gaps = shape.pieces * (GAP_BYTES + 2 * PAGE as u64);
    Ok((mapped_bytes + place.metadata_bytes + gaps).min(place.end() - place.offset + 4 * PAGE as u64))
}

/// A grain that is being read into a block, in one or two steps: all of it; or its message, and then the wanted columns.
pub struct Reading {
    whole: bool,
    extents: Vec<Extent>,
    /// What this step reads.
    parts: Vec<Part>,
    /// Known from the second step on.
    layout: Option<BatchLayout>,
}

/// What follows when a step's parts are in the block.
pub enum Step {
    /// Nothing: the grain is in memory.
    Loaded(Loaded),
    /// The second step, into the same block.
    Again(Reading, Arc<Block>),
}

impl Reading {
    /// The first step of a grain, into a block of `room` bytes.
    ///
    /// # Errors
    /// [`Error::Data`] when there is no such grain, or it is larger than it should be.
    pub fn begin(shard: &Shard, entry: &GrainEntry, shape: &Shape, room: usize) -> Result<Reading> {
        let place = shard.place(entry.batch)?;
        let whole = shape.wanted_share * (place.end() - place.offset) as f64 > WHOLE_SHARE * place.body_bytes as f64;
        let mut reading = Reading { whole, extents: Vec::new(), parts: Vec::new(), layout: None };
        reading.want(shard, if whole { place.offset..place.end() } else { place.offset..place.body() }, room)?;
        Ok(reading)
    }

    /// What this step reads.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Go on: this step's parts are in the block.
    ///
    /// # Errors
    /// [`Error::Data`] when the grain's message is damaged.
    pub fn arrived(mut self, shard: &Shard, entry: &GrainEntry, shape: &Shape, mut block: Arc<Block>) -> Result<Step> {
        if let Some(layout) = self.layout {
            return Ok(Step::Loaded(Loaded::Direct { layout, block, extents: self.extents }));
        }
        let place = shard.place(entry.batch)?;
        let own = Arc::get_mut(&mut block).ok_or_else(|| Error::Usage("a read buffer is still in use".to_string()))?;
        let skip = (place.offset - self.extents[0].file.start) as usize;
        let message = &own.bytes_mut()[skip..skip + place.metadata_bytes as usize];
        let layout = shard.parse_layout(entry.batch, message)?;
        if self.whole {
            return Ok(Step::Loaded(Loaded::Direct { layout, block, extents: self.extents }));
        }
        self.parts.clear();
        for range in merge(wanted(&layout, shape), GAP_BYTES) {
            self.want(shard, range, block.len())?;
        }
        self.layout = Some(layout);
        if self.parts.is_empty() { self.arrived(shard, entry, shape, block) } else { Ok(Step::Again(self, block)) }
    }

    /// Add a range of the file, widened to whole pages, behind what the block holds already.
    fn want(&mut self, shard: &Shard, range: Range<u64>, room: usize) -> Result<()> {
        let page = PAGE as u64;
        let file = range.start / page * page..range.end.next_multiple_of(page);
        let at = self.extents.last().map_or(0, |last| last.at + (last.file.end - last.file.start) as usize);
        if at as u64 + (file.end - file.start) > room as u64 {
            let message = "a grain is larger than the footer says";
            return Err(Error::data(shard.path(), message).at(Place::Offset(range.start)));
        }
        self.parts.push(Part { needed: (range.end - file.start) as usize, file: file.clone(), at });
        self.extents.push(Extent { file, at });
        Ok(())
    }
}

/// Read the parts of a step, one after the other.
///
/// # Errors
/// Of the first that cannot be read.
pub fn read(file: &File, block: &mut Arc<Block>, parts: &[Part]) -> std::result::Result<(), Failure> {
    for part in parts {
        let fail = |have: usize, source| Failure { offset: part.file.start + have as u64, source };
        let own = Arc::get_mut(block).ok_or_else(|| fail(0, std::io::Error::other("a read buffer is still in use")))?;
        let target = &mut own.bytes_mut()[part.at..part.at + (part.file.end - part.file.start) as usize];
        let mut have = 0;
        while have < part.needed {
            match file.read_at(&mut target[have..], part.file.start + have as u64) {
                Ok(0) => return Err(fail(have, std::io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => have += count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(fail(have, e)),
            }
        }
    }
    Ok(())
}

/// What a failure means for a shard.
pub fn explain(shard: &Shard, failure: &Failure) -> Error {
    let message = match failure.source.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            format!("the file was truncated while in use: it ends at byte {}", failure.offset)
        }
        _ => format!("cannot read: {}", failure.source),
    };
    Error::data(shard.path(), message).at(Place::Offset(failure.offset))
}

/// The bytes of a piece in the map or the block.
fn find(buffer: &Buffer, extents: Option<&[Extent]>, piece: &Piece) -> Option<Buffer> {
    let length = (piece.end - piece.start) as usize;
    let start = match extents {
        None => piece.start as usize,
        // An empty piece may lie anywhere.
        Some(_) if length == 0 => 0,
        Some(extents) => {
            let extent =
                extents.iter().rev().find(|extent| extent.file.start <= piece.start && piece.end <= extent.file.end)?;
            extent.at + (piece.start - extent.file.start) as usize
        }
    };
    (start + length <= buffer.len()).then(|| buffer.slice_with_length(start, length))
}

/// The pieces of the wanted columns.
fn wanted(layout: &BatchLayout, shape: &Shape) -> Vec<Piece> {
    shape.columns.iter().flat_map(|&column| layout.columns[column].iter().cloned()).collect()
}

/// Ranges in file order, those less than `gap` bytes apart made one.
fn merge(mut pieces: Vec<Piece>, gap: u64) -> Vec<Piece> {
    pieces.retain(|piece| !piece.is_empty());
    pieces.sort_by_key(|piece| piece.start);
    let mut merged: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match merged.last_mut() {
            Some(last) if piece.start <= last.end.saturating_add(gap) => last.end = last.end.max(piece.end),
            _ => merged.push(piece),
        }
    }
    merged
}
