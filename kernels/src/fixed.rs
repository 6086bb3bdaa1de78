//! Fixed point: a real number as a 64-bit integer at a power-of-two scale, whose sums do not depend on their order.

/// `round(value * 2^exponent)`, ties to even; the caller has proven that it fits (else it is clipped to the range of
/// `i64`, and NaN is 0).
#[inline(always)]
pub fn quantise(value: f64, exponent: i32) -> i64 {
    (value * power_of_two(exponent)).round_ties_even() as i64
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
        assert_eq!(quantise(0.75, 1), 2);
        assert_eq!(quantise(1.25, 1), 2);
        assert_eq!(quantise(-1.5, 10), -1536);
    }
}
