//! Ingest of generated sources: bytes of sources a second, and what that is of the memory bandwidth.
//!
//! `cargo bench --bench ingest` makes numeric Parquet and mixed Parquet, checks that the dataset has every row and passes
//! `verify`, prints rates, and then hands the ingest to criterion. `-- --test` runs each once on little data.

use std::path::Path;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use gristmill::machine::memory::MemoryRuler;
use gristmill_io::ingest::{IngestOptions, ingest};
use gristmill_io::manifest::Split;
use gristmill_io::recipe::{self, Recipe};
use gristmill_io::roles::Roles;
use gristmill_io::watch::{Cancel, Silent};
use gristmill_io::{Dataset, verify};

fn run(source: &Path, output: &Path, threads: usize) {
    let options = IngestOptions {
        roles: Roles { label: Some("label".into()), ..Roles::default() },
        threads: Some(threads),
        ..IngestOptions::default()
    };
    let _ = std::fs::remove_dir_all(output);
    ingest(&[source.display().to_string()], &options, output, &Silent, &Cancel::new()).expect("an ingest");
}

fn main() {
    let test = std::env::args().any(|word| word == "--test");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let rows = if test { 5_000 } else { 500_000 };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut ruler = MemoryRuler::new(threads, if test { 8 << 20 } else { 256 << 20 }).expect("memory for the ruler");
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut group = criterion.benchmark_group("ingest");
    for (name, recipe) in [("numeric", Recipe::Numeric { columns: 28 }), ("mixed", Recipe::Quickstart)] {
        let (source, output) = (folder.path().join(format!("{name}.parquet")), folder.path().join(name));
        recipe::write(recipe, rows, 42, &source, threads, &Silent, &Cancel::new()).expect("a source");
        let bytes = std::fs::metadata(&source).expect("a source").len();
        run(&source, &output, threads);
        let dataset = Dataset::open(&output).expect("a dataset");
        assert_eq!(dataset.rows(Split::Train), rows, "{name}");
        let found = verify::verify(&output, &Silent, &Cancel::new()).expect("a dataset");
        assert!(found.faults.is_empty(), "{name}: {:?}", found.faults);
        let start = Instant::now();
        run(&source, &output, threads);
        let s = start.elapsed().as_secs_f64();
        println!(
            "ingest {name}: {:.0} k rows/s, {:.1} MB/s of sources, {:.2} % of the memory bandwidth",
            rows as f64 / s / 1e3,
            bytes as f64 / s / 1e6,
            100.0 * bytes as f64 / s / ruler.read()
        );
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(name, |bencher| bencher.iter(|| run(&source, &output, threads)));
    }
    group.finish();
    criterion.final_summary();
}
