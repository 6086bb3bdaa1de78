//! CSV text into columns (stage 1): one walk over the bytes, without splitting first.
//!
//! Numbers are parsed where they stand and must end at a delimiter or a line end; only what does not (quotes, missing values,
//! blanks around) takes the slower way over [`fields::split`]. Values are correctly rounded (fast-float2, Lemire 2021).

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit};

use super::fields::{self, Field};
use super::infer::{self, NullMarkers};
use crate::error::{Error, Place, Result};
use crate::source::options::TextType;
use crate::source::text::stream::line_feeds;

/// How the text of one source becomes columns.
pub struct Plan {
    /// What separates fields.
    pub delimiter: u8,
    /// All columns of the text, in order.
    pub columns: Vec<PlannedColumn>,
    /// What stands for a missing value.
    pub nulls: NullMarkers,
    /// The columns that are read.
    pub schema: SchemaRef,
}

/// A column of the text.
#[derive(Clone)]
pub struct PlannedColumn {
    /// Its name.
    pub name: String,
    /// Its type; none when it is not read.
    pub kind: Option<TextType>,
    /// The type was given, not inferred.
    pub is_given: bool,
    /// The text of its fields is handed on as well, behind all columns that are read.
    pub is_kept: bool,
}

impl Plan {
    /// A plan for these columns.
    pub fn new(delimiter: u8, columns: Vec<PlannedColumn>, nulls: NullMarkers) -> Plan {
        let read = columns.iter().filter_map(|column| Some((column, data_type(column.kind?))));
        let kept = columns.iter().filter(|column| column.is_kept).map(|column| (column, DataType::Utf8));
        let field = |(column, data_type): (&PlannedColumn, DataType)| ArrowField::new(&column.name, data_type, true);
        let fields: Vec<ArrowField> = read.chain(kept).map(field).collect();
        Plan { delimiter, columns, nulls, schema: Arc::new(Schema::new(fields)) }
    }
}

/// The Arrow type of a text type.
pub fn data_type(kind: TextType) -> DataType {
    match kind {
        TextType::Boolean => DataType::Boolean,
        TextType::Integer => DataType::Int64,
        TextType::Float | TextType::Number => DataType::Float64,
        TextType::Date => DataType::Date32,
        TextType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        TextType::Text => DataType::Utf8,
    }
}

/// What is wrong with a text, and at which byte.
struct Trouble {
    at: usize,
    column: Option<usize>,
    message: String,
    help: String,
}

/// The rows of `text`, whose first line is line `line` of `path`.
///
/// # Errors
/// [`Error::Data`] with line and column.
pub fn decode(plan: &Plan, path: &Path, line: u64, text: &[u8]) -> Result<RecordBatch> {
    let rows_max = line_feeds(text) as usize + 1;
    let mut sinks: Vec<Sink> = plan.columns.iter().map(|column| Sink::of(column, rows_max)).collect();
    let rows = walk(plan, text, &mut sinks).map_err(|trouble| {
        let error = Error::data(path, trouble.message)
            .at(Place::Line(line + line_feeds(&text[..trouble.at.min(text.len())])))
            .help(trouble.help);
        match trouble.column {
            Some(column) => error.column(&plan.columns[column].name),
            None => error,
        }
    })?;
    let (mut columns, mut kept) = (Vec::new(), Vec::new());
    sinks.into_iter().for_each(|sink| sink.finish(rows, &mut columns, &mut kept));
    columns.append(&mut kept);
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(&plan.schema), columns, &options)
        .map_err(|error| Error::data(path, error.to_string()).at(Place::Line(line)))
}

/// Number of line feeds that stand before row `row` of `text`.
pub fn lines_before(text: &[u8], row: u64, delimiter: u8) -> u64 {
    let (mut at, mut count) = (0, 0);
    loop {
        while at < text.len()
            && let Some(after) = fields::blank_line(text, at)
        {
            at = after;
        }
        if count == row {
            return line_feeds(&text[..at.min(text.len())]);
        }
        match fields::record(text, at, delimiter) {
            Ok(Some((_, next))) => at = next.min(text.len()),
            _ => return line_feeds(text),
        }
        count += 1;
    }
}

fn walk(plan: &Plan, text: &[u8], sinks: &mut [Sink]) -> std::result::Result<usize, Trouble> {
    let (mut at, mut row) = (0, 0);
    let last = sinks.len() - 1;
    while at < text.len() {
        if let Some(after) = fields::blank_line(text, at) {
            at = after;
            continue;
        }
        let start = at;
        for (column, sink) in sinks.iter_mut().enumerate() {
            let end = match sink.take(plan, text, at, row) {
                Ok(end) => end,
                Err(fault) => return Err(trouble(plan, text, (start, at), column, &fault)),
            };
            let more = text.get(end) == Some(&plan.delimiter);
            if more == (column == last) {
                return Err(ragged(plan, text, start));
            }
            at = end + 1;
        }
        row += 1;
    }
    Ok(row)
}

/// Why a field cannot be taken.
enum Fault {
    Split(fields::Fault),
    Value,
    Utf8,
}

impl From<fields::Fault> for Fault {
    fn from(fault: fields::Fault) -> Fault {
        Fault::Split(fault)
    }
}

#[cold]
fn trouble(plan: &Plan, text: &[u8], (start, at): (usize, usize), column: usize, fault: &Fault) -> Trouble {
    let (message, help) = match fault {
        Fault::Split(fault) => {
            let (message, help) = fault.message();
            (message.to_owned(), help.to_owned())
        }
        Fault::Utf8 => {
            ("the text is not UTF-8".to_owned(), "Convert the file to UTF-8, for example with iconv".to_owned())
        }
        Fault::Value => {
            // A row with a field too few or too many puts values into the wrong columns: say that first.
            if record_width(plan, text, start).is_some_and(|width| width != plan.columns.len()) {
                return ragged(plan, text, start);
            }
            misfit(plan, text, at, column)
        }
    };
    Trouble { at, column: Some(column), message, help }
}

fn misfit(plan: &Plan, text: &[u8], at: usize, column: usize) -> (String, String) {
    let name = &plan.columns[column].name;
    let expected = plan.columns[column].kind.map_or("a value", TextType::expected);
    let found = fields::split(text, at, plan.delimiter)
        .map(|(field, _)| String::from_utf8_lossy(&field.unescaped()).into_owned())
        .unwrap_or_default();
    let mut shown: String = found.chars().take(60).collect();
    if shown.len() < found.len() {
        shown.push('…');
    }
    if plan.columns[column].is_given {
        let help = format!("Mend it, or {}", plan.nulls.with(&shown));
        return (format!("expected {expected}, found '{shown}'"), help);
    }
    let as_number = if fast_float2::parse::<f64, _>(found.trim()).is_ok() {
        format!("pass --numeric {name} to read the column as decimal numbers")
    } else {
        plan.nulls.with(&shown)
    };
    let help = format!(
        "The type was inferred from the first rows: {as_number}, --categorical {name} to read it as text, or --ignore {name}"
    );
    (format!("expected {expected}, found '{shown}'"), help)
}

fn record_width(plan: &Plan, text: &[u8], start: usize) -> Option<usize> {
    fields::record(text, start, plan.delimiter).ok().flatten().map(|(fields, _)| fields.len())
}

#[cold]
fn ragged(plan: &Plan, text: &[u8], start: usize) -> Trouble {
    let expected = plan.columns.len();
    let (message, help) = match fields::record(text, start, plan.delimiter) {
        Ok(fields) => {
            let found = fields.map_or(0, |(fields, _)| fields.len());
            let delimiter = plan.delimiter.escape_ascii();
            (
                format!("expected {expected} fields, found {found}"),
                format!(
                    "Fields are separated by '{delimiter}' (--delimiter); a field that holds it must stand in quotes"
                ),
            )
        }
        Err((fault, _)) => {
            let (message, help) = fault.message();
            (message.to_owned(), help.to_owned())
        }
    };
    Trouble { at: start, column: None, message, help }
}

/// Where the values of a column gather. Missing values hold zero, and their rows are listed.
enum Sink {
    Skip,
    Boolean(Vec<bool>, Vec<u32>),
    Integer(Vec<i64>, Vec<u32>),
    Float(Vec<f64>, Vec<u32>),
    Number(Vec<f64>, Vec<u32>),
    Date(Vec<i32>, Vec<u32>),
    Timestamp(Vec<i64>, Vec<u32>),
    Text(StringBuilder),
    /// A column that is handed on as it stands, beside what else it is read as.
    Kept(Box<Sink>, StringBuilder),
}

impl Sink {
    fn of(column: &PlannedColumn, rows: usize) -> Sink {
        let read = Sink::new(column.kind, rows);
        if column.is_kept { Sink::Kept(Box::new(read), StringBuilder::with_capacity(rows, rows * 8)) } else { read }
    }

    fn new(kind: Option<TextType>, rows: usize) -> Sink {
        match kind {
            None => Sink::Skip,
            Some(TextType::Boolean) => Sink::Boolean(Vec::with_capacity(rows), Vec::new()),
            Some(TextType::Integer) => Sink::Integer(Vec::with_capacity(rows), Vec::new()),
            Some(TextType::Float) => Sink::Float(Vec::with_capacity(rows), Vec::new()),
            Some(TextType::Number) => Sink::Number(Vec::with_capacity(rows), Vec::new()),
            Some(TextType::Date) => Sink::Date(Vec::with_capacity(rows), Vec::new()),
            Some(TextType::Timestamp) => Sink::Timestamp(Vec::with_capacity(rows), Vec::new()),
            Some(TextType::Text) => Sink::Text(StringBuilder::with_capacity(rows, rows * 8)),
        }
    }

    /// Take the field that begins at `at`; returns the position of what ends it.
    #[inline]
    fn take(&mut self, plan: &Plan, text: &[u8], at: usize, row: usize) -> std::result::Result<usize, Fault> {
        match self {
            Sink::Float(values, nulls) | Sink::Number(values, nulls)
                if let Some((value, end)) = float_at(text, at, plan.delimiter)
                    && !plan.nulls.any_number() =>
            {
                values.push(value);
                Ok(end)
            }
            Sink::Float(values, nulls) => {
                slow(plan, text, at, row, TextType::Float, values, nulls, |value| fast_float2::parse(value).ok())
            }
            Sink::Number(values, nulls) => slow(plan, text, at, row, TextType::Number, values, nulls, infer::number),
            Sink::Integer(values, nulls) => {
                if let Some((value, end)) = integer_at(text, at, plan.delimiter)
                    && !plan.nulls.any_number()
                {
                    values.push(value);
                    return Ok(end);
                }
                slow(plan, text, at, row, TextType::Integer, values, nulls, infer::integer)
            }
            Sink::Boolean(values, nulls) => slow(plan, text, at, row, TextType::Boolean, values, nulls, infer::boolean),
            Sink::Date(values, nulls) => slow(plan, text, at, row, TextType::Date, values, nulls, infer::date),
            Sink::Timestamp(values, nulls) => {
                slow(plan, text, at, row, TextType::Timestamp, values, nulls, infer::timestamp)
            }
            Sink::Text(builder) => text_at(plan, text, at, builder),
            Sink::Kept(read, builder) => {
                let field = fields::split(text, at, plan.delimiter)?.0;
                let is_missing = field.raw.is_empty() && !field.quoted;
                let value = field.unescaped();
                builder.append_option(
                    (!is_missing).then(|| std::str::from_utf8(&value)).transpose().map_err(|_| Fault::Utf8)?,
                );
                read.take(plan, text, at, row)
            }
            Sink::Skip => Ok(fields::split(text, at, plan.delimiter)?.1),
        }
    }

    /// Puts what was read behind `columns`, and what was kept behind `kept`.
    fn finish(self, rows: usize, columns: &mut Vec<ArrayRef>, kept: &mut Vec<ArrayRef>) {
        columns.push(match self {
            Sink::Skip => return,
            Sink::Kept(read, mut builder) => {
                kept.push(Arc::new(builder.finish()));
                return read.finish(rows, columns, kept);
            }
            Sink::Boolean(values, nulls) => {
                Arc::new(BooleanArray::new(BooleanBuffer::from(values), null_buffer(&nulls, rows)))
            }
            Sink::Integer(values, nulls) => Arc::new(Int64Array::new(values.into(), null_buffer(&nulls, rows))),
            Sink::Float(values, nulls) | Sink::Number(values, nulls) => {
                Arc::new(Float64Array::new(values.into(), null_buffer(&nulls, rows)))
            }
            Sink::Date(values, nulls) => Arc::new(Date32Array::new(values.into(), null_buffer(&nulls, rows))),
            Sink::Timestamp(values, nulls) => {
                Arc::new(TimestampMicrosecondArray::new(values.into(), null_buffer(&nulls, rows)))
            }
            Sink::Text(mut builder) => Arc::new(builder.finish()),
        });
    }
}

fn null_buffer(null_rows: &[u32], rows: usize) -> Option<NullBuffer> {
    if null_rows.is_empty() {
        return None;
    }
    let mut valid = vec![true; rows];
    for &row in null_rows {
        valid[row as usize] = false;
    }
    Some(NullBuffer::from(valid))
}

/// Position of the line end or delimiter at `at`, which must be one.
#[inline]
fn terminator(text: &[u8], at: usize, delimiter: u8) -> Option<usize> {
    match text.get(at) {
        None | Some(b'\n') => Some(at),
        Some(&byte) if byte == delimiter => Some(at),
        Some(b'\r') if matches!(text.get(at + 1), None | Some(b'\n')) => Some(at + 1),
        Some(_) => None,
    }
}

#[inline]
fn float_at(text: &[u8], at: usize, delimiter: u8) -> Option<(f64, usize)> {
    let (value, length) = fast_float2::parse_partial::<f64, _>(&text[at..]).ok()?;
    // "nan" parses, but it may stand for a missing value.
    if !value.is_finite() {
        return None;
    }
    Some((value, terminator(text, at + length, delimiter)?))
}

#[inline]
fn integer_at(text: &[u8], at: usize, delimiter: u8) -> Option<(i64, usize)> {
    let negative = text.get(at) == Some(&b'-');
    let first = at + usize::from(negative);
    let (mut end, mut number) = (first, 0_i64);
    while let Some(digit) = text.get(end).map(|byte| byte.wrapping_sub(b'0'))
        && digit <= 9
    {
        // Eighteen digits cannot overflow; longer ones take the checked way.
        if end - first == 18 {
            return None;
        }
        number = number * 10 + i64::from(digit);
        end += 1;
    }
    if end == first {
        return None;
    }
    Some((if negative { -number } else { number }, terminator(text, end, delimiter)?))
}

/// The way over a split field: quotes, missing values, blanks around.
#[inline(never)]
#[allow(clippy::too_many_arguments)]
fn slow<T: Default>(
    plan: &Plan,
    text: &[u8],
    at: usize,
    row: usize,
    kind: TextType,
    values: &mut Vec<T>,
    nulls: &mut Vec<u32>,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> std::result::Result<usize, Fault> {
    let (field, end) = fields::split(text, at, plan.delimiter)?;
    let trimmed = Field { raw: field.raw.trim_ascii(), quoted: field.quoted };
    if plan.nulls.is_null(&trimmed, kind) {
        nulls.push(row as u32);
        values.push(T::default());
    } else {
        values.push(parse(trimmed.unescaped().trim_ascii()).ok_or(Fault::Value)?);
    }
    Ok(end)
}

fn text_at(plan: &Plan, text: &[u8], at: usize, builder: &mut StringBuilder) -> std::result::Result<usize, Fault> {
    let (field, end) = fields::split(text, at, plan.delimiter)?;
    if plan.nulls.is_null(&field, TextType::Text) {
        builder.append_null();
    } else {
        builder.append_value(std::str::from_utf8(&field.unescaped()).map_err(|_| Fault::Utf8)?);
    }
    Ok(end)
}
