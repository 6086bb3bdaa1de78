//! `gristmill verify DATASET`: is every byte what was written?

use std::path::PathBuf;

use clap::Args;
use gristmill_io::verify::verify;
use serde_json::json;

use super::Session;
use super::options::OutputOptions;
use crate::error::{Error, Result};
use crate::report::number;

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The dataset
    dataset: PathBuf,
    #[command(flatten)]
    output: OutputOptions,
}

/// Verify.
///
/// # Errors
/// When a file is missing, damaged or not what the manifest says; every fault is named.
pub fn run(arguments: &Arguments) -> Result<()> {
    let session = Session::new(&arguments.output)?;
    if arguments.dataset.is_file() {
        return Err(Error::usage(format!(
            "{} is a file, and a dataset is the folder that ingest makes. Name that folder",
            arguments.dataset.display()
        )));
    }
    let watcher = session.report.watcher();
    let found = verify(&arguments.dataset, &watcher, &session.cancel).map_err(|error| session.explain(error.into()))?;
    drop(watcher);
    let faults: Vec<_> =
        found.faults.iter().map(|fault| json!({ "file": fault.file, "fault": fault.error.to_string() })).collect();
    session.report.json(&json!({
        "dataset": arguments.dataset.display().to_string(), "files": found.files, "bytes": found.bytes, "rows": found.rows, "faults": faults,
    }))?;
    for fault in &found.faults {
        session.report.text(&format!("  {}: {}", fault.file, fault.error))?;
    }
    if let Some(first) = found.faults.first() {
        let others =
            if found.faults.len() > 1 { format!(" (and {} more)", found.faults.len() - 1) } else { String::new() };
        return Err(Error::File {
            path: arguments.dataset.clone(),
            message: format!("{}{others}. Ingest again, or restore the file", first.error),
        });
    }
    session.report.text(&format!(
        "{}: {}, {}, {}: all checksums are right",
        arguments.dataset.display(),
        number::several(found.files as u64, "file"),
        number::bytes(found.bytes),
        number::several(found.rows, "row")
    ))
}
