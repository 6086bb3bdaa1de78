//! Raw columns: what a source yields, brought to few types and still exact (stage 2).
//!
//! | in the source | raw | unit |
//! |---|---|---|
//! | integers, `Float16/32/64` | as they are | |
//! | booleans | `UInt8` | 0 or 1 |
//! | decimals | `Float64` | |
//! | dates | `Int32` or `Float64` | days since 1970-01-01 |
//! | timestamps | `Float64` | seconds since 1970-01-01 UTC (local time when there is no zone) |
//! | times of day, durations | `Float64` | seconds |
//! | text read as a number | `Float64` | `true` and `false` are 1 and 0 |
//! | all values missing (`Null`) | `Float64` | |
//!
//! A NaN is a missing value; an infinity is a fault. So below a valid bit there is always a finite number.

use std::sync::Arc;

use arrow::array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, PrimitiveArray, UInt8Array, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use gristmill_kernels::vectorised;
use half::f16;

use crate::source::csv::infer;

/// A value that cannot be taken, at a row of the array at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The row, from 0; none: the array as a whole.
    pub row: Option<usize>,
    /// What was found and expected.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Fault {
    /// A fault of one row.
    pub fn at(row: usize, message: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault { row: Some(row), message: message.into(), help: help.into() }
    }

    /// A fault of all rows.
    pub fn whole(message: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault { row: None, message: message.into(), help: help.into() }
    }
}

/// A number type of a raw column.
pub trait Number: Copy + Send + Sync {
    /// All of them are integers below 2^51.
    const INTEGRAL: bool;
    /// All of them are exact in `f32`.
    const SINGLE: bool;
    /// The value as `f64`; integers beyond 2^53 are rounded.
    fn number(self) -> f64;
}

macro_rules! number {
    ($($type:ty: $integral:literal $single:literal)*) => { $(impl Number for $type {
        const INTEGRAL: bool = $integral;
        const SINGLE: bool = $single;

        #[inline(always)]
        #[allow(clippy::cast_lossless, reason = "one body for types that convert exactly and for those that round")]
        fn number(self) -> f64 {
            self as f64
        }
    })* };
}
number!(
    i8: true true
    i16: true true
    i32: true false
    i64: false false
    u8: true true
    u16: true true
    u32: true false
    u64: false false
    f32: false true
    f64: false false
);

impl Number for f16 {
    const INTEGRAL: bool = false;
    const SINGLE: bool = true;

    #[inline(always)]
    fn number(self) -> f64 {
        f64::from(self)
    }
}

/// Does something with the numbers of a raw column, whatever their type.
pub trait WithNumbers {
    /// What comes out.
    type Output;
    /// Called with the values (one for every row, also where `nulls` says that there is none).
    fn call<T: Number>(self, values: &[T], nulls: Option<&NullBuffer>) -> Self::Output;
}

/// Call `with` on the values of a raw numeric array; none: not a raw numeric type.
pub fn with_numbers<W: WithNumbers>(array: &dyn Array, with: W) -> Option<W::Output> {
    fn go<T: ArrowPrimitiveType, W: WithNumbers>(array: &dyn Array, with: W) -> Option<W::Output>
    where
        T::Native: Number,
    {
        let array = array.as_primitive_opt::<T>()?;
        Some(with.call(array.values(), array.nulls().filter(|nulls| nulls.null_count() > 0)))
    }
    match array.data_type() {
        DataType::Int8 => go::<Int8Type, W>(array, with),
        DataType::Int16 => go::<Int16Type, W>(array, with),
        DataType::Int32 => go::<Int32Type, W>(array, with),
        DataType::Int64 => go::<Int64Type, W>(array, with),
        DataType::UInt8 => go::<UInt8Type, W>(array, with),
        DataType::UInt16 => go::<UInt16Type, W>(array, with),
        DataType::UInt32 => go::<UInt32Type, W>(array, with),
        DataType::UInt64 => go::<UInt64Type, W>(array, with),
        DataType::Float16 => go::<Float16Type, W>(array, with),
        DataType::Float32 => go::<Float32Type, W>(array, with),
        DataType::Float64 => go::<Float64Type, W>(array, with),
        _ => None,
    }
}

/// The raw numeric column of a source column.
///
/// # Errors
/// [`Fault`] for infinities, for text that is no number and for types without a meaning as a number.
pub fn numbers(array: &ArrayRef) -> Result<ArrayRef, Fault> {
    let raw = match array.data_type() {
        DataType::Boolean => booleans(array),
        DataType::Null => new_null_array(&DataType::Float64, array.len()),
        DataType::Date32 => reinterpret(array, &DataType::Int32)?,
        DataType::Date64 => scaled(&reinterpret(array, &DataType::Int64)?, 86_400_000.0),
        DataType::Timestamp(unit, _) | DataType::Time32(unit) | DataType::Time64(unit) | DataType::Duration(unit) => {
            let whole = match array.data_type() {
                DataType::Time32(_) => reinterpret(&reinterpret(array, &DataType::Int32)?, &DataType::Int64)?,
                _ => reinterpret(array, &DataType::Int64)?,
            };
            scaled(&whole, units_per_second(*unit))
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            reinterpret(array, &DataType::Float64)?
        }
        DataType::Dictionary(_, values) => {
            let values = (**values).clone();
            return numbers(&reinterpret(array, &values)?);
        }
        DataType::RunEndEncoded(_, values) => {
            let values = values.data_type().clone();
            return numbers(&reinterpret(array, &values)?);
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => parsed(&reinterpret(array, &DataType::Utf8)?)?,
        other if other.is_numeric() => Arc::clone(array),
        other => return Err(Fault::whole(format!("type {other} cannot be read as a number"), "")),
    };
    finite(raw)
}

fn reinterpret(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Fault> {
    cast(array, to).map_err(|e| Fault::whole(format!("{} cannot be read as {to}: {e}", array.data_type()), ""))
}

fn booleans(array: &ArrayRef) -> ArrayRef {
    let bits = array.as_boolean();
    let values: Vec<u8> = bits.values().iter().map(u8::from).collect();
    Arc::new(UInt8Array::new(values.into(), bits.nulls().cloned()))
}

/// Whole units as a fraction of a larger one.
fn scaled(array: &ArrayRef, divisor: f64) -> ArrayRef {
    let whole = array.as_primitive::<Int64Type>();
    let values: Vec<f64> = whole.values().iter().map(|&value| value as f64 / divisor).collect();
    Arc::new(Float64Array::new(values.into(), whole.nulls().cloned()))
}

fn units_per_second(unit: TimeUnit) -> f64 {
    match unit {
        TimeUnit::Second => 1.0,
        TimeUnit::Millisecond => 1e3,
        TimeUnit::Microsecond => 1e6,
        TimeUnit::Nanosecond => 1e9,
    }
}

fn parsed(array: &ArrayRef) -> Result<ArrayRef, Fault> {
    let texts = array.as_string::<i32>();
    let mut values = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        values.push(match text {
            None => f64::NAN,
            Some(text) => infer::number(text.trim().as_bytes()).ok_or_else(|| {
                Fault::at(
                    row,
                    format!("found '{}', expected a number", clipped(text)),
                    "Mend it or make it missing in the source, or read the column as categories with --categorical",
                )
            })?,
        });
    }
    Ok(Arc::new(Float64Array::new(values.into(), texts.nulls().cloned())))
}

/// The first characters of a text, for messages.
pub fn clipped(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// NaN to missing; infinities are faults.
fn finite(array: ArrayRef) -> Result<ArrayRef, Fault> {
    match array.data_type() {
        DataType::Float16 => finite_of::<Float16Type>(array, |x| x.to_bits() & 0x7c00 == 0x7c00, f16::is_nan),
        DataType::Float32 => finite_of::<Float32Type>(array, |x| !x.is_finite(), f32::is_nan),
        DataType::Float64 => finite_of::<Float64Type>(array, |x| !x.is_finite(), f64::is_nan),
        _ => Ok(array),
    }
}

fn finite_of<T: ArrowPrimitiveType>(
    array: ArrayRef,
    odd: impl Fn(T::Native) -> bool,
    nan: impl Fn(T::Native) -> bool,
) -> Result<ArrayRef, Fault> {
    let numbers = array.as_primitive::<T>();
    let values = numbers.values();
    // A branch-free scan finds the common case of only finite values at memory speed.
    if !vectorised(|| values.iter().fold(false, |any, &x| any | odd(x))) {
        return Ok(array);
    }
    let nulls = numbers.nulls();
    let valid = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
    if let Some(row) = (0..values.len()).find(|&row| odd(values[row]) && !nan(values[row]) && valid(row)) {
        return Err(Fault::at(
            row,
            "found an infinite value, expected a finite number",
            "Replace it or make it missing in the source, or leave the column out with --ignore",
        ));
    }
    let present = NullBuffer::new(BooleanBuffer::collect_bool(values.len(), |row| !nan(values[row])));
    let nulls = NullBuffer::union(nulls, Some(&present));
    Ok(Arc::new(PrimitiveArray::<T>::new(values.clone(), nulls)))
}

/// The raw vector column of a source column: row-major values, all present, and their number a row.
///
/// # Errors
/// [`Fault`] for missing rows or elements, for rows of different widths and for infinities.
pub fn vectors(array: &ArrayRef) -> Result<(ArrayRef, usize), Fault> {
    let lists = plain_lists(array)?;
    let (offsets, items) = (lists.offsets(), lists.values());
    if let Some(row) = lists.nulls().and_then(|nulls| (0..nulls.len()).find(|&row| nulls.is_null(row))) {
        return Err(Fault::at(
            row,
            "found no vector, expected one in every row",
            "Drop such rows, or leave the column out with --ignore",
        ));
    }
    let width = if lists.is_empty() { 0 } else { (offsets[1] - offsets[0]) as usize };
    if let Some(row) = (0..lists.len()).find(|&row| (offsets[row + 1] - offsets[row]) as usize != width) {
        return Err(ragged(row, (offsets[row + 1] - offsets[row]) as usize, width));
    }
    if width == 0 && !lists.is_empty() {
        return Err(Fault::at(
            0,
            "found a vector of no numbers, expected one number at least",
            "Leave the column out with --ignore",
        ));
    }
    let start = offsets[0] as usize;
    let items = items.slice(start, offsets[lists.len()] as usize - start);
    let raw = numbers(&items).map_err(|fault| Fault { row: fault.row.map(|item| item / width.max(1)), ..fault })?;
    match raw.logical_nulls().and_then(|nulls| (0..nulls.len()).find(|&item| nulls.is_null(item))) {
        Some(item) => Err(Fault::at(
            item / width,
            format!("element {} of the vector is missing, expected {width} numbers", item % width + 1),
            "Drop such rows, or leave the column out with --ignore",
        )),
        None => Ok((raw, width)),
    }
}

/// The fault of a vector whose width differs from those before it.
pub fn ragged(row: usize, found: usize, expected: usize) -> Fault {
    Fault::at(
        row,
        format!("found a vector of {found} numbers, expected {expected} as in the rows before"),
        "All vectors of a column have the same width; use (index, value) pairs for sparse ones",
    )
}

fn plain_lists(array: &ArrayRef) -> Result<ListArray, Fault> {
    let item = match array.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Arc::clone(item),
        other => return Err(Fault::whole(format!("type {other} is not a list of numbers"), "")),
    };
    Ok(reinterpret(array, &DataType::List(item))?.as_list::<i32>().clone())
}

/// The raw sparse column of a source column: offsets, element numbers, values.
#[derive(Clone, Debug)]
pub struct SparseRows {
    /// Row `i` holds the entries `offsets[i]..offsets[i + 1]`; the first is 0.
    pub offsets: Vec<i32>,
    /// Element numbers, strictly increasing inside a row.
    pub indices: ScalarBuffer<u32>,
    /// Their values.
    pub values: ScalarBuffer<f32>,
}

/// The parts of lists of (u32, f32) pairs that are known to be well-formed.
///
/// # Errors
/// [`Fault`] for lists of other types.
pub fn sparse_parts(lists: &ListArray) -> Result<SparseRows, Fault> {
    let other = || Fault::whole("expected lists of (index, value) pairs", "");
    let first = lists.offsets()[0];
    let entries = (lists.offsets()[lists.len()] - first) as usize;
    let items = lists.values().as_struct_opt().filter(|items| items.num_columns() == 2).ok_or_else(other)?;
    let indices = items.column(0).as_primitive_opt::<UInt32Type>().ok_or_else(other)?.values();
    let values = items.column(1).as_primitive_opt::<Float32Type>().ok_or_else(other)?.values();
    Ok(SparseRows {
        offsets: lists.offsets().iter().map(|&offset| offset - first).collect(),
        indices: indices.slice(first as usize, entries),
        values: values.slice(first as usize, entries),
    })
}

impl SparseRows {
    /// The same rows without the elements from number `width` on.
    #[must_use]
    pub fn below(self, width: usize) -> SparseRows {
        let ranges = self.offsets.windows(2).map(|pair| pair[0] as usize..pair[1] as usize);
        // Indices increase inside a row.
        let known =
            ranges.map(|row| row.start..row.start + self.indices[row].partition_point(|&at| (at as usize) < width));
        let known: Vec<std::ops::Range<usize>> = known.collect();
        if known.iter().map(ExactSizeIterator::len).sum::<usize>() == self.indices.len() {
            return self;
        }
        let mut offsets = vec![0];
        offsets.extend(known.iter().scan(0, |end, row| {
            *end += row.len() as i32;
            Some(*end)
        }));
        let indices: Vec<u32> = known.iter().flat_map(|row| &self.indices[row.clone()]).copied().collect();
        let values: Vec<f32> = known.iter().flat_map(|row| &self.values[row.clone()]).copied().collect();
        SparseRows { offsets, indices: indices.into(), values: values.into() }
    }

    /// The same rows with indices that count from 0 instead of `base`.
    ///
    /// # Errors
    /// [`Fault`] for an index below `base`.
    pub fn from_base(self, base: u32) -> Result<SparseRows, Fault> {
        if base == 0 {
            return Ok(self);
        }
        // Indices increase inside a row, so the first of each row is the smallest.
        let below = |row: &usize| {
            let (start, end) = (self.offsets[*row] as usize, self.offsets[row + 1] as usize);
            start < end && self.indices[start] < base
        };
        if let Some(row) = (0..self.offsets.len() - 1).find(below) {
            return Err(Fault::at(
                row,
                format!("found an index below {base}, expected indices that count from {base}"),
                "",
            ));
        }
        let indices: Vec<u32> = self.indices.iter().map(|index| index - base).collect();
        Ok(SparseRows { indices: indices.into(), ..self })
    }
}

/// The raw sparse column of a source column of (index, value) lists.
///
/// # Errors
/// [`Fault`] for missing rows or entries, negative or unsorted indices, and values that are not finite in `f32`.
pub fn sparse(array: &ArrayRef) -> Result<SparseRows, Fault> {
    let lists = plain_lists(array)?;
    if let Some(row) = lists.nulls().and_then(|nulls| (0..nulls.len()).find(|&row| nulls.is_null(row))) {
        return Err(Fault::at(row, "found no sparse vector, expected one in every row (it may be empty)", ""));
    }
    let first = lists.offsets()[0];
    let entries = (lists.offsets()[lists.len()] - first) as usize;
    let items = lists.values().slice(first as usize, entries);
    let offsets: Vec<i32> = lists.offsets().iter().map(|&offset| offset - first).collect();
    let row_of = |entry: usize| offsets.partition_point(|&offset| offset as usize <= entry) - 1;
    let fields = items.as_struct_opt().ok_or_else(|| Fault::whole("expected (index, value) pairs", ""))?;
    let strict = |column: usize, to: &DataType, what: &str| -> Result<ArrayRef, Fault> {
        let given = fields.column(column);
        let plain = reinterpret(given, to)?;
        match plain.logical_nulls().and_then(|nulls| (0..nulls.len()).find(|&entry| nulls.is_null(entry))) {
            Some(entry) => Err(Fault::at(row_of(entry), format!("an {what} is missing or out of range for {to}"), "")),
            None => Ok(plain),
        }
    };
    let indices = strict(0, &DataType::UInt32, "index")?.as_primitive::<UInt32Type>().values().clone();
    let values = strict(1, &DataType::Float32, "entry")?.as_primitive::<Float32Type>().values().clone();
    if let Some(entry) = (0..entries).find(|&entry| !values[entry].is_finite()) {
        let message = format!("element {} is {}, expected a finite number", indices[entry], values[entry]);
        return Err(Fault::at(row_of(entry), message, ""));
    }
    for row in 0..lists.len() {
        let entries = &indices[offsets[row] as usize..offsets[row + 1] as usize];
        if let Some(pair) = entries.windows(2).find(|pair| pair[0] >= pair[1]) {
            let message = format!("found index {} after {}, expected strictly increasing ones", pair[1], pair[0]);
            return Err(Fault::at(row, message, ""));
        }
        if entries.last() == Some(&u32::MAX) {
            return Err(Fault::at(row, format!("found index {}, expected less", u32::MAX), ""));
        }
    }
    Ok(SparseRows { offsets, indices, values })
}

/// Text levels of a source column, for categories.
///
/// # Errors
/// [`Fault`] for types that cannot be written as text.
pub fn texts(array: &ArrayRef) -> Result<ArrayRef, Fault> {
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(Arc::clone(array)),
        DataType::Dictionary(keys, values) => match values.as_ref() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(Arc::clone(array)),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => texts(&reinterpret(array, values)?),
            values if is_rounded(values) => texts(&reinterpret(array, values)?),
            _ => reinterpret(array, &DataType::Dictionary(keys.clone(), Box::new(DataType::Utf8))),
        },
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            reinterpret(&without_negative_zero(&finite(Arc::clone(array))?), &DataType::Utf8)
        }
        DataType::Null => Ok(new_null_array(&DataType::Utf8, array.len())),
        // Arrow writes the digits and then the zeros: 0 would be 000.
        decimals if is_rounded(decimals) => {
            reinterpret(&reinterpret(array, &DataType::Decimal256(76, 0))?, &DataType::Utf8)
        }
        _ => reinterpret(array, &DataType::Utf8),
    }
}

/// True for decimals in units of ten, a hundred and so on.
fn is_rounded(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(data_type, T::Decimal32(_, s) | T::Decimal64(_, s) | T::Decimal128(_, s) | T::Decimal256(_, s) if *s < 0)
}

/// The same numbers, 0 where -0 was: that is the same number, and must not be another level.
fn without_negative_zero(array: &ArrayRef) -> ArrayRef {
    fn positive<T: ArrowPrimitiveType>(array: &ArrayRef, zero: T::Native) -> ArrayRef {
        Arc::new(array.as_primitive::<T>().unary::<_, T>(|x| if x == zero { zero } else { x }))
    }
    match array.data_type() {
        DataType::Float16 => positive::<Float16Type>(array, f16::ZERO),
        DataType::Float32 => positive::<Float32Type>(array, 0.0),
        DataType::Float64 => positive::<Float64Type>(array, 0.0),
        _ => Arc::clone(array),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeListArray, Float32Array, Int32Array,
        ListArray, StringArray, TimestampMillisecondArray,
    };

    fn floats(array: &ArrayRef) -> Vec<Option<f64>> {
        cast(array, &DataType::Float64).unwrap().as_primitive::<Float64Type>().iter().collect()
    }

    #[test]
    fn every_kind_of_number_has_its_documented_unit() {
        let cases: Vec<(ArrayRef, Vec<Option<f64>>)> = vec![
            (Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])), vec![Some(1.0), None, Some(0.0)]),
            (
                Arc::new(Date32Array::from(vec![Some(0), Some(-1), Some(20_000)])),
                vec![Some(0.0), Some(-1.0), Some(20_000.0)],
            ),
            (Arc::new(TimestampMillisecondArray::from(vec![1_500, -250])), vec![Some(1.5), Some(-0.25)]),
            (
                Arc::new(Decimal128Array::from(vec![Some(12_345), None]).with_precision_and_scale(9, 2).unwrap()),
                vec![Some(123.45), None],
            ),
            (Arc::new(Float32Array::from(vec![1.5, f32::NAN])), vec![Some(1.5), None]),
            (
                Arc::new(StringArray::from(vec![Some(" -2.5e3 "), None, Some("true")])),
                vec![Some(-2500.0), None, Some(1.0)],
            ),
            (new_null_array(&DataType::Null, 2), vec![None, None]),
            (
                Arc::new(DictionaryArray::<Int8Type>::new(
                    vec![1i8, 0, 1].into(),
                    Arc::new(Int32Array::from(vec![7, 9])),
                )),
                vec![Some(9.0), Some(7.0), Some(9.0)],
            ),
        ];
        for (array, expected) in cases {
            assert_eq!(floats(&numbers(&array).unwrap()), expected, "{}", array.data_type());
        }
    }

    #[test]
    fn zero_is_one_level_whatever_its_sign() {
        for array in [
            Arc::new(Float64Array::from(vec![Some(-0.0), Some(0.0), None, Some(-1.5), Some(f64::NAN)])) as ArrayRef,
            Arc::new(Float32Array::from(vec![Some(-0.0), Some(0.0), None, Some(-1.5), Some(f32::NAN)])),
        ] {
            let found = texts(&array).unwrap();
            let found: Vec<Option<&str>> = found.as_string::<i32>().iter().collect();
            assert_eq!(found, [Some("0.0"), Some("0.0"), None, Some("-1.5"), None]);
        }
    }

    #[test]
    fn decimals_in_units_of_a_hundred_are_written_out() {
        use arrow::array::{Decimal32Array, Decimal256Array};
        use arrow::datatypes::i256;
        let plain = Decimal32Array::from(vec![Some(0), Some(12), None]).with_precision_and_scale(5, -2).unwrap();
        let most = i256::from_string(&"9".repeat(70)).unwrap();
        let large = Decimal256Array::from(vec![most]).with_precision_and_scale(70, -6).unwrap();
        let coded = DictionaryArray::<Int8Type>::new(vec![Some(1), Some(0), None].into(), Arc::new(plain.clone()));
        let of = |array: ArrayRef| texts(&array).unwrap();
        assert_eq!(of(Arc::new(plain)).as_string::<i32>(), &StringArray::from(vec![Some("0"), Some("1200"), None]));
        assert_eq!(of(Arc::new(coded)).as_string::<i32>(), &StringArray::from(vec![Some("1200"), Some("0"), None]));
        assert_eq!(of(Arc::new(large)).as_string::<i32>().value(0), "9".repeat(70) + "000000");
    }

    #[test]
    fn infinities_and_words_are_faults_with_their_row() {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(f64::NAN), Some(f64::NEG_INFINITY)]));
        assert_eq!(numbers(&array).unwrap_err().row, Some(2));
        let array: ArrayRef = Arc::new(StringArray::from(vec!["1", "two"]));
        let fault = numbers(&array).unwrap_err();
        assert!(fault.row == Some(1) && fault.message.contains("'two'"), "{fault:?}");
    }

    #[test]
    fn elements_beyond_a_width_are_left_out() {
        let rows = SparseRows {
            offsets: vec![0, 3, 4, 4, 6],
            indices: vec![0, 2, 3, 7, 1, 4].into(),
            values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0].into(),
        };
        assert_eq!(rows.clone().below(8).indices, rows.indices);
        let known = rows.below(3);
        assert_eq!((known.offsets, &known.indices[..]), (vec![0, 2, 2, 2, 3], &[0, 2, 1][..]));
        assert_eq!(&known.values[..], [1.0, 2.0, 5.0]);
    }

    #[test]
    fn vectors_are_row_major_and_must_be_complete_and_of_one_width() {
        let lists = |rows: Vec<Option<Vec<Option<f32>>>>| -> ArrayRef {
            Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows))
        };
        let good = lists(vec![
            Some(vec![Some(1.0), Some(2.0)]),
            Some(vec![Some(3.0), Some(4.0)]),
            Some(vec![Some(5.0), Some(6.0)]),
        ]);
        let (raw, width) = vectors(&good.slice(1, 2)).unwrap();
        assert_eq!((floats(&raw), width), (vec![Some(3.0), Some(4.0), Some(5.0), Some(6.0)], 2));
        let fixed: ArrayRef = Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
            vec![Some(vec![Some(1.0), Some(2.0)]), Some(vec![Some(3.0), Some(4.0)])],
            2,
        ));
        assert_eq!(floats(&vectors(&fixed.slice(1, 1)).unwrap().0), [Some(3.0), Some(4.0)]);
        let fault = vectors(&lists(vec![Some(vec![Some(1.0)]), Some(vec![])])).unwrap_err();
        assert!(fault.row == Some(1) && fault.message.contains("of 0 numbers, expected 1"), "{fault:?}");
        assert_eq!(vectors(&lists(vec![Some(vec![Some(1.0)]), None])).unwrap_err().row, Some(1));
        assert!(vectors(&lists(vec![Some(vec![]), Some(vec![])])).unwrap_err().message.contains("no numbers"));
        let fault = vectors(&lists(vec![Some(vec![Some(1.0); 3]), Some(vec![Some(1.0), Some(f32::NAN), Some(1.0)])]))
            .unwrap_err();
        assert!(fault.row == Some(1) && fault.message.contains("element 2"), "{fault:?}");
    }
}
