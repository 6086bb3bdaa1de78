//! Several labels a row (stage 2): columns of 0 and 1 become one column of whole numbers, of which bit k is label k.
//!
//! One stored column, so that a pass reads the labels of all models at once: 1 byte a row for up to 8 labels, 2 for up to 16, an
//! `f32` (whose whole numbers are exact to 2^24) for up to 24, an `f64` for up to 53.

use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::buffer::NullBuffer;
use gristmill_kernels::dtype::DType;
use std::sync::Arc;

use super::raw::{self, Fault, Number, WithNumbers, with_numbers};

/// Most labels: whole numbers are exact in `f64` to 2^53.
pub const LABELS_MAX: usize = 53;

/// What to do about a label that is not 0 or 1.
const HELP: &str = "Of several labels each is a column of 0 and 1 (or false and true). Write it so in the source";

/// The narrowest storage type that holds so many labels.
pub fn dtype(labels: usize) -> DType {
    match labels {
        0..=8 => DType::U8,
        9..=16 => DType::U16,
        17..=24 => DType::F32,
        _ => DType::F64,
    }
}

/// The labels of a batch as raw numbers, missing where one of them is; label k is column k of `arrays`. Where `complete`, none
/// may be missing.
///
/// # Errors
/// The number of the column and what is wrong with it.
pub fn merged(arrays: &[&ArrayRef], complete: bool) -> Result<ArrayRef, (usize, Fault)> {
    let rows = arrays.first().map_or(0, |array| array.len());
    let (mut bits, mut nulls) = (vec![0u64; rows], None);
    for (label, array) in arrays.iter().enumerate() {
        let failed = |fault| (label, fault);
        let raw = raw::numbers(array).map_err(|fault| failed(Fault { help: HELP.into(), ..fault }))?;
        let add = Add { bits: &mut bits, label };
        let added = with_numbers(&raw, add).unwrap_or_else(|| Err(Fault::whole("holds no numbers", HELP)));
        added.map_err(failed)?;
        if complete && let Some(row) = (0..rows).find(|&row| raw.is_null(row)) {
            let help = "Give it a value in the source, or leave such rows out with --drop-missing-label";
            return Err(failed(Fault::at(row, "the label is missing", help)));
        }
        nulls = NullBuffer::union(nulls.as_ref(), raw.nulls());
    }
    Ok(Arc::new(UInt64Array::new(bits.into(), nulls)))
}

/// Sets the bit of a label.
struct Add<'a> {
    bits: &'a mut [u64],
    label: usize,
}

impl WithNumbers for Add<'_> {
    type Output = Result<(), Fault>;

    fn call<T: Number>(self, values: &[T], nulls: Option<&NullBuffer>) -> Self::Output {
        for (row, (value, bits)) in values.iter().zip(self.bits).enumerate() {
            let value = value.number();
            let is_missing = || nulls.is_some_and(|nulls| nulls.is_null(row));
            if value == 1.0 {
                *bits |= 1 << self.label;
            } else if value != 0.0 && !is_missing() {
                return Err(Fault::at(row, format!("found {value}, expected 0 or 1"), HELP));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, BooleanArray, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::UInt64Type;

    #[test]
    fn label_k_is_bit_k() {
        let a: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 1, 0]));
        let b: ArrayRef = Arc::new(BooleanArray::from(vec![true, false, true, false]));
        let c: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(0.0), Some(1.0), None]));
        let bits = merged(&[&a, &b, &c], false).unwrap();
        let found: Vec<Option<u64>> = bits.as_primitive::<UInt64Type>().iter().collect();
        assert_eq!(found, [Some(6), Some(1), Some(7), None]);
        let (column, fault) = merged(&[&a, &b, &c], true).unwrap_err();
        assert_eq!((column, fault.row), (2, Some(3)));
    }

    #[test]
    fn what_is_not_0_or_1_is_named() {
        let a: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 1]));
        let two: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2]));
        let (column, fault) = merged(&[&a, &two], true).unwrap_err();
        assert_eq!((column, fault.row), (1, Some(2)));
        assert!(fault.message.contains("found 2, expected 0 or 1"), "{fault:?}");
        let word: ArrayRef = Arc::new(StringArray::from(vec!["1", "yes", "0"]));
        let (column, fault) = merged(&[&word, &a], true).unwrap_err();
        assert_eq!((column, fault.row), (0, Some(1)));
        assert!(fault.message.contains("'yes'") && fault.help.contains("0 and 1"), "{fault:?}");
    }

    #[test]
    fn every_number_of_labels_has_a_type_that_holds_it() {
        for labels in 2..=LABELS_MAX {
            let most = ((1u64 << labels) - 1) as f64;
            let held = match dtype(labels) {
                DType::U8 => most <= 255.0,
                DType::U16 => most <= 65_535.0,
                DType::F32 => f64::from(most as f32) == most,
                _ => most as u64 == (1 << labels) - 1,
            };
            assert!(held, "{labels}");
        }
    }
}
