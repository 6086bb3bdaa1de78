//! Margins and gradient of scalar columns for several weight vectors in one pass: a value that was loaded and converted
//! once serves them all.
//!
//! Weight vectors, margins, residuals and gradients stand one after the other (`w[v * columns + j]`, `z[v * rows + i]`).
//! Each vector gets the bits that [`super::margins`] and [`super::gradient`] give it alone. Three vectors of rows, or columns,
//! meet with as many weight vectors as three quarters of the registers hold sums for: eight with 32 registers of sixteen
//! lanes, or ten or twelve with two of them. Cost: 2 flops a value and vector, each value read once per such group, all
//! groups but the first from the caches.

use super::loss::store_tail;
use super::margins::CACHE_LINE;
use crate::isa::{Isa, Kernel, LANES, Lanes, Load, Real};
use std::ops::Range;

/// Vectors of rows, or columns, that meet with several weight vectors at a time.
const SIDE: usize = 3;

/// Most weight vectors that meet with `SIDE` of them; more meet with fewer, which costs more conversions a sum.
const SIDE_VECTORS: usize = 8;

/// The same of more weight vectors.
const NARROW: usize = 2;

/// Weight vectors that go together: their sums fill three quarters of the registers, or one where even its sums do not fit.
#[inline(always)]
const fn together<T: Isa, R: Real>() -> usize {
    let side = if T::REGISTERS < 32 { SIDE } else { NARROW };
    let most = T::REGISTERS * 3 / 4 / <R::Lanes<T> as Lanes<T, R>>::REGISTERS / side;
    if most == 0 { 1 } else { most }
}

/// Vectors of rows, or columns, that meet with `k` weight vectors.
const fn side(k: usize) -> usize {
    if k > SIDE_VECTORS { NARROW } else { SIDE }
}

/// Numbers of weight vectors that kernels are compiled for.
const SIZES: [usize; 9] = [1, 2, 3, 4, 5, 6, 8, 10, 12];

/// How many of `count` weight vectors go first, where `most` may go together: so many that groups are few, and alike.
const fn first_of(count: usize, most: usize) -> usize {
    let mut groups = count.div_ceil(most);
    loop {
        let (alike, mut i) = (count.div_ceil(groups), 0);
        while i < SIZES.len() && SIZES[i] <= count && SIZES[i] <= most {
            if SIZES[i] >= alike {
                return SIZES[i];
            }
            i += 1;
        }
        groups += 1;
    }
}

/// Bytes that a column is asked for in advance, at least: strips of narrow values are done with before a nearer line is there.
const AHEAD: usize = 2 * CACHE_LINE;

/// Does something for all of `count` vectors: for `K` of them from `first` on, `K` being one of [`SIZES`].
macro_rules! in_groups {
    ($tier:ty, $real:ty, $count:expr, |$first:ident, $k:ident| $body:expr) => {{
        let (count, mut $first) = ($count, 0);
        while $first < count {
            let size = first_of(count - $first, const { together::<$tier, $real>() });
            in_groups!(@sizes $tier, $real, size, $k, $body, 12, 10, 8, 6, 5, 4, 3, 2, 1);
            $first += size;
        }
    }};
    (@sizes $tier:ty, $real:ty, $size:ident, $k:ident, $body:expr, $($each:literal),*) => {
        $(if const { together::<$tier, $real>() >= $each } {
            if $size == $each {
                const $k: usize = $each;
                $body;
            }
        })*
    };
}

/// `z[v][i] += sum_j w[v][j] x[i][j]`.
pub struct Margins<'a, E, R> {
    /// Columns of the grain, at least one.
    pub columns: &'a [&'a [E]],
    /// Rows of the tile, at least one.
    pub rows: Range<usize>,
    /// Weight vectors.
    pub w: &'a [R],
    /// Margins, added to.
    pub z: &'a mut [R],
}

/// Most vectors whose weights are turned at a time, and the room for their weights: 32 columns of 16 vectors.
const TURNED_VECTORS: usize = 16;
const TURNED: usize = 32 * TURNED_VECTORS;

/// Rows whose values stay in the first-level cache while all groups of vectors pass by.
const NEAR_ROWS: usize = 4 * SIDE * LANES;

impl<E: Load, R: Real> Kernel for Margins<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Margins { columns, rows, w, z } = self;
        let width = columns.len();
        let mut turned = [R::default(); TURNED];
        for (w, z) in w.chunks(TURNED_VECTORS * width).zip(z.chunks_mut(TURNED_VECTORS * rows.len())) {
            let count = w.len() / width;
            for first in (0..width).step_by(TURNED / count) {
                let some = &columns[first..width.min(first + TURNED / count)];
                in_groups!(T, R, count, |v, K| turn::<R, K>(
                    &w[v * width..],
                    width,
                    first..first + some.len(),
                    &mut turned[v * some.len()..]
                ));
                let part = Part { columns: some, rows: rows.clone(), weights: &turned, count };
                part.margins(tier, z);
            }
        }
    }
}

/// Turns the weights of some columns of `K` vectors, so that those of a column stand side by side.
#[inline(always)]
fn turn<R: Real, const K: usize>(w: &[R], width: usize, columns: Range<usize>, turned: &mut [R]) {
    let mut from: [&[R]; K] = [&[]; K];
    for (k, from) in from.iter_mut().enumerate() {
        *from = &w[k * width..][columns.clone()];
    }
    for (j, turned) in turned.as_chunks_mut::<K>().0[..columns.len()].iter_mut().enumerate() {
        for (turned, from) in turned.iter_mut().zip(from) {
            *turned = from[j];
        }
    }
}

/// Some columns, and their turned weights of `count` vectors, group after group.
struct Part<'a, E, R> {
    columns: &'a [&'a [E]],
    rows: Range<usize>,
    weights: &'a [R],
    count: usize,
}

impl<E: Load, R: Real> Part<'_, E, R> {
    #[inline(always)]
    fn margins<T: Isa>(&self, tier: T, z: &mut [R]) {
        for at in (0..self.rows.len()).step_by(NEAR_ROWS) {
            let near = at..self.rows.len().min(at + NEAR_ROWS);
            in_groups!(T, R, self.count, |v, K| {
                const V: usize = side(K);
                self.near::<T, K, V>(tier, v, &near, z);
            });
        }
    }

    /// The margins of `K` vectors from `first` on, `V` vectors of rows at a time.
    #[inline(always)]
    fn near<T: Isa, const K: usize, const V: usize>(&self, tier: T, first: usize, near: &Range<usize>, z: &mut [R]) {
        let pitch = self.rows.len();
        let mut strips = Strips {
            columns: self.columns,
            weights: self.weights[first * self.columns.len()..].as_chunks::<K>().0,
            start: self.rows.start,
            rows: near.clone(),
            pitch,
            ahead: first == 0,
            z: &mut z[first * pitch..(first + K) * pitch],
        };
        tier.enter(Wide::<'_, '_, E, R, K, V>(&mut strips));
        tier.enter(Wide::<'_, '_, E, R, K, 1>(&mut strips));
        if !strips.rows.is_empty() {
            strips.tail(tier);
        }
    }
}

/// Rows and `K` weight vectors.
struct Strips<'a, E, R, const K: usize> {
    columns: &'a [&'a [E]],
    weights: &'a [[R; K]],
    /// First row of the tile.
    start: usize,
    /// Rows of the tile that are left.
    rows: Range<usize>,
    /// Rows of the tile: the pitch of the margins.
    pitch: usize,
    /// True when the values of the next rows are to be asked for.
    ahead: bool,
    z: &'a mut [R],
}

/// `V` vectors of rows at a time, as long as there are so many.
struct Wide<'a, 'b, E, R, const K: usize, const V: usize>(&'a mut Strips<'b, E, R, K>);

impl<E: Load, R: Real, const K: usize, const V: usize> Kernel for Wide<'_, '_, E, R, K, V> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        while self.0.rows.len() >= V * LANES {
            self.0.strip::<T, V>(tier);
            self.0.rows.start += V * LANES;
        }
    }
}

impl<E: Load, R: Real, const K: usize> Strips<'_, E, R, K> {
    /// The next `V` vectors of rows.
    #[inline(always)]
    fn strip<T: Isa, const V: usize>(&mut self, tier: T) {
        let (at, row) = (self.rows.start, self.start + self.rows.start);
        let mut sums = [[R::Lanes::<T>::zero(tier); V]; K];
        for (v, sums) in sums.iter_mut().enumerate() {
            let z = self.z[v * self.pitch + at..][..V * LANES].as_chunks::<LANES>().0;
            for (sum, z) in sums.iter_mut().zip(z) {
                *sum = R::load::<T, R>(tier, z);
            }
        }
        for (column, weights) in self.columns.iter().zip(self.weights) {
            let x = column[row..row + V * LANES].as_chunks::<LANES>().0;
            if self.ahead {
                let next = row + (V * LANES).max(AHEAD / size_of::<E>());
                for line in 0..(V * LANES * size_of::<E>()).div_ceil(CACHE_LINE) {
                    tier.prefetch(column, next + line * CACHE_LINE / size_of::<E>());
                }
            }
            // Held in registers is the lesser number: values or weights.
            if V * R::Lanes::<T>::REGISTERS <= 4 {
                let mut lanes = [R::Lanes::<T>::zero(tier); V];
                for (lanes, x) in lanes.iter_mut().zip(x) {
                    *lanes = E::load::<T, R>(tier, x);
                }
                for (sums, &weight) in sums.iter_mut().zip(weights) {
                    let weight = R::Lanes::<T>::splat(tier, weight);
                    for (sum, x) in sums.iter_mut().zip(lanes) {
                        *sum = weight.fma(x, *sum);
                    }
                }
            } else {
                for (i, x) in x.iter().enumerate() {
                    let x = E::load::<T, R>(tier, x);
                    for (sums, &weight) in sums.iter_mut().zip(weights) {
                        sums[i] = R::Lanes::<T>::splat(tier, weight).fma(x, sums[i]);
                    }
                }
            }
        }
        for (v, sums) in sums.into_iter().enumerate() {
            let z = self.z[v * self.pitch + at..][..V * LANES].as_chunks_mut::<LANES>().0;
            for (sum, z) in sums.into_iter().zip(z) {
                sum.store(z);
            }
        }
    }

    /// The last rows, fewer than sixteen.
    #[inline(always)]
    fn tail<T: Isa>(&mut self, tier: T) {
        let (row, count) = (self.start + self.rows.start, self.rows.len());
        let mut sums = [R::Lanes::<T>::zero(tier); K];
        for (z, sum) in self.z.chunks_exact(self.pitch).zip(&mut sums) {
            *sum = R::load_tail::<T, R>(tier, &z[self.rows.clone()]);
        }
        for (column, weights) in self.columns.iter().zip(self.weights) {
            let x = E::load_tail::<T, R>(tier, &column[row..row + count]);
            for (sum, &weight) in sums.iter_mut().zip(weights) {
                *sum = R::Lanes::<T>::splat(tier, weight).fma(x, *sum);
            }
        }
        for (z, sum) in self.z.chunks_exact_mut(self.pitch).zip(sums) {
            store_tail::<T, R>(sum, &mut z[self.rows.clone()]);
        }
    }
}

/// `g[v][j] += sum_i r[v][i] x[i][j]`.
pub struct Gradient<'a, E, R> {
    /// Columns of the grain, at least one.
    pub columns: &'a [&'a [E]],
    /// Rows of the tile, at least one.
    pub rows: Range<usize>,
    /// Residuals.
    pub r: &'a [R],
    /// Sums, added to.
    pub g: &'a mut [f64],
}

/// Residual vectors that stay in the first-level cache while all columns pass by: as many as meet at once, or eight.
const fn near_vectors<T: Isa, R: Real>() -> usize {
    if together::<T, R>() > SIDE_VECTORS { together::<T, R>() } else { SIDE_VECTORS }
}

/// Most dot products of a block.
const DOTS: usize = SIDE * SIDE_VECTORS;

impl<E: Load, R: Real> Kernel for Gradient<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Gradient { columns, rows, r, g } = self;
        let (width, count, most) = (columns.len(), rows.len(), near_vectors::<T, R>());
        let mut lanes = [[R::default(); LANES]; DOTS];
        for (number, (r, g)) in r.chunks(most * count).zip(g.chunks_mut(most * width)).enumerate() {
            let lanes = &mut lanes;
            let side = side(first_of(r.len() / count, together::<T, R>()));
            let mut near = Near { columns, rows: rows.clone(), r, g, ahead: number == 0, lanes };
            let mut column = 0;
            while column + side <= width {
                if side == NARROW {
                    near.columns::<T, NARROW>(tier, column);
                } else {
                    near.columns::<T, SIDE>(tier, column);
                }
                column += side;
            }
            while column < width {
                near.columns::<T, 1>(tier, column);
                column += 1;
            }
        }
    }
}

/// All columns and some residual vectors.
struct Near<'a, E, R> {
    columns: &'a [&'a [E]],
    rows: Range<usize>,
    r: &'a [R],
    g: &'a mut [f64],
    /// True when the rows of the next tile are to be asked for.
    ahead: bool,
    /// Room for the lanes of a block of dot products.
    lanes: &'a mut [[R; LANES]; DOTS],
}

impl<E: Load, R: Real> Near<'_, E, R> {
    /// `C` columns from `column` on.
    #[inline(always)]
    fn columns<T: Isa, const C: usize>(&mut self, tier: T, column: usize) {
        let (rows, width) = (self.rows.len(), self.columns.len());
        let mut x: [&[E]; C] = [&[]; C];
        for (x, column) in x.iter_mut().zip(&self.columns[column..column + C]) {
            *x = &column[self.rows.start..];
        }
        in_groups!(T, R, self.r.len() / rows, |v, K| {
            if const { C <= side(K) } {
                let (r, ahead) = (&self.r[v * rows..(v + K) * rows], self.ahead && v == 0);
                tier.enter(Dots::<'_, E, R, C, K> { x: &x, r, rows, ahead, lanes: self.lanes });
                let g = &mut self.g[v * width + column..];
                tier.enter(Fold::<'_, R, C, K> { lanes: self.lanes, width, g });
            }
        });
    }
}

/// The lanes of the dot products of `C` columns with `K` residual vectors.
struct Dots<'a, E, R, const C: usize, const K: usize> {
    /// The columns from the first row of the tile on.
    x: &'a [&'a [E]; C],
    r: &'a [R],
    rows: usize,
    ahead: bool,
    /// Those of a vector's `C` columns, vector after vector.
    lanes: &'a mut [[R; LANES]; DOTS],
}

impl<E: Load, R: Real, const C: usize, const K: usize> Kernel for Dots<'_, E, R, C, K> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let whole = self.rows / LANES;
        let mut x: [&[[E; LANES]]; C] = [&[]; C];
        let mut r: [&[[R; LANES]]; K] = [&[]; K];
        for (x, column) in x.iter_mut().zip(self.x) {
            *x = &column.as_chunks().0[..whole];
        }
        for (k, r) in r.iter_mut().enumerate() {
            *r = &self.r[k * self.rows..].as_chunks().0[..whole];
        }
        let mut sums = [[R::Lanes::<T>::zero(tier); C]; K];
        for at in 0..whole {
            if self.ahead && (at * LANES * size_of::<E>()).is_multiple_of(CACHE_LINE) {
                for column in self.x {
                    tier.prefetch_far(column, self.rows + at * LANES);
                }
            }
            // Held in registers is the lesser number: values or residuals.
            if C * R::Lanes::<T>::REGISTERS <= 4 {
                let mut lanes = [R::Lanes::<T>::zero(tier); C];
                for (lanes, x) in lanes.iter_mut().zip(x) {
                    *lanes = E::load::<T, R>(tier, &x[at]);
                }
                for (sums, r) in sums.iter_mut().zip(r) {
                    let r = R::load::<T, R>(tier, &r[at]);
                    for (sum, x) in sums.iter_mut().zip(lanes) {
                        *sum = r.fma(x, *sum);
                    }
                }
            } else {
                let mut lanes = [R::Lanes::<T>::zero(tier); K];
                for (lanes, r) in lanes.iter_mut().zip(r) {
                    *lanes = R::load::<T, R>(tier, &r[at]);
                }
                for (c, x) in x.iter().enumerate() {
                    let x = E::load::<T, R>(tier, &x[at]);
                    for (sums, r) in sums.iter_mut().zip(lanes) {
                        sums[c] = r.fma(x, sums[c]);
                    }
                }
            }
        }
        for (k, sums) in sums.into_iter().enumerate() {
            for (c, sum) in sums.into_iter().enumerate() {
                sum.store(&mut self.lanes[k * C + c]);
            }
        }
        if whole * LANES < self.rows {
            self.tail(tier, whole * LANES);
        }
    }
}

impl<E: Load, R: Real, const C: usize, const K: usize> Dots<'_, E, R, C, K> {
    /// Adds the rows from `row` on, fewer than sixteen.
    #[inline(always)]
    fn tail<T: Isa>(self, tier: T, row: usize) {
        for (lanes, r) in self.lanes.chunks_exact_mut(C).zip(self.r.chunks_exact(self.rows)) {
            let r = R::load_tail::<T, R>(tier, &r[row..]);
            for (lanes, x) in lanes.iter_mut().zip(self.x) {
                let x = E::load_tail::<T, R>(tier, &x[row..self.rows]);
                r.fma(x, R::load::<T, R>(tier, lanes)).store(lanes);
            }
        }
    }
}

/// Folds the lanes of `C` columns and `K` vectors, and adds them to the gradients, whose pitch is `width`.
struct Fold<'a, R, const C: usize, const K: usize> {
    lanes: &'a [[R; LANES]; DOTS],
    width: usize,
    g: &'a mut [f64],
}

impl<R: Real, const C: usize, const K: usize> Kernel for Fold<'_, R, C, K> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let mut totals = [R::default(); DOTS];
        let fours = totals.as_chunks_mut::<4>().0.iter_mut().zip(self.lanes.as_chunks::<4>().0);
        // The last four may hold lanes of another block, whose totals nobody asks for.
        for (totals, lanes) in fours.take((C * K).div_ceil(4)) {
            let mut four = [R::Lanes::<T>::zero(tier); 4];
            for (four, lanes) in four.iter_mut().zip(lanes) {
                *four = R::load::<T, R>(tier, lanes);
            }
            *totals = R::Lanes::<T>::sums(four);
        }
        for k in 0..K {
            for (g, total) in self.g[k * self.width..][..C].iter_mut().zip(&totals[k * C..]) {
                *g += total.to_f64();
            }
        }
    }
}
