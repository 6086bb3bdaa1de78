//! All-reduce between ranks that are threads of this process, ring and tree, 1 KiB to 16 MiB of i64.
//!
//! `cargo bench --bench reduction` checks every sum against the plain one, prints what of the memory bandwidth the bytes of
//! all ranks are, and then hands the sums to criterion. `-- --test` runs each once.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use gristmill::machine::memory::MemoryRuler;
use mpi_launch::threads::run_with;
use mpi_launch::{Algorithm, CommError, Communicator, Settings};

/// Ranks of a sum.
const RANKS: usize = 4;

/// Seconds of `times` sums of `length` numbers, of the slowest rank; the first is checked.
fn sums(algorithm: Algorithm, length: usize, times: u64) -> Duration {
    let settings = Settings { algorithm, ..Settings::default() };
    let ranks = run_with(RANKS, settings, |group| {
        let mut sum: Vec<i64> = (0..length).map(|index| (group.rank() * length + index) as i64).collect();
        group.all_reduce(&mut sum)?;
        let of_ranks = (RANKS * (RANKS - 1) / 2 * length) as i64;
        assert!(sum.iter().enumerate().all(|(index, sum)| *sum == of_ranks + (RANKS * index) as i64));
        sum.fill(1);
        group.barrier()?;
        let start = Instant::now();
        for _ in 0..times {
            group.all_reduce(&mut sum)?;
        }
        Ok::<_, CommError>(start.elapsed())
    });
    ranks.into_iter().map(|rank| rank.expect("a sum")).max().unwrap_or_default()
}

fn main() {
    let test = std::env::args().any(|word| word == "--test");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut ruler = MemoryRuler::new(threads, if test { 8 << 20 } else { 256 << 20 }).expect("memory for the ruler");
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut group = criterion.benchmark_group(format!("all-reduce, {RANKS} ranks"));
    for algorithm in [Algorithm::Ring, Algorithm::Tree] {
        for bytes in [1 << 10, 64 << 10, 1 << 20, 16 << 20] {
            let length = bytes / 8;
            let times = if test { 1 } else { ((32 << 20) / bytes).clamp(3, 2_000) as u64 };
            let s = sums(algorithm, length, times).as_secs_f64() / times as f64;
            let rate = (RANKS * bytes) as f64 / s;
            println!(
                "{} {bytes} bytes: {:.1} us, {:.2} GB/s of all ranks, {:.0} % of the memory bandwidth",
                algorithm.name(),
                s * 1e6,
                rate / 1e9,
                100.0 * rate / ruler.read()
            );
            group.throughput(Throughput::Bytes((RANKS * bytes) as u64));
            group.bench_function(BenchmarkId::new(algorithm.name(), bytes), |bencher| {
                bencher.iter_custom(|times| sums(algorithm, length, times));
            });
        }
    }
    group.finish();
    criterion.final_summary();
}
