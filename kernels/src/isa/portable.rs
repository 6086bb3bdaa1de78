//! The portable tier: `wide`, compiled for the instructions that every processor of the target has.
//!
//! On a target without FMA (baseline x86-64) [`Lanes::fma`] rounds twice, so its bits differ from the other tiers'.

use super::{Isa, Kernel, LANES, Lanes, Register};
use crate::dtype::f16;
use std::array::from_fn;
use std::ops::{Add, Div, Mul, Neg, Sub};
use wide::{f32x8, f32x16, f64x4, f64x8};

/// The token of the portable tier, which every processor has.
#[derive(Clone, Copy, Debug)]
pub struct Portable(());

/// Sixteen lanes of `f32`.
#[derive(Clone, Copy, Debug)]
pub struct F32(f32x16);

/// Sixteen lanes of `f64`.
#[derive(Clone, Copy, Debug)]
pub struct F64([f64x8; 2]);

impl Portable {
    /// The token.
    pub const fn new() -> Portable {
        Portable(())
    }
}

impl Default for Portable {
    fn default() -> Portable {
        Portable::new()
    }
}

impl Isa for Portable {
    type F32 = F32;
    type F64 = F64;
    type Register32 = R32;
    type Register64 = R64;
    const REGISTERS: usize = 16;

    fn detect() -> Option<Portable> {
        Some(Portable(()))
    }

    #[inline(never)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn prefetch<E>(self, _values: &[E], _index: usize) {}

    #[inline(always)]
    fn prefetch_far<E>(self, _values: &[E], _index: usize) {}
}

macro_rules! operators {
    ($lanes:ident, $a:ident, $b:ident, $add:expr, $sub:expr, $mul:expr, $div:expr, $neg:expr) => {
        impl Add for $lanes {
            type Output = Self;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                let ($a, $b) = (self.0, other.0);
                Self($add)
            }
        }
        impl Sub for $lanes {
            type Output = Self;
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                let ($a, $b) = (self.0, other.0);
                Self($sub)
            }
        }
        impl Mul for $lanes {
            type Output = Self;
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                let ($a, $b) = (self.0, other.0);
                Self($mul)
            }
        }
        impl Div for $lanes {
            type Output = Self;
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                let ($a, $b) = (self.0, other.0);
                Self($div)
            }
        }
        impl Neg for $lanes {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                let $a = self.0;
                Self($neg)
            }
        }
    };
}
operators!(F32, a, b, a + b, a - b, a * b, a / b, -a);
operators!(
    F64,
    a,
    b,
    [a[0] + b[0], a[1] + b[1]],
    [a[0] - b[0], a[1] - b[1]],
    [a[0] * b[0], a[1] * b[1]],
    [a[0] / b[0], a[1] / b[1]],
    [-a[0], -a[1]]
);

impl F64 {
    #[inline(always)]
    fn from_array(values: [f64; LANES]) -> F64 {
        F64([f64x8::new(from_fn(|i| values[i])), f64x8::new(from_fn(|i| values[8 + i]))])
    }

    #[inline(always)]
    fn to_array(self) -> [f64; LANES] {
        let halves = [self.0[0].to_array(), self.0[1].to_array()];
        from_fn(|i| halves[i / 8][i % 8])
    }
}

impl Lanes<Portable, f32> for F32 {
    type Mask = f32x16;
    const REGISTERS: usize = 4;

    #[inline(always)]
    fn splat(_: Portable, value: f32) -> F32 {
        F32(f32x16::splat(value))
    }
    #[inline(always)]
    fn load_f64(_: Portable, values: &[f64; LANES]) -> F32 {
        F32(f32x16::new(values.map(|value| value as f32)))
    }
    #[inline(always)]
    fn load_f32(_: Portable, values: &[f32; LANES]) -> F32 {
        F32(f32x16::new(*values))
    }
    #[inline(always)]
    fn load_f16(_: Portable, values: &[f16; LANES]) -> F32 {
        F32(f32x16::new(values.map(f16_to_f32)))
    }
    #[inline(always)]
    fn load_u16(_: Portable, values: &[u16; LANES]) -> F32 {
        F32(f32x16::new(values.map(f32::from)))
    }
    #[inline(always)]
    fn load_u8(_: Portable, values: &[u8; LANES]) -> F32 {
        F32(f32x16::new(values.map(f32::from)))
    }
    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        *values = self.0.to_array();
    }
    #[inline(always)]
    fn fma(self, factor: F32, addend: F32) -> F32 {
        F32(self.0.mul_add(factor.0, addend.0))
    }
    #[inline(always)]
    fn min(self, other: F32) -> F32 {
        F32::select(self.less(other), self, other)
    }
    #[inline(always)]
    fn max(self, other: F32) -> F32 {
        F32::select(other.less(self), self, other)
    }
    #[inline(always)]
    fn abs(self) -> F32 {
        F32(self.0.abs())
    }
    #[inline(always)]
    fn less(self, other: F32) -> f32x16 {
        self.0.simd_lt(other.0)
    }
    #[inline(always)]
    fn select(mask: f32x16, yes: F32, no: F32) -> F32 {
        F32(mask.bitselect(yes.0, no.0))
    }
    #[inline(always)]
    fn shift_into_exponent(self) -> F32 {
        F32(f32x16::new(self.0.to_array().map(|value| f32::from_bits(value.to_bits() << 23))))
    }
    #[inline(always)]
    fn widen(self) -> F64 {
        F64::from_array(self.0.to_array().map(f64::from))
    }
    #[inline(always)]
    fn narrow(wide: F64) -> F32 {
        F32(f32x16::new(wide.to_array().map(|value| value as f32)))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        let a = self.0.to_array();
        let a: [f32; 8] = from_fn(|i| a[i] + a[i + 8]);
        let a: [f32; 4] = from_fn(|i| a[i] + a[i + 4]);
        (a[0] + a[2]) + (a[1] + a[3])
    }
}

impl Lanes<Portable, f64> for F64 {
    type Mask = [f64x8; 2];
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(_: Portable, value: f64) -> F64 {
        F64([f64x8::splat(value); 2])
    }
    #[inline(always)]
    fn load_f64(_: Portable, values: &[f64; LANES]) -> F64 {
        F64::from_array(*values)
    }
    #[inline(always)]
    fn load_f32(_: Portable, values: &[f32; LANES]) -> F64 {
        F64::from_array(values.map(f64::from))
    }
    #[inline(always)]
    fn load_f16(_: Portable, values: &[f16; LANES]) -> F64 {
        F64::from_array(values.map(|value| f64::from(f16_to_f32(value))))
    }
    #[inline(always)]
    fn load_u16(_: Portable, values: &[u16; LANES]) -> F64 {
        F64::from_array(values.map(f64::from))
    }
    #[inline(always)]
    fn load_u8(_: Portable, values: &[u8; LANES]) -> F64 {
        F64::from_array(values.map(f64::from))
    }
    #[inline(always)]
    fn store(self, values: &mut [f64; LANES]) {
        *values = self.to_array();
    }
    #[inline(always)]
    fn fma(self, factor: F64, addend: F64) -> F64 {
        F64(from_fn(|i| self.0[i].mul_add(factor.0[i], addend.0[i])))
    }
    #[inline(always)]
    fn min(self, other: F64) -> F64 {
        F64::select(self.less(other), self, other)
    }
    #[inline(always)]
    fn max(self, other: F64) -> F64 {
        F64::select(other.less(self), self, other)
    }
    #[inline(always)]
    fn abs(self) -> F64 {
        F64(self.0.map(f64x8::abs))
    }
    #[inline(always)]
    fn less(self, other: F64) -> [f64x8; 2] {
        from_fn(|i| self.0[i].simd_lt(other.0[i]))
    }
    #[inline(always)]
    fn select(mask: [f64x8; 2], yes: F64, no: F64) -> F64 {
        F64(from_fn(|i| mask[i].bitselect(yes.0[i], no.0[i])))
    }
    #[inline(always)]
    fn shift_into_exponent(self) -> F64 {
        F64::from_array(self.to_array().map(|value| f64::from_bits(value.to_bits() << 52)))
    }
    #[inline(always)]
    fn widen(self) -> F64 {
        self
    }
    #[inline(always)]
    fn narrow(wide: F64) -> F64 {
        wide
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        let a = (self.0[0] + self.0[1]).to_array();
        let a: [f64; 4] = from_fn(|i| a[i] + a[i + 4]);
        (a[0] + a[2]) + (a[1] + a[3])
    }
}

/// Eight `f32`.
#[derive(Clone, Copy, Debug)]
pub struct R32(f32x8);

impl Add for R32 {
    type Output = R32;
    #[inline(always)]
    fn add(self, other: R32) -> R32 {
        R32(self.0 + other.0)
    }
}

impl Mul for R32 {
    type Output = R32;
    #[inline(always)]
    fn mul(self, other: R32) -> R32 {
        R32(self.0 * other.0)
    }
}

impl<T: Isa> Register<T, f32> for R32 {
    const WIDTH: usize = 8;

    #[inline(always)]
    fn splat(_: T, value: f32) -> R32 {
        R32(f32x8::splat(value))
    }
    #[inline(always)]
    fn load(_: T, values: &[f32; LANES], part: usize) -> R32 {
        R32(f32x8::new(from_fn(|i| values[part * 8 + i])))
    }
    #[inline(always)]
    fn load_f32(tier: T, values: &[f32; LANES], part: usize) -> R32 {
        Self::load(tier, values, part)
    }
    #[inline(always)]
    fn store(self, values: &mut [f32; LANES], part: usize) {
        values[part * 8..][..8].copy_from_slice(&self.0.to_array());
    }
    #[inline(always)]
    fn fma(self, factor: R32, addend: R32) -> R32 {
        R32(self.0.mul_add(factor.0, addend.0))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        let a = self.0.to_array();
        let a: [f32; 4] = from_fn(|i| a[i] + a[i + 4]);
        (a[0] + a[2]) + (a[1] + a[3])
    }
}

/// Four `f64`.
#[derive(Clone, Copy, Debug)]
pub struct R64(f64x4);

impl Add for R64 {
    type Output = R64;
    #[inline(always)]
    fn add(self, other: R64) -> R64 {
        R64(self.0 + other.0)
    }
}

impl Mul for R64 {
    type Output = R64;
    #[inline(always)]
    fn mul(self, other: R64) -> R64 {
        R64(self.0 * other.0)
    }
}

impl<T: Isa> Register<T, f64> for R64 {
    const WIDTH: usize = 4;

    #[inline(always)]
    fn splat(_: T, value: f64) -> R64 {
        R64(f64x4::splat(value))
    }
    #[inline(always)]
    fn load(_: T, values: &[f64; LANES], part: usize) -> R64 {
        R64(f64x4::new(from_fn(|i| values[part * 4 + i])))
    }
    #[inline(always)]
    fn load_f32(_: T, values: &[f32; LANES], part: usize) -> R64 {
        R64(f64x4::new(from_fn(|i| f64::from(values[part * 4 + i]))))
    }
    #[inline(always)]
    fn store(self, values: &mut [f64; LANES], part: usize) {
        values[part * 4..][..4].copy_from_slice(&self.0.to_array());
    }
    #[inline(always)]
    fn fma(self, factor: R64, addend: R64) -> R64 {
        R64(self.0.mul_add(factor.0, addend.0))
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        let a = self.0.to_array();
        (a[0] + a[2]) + (a[1] + a[3])
    }
}

/// `f16` to `f32`, exactly, without a branch or a table, so that compilers turn sixteen of them into vector code: the
/// exponent and mantissa are moved to their place in an `f32`, which leaves the value too small by the difference of
/// the exponent biases, 2^112; multiplying puts that right for subnormals too. Infinity and NaN keep all exponent bits.
#[inline(always)]
fn f16_to_f32(value: f16) -> f32 {
    let bits = u32::from(value.to_bits());
    let magnitude = (bits & 0x7fff) << 13;
    let scaled = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let special = u32::from(magnitude >= 0x7c00 << 13) * 0x7f80_0000;
    f32::from_bits(scaled.to_bits() | special | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_converts_as_the_half_crate_does() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits);
            let (got, want) = (f16_to_f32(value), value.to_f32());
            assert!(
                got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                "{bits:#06x}: {got} for {want}"
            );
        }
    }
}
