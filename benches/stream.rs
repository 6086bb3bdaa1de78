//! The tile stream, warm and cold, mapped and direct: loss and gradient of 28 columns as grains come.
//!
//! `cargo bench --bench stream` checks that every way gives the loss of one thread over a map, prints the share of the
//! memory bandwidth (warm) or of direct reads of the same files (cold, four times what may stay in memory), and then hands
//! the passes to criterion. `-- --test` runs each once on little data.

use criterion::{Criterion, Throughput};
use gristmill::bench::Options;
use gristmill::bench::stream::{CASES, Scratch, epoch, measure};
use gristmill::machine::memory::MemoryRuler;
use gristmill_io::tiles::Io;
use gristmill_io::watch::Cancel;

fn main() {
    let test = std::env::args().any(|word| word == "--test");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bytes = if test { (4 * (threads as u64 + 3)) * (4 << 20) } else { 512 << 20 };
    let options = Options { quick: test, filters: Vec::new(), folder: None, threads, rounds: if test { 1 } else { 5 } };
    let mut ruler = MemoryRuler::new(threads, if test { 32 << 20 } else { 256 << 20 }).expect("memory for the ruler");
    let tell = |what: &str| {
        if !CASES.contains(&what) {
            println!("{what}");
        }
    };
    let found = measure(&options, folder.path(), bytes, &mut ruler, &Cancel::new(), &tell).expect("right answers");
    for case in &found {
        let (share, rate) = (100.0 * case.share, case.rate / 1e9);
        println!(
            "{}: {rate:.2} GB/s, {share:.0} % of {}; {:.1} M rows/s",
            case.name,
            case.ruler.name(),
            case.rows_per_s / 1e6
        );
    }
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let scratch = Scratch::new(folder.path(), bytes).expect("a dataset");
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Bytes(scratch.bytes()));
    for (name, io, budget) in [
        ("warm mmap", Io::Mmap, u64::MAX),
        ("warm direct", Io::Direct, u64::MAX),
        ("cold mmap", Io::Mmap, scratch.bytes() / 4),
        ("cold direct", Io::Direct, scratch.bytes() / 4),
    ] {
        // A file system without direct I/O has said so above.
        let Ok(stream) = scratch.stream(io, budget, threads) else { continue };
        group.bench_function(name, |bencher| bencher.iter(|| epoch(&stream, threads, &Cancel::new()).expect("a pass")));
    }
    group.finish();
    criterion.final_summary();
}
