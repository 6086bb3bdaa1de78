//! The loops that store numbers (stage 2): raw values in, stored values out.
//!
//! `stored = round((value - offset) / scale)`; a missing value becomes the stored form of the imputed one. Plain loops over
//! slices that the compiler vectorises; one per pair of raw and storage type. Cost: about 1 ns a value, twice that when the
//! error is measured.

use std::sync::Arc;

use arrow::array::Array;
use arrow::array::{ArrayRef, Float16Array, Float32Array, Float64Array, UInt8Array, UInt16Array};
use arrow::buffer::NullBuffer;
use gristmill_kernels::dtype::{DType, Element, f16};
use gristmill_kernels::tile::Values;
use gristmill_kernels::vectorised;

use super::affine::Affine;
use super::raw::{Number, WithNumbers, with_numbers};

/// A storage type that can be written.
pub trait Stored: Element {
    /// The nearest stored number (integers saturate).
    fn store(x: f64) -> Self;
}

impl Stored for f64 {
    #[inline(always)]
    fn store(x: f64) -> f64 {
        x
    }
}

#[allow(clippy::cast_possible_truncation, reason = "rounding to the storage type is the purpose")]
impl Stored for f32 {
    #[inline(always)]
    fn store(x: f64) -> f32 {
        x as f32
    }
}

impl Stored for f16 {
    #[inline(always)]
    fn store(x: f64) -> f16 {
        f16::from_f64(x)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
impl Stored for u16 {
    #[inline(always)]
    fn store(x: f64) -> u16 {
        (x + 0.5) as u16
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
impl Stored for u8 {
    #[inline(always)]
    fn store(x: f64) -> u8 {
        (x + 0.5) as u8
    }
}

/// Stored numbers of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// `f64`.
    F64(Vec<f64>),
    /// `f32`.
    F32(Vec<f32>),
    /// `f16`.
    F16(Vec<f16>),
    /// `u16`.
    U16(Vec<u16>),
    /// `u8`.
    U8(Vec<u8>),
}

/// The same expression on the vector inside, whatever its type.
macro_rules! inside {
    ($numbers:expr, $vector:ident => $body:expr) => {
        match $numbers {
            Numbers::F64($vector) => $body,
            Numbers::F32($vector) => $body,
            Numbers::F16($vector) => $body,
            Numbers::U16($vector) => $body,
            Numbers::U8($vector) => $body,
        }
    };
}

impl Numbers {
    /// No numbers yet, with room for `capacity`.
    pub fn with_capacity(dtype: DType, capacity: usize) -> Numbers {
        match dtype {
            DType::F64 => Numbers::F64(Vec::with_capacity(capacity)),
            DType::F32 => Numbers::F32(Vec::with_capacity(capacity)),
            DType::F16 => Numbers::F16(Vec::with_capacity(capacity)),
            DType::U16 => Numbers::U16(Vec::with_capacity(capacity)),
            DType::U8 => Numbers::U8(Vec::with_capacity(capacity)),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        inside!(self, vector => vector.len())
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Append a raw column; `impute` stands for missing values. Returns the largest error, 0 when the affine form is exact,
    /// or none when the array is not raw numbers.
    pub fn append(&mut self, raw: &dyn Array, affine: &Affine, impute: f64) -> Option<f64> {
        inside!(self, vector => with_numbers(raw, Append { to: vector, affine, impute }))
    }

    /// Append stored numbers; false: they are of another type.
    pub fn extend(&mut self, next: &Numbers) -> bool {
        match (self, next) {
            (Numbers::F64(all), Numbers::F64(next)) => all.extend_from_slice(next),
            (Numbers::F32(all), Numbers::F32(next)) => all.extend_from_slice(next),
            (Numbers::F16(all), Numbers::F16(next)) => all.extend_from_slice(next),
            (Numbers::U16(all), Numbers::U16(next)) => all.extend_from_slice(next),
            (Numbers::U8(all), Numbers::U8(next)) => all.extend_from_slice(next),
            _ => return false,
        }
        true
    }

    /// Append 1 where the raw column has no value, else 0.
    pub fn append_indicator(&mut self, raw: &dyn Array) {
        inside!(self, flags => match raw.nulls() {
            None => flags.resize(flags.len() + raw.len(), Stored::store(0.0)),
            Some(nulls) => add_flags(flags, nulls),
        });
    }

    /// As an Arrow array.
    pub fn into_array(self) -> ArrayRef {
        match self {
            Numbers::F64(values) => Arc::new(Float64Array::from(values)),
            Numbers::F32(values) => Arc::new(Float32Array::from(values)),
            Numbers::F16(values) => Arc::new(Float16Array::from(values)),
            Numbers::U16(values) => Arc::new(UInt16Array::from(values)),
            Numbers::U8(values) => Arc::new(UInt8Array::from(values)),
        }
    }

    /// As kernels see them.
    pub fn values(&self) -> Values<'_> {
        match self {
            Numbers::F64(values) => Values::F64(values),
            Numbers::F32(values) => Values::F32(values),
            Numbers::F16(values) => Values::F16(values),
            Numbers::U16(values) => Values::U16(values),
            Numbers::U8(values) => Values::U8(values),
        }
    }

    /// The first position from `start` whose stored number is not finite.
    pub fn first_infinite(&self, start: usize) -> Option<usize> {
        inside!(self, vector => {
            let added = &vector[start..];
            // A branch-free scan finds the common case at memory speed.
            let any = vectorised(|| added.iter().fold(false, |any, x| any | !x.to_f64().is_finite()));
            if any { added.iter().position(|x| !x.to_f64().is_finite()).map(|at| at + start) } else { None }
        })
    }
}

fn add_flags<S: Stored>(flags: &mut Vec<S>, nulls: &NullBuffer) {
    flags.extend(nulls.iter().map(|valid| S::store(if valid { 0.0 } else { 1.0 })));
}

/// What a value is after it was stored in `affine` and read back.
pub fn round_trip(affine: &Affine, value: f64) -> f64 {
    affine.value(stored(affine, value))
}

/// The stored number of a value.
fn stored(affine: &Affine, value: f64) -> f64 {
    let stored = affine.stored(value);
    match affine.dtype {
        DType::F64 => stored,
        DType::F32 => f32::store(stored).to_f64(),
        DType::F16 => f16::store(stored).to_f64(),
        DType::U16 => u16::store(stored).to_f64(),
        DType::U8 => u8::store(stored).to_f64(),
    }
}

/// True when [`shortest`] says of the stored number which value it was.
pub fn is_told(affine: &Affine, value: f64) -> bool {
    shortest(affine, stored(affine, value)) == value
}

/// The number of fewest digits that is stored as `stored`: what a source most likely said where storage rounds (0.1, not
/// 0.10000000149).
pub fn shortest(affine: &Affine, stored: f64) -> f64 {
    let value = affine.value(stored);
    if !matches!(affine.dtype, DType::F32 | DType::F16) {
        return value;
    }
    let rounded = |digits: usize| format!("{value:.digits$e}").parse::<f64>().ok();
    (0..17).filter_map(rounded).find(|&short| round_trip(affine, short) == value).unwrap_or(value)
}

struct Append<'a, S> {
    to: &'a mut Vec<S>,
    affine: &'a Affine,
    impute: f64,
}

impl<S: Stored> WithNumbers for Append<'_, S> {
    type Output = f64;

    fn call<T: Number>(self, values: &[T], nulls: Option<&NullBuffer>) -> f64 {
        let Append { to, affine, impute } = self;
        let start = to.len();
        vectorised(|| {
            if affine.is_plain() {
                to.extend(values.iter().map(|x| S::store(x.number())));
            } else if affine.scale == 1.0 {
                to.extend(values.iter().map(|x| S::store(x.number() - affine.offset)));
            } else {
                to.extend(values.iter().map(|x| S::store(affine.stored(x.number()))));
            }
        });
        let added = &mut to[start..];
        if let Some(nulls) = nulls {
            let imputed = S::store(affine.stored(impute));
            (0..values.len()).filter(|&row| nulls.is_null(row)).for_each(|row| added[row] = imputed);
        }
        match nulls {
            _ if affine.exact => 0.0,
            None => vectorised(|| worst(values, added, affine)),
            Some(nulls) => nulls
                .valid_slices()
                .map(|(start, end)| worst(&values[start..end], &added[start..end], affine))
                .fold(0.0, f64::max),
        }
    }
}

#[inline(always)]
fn worst<T: Number, S: Stored>(values: &[T], stored: &[S], affine: &Affine) -> f64 {
    let mut lanes = [0.0f64; 8];
    let error = |x: T, s: S| (x.number() - affine.value(s.to_f64())).abs();
    let (mut values, mut stored) = (values.chunks_exact(8), stored.chunks_exact(8));
    for (x, s) in (&mut values).zip(&mut stored) {
        for lane in 0..8 {
            let error = error(x[lane], s[lane]);
            lanes[lane] = if error > lanes[lane] { error } else { lanes[lane] };
        }
    }
    let rest = values.remainder().iter().zip(stored.remainder()).map(|(&x, &s)| error(x, s));
    rest.chain(lanes).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::summary::Summary;

    #[test]
    fn every_storage_type_reads_back_within_the_error_it_reports() {
        let values: Vec<Option<f64>> =
            (0..1000).map(|i| (i % 7 != 3).then(|| 50.0 + f64::from(i * 37 % 1000) * 0.013)).collect();
        let raw = Float64Array::from(values.clone());
        let seen = Summary::of(&raw).unwrap();
        // Half an ulp of the largest stored number: centred f32 and f16 hold at most 8, u8 has 255 steps over 12.987.
        let bounds = [
            (DType::F64, 0.0),
            (DType::F32, 2f64.powi(-22)),
            (DType::F16, 2f64.powi(-9)),
            (DType::U16, 1e-4),
            (DType::U8, 0.0255),
        ];
        for (dtype, bound) in bounds {
            let affine = Affine::choose(&seen, Some(dtype), false);
            let mut stored = Numbers::with_capacity(dtype, raw.len());
            let reported = stored.append(&raw, &affine, seen.mean).unwrap();
            assert!(reported <= bound, "{dtype:?} {reported}");
            let back = |row: usize| affine.value(inside!(&stored, vector => vector[row].to_f64()));
            for (row, value) in values.iter().enumerate() {
                let expected = value.unwrap_or_else(|| round_trip(&affine, seen.mean));
                assert!((back(row) - expected).abs() <= reported, "{dtype:?} row {row}");
            }
        }
    }

    #[test]
    fn a_stored_number_has_a_short_name() {
        let named = |affine: Affine, value: f64| shortest(&affine, affine.stored(round_trip(&affine, value)));
        let centred = Affine { dtype: DType::F32, offset: -3.5, scale: 1.0, exact: false };
        for value in [0.1, -7.0, -3.45, 123.25, 0.0, 1e-3] {
            assert_eq!(named(Affine::plain(DType::F32, false), value), value);
            assert_eq!(named(Affine::plain(DType::F64, true), value), value);
            assert_eq!(named(centred, value), value);
        }
        for value in [0, 1, 99, 255] {
            let code = Affine { dtype: DType::U8, offset: 1e15 + 1.0, scale: 1.0, exact: true };
            assert_eq!(named(code, 1e15 + 1.0 + f64::from(value)), 1e15 + 1.0 + f64::from(value));
        }
        assert_eq!(named(Affine::plain(DType::F64, true), 0.1 + 0.2), 0.1 + 0.2);
    }

    #[test]
    fn indicators_mark_missing_rows() {
        let raw = Float64Array::from(vec![Some(1.0), None]);
        let mut flags = Numbers::with_capacity(DType::U8, 4);
        flags.append_indicator(&raw);
        flags.append_indicator(&Float64Array::from(vec![2.0]));
        assert_eq!(flags, Numbers::U8(vec![0, 1, 0]));
    }
}
