//! The distinct values of a label of real numbers, while they are few (stage 2): where they recur they may be names of classes, of
//! which none may be lost and none become another.
//!
//! Small whole numbers are not listed: `f32` holds them, and no fraction that it rounds to one is written in as few digits. What is
//! listed depends on the values alone, not on how rows were cut into batches. Cost: about 20 ns a change of the value, until there are
//! too many.

use std::collections::BTreeSet;

use arrow::array::Array;
use arrow::buffer::NullBuffer;

use super::affine::Affine;
use super::raw::{Number, WithNumbers, with_numbers};
use super::store::is_told;
use crate::statistics::DISTINCT_MAX;

/// Whole numbers up to this are exact in `f32`, and so are those beside them.
const WHOLE_MAX: f64 = 16_777_216.0;

/// Distinct values, unless there are more than a label can have classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Few {
    values: BTreeSet<u64>,
    too_many: bool,
}

impl Few {
    /// Those of a message: their bits; none: too many.
    pub fn of_bits(bits: Option<Vec<u64>>) -> Few {
        Few { too_many: bits.is_none(), values: bits.into_iter().flatten().collect() }
    }

    /// Their bits, rising; none: too many.
    pub fn bits(&self) -> Option<impl Iterator<Item = u64> + '_> {
        (!self.too_many).then(|| self.values.iter().copied())
    }

    /// Takes the values of a raw numeric array in.
    pub fn add(&mut self, array: &dyn Array) {
        with_numbers(array, Look(self));
    }

    /// Takes those of other rows in.
    pub fn merge(&mut self, next: &Few) {
        self.too_many |= next.too_many;
        if self.too_many {
            self.values.clear();
        }
        next.values.iter().for_each(|&bits| self.put(bits));
    }

    /// True when `rows` rows have few values again and again, and a stored one does not tell which of them it was.
    pub fn are_lost(&self, affine: &Affine, rows: u64) -> bool {
        let recur = !self.too_many && 2 * self.values.len() as u64 <= rows;
        recur && self.values.iter().any(|&bits| !is_told(affine, f64::from_bits(bits)))
    }

    fn put(&mut self, bits: u64) {
        if self.too_many {
            return;
        }
        self.values.insert(bits);
        if self.values.len() > DISTINCT_MAX {
            (self.values, self.too_many) = (BTreeSet::new(), true);
        }
    }
}

struct Look<'a>(&'a mut Few);

impl WithNumbers for Look<'_> {
    type Output = ();

    fn call<T: Number>(self, values: &[T], nulls: Option<&NullBuffer>) {
        let mut last = 0.0;
        for (row, value) in values.iter().enumerate() {
            // Adding zero makes -0 and 0 one value.
            let value = value.number() + 0.0;
            let is_small_and_whole = value.fract() == 0.0 && value.abs() <= WHOLE_MAX;
            if value == last || is_small_and_whole || nulls.is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            last = value;
            self.0.put(value.to_bits());
            if self.0.too_many {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Float64Array;
    use gristmill_kernels::dtype::DType;

    fn few(values: &[f64]) -> Few {
        let mut few = Few::default();
        few.add(&Float64Array::from(values.to_vec()));
        few
    }

    #[test]
    fn values_are_lost_where_f32_makes_one_of_two_or_another_of_one() {
        let single = Affine::plain(DType::F32, false);
        let lost = |values: &[f64]| few(values).are_lost(&single, 2 * values.len() as u64);
        for kept in [&[0.1, 0.5][..], &[1.0, 2.0], &[-0.0, 0.0], &[1e-7, 0.25], &[123.25, 99.99]] {
            assert!(!lost(kept), "{kept:?}");
        }
        for two in [[0.1, 0.100_000_000_1], [1.0 / 3.0, 2.0 / 3.0], [123_456_789.123, 0.5], [1.0, 0.999_999_999_999]] {
            assert!(lost(&two), "{two:?}");
            assert!(!few(&two).are_lost(&single, 1), "values of a row each are no classes");
            assert!(!few(&two).are_lost(&Affine::plain(DType::F64, true), 4));
        }
    }

    #[test]
    fn how_rows_are_cut_does_not_matter() {
        let values: Vec<f64> = (0..3000).map(|i| f64::from(i % 2000) / 3.0).collect();
        for count in [900, 1500, 3000] {
            let whole = few(&values[..count]);
            for cut in [1, 500, 899] {
                let mut parts = few(&values[..cut]);
                parts.merge(&few(&values[cut..count]));
                assert_eq!(parts, whole, "{count} {cut}");
            }
            let bits = whole.bits().map(Iterator::collect);
            assert_eq!(Few::of_bits(bits), whole);
        }
    }
}
