//! The NEON tier of 64-bit ARM: four registers hold sixteen `f32`, eight hold sixteen `f64`.

use super::elementwise::elementwise;
use super::{Isa, Kernel, LANES, Lanes, portable};
use crate::dtype::f16;
use std::arch::aarch64::*;

/// The token of the NEON tier.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Isa for Neon {
    type F32 = F32;
    type F64 = F64;
    // `wide` has NEON where the target has it, as 64-bit ARM always does.
    type Register32 = portable::R32;
    type Register64 = portable::R64;
    const REGISTERS: usize = 32;

    fn detect() -> Option<Neon> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        #[target_feature(enable = "neon")]
        fn compiled<K: Kernel>(tier: Neon, kernel: K) -> K::Output {
            kernel.run(tier)
        }
        // SAFETY: the token proves that the processor has the feature enabled.
        unsafe { compiled(self, kernel) }
    }

    // Stable Rust has no prefetch on this target; the hardware prefetcher serves alone.
    #[inline(always)]
    fn prefetch<E>(self, _values: &[E], _index: usize) {}

    #[inline(always)]
    fn prefetch_far<E>(self, _values: &[E], _index: usize) {}
}

elementwise!(
    F32, [float32x4_t; 4], indices [0 1 2 3],
    add: vaddq_f32, sub: vsubq_f32, mul: vmulq_f32, div: vdivq_f32,
    fma: fma_f32, xor: xor_f32, splat: vdupq_n_f32,
);
elementwise!(
    F64, [float64x2_t; 8], indices [0 1 2 3 4 5 6 7],
    add: vaddq_f64, sub: vsubq_f64, mul: vmulq_f64, div: vdivq_f64,
    fma: fma_f64, xor: xor_f64, splat: vdupq_n_f64,
);

#[inline]
#[target_feature(enable = "neon")]
fn fma_f32(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
    vfmaq_f32(c, a, b)
}

#[inline]
#[target_feature(enable = "neon")]
fn fma_f64(a: float64x2_t, b: float64x2_t, c: float64x2_t) -> float64x2_t {
    vfmaq_f64(c, a, b)
}

#[inline]
#[target_feature(enable = "neon")]
fn xor_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b)))
}

#[inline]
#[target_feature(enable = "neon")]
fn xor_f64(a: float64x2_t, b: float64x2_t) -> float64x2_t {
    vreinterpretq_f64_u64(veorq_u64(vreinterpretq_u64_f64(a), vreinterpretq_u64_f64(b)))
}

/// `[f(0), f(1), ..]`, written out: a closure handed to another function would not be compiled with the features.
macro_rules! each {
    ($i:ident in [$($n:literal)*] => $e:expr) => {
        [$({ const $i: usize = $n; $e }),*]
    };
}

impl Lanes<Neon, f32> for F32 {
    type Mask = [uint32x4_t; 4];
    const REGISTERS: usize = 4;

    #[inline(always)]
    fn splat(_: Neon, value: f32) -> F32 {
        // SAFETY: the token proves the instructions.
        F32([unsafe { vdupq_n_f32(value) }; 4])
    }
    #[inline(always)]
    fn load_f64(tier: Neon, values: &[f64; LANES]) -> F32 {
        F32::narrow(F64::load_f64(tier, values))
    }
    #[inline(always)]
    fn load_f32(_: Neon, values: &[f32; LANES]) -> F32 {
        let (parts, _) = values.as_chunks::<4>();
        // SAFETY: the token proves the instructions; each part holds the 16 bytes read, at any alignment.
        F32(unsafe { each!(I in [0 1 2 3] => vld1q_f32(parts[I].as_ptr())) })
    }
    #[inline(always)]
    fn load_f16(_: Neon, values: &[f16; LANES]) -> F32 {
        let (parts, _) = values.as_chunks::<4>();
        // SAFETY: the token proves the instructions; each part holds the 8 bytes read, at any alignment.
        F32(unsafe { each!(I in [0 1 2 3] => vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(parts[I].as_ptr().cast())))) })
    }
    #[inline(always)]
    fn load_u16(_: Neon, values: &[u16; LANES]) -> F32 {
        let (parts, _) = values.as_chunks::<4>();
        // SAFETY: the token proves the instructions; each part holds the 8 bytes read, at any alignment.
        F32(unsafe { each!(I in [0 1 2 3] => vcvtq_f32_u32(vmovl_u16(vld1_u16(parts[I].as_ptr())))) })
    }
    #[inline(always)]
    fn load_u8(tier: Neon, values: &[u8; LANES]) -> F32 {
        F32::load_u16(tier, &widen_u8(tier, values))
    }
    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        for (part, register) in values.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            // SAFETY: `self` proves the instructions; the part holds the 16 bytes written, at any alignment.
            unsafe { vst1q_f32(part.as_mut_ptr(), register) }
        }
    }
    #[inline(always)]
    fn fma(self, factor: F32, addend: F32) -> F32 {
        self.fused(factor, addend)
    }
    #[inline(always)]
    fn min(self, other: F32) -> F32 {
        // Not vminq, which gives NaN where either is NaN.
        F32::select(self.less(other), self, other)
    }
    #[inline(always)]
    fn max(self, other: F32) -> F32 {
        F32::select(other.less(self), self, other)
    }
    #[inline(always)]
    fn abs(self) -> F32 {
        // SAFETY: `self` proves the instructions.
        F32(unsafe { each!(I in [0 1 2 3] => vabsq_f32(self.0[I])) })
    }
    #[inline(always)]
    fn less(self, other: F32) -> [uint32x4_t; 4] {
        // SAFETY: `self` proves the instructions.
        unsafe { each!(I in [0 1 2 3] => vcltq_f32(self.0[I], other.0[I])) }
    }
    #[inline(always)]
    fn select(mask: [uint32x4_t; 4], yes: F32, no: F32) -> F32 {
        // SAFETY: `yes` proves the instructions.
        F32(unsafe { each!(I in [0 1 2 3] => vbslq_f32(mask[I], yes.0[I], no.0[I])) })
    }
    #[inline(always)]
    fn shift_into_exponent(self) -> F32 {
        // SAFETY: `self` proves the instructions.
        F32(unsafe {
            each!(I in [0 1 2 3] => vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(self.0[I]))))
        })
    }
    #[inline(always)]
    fn widen(self) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe {
            [
                vcvt_f64_f32(vget_low_f32(self.0[0])),
                vcvt_high_f64_f32(self.0[0]),
                vcvt_f64_f32(vget_low_f32(self.0[1])),
                vcvt_high_f64_f32(self.0[1]),
                vcvt_f64_f32(vget_low_f32(self.0[2])),
                vcvt_high_f64_f32(self.0[2]),
                vcvt_f64_f32(vget_low_f32(self.0[3])),
                vcvt_high_f64_f32(self.0[3]),
            ]
        })
    }
    #[inline(always)]
    fn narrow(wide: F64) -> F32 {
        // SAFETY: `wide` proves the instructions.
        F32(unsafe { each!(I in [0 1 2 3] => vcvt_high_f32_f64(vcvt_f32_f64(wide.0[2 * I]), wide.0[2 * I + 1])) })
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let (low, high) = (vaddq_f32(self.0[0], self.0[2]), vaddq_f32(self.0[1], self.0[3]));
            let four = vaddq_f32(low, high);
            vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)))
        }
    }
}

impl Lanes<Neon, f64> for F64 {
    type Mask = [uint64x2_t; 8];
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(_: Neon, value: f64) -> F64 {
        // SAFETY: the token proves the instructions.
        F64([unsafe { vdupq_n_f64(value) }; 8])
    }
    #[inline(always)]
    fn load_f64(_: Neon, values: &[f64; LANES]) -> F64 {
        let (parts, _) = values.as_chunks::<2>();
        // SAFETY: the token proves the instructions; each part holds the 16 bytes read, at any alignment.
        F64(unsafe { each!(I in [0 1 2 3 4 5 6 7] => vld1q_f64(parts[I].as_ptr())) })
    }
    #[inline(always)]
    fn load_f32(tier: Neon, values: &[f32; LANES]) -> F64 {
        F32::load_f32(tier, values).widen()
    }
    #[inline(always)]
    fn load_f16(tier: Neon, values: &[f16; LANES]) -> F64 {
        F32::load_f16(tier, values).widen()
    }
    #[inline(always)]
    fn load_u16(tier: Neon, values: &[u16; LANES]) -> F64 {
        F32::load_u16(tier, values).widen()
    }
    #[inline(always)]
    fn load_u8(tier: Neon, values: &[u8; LANES]) -> F64 {
        F32::load_u8(tier, values).widen()
    }
    #[inline(always)]
    fn store(self, values: &mut [f64; LANES]) {
        for (part, register) in values.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            // SAFETY: `self` proves the instructions; the part holds the 16 bytes written, at any alignment.
            unsafe { vst1q_f64(part.as_mut_ptr(), register) }
        }
    }
    #[inline(always)]
    fn fma(self, factor: F64, addend: F64) -> F64 {
        self.fused(factor, addend)
    }
    #[inline(always)]
    fn min(self, other: F64) -> F64 {
        // Not vminq, which gives NaN where either is NaN.
        F64::select(self.less(other), self, other)
    }
    #[inline(always)]
    fn max(self, other: F64) -> F64 {
        F64::select(other.less(self), self, other)
    }
    #[inline(always)]
    fn abs(self) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe { each!(I in [0 1 2 3 4 5 6 7] => vabsq_f64(self.0[I])) })
    }
    #[inline(always)]
    fn less(self, other: F64) -> [uint64x2_t; 8] {
        // SAFETY: `self` proves the instructions.
        unsafe { each!(I in [0 1 2 3 4 5 6 7] => vcltq_f64(self.0[I], other.0[I])) }
    }
    #[inline(always)]
    fn select(mask: [uint64x2_t; 8], yes: F64, no: F64) -> F64 {
        // SAFETY: `yes` proves the instructions.
        F64(unsafe { each!(I in [0 1 2 3 4 5 6 7] => vbslq_f64(mask[I], yes.0[I], no.0[I])) })
    }
    #[inline(always)]
    fn shift_into_exponent(self) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe {
            each!(I in [0 1 2 3 4 5 6 7] => vreinterpretq_f64_u64(vshlq_n_u64::<52>(vreinterpretq_u64_f64(self.0[I]))))
        })
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
        // SAFETY: `self` proves the instructions.
        unsafe {
            let eight = each!(I in [0 1 2 3] => vaddq_f64(self.0[I], self.0[I + 4]));
            let four = each!(I in [0 1] => vaddq_f64(eight[I], eight[I + 2]));
            vpaddd_f64(vaddq_f64(four[0], four[1]))
        }
    }
}

/// Sixteen `u8` as `u16`.
#[inline(always)]
fn widen_u8(_: Neon, values: &[u8; LANES]) -> [u16; LANES] {
    values.map(u16::from)
}
