//! `gristmill evaluate RUN [DATASET | SOURCE...]`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::options::{MachineOptions, OutputOptions, ReadingOptions};
use super::predict::{dataset_of, open_source, splits};
use super::{Session, summary};
use crate::error::{Error, Result};
use crate::evaluate::{Settings, on_dataset, on_source};
use crate::run::Model;
use crate::run::folder::{self, EVALUATION_FILE};

/// Arguments of `evaluate`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The run whose model is judged
    run: PathBuf,
    /// The dataset it was trained on, or files, folders and patterns with the label column
    #[arg(required = true)]
    source: Vec<String>,
    /// Rows of a dataset: train, test or all [default: test, when there are any]
    #[arg(long, value_name = "SPLIT")]
    split: Option<String>,
    /// Write the result into the run, as evaluation.json
    #[arg(long)]
    save: bool,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    output: OutputOptions,
}

/// Evaluate.
///
/// # Errors
/// When model or rows cannot be read.
pub fn run(arguments: &Arguments) -> Result<()> {
    let session = Session::new(&arguments.output)?;
    evaluate(arguments, &session).map_err(|error| session.explain(error))
}

fn evaluate(arguments: &Arguments, session: &Session) -> Result<()> {
    let model = Model::read(&arguments.run)?;
    let watcher = session.report.watcher();
    let scratch = std::env::temp_dir();
    let settings = Settings {
        threads: arguments.machine.threads()?,
        memory_bytes: arguments.machine.memory_bytes(),
        scratch: &scratch,
        progress: &watcher,
        cancel: &session.cancel,
    };
    let (evaluation, on) = match dataset_of(&arguments.source)? {
        Some(dataset) => {
            let splits = splits(arguments.split.as_deref(), &dataset)?;
            let names: Vec<&str> = splits.iter().map(|split| summary::split_name(*split)).collect();
            (
                on_dataset(&model, &dataset, &splits, &settings)?,
                format!("{} ({} rows)", arguments.source[0], names.join(" and ")),
            )
        }
        None if arguments.split.is_some() => {
            return Err(Error::usage("--split: a source has no splits; only datasets have"));
        }
        None => {
            let (source, _) = open_source(&arguments.source, &arguments.reading, &model, &[], true)?;
            (on_source(&model, source.as_ref(), &settings)?, arguments.source.join(" "))
        }
    };
    drop(watcher);
    let value = json!({ "run": arguments.run, "on": on, "evaluation": evaluation });
    if arguments.save {
        folder::write_json(&arguments.run.join(EVALUATION_FILE), &value)?;
    }
    session.report.json(&value)?;
    session.report.text(&format!("{}\n{}", session.report.bold(&on), summary::evaluation(&evaluation)))
}
