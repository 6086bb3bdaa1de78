//! `gristmill bench`: how fast every part is here, as a share of what the machine can do.

use std::path::{Path, PathBuf};

use clap::Args;
use gristmill_io::durable;

use super::Session;
use super::options::{OutputOptions, threads};
use crate::bench::{self, BenchReport, Options, Ruler, guard};
use crate::error::{Error, Result};
use crate::machine;
use crate::report::{Table, number};

/// Rounds of a full bench and of a quick one.
const ROUNDS: (usize, usize) = (5, 3);

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Fewer bytes and rounds: half the time, more noise
    #[arg(long)]
    quick: bool,
    /// Only cases whose name contains one of these, separated by commas, such as `avx2` or `stream`
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    filter: Vec<String>,
    /// Folder whose disk is measured; some 500 MB are written there and removed again
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// Leave the disk out
    #[arg(long, conflicts_with = "folder")]
    no_disk: bool,
    /// Threads; default: all cores that this process may use
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<usize>,
    /// Write the report as JSON
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Fail when a case is below the record for this processor: a report, or a folder of them
    #[arg(long, value_name = "PATH")]
    compare: Option<PathBuf>,
    /// How far a share may be below the lowest of its record, as a part of it
    #[arg(long, value_name = "X", default_value_t = guard::MARGIN, requires = "compare")]
    margin: f64,
    /// Measure five times and write the medians as the record for this processor into the folder of --compare
    #[arg(long, requires = "compare")]
    record: bool,
    /// Replace the output when it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output_options: OutputOptions,
}

/// Measure.
///
/// # Errors
/// When the request makes no sense, a folder cannot be written, an answer is wrong, or a share is below its record.
pub fn run(arguments: &Arguments) -> Result<()> {
    let session = Session::new(&arguments.output_options)?;
    bench(arguments, &session).map_err(|error| session.explain(error))
}

fn bench(arguments: &Arguments, session: &Session) -> Result<()> {
    if !(arguments.margin > 0.0 && arguments.margin < 1.0) {
        return Err(Error::usage(format!(
            "--margin is {}; a part greater than 0 and less than 1 was expected",
            arguments.margin
        )));
    }
    if let Some(output) = &arguments.output {
        durable::check_output(output, arguments.force)?;
    }
    let recorded = arguments.compare.as_deref().filter(|_| arguments.record);
    if let Some(folder) = recorded {
        std::fs::create_dir_all(folder).map_err(|e| gristmill_io::Error::io(folder, "cannot create", e))?;
    }
    let threads = machine::threads(arguments.threads.unwrap_or(0));
    let options = Options {
        quick: arguments.quick,
        filters: arguments.filter.clone(),
        folder: (!arguments.no_disk).then(|| arguments.folder.clone()),
        threads,
        rounds: if arguments.quick { ROUNDS.1 } else { ROUNDS.0 },
    };
    if !options.wants_any() {
        return Err(Error::usage(format!("no case's name contains any of: {}", arguments.filter.join(", "))));
    }
    let tell = |what: &str| session.report.note(what);
    let mut report = bench::run(&options, &session.cancel, &tell)?;
    if recorded.is_some() {
        let again = |run: usize| {
            session.report.note(&format!("run {run} of {} of a record", guard::RECORDED_RUNS));
            bench::run(&options, &session.cancel, &|_| {})
        };
        let others = (2..=guard::RECORDED_RUNS).map(again).collect::<Result<Vec<_>>>()?;
        report = guard::record_of(report, &others);
    }
    let compared = arguments.compare.as_deref().filter(|_| !arguments.record);
    let compared = compared.map(|path| compare(path, &mut report, &options, arguments, session)).transpose();
    // First to the user: a file that cannot be written costs no minute of measuring.
    session.report.json(&report)?;
    session.report.text(&text(&report))?;
    if let Some(output) = &arguments.output {
        write(output, &report)?;
    }
    if let Some(folder) = recorded {
        let path = guard::record_path(folder, &report);
        write(&path, &report)?;
        session.report.note(&format!("recorded as {}", path.display()));
    }
    compared.map(|_| ())
}

fn write(path: &Path, report: &BenchReport) -> Result<()> {
    let json = serde_json::to_string_pretty(report).unwrap_or_default();
    Ok(durable::write_output_bytes(path, (json + "\n").as_bytes())?)
}

/// Hold a report against its record; what seems slower is measured again first.
fn compare(
    path: &Path,
    report: &mut BenchReport,
    options: &Options,
    arguments: &Arguments,
    session: &Session,
) -> Result<()> {
    let path = if path.is_dir() { guard::record_path(path, report) } else { path.to_path_buf() };
    let Some(record) = guard::read(&path)? else {
        session.report.note(&format!("no record for this processor ({}): nothing to compare with", path.display()));
        return Ok(());
    };
    let wants = |name: &str| {
        let chosen = options.filters.is_empty() || options.filters.iter().any(|filter| name.contains(filter.as_str()));
        chosen && (options.folder.is_some() || !name.starts_with("stream"))
    };
    let slower = |report: &BenchReport| guard::regressions(&record, &report.measurements, arguments.margin, wants);
    for _ in 1..guard::ATTEMPTS {
        let filters: Vec<String> = slower(report).into_iter().map(|one| one.name).collect();
        if filters.is_empty() {
            break;
        }
        session.report.note(&format!("below their record, measured again: {}", filters.join(", ")));
        let again = Options { filters, rounds: 2 * options.rounds + 1, ..options.clone() };
        let again = bench::run(&again, &session.cancel, &|_| {})?;
        guard::replace(&mut report.measurements, again.measurements);
    }
    let slower = slower(report);
    if slower.is_empty() {
        session.report.note(&format!("no case is below its record of {} ({})", record.date, path.display()));
        return Ok(());
    }
    Err(guard::error(&path, &record, &slower, arguments.margin))
}

fn text(report: &BenchReport) -> String {
    let mut machine = Table::of_pairs();
    machine.pair("processor", format!("{}, {} threads", report.processor.name, report.threads));
    machine.pair("memory", format!("{} read", number::gb_per_s(report.memory_bytes_per_s)));
    for peak in &report.fma {
        let (f32_all, f64_all) = (peak.f32_all / 2e9, peak.f64_all / 2e9);
        machine.pair(
            &format!("peak {}", peak.tier),
            format!("{f32_all:.0} G multiply-adds/s in f32, {f64_all:.0} in f64"),
        );
    }
    if let Some(disk) = &report.disk {
        let how = if disk.direct { "direct" } else { "through the page cache" };
        let (read, write) = (number::gb_per_s(disk.read), number::gb_per_s(disk.write));
        machine.pair("disk", format!("{read} read, {write} written in {} ({how})", disk.folder.display()));
    }
    let mut table = Table::with_head(&["case", ">share", "of", ">rate", ">rows/s"]);
    for found in &report.measurements {
        let rate = match found.ruler {
            Ruler::MultiplyAdds => format!("{:.1} G/s", found.rate / 1e9),
            Ruler::Memory | Ruler::Disk => number::gb_per_s(found.rate),
        };
        let share = number::share(found.share);
        table.line([found.name.clone(), share, found.ruler.name().into(), rate, number::rows_per_s(found.rows_per_s)]);
    }
    let time = number::time(std::time::Duration::from_secs_f64(report.seconds));
    format!("{}\n\n{}\n\n  measured in {time}", machine.text(2), table.text(2))
}
