//! Bytes with VNNI: `vpdpbusd` adds four products of bytes to each sum of a register, sixteen sums with AVX-512 VNNI and eight with
//! AVX-VNNI, which processors without AVX-512 have.

use super::bytes::{ByteKernel, Bytes, Line, QUAD, STRIP};
use super::{Isa, LANES, avx2::Avx2, avx512::Avx512};
use std::arch::x86_64::*;

/// Proves AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Clone, Copy, Debug)]
pub struct Vnni(());

impl Vnni {
    /// The token, if this processor has the instructions.
    #[inline(always)]
    pub fn detect() -> Option<Vnni> {
        let found = Isa::detect().is_some_and(|_: Avx512| is_x86_feature_detected!("avx512vnni"));
        found.then_some(Vnni(()))
    }
}

impl Bytes for Vnni {
    const DIGIT_BITS: u32 = 8;
    const REGISTERS: usize = 32;
    const LINES: usize = 1;
    type Quad = __m512i;
    type Values = __m512i;
    type Factors = __m512i;
    type Sums = __m512i;

    #[inline(always)]
    fn enter<K: ByteKernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn compiled<K: ByteKernel>(bytes: Vnni, kernel: K) -> K::Output {
            kernel.run(bytes)
        }
        // SAFETY: the token proves that the processor has the features enabled.
        unsafe { compiled(self, kernel) }
    }

    #[inline(always)]
    fn prefetch_far(self, values: &[u8], index: usize) {
        // SAFETY: prefetching has no effect on memory and cannot fault, whatever the address; the pointer is not
        // dereferenced and is computed without the rules of pointers in bounds.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(values.as_ptr().wrapping_add(index).cast::<i8>()) }
    }

    #[inline(always)]
    fn interleave(self, columns: [&[u8; STRIP]; QUAD]) -> [__m512i; QUAD] {
        let [a, b, c, d] = columns.map(|column| self.load(column));
        // SAFETY: the token proves the instructions.
        unsafe {
            let (ab_low, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
            [
                _mm512_unpacklo_epi16(ab_low, cd_low),
                _mm512_unpackhi_epi16(ab_low, cd_low),
                _mm512_unpacklo_epi16(ab_high, cd_high),
                _mm512_unpackhi_epi16(ab_high, cd_high),
            ]
        }
    }

    #[inline(always)]
    fn load(self, line: &[u8; STRIP]) -> __m512i {
        // SAFETY: the token proves the instructions; the array holds the 64 bytes read, at any alignment.
        unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, quad: __m512i, line: &mut Line) {
        // SAFETY: the token proves the instructions; the line holds the 64 bytes written, at any alignment.
        unsafe { _mm512_storeu_si512(line.0.as_mut_ptr().cast(), quad) }
    }

    #[inline(always)]
    fn values(self, quad: __m512i) -> __m512i {
        quad
    }

    #[inline(always)]
    fn pack_four(self, digits: [i32; QUAD], words: &mut [u32]) {
        words[0] = u32::from_le_bytes(digits.map(|digit| digit as u8));
    }

    #[inline(always)]
    fn four(self, words: &[u32]) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_set1_epi32(words[0] as i32) }
    }

    #[inline(always)]
    fn pack_rows(self, digits: &[i32; STRIP], lines: &mut [Line]) {
        for (byte, digit) in lines[0].0.iter_mut().zip(digits) {
            *byte = *digit as u8;
        }
    }

    #[inline(always)]
    fn rows(self, lines: &[Line]) -> __m512i {
        self.load(&lines[0].0)
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn add(self, sums: __m512i, values: __m512i, factors: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_dpbusd_epi32(sums, values, factors) }
    }

    #[inline(always)]
    fn lanes(self, sums: __m512i, lanes: &mut [i32; LANES]) {
        // SAFETY: the token proves the instructions; the array holds the 64 bytes written, at any alignment.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), sums) }
    }

    #[inline(always)]
    fn totals(self, [a, b, c, d]: [__m512i; 4]) -> [i32; 4] {
        let mut totals = [0; 4];
        // SAFETY: the token proves the instructions; the array holds the 16 bytes written, at any alignment.
        unsafe {
            let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            let four = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
            let two = _mm256_add_epi32(_mm512_castsi512_si256(four), _mm512_extracti64x4_epi64::<1>(four));
            let one = _mm_add_epi32(_mm256_castsi256_si128(two), _mm256_extracti128_si256::<1>(two));
            _mm_storeu_si128(totals.as_mut_ptr().cast(), one);
        }
        totals
    }
}

/// Proves AVX2, FMA, F16C and AVX-VNNI.
#[derive(Clone, Copy, Debug)]
pub struct NarrowVnni(Avx2);

impl NarrowVnni {
    /// The token, if this processor has the instructions.
    #[inline(always)]
    pub fn detect() -> Option<NarrowVnni> {
        if is_x86_feature_detected!("avxvnni") { <Avx2 as Isa>::detect().map(NarrowVnni) } else { None }
    }
}

impl Bytes for NarrowVnni {
    const DIGIT_BITS: u32 = 8;
    const REGISTERS: usize = 16;
    const LINES: usize = 1;
    type Quad = [__m256i; 2];
    type Values = [__m256i; 2];
    type Factors = [__m256i; 2];
    type Sums = [__m256i; 2];

    #[inline(always)]
    fn enter<K: ByteKernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
        fn compiled<K: ByteKernel>(bytes: NarrowVnni, kernel: K) -> K::Output {
            kernel.run(bytes)
        }
        // SAFETY: the token proves that the processor has the features enabled.
        unsafe { compiled(self, kernel) }
    }

    #[inline(always)]
    fn prefetch_far(self, values: &[u8], index: usize) {
        Bytes::prefetch_far(self.0, values, index);
    }

    #[inline(always)]
    fn interleave(self, columns: [&[u8; STRIP]; QUAD]) -> [[__m256i; 2]; QUAD] {
        self.0.interleave(columns)
    }

    #[inline(always)]
    fn load(self, line: &[u8; STRIP]) -> [__m256i; 2] {
        self.0.load(line)
    }

    #[inline(always)]
    fn store(self, quad: [__m256i; 2], line: &mut Line) {
        self.0.store(quad, line);
    }

    #[inline(always)]
    fn values(self, quad: [__m256i; 2]) -> [__m256i; 2] {
        quad
    }

    #[inline(always)]
    fn pack_four(self, digits: [i32; QUAD], words: &mut [u32]) {
        words[0] = u32::from_le_bytes(digits.map(|digit| digit as u8));
    }

    #[inline(always)]
    fn four(self, words: &[u32]) -> [__m256i; 2] {
        // SAFETY: the token proves the instructions.
        [unsafe { _mm256_set1_epi32(words[0] as i32) }; 2]
    }

    #[inline(always)]
    fn pack_rows(self, digits: &[i32; STRIP], lines: &mut [Line]) {
        for (byte, digit) in lines[0].0.iter_mut().zip(digits) {
            *byte = *digit as u8;
        }
    }

    #[inline(always)]
    fn rows(self, lines: &[Line]) -> [__m256i; 2] {
        self.load(&lines[0].0)
    }

    #[inline(always)]
    fn zero(self) -> [__m256i; 2] {
        self.0.zero()
    }

    #[inline(always)]
    fn add(self, sums: [__m256i; 2], values: [__m256i; 2], factors: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: the token proves the instructions.
        unsafe {
            [
                _mm256_dpbusd_avx_epi32(sums[0], values[0], factors[0]),
                _mm256_dpbusd_avx_epi32(sums[1], values[1], factors[1]),
            ]
        }
    }

    #[inline(always)]
    fn lanes(self, sums: [__m256i; 2], lanes: &mut [i32; LANES]) {
        self.0.lanes(sums, lanes);
    }

    #[inline(always)]
    fn totals(self, four: [[__m256i; 2]; 4]) -> [i32; 4] {
        self.0.totals(four)
    }
}
