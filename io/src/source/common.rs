//! Files of one source whose types differ (stage 1): what a column is read as in all of them.
//!
//! A writer takes the type that its own rows need: pandas makes floats of whole numbers where one is missing, a file without any value
//! of a column has no type for it, and counts outgrow 32 bits. The column is read as a type that holds both, whichever
//! file comes first. Other differences are errors.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;

/// The type that holds the values of both; none: there is none that holds them exactly and means the same.
///
/// Integers of 64 bits beside floats are read as `Float64`, which does not hold all of them: [`widened`] refuses the others.
pub fn common(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType as T;
    let items = |one: &FieldRef, other: &FieldRef| -> Option<FieldRef> {
        let both = common(one.data_type(), other.data_type())?;
        Some(Arc::new(one.as_ref().clone().with_data_type(both)))
    };
    let is_number = |data_type: &DataType| data_type.is_integer() || data_type.is_floating();
    match (one, other) {
        _ if one == other => Some(one.clone()),
        (T::List(one), T::List(other)) => items(one, other).map(T::List),
        (T::LargeList(one), T::LargeList(other)) => items(one, other).map(T::LargeList),
        (T::FixedSizeList(one, width), T::FixedSizeList(other, as_wide)) if width == as_wide => {
            items(one, other).map(|item| T::FixedSizeList(item, *width))
        }
        (T::Timestamp(unit, zone), T::Timestamp(other, same)) if zone == same => {
            Some(T::Timestamp(*unit.max(other), zone.clone()))
        }
        // Writers differ in the layout of texts.
        _ if is_text(one) && is_text(other) => Some(one.clone()),
        _ if !is_number(one) || !is_number(other) => None,
        _ if one.is_floating() || other.is_floating() => Some(T::Float64),
        _ if one.is_unsigned_integer() && other.is_unsigned_integer() => Some(T::UInt64),
        // No type has both the negative numbers and those from 2^63 on.
        _ if *one == T::UInt64 || *other == T::UInt64 => None,
        _ => Some(T::Int64),
    }
}

/// The array in the common type of its column.
///
/// # Errors
/// When that does not hold a value of it.
pub fn widened(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let wide = cast_with_options(array, to, &strict)?;
    if !is_long(array.data_type()) || !is_double(to) {
        return Ok(wide);
    }
    let back = cast(&wide, array.data_type())?;
    if back.to_data() != array.to_data() {
        return Err(ArrowError::CastError("it holds whole numbers beyond 2^53 that no Float64 is".into()));
    }
    Ok(wide)
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        other => matches!(other, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
    }
}

fn is_long(data_type: &DataType) -> bool {
    matches!(innermost(data_type), DataType::Int64 | DataType::UInt64)
}

fn is_double(data_type: &DataType) -> bool {
    *innermost(data_type) == DataType::Float64
}

fn innermost(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            innermost(item.data_type())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Float64Array, Int64Array};
    use arrow::datatypes::{Float64Type, TimeUnit};

    use super::*;

    #[test]
    fn the_common_type_holds_both_whichever_is_first() {
        use DataType as T;
        let list = |item: T| T::new_list(item, true);
        let stamp = |unit| T::Timestamp(unit, None);
        for (one, other, expected) in [
            (T::Int64, T::Float64, Some(T::Float64)),
            (T::Float32, T::Int8, Some(T::Float64)),
            (T::Float32, T::Float64, Some(T::Float64)),
            (T::Int32, T::Int64, Some(T::Int64)),
            (T::UInt8, T::Int8, Some(T::Int64)),
            (T::UInt8, T::UInt64, Some(T::UInt64)),
            (T::UInt64, T::Int64, None),
            (T::Int64, T::Utf8, None),
            (T::Boolean, T::Int64, None),
            (T::Date32, T::Int32, None),
            (list(T::Float32), list(T::Float64), Some(list(T::Float64))),
            (list(T::Float32), T::Float32, None),
            (stamp(TimeUnit::Second), stamp(TimeUnit::Nanosecond), Some(stamp(TimeUnit::Nanosecond))),
            (stamp(TimeUnit::Second), T::Timestamp(TimeUnit::Second, Some("UTC".into())), None),
        ] {
            assert_eq!(common(&one, &other), expected, "{one} and {other}");
            assert_eq!(common(&other, &one), expected, "{other} and {one}");
        }
    }

    #[test]
    fn no_value_changes_on_the_way() {
        let wide = |values: Vec<Option<i64>>| {
            let array: ArrayRef = Arc::new(Int64Array::from(values));
            widened(&array, &DataType::Float64)
        };
        let same = wide(vec![Some(-3), None, Some(1 << 60)]).expect("exact");
        assert_eq!(
            same.as_primitive::<Float64Type>(),
            &Float64Array::from(vec![Some(-3.0), None, Some((1u64 << 60) as f64)])
        );
        for value in [(1 << 53) + 1, i64::MAX] {
            assert!(wide(vec![Some(value)]).expect_err("no float").to_string().contains("2^53"));
        }
    }
}
