//! Parquet, column by column (stage 1): the pages of a column of a row group are decoded one after the other into one buffer.
//!
//! A dictionary of a column is looked up for all rows of a part while it is in the cache, pages are read a few at a time
//! (a window of 256 KiB), and no record batch is made. Pages of the usual kinds are decoded by [`super::pages`], others by the `parquet` crate. For flat columns of physical numbers only; what files promise of their ranges
//! comes from the statistics in their footers.

use std::io::{BufReader, Chain, Read};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray, UInt8Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};
use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::basic::Compression;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type as physical;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::file::statistics::Statistics;

use super::pages::{Found, Pages};
use super::{Footer, ParquetSource, Part, RowGroup, Within, decode_error, guard};
use crate::error::{Error, Place, Result};
use crate::mmap::strips::{Strip, Strips};
use crate::source::columnar::{self, Columnar, Range, Spare};
use crate::source::files::Positioned;

/// Bytes read at a time, where a page is not longer.
const WINDOW_BYTES: usize = 256 << 10;
/// With a longer page, so many bytes more: the header of the next one is not read by itself then.
const HEADER_BYTES: usize = 4 << 10;
/// Most parts: a list of more is not made on the word of a footer.
const PARTS_MAX: u64 = 1 << 20;
/// Rows whose definition levels are decoded at a time.
const LEVEL_ROWS: usize = 8 << 10;

/// The columns of a source.
pub struct Columns<'a> {
    source: &'a ParquetSource,
    parts: Vec<Part>,
}

impl<'a> Columns<'a> {
    /// None where a column is no plain number, or footers tell of more rows than files hold.
    pub(super) fn of(source: &'a ParquetSource) -> Option<Columns<'a>> {
        let is_plain = source.ranges.iter().all(Option::is_some);
        (is_plain && have_few_parts(&source.row_groups)).then(|| Columns { source, parts: source.all_parts() })
    }
}

fn have_few_parts(groups: &[RowGroup]) -> bool {
    let parts = groups.iter().map(|group| group.rows.div_ceil(group.part_rows.max(1)));
    parts.fold(0, u64::saturating_add) <= PARTS_MAX
}

impl Columnar for Columns<'_> {
    fn parts(&self) -> Vec<columnar::Part> {
        let part = |part: &Part| {
            let group = &self.source.row_groups[part.row_group];
            columnar::Part {
                rows: part.rows as usize,
                batch_rows: group.batch_rows as usize,
                bytes: group.share(part.first_row, part.rows),
            }
        };
        self.parts.iter().map(part).collect()
    }

    fn range(&self, column: usize) -> Option<Range> {
        self.source.ranges.get(column).copied().flatten()
    }

    fn read(
        &self,
        part: usize,
        column: usize,
        rows: usize,
        to: Option<Strip>,
        spare: &mut Spare,
    ) -> Result<Option<ArrayRef>> {
        let mut part = self.parts[part];
        part.rows = part.rows.min(rows as u64);
        let group = self.source.row_groups[part.row_group];
        let path = &self.source.files[group.file as usize].path;
        guard::decoding(path, || {
            let footer = self.source.footer(group.file as usize)?;
            let found = footer.metadata.metadata().row_groups().get(group.number as usize);
            let found = found.filter(|found| u64::try_from(found.num_rows()) == Ok(group.rows));
            let (Some(found), Some(leaf)) = (found, footer.leaf(column)) else {
                return Err(Error::data(path, "the file has changed while it was being read"));
            };
            let place = Place::Row(group.rows_before + part.first_row + 1);
            values(&footer, found.column(leaf), found.num_rows() as usize, part, to, spare)
                .map_err(|error| decode_error(path, &error).at(place))
        })
    }
}

/// What the parquet crate returns.
type Outcome<T> = parquet::errors::Result<T>;

fn values(
    footer: &Footer,
    column: &ColumnChunkMetaData,
    rows: usize,
    part: Part,
    to: Option<Strip>,
    spare: &mut Spare,
) -> Outcome<Option<ArrayRef>> {
    let reading = Reading { file: &footer.file, column, rows, part, spare };
    use parquet::basic::Type;
    match column.column_type() {
        Type::FLOAT => reading.numbers::<physical::FloatType, Float32Type, 4>(to),
        Type::DOUBLE => reading.numbers::<physical::DoubleType, Float64Type, 8>(to),
        Type::INT32 => reading.numbers::<physical::Int32Type, Int32Type, 4>(to),
        Type::INT64 => reading.numbers::<physical::Int64Type, Int64Type, 8>(to),
        Type::BOOLEAN => {
            let bits = reading.by_crate::<physical::BoolType>()?;
            Ok(bits.map(|bits| Arc::new(UInt8Array::from_iter_values(bits.into_iter().map(u8::from))) as ArrayRef))
        }
        other => Err(ParquetError::General(format!("{other} is no number"))),
    }
}

/// A column that is being read.
struct Reading<'a> {
    file: &'a Positioned,
    column: &'a ColumnChunkMetaData,
    /// Of the row group.
    rows: usize,
    part: Part,
    spare: &'a mut Spare,
}

impl Reading<'_> {
    fn numbers<P, A, const N: usize>(mut self, to: Option<Strip>) -> Outcome<Option<ArrayRef>>
    where
        P: physical::DataType<T = A::Native>,
        A: ArrowPrimitiveType,
    {
        let rows = self.part.rows as usize;
        let mut strip = match to.filter(|strip| strip.len() == rows * N) {
            Some(strip) => strip,
            None => self.spare.strip(rows * N).map_err(|error| ParquetError::General(error.to_string()))?,
        };
        let values = match self.by_pages(strip.bytes_mut().as_chunks_mut::<N>().0)? {
            Some(Found::All) => ScalarBuffer::new(strip.into_buffer(), 0, rows),
            Some(Found::Missing) => return Ok(None),
            None => match self.by_crate::<P>()? {
                Some(values) => values.into(),
                None => return Ok(None),
            },
        };
        Ok(Some(Arc::new(PrimitiveArray::<A>::new(values, None))))
    }

    /// The pages of a column, of which `about` tells.
    fn pages(&self, about: &ColumnChunkMetaData) -> Outcome<SerializedPageReader<Window>> {
        let (start, length) = self.column.byte_range();
        let window = Window {
            file: self.file.clone(),
            end: start.saturating_add(length),
            held: Mutex::default(),
            memory: Arc::clone(&self.spare.windows),
        };
        SerializedPageReader::new(Arc::new(window), about, self.rows, None)
    }

    /// The values of the part by [`super::pages`]; none: not to be read in that way.
    fn by_pages<const N: usize>(&mut self, to: &mut [[u8; N]]) -> Outcome<Option<Found>> {
        let column = self.column;
        let snappy = column.compression() == Compression::SNAPPY;
        let optional = match column.column_descr().max_def_level() {
            0 => false,
            1 => true,
            _ => return Ok(None),
        };
        let Ok(bytes_max) = usize::try_from(column.uncompressed_size()) else { return Ok(None) };
        // Pages that are said to be uncompressed come as they are.
        let reader = if snappy {
            self.pages(&column.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?)?
        } else {
            self.pages(column)?
        };
        let pages = Pages { reader, snappy, optional, bytes_max, spare: self.spare };
        Ok(pages.read(self.part.first_row as usize, to))
    }

    /// The values of the part by the `parquet` crate; none: some are missing.
    fn by_crate<P: physical::DataType>(self) -> Outcome<Option<Vec<P::T>>> {
        let pages = self.pages(self.column)?;
        let Reading { column, part, spare, .. } = self;
        let (first, rows) = (part.first_row as usize, part.rows as usize);
        let mut reader = ColumnReaderImpl::<P>::new(column.column_descr_ptr(), Box::new(pages));
        let skipped = if first > 0 { reader.skip_records(first)? } else { 0 };
        let (mut values, mut done) = (Vec::with_capacity(rows), 0);
        while skipped == first && done < rows {
            spare.levels.clear();
            let (records, _, _) =
                reader.read_records(LEVEL_ROWS.min(rows - done), Some(&mut spare.levels), None, &mut values)?;
            done += records;
            if records == 0 || values.len() < done {
                break;
            }
        }
        if done < rows && values.len() == done {
            return Err(ParquetError::General(format!("a column ends before row {}", first + rows)));
        }
        Ok((values.len() == rows).then_some(values))
    }
}

/// The bytes of a column of a row group, some pages at a time.
struct Window {
    file: Positioned,
    /// Where the column ends.
    end: u64,
    /// Where the bytes at hand begin, and they.
    held: Mutex<(u64, Bytes)>,
    /// What is read to.
    memory: Arc<Mutex<Strips>>,
}

impl Window {
    /// The bytes at hand from `start` on.
    fn from(&self, start: u64) -> Bytes {
        // Plain data: nothing can be half changed.
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, bytes) = &*held;
        match start.checked_sub(*at) {
            Some(skip) if skip < bytes.len() as u64 => bytes.slice(skip as usize..),
            _ => Bytes::new(),
        }
    }
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.file.length()
    }
}

impl ChunkReader for Window {
    type T = Chain<Reader<Bytes>, BufReader<Within>>;

    fn get_read(&self, start: u64) -> Outcome<Self::T> {
        let held = self.from(start);
        let rest = self.file.from(start.saturating_add(held.len() as u64));
        Ok(held.reader().chain(BufReader::new(Within(rest))))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Outcome<Bytes> {
        let held = self.from(start);
        if held.len() >= length {
            return Ok(held.slice(..length));
        }
        let left = self.end.min(self.file.length()).saturating_sub(start);
        if left < length as u64 {
            return Err(ParquetError::EOF(format!("bytes {start} to {start}+{length} lie outside the column")));
        }
        let bytes =
            WINDOW_BYTES.max(length.saturating_add(HEADER_BYTES)).min(usize::try_from(left).unwrap_or(usize::MAX));
        let strip = self.memory.lock().unwrap_or_else(PoisonError::into_inner).cut_one(bytes);
        let mut strip = strip.map_err(|error| ParquetError::General(error.to_string()))?;
        // The beginning of the page may be at hand.
        let (begun, rest) = strip.bytes_mut().split_at_mut(held.len());
        begun.copy_from_slice(&held);
        self.file.read_exact_at(rest, start + begun.len() as u64).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                ParquetError::EOF("the file was cut short while it was being read".into())
            }
            _ => error.into(),
        })?;
        let read = strip.into_bytes();
        let page = read.slice(..length);
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = (start, read);
        Ok(page)
    }
}

/// The range of a column of a row group; none: it is no plain number, values are missing, or nothing is promised.
pub fn range(group: &RowGroupMetaData, leaf: usize, data_type: &DataType) -> Option<Range> {
    use parquet::basic::Type;
    let column = group.column(leaf);
    let plain = match data_type {
        DataType::Float32 => column.column_type() == Type::FLOAT,
        DataType::Float64 => column.column_type() == Type::DOUBLE,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            column.column_type() == Type::INT32
        }
        DataType::Int64 => column.column_type() == Type::INT64,
        DataType::Boolean => column.column_type() == Type::BOOLEAN,
        _ => false,
    };
    let statistics = column.statistics().filter(|statistics| statistics.null_count_opt() == Some(0))?;
    if !plain || group.schema_descr().column(leaf).max_rep_level() > 0 {
        return None;
    }
    let range = match statistics {
        Statistics::Float(of) => between(of.min_opt(), of.max_opt(), |x| f64::from(*x)),
        Statistics::Double(of) => between(of.min_opt(), of.max_opt(), |x| *x),
        Statistics::Int32(of) => between(of.min_opt(), of.max_opt(), |x| f64::from(*x)),
        Statistics::Int64(of) => between(of.min_opt(), of.max_opt(), |x| *x as f64),
        Statistics::Boolean(of) => between(of.min_opt(), of.max_opt(), |x| f64::from(u8::from(*x))),
        _ => None,
    };
    range.filter(|range| range.min.is_finite() && range.max.is_finite() && range.min <= range.max)
}

fn between<T>(min: Option<&T>, max: Option<&T>, number: impl Fn(&T) -> f64) -> Option<Range> {
    Some(Range { min: number(min?), max: number(max?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_is_made_of_impossibly_many_parts() {
        let group = |rows: u64| RowGroup {
            file: 0,
            number: 0,
            rows_before: 0,
            rows,
            bytes: 0,
            part_rows: rows.min(1_024),
            batch_rows: 256,
        };
        assert!(have_few_parts(&[group(0), group(1), group(50_000_000)]));
        assert!(!have_few_parts(&[group(1), group(i64::MAX as u64), group(i64::MAX as u64), group(i64::MAX as u64)]));
    }
}
