//! The other files of a run: configuration, passes as JSON lines, summary.

use std::path::Path;

use gristmill_io::durable;
use serde::Serialize;

use crate::error::{Error, Result};

/// Name of the resolved configuration.
pub const CONFIG_FILE: &str = "config.toml";
/// Name of the passes.
pub const PASSES_FILE: &str = "metrics.jsonl";
/// Name of the summary.
pub const SUMMARY_FILE: &str = "summary.json";
/// Name of the summary for people.
pub const SUMMARY_TEXT_FILE: &str = "summary.txt";
/// Name of an evaluation that was asked to be kept.
pub const EVALUATION_FILE: &str = "evaluation.json";

/// Write `value` as JSON.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| not_json(path, &error))?;
    text.push('\n');
    Ok(durable::write_bytes(path, text.as_bytes())?)
}

/// Write values as JSON, one a line.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json_lines<T: Serialize>(path: &Path, values: impl IntoIterator<Item = T>) -> Result<()> {
    let mut text = String::new();
    for value in values {
        text.push_str(&serde_json::to_string(&value).map_err(|error| not_json(path, &error))?);
        text.push('\n');
    }
    Ok(durable::write_bytes(path, text.as_bytes())?)
}

fn not_json(path: &Path, error: &serde_json::Error) -> Error {
    Error::File { path: path.to_path_buf(), message: format!("cannot be written as JSON: {error}") }
}
