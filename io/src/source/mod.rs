//! Sources (stage 1): foreign files become record batches. One file a format, one door, one registry.
//!
//! Reading is split in two, so that every format is decoded by all cores: [`Source::next`] hands out chunks in file
//! order and is cheap (a row group's number, a run of whole lines); [`Source::decode`] does the work and may run on
//! many threads at once.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`options`] | what may the user say about reading? |
//! | [`files`] | which files are meant? |
//! | [`detect`] | which format have they? |
//! | `partitions` | which columns stand in the names of folders? |
//! | [`flatten`] | how do nested columns become plain ones? |
//! | [`columnar`] | which sources can be read column by column, and what do they know of a column beforehand? |
//! | [`guard`] | what happens when a decoder panics? |
//! | [`text`] | how is text decompressed and cut into chunks? |
//! | [`arrow_ipc`], [`csv`], [`libsvm`], [`ndjson`], [`parquet`] | one format each |

pub mod arrow_ipc;
pub mod columnar;
mod common;
pub mod csv;
pub mod detect;
pub mod files;
pub mod flatten;
pub mod guard;
pub mod libsvm;
#[cfg(test)]
mod mutation_tests;
pub mod ndjson;
pub mod options;
pub mod parquet;
mod partitions;
#[cfg(test)]
mod sample_tests;
pub mod text;

use std::ops::Range;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Place, Result};

pub use columnar::Columnar;
pub use files::{SourceFile, list};
pub use options::{SourceOptions, TextType};

/// Bytes of a text that are looked at for the sake of its header alone.
const HEAD_BYTES: usize = 64 << 10;

/// Opens the files of a format; there is at least one, and none is empty.
pub type Open = fn(&[SourceFile], &SourceOptions) -> Result<Box<dyn Source>>;

/// A format: what it is called, how it is recognised, how it is opened.
pub struct Format {
    /// What `--format` calls it.
    pub name: &'static str,
    /// What messages call it.
    pub title: &'static str,
    /// Extensions of its files, in lower case.
    pub extensions: &'static [&'static str],
    /// First bytes of its files.
    pub magic: &'static [&'static [u8]],
    /// True for text, which may be compressed as a whole.
    pub is_text: bool,
    /// What says which columns there are.
    pub named_by: NamedBy,
    /// Opens files of it.
    pub open: Open,
}

/// What says which columns a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// Its header, schema or footer.
    Head,
    /// The format: they are always the same.
    Format,
    /// Every row for itself; what a row does not name is missing in it.
    Row,
}

/// The registry. To add a format, write its file and add its line.
pub const FORMATS: &[Format] = &[
    Format {
        name: "parquet",
        title: "a Parquet file",
        extensions: &["parquet", "pq", "parq"],
        magic: &[b"PAR1", b"PARE"],
        is_text: false,
        named_by: NamedBy::Head,
        open: parquet::open,
    },
    Format {
        name: "arrow",
        title: "an Arrow IPC file",
        extensions: &["arrow", "feather", "ipc", "arrows"],
        magic: &[arrow_ipc::index::MAGIC, arrow_ipc::index::CONTINUATION],
        is_text: false,
        named_by: NamedBy::Head,
        open: arrow_ipc::open,
    },
    Format {
        name: "csv",
        title: "a CSV file",
        extensions: &["csv", "tsv", "tab"],
        magic: &[],
        is_text: true,
        named_by: NamedBy::Head,
        open: csv::open,
    },
    Format {
        name: "libsvm",
        title: "a libsvm file",
        extensions: &["libsvm", "svm", "svmlight"],
        magic: &[],
        is_text: true,
        named_by: NamedBy::Format,
        open: libsvm::open,
    },
    Format {
        name: "ndjson",
        title: "an NDJSON file",
        extensions: &["ndjson", "jsonl", "json"],
        magic: &[],
        is_text: true,
        named_by: NamedBy::Row,
        open: ndjson::open,
    },
];

/// Open what `specs` stand for (see [`list`]).
///
/// # Errors
/// [`Error`] when files cannot be read, are of several formats or schemas, or hold no rows.
pub fn open(specs: &[String], options: &SourceOptions) -> Result<Box<dyn Source>> {
    open_files(&list(specs, options)?, options)
}

/// Open files that were listed before; may be called again, to read them again.
///
/// # Errors
/// As [`open`].
pub fn open_files(files: &[SourceFile], options: &SourceOptions) -> Result<Box<dyn Source>> {
    let format = detect::format_of(files, options);
    let may_be_empty = options.settled && format.as_ref().is_ok_and(|format| format.named_by != NamedBy::Head);
    if let Some(empty) = files.iter().find(|file| file.bytes == 0 && !may_be_empty) {
        return Err(Error::data(&empty.path, "the file is empty").help("Remove it, or leave it out"));
    }
    let format = format?;
    match partitions::keys(files, format, options)? {
        keys if keys.is_empty() => (format.open)(files, options),
        keys => partitions::open(files, &keys, format, options),
    }
}

/// The names of the columns of files whose rows may be none and whose types may mean nothing. Where a file says in its head which columns
/// it has, the first speaks for all.
///
/// # Errors
/// As [`open`].
pub fn names(files: &[SourceFile], options: &SourceOptions) -> Result<Vec<String>> {
    let format = detect::format_of(files, options)?;
    let mut look = SourceOptions { any_type: true, settled: true, ..options.clone() };
    if format.named_by != NamedBy::Row {
        look.sample_bytes = look.sample_bytes.min(HEAD_BYTES);
    }
    let schema = open_files(if format.is_text { files } else { &files[..1] }, &look)?.schema();
    Ok(schema.fields().iter().map(|field| field.name().clone()).collect())
}

/// The error of a source without rows; none where those may be none.
pub(crate) fn no_rows(path: &std::path::Path, what: &str, options: &SourceOptions) -> Result<()> {
    if options.settled {
        return Ok(());
    }
    Err(Error::data(path, what).help("Nothing can be learnt from no rows"))
}

/// An error when `options` name a column that is not among `names`.
pub(crate) fn check_names(options: &SourceOptions, names: &[String]) -> Result<()> {
    let read = options.columns.iter().flatten().chain(&options.verbatim);
    let given = read.chain(&options.ignore).chain(options.types.keys());
    for name in given {
        if names.iter().any(|known| known == name || known.starts_with(&format!("{name}."))) {
            continue;
        }
        let nearest =
            names.iter().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        let nearest = nearest.map(|nearest| format!(", is '{nearest}' meant?")).unwrap_or_default();
        return Err(Error::Usage(format!("there is no column '{name}'{nearest}")));
    }
    Ok(())
}

/// What to do about files that differ in their columns.
pub(crate) const SAME_COLUMNS: &str =
    "All files of a source need the same columns; leave out those that differ with --ignore";

/// What a source answers to a chunk that another source made.
pub(crate) fn foreign_chunk() -> Error {
    Error::Usage("this chunk comes from a source of another format".into())
}

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

/// What lies before a span of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// The number that the first chunk of the span will have.
    pub chunk: u64,
    /// Rows, where known without reading.
    pub rows: Option<u64>,
}

/// The door of the sources: one or more files of one format and one schema.
pub trait Source: Send + Sync {
    /// Names and types of the columns as they come, before any encoding. A sparse row is
    /// `List<Struct<index: UInt32, value: Float32>>`, strictly increasing.
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

    /// Bytes that [`Source::decode`] needs on the way, besides the rows that come out; 0: little.
    fn decode_bytes(&self) -> u64 {
        0
    }

    /// How many rows a chunk has.
    ///
    /// # Errors
    /// As [`Source::decode`], which formats with a faster way do not all find.
    fn count(&self, chunk: Chunk) -> Result<u64> {
        Ok(self.decode(chunk)?.iter().map(|batch| batch.num_rows() as u64).sum())
    }

    /// The same rows column by column, where the format lies so and every column is a plain number.
    fn columnar(&self) -> Option<Box<dyn Columnar + '_>> {
        None
    }

    /// From now on [`Source::next`] hands out the chunks that begin in `span`, a range of the bytes of [`Source::bytes`], from the
    /// first of them; they are the same as among all, so that spans side by side have every chunk once. None: only all can be read.
    fn narrow(&self, span: Range<u64>) -> Option<Before> {
        let _ = span;
        None
    }

    /// Where row `row` (from 0) of chunk `number` came from, for messages about a value found later on.
    fn place(&self, number: u64, row: u64) -> (PathBuf, Place);
}
