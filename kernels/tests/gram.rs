//! The battery of the Gram matrix: every storage type, kind of block, tail and tier against the plain `f64` reference.

#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)] // a test may panic; one range is one tile

use gristmill_kernels::dtype::f16;
use gristmill_kernels::tile::{Block, Codes, Columns, Grain, Values};
use gristmill_kernels::{
    GramLayout, GramRows, GramScales, GramScratch, GramSums, Kernels, OutOfRange, Place, Real, Tier, reference,
};
use std::ops::Range;

/// Rows of the test data: more than two chunks of the dense product.
const ROWS: usize = 2_300;
/// Lengths around every boundary of lanes, units and chunks.
const LENGTHS: [usize; 16] = [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 511, 513, 1_024, 1_025, 2_277];

/// A stream of test numbers: splitmix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in -1 .. 1.
    fn signed(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Columns of every kind; a grain borrows from it.
struct Data {
    f64s: Vec<Vec<f64>>,
    f32s: Vec<Vec<f32>>,
    f16s: Vec<Vec<f16>>,
    u16s: Vec<Vec<u16>>,
    u8s: Vec<Vec<u8>>,
    vectors: Vec<f32>,
    codes: (Vec<u8>, Vec<u16>, Vec<u32>),
    offsets: Vec<i32>,
    indices: Vec<u32>,
    values: Vec<f32>,
    label: Vec<f32>,
    weight: Vec<f64>,
}

const VECTOR: usize = 3;
const LEVELS: [usize; 3] = [5, 300, 7];
const WIDTH: usize = 40;

fn columns<X>(count: usize, mut value: impl FnMut() -> X) -> Vec<Vec<X>> {
    (0..count).map(|_| (0..ROWS).map(|_| value()).collect()).collect()
}

impl Data {
    fn new(seed: u64) -> Data {
        let mut random = Random(seed);
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for _ in 0..ROWS {
            for element in 0..WIDTH as u32 {
                if random.below(8) == 0 {
                    indices.push(element);
                    // Elements of very different size.
                    values.push(random.signed() as f32 * [1e-3, 1.0, 1e4][element as usize % 3]);
                }
            }
            offsets.push(indices.len() as i32);
        }
        Data {
            f64s: columns(2, || random.signed() * 1e3 + 50.0),
            f32s: columns(9, || random.signed() as f32),
            f16s: columns(3, || f16::from_f64(random.signed() * 8.0)),
            u16s: columns(2, || random.below(60_000) as u16),
            u8s: columns(4, || random.below(256) as u8),
            vectors: (0..ROWS * VECTOR).map(|_| random.signed() as f32).collect(),
            codes: (
                (0..ROWS).map(|_| random.below(LEVELS[0] as u64) as u8).collect(),
                (0..ROWS).map(|_| random.below(LEVELS[1] as u64) as u16).collect(),
                (0..ROWS).map(|_| random.below(LEVELS[2] as u64) as u32).collect(),
            ),
            offsets,
            indices,
            values,
            label: (0..ROWS).map(|_| random.signed() as f32 * 10.0).collect(),
            weight: (0..ROWS).map(|_| random.below(5) as f64 * 0.37).collect(),
        }
    }

    fn dense(&self) -> Vec<Block<'_>> {
        vec![
            Block::Columns(Columns::F64(self.f64s.iter().map(Vec::as_slice).collect())),
            Block::Columns(Columns::F32(self.f32s.iter().map(Vec::as_slice).collect())),
            Block::Columns(Columns::F16(self.f16s.iter().map(Vec::as_slice).collect())),
            Block::Columns(Columns::U16(self.u16s.iter().map(Vec::as_slice).collect())),
            Block::Columns(Columns::U8(self.u8s.iter().map(Vec::as_slice).collect())),
            Block::Vectors { values: Values::F32(&self.vectors), width: VECTOR },
        ]
    }

    fn scattered(&self) -> Vec<Block<'_>> {
        vec![
            Block::Codes { codes: Codes::U8(&self.codes.0), levels: LEVELS[0] },
            Block::Codes { codes: Codes::U16(&self.codes.1), levels: LEVELS[1] },
            Block::Sparse { offsets: &self.offsets, indices: &self.indices, values: &self.values, width: WIDTH },
            Block::Codes { codes: Codes::U32(&self.codes.2), levels: LEVELS[2] },
        ]
    }

    fn grain<'a>(&'a self, blocks: Vec<Block<'a>>) -> Grain<'a> {
        let (label, weight) = (Some(Values::F32(&self.label)), Some(Values::F64(&self.weight)));
        Grain { rows: ROWS, blocks, label, weight, offset: None }
    }

    /// Dense columns alone, in numbers that leave every remainder of a panel, then dense and scattered mixed.
    fn grains(&self) -> Vec<Grain<'_>> {
        let mut grains = vec![self.grain(Vec::new())];
        for count in 1..=9 {
            let columns = self.f32s[..count].iter().map(Vec::as_slice).collect();
            grains.push(self.grain(vec![Block::Columns(Columns::F32(columns))]));
        }
        // As many columns as leave 5 + 5 + 4, and more than the lanes are kept of.
        for count in [12, 57] {
            let columns = self.f32s.iter().cycle().take(count).map(Vec::as_slice).collect();
            grains.push(self.grain(vec![Block::Columns(Columns::F32(columns))]));
        }
        let mut mixed = self.scattered();
        let last = mixed.split_off(2);
        mixed.extend(self.dense());
        mixed.extend(last);
        grains.extend([self.grain(self.dense()), self.grain(self.scattered()), self.grain(mixed)]);
        grains
    }
}

/// `max |x|` of every variable.
fn bounds(grain: &Grain<'_>, layout: &GramLayout) -> Vec<f64> {
    let mut bounds = vec![0.0_f64; layout.variables()];
    let mut first = 0;
    for block in &grain.blocks {
        reference::entries(block, 0..grain.rows, |_, j, x| bounds[first + j] = bounds[first + j].max(x.abs()));
        if let Block::Codes { levels, .. } = block {
            bounds[first..first + levels].fill(1.0);
        }
        first += block.parameters();
    }
    bounds[layout.one()] = 1.0;
    if let (Some(target), Some(label)) = (layout.target(), &grain.label) {
        bounds[target] = (0..grain.rows).map(|row| reference::value(label, row).abs()).fold(0.0, f64::max);
    }
    bounds
}

/// The two slices of sums of some rows, tile after tile.
fn sums<R: Real>(
    tier: Tier,
    layout: &GramLayout,
    scales: &GramScales,
    grain: &Grain<'_>,
    tiles: &[Range<usize>],
    weight: Option<&[f64]>,
) -> Result<(Vec<f64>, Vec<i64>), OutOfRange> {
    let kernels = Kernels::<R>::new(tier);
    assert_eq!(kernels.tier(), tier);
    let weight: Option<Vec<R>> = weight.map(|weight| weight.iter().map(|&w| R::from_f64(w)).collect());
    let (mut dense, mut scattered) = (vec![0.0; layout.dense_len()], vec![0; layout.scattered_len()]);
    let mut scratch = GramScratch::default();
    for rows in tiles {
        let tile = GramRows { grain, rows: rows.clone(), weight: weight.as_ref().map(|weight| &weight[rows.clone()]) };
        let sums = GramSums { dense: &mut dense, scattered: &mut scattered };
        kernels.gram(layout, scales, &tile, &mut scratch, sums)?;
    }
    Ok((dense, scattered))
}

/// Every tier against the reference, and the tiers with fused multiply-add against each other.
fn battery<R: Real>(target: bool, weighted: bool) {
    let data = Data::new(7);
    for grain in data.grains() {
        let layout = GramLayout::of(&grain, target).unwrap();
        let n = layout.variables();
        let scales = GramScales::new(&layout, ROWS as u64, 4.0 * 0.37 + 1.0, &bounds(&grain, &layout)).unwrap();
        for (length, start) in LENGTHS.into_iter().zip([0, 1, 3, 16, 23].into_iter().cycle()) {
            let rows = start..start + length;
            // The weights of the arithmetic type, so that both see the same numbers.
            let weight: Vec<f64> = data.weight.iter().map(|&w| R::from_f64(w).to_f64()).collect();
            let weight = weighted.then_some(&weight[..]);
            let mut expected = vec![0.0; n * n];
            reference::gram(&grain, rows.clone(), weight.map(|w| &w[rows.clone()]), target, &mut expected);
            let mut fused: Option<(Vec<f64>, Vec<i64>)> = None;
            for tier in Tier::available() {
                let found = sums::<R>(tier, &layout, &scales, &grain, std::slice::from_ref(&rows), weight).unwrap();
                let matrix = layout.assemble(&scales, &found.0, &found.1);
                compare::<R>(&layout, &scales, &matrix, &expected, &rows, tier);
                if tier != Tier::Portable {
                    let first = fused.get_or_insert_with(|| found.clone());
                    assert_eq!(*first, found, "{tier} has other bits: {n} variables, rows {rows:?}");
                }
            }
        }
    }
}

/// With `u` the unit roundoff of `R`: packing rounds a value and its root of the weight (3 u a product), a lane adds its
/// rows one after the other (at most 1,024 / 8 of a chunk, and 4 folds), chunks and the reference add in f64. By
/// Cauchy-Schwarz `sum |h x_a x_b| <= sqrt(G_aa G_bb)`. A fixed-point sum is off by half a unit a row.
fn compare<R: Real>(
    layout: &GramLayout,
    scales: &GramScales,
    matrix: &[f64],
    expected: &[f64],
    rows: &Range<usize>,
    tier: Tier,
) {
    let n = layout.variables();
    let u = if size_of::<R>() == 4 { f64::from(f32::EPSILON) } else { f64::EPSILON } / 2.0;
    let steps = 8.0 + (rows.len() as f64 / 8.0).min(128.0);
    for a in 0..n {
        for b in 0..n {
            let (relative, fixed) = match layout.place(a, b) {
                Place::Dense(_) => (steps * u + rows.len() as f64 * f64::EPSILON, 0.0),
                Place::Scattered(_) => (rows.len() as f64 * f64::EPSILON, 0.5 * scales.real(a, b, 1)),
                Place::Zero => (0.0, 0.0),
            };
            let size = (expected[a * n + a] * expected[b * n + b]).sqrt();
            let (found, wanted) = (matrix[a * n + b], expected[a * n + b]);
            let tolerance = relative * size + fixed * rows.len() as f64;
            assert!(
                (found - wanted).abs() <= tolerance,
                "{tier}, {n} variables, rows {rows:?}: ({a}, {b}) is {found}, not {wanted} +- {tolerance}"
            );
        }
    }
}

#[test]
fn least_squares_in_f64() {
    battery::<f64>(true, false);
}

#[test]
fn weighted_least_squares_in_f64() {
    battery::<f64>(true, true);
}

#[test]
fn hessian_in_f32() {
    battery::<f32>(false, true);
}

#[test]
fn hessian_without_weights_in_f32() {
    battery::<f32>(false, false);
}

#[test]
fn integers_are_exact() {
    // Products of u8 and u16 and their sums stay below 2^53, and unit weights change nothing.
    let data = Data::new(11);
    let u16s = Block::Columns(Columns::U16(data.u16s.iter().map(Vec::as_slice).collect()));
    let u8s = Block::Columns(Columns::U8(data.u8s.iter().map(Vec::as_slice).collect()));
    let grain = data.grain(vec![u16s, data.scattered().remove(1), u8s]);
    let layout = GramLayout::of(&grain, false).unwrap();
    let mut expected = vec![0.0; layout.variables().pow(2)];
    reference::gram(&grain, 0..ROWS, None, false, &mut expected);
    let scales = GramScales::new(&layout, ROWS as u64, 1.0, &bounds(&grain, &layout)).unwrap();
    for tier in Tier::available() {
        let found = sums::<f64>(tier, &layout, &scales, &grain, &[0..ROWS], None).unwrap();
        assert_eq!(layout.assemble(&scales, &found.0, &found.1), expected, "{tier}");
    }
}

#[test]
fn scattered_sums_do_not_depend_on_the_tiles() {
    let data = Data::new(13);
    let grain = data.grain([data.scattered(), data.dense()].concat());
    let layout = GramLayout::of(&grain, true).unwrap();
    let scales = GramScales::new(&layout, ROWS as u64, 4.0 * 0.37, &bounds(&grain, &layout)).unwrap();
    let whole = sums::<f32>(Tier::best(), &layout, &scales, &grain, &[0..ROWS], Some(&data.weight)).unwrap();
    let tiles = [1_000..ROWS, 0..17, 17..999, 999..1_000];
    let parts = sums::<f32>(Tier::best(), &layout, &scales, &grain, &tiles, Some(&data.weight)).unwrap();
    assert_eq!(whole.1, parts.1);
}

#[test]
fn a_number_beyond_its_bound_is_an_error() {
    let data = Data::new(17);
    let grain = data.grain([data.scattered(), data.dense()].concat());
    let layout = GramLayout::of(&grain, true).unwrap();
    let bounds = bounds(&grain, &layout);
    let run = |bounds: &[f64], weight: &[f64]| {
        let scales = GramScales::new(&layout, ROWS as u64, 1.48, bounds).unwrap();
        sums::<f64>(Tier::best(), &layout, &scales, &grain, &[0..ROWS], Some(weight)).map(|_| ())
    };
    assert_eq!(run(&bounds, &data.weight), Ok(()));
    // Elements of the sparse column, dense columns, the target: all but levels and the constant.
    let levels = LEVELS[0] + LEVELS[1];
    let scattered = levels + WIDTH + LEVELS[2];
    for variable in [levels, levels + WIDTH - 1, scattered, layout.one() - 1, layout.one() + 1] {
        let mut wrong = bounds.clone();
        wrong[variable] /= 2.5;
        assert_eq!(run(&wrong, &data.weight), Err(OutOfRange), "variable {variable}");
    }
    for wrong in [f64::NAN, f64::INFINITY, 40.0, -40.0] {
        let mut weight = data.weight.clone();
        weight[ROWS - 1] = wrong;
        assert_eq!(run(&bounds, &weight), Err(OutOfRange), "weight {wrong}");
    }
}
