//! The product of the dense variables: `G[a][b] += sum_i h[i] x[i][a] x[i][b]`, `a <= b`.
//!
//! The rows go in chunks that fit the L2 cache. A chunk is packed first: every column becomes `sqrt(h) x` in the
//! arithmetic type, and `PANEL` columns lie side by side, sixteen rows of each in turn, so that the product reads two
//! contiguous streams. Then each pair of panels is a block of at most 4 x 4 dot products held in registers.
//!
//! Order of a sum: lane `l` of [`REGISTER_LANES`](Real::REGISTER_LANES) adds the chunk's rows `l, l + REGISTER_LANES, ..`; the lanes fold by
//! halves; the chunk's sum is added in `f64`. Neither the tier nor the blocking changes it. Scaling a row by `sqrt(h)`
//! is the same as a relative change of `h` by one rounding.
//!
//! Cost: `D (D + 1)` flops a row; a value is read once from memory, packed, and read `D / 4` times from the caches.

use super::GramRows;
use super::layout::{GramLayout, in_triangle};
use crate::dtype::Element;
use crate::isa::{Isa, Kernel, LANES, Lanes, Load, Real, Register, Token};
use crate::tile::{Block, Columns, Values};
use std::ops::Range;

/// Columns packed side by side.
const PANEL: usize = 4;

/// Sixteen rows of one column, one cache line or two.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Unit<R>([R; LANES]);

/// Memory for the packed rows of a chunk; grows on first use and is then reused.
#[derive(Clone, Debug, Default)]
pub struct DenseScratch<R> {
    units: Vec<Unit<R>>,
    root: Vec<Unit<R>>,
}

/// Adds the products of the dense variables to `sums`.
pub(super) fn add<R: Real>(
    token: Token,
    layout: &GramLayout,
    tile: &GramRows<'_, R>,
    scratch: &mut DenseScratch<R>,
    sums: &mut [f64],
) {
    let variables = layout.dense_variables();
    let chunk = chunk_rows(size_of::<R>());
    let mut start = tile.rows.start;
    while start < tile.rows.end {
        let rows = start..tile.rows.end.min(start + chunk);
        let units = rows.len().div_ceil(LANES);
        scratch.units.resize(units * variables, Unit([R::default(); LANES]));
        scratch.root.resize(units, Unit([R::default(); LANES]));
        let weight = tile.weight.map(|weight| &weight[start - tile.rows.start..][..rows.len()]);
        roots(weight, rows.len(), &mut scratch.root);
        let target = layout.target().and(tile.grain.label.as_ref());
        let blocks = &tile.grain.blocks;
        start = rows.end;
        let (root, packed) = (&scratch.root[..], &mut scratch.units[..]);
        token.enter(Chunk {
            blocks,
            target,
            rows,
            weighted: weight.is_some(),
            root,
            packed,
            variables,
            sums: &mut *sums,
        });
    }
}

/// Rows of a chunk: a panel of them is 8 KiB, so that three panels lie in a first-level cache of 32 KiB while each dot
/// product is still long beside the folding of its lanes. A constant, so that the order of a sum is.
const fn chunk_rows(bytes: usize) -> usize {
    (8 << 10) / (PANEL * bytes)
}

/// `sqrt(h)` of each row, and 0 behind the last.
fn roots<R: Real>(weight: Option<&[R]>, rows: usize, roots: &mut [Unit<R>]) {
    for (unit, root) in roots.iter_mut().enumerate() {
        let first = unit * LANES;
        let count = LANES.min(rows - first);
        root.0 = [R::default(); LANES];
        match weight {
            None => root.0[..count].fill(R::from_f64(1.0)),
            Some(weight) => {
                for (root, weight) in root.0.iter_mut().zip(&weight[first..first + count]) {
                    *root = weight.sqrt();
                }
            }
        }
    }
}

/// One chunk: pack, multiply, add.
struct Chunk<'a, R> {
    blocks: &'a [Block<'a>],
    target: Option<&'a Values<'a>>,
    rows: Range<usize>,
    weighted: bool,
    root: &'a [Unit<R>],
    packed: &'a mut [Unit<R>],
    variables: usize,
    sums: &'a mut [f64],
}

impl<R: Real> Kernel for Chunk<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Chunk { blocks, target, rows, weighted, root, packed, variables, sums } = self;
        let mut packer = Packer { tier, rows, weighted, root, packed, variables, next: 0 };
        for block in blocks {
            packer.block(block);
        }
        packer.constant();
        if let Some(target) = target {
            packer.values(target);
        }
        multiply::<T, R>(tier, packer.packed, packer.variables, sums);
    }
}

/// Writes column after column into the panels.
struct Packer<'a, T, R> {
    tier: T,
    rows: Range<usize>,
    weighted: bool,
    root: &'a [Unit<R>],
    packed: &'a mut [Unit<R>],
    variables: usize,
    next: usize,
}

impl<T: Isa, R: Real> Packer<'_, T, R> {
    #[inline(always)]
    fn block(&mut self, block: &Block<'_>) {
        match block {
            Block::Columns(Columns::F64(columns)) => columns.iter().for_each(|column| self.column(column)),
            Block::Columns(Columns::F32(columns)) => columns.iter().for_each(|column| self.column(column)),
            Block::Columns(Columns::F16(columns)) => columns.iter().for_each(|column| self.column(column)),
            Block::Columns(Columns::U16(columns)) => columns.iter().for_each(|column| self.column(column)),
            Block::Columns(Columns::U8(columns)) => columns.iter().for_each(|column| self.column(column)),
            Block::Vectors { values, width } => match values {
                Values::F64(values) => self.vectors(values, *width),
                Values::F32(values) => self.vectors(values, *width),
                Values::F16(values) => self.vectors(values, *width),
                Values::U16(values) => self.vectors(values, *width),
                Values::U8(values) => self.vectors(values, *width),
            },
            Block::Codes { .. } | Block::Sparse { .. } => {}
        }
    }

    #[inline(always)]
    fn values(&mut self, values: &Values<'_>) {
        match values {
            Values::F64(values) => self.column(values),
            Values::F32(values) => self.column(values),
            Values::F16(values) => self.column(values),
            Values::U16(values) => self.column(values),
            Values::U8(values) => self.column(values),
        }
    }

    /// The units of the next column, and where they stand in every group of its panel.
    #[inline(always)]
    fn next_column(&mut self) -> (&mut [Unit<R>], usize, usize) {
        let (first, member) = (self.next / PANEL * PANEL, self.next % PANEL);
        let width = PANEL.min(self.variables - first);
        self.next += 1;
        let units = self.root.len();
        (&mut self.packed[first * units..(first + width) * units], width, member)
    }

    #[inline(always)]
    fn column<E: Load>(&mut self, column: &[E]) {
        let (tier, weighted, root) = (self.tier, self.weighted, self.root);
        let (whole, tail) = column[self.rows.clone()].as_chunks::<LANES>();
        let (panel, width, member) = self.next_column();
        let mut groups = panel.chunks_exact_mut(width).zip(root);
        for (values, (group, root)) in whole.iter().zip(&mut groups) {
            let mut lanes = E::load::<T, R>(tier, values);
            if weighted {
                lanes = lanes * R::load::<T, R>(tier, &root.0);
            }
            lanes.store(&mut group[member].0);
        }
        if let Some((group, root)) = groups.next() {
            let lanes = E::load_tail::<T, R>(tier, tail) * R::load::<T, R>(tier, &root.0);
            lanes.store(&mut group[member].0);
        }
    }

    /// The column of ones.
    #[inline(always)]
    fn constant(&mut self) {
        let root = self.root;
        let (panel, width, member) = self.next_column();
        for (group, root) in panel.chunks_exact_mut(width).zip(root) {
            group[member] = *root;
        }
    }

    /// A row-major block: each element is a column.
    #[inline(always)]
    fn vectors<E: Element>(&mut self, values: &[E], width: usize) {
        let (tier, rows, root) = (self.tier, self.rows.clone(), self.root);
        for element in 0..width {
            let mut column = values[rows.start * width..rows.end * width].iter().skip(element).step_by(width);
            let (panel, stride, member) = self.next_column();
            for (group, root) in panel.chunks_exact_mut(stride).zip(root) {
                let values = std::array::from_fn(|_| column.next().map_or(R::default(), |x| R::from_f64(x.to_f64())));
                let lanes = R::load::<T, R>(tier, &values) * R::load::<T, R>(tier, &root.0);
                lanes.store(&mut group[member].0);
            }
        }
    }
}

/// The upper triangle of the products of all packed columns.
///
/// Second operands come in groups that stay in the L2 cache while all first operands pass by; two panels of first
/// operands stay in the L1 cache meanwhile, so that each panel fetched from L2 is used twice.
#[inline(always)]
fn multiply<T: Isa, R: Real>(tier: T, packed: &[Unit<R>], variables: usize, sums: &mut [f64]) {
    const NEAR: usize = 48 * PANEL;
    let product = Product { tier, packed, variables };
    for near in (0..variables).step_by(NEAR) {
        let end = variables.min(near + NEAR);
        for a in (0..end).step_by(2 * PANEL) {
            for b in (near.max(a)..end).step_by(PANEL) {
                for a in (a..=b.min(a + PANEL)).step_by(PANEL) {
                    product.add(a, b, sums);
                }
            }
        }
    }
}

/// The packed columns of a chunk.
#[derive(Clone, Copy)]
struct Product<'a, T, R> {
    tier: T,
    packed: &'a [Unit<R>],
    variables: usize,
}

impl<T: Isa, R: Real> Product<'_, T, R> {
    /// The panel whose first column is `first`.
    #[inline(always)]
    fn panel(&self, first: usize) -> &[Unit<R>] {
        let units = self.packed.len() / self.variables;
        &self.packed[first * units..self.variables.min(first + PANEL) * units]
    }

    /// Adds the products of the panels that start at the columns `a <= b`.
    #[inline(always)]
    fn add(&self, a: usize, b: usize, sums: &mut [f64]) {
        let mut block = [[R::default(); PANEL]; PANEL];
        products::<T, R>(self.tier, self.panel(a), self.panel(b), self.variables - b, a == b, &mut block);
        // Row after row of the triangle, each one shorter than the last.
        let mut at = in_triangle(self.variables, a, b);
        if a < b && b + PANEL <= self.variables {
            for (i, line) in block.iter().enumerate() {
                for (sum, product) in sums[at..at + PANEL].iter_mut().zip(line) {
                    *sum += product.to_f64();
                }
                at += self.variables - (a + i + 1);
            }
            return;
        }
        let (height, width) = (PANEL.min(self.variables - a), PANEL.min(self.variables - b));
        for (i, line) in block.iter().enumerate().take(height) {
            let from = if a == b { i } else { 0 };
            let at = in_triangle(self.variables, a + i, b + from);
            for (sum, product) in sums[at..at + width - from].iter_mut().zip(&line[from..]) {
                *sum += product.to_f64();
            }
        }
    }
}

/// The products of two panels, the second `width` (if less than [`PANEL`]) columns wide; `same` when they are one: then
/// only those on and above the diagonal.
#[inline(always)]
fn products<T: Isa, R: Real>(
    tier: T,
    a: &[Unit<R>],
    b: &[Unit<R>],
    width: usize,
    same: bool,
    block: &mut [[R; PANEL]; PANEL],
) {
    match (same, width) {
        (true, 1) => rectangle::<T, R, 1, 0, 1, 1, true>(tier, a, b, block),
        (true, 2) => rectangle::<T, R, 2, 0, 2, 2, true>(tier, a, b, block),
        (true, 3) => halves::<T, R, 3, 1, 3, true>(tier, a, b, block),
        (true, _) => halves::<T, R, 4, 2, 4, true>(tier, a, b, block),
        (false, 1) => rectangle::<T, R, 4, 0, 4, 1, false>(tier, a, b, block),
        (false, 2) => rectangle::<T, R, 4, 0, 4, 2, false>(tier, a, b, block),
        (false, 3) => halves::<T, R, 4, 2, 3, false>(tier, a, b, block),
        (false, _) => halves::<T, R, 4, 2, 4, false>(tier, a, b, block),
    }
}

/// All columns of `a` at once where the registers allow it, else the first two and then the other `REST`.
#[inline(always)]
fn halves<T: Isa, R: Real, const WIDTH: usize, const REST: usize, const B: usize, const SAME: bool>(
    tier: T,
    a: &[Unit<R>],
    b: &[Unit<R>],
    block: &mut [[R; PANEL]; PANEL],
) {
    if T::REGISTERS >= 32 {
        rectangle::<T, R, WIDTH, 0, WIDTH, B, SAME>(tier, a, b, block);
    } else {
        rectangle::<T, R, WIDTH, 0, 2, B, SAME>(tier, a, b, block);
        rectangle::<T, R, WIDTH, 2, REST, B, SAME>(tier, a, b, block);
    }
}

/// Dot products of the columns `FIRST .. FIRST + A` of a panel `WIDTH` columns wide with the `B` columns of another;
/// when they are the `SAME`, only those on and above the diagonal.
#[inline(always)]
fn rectangle<
    T: Isa,
    R: Real,
    const WIDTH: usize,
    const FIRST: usize,
    const A: usize,
    const B: usize,
    const SAME: bool,
>(
    tier: T,
    a: &[Unit<R>],
    b: &[Unit<R>],
    block: &mut [[R; PANEL]; PANEL],
) {
    let (a, b) = (a.as_chunks::<WIDTH>().0, b.as_chunks::<B>().0);
    let mut sums = lanes::<T, R, WIDTH, FIRST, A, B, SAME>(tier, a, b, 0);
    if R::Register::<T>::WIDTH < R::REGISTER_LANES {
        let others = lanes::<T, R, WIDTH, FIRST, A, B, SAME>(tier, a, b, 1);
        for (sums, others) in sums.iter_mut().zip(others) {
            for (sum, other) in sums.iter_mut().zip(others) {
                *sum = *sum + other;
            }
        }
    }
    let zero = R::Register::<T>::splat(tier, R::default());
    for (line, sums) in block[FIRST..].iter_mut().zip(sums) {
        *line = R::Register::<T>::sums(std::array::from_fn(|j| if j < B { sums[j] } else { zero }));
    }
}

/// The register of lanes number `half` of every dot product, over all rows.
#[inline(always)]
fn lanes<T: Isa, R: Real, const WIDTH: usize, const FIRST: usize, const A: usize, const B: usize, const SAME: bool>(
    tier: T,
    a: &[[Unit<R>; WIDTH]],
    b: &[[Unit<R>; B]],
    half: usize,
) -> [[R::Register<T>; B]; A] {
    let mut sums = [[R::Register::<T>::splat(tier, R::default()); B]; A];
    for (a, b) in a.iter().zip(b) {
        for step in 0..LANES / R::REGISTER_LANES {
            let part = step * (R::REGISTER_LANES / R::Register::<T>::WIDTH) + half;
            let b: [R::Register<T>; B] = std::array::from_fn(|j| R::Register::<T>::load(tier, &b[j].0, part));
            for i in 0..A {
                let a = R::Register::<T>::load(tier, &a[FIRST + i].0, part);
                for j in if SAME { FIRST + i } else { 0 }..B {
                    sums[i][j] = a.fma(b[j], sums[i][j]);
                }
            }
        }
    }
    sums
}
