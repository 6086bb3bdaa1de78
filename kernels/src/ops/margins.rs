//! Margins of scalar columns: `z[i] += sum_j w[j] x[i][j]`.
//!
//! The margins of 64 rows stay in registers while all columns pass by. Of few columns the next 64 rows of each are asked for
//! meanwhile, and those of the next tile, or of the one after, of some of them (`ahead.rs`). 64 rows of many columns do not fit
//! the first-level cache: of these the 64 rows of the column that is read 16 KiB later are asked for, and on some processors
//! (`ahead.rs`) also those of the next tile of half of them. Each row is one chain of fused multiply-adds in column order, so that
//! its bits do not depend on where it stands. Cost: 2 flops a value, each value read once.

use super::ahead;
use crate::isa::{Isa, Kernel, LANES, Lanes, Load, Real};
use std::ops::Range;

/// Rows whose margins are held in registers.
const ROWS: usize = 4 * LANES;

/// Bytes of a cache line: 64 rows of a column fill as many lines as a value has bytes.
pub(crate) const CACHE_LINE: usize = 64;

/// Of many columns, what is asked for is read so many bytes later: far enough for memory to answer, and a third of a first-level cache.
/// 8 KiB are as good, 24 are not.
const AHEAD: usize = 16 << 10;

/// Whether 64 rows of all columns are more than what is asked for ahead. Of two bytes a value they are where they are twice as much, and only where
/// they come into the second-level cache: elsewhere 512 columns of `f16` are slower so by a tenth. Of bytes 64 rows are one line.
pub(super) fn is_wide<E>(columns: usize) -> bool {
    let bytes = columns * ROWS * size_of::<E>();
    match size_of::<E>() {
        0 | 1 => false,
        2 | 3 => ahead::is_far() && bytes > 2 * AHEAD,
        _ => bytes > AHEAD,
    }
}

/// The arguments: `w` has one weight a column, `z` one margin a row of `rows`.
pub struct Margins<'a, E, R> {
    /// Columns of the grain.
    pub columns: &'a [&'a [E]],
    /// Rows of the tile.
    pub rows: Range<usize>,
    /// Weights.
    pub w: &'a [R],
    /// Margins, added to.
    pub z: &'a mut [R],
}

impl<E: Load, R: Real> Kernel for Margins<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let mut row = self.rows.start;
        let calls = if is_wide::<E>(self.columns.len()) { 1 } else { ahead::calls() };
        let ahead = self.z.len() * calls;
        let mut rest = self.z;
        if const { two_strips::<T, E, R>() } {
            let (groups, tail) = rest.as_chunks_mut::<{ 2 * ROWS }>();
            for z in groups {
                many::<T, E, R, { 2 * ROWS / LANES }>(tier, self.columns, (row, ahead), self.w, z);
                row += 2 * ROWS;
            }
            rest = tail;
        }
        let (groups, tail) = rest.as_chunks_mut::<ROWS>();
        for z in groups {
            many::<T, E, R, { ROWS / LANES }>(tier, self.columns, (row, ahead), self.w, z);
            row += ROWS;
        }
        for z in tail.chunks_mut(LANES) {
            few::<T, E, R>(tier, self.columns, row, self.w, z);
            row += LANES;
        }
    }
}

/// True where 64 rows are too few sums to keep the multiply-adds busy, each waiting for the one before: where lanes fill a register
/// each, and values are narrow enough that memory does not bound it.
pub(super) const fn two_strips<T: Isa, E, R: Real>() -> bool {
    T::REGISTERS >= 32 && R::Lanes::<T>::REGISTERS == 1 && size_of::<E>() < size_of::<R>()
}

/// `N` vectors of rows.
#[inline(always)]
fn many<T: Isa, E: Load, R: Real, const N: usize>(
    tier: T,
    columns: &[&[E]],
    (row, ahead): (usize, usize),
    w: &[R],
    z: &mut [R],
) {
    let (z, _) = z.as_chunks_mut::<LANES>();
    let mut sums = [R::Lanes::<T>::zero(tier); N];
    for (sum, z) in sums.iter_mut().zip(&*z) {
        *sum = R::load::<T, R>(tier, z);
    }
    let with_margins = ahead::with_margins::<E>();
    if is_wide::<E>(columns.len()) {
        let columns_ahead = AHEAD / (N * LANES * size_of::<E>());
        let (first, last) = (0..columns.len() - columns_ahead, columns.len() - columns_ahead..columns.len());
        let far = row + ahead;
        wide::<T, E, R, N>(tier, (columns, first, row, far), (&columns[columns_ahead..], row), w, &mut sums);
        wide::<T, E, R, N>(tier, (columns, last, row, far), (columns, row + N * LANES), w, &mut sums);
    } else {
        for (j, (column, &weight)) in columns.iter().zip(w).enumerate() {
            let (x, _) = column[row..row + N * LANES].as_chunks::<LANES>();
            let weight = R::Lanes::<T>::splat(tier, weight);
            for line in 0..(N * LANES * size_of::<E>()) / CACHE_LINE {
                tier.prefetch(column, row + N * LANES + line * CACHE_LINE / size_of::<E>());
                if j % 4 < with_margins {
                    tier.prefetch_far(column, row + ahead + line * CACHE_LINE / size_of::<E>());
                }
            }
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = weight.fma(E::load::<T, R>(tier, x), *sum);
            }
        }
    }
    for (sum, z) in sums.iter().zip(z) {
        sum.store(z);
    }
}

/// Adds `N` vectors of rows of some of many columns, and asks for as many rows of as many others; where these are to come into the
/// second-level cache, also for those of the next tile, at `far`, of the columns that the gradient leaves out.
#[inline(always)]
fn wide<T: Isa, E: Load, R: Real, const N: usize>(
    tier: T,
    (columns, range, row, far): (&[&[E]], Range<usize>, usize, usize),
    (asked, asked_row): (&[&[E]], usize),
    w: &[R],
    sums: &mut [R::Lanes<T>; N],
) {
    let is_far = ahead::is_far();
    let (own, w) = (&columns[range.clone()], &w[range.clone()]);
    for (((column, asked), &weight), j) in own.iter().zip(asked).zip(w).zip(range) {
        let (x, _) = column[row..row + N * LANES].as_chunks::<LANES>();
        let weight = R::Lanes::<T>::splat(tier, weight);
        for line in (0..N * LANES).step_by(CACHE_LINE / size_of::<E>()) {
            if !is_far {
                tier.prefetch(asked, asked_row + line);
                continue;
            }
            tier.prefetch_far(asked, asked_row + line);
            if j % 4 < ahead::WITH_MARGINS {
                tier.prefetch_far(column, far + line);
            }
        }
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = weight.fma(E::load::<T, R>(tier, x), *sum);
        }
    }
}

/// At most 16 rows.
#[inline(always)]
fn few<T: Isa, E: Load, R: Real>(tier: T, columns: &[&[E]], row: usize, w: &[R], z: &mut [R]) {
    let mut sum = R::load_tail::<T, R>(tier, z);
    for (column, &weight) in columns.iter().zip(w) {
        let x = E::load_tail::<T, R>(tier, &column[row..row + z.len()]);
        sum = R::Lanes::<T>::splat(tier, weight).fma(x, sum);
    }
    let mut whole = [R::default(); LANES];
    sum.store(&mut whole);
    z.copy_from_slice(&whole[..z.len()]);
}
