//! The other files of a run: configuration, passes as JSON lines, summary.

use std::path::Path;

use gristmill_io::durable::{self, Claim, Replace};
use serde::Serialize;

use super::checkpoint;
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
/// What a run has beside its models, once it is finished.
pub const OWN_FILES: [&str; 4] = [CONFIG_FILE, PASSES_FILE, SUMMARY_FILE, SUMMARY_TEXT_FILE];
/// Name of an evaluation that was asked to be kept.
pub const EVALUATION_FILE: &str = "evaluation.json";

/// Name under which the configuration of a finished run stays while the training that replaces it goes on.
const CONFIG_BEFORE_FILE: &str = "config.before.toml";

/// Whether a folder holds a run, finished or interrupted.
pub fn is_run(folder: &Path) -> bool {
    is_finished(folder) || is_interrupted(folder)
}

/// Whether a folder holds a training that was interrupted, or is under way; a finished run may be in it as well, which it is to replace.
pub fn is_interrupted(folder: &Path) -> bool {
    folder.join(CONFIG_FILE).is_file() && !checkpoint::list(folder).is_empty()
}

/// What a training may take the place of.
pub fn replace(force: bool) -> Replace {
    Replace::if_forced(force, is_run)
}

/// Whether a training may become `output`.
///
/// # Errors
/// When something is there that is to stay; of an interrupted training it says how to go on with it.
pub fn check_free(output: &Path, force: bool) -> Result<()> {
    if force || !is_interrupted(output) {
        return Ok(replace(force).check(output)?);
    }
    // A training that is under way needs nobody to resume it.
    if let Err(busy @ gristmill_io::Error::Usage(_)) = Claim::of(output) {
        return Err(busy.into());
    }
    let name = output.display();
    Err(Error::usage(format!(
        "{name} is a training that was interrupted. `gristmill resume {name}` goes on with it; add --force to begin anew, or name \
         another output"
    )))
}

fn is_finished(folder: &Path) -> bool {
    folder.join(SUMMARY_FILE).is_file() && folder.join(PASSES_FILE).is_file()
}

/// Keeps what a finished run holds in the folder that takes its place while the training that replaces it goes on: its model answers until
/// there is a new one.
///
/// # Errors
/// When a file can be neither linked nor copied.
pub fn keep_finished(run: &Path, staging: &Path) -> Result<()> {
    if !is_finished(run) {
        return Ok(());
    }
    // Another training that was to replace the run was interrupted: what is its own goes.
    let interrupted = run.join(CONFIG_BEFORE_FILE).is_file();
    let of_training =
        |name: &str| name.starts_with("checkpoint-") || name.starts_with("part-") || name == CONFIG_FILE && interrupted;
    let mut folders = vec![std::path::PathBuf::new()];
    while let Some(inner) = folders.pop() {
        let folder = run.join(&inner);
        let failed = |e| gristmill_io::Error::io(&folder, "cannot keep the finished run", e);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (name, kind) = (entry.file_name(), entry.file_type().map_err(failed)?);
            let at_top = inner.as_os_str().is_empty();
            if at_top && name.to_str().is_some_and(of_training) {
                continue;
            }
            let is_configuration = at_top && name == CONFIG_FILE;
            let to = staging.join(&inner).join(if is_configuration { CONFIG_BEFORE_FILE.as_ref() } else { &*name });
            if kind.is_dir() {
                std::fs::create_dir(&to).map_err(failed)?;
                folders.push(inner.join(&name));
            } else if kind.is_file() && std::fs::hard_link(entry.path(), &to).is_err() {
                std::fs::copy(entry.path(), &to).map_err(failed)?;
            }
        }
    }
    Ok(())
}

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
