//! Sums that do not depend on their order (stage 6): real numbers as fixed-point integers.
//!
//! A term v with |v| <= B becomes two limbs, with s the largest exponent such that B 2^s <= 2^42:
//!
//! ```text
//! high = round(v 2^s)               |high| <= 2^42
//! low  = round((v 2^s - high) 2^40) |low|  <= 2^39
//! ```
//!
//! Limbs are added as integers, which is associative: any order, any partition over workers and ranks gives the same
//! integers. With at most 2^20 terms both stay below 2^62, so nothing overflows. Each term is off by at most half a unit
//! of the low limb, so the sum of n terms is off by at most n B 2^-82 (s > 41 - log2 B); rounding it to `f64` adds 2^-53 of
//! itself. A term beyond its bound or not finite is an error, never a wrong number.

use crate::error::{Error, Result};

/// Most terms of a sum.
pub const TERMS_MAX: usize = 1 << 20;
/// Bits of the high limb of one term.
const HIGH_BITS: i32 = 42;
/// Bits between the limbs.
const LOW_BITS: i32 = 40;

/// 1.5 times 2^52: a sum with it is rounded to the nearest integer, ties to even, which is then how much its bits are above those of the
/// rounder. For numbers below 2^51; processors without an instruction that rounds would call a function otherwise.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// The scale of one sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    exponent: i32,
    /// 2^exponent in two factors, so that neither overflows.
    factors: [f64; 2],
}

impl Scale {
    /// For terms of at most `bound` in size.
    ///
    /// # Errors
    /// [`Error::Sum`] when the bound is not a finite number.
    pub fn new(bound: f64) -> Result<Scale> {
        if !(bound.is_finite() && bound >= 0.0) {
            return Err(Error::Sum(format!(
                "a sum's terms are bounded by {bound} only: weights or values are too large for 64-bit numbers"
            )));
        }
        Ok(Scale::of(exponent_above(bound)))
    }

    /// For terms of at most 2^`exponent` in size.
    pub fn of(exponent: i32) -> Scale {
        let exponent = (HIGH_BITS - exponent).clamp(-1_900, 1_900);
        let half = exponent / 2;
        Scale { exponent, factors: [2f64.powi(half), 2f64.powi(exponent - half)] }
    }

    /// Adds `term` to the two limbs at `cells`.
    ///
    /// # Errors
    /// [`Error::Sum`] when the term is beyond twice the bound of the scale or not a number.
    #[inline]
    pub fn add(&self, term: f64, cells: &mut [i64]) -> Result<()> {
        let scaled = term * self.factors[0] * self.factors[1];
        // Put so that NaN fails. The slack of a factor of 2 is still inside the headroom of the limbs.
        let fits = scaled.abs() <= (1i64 << (HIGH_BITS + 1)) as f64;
        if !fits {
            return Err(out_of_bound(term, self.exponent));
        }
        let high = scaled + ROUNDER;
        let low = (scaled - (high - ROUNDER)) * (1i64 << LOW_BITS) as f64 + ROUNDER;
        cells[0] += high.to_bits() as i64 - ROUNDER.to_bits() as i64;
        cells[1] += low.to_bits() as i64 - ROUNDER.to_bits() as i64;
        Ok(())
    }

    /// The sum that the limbs hold, rounded once.
    pub fn value(&self, cells: &[i64]) -> f64 {
        let whole = (i128::from(cells[0]) << LOW_BITS) + i128::from(cells[1]);
        let scaled = whole as f64 / (1i64 << LOW_BITS) as f64;
        scaled / self.factors[0] / self.factors[1]
    }
}

/// The least `e` with `value <= 2^e`.
pub fn exponent_above(value: f64) -> i32 {
    if value == 0.0 {
        return 0;
    }
    let mut exponent = value.log2().ceil() as i32;
    // log2 may be off by a rounding at powers of two.
    while pow2(exponent) < value {
        exponent += 1;
    }
    exponent
}

fn pow2(exponent: i32) -> f64 {
    let half = exponent / 2;
    2f64.powi(half) * 2f64.powi(exponent - half)
}

#[cold]
fn out_of_bound(term: f64, exponent: i32) -> Error {
    Error::Sum(format!(
        "a partial sum is {term}, beyond the bound 2^{} that the dataset's statistics promise: the statistics do not \
         belong to these rows, or values overflow. Check with 'gristmill verify', or store columns as f64",
        HIGH_BITS - exponent
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(scale: &Scale, terms: &[f64]) -> [i64; 2] {
        let mut cells = [0; 2];
        terms.iter().for_each(|&term| scale.add(term, &mut cells).expect("in bound"));
        cells
    }

    proptest! {
        /// Any order and any partition give the same integers.
        #[test]
        fn order_and_partition_do_not_matter(
            terms in prop::collection::vec(-1.0..1.0f64, 0..200), bound in 1.0..1e6f64, cut in 0usize..200, turn in 0usize..200,
        ) {
            let scale = Scale::new(bound).expect("finite");
            let whole = sum(&scale, &terms);
            let mut turned = terms.clone();
            turned.rotate_left(turn.min(terms.len()));
            turned.reverse();
            prop_assert_eq!(whole, sum(&scale, &turned));
            let (a, b) = terms.split_at(cut.min(terms.len()));
            let (a, b) = (sum(&scale, a), sum(&scale, b));
            prop_assert_eq!(whole, [a[0] + b[0], a[1] + b[1]]);
        }

        /// Off by n B 2^-82 and one rounding from the exact sum, which integers of 2^-60 hold exactly here.
        #[test]
        fn a_sum_is_precise(units in prop::collection::vec(-(1i64 << 52)..(1i64 << 52), 1..500)) {
            let unit = 2f64.powi(-60);
            let bound = 2f64.powi(-8);
            let scale = Scale::new(bound).expect("finite");
            let terms: Vec<f64> = units.iter().map(|&u| u as f64 * unit).collect();
            let exact: i128 = units.iter().map(|&u| i128::from(u)).sum();
            let exact = exact as f64 * unit;
            let found = scale.value(&sum(&scale, &terms));
            let allowed = terms.len() as f64 * bound * 2f64.powi(-82) + exact.abs() * 2f64.powi(-52);
            prop_assert!((found - exact).abs() <= allowed, "{} {}", found, exact);
        }
    }

    #[test]
    fn out_of_bound_is_an_error_at_every_size() {
        for bound in [1e-300, 1e-9, 1.0, 3.0, 1e9, 1e300] {
            let scale = Scale::new(bound).expect("finite");
            let mut cells = [0; 2];
            assert!(scale.add(bound, &mut cells).is_ok());
            assert!((scale.value(&cells) / bound - 1.0).abs() < 1e-15);
            for bad in [bound * 4.1, -bound * 4.1, f64::NAN, f64::INFINITY] {
                assert!(scale.add(bad, &mut [0; 2]).is_err(), "{bad} of {bound}");
            }
        }
        assert!(Scale::new(f64::INFINITY).is_err() && Scale::new(f64::NAN).is_err());
    }

    /// The most terms of the largest size stay inside 63 bits.
    #[test]
    fn nothing_overflows() {
        let scale = Scale::new(1.0).expect("finite");
        let mut cells = [0; 2];
        scale.add(-2.0, &mut cells).expect("in bound");
        assert!(cells[0].checked_mul(TERMS_MAX as i64).is_some() && cells[0].abs() == 1 << (HIGH_BITS + 1));
        assert!(((1i64 << (LOW_BITS - 1)) * TERMS_MAX as i64) < 1 << 62);
    }
}
