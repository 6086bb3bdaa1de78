//! Kernels at the roofline: a fused value-and-gradient pass per storage type and tier, as a share of the memory-read
//! bandwidth that the same run measures.
//!
//! `cargo bench --bench kernels -- [--test] [--columns 28] [--tile 1024] [--megabytes 256] [--rounds 5] [FILTER]..`
//! A filter is a part of a case's name (`avx512 f32 columns`). Every case checks its gradient against the plain `f64`
//! reference first. All cores read their own grains of about 4 MiB; cases run in turn, round after round, and each round is
//! held against the bandwidth of that round: the median of those shares is the figure that a noisy machine leaves
//! standing.

use gristmill_kernels::dtype::{DType, f16};
use gristmill_kernels::isa::{Isa, Kernel, LANES, Lanes, Load, Token};
use gristmill_kernels::tile::{Block, Columns, Cut, Values};
use gristmill_kernels::{Kernels, Loss, Next, Tier, reference};
use std::time::Instant;

/// What the command line says.
struct Options {
    test: bool,
    columns: usize,
    tile: usize,
    megabytes: usize,
    rounds: usize,
    filters: Vec<String>,
}

fn options() -> Options {
    let mut options = Options { test: false, columns: 28, tile: 1_024, megabytes: 256, rounds: 5, filters: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = |slot: &mut usize| match words.next().and_then(|text| text.parse().ok()) {
            Some(value) => *slot = value,
            None => usage(&format!("{word} wants a number")),
        };
        match word.as_str() {
            "--bench" => {}
            "--test" => options.test = true,
            "--columns" => number(&mut options.columns),
            "--tile" => number(&mut options.tile),
            "--megabytes" => number(&mut options.megabytes),
            "--rounds" => number(&mut options.rounds),
            filter if !filter.starts_with('-') => options.filters.push(word),
            _ => usage(&format!("unknown option {word}")),
        }
    }
    if options.test {
        options.megabytes = 8;
        options.rounds = 1;
    }
    options
}

fn usage(message: &str) -> ! {
    eprintln!("{message}; see the head of benches/kernels.rs");
    std::process::exit(2)
}

/// Grains of one storage type, column after column, as they lie in a shard.
enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    U16(Vec<u16>),
    U8(Vec<u8>),
    F64(Vec<f64>),
}

/// The data of one case.
struct Data {
    numbers: Numbers,
    columns: usize,
    rows: usize,
    grains: usize,
    row_major: bool,
}

impl Data {
    fn new(dtype: DType, row_major: bool, options: &Options) -> Data {
        let columns = options.columns;
        // About 4 MiB, an odd multiple of 64 rows: a column pitch that is no power of two.
        let rows = ((4 << 20) / (columns * dtype.bytes()) / 64).max(1) / 2 * 128 + 64;
        let grains = ((options.megabytes << 20) / (rows * columns * dtype.bytes())).max(2);
        let count = rows * columns * grains;
        let mut state = 1u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u32
        };
        let mut real = {
            let mut next = next;
            move || (next() as f32) / (1 << 24) as f32 - 0.5
        };
        let numbers = match dtype {
            DType::F64 => Numbers::F64((0..count).map(|_| f64::from(real())).collect()),
            DType::F32 => Numbers::F32((0..count).map(|_| real()).collect()),
            DType::F16 => {
                // Conversion is slow: repeat a stretch of odd length.
                let stretch: Vec<f16> = (0..100_003).map(|_| f16::from_f32(real())).collect();
                Numbers::F16(stretch.into_iter().cycle().take(count).collect())
            }
            DType::U16 => Numbers::U16((0..count).map(|_| next() as u16).collect()),
            DType::U8 => Numbers::U8((0..count).map(|_| next() as u8).collect()),
        };
        Data { numbers, columns, rows, grains, row_major }
    }

    fn bytes(&self) -> usize {
        self.grains * self.rows * self.columns * self.dtype().bytes()
    }

    fn dtype(&self) -> DType {
        match self.numbers {
            Numbers::F64(_) => DType::F64,
            Numbers::F32(_) => DType::F32,
            Numbers::F16(_) => DType::F16,
            Numbers::U16(_) => DType::U16,
            Numbers::U8(_) => DType::U8,
        }
    }

    /// The block of grain `grain`.
    fn block(&self, grain: usize) -> Block<'_> {
        let size = self.rows * self.columns;
        let range = grain * size..(grain + 1) * size;
        if self.row_major {
            let values = match &self.numbers {
                Numbers::F64(values) => Values::F64(&values[range]),
                Numbers::F32(values) => Values::F32(&values[range]),
                Numbers::F16(values) => Values::F16(&values[range]),
                Numbers::U16(values) => Values::U16(&values[range]),
                Numbers::U8(values) => Values::U8(&values[range]),
            };
            return Block::Vectors { values, width: self.columns };
        }
        Block::Columns(match &self.numbers {
            Numbers::F64(values) => Columns::F64(values[range].chunks(self.rows).collect()),
            Numbers::F32(values) => Columns::F32(values[range].chunks(self.rows).collect()),
            Numbers::F16(values) => Columns::F16(values[range].chunks(self.rows).collect()),
            Numbers::U16(values) => Columns::U16(values[range].chunks(self.rows).collect()),
            Numbers::U8(values) => Columns::U8(values[range].chunks(self.rows).collect()),
        })
    }
}

/// The buffers of one worker.
struct Worker {
    w: Vec<f32>,
    z: Vec<f32>,
    y: Vec<f32>,
    g: Vec<f64>,
}

impl Worker {
    fn new(columns: usize, tile: usize) -> Worker {
        Worker {
            w: (0..columns).map(|j| (j as f32 * 0.7).sin() * 1e-3).collect(),
            z: vec![0.0; tile],
            y: (0..tile).map(|i| f32::from(i % 3 == 0)).collect(),
            g: vec![0.0; columns],
        }
    }

    /// Logistic loss and gradient of one grain, tile by tile.
    fn grain(&mut self, kernels: &Kernels<f32>, block: &Block<'_>, rows: usize) -> f64 {
        let tile = self.z.len();
        let mut loss = 0.0;
        for start in (0..rows).step_by(tile) {
            let range = start..rows.min(start + tile);
            let z = &mut self.z[..range.len()];
            z.fill(0.0);
            kernels.margins(block, range.clone(), &self.w, z);
            let next = Next::after(block, &range);
            loss += kernels.loss(Loss::Logistic, z, &self.y[..range.len()], None, None, next).loss;
            kernels.gradient(block, range, z, &mut self.g);
        }
        loss
    }
}

/// One pass over all grains by all cores; the seconds it took.
fn pass(kernels: Kernels<f32>, data: &Data, tile: usize, threads: usize) -> f64 {
    let blocks: Vec<Block<'_>> = (0..data.grains).map(|grain| data.block(grain)).collect();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for part in blocks.chunks(data.grains.div_ceil(threads)) {
            scope.spawn(move || {
                let mut worker = Worker::new(data.columns, tile);
                let loss: f64 = part.iter().map(|block| worker.grain(&kernels, block, data.rows)).sum();
                assert!(loss.is_finite());
            });
        }
    });
    started.elapsed().as_secs_f64()
}

/// Panics unless the gradient of the first grain is the reference's to six digits of its magnitude.
fn check(kernels: &Kernels<f32>, data: &Data, tile: usize) {
    let block = data.block(0);
    let mut worker = Worker::new(data.columns, tile);
    let loss = worker.grain(kernels, &block, data.rows);
    let w: Vec<f64> = worker.w.iter().map(|&w| f64::from(w)).collect();
    let mut z = vec![0.0; data.rows];
    reference::margins(&block, 0..data.rows, &w, &mut z);
    let y: Vec<f64> = (0..data.rows).map(|i| f64::from(worker.y[i % tile])).collect();
    let sums = reference::loss(Loss::Logistic, &mut z, &y, None, None);
    let (mut g, mut magnitude) = (vec![0.0; data.columns], vec![0.0; data.columns]);
    reference::entries(&block, 0..data.rows, |i, j, x| {
        g[j] += z[i] * x;
        magnitude[j] += (z[i] * x).abs();
    });
    let name = kernels.tier();
    // u16 margins reach some 1e2, of which f32 keeps 1e-5.
    assert!((loss - sums.loss).abs() <= 1e-4 * sums.loss, "{name}: loss {loss}, expected {}", sums.loss);
    for j in 0..data.columns {
        let error = (worker.g[j] - g[j]).abs();
        assert!(error <= 1e-4 * magnitude[j], "{name}: gradient {j} is {}, expected {}", worker.g[j], g[j]);
    }
}

/// Reads `f32` as fast as the memory gives them.
struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<T: Isa>(self, tier: T) -> f32 {
        let mut sums = [T::F32::zero(tier); 4];
        let (groups, _) = self.0.as_chunks::<{ 4 * LANES }>();
        for group in groups {
            for (sum, x) in sums.iter_mut().zip(group.as_chunks::<LANES>().0) {
                *sum = *sum + f32::load::<T, f32>(tier, x);
            }
        }
        ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
    }
}

/// Bytes a second that all cores read, plain sequential sums over `buffer`.
fn read_bandwidth(token: Token, buffer: &[f32], threads: usize) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for part in buffer.chunks(buffer.len().div_ceil(threads)) {
            scope.spawn(move || std::hint::black_box(token.enter(Read(part))));
        }
    });
    size_of_val(buffer) as f64 / started.elapsed().as_secs_f64()
}

/// Nanoseconds a row of margins, loss and gradient over one tile that stays in the second-level cache, one thread: what
/// the arithmetic costs when the data are near.
fn resident(kernels: &Kernels<f32>, data: &Data, tile: usize, seconds: f64) -> [f64; 3] {
    let block = data.block(0);
    let mut worker = Worker::new(data.columns, tile);
    let rows = 0..tile.min(data.rows);
    let Worker { w, z, y, g } = &mut worker;
    let (z, y) = (&mut z[..rows.len()], &y[..rows.len()]);
    let time = |operation: &mut dyn FnMut()| {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let (started, mut calls) = (Instant::now(), 0);
            while started.elapsed().as_secs_f64() < seconds / 15.0 {
                (0..8).for_each(|_| operation());
                calls += 8;
            }
            best = best.min(started.elapsed().as_secs_f64() / f64::from(calls));
        }
        best * 1e9 / rows.len() as f64
    };
    let margins = time(&mut || {
        z.fill(0.0);
        kernels.margins(&block, rows.clone(), w, z);
    });
    // Residuals stand in for margins from the second call on: the arithmetic does not depend on the values.
    let loss = time(&mut || {
        std::hint::black_box(kernels.loss(Loss::Logistic, z, y, None, None, None));
    });
    let gradient = time(&mut || kernels.gradient(&block, rows.clone(), z, g));
    [margins, loss, gradient]
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One line of the table.
struct Case {
    name: String,
    kernels: Kernels<f32>,
    data: usize,
    tile: usize,
    resident: [f64; 3],
    seconds: Vec<f64>,
    shares: Vec<f64>,
}

fn main() {
    let options = options();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all_data = Vec::new();
    let mut cases = Vec::new();
    for row_major in [false, true] {
        for dtype in [DType::F32, DType::F16, DType::U16, DType::U8, DType::F64] {
            let layout = if row_major { "vectors" } else { "columns" };
            let names: Vec<(Tier, String)> = Tier::available()
                .into_iter()
                .rev()
                .map(|tier| (tier, format!("{tier} {} {layout}", dtype.name())))
                .filter(|(_, name)| {
                    options.filters.is_empty() || options.filters.iter().any(|f| name.contains(f.as_str()))
                })
                .collect();
            if names.is_empty() {
                continue;
            }
            all_data.push(Data::new(dtype, row_major, &options));
            let data = all_data.len() - 1;
            let bytes = options.columns * dtype.bytes();
            let tile = ((options.tile * 112) / bytes / 64).max(2) * 64;
            let own = Cut::dense(bytes, options.columns).piece;
            let tile = if options.tile == 0 { own } else { tile.min(options.tile) };
            for (tier, name) in names {
                let kernels = Kernels::new(tier);
                check(&kernels, &all_data[data], tile);
                let resident = resident(&kernels, &all_data[data], tile, if options.test { 0.001 } else { 0.06 });
                cases.push(Case { name, kernels, data, tile, resident, seconds: Vec::new(), shares: Vec::new() });
            }
        }
    }
    let token = Token::detect(Tier::best()).expect("the best tier is available");
    let buffer = vec![1.0f32; (options.megabytes << 20) / 4];
    let mut bandwidths = Vec::new();
    for _ in 0..options.rounds {
        for case in &mut cases {
            let data = &all_data[case.data];
            let before = read_bandwidth(token, &buffer, threads);
            let seconds = pass(case.kernels, data, case.tile, threads);
            let bandwidth = before.max(read_bandwidth(token, &buffer, threads));
            bandwidths.push(bandwidth);
            case.shares.push(data.bytes() as f64 / seconds / bandwidth);
            case.seconds.push(seconds);
        }
    }
    println!(
        "{threads} threads, {} columns, read bandwidth {:.1} GB/s",
        options.columns,
        median(&mut bandwidths) / 1e9
    );
    println!(
        "{:<26} {:>6} {:>10} {:>8} {:>8} {:>28}",
        "case", "tile", "M rows/s", "GB/s", "share", "near: margins loss gradient ns/row"
    );
    for case in &mut cases {
        let data = &all_data[case.data];
        let seconds = median(&mut case.seconds);
        println!(
            "{:<26} {:>6} {:>10.1} {:>8.2} {:>8.2} {:>12.2} {:>7.2} {:>7.2}",
            case.name,
            case.tile,
            (data.rows * data.grains) as f64 / seconds / 1e6,
            data.bytes() as f64 / seconds / 1e9,
            median(&mut case.shares),
            case.resident[0],
            case.resident[1],
            case.resident[2]
        );
    }
}
