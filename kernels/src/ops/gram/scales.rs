//! Fixed-point scales of the scattered sums of a Gram matrix, and the proof that the sums fit.
//!
//! Every variable is first brought to at most 1 in size by a power of two, `n[a]`, taken from its bound; the product of
//! a row is then `q = round(h x[a] n[a] x[b] n[b] U)` with one unit `U`, a power of two, for all pairs. Each call checks
//! that `|q| <= L` where `L rows <= 2^62`, so that the sum of all rows fits an `i64` whatever the bounds were: a value
//! beyond its bound is an error, never a wrong number. `|q| <= 2^51` as well, where `f64` still holds every integer.

use super::layout::GramLayout;
pub use crate::fixed::OutOfRange;
use crate::fixed::power_of_two;

/// The scales of one pass.
#[derive(Clone, Debug, PartialEq)]
pub struct GramScales {
    /// `n`, one a variable.
    pub(super) normaliser: Vec<f64>,
    /// `U`.
    pub(super) unit: f64,
    /// `L`.
    pub(super) limit: f64,
}

impl GramScales {
    /// Scales for a pass over `rows` rows, none of which has `h` above `weight` or a variable above its bound in size.
    ///
    /// `bounds` has one number a variable of the layout: `max |x|` of a column or element, `max |y|` for the target,
    /// and 1 for a level and for the constant. An error says that a bound is negative or not finite.
    pub fn new(layout: &GramLayout, rows: u64, weight: f64, bounds: &[f64]) -> Result<GramScales, OutOfRange> {
        debug_assert_eq!(bounds.len(), layout.variables(), "one bound a variable");
        let usable = |bound: &f64| bound.is_finite() && *bound >= 0.0;
        if !bounds.iter().all(usable) || !usable(&weight) {
            return Err(OutOfRange);
        }
        let largest = (1_u64 << 62) / rows.max(1);
        // At most 2^51, hence exact.
        let limit = largest.min(1 << 51) as f64;
        // A weight at its bound gives at most half the limit: room for the rounding of weights.
        let unit = exponent(limit) - 1 - exponent_above(weight);
        let normaliser = |(variable, &bound): (usize, &f64)| {
            if layout.is_indicator(variable) { 1.0 } else { power_of_two(-exponent_above(bound)) }
        };
        let normaliser = bounds.iter().enumerate().map(normaliser).collect();
        Ok(GramScales { normaliser, unit: power_of_two(unit), limit })
    }

    /// The real number of a fixed-point sum of the products of variables `a` and `b`.
    pub fn real(&self, a: usize, b: usize, sum: i64) -> f64 {
        // Powers of two: each division is exact unless the result leaves the range of f64.
        sum as f64 / self.unit / self.normaliser[a] / self.normaliser[b]
    }
}

/// The largest `e` with `2^e <= value`, for a positive finite value; -1022 for subnormals and zero.
fn exponent(value: f64) -> i32 {
    ((value.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(-1022)
}

/// The least `e` with `value <= 2^e`, at least -1022; 0 for zero.
fn exponent_above(value: f64) -> i32 {
    let below = exponent(value);
    if value == 0.0 { 0 } else { below + i32::from(value > power_of_two(below)) }
}

/// `round(value)`, ties to even, for a value of at most 2^51 in size; beyond that, any number.
///
/// Adding 1.5 * 2^52 leaves no bit for fractions, so the addition itself rounds, and the mantissa is the integer: no
/// conversion instruction, which AVX2 lacks for 64 bits.
#[inline(always)]
pub(super) fn round_small(value: f64) -> i64 {
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    (value + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gram::Shape;

    #[test]
    fn rounds_as_the_standard_library() {
        let edge = (1_u64 << 51) as f64;
        for value in [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 1e15 + 0.5, edge, -edge, 0.499_999_999_999_999_94] {
            assert_eq!(round_small(value), value.round_ties_even() as i64, "{value}");
        }
    }

    #[test]
    fn a_product_at_its_bounds_is_in_range_and_all_rows_fit() {
        let layout = GramLayout::new(&[Shape::Codes(1), Shape::Sparse(2)], true).unwrap();
        for rows in [0, 1, 3, 1 << 11, 12_345_678_901, 1 << 40] {
            for (weight, bounds) in [(1.0, [1.0, 3.0, 0.0, 1.0, 7e5]), (1e-30, [1.0, 1e300, 1e-300, 1.0, 1.0])] {
                let scales = GramScales::new(&layout, rows, weight, &bounds).unwrap();
                for (bound, normaliser) in bounds.iter().zip(&scales.normaliser) {
                    assert!(bound * normaliser <= 1.0);
                }
                assert!(weight * scales.unit <= scales.limit && scales.limit <= (1_u64 << 51) as f64);
                assert!(weight * scales.unit * 8.0 > scales.limit, "no precision thrown away");
                assert!(scales.limit * rows as f64 <= (1_u64 << 62) as f64);
            }
        }
    }

    #[test]
    fn a_bound_that_is_none_is_refused() {
        let layout = GramLayout::new(&[Shape::Codes(1)], false).unwrap();
        for wrong in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(GramScales::new(&layout, 1, 1.0, &[wrong, 1.0]), Err(OutOfRange));
            assert_eq!(GramScales::new(&layout, 1, wrong, &[1.0, 1.0]), Err(OutOfRange));
        }
    }
}
