//! Margins and gradient of a row-major vector column: row `i` is `values[i * width..(i + 1) * width]`.
//!
//! Margins: lane `k` of a row adds elements `k, k + 16, ..` in order, then the lanes are folded in the fixed tree of
//! [`Lanes::sum`]. Gradient: each element is a lane of its own; the sum over at most [`ROWS`] rows is taken in the arithmetic
//! type, in row order, and added in `f64`. Cost: 2 flops a value.

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
        let width = self.w.len();
        if width == 0 {
            return;
        }
        for (row, z) in self.values.chunks_exact(width).zip(self.z) {
            *z += dot::<T, E, R>(tier, row, self.w);
        }
    }
}

#[inline(always)]
fn dot<T: Isa, E: Load, R: Real>(tier: T, row: &[E], w: &[R]) -> R {
    let mut sum = R::Lanes::<T>::zero(tier);
    let ((x, x_tail), (w, w_tail)) = (row.as_chunks::<LANES>(), w.as_chunks::<LANES>());
    for (x, w) in x.iter().zip(w) {
        sum = R::load::<T, R>(tier, w).fma(E::load::<T, R>(tier, x), sum);
    }
    if !x_tail.is_empty() {
        sum = R::load_tail::<T, R>(tier, w_tail).fma(E::load_tail::<T, R>(tier, x_tail), sum);
    }
    sum.sum()
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
            for (group, g) in self.g.chunks_mut(LANES).enumerate() {
                element_group::<T, E, R>(tier, values, width, group * LANES, r, g);
            }
        }
    }
}

#[inline(always)]
fn element_group<T: Isa, E: Load, R: Real>(tier: T, values: &[E], width: usize, first: usize, r: &[R], g: &mut [f64]) {
    let mut sum = R::Lanes::<T>::zero(tier);
    for (row, &r) in values.chunks_exact(width).zip(r) {
        let x = E::load_tail::<T, R>(tier, &row[first..first + g.len()]);
        sum = R::Lanes::<T>::splat(tier, r).fma(x, sum);
    }
    let mut lanes = [R::default(); LANES];
    sum.store(&mut lanes);
    for (g, lane) in g.iter_mut().zip(lanes) {
        *g += lane.to_f64();
    }
}
