//! The product of the dense variables: `G[a][b] += sum_i h[i] x[i][a] x[i][b]`, `a <= b`.
//!
//! The rows go in chunks that fit the caches. A chunk is packed first: every column becomes `sqrt(h) x` in the
//! arithmetic type, and `WIDEST` columns at most lie side by side, sixteen rows of each in turn, so that the product
//! reads two contiguous streams. Then each pair of panels is a block of at most 5 x 5 dot products held in registers,
//! while the rows of the next chunk are asked for.
//!
//! Order of a sum: the rows go in spans, of several chunks up to `NARROW` variables and of one beyond; lane `l` of
//! [`REGISTER_LANES`](Real::REGISTER_LANES) adds a span's rows `l, l + REGISTER_LANES, ..`; the lanes fold by halves; the
//! span's sum is added in `f64`. Neither the tier nor the blocking changes it. Scaling a row by `sqrt(h)` is the same as
//! a relative change of `h` by one rounding.
//!
//! Cost: `D (D + 1)` flops a row; a value is read once from memory, packed, and read `D / 5` times from the caches.

use super::GramRows;
use super::layout::{GramLayout, in_triangle};
use crate::dtype::Element;
use crate::isa::{Isa, Kernel, LANES, Lanes, Load, Real, Register, Token};
use crate::ops::margins::CACHE_LINE;
use crate::tile::{Block, Columns, Values};
use std::ops::Range;

/// Most columns packed side by side: 5 x 5 sums, 5 operands and one more fill 31 of 32 registers. With 16 registers one
/// column less.
const WIDEST: usize = 5;

/// Sixteen rows of one column, one cache line or two.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Unit<R>([R; LANES]);

/// Memory for the packed rows of a chunk; grows on first use and is then reused.
#[derive(Clone, Debug, Default)]
pub struct DenseScratch<R> {
    units: Vec<Unit<R>>,
    root: Vec<Unit<R>>,
    kept: Vec<Unit<R>>,
}

/// Which part of a span a chunk is.
#[derive(Clone, Copy, Debug)]
struct Part {
    first: bool,
    last: bool,
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
    let span = if variables <= NARROW { SPAN_CHUNKS * chunk } else { chunk };
    // As many blocks as the narrowest panels make.
    let panels = variables.div_ceil(WIDEST - 1);
    let kept = if variables <= NARROW { panels * (panels + 1) / 2 * units_kept::<R>() } else { 0 };
    scratch.kept.resize(kept, Unit([R::default(); LANES]));
    let mut start = tile.rows.start;
    while start < tile.rows.end {
        let rows = start..tile.rows.end.min(start + chunk);
        let units = rows.len().div_ceil(LANES);
        scratch.units.resize(units * variables, Unit([R::default(); LANES]));
        scratch.root.resize(units, Unit([R::default(); LANES]));
        let weight = tile.weight.map(|weight| &weight[start - tile.rows.start..][..rows.len()]);
        roots(weight, rows.len(), &mut scratch.root);
        let done = start - tile.rows.start;
        start = rows.end;
        token.enter(Chunk {
            blocks: &tile.grain.blocks,
            target: layout.target().and(tile.grain.label.as_ref()),
            part: Part {
                first: done.is_multiple_of(span),
                last: rows.end == tile.rows.end || (done + chunk).is_multiple_of(span),
            },
            rows,
            weighted: weight.is_some(),
            root: &scratch.root,
            packed: &mut scratch.units,
            kept: &mut scratch.kept,
            variables,
            sums: &mut *sums,
        });
    }
}

/// Variables up to which the lanes of all dot products are kept from chunk to chunk: some 100 KiB.
const NARROW: usize = 56;

/// Chunks whose rows a lane adds one after the other, where lanes are kept: 128 rows a lane.
const SPAN_CHUNKS: usize = 4;

/// Rows of a chunk: 2 KiB of a column, so that three panels lie in a first-level cache of 32 KiB while each dot product is
/// still long beside the folding of its lanes. A constant, so that the order of a sum is.
const fn chunk_rows(bytes: usize) -> usize {
    (2 << 10) / bytes
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
    part: Part,
    kept: &'a mut [Unit<R>],
    variables: usize,
    sums: &'a mut [f64],
}

impl<R: Real> Kernel for Chunk<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Chunk { blocks, target, rows, weighted, root, packed, part, kept, variables, sums } = self;
        let mut ahead = Ahead { tier, blocks, row: rows.end, rows: rows.len(), block: 0, column: 0 };
        let panels = Panels::new::<T>(variables);
        let mut packer = Packer { tier, rows, weighted, root, packed, panels, panel: 0, member: 0 };
        for block in blocks {
            packer.block(block);
        }
        packer.constant();
        if let Some(target) = target {
            packer.values(target);
        }
        multiply(Product { tier, packed: packer.packed, variables, panels, part, kept, sums }, &mut ahead);
    }
}

/// Writes column after column into the panels.
struct Packer<'a, T, R> {
    tier: T,
    rows: Range<usize>,
    weighted: bool,
    root: &'a [Unit<R>],
    packed: &'a mut [Unit<R>],
    panels: Panels,
    panel: usize,
    member: usize,
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
            Block::Codes { .. } | Block::Crossed(_) | Block::Sparse { .. } => {}
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
        let (panel, member, units) = (self.panel, self.member, self.root.len());
        let (first, width) = (self.panels.first(panel), self.panels.width(panel));
        (self.panel, self.member) = if member + 1 == width { (panel + 1, 0) } else { (panel, member + 1) };
        (&mut self.packed[first * units..][..width * units], width, member)
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

/// How the columns are dealt into panels: as evenly as can be, so that no block of products is too narrow to hide the
/// latency of its additions; wider panels first.
#[derive(Clone, Copy, Debug)]
struct Panels {
    count: usize,
    /// Columns of the narrower ones.
    width: usize,
    /// How many have one column more.
    wider: usize,
}

impl Panels {
    fn new<T: Isa>(variables: usize) -> Panels {
        let widest = if T::REGISTERS >= 32 { WIDEST } else { WIDEST - 1 };
        let count = variables.div_ceil(widest);
        Panels { count, width: variables / count, wider: variables % count }
    }

    #[inline(always)]
    fn width(&self, panel: usize) -> usize {
        self.width + usize::from(panel < self.wider)
    }

    #[inline(always)]
    fn first(&self, panel: usize) -> usize {
        panel * self.width + panel.min(self.wider)
    }
}

/// The upper triangle of the products of all packed columns.
///
/// Second operands come in groups that stay in the L2 cache while all first operands pass by; two panels of first
/// operands stay in the L1 cache meanwhile, so that each panel fetched from L2 is used twice.
#[inline(always)]
fn multiply<T: Isa, R: Real>(mut product: Product<'_, T, R>, ahead: &mut Ahead<'_, T>) {
    const NEAR: usize = 40;
    let panels = product.panels.count;
    let columns = ahead.columns_a_block(panels);
    for near in (0..panels).step_by(NEAR) {
        let end = panels.min(near + NEAR);
        for a in (0..end).step_by(2) {
            for b in near.max(a)..end {
                for a in a..=b.min(a + 1) {
                    ahead.prefetch(columns);
                    product.add(a, b);
                }
            }
        }
    }
}

/// The packed columns of a chunk, and what their products are added to.
struct Product<'a, T, R> {
    tier: T,
    packed: &'a [Unit<R>],
    variables: usize,
    panels: Panels,
    part: Part,
    kept: &'a mut [Unit<R>],
    sums: &'a mut [f64],
}

impl<T: Isa, R: Real> Product<'_, T, R> {
    /// Adds the products of the panels `a <= b`.
    #[inline(always)]
    fn add(&mut self, a: usize, b: usize) {
        let (units, panels) = (self.packed.len() / self.variables, self.panels);
        let panel = |panel: usize| &self.packed[panels.first(panel) * units..][..panels.width(panel) * units];
        let size = if self.kept.is_empty() { 0 } else { units_kept::<R>() };
        let mut block = Dots {
            tier: self.tier,
            a: panel(a),
            b: panel(b),
            part: self.part,
            kept: &mut self.kept[in_triangle(panels.count, a, b) * size..][..size],
            variables: self.variables,
            corner: (panels.first(a), panels.first(b)),
            sums: self.sums,
        };
        match (a == b, panels.width(a), panels.width(b)) {
            (true, 1, _) => block.rectangle::<1, 0, 1, 1, true>(),
            (true, 2, _) => block.rectangle::<2, 0, 2, 2, true>(),
            (true, 3, _) => block.rectangle::<3, 0, 3, 3, true>(),
            (true, 4, _) => block.rectangle::<4, 0, 4, 4, true>(),
            (true, ..) => block.rectangle::<5, 0, 5, 5, true>(),
            (false, _, 2) => block.rectangle::<3, 0, 3, 2, false>(),
            (false, 3, _) => block.rectangle::<3, 0, 3, 3, false>(),
            (false, 4, 3) => block.rectangle::<4, 0, 4, 3, false>(),
            (false, 4, _) if T::REGISTERS < 32 => {
                block.rectangle::<4, 0, 2, 4, false>();
                block.rectangle::<4, 2, 2, 4, false>();
            }
            (false, 4, _) => block.rectangle::<4, 0, 4, 4, false>(),
            (false, _, 4) => block.rectangle::<5, 0, 5, 4, false>(),
            (false, ..) => block.rectangle::<5, 0, 5, 5, false>(),
        }
    }
}

/// Units that keep the lanes of a block of dot products.
const fn units_kept<R: Real>() -> usize {
    (WIDEST * WIDEST * R::REGISTER_LANES).div_ceil(LANES)
}

/// A block of dot products of two panels.
struct Dots<'a, T, R> {
    tier: T,
    a: &'a [Unit<R>],
    b: &'a [Unit<R>],
    part: Part,
    /// The lanes of the span so far; empty when a chunk is a span.
    kept: &'a mut [Unit<R>],
    /// Side of the triangle of sums.
    variables: usize,
    /// First column of either panel.
    corner: (usize, usize),
    sums: &'a mut [f64],
}

impl<T: Isa, R: Real> Dots<'_, T, R> {
    /// Dot products of the columns `FIRST .. FIRST + A` of a panel `WIDTH` columns wide with the `B` columns of another;
    /// when they are the `SAME`, only those on and above the diagonal.
    #[inline(always)]
    fn rectangle<const WIDTH: usize, const FIRST: usize, const A: usize, const B: usize, const SAME: bool>(&mut self) {
        let mut sums = self.lanes::<WIDTH, FIRST, A, B, SAME>(0);
        if R::Register::<T>::WIDTH < R::REGISTER_LANES {
            let others = self.lanes::<WIDTH, FIRST, A, B, SAME>(1);
            for (sums, others) in sums.iter_mut().zip(others) {
                for (sum, other) in sums.iter_mut().zip(others) {
                    *sum = *sum + other;
                }
            }
        }
        if self.part.last {
            self.fold::<FIRST, A, B, SAME>(sums);
        }
    }

    /// The register of lanes number `half` of every dot product, over all rows of the span so far.
    #[inline(always)]
    fn lanes<const WIDTH: usize, const FIRST: usize, const A: usize, const B: usize, const SAME: bool>(
        &mut self,
        half: usize,
    ) -> [[R::Register<T>; B]; A] {
        let tier = self.tier;
        let mut sums = [[R::Register::<T>::splat(tier, R::default()); B]; A];
        if !self.part.first {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate().skip(if SAME { FIRST + i } else { 0 }) {
                    let (unit, part) = kept_at::<T, R>(FIRST + i, j, half);
                    *sum = R::Register::<T>::load(tier, &self.kept[unit].0, part);
                }
            }
        }
        for (a, b) in self.a.as_chunks::<WIDTH>().0.iter().zip(self.b.as_chunks::<B>().0) {
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
        if !self.part.last {
            for (i, sums) in sums.iter().enumerate() {
                for (j, sum) in sums.iter().enumerate().skip(if SAME { FIRST + i } else { 0 }) {
                    let (unit, part) = kept_at::<T, R>(FIRST + i, j, half);
                    sum.store(&mut self.kept[unit].0, part);
                }
            }
        }
        sums
    }

    /// Adds each dot product, its lanes folded, to its sum.
    #[inline(always)]
    fn fold<const FIRST: usize, const A: usize, const B: usize, const SAME: bool>(
        &mut self,
        lanes: [[R::Register<T>; B]; A],
    ) {
        let zero = R::Register::<T>::splat(self.tier, R::default());
        let mut folded = [[0.0; B]; A];
        for first in (0..A * B).step_by(4) {
            let dot = |k: usize| if k < A * B { lanes[k / B][k % B] } else { zero };
            let four = R::Register::<T>::sums(std::array::from_fn(|k| dot(first + k)));
            for (k, sum) in (first..A * B).zip(four) {
                folded[k / B][k % B] = sum.to_f64();
            }
        }
        for (i, line) in folded.iter().enumerate() {
            let from = if SAME { FIRST + i } else { 0 };
            let at = in_triangle(self.variables, self.corner.0 + FIRST + i, self.corner.1 + from);
            for (sum, product) in self.sums[at..at + B - from].iter_mut().zip(&line[from..]) {
                *sum += product;
            }
        }
    }
}

/// The unit, and the part of it, that keeps a register of a block's dot product `(i, j)`.
#[inline(always)]
fn kept_at<T: Isa, R: Real>(i: usize, j: usize, half: usize) -> (usize, usize) {
    let register = (i * WIDEST + j) * (R::REGISTER_LANES / R::Register::<T>::WIDTH) + half;
    let registers = LANES / R::Register::<T>::WIDTH;
    (register / registers, register % registers)
}

/// The rows of the next chunk, asked for column by column while this one is multiplied, so that memory is never idle.
struct Ahead<'a, T> {
    tier: T,
    blocks: &'a [Block<'a>],
    row: usize,
    rows: usize,
    block: usize,
    column: usize,
}

impl<T: Isa> Ahead<'_, T> {
    /// Columns to ask for with each product of two of so many panels.
    fn columns_a_block(&self, panels: usize) -> usize {
        let columns = |block: &Block<'_>| if let Block::Columns(columns) = block { columns.len() } else { 0 };
        self.blocks.iter().map(columns).sum::<usize>().div_ceil(panels * (panels + 1) / 2)
    }

    /// Asks for the next `count` columns.
    #[inline(always)]
    fn prefetch(&mut self, count: usize) {
        for _ in 0..count {
            let Some(block) = self.blocks.get(self.block) else { return };
            if let Block::Columns(columns) = block
                && self.column < columns.len()
            {
                match columns {
                    Columns::F64(columns) => self.lines(columns[self.column]),
                    Columns::F32(columns) => self.lines(columns[self.column]),
                    Columns::F16(columns) => self.lines(columns[self.column]),
                    Columns::U16(columns) => self.lines(columns[self.column]),
                    Columns::U8(columns) => self.lines(columns[self.column]),
                }
                self.column += 1;
            } else {
                (self.block, self.column) = (self.block + 1, 0);
            }
        }
    }

    #[inline(always)]
    fn lines<E>(&self, column: &[E]) {
        for row in (self.row..self.row + self.rows).step_by(CACHE_LINE / size_of::<E>()) {
            self.tier.prefetch_far(column, row);
        }
    }
}
