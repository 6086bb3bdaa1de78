//! The door to the kernels: [`Kernels`], one method per operation, for one tier and one arithmetic type.
//!
//! Control flow (block kind, storage type, tier) is decided here, once per call; the loops are in [`crate::ops`].
//! Nothing is allocated. Lengths are the caller's promise, checked in debug builds; slices are cut safely in any case.

use crate::dtype::f16;
use crate::fixed::FixedScale;
use crate::isa::{Load, Real, Token, portable::Portable};
use crate::losses::{Link, Loss, LossFunction, LossVisitor};
use crate::ops::gram::{self, GramLayout, GramRows, GramScales, GramScratch, GramSums, OutOfRange};
use crate::ops::loss::{LossSums, Losses};
use crate::ops::{codes, convert, gradient, margins, several, sparse, vectors};
use crate::tier::Tier;
use crate::tile::{Block, Codes, Columns, Values};
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
    fn at(&mut self, token: Token, scale: FixedScale) -> Result<&[i64], OutOfRange> {
        if self.scale != Some(scale) {
            self.scale = None;
            token.enter(codes::Quantise { r: self.r, scale, quantised: self.quantised })?;
            self.scale = Some(scale);
        }
        Ok(self.quantised)
    }
}

macro_rules! each_dtype {
    ($enum:ident, $value:expr, $x:ident : $type:ident => $body:expr) => {
        match $value {
            $enum::F64($x) => {
                type $type = f64;
                $body
            }
            $enum::F32($x) => {
                type $type = f32;
                $body
            }
            $enum::F16($x) => {
                type $type = f16;
                $body
            }
            $enum::U16($x) => {
                type $type = u16;
                $body
            }
            $enum::U8($x) => {
                type $type = u8;
                $body
            }
        }
    };
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
        match block {
            Block::Columns(columns) => each_dtype!(Columns, columns, columns: E => {
                self.token.enter(margins::Margins::<E, R> { columns, rows, w, z });
            }),
            Block::Vectors { values, width } => each_dtype!(Values, values, values: E => {
                let values = &values[rows.start * width..rows.end * width];
                self.token.enter(vectors::Margins::<E, R> { values, w, z });
            }),
            Block::Codes { codes: Codes::U8(codes), .. } => {
                self.token.enter(codes::Margins { codes: &codes[rows], w, z });
            }
            Block::Codes { codes: Codes::U16(codes), .. } => {
                self.token.enter(codes::Margins { codes: &codes[rows], w, z });
            }
            Block::Codes { codes: Codes::U32(codes), .. } => {
                self.token.enter(codes::Margins { codes: &codes[rows], w, z });
            }
            Block::Sparse { offsets, indices, values, .. } => {
                let rows = sparse::Rows { offsets: &offsets[rows.start..=rows.end], indices, values };
                self.token.enter(sparse::Margins { rows, w, z });
            }
        }
    }

    /// `g[j] += sum_i r[i] x[rows.start + i][j]` over the block's parameters, for blocks that are not scattered
    /// ([`Block::is_scattered`]); a scattered block is left alone (see [`Kernels::scatter`]).
    pub fn gradient(&self, block: &Block<'_>, rows: Range<usize>, r: &[R], g: &mut [f64]) {
        debug_assert!(!block.is_scattered(), "the gradient of scattered blocks is scattered");
        debug_assert_eq!(g.len(), block.parameters(), "one sum a parameter");
        debug_assert_eq!(r.len(), rows.len(), "one residual a row");
        match block {
            Block::Columns(columns) => each_dtype!(Columns, columns, columns: E => {
                self.token.enter(gradient::Gradient::<E, R> { columns, rows, r, g });
            }),
            Block::Vectors { values, width } => each_dtype!(Values, values, values: E => {
                let values = &values[rows.start * width..rows.end * width];
                self.token.enter(vectors::Gradient::<E, R> { values, r, g });
            }),
            Block::Codes { .. } | Block::Sparse { .. } => {}
        }
    }

    /// [`Kernels::margins`] of several weight vectors in one pass over the block: the vectors stand one after the other
    /// in `w`, and so do their margins in `z`. The same bits as one call a vector.
    pub fn margins_k(&self, block: &Block<'_>, rows: Range<usize>, w: &[R], z: &mut [R]) {
        let width = block.parameters();
        if width == 0 || rows.is_empty() {
            return;
        }
        debug_assert_eq!(w.len() / width, z.len() / rows.len(), "margins for every weight vector");
        match block {
            Block::Columns(columns) => each_dtype!(Columns, columns, columns: E => {
                self.token.enter(several::Margins::<E, R> { columns, rows, w, z });
            }),
            _ => {
                for (w, z) in w.chunks_exact(width).zip(z.chunks_exact_mut(rows.len())) {
                    self.margins(block, rows.clone(), w, z);
                }
            }
        }
    }

    /// [`Kernels::gradient`] of several residual vectors in one pass over the block: the vectors stand one after the
    /// other in `r`, and so do their gradients in `g`. The same bits as one call a vector.
    pub fn gradient_k(&self, block: &Block<'_>, rows: Range<usize>, r: &[R], g: &mut [f64]) {
        let width = block.parameters();
        if width == 0 || rows.is_empty() {
            return;
        }
        debug_assert_eq!(g.len() / width, r.len() / rows.len(), "a gradient for every residual vector");
        match block {
            Block::Columns(columns) => each_dtype!(Columns, columns, columns: E => {
                self.token.enter(several::Gradient::<E, R> { columns, rows, r, g });
            }),
            _ => {
                for (r, g) in r.chunks_exact(rows.len()).zip(g.chunks_exact_mut(width)) {
                    self.gradient(block, rows.clone(), r, g);
                }
            }
        }
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
        match block {
            Block::Columns(_) | Block::Vectors { .. } => {}
            Block::Codes { codes, .. } => {
                let quantised = residuals.at(self.token, scale)?;
                match codes {
                    Codes::U8(codes) => self.token.enter(codes::Scatter { codes: &codes[rows], quantised, g }),
                    Codes::U16(codes) => self.token.enter(codes::Scatter { codes: &codes[rows], quantised, g }),
                    Codes::U32(codes) => self.token.enter(codes::Scatter { codes: &codes[rows], quantised, g }),
                }
            }
            Block::Sparse { offsets, indices, values, .. } => {
                let rows = sparse::Rows { offsets: &offsets[rows.start..=rows.end], indices, values };
                self.token.enter(sparse::Scatter { rows, r: residuals.r, scale, g })?;
            }
        }
        Ok(())
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
        gram::gram(self.token, layout, scales, tile, scratch, sums)
    }

    /// Replaces the margins `z` by the residuals `weight * dloss/dz`, fills `curvature` with `weight * d2loss/dz2`, and
    /// sums; every slice has one number a row.
    pub fn loss(
        &self,
        loss: Loss,
        z: &mut [R],
        y: &[R],
        weight: Option<&[R]>,
        curvature: Option<&mut [R]>,
    ) -> LossSums {
        debug_assert_eq!(y.len(), z.len(), "one target a row");
        struct Visitor<'a, R> {
            token: Token,
            z: &'a mut [R],
            y: &'a [R],
            weight: Option<&'a [R]>,
            curvature: Option<&'a mut [R]>,
        }
        impl<R: Real> LossVisitor for Visitor<'_, R> {
            type Output = LossSums;
            fn visit<L: LossFunction>(self, loss: L) -> LossSums {
                let Visitor { token, z, y, weight, curvature } = self;
                token.enter(Losses { loss, z, y, weight, curvature })
            }
        }
        loss.visit(Visitor { token: self.token, z, y, weight, curvature })
    }

    /// `out[i] = values[rows.start + i]`, rounded to nearest.
    pub fn convert(&self, values: &Values<'_>, rows: Range<usize>, out: &mut [R]) {
        debug_assert_eq!(out.len(), rows.len(), "one number a row");
        each_dtype!(Values, values, values: E => self.convert_slice::<E>(&values[rows], out));
    }

    fn convert_slice<E: Load>(&self, values: &[E], out: &mut [R]) {
        self.token.enter(convert::Convert { values, out });
    }

    /// Turns margins into predictions.
    pub fn link(&self, link: Link, z: &mut [R]) {
        self.token.enter(convert::Predict { link, z });
    }
}
