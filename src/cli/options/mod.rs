//! Groups of flags that several commands share.

mod checkpoints;
mod ingesting;
mod machine;
mod online;
mod output;
mod ranks;
mod reading;
mod streaming;
mod training;

pub use checkpoints::CheckpointOptions;
pub use ingesting::IngestingOptions;
pub use machine::{MachineOptions, seed, size, threads};
pub use online::OnlineOptions;
pub use output::OutputOptions;
pub use ranks::{LocalOptions, RankOptions};
pub use reading::ReadingOptions;
pub use streaming::{StreamingOptions, TraceOptions};
pub use training::TrainingOptions;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};
use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Role;

use crate::error::{Error, Result};

/// Refuses flags of ingest beside a dataset: its columns and rows are settled, and a flag that does nothing would be
/// believed. The label, the weight and the offset may be named when they are the dataset's own.
///
/// # Errors
/// [`Error::Usage`] with the flag.
pub fn check_settled(matches: &ArgMatches, dataset: &Dataset) -> Result<()> {
    let flags = ReadingOptions::augment_args(IngestingOptions::augment_args(Command::new("")));
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    for flag in flags.get_arguments().filter(|flag| typed(flag.get_id().as_str())) {
        let role = match flag.get_id().as_str() {
            "label" => Some(Role::Label),
            "weight" => Some(Role::Weight),
            "offset" => Some(Role::Offset),
            _ => None,
        };
        let column = dataset.manifest().columns.iter().find(|column| Some(column.role) == role);
        let own = column.map(|column| column.name.as_str());
        let named = role.and_then(|_| matches.get_one::<String>(flag.get_id().as_str()));
        if named.is_none() || named.map(String::as_str) != own {
            return Err(Error::usage(format!(
                "--{}: {} is a dataset, whose columns and rows were settled by ingest{}. Leave the flag out, or ingest the \
                 sources again with it",
                flag.get_long().unwrap_or_default(),
                dataset.folder().display(),
                own.map(|own| format!(" (its column is '{own}')")).unwrap_or_default()
            )));
        }
    }
    Ok(())
}
