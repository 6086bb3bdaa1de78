//! Where each pair of variables lies in the sums of a Gram matrix.
//!
//! Two slices. The dense one is the upper triangle, row by row, of the D dense variables in the order: parameters of
//! dense blocks, the constant 1, the target. The scattered one holds, for S scattered parameters,
//!
//! ```text
//! [S x D  each with every dense variable][pair (0, 0)][pair (0, 1)] .. [pair (1, 1)] ..   pairs of scattered blocks
//! ```
//!
//! where the pair of two different blocks is a full rectangle, that of a sparse block with itself an upper triangle,
//! and that of a codes block with itself nothing: two levels of one column never meet in a row, and a level's own
//! square is its product with the constant.

use super::scales::GramScales;
use crate::tile::{Block, Grain};

/// What the Gram matrix needs to know of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Scalar or vector columns with so many parameters.
    Dense(usize),
    /// A categorical column, crossed or not, with so many levels.
    Codes(usize),
    /// A sparse vector column with so many elements.
    Sparse(usize),
}

impl Shape {
    /// The shape of `block`.
    pub fn of(block: &Block<'_>) -> Shape {
        match block {
            Block::Columns(_) | Block::Vectors { .. } => Shape::Dense(block.parameters()),
            Block::Codes { levels, .. } => Shape::Codes(*levels),
            Block::Crossed(cross) => Shape::Codes(cross.levels),
            Block::Sparse { width, .. } => Shape::Sparse(*width),
        }
    }

    /// Number of parameters.
    pub fn parameters(self) -> usize {
        match self {
            Shape::Dense(count) | Shape::Codes(count) | Shape::Sparse(count) => count,
        }
    }
}

/// Where the sum of a pair of variables lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the dense slice.
    Dense(usize),
    /// In the scattered slice.
    Scattered(usize),
    /// Nowhere: the sum is 0.
    Zero,
}

/// A variable as its blocks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Number among the dense variables.
    Dense(usize),
    /// Number of the scattered block, of the parameter in it, and among all scattered parameters.
    Scattered { block: usize, element: usize, parameter: usize },
}

/// A codes or sparse block of the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScatteredBlock {
    /// Number among the blocks of a grain.
    pub block: usize,
    /// Number of its first parameter among the variables.
    pub variable: usize,
    /// Number of its first parameter among the scattered parameters.
    pub first: usize,
    pub shape: Shape,
}

impl ScatteredBlock {
    /// True for a categorical column.
    #[inline(always)]
    pub fn is_codes(&self) -> bool {
        matches!(self.shape, Shape::Codes(_))
    }
}

/// A block and where its variables start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start {
    /// Number of its first parameter among the variables.
    variable: usize,
    /// Number of its first parameter among the dense variables, or of the block among the scattered ones.
    rank: usize,
    is_dense: bool,
}

/// The plan of a Gram matrix; see the top of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GramLayout {
    starts: Vec<Start>,
    parameters: usize,
    dense: usize,
    target: bool,
    pub(super) scattered: Vec<ScatteredBlock>,
    /// Start of the pair of scattered blocks `(a, b)`, `a <= b`, at `a * blocks + b`.
    pairs: Vec<usize>,
    dense_len: usize,
    scattered_len: usize,
}

impl GramLayout {
    /// The plan for rows of these blocks; none when a sum of its lengths does not fit `isize` bytes. A plan is small
    /// whatever its lengths: make it first, then see whether the sums can be afforded.
    pub fn new(shapes: &[Shape], target: bool) -> Option<GramLayout> {
        let parameters = shapes.iter().try_fold(0_usize, |sum, shape| sum.checked_add(shape.parameters()))?;
        let of_dense = |shape: &Shape| if let Shape::Dense(count) = shape { *count } else { 0 };
        let dense = shapes.iter().map(of_dense).sum::<usize>().checked_add(1 + usize::from(target))?;
        let (scattered, starts) = starts(shapes, dense, parameters);
        let (pairs, scattered_len) = pairs(&scattered, dense)?;
        let dense_len = triangle(dense)?;
        let fits = |len: usize| len <= isize::MAX as usize / 16;
        (fits(dense_len) && fits(scattered_len)).then_some(GramLayout {
            starts,
            parameters,
            dense,
            target,
            scattered,
            pairs,
            dense_len,
            scattered_len,
        })
    }

    /// The plan for the rows of `grain`.
    pub fn of(grain: &Grain<'_>, target: bool) -> Option<GramLayout> {
        GramLayout::new(&grain.blocks.iter().map(Shape::of).collect::<Vec<_>>(), target)
    }

    /// Number of variables: the parameters, the constant, and the target if it is there.
    pub fn variables(&self) -> usize {
        self.parameters + 1 + usize::from(self.target)
    }

    /// Number of the constant 1 among the variables: its row holds the sums of the others, its square that of `h`.
    pub fn one(&self) -> usize {
        self.parameters
    }

    /// Number of the target among the variables, if it is there.
    pub fn target(&self) -> Option<usize> {
        self.target.then_some(self.parameters + 1)
    }

    /// Number of dense variables: parameters of dense blocks, the constant, the target.
    pub fn dense_variables(&self) -> usize {
        self.dense
    }

    /// Length of the slice of `f64` sums.
    pub fn dense_len(&self) -> usize {
        self.dense_len
    }

    /// Length of the slice of fixed-point sums.
    pub fn scattered_len(&self) -> usize {
        self.scattered_len
    }

    /// Where the sum of the products of two variables lies.
    pub fn place(&self, a: usize, b: usize) -> Place {
        match (self.slot(a), self.slot(b)) {
            (Slot::Dense(a), Slot::Dense(b)) => Place::Dense(in_triangle(self.dense, a, b)),
            (Slot::Dense(slot), Slot::Scattered { parameter, .. })
            | (Slot::Scattered { parameter, .. }, Slot::Dense(slot)) => Place::Scattered(parameter * self.dense + slot),
            (
                Slot::Scattered { block: p, element: a, parameter },
                Slot::Scattered { block: q, element: b, parameter: other },
            ) => match (p == q, self.scattered[p].shape) {
                // The constant is the last dense variable but the target.
                (true, Shape::Codes(_)) if a == b => {
                    Place::Scattered(parameter * self.dense + self.dense - 1 - usize::from(self.target))
                }
                (true, Shape::Codes(_)) => Place::Zero,
                (true, shape) => Place::Scattered(self.pair(p, p) + in_triangle(shape.parameters(), a, b)),
                (false, _) if parameter < other => Place::Scattered(self.rectangle(p, a, q, b)),
                (false, _) => Place::Scattered(self.rectangle(q, b, p, a)),
            },
        }
    }

    fn slot(&self, variable: usize) -> Slot {
        // The first block starts at 0 and the constant has a start of its own, so that there always is one.
        let start = self.starts[self.starts.partition_point(|start| start.variable <= variable) - 1];
        let element = variable - start.variable;
        if start.is_dense {
            return Slot::Dense(start.rank + element);
        }
        Slot::Scattered { block: start.rank, element, parameter: self.scattered[start.rank].first + element }
    }

    /// Start of the sums of the scattered blocks `p <= q`.
    pub(super) fn pair(&self, p: usize, q: usize) -> usize {
        self.pairs[p * self.scattered.len() + q]
    }

    fn rectangle(&self, p: usize, a: usize, q: usize, b: usize) -> usize {
        self.pair(p, q) + a * self.scattered[q].shape.parameters() + b
    }

    /// True for variables that are 0 or 1: levels and the constant.
    pub(super) fn is_indicator(&self, variable: usize) -> bool {
        match self.slot(variable) {
            Slot::Dense(_) => variable == self.one(),
            Slot::Scattered { block, .. } => self.scattered[block].is_codes(),
        }
    }

    /// The whole matrix, symmetric, row by row: `variables()` squared numbers in the order of the variables.
    pub fn assemble(&self, scales: &GramScales, dense: &[f64], scattered: &[i64]) -> Vec<f64> {
        let n = self.variables();
        let mut matrix = vec![0.0; n * n];
        for a in 0..n {
            for b in a..n {
                let sum = match self.place(a, b) {
                    Place::Dense(at) => dense[at],
                    Place::Scattered(at) => scales.real(a, b, scattered[at]),
                    Place::Zero => 0.0,
                };
                matrix[a * n + b] = sum;
                matrix[b * n + a] = sum;
            }
        }
        matrix
    }
}

/// The scattered blocks, and the start of every block and of the constant.
fn starts(shapes: &[Shape], dense: usize, parameters: usize) -> (Vec<ScatteredBlock>, Vec<Start>) {
    let mut starts = Vec::with_capacity(shapes.len() + 1);
    let mut blocks = Vec::new();
    let (mut variable, mut first_dense, mut first) = (0, 0, 0);
    for (block, &shape) in shapes.iter().enumerate() {
        let count = shape.parameters();
        if let Shape::Dense(_) = shape {
            starts.push(Start { variable, rank: first_dense, is_dense: true });
            first_dense += count;
        } else {
            starts.push(Start { variable, rank: blocks.len(), is_dense: false });
            blocks.push(ScatteredBlock { block, variable, first, shape });
            first += count;
        }
        variable += count;
    }
    debug_assert!(variable == parameters && first_dense < dense);
    starts.push(Start { variable, rank: first_dense, is_dense: true });
    (blocks, starts)
}

/// The start of each pair of scattered blocks, and the length of the scattered slice.
fn pairs(blocks: &[ScatteredBlock], dense: usize) -> Option<(Vec<usize>, usize)> {
    let scattered: usize = blocks.iter().map(|block| block.shape.parameters()).sum();
    let mut len = scattered.checked_mul(dense)?;
    let mut pairs = vec![0; blocks.len() * blocks.len()];
    for (p, a) in blocks.iter().enumerate() {
        for (q, b) in blocks.iter().enumerate().skip(p) {
            pairs[p * blocks.len() + q] = len;
            let sums = match (p == q, a.shape) {
                (true, Shape::Codes(_)) => 0,
                (true, shape) => triangle(shape.parameters())?,
                (false, shape) => shape.parameters().checked_mul(b.shape.parameters())?,
            };
            len = len.checked_add(sums)?;
        }
    }
    Some((pairs, len))
}

/// Length of the upper triangle, diagonal included, of a square of side `n`.
fn triangle(n: usize) -> Option<usize> {
    Some(n.checked_mul(n.checked_add(1)?)? / 2)
}

/// Number of the pair `(a, b)` in the upper triangle, row by row, of a square of side `n`.
#[inline(always)]
pub(super) fn in_triangle(n: usize, a: usize, b: usize) -> usize {
    let (row, column) = (a.min(b), a.max(b));
    row * (2 * n - row + 1) / 2 + (column - row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_pair_has_a_place_of_its_own() {
        let shapes = [Shape::Codes(3), Shape::Dense(2), Shape::Sparse(4), Shape::Dense(1), Shape::Codes(2)];
        for target in [false, true] {
            let layout = GramLayout::new(&shapes, target).unwrap();
            let n = layout.variables();
            assert_eq!(n, 12 + 1 + usize::from(target));
            let mut seen: HashMap<(bool, usize), Vec<(usize, usize)>> = HashMap::new();
            let mut zeros = 0;
            for a in 0..n {
                for b in a..n {
                    assert_eq!(layout.place(a, b), layout.place(b, a));
                    match layout.place(a, b) {
                        Place::Dense(at) => seen.entry((true, at)).or_default().push((a, b)),
                        Place::Scattered(at) => seen.entry((false, at)).or_default().push((a, b)),
                        Place::Zero => zeros += 1,
                    }
                }
            }
            // Different levels of one column: 3 pairs of the first block and 1 of the last.
            assert_eq!(zeros, 3 + 1);
            assert_eq!(seen.len(), layout.dense_len() + layout.scattered_len(), "no sum without a pair");
            for pairs in seen.values() {
                // Only a level's square shares its sum, with the level's product with the constant.
                let level = pairs[0].0;
                assert!(pairs.len() == 1 || *pairs == [(level, level), (level, layout.one())], "{pairs:?}");
            }
        }
    }

    #[test]
    fn without_columns_the_constant_is_left() {
        let layout = GramLayout::new(&[], false).unwrap();
        assert_eq!((layout.variables(), layout.dense_len(), layout.scattered_len()), (1, 1, 0));
        assert_eq!(layout.place(layout.one(), layout.one()), Place::Dense(0));
        assert_eq!(layout.target(), None);
    }

    #[test]
    fn a_matrix_that_fits_no_memory_is_refused() {
        assert_eq!(GramLayout::new(&[Shape::Sparse(usize::MAX / 2)], true), None);
        assert_eq!(GramLayout::new(&[Shape::Codes(1 << 40), Shape::Codes(1 << 40)], true), None);
        assert_eq!(GramLayout::new(&[Shape::Codes(1 << 40)], true).unwrap().scattered_len(), 2 << 40);
        assert_eq!(GramLayout::new(&[Shape::Dense(usize::MAX), Shape::Dense(2)], true), None);
    }
}
