//! Sources that can be read column by column (stage 1): all values of a column of a part follow each other, stay in the cache
//! while they are looked at, and go straight to where they are stored.
//!
//! A door beside [`super::Source`], for those who need no row as a whole; it reads the same rows, and knows their number and the
//! range of every column beforehand. Only columns of plain numbers without a missing value are read in this way.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{Float32Type, Float64Type, Int32Type, Int64Type};

use crate::error::Result;

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

    /// The values of a column in the first `rows` rows of a part, in the memory of `spare`; none: some are missing.
    ///
    /// # Errors
    /// As [`super::Source::decode`].
    fn read(&self, part: usize, column: usize, rows: usize, spare: &mut Spare) -> Result<Option<ArrayRef>>;
}

/// Memory that is used again for the next column.
#[derive(Debug, Default)]
pub struct Spare {
    values: Option<Buffer>,
    /// Definition levels.
    pub levels: Vec<i16>,
    /// A decompressed page of values.
    pub page: Vec<u8>,
    /// A decompressed dictionary.
    pub dictionary: Vec<u8>,
}

impl Spare {
    /// An empty vector, with the room of what was given back last where that fits.
    pub fn vector<T: arrow::datatypes::ArrowNativeType>(&mut self) -> Vec<T> {
        let mut vector = self.values.take().and_then(|buffer| buffer.into_vec().ok()).unwrap_or_default();
        vector.clear();
        vector
    }

    /// Give the memory of an array back; nothing happens while somebody else has a part of it.
    pub fn give_back(&mut self, array: ArrayRef) {
        fn values<T: ArrowPrimitiveType>(array: &dyn Array) -> Option<Buffer> {
            array.as_primitive_opt::<T>().map(|array| array.values().inner().clone())
        }
        self.values = values::<Float32Type>(&array)
            .or_else(|| values::<Float64Type>(&array))
            .or_else(|| values::<Int32Type>(&array))
            .or_else(|| values::<Int64Type>(&array));
        drop(array);
    }
}
