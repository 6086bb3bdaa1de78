//! A training that was interrupted: how far it is, and how to go on.

use std::path::Path;

use serde_json::json;

use crate::error::{Error, Result};
use crate::report::{Report, Table, number};
use crate::run::checkpoint::{self, Interruption};

/// Show what its newest checkpoint says.
///
/// # Errors
/// When no checkpoint can be read.
pub fn show(path: &Path, report: &Report) -> Result<()> {
    let (number, found) = newest(path, report)?;
    let (passes, plan) = (found.checkpoint.passes(), &found.checkpoint.plan);
    let (name, dataset) = (path.display(), found.dataset.display().to_string());
    let go_on = format!("gristmill resume {name}");
    report.json(&json!({
        "kind": "interrupted run", "run": name.to_string(), "model": plan.model, "dataset": dataset, "passes": passes,
        "checkpoint": checkpoint::file_name(number), "go_on": go_on,
    }))?;
    let mut table = Table::of_pairs();
    table.pair("passes", format!("{} done ({})", number::count(u64::from(passes)), checkpoint::file_name(number)));
    table.pair("dataset", dataset);
    table.pair("go on with", go_on);
    report.text(&format!("{}\n{}", report.bold(&format!("{} model, interrupted", plan.model)), table.text(2)))
}

/// Say of a finished run that a training which is to replace it was interrupted.
///
/// # Errors
/// As [`show`].
pub fn note(path: &Path, report: &Report) -> Result<()> {
    let (_, found) = newest(path, report)?;
    report.note(&format!(
        "a training that is to replace this run was interrupted (passes done: {}): go on with `gristmill resume {}`",
        found.checkpoint.passes(),
        path.display()
    ));
    Ok(())
}

fn newest(path: &Path, report: &Report) -> Result<(u64, Interruption)> {
    let newest = checkpoint::newest(path)?;
    let (number, found, notes) =
        newest.ok_or_else(|| Error::usage(format!("{}: the checkpoints are gone", path.display())))?;
    notes.iter().for_each(|note| report.note(note));
    Ok((number, found))
}
