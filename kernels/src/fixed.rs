//! Fixed point: a real number as a 64-bit integer at a power-of-two scale, whose sums do not depend on their order.

/// A contribution was beyond the bound that its scale was made for, or not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a contribution to a fixed-point sum is beyond the bound its scale was made for, or not finite")]
pub struct OutOfRange;

/// The scale of a fixed-point sum, and how large one contribution may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FixedScale {
    /// `2^exponent`.
    factor: f64,
    /// Largest size of a contribution, times the factor; at most 2^62.
    limit: f64,
}

impl FixedScale {
    /// The scale `2^exponent`, for contributions of at most `largest` in size.
    pub fn new(exponent: i32, largest: f64) -> FixedScale {
        let factor = power_of_two(exponent);
        FixedScale { factor, limit: (largest * factor).min((1_u64 << 62) as f64) }
    }

    /// `round(value * 2^exponent)`, ties to even, and whether the value was in range (else the number means nothing).
    #[inline(always)]
    pub fn quantise(self, value: f64) -> (i64, bool) {
        let scaled = value * self.factor;
        // Written so that NaN is out of range.
        (scaled.round_ties_even() as i64, scaled.abs() <= self.limit)
    }
}

/// `2^exponent`, clipped to the exponents of normal `f64`.
#[inline(always)]
pub fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent.clamp(-1022, 1023) + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_exact() {
        for exponent in -1022..=1023 {
            assert_eq!(power_of_two(exponent), 2f64.powi(exponent));
        }
        assert_eq!(power_of_two(5_000), 2f64.powi(1023));
        assert_eq!(power_of_two(-5_000), 2f64.powi(-1022));
    }

    #[test]
    fn quantising_rounds_ties_to_even() {
        let quantise = |value, exponent| FixedScale::new(exponent, 10.0).quantise(value);
        assert_eq!(quantise(0.75, 1), (2, true));
        assert_eq!(quantise(1.25, 1), (2, true));
        assert_eq!(quantise(-1.5, 10), (-1536, true));
    }

    #[test]
    fn out_of_range_is_told() {
        for exponent in [-40, 0, 20, 58] {
            let scale = FixedScale::new(exponent, 3.0);
            assert!(scale.quantise(3.0).1 && scale.quantise(-3.0).1 && scale.quantise(0.0).1);
            for value in [3.000_001, -3.000_001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                assert!(!scale.quantise(value).1, "{value}");
            }
        }
        // Whatever the largest is said to be, an integer that does not fit is out of range.
        assert!(!FixedScale::new(63, 3.0).quantise(1.0).1);
        assert!(!FixedScale::new(0, f64::NAN).quantise(1e300).1);
    }
}
