//! Bytes with AVX2: `vpmaddwd` adds two products of 16-bit numbers, of which bytes become pairs by masks and shifts.

use super::avx2::Avx2;
use super::bytes::{ByteKernel, Bytes, Line, QUAD, STRIP, pack_pair};
use super::{Isa, LANES};
use std::arch::x86_64::*;

/// Halves of 32 bytes; of each the bytes at even and at odd places, as 16-bit numbers.
type Pairs = [[__m256i; 2]; 2];

impl Bytes for Avx2 {
    const DIGIT_BITS: u32 = 12;
    const REGISTERS: usize = 16;
    const LINES: usize = 2;
    type Quad = [__m256i; 2];
    type Values = Pairs;
    type Factors = Pairs;
    type Sums = [__m256i; 2];

    #[inline(always)]
    fn enter<K: ByteKernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn compiled<K: ByteKernel>(bytes: Avx2, kernel: K) -> K::Output {
            kernel.run(bytes)
        }
        // SAFETY: the token proves that the processor has the features enabled.
        unsafe { compiled(self, kernel) }
    }

    #[inline(always)]
    fn prefetch_far(self, values: &[u8], index: usize) {
        Isa::prefetch_far(self, values, index);
    }

    #[inline(always)]
    fn interleave(self, columns: [&[u8; STRIP]; QUAD]) -> [[__m256i; 2]; QUAD] {
        let [a, b, c, d] = columns.map(|column| self.load(column));
        let mut quads = [a; QUAD];
        for half in 0..2 {
            let (a, b, c, d) = (a[half], b[half], c[half], d[half]);
            // SAFETY: the token proves the instructions.
            unsafe {
                let (ab_low, ab_high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
                let (cd_low, cd_high) = (_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d));
                quads[0][half] = _mm256_unpacklo_epi16(ab_low, cd_low);
                quads[1][half] = _mm256_unpackhi_epi16(ab_low, cd_low);
                quads[2][half] = _mm256_unpacklo_epi16(ab_high, cd_high);
                quads[3][half] = _mm256_unpackhi_epi16(ab_high, cd_high);
            }
        }
        quads
    }

    #[inline(always)]
    fn load(self, line: &[u8; STRIP]) -> [__m256i; 2] {
        let (low, high) = line.split_at(STRIP / 2);
        // SAFETY: the token proves the instructions; each half holds the 32 bytes read, at any alignment.
        unsafe { [_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())] }
    }

    #[inline(always)]
    fn store(self, quad: [__m256i; 2], line: &mut Line) {
        let (low, high) = line.0.split_at_mut(STRIP / 2);
        // SAFETY: the token proves the instructions; each half holds the 32 bytes written, at any alignment.
        unsafe {
            _mm256_storeu_si256(low.as_mut_ptr().cast(), quad[0]);
            _mm256_storeu_si256(high.as_mut_ptr().cast(), quad[1]);
        }
    }

    #[inline(always)]
    fn values(self, quad: [__m256i; 2]) -> Pairs {
        quad.map(|half| {
            // SAFETY: the token proves the instructions.
            unsafe { [_mm256_and_si256(half, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(half)] }
        })
    }

    #[inline(always)]
    fn pack_four(self, digits: [i32; QUAD], words: &mut [u32]) {
        words[0] = pack_pair(digits[0], digits[2]);
        words[1] = pack_pair(digits[1], digits[3]);
    }

    #[inline(always)]
    fn four(self, words: &[u32]) -> Pairs {
        // SAFETY: the token proves the instructions.
        [unsafe { [_mm256_set1_epi32(words[0] as i32), _mm256_set1_epi32(words[1] as i32)] }; 2]
    }

    #[inline(always)]
    fn pack_rows(self, digits: &[i32; STRIP], lines: &mut [Line]) {
        for (line, digits) in lines.iter_mut().zip(digits.chunks_exact(STRIP / 2)) {
            let (even, odd) = line.0.split_at_mut(STRIP / 2);
            let places = even.as_chunks_mut::<2>().0.iter_mut().zip(odd.as_chunks_mut::<2>().0);
            for ((even, odd), pair) in places.zip(digits.as_chunks::<2>().0) {
                *even = (pair[0] as i16).to_le_bytes();
                *odd = (pair[1] as i16).to_le_bytes();
            }
        }
    }

    #[inline(always)]
    fn rows(self, lines: &[Line]) -> Pairs {
        [self.load(&lines[0].0), self.load(&lines[1].0)]
    }

    #[inline(always)]
    fn zero(self) -> [__m256i; 2] {
        // SAFETY: the token proves the instructions.
        [unsafe { _mm256_setzero_si256() }; 2]
    }

    #[inline(always)]
    fn add(self, mut sums: [__m256i; 2], values: Pairs, factors: Pairs) -> [__m256i; 2] {
        for ((sum, values), factors) in sums.iter_mut().zip(values).zip(factors) {
            // SAFETY: the token proves the instructions.
            unsafe {
                let even = _mm256_madd_epi16(values[0], factors[0]);
                let odd = _mm256_madd_epi16(values[1], factors[1]);
                *sum = _mm256_add_epi32(*sum, _mm256_add_epi32(even, odd));
            }
        }
        sums
    }

    #[inline(always)]
    fn lanes(self, sums: [__m256i; 2], lanes: &mut [i32; LANES]) {
        let (low, high) = lanes.split_at_mut(LANES / 2);
        // SAFETY: the token proves the instructions; each half holds the 32 bytes written, at any alignment.
        unsafe {
            _mm256_storeu_si256(low.as_mut_ptr().cast(), sums[0]);
            _mm256_storeu_si256(high.as_mut_ptr().cast(), sums[1]);
        }
    }

    #[inline(always)]
    fn totals(self, four: [[__m256i; 2]; 4]) -> [i32; 4] {
        let mut totals = [0; 4];
        // SAFETY: the token proves the instructions; the array holds the 16 bytes written, at any alignment.
        unsafe {
            let [a, b, c, d] = four.map(|sums| _mm256_add_epi32(sums[0], sums[1]));
            let four = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
            let one = _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256::<1>(four));
            _mm_storeu_si128(totals.as_mut_ptr().cast(), one);
        }
        totals
    }
}
