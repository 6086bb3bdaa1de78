//! `gristmill inspect PATH`: what is in a run, a dataset or a source.

mod dataset;
mod interrupted;
mod model;
mod source;

use std::path::PathBuf;

use clap::Args;
use gristmill_io::dataset::MANIFEST;

use super::Session;
use super::options::OutputOptions;
use crate::error::{Error, Result};
use crate::run::Model;
use crate::run::folder::{SUMMARY_FILE, is_interrupted};

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A run, a dataset, or a source: a file or a folder of files
    path: PathBuf,
    #[command(flatten)]
    output: OutputOptions,
}

/// Show it.
///
/// # Errors
/// When it is none of them, or damaged.
pub fn run(arguments: &Arguments) -> Result<()> {
    let session = Session::new(&arguments.output)?;
    let path = &arguments.path;
    let is_interrupted = is_interrupted(path);
    let is_finished = Model::is_at(path) || path.join(SUMMARY_FILE).is_file();
    if is_interrupted && is_finished {
        interrupted::note(path, &session.report)?;
    } else if is_interrupted {
        return interrupted::show(path, &session.report);
    }
    if Model::is_at(path) {
        return model::show_model(path, &session.report);
    }
    if path.join(SUMMARY_FILE).is_file() {
        return model::show_path(path, &session.report);
    }
    if path.join(MANIFEST).is_file() {
        return dataset::show(path, &session.report);
    }
    if path.exists() {
        return source::show(path, &session).map_err(|error| session.explain(error));
    }
    Err(Error::usage(format!("{}: does not exist. A run, a dataset or a source was expected", path.display())))
}
