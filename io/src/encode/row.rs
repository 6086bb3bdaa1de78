//! Rows to predict or evaluate: record batches of any source, encoded as training encoded them (stage 2 of prediction).
//!
//! Numbers are stored as `f32` (`f64` where training stored `f64`) around the same offset and scale, never in the narrow
//! integer types of a shard: a value beyond the range that training saw must not saturate. Where training stored a value
//! exactly, the stored number is the same. Elements of sparse rows that training did not know are left out.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use gristmill_kernels::dtype::DType;

use super::affine::Affine;
use super::buckets::Buckets;
use super::column::{Encoder, Raw, UNSEEN};
use super::grain::EncodedGrain;
use super::hashing::Hashing;
use super::intern::Interner;
use super::labels;
use super::levels;
use super::raw::{self, Fault};
use super::words::Words;
use crate::crossed::Crossing;
use crate::error::{Error, Place, Result};
use crate::manifest::{Column, Kind, Layout, READ_AS, Role, value_type};
use crate::roles::is_text;
use crate::source::libsvm::INDEX_BASE;

const NO_LABEL: &str = "Give it a value in the source, or leave such rows out with --drop-missing-label";

/// Encodes record batches as training did.
#[derive(Debug)]
pub struct RowEncoder {
    columns: Vec<Column>,
    layout: Layout,
    crosses: Arc<[Option<Crossing>]>,
    parts: Vec<Part>,
    label: Option<usize>,
    weight: Option<usize>,
    offset: Option<usize>,
}

/// What is needed for one manifest column.
#[derive(Debug)]
struct Part {
    number: usize,
    source: String,
    encoder: Encoder,
    table: Option<Interner>,
}

impl RowEncoder {
    /// An encoder of the features in `layout`, and of the offset where training had one; `dictionaries` holds the levels of categorical columns by column number.
    ///
    /// # Errors
    /// [`Error::Usage`] when a dictionary is missing, or a cross does not fit its parts.
    pub fn new(columns: &[Column], dictionaries: &[Option<Vec<String>>], layout: &Layout) -> Result<RowEncoder> {
        let mut encoder = RowEncoder {
            columns: columns.to_vec(),
            layout: layout.clone(),
            crosses: (0..columns.len()).map(|number| Crossing::of(columns, number)).collect::<Result<_>>()?,
            parts: Vec::new(),
            label: None,
            weight: None,
            offset: columns.iter().position(|column| column.role == Role::Offset),
        };
        let features = layout.blocks.iter().flat_map(|block| block.columns.iter().copied());
        for number in features.chain(encoder.offset) {
            encoder.add(number, dictionaries)?;
        }
        Ok(encoder)
    }

    /// The same encoder that also takes the label (needed to evaluate) and, where training had one, the weight.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no label, or a dictionary is missing.
    pub fn with_targets(mut self, dictionaries: &[Option<Vec<String>>]) -> Result<RowEncoder> {
        let find = |role: Role| self.columns.iter().position(|column| column.role == role);
        let (label, weight) = (find(Role::Label), find(Role::Weight));
        if label.is_none() {
            return Err(Error::Usage("the model was trained without a label".into()));
        }
        for number in label.into_iter().chain(weight) {
            self.add(number, dictionaries)?;
        }
        (self.label, self.weight) = (label, weight);
        Ok(self)
    }

    /// Names of the source columns that are read.
    pub fn names(&self) -> Vec<&str> {
        let labels = |part: &Part| self.columns[part.number].kind.labels();
        let of_labels = self.parts.iter().filter_map(labels).flatten();
        let others = self.parts.iter().filter(|part| labels(part).is_none()).map(|part| &part.source);
        let mut names: Vec<&str> = of_labels.chain(others).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The rows of a batch; `place` says where a row of it came from. Columns that training did not use are ignored.
    ///
    /// # Errors
    /// [`Error::Data`] for missing columns and for values that have no stored form, with file, row and column.
    pub fn encode(&self, batch: &RecordBatch, place: &dyn Fn(usize) -> (PathBuf, Place)) -> Result<EncodedGrain> {
        let mut columns = vec![None; self.columns.len()];
        for part in &self.parts {
            let no_label = |row: usize| Some(part.number) == self.label && is_missing(batch, &part.source, row);
            let located = |fault: Fault| match fault.row {
                Some(row) if no_label(row) => located(Fault { help: NO_LABEL.into(), ..fault }, &part.source, place),
                _ => located(fault, &part.source, place),
            };
            let raw = match self.columns[part.number].kind.labels() {
                Some(names) => Raw::Numbers(self.labels(batch, names, place)?),
                None => {
                    let array = self.column(batch, &part.source, place)?;
                    let base = index_base(batch, &self.columns[part.number].kind);
                    part.raw(array, &self.columns[part.number], base).map_err(located)?
                }
            };
            let mut stored = part.encoder.start(batch.num_rows());
            let named = |fault: Fault| match self.columns[part.number].role {
                Role::Label => unknown_class(fault, batch, &part.source),
                _ => fault,
            };
            part.encoder.append(&raw, &mut stored).map_err(named).map_err(located)?;
            columns[part.number] = Some(stored);
        }
        Ok(EncodedGrain {
            rows: batch.num_rows(),
            columns,
            layout: self.layout.clone(),
            crosses: Arc::clone(&self.crosses),
            label: self.label,
            weight: self.weight,
            offset: self.offset,
        })
    }

    /// Which rows of a batch have their label (all of several); none: every row has.
    ///
    /// # Errors
    /// As [`RowEncoder::encode`].
    pub fn labelled(
        &self,
        batch: &RecordBatch,
        place: &dyn Fn(usize) -> (PathBuf, Place),
    ) -> Result<Option<BooleanArray>> {
        let Some(label) = self.label.map(|number| &self.columns[number]) else { return Ok(None) };
        let one = [label.name.clone()];
        let mut all: Option<NullBuffer> = None;
        for name in label.kind.labels().unwrap_or(&one) {
            let array = self.column(batch, name, place)?;
            let plain = if label.kind.is_text() { raw::texts(array) } else { raw::numbers(array) };
            let plain = plain.map_err(|fault| located(fault, name, place))?;
            all = NullBuffer::union(all.as_ref(), plain.logical_nulls().as_ref());
        }
        Ok(all.filter(|nulls| nulls.null_count() > 0).map(|nulls| BooleanArray::new(nulls.into_inner(), None)))
    }

    /// Several labels, each from its column, none missing.
    fn labels(
        &self,
        batch: &RecordBatch,
        names: &[String],
        place: &dyn Fn(usize) -> (PathBuf, Place),
    ) -> Result<ArrayRef> {
        let arrays = names.iter().map(|name| self.column(batch, name, place)).collect::<Result<Vec<_>>>()?;
        labels::merged(&arrays, true).map_err(|(label, fault)| located(fault, &names[label], place))
    }

    fn column<'a>(
        &self,
        batch: &'a RecordBatch,
        name: &str,
        place: &dyn Fn(usize) -> (PathBuf, Place),
    ) -> Result<&'a ArrayRef> {
        batch.column_by_name(name).ok_or_else(|| {
            let has: Vec<String> =
                batch.schema().fields().iter().take(20).map(|field| format!("'{}'", field.name())).collect();
            Error::data(place(0).0, "the column is not there, and the model needs it")
                .column(name)
                .help(format!("The file has {}", has.join(", ")))
        })
    }

    fn add(&mut self, number: usize, dictionaries: &[Option<Vec<String>>]) -> Result<()> {
        let column = &self.columns[number];
        let mut table = None;
        let encoder = match &column.kind {
            Kind::Numeric { dtype, offset, scale, impute, .. } => {
                let affine = Affine { dtype: wide(*dtype), offset: *offset, scale: *scale, exact: true };
                Encoder::Numeric { affine, impute: *impute }
            }
            Kind::Labels { dtype, .. } => Encoder::Numeric { affine: Affine::plain(wide(*dtype), true), impute: None },
            Kind::Indicator { .. } => Encoder::Indicator(DType::F32),
            Kind::Vector { dtype, width } => {
                Encoder::Vector { affine: Affine::plain(wide(*dtype), true), width: *width }
            }
            Kind::Sparse { width, .. } => Encoder::Sparse { width: *width, base: 0 },
            Kind::Text { bits, .. } => Encoder::Sparse { width: 1 << bits, base: 0 },
            Kind::Bucketized { edges } => Encoder::Edges(Buckets::new(edges)),
            Kind::Hashed { bits } => Hashing::new(&column.name, *bits).encoder(),
            // Its parts are features of their own.
            Kind::Crossed { .. } => return Ok(()),
            Kind::Categorical { code_bytes, missing_code, unseen_code, .. } => {
                let listed = dictionaries
                    .get(number)
                    .and_then(Option::as_ref)
                    .ok_or_else(|| Error::Usage(format!("the dictionary of column '{}' is missing", column.name)))?;
                let mut levels = Interner::new();
                listed.iter().for_each(|level| {
                    levels.insert(level.as_bytes());
                });
                let codes: Arc<[u32]> = (0..levels.len() as u32).collect();
                table = Some(levels);
                Encoder::Codes { bytes: *code_bytes, codes, missing: *missing_code, unseen: *unseen_code }
            }
        };
        let source = match &column.kind {
            Kind::Indicator { of } => of.clone(),
            _ => column.name.clone(),
        };
        self.parts.push(Part { number, source, encoder, table });
        Ok(())
    }
}

impl Part {
    fn raw(&self, array: &ArrayRef, column: &Column, base: u32) -> std::result::Result<Raw, Fault> {
        Ok(match &self.encoder {
            Encoder::Numeric { .. } | Encoder::Indicator(_) | Encoder::Edges(_) => {
                Raw::Numbers(numbers_as_trained(array, &column.source_type)?)
            }
            Encoder::Vector { .. } => {
                let (values, width) = raw::vectors(array)?;
                Raw::Vectors(values, width)
            }
            Encoder::Sparse { .. } if let Kind::Text { bits, ngrams } = column.kind => {
                Raw::Sparse(Words { bits, ngrams }.rows(&as_trained(array, &column.source_type)?)?)
            }
            Encoder::Sparse { width, .. } => Raw::Sparse(raw::sparse(array)?.from_base(base)?.below(*width)),
            Encoder::Buckets { .. } => {
                let Kind::Hashed { bits } = column.kind else { return Err(Fault::whole("is not hashed", "")) };
                let texts = raw::texts(&as_trained(array, &column.source_type)?)?;
                Raw::Ids(Hashing::new(&column.name, bits).ids(&texts)?.into())
            }
            Encoder::Codes { .. } => {
                let table = self.table.as_ref().ok_or_else(|| Fault::whole("its dictionary is missing", ""))?;
                let texts = raw::texts(&as_trained(array, &column.source_type)?)?;
                let is_number = crate::roles::value_type(array.data_type()).is_numeric();
                let other = |text: &[u8]| is_number.then(|| table.find(&other_spelling(text))).flatten();
                Raw::Ids(levels::ids(&texts, |text| table.find(text).or_else(|| other(text)))?.into())
            }
        })
    }
}

/// Another way to write a number, for levels that training read as text: one file has 3 where another has 3.0 or 3.00.
fn other_spelling(text: &[u8]) -> Vec<u8> {
    if !text.contains(&b'.') {
        return [text, b".0"].concat();
    }
    let digits = text.iter().rposition(|byte| *byte != b'0').map_or(text, |last| &text[..=last]);
    digits.strip_suffix(b".").unwrap_or(digits).to_vec()
}

fn is_missing(batch: &RecordBatch, column: &str, row: usize) -> bool {
    batch.column_by_name(column).is_some_and(|array| array.is_null(row))
}

/// The fault with the name of the class that training never saw, where it is that.
fn unknown_class(fault: Fault, batch: &RecordBatch, column: &str) -> Fault {
    let class = || {
        let array = batch.column_by_name(column)?.slice(fault.row?, 1);
        let text = cast(&raw::texts(&array).ok()?, &DataType::Utf8).ok()?;
        text.is_valid(0).then(|| raw::clipped(text.as_string::<i32>().value(0)))
    };
    match class() {
        Some(class) if fault.message == UNSEEN => Fault {
            message: format!("found '{class}', a class that training never saw"),
            help: "Mend it or leave such rows out, or train on data that have the class".into(),
            ..fault
        },
        _ => fault,
    }
}

/// What the indices of sparse rows count from: libsvm says it, or leaves it to what training found; others count from 0.
fn index_base(batch: &RecordBatch, kind: &Kind) -> u32 {
    let said = batch.schema_ref().metadata().get(INDEX_BASE).map(String::as_str);
    match (said, kind) {
        (Some("1"), _) | (Some("auto"), Kind::Sparse { one_based: true, .. }) => 1,
        _ => 0,
    }
}

/// Days are days and seconds are seconds: a date where training had moments is its midnight, a moment where it had dates a part of a day.
/// What has another unit, or none, cannot be meant.
fn numbers_as_trained(array: &ArrayRef, source_type: &str) -> std::result::Result<ArrayRef, Fault> {
    let trained = source_type.split_once(READ_AS).map_or(source_type, |(_, read)| read);
    let found = array.data_type();
    let help = || format!("Give the column as {trained}, or train on files like this one");
    let numbers = raw::numbers(array).map_err(|fault| match time_of(trained) {
        Some(_) if is_text(found) => Fault { help: help(), ..fault },
        _ => fault,
    })?;
    let factor = match (time_of(trained), time_of(&found.to_string())) {
        (trained, found) if trained == found => return Ok(numbers),
        (Some("Timestamp"), Some("Date")) => SECONDS_A_DAY,
        (Some("Date"), Some("Timestamp")) => 1.0 / SECONDS_A_DAY,
        // Text says what it means, and no value has no unit.
        _ if matches!(found, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null) => {
            return Ok(numbers);
        }
        _ => {
            return Err(Fault::whole(format!("its type is {found}, that of the training data is {trained}"), help()));
        }
    };
    let numbers = cast(&numbers, &DataType::Float64).map_err(|e| Fault::whole(e.to_string(), ""))?;
    Ok(Arc::new(numbers.as_primitive::<Float64Type>().unary::<_, Float64Type>(|number| number * factor)))
}

const SECONDS_A_DAY: f64 = 86_400.0;

/// Which kind of time an Arrow type is, or that of the values of its dictionary, by its name; none: it is no time.
fn time_of(name: &str) -> Option<&'static str> {
    ["Timestamp", "Date", "Time", "Duration"].into_iter().find(|kind| value_type(name).starts_with(kind))
}

/// Numbers that serve as categories are written as text: 3 and 3.0 must not become two levels because one file has
/// integers and the other has floats.
fn as_trained(array: &ArrayRef, source_type: &str) -> std::result::Result<ArrayRef, Fault> {
    let (inferred, read_as) =
        source_type.split_once(READ_AS).map_or((source_type, None), |(own, read)| (own, Some(read)));
    let Ok(trained) = value_type(inferred).parse::<DataType>() else { return Ok(Arc::clone(array)) };
    let to = |array: &ArrayRef, to: &DataType| cast(array, to).map_err(|e| Fault::whole(e.to_string(), ""));
    let array = &match array.data_type() {
        DataType::Dictionary(_, values) if values.is_numeric() => to(array, values)?,
        _ => Arc::clone(array),
    };
    let found = array.data_type();
    if trained.is_numeric() && read_as.is_none() && is_text(found) {
        return written_as(array, &trained);
    }
    if !(trained.is_numeric() && found.is_numeric() && trained != *found) {
        return Ok(Arc::clone(array));
    }
    let same = to(array, &trained)?;
    if let Some(row) = (0..same.len()).find(|&row| same.is_null(row) && array.is_valid(row)) {
        return Err(Fault::at(row, format!("the number does not fit the type {trained} of the training data"), ""));
    }
    if !(trained.is_integer() && found.is_floating()) {
        return Ok(same);
    }
    // 3.5 is no 3: it stays what it is, which training did not see.
    let (whole, exact) = (to(&same, &DataType::Float64)?, to(array, &DataType::Float64)?);
    let (whole, exact) = (whole.as_primitive::<Float64Type>(), exact.as_primitive::<Float64Type>());
    if whole.iter().eq(exact.iter()) {
        return Ok(same);
    }
    let (rounded, own) = (to(&same, &DataType::Utf8)?, to(array, &DataType::Utf8)?);
    let (rounded, own) = (rounded.as_string::<i32>(), own.as_string::<i32>());
    let rows = whole.iter().zip(exact).zip(rounded.iter().zip(own));
    Ok(Arc::new(rows.map(|((a, b), (text, own))| if a == b { text } else { own }).collect::<StringArray>()))
}

/// Texts that are numbers, written as those of type `to` are; any other text is a level that training did not see.
fn written_as(array: &ArrayRef, to: &DataType) -> std::result::Result<ArrayRef, Fault> {
    let plain = |array: &ArrayRef, to: &DataType| cast(array, to).map_err(|e| Fault::whole(e.to_string(), ""));
    let texts = plain(array, &DataType::Utf8)?;
    let texts: StringArray = texts.as_string::<i32>().iter().map(|text| text.map(str::trim)).collect();
    let whole = |number: &f64| !to.is_integer() || number.fract() == 0.0;
    let decimals = texts.iter().map(|text| fast_float2::parse(text?).ok().filter(whole));
    let decimals: ArrayRef = Arc::new(decimals.collect::<Float64Array>());
    let texts: ArrayRef = Arc::new(texts);
    // Whole numbers beyond 2^53 are exact only when they are read as such.
    let exact = raw::texts(&plain(&texts, to)?)?;
    let decimal = raw::texts(&plain(&decimals, to)?)?;
    let [exact, decimal, texts] = [&exact, &decimal, &texts].map(|array| array.as_string::<i32>().iter());
    Ok(Arc::new(
        exact
            .zip(decimal)
            .zip(texts)
            .map(|((exact, decimal), text)| exact.or(decimal).or(text))
            .collect::<StringArray>(),
    ))
}

fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// A fault with its file, place and column.
pub fn located(fault: Fault, column: &str, place: &dyn Fn(usize) -> (PathBuf, Place)) -> Error {
    let (path, at) = place(fault.row.unwrap_or(0));
    let at = if fault.row.is_some() { at } else { Place::File };
    Error::data(path, fault.message).at(at).column(column).help(fault.help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::FileEntry;
    use arrow::array::{Date32Array, Int64Array, NullArray, TimestampMillisecondArray};
    use gristmill_kernels::tile::{Block, Codes, Columns, Values};

    fn columns() -> Vec<Column> {
        let column = |name: &str, role, kind, source_type: &str| Column {
            name: name.into(),
            role,
            kind,
            source_type: source_type.into(),
            missing: 0,
        };
        let numeric = |dtype, offset, impute| Kind::Numeric { dtype, offset, scale: 1.0, impute, worst_error: 0.0 };
        let dictionary = FileEntry { file: "dictionary-2.arrow".into(), bytes: 0, xxh3: String::new() };
        vec![
            column("age", Role::Feature, numeric(DType::U8, 20.0, Some(40.0)), "Int64"),
            column("age_missing", Role::Feature, Kind::Indicator { of: "age".into() }, "Int64"),
            column(
                "zone",
                Role::Feature,
                Kind::Categorical { code_bytes: 1, levels: 4, dictionary, missing_code: Some(2), unseen_code: Some(3) },
                "Int64",
            ),
            column("y", Role::Label, numeric(DType::F32, 0.0, None), "Float64"),
        ]
    }

    fn encoder() -> RowEncoder {
        let columns = columns();
        let layout = Layout::of(&columns, |_| true);
        RowEncoder::new(&columns, &[None, None, Some(vec!["7".into(), "5".into()]), None], &layout).unwrap()
    }

    fn place(row: usize) -> (PathBuf, Place) {
        (PathBuf::from("rows.csv"), Place::Row(row as u64 + 1))
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    #[test]
    fn values_beyond_training_missing_and_unseen_ones() {
        let batch = batch(vec![
            ("extra", Arc::new(Int64Array::from(vec![1, 1, 1]))),
            ("zone", Arc::new(Float64Array::from(vec![Some(5.0), None, Some(9.0)]))),
            ("age", Arc::new(Float64Array::from(vec![Some(1019.5), None, Some(0.0)]))),
        ]);
        let encoded = encoder().encode(&batch, &place).unwrap();
        let grain = encoded.grain();
        assert_eq!((grain.rows, grain.label.is_none()), (3, true));
        // Training stored both as u8, so they share a block.
        let Block::Columns(Columns::F32(numbers)) = &grain.blocks[0] else { panic!("{:?}", grain.blocks) };
        assert_eq!(numbers, &[&[999.5f32, 20.0, -20.0][..], &[0.0, 1.0, 0.0]]);
        let Block::Codes { codes: Codes::U8(codes), levels: 4 } = grain.blocks[1] else { panic!("{:?}", grain.blocks) };
        assert_eq!(codes, [1, 2, 3]);
    }

    #[test]
    fn a_number_between_two_levels_is_neither() {
        let batch = batch(vec![
            ("zone", Arc::new(Float64Array::from(vec![Some(5.0), Some(5.5), None, Some(7.0)]))),
            ("age", Arc::new(Int64Array::from(vec![1, 1, 1, 1]))),
        ]);
        let encoded = encoder().encode(&batch, &place).unwrap();
        let Block::Codes { codes: Codes::U8(codes), .. } = encoded.grain().blocks[1] else { panic!("no codes") };
        assert_eq!(codes, [1, 3, 2, 0]);
    }

    #[test]
    fn categories_that_were_numbers_are_found_in_text() {
        let found = |source_type: &str, texts: &[Option<&str>]| -> Vec<Option<String>> {
            let array: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
            let array = as_trained(&array, source_type).unwrap();
            array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
        };
        let texts = [Some(" 5"), Some("7.0"), Some("7.5"), Some("9007199254740993"), Some("x7"), None];
        let expected = [Some("5"), Some("7"), Some("7.5"), Some("9007199254740993"), Some("x7"), None];
        assert_eq!(found("Int64", &texts), expected.map(|text| text.map(str::to_owned)));
        assert_eq!(found("Float64", &texts[..2]), ["5.0", "7.0"].map(|text| Some(text.to_owned())));
        assert_eq!(found("Dictionary(Int32, Int64)", &texts[..2]), ["5", "7"].map(|text| Some(text.to_owned())));
        assert_eq!(found("Float64", &[Some("-0")]), [Some("0.0".to_owned())]);
        // Digits that training read as text are levels as they stand.
        assert_eq!(found("Int64, read as Utf8", &[Some("007")]), [Some("007".to_owned())]);
    }

    #[test]
    fn numbers_are_found_among_texts_however_they_are_written() {
        for (text, expected) in [("3.0", "3"), ("3.50", "3.5"), ("30", "30.0"), ("-0.25", "-0.25"), ("100.0", "100")] {
            assert_eq!(other_spelling(text.as_bytes()), expected.as_bytes());
        }
        let mut columns = columns();
        columns[2].source_type = format!("Int64{READ_AS}Utf8");
        let layout = Layout::of(&columns, |_| true);
        let levels = [None, None, Some(vec!["7".into(), "5.0".into()]), None];
        let encoder = RowEncoder::new(&columns, &levels, &layout).unwrap();
        let zones: [ArrayRef; 2] =
            [Arc::new(Float64Array::from(vec![5.0, 7.0, 7.5])), Arc::new(Int64Array::from(vec![5, 7, 8]))];
        for zone in zones {
            let age: ArrayRef = Arc::new(Float64Array::from(vec![30.0; 3]));
            let encoded = encoder.encode(&batch(vec![("zone", zone), ("age", age)]), &place).unwrap();
            let Block::Codes { codes: Codes::U8(codes), .. } = encoded.grain().blocks[1] else { panic!("no codes") };
            assert_eq!(codes, [1, 0, 3]);
        }
    }

    #[test]
    fn a_missing_column_and_a_word_for_a_number_are_named() {
        let zone: ArrayRef = Arc::new(Int64Array::from(vec![5, 7]));
        let message = encoder().encode(&batch(vec![("zone", Arc::clone(&zone))]), &place).unwrap_err().to_string();
        assert!(message.contains("rows.csv, column 'age'") && message.contains("has 'zone'"), "{message}");
        let words: ArrayRef = Arc::new(StringArray::from(vec!["30", "old"]));
        let message = encoder().encode(&batch(vec![("zone", zone), ("age", words)]), &place).unwrap_err().to_string();
        assert!(message.contains("rows.csv, row 2, column 'age': found 'old'"), "{message}");
    }

    #[test]
    fn days_are_days_and_seconds_are_seconds() {
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(18_262), None]));
        let moments: ArrayRef =
            Arc::new(TimestampMillisecondArray::from(vec![Some(18_262 * 86_400_000 + 43_200_000), None]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![18_262, 1]));
        let read = |array: &ArrayRef, trained: &str| {
            let numbers = numbers_as_trained(array, trained).map_err(|fault| fault.message)?;
            let numbers = cast(&numbers, &DataType::Float64).unwrap();
            Ok::<_, String>(numbers.as_primitive::<Float64Type>().iter().collect::<Vec<_>>())
        };
        let (date, moment) = (days.data_type().to_string(), moments.data_type().to_string());
        assert_eq!(read(&days, &date), Ok(vec![Some(18_262.0), None]));
        assert_eq!(read(&days, &moment), Ok(vec![Some(1_577_836_800.0), None]));
        assert_eq!(read(&moments, &moment), Ok(vec![Some(1_577_880_000.0), None]));
        assert_eq!(read(&moments, &date), Ok(vec![Some(18_262.5), None]));
        assert_eq!(read(&moments, &format!("Utf8{READ_AS}{date}")), Ok(vec![Some(18_262.5), None]));
        let coded = cast(&days, &"Dictionary(Int32, Date32)".parse().unwrap()).unwrap();
        for (array, trained) in [(&coded, &*date), (&days, "Dictionary(Int8, Date32)")] {
            assert_eq!(read(array, trained), Ok(vec![Some(18_262.0), None]));
        }
        assert_eq!(read(&numbers, "UInt8"), Ok(vec![Some(18_262.0), Some(1.0)]));
        assert_eq!(read(&(Arc::new(NullArray::new(1)) as ArrayRef), &moment), Ok(vec![None]));
        for (array, trained) in [(&days, "Int64"), (&moments, "Float64"), (&numbers, &*date), (&numbers, &*moment)] {
            let message = read(array, trained).unwrap_err();
            assert!(message.contains(trained) && message.contains(&array.data_type().to_string()), "{message}");
        }
    }

    #[test]
    fn labels_are_taken_when_asked_for() {
        let full = batch(vec![
            ("zone", Arc::new(Int64Array::from(vec![7]))),
            ("age", Arc::new(Int64Array::from(vec![21]))),
            ("y", Arc::new(Float64Array::from(vec![0.5]))),
        ]);
        let encoder = encoder().with_targets(&[]).unwrap();
        let encoded = encoder.encode(&full, &place).unwrap();
        assert!(matches!(encoded.grain().label, Some(Values::F32([0.5]))));
        let without = batch(vec![
            ("zone", Arc::new(Int64Array::from(vec![7]))),
            ("age", Arc::new(Int64Array::from(vec![21]))),
            ("y", Arc::new(Float64Array::from(vec![None::<f64>]))),
        ]);
        let message = encoder.encode(&without, &place).unwrap_err().to_string();
        assert!(message.contains("column 'y': found no value"), "{message}");
    }
}
