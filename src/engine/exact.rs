//! Exact sums of `f64` without a bound known beforehand: a number is cut into 32-bit digits at fixed powers of two, from
//! 2^-1074 up, and digits are added as integers. Any order, any partition over workers and ranks gives the same cells, and the
//! sum is rounded once. (Kulisch, "Computer Arithmetic and Validity", 2008: the long accumulator.)
//!
//! Size: 67 cells a sum; cost: three additions a term. For few sums that are added to seldom, such as metrics once a grain;
//! the sums of a pass have known bounds and use two cells (see `sum`).

use crate::error::{Error, Result};

/// Cells of a sum: 2,098 bits in digits of 32, and one for what they carry.
pub const CELLS: usize = 67;
/// Bits of a digit; a cell has room for 2^31 of them.
const DIGIT: usize = 32;
const MASK: u128 = (1 << DIGIT) - 1;

/// Adds `term` to the cells of a sum.
///
/// # Errors
/// [`Error::Sum`] when it is not a finite number.
pub fn add(term: f64, cells: &mut [i64]) -> Result<()> {
    if !term.is_finite() {
        return Err(Error::Sum(format!(
            "a sum over rows adds {term}: values are too large for the storage type. Store columns as f64"
        )));
    }
    let (bits, sign) = (term.abs().to_bits(), if term < 0.0 { -1 } else { 1 });
    let (exponent, fraction) = ((bits >> 52) as usize, bits & ((1 << 52) - 1));
    // The least normal numbers and those below share a place.
    let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
    let place = exponent.saturating_sub(1);
    let mut digits = u128::from(mantissa) << (place % DIGIT);
    for cell in &mut cells[place / DIGIT..] {
        if digits == 0 {
            break;
        }
        *cell += sign * (digits & MASK) as i64;
        digits >>= DIGIT;
    }
    Ok(())
}

/// The sum, rounded to nearest.
pub fn value(cells: &[i64]) -> f64 {
    let mut digits = [0u32; CELLS];
    let mut carry = carried(cells.iter().copied(), &mut digits);
    let negative = carry < 0;
    if negative {
        carry = carried(cells.iter().map(|cell| -cell), &mut digits);
    }
    debug_assert_eq!(carry, 0, "the last cell holds what is carried");
    let Some(top) = digits.iter().rposition(|digit| *digit != 0) else { return 0.0 };
    // Three digits hold at least 65 bits; what lies below can only break a tie.
    let low = top.saturating_sub(2);
    let mut whole = digits[low..=top].iter().rev().fold(0u128, |sum, digit| sum << DIGIT | u128::from(*digit));
    whole |= u128::from(digits[..low].iter().any(|digit| *digit != 0));
    let exponent = (low * DIGIT) as i32 - 1_074;
    let value = whole as f64 * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
    if negative { -value } else { value }
}

/// Brings cells into digits; what is left above the last.
fn carried(cells: impl Iterator<Item = i64>, digits: &mut [u32; CELLS]) -> i64 {
    let mut carry = 0i64;
    for (digit, cell) in digits.iter_mut().zip(cells) {
        let total = cell + carry;
        *digit = (total & MASK as i64) as u32;
        carry = total >> DIGIT;
    }
    carry
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(terms: &[f64]) -> f64 {
        let mut cells = [0; CELLS];
        terms.iter().for_each(|term| add(*term, &mut cells).expect("finite"));
        value(&cells)
    }

    proptest! {
        /// One number is itself, at every exponent and sign.
        #[test]
        fn one_number_is_itself(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            prop_assert_eq!(sum(&[number]), number);
            prop_assert_eq!(sum(&[number, number, -number]), number);
        }

        /// Numbers on a grid of 2^-20 below 2^30: their sum in integers is exact.
        #[test]
        fn sums_are_exact_in_any_order(units in prop::collection::vec(-(1i64 << 50)..(1i64 << 50), 0..200)) {
            let grid = f64::from(1 << 20);
            let terms: Vec<f64> = units.iter().map(|&unit| unit as f64 / grid).collect();
            let exact: i128 = units.iter().map(|&unit| i128::from(unit)).sum();
            let mut turned = terms.clone();
            turned.reverse();
            prop_assert_eq!(sum(&terms), exact as f64 / grid);
            prop_assert_eq!(sum(&terms), sum(&turned));
        }
    }

    #[test]
    fn nothing_is_lost_between_far_numbers_and_none_is_no_number() {
        assert_eq!(sum(&[1e300, 1.0, -1e300]), 1.0);
        assert_eq!(sum(&[f64::MAX, f64::MIN_POSITIVE / 8.0, -f64::MAX]), f64::MIN_POSITIVE / 8.0);
        assert_eq!(sum(&[]), 0.0);
        assert!(add(f64::NAN, &mut [0; CELLS]).is_err() && add(f64::INFINITY, &mut [0; CELLS]).is_err());
    }
}
