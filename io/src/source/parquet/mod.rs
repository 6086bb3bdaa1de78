//! Parquet (stage 1): every encoding, codec and nesting depth that the `parquet` crate reads.
//!
//! A chunk is a row group, or a range of its rows where it holds more than `part_bytes` decoded, so that all cores have work
//! and memory stays bounded. Pages before a range are skipped without being decompressed.
//! Footers are read once when the source is opened; only row counts are kept of them, and the footers of the files
//! read last.

pub mod columns;
pub mod footer;
pub mod hints;
pub mod pages;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::columnar::Range;
use super::files::{Positioned, SourceFile};
use super::flatten::Flat;
use super::{Before, Chunk, Columnar, Content, Source, SourceOptions, foreign_chunk, guard, no_rows};
use crate::error::{Error, Place, Result};

/// Footers kept at hand, at least; as many as threads may read files at once.
const FOOTERS: usize = 8;
/// Decoded bytes of a batch.
const BATCH_BYTES: u64 = 4 << 20;
/// Bytes of a column's reader besides its page: a buffer over the file, and what describes the arrays of a chunk.
const READER_BYTES: u64 = 16 << 10;
/// Rows of a batch at most.
const BATCH_ROWS_MAX: u64 = 1 << 16;

/// Parquet files with the same columns.
struct ParquetSource {
    files: Vec<SourceFile>,
    options: SourceOptions,
    first: Flat,
    row_groups: Vec<RowGroup>,
    rows: u64,
    /// What all row groups promise of every column.
    ranges: Vec<Option<Range>>,
    /// Of [`Source::decode_bytes`].
    decode_bytes: u64,
    state: Mutex<State>,
}

/// A row group of any of the files.
#[derive(Clone, Copy, Debug)]
struct RowGroup {
    file: u32,
    number: u32,
    /// Rows of the file before it.
    rows_before: u64,
    rows: u64,
    /// Compressed bytes of the columns that are read.
    bytes: u64,
    /// Rows of a part.
    part_rows: u64,
    batch_rows: u32,
}

/// Rows of a row group that are decoded together.
#[derive(Clone, Copy, Debug)]
struct Part {
    row_group: usize,
    first_row: u64,
    rows: u64,
}

struct State {
    row_group: usize,
    next_row: u64,
    /// The parts handed out and those before them, by number.
    parts: Vec<Part>,
    /// No part from this number on is handed out.
    end: usize,
    footers: VecDeque<(usize, Arc<Footer>)>,
}

/// What is needed to read a file.
struct Footer {
    file: Positioned,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    /// The leaves that are read, among all leaves of the file.
    leaves: Vec<usize>,
    flat: Flat,
}

fn footers_max() -> usize {
    std::thread::available_parallelism().map_or(FOOTERS, |cores| FOOTERS.max(2 * cores.get()))
}

/// Open Parquet files.
///
/// # Errors
/// For files that are damaged, differ in their columns, or hold no row.
pub fn open(files: &[SourceFile], options: &SourceOptions) -> Result<Box<dyn Source>> {
    let mut common: Option<Flat> = None;
    let mut found = gather(files, options, &mut common)?;
    if found.is_wider {
        // The files before the one with another type are read as that, too.
        found = gather(files, options, &mut common)?;
    }
    let Gathered { row_groups, footers, ranges, decode_bytes, .. } = found;
    let rows = row_groups.iter().map(|group: &RowGroup| group.rows).sum();
    if rows == 0 {
        no_rows(&files[0].path, "holds no rows", options)?;
    }
    let first = common.ok_or_else(|| Error::Usage("no source file given".into()))?;
    let state = Mutex::new(State { row_group: 0, next_row: 0, parts: Vec::new(), end: usize::MAX, footers });
    let (files, options) = (files.to_vec(), options.clone());
    let ranges = ranges.unwrap_or_default();
    Ok(Box::new(ParquetSource { files, options, first, row_groups, rows, ranges, decode_bytes, state }))
}

/// What the footers of all files say.
struct Gathered {
    row_groups: Vec<RowGroup>,
    footers: VecDeque<(usize, Arc<Footer>)>,
    ranges: Option<Vec<Option<Range>>>,
    /// Of [`Source::decode_bytes`].
    decode_bytes: u64,
    /// A file has a type that made that of all another one.
    is_wider: bool,
}

/// Read all footers; `common` is what the files have in common, and takes in what is new.
fn gather(files: &[SourceFile], options: &SourceOptions, common: &mut Option<Flat>) -> Result<Gathered> {
    let (row_groups, footers) = (Vec::new(), VecDeque::new());
    let mut all = Gathered { row_groups, footers, ranges: None, decode_bytes: 0, is_wider: false };
    for (number, file) in files.iter().enumerate() {
        let (mut footer, full) = Footer::read(file, options)?;
        if let Some(common) = common {
            all.is_wider |= common.join(&file.path, &full, &files[0].path)?;
        }
        footer.flat = footer.flat.in_order_of(common.get_or_insert(full));
        add_row_groups(number, file, &footer, options, &mut all.row_groups)?;
        footer.add_ranges(&mut all.ranges);
        all.decode_bytes = footer.decode_bytes(options).max(all.decode_bytes);
        all.footers.push_back((number, Arc::new(footer)));
        all.footers.truncate(footers_max());
    }
    Ok(all)
}

impl Footer {
    /// Of `file`, with the plan of its whole schema.
    fn read(file: &SourceFile, options: &SourceOptions) -> Result<(Footer, Flat)> {
        guard::decoding(&file.path, || {
            let positioned = file.open()?;
            footer::check(&positioned)
                .map_err(|error| Error::io(&file.path, "cannot read", error))?
                .map_err(|refused| decode_error(&file.path, &ParquetError::General(refused.to_owned())))?;
            let failed = |error| decode_error(&file.path, &error);
            let mut metadata =
                ArrowReaderMetadata::load(&Chunks(positioned.clone()), ArrowReaderOptions::new()).map_err(failed)?;
            let whole = hints::handed_on(metadata.schema());
            if let Some(decoded) = hints::decoded(metadata.schema()) {
                let decoded = ArrowReaderOptions::new().with_schema(Arc::new(decoded));
                metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), decoded).map_err(failed)?;
            }
            let full = Flat::plan(&file.path, &whole, options)?;
            let mask = ProjectionMask::leaves(metadata.parquet_schema(), full.leaves());
            let builder =
                ParquetRecordBatchReaderBuilder::new_with_metadata(Chunks(positioned.clone()), metadata.clone());
            let reader = builder.with_projection(mask.clone()).with_row_groups(Vec::new()).build().map_err(failed)?;
            let projected = arrow::array::RecordBatchReader::schema(&reader);
            let projected = Schema::new(hints::with_types_of(projected.fields(), whole.fields()));
            let flat = Flat::select(&file.path, &projected, options)?;
            flat.same_as(&file.path, &full, &file.path)?;
            let leaves =
                (0..metadata.parquet_schema().num_columns()).filter(|&leaf| mask.leaf_included(leaf)).collect();
            Ok((Footer { file: positioned, metadata, mask, leaves, flat }, full))
        })
    }

    /// The number of the leaf that a column is read from, among all leaves of the file.
    fn leaf(&self, column: usize) -> Option<usize> {
        self.leaves.get(self.flat.leaf(column)?).copied()
    }

    /// The readers of [`ParquetSource::masks`] hold a page of every column: of a row group, or of columns as large as a part.
    fn decode_bytes(&self, options: &SourceOptions) -> u64 {
        let pages = |group: &RowGroupMetaData| {
            let columns = self.leaves.iter().filter_map(|&leaf| group.columns().get(leaf));
            columns.fold(0_u64, |sum, column| sum.saturating_add(column.uncompressed_size().max(0) as u64))
        };
        let most = self.metadata.metadata().row_groups().iter().map(pages).max().unwrap_or(0);
        most.min(options.part_bytes as u64) + self.leaves.len() as u64 * READER_BYTES
    }

    /// Take what this file promises of every column in; none: no file yet.
    fn add_ranges(&self, all: &mut Option<Vec<Option<Range>>>) {
        for group in self.metadata.metadata().row_groups().iter().filter(|group| group.num_rows() > 0) {
            let ranges = self.flat.schema.fields().iter().enumerate().map(|(number, field)| {
                let leaf = self.leaf(number).filter(|_| !self.flat.converts(number))?;
                columns::range(group, leaf, field.data_type())
            });
            match all {
                None => *all = Some(ranges.collect()),
                Some(all) => {
                    let both = |(all, next): (&mut Option<Range>, Option<Range>)| {
                        *all = all.zip(next).map(|(all, next)| all.with(next));
                    };
                    all.iter_mut().zip(ranges).for_each(both);
                }
            }
        }
    }
}

impl RowGroup {
    /// The share of its bytes that some rows have; the shares of all rows add up to all bytes.
    fn share(&self, first_row: u64, rows: u64) -> u64 {
        let before = |row: u64| (u128::from(self.bytes) * u128::from(row) / u128::from(self.rows.max(1))) as u64;
        before(first_row + rows) - before(first_row)
    }
}

fn add_row_groups(
    number: usize,
    file: &SourceFile,
    footer: &Footer,
    options: &SourceOptions,
    into: &mut Vec<RowGroup>,
) -> Result<()> {
    let mut rows_before: u64 = 0;
    for (at, group) in footer.metadata.metadata().row_groups().iter().enumerate() {
        let damaged = || Error::data(&file.path, format!("row group {at} has impossible sizes")).help(guard::DAMAGED);
        let rows = u64::try_from(group.num_rows()).map_err(|_| damaged())?;
        let (bytes, row_bytes) =
            sizes(group, footer, rows).filter(|(bytes, _)| *bytes <= file.bytes).ok_or_else(damaged)?;
        let part_rows = (options.part_bytes as u64 / row_bytes).max(1024);
        into.push(RowGroup {
            file: number as u32,
            number: at as u32,
            rows_before,
            rows,
            bytes,
            // Parts of one row group are of equal size.
            part_rows: rows.div_ceil(rows.div_ceil(part_rows).max(1)),
            batch_rows: (BATCH_BYTES / row_bytes).clamp(256, BATCH_ROWS_MAX) as u32,
        });
        rows_before = rows_before.checked_add(rows).ok_or_else(damaged)?;
    }
    Ok(())
}

/// Compressed bytes of the columns read, and an estimate of the decoded bytes of a row.
fn sizes(group: &RowGroupMetaData, footer: &Footer, rows: u64) -> Option<(u64, u64)> {
    let (mut compressed, mut plain) = (0_u64, 0_u64);
    for (leaf, column) in group.columns().iter().enumerate() {
        if footer.mask.leaf_included(leaf) {
            compressed = compressed.checked_add(u64::try_from(column.compressed_size()).ok()?)?;
            plain = plain.checked_add(u64::try_from(column.uncompressed_size()).ok()?)?;
        }
    }
    let widths: u64 = footer.flat.schema.fields().iter().map(|field| width(field.data_type())).sum();
    Some((compressed, (plain / rows.max(1)).max(widths).max(1)))
}

/// Bytes of a decoded value, at least.
fn width(data_type: &DataType) -> u64 {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => 16,
        DataType::FixedSizeList(child, count) => width(child.data_type()) * u64::try_from(*count).unwrap_or(1),
        other => other.primitive_width().unwrap_or(8) as u64,
    }
}

/// The columns of several batches of the same rows as one batch.
fn side_by_side<'a>(batches: impl Iterator<Item = &'a RecordBatch>) -> std::result::Result<RecordBatch, ArrowError> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for batch in batches {
        fields.extend(batch.schema_ref().fields().iter().cloned());
        arrays.extend_from_slice(batch.columns());
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

impl ParquetSource {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic can happen while the state is half changed: every change is a single assignment or push.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn footer(&self, file: usize) -> Result<Arc<Footer>> {
        if let Some((_, footer)) = self.lock().footers.iter().find(|(number, _)| *number == file) {
            return Ok(Arc::clone(footer));
        }
        let (mut footer, full) = Footer::read(&self.files[file], &self.options)?;
        full.same_as(&self.files[file].path, &self.first, &self.files[0].path)?;
        footer.flat = footer.flat.in_order_of(&self.first);
        let footer = Arc::new(footer);
        let mut state = self.lock();
        if state.footers.len() >= footers_max() {
            state.footers.pop_front();
        }
        state.footers.push_back((file, Arc::clone(&footer)));
        Ok(footer)
    }

    /// All parts, as [`Source::next`] hands them out.
    fn all_parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for (row_group, group) in self.row_groups.iter().enumerate().filter(|(_, group)| group.rows > 0) {
            let starts = (0..group.rows).step_by(group.part_rows as usize);
            let part = |first_row| Part { row_group, first_row, rows: group.part_rows.min(group.rows - first_row) };
            parts.extend(starts.map(part));
        }
        parts
    }

    /// The columns that are read at a time. A reader holds a page of each of its columns, as long as it may be, so that one of all columns
    /// would hold all of a wide row group for a part of its rows.
    fn masks(&self, footer: &Footer, group: &RowGroup) -> Vec<ProjectionMask> {
        let metadata = footer.metadata.metadata();
        let Some(columns) = metadata.row_groups().get(group.number as usize).map(RowGroupMetaData::columns) else {
            return Vec::new();
        };
        if group.part_rows >= group.rows {
            return vec![footer.mask.clone()];
        }
        let schema = metadata.file_metadata().schema_descr();
        let mut masks: Vec<(Vec<usize>, u64)> = Vec::new();
        let mut last = None;
        for (leaf, column) in columns.iter().enumerate().filter(|(leaf, _)| footer.mask.leaf_included(*leaf)) {
            let (root, bytes) = (schema.get_column_root_idx(leaf), column.uncompressed_size().max(0) as u64);
            match masks.last_mut() {
                // What a root holds stays together.
                Some((leaves, sum))
                    if last == Some(root) || sum.saturating_add(bytes) <= self.options.part_bytes as u64 =>
                {
                    leaves.push(leaf);
                    *sum = sum.saturating_add(bytes);
                }
                _ => masks.push((vec![leaf], bytes)),
            }
            last = Some(root);
        }
        match masks.len() {
            0 | 1 => vec![footer.mask.clone()],
            _ => masks.into_iter().map(|(leaves, _)| ProjectionMask::leaves(schema, leaves)).collect(),
        }
    }

    fn read(&self, part: Part) -> Result<Vec<RecordBatch>> {
        let group = self.row_groups[part.row_group];
        let path = &self.files[group.file as usize].path;
        let footer = self.footer(group.file as usize)?;
        if footer.metadata.metadata().row_groups().get(group.number as usize).map(RowGroupMetaData::num_rows)
            != i64::try_from(group.rows).ok()
        {
            return Err(Error::data(path, "the file has changed while it was being read"));
        }
        let failed =
            |error: &ParquetError| decode_error(path, error).at(Place::Row(group.rows_before + part.first_row + 1));
        let mut columns: Vec<Vec<RecordBatch>> = Vec::new();
        for mask in self.masks(&footer, &group) {
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
                Chunks(footer.file.clone()),
                footer.metadata.clone(),
            )
            .with_projection(mask)
            .with_row_groups(vec![group.number as usize])
            .with_offset(part.first_row as usize)
            .with_limit(part.rows as usize)
            .with_batch_size(group.batch_rows as usize)
            .build()
            .map_err(|error| failed(&error))?;
            let batches = reader.collect::<std::result::Result<_, ArrowError>>();
            columns.push(batches.map_err(|error| failed(&ParquetError::General(error.to_string())))?);
        }
        let mut batches = Vec::new();
        for number in 0..columns.first().map_or(0, Vec::len) {
            let batch = match &columns[..] {
                [all] => all[number].clone(),
                some => side_by_side(some.iter().filter_map(|batches| batches.get(number)))
                    .map_err(|error| failed(&ParquetError::General(error.to_string())))?,
            };
            batches.push(footer.flat.flatten(path, &batch)?);
        }
        let found: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        if found != part.rows {
            let message = format!("row group {} holds {found} rows of the {} promised", group.number, part.rows);
            return Err(Error::data(path, message).help(guard::DAMAGED));
        }
        Ok(batches)
    }
}

impl Source for ParquetSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.first.schema)
    }

    fn bytes(&self) -> Option<u64> {
        Some(self.row_groups.iter().map(|group| group.bytes).sum())
    }

    fn rows(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn decode_bytes(&self) -> u64 {
        self.decode_bytes
    }

    fn next(&self) -> Result<Option<Chunk>> {
        let mut state = self.lock();
        while let Some(group) = self.row_groups.get(state.row_group).filter(|_| state.parts.len() < state.end) {
            let first_row = state.next_row;
            let rows = group.part_rows.min(group.rows - first_row);
            if rows == 0 {
                (state.row_group, state.next_row) = (state.row_group + 1, 0);
                continue;
            }
            let part = state.parts.len();
            let row_group = state.row_group;
            state.parts.push(Part { row_group, first_row, rows });
            state.next_row += rows;
            return Ok(Some(Chunk {
                number: part as u64,
                bytes: group.share(first_row, rows),
                content: Content::Part { file: group.file as usize, part },
            }));
        }
        Ok(None)
    }

    fn decode(&self, chunk: Chunk) -> Result<Vec<RecordBatch>> {
        let Content::Part { part, .. } = chunk.content else { return Err(foreign_chunk()) };
        let part = self.lock().parts.get(part).copied().ok_or_else(foreign_chunk)?;
        let file = self.row_groups[part.row_group].file as usize;
        guard::decoding(&self.files[file].path, || self.read(part))
    }

    fn narrow(&self, span: std::ops::Range<u64>) -> Option<Before> {
        let mut parts = self.all_parts();
        let mut bytes = 0;
        let start = |part: &Part| {
            let before = bytes;
            bytes += self.row_groups[part.row_group].share(part.first_row, part.rows);
            before
        };
        let starts: Vec<u64> = parts.iter().map(start).collect();
        let [first, end] = [span.start, span.end].map(|at| starts.partition_point(|start| *start < at));
        let next = parts.get(first).map_or((self.row_groups.len(), 0), |part| (part.row_group, part.first_row));
        parts.truncate(first);
        let before = Before { chunk: first as u64, rows: Some(parts.iter().map(|part| part.rows).sum()) };
        let mut state = self.lock();
        (state.row_group, state.next_row) = next;
        (state.parts, state.end) = (parts, end);
        Some(before)
    }

    fn columnar(&self) -> Option<Box<dyn Columnar + '_>> {
        columns::Columns::of(self).map(|columns| Box::new(columns) as Box<dyn Columnar + '_>)
    }

    fn place(&self, number: u64, row: u64) -> (PathBuf, Place) {
        let Some(part) = self.lock().parts.get(number as usize).copied() else { return (PathBuf::new(), Place::File) };
        let group = self.row_groups[part.row_group];
        (self.files[group.file as usize].path.clone(), Place::Row(group.rows_before + part.first_row + row + 1))
    }
}

fn decode_error(path: &Path, error: &ParquetError) -> Error {
    Error::data(path, format!("not a readable Parquet file: {error}")).help(guard::DAMAGED)
}

/// The parquet crate's door to a file. (Its own, for `File`, shares one seek position between threads.)
struct Chunks(Positioned);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.length()
    }
}

/// A file whose end is an error to read: the parquet crate skips what a damaged page header announces without a look at whether anything is
/// left, and does so two thousand million times.
struct Within(Positioned);

impl Read for Within {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(to)? {
            0 if !to.is_empty() => Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Within>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(Within(self.0.from(start))))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.0.length());
        if end.is_none() {
            let message =
                format!("bytes {start} to {start}+{length} lie outside the file of {} bytes", self.0.length());
            return Err(ParquetError::EOF(message));
        }
        let bytes = self.0.bytes_at(start, length)?;
        if bytes.len() != length {
            return Err(ParquetError::EOF("the file was cut short while it was being read".into()));
        }
        Ok(bytes.into())
    }
}
