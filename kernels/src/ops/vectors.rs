//! Margins and gradient of a row-major vector column: row `i` is `values[i * width..(i + 1) * width]`.
//!
//! A row is cut into vectors of sixteen elements; what is left over is read as the last sixteen elements of the row, of
//! which only the new ones count. Margins: each lane of a row is one chain of fused multiply-adds, the lanes are folded
//! in the fixed tree of [`Lanes::sum`], and several rows go side by side so that a weight is loaded once for all of
//! them, while the next rows are asked for. Gradient: each element is a chain of its own over at most `ROWS` rows in the arithmetic type, in row order, and
//! is then added in `f64`. Cost: 2 flops a value, each value read once.

use super::margins::CACHE_LINE;
use crate::isa::{Isa, Kernel, LANES, Lanes, Load, Real};

/// Rows summed in the arithmetic type before they are added in `f64`.
const ROWS: usize = 64;

/// `z[i] += sum_j w[j] values[i * w.len() + j]`; `values` holds the rows of the tile alone.
pub struct Margins<'a, E, R> {
    /// Rows of the tile.
    pub values: &'a [E],
    /// Weights, as many as a row has numbers.
    pub w: &'a [R],
    /// Margins, added to.
    pub z: &'a mut [R],
}

impl<E: Load, R: Real> Kernel for Margins<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        // Accumulators in at most half of the registers.
        if 8 * R::Lanes::<T>::REGISTERS <= T::REGISTERS {
            self.side_by_side::<T, 4>(tier);
        } else {
            self.side_by_side::<T, 2>(tier);
        }
    }
}

impl<E: Load, R: Real> Margins<'_, E, R> {
    #[inline(always)]
    fn side_by_side<T: Isa, const N: usize>(self, tier: T) {
        let width = self.w.len();
        if width == 0 {
            return;
        }
        let last = last_weights(self.w);
        let (groups, rest) = self.z.as_chunks_mut::<N>();
        let (many, few) = self.values.split_at(groups.len() * N * width);
        for (rows, z) in many.chunks_exact(N * width).zip(groups) {
            dots::<T, E, R, N>(tier, rows, self.w, &last, z);
        }
        for (row, z) in few.chunks_exact(width).zip(rest) {
            dots::<T, E, R, 1>(tier, row, self.w, &last, std::array::from_mut(z));
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

/// `N` rows, one after the other in `rows`.
#[inline(always)]
fn dots<T: Isa, E: Load, R: Real, const N: usize>(tier: T, rows: &[E], w: &[R], last: &[R; LANES], z: &mut [R; N]) {
    let width = w.len();
    let (whole, left_over) = w.as_chunks::<LANES>();
    let mut sums = [R::Lanes::<T>::zero(tier); N];
    let mut x: [&[[E; LANES]]; N] = [&[]; N];
    for (k, x) in x.iter_mut().enumerate() {
        *x = &rows[k * width..(k + 1) * width].as_chunks().0[..whole.len()];
    }
    for (group, w) in whole.iter().enumerate() {
        let w = R::load::<T, R>(tier, w);
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = w.fma(E::load::<T, R>(tier, &x[group]), *sum);
        }
        for line in 0..(N * LANES * size_of::<E>()).div_ceil(CACHE_LINE) {
            tier.prefetch(rows, N * (width + group * LANES) + line * CACHE_LINE / size_of::<E>());
        }
    }
    if !left_over.is_empty() {
        for (k, sum) in sums.iter_mut().enumerate() {
            let row = &rows[k * width..(k + 1) * width];
            *sum = match row.last_chunk() {
                Some(x) => R::load::<T, R>(tier, last).fma(E::load::<T, R>(tier, x), *sum),
                None => R::load_tail::<T, R>(tier, w).fma(E::load_tail::<T, R>(tier, row), *sum),
            };
        }
    }
    for (z, sum) in z.iter_mut().zip(sums) {
        *z += sum.sum();
    }
}

/// `g[j] += sum_i r[i] values[i * g.len() + j]`; `values` holds the rows of the tile alone.
pub struct Gradient<'a, E, R> {
    /// Rows of the tile.
    pub values: &'a [E],
    /// Residuals.
    pub r: &'a [R],
    /// Sums, added to, as many as a row has numbers.
    pub g: &'a mut [f64],
}

impl<E: Load, R: Real> Kernel for Gradient<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let width = self.g.len();
        if width == 0 {
            return;
        }
        for (values, r) in self.values.chunks(ROWS * width).zip(self.r.chunks(ROWS)) {
            let rows = Rows { values, width, r };
            // Accumulators in at most half of the registers.
            if 16 * R::Lanes::<T>::REGISTERS <= T::REGISTERS {
                rows.gradient::<T, 8>(tier, self.g);
            } else if 8 * R::Lanes::<T>::REGISTERS <= T::REGISTERS {
                rows.gradient::<T, 4>(tier, self.g);
            } else {
                rows.gradient::<T, 2>(tier, self.g);
            }
        }
    }
}

/// At most [`ROWS`] rows and their residuals.
#[derive(Clone, Copy)]
struct Rows<'a, E, R> {
    values: &'a [E],
    width: usize,
    r: &'a [R],
}

impl<E: Load, R: Real> Rows<'_, E, R> {
    /// All elements, `N` vectors side by side.
    #[inline(always)]
    fn gradient<T: Isa, const N: usize>(self, tier: T, g: &mut [f64]) {
        let mut first = 0;
        while first + N * LANES <= self.width {
            self.vectors::<T, N>(tier, first, &mut g[first..first + N * LANES]);
            first += N * LANES;
        }
        while first + LANES <= self.width {
            self.vectors::<T, 1>(tier, first, &mut g[first..first + LANES]);
            first += LANES;
        }
        let left_over = self.width - first;
        if left_over == 0 {
            return;
        }
        if self.width < LANES {
            self.narrow(tier, g);
        } else {
            let mut last = [0.0; LANES];
            self.vectors::<T, 1>(tier, self.width - LANES, &mut last);
            for (g, last) in g[first..].iter_mut().zip(&last[LANES - left_over..]) {
                *g += last;
            }
        }
    }

    /// Elements `first..first + 16 * N`, whose sums are `g`.
    #[inline(always)]
    fn vectors<T: Isa, const N: usize>(self, tier: T, first: usize, g: &mut [f64]) {
        let mut sums = [R::Lanes::<T>::zero(tier); N];
        for (row, &r) in self.values.chunks_exact(self.width).zip(self.r) {
            let r = R::Lanes::<T>::splat(tier, r);
            let (x, _) = row[first..first + N * LANES].as_chunks();
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = r.fma(E::load::<T, R>(tier, x), *sum);
            }
        }
        for (sum, g) in sums.iter().zip(g.as_chunks_mut().0) {
            (f64::load::<T, f64>(tier, g) + sum.widen()).store(g);
        }
    }

    /// Rows of fewer than 16 elements.
    #[inline(always)]
    fn narrow<T: Isa>(self, tier: T, g: &mut [f64]) {
        let mut sum = R::Lanes::<T>::zero(tier);
        for (row, &r) in self.values.chunks_exact(self.width).zip(self.r) {
            sum = R::Lanes::<T>::splat(tier, r).fma(E::load_tail::<T, R>(tier, row), sum);
        }
        let mut lanes = [R::default(); LANES];
        sum.store(&mut lanes);
        for (g, lane) in g.iter_mut().zip(lanes) {
            *g += lane.to_f64();
        }
    }
}
