//! Sources that can be read column by column (stage 1): all values of a column of a part follow each other, stay in the cache
//! while they are looked at, and go straight to where they are stored.
//!
//! A door beside [`super::Source`], for those who need no row as a whole; it reads the same rows, and knows their number and the
//! range of every column beforehand. Only columns of plain numbers without a missing value are read in this way.

use std::sync::{Arc, Mutex};

use arrow::array::ArrayRef;

use crate::error::Result;
use crate::mmap::strips::{Strip, Strips};

/// Rows that are read together.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// How many.
    pub rows: usize,
    /// Rows of the batches in which [`super::Source::decode`] yields them.
    pub batch_rows: usize,
    /// Bytes of the source that they take.
    pub bytes: u64,
}

/// What a file promises of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Range {
    /// The range of these and those.
    pub fn with(self, other: Range) -> Range {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// A source that can be read column by column.
pub trait Columnar: Sync {
    /// The parts, in order: the chunks of [`super::Source::next`].
    fn parts(&self) -> Vec<Part>;

    /// What the files promise of a column; none: nothing, or that values are missing.
    fn range(&self, column: usize) -> Option<Range>;

    /// The values of a column in the first `rows` rows of a part, in `to` where they fit exactly, else where it suits; none: some are
    /// missing.
    ///
    /// # Errors
    /// As [`super::Source::decode`].
    fn read(
        &self,
        part: usize,
        column: usize,
        rows: usize,
        to: Option<Strip>,
        spare: &mut Spare,
    ) -> Result<Option<ArrayRef>>;
}

/// Memory that is used again for the next column.
#[derive(Debug, Default)]
pub struct Spare {
    values: Strips,
    /// Bytes of a file that were read together.
    pub windows: Arc<Mutex<Strips>>,
    /// Definition levels.
    pub levels: Vec<i16>,
    /// A decompressed page of values.
    pub page: Vec<u8>,
    /// A decompressed dictionary.
    pub dictionary: Vec<u8>,
}

impl Spare {
    /// Room for values, where those of the last column were if they are gone.
    ///
    /// # Errors
    /// As [`crate::mmap::Block::new`].
    pub fn strip(&mut self, bytes: usize) -> Result<Strip> {
        self.values.cut_one(bytes)
    }
}
