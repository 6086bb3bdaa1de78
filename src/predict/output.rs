//! Where predictions go: Parquet, CSV or Arrow IPC, by extension or by `--format`.
//!
//! One door: a format prepares a batch (many threads at once), then appends it (one at a time, in order).

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::writer::{DictionaryHandling, FileWriter, IpcWriteOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use gristmill_io::ingest::keep;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::dictionaries::Dictionaries;
use crate::error::{Error, Result};

/// Rows of a Parquet row group: some MB, so that readers can work in parallel.
const ROW_GROUP_ROWS: usize = 1 << 18;
/// Bytes that end a Parquet row group of wide rows before: it is in memory until then.
const ROW_GROUP_BYTES: usize = 32 << 20;

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

impl Prepared {
    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Prepared::Text(text) => text.len(),
            Prepared::Batch(batch) => keep::own_bytes(batch),
        }
    }
}

/// An output being written.
pub enum Writer<W: Write + Send> {
    /// Parquet.
    Parquet(Box<ArrowWriter<W>>),
    /// CSV.
    Csv(W),
    /// Arrow IPC.
    Arrow(Box<FileWriter<W>>, Dictionaries),
}

/// Prepare a batch; many threads may do so at once.
///
/// # Errors
/// When a column has a type that the format cannot show.
pub fn prepare(format: Format, batch: RecordBatch) -> std::result::Result<Prepared, ArrowError> {
    match format {
        Format::Csv => csv_lines(&batch).map(Prepared::Text),
        Format::Parquet => {
            let columns = batch.columns().iter().map(|column| shown_as(column, parquet_has_none));
            let columns = columns.collect::<std::result::Result<_, _>>()?;
            Ok(Prepared::Batch(RecordBatch::try_new(for_parquet(&batch.schema()), columns)?))
        }
        Format::Arrow => Ok(Prepared::Batch(batch)),
    }
}

/// A failure with the reason of the system where there is one, which the usual conversion makes a text of.
fn reason(error: ParquetError) -> ArrowError {
    match error {
        ParquetError::External(source) => ArrowError::ExternalError(source),
        other => other.into(),
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
                let schema = for_parquet(schema);
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
                // Numbers that are measured hardly come twice: a dictionary of them takes time and memory for nothing.
                let measured = schema.fields().iter().filter(|field| field.data_type().is_floating());
                let properties = measured.fold(properties, |properties, field| {
                    properties.set_column_dictionary_enabled(ColumnPath::new(vec![field.name().clone()]), false)
                });
                let writer = ArrowWriter::try_new(to, schema, Some(properties.build())).map_err(reason)?;
                Ok(Writer::Parquet(Box::new(writer)))
            }
            Format::Arrow => {
                let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
                let writer = FileWriter::try_new_with_options(to, schema, options)?;
                Ok(Writer::Arrow(Box::new(writer), Dictionaries::new(schema)?))
            }
        }
    }

    /// Append what was prepared.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, prepared: &Prepared) -> std::result::Result<(), ArrowError> {
        match (self, prepared) {
            (Writer::Csv(to), Prepared::Text(text)) => Ok(to.write_all(text)?),
            (Writer::Parquet(to), Prepared::Batch(batch)) => append_rows(to, batch).map_err(reason),
            (Writer::Arrow(to, dictionaries), Prepared::Batch(batch)) => to.write(&dictionaries.unified(batch)?),
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
            Writer::Parquet(mut to) => to.finish().map(|_| ()).map_err(reason),
            Writer::Arrow(mut to, _) => {
                to.finish()?;
                Ok(to.get_mut().flush()?)
            }
        }
    }
}

/// Rows to a Parquet file, a thousand at a time: a batch of wide ones would be encoded whole before its row group can end.
fn append_rows<W: Write + Send>(to: &mut ArrowWriter<W>, batch: &RecordBatch) -> std::result::Result<(), ParquetError> {
    for first in (0..batch.num_rows()).step_by(1_024) {
        to.write(&batch.slice(first, 1_024.min(batch.num_rows() - first)))?;
        if to.memory_size() > ROW_GROUP_BYTES {
            to.flush()?;
        }
    }
    Ok(())
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
    // Those of the values of a dictionary too, and of columns without a type, which `is_null` does not see.
    let missing: Vec<_> = batch.columns().iter().map(|column| column.logical_nulls()).collect();
    let mut lines = String::with_capacity(batch.num_rows() * 16 * columns.len());
    let mut cell = String::new();
    for row in 0..batch.num_rows() {
        for (number, column) in columns.iter().enumerate() {
            if number > 0 {
                lines.push(',');
            }
            if missing[number].as_ref().is_some_and(|missing| missing.is_null(row)) {
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
    shown_as(column, |data_type| match data_type {
        DataType::Timestamp(unit, Some(zone)) if !zone.starts_with(['+', '-']) => {
            Some(DataType::Timestamp(*unit, Some("+00:00".into())))
        }
        _ => None,
    })
}

/// Days and whole seconds in the units that Parquet has names for, as they are they would be plain integers there; decimals that count
/// in tens and more in ones.
fn parquet_has_none(data_type: &DataType) -> Option<DataType> {
    use DataType as T;
    match data_type {
        T::Decimal32(digits, scale)
        | T::Decimal64(digits, scale)
        | T::Decimal128(digits, scale)
        | T::Decimal256(digits, scale)
            if *scale < 0 =>
        {
            let digits = digits.saturating_add(scale.unsigned_abs());
            Some(if digits <= 38 { T::Decimal128(digits, 0) } else { T::Decimal256(digits.min(76), 0) })
        }
        DataType::Timestamp(TimeUnit::Second, zone) => Some(DataType::Timestamp(TimeUnit::Millisecond, zone.clone())),
        DataType::Time32(TimeUnit::Second) => Some(DataType::Time32(TimeUnit::Millisecond)),
        DataType::Date64 => Some(DataType::Date32),
        _ => None,
    }
}

fn for_parquet(schema: &SchemaRef) -> SchemaRef {
    let field = |field: &FieldRef| field.as_ref().clone().with_data_type(replaced(field.data_type(), parquet_has_none));
    let fields: Vec<Field> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// A column with its type as `other` has it.
fn shown_as(column: &ArrayRef, other: fn(&DataType) -> Option<DataType>) -> std::result::Result<ArrayRef, ArrowError> {
    let shown = replaced(column.data_type(), other);
    if shown == *column.data_type() { Ok(Arc::clone(column)) } else { cast(column, &shown) }
}

/// The type with others in the places of some, wherever they are in it.
fn replaced(data_type: &DataType, other: fn(&DataType) -> Option<DataType>) -> DataType {
    use DataType as T;
    let field = |field: &FieldRef| {
        let inner = replaced(field.data_type(), other);
        Arc::new(field.as_ref().clone().with_data_type(inner))
    };
    match data_type {
        T::List(item) => T::List(field(item)),
        T::LargeList(item) => T::LargeList(field(item)),
        T::ListView(item) => T::ListView(field(item)),
        T::LargeListView(item) => T::LargeListView(field(item)),
        T::FixedSizeList(item, size) => T::FixedSizeList(field(item), *size),
        T::Map(entries, sorted) => T::Map(field(entries), *sorted),
        T::Struct(fields) => T::Struct(fields.iter().map(field).collect()),
        T::Dictionary(key, value) => T::Dictionary(key.clone(), Box::new(replaced(value, other))),
        leaf => other(leaf).unwrap_or_else(|| leaf.clone()),
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
    use arrow::array::{
        BinaryArray, Date64Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int8Array, NullArray,
        Time32SecondArray, TimestampSecondArray,
    };
    use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

    use super::*;

    /// Takes so many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_in_the_words_of_the_system() {
        let numbers = Float64Array::from_iter_values((0..1_000).map(f64::from));
        let batch = RecordBatch::try_from_iter([("x", Arc::new(numbers) as ArrayRef)]).expect("a batch");
        for format in [Format::Csv, Format::Parquet, Format::Arrow] {
            let written = Writer::begin(format, Full(20), &batch.schema()).and_then(|mut writer| {
                writer.append(&prepare(format, batch.clone())?)?;
                writer.finish()
            });
            let kind = match written {
                Err(ArrowError::IoError(_, source)) => source.kind(),
                Err(ArrowError::ExternalError(source)) => {
                    source.downcast::<std::io::Error>().expect("of the system").kind()
                }
                other => panic!("{format:?}: {other:?}"),
            };
            assert_eq!(kind, std::io::ErrorKind::StorageFull, "{format:?}");
        }
    }

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
    fn what_has_no_value_by_its_type_or_in_its_dictionary_is_missing_in_lines() {
        let levels: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("")]));
        let coded = DictionaryArray::new(Int8Array::from(vec![Some(0), Some(1), None, Some(2)]), levels);
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("none", Arc::new(NullArray::new(4)) as ArrayRef, true),
            ("coded", Arc::new(coded), true),
        ]);
        assert_eq!(csv_lines(&batch.expect("a batch")).expect("lines"), b",a\n,\n,\n,\"\"\n");
    }

    #[test]
    fn seconds_and_days_keep_their_meaning_in_parquet() {
        let item = Arc::new(Field::new("item", DataType::Timestamp(TimeUnit::Second, Some("+00:00".into())), true));
        let columns = [
            ("instant", Arc::new(TimestampSecondArray::from(vec![1_600_000_000]).with_timezone("+00:00")) as ArrayRef),
            ("time", Arc::new(Time32SecondArray::from(vec![3_661]))),
            ("day", Arc::new(Date64Array::from(vec![2 * 86_400_000]))),
            ("tens", Arc::new(Decimal128Array::from(vec![-123]).with_precision_and_scale(5, -1).expect("a decimal"))),
        ];
        let view = cast(&columns[0].1, &DataType::ListView(item)).expect("a list a row");
        let batch = RecordBatch::try_from_iter(columns.into_iter().chain([("view", view)])).expect("a batch");
        let lines = csv_lines(&batch).expect("lines");
        let file = tempfile::tempfile().expect("a file");
        let mut writer = Writer::begin(Format::Parquet, &file, &batch.schema()).expect("begins");
        writer.append(&prepare(Format::Parquet, batch).expect("columns")).expect("appends");
        writer.finish().expect("ends");
        // As a reader sees it that does not know Arrow's own schema.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options);
        let found = reader.and_then(|reader| reader.build()).expect("opens").next().expect("rows").expect("reads");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        assert_eq!(text(csv_lines(&found).expect("lines")), text(lines).replace("1970-01-03T00:00:00", "1970-01-03"));
    }

    /// A hundred columns that share their 262,144 numbers: 105 MB as rows, three times what a row group may take.
    #[test]
    fn a_row_group_of_wide_rows_ends_before_it_takes_much_memory() {
        let numbers: ArrayRef = Arc::new(Float32Array::from_iter_values((0..1 << 18).map(|i| (i as f32).sin())));
        let batch = RecordBatch::try_from_iter((0..100).map(|i| (format!("x{i}"), Arc::clone(&numbers))));
        let batch = batch.expect("a batch");
        let file = tempfile::tempfile().expect("a file");
        let mut writer = Writer::begin(Format::Parquet, &file, &batch.schema()).expect("begins");
        writer.append(&prepare(Format::Parquet, batch.clone()).expect("columns")).expect("appends");
        let Writer::Parquet(inner) = &writer else { panic!("Parquet") };
        assert!(inner.memory_size() <= ROW_GROUP_BYTES, "{}", inner.memory_size());
        writer.finish().expect("ends");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("opens");
        let groups = reader.metadata().num_row_groups();
        assert!((3..=12).contains(&groups), "{groups}");
        let group = reader.metadata().row_group(0).column(0);
        assert!(group.dictionary_page_offset().is_none());
        let rows: usize = reader.build().expect("reads").map(|batch| batch.expect("a batch").num_rows()).sum();
        assert_eq!(rows, batch.num_rows());
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
