//! Measures stages 3 and 4: how fast a shard is written, and how fast a pass reads it, against the plain ways.
//!
//! ```text
//! cargo run --release -p gristmill-io --example stream -- write FOLDER GIB     shard writer against write(2) of the same bytes
//! cargo run --release -p gristmill-io --example stream -- scan FOLDER          warm passes against reading an array in memory
//! cargo run --release -p gristmill-io --example stream -- scan FOLDER 600MiB mmap|direct 3
//!                                                                              passes within a budget (run it in a cgroup)
//! cargo run --release -p gristmill-io --example stream -- disk FOLDER          O_DIRECT, four readers, 4 MiB requests
//! ```

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float32Array};
use gristmill_io::manifest::{Column, Kind, Role, Split};
use gristmill_io::mmap::Block;
use gristmill_io::tiles::{Io, Pick, StreamOptions};
use gristmill_io::watch::{Cancel, Silent};
use gristmill_io::{Dataset, DatasetWriter, Description, LabelStatistics, Statistics, memory, shard};
use gristmill_kernels::dtype::DType;
use gristmill_kernels::tile::{Block as Columns, Grain};

const FEATURES: usize = 28;
const GIB: f64 = 1_073_741_824.0;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["write", folder, gib] => write(Path::new(folder), gib.parse()?),
        ["scan", folder] => scan(Path::new(folder), u64::MAX, Io::Auto, 5),
        ["scan", folder, budget, io, passes] => {
            let io = Io::ALL.into_iter().find(|way| way.name() == io).ok_or("io is auto, mmap or direct")?;
            scan(Path::new(folder), memory::parse_size(budget)?, io, passes.parse()?)
        }
        ["disk", folder] => disk(Path::new(folder)),
        _ => Err("see the top of this file".into()),
    }
}

fn column(name: String, role: Role) -> Column {
    let kind = Kind::Numeric { dtype: DType::F32, offset: 0.0, scale: 1.0, impute: None, worst_error: 0.0 };
    Column { name, role, kind, source_type: "Float32".to_string(), missing: 0 }
}

fn write(folder: &Path, gib: f64) -> Result<(), Box<dyn Error>> {
    let mut columns: Vec<Column> = (0..FEATURES).map(|i| column(format!("x{i}"), Role::Feature)).collect();
    columns.push(column("y".to_string(), Role::Label));
    let row_bytes = 4.0 * columns.len() as f64;
    let grain_rows = shard::grain_rows(row_bytes);
    let per_shard = shard::grains_per_shard(row_bytes, grain_rows);
    let grains = (gib * GIB / row_bytes / grain_rows as f64).ceil() as usize;
    let arrays: Vec<ArrayRef> = (0..columns.len())
        .map(|i| {
            Arc::new(Float32Array::from_iter_values((0..grain_rows).map(|row| ((row * 7 + i * 13) % 1000) as f32)))
                as ArrayRef
        })
        .collect();
    let writer = DatasetWriter::create(folder, true)?;
    let (start, mut shards) = (Instant::now(), Vec::new());
    for first in (0..grains).step_by(per_shard) {
        let mut shard = writer.shard(Split::Train, first / per_shard, &columns)?;
        for _ in first..(first + per_shard).min(grains) {
            shard.write(arrays.clone())?;
        }
        shards.push(shard.finish()?);
    }
    let bytes: u64 = shards.iter().map(|shard| shard.file.bytes).sum();
    report("shards, synced", bytes, start);
    let plain = folder.with_extension("plain");
    let (start, mut file) = (Instant::now(), File::create(&plain)?);
    let block = vec![1u8; 4 << 20];
    for first in (0..bytes as usize).step_by(64 * block.len()) {
        for _ in 0..64.min((bytes as usize - first).div_ceil(block.len())) {
            file.write_all(&block)?;
        }
        file.sync_data()?;
    }
    report("plain writes, synced every 256 MiB", bytes, start);
    drop(file);
    std::fs::remove_file(&plain)?;
    let rows = (grains * grain_rows) as u64;
    let ones = vec![1.0; FEATURES];
    let label = LabelStatistics { rows, mean: 1.0, m2: 1.0, min: 0.0, max: 1.0, distinct: None };
    let statistics = Statistics {
        rows,
        mean: ones.clone(),
        m2: ones.clone(),
        min: ones.clone(),
        max: ones,
        nonzero: vec![0; FEATURES],
        label: Some(label),
    };
    writer.finish(Description { grain_rows, columns, ..Description::default() }, shards, &statistics)?;
    Ok(())
}

/// Reads every byte, eight sums at a time, so that it costs what reading costs.
fn touch(grain: &Grain<'_>) -> u64 {
    let mut total = 0u64;
    for block in &grain.blocks {
        if let Columns::Columns(gristmill_kernels::tile::Columns::F32(columns)) = block {
            total = total.wrapping_add(columns.iter().map(|column| sum(column)).fold(0, u64::wrapping_add));
        }
    }
    total
}

fn sum(values: &[f32]) -> u64 {
    let mut lanes = [0u32; 32];
    for chunk in values.chunks_exact(32) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_add(value.to_bits());
        }
    }
    lanes.iter().map(|&lane| u64::from(lane)).sum()
}

fn scan(folder: &Path, budget_bytes: u64, io: Io, passes: usize) -> Result<(), Box<dyn Error>> {
    let threads = std::thread::available_parallelism()?.get();
    let dataset = Dataset::open(folder)?;
    let stream = dataset.stream(StreamOptions { budget_bytes, io, threads, ..StreamOptions::new(Split::Train) })?;
    let residency = stream.residency();
    println!(
        "{}; window {}, {} grains",
        stream.way().why,
        memory::format_size(residency.window_bytes),
        stream.grains().len()
    );
    let mut totals = vec![0u64; threads];
    for pass in 0..passes {
        let start = Instant::now();
        let report = stream.scan(&mut totals, Pick::All, &Cancel::new(), &Silent, |total, _, grain| {
            *total = total.wrapping_add(touch(grain));
            Ok::<(), gristmill_io::Error>(())
        })?;
        self::report(&format!("pass {pass}, waited {:.3} s", report.wait_seconds), report.bytes, start);
    }
    if budget_bytes == u64::MAX {
        let empty = Instant::now();
        for _ in 0..10 {
            stream.scan(
                &mut totals,
                Pick::All,
                &Cancel::new(),
                &Silent,
                |_, _, _| Ok::<(), gristmill_io::Error>(()),
            )?;
        }
        let per_grain = empty.elapsed().as_secs_f64() / 10.0 / stream.grains().len() as f64;
        println!("a warm scan that computes nothing: {:.2} us a grain", per_grain * 1e6);
        let memory: Vec<f32> = vec![1.0; 1 << 28];
        for _ in 0..3 {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for part in memory.chunks(memory.len() / threads) {
                    scope.spawn(move || std::hint::black_box(sum(part)));
                }
            });
            report("plain memory", 1 << 30, start);
        }
    }
    println!("sum {}", totals.iter().copied().fold(0, u64::wrapping_add));
    Ok(())
}

fn disk(folder: &Path) -> Result<(), Box<dyn Error>> {
    let dataset = Dataset::open(folder)?;
    let next = std::sync::atomic::AtomicUsize::new(0);
    let requests: Vec<(&Path, u64)> = dataset
        .shards()
        .iter()
        .flat_map(|shard| {
            let end = shard.batches().last().map_or(0, |place| place.end());
            (0..end / (4 << 20)).map(move |i| (shard.path(), i * (4 << 20)))
        })
        .collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut block = Block::new(4 << 20).expect("4 MiB of memory");
                while let Some((path, offset)) = requests.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
                    let file = File::options().read(true).custom_flags(flags).open(path).expect("a shard");
                    file.read_exact_at(block.bytes_mut(), *offset).expect("a shard's bytes");
                }
            });
        }
    });
    report("O_DIRECT", requests.len() as u64 * (4 << 20), start);
    Ok(())
}

fn report(what: &str, bytes: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{what}: {:.2} GB in {seconds:.3} s, {:.2} GB/s", bytes as f64 / 1e9, bytes as f64 / 1e9 / seconds);
}
