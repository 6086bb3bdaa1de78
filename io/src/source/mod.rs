//! Sources (stage 1): foreign files become record batches. One file a format, one door, one registry.
//!
//! Reading is split in two, so that every format is decoded by all cores: [`Source::next`] hands out chunks in file
//! order and is cheap (a row group's number, a run of whole lines); [`Source::decode`] does the work and may run on
//! many threads at once.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;

/// A piece of a source that can be decoded on its own.
#[derive(Debug)]
pub struct Chunk {
    /// Its number, from 0, in the order of the files and of the rows in them.
    pub number: u64,
    /// Bytes of the source that it covers, for progress.
    pub bytes: u64,
    /// What the format needs to decode it.
    pub content: Content,
}

/// What a format needs to decode a chunk.
#[derive(Debug)]
pub enum Content {
    /// Part of a file that is read by number (a Parquet row group, an Arrow record batch).
    Part {
        /// Which file of the source.
        file: usize,
        /// Which part of it.
        part: usize,
    },
    /// Whole lines of text.
    Text {
        /// Which file of the source.
        file: usize,
        /// The line number of its first line, from 1.
        line: u64,
        /// The text.
        text: Vec<u8>,
    },
    /// Batches that came decoded (a stream that can only be read in order).
    Batches(Vec<RecordBatch>),
}

/// The door of the sources: one or more files of one format and one schema.
pub trait Source: Send + Sync {
    /// Names and types of the columns as they come, before any encoding. A sparse row is
    /// `List<Struct<index: UInt32, value: Float32>>` with indices from 0, strictly increasing.
    fn schema(&self) -> SchemaRef;

    /// Bytes to read in all, where known.
    fn bytes(&self) -> Option<u64>;

    /// Rows in all, where known without reading.
    fn rows(&self) -> Option<u64>;

    /// The next chunk, or none at the end. Calls are serialised inside; cheap.
    ///
    /// # Errors
    /// [`crate::Error`] when a file cannot be read or is not what it should be.
    fn next(&self) -> Result<Option<Chunk>>;

    /// The rows of a chunk, in order. Safe to call from many threads.
    ///
    /// # Errors
    /// [`crate::Error`] with file, line or row, and column.
    fn decode(&self, chunk: Chunk) -> Result<Vec<RecordBatch>>;

    /// Where row `row` (from 0) of chunk `number` came from, for messages about a value found later on.
    fn place(&self, number: u64, row: u64) -> (std::path::PathBuf, crate::error::Place);
}
