//! Is anything slower than it was recorded to be? (`gristmill bench --compare`, `make bench-guard`)
//!
//! A record is the report of an earlier bench on the same kind of processor, with its command and date. Shares are compared, never
//! times: both sides are ratios to what the machine gave in the same second. A record keeps the lowest share of several runs, and
//! a case that is below it by more than the margin is measured again, with more rounds, before it counts: the best of today
//! against the worst of then.

use std::path::{Path, PathBuf};

use super::{BenchReport, Measurement, Ruler};
use crate::error::{Error, Result};

/// A share may be lower than its record by this part of it.
pub const MARGIN: f64 = 0.15;
/// How often what seems slower is measured again.
pub const ATTEMPTS: usize = 3;
/// Runs whose lowest shares make a record.
pub const RECORDED_RUNS: usize = 3;

/// A case that fell behind its record.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// The case.
    pub name: String,
    /// Its recorded share.
    pub recorded: f64,
    /// Its share now; none: it was not measured.
    pub now: Option<f64>,
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

/// The cases of `record` that `wants` names and that `now` lacks or has below their share by more than `margin` of it.
pub fn regressions(
    record: &BenchReport,
    now: &[Measurement],
    margin: f64,
    wants: impl Fn(&str) -> bool,
) -> Vec<Regression> {
    let of = |recorded: &Measurement| {
        let found = now.iter().find(|found| found.name == recorded.name).map(|found| found.share);
        // Written so that a share that is no number counts as a regression.
        let holds = found.is_some_and(|share| share >= recorded.share * (1.0 - margin));
        (!holds).then(|| Regression { name: recorded.name.clone(), recorded: recorded.share, now: found })
    };
    comparable(record).filter(|recorded| wants(&recorded.name)).filter_map(of).collect()
}

/// Keep the better of what was measured before and again, or for a record the worse.
pub fn merge(before: &mut Vec<Measurement>, again: Vec<Measurement>, best: bool) {
    for new in again {
        match before.iter_mut().find(|old| old.name == new.name) {
            Some(old) if (old.share >= new.share) == best => {}
            Some(old) => *old = new,
            None => before.push(new),
        }
    }
}

/// The error that names what fell behind.
pub fn error(path: &Path, record: &BenchReport, slower: &[Regression], margin: f64) -> Error {
    let listed: Vec<String> = slower
        .iter()
        .map(|one| match one.now {
            Some(now) => format!("{}: {:.2}, recorded {:.2}", one.name, now, one.recorded),
            None => format!("{}: not measured, recorded {:.2}", one.name, one.recorded),
        })
        .collect();
    let message = format!(
        "{} of {} shares are more than {:.0} % below this record of {}: {}. Make it faster again, or record the new state \
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

    /// A report of these shares, as measured on a machine of that name.
    fn report(name: &str, shares: &[(&str, Ruler, f64)]) -> BenchReport {
        let measurement = |&(name, ruler, share): &(&str, Ruler, f64)| serde_json::json!({ "name": name, "ruler": ruler, "share": share, "rate": 2e9, "rows_per_s": 1e8 });
        let measurements: Vec<_> = shares.iter().map(measurement).collect();
        let json = serde_json::json!({
            "version": "0.1.0", "command": "gristmill bench", "date": "2026-11-21", "tiers": ["avx2"],
            "processor": { "name": name, "cores_usable": 2, "cores_online": 2, "threads_per_core": 1, "caches": [],
                "numa_nodes": [] },
            "memory_bytes": 1, "threads": 2, "memory_bytes_per_s": 2e10, "fma": [], "disk": null,
            "measurements": measurements, "seconds": 1.0 });
        serde_json::from_value(json).expect("a report")
    }

    const SHARES: [(&str, Ruler, f64); 3] = [
        ("gradient f32 avx2 k1", Ruler::Memory, 0.9),
        ("gram f32 avx2", Ruler::MultiplyAdds, 0.5),
        ("stream cold direct", Ruler::Disk, 0.97),
    ];

    #[test]
    fn an_honest_record_passes_and_a_falsified_one_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = report("Intel(R) Xeon(R) @ 2.50GHz", &SHARES);
        let path = record_path(folder.path(), &now);
        assert!(path.ends_with("intel-r-xeon-r-2-50ghz-2-threads.json"), "{}", path.display());
        assert_eq!(read(&path).expect("no record"), None);
        std::fs::write(&path, serde_json::to_vec(&now).expect("JSON")).expect("writes");
        let record = read(&path).expect("reads").expect("a record");
        assert!(regressions(&record, &now.measurements, MARGIN, |_| true).is_empty());
        let mut falsified = record;
        falsified.measurements[0].share *= 1.3;
        let slower = regressions(&falsified, &now.measurements, MARGIN, |_| true);
        assert_eq!(slower.len(), 1);
        let message = error(&path, &falsified, &slower, MARGIN).to_string();
        assert!(
            message.contains("gradient f32 avx2 k1: 0.90, recorded 1.17") && message.contains("1 of 2"),
            "{message}"
        );
        assert!(regressions(&falsified, &now.measurements, MARGIN, |name| name.contains("gram")).is_empty());
    }

    #[test]
    fn the_margin_is_kept_and_disks_are_left_out() {
        let record = report("x", &SHARES);
        let mut now = report("x", &[("gradient f32 avx2 k1", Ruler::Memory, 0.9 * 0.86), SHARES[1]]);
        assert!(regressions(&record, &now.measurements, MARGIN, |_| true).is_empty());
        now.measurements[0].share = 0.9 * 0.84;
        assert_eq!(regressions(&record, &now.measurements, MARGIN, |_| true)[0].now, Some(0.9 * 0.84));
        now.measurements[0].share = f64::NAN;
        assert_eq!(regressions(&record, &now.measurements, MARGIN, |_| true).len(), 1);
        // A kernel that is gone is no faster one.
        now.measurements.remove(0);
        assert_eq!(regressions(&record, &now.measurements, MARGIN, |_| true)[0].now, None);
    }

    #[test]
    fn measured_again_the_better_counts_and_for_a_record_the_worse() {
        let mut before = report("x", &SHARES).measurements;
        let again =
            report("x", &[("gram f32 avx2", Ruler::MultiplyAdds, 0.6), ("gradient f32 avx2 k1", Ruler::Memory, 0.1)]);
        merge(&mut before, again.measurements.clone(), true);
        assert_eq!([before[0].share, before[1].share], [0.9, 0.6]);
        let mut record = report("x", &SHARES).measurements;
        merge(&mut record, again.measurements, false);
        assert_eq!([record[0].share, record[1].share, record[2].share], [0.1, 0.5, 0.97]);
    }

    #[test]
    fn what_is_no_record_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.json");
        std::fs::write(&path, "{}").expect("writes");
        assert!(read(&path).expect_err("no record").to_string().contains("--record"));
    }
}
