//! Margins and scattered gradients of categorical columns, crossed ones among them, for several weight vectors in one pass: what
//! the vectors have for a level stands side by side, so that a level costs one look at memory for all of them.
//!
//! ```text
//! lines     w[block's first + code * vectors + v]              g alike
//! margins   z[v][i] += w_block[code_i][v]                      block after block, in the order in which each vector adds alone
//! scatter   g_block[code_i][v] += quantised[v][i]
//! ```
//! Margins and residuals are turned to stand vector by vector for a chunk of rows, and then turned back; all blocks pass by meanwhile.
//! Each vector gets the bits that [`super::codes`] gives it alone. Cost a row, block and eight vectors: one line read, of 32 bytes
//! (f32), and one of 64 changed.

use super::codes::Code;
use super::crossed::Cross32;
use crate::isa::{Isa, Kernel, Real};
use crate::tile::{Block, Codes};
use std::ops::Range;

/// Rows that are turned at a time: those of eight vectors of integers take 8 KiB.
const ROWS: usize = 128;
/// Lines that the second-level cache is sure to hold beside the tile, in numbers: there nothing need be asked for.
const NEAR: usize = 1 << 15;
/// Rows that lines are asked for ahead.
const ROWS_AHEAD: usize = 16;

/// Does something for all of `count` vectors: for `K` of them from `first` on, `K` being 8, 4, 2 or 1.
macro_rules! in_groups {
    ($count:expr, |$first:ident, $k:ident| $body:expr) => {{
        let (count, mut $first) = ($count, 0);
        while $first + 8 <= count {
            const $k: usize = 8;
            $body;
            $first += $k;
        }
        while $first + 4 <= count {
            const $k: usize = 4;
            $body;
            $first += $k;
        }
        while $first + 2 <= count {
            const $k: usize = 2;
            $body;
            $first += $k;
        }
        while $first < count {
            const $k: usize = 1;
            $body;
            $first += $k;
        }
    }};
}

/// Calls `$body` with `$codes` as the codes of some rows of a block that has any, whatever they are.
macro_rules! with_codes {
    ($tier:expr, $block:expr, $rows:expr, $codes:ident => $body:expr) => {
        match $block {
            Block::Codes { codes: Codes::U8(all), .. } => {
                let $codes = &all[$rows];
                $body
            }
            Block::Codes { codes: Codes::U16(all), .. } => {
                let $codes = &all[$rows];
                $body
            }
            Block::Codes { codes: Codes::U32(all), .. } => {
                let $codes = &all[$rows];
                $body
            }
            Block::Crossed(cross) => {
                let mut room = [0u32; ROWS];
                let made = &mut room[..$rows.len()];
                Cross32 { cross, rows: $rows, out: made }.run($tier);
                let $codes = &made[..];
                $body
            }
            Block::Columns(_) | Block::Vectors { .. } | Block::Sparse { .. } => {}
        }
    };
}

/// `z[v][i] += w_block[code_i][v]` for all blocks.
pub struct Margins<'a, 'b, R> {
    /// Categorical blocks.
    pub blocks: &'a [Block<'b>],
    /// Rows of the tile.
    pub rows: Range<usize>,
    /// Number of vectors.
    pub count: usize,
    /// Lines of weights, block after block.
    pub w: &'a [R],
    /// Margins, vector after vector, added to.
    pub z: &'a mut [R],
}

impl<R: Real> Kernel for Margins<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Margins { blocks, rows, count, w, z } = self;
        let pitch = rows.len();
        for start in (0..pitch).step_by(ROWS) {
            let some = start..pitch.min(start + ROWS);
            in_groups!(count, |first, K| {
                let mut turned = [[R::default(); K]; ROWS];
                let z = &mut z[first * pitch..(first + K) * pitch];
                turn(z, pitch, &some, &mut turned);
                let mut w = w;
                for block in blocks {
                    let (own, rest) = w.split_at(block.parameters() * count);
                    let rows = rows.start + some.start..rows.start + some.end;
                    with_codes!(tier, block, rows.clone(), codes => add::<_, R, K>(codes, (own, count, first), &mut turned));
                    w = rest;
                }
                for (v, z) in z.chunks_exact_mut(pitch).enumerate() {
                    z[some.clone()].iter_mut().zip(&turned).for_each(|(z, turned)| *z = turned[v]);
                }
            });
        }
    }
}

/// Brings `K` vectors of some rows row by row.
#[inline(always)]
fn turn<N: Copy, const K: usize>(vectors: &[N], pitch: usize, rows: &Range<usize>, turned: &mut [[N; K]; ROWS]) {
    for (v, vector) in vectors.chunks_exact(pitch).enumerate().take(K) {
        vector[rows.clone()].iter().zip(&mut *turned).for_each(|(number, turned)| turned[v] = *number);
    }
}

#[inline(always)]
fn add<C: Code, R: Real, const K: usize>(
    codes: &[C],
    (w, count, first): (&[R], usize, usize),
    turned: &mut [[R; K]; ROWS],
) {
    if count == K {
        let lines = w.as_chunks::<K>().0;
        for (z, code) in turned.iter_mut().zip(codes) {
            let line = &lines[code.index()];
            for v in 0..K {
                z[v] += line[v];
            }
        }
        return;
    }
    for (z, code) in turned.iter_mut().zip(codes) {
        let at = code.index() * count + first;
        let line = &w[at..at + K];
        for v in 0..K {
            z[v] += line[v];
        }
    }
}

/// `g_block[code_i][v] += quantised[v][i]` for all blocks.
pub struct Scatter<'a, 'b> {
    /// Categorical blocks.
    pub blocks: &'a [Block<'b>],
    /// Rows of the tile.
    pub rows: Range<usize>,
    /// Number of vectors.
    pub count: usize,
    /// Residuals in fixed point, vector after vector.
    pub quantised: &'a [i64],
    /// Lines of sums, block after block, added to.
    pub g: &'a mut [i64],
}

impl Kernel for Scatter<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Scatter { blocks, rows, count, quantised, g } = self;
        let pitch = rows.len();
        for start in (0..pitch).step_by(ROWS) {
            let some = start..pitch.min(start + ROWS);
            in_groups!(count, |first, K| {
                let mut turned = [[0i64; K]; ROWS];
                turn(&quantised[first * pitch..(first + K) * pitch], pitch, &some, &mut turned);
                let mut g = &mut *g;
                for block in blocks {
                    let (own, rest) = g.split_at_mut(block.parameters() * count);
                    let rows = rows.start + some.start..rows.start + some.end;
                    with_codes!(tier, block, rows.clone(), codes => scatter::<T, _, K>(tier, codes, &turned, (own, count, first)));
                    g = rest;
                }
            });
        }
    }
}

#[inline(always)]
fn scatter<T: Isa, C: Code, const K: usize>(
    tier: T,
    codes: &[C],
    turned: &[[i64; K]; ROWS],
    (g, count, first): (&mut [i64], usize, usize),
) {
    let near = if g.len() <= NEAR { 0 } else { codes.len().saturating_sub(ROWS_AHEAD) };
    if count == K {
        let lines = g.as_chunks_mut::<K>().0;
        for ((code, later), quantised) in codes[..near].iter().zip(&codes[codes.len() - near..]).zip(turned) {
            tier.prefetch(lines, later.index());
            added(&mut lines[code.index()], quantised);
        }
        for (code, quantised) in codes[near..].iter().zip(&turned[near..]) {
            added(&mut lines[code.index()], quantised);
        }
        return;
    }
    for ((code, later), quantised) in codes[..near].iter().zip(&codes[codes.len() - near..]).zip(turned) {
        tier.prefetch(g, later.index() * count + first);
        let at = code.index() * count + first;
        added(&mut g[at..at + K], quantised);
    }
    for (code, quantised) in codes[near..].iter().zip(&turned[near..]) {
        let at = code.index() * count + first;
        added(&mut g[at..at + K], quantised);
    }
}

#[inline(always)]
fn added<const K: usize>(line: &mut [i64], quantised: &[i64; K]) {
    for (sum, quantised) in line.iter_mut().zip(quantised) {
        *sum = sum.wrapping_add(*quantised);
    }
}
