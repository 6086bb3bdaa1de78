//! Margins and gradient of scalar columns for several weight vectors in one pass: a value that was loaded and converted
//! once serves them all.
//!
//! Weight vectors, margins, residuals and gradients stand one after the other (`w[v * columns + j]`, `z[v * rows + i]`).
//! Each vector gets the bits that [`super::margins`] and [`super::gradient`] give it alone. Vectors are taken eight, four
//! or two at a time, as many as half of the registers hold sums for. Cost: 2 flops a value and vector, each value
//! read once per such group.

use super::loss::store_tail;
use super::margins::CACHE_LINE;
use crate::isa::{Isa, Kernel, LANES, Lanes, Load, Real};
use std::ops::Range;

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

/// How many of `left` vectors go together.
#[inline(always)]
fn together<T: Isa, R: Real>(left: usize) -> usize {
    let most = (T::REGISTERS / 2 / R::Lanes::<T>::REGISTERS).clamp(1, 8);
    [8, 4, 2].into_iter().find(|&count| count <= most && count <= left).unwrap_or(1)
}

impl<E: Load, R: Real> Kernel for Margins<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let (width, rows) = (self.columns.len(), self.rows.len());
        let (mut w, mut z) = (self.w, self.z);
        while !w.is_empty() {
            let count = together::<T, R>(w.len() / width);
            let (these_w, rest_w) = w.split_at(count * width);
            let (these_z, rest_z) = std::mem::take(&mut z).split_at_mut(count * rows);
            match count {
                8 => margins::<T, E, R, 8>(tier, self.columns, &self.rows, these_w, these_z),
                4 => margins::<T, E, R, 4>(tier, self.columns, &self.rows, these_w, these_z),
                2 => margins::<T, E, R, 2>(tier, self.columns, &self.rows, these_w, these_z),
                _ => margins::<T, E, R, 1>(tier, self.columns, &self.rows, these_w, these_z),
            }
            (w, z) = (rest_w, rest_z);
        }
    }
}

#[inline(always)]
fn margins<T: Isa, E: Load, R: Real, const K: usize>(
    tier: T,
    columns: &[&[E]],
    rows: &Range<usize>,
    w: &[R],
    z: &mut [R],
) {
    let width = columns.len();
    let mut weights: [&[R]; K] = [&[]; K];
    for (v, weights) in weights.iter_mut().enumerate() {
        *weights = &w[v * width..(v + 1) * width];
    }
    for at in (0..rows.len()).step_by(LANES) {
        let count = LANES.min(rows.len() - at);
        let row = rows.start + at;
        let mut sums = [R::Lanes::<T>::zero(tier); K];
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum = load::<T, R, R>(tier, &z[v * rows.len() + at..][..count]);
        }
        for (j, column) in columns.iter().enumerate() {
            let x: R::Lanes<T> = load::<T, E, R>(tier, &column[row..row + count]);
            if (at * size_of::<E>()).is_multiple_of(CACHE_LINE) {
                tier.prefetch(column, row + 4 * LANES);
            }
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = R::Lanes::<T>::splat(tier, weights[j]).fma(x, *sum);
            }
        }
        for (v, sum) in sums.into_iter().enumerate() {
            store_tail::<T, R>(sum, &mut z[v * rows.len() + at..][..count]);
        }
    }
}

/// Whole vectors in one load, tails padded with zeros.
#[inline(always)]
fn load<T: Isa, E: Load, R: Real>(tier: T, values: &[E]) -> R::Lanes<T> {
    match values.as_array() {
        Some(whole) => E::load::<T, R>(tier, whole),
        None => E::load_tail::<T, R>(tier, values),
    }
}

impl<E: Load, R: Real> Kernel for Gradient<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let (width, rows) = (self.columns.len(), self.rows.len());
        let (mut r, mut g) = (self.r, self.g);
        while !r.is_empty() {
            let count = together::<T, R>(r.len() / rows);
            let (these_r, rest_r) = r.split_at(count * rows);
            let (these_g, rest_g) = std::mem::take(&mut g).split_at_mut(count * width);
            match count {
                8 => gradient::<T, E, R, 8>(tier, self.columns, &self.rows, these_r, these_g),
                4 => gradient::<T, E, R, 4>(tier, self.columns, &self.rows, these_r, these_g),
                2 => gradient::<T, E, R, 2>(tier, self.columns, &self.rows, these_r, these_g),
                _ => gradient::<T, E, R, 1>(tier, self.columns, &self.rows, these_r, these_g),
            }
            (r, g) = (rest_r, rest_g);
        }
    }
}

#[inline(always)]
fn gradient<T: Isa, E: Load, R: Real, const K: usize>(
    tier: T,
    columns: &[&[E]],
    rows: &Range<usize>,
    r: &[R],
    g: &mut [f64],
) {
    let (width, count) = (columns.len(), rows.len());
    let mut residuals: [&[R]; K] = [&[]; K];
    for (v, residuals) in residuals.iter_mut().enumerate() {
        *residuals = &r[v * count..(v + 1) * count];
    }
    for (j, column) in columns.iter().enumerate() {
        let x = &column[rows.clone()];
        let mut sums = [R::Lanes::<T>::zero(tier); K];
        for at in (0..count).step_by(LANES) {
            let to = count.min(at + LANES);
            let x: R::Lanes<T> = load::<T, E, R>(tier, &x[at..to]);
            for (sum, residuals) in sums.iter_mut().zip(residuals) {
                *sum = load::<T, R, R>(tier, &residuals[at..to]).fma(x, *sum);
            }
        }
        for (v, sum) in sums.into_iter().enumerate() {
            g[v * width + j] += sum.sum().to_f64();
        }
    }
}
