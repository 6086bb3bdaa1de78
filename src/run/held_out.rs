//! A cross-validation as part of a run: its figures for programs and for people, and the fold of every row as a file that
//! others can check it by.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Split;
use serde_json::{Map, Value, json};

use super::folder::of_model;
use crate::engine::folds::Folds;
use crate::engine::validation::{HeldOut, Spread, Validation};
use crate::error::{Error, Result};
use crate::plan::TrainPlan;
use crate::report::{Table, number};

/// Name of the file of folds: one column `fold` (UInt16), a row for each training row in the order of the dataset.
pub const FOLDS_FILE: &str = "folds.arrow";
/// Rows of a record batch of that file.
const BATCH_ROWS: u64 = 1 << 20;

/// The fold of every training row, into `folder`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_folds(dataset: &Dataset, plan: &TrainPlan, folder: &Path) -> Result<()> {
    let Some(folds) = Folds::new(plan.seed, plan.folds) else { return Ok(()) };
    let path = folder.join(FOLDS_FILE);
    let file = File::create(&path).map_err(|e| gristmill_io::Error::io(&path, "cannot create", e))?;
    write_batches(file, folds, dataset.rows(Split::Train))
        .map_err(|error| Error::File { path, message: format!("the folds cannot be written: {error}") })
}

fn write_batches(file: File, folds: Folds, rows: u64) -> std::result::Result<(), ArrowError> {
    let schema = Arc::new(Schema::new(vec![Field::new("fold", DataType::UInt16, false)]));
    let mut writer = FileWriter::try_new(file, &schema)?;
    let mut first = 0;
    while first < rows {
        let mut values = vec![0; BATCH_ROWS.min(rows - first) as usize];
        folds.read(first, &mut values);
        first += values.len() as u64;
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(UInt16Array::from(values))])?)?;
    }
    writer.finish()
}

/// The figures for programs.
pub fn json(validation: &Validation) -> Value {
    let configuration = |held_out: &HeldOut| {
        let figures: Map<String, Value> =
            held_out.figures.iter().map(|spread| (spread.name.clone(), spread_json(spread))).collect();
        json!({
            "l1": held_out.strengths.l1,
            "l2": held_out.strengths.l2,
            "loss": spread_json(&held_out.loss),
            "figures": figures,
            "unconverged": held_out.unconverged,
        })
    };
    let configurations: Vec<Value> = validation.configurations.iter().map(configuration).collect();
    json!({
        "folds": validation.rows.len(),
        "rows": validation.rows,
        "best": validation.best,
        "configurations": configurations,
    })
}

fn spread_json(spread: &Spread) -> Value {
    json!({ "mean": spread.mean, "standard_error": spread.standard_error, "folds": spread.folds })
}

/// The most figures that a table for people shows, the loss among them; the summary for programs holds all.
const FIGURES_MAX: usize = 8;

/// The figures for people: of several configurations a line each, of a single one a line for each fold.
pub fn text(validation: &Validation) -> String {
    match validation.configurations.as_slice() {
        [only] => {
            let title = format!("held out, {} folds", validation.rows.len());
            format!("  {title}\n{}", of_folds(validation, only).text(2))
        }
        _ => {
            let best = &validation.configurations[validation.best];
            let title = format!("held out, mean of {} folds and standard error", validation.rows.len());
            let chosen = of_model(best.strengths);
            format!("  {title}\n{}\n  best by held-out loss: {chosen}", of_configurations(validation).text(2))
        }
    }
}

fn of_configurations(validation: &Validation) -> Table {
    let Some(first) = validation.configurations.first() else { return Table::of_pairs() };
    let mut table = with_head(&["folder"], &spreads(first));
    for held_out in &validation.configurations {
        let spreads = spreads(held_out).into_iter().map(mean);
        table.line(std::iter::once(of_model(held_out.strengths)).chain(spreads));
    }
    table
}

fn of_folds(validation: &Validation, held_out: &HeldOut) -> Table {
    let spreads = spreads(held_out);
    let mut table = with_head(&["fold", ">rows"], &spreads);
    for (fold, rows) in validation.rows.iter().enumerate() {
        let figures = spreads.iter().map(|spread| number::optional(spread.folds[fold], 6));
        table.line([fold.to_string(), number::count(*rows)].into_iter().chain(figures));
    }
    let all: [(&str, Vec<Option<f64>>); 2] = [
        ("mean", spreads.iter().map(|spread| spread.mean).collect()),
        ("standard error", spreads.iter().map(|spread| spread.standard_error).collect()),
    ];
    for (name, values) in all {
        let values = values.into_iter().map(|value| number::optional(value, 6));
        table.line([name.to_string(), String::new()].into_iter().chain(values));
    }
    table
}

/// The loss, and the figures that say more than that (the log-loss does where classes have weights).
fn spreads(held_out: &HeldOut) -> Vec<&Spread> {
    let loss = &held_out.loss;
    let says_more = |spread: &&Spread| match (spread.mean, loss.mean) {
        (Some(mean), Some(loss)) => (mean - loss).abs() > 1e-9 * loss.abs() || spread.name != "log_loss",
        _ => true,
    };
    std::iter::once(loss).chain(held_out.figures.iter().filter(says_more)).take(FIGURES_MAX).collect()
}

fn with_head(first: &[&str], spreads: &[&Spread]) -> Table {
    let names: Vec<String> = spreads.iter().map(|spread| format!(">{}", spread.name.replace('_', " "))).collect();
    let head: Vec<&str> = first.iter().copied().chain(names.iter().map(String::as_str)).collect();
    Table::with_head(&head)
}

/// Mean and standard error.
fn mean(spread: &Spread) -> String {
    match (spread.mean, spread.standard_error) {
        (Some(mean), Some(error)) => format!("{} ± {}", number::plain(mean, 6), number::plain(error, 2)),
        _ => "-".into(),
    }
}
