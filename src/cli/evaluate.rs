//! `gristmill evaluate RUN [DATASET | SOURCE...]`.

use std::path::PathBuf;

use clap::Args;
use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Split;
use gristmill_io::memory;
use gristmill_io::source::Source;
use gristmill_io::watch::Cancel;
use serde_json::json;

use super::job::local;
use super::options::{LocalOptions, MachineOptions, OutputOptions, ReadingOptions, StreamingOptions};
use super::predict::{dataset_of, files_of, local_folder, open_source, splits};
use super::session::{Ranks, Session};
use super::summary;
use crate::error::{Error, Result};
use crate::evaluate::{Settings, crossed, on_dataset, on_source};
use crate::ranks;
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
    /// Of several classes: count rows whose class is among the N with the greatest margins [default: 5, of more than 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    top_k: Option<u64>,
    /// Leave rows of a source without a label out instead of stopping
    #[arg(long)]
    drop_missing_label: bool,
    /// Write the result into the run, as evaluation.json
    #[arg(long)]
    save: bool,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    streaming: StreamingOptions,
    #[command(flatten)]
    local: LocalOptions,
    #[command(flatten)]
    output: OutputOptions,
}

/// Evaluate.
///
/// # Errors
/// When model or rows cannot be read.
pub fn run(arguments: &Arguments, ranks: &Ranks) -> Result<()> {
    let Some(session) = Session::sharing(&arguments.output, ranks, &arguments.source)? else { return Ok(()) };
    evaluate(arguments, &session).map_err(|error| session.explain(error))
}

/// The rows that the model is judged on.
enum Input {
    Dataset(Box<Dataset>, Vec<Split>),
    Source(Box<dyn Source>),
}

/// Model, rows (of `local`, where shards lie on many nodes), and what these are called; found by every rank.
fn open(arguments: &Arguments, local: Option<Dataset>, cancel: &Cancel) -> Result<(Model, Input, String)> {
    let model = Model::read(&arguments.run)?;
    let dataset = if arguments.local.local_shards { local } else { dataset_of(&arguments.source)? };
    let Some(dataset) = dataset else {
        if arguments.split.is_some() {
            return Err(Error::usage("--split: a source has no splits; only datasets have"));
        }
        let files = files_of(&arguments.source, &arguments.reading, &model, cancel)?;
        let (source, _) = open_source(files, &model, &[], true)?;
        return Ok((model, Input::Source(source), arguments.source.join(" ")));
    };
    let dataset = crossed(&model, dataset)?;
    let splits = splits(arguments.split.as_deref(), &dataset)?;
    let names: Vec<&str> = splits.iter().map(|split| summary::split_name(*split)).collect();
    let on = format!("{} ({} rows)", arguments.source[0], names.join(" and "));
    Ok((model, Input::Dataset(Box::new(dataset), splits), on))
}

fn evaluate(arguments: &Arguments, session: &Session) -> Result<()> {
    let comm = &*session.ranks;
    let here = match arguments.local.local_shards {
        true => Some(local(session, || Ok(()), local_folder(&arguments.source)?)?),
        false => None,
    };
    let (model, input, on) = ranks::agree(comm, open(arguments, here, &session.cancel))?;
    ranks::same_model(comm, Some(&model.metadata.weights.xxh3))?;
    let share = session.share(&arguments.machine)?;
    let watcher = session.report.watcher();
    let scratch = memory::scratch_folder();
    let settings = Settings {
        threads: share.threads,
        top_k: arguments.top_k.map(|k| k as usize),
        drop_missing_label: arguments.drop_missing_label,
        memory_bytes: share.memory,
        io: arguments.streaming.io.unwrap_or_default(),
        scratch: &scratch,
        progress: &watcher,
        cancel: &session.cancel,
        comm,
    };
    let evaluation = match &input {
        Input::Dataset(dataset, splits) => on_dataset(&model, dataset, splits, &settings)?,
        Input::Source(source) => on_source(&model, source.as_ref(), &settings)?,
    };
    drop(watcher);
    let Some(evaluation) = evaluation else { return Ok(()) };
    let value = json!({ "run": arguments.run.display().to_string(), "on": on, "evaluation": evaluation });
    // First to the user: a file that cannot be written costs no reading of all rows.
    session.report.json(&value)?;
    let classes = model.metadata.classes.as_deref().unwrap_or_default();
    session.report.text(&format!("{}\n{}", session.report.bold(&on), summary::evaluation(&evaluation, classes)))?;
    if arguments.save {
        folder::write_json(&arguments.run.join(EVALUATION_FILE), &value)?;
    }
    Ok(())
}
