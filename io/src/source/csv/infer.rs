//! Types of text values (stage 1): inferred from the first rows, widened where they differ.
//!
//! ```text
//! (nothing yet) -> Boolean | Integer -> Float | Date -> Timestamp | Text
//! ```
//! Two types that are not on one arrow meet at Text. A column whose sample holds no value at all counts as Float.

use std::sync::LazyLock;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use arrow::datatypes::Date32Type;

use super::fields::Field;
use crate::source::options::{NULL_MARKERS, TextType};

/// Texts that stand for a missing value.
#[derive(Clone, Debug)]
pub struct NullMarkers {
    markers: Vec<Vec<u8>>,
    any_number: bool,
    /// True when they are the user's own, who means them in quotes too where a number or a date is expected.
    own: bool,
}

impl NullMarkers {
    /// As given by the user.
    pub fn new(markers: &[String]) -> NullMarkers {
        // "nan" and "inf" parse as well, but the fast way over a number never accepts those.
        let is_number = |marker: &String| fast_float2::parse::<f64, _>(marker).is_ok_and(f64::is_finite);
        NullMarkers {
            any_number: markers.iter().any(is_number),
            own: markers.iter().map(String::as_str).ne(NULL_MARKERS.iter().copied()),
            markers: markers.iter().map(|marker| marker.clone().into_bytes()).collect(),
        }
    }

    /// What to tell someone whose value is none of them: the flag that names it too.
    pub fn with(&self, value: &str) -> String {
        match (value.contains(','), self.own) {
            (true, _) => "write numbers with a point for decimals and nothing between thousands".into(),
            (_, false) => format!("pass --null-values default,'{value}' if it stands for a missing value"),
            (_, true) => format!("add '{value}' to --null-values if it stands for a missing value"),
        }
    }

    /// True when some marker looks like a number (`-999`), so that no number is safe from being one.
    pub fn any_number(&self) -> bool {
        self.any_number
    }

    /// True when an unquoted field with these bytes is a missing value.
    pub fn contains(&self, raw: &[u8]) -> bool {
        self.markers.iter().any(|marker| marker == raw)
    }

    /// True when the field stands for a missing value; a quoted one never does in a column of text, and in others when it is empty or the
    /// user named it.
    pub fn is_null(&self, field: &Field<'_>, kind: TextType) -> bool {
        if field.quoted {
            kind != TextType::Text && (field.raw.is_empty() || self.own && self.contains(field.raw))
        } else {
            self.contains(field.raw)
        }
    }
}

/// The type of one value that is not missing.
pub fn type_of(value: &[u8]) -> TextType {
    let value = value.trim_ascii();
    if integer(value).is_some() {
        TextType::Integer
    } else if fast_float2::parse::<f64, _>(value).is_ok() {
        TextType::Float
    } else if boolean(value).is_some() {
        TextType::Boolean
    } else if date(value).is_some() {
        TextType::Date
    } else if timestamp(value).is_some() {
        TextType::Timestamp
    } else {
        TextType::Text
    }
}

/// The narrowest type that holds values of both.
pub fn widen(one: TextType, other: TextType) -> TextType {
    use TextType::{Date, Float, Integer, Text, Timestamp};
    match (one, other) {
        (a, b) if a == b => a,
        (Integer, Float) | (Float, Integer) => Float,
        (Date, Timestamp) | (Timestamp, Date) => Timestamp,
        _ => Text,
    }
}

/// Types of the columns, from a few records (none: no value was seen).
pub struct Inference {
    seen: Vec<Option<TextType>>,
}

impl Inference {
    /// Of so many columns.
    pub fn new(columns: usize) -> Inference {
        Inference { seen: vec![None; columns] }
    }

    /// Take a record into account.
    pub fn add(&mut self, record: &[Field<'_>], nulls: &NullMarkers) {
        for (seen, field) in self.seen.iter_mut().zip(record) {
            if *seen == Some(TextType::Text) || nulls.is_null(field, TextType::Float) {
                continue;
            }
            let found = type_of(&field.unescaped());
            *seen = Some(seen.map_or(found, |before| widen(before, found)));
        }
    }

    /// The types.
    pub fn types(&self) -> Vec<TextType> {
        self.seen.iter().map(|seen| seen.unwrap_or(TextType::Float)).collect()
    }
}

/// A whole number that fits 64 bits, with an optional sign.
pub fn integer(value: &[u8]) -> Option<i64> {
    let (negative, digits) = match value {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, value),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number: i64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Counting below zero reaches the least value as well.
        number = number.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(number) } else { number.checked_neg() }
}

/// A decimal number, or `true` or `false` as 1 and 0.
pub fn number(value: &[u8]) -> Option<f64> {
    fast_float2::parse(value).ok().or_else(|| boolean(value).map(|yes| f64::from(u8::from(yes))))
}

/// `true` or `false`.
pub fn boolean(value: &[u8]) -> Option<bool> {
    match value {
        b"true" | b"True" | b"TRUE" => Some(true),
        b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub fn date(value: &[u8]) -> Option<i32> {
    if value.len() != 10 || !begins_with_date(value) {
        return None;
    }
    Date32Type::parse(std::str::from_utf8(value).ok()?)
}

/// Microseconds since 1970-01-01 (UTC where a zone is given) of `YYYY-MM-DD hh:mm[:ss[.fraction]][zone]` or of a date.
pub fn timestamp(value: &[u8]) -> Option<i64> {
    if !begins_with_date(value) || !matches!(value.get(10), None | Some(b' ' | b'T' | b't')) {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    if text.len() == 16 {
        return microseconds(&format!("{text}:00"));
    }
    microseconds(text)
}

/// Of any year that has four digits: arrow's own way leads over nanoseconds, which end in 2262, and 9999-12-31 stands for "never".
fn microseconds(text: &str) -> Option<i64> {
    static UTC: LazyLock<Option<Tz>> = LazyLock::new(|| "+00:00".parse().ok());
    Some(string_to_datetime(UTC.as_ref()?, text).ok()?.timestamp_micros())
}

fn begins_with_date(value: &[u8]) -> bool {
    value.len() >= 10
        && value[..10]
            .iter()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_have_the_narrowest_type() {
        for (value, expected) in [
            ("0", TextType::Integer),
            ("-9223372036854775808", TextType::Integer),
            ("9223372036854775808", TextType::Float),
            ("+7", TextType::Integer),
            ("1e3", TextType::Float),
            (" 2.5 ", TextType::Float),
            ("inf", TextType::Float),
            ("True", TextType::Boolean),
            ("2024-02-29", TextType::Date),
            ("2023-02-29", TextType::Text),
            ("2024-02-29 10:11", TextType::Timestamp),
            ("9999-12-31 23:59:59", TextType::Timestamp),
            ("0001-01-01T00:00:00Z", TextType::Timestamp),
            ("2024-02-29T10:11:12.5Z", TextType::Timestamp),
            ("2024-02-29 10:11:12+02:00", TextType::Timestamp),
            ("12:30", TextType::Text),
            ("-", TextType::Text),
            ("1,5", TextType::Text),
        ] {
            assert_eq!(type_of(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn dates_count_from_the_epoch() {
        assert_eq!(date(b"1970-01-02"), Some(1));
        assert_eq!(timestamp(b"1970-01-01 00:00:01.000002"), Some(1_000_002));
        assert_eq!(timestamp(b"1970-01-01T02:00:00+02:00"), Some(0));
        assert_eq!(timestamp(b"1970-01-02"), Some(86_400_000_000));
        // 2,932,896 days after 1970-01-01.
        assert_eq!(timestamp(b"9999-12-31 23:59:59.5"), Some((2_932_896 * 86_400 + 86_399) * 1_000_000 + 500_000));
        assert_eq!(timestamp(b"0001-01-01 00:00"), Some(-719_162 * 86_400 * 1_000_000));
    }

    #[test]
    fn differing_types_meet() {
        assert_eq!(widen(TextType::Integer, TextType::Float), TextType::Float);
        assert_eq!(widen(TextType::Date, TextType::Timestamp), TextType::Timestamp);
        assert_eq!(widen(TextType::Boolean, TextType::Integer), TextType::Text);
    }

    proptest! {
        #[test]
        fn integers_agree_with_the_standard_library(text in "[+-]?[0-9]{0,21}") {
            prop_assert_eq!(integer(text.as_bytes()), text.parse::<i64>().ok());
        }

        #[test]
        fn any_value_has_a_type(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = type_of(&bytes);
        }

        #[test]
        fn any_date_like_text_is_read_or_refused(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[ T]?[0-9:.+Z-]{0,16}") {
            let _ = (date(text.as_bytes()), timestamp(text.as_bytes()));
        }
    }
}
