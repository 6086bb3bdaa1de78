//! `gristmill ingest SOURCE... -o DATASET`.

use std::path::PathBuf;

use clap::Args;
use gristmill_io::ingest::{self, IngestReport};
use gristmill_io::manifest::Role;

use super::Session;
use super::options::{IngestingOptions, MachineOptions, OutputOptions, ReadingOptions};
use crate::error::{Error, Result};
use crate::report::{Table, number};

/// Arguments of `ingest`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Files, folders, patterns, or `-` for standard input: Parquet, Arrow, CSV, libsvm, NDJSON
    source: Vec<String>,
    /// Folder of the dataset
    #[arg(short, long, value_name = "DATASET")]
    output: Option<PathBuf>,
    /// Replace the output when it exists
    #[arg(long)]
    force: bool,
    /// TOML file whose keys are the flags of this command; flags beat it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seed of everything random [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    ingesting: IngestingOptions,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    output_options: OutputOptions,
}

/// Ingest.
///
/// # Errors
/// When sources cannot be read or the dataset cannot be written; the output is then as it was.
pub fn run(arguments: &Arguments) -> Result<()> {
    let session = Session::new(&arguments.output_options)?;
    let output = arguments.output.as_deref().ok_or_else(|| Error::usage("no output given. Add -o DATASET"))?;
    if arguments.source.is_empty() {
        return Err(Error::usage("no source given. Name files, folders, patterns, or - for standard input"));
    }
    let options =
        arguments.ingesting.options(&arguments.reading, &arguments.machine, arguments.seed, arguments.force)?;
    let watcher = session.report.watcher();
    let done = ingest::ingest(&arguments.source, &options, output, &watcher, &session.cancel)
        .map_err(|error| session.explain(error.into()))?;
    drop(watcher);
    session.report.json(&facts(&done, output))?;
    session.report.text(&format!("{}\n{}", session.report.bold(&output.display().to_string()), text(&done, 2)))
}

/// What was done, for programs.
pub fn facts(done: &IngestReport, output: &std::path::Path) -> serde_json::Value {
    let s = (done.survey_seconds + done.encode_seconds).max(1e-9);
    serde_json::json!({
        "dataset": output,
        "rows": { "train": done.train_rows, "test": done.test_rows, "dropped": done.dropped_rows },
        "columns": done.manifest.columns.len(),
        "source_bytes": done.source_bytes,
        "dataset_bytes": done.dataset_bytes,
        "spilled_bytes": done.spilled_bytes,
        "empty_columns": done.empty_columns,
        "seconds": s,
        "rows_per_s": (done.train_rows + done.test_rows) as f64 / s,
        "source_bytes_per_s": done.source_bytes as f64 / s,
        "fingerprint": done.manifest.fingerprint,
    })
}

/// What was done, for people.
pub fn text(done: &IngestReport, indent: usize) -> String {
    let s = (done.survey_seconds + done.encode_seconds).max(1e-9);
    let rows = done.train_rows + done.test_rows;
    let of_role = |role| done.manifest.columns.iter().filter(|column| column.role == role).count();
    let label = done.manifest.columns.iter().find(|column| column.role == Role::Label);
    let mut table = Table::of_pairs();
    let held_out =
        format!("{} to train on, {} held out", number::count(done.train_rows), number::count(done.test_rows));
    table.pair("rows", held_out);
    let label = label.map_or("no label".to_string(), |column| format!("label {}", column.name));
    table.pair("columns", format!("{} features, {label}", of_role(Role::Feature)));
    table.pair(
        "size",
        format!("{} from {} of sources", number::bytes(done.dataset_bytes), number::bytes(done.source_bytes)),
    );
    let time = number::time(std::time::Duration::from_secs_f64(s));
    let rates = (number::rows_per_s(rows as f64 / s), number::gb_per_s(done.source_bytes as f64 / s));
    table.pair("speed", format!("{time}, {}, {} of sources", rates.0, rates.1));
    if done.spilled_bytes > 0 {
        table.pair(
            "spilled",
            format!("{} through temporary files (more --memory avoids it)", number::bytes(done.spilled_bytes)),
        );
    }
    if done.dropped_rows > 0 {
        table.pair("left out", format!("{} rows without a label", number::count(done.dropped_rows)));
    }
    if !done.empty_columns.is_empty() {
        table.pair("left out", format!("columns without any value: {}", done.empty_columns.join(", ")));
    }
    table.text(indent)
}
