//! A whole pass of training, from grain to solver: loss and gradient of logistic regression, and the matrix of least squares.
//!
//! `cargo bench --bench epoch` checks that all threads find what one thread finds, to the bit, prints rows and bytes a second and
//! the share of the memory bandwidth, and then hands passes to criterion. `-- --test` runs each once on little data.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use gristmill::bench::stream::Scratch;
use gristmill::machine::memory::MemoryRuler;
use gristmill::plan::{TrainPlan, TrainRequest};
use gristmill::train::{Company, Ended, PassReport, Start, Trained, Unwatched, train};
use gristmill_io::Dataset;
use gristmill_io::watch::Cancel;
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

fn main() {
    let test = std::env::args().any(|word| word == "--test");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let scratch = Scratch::new(folder.path(), if test { 16 << 20 } else { 256 << 20 }).expect("a dataset");
    let mut ruler = MemoryRuler::new(threads, if test { 32 << 20 } else { 256 << 20 });
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
    criterion.final_summary();
}
