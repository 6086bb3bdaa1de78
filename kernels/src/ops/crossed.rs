//! Codes of a crossed column, made of the codes of its parts row by row and stored nowhere: a chunk of rows at a time in the
//! first-level cache, and from there on as a categorical column's ([`super::codes`]).
//!
//! ```text
//! exact     code = (c_1 L_2 + c_2) L_3 + c_3 ...                     L: levels of a part; every combination has a level
//! hashed    code = murmur3(c_1, c_2, ...) mod 2^bits                 combinations may share a level
//! ```
//! The hash is MurmurHash3_x86_32 (Austin Appleby, public domain) with seed 0 over the codes as 32-bit little-endian words:
//! products, shifts and exclusive ors of 32 bits, which every tier does on whole registers.
//!
//! Cost a row and part: one multiply-add exactly, three products hashed, and one code read; nothing is written to memory.

use super::codes::{self, Code};
use crate::isa::{Isa, Kernel, Real};
use crate::murmur3::{finish, mixed};
use crate::tile::{Codes, Cross, Part};
use std::ops::Range;

/// Rows whose codes are made at a time.
const CHUNK: usize = 1_024;

/// Calls `$body` with `$codes` as the slice of a part's codes, whatever their width.
macro_rules! each_width {
    ($part:expr, $rows:expr, $codes:ident => $body:expr) => {
        match $part.codes {
            Codes::U8(all) => {
                let $codes = &all[$rows];
                $body
            }
            Codes::U16(all) => {
                let $codes = &all[$rows];
                $body
            }
            Codes::U32(all) => {
                let $codes = &all[$rows];
                $body
            }
        }
    };
}

/// `out[i] = code of row rows.start + i`.
pub struct Cross32<'a, 'b> {
    /// How codes meet.
    pub cross: &'a Cross<'b>,
    /// Rows of the grain.
    pub rows: Range<usize>,
    /// A code a row.
    pub out: &'a mut [u32],
}

impl Kernel for Cross32<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, _: T) {
        let Cross32 { cross, rows, out } = self;
        out.fill(0);
        match cross.hash_bits {
            None => {
                for part in &cross.parts {
                    each_width!(part, rows.clone(), codes => exact(codes, part.levels as u32, out));
                }
            }
            Some(bits) => {
                for part in &cross.parts {
                    each_width!(part, rows.clone(), codes => mix(codes, out));
                }
                let (length, mask) = (4 * cross.parts.len() as u32, mask(bits));
                out.iter_mut().for_each(|hash| *hash = finish(*hash ^ length) & mask);
            }
        }
    }
}

#[inline(always)]
fn exact<C: Code>(codes: &[C], levels: u32, out: &mut [u32]) {
    for (out, code) in out.iter_mut().zip(codes) {
        *out = out.wrapping_mul(levels).wrapping_add(code.index() as u32);
    }
}

#[inline(always)]
fn mix<C: Code>(codes: &[C], out: &mut [u32]) {
    for (hash, code) in out.iter_mut().zip(codes) {
        *hash = mixed(*hash, code.index() as u32);
    }
}

fn mask(bits: u32) -> u32 {
    if bits >= 32 { u32::MAX } else { (1 << bits) - 1 }
}

/// The code of one row, code after code: what [`Cross32`] does for many.
pub fn code(cross: &Cross<'_>, row: usize) -> u32 {
    let word = |part: &Part<'_>| match part.codes {
        Codes::U8(codes) => u32::from(codes[row]),
        Codes::U16(codes) => u32::from(codes[row]),
        Codes::U32(codes) => codes[row],
    };
    let parts = cross.parts.iter();
    match cross.hash_bits {
        None => parts.fold(0, |code, part| code.wrapping_mul(part.levels as u32).wrapping_add(word(part))),
        Some(bits) => {
            let hash = parts.fold(0, |hash, part| mixed(hash, word(part)));
            finish(hash ^ (4 * cross.parts.len() as u32)) & mask(bits)
        }
    }
}

/// `z[v][i] += w[v][code[i]]` for weight vectors that stand one after the other, as their margins do.
pub struct Margins<'a, 'b, R> {
    /// How codes meet.
    pub cross: &'a Cross<'b>,
    /// Rows of the grain.
    pub rows: Range<usize>,
    /// Weights, one a level and vector.
    pub w: &'a [R],
    /// Margins, added to.
    pub z: &'a mut [R],
}

impl<R: Real> Kernel for Margins<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Margins { cross, rows, w, z } = self;
        let mut room = [0; CHUNK];
        for start in (0..rows.len()).step_by(CHUNK) {
            let some = start..rows.len().min(start + CHUNK);
            let codes = &mut room[..some.len()];
            Cross32 { cross, rows: rows.start + some.start..rows.start + some.end, out: codes }.run(tier);
            for (w, z) in w.chunks_exact(cross.levels.max(1)).zip(z.chunks_exact_mut(rows.len())) {
                codes::Margins { codes, w, z: &mut z[some.clone()] }.run(tier);
            }
        }
    }
}

/// `g[code[i]] += quantised[i]`.
pub struct Scatter<'a, 'b> {
    /// How codes meet.
    pub cross: &'a Cross<'b>,
    /// Rows of the grain.
    pub rows: Range<usize>,
    /// Residuals in fixed point.
    pub quantised: &'a [i64],
    /// Sums, added to, one a level.
    pub g: &'a mut [i64],
}

impl Kernel for Scatter<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Scatter { cross, rows, quantised, g } = self;
        let mut room = [0; CHUNK];
        for (quantised, start) in quantised.chunks(CHUNK).zip(rows.step_by(CHUNK)) {
            let codes = &mut room[..quantised.len()];
            Cross32 { cross, rows: start..start + quantised.len(), out: codes }.run(tier);
            codes::Scatter { codes, quantised, g }.run(tier);
        }
    }
}
