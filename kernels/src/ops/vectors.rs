//! Margins and gradient of a row-major vector column for one or several weight vectors: row `i` is
//! `values[i * width..(i + 1) * width]`.
//!
//! Weight vectors, margins, residuals and gradients stand one after the other (`w[v * width + j]`, `z[v * rows + i]`). Each vector
//! gets the same bits alone and among others.
//!
//! A row is cut into vectors of sixteen elements; what is left over is read as the last sixteen elements of the row, of
//! which only the new ones count. Margins: each lane of a row is one chain of fused multiply-adds, the lanes are folded
//! in the fixed tree of [`Lanes::sum`], and several rows meet several weight vectors, so that a number that was loaded serves all of
//! them. Gradient: each element is a chain of its own over at most `ROWS` rows in the arithmetic type, in row order, and
//! is then added in `f64`. Margins ask for the next rows. Cost: 2 flops a value and weight vector, each value read once.

use super::margins::CACHE_LINE;
use crate::isa::{Isa, Kernel, LANES, Lanes, Load, Real};
use std::ops::Range;

/// Rows summed in the arithmetic type before they are added in `f64`.
const ROWS: usize = 64;

/// Rows that stay in the first-level cache while all weight vectors pass by.
const NEAR_ROWS: usize = 16;

/// Most weight vectors, rows, and vectors of sixteen elements that meet.
const MEET: (usize, usize, usize) = (4, 4, 8);

/// Most dot products that are made at once.
const MOST: usize = MEET.0 * MEET.1;

/// How many sums at once fill half of the registers.
const fn budget<T: Isa, R: Real>() -> usize {
    T::REGISTERS / 2 / <R::Lanes<T> as Lanes<T, R>>::REGISTERS
}

/// How many of at most `most` meet with `k` weight vectors: a power of two.
const fn side<T: Isa, R: Real>(k: usize, most: usize) -> usize {
    let side = budget::<T, R>() / k;
    if side == 0 {
        1
    } else if side < most {
        side
    } else {
        most
    }
}

/// True for numbers of weight vectors that meet at once.
const fn meets<T: Isa, R: Real>(k: usize) -> bool {
    k == 1 || (k <= MEET.0 && k * k <= budget::<T, R>())
}

/// Does something for all of `count` weight vectors: for `K` of them from `first` on.
macro_rules! in_groups {
    ($tier:ty, $real:ty, $count:expr, |$first:ident, $k:ident| $body:expr) => {{
        let (count, mut $first) = ($count, 0);
        in_groups!(@each $tier, $real, count, $first, $k, $body, 4, 2, 1);
    }};
    (@each $tier:ty, $real:ty, $count:ident, $first:ident, $k:ident, $body:expr, $($each:literal),*) => {
        $(if const { meets::<$tier, $real>($each) } {
            while $count - $first >= $each {
                const $k: usize = $each;
                $body;
                $first += $each;
            }
        })*
    };
}

/// Calls a method with as many rows, or vectors of elements, as meet with `K` weight vectors.
macro_rules! with_side {
    ($tier:ty, $real:ty, $k:ident, $most:expr, |$n:ident| $body:expr) => {
        with_side!(@each $tier, $real, $k, $most, $n, $body, 8, 4, 2, 1)
    };
    (@each $tier:ty, $real:ty, $k:ident, $most:expr, $n:ident, $body:expr, $($each:literal),*) => {
        $(if const { $most >= $each && side::<$tier, $real>($k, $most) == $each } {
            const $n: usize = $each;
            $body;
        })*
    };
}

/// `z[v][i] += sum_j w[v][j] values[i * width + j]`; `values` holds the rows of the tile alone.
pub struct Margins<'a, E, R> {
    /// Rows of the tile.
    pub values: &'a [E],
    /// Numbers of a row.
    pub width: usize,
    /// Weight vectors.
    pub w: &'a [R],
    /// Margins, added to.
    pub z: &'a mut [R],
}

impl<E: Load, R: Real> Kernel for Margins<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Margins { values, width, w, z } = self;
        if width == 0 || values.is_empty() {
            return;
        }
        let (rows, count) = (values.len() / width, w.len() / width);
        let mut lanes = [[R::default(); LANES]; MOST];
        for start in (0..rows).step_by(NEAR_ROWS) {
            let near = start..rows.min(start + NEAR_ROWS);
            in_groups!(T, R, count, |v, K| {
                let mut margins = Near::<'_, E, R, K> {
                    values,
                    width,
                    w: &w[v * width..(v + K) * width],
                    rows: near.clone(),
                    z: &mut z[v * rows..(v + K) * rows],
                    ahead: v == 0,
                    lanes: &mut lanes,
                };
                with_side!(T, R, K, MEET.1, |N| margins.side_by_side::<T, N>(tier));
                margins.side_by_side::<T, 1>(tier);
            });
        }
    }
}

/// Some rows and `K` weight vectors.
struct Near<'a, E, R, const K: usize> {
    values: &'a [E],
    width: usize,
    w: &'a [R],
    /// Rows that are left.
    rows: Range<usize>,
    z: &'a mut [R],
    /// True when the next rows are to be asked for.
    ahead: bool,
    /// Room for the lanes of sums: of a weight vector's rows, vector after vector.
    lanes: &'a mut [[R; LANES]; MOST],
}

impl<E: Load, R: Real, const K: usize> Near<'_, E, R, K> {
    /// `N` rows at a time, as long as there are so many.
    #[inline(always)]
    fn side_by_side<T: Isa, const N: usize>(&mut self, tier: T) {
        while self.rows.len() >= N {
            self.dots::<T, N>(tier);
            self.rows.start += N;
        }
    }

    /// The next `N` rows.
    #[inline(always)]
    fn dots<T: Isa, const N: usize>(&mut self, tier: T) {
        let (width, start, pitch) = (self.width, self.rows.start, self.z.len() / K);
        let (whole, left_over) = (width / LANES, width % LANES);
        let rows = &self.values[start * width..(start + N) * width];
        let mut x: [&[E]; N] = [&[]; N];
        let mut w: [&[R]; K] = [&[]; K];
        for (n, x) in x.iter_mut().enumerate() {
            *x = &rows[n * width..(n + 1) * width];
        }
        for (k, w) in w.iter_mut().enumerate() {
            *w = &self.w[k * width..(k + 1) * width];
        }
        let (x16, w16) = (x.map(|x| &x.as_chunks::<LANES>().0[..whole]), w.map(|w| &w.as_chunks::<LANES>().0[..whole]));
        let mut sums = [[R::Lanes::<T>::zero(tier); N]; K];
        for group in 0..whole {
            let mut lanes = [R::Lanes::<T>::zero(tier); N];
            for (lanes, x) in lanes.iter_mut().zip(x16) {
                *lanes = E::load::<T, R>(tier, &x[group]);
            }
            for (sums, w) in sums.iter_mut().zip(w16) {
                let w = R::load::<T, R>(tier, &w[group]);
                for (sum, x) in sums.iter_mut().zip(lanes) {
                    *sum = w.fma(x, *sum);
                }
            }
            if self.ahead {
                for line in 0..(N * LANES * size_of::<E>()).div_ceil(CACHE_LINE) {
                    tier.prefetch(rows, N * (width + group * LANES) + line * CACHE_LINE / size_of::<E>());
                }
            }
        }
        // What is left to do goes through memory, so that the sums of the loop stay in registers.
        for (k, sums) in sums.into_iter().enumerate() {
            for (n, sum) in sums.into_iter().enumerate() {
                sum.store(&mut self.lanes[k * N + n]);
            }
        }
        if left_over > 0 {
            for (lanes, w) in self.lanes.chunks_exact_mut(N).zip(w) {
                let last = last_weights(w);
                for (lanes, x) in lanes.iter_mut().zip(x) {
                    let sum = R::load::<T, R>(tier, lanes);
                    let sum = match x.last_chunk() {
                        Some(x) => R::load::<T, R>(tier, &last).fma(E::load::<T, R>(tier, x), sum),
                        None => R::load_tail::<T, R>(tier, w).fma(E::load_tail::<T, R>(tier, x), sum),
                    };
                    sum.store(lanes);
                }
            }
        }
        let mut totals = [R::default(); MOST];
        let fours = totals.as_chunks_mut::<4>().0.iter_mut().zip(self.lanes.as_chunks::<4>().0);
        // The last four may hold lanes of other rows, whose totals nobody asks for.
        for (totals, lanes) in fours.take((K * N).div_ceil(4)) {
            let mut four = [R::Lanes::<T>::zero(tier); 4];
            for (four, lanes) in four.iter_mut().zip(lanes) {
                *four = R::load::<T, R>(tier, lanes);
            }
            *totals = R::Lanes::<T>::sums(four);
        }
        for (k, totals) in totals.chunks_exact(N).take(K).enumerate() {
            for (z, total) in self.z[k * pitch + start..][..N].iter_mut().zip(totals) {
                *z += *total;
            }
        }
    }
}

/// The weights for the last sixteen elements of a row, 0 for those that whole vectors have counted.
#[inline(always)]
fn last_weights<R: Real>(w: &[R]) -> [R; LANES] {
    let mut last = [R::default(); LANES];
    let left_over = w.len() % LANES;
    if w.len() > LANES {
        for (to, from) in last[LANES - left_over..].iter_mut().zip(&w[w.len() - left_over..]) {
            *to = *from;
        }
    }
    last
}

/// `g[v][j] += sum_i r[v][i] values[i * width + j]`; `values` holds the rows of the tile alone.
pub struct Gradient<'a, E, R> {
    /// Rows of the tile.
    pub values: &'a [E],
    /// Numbers of a row.
    pub width: usize,
    /// Residuals.
    pub r: &'a [R],
    /// Sums, added to.
    pub g: &'a mut [f64],
}

impl<E: Load, R: Real> Kernel for Gradient<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Gradient { values, width, r, g } = self;
        if width == 0 || values.is_empty() {
            return;
        }
        let (rows, count) = (values.len() / width, g.len() / width);
        for start in (0..rows).step_by(ROWS) {
            let some = start..rows.min(start + ROWS);
            let rows = Rows { values: &values[some.start * width..some.end * width], width, some, pitch: rows, r };
            in_groups!(T, R, count, |v, K| {
                let g = &mut g[v * width..(v + K) * width];
                with_side!(T, R, K, MEET.2, |N| rows.gradient::<T, K, N>(tier, v, g));
            });
        }
    }
}

/// At most [`ROWS`] rows, and the residuals of all.
struct Rows<'a, E, R> {
    values: &'a [E],
    width: usize,
    /// Which of the tile.
    some: Range<usize>,
    /// Rows of the tile.
    pitch: usize,
    r: &'a [R],
}

impl<E: Load, R: Real> Rows<'_, E, R> {
    /// All elements and `K` weight vectors from `v` on, `N` vectors of elements side by side.
    #[inline(always)]
    fn gradient<T: Isa, const K: usize, const N: usize>(&self, tier: T, v: usize, g: &mut [f64]) {
        let width = self.width;
        let mut first = 0;
        while first + N * LANES <= width {
            let sums = self.sums::<T, K, N>(tier, v, first);
            for (sums, g) in sums.into_iter().zip(g.chunks_exact_mut(width)) {
                add::<T, R, N>(tier, sums, &mut g[first..first + N * LANES]);
            }
            first += N * LANES;
        }
        while first + LANES <= width {
            let sums = self.sums::<T, K, 1>(tier, v, first);
            for (sums, g) in sums.into_iter().zip(g.chunks_exact_mut(width)) {
                add::<T, R, 1>(tier, sums, &mut g[first..first + LANES]);
            }
            first += LANES;
        }
        let left_over = width - first;
        if left_over == 0 {
            return;
        }
        let sums = if width < LANES {
            self.narrow::<T, K>(tier, v)
        } else {
            self.sums::<T, K, 1>(tier, v, width - LANES).map(|[sums]| sums)
        };
        let new = if width < LANES { 0..width } else { LANES - left_over..LANES };
        for (sums, g) in sums.into_iter().zip(g.chunks_exact_mut(width)) {
            let mut lanes = [R::default(); LANES];
            sums.store(&mut lanes);
            for (g, lane) in g[first..].iter_mut().zip(&lanes[new.clone()]) {
                *g += lane.to_f64();
            }
        }
    }

    /// Residuals of `K` weight vectors from `v` on.
    #[inline(always)]
    fn residuals<const K: usize>(&self, v: usize) -> [&[R]; K] {
        let mut r: [&[R]; K] = [&[]; K];
        for (k, r) in r.iter_mut().enumerate() {
            *r = &self.r[(v + k) * self.pitch..][self.some.clone()];
        }
        r
    }

    /// The sums of elements `first..first + 16 * N`.
    #[inline(always)]
    fn sums<T: Isa, const K: usize, const N: usize>(&self, tier: T, v: usize, first: usize) -> [[R::Lanes<T>; N]; K] {
        let mut sums = [[R::Lanes::<T>::zero(tier); N]; K];
        let r = self.residuals::<K>(v).map(|r| &r[..self.some.len()]);
        for (i, row) in self.values.chunks_exact(self.width).enumerate().take(self.some.len()) {
            let mut lanes = [R::Lanes::<T>::zero(tier); N];
            for (lanes, x) in lanes.iter_mut().zip(row[first..first + N * LANES].as_chunks().0) {
                *lanes = E::load::<T, R>(tier, x);
            }
            for (sums, r) in sums.iter_mut().zip(r) {
                let r = R::Lanes::<T>::splat(tier, r[i]);
                for (sum, x) in sums.iter_mut().zip(lanes) {
                    *sum = r.fma(x, *sum);
                }
            }
        }
        sums
    }

    /// The sums of rows of fewer than 16 elements.
    #[inline(always)]
    fn narrow<T: Isa, const K: usize>(&self, tier: T, v: usize) -> [R::Lanes<T>; K] {
        let mut sums = [R::Lanes::<T>::zero(tier); K];
        let r = self.residuals::<K>(v);
        for (i, row) in self.values.chunks_exact(self.width).enumerate() {
            let x = E::load_tail::<T, R>(tier, row);
            for (sum, r) in sums.iter_mut().zip(r) {
                *sum = R::Lanes::<T>::splat(tier, r[i]).fma(x, *sum);
            }
        }
        sums
    }
}

/// Adds sums to those in `f64`.
#[inline(always)]
fn add<T: Isa, R: Real, const N: usize>(tier: T, sums: [R::Lanes<T>; N], g: &mut [f64]) {
    for (sum, g) in sums.iter().zip(g.as_chunks_mut().0) {
        (f64::load::<T, f64>(tier, g) + sum.widen()).store(g);
    }
}
