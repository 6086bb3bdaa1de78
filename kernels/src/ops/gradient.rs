//! Gradient of scalar columns: `g[j] += sum_i r[i] x[i][j]`.
//!
//! Lane `k` of a column's accumulator adds rows `k, k + 16, ..` of the tile in row order, in the arithmetic type; the
//! lanes are folded in the fixed tree of [`Lanes::sum`] and the result is added in `f64`; or the lanes are kept, for the calls that
//! come after to go on with ([`Carried`]). Several columns go side by
//! side, so that a residual is loaded once for all of them. The tile itself is near, since its margins were just
//! computed; the rows of the next tile that margins did not ask for are asked for meanwhile, or of many columns the first 64 rows of
//! the first half (`ahead.rs`). Cost: 2 flops a value, each value read once.

use super::ahead;
use super::carried::{Call, Carried};
use super::margins::{CACHE_LINE, is_wide, two_strips};
use crate::isa::{Isa, Kernel, LANES, Lanes, Load, Real};
use std::ops::Range;

/// Rows of one turn of the loop.
const ROWS: usize = 4 * LANES;

/// The arguments: `r` has one residual a row of `rows`, `g` one sum a column.
pub struct Gradient<'a, E, R> {
    /// Columns of the grain.
    pub columns: &'a [&'a [E]],
    /// Rows of the tile.
    pub rows: Range<usize>,
    /// Residuals.
    pub r: &'a [R],
    /// Lanes of every column, where the sums are made by several calls.
    pub carried: Option<Carried<'a, [[R; LANES]]>>,
    /// Sums, added to by the last call.
    pub g: &'a mut [f64],
}

impl<E: Load, R: Real> Kernel for Gradient<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Gradient { mut columns, rows, r, carried, g } = self;
        let wide = is_wide::<E>(columns.len());
        let (call, lanes) = carried.map_or((Call::ONLY, Default::default()), |carried| (carried.call, carried.lanes));
        let mut sums = Sums { call, lanes, g };
        if const { two_strips::<T, E, R>() } {
            columns = in_groups::<T, E, R, 8>(tier, wide, columns, &rows, r, &mut sums);
        }
        for column in in_groups::<T, E, R, 4>(tier, wide, columns, &rows, r, &mut sums) {
            side_by_side::<T, E, R, 1, true>(tier, &[column], rows.start, r, sums.take::<1>());
        }
    }
}

/// The sums of some columns.
struct Sums<'a, R> {
    call: Call,
    /// None where there is one call.
    lanes: &'a mut [[R; LANES]],
    g: &'a mut [f64],
}

impl<'a, R> Sums<'a, R> {
    /// Those of the first so many columns, which are no longer among these.
    #[inline(always)]
    fn take<const COLUMNS: usize>(&mut self) -> Sums<'a, R> {
        let (lanes, g) = (std::mem::take(&mut self.lanes), std::mem::take(&mut self.g));
        let ((own, g), (own_lanes, lanes)) = (g.split_at_mut(COLUMNS), lanes.split_at_mut(COLUMNS.min(lanes.len())));
        *self = Sums { call: self.call, lanes, g };
        Sums { call: self.call, lanes: own_lanes, g: own }
    }
}

/// Columns in groups of `COLUMNS`, and which are left. Each group of a wide block asks for what margins did not, or for the first rows of the
/// next tile of half as many columns (`ahead.rs`).
#[inline(always)]
fn in_groups<'a, T: Isa, E: Load, R: Real, const COLUMNS: usize>(
    tier: T,
    wide: bool,
    columns: &'a [&'a [E]],
    rows: &Range<usize>,
    r: &[R],
    sums: &mut Sums<'_, R>,
) -> &'a [&'a [E]] {
    let (groups, tail) = columns.as_chunks::<COLUMNS>();
    if wide && ahead::is_far() {
        for group in groups {
            for (_, column) in group.iter().enumerate().filter(|(c, _)| c % 4 >= ahead::WITH_MARGINS) {
                ask(tier, column, rows.end, rows.len());
            }
            side_by_side::<T, E, R, COLUMNS, false>(tier, group, rows.start, r, sums.take::<COLUMNS>());
        }
    } else if wide {
        for (group, asked) in groups.iter().zip(columns.chunks_exact(COLUMNS / 2)) {
            for column in asked {
                ask(tier, column, rows.end, ROWS);
            }
            side_by_side::<T, E, R, COLUMNS, false>(tier, group, rows.start, r, sums.take::<COLUMNS>());
        }
    } else {
        for group in groups {
            side_by_side::<T, E, R, COLUMNS, true>(tier, group, rows.start, r, sums.take::<COLUMNS>());
        }
    }
    tail
}

/// Asks for so many rows of a column, from `first` on.
#[inline(always)]
fn ask<T: Isa, E>(tier: T, column: &[E], first: usize, rows: usize) {
    for line in 0..rows * size_of::<E>() / CACHE_LINE {
        tier.prefetch_far(column, first + line * CACHE_LINE / size_of::<E>());
    }
}

/// `COLUMNS` columns over all rows; `ASKS`: and asks for their rows of the next tile.
#[inline(always)]
fn side_by_side<T: Isa, E: Load, R: Real, const COLUMNS: usize, const ASKS: bool>(
    tier: T,
    columns: &[&[E]; COLUMNS],
    start: usize,
    r: &[R],
    of: Sums<'_, R>,
) {
    let mut sums = [R::Lanes::<T>::zero(tier); COLUMNS];
    let Sums { call, lanes, g } = of;
    let carried = lanes.first_chunk_mut::<COLUMNS>();
    if !call.first
        && let Some(carried) = &carried
    {
        for (sum, lanes) in sums.iter_mut().zip(carried.iter()) {
            *sum = R::load::<T, R>(tier, lanes);
        }
    }
    let (groups, tail) = r.as_chunks::<ROWS>();
    let (ahead, asked) = (r.len() * ahead::calls(), ahead::with_margins::<E>());
    let mut row = start;
    for r in groups {
        let mut x: [&[[E; LANES]]; COLUMNS] = [&[]; COLUMNS];
        for (c, (x, column)) in x.iter_mut().zip(columns).enumerate() {
            *x = column[row..row + ROWS].as_chunks::<LANES>().0;
            let with_margins = COLUMNS >= 4 && c % 4 < asked;
            let lines = if !ASKS || with_margins { 0 } else { size_of::<E>() };
            for line in 0..lines {
                tier.prefetch_far(column, row + ahead + line * CACHE_LINE / size_of::<E>());
            }
        }
        for (k, r) in r.as_chunks::<LANES>().0.iter().enumerate() {
            let r = R::load::<T, R>(tier, r);
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = r.fma(E::load::<T, R>(tier, &x[k]), *sum);
            }
        }
        row += ROWS;
    }
    for r in tail.chunks(LANES) {
        let lanes = R::load_tail::<T, R>(tier, r);
        for (sum, column) in sums.iter_mut().zip(columns) {
            *sum = lanes.fma(E::load_tail::<T, R>(tier, &column[row..row + r.len()]), *sum);
        }
        row += LANES;
    }
    if call.last {
        for (g, sum) in g.iter_mut().zip(sums) {
            *g += sum.sum().to_f64();
        }
    } else if let Some(carried) = carried {
        for (lanes, sum) in carried.iter_mut().zip(sums) {
            sum.store(lanes);
        }
    }
}
