//! The door to the kernels: [`Kernels`], one method per operation, for one tier and one arithmetic type.
//!
//! A method checks its arguments and calls through [`Real`]'s table of function pointers, so that a crate downstream
//! compiles no loop. Nothing is allocated. Lengths are the caller's promise, checked in debug builds; slices are cut
//! safely in any case.

use crate::fixed::FixedScale;
use crate::isa::{LANES, Real, Token, portable::Portable};
use crate::losses::{Link, Loss};
use crate::ops::ahead::Next;
use crate::ops::carried::Carried;
use crate::ops::gram::{GramLayout, GramRows, GramScales, GramScratch, GramSums, OutOfRange};
use crate::ops::loss::{LossLanes, LossRows, LossSums};
use crate::ops::softmax::{Softmax, SoftmaxSums};
use crate::ops::{codes, lines};
use crate::tier::Tier;
use crate::tile::{Block, Cross, Values};
use std::marker::PhantomData;
use std::ops::Range;

/// The kernels of one tier for the arithmetic type `R`.
#[derive(Clone, Copy, Debug)]
pub struct Kernels<R> {
    token: Token,
    real: PhantomData<fn(R) -> R>,
}

/// A tile's residuals, in the arithmetic type and, once a categorical column needs them so, in fixed point.
#[derive(Debug)]
pub struct Residuals<'a, R> {
    r: &'a [R],
    quantised: &'a mut [i64],
    scale: Option<FixedScale>,
}

impl<'a, R: Real> Residuals<'a, R> {
    /// `scratch` is as long as `r`.
    pub fn new(r: &'a [R], scratch: &'a mut [i64]) -> Residuals<'a, R> {
        debug_assert_eq!(r.len(), scratch.len(), "one integer a residual");
        Residuals { r, quantised: scratch, scale: None }
    }

    /// The residuals in the arithmetic type.
    pub fn real(&self) -> &'a [R] {
        self.r
    }

    /// The residuals at `scale`, made anew only where the scale is another than the last.
    pub(crate) fn at(&mut self, token: Token, scale: FixedScale) -> Result<&[i64], OutOfRange> {
        if self.scale != Some(scale) {
            self.scale = None;
            token.enter(codes::Quantise { r: self.r, scale, quantised: self.quantised })?;
            self.scale = Some(scale);
        }
        Ok(self.quantised)
    }
}

impl<R: Real> Kernels<R> {
    /// The kernels of `tier`; those of [`Tier::Portable`] if this processor lacks it, which a tier from
    /// [`Tier::chosen`], [`Tier::best`] or [`Tier::available`] never is.
    pub fn new(tier: Tier) -> Kernels<R> {
        let portable = Token::Portable(Portable::new());
        Kernels { token: Token::detect(tier).unwrap_or(portable), real: PhantomData }
    }

    /// The tier in use.
    pub fn tier(&self) -> Tier {
        self.token.tier()
    }

    /// `z[i] += sum_j w[j] x[rows.start + i][j]`: `w` has the block's parameters, `z` a margin a row.
    pub fn margins(&self, block: &Block<'_>, rows: Range<usize>, w: &[R], z: &mut [R]) {
        debug_assert_eq!(w.len(), block.parameters(), "one weight a parameter");
        debug_assert_eq!(z.len(), rows.len(), "one margin a row");
        (R::operations().margins)(self.token, block, rows, w, z);
    }

    /// `g[j] += sum_i r[i] x[rows.start + i][j]` over the block's parameters, for blocks that are not scattered
    /// ([`Block::is_scattered`]); a scattered block is left alone (see [`Kernels::scatter`]).
    pub fn gradient(&self, block: &Block<'_>, rows: Range<usize>, r: &[R], g: &mut [f64]) {
        self.gradient_of_run(block, rows, r, None, g);
    }

    /// [`Kernels::gradient`] of rows that come in several calls, with lanes for every parameter. Of blocks of scalar columns `g` gets nothing
    /// before the last call; others have nothing to carry. The bits are those of one call with all rows, but for blocks of many `u8` columns,
    /// whose residuals are rounded call by call ([`crate::ops::bytes`]).
    pub fn gradient_of_run(
        &self,
        block: &Block<'_>,
        rows: Range<usize>,
        r: &[R],
        carried: Option<Carried<'_, [[R; LANES]]>>,
        g: &mut [f64],
    ) {
        debug_assert!(!block.is_scattered(), "the gradient of scattered blocks is scattered");
        debug_assert_eq!(g.len(), block.parameters(), "one sum a parameter");
        debug_assert_eq!(r.len(), rows.len(), "one residual a row");
        debug_assert!(carried.as_ref().is_none_or(|c| c.lanes.len() == g.len()), "lanes of every sum");
        (R::operations().gradient)(self.token, block, rows, r, carried, g);
    }

    /// [`Kernels::margins`] of several weight vectors in one pass over the block: the vectors stand one after the other
    /// in `w`, and so do their margins in `z`. The same bits as one call a vector.
    pub fn margins_k(&self, block: &Block<'_>, rows: Range<usize>, w: &[R], z: &mut [R]) {
        (R::operations().margins_k)(self.token, block, rows, w, z);
    }

    /// [`Kernels::gradient`] of several residual vectors in one pass over the block: the vectors stand one after the
    /// other in `r`, and so do their gradients in `g`. The same bits as one call a vector.
    pub fn gradient_k(&self, block: &Block<'_>, rows: Range<usize>, r: &[R], g: &mut [f64]) {
        (R::operations().gradient_k)(self.token, block, rows, r, g);
    }

    /// [`Kernels::margins`] over categorical blocks for several weight vectors, whose weights of a level stand side by side, block
    /// after block; their margins stand one after the other. The same bits as one call a block and vector.
    pub fn margins_lines(&self, rows: lines::Margins<'_, '_, R>) {
        debug_assert_eq!(rows.z.len(), rows.count * rows.rows.len(), "a margin a vector and row");
        (R::operations().margins_lines)(self.token, rows);
    }

    /// [`Kernels::scatter`] over categorical blocks for several residual vectors in fixed point, which stand one after the
    /// other; their sums of a level stand side by side, block after block.
    pub fn scatter_lines(&self, rows: lines::Scatter<'_, '_>) {
        debug_assert_eq!(rows.quantised.len(), rows.count * rows.rows.len(), "an integer a vector and row");
        (R::operations().scatter_lines)(self.token, rows);
    }

    /// `out[i] = round(r[i] 2^exponent)`; an error says that one was larger than the scale allows, or not a number.
    pub fn quantise(&self, r: &[R], scale: FixedScale, out: &mut [i64]) -> Result<(), OutOfRange> {
        debug_assert_eq!(out.len(), r.len(), "one integer a residual");
        (R::operations().quantise)(self.token, codes::Quantise { r, scale, quantised: out })
    }

    /// `out[i] = code of row rows.start + i`, for who needs the codes of a crossed column themselves.
    pub fn cross(&self, cross: &Cross<'_>, rows: Range<usize>, out: &mut [u32]) {
        debug_assert_eq!(out.len(), rows.len(), "one code a row");
        (R::operations().cross)(self.token, cross, rows, out);
    }

    /// `g[j] += round(r[i] x[rows.start + i][j] 2^exponent)` over the entries of a scattered block; other blocks are
    /// left alone (see [`Kernels::gradient`]). An error says that a contribution was larger than the scale allows, or
    /// not a number: then the sums are worthless.
    pub fn scatter(
        &self,
        block: &Block<'_>,
        rows: Range<usize>,
        residuals: &mut Residuals<'_, R>,
        scale: FixedScale,
        g: &mut [i64],
    ) -> Result<(), OutOfRange> {
        debug_assert!(block.is_scattered(), "the gradient of dense blocks is not scattered");
        debug_assert_eq!(g.len(), block.parameters(), "one sum a parameter");
        debug_assert_eq!(residuals.r.len(), rows.len(), "one residual a row");
        (R::operations().scatter)(self.token, block, rows, residuals, scale, g)
    }

    /// Adds the weighted Gram matrix of the rows, `G[a][b] += sum_i h[i] x[i][a] x[i][b]` over the variables of `layout`,
    /// to `sums`; products of dense variables are formed in the arithmetic type. On an error the sums are worthless.
    pub fn gram(
        &self,
        layout: &GramLayout,
        scales: &GramScales,
        tile: &GramRows<'_, R>,
        scratch: &mut GramScratch<R>,
        sums: GramSums<'_>,
    ) -> Result<(), OutOfRange> {
        (R::operations().gram)(self.token, layout, scales, tile, scratch, sums)
    }

    /// Replaces the margins `z` by the residuals `weight * dloss/dz`, fills `curvature` with `weight * d2loss/dz2`, and
    /// sums; every slice has one number a row. Asks memory for `next` meanwhile.
    pub fn loss(
        &self,
        loss: Loss,
        z: &mut [R],
        y: &[R],
        weight: Option<&[R]>,
        curvature: Option<&mut [R]>,
        next: Option<Next<'_>>,
    ) -> LossSums {
        self.loss_of_run(loss, LossRows { z, y, weight, curvature, next }, None)
    }

    /// [`Kernels::loss`] of rows that come in several calls: what they return adds up to the sums of all, with the bits of one call with all rows.
    pub fn loss_of_run(&self, loss: Loss, rows: LossRows<'_, R>, carried: Option<Carried<'_, LossLanes>>) -> LossSums {
        debug_assert_eq!(rows.y.len(), rows.z.len(), "one target a row");
        (R::operations().loss)(self.token, loss, rows, carried)
    }

    /// Replaces the margins of all classes, class after class, by the residuals of softmax with cross-entropy; see
    /// [`Softmax`].
    pub fn softmax(&self, rows: Softmax<'_, R>) -> SoftmaxSums {
        debug_assert_eq!(rows.z.len(), rows.y.len() * rows.residuals.len(), "a margin a class and row");
        (R::operations().softmax)(self.token, rows)
    }

    /// `out[i] = values[rows.start + i]`, rounded to nearest.
    pub fn convert(&self, values: &Values<'_>, rows: Range<usize>, out: &mut [R]) {
        debug_assert_eq!(out.len(), rows.len(), "one number a row");
        (R::operations().convert)(self.token, values, rows, out);
    }

    /// Turns margins into predictions.
    pub fn link(&self, link: Link, z: &mut [R]) {
        (R::operations().link)(self.token, link, z);
    }
}
