//! Is anything slower than it was recorded to be? (`gristmill bench --compare`, `make bench-guard`)
//!
//! A record is the report of several benches on the same kind of processor, with its command and date. Times are never
//! compared, only shares of what the machine gave in the same moment, and a case is held to that which can bound it. With `m` its recorded share of
//! memory, its run took `m` of the time that memory needed for its bytes:
//!
//! * `m` below a third: memory cannot bound it, whatever memory does. Its share of the multiply-adds counts: kernels that
//!   convert, gather or scatter follow the clock of the processor, which that peak measures.
//! * otherwise either may: the case is slower when it is slower against both. A memory that gives half as much again than on the day
//!   of the record makes the clock the bound of a case that memory bounded then, and its share of memory falls with no change of the code.
//!
//! A record keeps the median of several runs and how far the lowest was below it. A share falls behind when it is below that
//! lowest by more than the margin; it is measured again, with more rounds, and counts when it stays behind every time.

use std::path::{Path, PathBuf};

use super::{BenchReport, Held, Measurement, Ruler};
use crate::error::{Error, Result};

/// A share may be lower than the lowest of its record by this part of it.
pub const MARGIN: f64 = 0.15;
/// How often what seems slower is measured, the first time included.
pub const ATTEMPTS: usize = 4;
/// Runs that make a record.
pub const RECORDED_RUNS: usize = 5;
/// A record made beside other work spreads wide; it may not excuse everything.
const SPREAD_MAX: f64 = 0.25;
/// A case that reaches less of memory is never bound by it.
const MEMORY_SHARE_MIN: f64 = 1.0 / 3.0;

/// A case that fell behind its record.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// The case.
    pub name: String,
    /// The recorded shares that it was held to, and those it reached now; none now: it was not measured.
    pub shares: Vec<(Held, Option<f64>)>,
}

/// The record for this kind of machine inside a folder of records: `intel-r-xeon-r-processor-2-50ghz-2-threads.json`.
pub fn record_path(folder: &Path, report: &BenchReport) -> PathBuf {
    let name = if report.processor.name.is_empty() { "unknown" } else { &report.processor.name };
    let lower = name.to_ascii_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    folder.join(format!("{}-{}-threads.json", words.collect::<Vec<_>>().join("-"), report.threads))
}

/// Read a record; none where there is none.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn read(path: &Path) -> Result<Option<BenchReport>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| gristmill_io::Error::io(path, "cannot read", error))?,
    };
    let fault = |error: serde_json::Error| Error::File {
        path: path.to_path_buf(),
        message: format!("is no report of `gristmill bench`: {error}. Write one with --record"),
    };
    serde_json::from_str(&text).map(Some).map_err(fault)
}

/// What a record holds that can be compared: a disk is another one in another machine of the same kind.
pub fn comparable(report: &BenchReport) -> impl Iterator<Item = &Measurement> {
    report.measurements.iter().filter(|found| found.ruler != Ruler::Disk)
}

/// The cases of `record` that `wants` names and that `now` lacks or has behind by more than `margin`.
pub fn regressions(
    record: &BenchReport,
    now: &[Measurement],
    margin: f64,
    wants: impl Fn(&str) -> bool,
) -> Vec<Regression> {
    let of = |recorded: &Measurement| {
        let found = now.iter().find(|found| found.name == recorded.name);
        let against = |held: &Held| (*held, found.and_then(|found| share(found, held.ruler)));
        let shares: Vec<_> = bounds(recorded).map(against).collect();
        // Written so that a share that is no number is behind.
        let holds = shares.iter().any(|(held, now)| now.is_some_and(|now| now >= lowest(held) * (1.0 - margin)));
        (!holds).then(|| Regression { name: recorded.name.clone(), shares })
    };
    comparable(record).filter(|recorded| wants(&recorded.name)).filter_map(of).collect()
}

/// The recorded shares of what can bound a case.
fn bounds(recorded: &Measurement) -> impl Iterator<Item = &Held> {
    let alone = recorded.held.len() == 1;
    recorded.held.iter().filter(move |held| alone || held.ruler != Ruler::Memory || held.share >= MEMORY_SHARE_MIN)
}

/// The lowest share of the runs that made a record.
fn lowest(held: &Held) -> f64 {
    held.share * (1.0 - held.spread.min(SPREAD_MAX))
}

fn share(found: &Measurement, ruler: Ruler) -> Option<f64> {
    found.held.iter().find(|held| held.ruler == ruler).map(|held| held.share)
}

/// Put what was measured again in the place of what was measured before.
pub fn replace(before: &mut [Measurement], again: Vec<Measurement>) {
    for new in again {
        if let Some(old) = before.iter_mut().find(|old| old.name == new.name) {
            *old = new;
        }
    }
}

/// The record that several runs make: the first report with the medians of all, and how far the lowest is below them.
pub fn record_of(mut first: BenchReport, others: &[BenchReport]) -> BenchReport {
    for case in &mut first.measurements {
        let found = |report: &BenchReport| report.measurements.iter().find(|found| found.name == case.name).cloned();
        let all: Vec<Measurement> = others.iter().filter_map(found).chain([case.clone()]).collect();
        for held in &mut case.held {
            *held = Held::of(held.ruler, all.iter().filter_map(|run| share(run, held.ruler)).collect());
            if held.ruler == case.ruler {
                case.share = held.share;
            }
        }
    }
    first.seconds += others.iter().map(|report| report.seconds).sum::<f64>();
    first
}

/// The error that names what fell behind.
pub fn error(path: &Path, record: &BenchReport, slower: &[Regression], margin: f64) -> Error {
    let against = |(held, now): &(Held, Option<f64>)| {
        let now = now.map_or("not measured".into(), |now| format!("{now:.3}"));
        format!("{now} of {}, recorded {:.3} (lowest {:.3})", held.ruler.name(), held.share, lowest(held))
    };
    let listed: Vec<String> = slower
        .iter()
        .map(|one| format!("{}: {}", one.name, one.shares.iter().map(against).collect::<Vec<_>>().join(" and ")))
        .collect();
    let message = format!(
        "{} of {} cases are more than {:.0} % below this record of {}: {}. Make them faster again, or record the new state \
         with --record and say why",
        slower.len(),
        comparable(record).count(),
        100.0 * margin,
        record.date,
        listed.join("; ")
    );
    Error::File { path: path.to_path_buf(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares of memory and of multiply-adds of a case.
    type Case = (&'static str, f64, f64);

    /// A report of these shares, with no spread.
    fn report(cases: &[Case]) -> BenchReport {
        let held = |ruler, share| Held { ruler, share, spread: 0.0 };
        let measurement = |&(name, memory, adds): &Case| Measurement {
            name: name.into(),
            ruler: if memory > adds { Ruler::Memory } else { Ruler::MultiplyAdds },
            share: memory.max(adds),
            held: vec![held(Ruler::Memory, memory), held(Ruler::MultiplyAdds, adds)],
            rate: 2e9,
            rows_per_s: 1e8,
        };
        let json = serde_json::json!({
            "version": "0.1.0", "command": "gristmill bench", "date": "2026-11-21", "tiers": ["avx2"],
            "processor": { "name": "Intel(R) Xeon(R) @ 2.50GHz", "cores_usable": 2, "cores_online": 2,
                "threads_per_core": 1, "caches": [], "numa_nodes": [] },
            "memory_bytes": 1, "threads": 2, "memory_bytes_per_s": 2e10, "fma": [], "disk": null,
            "measurements": [], "seconds": 1.0 });
        let mut report: BenchReport = serde_json::from_value(json).expect("a report");
        report.measurements = cases.iter().map(measurement).collect();
        let disk = held(Ruler::Disk, 0.97);
        let cold = Measurement {
            name: "stream cold".into(),
            ruler: Ruler::Disk,
            share: 0.97,
            held: vec![disk],
            ..report.measurements[0].clone()
        };
        report.measurements.push(cold);
        report
    }

    const F32: Case = ("gradient f32 avx2 k1", 0.9, 0.12);
    const U8: Case = ("gradient u8 avx2 k8", 0.1, 0.5);

    fn names(slower: &[Regression]) -> Vec<&str> {
        slower.iter().map(|one| one.name.as_str()).collect()
    }

    fn behind(record: &BenchReport, now: &[Case]) -> Vec<String> {
        let found = regressions(record, &report(now).measurements, MARGIN, |_| true);
        names(&found).into_iter().map(String::from).collect()
    }

    #[test]
    fn a_record_is_read_again_and_names_its_processor() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = report(&[F32, U8]);
        let path = record_path(folder.path(), &now);
        assert!(path.ends_with("intel-r-xeon-r-2-50ghz-2-threads.json"), "{}", path.display());
        assert_eq!(read(&path).expect("no record"), None);
        std::fs::write(&path, serde_json::to_vec(&now).expect("JSON")).expect("writes");
        assert_eq!(read(&path).expect("reads"), Some(now));
        // A record of before cases had several rulers.
        std::fs::write(&path, r#"{"version": "0.1.0"}"#).expect("writes");
        let error = read(&path).expect_err("no record").to_string();
        assert!(error.contains("missing field") && error.contains("--record"), "{error}");
    }

    #[test]
    fn a_machine_that_drifts_is_no_regression() {
        let record = report(&[F32, U8]);
        assert!(behind(&record, &[F32, U8]).is_empty());
        // Memory gives 1.5 times as much; what it bounded is 1.2 times as fast until the clock stops it.
        assert!(behind(&record, &[(F32.0, 0.9 * 1.2 / 1.5, 0.12 * 1.2), (U8.0, 0.1 / 1.5, 0.5)]).is_empty());
        // Memory gives 0.7 of it: one case follows, the other does not care.
        assert!(behind(&record, &[(F32.0, 0.9, 0.12 * 0.7), (U8.0, 0.1 / 0.7, 0.5)]).is_empty());
        // The clock gives 0.7 of it.
        assert!(behind(&record, &[(F32.0, 0.9, 0.12 / 0.7), (U8.0, 0.1 * 0.7, 0.5)]).is_empty());
    }

    #[test]
    fn a_kernel_that_takes_a_quarter_longer_is_found_on_a_machine_that_did_not_drift() {
        let record = report(&[F32, U8]);
        assert_eq!(behind(&record, &[(F32.0, 0.9 / 1.25, 0.12 / 1.25), U8]), [F32.0]);
        assert_eq!(behind(&record, &[F32, (U8.0, 0.1 / 1.25, 0.5 / 1.25)]), [U8.0]);
        // Memory drifts under a case that it cannot bound: that excuses nothing.
        assert_eq!(behind(&record, &[F32, (U8.0, 0.1, 0.5 / 1.25)]), [U8.0]);
        let slower = regressions(&record, &report(&[F32, (U8.0, 0.1, 0.4)]).measurements, MARGIN, |_| true);
        let message = error(Path::new("r.json"), &record, &slower, MARGIN).to_string();
        assert!(
            message.contains("gradient u8 avx2 k8: 0.400 of multiply-adds, recorded 0.500 (lowest 0.500)")
                && message.contains("1 of 2 cases"),
            "{message}"
        );
    }

    #[test]
    fn the_margin_and_the_recorded_spread_are_kept() {
        let mut record = report(&[U8]);
        let at = |share: f64| [(U8.0, 0.1, share)];
        assert!(behind(&record, &at(0.5 * 0.86)).is_empty());
        assert_eq!(behind(&record, &at(0.5 * 0.84)), [U8.0]);
        record.measurements[0].held[1].spread = 0.1;
        assert!(behind(&record, &at(0.5 * 0.9 * 0.86)).is_empty());
        assert_eq!(behind(&record, &at(0.5 * 0.9 * 0.84)), [U8.0]);
        // However wide it is, no more than a quarter counts.
        record.measurements[0].held[1].spread = 0.9;
        assert!(behind(&record, &at(0.5 * 0.75 * 0.86)).is_empty());
        assert_eq!(behind(&record, &at(0.5 * 0.75 * 0.84)), [U8.0]);
    }

    #[test]
    fn what_is_gone_or_no_number_is_behind_and_filters_and_disks_are_left_out() {
        let record = report(&[F32, U8]);
        assert_eq!(behind(&record, &[F32]), [U8.0]);
        assert_eq!(behind(&record, &[F32, (U8.0, f64::NAN, f64::NAN)]), [U8.0]);
        assert!(regressions(&record, &report(&[F32]).measurements, MARGIN, |name| name.contains("f32")).is_empty());
        let kernels = &report(&[F32, U8]).measurements[..2];
        assert!(regressions(&record, kernels, MARGIN, |_| true).is_empty());
    }

    #[test]
    fn a_record_has_the_median_of_its_runs_and_its_lowest() {
        let others = [0.4, 0.6, 0.48, 0.5].map(|adds| report(&[(U8.0, 0.1, adds)]));
        let record = record_of(report(&[(U8.0, 0.2, 0.52)]), &others);
        let held = record.measurements[0].held[1];
        assert_eq!((held.share, record.measurements[0].share, record.measurements[0].held[0].share), (0.5, 0.5, 0.1));
        assert!((lowest(&held) - 0.4).abs() < 1e-12, "{held:?}");
        assert_eq!(record.seconds, 5.0);
    }

    #[test]
    fn measured_again_takes_the_place_of_before() {
        let mut before = report(&[F32, U8]).measurements;
        replace(&mut before, report(&[(U8.0, 0.1, 0.3)]).measurements);
        assert_eq!(before.iter().map(|found| found.share).collect::<Vec<_>>(), [0.9, 0.3, 0.97]);
    }
}
