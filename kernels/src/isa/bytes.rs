//! The integer vocabulary: exact sums of products of bytes with integers of 24 or 32 bits, for columns of `u8`.
//!
//! An integer is written in digits small enough that a register adds up four products of a byte and a digit in each
//! of its lanes without overflow; the digits' sums are put together at the end, in 64 bits. Nothing is rounded on the
//! way, so that tiers may cut integers into digits as suits their instructions, and add up in any order: the bits are the same.
//!
//! | tier | instructions | digits |
//! |---|---|---|
//! | [`vnni`](super::vnni) | `vpdpbusd` of AVX-512 VNNI, or of AVX-VNNI: 64 or 32 products an instruction | 8 bits |
//! | [`avx2`](super::avx2), and AVX-512 without VNNI | `vpmaddwd`: 16 products an instruction | 12 bits |
//! | portable | multiply-adds of pairs in `wide` | 12 bits |
//!
//! Four columns meet in a *quad*: for sixteen rows, the bytes of the four columns side by side. 64 rows of four columns make
//! four quads; lane `4 b + i` of quad `v` is row `16 b + 4 v + i`, which is the order that unpacking instructions leave.

#[cfg(target_arch = "x86_64")]
use super::vnni::{NarrowVnni, Vnni};
#[cfg(target_arch = "x86_64")]
use super::{Isa, avx2::Avx2};
use super::{LANES, Token, portable::Portable};
use wide::{i16x8, i32x4};

/// Columns that meet in a quad.
pub const QUAD: usize = 4;

/// Rows of the four quads of a strip.
pub const STRIP: usize = 64;

/// A cache line of bytes: 64 rows of a column, or a quad.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Line(pub [u8; STRIP]);

impl Default for Line {
    fn default() -> Line {
        Line([0; STRIP])
    }
}

/// Bytes in vector registers.
pub trait Bytes: Copy + 'static {
    /// Bits of a digit.
    const DIGIT_BITS: u32;
    /// Vector registers that the instruction set names.
    const REGISTERS: usize;
    /// Lines that the digits of 64 factors fill: one of bytes, two of 16-bit numbers.
    const LINES: usize;
    /// A quad, or 64 rows of a column, as it is loaded.
    type Quad: Copy;
    /// The same, ready for products.
    type Values: Copy;
    /// The same digit of the factors that they meet.
    type Factors: Copy;
    /// Sixteen sums of 32 bits, in one or more registers.
    type Sums: Copy;

    /// Runs `kernel`, compiled with the instructions of the tier as a function of its own.
    fn enter<K: ByteKernel>(self, kernel: K) -> K::Output;

    /// Asks for the cache line of `values[index]` to be brought into the second-level cache; `index` may be any.
    fn prefetch_far(self, values: &[u8], index: usize);

    /// The quads of 64 rows of four columns.
    fn interleave(self, columns: [&[u8; STRIP]; QUAD]) -> [Self::Quad; QUAD];

    /// A quad, or 64 rows of a column.
    fn load(self, line: &[u8; STRIP]) -> Self::Quad;

    /// Stores a quad.
    fn store(self, quad: Self::Quad, line: &mut Line);

    /// Ready for products.
    fn values(self, quad: Self::Quad) -> Self::Values;

    /// Writes the digit that four columns have in all rows; [`Bytes::LINES`] words.
    fn pack_four(self, digits: [i32; QUAD], words: &mut [u32]);

    /// What [`Bytes::pack_four`] wrote.
    fn four(self, words: &[u32]) -> Self::Factors;

    /// Writes the digit of 64 rows; [`Bytes::LINES`] lines.
    fn pack_rows(self, digits: &[i32; STRIP], lines: &mut [Line]);

    /// What [`Bytes::pack_rows`] wrote.
    fn rows(self, lines: &[Line]) -> Self::Factors;

    /// Zeros.
    fn zero(self) -> Self::Sums;

    /// Adds to each lane of `sums` the products of four values with their factors.
    fn add(self, sums: Self::Sums, values: Self::Values, factors: Self::Factors) -> Self::Sums;

    /// Stores sums, lane by lane.
    fn lanes(self, sums: Self::Sums, lanes: &mut [i32; LANES]);

    /// Sums of all lanes of four.
    fn totals(self, four: [Self::Sums; 4]) -> [i32; 4];
}

/// An algorithm over bytes, written once. Its `run` must be `#[inline(always)]`.
pub trait ByteKernel {
    /// What it returns.
    type Output;
    /// The algorithm.
    fn run<B: Bytes>(self, bytes: B) -> Self::Output;
}

/// Runs `kernel` with the best instructions for bytes that the tier has.
#[inline(always)]
pub fn enter<K: ByteKernel>(token: Token, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let (Token::Avx512(_), Some(vnni)) = (token, Vnni::detect()) {
            return vnni.enter(kernel);
        }
        if let (Token::Avx512(_) | Token::Avx2(_), Some(vnni)) = (token, NarrowVnni::detect()) {
            return vnni.enter(kernel);
        }
        if let (Token::Avx512(_) | Token::Avx2(_), Some(avx2)) = (token, Avx2::detect()) {
            return Bytes::enter(avx2, kernel);
        }
    }
    let _ = token;
    Bytes::enter(Portable::new(), kernel)
}

/// Sixteen bytes at a time: those at even and those at odd places, as 16-bit numbers.
type Pairs = [[i16x8; 2]; 4];

impl Bytes for Portable {
    const DIGIT_BITS: u32 = 12;
    const REGISTERS: usize = 16;
    const LINES: usize = 2;
    type Quad = [u8; STRIP];
    type Values = Pairs;
    type Factors = Pairs;
    type Sums = [i32x4; 4];

    #[inline(never)]
    fn enter<K: ByteKernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn prefetch_far(self, _values: &[u8], _index: usize) {}

    #[inline(always)]
    fn interleave(self, columns: [&[u8; STRIP]; QUAD]) -> [[u8; STRIP]; QUAD] {
        let mut quads = [[0; STRIP]; QUAD];
        for (row, at) in (0..STRIP).map(|row| (row, row / 16 * 4 + row % 4)) {
            for (own, column) in quads[row / 4 % 4][at * QUAD..].iter_mut().zip(columns) {
                *own = column[row];
            }
        }
        quads
    }

    #[inline(always)]
    fn load(self, line: &[u8; STRIP]) -> [u8; STRIP] {
        *line
    }

    #[inline(always)]
    fn store(self, quad: [u8; STRIP], line: &mut Line) {
        line.0 = quad;
    }

    #[inline(always)]
    fn values(self, quad: [u8; STRIP]) -> Pairs {
        let mut pairs = [[i16x8::ZERO; 2]; 4];
        for (pairs, bytes) in pairs.iter_mut().zip(quad.as_chunks::<16>().0) {
            let (mut even, mut odd) = ([0; 8], [0; 8]);
            for ((even, odd), pair) in even.iter_mut().zip(&mut odd).zip(bytes.as_chunks::<2>().0) {
                (*even, *odd) = (i16::from(pair[0]), i16::from(pair[1]));
            }
            *pairs = [i16x8::from(even), i16x8::from(odd)];
        }
        pairs
    }

    #[inline(always)]
    fn pack_four(self, digits: [i32; QUAD], words: &mut [u32]) {
        words[0] = pack_pair(digits[0], digits[2]);
        words[1] = pack_pair(digits[1], digits[3]);
    }

    #[inline(always)]
    fn four(self, words: &[u32]) -> Pairs {
        let splat = |word: u32| {
            let (low, high) = (word as i16, (word >> 16) as i16);
            i16x8::from([low, high, low, high, low, high, low, high])
        };
        [[splat(words[0]), splat(words[1])]; 4]
    }

    #[inline(always)]
    fn pack_rows(self, digits: &[i32; STRIP], lines: &mut [Line]) {
        let places = lines.iter_mut().flat_map(|line| line.0.as_chunks_mut::<32>().0);
        for (place, digits) in places.zip(digits.as_chunks::<16>().0) {
            let (even, odd) = place.split_at_mut(16);
            let both = even.as_chunks_mut::<2>().0.iter_mut().zip(odd.as_chunks_mut::<2>().0);
            for ((even, odd), pair) in both.zip(digits.as_chunks::<2>().0) {
                *even = (pair[0] as i16).to_le_bytes();
                *odd = (pair[1] as i16).to_le_bytes();
            }
        }
    }

    #[inline(always)]
    fn rows(self, lines: &[Line]) -> Pairs {
        let mut factors = [[i16x8::ZERO; 2]; 4];
        let places = lines.iter().flat_map(|line| line.0.as_chunks::<16>().0);
        for (factor, place) in factors.as_flattened_mut().iter_mut().zip(places) {
            let mut numbers = [0; 8];
            for (number, bytes) in numbers.iter_mut().zip(place.as_chunks::<2>().0) {
                *number = i16::from_le_bytes(*bytes);
            }
            *factor = i16x8::from(numbers);
        }
        factors
    }

    #[inline(always)]
    fn zero(self) -> [i32x4; 4] {
        [i32x4::ZERO; 4]
    }

    #[inline(always)]
    fn add(self, mut sums: [i32x4; 4], values: Pairs, factors: Pairs) -> [i32x4; 4] {
        for ((sum, values), factors) in sums.iter_mut().zip(values).zip(factors) {
            *sum += values[0].dot(factors[0]) + values[1].dot(factors[1]);
        }
        sums
    }

    #[inline(always)]
    fn lanes(self, sums: [i32x4; 4], lanes: &mut [i32; LANES]) {
        for (lanes, sum) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
            *lanes = sum.to_array();
        }
    }

    #[inline(always)]
    fn totals(self, four: [[i32x4; 4]; 4]) -> [i32; 4] {
        four.map(|[a, b, c, d]| ((a + b) + (c + d)).to_array().iter().sum())
    }
}

/// Two 16-bit numbers in a word, the first in its low half.
#[inline(always)]
pub(super) const fn pack_pair(low: i32, high: i32) -> u32 {
    (low as u32 & 0xffff) | (high as u32) << 16
}
