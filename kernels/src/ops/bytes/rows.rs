//! Gradient: lines of columns meet with the digits of residuals.

use super::{EVEN_RESIDUALS, Factors, PAIR, SCRATCH, Scratch, amx_for, in_groups, most_rows, side, take_digit};
use crate::isa::Token;
use crate::isa::amx::{Amx, Matrices, Place, SIDE, Sums};
use crate::isa::bytes::{ByteKernel, Bytes, Line, QUAD, STRIP, enter};
use crate::isa::even::Even;
use std::ops::Range;

/// Groups of 64 rows after which lanes are added up: sums of digits stay below 2^31 on every tier.
const GROUPS: usize = 32;

/// `g[v][j] += sum_i r[v][i] x[i][j]`, for at least one column and row.
pub fn gradient(token: Token, columns: &[&[u8]], rows: Range<usize>, r: &[f32], g: &mut [f64]) {
    let amx = amx_for(token, r.len() / rows.len());
    SCRATCH.with_borrow_mut(|scratch| enter(token, Gradient { columns, rows, r, g, scratch, amx }));
}

pub(super) struct Gradient<'a> {
    pub(super) columns: &'a [&'a [u8]],
    pub(super) rows: Range<usize>,
    pub(super) r: &'a [f32],
    pub(super) g: &'a mut [f64],
    pub(super) scratch: &'a mut Scratch,
    pub(super) amx: Option<Amx>,
}

impl Factors {
    /// Group of 64 rows after group, in a group entry after entry; for matrices as many as whole pairs of matrices have.
    #[inline(always)]
    fn pack_rows<B: Bytes>(&mut self, bytes: B, groups: usize, matrices: Option<&Matrices>) {
        let lines = self.entries * B::LINES;
        let pitch = if matrices.is_some() { lines.next_multiple_of(PAIR) } else { lines };
        let mut lines = std::mem::take(&mut self.lines);
        lines.resize(lines.len().max(groups * pitch), Line::default());
        for ((_, entries), integers) in self.vectors::<B>().zip(self.integers.chunks_exact(groups * STRIP)) {
            for (rows, lines) in integers.as_chunks::<STRIP>().0.iter().zip(lines.chunks_exact_mut(pitch)) {
                let mut rest = *rows;
                for entry in entries.clone() {
                    let mut digits = [0; STRIP];
                    for (digit, rest) in digits.iter_mut().zip(&mut rest) {
                        *digit = take_digit::<B>(rest);
                    }
                    bytes.pack_rows(&digits, &mut lines[entry * B::LINES..(entry + 1) * B::LINES]);
                }
            }
        }
        if let Some(matrices) = matrices {
            // Four rows of every entry make a line of a matrix.
            lines[..groups * pitch].as_chunks_mut::<SIDE>().0.iter_mut().for_each(|lines| matrices.turn(lines));
        }
        self.lines = lines;
    }
}

impl ByteKernel for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let Gradient { columns, rows, r, g, scratch: Scratch { residuals, lines, products, sums, .. }, amx } = self;
        let (width, groups) = (columns.len(), rows.len().div_ceil(STRIP));
        residuals.round::<B>(r.chunks_exact(rows.len()), EVEN_RESIDUALS, rows.len(), groups * STRIP);
        sums.resize(sums.len().max(residuals.entries.next_multiple_of(PAIR)), [0; STRIP]);
        let (even, matrices) = (Even::new(columns), amx.map(Amx::start));
        residuals.pack_rows(bytes, groups, matrices.as_ref());
        for group in (0..groups).step_by(GROUPS) {
            let groups = group..groups.min(group + GROUPS);
            let piece = Piece { rows: rows.clone(), groups, factors: residuals };
            if let Some(matrices) = &matrices {
                lines.resize(lines.len().max(piece.groups.len() * PAIR), Line::default());
                for first in (0..width).step_by(PAIR) {
                    let range = first..width.min(first + PAIR);
                    let some = &columns[range.clone()];
                    let place = even.map(|even| (even, first));
                    bytes.enter(MultiplyPiece { piece: &piece, columns: some, place, matrices, lines, products, sums });
                    residuals.add_to::<B>(sums, g, width, range);
                }
                continue;
            }
            let (fours, rest) = columns.as_chunks::<QUAD>();
            for (four, first) in fours.iter().zip((0..).step_by(QUAD)) {
                bytes.enter(SumPiece { piece: &piece, columns: four, sums });
                residuals.add_to::<B>(sums, g, width, first..first + QUAD);
            }
            for (column, first) in rest.iter().zip(fours.len() * QUAD..) {
                bytes.enter(SumPiece { piece: &piece, columns: &[*column], sums });
                residuals.add_to::<B>(sums, g, width, first..first + 1);
            }
        }
    }
}

impl Factors {
    /// Adds what the sums of the digits of some columns stand for.
    #[inline(always)]
    fn add_to<B: Bytes>(&self, sums: &[[i32; STRIP]], g: &mut [f64], width: usize, columns: Range<usize>) {
        for ((rounded, entries), g) in self.vectors::<B>().zip(g.chunks_exact_mut(width)) {
            rounded.add_to::<B, _>(&sums[entries], &mut g[columns.clone()], |g, value| *g += value);
        }
    }
}

/// The sums of a piece by matrices: lines of columns are one of them.
struct MultiplyPiece<'a> {
    piece: &'a Piece<'a>,
    columns: &'a [&'a [u8]],
    /// Where they begin among columns that lie equally far apart.
    place: Option<(Even<'a>, usize)>,
    matrices: &'a Matrices,
    lines: &'a mut [Line],
    products: &'a mut [Sums; 4],
    sums: &'a mut [[i32; STRIP]],
}

impl ByteKernel for MultiplyPiece<'_> {
    type Output = ();

    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let MultiplyPiece { piece, columns, place, matrices, lines, products, sums } = self;
        let (start, steps) = (piece.rows.start + piece.groups.start * STRIP, piece.groups.len());
        let direct = place.and_then(|(even, first)| Place::of_columns(even, first, start, steps));
        if direct.is_none() {
            for (column, x) in columns.iter().enumerate() {
                for (line, x) in lines.iter_mut().skip(column).step_by(PAIR).zip(x[start..].chunks(STRIP)).take(steps) {
                    match x.first_chunk() {
                        Some(x) => bytes.store(bytes.load(x), line),
                        None => line.0[..x.len()].copy_from_slice(x),
                    }
                }
            }
        }
        let pitch = piece.factors.entries.next_multiple_of(PAIR);
        for first in (0..pitch).step_by(PAIR) {
            let b = &piece.factors.lines[piece.groups.start * pitch + first..];
            let a = direct.or_else(|| Place::among(lines, steps, [PAIR, SIDE, 1]));
            let (Some(a), Some(b)) = (a, Place::among(b, steps, [pitch, SIDE, 1])) else {
                unreachable!("lines of {steps} steps")
            };
            matrices.clear();
            matrices.add_unsigned_by_signed(a, b);
            matrices.store_apart(products);
            for (number, product) in products.iter().enumerate() {
                let (column, entry) = (number / 2 * SIDE, first + number % 2 * SIDE);
                matrices.transpose(product, &mut sums[entry..entry + SIDE], column);
            }
        }
    }
}

/// Some groups of 64 rows.
struct Piece<'a> {
    /// The tile.
    rows: Range<usize>,
    groups: Range<usize>,
    factors: &'a Factors,
}

/// The sums of the digits' products, entry after entry, column after column.
struct SumPiece<'a, const C: usize> {
    piece: &'a Piece<'a>,
    columns: &'a [&'a [u8]; C],
    sums: &'a mut [[i32; STRIP]],
}

impl<const C: usize> ByteKernel for SumPiece<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let SumPiece { piece, columns, sums } = self;
        in_groups!(piece.factors.entries, most_rows::<B>(), |first, E| {
            if const { side::<B>() >= C } {
                piece.sum::<B, C, E>(bytes, columns, first, 0, sums);
            } else {
                for (column, x) in columns.iter().enumerate() {
                    piece.sum::<B, 1, E>(bytes, &[x], first, column, sums);
                }
            }
        });
    }
}

impl Piece<'_> {
    /// Sums of `E` entries from `first` on, over `C` columns, the first of which is number `column`.
    #[inline(always)]
    fn sum<B: Bytes, const C: usize, const E: usize>(
        &self,
        bytes: B,
        columns: &[&[u8]; C],
        first: usize,
        column: usize,
        out: &mut [[i32; STRIP]],
    ) {
        let start = self.rows.start + self.groups.start * STRIP;
        let pitch = self.factors.entries * B::LINES;
        let lines = &self.factors.lines[self.groups.start * pitch..self.groups.end * pitch];
        let mut x: [&[[u8; STRIP]]; C] = [&[]; C];
        for (x, column) in x.iter_mut().zip(columns) {
            *x = column[start..].as_chunks().0;
        }
        let whole = x.iter().map(|x| x.len()).min().unwrap_or(0).min(self.groups.len());
        let mut sums = [[bytes.zero(); C]; E];
        for (group, lines) in lines.chunks_exact(pitch).take(whole).enumerate() {
            let lines = &lines[first * B::LINES..(first + E) * B::LINES];
            let mut values = [bytes.values(bytes.load(&x[0][group])); C];
            for (value, x) in values.iter_mut().zip(x) {
                *value = bytes.values(bytes.load(&x[group]));
            }
            add_group(bytes, &mut sums, &values, lines);
        }
        if whole < self.groups.len() {
            // The last rows of the grain.
            let lines = &lines[whole * pitch..][first * B::LINES..(first + E) * B::LINES];
            let mut values = [bytes.values(bytes.load(&[0; STRIP])); C];
            for (value, column) in values.iter_mut().zip(columns) {
                let mut padded = [0; STRIP];
                for (to, from) in padded.iter_mut().zip(&column[start + whole * STRIP..]) {
                    *to = *from;
                }
                *value = bytes.values(bytes.load(&padded));
            }
            add_group(bytes, &mut sums, &values, lines);
        }
        if const { C == 1 && E <= QUAD } {
            let mut four = [bytes.zero(); QUAD];
            for (four, sums) in four.iter_mut().zip(sums) {
                *four = sums[0];
            }
            for (out, total) in out[first..first + E].iter_mut().zip(bytes.totals(four)) {
                out[column] = total;
            }
            return;
        }
        for (sums, out) in sums.into_iter().zip(&mut out[first..first + E]) {
            let mut four = [bytes.zero(); QUAD];
            for (four, sum) in four.iter_mut().zip(sums) {
                *four = sum;
            }
            out[column..column + C].copy_from_slice(&bytes.totals(four)[..C]);
        }
    }
}

/// Adds 64 rows of `C` columns to `E` entries.
#[inline(always)]
fn add_group<B: Bytes, const C: usize, const E: usize>(
    bytes: B,
    sums: &mut [[B::Sums; C]; E],
    values: &[B::Values; C],
    lines: &[Line],
) {
    for (sums, lines) in sums.iter_mut().zip(lines.chunks_exact(B::LINES)) {
        let factors = bytes.rows(lines);
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = bytes.add(*sum, *value, factors);
        }
    }
}
