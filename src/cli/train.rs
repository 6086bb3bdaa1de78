//! `gristmill train DATASET | SOURCE... --model NAME -o RUN`.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, CommandFactory};
use gristmill_io::dataset::Dataset;
use gristmill_io::durable;
use gristmill_io::manifest::Split;

use super::options::{IngestingOptions, MachineOptions, OutputOptions, ReadingOptions, TrainingOptions, check_settled};
use super::predict::dataset_of;
use super::{Session, cache, config};
use crate::error::{Error, Result};
use crate::report::PassWatch;
use crate::run::Model;
use crate::run::write::{self, Interruption, Job, Measured};
use crate::train::{Company, Ended, Start, Trained};

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A dataset, or files, folders, patterns or `-`, which are ingested to RUN.data first
    source: Vec<String>,
    /// Folder of the run
    #[arg(short, long, value_name = "RUN")]
    output: Option<PathBuf>,
    /// Replace the output when it exists
    #[arg(long)]
    force: bool,
    /// TOML file whose keys are the flags of this command; flags beat it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seed of everything random [default: 42]
    #[arg(long, value_name = "N")]
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
    output_options: OutputOptions,
}

/// Train.
///
/// # Errors
/// When the request makes no sense, data cannot be read or learnt from, or the run cannot be written.
pub fn run(arguments: &Arguments, matches: &ArgMatches) -> Result<()> {
    let session = Session::new(&arguments.output_options)?;
    train(arguments, matches, &session).map_err(|error| session.explain(error))
}

fn train(arguments: &Arguments, matches: &ArgMatches, session: &Session) -> Result<()> {
    let plan = arguments.training.request(&arguments.machine, arguments.seed)?.resolve()?;
    let output = arguments.output.as_deref().ok_or_else(|| Error::usage("no output given. Add -o RUN"))?;
    if arguments.source.is_empty() {
        return Err(Error::usage(
            "no data given. Name a dataset, or files, folders, patterns, or - for standard input",
        ));
    }
    durable::check_output(output, arguments.force)?;
    let dataset = match dataset_of(&arguments.source)? {
        Some(dataset) => {
            check_settled(matches.subcommand().map_or(matches, |(_, own)| own), &dataset)?;
            dataset
        }
        None => {
            let options = arguments.ingesting.options(&arguments.reading, &arguments.machine, arguments.seed, false)?;
            cache::ingested(&arguments.source, &options, output, session)?
        }
    };
    let start = arguments.training.warm_start.as_deref().map_or(Ok(Start::Cold), |run| warm(run, &dataset))?;
    let command = super::Cli::command();
    let (name, own) = matches.subcommand().unwrap_or(("train", matches));
    let resolved = serde_json::to_value(&plan).unwrap_or_default();
    let config = command.find_subcommand(name).map(|command| config::resolved(command, own, &resolved));
    let job = Job { dataset: &dataset, plan, output, force: arguments.force, config: config.unwrap_or_default() };
    run_job(&job, start, session)
}

/// The coefficients of another run as a start.
fn warm(run: &Path, dataset: &Dataset) -> Result<Start> {
    let model = Model::read(run)?;
    crate::evaluate::check_same(&model, dataset)?;
    Ok(Start::From { weights: model.weights.weights, intercept: model.weights.intercept })
}

/// Train, write the run, and say what was done.
///
/// # Errors
/// As for [`run`].
pub fn run_job(job: &Job<'_>, start: Start, session: &Session) -> Result<()> {
    let (trained, measured) = execute(job, start, session)?;
    session.report.json(&write::summary(&trained, &measured, job))?;
    session.report.text(&write::text(&trained, &measured, job))
}

/// Train and write the run; what was trained and measured.
///
/// # Errors
/// As for [`run`].
pub fn execute(job: &Job<'_>, start: Start, session: &Session) -> Result<(Trained, Measured)> {
    let bytes: u64 = job.dataset.grains(Split::Train).iter().map(|grain| grain.bytes).sum();
    let rows = job.dataset.rows(Split::Train);
    let bandwidth = Measured::bandwidth(bytes, &job.plan);
    let watcher = session.report.watcher();
    let watch = PassWatch::new(&watcher, rows, bytes / rows.max(1), job.plan.path().len() > 1);
    let company = Company { comm: &mpi_launch::Solo, watch: &watch, cancel: &session.cancel };
    let ended = crate::engine::drive::train(job.dataset, &job.plan, start, &company)?;
    drop(watcher);
    match ended {
        Ended::Trained(trained) => {
            let measured = Measured::of(&trained, &job.plan, bandwidth);
            write::trained(&trained, &measured, job)?;
            Ok((*trained, measured))
        }
        Ended::Interrupted(checkpoint) => {
            let interruption = Interruption { dataset: absolute(job.dataset.folder()), checkpoint: *checkpoint };
            write::interrupted(&interruption, job)?;
            session.report.note(&format!("go on with: gristmill resume {}", job.output.display()));
            Err(Error::Interrupted { signal: 0 })
        }
    }
}

/// The path from the root, so that a run can be resumed from another folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
