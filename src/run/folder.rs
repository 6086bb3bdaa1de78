//! The other files of a run: configuration, passes as JSON lines, summary.

use std::path::Path;

use gristmill_io::durable;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::plan::Strengths;

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

/// Name of a model's folder among those of a path.
pub fn of_model(Strengths { l1, l2, rate }: Strengths) -> String {
    let rate = rate.map(|rate| format!("-rate-{rate}")).unwrap_or_default();
    format!("l1-{l1}-l2-{l2}{rate}")
}

/// Write `value` as JSON.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    Ok(durable::write_bytes(path, json(path, value)?.as_bytes())?)
}

/// `value` as the text of a JSON file.
///
/// # Errors
/// When JSON cannot hold it.
pub fn json(path: &Path, value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| not_json(path, &error))?;
    Ok(text + "\n")
}

/// Values as the text of a file with one JSON document a line.
///
/// # Errors
/// When JSON cannot hold them.
pub fn json_lines<T: Serialize>(path: &Path, values: impl IntoIterator<Item = T>) -> Result<String> {
    let mut text = String::new();
    for value in values {
        text.push_str(&serde_json::to_string(&value).map_err(|error| not_json(path, &error))?);
        text.push('\n');
    }
    Ok(text)
}

fn not_json(path: &Path, error: &serde_json::Error) -> Error {
    Error::File { path: path.to_path_buf(), message: format!("cannot be written as JSON: {error}") }
}
