//! How numbers are stored (stage 2): value = offset + scale * stored, in the narrowest type that is exact.
//!
//! Rules, in this order, unless the user names a type:
//! 1. Integers (booleans too) whose range fits: `u8`, then `u16`. Offset 0, or the minimum when that is negative, larger
//!    than the range, or needed to fit.
//! 2. Else `f32`. Values far from zero (all of one sign, range below the smallest magnitude: years, timestamps) are centred
//!    on their mean, rounded to a short binary number of the values' own grid, so that the subtraction is exact. Values that
//!    are not exact in `f32` are centred whenever that halves the bound of the error.
//!    A power of two as scale brings values beyond 2^40 or below 2^-40 into reach: Hessians are made of their squares, times
//!    weights and curvatures, which must neither overflow nor vanish. Of `f64` it is 2^500 and 2^-400, for the same reason.
//!    Labels that are integers of which `f32` would round some are `f64`: they may be names of classes. So are few labels that recur where
//!    `f32` does not tell them as they are written ([`super::few`]). For the same reason labels are centred only where they are far from
//!    zero: a centre costs 0.1 beside a million its digits.
//!    Vectors have no scale: beyond the reach of `f32` they are `f64`.
//! 3. `f16` is as `f32`, with a power of two as scale when the largest value is beyond 2^15 or below 2^-4.
//! 4. `u8` and `u16` named by the user for values that do not fit: offset = minimum, scale = range / 255 or / 65,535.
//!
//! Rounding to nearest: |value - (offset + scale * stored)| <= scale * ulp(largest stored) / 2.

use gristmill_kernels::dtype::DType;

use super::summary::Summary;

/// value = offset + scale * stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Storage type.
    pub dtype: DType,
    /// The value stored as zero.
    pub offset: f64,
    /// The step of one stored unit.
    pub scale: f64,
    /// Proven to lose nothing, so that the error need not be measured.
    pub exact: bool,
}

impl Affine {
    /// Numbers as they are, in `dtype`.
    pub fn plain(dtype: DType, exact: bool) -> Affine {
        Affine { dtype, offset: 0.0, scale: 1.0, exact }
    }

    /// The affine storage of a column of features or labels.
    ///
    /// `seen` sums up every row (both splits); `fraction` says that a value outside the integers must be stored too (an
    /// imputed mean).
    pub fn choose(seen: &Summary, wanted: Option<DType>, fraction: bool) -> Affine {
        let integral = seen.integral && !fraction;
        match wanted {
            None => integers(seen, integral, DType::U8)
                .or_else(|| integers(seen, integral, DType::U16))
                .unwrap_or_else(|| floats(seen, DType::F32)),
            Some(dtype @ (DType::U8 | DType::U16)) => {
                integers(seen, integral, dtype).unwrap_or_else(|| quantised(seen, dtype))
            }
            Some(dtype) => floats(seen, dtype),
        }
    }

    /// The storage of a column of labels, where they are no small integers.
    pub fn of_label(seen: &Summary, wanted: Option<DType>) -> Affine {
        let dtype = wanted.unwrap_or(DType::F32);
        let best = floats(seen, dtype);
        let may_be_whole = !seen.integral && seen.magnitude() >= INTEGRAL_MAX;
        if !best.holds_integers(seen) || may_be_whole && !best.exact {
            return Affine::plain(DType::F64, true);
        }
        let is_far = seen.min.signum() == seen.max.signum() && seen.range() <= seen.min.abs().min(seen.max.abs());
        if dtype != DType::F32 || seen.integral || is_far {
            return best;
        }
        let scale = scale(seen.magnitude(), dtype);
        Affine { dtype, offset: 0.0, scale, exact: seen.single && scale == 1.0 }
    }

    /// The storage of a vector column, whose numbers are stored as they are.
    pub fn of_vector(seen: &Summary, wanted: Option<DType>) -> Affine {
        let fits = |limit: f64| seen.integral && seen.min >= 0.0 && seen.max <= limit;
        match wanted {
            None if fits(255.0) => Affine::plain(DType::U8, true),
            None if fits(65_535.0) => Affine::plain(DType::U16, true),
            None | Some(DType::F32) if !in_reach(seen) => Affine::plain(DType::F64, true),
            None => Affine::plain(DType::F32, seen.single),
            Some(DType::U8) => Affine::plain(DType::U8, fits(255.0)),
            Some(DType::U16) => Affine::plain(DType::U16, fits(65_535.0)),
            Some(dtype) => Affine::plain(dtype, dtype == DType::F64 || dtype == DType::F32 && seen.single),
        }
    }

    /// The storage of sample weights: never shifted.
    pub fn of_weight(seen: &Summary, wanted: Option<DType>) -> Affine {
        match wanted {
            Some(DType::F64) => Affine::plain(DType::F64, true),
            _ => Affine::of_vector(seen, None),
        }
    }

    /// The stored number of a value, before it is rounded to the storage type.
    #[inline(always)]
    pub fn stored(&self, value: f64) -> f64 {
        // Not (value - offset) / scale: that difference may overflow.
        value / self.scale - self.offset / self.scale
    }

    /// The value of a stored number.
    #[inline(always)]
    pub fn value(&self, stored: f64) -> f64 {
        self.offset + self.scale * stored
    }

    /// True unless the values are integers of which this storage would round some.
    pub fn holds_integers(&self, seen: &Summary) -> bool {
        let farthest = (seen.max - self.offset).abs().max((seen.min - self.offset).abs());
        let bits = precision(self.dtype);
        !seen.integral || seen.count == 0 || self.offset.fract() == 0.0 && farthest <= two_to(bits)
    }

    /// True when stored numbers are the values.
    pub fn is_plain(&self) -> bool {
        self.offset == 0.0 && self.scale == 1.0
    }
}

/// From here on a [`Summary`] does not say whether numbers are integers.
const INTEGRAL_MAX: f64 = (1u64 << 51) as f64;

/// True when squares of the numbers neither overflow nor vanish in `f32`.
pub fn in_reach(seen: &Summary) -> bool {
    scale(seen.magnitude(), DType::F32) == 1.0
}

/// Largest stored integer of a type.
fn limit(dtype: DType) -> f64 {
    if dtype == DType::U8 { 255.0 } else { 65_535.0 }
}

fn integers(seen: &Summary, integral: bool, dtype: DType) -> Option<Affine> {
    if seen.count == 0 {
        return Some(Affine::plain(dtype, true)).filter(|_| integral);
    }
    if !integral || seen.range() > limit(dtype) {
        return None;
    }
    let near = seen.min >= 0.0 && seen.max <= limit(dtype) && seen.min <= seen.range().max(1.0);
    Some(Affine { dtype, offset: if near { 0.0 } else { seen.min }, scale: 1.0, exact: true })
}

fn quantised(seen: &Summary, dtype: DType) -> Affine {
    let scale = (seen.max / limit(dtype)) - (seen.min / limit(dtype));
    if seen.count == 0 || !(scale.is_normal() && scale > 0.0) {
        let offset = if seen.count == 0 { 0.0 } else { seen.min };
        return Affine { dtype, offset, scale: 1.0, exact: false };
    }
    Affine { dtype, offset: seen.min, scale, exact: false }
}

/// Bits of precision of a floating-point type.
fn precision(dtype: DType) -> i32 {
    match dtype {
        DType::F64 => 53,
        DType::F32 => 24,
        _ => 11,
    }
}

fn floats(seen: &Summary, dtype: DType) -> Affine {
    let magnitude = seen.magnitude();
    if magnitude == 0.0 {
        return Affine::plain(dtype, true);
    }
    let grid_exact = dtype == DType::F64 || dtype == DType::F32 && seen.single;
    let centre = centre(seen, if grid_exact { precision(dtype) } else { 53 });
    let spread = (seen.max - centre).abs().max((seen.min - centre).abs());
    let nearest_zero = seen.min.abs().min(seen.max.abs());
    let far = seen.min.signum() == seen.max.signum() && seen.range() <= nearest_zero;
    let halves = !grid_exact && exponent(spread) < exponent(magnitude);
    if far || halves {
        // Far: values and centre are multiples of one grid and their difference is below 2^precision steps of it: exact.
        let scale = scale(spread, dtype);
        return Affine { dtype, offset: centre, scale, exact: far && grid_exact && scale == 1.0 };
    }
    let scale = scale(magnitude, dtype);
    Affine { dtype, offset: 0.0, scale, exact: grid_exact && scale == 1.0 }
}

/// The mean, rounded to a multiple of a power of two: about an eighth of the range, and no finer than the grid on which
/// numbers of `bits` bits near the smallest magnitude lie.
fn centre(seen: &Summary, bits: i32) -> f64 {
    if seen.range() == 0.0 {
        return seen.min;
    }
    let mut step = exponent(seen.range()) - 3;
    if seen.min.signum() == seen.max.signum() {
        step = step.max(exponent(seen.min.abs().min(seen.max.abs())) - (bits - 1));
    }
    let step = two_to(step);
    let rounded = (seen.mean / step).round() * step;
    // An infinite range gives no usable step; a range of few grid steps may round the mean out of it.
    if rounded.is_finite() && (seen.min..=seen.max).contains(&rounded) { rounded } else { seen.min }
}

/// A power of two that brings `magnitude` into the reach of the type; 1 where it is there already.
fn scale(magnitude: f64, dtype: DType) -> f64 {
    let (low, high) = match dtype {
        DType::F64 => (-400, 500),
        DType::F32 => (-40, 40),
        _ => (-4, 14),
    };
    let exponent = exponent(magnitude);
    if magnitude == 0.0 || (low..=high).contains(&exponent) { 1.0 } else { two_to(exponent) }
}

/// floor(log2 |x|) of a normal number; -1022 below that.
fn exponent(x: f64) -> i32 {
    ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

fn two_to(exponent: i32) -> f64 {
    f64::from_bits(((exponent.clamp(-1022, 1023) + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Float64Array;

    fn seen(values: &[f64]) -> Summary {
        Summary::of(&Float64Array::from(values.to_vec())).unwrap()
    }

    fn chosen(values: &[f64], wanted: Option<DType>) -> (DType, f64, f64) {
        let affine = Affine::choose(&seen(values), wanted, false);
        (affine.dtype, affine.offset, affine.scale)
    }

    #[test]
    fn integers_take_the_narrowest_type() {
        assert_eq!(chosen(&[0.0, 1.0], None), (DType::U8, 0.0, 1.0));
        assert_eq!(chosen(&[-1.0, 1.0], None), (DType::U8, -1.0, 1.0));
        assert_eq!(chosen(&[1990.0, 2024.0], None), (DType::U8, 1990.0, 1.0));
        assert_eq!(chosen(&[0.0, 256.0], None), (DType::U16, 0.0, 1.0));
        assert_eq!(chosen(&[-300.0, 65_235.0], None), (DType::U16, -300.0, 1.0));
        assert_eq!(chosen(&[0.0, 65_536.0], None), (DType::F32, 0.0, 1.0));
        assert_eq!(Affine::choose(&seen(&[0.0, 1.0]), None, true).dtype, DType::F32);
    }

    #[test]
    fn values_far_from_zero_are_centred_exactly() {
        // f32 values near 1e6 with a range of 4: the grid is 1/16.
        let values: Vec<f64> = (0..65).map(|i| 1e6 + f64::from(i) / 16.0).collect();
        let affine = Affine::choose(&seen(&values), None, false);
        assert!(affine.exact && (affine.offset - 1e6 - 2.0).abs() <= 0.5, "{affine:?}");
        for x in values {
            let stored = affine.stored(x) as f32;
            assert_eq!(affine.value(f64::from(stored)), x);
        }
    }

    #[test]
    fn what_f32_cannot_hold_is_centred_when_that_helps() {
        let values: Vec<f64> = (0..1000).map(|i| 1.6e9 + f64::from(i) * 0.1).collect();
        let affine = Affine::choose(&seen(&values), None, false);
        let worst = |affine: Affine| {
            values.iter().map(|&x| (x - affine.value(f64::from(affine.stored(x) as f32))).abs()).fold(0.0, f64::max)
        };
        // Range 100: half an ulp of f32 at 64 is 2^-18. Without a centre it would be 64.
        assert!(worst(affine) <= 2f64.powi(-18), "{affine:?} {}", worst(affine));
        assert!(worst(Affine::plain(DType::F32, false)) > 10.0);
        // Around zero there is nothing to win.
        assert_eq!(chosen(&[-0.3, 0.1, 0.3], None), (DType::F32, 0.0, 1.0));
    }

    #[test]
    fn extremes_of_f64_stay_finite() {
        for values in [[1e300, -1e300], [1e-300, 3e-300], [5e-324, 1e-310], [1e300, 1.0000001e300]] {
            for wanted in [None, Some(DType::F16), Some(DType::U8), Some(DType::F64)] {
                let affine = Affine::choose(&seen(&values), wanted, false);
                for x in values {
                    let stored = affine.stored(x);
                    assert!(
                        stored.is_finite() && stored.abs() < 1e38 || wanted == Some(DType::F64),
                        "{values:?} {affine:?}"
                    );
                    assert!(affine.scale > 0.0 && affine.offset.is_finite());
                }
            }
        }
    }

    #[test]
    fn squares_of_what_is_stored_neither_overflow_nor_vanish() {
        for magnitude in [1e-300, 1e-37, 1e-22, 1e-13, 1e13, 1.8e19, 1e30] {
            for dtype in [DType::F32, DType::F64] {
                let affine = Affine::choose(&seen(&[-magnitude, 0.3 * magnitude]), Some(dtype), false);
                let stored = affine.stored(magnitude);
                let (low, high) = if dtype == DType::F32 { (1e-13, 3e12) } else { (1e-130, 1e150) };
                assert!((low..high).contains(&stored), "{magnitude} {dtype:?} {affine:?}");
                assert_eq!(affine.value(stored), magnitude);
            }
        }
        assert_eq!(chosen(&[-0.7e12, 1e12], Some(DType::F32)), (DType::F32, 0.0, 1.0));
    }

    #[test]
    fn labels_keep_their_names() {
        let label = |values: &[f64]| {
            let affine = Affine::of_label(&seen(values), None);
            (affine.dtype, affine.offset, affine.scale)
        };
        assert_eq!(label(&[0.1, 1e6]), (DType::F32, 0.0, 1.0));
        assert_eq!(label(&[0.5, 20_000_001.0]), (DType::F32, 0.0, 1.0));
        assert_eq!(label(&[1e-20, 3e-20]).2, two_to(-65));
        assert_eq!(label(&[0.0, 123_456_789.0]), (DType::F64, 0.0, 1.0));
        // Beyond 2^51 nobody knows whether they are whole.
        assert_eq!(label(&[0.0, 2f64.powi(51) + 1.0]), (DType::F64, 0.0, 1.0));
    }

    #[test]
    fn vectors_beyond_the_reach_of_f32_take_f64() {
        let vector = |values: &[f64], wanted| Affine::of_vector(&seen(values), wanted).dtype;
        for values in [[1e-25, -3e-25], [1e19, 0.5]] {
            assert_eq!(vector(&values, None), DType::F64);
            assert_eq!(vector(&values, Some(DType::F32)), DType::F64);
            assert_eq!(Affine::of_weight(&seen(&values), None).dtype, DType::F64);
        }
        assert_eq!(vector(&[1e-5, 1e5], None), DType::F32);
        assert_eq!(vector(&[0.0, 0.0], None), DType::U8);
    }

    #[test]
    fn types_the_user_names() {
        assert_eq!(chosen(&[0.0, 510.0], Some(DType::U8)), (DType::U8, 0.0, 2.0));
        assert_eq!(chosen(&[0.5, 100.0], Some(DType::F16)), (DType::F16, 48.0, 1.0));
        assert_eq!(chosen(&[1e6, -1e6], Some(DType::F16)), (DType::F16, 0.0, 524_288.0));
        assert_eq!(chosen(&[0.1, 7.0], Some(DType::F64)), (DType::F64, 0.0, 1.0));
    }
}
