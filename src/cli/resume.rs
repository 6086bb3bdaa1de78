//! `gristmill resume RUN`: go on where an interrupted training stopped, to the same bits.

use std::path::PathBuf;

use clap::Args;
use gristmill_io::dataset::Dataset;

use super::Session;
use super::options::{MachineOptions, OutputOptions};
use super::train::run_job;
use crate::error::{Error, Result};
use crate::run::Model;
use crate::run::folder::{CHECKPOINT_FILE, CONFIG_FILE};
use crate::run::write::{Interruption, Job};
use crate::train::Start;

/// Arguments of `resume`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The run that was interrupted
    run: PathBuf,
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    output: OutputOptions,
}

/// Resume.
///
/// # Errors
/// When there is nothing to resume, or data or configuration have changed.
pub fn run(arguments: &Arguments) -> Result<()> {
    let session = Session::new(&arguments.output)?;
    resume(arguments, &session).map_err(|error| session.explain(error))
}

fn resume(arguments: &Arguments, session: &Session) -> Result<()> {
    let path = arguments.run.join(CHECKPOINT_FILE);
    if !path.is_file() {
        let why = if Model::is_at(&arguments.run) { "the training is complete" } else { "no interrupted training" };
        return Err(Error::usage(format!("{}: nothing to resume: {why}", arguments.run.display())));
    }
    let text = std::fs::read(&path).map_err(|e| gristmill_io::Error::io(&path, "cannot read", e))?;
    let interruption: Interruption = serde_json::from_slice(&text)
        .map_err(|error| Error::File { path, message: format!("no checkpoint of gristmill: {error}") })?;
    let config = std::fs::read_to_string(arguments.run.join(CONFIG_FILE)).unwrap_or_default();
    let dataset = Dataset::open(&interruption.dataset)?;
    let mut plan = interruption.checkpoint.plan.clone();
    arguments.machine.threads()?;
    plan.threads = arguments.machine.threads.unwrap_or(plan.threads);
    plan.memory = arguments.machine.memory.or(plan.memory);
    let job = Job { dataset: &dataset, plan, output: &arguments.run, force: true, config };
    run_job(&job, Start::Resume(Box::new(interruption.checkpoint)), session)
}
