//! Margins and gradient of many `u8` columns in integers, for one or several vectors.
//!
//! The numbers of a vector are rounded to integers of 24 or 32 bits below the largest of them,
//!
//! ```text
//! q_j  = round(w_j s)            s = 8,355,711 / max |w_j|   or   2,139,062,143 / max |w_j|
//! z_i += (sum_j q_j x_ij) / s    the sum exactly
//! g_j += (sum_i q_i x_ij) / s    residuals likewise
//! ```
//!
//! (the largest numbers of three and of four signed digits of eight bits). 24 bits serve where numbers are of a size: where the
//! mean of the weights' `|q_j|` is a thirty-second of the largest or more, so that what is rounded is at most 6e-8 of the largest
//! weight and 2e-6 of the mean one. Of residuals it may be a 4,096th: rounding errors of many rows cancel, and where most rows are told well,
//! few have a residual. Otherwise 32 bits leave 2.4e-10 of the largest. Sums of integers do not depend on their order, so
//! that every tier gives the same bits in its own way; see [`crate::isa::bytes`].
//!
//! Margins: at most 1,024 columns at a time, whose weights are rounded together; the bytes of 64 rows are laid in quads once for all
//! vectors. Gradient: lines of several columns meet with residuals of as many rows of several vectors; what lanes hold is added up
//! after at most 2,048 rows. Cost: three or four integer multiply-adds a value and vector, four times as many of which go into an
//! instruction with VNNI as of `f32`, and no conversions; each value is read once.

mod columns;
mod rows;
#[cfg(test)]
mod tests;

pub use columns::margins;
pub use rows::gradient;

use crate::isa::amx::{Amx, SIDE, Sums};
use crate::isa::bytes::{Bytes, Line, STRIP};
use crate::isa::{LANES, Token};
use crate::tier::Tier;
use std::cell::RefCell;
use std::ops::Range;

/// The largest integers: `127 (1 + 2^8 + 2^16)` and `127 (1 + 2^8 + 2^16 + 2^24)`.
const LARGEST: [i32; 2] = [8_355_711, 2_139_062_143];

/// 24 bits serve where the mean weight is this part of the largest, or more.
const EVEN_WEIGHTS: i64 = 32;

/// The same of residuals.
const EVEN_RESIDUALS: i64 = 4_096;

/// Columns of a block from which on integers pay: what a strip of 64 rows and a tile cost whatever their columns is little then.
pub const LEAST_COLUMNS: usize = 128;

/// Columns, or entries, of two matrices side by side.
const PAIR: usize = 2 * SIDE;

/// From so many vectors on, matrices are full enough to pay.
const MATRIX_VECTORS: usize = 3;

/// Room that a thread keeps, so that nothing is allocated from tile to tile.
#[derive(Default)]
struct Scratch {
    weights: Vec<columns::Weights>,
    /// The place among them that is taken next.
    next: usize,
    residuals: Factors,
    /// Quads of 64 rows, or lines of some columns.
    lines: Vec<Line>,
    /// Products of two matrices with two.
    products: [Sums; 4],
    /// Sums of each entry: of 64 rows, or of some columns.
    sums: Vec<[i32; STRIP]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Vectors in digits. The *entries* of a vector are its digits, the lowest first; entries of all vectors stand side by side.
#[derive(Default)]
struct Factors {
    integers: Vec<i32>,
    rounded: Vec<Rounded>,
    entries: usize,
    /// Digits of columns, quad after quad, in a quad entry after entry.
    words: Vec<u32>,
    /// Digits of rows, or columns that matrices meet with.
    lines: Vec<Line>,
}

/// How the numbers of a vector were rounded.
#[derive(Clone, Copy)]
struct Rounded {
    /// What an integer stands for: `1 / s`; NaN where a number was not finite.
    unit: f64,
    /// True of 32 bits.
    wide: bool,
}

/// Rounds the numbers of a vector, to 24 bits where the mean is the `even`th part of the largest or more.
#[inline(always)]
fn round(numbers: &[f32], even: i64, integers: &mut [i32]) -> Rounded {
    // Of numbers without sign the order is that of their bits.
    let mut largest = 0;
    for number in numbers {
        largest = (number.to_bits() & (u32::MAX >> 1)).max(largest);
    }
    let largest = f64::from(f32::from_bits(largest));
    if !largest.is_finite() || largest == 0.0 {
        integers.fill(0);
        return Rounded { unit: if largest == 0.0 { 0.0 } else { f64::NAN }, wide: false };
    }
    scale(numbers, f64::from(LARGEST[0]) / largest, integers);
    let mut total = 0_i64;
    for integer in &*integers {
        total += i64::from(integer.unsigned_abs());
    }
    let wide = total * even < numbers.len() as i64 * i64::from(LARGEST[0]);
    if wide {
        scale(numbers, f64::from(LARGEST[1]) / largest, integers);
    }
    Rounded { unit: largest / f64::from(LARGEST[usize::from(wide)]), wide }
}

#[inline(always)]
fn scale(numbers: &[f32], scale: f64, integers: &mut [i32]) {
    /// 1.5 times 2^52: of a sum with it the lowest bits are the number, rounded to the nearest integer.
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    for (integer, number) in integers.iter_mut().zip(numbers) {
        *integer = (f64::from(*number) * scale + ROUNDER).to_bits() as i32;
    }
}

/// The lowest digit of `rest`, signed, which becomes what is left. The highest digit of the largest integers is 127, so
/// that none is carried further.
#[inline(always)]
fn take_digit<B: Bytes>(rest: &mut i32) -> i32 {
    let digit = (*rest << (32 - B::DIGIT_BITS)) >> (32 - B::DIGIT_BITS);
    *rest = (*rest - digit) >> B::DIGIT_BITS;
    digit
}

impl Rounded {
    /// Digits of the integers on a tier.
    #[inline(always)]
    const fn entries<B: Bytes>(&self) -> usize {
        (if self.wide { 32 } else { 24_usize }).div_ceil(B::DIGIT_BITS as usize)
    }

    /// Adds what the sums of the digits stand for.
    #[inline(always)]
    fn add_to<B: Bytes, N>(&self, sums: &[[i32; STRIP]], numbers: &mut [N], add: impl Fn(&mut N, f64)) {
        match sums {
            [a, b] => self.add_digits::<B, N, 2>([a, b], numbers, add),
            [a, b, c] => self.add_digits::<B, N, 3>([a, b, c], numbers, add),
            [a, b, c, d] => self.add_digits::<B, N, 4>([a, b, c, d], numbers, add),
            _ => unreachable!("{} digits", sums.len()),
        }
    }

    #[inline(always)]
    fn add_digits<B: Bytes, N, const D: usize>(
        &self,
        sums: [&[i32; STRIP]; D],
        numbers: &mut [N],
        add: impl Fn(&mut N, f64),
    ) {
        let (blocks, rest) = numbers.as_chunks_mut::<LANES>();
        let first_of_rest = blocks.len() * LANES;
        for (block, numbers) in blocks.iter_mut().enumerate() {
            let values = self.values::<B, D>(&sums, block * LANES);
            for (number, value) in numbers.iter_mut().zip(&values) {
                add(number, *value);
            }
        }
        if !rest.is_empty() {
            let values = self.values::<B, D>(&sums, first_of_rest);
            for (number, value) in rest.iter_mut().zip(&values) {
                add(number, *value);
            }
        }
    }

    /// What the sums from `first` on stand for. Whatever the digits are: totals are below 2^53, so exact.
    #[inline(always)]
    fn values<B: Bytes, const D: usize>(&self, sums: &[&[i32; STRIP]; D], first: usize) -> [f64; LANES] {
        let mut values = [0.0; LANES];
        for sums in sums.iter().rev() {
            let Some(sums) = sums[first..].first_chunk::<LANES>() else { break };
            for (value, sum) in values.iter_mut().zip(sums) {
                *value = *value * const { (1_u64 << B::DIGIT_BITS) as f64 } + f64::from(*sum);
            }
        }
        for value in &mut values {
            *value *= self.unit;
        }
        values
    }
}

impl Factors {
    /// Rounds `vectors` of `count` numbers each; integers stand in rows of `pitch`, zeros behind the last.
    #[inline(always)]
    fn round<'a, B: Bytes>(&mut self, vectors: impl Iterator<Item = &'a [f32]>, even: i64, count: usize, pitch: usize) {
        self.rounded.clear();
        for (vector, numbers) in vectors.enumerate() {
            self.integers.resize(self.integers.len().max((vector + 1) * pitch), 0);
            let (own, rest) = self.integers[vector * pitch..(vector + 1) * pitch].split_at_mut(count);
            self.rounded.push(round(numbers, even, own));
            rest.fill(0);
        }
        self.entries = self.rounded.iter().map(Rounded::entries::<B>).sum();
    }

    /// Each vector, with its integers and the range of its entries.
    #[inline(always)]
    fn vectors<B: Bytes>(&self) -> impl Iterator<Item = (&Rounded, Range<usize>)> {
        self.rounded.iter().scan(0, |end, rounded| {
            let first = *end;
            *end += rounded.entries::<B>();
            Some((rounded, first..*end))
        })
    }
}

/// Calls `$body` for every group of entries, `$e` of them from `$first` on: at most so many, in groups that are alike.
macro_rules! in_groups {
    ($entries:expr, $most:expr, |$first:ident, $e:ident| $body:expr) => {{
        let (entries, mut $first): (usize, usize) = ($entries, 0);
        while $first < entries {
            let left = entries - $first;
            let size = left.div_ceil(left.div_ceil($most));
            in_groups!(@sizes $most, size, $e, $body, 6, 5, 4, 3, 2, 1);
            $first += size;
        }
    }};
    (@sizes $most:expr, $size:ident, $e:ident, $body:expr, $($each:literal),*) => {
        $(if const { $most >= $each } {
            if $size == $each {
                const $e: usize = $each;
                $body;
            }
        })*
    };
}

use in_groups;

/// Most entries that meet with four registers of rows or columns: their sums fill three quarters of the registers, or fewer
/// with one where there are few registers.
const fn most_entries<B: Bytes>() -> usize {
    if B::REGISTERS < 32 { 3 } else { 6 }
}

/// Most entries that meet with four columns: all that they meet with are loaded too.
const fn most_rows<B: Bytes>() -> usize {
    if B::REGISTERS < 32 { 3 } else { 5 }
}

/// Registers of rows, or columns, that entries meet with.
const fn side<B: Bytes>() -> usize {
    if B::REGISTERS < 32 { 1 } else { 4 }
}

/// Matrices, where there are enough vectors for them.
fn amx_for(token: Token, vectors: usize) -> Option<Amx> {
    let fit = vectors >= MATRIX_VECTORS && token.tier() == Tier::Avx512;
    fit.then(Amx::detect).flatten()
}
