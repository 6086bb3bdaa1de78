//! Margins and gradient of a row-major vector column for one or several weight vectors: row `i` is
//! `values[i * width..(i + 1) * width]`.
//!
//! Weight vectors, margins, residuals and gradients stand one after the other (`w[v * width + j]`, `z[v * rows + i]`). Each vector
//! gets the same bits alone and among others.
//!
//! A row is cut into vectors of sixteen elements; what is left over is read as the last sixteen elements of the row, of
//! which only the new ones count, and a row of fewer as the sixteen that begin where it does: weights of 0 meet what is not its own.
//! Margins: each lane of a row is one chain of fused multiply-adds, the lanes are folded
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

/// Rows are asked for at least so much ahead.
const AHEAD_BYTES: usize = 2048;

/// Elements of rows whose sums are worth a way through memory.
const WIDE: usize = 256;

/// Most weight vectors, rows, and vectors of sixteen elements that meet.
const MEET: (usize, usize, usize) = (4, 4, 8);

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
        for start in (0..rows).step_by(NEAR_ROWS) {
            let near = start..rows.min(start + NEAR_ROWS);
            in_groups!(T, R, count, |v, K| {
                let w = &w[v * width..(v + K) * width];
                let mut last = [[R::default(); LANES]; K];
                for (last, w) in last.iter_mut().zip(w.chunks_exact(width)) {
                    *last = last_weights(w);
                }
                let z = &mut z[v * rows..(v + K) * rows];
                let (rows, ahead, stored) = (near.clone(), v == 0, [[R::default(); LANES]; MEET.0]);
                let mut margins = Near::<'_, E, R, K> { values, width, w, last, rows, z, ahead, stored };
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
    /// The weights that the last sixteen elements of a row meet.
    last: [[R; LANES]; K],
    /// Rows that are left.
    rows: Range<usize>,
    z: &'a mut [R],
    /// True when the next rows are to be asked for.
    ahead: bool,
    /// Room for sums.
    stored: [[R; LANES]; MEET.0],
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
        let start = self.rows.start;
        // Where registers are few, a compiler that sees what comes after the loop keeps one of its sums in memory.
        let sums = if K > 1 && T::REGISTERS < 32 && self.width >= WIDE {
            self.lanes::<T, N, true>(tier, start)
        } else {
            self.lanes::<T, N, false>(tier, start)
        };
        if N == 4 {
            for (k, sums) in sums.into_iter().enumerate() {
                self.add::<4>(k, start, R::Lanes::<T>::sums([sums[0], sums[1 % N], sums[2 % N], sums[3 % N]]));
            }
        } else if N == 2 && K == 2 {
            let (first, second) = (sums[0], sums[1 % K]);
            let [a, b, c, d] = R::Lanes::<T>::sums([first[0], first[1 % N], second[0], second[1 % N]]);
            self.add(0, start, [a, b]);
            self.add(1, start, [c, d]);
        } else if N == 2 && K == 1 {
            let [a, b, ..] = R::Lanes::<T>::sums([sums[0][0], sums[0][1 % N], sums[0][0], sums[0][1 % N]]);
            self.add(0, start, [a, b]);
        } else {
            for (k, sums) in sums.into_iter().enumerate() {
                for (n, sum) in sums.into_iter().enumerate() {
                    self.add(k, start + n, [sum.sum()]);
                }
            }
        }
    }

    /// Adds to margins of weight vector `k`, from row `start` on.
    #[inline(always)]
    fn add<const N: usize>(&mut self, k: usize, start: usize, totals: [R; N]) {
        let pitch = self.z.len() / K;
        for (z, total) in self.z[k * pitch + start..][..N].iter_mut().zip(totals) {
            *z += total;
        }
    }

    /// The lanes of `N` rows from `start` on; those of whole vectors by way of memory where `STORED`.
    #[inline(always)]
    fn lanes<T: Isa, const N: usize, const STORED: bool>(&mut self, tier: T, start: usize) -> [[R::Lanes<T>; N]; K] {
        let width = self.width;
        let whole = width / LANES;
        let rows = &self.values[start * width..(start + N) * width];
        let mut x: [&[E]; N] = [&[]; N];
        let mut w: [&[R]; K] = [&[]; K];
        for (n, x) in x.iter_mut().enumerate() {
            *x = &rows[n * width..(n + 1) * width];
        }
        for (k, w) in w.iter_mut().enumerate() {
            *w = &self.w[k * width..(k + 1) * width];
        }
        let (x16, w16) = (x.map(|x| &x.as_chunks().0[..whole]), w.map(|w| &w.as_chunks().0[..whole]));
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
                let next = (N * width).max(AHEAD_BYTES / size_of::<E>()) + N * group * LANES;
                for line in 0..(N * LANES * size_of::<E>()).div_ceil(CACHE_LINE) {
                    tier.prefetch(rows, next + line * CACHE_LINE / size_of::<E>());
                }
            }
        }
        if STORED {
            for (sum, stored) in sums.iter().flatten().zip(&mut self.stored) {
                sum.store(stored);
            }
            let stored = std::hint::black_box(&mut self.stored);
            for (sum, stored) in sums.iter_mut().flatten().zip(stored) {
                *sum = R::load::<T, R>(tier, stored);
            }
        }
        if !width.is_multiple_of(LANES) {
            let mut lanes = [R::Lanes::<T>::zero(tier); N];
            for (n, lanes) in lanes.iter_mut().enumerate() {
                *lanes = last_elements::<T, E, R>(tier, self.values, width, start + n);
            }
            for (sums, last) in sums.iter_mut().zip(&self.last) {
                let w = R::load::<T, R>(tier, last);
                for (sum, x) in sums.iter_mut().zip(lanes) {
                    *sum = w.fma(x, *sum);
                }
            }
        }
        sums
    }
}

/// The last sixteen elements of a row, or the sixteen from its first on where it has fewer (zeros behind the last row).
#[inline(always)]
fn last_elements<T: Isa, E: Load, R: Real>(tier: T, values: &[E], width: usize, row: usize) -> R::Lanes<T> {
    let values = &values[row * width + width.saturating_sub(LANES)..];
    match values.first_chunk() {
        Some(elements) => E::load::<T, R>(tier, elements),
        None => E::load_tail::<T, R>(tier, values),
    }
}

/// The weights for [`last_elements`], 0 for those that whole vectors have counted and for what lies behind a row.
#[inline(always)]
fn last_weights<R: Real>(w: &[R]) -> [R; LANES] {
    let mut last = [R::default(); LANES];
    let left_over = w.len() % LANES;
    let first = if w.len() < LANES { 0 } else { LANES - left_over };
    for (to, from) in last[first..].iter_mut().zip(&w[w.len() - left_over..]) {
        *to = *from;
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
    /// All elements and `K` weight vectors from `v` on, at most `N` vectors of elements side by side.
    #[inline(always)]
    fn gradient<T: Isa, const K: usize, const N: usize>(&self, tier: T, v: usize, g: &mut [f64]) {
        let mut first = 0;
        self.whole::<T, K, N>(tier, v, &mut first, g);
        if N > 4 {
            self.whole::<T, K, 4>(tier, v, &mut first, g);
        }
        if N > 2 {
            self.whole::<T, K, 2>(tier, v, &mut first, g);
        }
        let left = self.width - first;
        if left == 0 {
        } else if self.width < LANES {
            self.add_last::<T, K, 1>(tier, self.narrow::<T, K>(tier, v), first, g);
        } else if N > 1 && left > LANES {
            self.add_last::<T, K, 2>(tier, self.sums(tier, v, first, left - LANES), first, g);
        } else {
            self.add_last::<T, K, 1>(tier, self.sums(tier, v, self.width - LANES, 0), first, g);
        }
    }

    /// As many whole vectors of elements from `first` on as there are, `N` at a time.
    #[inline(always)]
    fn whole<T: Isa, const K: usize, const N: usize>(&self, tier: T, v: usize, first: &mut usize, g: &mut [f64]) {
        while *first + N * LANES <= self.width {
            let sums: [[R::Lanes<T>; N]; K] = self.sums(tier, v, *first, LANES);
            for (sums, g) in sums.into_iter().zip(g.chunks_exact_mut(self.width)) {
                add::<T, R>(tier, &sums, &mut g[*first..]);
            }
            *first += N * LANES;
        }
    }

    /// Adds `N` vectors of elements from `first` on, of the last of which only what is left of a row counts.
    #[inline(always)]
    fn add_last<T: Isa, const K: usize, const N: usize>(
        &self,
        tier: T,
        sums: [[R::Lanes<T>; N]; K],
        first: usize,
        g: &mut [f64],
    ) {
        let last = first + (N - 1) * LANES;
        let new = if self.width < LANES { 0 } else { LANES - (self.width - last) };
        for (sums, g) in sums.into_iter().zip(g.chunks_exact_mut(self.width)) {
            add::<T, R>(tier, &sums[..N - 1], &mut g[first..last]);
            let mut lanes = [R::default(); LANES];
            sums[N - 1].store(&mut lanes);
            for (g, lane) in g[last..].iter_mut().zip(&lanes[new..]) {
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

    /// The sums of `N` vectors of elements, which begin at element `first` and every `step` from there.
    #[inline(always)]
    fn sums<T: Isa, const K: usize, const N: usize>(
        &self,
        tier: T,
        v: usize,
        first: usize,
        step: usize,
    ) -> [[R::Lanes<T>; N]; K] {
        let mut sums = [[R::Lanes::<T>::zero(tier); N]; K];
        let r = self.residuals::<K>(v).map(|r| &r[..self.some.len()]);
        for (i, row) in self.values.chunks_exact(self.width).enumerate().take(self.some.len()) {
            let row = &row[first..first + (N - 1) * step + LANES];
            let mut lanes = [R::Lanes::<T>::zero(tier); N];
            for (n, lanes) in lanes.iter_mut().enumerate() {
                if let Some(x) = row[n * step..].first_chunk() {
                    *lanes = E::load::<T, R>(tier, x);
                }
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

    /// The sums of rows of fewer than 16 elements, behind which lanes hold what nobody asks for.
    #[inline(always)]
    fn narrow<T: Isa, const K: usize>(&self, tier: T, v: usize) -> [[R::Lanes<T>; 1]; K] {
        let mut sums = [[R::Lanes::<T>::zero(tier)]; K];
        let r = self.residuals::<K>(v).map(|r| &r[..self.some.len()]);
        for i in 0..self.some.len() {
            let x = last_elements::<T, E, R>(tier, self.values, self.width, i);
            for ([sum], r) in sums.iter_mut().zip(r) {
                *sum = R::Lanes::<T>::splat(tier, r[i]).fma(x, *sum);
            }
        }
        sums
    }
}

/// Adds sums to those in `f64`.
#[inline(always)]
fn add<T: Isa, R: Real>(tier: T, sums: &[R::Lanes<T>], g: &mut [f64]) {
    for (sum, g) in sums.iter().zip(g.as_chunks_mut().0) {
        (f64::load::<T, f64>(tier, g) + sum.widen()).store(g);
    }
}
