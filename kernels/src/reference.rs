//! Every kernel again in plain `f64`: the place to start reading, and what the battery holds each tier against.
//!
//! No vectors, no tiers, no tiles: one loop a formula, rows `rows` of a grain's block.

use crate::losses::{Link, Loss, LossFunction, LossVisitor, Terms};
use crate::ops::crossed;
use crate::ops::loss::LossSums;
use crate::ops::softmax::SoftmaxSums;
use crate::tile::{Block, Codes, Columns, Grain, Values};
use std::ops::Range;

/// Calls `visit(i, j, x)` for every stored entry of the block: row `rows.start + i` has the value `x` for parameter `j`.
pub fn entries(block: &Block<'_>, rows: Range<usize>, mut visit: impl FnMut(usize, usize, f64)) {
    for (i, row) in rows.enumerate() {
        match block {
            Block::Columns(columns) => {
                for j in 0..columns.len() {
                    visit(i, j, column_value(columns, j, row));
                }
            }
            Block::Vectors { values, width } => {
                for j in 0..*width {
                    visit(i, j, value(values, row * width + j));
                }
            }
            Block::Codes { codes, .. } => visit(i, code(codes, row), 1.0),
            Block::Crossed(cross) => visit(i, crossed::code(cross, row) as usize, 1.0),
            Block::Sparse { offsets, indices, values, .. } => {
                for entry in offsets[row] as usize..offsets[row + 1] as usize {
                    visit(i, indices[entry] as usize, f64::from(values[entry]));
                }
            }
        }
    }
}

/// `z[i] += sum_j w[j] x[i][j]`.
pub fn margins(block: &Block<'_>, rows: Range<usize>, w: &[f64], z: &mut [f64]) {
    entries(block, rows, |i, j, x| z[i] += w[j] * x);
}

/// `g[j] += sum_i r[i] x[i][j]`.
pub fn gradient(block: &Block<'_>, rows: Range<usize>, r: &[f64], g: &mut [f64]) {
    entries(block, rows, |i, j, x| g[j] += r[i] * x);
}

/// `G[a][b] += sum_i h[i] x[i][a] x[i][b]`, row by row, over the variables: the parameters in layout order, the constant
/// 1, and the label if `target`.
pub fn gram(grain: &Grain<'_>, rows: Range<usize>, weight: Option<&[f64]>, target: bool, matrix: &mut [f64]) {
    let parameters: usize = grain.blocks.iter().map(Block::parameters).sum();
    let variables = parameters + 1 + usize::from(target);
    for (i, row) in rows.enumerate() {
        let mut x = vec![0.0; variables];
        let mut first = 0;
        for block in &grain.blocks {
            entries(block, row..row + 1, |_, j, value| x[first + j] = value);
            first += block.parameters();
        }
        x[parameters] = 1.0;
        if let (true, Some(label)) = (target, &grain.label) {
            x[parameters + 1] = value(label, row);
        }
        let weight = weight.map_or(1.0, |weight| weight[i]);
        for a in 0..variables {
            for b in 0..variables {
                matrix[a * variables + b] += weight * x[a] * x[b];
            }
        }
    }
}

/// Margins become weighted residuals; curvatures are filled in; see [`crate::Kernels::loss`].
pub fn loss(
    loss: Loss,
    z: &mut [f64],
    y: &[f64],
    weight: Option<&[f64]>,
    mut curvature: Option<&mut [f64]>,
) -> LossSums {
    let mut sums = LossSums::default();
    for (i, z) in z.iter_mut().enumerate() {
        let weight = weight.map_or(1.0, |weight| weight[i]);
        let row = terms(loss, *z, y[i]);
        *z = weight * row.residual;
        sums.loss += weight * row.loss;
        sums.residual += *z;
        sums.weight += weight;
        if let Some(curvature) = &mut curvature {
            curvature[i] = weight * row.curvature;
            sums.curvature += curvature[i];
        }
    }
    sums
}

/// Margins of all classes, class after class, become weighted residuals; see [`crate::Kernels::softmax`].
pub fn softmax(z: &mut [f64], y: &[f64], weight: Option<&[f64]>, residuals: &mut [f64]) -> SoftmaxSums {
    let (rows, classes) = (y.len(), residuals.len());
    let mut sums = SoftmaxSums::default();
    for (i, &own) in y.iter().enumerate() {
        let weight = weight.map_or(1.0, |weight| weight[i]);
        let margins: Vec<f64> = (0..classes).map(|k| z[k * rows + i]).collect();
        let most = margins.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = margins.iter().map(|margin| (margin - most).exp()).sum();
        sums.loss += weight * (total.ln() + most - margins[own as usize]);
        sums.weight += weight;
        for (k, margin) in margins.iter().enumerate() {
            let target = if k == own as usize { 1.0 } else { 0.0 };
            z[k * rows + i] = weight * ((margin - most).exp() / total - target);
            residuals[k] += z[k * rows + i];
        }
    }
    sums
}

/// Loss and derivatives of one row.
pub fn terms(loss: Loss, z: f64, y: f64) -> Terms<f64> {
    struct Visitor(f64, f64);
    impl LossVisitor for Visitor {
        type Output = Terms<f64>;
        fn visit<L: LossFunction>(self, loss: L) -> Terms<f64> {
            loss.reference(self.0, self.1)
        }
    }
    loss.visit(Visitor(z, y))
}

/// A margin as a prediction.
pub fn link(link: Link, z: f64) -> f64 {
    match link {
        Link::Identity => z,
        Link::Sigmoid => 1.0 / (1.0 + (-z).exp()),
        Link::Exp => z.exp(),
    }
}

/// Value `index`.
pub fn value(values: &Values<'_>, index: usize) -> f64 {
    match values {
        Values::F64(values) => values[index],
        Values::F32(values) => f64::from(values[index]),
        Values::F16(values) => f64::from(values[index]),
        Values::U16(values) => f64::from(values[index]),
        Values::U8(values) => f64::from(values[index]),
    }
}

fn column_value(columns: &Columns<'_>, column: usize, row: usize) -> f64 {
    match columns {
        Columns::F64(columns) => columns[column][row],
        Columns::F32(columns) => f64::from(columns[column][row]),
        Columns::F16(columns) => f64::from(columns[column][row]),
        Columns::U16(columns) => f64::from(columns[column][row]),
        Columns::U8(columns) => f64::from(columns[column][row]),
    }
}

fn code(codes: &Codes<'_>, row: usize) -> usize {
    match codes {
        Codes::U8(codes) => usize::from(codes[row]),
        Codes::U16(codes) => usize::from(codes[row]),
        Codes::U32(codes) => codes[row] as usize,
    }
}
