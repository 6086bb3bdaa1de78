//! `gristmill train DATASET | SOURCE... --model NAME -o RUN`.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, CommandFactory};
use gristmill_io::dataset::Dataset;
use gristmill_io::durable;
use gristmill_io::ingest::IngestOptions;
use gristmill_io::manifest::Column;

use super::job::{Before, local, run_job, shared};
use super::options::{
    CheckpointOptions, IngestingOptions, MachineOptions, OutputOptions, RankOptions, ReadingOptions, StreamingOptions,
    TraceOptions, TrainingOptions, check_settled, seed,
};
use super::predict::{dataset_of, local_folder};
use super::session::Ranks;
use super::{Session, cache, config, ingest};
use crate::error::{Error, Result};
use crate::ranks;
use crate::run::Model;
use crate::run::folder::check_free;
use crate::run::write::Job;
use crate::train::Start;

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A dataset, or files, folders, patterns or `-`, which are ingested to RUN.data first
    source: Vec<String>,
    /// Folder of the run
    #[arg(short, long, value_name = "RUN")]
    output: Option<PathBuf>,
    /// Replace the output when it exists and is a run
    #[arg(long)]
    force: bool,
    /// TOML file whose keys are the flags of this command; flags beat it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seed of everything random [default: 42]
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    #[command(flatten)]
    training: TrainingOptions,
    #[command(flatten)]
    ingesting: IngestingOptions,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    streaming: StreamingOptions,
    #[command(flatten)]
    trace: TraceOptions,
    #[command(flatten)]
    checkpoints: CheckpointOptions,
    #[command(flatten)]
    ranks: RankOptions,
    #[command(flatten)]
    output_options: OutputOptions,
}

/// Train.
///
/// # Errors
/// When the request makes no sense, data cannot be read or learnt from, or the run cannot be written.
pub fn run(arguments: &Arguments, matches: &ArgMatches, ranks: &Ranks) -> Result<()> {
    let session = Session::among(&arguments.output_options, ranks, &arguments.ranks)?;
    train(arguments, matches, &session).map_err(|error| session.explain(error))
}

fn train(arguments: &Arguments, matches: &ArgMatches, session: &Session) -> Result<()> {
    let plan = arguments.training.request(&arguments.machine, &arguments.streaming, arguments.seed)?.resolve()?;
    let keeping = arguments.checkpoints.keeping()?;
    let output = arguments.output.as_deref().ok_or_else(|| Error::usage("no output given. Add -o RUN"))?;
    if arguments.source.is_empty() {
        return Err(Error::usage(
            "no data given. Name a dataset, or files, folders, patterns, or - for standard input",
        ));
    }
    let dataset = dataset(arguments, matches, output, session)?;
    let dataset = ranks::agree(&*session.ranks, plan.crossed(dataset))?;
    let before = arguments.training.warm_start.as_deref().map(|run| warm(run, &dataset)).transpose();
    let before = ranks::agree(&*session.ranks, before)?;
    ranks::same_model(&*session.ranks, before.as_ref().map(|model| model.metadata.weights.xxh3.as_str()))?;
    let start = before.map_or(Start::Cold, |model| Start::From {
        weights: model.weights.weights,
        intercepts: model.weights.intercepts,
    });
    let command = super::Cli::command();
    let (name, own) = matches.subcommand().unwrap_or(("train", matches));
    let resolved = flat(serde_json::to_value(&plan).unwrap_or_default());
    let config = command.find_subcommand(name).map(|command| config::resolved(command, own, &resolved));
    let config = config.unwrap_or_default();
    let job = Job {
        dataset: &dataset,
        plan,
        output,
        force: arguments.force,
        config,
        keeping,
        trace: arguments.trace.trace.as_deref(),
    };
    run_job(&job, start, Before::default(), session)
}

/// The dataset to train on, made of the sources where there is none.
fn dataset(arguments: &Arguments, matches: &ArgMatches, output: &Path, session: &Session) -> Result<Dataset> {
    let settled = |dataset: &Dataset| check_settled(matches.subcommand().map_or(matches, |(_, own)| own), dataset);
    let may_replace = || check_free(output, arguments.force);
    if arguments.ranks.local.local_shards {
        let folder = local_folder(&arguments.source)?;
        let check = || may_replace().and_then(|()| Ok(durable::check_apart(folder, output)?));
        let dataset = local(session, check, folder)?;
        settled(&dataset)?;
        return Ok(dataset);
    }
    let sources = &arguments.source;
    let options = || {
        let options = arguments.ingesting.options(&arguments.reading, &arguments.machine, arguments.seed, false);
        options.map(|options| IngestOptions { needs_label: true, ..options })
    };
    ingest::with_ranks(session, &arguments.machine, |together| {
        let find = || {
            may_replace()?;
            if let Some(dataset) = dataset_of(sources)? {
                durable::check_apart(dataset.folder(), output)?;
                settled(&dataset)?;
                return Ok(dataset);
            }
            cache::ingested(sources, &options()?, output, session, together)
        };
        let make = || {
            let found = find();
            // The others wait for what they may help with, also where there is nothing to make.
            let dismissed = together.dismiss();
            found.and_then(|dataset| Ok(dismissed.map(|()| dataset)?))
        };
        // Options that make no sense rank 0 finds as well, when it needs them.
        let help = || match options() {
            Ok(options) => cache::help(sources, &options, output, session, together),
            Err(_) => Ok(together.hear().map(drop)?),
        };
        shared(session, make, help)
    })
}

/// The settings of a plan side by side, as flags are.
fn flat(mut plan: serde_json::Value) -> serde_json::Value {
    if let Some(settings) = plan.as_object_mut()
        && let Some(serde_json::Value::Object(online)) = settings.remove("online")
    {
        settings.extend(online);
    }
    plan
}

/// Another run, whose coefficients are a start.
fn warm(run: &Path, dataset: &Dataset) -> Result<Model> {
    let model = Model::read(run)?;
    if let Some(which) = crate::evaluate::differing(&model, dataset) {
        return Err(Error::usage(format!(
            "--warm-start: in the data of {} {which} is another one, or encoded otherwise, than in {}. Train on data with the columns, \
             levels and types of that run, such as its dataset, or without --warm-start",
            run.display(),
            dataset.folder().display()
        )));
    }
    let crosses = |columns: &[Column]| -> Vec<Column> {
        columns.iter().filter(|column| column.kind.is_crossed()).cloned().collect()
    };
    let (theirs, ours) = (crosses(&model.metadata.columns), crosses(&dataset.manifest().columns));
    if theirs != ours {
        let names = |columns: &[Column]| match columns {
            [] => "none".to_string(),
            _ => columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", "),
        };
        return Err(Error::usage(format!(
            "--warm-start: {} has other crossed columns ({}) than this training ({}), or of other bits. Name the same --cross and \
             --cross-bits",
            run.display(),
            names(&theirs),
            names(&ours)
        )));
    }
    Ok(model)
}
