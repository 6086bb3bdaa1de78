//! The tile stream: grains of 28 columns of `f32` and a label, whose loss and gradient are computed as they come.
//!
//! `stream warm WAY` reads grains that are in memory, against memory-read bandwidth; `stream cold WAY` reads four times what
//! may stay in memory, against direct reads of the same files right before and after. The data are written to a folder
//! of their own, which is removed at the end, also of a bench that fails or is interrupted.

use std::path::{Path, PathBuf};

use gristmill_io::manifest::{Role, Split};
use gristmill_io::testing::SampleDataset;
use gristmill_io::tiles::{Io, Pick, ScanReport, StreamOptions, TileStream};
use gristmill_io::watch::{Cancel, Silent};
use gristmill_io::{Dataset, shard};
use gristmill_kernels::Tier;

use super::grains::Random;
use super::kernels::{Epoch, labels};
use super::{Measurement, Options, Reading, Rounds, Ruler, Run};
use crate::error::{Error, Result};
use crate::machine::memory::MemoryRuler;
use crate::machine::{disk, fma};

/// Columns of the dataset.
const COLUMNS: usize = 28;
/// The cold dataset is so many times what may stay in memory.
const TIMES_MEMORY: u64 = 4;

/// Names of all cases.
pub const CASES: [&str; 4] = ["stream warm mmap", "stream warm direct", "stream cold mmap", "stream cold direct"];

/// A dataset that is removed again.
pub struct Scratch {
    folder: PathBuf,
    /// The data.
    pub dataset: Dataset,
}

impl Scratch {
    /// About `bytes` bytes in a new folder inside `folder`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(folder: &Path, bytes: u64) -> Result<Scratch> {
        let own = folder.join(format!(".gristmill-bench-{}", std::process::id()));
        let remove = Remove(&own);
        let row_bytes = 4 * (COLUMNS + 1);
        let grain_rows = shard::grain_rows(row_bytes as f64);
        let rows = (bytes as usize / row_bytes).next_multiple_of(grain_rows);
        let per_shard = shard::grains_per_shard(row_bytes as f64, grain_rows);
        let mut random = Random::new(3);
        let stretch: Vec<f32> = (0..1_000_003).map(|_| random.real()).collect();
        let mut sample = SampleDataset::new(grain_rows).grains_per_shard(per_shard);
        for column in 0..COLUMNS {
            let values = stretch.iter().cycle().skip(column * 7919).take(rows).copied().collect();
            sample = sample.f32(&format!("x{column}"), Role::Feature, values);
        }
        let dataset = sample.f32("y", Role::Label, labels(rows)).write(&own)?;
        std::mem::forget(remove);
        Ok(Scratch { folder: own, dataset })
    }

    /// Its files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.dataset.shards().iter().map(|shard| shard.path().to_path_buf()).collect()
    }

    /// Bytes of its shards.
    pub fn bytes(&self) -> u64 {
        self.dataset.manifest().shards.iter().map(|shard| shard.file.bytes).sum()
    }

    /// Drops it from the page cache.
    ///
    /// # Errors
    /// When a shard cannot be mapped.
    pub fn forget(&self) -> Result<()> {
        for shard in self.dataset.shards() {
            let map = shard.map()?;
            map.evict(0..map.len());
        }
        Ok(())
    }

    /// The stream of all rows in at most `budget_bytes`.
    ///
    /// # Errors
    /// When the file system cannot read that way, or the budget is too small.
    pub fn stream(&self, io: Io, budget_bytes: u64, threads: usize) -> Result<TileStream<'_>> {
        let options = StreamOptions { io, budget_bytes, threads, ..StreamOptions::new(Split::Train) };
        Ok(self.dataset.stream(options)?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(Remove(&self.folder));
    }
}

/// Removes a folder; what cannot be removed is nothing that an error would help with.
struct Remove<'a>(&'a Path);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0);
    }
}

/// One pass of loss and gradient, every worker adding plain `f64`; its report and the loss.
///
/// # Errors
/// Of reading, or when it is interrupted.
pub fn epoch(stream: &TileStream<'_>, threads: usize, cancel: &Cancel) -> Result<(ScanReport, f64)> {
    let (report, sums) = epoch_of(&|| Epoch::new(Tier::best(), COLUMNS), stream, threads, cancel)?;
    Ok((report, sums[0]))
}

/// The same by the law of the same bits; its report, the loss and the gradient.
///
/// # Errors
/// Of reading, or when it is interrupted.
pub fn lawful_epoch(stream: &TileStream<'_>, threads: usize, cancel: &Cancel) -> Result<(ScanReport, Vec<f64>)> {
    epoch_of(&|| Epoch::lawful(Tier::best(), COLUMNS), stream, threads, cancel)
}

fn epoch_of(
    make: &dyn Fn() -> Epoch,
    stream: &TileStream<'_>,
    threads: usize,
    cancel: &Cancel,
) -> Result<(ScanReport, Vec<f64>)> {
    let mut workers: Vec<Epoch> = (0..threads.max(1)).map(|_| make()).collect();
    let report = stream.scan(&mut workers, Pick::All, cancel, &Silent, |worker, _, grain| worker.grain(grain))?;
    Ok((report, Epoch::sums(&workers)))
}

/// Measure the cases that are wanted.
///
/// # Errors
/// When the folder cannot be written or read, an answer is wrong, or it is interrupted.
pub fn measure(
    options: &Options,
    folder: &Path,
    bytes: u64,
    ruler: &mut MemoryRuler,
    cancel: &Cancel,
    tell: &dyn Fn(&str),
) -> Result<Vec<Measurement>> {
    tell("data for the stream");
    let scratch = Scratch::new(folder, bytes)?;
    let (threads, files) = (options.threads, scratch.files());
    let (_, expected) = epoch(&scratch.stream(Io::Mmap, u64::MAX, 1)?, 1, cancel)?;
    let mut measurements = Vec::new();
    for (name, io, warm) in CASES
        .into_iter()
        .zip([Io::Mmap, Io::Direct, Io::Mmap, Io::Direct])
        .zip([true, true, false, false])
        .map(|((n, io), w)| (n, io, w))
    {
        if !options.wants(name) {
            continue;
        }
        tell(name);
        let budget = if warm { u64::MAX } else { scratch.bytes() / TIMES_MEMORY };
        let stream = match scratch.stream(io, budget, threads) {
            Err(Error::Data(gristmill_io::Error::Usage(why))) => {
                tell(&format!("{name} is left out: {why}"));
                continue;
            }
            other => other?,
        };
        scratch.forget()?;
        let (_, loss) = epoch(&stream, threads, cancel)?;
        check(name, loss, expected)?;
        let mut rounds = Rounds::default();
        for _ in 0..options.rounds.max(1) {
            let mut reading = || if warm { ruler.read() } else { disk::read_rate(&files).unwrap_or(0.0) };
            let before = reading();
            let (report, loss) = epoch(&stream, threads, cancel)?;
            check(name, loss, expected)?;
            let after = reading();
            let run = |bytes: u64| Run {
                seconds: report.seconds,
                bytes: bytes as f64,
                multiply_adds: (report.rows * 2 * COLUMNS as u64) as f64,
                rows: report.rows as f64,
            };
            if warm {
                // Memory is slowed by others alone.
                let memory = Reading { rate: before.max(after), ruler: Ruler::Memory };
                let peak = fma::peak::<f32>(Tier::best(), threads) / 2.0;
                rounds.add(run(report.bytes), &[memory, Reading { rate: peak, ruler: Ruler::MultiplyAdds }]);
            } else if before + after > 0.0 {
                // A disk drifts while it reads: the mean of both is what it gave in between.
                let disk = Reading { rate: (before + after) / 2.0, ruler: Ruler::Disk };
                rounds.add(run(report.read_bytes), &[disk]);
            }
        }
        measurements.extend(rounds.measurement(name));
    }
    Ok(measurements)
}

/// The loss does not depend on the way of reading; workers add it in another order.
fn check(name: &str, loss: f64, expected: f64) -> Result<()> {
    if (loss - expected).abs() <= 1e-9 * expected.abs() {
        return Ok(());
    }
    Err(Error::Sum(format!("{name}: the loss is {loss}, one thread over a map has {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_are_measured_and_nothing_stays_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = Options {
            quick: true,
            filters: vec!["stream".into()],
            folder: Some(folder.path().to_path_buf()),
            threads: 1,
            rounds: 1,
        };
        let mut ruler = MemoryRuler::new(1, 8 << 20).unwrap();
        // Fourteen grains: a quarter of them is room for one worker.
        let found = measure(&options, folder.path(), 56 << 20, &mut ruler, &Cancel::new(), &|_| {}).expect("measures");
        assert!(found.iter().any(|case| case.name == "stream warm mmap" && case.share > 0.0), "{found:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        let cancel = Cancel::new();
        cancel.request();
        assert!(measure(&options, folder.path(), 56 << 20, &mut ruler, &cancel, &|_| {}).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "left behind after an interruption");
    }
}
