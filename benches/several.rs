//! Several weight vectors in one pass: the time of a logistic value-and-gradient pass of K vectors over data in memory,
//! in times of that of one vector in the same round.
//!
//! `cargo bench --bench several -- [--test] [--columns 28] [--megabytes 256] [--rounds 5]`
//! Every tier and K checks first that each vector gets the bits that it gets alone. All cores read their own grains of
//! `f32` columns, tile by tile; the cases of a round run in turn, and the median of the rounds' ratios is told.

use gristmill_kernels::tile::{Block, Columns, Cut};
use gristmill_kernels::{Aligned, Carried, Kernels, LANES, Loss, LossLanes, LossRows, Tier};
use std::time::Instant;

/// Numbers of weight vectors.
const VECTORS: [usize; 5] = [1, 2, 4, 8, 16];

/// What the command line says.
struct Options {
    columns: usize,
    megabytes: usize,
    rounds: usize,
}

fn options() -> Options {
    let mut options = Options { columns: 28, megabytes: 256, rounds: 5 };
    let mut words = std::env::args().skip(1);
    let mut test = false;
    while let Some(word) = words.next() {
        let slot = match word.as_str() {
            "--bench" => continue,
            "--test" => {
                test = true;
                continue;
            }
            "--columns" => &mut options.columns,
            "--megabytes" => &mut options.megabytes,
            "--rounds" => &mut options.rounds,
            _ => usage(&format!("unknown option {word}")),
        };
        *slot = match words.next().and_then(|text| text.parse().ok()) {
            Some(number) if number > 0 => number,
            _ => usage(&format!("{word} wants a positive number")),
        };
    }
    if test { Options { megabytes: 4, rounds: 1, ..options } } else { options }
}

fn usage(message: &str) -> ! {
    eprintln!("{message}; see the head of benches/several.rs");
    std::process::exit(2)
}

/// Grains, column after column, as they lie in a shard.
struct Data {
    numbers: Aligned<f32>,
    columns: usize,
    rows: usize,
}

impl Data {
    /// Grains of about 4 MiB, an odd multiple of 64 rows.
    fn new(options: &Options) -> Data {
        let rows = ((4 << 20) / (options.columns * 4) / 64).max(1) / 2 * 128 + 64;
        let grains = ((options.megabytes << 20) / (rows * options.columns * 4)).max(2);
        let mut numbers = Aligned::zeros(grains * rows * options.columns);
        let mut state = 1u64;
        for number in numbers.iter_mut() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *number = (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
        }
        Data { numbers, columns: options.columns, rows }
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        let grains = self.numbers.chunks(self.rows * self.columns);
        grains.map(|grain| Block::Columns(Columns::F32(grain.chunks(self.rows).collect()))).collect()
    }
}

/// The buffers of a worker.
struct Worker {
    vectors: usize,
    cut: Cut,
    w: Vec<f32>,
    y: Vec<f32>,
    z: Aligned<f32>,
    lanes: (LossLanes, Aligned<[f32; LANES]>),
    g: Vec<f64>,
}

impl Worker {
    fn new(columns: usize, vectors: usize) -> Worker {
        let cut = Cut::dense(columns * 4, columns);
        let cut = if vectors > 1 { cut.several() } else { cut };
        Worker {
            vectors,
            cut,
            w: (0..columns * vectors).map(|j| (j as f32 * 0.7).sin() * 0.1).collect(),
            y: (0..cut.run).map(|i| f32::from(i % 3 == 0)).collect(),
            z: Aligned::zeros(cut.piece * vectors),
            lanes: (LossLanes::default(), Aligned::zeros(columns)),
            g: vec![0.0; columns * vectors],
        }
    }

    /// Loss and gradients of one grain, piece by piece.
    fn grain(&mut self, kernels: &Kernels<f32>, block: &Block<'_>, rows: usize) -> f64 {
        let mut loss = 0.0;
        for (range, call) in self.cut.pieces(&(0..rows)) {
            let (n, z) = (range.len(), &mut self.z[..range.len() * self.vectors]);
            z.fill(0.0);
            if self.vectors == 1 {
                kernels.margins(block, range.clone(), &self.w, z);
            } else {
                kernels.margins_k(block, range.clone(), &self.w, z);
            }
            for z in z.chunks_exact_mut(n) {
                let y = &self.y[range.start % self.cut.run..][..n];
                let rows = LossRows { z, y, weight: None, curvature: None, next: None };
                let carried = self.cut.carries().then_some(Carried { call, lanes: &mut self.lanes.0 });
                loss += kernels.loss_of_run(Loss::Logistic, rows, carried).loss;
            }
            if self.vectors == 1 {
                let carried = self.cut.carries().then(|| Carried { call, lanes: &mut self.lanes.1[..] });
                kernels.gradient_of_run(block, range, z, carried, &mut self.g);
            } else {
                kernels.gradient_k(block, range, z, &mut self.g);
            }
        }
        loss
    }
}

/// Panics unless every vector of `vectors` has the gradient that it has alone.
fn check(kernels: &Kernels<f32>, data: &Data, vectors: usize) {
    let block = &data.blocks()[0];
    let mut all = Worker::new(data.columns, vectors);
    all.grain(kernels, block, data.rows);
    for (w, g) in all.w.chunks(data.columns).zip(all.g.chunks(data.columns)) {
        let mut one = Worker { w: w.to_vec(), ..Worker::new(data.columns, 1) };
        one.grain(kernels, block, data.rows);
        assert_eq!(one.g, g, "{} of {vectors} vectors", kernels.tier());
    }
}

/// Seconds of one pass over all grains by all cores.
fn pass(kernels: Kernels<f32>, data: &Data, vectors: usize, threads: usize) -> f64 {
    let blocks = data.blocks();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for part in blocks.chunks(blocks.len().div_ceil(threads)) {
            scope.spawn(move || {
                let mut worker = Worker::new(data.columns, vectors);
                let loss: f64 = part.iter().map(|block| worker.grain(&kernels, block, data.rows)).sum();
                assert!(loss.is_finite());
            });
        }
    });
    started.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let options = options();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let data = Data::new(&options);
    println!("{threads} threads, {} f32 columns, {} MB", options.columns, size_of_val(&*data.numbers) / 1_000_000);
    println!("{:<10} {:>4} {:>12} {:>16}", "tier", "K", "M rows/s", "times of K = 1");
    for tier in Tier::available().into_iter().rev() {
        let kernels = Kernels::new(tier);
        VECTORS.iter().for_each(|&vectors| check(&kernels, &data, vectors));
        let rounds: Vec<[f64; VECTORS.len()]> =
            (0..options.rounds).map(|_| VECTORS.map(|vectors| pass(kernels, &data, vectors, threads))).collect();
        for (case, vectors) in VECTORS.iter().enumerate() {
            let mut seconds: Vec<f64> = rounds.iter().map(|round| round[case]).collect();
            let mut ratios: Vec<f64> = rounds.iter().map(|round| round[case] / round[0]).collect();
            let rows = (data.numbers.len() / data.columns) as f64;
            let rate = rows / median(&mut seconds) / 1e6;
            println!("{:<10} {vectors:>4} {rate:>12.1} {:>16.2}", tier.name(), median(&mut ratios));
        }
    }
}
