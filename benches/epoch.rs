//! A whole pass of training, from grain to solver: loss and gradient of logistic regression, and the matrix of least squares;
//! and what the law of the same bits costs, on dense columns and on codes.
//!
//! `cargo bench --bench epoch` checks that all threads find what one thread finds, to the bit, prints rows and bytes a second and
//! the share of the memory bandwidth, and then hands passes to criterion. `-- --test` runs each once on little data.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use gristmill::bench::grains::{Grains, Rows};
use gristmill::bench::median;
use gristmill::bench::stream::{Scratch, epoch, lawful_epoch};
use gristmill::machine::memory::MemoryRuler;
use gristmill::plan::{TrainPlan, TrainRequest};
use gristmill::train::{Company, Ended, PassReport, Start, Trained, Unwatched, train};
use gristmill_io::Dataset;
use gristmill_io::tiles::Io;
use gristmill_io::watch::Cancel;
use gristmill_kernels::fixed::FixedScale;
use gristmill_kernels::tile::{Block, Codes};
use gristmill_kernels::{Kernels, Loss, Residuals, Tier};
use mpi_launch::Solo;

fn fit(dataset: &Dataset, plan: &TrainPlan) -> Trained {
    let company = Company { comm: &Solo, watch: &Unwatched, cancel: &Cancel::new() };
    match train(dataset, plan, Start::Cold, &company).expect("a training") {
        Ended::Trained(trained) => *trained,
        Ended::Interrupted(_) => unreachable!("nobody asks to stop"),
    }
}

/// Whole passes, without the first, which maps the data.
fn passes(trained: &Trained) -> Vec<&PassReport> {
    let whole: Vec<&PassReport> = trained.history.iter().filter(|pass| pass.share == 1.0).collect();
    if whole.len() > 1 { whole[1..].to_vec() } else { whole }
}

/// Passes in turn with and without it, of which the medians count.
const TURNS: usize = 15;

/// On and off: the same kernels over the same stream, the sums of a grain added to integers as in a training, or to plain `f64`, so
/// that the last bits depend on who took which grain. Then whole passes of a training against those, with all that the engine does
/// around the kernels.
fn law_on_dense_columns(scratch: &Scratch, plan: &TrainPlan, threads: usize) -> [f64; 2] {
    let stream = scratch.stream(Io::Mmap, u64::MAX, threads).expect("a stream");
    let lawful = |threads| lawful_epoch(&stream, threads, &Cancel::new()).expect("a pass");
    let off = || epoch(&stream, threads, &Cancel::new()).expect("a pass").0.seconds;
    let engine = || median(passes(&fit(&scratch.dataset, plan)).iter().map(|pass| pass.seconds).collect());
    // The first maps the data.
    let ([one, all], plain) = ([1, threads].map(|threads| lawful(threads).1), epoch(&stream, threads, &Cancel::new()));
    assert_eq!(one, all, "sums of {threads} threads are others than of one");
    let plain = plain.expect("a pass").1;
    assert!((one[0] - plain).abs() <= 1e-9 * plain.abs(), "loss {} by the law and {plain} without", one[0]);
    let turn = |on: &dyn Fn() -> f64| on() / median((0..5).map(|_| off()).collect());
    let law = || median((0..5).map(|_| lawful(threads).0.seconds).collect());
    let ratios: Vec<[f64; 2]> = (0..TURNS).map(|_| [turn(&law), turn(&engine)]).collect();
    [0, 1].map(|which| median(ratios.iter().map(|ratio| ratio[which]).collect()))
}

/// Rows of a tile of codes.
const TILE_ROWS: usize = 640;

/// A pass of loss and gradient over categorical columns, by one thread.
struct CodesPass {
    data: Grains,
    levels: usize,
    weights: Vec<f32>,
    labels: Vec<f32>,
    integers: Vec<i64>,
    reals: Vec<f32>,
}

impl CodesPass {
    fn new(levels: usize, bytes: usize) -> CodesPass {
        let data = Grains::new(Rows::Codes(levels), 26, bytes);
        let parameters = levels * data.columns;
        CodesPass {
            levels,
            weights: (0..parameters).map(|j| (j as f32 * 0.7).sin() * 1e-3).collect(),
            labels: (0..data.rows).map(|row| f32::from(u8::from(row % 3 == 0))).collect(),
            integers: vec![0; parameters],
            reals: vec![0.0; parameters],
            data,
        }
    }

    /// With the law: residuals in fixed point, added as integers; without: added as `f32`. Seconds.
    fn make(&mut self, law: bool) -> f64 {
        let kernels = Kernels::<f32>::new(Tier::best());
        let (mut z, mut quantised) = ([0.0; TILE_ROWS], [0; TILE_ROWS]);
        let began = Instant::now();
        for grain in 0..self.data.grains {
            let blocks = self.data.blocks(grain);
            for start in (0..self.data.rows).step_by(TILE_ROWS) {
                let rows = start..self.data.rows.min(start + TILE_ROWS);
                let (z, quantised) = (&mut z[..rows.len()], &mut quantised[..rows.len()]);
                z.fill(0.0);
                for (block, weights) in blocks.iter().zip(self.weights.chunks(self.levels)) {
                    kernels.margins(block, rows.clone(), weights, z);
                }
                kernels.loss(Loss::Logistic, z, &self.labels[rows.clone()], None, None, None);
                let mut residuals = Residuals::new(z, quantised);
                let sums = self.integers.chunks_mut(self.levels).zip(self.reals.chunks_mut(self.levels));
                for (block, (integers, reals)) in blocks.iter().zip(sums) {
                    let Block::Codes { codes: Codes::U32(codes), .. } = block else { continue };
                    if law {
                        let scale = FixedScale::new(40, 1.0);
                        kernels.scatter(block, rows.clone(), &mut residuals, scale, integers).expect("in range");
                    } else {
                        codes[rows.clone()]
                            .iter()
                            .zip(residuals.real())
                            .for_each(|(&code, r)| reals[code as usize] += r);
                    }
                }
            }
        }
        began.elapsed().as_secs_f64()
    }

    /// Time with the law over time without; both find the same sums.
    fn law(&mut self) -> f64 {
        self.make(true);
        self.make(false);
        let pairs = || self.integers.iter().map(|&sum| sum as f64 / 40_f64.exp2()).zip(&self.reals);
        let size = self.reals.iter().map(|sum| f64::from(sum.abs())).fold(1.0, f64::max);
        assert!(pairs().all(|(a, &b)| (a - f64::from(b)).abs() < 1e-3 * size), "integers and reals differ");
        median((0..TURNS).map(|_| self.make(true) / self.make(false)).collect())
    }
}

fn main() {
    let test = std::env::args().any(|word| word == "--test");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let scratch = Scratch::new(folder.path(), if test { 16 << 20 } else { 256 << 20 }).expect("a dataset");
    let mut ruler = MemoryRuler::new(threads, if test { 32 << 20 } else { 256 << 20 }).expect("memory for the ruler");
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut group = criterion.benchmark_group("epoch");
    for (name, request) in [
        ("logistic gradient", r#"{"model": "logistic", "l2": 0.001, "solver": "lbfgs", "tolerance": 1e-9}"#),
        ("logistic hessian", r#"{"model": "logistic", "l2": 0.001, "solver": "newton", "tolerance": 1e-9}"#),
        ("linear gram", r#"{"model": "linear", "l2": 0.001}"#),
    ] {
        let request: TrainRequest = serde_json::from_str(request).expect("a request");
        let plan = request.resolve().expect("a plan");
        let trained = fit(&scratch.dataset, &plan);
        let alone = fit(&scratch.dataset, &TrainPlan { threads: 1, ..plan.clone() });
        let [one, all] =
            [&alone, &trained].map(|found| found.models[0].weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>());
        assert_eq!(one, all, "{name}: {threads} threads give another model than one");
        let whole = passes(&trained);
        let s: f64 = whole.iter().map(|pass| pass.seconds).sum();
        let [rows, bytes] =
            [whole.iter().map(|pass| pass.rows).sum::<u64>(), whole.iter().map(|pass| pass.bytes).sum()];
        println!(
            "{name}: {:.1} M rows/s, {:.2} GB/s, {:.0} % of the memory bandwidth",
            rows as f64 / s / 1e6,
            bytes as f64 / s / 1e9,
            100.0 * bytes as f64 / s / ruler.read()
        );
        group.throughput(Throughput::Bytes(bytes / whole.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let (mut made, mut s) = (0, 0.0);
                while made < times {
                    let trained = fit(&scratch.dataset, &plan);
                    for pass in passes(&trained) {
                        made += 1;
                        s += pass.seconds;
                    }
                }
                Duration::from_secs_f64(s * times as f64 / made as f64)
            });
        });
    }
    group.finish();
    let request = r#"{"model": "logistic", "l2": 0.001, "solver": "lbfgs", "tolerance": 1e-9}"#;
    let plan = serde_json::from_str::<TrainRequest>(request).expect("a request").resolve().expect("a plan");
    let bytes = if test { 1 << 20 } else { 64 << 20 };
    let [dense, engine] = law_on_dense_columns(&scratch, &plan, threads);
    println!(
        "the law of the same bits, time with it over time without: 28 dense columns {dense:.3} (whole passes of a training {engine:.3}); 26 categorical columns of 2^10 levels {:.3}, of 2^16 {:.3}",
        CodesPass::new(1 << 10, bytes).law(),
        CodesPass::new(1 << 16, bytes).law(),
    );
    criterion.final_summary();
}
