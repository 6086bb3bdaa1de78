//! How fast sources are read and decoded, without anything behind them.
//!
//! `cargo run --release -p gristmill-io --example read_speed -- THREADS ROUNDS FILE...` prints a line a round.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gristmill_io::source::{Source, SourceOptions, open};

/// Decode all of a source on `threads` threads; rows.
fn read(source: &dyn Source, threads: usize) -> gristmill_io::Result<u64> {
    let rows = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> gristmill_io::Result<()> {
                    while let Some(chunk) = source.next()? {
                        let batches = source.decode(chunk)?;
                        rows.fetch_add(batches.iter().map(|batch| batch.num_rows() as u64).sum(), Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Err(gristmill_io::Error::Interrupted)))
    })?;
    Ok(rows.into_inner())
}

fn main() -> gristmill_io::Result<()> {
    let usage = || gristmill_io::Error::Usage("read_speed THREADS ROUNDS FILE...".into());
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|text| text.parse::<usize>().ok());
    let (threads, rounds) = (number().ok_or_else(usage)?, number().ok_or_else(usage)?);
    let specs: Vec<String> = arguments.collect();
    for _ in 0..rounds {
        let start = Instant::now();
        let source = open(&specs, &SourceOptions::default())?;
        let rows = read(source.as_ref(), threads)?;
        let seconds = start.elapsed().as_secs_f64();
        let bytes = source.bytes().unwrap_or(0) as f64;
        println!(
            "{seconds:.3} s  {:.2} M rows/s  {:.0} MB/s of source",
            rows as f64 / seconds / 1e6,
            bytes / seconds / 1e6
        );
    }
    Ok(())
}
