//! Margins: quads of 64 rows meet with the digits of weights.

use super::super::margins::CACHE_LINE;
use super::{
    EVEN_WEIGHTS, Factors, PAIR, Rounded, SCRATCH, Scratch, amx_for, in_groups, most_entries, side, take_digit,
};
use crate::isa::amx::{Amx, Matrices, Place, SIDE};
use crate::isa::bytes::{ByteKernel, Bytes, Line, QUAD, STRIP, enter};
use crate::isa::even::Even;
use crate::isa::{LANES, Token};
use std::any::TypeId;
use std::ops::Range;

/// Columns whose weights are rounded together: sums of their digits stay below 2^31 on every tier.
const CHUNK: usize = 1_024;

/// Weight vectors that a thread remembers in digits: those of the groups of a pass, which come again with every tile.
const REMEMBERED: usize = 8;

/// More numbers than that are remembered one by one: some 20 bytes each.
const REMEMBERED_NUMBERS: usize = 1 << 16;

/// Weight vectors of a block in digits.
#[derive(Default)]
pub(super) struct Weights {
    /// What they were made of, and for.
    w: Vec<f32>,
    width: usize,
    tier: Option<TypeId>,
    matrices: bool,
    chunks: Vec<Factors>,
}

impl Weights {
    #[inline(always)]
    fn is_of<B: Bytes>(&self, w: &[f32], width: usize, matrices: bool) -> bool {
        if self.w.len() != w.len()
            || (self.width, self.matrices) != (width, matrices)
            || self.tier != Some(TypeId::of::<B>())
        {
            return false;
        }
        let differ = self.w.iter().zip(w).fold(0, |differ, (a, b)| differ | (a.to_bits() ^ b.to_bits()));
        differ == 0
    }

    #[inline(always)]
    fn set<B: Bytes>(&mut self, bytes: B, w: &[f32], width: usize, matrices: bool) {
        self.w.clear();
        self.w.extend_from_slice(w);
        (self.width, self.matrices, self.tier) = (width, matrices, Some(TypeId::of::<B>()));
        self.chunks.resize_with(width.div_ceil(chunk(width)), Factors::default);
        for (number, factors) in self.chunks.iter_mut().enumerate() {
            let columns = number * chunk(width)..width.min((number + 1) * chunk(width));
            let pitch = columns.len().next_multiple_of(QUAD);
            let vectors = w.chunks_exact(width).map(|w| &w[columns.clone()]);
            factors.round::<B>(vectors, EVEN_WEIGHTS, columns.len(), pitch);
            factors.pack_columns(bytes, pitch / QUAD);
            if matrices {
                factors.pack_column_lines(pitch / QUAD);
            }
        }
    }
}

/// Columns that go together: chunks of a block are alike.
fn chunk(width: usize) -> usize {
    width.div_ceil(width.div_ceil(CHUNK)).next_multiple_of(QUAD)
}

impl Factors {
    #[inline(always)]
    fn pack_columns<B: Bytes>(&mut self, bytes: B, quads: usize) {
        let pitch = self.entries * B::LINES;
        let mut words = std::mem::take(&mut self.words);
        words.clear();
        words.resize(quads * pitch, 0);
        for ((_, entries), integers) in self.vectors::<B>().zip(self.integers.chunks_exact(quads * QUAD)) {
            for (four, words) in integers.as_chunks::<QUAD>().0.iter().zip(words.chunks_exact_mut(pitch)) {
                let mut rest = *four;
                for entry in entries.clone() {
                    let mut digits = [0; QUAD];
                    for (digit, rest) in digits.iter_mut().zip(&mut rest) {
                        *digit = take_digit::<B>(rest);
                    }
                    bytes.pack_four(digits, &mut words[entry * B::LINES..(entry + 1) * B::LINES]);
                }
            }
        }
        self.words = words;
    }

    /// For matrices: 64 columns after 64 columns, in them a line an entry, as many as whole pairs of matrices have.
    #[inline(always)]
    fn pack_column_lines(&mut self, quads: usize) {
        let pitch = self.entries.next_multiple_of(PAIR);
        self.lines.clear();
        self.lines.resize((quads * QUAD).div_ceil(STRIP) * pitch, Line::default());
        let words = self.words.chunks_exact(self.entries);
        for (quad, words) in words.enumerate() {
            let (step, at) = (quad * QUAD / STRIP, quad * QUAD % STRIP);
            for (word, line) in words.iter().zip(&mut self.lines[step * pitch..]) {
                line.0[at..at + QUAD].copy_from_slice(&word.to_le_bytes());
            }
        }
    }
}

/// `z[v][i] += sum_j w[v][j] x[i][j]`, for at least one column and row.
pub fn margins(token: Token, columns: &[&[u8]], rows: Range<usize>, w: &[f32], z: &mut [f32]) {
    let amx = amx_for(token, w.len() / columns.len());
    SCRATCH.with_borrow_mut(|scratch| enter(token, Margins { columns, rows, w, z, scratch, amx }));
}

pub(super) struct Margins<'a> {
    pub(super) columns: &'a [&'a [u8]],
    pub(super) rows: Range<usize>,
    pub(super) w: &'a [f32],
    pub(super) z: &'a mut [f32],
    pub(super) scratch: &'a mut Scratch,
    pub(super) amx: Option<Amx>,
}

impl ByteKernel for Margins<'_> {
    type Output = ();

    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let Margins { columns, rows, w, z, scratch: Scratch { weights, next, lines, sums, .. }, amx } = self;
        let width = columns.len();
        let known = weights.iter().position(|weights| weights.is_of::<B>(w, width, amx.is_some()));
        let place = known.unwrap_or_else(|| {
            let place = *next;
            *next = if w.len() > REMEMBERED_NUMBERS { 0 } else { (place + 1) % REMEMBERED };
            weights.resize_with(weights.len().max(place + 1), Weights::default);
            weights[place].set(bytes, w, width, amx.is_some());
            place
        });
        let matrices = amx.map(Amx::start);
        for (columns, factors) in columns.chunks(chunk(width)).zip(&weights[place].chunks) {
            sums.resize(sums.len().max(factors.entries.next_multiple_of(PAIR)), [0; STRIP]);
            // Room for the quads of all columns, and for two steps' more.
            lines.resize(lines.len().max(columns.len().next_multiple_of(STRIP) + 2 * HALF), Line::default());
            let even = Even::new(columns);
            for at in (0..rows.len()).step_by(STRIP) {
                let strip = Strip { columns, even, row: rows.start + at, factors };
                match &matrices {
                    Some(matrices) => bytes.enter(MultiplyStrip { strip: &strip, matrices, lines, sums }),
                    None => bytes.enter(SumStrip { strip: &strip, lines, sums }),
                }
                let left = STRIP.min(rows.len() - at);
                for ((rounded, entries), z) in factors.vectors::<B>().zip(z.chunks_exact_mut(rows.len())) {
                    add_lanes::<B>(rounded, &sums[entries], &mut z[at..at + left]);
                }
            }
        }
    }
}

/// 64 rows of a chunk of columns.
struct Strip<'a> {
    columns: &'a [&'a [u8]],
    /// The same, if they lie equally far apart.
    even: Option<Even<'a>>,
    /// The first row; behind the last of the grain, rows are zeros.
    row: usize,
    factors: &'a Factors,
}

/// The sums of the digits' products, entry after entry, quad after quad, lane after lane.
struct SumStrip<'a> {
    strip: &'a Strip<'a>,
    lines: &'a mut [Line],
    sums: &'a mut [[i32; STRIP]],
}

impl ByteKernel for SumStrip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let SumStrip { strip, lines, sums } = self;
        let quads = &mut lines.as_chunks_mut::<QUAD>().0[..strip.columns.len().div_ceil(QUAD)];
        for (number, four) in quads.iter_mut().enumerate() {
            for (quad, line) in strip.quads(bytes, number).into_iter().zip(four) {
                bytes.store(quad, line);
            }
        }
        let quads = lines.as_chunks::<QUAD>().0;
        in_groups!(strip.factors.entries, most_entries::<B>(), |first, E| {
            if const { side::<B>() == QUAD } {
                let four = |quad: usize| {
                    let [a, b, c, d] = &quads[quad];
                    [bytes.load(&a.0), bytes.load(&b.0), bytes.load(&c.0), bytes.load(&d.0)]
                };
                strip.sum::<B, QUAD, E>(bytes, four, first, 0, sums);
            } else {
                for v in 0..QUAD {
                    let one = |quad: usize| [bytes.load(&lines[quad * QUAD + v].0)];
                    strip.sum::<B, 1, E>(bytes, one, first, v, sums);
                }
            }
        });
    }
}

/// The same by matrices: the quads of 64 columns, two of the four at a time, are two matrices.
struct MultiplyStrip<'a> {
    strip: &'a Strip<'a>,
    matrices: &'a Matrices,
    lines: &'a mut [Line],
    sums: &'a mut [[i32; STRIP]],
}

/// Lines of two of the four quads of 64 columns.
const HALF: usize = STRIP / 2;

impl ByteKernel for MultiplyStrip<'_> {
    type Output = ();

    /// The first two quads of 64 columns are multiplied as soon as the next 64 have been read, so that waiting for memory and
    /// multiplying go side by side; the others are kept for a round of their own. With one pair of matrices of weights, the first
    /// two are not needed any more then, and their place is taken again: what is kept stays in the first-level cache.
    #[inline(always)]
    fn run<B: Bytes>(self, bytes: B) {
        let MultiplyStrip { strip, matrices, lines, sums } = self;
        let (steps, pitch) = (strip.columns.len().div_ceil(STRIP), strip.factors.entries.next_multiple_of(PAIR));
        let alone = pitch == PAIR;
        let place = |step: usize| HALF * if alone { step & 1 } else { step };
        let (early, late) = lines.split_at_mut(HALF * if alone { 2 } else { steps });
        matrices.clear();
        for step in 0..steps + 2 {
            if step > 1 {
                multiply(matrices, (strip.factors, step - 2, 0), &early[place(step - 2)..], 1);
            }
            if step < steps {
                strip.store_quads(bytes, step, &mut early[place(step)..][..HALF], &mut late[step * HALF..][..HALF]);
            }
        }
        matrices.store(sums, 0);
        for first in (0..pitch).step_by(PAIR) {
            if first > 0 {
                matrices.clear();
                multiply(matrices, (strip.factors, 0, first), early, steps);
                matrices.store(&mut sums[first..], 0);
            }
            matrices.clear();
            multiply(matrices, (strip.factors, 0, first), late, steps);
            matrices.store(&mut sums[first..], HALF);
        }
    }
}

/// Multiplies the weights of some steps, a pair of matrices of entries from `first` on, with pairs of quads.
#[inline(always)]
fn multiply(matrices: &Matrices, (factors, step, first): (&Factors, usize, usize), quads: &[Line], steps: usize) {
    let pitch = factors.entries.next_multiple_of(PAIR);
    let a = Place::among(&factors.lines[step * pitch + first..], steps, [pitch, SIDE, 1]);
    let (Some(a), Some(b)) = (a, Place::among(quads, steps, [HALF, 1, 2])) else {
        unreachable!("lines of {steps} steps")
    };
    matrices.add_signed_by_unsigned(a, b);
}

/// Adds what the sums of the digits of 64 rows stand for to the margins of these, or fewer rows: lane `4 b + i` of
/// quad `v` is row `16 b + 4 v + i`.
#[inline(always)]
fn add_lanes<B: Bytes>(rounded: &Rounded, sums: &[[i32; STRIP]], z: &mut [f32]) {
    let mut lanes = [0.0_f32; STRIP];
    rounded.add_to::<B, _>(sums, &mut lanes, |lane, value| *lane = value as f32);
    let fours = lanes.as_chunks::<QUAD>().0;
    if let Some(z) = z.as_chunks_mut::<STRIP>().0.first_mut() {
        for (b, z) in z.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            for (v, z) in z.as_chunks_mut::<QUAD>().0.iter_mut().enumerate() {
                // Four at a time: wider loads would wait for several stores.
                let [i, j, k, l] = fours[v * QUAD + b];
                *z = [z[0] + i, z[1] + j, z[2] + k, z[3] + l];
            }
        }
        return;
    }
    for (row, z) in z.iter_mut().enumerate() {
        *z += fours[row / QUAD % QUAD * QUAD + row / LANES][row % QUAD];
    }
}

#[inline(always)]
fn store_halves<B: Bytes>(bytes: B, [a, b, c, d]: [B::Quad; QUAD], early: &mut [Line; 2], late: &mut [Line; 2]) {
    bytes.store(a, &mut early[0]);
    bytes.store(b, &mut early[1]);
    bytes.store(c, &mut late[0]);
    bytes.store(d, &mut late[1]);
}

impl Strip<'_> {
    /// Stores the quads of 64 columns, or of the last fewer: the first two and the last two of every four apart.
    #[inline(always)]
    fn store_quads<B: Bytes>(&self, bytes: B, step: usize, early: &mut [Line], late: &mut [Line]) {
        let first = step * STRIP / QUAD;
        let last = self.columns.len().div_ceil(QUAD).min(first + STRIP / QUAD);
        let places = early.as_chunks_mut::<2>().0.iter_mut().zip(late.as_chunks_mut::<2>().0);
        if let Some(quads) = self.even.and_then(|even| even.quads((first * QUAD, last - first), self.row)) {
            for (four, (early, late)) in quads.zip(places) {
                store_halves(bytes, self.interleave(bytes, four), early, late);
            }
            return;
        }
        for (number, (early, late)) in (first..last).zip(places) {
            store_halves(bytes, self.quads(bytes, number), early, late);
        }
    }

    /// The quads of four columns.
    #[inline(always)]
    fn quads<B: Bytes>(&self, bytes: B, quad: usize) -> [B::Quad; QUAD] {
        let columns = &self.columns[quad * QUAD..];
        if let Some(&[a, b, c, d]) = columns.first_chunk::<QUAD>()
            && let (Some(a), Some(b)) = (a[self.row..].first_chunk(), b[self.row..].first_chunk())
            && let (Some(c), Some(d)) = (c[self.row..].first_chunk(), d[self.row..].first_chunk())
        {
            return self.interleave(bytes, [a, b, c, d]);
        }
        let mut padded = [[0; STRIP]; QUAD];
        for (padded, column) in padded.iter_mut().zip(columns) {
            for (to, from) in padded.iter_mut().zip(&column[self.row..]) {
                *to = *from;
            }
        }
        let [a, b, c, d] = &padded;
        bytes.interleave([a, b, c, d])
    }

    /// The quads of 64 rows of four columns, whose next rows are asked for.
    #[inline(always)]
    fn interleave<B: Bytes>(&self, bytes: B, columns: [&[u8; STRIP]; QUAD]) -> [B::Quad; QUAD] {
        for column in columns {
            // The page of the column is known now; where it is not, a request may be dropped.
            bytes.prefetch_far(column, 2 * CACHE_LINE);
        }
        bytes.interleave(columns)
    }

    /// Sums of `E` entries from `first` on, over `V` of the quads from `v` on.
    #[inline(always)]
    fn sum<B: Bytes, const V: usize, const E: usize>(
        &self,
        bytes: B,
        quads: impl Fn(usize) -> [B::Quad; V],
        first: usize,
        v: usize,
        out: &mut [[i32; STRIP]],
    ) {
        let mut sums = [[bytes.zero(); V]; E];
        let words = self.factors.words.chunks_exact(self.factors.entries * B::LINES);
        for (quad, words) in words.enumerate() {
            let words = &words[first * B::LINES..(first + E) * B::LINES];
            let quads = quads(quad);
            let mut values = [bytes.values(quads[0]); V];
            for (value, quad) in values.iter_mut().zip(quads) {
                *value = bytes.values(quad);
            }
            for (sums, words) in sums.iter_mut().zip(words.chunks_exact(B::LINES)) {
                let factors = bytes.four(words);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = bytes.add(*sum, value, factors);
                }
            }
        }
        for (sums, out) in sums.into_iter().zip(&mut out[first..first + E]) {
            for (place, sum) in sums.into_iter().enumerate() {
                bytes.lanes(sum, &mut out.as_chunks_mut().0[v + place]);
            }
        }
    }
}
