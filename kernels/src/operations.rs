//! The table behind the door: plain function pointers, one per operation, for one arithmetic type.
//!
//! Here block kind, storage type and tier, known only at run time, become types, once per call. The two tables are filled
//! in this crate, so that all loops are compiled here once and no crate downstream compiles them again.

use crate::dtype::f16;
use crate::fixed::FixedScale;
use crate::isa::{LANES, Real, Token};
use crate::losses::{Link, Loss, LossFunction, LossVisitor};
use crate::ops::carried::Carried;
use crate::ops::gram::{self, GramLayout, GramRows, GramScales, GramScratch, GramSums, OutOfRange};
use crate::ops::loss::{LossLanes, LossRows, LossSums, Losses};
use crate::ops::softmax::{Softmax, SoftmaxSums};
use crate::ops::{bytes, codes, convert, crossed, gradient, lines, margins, several, sparse, vectors};
use crate::table::Residuals;
use crate::tile::{Block, Codes, Columns, Cross, Values};
use std::ops::Range;

/// The operations of [`crate::Kernels`]; what they do is said there.
#[allow(missing_docs, missing_debug_implementations)]
pub struct Operations<R: Real> {
    pub margins: fn(Token, &Block<'_>, Range<usize>, &[R], &mut [R]),
    pub gradient: Gradient<R>,
    pub margins_k: fn(Token, &Block<'_>, Range<usize>, &[R], &mut [R]),
    pub gradient_k: fn(Token, &Block<'_>, Range<usize>, &[R], &mut [f64]),
    pub cross: fn(Token, &Cross<'_>, Range<usize>, &mut [u32]),
    pub margins_lines: fn(Token, lines::Margins<'_, '_, R>),
    pub scatter_lines: fn(Token, lines::Scatter<'_, '_>),
    pub quantise: fn(Token, codes::Quantise<'_, R>) -> Result<(), OutOfRange>,
    pub scatter: Scatter<R>,
    pub gram: Gram<R>,
    pub loss: fn(Token, Loss, LossRows<'_, R>, Option<Carried<'_, LossLanes>>) -> LossSums,
    pub softmax: fn(Token, Softmax<'_, R>) -> SoftmaxSums,
    pub convert: fn(Token, &Values<'_>, Range<usize>, &mut [R]),
    pub link: fn(Token, Link, &mut [R]),
}

type Gradient<R> = fn(Token, &Block<'_>, Range<usize>, &[R], Option<Carried<'_, [[R; LANES]]>>, &mut [f64]);
type Scatter<R> =
    fn(Token, &Block<'_>, Range<usize>, &mut Residuals<'_, R>, FixedScale, &mut [i64]) -> Result<(), OutOfRange>;
type Gram<R> =
    fn(Token, &GramLayout, &GramScales, &GramRows<'_, R>, &mut GramScratch<R>, GramSums<'_>) -> Result<(), OutOfRange>;

/// For `f32`.
pub static F32: Operations<f32> = Operations::new();
/// For `f64`.
pub static F64: Operations<f64> = Operations::new();

impl<R: Real> Operations<R> {
    const fn new() -> Operations<R> {
        Operations {
            margins: margins::<R>,
            gradient: gradient::<R>,
            margins_k: margins_k::<R>,
            gradient_k: gradient_k::<R>,
            cross,
            margins_lines: margins_lines::<R>,
            scatter_lines,
            quantise: quantise::<R>,
            scatter: scatter::<R>,
            gram: gram::gram::<R>,
            loss: loss::<R>,
            softmax: softmax::<R>,
            convert: convert::<R>,
            link: link::<R>,
        }
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

/// Margins of many `u8` columns in integers, where the arithmetic type is `f32`.
fn byte_margins<R: Real>(token: Token, block: &Block<'_>, rows: &Range<usize>, w: &[R], z: &mut [R]) -> bool {
    let Block::Columns(Columns::U8(columns)) = block else { return false };
    let (Some(w), Some(z)) = (R::singles(w), R::singles_mut(z)) else { return false };
    if columns.len() < bytes::LEAST_COLUMNS {
        return false;
    }
    if !rows.is_empty() {
        bytes::margins(token, columns, rows.clone(), w, z);
    }
    true
}

/// The gradient likewise.
fn byte_gradient<R: Real>(token: Token, block: &Block<'_>, rows: &Range<usize>, r: &[R], g: &mut [f64]) -> bool {
    let Block::Columns(Columns::U8(columns)) = block else { return false };
    let Some(r) = R::singles(r) else { return false };
    if columns.len() < bytes::LEAST_COLUMNS {
        return false;
    }
    if !rows.is_empty() {
        bytes::gradient(token, columns, rows.clone(), r, g);
    }
    true
}

fn margins<R: Real>(token: Token, block: &Block<'_>, rows: Range<usize>, w: &[R], z: &mut [R]) {
    if byte_margins(token, block, &rows, w, z) {
        return;
    }
    match block {
        Block::Columns(columns) => each_dtype!(Columns, columns, columns: E => {
            token.enter(margins::Margins::<E, R> { columns, rows, w, z });
        }),
        Block::Vectors { values, width } => each_dtype!(Values, values, values: E => {
            let values = &values[rows.start * width..rows.end * width];
            token.enter(vectors::Margins::<E, R> { values, width: *width, w, z });
        }),
        Block::Codes { codes: Codes::U8(codes), .. } => token.enter(codes::Margins { codes: &codes[rows], w, z }),
        Block::Codes { codes: Codes::U16(codes), .. } => token.enter(codes::Margins { codes: &codes[rows], w, z }),
        Block::Codes { codes: Codes::U32(codes), .. } => token.enter(codes::Margins { codes: &codes[rows], w, z }),
        Block::Crossed(cross) => token.enter(crossed::Margins { cross, rows, w, z }),
        Block::Sparse { offsets, indices, values, .. } => {
            let rows = sparse::Rows { offsets: &offsets[rows.start..=rows.end], indices, values };
            token.enter(sparse::Margins { rows, w, z });
        }
    }
}

fn gradient<R: Real>(
    token: Token,
    block: &Block<'_>,
    rows: Range<usize>,
    r: &[R],
    carried: Option<Carried<'_, [[R; LANES]]>>,
    g: &mut [f64],
) {
    if byte_gradient(token, block, &rows, r, g) {
        return;
    }
    match block {
        Block::Columns(columns) => each_dtype!(Columns, columns, columns: E => {
            token.enter(gradient::Gradient::<E, R> { columns, rows, r, carried, g });
        }),
        Block::Vectors { values, width } => each_dtype!(Values, values, values: E => {
            let values = &values[rows.start * width..rows.end * width];
            token.enter(vectors::Gradient::<E, R> { values, width: *width, r, g });
        }),
        Block::Codes { .. } | Block::Crossed(_) | Block::Sparse { .. } => {}
    }
}

fn margins_k<R: Real>(token: Token, block: &Block<'_>, rows: Range<usize>, w: &[R], z: &mut [R]) {
    let width = block.parameters();
    if width == 0 || rows.is_empty() {
        return;
    }
    debug_assert_eq!(w.len() / width, z.len() / rows.len(), "margins for every weight vector");
    if byte_margins(token, block, &rows, w, z) {
        return;
    }
    match block {
        Block::Columns(columns) => each_dtype!(Columns, columns, columns: E => {
            token.enter(several::Margins::<E, R> { columns, rows, w, z });
        }),
        Block::Vectors { .. } => margins(token, block, rows, w, z),
        Block::Crossed(cross) => token.enter(crossed::Margins { cross, rows, w, z }),
        _ => {
            for (w, z) in w.chunks_exact(width).zip(z.chunks_exact_mut(rows.len())) {
                margins(token, block, rows.clone(), w, z);
            }
        }
    }
}

fn gradient_k<R: Real>(token: Token, block: &Block<'_>, rows: Range<usize>, r: &[R], g: &mut [f64]) {
    let width = block.parameters();
    if width == 0 || rows.is_empty() {
        return;
    }
    debug_assert_eq!(g.len() / width, r.len() / rows.len(), "a gradient for every residual vector");
    if byte_gradient(token, block, &rows, r, g) {
        return;
    }
    match block {
        Block::Columns(columns) => each_dtype!(Columns, columns, columns: E => {
            token.enter(several::Gradient::<E, R> { columns, rows, r, g });
        }),
        Block::Vectors { .. } => gradient(token, block, rows, r, None, g),
        _ => {
            for (r, g) in r.chunks_exact(rows.len()).zip(g.chunks_exact_mut(width)) {
                gradient(token, block, rows.clone(), r, None, g);
            }
        }
    }
}

fn margins_lines<R: Real>(token: Token, rows: lines::Margins<'_, '_, R>) {
    token.enter(rows);
}

fn scatter_lines(token: Token, rows: lines::Scatter<'_, '_>) {
    token.enter(rows);
}

fn quantise<R: Real>(token: Token, rows: codes::Quantise<'_, R>) -> Result<(), OutOfRange> {
    token.enter(rows)
}

fn cross(token: Token, cross: &Cross<'_>, rows: Range<usize>, out: &mut [u32]) {
    token.enter(crossed::Cross32 { cross, rows, out });
}

fn scatter<R: Real>(
    token: Token,
    block: &Block<'_>,
    rows: Range<usize>,
    residuals: &mut Residuals<'_, R>,
    scale: FixedScale,
    g: &mut [i64],
) -> Result<(), OutOfRange> {
    match block {
        Block::Columns(_) | Block::Vectors { .. } => {}
        Block::Codes { codes, .. } => {
            let quantised = residuals.at(token, scale)?;
            match codes {
                Codes::U8(codes) => token.enter(codes::Scatter { codes: &codes[rows], quantised, g }),
                Codes::U16(codes) => token.enter(codes::Scatter { codes: &codes[rows], quantised, g }),
                Codes::U32(codes) => token.enter(codes::Scatter { codes: &codes[rows], quantised, g }),
            }
        }
        Block::Crossed(cross) => {
            let quantised = residuals.at(token, scale)?;
            token.enter(crossed::Scatter { cross, rows, quantised, g });
        }
        Block::Sparse { offsets, indices, values, .. } => {
            let rows = sparse::Rows { offsets: &offsets[rows.start..=rows.end], indices, values };
            token.enter(sparse::Scatter { rows, r: residuals.real(), scale, g })?;
        }
    }
    Ok(())
}

fn loss<R: Real>(token: Token, loss: Loss, rows: LossRows<'_, R>, carried: Option<Carried<'_, LossLanes>>) -> LossSums {
    struct Visitor<'a, R>(Token, LossRows<'a, R>, Option<Carried<'a, LossLanes>>);
    impl<R: Real> LossVisitor for Visitor<'_, R> {
        type Output = LossSums;
        fn visit<L: LossFunction>(self, loss: L) -> LossSums {
            let Visitor(token, rows, carried) = self;
            token.enter(Losses { loss, rows, carried })
        }
    }
    loss.visit(Visitor(token, rows, carried))
}

fn softmax<R: Real>(token: Token, rows: Softmax<'_, R>) -> SoftmaxSums {
    token.enter(rows)
}

fn convert<R: Real>(token: Token, values: &Values<'_>, rows: Range<usize>, out: &mut [R]) {
    each_dtype!(Values, values, values: E => token.enter(convert::Convert::<E, R> { values: &values[rows], out }));
}

fn link<R: Real>(token: Token, link: Link, z: &mut [R]) {
    token.enter(convert::Predict { link, z });
}
