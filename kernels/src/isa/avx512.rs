//! The AVX-512 tier (F, BW, DQ, VL): one register holds sixteen `f32`, two hold sixteen `f64`.

use super::elementwise::elementwise;
use super::{Isa, Kernel, LANES, Lanes, Register};
use crate::dtype::f16;
use std::arch::x86_64::*;

/// The token of the AVX-512 tier.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Isa for Avx512 {
    type F32 = F32;
    type F64 = F64;
    type Register32 = R32;
    type Register64 = R64;
    const REGISTERS: usize = 32;

    fn detect() -> Option<Avx512> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Avx512(()))
    }

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        fn compiled<K: Kernel>(tier: Avx512, kernel: K) -> K::Output {
            kernel.run(tier)
        }
        // SAFETY: the token proves that the processor has the features enabled.
        unsafe { compiled(self, kernel) }
    }

    #[inline(always)]
    fn prefetch<E>(self, values: &[E], index: usize) {
        // SAFETY: prefetching has no effect on memory and cannot fault, whatever the address; the pointer is not
        // dereferenced and is computed without the rules of pointers in bounds.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().wrapping_add(index).cast::<i8>()) }
    }

    #[inline(always)]
    fn prefetch_far<E>(self, values: &[E], index: usize) {
        // SAFETY: prefetching has no effect on memory and cannot fault, whatever the address; the pointer is not
        // dereferenced and is computed without the rules of pointers in bounds.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(values.as_ptr().wrapping_add(index).cast::<i8>()) }
    }
}

elementwise!(
    F32, [__m512; 1], indices [0],
    add: _mm512_add_ps, sub: _mm512_sub_ps, mul: _mm512_mul_ps, div: _mm512_div_ps,
    fma: _mm512_fmadd_ps, xor: _mm512_xor_ps, splat: _mm512_set1_ps,
);
elementwise!(
    F64, [__m512d; 2], indices [0 1],
    add: _mm512_add_pd, sub: _mm512_sub_pd, mul: _mm512_mul_pd, div: _mm512_div_pd,
    fma: _mm512_fmadd_pd, xor: _mm512_xor_pd, splat: _mm512_set1_pd,
);

impl Lanes<Avx512, f32> for F32 {
    type Mask = __mmask16;
    const REGISTERS: usize = 1;

    #[inline(always)]
    fn splat(_: Avx512, value: f32) -> F32 {
        // SAFETY: the token proves the instructions.
        F32([unsafe { _mm512_set1_ps(value) }])
    }
    #[inline(always)]
    fn load_f64(tier: Avx512, values: &[f64; LANES]) -> F32 {
        F32::narrow(F64::load_f64(tier, values))
    }
    #[inline(always)]
    fn load_f32(_: Avx512, values: &[f32; LANES]) -> F32 {
        // SAFETY: the token proves the instructions; the array holds the 64 bytes read, at any alignment.
        F32([unsafe { _mm512_loadu_ps(values.as_ptr()) }])
    }
    #[inline(always)]
    fn load_f16(_: Avx512, values: &[f16; LANES]) -> F32 {
        // SAFETY: the token proves the instructions; the array holds the 32 bytes read, at any alignment.
        F32([unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(values.as_ptr().cast())) }])
    }
    #[inline(always)]
    fn load_u16(_: Avx512, values: &[u16; LANES]) -> F32 {
        // SAFETY: the token proves the instructions; the array holds the 32 bytes read, at any alignment.
        F32([unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(values.as_ptr().cast()))) }])
    }
    #[inline(always)]
    fn load_u8(_: Avx512, values: &[u8; LANES]) -> F32 {
        // SAFETY: the token proves the instructions; the array holds the 16 bytes read, at any alignment.
        F32([unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(values.as_ptr().cast()))) }])
    }
    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        // SAFETY: `self` proves the instructions; the array holds the 64 bytes written, at any alignment.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), self.0[0]) }
    }
    #[inline(always)]
    fn fma(self, factor: F32, addend: F32) -> F32 {
        self.fused(factor, addend)
    }
    #[inline(always)]
    fn min(self, other: F32) -> F32 {
        // SAFETY: `self` proves the instructions.
        F32([unsafe { _mm512_min_ps(self.0[0], other.0[0]) }])
    }
    #[inline(always)]
    fn max(self, other: F32) -> F32 {
        // SAFETY: `self` proves the instructions.
        F32([unsafe { _mm512_max_ps(self.0[0], other.0[0]) }])
    }
    #[inline(always)]
    fn abs(self) -> F32 {
        // SAFETY: `self` proves the instructions.
        F32([unsafe { _mm512_abs_ps(self.0[0]) }])
    }
    #[inline(always)]
    fn less(self, other: F32) -> __mmask16 {
        // SAFETY: `self` proves the instructions.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0[0], other.0[0]) }
    }
    #[inline(always)]
    fn select(mask: __mmask16, yes: F32, no: F32) -> F32 {
        // SAFETY: `yes` proves the instructions.
        F32([unsafe { _mm512_mask_blend_ps(mask, no.0[0], yes.0[0]) }])
    }
    #[inline(always)]
    fn shift_into_exponent(self) -> F32 {
        // SAFETY: `self` proves the instructions.
        F32([unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(self.0[0]))) }])
    }
    #[inline(always)]
    fn widen(self) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe {
            [
                _mm512_cvtps_pd(_mm512_castps512_ps256(self.0[0])),
                _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(self.0[0])),
            ]
        })
    }
    #[inline(always)]
    fn narrow(wide: F64) -> F32 {
        // SAFETY: `wide` proves the instructions.
        F32([unsafe {
            let low = _mm512_castps256_ps512(_mm512_cvtpd_ps(wide.0[0]));
            _mm512_insertf32x8::<1>(low, _mm512_cvtpd_ps(wide.0[1]))
        }])
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let low = _mm512_castps512_ps256(self.0[0]);
            super::avx2::sum_f32(_mm256_add_ps(low, _mm512_extractf32x8_ps::<1>(self.0[0])))
        }
    }
    #[inline(always)]
    fn sums([a, b, c, d]: [F32; 4]) -> [f32; 4] {
        Register::sums([R32(a.0[0]), R32(b.0[0]), R32(c.0[0]), R32(d.0[0])])
    }
}

impl Lanes<Avx512, f64> for F64 {
    type Mask = [__mmask8; 2];
    const REGISTERS: usize = 2;

    #[inline(always)]
    fn splat(_: Avx512, value: f64) -> F64 {
        // SAFETY: the token proves the instructions.
        F64([unsafe { _mm512_set1_pd(value) }; 2])
    }
    #[inline(always)]
    fn load_f64(_: Avx512, values: &[f64; LANES]) -> F64 {
        let [low, high] = halves(values);
        // SAFETY: the token proves the instructions; each half holds the 64 bytes read, at any alignment.
        F64(unsafe { [_mm512_loadu_pd(low.as_ptr()), _mm512_loadu_pd(high.as_ptr())] })
    }
    #[inline(always)]
    fn load_f32(_: Avx512, values: &[f32; LANES]) -> F64 {
        let [low, high] = halves(values);
        // SAFETY: the token proves the instructions; each half holds the 32 bytes read, at any alignment.
        F64(unsafe {
            [_mm512_cvtps_pd(_mm256_loadu_ps(low.as_ptr())), _mm512_cvtps_pd(_mm256_loadu_ps(high.as_ptr()))]
        })
    }
    #[inline(always)]
    fn load_f16(tier: Avx512, values: &[f16; LANES]) -> F64 {
        F32::load_f16(tier, values).widen()
    }
    #[inline(always)]
    fn load_u16(_: Avx512, values: &[u16; LANES]) -> F64 {
        // SAFETY: the token proves the instructions; the array holds the 32 bytes read, at any alignment.
        unsafe { from_integers(_mm512_cvtepu16_epi32(_mm256_loadu_si256(values.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn load_u8(_: Avx512, values: &[u8; LANES]) -> F64 {
        // SAFETY: the token proves the instructions; the array holds the 16 bytes read, at any alignment.
        unsafe { from_integers(_mm512_cvtepu8_epi32(_mm_loadu_si128(values.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn store(self, values: &mut [f64; LANES]) {
        let (low, high) = values.split_at_mut(8);
        // SAFETY: `self` proves the instructions; each half holds the 64 bytes written, at any alignment.
        unsafe {
            _mm512_storeu_pd(low.as_mut_ptr(), self.0[0]);
            _mm512_storeu_pd(high.as_mut_ptr(), self.0[1]);
        }
    }
    #[inline(always)]
    fn fma(self, factor: F64, addend: F64) -> F64 {
        self.fused(factor, addend)
    }
    #[inline(always)]
    fn min(self, other: F64) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe { [_mm512_min_pd(self.0[0], other.0[0]), _mm512_min_pd(self.0[1], other.0[1])] })
    }
    #[inline(always)]
    fn max(self, other: F64) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe { [_mm512_max_pd(self.0[0], other.0[0]), _mm512_max_pd(self.0[1], other.0[1])] })
    }
    #[inline(always)]
    fn abs(self) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe { [_mm512_abs_pd(self.0[0]), _mm512_abs_pd(self.0[1])] })
    }
    #[inline(always)]
    fn less(self, other: F64) -> [__mmask8; 2] {
        // SAFETY: `self` proves the instructions.
        unsafe {
            [
                _mm512_cmp_pd_mask::<_CMP_LT_OQ>(self.0[0], other.0[0]),
                _mm512_cmp_pd_mask::<_CMP_LT_OQ>(self.0[1], other.0[1]),
            ]
        }
    }
    #[inline(always)]
    fn select(mask: [__mmask8; 2], yes: F64, no: F64) -> F64 {
        // SAFETY: `yes` proves the instructions.
        F64(unsafe {
            [_mm512_mask_blend_pd(mask[0], no.0[0], yes.0[0]), _mm512_mask_blend_pd(mask[1], no.0[1], yes.0[1])]
        })
    }
    #[inline(always)]
    fn shift_into_exponent(self) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe {
            [
                _mm512_castsi512_pd(_mm512_slli_epi64::<52>(_mm512_castpd_si512(self.0[0]))),
                _mm512_castsi512_pd(_mm512_slli_epi64::<52>(_mm512_castpd_si512(self.0[1]))),
            ]
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
            let eight = _mm512_add_pd(self.0[0], self.0[1]);
            let low = _mm512_castpd512_pd256(eight);
            super::avx2::sum_f64(_mm256_add_pd(low, _mm512_extractf64x4_pd::<1>(eight)))
        }
    }
    #[inline(always)]
    fn sums([a, b, c, d]: [F64; 4]) -> [f64; 4] {
        Register::sums([folded(a), folded(b), folded(c), folded(d)])
    }
}

/// The first eight lanes, each with the one eight further.
#[inline(always)]
fn folded(lanes: F64) -> R64 {
    R64(lanes.0[0]) + R64(lanes.0[1])
}

/// The first and the last eight values.
#[inline(always)]
fn halves<X>(values: &[X; LANES]) -> [&[X]; 2] {
    let (low, high) = values.split_at(8);
    [low, high]
}

/// Sixteen 32-bit integers as `f64`.
#[inline]
#[target_feature(enable = "avx512f")]
fn from_integers(values: __m512i) -> F64 {
    F64([
        _mm512_cvtepi32_pd(_mm512_castsi512_si256(values)),
        _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64::<1>(values)),
    ])
}

/// Sixteen `f32`.
#[derive(Clone, Copy, Debug)]
pub struct R32(__m512);

/// Eight `f64`.
#[derive(Clone, Copy, Debug)]
pub struct R64(__m512d);

impl std::ops::Add for R32 {
    type Output = R32;
    #[inline(always)]
    fn add(self, other: R32) -> R32 {
        // SAFETY: `self` proves the instructions.
        R32(unsafe { _mm512_add_ps(self.0, other.0) })
    }
}

impl std::ops::Mul for R32 {
    type Output = R32;
    #[inline(always)]
    fn mul(self, other: R32) -> R32 {
        // SAFETY: `self` proves the instructions.
        R32(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
}

impl std::ops::Add for R64 {
    type Output = R64;
    #[inline(always)]
    fn add(self, other: R64) -> R64 {
        // SAFETY: `self` proves the instructions.
        R64(unsafe { _mm512_add_pd(self.0, other.0) })
    }
}

impl std::ops::Mul for R64 {
    type Output = R64;
    #[inline(always)]
    fn mul(self, other: R64) -> R64 {
        // SAFETY: `self` proves the instructions.
        R64(unsafe { _mm512_mul_pd(self.0, other.0) })
    }
}

impl Register<Avx512, f32> for R32 {
    const WIDTH: usize = 16;

    #[inline(always)]
    fn splat(_: Avx512, value: f32) -> R32 {
        // SAFETY: the token proves the instructions.
        R32(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    fn load(_: Avx512, values: &[f32; LANES], part: usize) -> R32 {
        let values = &values[part * Self::WIDTH..][..Self::WIDTH];
        // SAFETY: the token proves the instructions; the slice holds the 64 bytes read, at any alignment.
        R32(unsafe { _mm512_loadu_ps(values.as_ptr()) })
    }
    #[inline(always)]
    fn load_f32(tier: Avx512, values: &[f32; LANES], part: usize) -> R32 {
        Self::load(tier, values, part)
    }
    #[inline(always)]
    fn store(self, values: &mut [f32; LANES], part: usize) {
        let values = &mut values[part * Self::WIDTH..][..Self::WIDTH];
        // SAFETY: `self` proves the instructions; the slice holds the 64 bytes written, at any alignment.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn fma(self, factor: R32, addend: R32) -> R32 {
        // SAFETY: `self` proves the instructions.
        R32(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        Lanes::sum(F32([self.0]))
    }
    #[inline(always)]
    fn sums([a, b, c, d]: [R32; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        // SAFETY: a register proves the instructions; the array holds the 16 bytes written, at any alignment.
        unsafe {
            let halves = |a, b| _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
            let (ab, cd) = (halves(a.0, b.0), halves(c.0, d.0));
            let four = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
            let two = _mm512_add_ps(four, _mm512_permute_ps::<0x4e>(four));
            let one = _mm512_add_ps(two, _mm512_permute_ps::<0xb1>(two));
            let firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            let packed = _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one));
            _mm_storeu_ps(sums.as_mut_ptr(), packed);
        }
        sums
    }
}

impl Register<Avx512, f64> for R64 {
    const WIDTH: usize = 8;

    #[inline(always)]
    fn splat(_: Avx512, value: f64) -> R64 {
        // SAFETY: the token proves the instructions.
        R64(unsafe { _mm512_set1_pd(value) })
    }
    #[inline(always)]
    fn load(_: Avx512, values: &[f64; LANES], part: usize) -> R64 {
        let values = &values[part * Self::WIDTH..][..Self::WIDTH];
        // SAFETY: the token proves the instructions; the slice holds the 64 bytes read, at any alignment.
        R64(unsafe { _mm512_loadu_pd(values.as_ptr()) })
    }
    #[inline(always)]
    fn load_f32(_: Avx512, values: &[f32; LANES], part: usize) -> R64 {
        let values = &values[part * Self::WIDTH..][..Self::WIDTH];
        // SAFETY: the token proves the instructions; the slice holds the 32 bytes read, at any alignment.
        R64(unsafe { _mm512_cvtps_pd(_mm256_loadu_ps(values.as_ptr())) })
    }
    #[inline(always)]
    fn store(self, values: &mut [f64; LANES], part: usize) {
        let values = &mut values[part * Self::WIDTH..][..Self::WIDTH];
        // SAFETY: `self` proves the instructions; the slice holds the 64 bytes written, at any alignment.
        unsafe { _mm512_storeu_pd(values.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn fma(self, factor: R64, addend: R64) -> R64 {
        // SAFETY: `self` proves the instructions.
        R64(unsafe { _mm512_fmadd_pd(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        // SAFETY: `self` proves the instructions.
        unsafe {
            let low = _mm512_castpd512_pd256(self.0);
            super::avx2::sum_f64(_mm256_add_pd(low, _mm512_extractf64x4_pd::<1>(self.0)))
        }
    }
    #[inline(always)]
    fn sums([a, b, c, d]: [R64; 4]) -> [f64; 4] {
        let mut sums = [0.0; 4];
        // SAFETY: a register proves the instructions; the array holds the 32 bytes written, at any alignment.
        unsafe {
            let halves = |a, b| _mm512_add_pd(_mm512_shuffle_f64x2::<0x44>(a, b), _mm512_shuffle_f64x2::<0xee>(a, b));
            let (ab, cd) = (halves(a.0, b.0), halves(c.0, d.0));
            let two = _mm512_add_pd(_mm512_shuffle_f64x2::<0x88>(ab, cd), _mm512_shuffle_f64x2::<0xdd>(ab, cd));
            let one = _mm512_add_pd(two, _mm512_permute_pd::<0x55>(two));
            let packed = _mm512_permutexvar_pd(_mm512_setr_epi64(0, 2, 4, 6, 0, 0, 0, 0), one);
            _mm256_storeu_pd(sums.as_mut_ptr(), _mm512_castpd512_pd256(packed));
        }
        sums
    }
}
