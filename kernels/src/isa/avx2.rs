//! The AVX2 tier (AVX2, FMA, F16C): two registers hold sixteen `f32`, four hold sixteen `f64`.

use super::elementwise::elementwise;
use super::{Isa, Kernel, LANES, Lanes, Register};
use crate::dtype::f16;
use std::arch::x86_64::*;

/// The token of the AVX2 tier.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Isa for Avx2 {
    type F32 = F32;
    type F64 = F64;
    type Register32 = R32;
    type Register64 = R64;
    const REGISTERS: usize = 16;

    fn detect() -> Option<Avx2> {
        let found =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        found.then_some(Avx2(()))
    }

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn compiled<K: Kernel>(tier: Avx2, kernel: K) -> K::Output {
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
    F32, [__m256; 2], indices [0 1],
    add: _mm256_add_ps, sub: _mm256_sub_ps, mul: _mm256_mul_ps, div: _mm256_div_ps,
    fma: _mm256_fmadd_ps, xor: _mm256_xor_ps, splat: _mm256_set1_ps,
);
elementwise!(
    F64, [__m256d; 4], indices [0 1 2 3],
    add: _mm256_add_pd, sub: _mm256_sub_pd, mul: _mm256_mul_pd, div: _mm256_div_pd,
    fma: _mm256_fmadd_pd, xor: _mm256_xor_pd, splat: _mm256_set1_pd,
);

/// `[f(0), f(1), ..]`, written out: a closure handed to another function would not be compiled with the features.
macro_rules! each {
    ($i:ident in 2 => $e:expr) => {
        [{ const $i: usize = 0; $e }, { const $i: usize = 1; $e }]
    };
    ($i:ident in 4 => $e:expr) => {
        [
            { const $i: usize = 0; $e },
            { const $i: usize = 1; $e },
            { const $i: usize = 2; $e },
            { const $i: usize = 3; $e },
        ]
    };
}

impl Lanes<Avx2, f32> for F32 {
    type Mask = [__m256; 2];
    const REGISTERS: usize = 2;

    #[inline(always)]
    fn splat(_: Avx2, value: f32) -> F32 {
        // SAFETY: the token proves the instructions.
        F32([unsafe { _mm256_set1_ps(value) }; 2])
    }
    #[inline(always)]
    fn load_f64(tier: Avx2, values: &[f64; LANES]) -> F32 {
        F32::narrow(F64::load_f64(tier, values))
    }
    #[inline(always)]
    fn load_f32(_: Avx2, values: &[f32; LANES]) -> F32 {
        let (parts, _) = values.as_chunks::<8>();
        // SAFETY: the token proves the instructions; each part holds the 32 bytes read, at any alignment.
        F32(unsafe { each!(I in 2 => _mm256_loadu_ps(parts[I].as_ptr())) })
    }
    #[inline(always)]
    fn load_f16(_: Avx2, values: &[f16; LANES]) -> F32 {
        let (parts, _) = values.as_chunks::<8>();
        // SAFETY: the token proves the instructions; each part holds the 16 bytes read, at any alignment.
        F32(unsafe { each!(I in 2 => _mm256_cvtph_ps(_mm_loadu_si128(parts[I].as_ptr().cast()))) })
    }
    #[inline(always)]
    fn load_u16(_: Avx2, values: &[u16; LANES]) -> F32 {
        let (parts, _) = values.as_chunks::<8>();
        // SAFETY: the token proves the instructions; each part holds the 16 bytes read, at any alignment.
        F32(unsafe {
            each!(I in 2 => _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128(parts[I].as_ptr().cast()))))
        })
    }
    #[inline(always)]
    fn load_u8(_: Avx2, values: &[u8; LANES]) -> F32 {
        let (parts, _) = values.as_chunks::<8>();
        // SAFETY: the token proves the instructions; each part holds the 8 bytes read, at any alignment.
        F32(unsafe {
            each!(I in 2 => _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(parts[I].as_ptr().cast()))))
        })
    }
    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        for (part, register) in values.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            // SAFETY: `self` proves the instructions; the part holds the 32 bytes written, at any alignment.
            unsafe { _mm256_storeu_ps(part.as_mut_ptr(), register) }
        }
    }
    #[inline(always)]
    fn fma(self, factor: F32, addend: F32) -> F32 {
        self.fused(factor, addend)
    }
    #[inline(always)]
    fn min(self, other: F32) -> F32 {
        // SAFETY: `self` proves the instructions.
        F32(unsafe { each!(I in 2 => _mm256_min_ps(self.0[I], other.0[I])) })
    }
    #[inline(always)]
    fn max(self, other: F32) -> F32 {
        // SAFETY: `self` proves the instructions.
        F32(unsafe { each!(I in 2 => _mm256_max_ps(self.0[I], other.0[I])) })
    }
    #[inline(always)]
    fn abs(self) -> F32 {
        // SAFETY: `self` proves the instructions.
        F32(unsafe { each!(I in 2 => _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0[I])) })
    }
    #[inline(always)]
    fn less(self, other: F32) -> [__m256; 2] {
        // SAFETY: `self` proves the instructions.
        unsafe { each!(I in 2 => _mm256_cmp_ps::<_CMP_LT_OQ>(self.0[I], other.0[I])) }
    }
    #[inline(always)]
    fn select(mask: [__m256; 2], yes: F32, no: F32) -> F32 {
        // SAFETY: `yes` proves the instructions.
        F32(unsafe { each!(I in 2 => _mm256_blendv_ps(no.0[I], yes.0[I], mask[I])) })
    }
    #[inline(always)]
    fn shift_into_exponent(self) -> F32 {
        // SAFETY: `self` proves the instructions.
        F32(unsafe { each!(I in 2 => _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(self.0[I])))) })
    }
    #[inline(always)]
    fn widen(self) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe {
            [
                _mm256_cvtps_pd(_mm256_castps256_ps128(self.0[0])),
                _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(self.0[0])),
                _mm256_cvtps_pd(_mm256_castps256_ps128(self.0[1])),
                _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(self.0[1])),
            ]
        })
    }
    #[inline(always)]
    fn narrow(wide: F64) -> F32 {
        // SAFETY: `wide` proves the instructions.
        F32(unsafe {
            [
                _mm256_set_m128(_mm256_cvtpd_ps(wide.0[1]), _mm256_cvtpd_ps(wide.0[0])),
                _mm256_set_m128(_mm256_cvtpd_ps(wide.0[3]), _mm256_cvtpd_ps(wide.0[2])),
            ]
        })
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: `self` proves the instructions.
        unsafe { sum_f32(_mm256_add_ps(self.0[0], self.0[1])) }
    }
    #[inline(always)]
    fn sums(four: [F32; 4]) -> [f32; 4] {
        Register::sums(four.map(|lanes| R32(lanes.0[0]) + R32(lanes.0[1])))
    }
}

impl Lanes<Avx2, f64> for F64 {
    type Mask = [__m256d; 4];
    const REGISTERS: usize = 4;

    #[inline(always)]
    fn splat(_: Avx2, value: f64) -> F64 {
        // SAFETY: the token proves the instructions.
        F64([unsafe { _mm256_set1_pd(value) }; 4])
    }
    #[inline(always)]
    fn load_f64(_: Avx2, values: &[f64; LANES]) -> F64 {
        let (parts, _) = values.as_chunks::<4>();
        // SAFETY: the token proves the instructions; each part holds the 32 bytes read, at any alignment.
        F64(unsafe { each!(I in 4 => _mm256_loadu_pd(parts[I].as_ptr())) })
    }
    #[inline(always)]
    fn load_f32(_: Avx2, values: &[f32; LANES]) -> F64 {
        let (parts, _) = values.as_chunks::<4>();
        // SAFETY: the token proves the instructions; each part holds the 16 bytes read, at any alignment.
        F64(unsafe { each!(I in 4 => _mm256_cvtps_pd(_mm_loadu_ps(parts[I].as_ptr()))) })
    }
    #[inline(always)]
    fn load_f16(tier: Avx2, values: &[f16; LANES]) -> F64 {
        F32::load_f16(tier, values).widen()
    }
    #[inline(always)]
    fn load_u16(_: Avx2, values: &[u16; LANES]) -> F64 {
        let (parts, _) = values.as_chunks::<4>();
        // SAFETY: the token proves the instructions; each part holds the 8 bytes read, at any alignment.
        F64(unsafe {
            each!(I in 4 => _mm256_cvtepi32_pd(_mm_cvtepu16_epi32(_mm_loadl_epi64(parts[I].as_ptr().cast()))))
        })
    }
    #[inline(always)]
    fn load_u8(_: Avx2, values: &[u8; LANES]) -> F64 {
        let (parts, _) = values.as_chunks::<4>();
        // SAFETY: the token proves the instructions; each part holds the 4 bytes read, at any alignment.
        F64(unsafe { each!(I in 4 => _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_loadu_si32(parts[I].as_ptr().cast())))) })
    }
    #[inline(always)]
    fn store(self, values: &mut [f64; LANES]) {
        for (part, register) in values.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            // SAFETY: `self` proves the instructions; the part holds the 32 bytes written, at any alignment.
            unsafe { _mm256_storeu_pd(part.as_mut_ptr(), register) }
        }
    }
    #[inline(always)]
    fn fma(self, factor: F64, addend: F64) -> F64 {
        self.fused(factor, addend)
    }
    #[inline(always)]
    fn min(self, other: F64) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe { each!(I in 4 => _mm256_min_pd(self.0[I], other.0[I])) })
    }
    #[inline(always)]
    fn max(self, other: F64) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe { each!(I in 4 => _mm256_max_pd(self.0[I], other.0[I])) })
    }
    #[inline(always)]
    fn abs(self) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe { each!(I in 4 => _mm256_andnot_pd(_mm256_set1_pd(-0.0), self.0[I])) })
    }
    #[inline(always)]
    fn less(self, other: F64) -> [__m256d; 4] {
        // SAFETY: `self` proves the instructions.
        unsafe { each!(I in 4 => _mm256_cmp_pd::<_CMP_LT_OQ>(self.0[I], other.0[I])) }
    }
    #[inline(always)]
    fn select(mask: [__m256d; 4], yes: F64, no: F64) -> F64 {
        // SAFETY: `yes` proves the instructions.
        F64(unsafe { each!(I in 4 => _mm256_blendv_pd(no.0[I], yes.0[I], mask[I])) })
    }
    #[inline(always)]
    fn shift_into_exponent(self) -> F64 {
        // SAFETY: `self` proves the instructions.
        F64(unsafe { each!(I in 4 => _mm256_castsi256_pd(_mm256_slli_epi64::<52>(_mm256_castpd_si256(self.0[I])))) })
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
            let (low, high) = (_mm256_add_pd(self.0[0], self.0[2]), _mm256_add_pd(self.0[1], self.0[3]));
            sum_f64(_mm256_add_pd(low, high))
        }
    }
    #[inline(always)]
    fn sums(four: [F64; 4]) -> [f64; 4] {
        // A function, not `map`, which is too large here to be inlined, and whose closure then lacks the instructions.
        let [a, b, c, d] = four;
        Register::sums([folded(a), folded(b), folded(c), folded(d)])
    }
}

/// Lane `i` and `i + 8`, then `i + 4`, in one register.
#[inline(always)]
fn folded(lanes: F64) -> R64 {
    let [a, b, c, d] = lanes.0.map(R64);
    (a + c) + (b + d)
}

/// The sum of eight lanes: lane `i` with `i + 4`, then with `i + 2`, `i + 1`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sum_f32(eight: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// The sum of four lanes: lane `i` with `i + 2`, then with `i + 1`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sum_f64(four: __m256d) -> f64 {
    let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
    _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
}

/// Eight `f32`.
#[derive(Clone, Copy, Debug)]
pub struct R32(__m256);

impl std::ops::Add for R32 {
    type Output = R32;
    #[inline(always)]
    fn add(self, other: R32) -> R32 {
        // SAFETY: `self` proves the instructions.
        R32(unsafe { _mm256_add_ps(self.0, other.0) })
    }
}

impl std::ops::Mul for R32 {
    type Output = R32;
    #[inline(always)]
    fn mul(self, other: R32) -> R32 {
        // SAFETY: `self` proves the instructions.
        R32(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
}

impl Register<Avx2, f32> for R32 {
    const WIDTH: usize = 8;

    #[inline(always)]
    fn splat(_: Avx2, value: f32) -> R32 {
        // SAFETY: the token proves the instructions.
        R32(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    fn load(_: Avx2, values: &[f32; LANES], part: usize) -> R32 {
        let values = &values[part * Self::WIDTH..][..Self::WIDTH];
        // SAFETY: the token proves the instructions; the slice holds the 32 bytes read, at any alignment.
        R32(unsafe { _mm256_loadu_ps(values.as_ptr()) })
    }
    #[inline(always)]
    fn load_f32(tier: Avx2, values: &[f32; LANES], part: usize) -> R32 {
        Self::load(tier, values, part)
    }
    #[inline(always)]
    fn store(self, values: &mut [f32; LANES], part: usize) {
        let values = &mut values[part * Self::WIDTH..][..Self::WIDTH];
        // SAFETY: `self` proves the instructions; the slice holds the 32 bytes written, at any alignment.
        unsafe { _mm256_storeu_ps(values.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn fma(self, factor: R32, addend: R32) -> R32 {
        // SAFETY: `self` proves the instructions.
        R32(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: `self` proves the instructions.
        unsafe { sum_f32(self.0) }
    }
    #[inline(always)]
    fn sums([a, b, c, d]: [R32; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        // SAFETY: a register proves the instructions; the array holds the 16 bytes written, at any alignment.
        unsafe {
            let halves =
                |a, b| _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
            // Halves of 128 bits: sums of a and b, of c and d.
            let (ab, cd) = (halves(a.0, b.0), halves(c.0, d.0));
            let two = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd));
            let one = _mm256_add_ps(two, _mm256_permute_ps::<0xb1>(two));
            let packed = _mm256_permutevar8x32_ps(one, _mm256_setr_epi32(0, 4, 2, 6, 0, 0, 0, 0));
            _mm_storeu_ps(sums.as_mut_ptr(), _mm256_castps256_ps128(packed));
        }
        sums
    }
}

/// Four `f64`.
#[derive(Clone, Copy, Debug)]
pub struct R64(__m256d);

impl std::ops::Add for R64 {
    type Output = R64;
    #[inline(always)]
    fn add(self, other: R64) -> R64 {
        // SAFETY: `self` proves the instructions.
        R64(unsafe { _mm256_add_pd(self.0, other.0) })
    }
}

impl std::ops::Mul for R64 {
    type Output = R64;
    #[inline(always)]
    fn mul(self, other: R64) -> R64 {
        // SAFETY: `self` proves the instructions.
        R64(unsafe { _mm256_mul_pd(self.0, other.0) })
    }
}

impl Register<Avx2, f64> for R64 {
    const WIDTH: usize = 4;

    #[inline(always)]
    fn splat(_: Avx2, value: f64) -> R64 {
        // SAFETY: the token proves the instructions.
        R64(unsafe { _mm256_set1_pd(value) })
    }
    #[inline(always)]
    fn load(_: Avx2, values: &[f64; LANES], part: usize) -> R64 {
        let values = &values[part * Self::WIDTH..][..Self::WIDTH];
        // SAFETY: the token proves the instructions; the slice holds the 32 bytes read, at any alignment.
        R64(unsafe { _mm256_loadu_pd(values.as_ptr()) })
    }
    #[inline(always)]
    fn load_f32(_: Avx2, values: &[f32; LANES], part: usize) -> R64 {
        let values = &values[part * Self::WIDTH..][..Self::WIDTH];
        // SAFETY: the token proves the instructions; the slice holds the 16 bytes read, at any alignment.
        R64(unsafe { _mm256_cvtps_pd(_mm_loadu_ps(values.as_ptr())) })
    }
    #[inline(always)]
    fn store(self, values: &mut [f64; LANES], part: usize) {
        let values = &mut values[part * Self::WIDTH..][..Self::WIDTH];
        // SAFETY: `self` proves the instructions; the slice holds the 32 bytes written, at any alignment.
        unsafe { _mm256_storeu_pd(values.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    fn fma(self, factor: R64, addend: R64) -> R64 {
        // SAFETY: `self` proves the instructions.
        R64(unsafe { _mm256_fmadd_pd(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        // SAFETY: `self` proves the instructions.
        unsafe { sum_f64(self.0) }
    }
    #[inline(always)]
    fn sums([a, b, c, d]: [R64; 4]) -> [f64; 4] {
        let mut sums = [0.0; 4];
        // SAFETY: a register proves the instructions; the array holds the 32 bytes written, at any alignment.
        unsafe {
            let halves =
                |a, b| _mm256_add_pd(_mm256_permute2f128_pd::<0x20>(a, b), _mm256_permute2f128_pd::<0x31>(a, b));
            let (ab, cd) = (halves(a.0, b.0), halves(c.0, d.0));
            let two = _mm256_add_pd(_mm256_unpacklo_pd(ab, cd), _mm256_unpackhi_pd(ab, cd));
            _mm256_storeu_pd(sums.as_mut_ptr(), _mm256_permute4x64_pd::<0xd8>(two));
        }
        sums
    }
}
