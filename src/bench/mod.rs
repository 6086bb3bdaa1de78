//! How fast is every part of gristmill on this machine, as a share of what the machine can do? (`gristmill bench`)
//!
//! Each case checks its answer before it is timed. Then all cases run in turn, round after round; each run is held against its
//! rulers (memory-read bandwidth and peak of multiply-adds, or direct reads of the disk) measured right before and after it, and
//! the median of those shares is the figure: a machine that is shared with others slows both sides.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`grains`] | what data are the kernels given? |
//! | [`rulers`] | what does the machine give right now? |
//! | [`kernels`] | how fast is each kernel, by storage type, tier and number of weight vectors? |
//! | [`stream`] | how fast do grains come, from memory and from the disk? |
//! | [`guard`] | is anything slower than it was recorded to be? |

pub mod grains;
pub mod guard;
pub mod kernels;
pub mod rulers;
pub mod stream;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use gristmill_io::memory::Limits;
use gristmill_io::watch::Cancel;
use gristmill_kernels::Tier;
use serde::{Deserialize, Serialize};

pub use rulers::{Held, Reading, Ruler};

use crate::error::Result;
use crate::machine::memory::MemoryRuler;
use crate::machine::{self, DiskBandwidth, DiskTest, FmaPeak, Processor, disk, fma};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Fewer bytes and rounds.
    pub quick: bool,
    /// Cases whose name contains one of these; none: all.
    pub filters: Vec<String>,
    /// The folder whose disk is measured; none: leave the disk out.
    pub folder: Option<PathBuf>,
    /// Threads.
    pub threads: usize,
    /// Rounds; the median counts.
    pub rounds: usize,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }

    /// True where a case is to be measured at all.
    pub fn wants_any(&self) -> bool {
        kernels::names().iter().any(|name| self.wants(name)) || self.wants_stream()
    }

    fn wants_stream(&self) -> bool {
        self.folder.is_some() && stream::CASES.iter().any(|case| self.wants(case))
    }

    /// Bytes that a case reads in a run: well beyond the caches.
    fn bytes(&self, processor: &Processor) -> usize {
        let caches = processor.outer_cache_bytes(self.threads).unwrap_or(32 << 20) as usize;
        if self.quick { (2 * caches).clamp(64 << 20, 256 << 20) } else { (3 * caches).clamp(96 << 20, 1 << 30) }
    }
}

/// One case, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was done: kernel, storage type, tier, number of weight vectors.
    pub name: String,
    /// Its ceiling: the ruler of which it reached the greatest share.
    pub ruler: Ruler,
    /// Median share of that.
    pub share: f64,
    /// The shares of every ruler it was held against.
    pub held: Vec<Held>,
    /// Median bytes a second; multiply-adds a second where these are the ruler.
    pub rate: f64,
    /// Median rows a second.
    pub rows_per_s: f64,
}

/// Everything that was measured, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Of gristmill.
    pub version: String,
    /// The command that measured.
    pub command: String,
    /// Day, UTC: `2026-11-21`.
    pub date: String,
    /// The processor.
    pub processor: Processor,
    /// Its tiers.
    pub tiers: Vec<String>,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Threads of every case.
    pub threads: usize,
    /// Memory-read bandwidth, the best seen.
    pub memory_bytes_per_s: f64,
    /// Peaks of multiply-adds, a tier each.
    pub fma: Vec<FmaPeak>,
    /// The disk, where it was measured.
    pub disk: Option<DiskBandwidth>,
    /// All cases.
    pub measurements: Vec<Measurement>,
    /// How long it took.
    pub seconds: f64,
}

/// One run of a case.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Seconds: of the threads' own clocks where a kernel is measured, of the wall where waiting counts.
    pub seconds: f64,
    /// Bytes read.
    pub bytes: f64,
    /// Multiply-adds of the formula.
    pub multiply_adds: f64,
    /// Rows.
    pub rows: f64,
}

impl Run {
    fn amount(&self, ruler: Ruler) -> f64 {
        match ruler {
            Ruler::MultiplyAdds => self.multiply_adds,
            Ruler::Memory | Ruler::Disk => self.bytes,
        }
    }
}

/// The runs of a case and the share of each ruler that each reached.
#[derive(Debug, Default)]
pub struct Rounds {
    runs: Vec<Run>,
    shares: Vec<(Ruler, Vec<f64>)>,
}

impl Rounds {
    /// One more run, and what the rulers gave around it.
    pub fn add(&mut self, run: Run, readings: &[Reading]) {
        for reading in readings {
            let share = run.amount(reading.ruler) / run.seconds.max(1e-12) / reading.rate.max(1e-12);
            match self.shares.iter_mut().find(|(ruler, _)| *ruler == reading.ruler) {
                Some((_, shares)) => shares.push(share),
                None => self.shares.push((reading.ruler, vec![share])),
            }
        }
        self.runs.push(run);
    }

    /// The medians; none without a run.
    pub fn measurement(&self, name: &str) -> Option<Measurement> {
        let held: Vec<Held> = self.shares.iter().map(|(ruler, shares)| Held::of(*ruler, shares.clone())).collect();
        let ceiling = held.iter().copied().max_by(|a, b| a.share.total_cmp(&b.share))?;
        let of = |amount: &dyn Fn(&Run) -> f64| {
            median(self.runs.iter().map(|run| amount(run) / run.seconds.max(1e-12)).collect())
        };
        Some(Measurement {
            name: name.to_string(),
            ruler: ceiling.ruler,
            share: ceiling.share,
            held,
            rate: of(&|run| run.amount(ceiling.ruler)),
            rows_per_s: of(&|run| run.rows),
        })
    }
}

/// The median; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Bytes written and read to measure the disk.
const DISK_BYTES: u64 = 512 << 20;

/// Measure. `tell` is told the name of each group of cases before it begins.
///
/// # Errors
/// When a folder cannot be written, an answer is wrong, or it is interrupted; nothing stays behind.
pub fn run(options: &Options, cancel: &Cancel, tell: &dyn Fn(&str)) -> Result<BenchReport> {
    let began = std::time::Instant::now();
    let processor = machine::processor();
    let bytes = options.bytes(&processor);
    tell("memory and multiply-adds");
    let mut ruler = MemoryRuler::new(options.threads, bytes)?;
    let tiers = Tier::available();
    let peaks = tiers.iter().map(|&tier| fma::measure(tier, options.threads)).collect();
    let mut measurements = kernels::measure(options, bytes, &mut ruler, cancel, tell)?;
    let mut found_disk = None;
    if let Some(folder) = options.folder.as_deref().filter(|_| options.wants_stream()) {
        tell("disk");
        let bytes = if options.quick { DISK_BYTES / 4 } else { DISK_BYTES };
        let measured = disk::measure(&DiskTest::new(folder, bytes), cancel)
            .map_err(|error| gristmill_io::Error::io(folder, "cannot measure the disk", error))?;
        found_disk = Some(measured);
        measurements.extend(stream::measure(options, folder, bytes, &mut ruler, cancel, tell)?);
    }
    Ok(BenchReport {
        version: env!("CARGO_PKG_VERSION").into(),
        command: std::env::args().skip(1).fold("gristmill".into(), |line, word| format!("{line} {word}")),
        date: today(),
        processor,
        tiers: tiers.iter().map(|tier| tier.name().to_string()).collect(),
        memory_bytes: Limits::now().machine_bytes,
        threads: options.threads,
        memory_bytes_per_s: ruler.best(),
        fma: peaks,
        disk: found_disk,
        measurements,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// The day, UTC (Howard Hinnant's `civil_from_days`).
fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400) as i64;
    date(days)
}

fn date(days: i64) -> String {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        // Days since 1970-01-01: 11,016 is 2000-02-29, 20,778 is 2026-11-21.
        assert_eq!([0, 11_016, 11_017, 20_778].map(date), ["1970-01-01", "2000-02-29", "2000-03-01", "2026-11-21"]);
    }

    #[test]
    fn medians_stand_out_of_noise() {
        let mut rounds = Rounds::default();
        for (seconds, memory, peak) in
            [(1.0, 20.0, 40.0), (5.0, 4.0, 8.0), (1.0, 10.0, 2.0), (1.0, 20.0, 40.0), (1.0, 1000.0, 40.0)]
        {
            let of = |ruler, rate| Reading { rate, ruler };
            let run = Run { seconds, bytes: 10.0, multiply_adds: 40.0, rows: 3.0 };
            rounds.add(run, &[of(Ruler::Memory, memory), of(Ruler::MultiplyAdds, peak)]);
        }
        let found = rounds.measurement("x").expect("rounds");
        assert_eq!((found.held[0].share, found.held[1].share), (0.5, 1.0));
        assert_eq!((found.ruler, found.share, found.rate, found.rows_per_s), (Ruler::MultiplyAdds, 1.0, 40.0, 3.0));
        assert_eq!(Rounds::default().measurement("x"), None);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn a_quick_bench_of_one_kernel_checks_and_measures() {
        let filters = vec!["gradient u8 portable".to_string()];
        let options = Options { quick: true, filters, folder: None, threads: 1, rounds: 1 };
        let report = run(&options, &Cancel::new(), &|_| {}).expect("measures");
        let names: Vec<&str> = report.measurements.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, [1, 2, 4, 8].map(|k| format!("gradient u8 portable k{k}")));
        assert!(report.measurements.iter().all(|found| found.share > 0.0 && found.rate > 0.0), "{report:?}");
        let cancel = Cancel::new();
        cancel.request();
        assert!(run(&options, &cancel, &|_| {}).is_err());
    }
}
