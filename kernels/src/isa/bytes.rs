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
//! | portable | plain loops | 12 bits |
//!
//! Four columns meet in a *quad*: for sixteen rows, the bytes of the four columns side by side. 64 rows of four columns make
//! four quads; lane `4 b + i` of quad `v` is row `16 b + 4 v + i`, which is the order that unpacking instructions leave.

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::vnni::{NarrowVnni, Vnni};
use super::{Isa, LANES, Token, portable::Portable};

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

    /// Asks for the cache line of `values[index]` to be brought into the first-level cache; `index` may be any.
    fn prefetch(self, values: &[u8], index: usize);

    /// The same into the second-level cache.
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

impl Bytes for Portable {
    const DIGIT_BITS: u32 = 12;
    const REGISTERS: usize = 16;
    const LINES: usize = 2;
    type Quad = [u8; STRIP];
    type Values = [i32; STRIP];
    type Factors = [i32; STRIP];
    type Sums = [i32; LANES];

    #[inline(never)]
    fn enter<K: ByteKernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn prefetch(self, _values: &[u8], _index: usize) {}

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
    fn values(self, quad: [u8; STRIP]) -> [i32; STRIP] {
        quad.map(i32::from)
    }

    #[inline(always)]
    fn pack_four(self, digits: [i32; QUAD], words: &mut [u32]) {
        for (word, pair) in words.iter_mut().zip(digits.as_chunks::<2>().0) {
            *word = pack_pair(pair[0], pair[1]);
        }
    }

    #[inline(always)]
    fn four(self, words: &[u32]) -> [i32; STRIP] {
        let mut factors = [0; STRIP];
        for (at, factor) in factors.iter_mut().enumerate() {
            *factor = of_pair(words[at / 2 % 2])[at % 2];
        }
        factors
    }

    #[inline(always)]
    fn pack_rows(self, digits: &[i32; STRIP], lines: &mut [Line]) {
        for (line, digits) in lines.iter_mut().zip(digits.chunks_exact(STRIP / 2)) {
            for (bytes, digit) in line.0.as_chunks_mut::<2>().0.iter_mut().zip(digits) {
                *bytes = (*digit as i16).to_le_bytes();
            }
        }
    }

    #[inline(always)]
    fn rows(self, lines: &[Line]) -> [i32; STRIP] {
        let mut factors = [0; STRIP];
        for (factors, line) in factors.chunks_exact_mut(STRIP / 2).zip(lines) {
            for (factor, bytes) in factors.iter_mut().zip(line.0.as_chunks::<2>().0) {
                *factor = i32::from(i16::from_le_bytes(*bytes));
            }
        }
        factors
    }

    #[inline(always)]
    fn zero(self) -> [i32; LANES] {
        [0; LANES]
    }

    #[inline(always)]
    fn add(self, mut sums: [i32; LANES], values: [i32; STRIP], factors: [i32; STRIP]) -> [i32; LANES] {
        for (lane, sum) in sums.iter_mut().enumerate() {
            for at in lane * QUAD..(lane + 1) * QUAD {
                *sum += values[at] * factors[at];
            }
        }
        sums
    }

    #[inline(always)]
    fn lanes(self, sums: [i32; LANES], lanes: &mut [i32; LANES]) {
        *lanes = sums;
    }

    #[inline(always)]
    fn totals(self, four: [[i32; LANES]; 4]) -> [i32; 4] {
        four.map(|sums| sums.iter().sum())
    }
}

/// Two 16-bit numbers in a word, the first in its low half.
#[inline(always)]
pub(super) const fn pack_pair(low: i32, high: i32) -> u32 {
    (low as u32 & 0xffff) | (high as u32) << 16
}

#[inline(always)]
const fn of_pair(word: u32) -> [i32; 2] {
    [word as i16 as i32, (word >> 16) as i16 as i32]
}
