//! `gristmill ingest SOURCE... -o DATASET`.

use std::path::{Path, PathBuf};

use clap::Args;
use gristmill_io::ingest::company::{self, Company};
use gristmill_io::ingest::{self, IngestOptions, IngestReport};
use gristmill_io::manifest::Role;
use mpi_launch::{CommError, Communicator};

use super::options::{IngestingOptions, MachineOptions, OutputOptions, ReadingOptions, seed, size};
use super::session::{Ranks, Session};
use crate::error::{EXIT_FAILURE, Error, Result};
use crate::ranks;
use crate::report::{Table, number};

/// Arguments of `ingest`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Files, folders, patterns, or `-` for standard input: Parquet, Arrow, CSV, libsvm, NDJSON
    source: Vec<String>,
    /// Folder of the dataset
    #[arg(short, long, value_name = "DATASET")]
    output: Option<PathBuf>,
    /// Replace the output when it exists and is a dataset
    #[arg(long)]
    force: bool,
    /// TOML file whose keys are the flags of this command; flags beat it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seed of everything random [default: 42]
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Size of a shard, about; every rank of several makes whole shards [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    shard_size: Option<u64>,
    #[command(flatten)]
    ingesting: IngestingOptions,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    output_options: OutputOptions,
}

/// Ingest.
///
/// # Errors
/// When sources cannot be read or the dataset cannot be written; the output is then as it was.
pub fn run(arguments: &Arguments, ranks: &Ranks) -> Result<()> {
    let Some(session) = Session::sharing(&arguments.output_options, ranks, &arguments.source)? else { return Ok(()) };
    ingest(arguments, &session).map_err(|error| session.explain(error))
}

/// What is asked for, and where it goes.
fn asked(arguments: &Arguments) -> Result<(IngestOptions, &Path)> {
    let output = arguments.output.as_deref().ok_or_else(|| Error::usage("no output given. Add -o DATASET"))?;
    if arguments.source.is_empty() {
        return Err(Error::usage("no source given. Name files, folders, patterns, or - for standard input"));
    }
    let options =
        arguments.ingesting.options(&arguments.reading, &arguments.machine, arguments.seed, arguments.force)?;
    Ok((IngestOptions { shard_bytes: arguments.shard_size, ..options }, output))
}

fn ingest(arguments: &Arguments, session: &Session) -> Result<()> {
    let comm = &*session.ranks;
    let (options, output) = ranks::agree(comm, asked(arguments))?;
    let done = with_ranks(session, &arguments.machine, |together| {
        settled(comm, among(together, &arguments.source, &options, output, session))
    })?;
    let Some(done) = done else { return Ok(()) };
    if done.ranks < comm.size() {
        session.report.note(ALONE);
    }
    session.report.json(&facts(&done, output))?;
    session.report.text(&format!("{}\n{}", session.report.bold(&output.display().to_string()), text(&done, 2)))
}

const ALONE: &str = "rank 0 ingested alone: ranks share rows that keep their order (no --shuffle) in columns without --bucketize, where \
                     all of them see the files and the output";

/// What came of it on all ranks. Bad data and what rank 0 finds concern the whole; only another's trouble needs its name.
///
/// # Errors
/// Its own, or that another rank failed.
pub fn settled<T>(comm: &dyn Communicator, done: Result<T>) -> Result<T> {
    use gristmill_io::Error::{Data, Usage};
    let done = done.map_err(|error| match error {
        Error::Data(Data(_) | Usage(_)) | Error::Elsewhere { .. } => error,
        error if comm.rank() == 0 => error,
        error => error.on(ranks::name(comm)),
    });
    ranks::agree_with_first(comm, done)
}

/// Does something with the ranks of a session, as ingest sees them.
///
/// # Errors
/// Those of `work`, or when a rank is lost.
pub fn with_ranks<T>(
    session: &Session,
    machine: &MachineOptions,
    work: impl FnOnce(&company::Ranks<'_>) -> Result<T>,
) -> Result<T> {
    let share = session.share(machine)?;
    work(&company::Ranks::new(&Linked(&*session.ranks), share.threads, share.memory))
}

/// Ingests on all ranks; what was done, on rank 0.
///
/// # Errors
/// As [`ingest::ingest_among`].
pub fn among(
    together: &company::Ranks<'_>,
    sources: &[String],
    options: &IngestOptions,
    output: &Path,
    session: &Session,
) -> Result<Option<IngestReport>> {
    let watcher = session.report.watcher();
    ingest::ingest_among(together, sources, options, output, &watcher, &session.cancel).map_err(own)
}

/// The ranks of a command, as ingest sees them.
struct Linked<'a>(&'a dyn Communicator);

impl Company for Linked<'_> {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn all_gather(&self, own: &[u8]) -> gristmill_io::Result<Vec<Vec<u8>>> {
        self.0.all_gather(own).map_err(|error| lost(&error))
    }

    fn gather(&self, own: &[u8]) -> gristmill_io::Result<Vec<Vec<u8>>> {
        self.0.gather(own, 0).map(Option::unwrap_or_default).map_err(|error| lost(&error))
    }
}

fn lost(error: &CommError) -> gristmill_io::Error {
    gristmill_io::Error::Ranks(error.to_string())
}

/// A failure of another rank is for that to report.
fn own(error: gristmill_io::Error) -> Error {
    match error {
        gristmill_io::Error::Elsewhere { rank } => Error::Elsewhere { rank, code: EXIT_FAILURE },
        error => error.into(),
    }
}

/// What was done, for programs.
pub fn facts(done: &IngestReport, output: &Path) -> serde_json::Value {
    let s = (done.survey_seconds + done.encode_seconds).max(1e-9);
    serde_json::json!({
        "dataset": output.display().to_string(),
        "rows": { "train": done.train_rows, "test": done.test_rows, "dropped": done.dropped_rows },
        "columns": done.manifest.columns.len(),
        "ranks": done.ranks,
        "source_bytes": done.source_bytes,
        "dataset_bytes": done.dataset_bytes,
        "spilled_bytes": done.spilled_bytes,
        "empty_columns": done.empty_columns,
        "seconds": s,
        "rows_per_s": (done.train_rows + done.test_rows) as f64 / s,
        "source_bytes_per_s": done.source_bytes as f64 / s,
        "fingerprint": done.manifest.fingerprint,
    })
}

/// What was done, for people.
pub fn text(done: &IngestReport, indent: usize) -> String {
    let s = (done.survey_seconds + done.encode_seconds).max(1e-9);
    let rows = done.train_rows + done.test_rows;
    let of_role = |role| done.manifest.columns.iter().filter(|column| column.role == role).count();
    let label = done.manifest.columns.iter().find(|column| column.role == Role::Label);
    let mut table = Table::of_pairs();
    let held_out =
        format!("{} to train on, {} held out", number::count(done.train_rows), number::count(done.test_rows));
    table.pair("rows", held_out);
    let label = label.map_or("no label".to_string(), |column| format!("label {}", column.name));
    let features = number::several(of_role(Role::Feature) as u64, "feature");
    table.pair("columns", format!("{features}, {label}"));
    table.pair(
        "size",
        format!("{} from {} of sources", number::bytes(done.dataset_bytes), number::bytes(done.source_bytes)),
    );
    let time = number::time(std::time::Duration::from_secs_f64(s));
    let rates = (number::rows_per_s(rows as f64 / s), number::gb_per_s(done.source_bytes as f64 / s));
    table.pair("speed", format!("{time}, {}, {} of sources", rates.0, rates.1));
    if done.ranks > 1 {
        table.pair("ranks", done.ranks.to_string());
    }
    if done.spilled_bytes > 0 {
        table.pair(
            "spilled",
            format!("{} through temporary files (more --memory avoids it)", number::bytes(done.spilled_bytes)),
        );
    }
    if done.dropped_rows > 0 {
        table.pair("left out", format!("{} without a label", number::several(done.dropped_rows, "row")));
    }
    if !done.empty_columns.is_empty() {
        table.pair("left out", format!("columns without any value: {}", done.empty_columns.join(", ")));
    }
    table.text(indent)
}
