//! Where predictions go: Parquet, CSV or Arrow IPC, by extension or by `--format`.
//!
//! One door: a format prepares a batch (many threads at once), then appends it (one at a time, in order).

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::{Error, Result};

/// Rows of a Parquet row group: some MB, so that readers can work in parallel.
const ROW_GROUP_ROWS: usize = 1 << 18;

/// A format of predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Parquet, zstd-compressed.
    Parquet,
    /// Comma-separated values with a header.
    Csv,
    /// Arrow IPC file.
    Arrow,
}

/// Names of the formats and their extensions.
const FORMATS: [(Format, &str, &[&str]); 3] = [
    (Format::Parquet, "parquet", &["parquet", "pq"]),
    (Format::Csv, "csv", &["csv"]),
    (Format::Arrow, "arrow", &["arrow", "feather", "ipc"]),
];

impl Format {
    /// The format asked for by name, else by the output's extension; standard output (`-`) is CSV.
    ///
    /// # Errors
    /// When neither says which.
    pub fn find(name: Option<&str>, output: &Path) -> Result<Format> {
        let known = "Formats are parquet, csv and arrow";
        if let Some(name) = name {
            let format = FORMATS.iter().find(|(_, known, _)| *known == name);
            return format
                .map(|(format, ..)| *format)
                .ok_or_else(|| Error::usage(format!("--output-format is '{name}'. {known}")));
        }
        if output == Path::new("-") {
            return Ok(Format::Csv);
        }
        let extension = output.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        let by_extension = |extension: &str| FORMATS.iter().find(|(.., extensions)| extensions.contains(&extension));
        extension.as_deref().and_then(by_extension).map(|(format, ..)| *format).ok_or_else(|| {
            Error::usage(format!(
                "{}: the extension does not say which format to write. {known}: choose one by --output-format",
                output.display()
            ))
        })
    }
}

/// A batch on its way out.
pub enum Prepared {
    /// Text, ready to be appended.
    Text(Vec<u8>),
    /// Columns, to be encoded by the writer.
    Batch(RecordBatch),
}

/// An output being written.
pub enum Writer<W: Write + Send> {
    /// Parquet.
    Parquet(Box<ArrowWriter<W>>),
    /// CSV.
    Csv(W),
    /// Arrow IPC.
    Arrow(Box<FileWriter<W>>),
}

/// Prepare a batch; many threads may do so at once.
///
/// # Errors
/// When a column has a type that the format cannot show.
pub fn prepare(format: Format, batch: RecordBatch) -> std::result::Result<Prepared, ArrowError> {
    match format {
        Format::Csv => csv_lines(&batch).map(Prepared::Text),
        Format::Parquet | Format::Arrow => Ok(Prepared::Batch(batch)),
    }
}

impl<W: Write + Send> Writer<W> {
    /// Begin an output with these columns.
    ///
    /// # Errors
    /// When it cannot be written or a column's type has no place in the format.
    pub fn begin(format: Format, mut to: W, schema: &SchemaRef) -> std::result::Result<Writer<W>, ArrowError> {
        match format {
            Format::Csv => {
                let names: Vec<String> = schema.fields().iter().map(|field| quoted(field.name())).collect();
                to.write_all(format!("{}\n", names.join(",")).as_bytes())?;
                Ok(Writer::Csv(to))
            }
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .build();
                Ok(Writer::Parquet(Box::new(ArrowWriter::try_new(to, schema.clone(), Some(properties))?)))
            }
            Format::Arrow => Ok(Writer::Arrow(Box::new(FileWriter::try_new(to, schema)?))),
        }
    }

    /// Append what was prepared.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, prepared: &Prepared) -> std::result::Result<(), ArrowError> {
        match (self, prepared) {
            (Writer::Csv(to), Prepared::Text(text)) => Ok(to.write_all(text)?),
            (Writer::Parquet(to), Prepared::Batch(batch)) => Ok(to.write(batch)?),
            (Writer::Arrow(to), Prepared::Batch(batch)) => to.write(batch),
            // One format prepares and appends: the pairs above are all there are.
            _ => Err(ArrowError::InvalidArgumentError("a batch prepared for another format".into())),
        }
    }

    /// Write what the format has at its end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> std::result::Result<(), ArrowError> {
        match self {
            Writer::Csv(mut to) => Ok(to.flush()?),
            Writer::Parquet(to) => Ok(to.into_inner().map_err(ArrowError::from)?.flush()?),
            Writer::Arrow(mut to) => {
                to.finish()?;
                Ok(to.get_mut().flush()?)
            }
        }
    }
}

/// The rows as lines.
fn csv_lines(batch: &RecordBatch) -> std::result::Result<Vec<u8>, ArrowError> {
    use std::fmt::Write as _;
    let options = FormatOptions::default();
    let shown = batch.columns().iter().map(as_shown).collect::<std::result::Result<Vec<ArrayRef>, _>>()?;
    let columns = shown
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let mut lines = String::with_capacity(batch.num_rows() * 16 * columns.len());
    let mut cell = String::new();
    for row in 0..batch.num_rows() {
        for (number, column) in columns.iter().enumerate() {
            if number > 0 {
                lines.push(',');
            }
            if batch.column(number).is_null(row) {
                continue;
            }
            cell.clear();
            write!(cell, "{}", column.value(row)).map_err(|_| ArrowError::CsvError("a value has no text".into()))?;
            if needs_quotes(&cell) { lines.push_str(&quoted(&cell)) } else { lines.push_str(&cell) }
        }
        lines.push('\n');
    }
    Ok(lines.into_bytes())
}

/// A column as lines show it: instants of named time zones in UTC, bytes as the text that they are, or else in hexadecimal digits.
fn as_shown(column: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    if !matches!(column.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView) {
        return in_utc(column);
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = |bytes| std::str::from_utf8(bytes).map_or_else(|_| hex(bytes), str::to_owned);
    let bytes = cast(column, &DataType::LargeBinary)?;
    Ok(Arc::new(bytes.as_binary::<i64>().iter().map(|bytes| bytes.map(text)).collect::<StringArray>()))
}

/// The same instants with the offset of UTC where a time zone has a name: zones of that kind need a table of their history.
fn in_utc(column: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    let shown = without_names(column.data_type());
    if shown == *column.data_type() { Ok(Arc::clone(column)) } else { cast(column, &shown) }
}

/// The type with named time zones replaced, wherever they are in it.
fn without_names(data_type: &DataType) -> DataType {
    use DataType as T;
    let field = |field: &FieldRef| {
        let inner = without_names(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(inner))
    };
    match data_type {
        T::Timestamp(unit, Some(zone)) if !zone.starts_with(['+', '-']) => T::Timestamp(*unit, Some("+00:00".into())),
        T::List(item) => T::List(field(item)),
        T::LargeList(item) => T::LargeList(field(item)),
        T::FixedSizeList(item, size) => T::FixedSizeList(field(item), *size),
        T::Map(entries, sorted) => T::Map(field(entries), *sorted),
        T::Struct(fields) => T::Struct(fields.iter().map(field).collect()),
        T::Dictionary(key, value) => T::Dictionary(key.clone(), Box::new(without_names(value))),
        other => other.clone(),
    }
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty() || text.contains([',', '"', '\n', '\r']) || text.starts_with(' ') || text.ends_with(' ')
}

/// A text as RFC 4180 wants it; an empty text is quoted, so that it differs from a missing value.
fn quoted(text: &str) -> String {
    if needs_quotes(text) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryArray, Float64Array};

    use super::*;

    #[test]
    fn csv_quotes_what_it_must() {
        let names = StringArray::from(vec![Some("plain"), Some("a,b"), Some("say \"x\""), None, Some("")]);
        let values = Float64Array::from(vec![Some(0.1), None, Some(1e300), Some(-2.0), Some(5.0)]);
        let batch = RecordBatch::try_from_iter([
            ("na,me", Arc::new(names) as ArrayRef),
            ("value", Arc::new(values) as ArrayRef),
        ])
        .expect("a batch");
        let mut bytes = Vec::new();
        let mut writer = Writer::begin(Format::Csv, &mut bytes, &batch.schema()).expect("begins");
        writer.append(&prepare(Format::Csv, batch).expect("text")).expect("appends");
        writer.finish().expect("ends");
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert_eq!(text, "\"na,me\",value\nplain,0.1\n\"a,b\",\n\"say \"\"x\"\"\",1e300\n,-2.0\n\"\",5.0\n");
    }

    #[test]
    fn bytes_are_shown_as_the_text_that_they_are() {
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![Some("é,".as_bytes()), None, Some(b"\xff\x00")]));
        let batch = RecordBatch::try_from_iter([("bytes", bytes)]).expect("a batch");
        assert_eq!(csv_lines(&batch).expect("lines"), "\"é,\"\n\nff00\n".as_bytes());
    }

    #[test]
    fn the_format_is_found_by_name_or_extension() {
        assert_eq!(Format::find(None, Path::new("a.parquet")).expect("known"), Format::Parquet);
        assert_eq!(Format::find(None, Path::new("a.CSV")).expect("known"), Format::Csv);
        assert_eq!(Format::find(Some("arrow"), Path::new("a.csv")).expect("known"), Format::Arrow);
        assert_eq!(Format::find(None, Path::new("-")).expect("known"), Format::Csv);
        assert!(Format::find(None, Path::new("a.txt")).expect_err("unknown").to_string().contains("--output-format"));
        assert!(Format::find(Some("xls"), Path::new("a")).is_err());
    }
}
