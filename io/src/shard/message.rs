//! The message of a record batch: where every buffer of every column lies in the file.
//!
//! Arrow lists the arrays of a batch ("nodes": length, number of nulls) and their buffers depth first. With the columns
//! known, that list has one right shape, and every length in it follows from the number of rows; only the lengths of
//! lists and strings are free. What does not fit is an error here, so that nothing later can reach outside the body.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use arrow::datatypes::{DataType, Schema};
use arrow::ipc;

use super::ALIGNMENT;
use super::footer::{BatchPlace, read_at};
use crate::error::{Error, Place, Result};

/// A buffer of values: where it lies in the file (validity bitmaps are left out: nothing is null).
pub type Piece = Range<u64>;

/// Where the columns of a record batch lie.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchLayout {
    /// Number of rows.
    pub rows: usize,
    /// The buffers of each column, depth first: one of a scalar or vector column; offsets, indices and values of a
    /// sparse one; offsets and bytes of strings.
    pub columns: Vec<Vec<Piece>>,
}

/// Read and check the message at `place`; `rows`, where known, is what it must say.
///
/// # Errors
/// [`Error::Data`] when the message is damaged, [`Error::Io`] when it cannot be read.
pub fn read(path: &Path, file: &File, place: BatchPlace, schema: &Schema, rows: Option<usize>) -> Result<BatchLayout> {
    let mut bytes = vec![0; place.metadata_bytes as usize];
    read_at(path, file, &mut bytes, place.offset)?;
    parse(path, &bytes, place, schema, rows)
}

/// Check the message at `place`, whose bytes are at hand; `rows`, where known, is what it must say.
///
/// # Errors
/// [`Error::Data`] when the message is damaged.
pub fn parse(
    path: &Path,
    bytes: &[u8],
    place: BatchPlace,
    schema: &Schema,
    rows: Option<usize>,
) -> Result<BatchLayout> {
    check(bytes, place, schema, rows).map_err(|message| {
        Error::data(path, format!("the record batch is damaged: {message}"))
            .at(Place::Offset(place.offset))
            .help("Run 'gristmill ingest' again to make the dataset anew")
    })
}

type Checked<T> = std::result::Result<T, String>;

fn check(bytes: &[u8], place: BatchPlace, schema: &Schema, rows: Option<usize>) -> Checked<BatchLayout> {
    // Prefix: 0xFFFFFFFF, then the length of the rest.
    let (prefix, content) = bytes.split_at_checked(8).ok_or("it is too short")?;
    let length = u64::from(u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]));
    if prefix[..4] != [0xff; 4] || length != place.metadata_bytes - 8 {
        return Err("its prefix is wrong".to_string());
    }
    // The parser wants its input aligned.
    let content = content.to_vec();
    let message = ipc::root_as_message(&content).map_err(|e| e.to_string())?;
    if message.version() != ipc::MetadataVersion::V5 || message.bodyLength() != place.body_bytes as i64 {
        return Err("version or length differ from the footer's".to_string());
    }
    let batch = message.header_as_record_batch().ok_or("it is another kind of message")?;
    if batch.compression().is_some() {
        return Err("compressed buffers were found where none are expected".to_string());
    }
    let found = usize::try_from(batch.length()).map_err(|_| "its number of rows is negative")?;
    if rows.is_some_and(|rows| rows != found) {
        return Err(format!("{} rows were expected, found {found}", rows.unwrap_or_default()));
    }
    let mut walk = Walk {
        nodes: batch
            .nodes()
            .iter()
            .flatten()
            .map(|node| (node.length(), node.null_count()))
            .collect::<Vec<_>>()
            .into_iter(),
        buffers: batch.buffers().iter().flatten().map(|b| (b.offset(), b.length())).collect::<Vec<_>>().into_iter(),
        place,
    };
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let mut pieces = Vec::new();
        walk.array(field.data_type(), Some(found as u64), &mut pieces)
            .map_err(|message| format!("column '{}': {message}", field.name()))?;
        columns.push(pieces);
    }
    if walk.nodes.next().is_some() || walk.buffers.next().is_some() {
        return Err("it lists more arrays than there are columns".to_string());
    }
    Ok(BatchLayout { rows: found, columns })
}

/// Goes through nodes and buffers in the order of the columns.
struct Walk {
    nodes: std::vec::IntoIter<(i64, i64)>,
    buffers: std::vec::IntoIter<(i64, i64)>,
    place: BatchPlace,
}

impl Walk {
    fn array(&mut self, data_type: &DataType, length: Option<u64>, pieces: &mut Vec<Piece>) -> Checked<()> {
        let length = self.node(length)?;
        self.validity()?;
        match data_type {
            DataType::FixedSizeList(item, width) => {
                let items = u64::try_from(*width).ok().and_then(|width| length.checked_mul(width));
                self.array(item.data_type(), Some(items.ok_or("its length overflows")?), pieces)
            }
            DataType::List(item) => {
                self.values(length.checked_add(1), 4, pieces)?;
                self.array(item.data_type(), None, pieces)
            }
            DataType::Struct(fields) => {
                fields.iter().try_for_each(|field| self.array(field.data_type(), Some(length), pieces))
            }
            DataType::Utf8 => {
                self.values(length.checked_add(1), 4, pieces)?;
                pieces.push(self.buffer()?);
                Ok(())
            }
            _ => {
                let width = data_type.primitive_width().ok_or("its type is not one of a shard")?;
                self.values(Some(length), width as u64, pieces)
            }
        }
    }

    fn node(&mut self, expected: Option<u64>) -> Checked<u64> {
        let (length, nulls) = self.nodes.next().ok_or("an array is missing")?;
        let length = u64::try_from(length).map_err(|_| "a length is negative")?;
        if expected.is_some_and(|expected| expected != length) {
            return Err(format!("{} values were expected, found {length}", expected.unwrap_or_default()));
        }
        if nulls != 0 {
            return Err(format!("no nulls were expected, found {nulls}"));
        }
        Ok(length)
    }

    /// The bitmap says nothing when nothing is null; it must lie inside the body all the same.
    fn validity(&mut self) -> Checked<()> {
        self.buffer().map(|_| ())
    }

    fn values(&mut self, count: Option<u64>, width: u64, pieces: &mut Vec<Piece>) -> Checked<()> {
        let bytes = count.and_then(|count| count.checked_mul(width)).ok_or("its length overflows")?;
        let buffer = self.buffer()?;
        if buffer.end - buffer.start < bytes {
            return Err(format!("a buffer holds {} bytes, {bytes} were expected", buffer.end - buffer.start));
        }
        pieces.push(buffer.start..buffer.start + bytes);
        Ok(())
    }

    /// The next buffer, as a range of the file.
    fn buffer(&mut self) -> Checked<Piece> {
        let (offset, length) = self.buffers.next().ok_or("a buffer is missing")?;
        let range = u64::try_from(offset).ok().zip(u64::try_from(length).ok());
        let range = range.and_then(|(offset, length)| Some((offset, offset.checked_add(length)?)));
        let (start, end) =
            range.filter(|(_, end)| *end <= self.place.body_bytes).ok_or("a buffer lies outside the body")?;
        let body = self.place.body();
        if start != end && !(body + start).is_multiple_of(ALIGNMENT as u64) {
            return Err(format!("a buffer does not start at a multiple of {ALIGNMENT} bytes"));
        }
        Ok(body + start..body + end)
    }
}
