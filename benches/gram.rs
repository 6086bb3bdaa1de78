//! The weighted Gram matrix, categorical columns and sparse rows, against the machine's own peaks.
//!
//! `cargo bench --bench gram` checks every answer against the plain reference, prints the share of the FMA peak or of
//! the memory bandwidth that the same run measured (one thread, the two measured in turn), and then hands the kernels to
//! criterion. `-- --test` runs each once.

use criterion::{BenchmarkId, Criterion, Throughput};
use gristmill::machine::{fma, memory};
use gristmill_kernels::fixed::FixedScale;
use gristmill_kernels::isa::Real;
use gristmill_kernels::tile::{Block, Codes, Columns, Grain, Values};
use gristmill_kernels::{GramLayout, GramRows, GramScales, GramScratch, GramSums, Kernels, Residuals, Tier, reference};
use std::hint::black_box;
use std::time::Instant;

/// Uniform numbers in -1 .. 1 (splitmix64).
fn numbers(seed: u64, count: usize) -> impl Iterator<Item = f64> {
    (0..count as u64).map(move |i| {
        let mut z = (seed << 32 ^ i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    })
}

/// Owned columns of a grain.
struct Data {
    rows: usize,
    columns: Vec<Vec<f32>>,
    codes: Vec<Vec<u32>>,
    offsets: Vec<i32>,
    indices: Vec<u32>,
    values: Vec<f32>,
    label: Vec<f32>,
    weight: Vec<f64>,
}

impl Data {
    fn new(rows: usize, columns: usize, codes: usize, levels: u64, entries: usize, width: u32) -> Data {
        let column = |seed| numbers(seed, rows).map(|x| x as f32).collect();
        let level = |seed| numbers(seed, rows).map(|x| (((x + 1.0) / 2.0).powi(3) * levels as f64) as u32).collect();
        let step = if entries == 0 { 1 } else { width / entries as u32 };
        let sparse = numbers(7, rows * entries).enumerate();
        let index = |(at, x): (usize, f64)| (at % entries) as u32 * step + ((x + 1.0) / 2.0 * f64::from(step)) as u32;
        Data {
            rows,
            columns: (1..=columns as u64).map(column).collect(),
            codes: (101..101 + codes as u64).map(level).collect(),
            offsets: (0..=rows).map(|row| (row * entries) as i32).collect(),
            indices: sparse.map(index).collect(),
            values: numbers(8, rows * entries).map(|x| x as f32).collect(),
            label: numbers(9, rows).map(|x| x as f32).collect(),
            weight: numbers(10, rows).map(f64::abs).collect(),
        }
    }

    fn grain(&self, levels: usize, width: usize) -> Grain<'_> {
        let mut blocks = Vec::new();
        if !self.columns.is_empty() {
            blocks.push(Block::Columns(Columns::F32(self.columns.iter().map(Vec::as_slice).collect())));
        }
        blocks.extend(self.codes.iter().map(|codes| Block::Codes { codes: Codes::U32(codes), levels }));
        if !self.values.is_empty() {
            let (offsets, indices, values) = (&self.offsets[..], &self.indices[..], &self.values[..]);
            blocks.push(Block::Sparse { offsets, indices, values, width });
        }
        Grain { rows: self.rows, blocks, label: Some(Values::F32(&self.label)), weight: None, offset: None }
    }
}

/// A Gram matrix of all rows of a grain, ready to be formed again and again.
struct Case<'a, R: Real> {
    grain: &'a Grain<'a>,
    layout: GramLayout,
    scales: GramScales,
    weight: Option<Vec<R>>,
    scratch: GramScratch<R>,
    dense: Vec<f64>,
    scattered: Vec<i64>,
}

impl<'a, R: Real> Case<'a, R> {
    fn new(grain: &'a Grain<'a>, target: bool, weight: Option<&[f64]>) -> Case<'a, R> {
        let layout = GramLayout::of(grain, target).expect("the sums of a bench fit");
        let bounds = vec![1.0; layout.variables()];
        Case {
            scales: GramScales::new(&layout, 1 << 30, 1.0, &bounds).expect("finite bounds"),
            dense: vec![0.0; layout.dense_len()],
            scattered: vec![0; layout.scattered_len()],
            weight: weight.map(|weight| weight.iter().map(|&w| R::from_f64(w)).collect()),
            scratch: GramScratch::default(),
            grain,
            layout,
        }
    }

    fn run(&mut self, kernels: &Kernels<R>) {
        let tile = GramRows { grain: self.grain, rows: 0..self.grain.rows, weight: self.weight.as_deref() };
        let sums = GramSums { dense: &mut self.dense, scattered: &mut self.scattered };
        kernels.gram(&self.layout, &self.scales, &tile, &mut self.scratch, sums).expect("values within bounds");
    }

    /// Compares with the reference; the battery in kernels/tests holds the tight tolerances.
    fn check(&mut self, kernels: &Kernels<R>) {
        let n = self.layout.variables();
        let weight: Option<Vec<f64>> = self.weight.as_ref().map(|w| w.iter().map(|w| w.to_f64()).collect());
        let mut expected = vec![0.0; n * n];
        reference::gram(
            self.grain,
            0..self.grain.rows,
            weight.as_deref(),
            self.layout.target().is_some(),
            &mut expected,
        );
        self.run(kernels);
        let found = self.layout.assemble(&self.scales, &self.dense, &self.scattered);
        for (found, expected) in found.iter().zip(&expected) {
            let tolerance = 1e-5 * self.grain.rows as f64;
            assert!((found - expected).abs() <= tolerance, "{found} for {expected}");
        }
    }

    fn flops(&self) -> f64 {
        let d = self.layout.dense_variables() as f64;
        self.grain.rows as f64 * d * (d + 1.0)
    }
}

/// Median seconds of `run`, `times` times.
fn median(times: usize, mut run: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..times)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[times / 2]
}

/// Gram matrices of dense columns: share of the FMA peak, measured before and after each in turn.
fn dense<R: Real>(criterion: &mut Criterion, tier: Tier, name: &str, weighted: bool) {
    let kernels = Kernels::<R>::new(tier);
    let mut group = criterion.benchmark_group(format!("gram {name} {tier}"));
    for (columns, rows) in [(28, 16_384 - 64), (100, 8_128), (512, 2_112)] {
        let data = Data::new(rows, columns, 0, 0, 0, 0);
        let grain = data.grain(0, 0);
        let mut case = Case::<R>::new(&grain, size_of::<R>() == 8, weighted.then_some(&data.weight[..]));
        if columns < 500 {
            case.check(&kernels);
        }
        let before = fma::peak::<R>(tier, 1);
        let seconds = median(15, || case.run(&kernels));
        let peak = before.max(fma::peak::<R>(tier, 1));
        let (rate, bytes) = (case.flops() / seconds, (rows * (columns + 1) * 4) as f64 / seconds);
        println!(
            "gram {name} {tier} {rows} x {columns}: {:.1} Gflop/s, {:.0} % of the FMA peak {:.1}; {:.2} GB/s, {:.1} M rows/s",
            rate / 1e9,
            rate / peak * 100.0,
            peak / 1e9,
            bytes / 1e9,
            rows as f64 / seconds / 1e6
        );
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::from_parameter(columns), |bencher| bencher.iter(|| case.run(&kernels)));
    }
}

/// Gram matrix of 10 numeric and 8 categorical columns, and of sparse rows.
fn scattered(criterion: &mut Criterion, tier: Tier) {
    let kernels = Kernels::<f64>::new(tier);
    let mut group = criterion.benchmark_group(format!("gram scattered {tier}"));
    for (name, data) in [("codes", Data::new(4_032, 10, 8, 100, 0, 0)), ("sparse", Data::new(4_032, 2, 0, 0, 24, 480))]
    {
        let grain = data.grain(100, 480);
        let mut case = Case::<f64>::new(&grain, true, None);
        case.check(&kernels);
        let seconds = median(15, || case.run(&kernels));
        println!("gram {name} {tier}: {:.2} M rows/s", data.rows as f64 / seconds / 1e6);
        group.throughput(Throughput::Elements(data.rows as u64));
        group.bench_function(name, |bencher| bencher.iter(|| case.run(&kernels)));
    }
}

/// Margins and scattered gradient of categorical columns and of sparse rows: share of the memory bandwidth of one thread.
fn linear(criterion: &mut Criterion, tier: Tier, bandwidth: f64) {
    let kernels = Kernels::<f32>::new(tier);
    let mut group = criterion.benchmark_group(format!("linear {tier}"));
    let (levels, width) = (1 << 12, 1 << 16);
    let cases = [("codes", Data::new(65_472, 0, 8, levels, 0, 0)), ("sparse", Data::new(65_472, 0, 0, 0, 24, width))];
    for (name, data) in &cases {
        let grain = data.grain(levels as usize, width as usize);
        let mut z = vec![0.0_f32; data.rows];
        let r: Vec<f32> = numbers(3, data.rows).map(|x| x as f32).collect();
        let weights: Vec<Vec<f32>> =
            grain.blocks.iter().map(|block| numbers(4, block.parameters()).map(|x| x as f32).collect()).collect();
        let mut sums: Vec<Vec<i64>> = grain.blocks.iter().map(|block| vec![0; block.parameters()]).collect();
        for (block, w) in grain.blocks.iter().zip(&weights) {
            let wide: Vec<f64> = w.iter().map(|&w| f64::from(w)).collect();
            let mut expected = vec![0.0; data.rows];
            reference::margins(block, 0..data.rows, &wide, &mut expected);
            z.fill(0.0);
            kernels.margins(block, 0..data.rows, w, &mut z);
            assert!(z.iter().zip(&expected).all(|(z, e)| (f64::from(*z) - e).abs() < 1e-4));
        }
        let bytes: usize = match *name {
            "codes" => 8 * data.rows * 4,
            _ => data.values.len() * 8 + data.offsets.len() * 4,
        };
        let entries = data.values.len().max(8 * data.rows) as f64;
        let mut margins = || {
            for (block, w) in grain.blocks.iter().zip(&weights) {
                kernels.margins(block, 0..data.rows, w, black_box(&mut z));
            }
        };
        let seconds = median(15, &mut margins);
        let report = |what: &str, seconds: f64| {
            let (rate, share) = (bytes as f64 / seconds, bytes as f64 / seconds / bandwidth * 100.0);
            println!(
                "{name} {what} {tier}: {:.2} ns an entry, {:.2} GB/s, {share:.0} % of one thread's bandwidth",
                seconds / entries * 1e9,
                rate / 1e9
            );
        };
        report("margins", seconds);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{name} margins"), |bencher| bencher.iter(&mut margins));
        let mut scratch = vec![0; data.rows];
        let mut scatter = || {
            let mut residuals = Residuals::new(&r, &mut scratch);
            for (block, g) in grain.blocks.iter().zip(&mut sums) {
                let scale = FixedScale::new(20, 1.0);
                kernels.scatter(block, 0..data.rows, &mut residuals, scale, g).expect("residuals and values below 1");
            }
        };
        let seconds = median(15, &mut scatter);
        report("scatter", seconds);
        group.bench_function(format!("{name} scatter"), |bencher| bencher.iter(&mut scatter));
    }
}

fn main() {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let test = memory::MemoryTest::quick(1, &gristmill::machine::processor(), u64::MAX);
    let bandwidth = memory::measure(&test).expect("memory for the buffers").best;
    println!("memory: {:.1} GB/s by one thread", bandwidth / 1e9);
    for tier in Tier::available() {
        dense::<f64>(&mut criterion, tier, "f64", false);
        dense::<f32>(&mut criterion, tier, "f32 weighted", true);
        scattered(&mut criterion, tier);
        linear(&mut criterion, tier, bandwidth);
    }
    criterion.final_summary();
}
