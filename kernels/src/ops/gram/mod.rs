//! Weighted Gram matrix of a grain's rows: `G[a][b] += sum_i h[i] x[i][a] x[i][b]`, for least squares by one pass and
//! for the Hessian of Newton's method.
//!
//! Its *variables* are the parameters in layout order, then the constant [`GramLayout::one`], then the target when
//! asked for. Dense variables (scalar and vector columns, the constant, the target) meet in a product of dense blocks
//! whose sums are `f64`; whatever touches a scattered block (codes, sparse rows) is added entry by entry to fixed-point
//! integers, whose sums do not depend on their order.
//!
//! Contents: [`layout`] where each pair of variables lies in the two slices of sums, [`scales`] the fixed-point scales
//! and the proof that their sums fit, [`dense`] the product of dense variables, `staged` the columns it reads, [`scatter`]
//! all other pairs.
//!
//! Cost, for D dense variables and s scattered entries a row: `D (D + 1) + 2 s D + s (s + 1)` flops a row.

pub mod dense;
pub mod layout;
pub mod scales;
pub mod scatter;
mod staged;

pub use layout::{GramLayout, Place, Shape};
pub use scales::{GramScales, OutOfRange};

use crate::isa::{Real, Token};
use crate::tile::Grain;
use std::ops::Range;

/// Rows of a grain and what they weigh.
#[derive(Clone, Debug)]
pub struct GramRows<'a, R> {
    /// The grain; its blocks are those of the layout, its label the target.
    pub grain: &'a Grain<'a>,
    /// Which of its rows.
    pub rows: Range<usize>,
    /// `h`, one a row of `rows`, not negative; all 1 when absent.
    pub weight: Option<&'a [R]>,
}

/// The sums that a call adds to.
#[derive(Debug)]
pub struct GramSums<'a> {
    /// [`GramLayout::dense_len`] sums.
    pub dense: &'a mut [f64],
    /// [`GramLayout::scattered_len`] sums, at the scales of [`GramScales`].
    pub scattered: &'a mut [i64],
}

/// Memory that calls reuse: after the first of a layout, a call allocates a list of its dense variables and no more.
#[derive(Debug, Default)]
pub struct GramScratch<R: Real> {
    dense: dense::DenseScratch<R>,
    scatter: scatter::ScatterScratch,
}

/// Adds the rows' Gram matrix to `sums`; see [`crate::Kernels::gram`].
pub(crate) fn gram<R: Real>(
    token: Token,
    layout: &GramLayout,
    scales: &GramScales,
    tile: &GramRows<'_, R>,
    scratch: &mut GramScratch<R>,
    GramSums { dense, scattered }: GramSums<'_>,
) -> Result<(), OutOfRange> {
    debug_assert_eq!(dense.len(), layout.dense_len());
    debug_assert_eq!(scattered.len(), layout.scattered_len());
    debug_assert!(tile.weight.is_none_or(|weight| weight.len() == tile.rows.len()), "one weight a row");
    dense::add(token, layout, tile, &mut scratch.dense, dense);
    if layout.scattered_len() == 0 {
        return Ok(());
    }
    token.enter(scatter::Scatter { layout, scales, tile, scratch: &mut scratch.scatter, sums: scattered })
}
