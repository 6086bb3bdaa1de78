//! `--config FILE`: a TOML file whose keys are the long names of the command's flags.
//!
//! A key becomes the flag it names, unless that flag was typed: flags beat the file, and a value means in the file what
//! it means on the command line. Lists become several values. An unknown key is an error that names the nearest.

use std::ffi::OsString;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use toml::Value;

use super::refusal::is_possible;
use crate::error::{Error, Result};
use crate::synonyms::{self, instead};

/// Flags that a file cannot set: they are about one invocation.
const NOT_IN_FILES: &[&str] = &["config", "help", "json", "quiet", "force", "trace"];

/// Arguments to append to the command line for the keys of its `--config` file.
///
/// # Errors
/// When the file cannot be read, is not TOML, or has a key or type that the command does not know.
pub fn arguments(program: &Command, matches: &ArgMatches) -> Result<Vec<OsString>> {
    let Some((name, matches)) = matches.subcommand() else { return Ok(Vec::new()) };
    let Some(command) = program.find_subcommand(name) else { return Ok(Vec::new()) };
    if !command.get_arguments().any(|flag| flag.get_id() == "config") {
        return Ok(Vec::new());
    }
    let Some(path) = matches.get_one::<std::path::PathBuf>("config") else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(path).map_err(|e| gristmill_io::Error::io(path, "cannot read", e))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| not_toml(path, &text, &error))?;
    let mut more = Vec::new();
    for (key, value) in &table {
        let flag = find(command, key).ok_or_else(|| unknown(path, command, key))?;
        if matches.value_source(flag.get_id().as_str()) != Some(ValueSource::CommandLine) {
            more.extend(flag_arguments(path, flag, key, value)?);
        }
    }
    Ok(more)
}

/// The flags of a command that a file may set.
pub fn flags(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    command.get_arguments().filter_map(|flag| {
        let key = flag.get_long().unwrap_or_else(|| flag.get_id().as_str());
        (!NOT_IN_FILES.contains(&key)).then_some((key, flag))
    })
}

fn find<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    flags(command).find(|(name, _)| *name == key).map(|(_, flag)| flag)
}

/// One flag with its values, or positional values.
fn flag_arguments(path: &Path, flag: &Arg, key: &str, value: &Value) -> Result<Vec<OsString>> {
    let values: Vec<String> = match value {
        Value::Array(values) => values.iter().map(|value| scalar(path, key, value)).collect::<Result<_>>()?,
        Value::Table(table) => table
            .iter()
            .map(|(name, value)| Ok(format!("{name}={}", scalar(path, key, value)?)))
            .collect::<Result<_>>()?,
        value => vec![scalar(path, key, value)?],
    };
    let prefix = flag.get_long().map(|long| format!("--{long}="));
    Ok(values.into_iter().map(|value| format!("{}{value}", prefix.as_deref().unwrap_or_default()).into()).collect())
}

fn scalar(path: &Path, key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(_) => Ok(value.to_string()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        _ => Err(Error::usage(format!(
            "{}: key '{key}' holds a {}; a text, number, boolean or a list of them was expected",
            path.display(),
            value.type_str()
        ))),
    }
}

fn unknown(path: &Path, command: &Command, key: &str) -> Error {
    let known = flags(command).map(|(name, _)| name);
    let advice = instead(synonyms::FLAGS, key, known, |advice| is_possible(command, advice));
    Error::usage(format!(
        "{}: unknown key '{key}'.{advice} Keys are the long flags of `gristmill {} --help`",
        path.display(),
        command.get_name()
    ))
}

fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let line = error.span().map_or(1, |span| 1 + text.as_bytes()[..span.start].iter().filter(|&&b| b == b'\n').count());
    Error::usage(format!("{}, line {line}: no TOML: {}", path.display(), error.message()))
}

/// The configuration as resolved, as TOML: what was typed or read from a file, and `resolved` for everything else.
pub fn resolved(command: &Command, matches: &ArgMatches, resolved: &serde_json::Value) -> String {
    let mut lines = vec!["# The configuration as resolved; `gristmill train --config` takes this file.".to_string()];
    for (key, flag) in flags(command) {
        let id = flag.get_id().as_str();
        if key == "output" {
            continue;
        }
        let typed: Vec<String> = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => raw_values(matches, id),
            _ => Vec::new(),
        };
        let value = if typed.is_empty() { from_json(&resolved[key]) } else { Some(from_text(&typed, flag)) };
        lines.extend(value.map(|value| format!("{key} = {value}")));
    }
    lines.join("\n") + "\n"
}

fn raw_values(matches: &ArgMatches, id: &str) -> Vec<String> {
    matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect()
}

/// Values as typed: numbers and booleans as such where that loses nothing.
fn from_text(values: &[String], flag: &Arg) -> Value {
    let one = |text: &String| match text.parse::<i64>() {
        Ok(number) if number.to_string() == *text => Value::Integer(number),
        _ if text == "true" || text == "false" => Value::Boolean(text == "true"),
        _ => match text.parse::<f64>() {
            Ok(number) if number.is_finite() && Value::Float(number).to_string() == *text => Value::Float(number),
            _ => Value::String(text.clone()),
        },
    };
    let many = matches!(flag.get_action(), clap::ArgAction::Append) && values.len() > 1;
    match values {
        [only] if !many => one(only),
        _ => Value::Array(values.iter().map(one).collect()),
    }
}

/// A resolved value that a TOML file can hold.
fn from_json(value: &serde_json::Value) -> Option<Value> {
    match value {
        serde_json::Value::Array(values) if values.len() == 1 => from_json(&values[0]),
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) | serde_json::Value::String(_) => {
            Value::try_from(value).ok()
        }
        serde_json::Value::Array(_) => Value::try_from(value).ok(),
        _ => None,
    }
}
