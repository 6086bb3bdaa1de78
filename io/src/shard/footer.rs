//! The footer of an Arrow IPC file: where its record batches lie, checked before anything is read through it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use arrow::datatypes::{DataType, Schema};
use arrow::ipc;

use crate::error::{Error, Place, Result};

const MAGIC: &[u8; 6] = b"ARROW1";
/// Length of the footer and the magic at the end of the file.
const TRAILER: u64 = 10;
/// A footer holds 24 bytes a record batch and some 100 a column; more than this is damage.
const FOOTER_BYTES_MAX: u64 = 1 << 30;

/// Where a record batch lies in its file: metadata (the message), then body (the buffers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    /// First byte of the message.
    pub offset: u64,
    /// Bytes of the message, prefix and padding included.
    pub metadata_bytes: u64,
    /// Bytes of the body.
    pub body_bytes: u64,
}

impl BatchPlace {
    /// First byte of the body.
    pub fn body(&self) -> u64 {
        self.offset + self.metadata_bytes
    }

    /// First byte after the body.
    pub fn end(&self) -> u64 {
        self.body() + self.body_bytes
    }
}

/// What a footer says.
#[derive(Debug)]
pub struct Footer {
    /// The record batches, in file order, inside the file and not overlapping.
    pub batches: Vec<BatchPlace>,
    /// Key-value pairs of the footer.
    pub metadata: HashMap<String, String>,
}

/// Read and check the footer of `file`, whose columns must be those of `schema`.
///
/// # Errors
/// [`Error::Data`] when the file is not such an Arrow IPC file, [`Error::Io`] when it cannot be read.
pub fn read(path: &Path, file: &File, bytes: u64, schema: &Schema) -> Result<Footer> {
    let damaged =
        |message: String| Error::data(path, message).help("Run 'gristmill ingest' again to make the dataset anew");
    if bytes < TRAILER + 8 {
        return Err(damaged(format!("the file has only {bytes} bytes, too few for an Arrow file")));
    }
    let mut trailer = [0; TRAILER as usize];
    read_at(path, file, &mut trailer, bytes - TRAILER)?;
    let mut head = [0; 6];
    read_at(path, file, &mut head, 0)?;
    if trailer[4..] != MAGIC[..] || head != *MAGIC {
        return Err(damaged("this is no Arrow IPC file: expected 'ARROW1' at both ends".to_string()));
    }
    let length = u64::from(u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]));
    if length > FOOTER_BYTES_MAX || length > bytes - TRAILER - 8 {
        return Err(damaged(format!("the footer claims {length} bytes of a file of {bytes}")));
    }
    let start = bytes - TRAILER - length;
    let mut content = vec![0; length as usize];
    read_at(path, file, &mut content, start)?;
    let footer = ipc::root_as_footer(&content)
        .map_err(|e| damaged(format!("the footer is damaged: {e}")).at(Place::Offset(start)))?;
    check_schema(&footer, schema).map_err(damaged)?;
    let batches = places(&footer, start).map_err(damaged)?;
    let mut metadata = HashMap::new();
    for pair in footer.custom_metadata().iter().flatten() {
        metadata.insert(pair.key().unwrap_or_default().to_string(), pair.value().unwrap_or_default().to_string());
    }
    Ok(Footer { batches, metadata })
}

/// Read exactly, with the file's name in the error.
pub(super) fn read_at(path: &Path, file: &File, to: &mut [u8], offset: u64) -> Result<()> {
    file.read_exact_at(to, offset).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::data(path, format!("the file was truncated: it ends before byte {}", offset + to.len() as u64))
                .at(Place::Offset(offset))
        }
        _ => Error::io(path, "cannot read", e),
    })
}

fn places(footer: &ipc::Footer<'_>, end: u64) -> std::result::Result<Vec<BatchPlace>, String> {
    if footer.dictionaries().is_some_and(|blocks| !blocks.is_empty()) {
        return Err("dictionary batches were found where none are expected".to_string());
    }
    let blocks = footer.recordBatches().ok_or("the footer lists no record batches")?;
    let mut places = Vec::with_capacity(blocks.len());
    let mut free = 8;
    for (number, block) in blocks.iter().enumerate() {
        let place = place(block.offset(), block.metaDataLength().into(), block.bodyLength());
        let Some(place) = place.filter(|place| place.offset >= free && place.end() <= end) else {
            return Err(format!("record batch {number} does not lie inside the file, after the one before"));
        };
        free = place.end();
        places.push(place);
    }
    Ok(places)
}

/// None unless all are sensible and their sum does not overflow. A message is at least 16 bytes long and, like
/// its body, starts at a multiple of 8.
fn place(offset: i64, metadata: i64, body: i64) -> Option<BatchPlace> {
    let end = offset.checked_add(metadata)?.checked_add(body)?;
    let place = BatchPlace {
        offset: offset.try_into().ok()?,
        metadata_bytes: metadata.try_into().ok()?,
        body_bytes: body.try_into().ok()?,
    };
    (end > 0 && place.metadata_bytes >= 16 && place.offset.is_multiple_of(8) && place.body().is_multiple_of(8))
        .then_some(place)
}

fn check_schema(footer: &ipc::Footer<'_>, schema: &Schema) -> std::result::Result<(), String> {
    if footer.version() != ipc::MetadataVersion::V5 {
        return Err(format!("Arrow metadata version 5 was expected, found {:?}", footer.version()));
    }
    let found = footer.schema().ok_or("the footer has no schema")?;
    if found.endianness() != ipc::Endianness::Little {
        return Err("numbers are stored in big-endian order; expected little-endian".to_string());
    }
    let fields = found.fields().ok_or("the schema has no fields")?;
    if fields.len() != schema.fields().len() {
        return Err(format!("{} columns were expected, found {}", schema.fields().len(), fields.len()));
    }
    for (field, expected) in fields.iter().zip(schema.fields()) {
        if field.name() != Some(expected.name().as_str()) {
            let found = field.name().unwrap_or_default();
            return Err(format!("column '{}' was expected, found '{found}'", expected.name()));
        }
        if !matches(&field, expected.data_type()) {
            return Err(format!("column '{}' is not of the expected type {}", expected.name(), expected.data_type()));
        }
    }
    Ok(())
}

/// True when the field has that type. Names of children are not compared: Arrow implementations differ in them.
fn matches(field: &ipc::Field<'_>, expected: &DataType) -> bool {
    let float = |precision| field.type_as_floating_point().is_some_and(|found| found.precision() == precision);
    let unsigned = |bits| field.type_as_int().is_some_and(|int| int.bitWidth() == bits && !int.is_signed());
    let children = |expected: &[&DataType]| {
        let found = field.children();
        found.is_some_and(|found| {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(child, expected)| matches(&child, expected))
        })
    };
    field.dictionary().is_none()
        && match expected {
            DataType::Float64 => float(ipc::Precision::DOUBLE),
            DataType::Float32 => float(ipc::Precision::SINGLE),
            DataType::Float16 => float(ipc::Precision::HALF),
            DataType::UInt8 => unsigned(8),
            DataType::UInt16 => unsigned(16),
            DataType::UInt32 => unsigned(32),
            DataType::UInt64 => unsigned(64),
            DataType::Utf8 => field.type_type() == ipc::Type::Utf8,
            DataType::FixedSizeList(item, width) => {
                field.type_as_fixed_size_list().is_some_and(|list| list.listSize() == *width)
                    && children(&[item.data_type()])
            }
            DataType::List(item) => field.type_type() == ipc::Type::List && children(&[item.data_type()]),
            DataType::Struct(fields) => {
                field.type_type() == ipc::Type::Struct_
                    && children(&fields.iter().map(|field| field.data_type()).collect::<Vec<_>>())
            }
            _ => false,
        }
}
