//! Gradient of scalar columns: `g[j] += sum_i r[i] x[i][j]`.
//!
//! Lane `k` of a column's accumulator adds rows `k, k + 16, ..` of the tile in row order, in the arithmetic type; the
//! lanes are folded in the fixed tree of [`Lanes::sum`] and the result is added in `f64`. Several columns go side by
//! side, so that a residual is loaded once for all of them. Cost: 2 flops a value, each value read once.

use crate::isa::{Isa, Kernel, LANES, Lanes, Load, Real};
use std::ops::Range;

/// The arguments: `r` has one residual a row of `rows`, `g` one sum a column.
pub struct Gradient<'a, E, R> {
    /// Columns of the grain.
    pub columns: &'a [&'a [E]],
    /// Rows of the tile.
    pub rows: Range<usize>,
    /// Residuals.
    pub r: &'a [R],
    /// Sums, added to.
    pub g: &'a mut [f64],
}

impl<E: Load, R: Real> Kernel for Gradient<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let (groups, tail) = self.columns.as_chunks::<4>();
        let (sums, sums_tail) = self.g.as_chunks_mut::<4>();
        for (columns, g) in groups.iter().zip(sums) {
            side_by_side::<T, E, R, 4>(tier, columns, self.rows.start, self.r, g);
        }
        for (column, g) in tail.iter().zip(sums_tail) {
            side_by_side::<T, E, R, 1>(tier, &[column], self.rows.start, self.r, std::array::from_mut(g));
        }
    }
}

/// `COLUMNS` columns over all rows.
#[inline(always)]
fn side_by_side<T: Isa, E: Load, R: Real, const COLUMNS: usize>(
    tier: T,
    columns: &[&[E]; COLUMNS],
    start: usize,
    r: &[R],
    g: &mut [f64; COLUMNS],
) {
    let mut sums = [R::Lanes::<T>::zero(tier); COLUMNS];
    let mut parts: [(&[[E; LANES]], &[E]); COLUMNS] = [(&[], &[]); COLUMNS];
    let (residuals, residuals_tail) = r.as_chunks::<LANES>();
    for (part, column) in parts.iter_mut().zip(columns) {
        let (whole, tail) = column[start..start + r.len()].as_chunks::<LANES>();
        *part = (&whole[..residuals.len()], tail);
    }
    for (group, r) in residuals.iter().enumerate() {
        let r = R::load::<T, R>(tier, r);
        for (sum, (whole, _)) in sums.iter_mut().zip(&parts) {
            *sum = r.fma(E::load::<T, R>(tier, &whole[group]), *sum);
        }
    }
    if !residuals_tail.is_empty() {
        let r = R::load_tail::<T, R>(tier, residuals_tail);
        for (sum, (_, tail)) in sums.iter_mut().zip(&parts) {
            *sum = r.fma(E::load_tail::<T, R>(tier, tail), *sum);
        }
    }
    for (g, sum) in g.iter_mut().zip(sums) {
        *g += sum.sum().to_f64();
    }
}
