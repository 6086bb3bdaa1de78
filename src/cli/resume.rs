//! `gristmill resume RUN`: go on where an interrupted training stopped, to the same bits, on any number of threads and ranks.

use std::path::{Path, PathBuf};

use clap::Args;
use gristmill_io::dataset::Dataset;
use gristmill_io::durable;

use super::job::{Before, local, run_job, shared};
use super::options::{CheckpointOptions, MachineOptions, OutputOptions, RankOptions, StreamingOptions, TraceOptions};
use super::session::{Ranks, Session};
use crate::engine::part::Part;
use crate::error::{Error, Result};
use crate::ranks;
use crate::run::checkpoint::{self, Interruption};
use crate::run::folder::{CONFIG_FILE, SUMMARY_FILE};
use crate::run::parts;
use crate::run::write::Job;
use crate::train::Start;

/// Arguments of `resume`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The run that was interrupted
    run: PathBuf,
    /// Folder of the dataset, where it is not any more where it was
    #[arg(long, value_name = "FOLDER")]
    dataset: Option<PathBuf>,
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
    output: OutputOptions,
}

/// Resume.
///
/// # Errors
/// When there is nothing to resume, or data or configuration have changed.
pub fn run(arguments: &Arguments, ranks: &Ranks) -> Result<()> {
    let session = Session::among(&arguments.output, ranks, &arguments.ranks)?;
    // A finished run takes the folder's place under its name, which `.` and `..` are not.
    if arguments.run.file_name().is_none()
        && let Ok(run) = std::fs::canonicalize(&arguments.run)
    {
        session.report.note(&format!(
            "the run takes the place of this folder when it is complete: then cd {} again",
            run.display()
        ));
        let arguments = Arguments { run, ..arguments.clone() };
        return resume(&arguments, &session).map_err(|error| session.explain(error));
    }
    resume(arguments, &session).map_err(|error| session.explain(error))
}

fn resume(arguments: &Arguments, session: &Session) -> Result<()> {
    let keeping = arguments.checkpoints.keeping()?;
    let (number, interruption) = found(&arguments.run, session)?;
    let folder = arguments.dataset.as_ref().unwrap_or(&interruption.dataset);
    let dataset = if arguments.ranks.local.local_shards {
        local(session, || Ok(()), folder)?
    } else {
        let open = || {
            Dataset::open(folder).map_err(|error| {
                Error::usage(format!(
                    "the dataset of {} cannot be opened any more: {error}. Put it back where it was, or say with --dataset where \
                     it is",
                    arguments.run.display()
                ))
            })
        };
        shared(session, open, || Ok(()))?
    };
    let mut plan = interruption.checkpoint.plan.clone();
    let dataset = ranks::agree(&*session.ranks, plan.crossed(dataset))?;
    plan.threads = arguments.machine.threads.unwrap_or(plan.threads);
    plan.memory = arguments.machine.memory.or(plan.memory);
    plan.io = arguments.streaming.io.unwrap_or(plan.io);
    let config = interruption.config;
    let trace = arguments.trace.trace.as_deref();
    let job = Job { dataset: &dataset, plan, output: &arguments.run, force: true, config, keeping, trace };
    let before = Before { number, parts: kept_parts(&arguments.run, session)? };
    run_job(&job, Start::Resume(Box::new(interruption.checkpoint)), before, session)
}

/// The newest whole checkpoint and its number, as rank 0 finds them, on every rank.
fn found(run: &Path, session: &Session) -> Result<(u64, Interruption)> {
    let comm = &*session.ranks;
    let first = if comm.rank() == 0 { newest(run, session).map(Some) } else { Ok(None) };
    let first = ranks::agree_with_first(comm, first)?;
    if comm.size() == 1
        && let Some(found) = first
    {
        return Ok(found);
    }
    let unreadable =
        |error: serde_json::Error| Error::usage(format!("rank 0's checkpoint cannot be passed on: {error}"));
    let mut bytes = serde_json::to_vec(&first).map_err(unreadable)?;
    comm.broadcast(&mut bytes, 0)?;
    let found: Option<(u64, Interruption)> = serde_json::from_slice(&bytes).map_err(unreadable)?;
    found.ok_or_else(|| Error::usage("rank 0 found no checkpoint"))
}

/// What was done of the pass under way, as rank 0 finds it, on every rank.
fn kept_parts(run: &Path, session: &Session) -> Result<Vec<Part>> {
    let comm = &*session.ranks;
    let found = if comm.rank() == 0 { parts::read(run) } else { Ok(Default::default()) };
    let (found, notes) = ranks::agree_with_first(comm, found)?;
    notes.iter().for_each(|note| session.report.note(note));
    for part in &found {
        session
            .report
            .note(&format!("{} grains of a pass were summed before: they are not read again", part.grains.len()));
    }
    parts::shared(comm, found)
}

fn newest(run: &Path, session: &Session) -> Result<(u64, Interruption)> {
    durable::put_back(run)?;
    let Some((number, interruption, notes)) = checkpoint::newest(run)? else {
        let why = match (run.join(SUMMARY_FILE).is_file(), run.is_dir()) {
            (true, _) => "the training is complete",
            (false, true) => "no checkpoint of a training",
            (false, false) => "there is no such run; a training that ended before its first checkpoint leaves nothing",
        };
        return Err(Error::usage(format!("{}: nothing to resume: {why}", run.display())));
    };
    notes.iter().for_each(|note| session.report.note(note));
    check_configuration(run, &interruption.config)?;
    Ok((number, interruption))
}

/// The configuration beside the checkpoints must be the one they were made under.
fn check_configuration(run: &Path, made_under: &str) -> Result<()> {
    let path = run.join(CONFIG_FILE);
    let now = std::fs::read_to_string(&path).map_err(|e| gristmill_io::Error::io(&path, "cannot read", e))?;
    if now == made_under {
        return Ok(());
    }
    let without = |text: &str, other: &str| -> Vec<String> {
        text.lines().filter(|line| !other.lines().any(|known| known == *line)).map(|line| format!("'{line}'")).collect()
    };
    let (new, old) = (without(&now, made_under).join(", "), without(made_under, &now).join(", "));
    let or_nothing = |text: String| if text.is_empty() { "nothing".to_string() } else { text };
    Err(Error::usage(format!(
        "{} has changed since the checkpoint: it has {} where {} was. Undo the change, or train again from the start",
        path.display(),
        or_nothing(new),
        or_nothing(old)
    )))
}
