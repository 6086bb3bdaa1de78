//! exp, log1p, sigmoid and softplus by polynomial, the same operations on every tier.
//!
//! `exp(x)`: `x = n log 2 + r` with integer `n` and `|r| <= log(2) / 2` (Cody and Waite, 1980), then
//! `1 + r + r^2 q(r)`, times `2^n`. `log1p(u) = u p(u - 1/2)`. The polynomials interpolate at Chebyshev points
//! (`kernels/scripts/coefficients.py` prints them with their errors).
//!
//! Largest errors against libm that the tests below allow, in units of the last place, on every tier:
//!
//! | function  | f32  | f64  | where                                                                |
//! |-----------|------|------|----------------------------------------------------------------------|
//! | `exp`     | 1.1  | 1.1  | results of at least 2^-125 / 2^-1021; lesser ones are 0              |
//! | `log1p`   | 2    | 2    | 0 <= u < 2^16 - 1                                                    |
//! | `sigmoid` | 3    | 3    | everywhere but where `exp` gives 0                                   |
//! | `softplus`| 3    | 3    | everywhere but where `exp` gives 0                                   |
//!
//! NaN stays NaN, infinities go where the function goes.

use crate::isa::{Group, Isa, Real};

/// The numbers that the functions of this file need in an arithmetic type.
pub trait Constants: Sized + 'static {
    /// 1.
    const ONE: Self;
    /// `1 / log(2)`.
    const LOG2_E: Self;
    /// The leading bits of `log(2)`, few enough that a product with an exponent is exact.
    const LN_2_HIGH: Self;
    /// The rest of `log(2)`.
    const LN_2_LOW: Self;
    /// 1.5 times the power of two whose units are the lowest mantissa bit, plus the exponent bias less one: adding it
    /// rounds to an integer and leaves the biased exponent of half its power of two in the lowest bits.
    const ROUNDER: Self;
    /// Below it `exp` is 0.
    const EXP_LOWEST: Self;
    /// Above it `exp` is infinite.
    const EXP_HIGHEST: Self;
    /// Infinity.
    const INFINITY: Self;
    /// `q`, the leading coefficient first.
    const EXP: &'static [Self];
    /// `p`, the leading coefficient first.
    const LOG1P: &'static [Self];
}

impl Constants for f32 {
    const ONE: f32 = 1.0;
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const ROUNDER: f32 = 12_582_912.0 + 126.0;
    const EXP_LOWEST: f32 = -86.643_394;
    const EXP_HIGHEST: f32 = 88.73;
    const INFINITY: f32 = f32::INFINITY;
    const EXP: &'static [f32] = &[1.392_617_6e-3, 8.363_173e-3, 4.166_655_5e-2, 1.666_657_7e-1, 0.5];
    const LOG1P: &'static [f32] = &[
        -3.176_057e-3,
        5.250_270_7e-3,
        -6.788_017e-3,
        1.157_768_5e-2,
        -2.056_318_2e-2,
        3.663_523_4e-2,
        -6.768_819e-2,
        1.326_090_2e-1,
        -2.885_271e-1,
        8.109_302e-1,
    ];
}

impl Constants for f64 {
    const ONE: f64 = 1.0;
    const LOG2_E: f64 = std::f64::consts::LOG2_E;
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const ROUNDER: f64 = 6_755_399_441_055_744.0 + 1022.0;
    const EXP_LOWEST: f64 = -707.703_271_365_297_5;
    const EXP_HIGHEST: f64 = 709.79;
    const INFINITY: f64 = f64::INFINITY;
    const EXP: &'static [f64] = &[
        2.510_037_583_256_123_4e-8,
        2.762_007_587_998_336_7e-7,
        2.755_726_848_031_002_4e-6,
        2.480_152_132_236_869_2e-5,
        1.984_126_986_304_054_5e-4,
        1.388_888_891_719_671_9e-3,
        8.333_333_333_330_065e-3,
        4.166_666_666_662_416_4e-2,
        1.666_666_666_666_666_9e-1,
        0.500_000_000_000_000_1,
    ];
    const LOG1P: &'static [f64] = &[
        -1.602_021_672_553_819_4e-5,
        2.509_566_991_616_042_7e-5,
        -1.736_289_091_767_490_8e-5,
        2.745_707_811_125_544e-5,
        -5.662_379_190_413_708e-5,
        8.976_853_340_131_384e-5,
        -1.383_925_867_898_494_2e-4,
        2.210_638_385_336_179e-4,
        -3.555_347_976_997_807e-4,
        5.730_672_917_654_239e-4,
        -9.287_705_474_911_717e-4,
        1.515_382_615_641_577_2e-3,
        -2.491_847_816_196_641_7e-3,
        4.136_179_135_792_984e-3,
        -6.945_394_671_748_216e-3,
        1.183_379_210_912_085_4e-2,
        -2.054_881_192_675_094e-2,
        3.661_185_452_316_855_6e-2,
        -6.768_864_331_087_63e-2,
        1.326_097_537_542_028e-1,
        -2.885_270_990_993_241_7e-1,
        8.109_302_162_163_288e-1,
    ];
}

/// `coefficients[0] x^k + .. + coefficients[k]`, by Horner's rule.
#[inline(always)]
fn polynomial<T: Isa, R: Real, const N: usize>(
    tier: T,
    coefficients: &'static [R],
    x: Group<T, R, N>,
) -> Group<T, R, N> {
    let mut value = Group::splat(tier, coefficients[0]);
    for &coefficient in &coefficients[1..] {
        value = value.fma(x, Group::splat(tier, coefficient));
    }
    value
}

/// `e^x`.
#[inline(always)]
pub fn exp<T: Isa, R: Real, const N: usize>(tier: T, x: Group<T, R, N>) -> Group<T, R, N> {
    let over = Group::splat(tier, R::EXP_HIGHEST).less(x);
    Group::select(over, Group::splat(tier, R::INFINITY), exp_below_overflow(tier, x))
}

/// `e^x` for `x` up to where the result overflows.
#[inline(always)]
pub fn exp_below_overflow<T: Isa, R: Real, const N: usize>(tier: T, x: Group<T, R, N>) -> Group<T, R, N> {
    let constant = |value: R| Group::splat(tier, value);
    let shifted = x.fma(constant(R::LOG2_E), constant(R::ROUNDER));
    let n = shifted - constant(R::ROUNDER);
    let r = (-n).fma(constant(R::LN_2_HIGH), x);
    let r = (-n).fma(constant(R::LN_2_LOW), r);
    let q = polynomial(tier, R::EXP, r);
    let fraction = (r * r).fma(q, r) + constant(R::ONE);
    // 2^n itself overflows where e^x does not yet, so half of it is the factor.
    let half = fraction * shifted.shift_into_exponent();
    Group::select(x.less(constant(R::EXP_LOWEST)), Group::zero(tier), half + half)
}

/// `log(1 + u)` for `0 <= u <= 1`.
#[inline(always)]
pub fn log1p_unit<T: Isa, R: Real, const N: usize>(tier: T, u: Group<T, R, N>) -> Group<T, R, N> {
    let centred = u - Group::splat(tier, R::from_f64(0.5));
    u * polynomial(tier, R::LOG1P, centred)
}

/// `log(1 + u)` for `0 <= u < 2^16 - 1`: above 1 the powers of two are taken out of `1 + u`, 8, 4, 2 and 1 at a time.
#[inline(always)]
pub fn log1p<T: Isa, R: Real, const N: usize>(tier: T, u: Group<T, R, N>) -> Group<T, R, N> {
    let constant = |value: f64| Group::splat(tier, R::from_f64(value));
    let (zero, one) = (Group::zero(tier), constant(1.0));
    let (mut fraction, mut exponent) = (one + u, zero);
    for power in [8, 4, 2, 1] {
        let least = f64::from(1 << power);
        let small = fraction.less(constant(least));
        fraction = Group::select(small, fraction, fraction * constant(1.0 / least));
        exponent = Group::select(small, exponent, exponent + constant(f64::from(power)));
    }
    let is_unit = exponent.less(one);
    let logarithm = log1p_unit(tier, Group::select(is_unit, u, fraction - one));
    exponent.fma(constant(std::f64::consts::LN_2), logarithm)
}

/// What sigmoid, softplus and their derivatives share, so that a loss computes it once.
pub struct Logistic<V> {
    /// `e^-|z|`.
    pub decay: V,
    /// `1 / (1 + e^-|z|)`: the greater of sigmoid(z) and sigmoid(-z).
    pub greater: V,
    /// `e^-|z| / (1 + e^-|z|)`: the lesser of the two, to full relative precision.
    pub lesser: V,
}

/// `e^-|z|` and the two sigmoids of `|z|`.
#[inline(always)]
pub fn logistic<T: Isa, R: Real, const N: usize>(tier: T, z: Group<T, R, N>) -> Logistic<Group<T, R, N>> {
    let one = Group::splat(tier, R::ONE);
    let decay = exp_below_overflow(tier, -z.abs());
    let greater = one / (one + decay);
    Logistic { decay, greater, lesser: decay * greater }
}

/// `1 / (1 + e^-z)`.
#[inline(always)]
pub fn sigmoid<T: Isa, R: Real, const N: usize>(tier: T, z: Group<T, R, N>) -> Group<T, R, N> {
    let Logistic { greater, lesser, .. } = logistic(tier, z);
    Group::select(z.less(Group::zero(tier)), lesser, greater)
}

/// `log(1 + e^z)`.
#[inline(always)]
pub fn softplus<T: Isa, R: Real, const N: usize>(tier: T, z: Group<T, R, N>) -> Group<T, R, N> {
    let decay = exp_below_overflow(tier, -z.abs());
    // A NaN `z` is 0 here and NaN in `decay`.
    z.max(Group::zero(tier)) + log1p_unit(tier, decay)
}

#[cfg(test)]
mod tests;
