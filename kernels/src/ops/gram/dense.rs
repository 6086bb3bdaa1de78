//! The product of the dense variables: `G[a][b] += sum_i h[i] x[i][a] x[i][b]`, `a <= b`.
//!
//! The rows go in chunks that fit the caches; whatever is neither a column of [`Operand`]s nor whole units of sixteen
//! rows is first copied into such columns (`staged`). Eight variables are a group: its *diagonal* packs `h x`
//! of them in the arithmetic type, sixteen rows of each in turn, while it makes the products among them; then three
//! variables at a time of those behind the group stream by as they lie in memory, and meet the packed group, which the
//! first-level cache holds, in 8 x 3 dot products held in registers. Meanwhile the rows of the next chunk are asked for.
//!
//! Order of a sum: the rows go in spans, of several chunks up to `NARROW` variables and of one beyond; lane `l` of
//! [`REGISTER_LANES`](Real::REGISTER_LANES) adds a span's rows `l, l + REGISTER_LANES, ..`; the lanes fold by halves; the
//! span's sum is added in `f64`. Neither the tier nor the blocking changes it.
//!
//! Cost: `D (D + 1)` flops a row; a value is read once from memory, and `D / 8` times from the caches. What bounds it is in
//! docs/experiments.md.

use super::GramRows;
use super::layout::{GramLayout, in_triangle};
use super::staged::{Plan, Source, Variables};
use crate::aligned::Aligned;
use crate::isa::{Isa, Kernel, LANES, Operand, Real, Register, Token};
use crate::ops::margins::CACHE_LINE;
use std::ops::Range;

/// Variables of a group.
const GROUP: usize = 8;

/// Variables that stream by a group together: 8 x 3 sums, three operands and one more fill 28 of 32 registers. With 16
/// registers half a group meets them at a time.
const STREAMS: usize = 3;

/// Variables up to which the lanes of all dot products are kept from chunk to chunk: some 100 KiB.
const NARROW: usize = 56;

/// Chunks whose rows a lane adds one after the other, where lanes are kept: 128 rows a lane.
const SPAN_CHUNKS: usize = 4;

/// Rows of a chunk: 2 KiB of a packed variable, so that a group takes half of a first-level cache of 32 KiB while each dot
/// product is still long beside the folding of its lanes. A constant, so that the order of a sum is.
const fn chunk_rows(bytes: usize) -> usize {
    (2 << 10) / bytes
}

/// Sixteen rows of one variable, one cache line or two.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Unit<R>([R; LANES]);

/// Sixteen rows of a group.
type Packed<R> = [Unit<R>; GROUP];

/// Memory for the rows of a chunk and the lanes of a span; grows on first use and is then reused.
#[derive(Debug)]
pub struct DenseScratch<R: Real> {
    narrow: Aligned<R::Narrow>,
    own: Aligned<R::Own>,
    memory: Memory<R>,
}

#[derive(Debug)]
struct Memory<R> {
    weight: Vec<Unit<R>>,
    group: Vec<Packed<R>>,
    kept: Vec<Unit<R>>,
}

impl<R: Real> Default for DenseScratch<R> {
    fn default() -> DenseScratch<R> {
        let memory = Memory { weight: Vec::new(), group: Vec::new(), kept: Vec::new() };
        DenseScratch { narrow: Aligned::default(), own: Aligned::default(), memory }
    }
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
    let source = Source { blocks: &tile.grain.blocks, target: layout.target().and(tile.grain.label.as_ref()) };
    let DenseScratch { narrow, own, memory } = scratch;
    if source.is_wide() {
        add_as(token, layout.dense_variables(), (source, tile), own, memory, sums);
    } else {
        add_as(token, layout.dense_variables(), (source, tile), narrow, memory, sums);
    }
}

/// The same, columns of type `S` read as they lie.
fn add_as<R: Real, S: Operand<R>>(
    token: Token,
    variables: usize,
    (source, tile): (Source<'_>, &GramRows<'_, R>),
    copied: &mut Aligned<S>,
    memory: &mut Memory<R>,
    sums: &mut [f64],
) {
    let chunk = chunk_rows(size_of::<R>());
    let span = if variables <= NARROW { SPAN_CHUNKS * chunk } else { chunk };
    let kept = if variables <= NARROW { units_kept::<R>(variables) } else { units_of::<R>(GROUP * STREAMS) };
    memory.kept.resize(kept, Unit([R::default(); LANES]));
    let mut planned: Option<(bool, Plan<'_, S>)> = None;
    let mut start = tile.rows.start;
    while start < tile.rows.end {
        let rows = start..tile.rows.end.min(start + chunk);
        let whole = rows.len().is_multiple_of(LANES);
        let (_, plan) = match planned.take() {
            Some(plan) if plan.0 == whole => planned.insert(plan),
            _ => planned.insert((whole, Plan::new(source, whole))),
        };
        let units = rows.len().div_ceil(LANES);
        let weight = tile.weight.map(|weight| &weight[start - tile.rows.start..][..rows.len()]);
        pad(weight, units, &mut memory.weight);
        memory.group.resize(units, [Unit([R::default(); LANES]); GROUP]);
        let done = start - tile.rows.start;
        start = rows.end;
        token.enter(Chunk {
            plan,
            copied: &mut *copied,
            part: Part {
                first: done.is_multiple_of(span),
                last: rows.end == tile.rows.end || (done + chunk).is_multiple_of(span),
            },
            rows,
            weight: weight.map(|_| memory.weight.as_slice()),
            group: &mut memory.group,
            kept: &mut memory.kept,
            variables,
            sums: &mut *sums,
        });
    }
}

/// The weights in units, zeros behind the last.
fn pad<R: Real>(weight: Option<&[R]>, units: usize, padded: &mut Vec<Unit<R>>) {
    let Some(weight) = weight else { return };
    padded.resize(units, Unit([R::default(); LANES]));
    for (unit, weight) in padded.iter_mut().zip(weight.chunks(LANES)) {
        unit.0[..weight.len()].copy_from_slice(weight);
        unit.0[weight.len()..].fill(R::default());
    }
}

/// One chunk: group after group is packed and met by the variables behind it.
struct Chunk<'a, R, S> {
    plan: &'a Plan<'a, S>,
    copied: &'a mut Aligned<S>,
    rows: Range<usize>,
    /// `h`, unless all are 1.
    weight: Option<&'a [Unit<R>]>,
    group: &'a mut [Packed<R>],
    part: Part,
    kept: &'a mut [Unit<R>],
    variables: usize,
    sums: &'a mut [f64],
}

impl<R: Real, S: Operand<R>> Kernel for Chunk<'_, R, S> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Chunk { plan, copied, rows, weight, group, part, kept, variables, sums } = self;
        let columns = plan.read(tier, copied, rows);
        let mut ahead = Ahead::new(tier, &columns, variables);
        let mut dots = Dots { columns: &columns, part, variables, kept, sums };
        for first in (0..variables).step_by(GROUP) {
            let end = variables.min(first + GROUP);
            match weight {
                Some(weight) => dots.diagonal::<T, true>(tier, first..end, weight, group),
                None => dots.diagonal::<T, false>(tier, first..end, &[], group),
            }
            for stream in (end..variables).step_by(STREAMS) {
                let behind = ahead.next();
                match variables - stream {
                    1 => dots.streams::<T, 1>(tier, (first, stream), group, behind),
                    2 => dots.streams::<T, 2>(tier, (first, stream), group, behind),
                    _ => dots.streams::<T, 3>(tier, (first, stream), group, behind),
                }
            }
        }
    }
}

/// The rows of the next chunk of the columns that are read as they lie, asked for two columns at a time while streams pass
/// by, so that memory is never idle.
struct Ahead<'a, S> {
    columns: &'a Variables<'a, S>,
    next: usize,
}

impl<'a, S: Real> Ahead<'a, S> {
    /// What streams cannot ask for is asked for at once: they are few where variables are.
    #[inline(always)]
    fn new<T: Isa>(tier: T, columns: &'a Variables<'a, S>, variables: usize) -> Ahead<'a, S> {
        let streams: usize = (GROUP..variables).step_by(GROUP).map(|end| (variables - end).div_ceil(STREAMS)).sum();
        let next = variables.saturating_sub(2 * streams);
        for variable in 0..next {
            let behind = columns.behind(variable);
            for row in (0..columns.units() * LANES).step_by(CACHE_LINE / size_of::<S>()) {
                tier.prefetch_far(behind, row);
            }
        }
        Ahead { columns, next }
    }

    #[inline(always)]
    fn next(&mut self) -> [&'a [S]; 2] {
        self.next += 2;
        [self.columns.behind(self.next - 2), self.columns.behind(self.next - 1)]
    }
}

/// Products of the columns of a chunk, and what they are added to.
struct Dots<'a, R, S> {
    columns: &'a Variables<'a, S>,
    part: Part,
    /// Side of the triangle of sums.
    variables: usize,
    /// The lanes of the next dot products and of those that follow, over all rows of the span so far; when a chunk is a span, of the
    /// next ones only.
    kept: &'a mut [Unit<R>],
    sums: &'a mut [f64],
}

/// True where a register holds all lanes of a dot product, and registers are many: NEON has as many as AVX-512, a quarter as wide.
#[inline(always)]
const fn has_many<T: Isa, R: Real>() -> bool {
    T::REGISTERS >= 32 && <R::Register<T> as Register<T, R>>::WIDTH == R::REGISTER_LANES
}

/// Dot products of `M` variables with `N` others, a register of lanes each.
type Registers<T, R, const M: usize, const N: usize> = [[<R as Real>::Register<T>; N]; M];

impl<'a, R: Real, S: Operand<R>> Dots<'a, R, S> {
    /// Packs the variables `group` and adds the products among them: of the first four at once, then of the others with these,
    /// where registers are few each by itself.
    #[inline(always)]
    fn diagonal<T: Isa, const WEIGHTED: bool>(
        &mut self,
        tier: T,
        group: Range<usize>,
        weight: &[Unit<R>],
        packed: &mut [Packed<R>],
    ) {
        let mut done = 0;
        while done < group.len() {
            let (dots, first) = (&mut *self, group.start + done);
            done += match (done, group.len() - done) {
                (0, 1) => pack::<T, R, S, WEIGHTED, 1, 1>(tier, dots, first, weight, packed),
                (0, 2) => pack::<T, R, S, WEIGHTED, 2, 2>(tier, dots, first, weight, packed),
                (0, 3) => pack::<T, R, S, WEIGHTED, 3, 3>(tier, dots, first, weight, packed),
                (0, _) => pack::<T, R, S, WEIGHTED, 4, 4>(tier, dots, first, weight, packed),
                (4, 4) if has_many::<T, R>() => pack::<T, R, S, WEIGHTED, 8, 4>(tier, dots, first, weight, packed),
                (4, 3) if has_many::<T, R>() => pack::<T, R, S, WEIGHTED, 7, 3>(tier, dots, first, weight, packed),
                (4, 2) if has_many::<T, R>() => pack::<T, R, S, WEIGHTED, 6, 2>(tier, dots, first, weight, packed),
                (4, _) => pack::<T, R, S, WEIGHTED, 5, 1>(tier, dots, first, weight, packed),
                (5, _) => pack::<T, R, S, WEIGHTED, 6, 1>(tier, dots, first, weight, packed),
                (6, _) => pack::<T, R, S, WEIGHTED, 7, 1>(tier, dots, first, weight, packed),
                _ => pack::<T, R, S, WEIGHTED, 8, 1>(tier, dots, first, weight, packed),
            };
        }
    }

    /// Adds the products of the packed group, whose first variable is `corner.0`, with the `N` variables from `corner.1`.
    #[inline(always)]
    fn streams<T: Isa, const N: usize>(
        &mut self,
        tier: T,
        corner: (usize, usize),
        packed: &[Packed<R>],
        behind: [&[S]; 2],
    ) {
        if has_many::<T, R>() {
            meet::<T, R, S, 0, GROUP, N>(tier, self, corner, packed, behind);
        } else {
            meet::<T, R, S, 0, 4, N>(tier, self, corner, packed, behind);
            meet::<T, R, S, 4, 4, N>(tier, self, corner, packed, behind);
        }
    }

    /// The units of `N` variables, `units` of each.
    #[inline(always)]
    fn columns<const N: usize>(&self, first: usize, units: usize) -> [&[[S; LANES]]; N] {
        let mut columns: [&[[S; LANES]]; N] = [&[]; N];
        for (j, column) in columns.iter_mut().enumerate() {
            *column = &self.columns.column(first + j)[..units];
        }
        columns
    }

    /// Leaves the place of the lanes of `products` behind, where a span is several chunks.
    #[inline(always)]
    fn leave(&mut self, products: usize) {
        if self.variables <= NARROW {
            let kept = std::mem::take(&mut self.kept);
            self.kept = &mut kept[units_of::<R>(products)..];
        }
    }

    /// Puts the lanes number `HALF` away: to the sums, folded, where the span ends and these are the last of them, else to
    /// where they are kept.
    #[inline(always)]
    fn put<T: Isa, const M: usize, const N: usize, const SAME: bool, const HALF: usize>(
        &mut self,
        tier: T,
        corner: (usize, usize),
        mut lanes: Registers<T, R, M, N>,
    ) {
        let halves = R::REGISTER_LANES / R::Register::<T>::WIDTH;
        if !self.part.last || HALF + 1 < halves {
            return keep::<T, R, M, N>(self.kept, HALF, &lanes);
        }
        if HALF > 0 {
            let others = load::<T, R, M, N>(tier, self.kept, 0);
            for (lane, other) in lanes.as_flattened_mut().iter_mut().zip(others.as_flattened()) {
                *lane = *other + *lane;
            }
        }
        self.fold::<T, M, N, SAME>(tier, corner, lanes);
    }

    /// The lanes so far, unless a span begins.
    #[inline(always)]
    fn begin<T: Isa, const M: usize, const N: usize>(&self, tier: T, half: usize) -> Registers<T, R, M, N> {
        if self.part.first {
            [[R::Register::<T>::splat(tier, R::default()); N]; M]
        } else {
            load::<T, R, M, N>(tier, self.kept, half)
        }
    }

    /// Adds each dot product, its lanes folded, to its sum.
    #[inline(always)]
    fn fold<T: Isa, const M: usize, const N: usize, const SAME: bool>(
        &mut self,
        tier: T,
        corner: (usize, usize),
        lanes: Registers<T, R, M, N>,
    ) {
        let mut folded = [[0.0; N]; M];
        for first in (0..M * N).step_by(4) {
            let mut four = [R::Register::<T>::splat(tier, R::default()); 4];
            for (k, dot) in (first..M * N).zip(&mut four) {
                *dot = lanes[k / N][k % N];
            }
            for (k, sum) in (first..M * N).zip(R::Register::<T>::sums(four)) {
                folded[k / N][k % N] = sum.to_f64();
            }
        }
        for (i, line) in folded.iter().enumerate() {
            let from = if SAME { (i + N).saturating_sub(M) } else { 0 };
            let at = in_triangle(self.variables, corner.0 + i, corner.1 + from);
            for (sum, product) in self.sums[at..at + N - from].iter_mut().zip(&line[from..]) {
                *sum += product;
            }
        }
    }
}

/// Packs the `N` variables from `first` behind the `M - N` that are packed, and adds their products with these and among
/// themselves. Returns `N`.
#[inline(always)]
fn pack<T: Isa, R: Real, S: Operand<R>, const WEIGHTED: bool, const M: usize, const N: usize>(
    tier: T,
    dots: &mut Dots<'_, R, S>,
    first: usize,
    weight: &[Unit<R>],
    packed: &mut [Packed<R>],
) -> usize {
    tier.enter(Pack::<R, S, WEIGHTED, M, N, 0> { dots, first, weight, packed });
    if R::Register::<T>::WIDTH < R::REGISTER_LANES {
        tier.enter(Pack::<R, S, WEIGHTED, M, N, 1> { dots, first, weight, packed });
    }
    dots.leave(M * N);
    N
}

/// The registers number `HALF` of [`pack`].
struct Pack<'d, 'a, R, S, const WEIGHTED: bool, const M: usize, const N: usize, const HALF: usize> {
    dots: &'d mut Dots<'a, R, S>,
    first: usize,
    weight: &'d [Unit<R>],
    packed: &'d mut [Packed<R>],
}

impl<R: Real, S: Operand<R>, const WEIGHTED: bool, const M: usize, const N: usize, const HALF: usize> Kernel
    for Pack<'_, '_, R, S, WEIGHTED, M, N, HALF>
{
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let mut sums = self.dots.begin::<T, M, N>(tier, HALF);
        let new: [&[[S; LANES]]; N] = self.dots.columns(self.first, self.packed.len());
        for (unit, packed) in self.packed.iter_mut().enumerate() {
            for part in parts::<T, R>(HALF) {
                let mut x = [R::Register::<T>::splat(tier, R::default()); N];
                for j in 0..N {
                    x[j] = S::register::<T>(tier, &new[j][unit], part);
                }
                for i in 0..M - N {
                    let a = R::Register::<T>::load(tier, &packed[i].0, part);
                    for j in 0..N {
                        sums[i][j] = a.fma(x[j], sums[i][j]);
                    }
                }
                for i in 0..N {
                    let a = match WEIGHTED {
                        true => x[i] * R::Register::<T>::load(tier, &self.weight[unit].0, part),
                        false => x[i],
                    };
                    a.store(&mut packed[M - N + i].0, part);
                    for j in i..N {
                        sums[M - N + i][j] = a.fma(x[j], sums[M - N + i][j]);
                    }
                }
            }
        }
        self.dots.put::<T, M, N, true, HALF>(tier, (self.first + N - M, self.first), sums);
    }
}

/// Adds the products of `M` variables of the packed group, from number `FROM` of it, with the `N` variables from `corner.1`.
#[inline(always)]
fn meet<T: Isa, R: Real, S: Operand<R>, const FROM: usize, const M: usize, const N: usize>(
    tier: T,
    dots: &mut Dots<'_, R, S>,
    corner: (usize, usize),
    packed: &[Packed<R>],
    behind: [&[S]; 2],
) {
    let corner = (corner.0 + FROM, corner.1);
    tier.enter(Meet::<R, S, FROM, M, N, 0> { dots, corner, packed, behind });
    if R::Register::<T>::WIDTH < R::REGISTER_LANES {
        tier.enter(Meet::<R, S, FROM, M, N, 1> { dots, corner, packed, behind });
    }
    dots.leave(M * N);
}

/// The registers number `HALF` of [`meet`].
struct Meet<'d, 'a, R, S, const FROM: usize, const M: usize, const N: usize, const HALF: usize> {
    dots: &'d mut Dots<'a, R, S>,
    corner: (usize, usize),
    packed: &'d [Packed<R>],
    behind: [&'d [S]; 2],
}

impl<R: Real, S: Operand<R>, const FROM: usize, const M: usize, const N: usize, const HALF: usize> Kernel
    for Meet<'_, '_, R, S, FROM, M, N, HALF>
{
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let mut sums = self.dots.begin::<T, M, N>(tier, HALF);
        let streams: [&[[S; LANES]]; N] = self.dots.columns(self.corner.1, self.packed.len());
        for (unit, packed) in self.packed.iter().enumerate() {
            if FROM == 0 && HALF == 0 {
                for row in (unit * LANES..(unit + 1) * LANES).step_by(CACHE_LINE / size_of::<S>()) {
                    tier.prefetch_far(self.behind[0], row);
                    tier.prefetch_far(self.behind[1], row);
                }
            }
            for part in parts::<T, R>(HALF) {
                let mut x = [R::Register::<T>::splat(tier, R::default()); N];
                for j in 0..N {
                    x[j] = S::register::<T>(tier, &streams[j][unit], part);
                }
                for i in 0..M {
                    let a = R::Register::<T>::load(tier, &packed[FROM + i].0, part);
                    for j in 0..N {
                        sums[i][j] = a.fma(x[j], sums[i][j]);
                    }
                }
            }
        }
        self.dots.put::<T, M, N, false, HALF>(tier, self.corner, sums);
    }
}

/// Units that keep the lanes of so many dot products.
const fn units_of<R: Real>(products: usize) -> usize {
    (products * R::REGISTER_LANES).div_ceil(LANES)
}

/// Units that keep the lanes of all of them: of each group, 4 x 4 and 8 x 4, or at most as many, among themselves, and all behind it.
fn units_kept<R: Real>(variables: usize) -> usize {
    let group = |first: usize| {
        let among = units_of::<R>(4 * 4) + units_of::<R>(GROUP * 4);
        among + units_of::<R>(GROUP * variables.saturating_sub(first + GROUP))
    };
    (0..variables).step_by(GROUP).map(group).sum()
}

/// The lanes that are kept.
#[inline(always)]
fn load<T: Isa, R: Real, const M: usize, const N: usize>(
    tier: T,
    kept: &[Unit<R>],
    half: usize,
) -> Registers<T, R, M, N> {
    let kept = &kept[..units_of::<R>(M * N)];
    let mut sums = [[R::Register::<T>::splat(tier, R::default()); N]; M];
    for (product, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
        let (unit, part) = kept_at::<T, R>(product, half);
        *sum = R::Register::<T>::load(tier, &kept[unit].0, part);
    }
    sums
}

/// Keeps the lanes.
#[inline(always)]
fn keep<T: Isa, R: Real, const M: usize, const N: usize>(
    kept: &mut [Unit<R>],
    half: usize,
    sums: &Registers<T, R, M, N>,
) {
    let kept = &mut kept[..units_of::<R>(M * N)];
    for (product, sum) in sums.as_flattened().iter().enumerate() {
        let (unit, part) = kept_at::<T, R>(product, half);
        sum.store(&mut kept[unit].0, part);
    }
}

/// The unit, and the part of it, that keeps a register of a dot product.
#[inline(always)]
fn kept_at<T: Isa, R: Real>(product: usize, half: usize) -> (usize, usize) {
    let width = R::Register::<T>::WIDTH;
    let register = product * (R::REGISTER_LANES / width) + half;
    (register / (LANES / width), register % (LANES / width))
}

/// The parts of a unit that make up the registers number `half` of a dot product.
#[inline(always)]
fn parts<T: Isa, R: Real>(half: usize) -> impl Iterator<Item = usize> {
    let registers = R::REGISTER_LANES / R::Register::<T>::WIDTH;
    (half..LANES / R::Register::<T>::WIDTH).step_by(registers)
}
