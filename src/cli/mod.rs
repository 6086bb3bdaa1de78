//! The command line: one table of flags makes the parser, help, completions and the keys of `--config` files.
//!
//! A file a command; groups of flags that commands share are in `options`. What was typed becomes typed requests
//! here and nowhere else. Exit codes: 0 done, 1 failed, 2 the request makes no sense, 130 and 143 after SIGINT and
//! SIGTERM.

mod cache;
mod completions;
mod config;
mod doctor;
mod evaluate;
mod ingest;
mod inspect;
mod options;
mod predict;
mod quickstart;
mod resume;
mod session;
mod summary;
mod train;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use mpi_launch::launch;

use crate::error::{Error, Result};
use crate::report::failure;

pub use session::Session;

/// Trains machine-learning models on data larger than memory, at the speed of the disk and of the memory bus.
#[derive(Debug, Parser)]
#[command(
    name = "gristmill",
    version,
    max_term_width = 110,
    disable_help_subcommand = false,
    subcommand_value_name = "COMMAND",
    subcommand_help_heading = "Commands",
    after_help = "\
The first minute:
  gristmill quickstart                                       make data, train, evaluate, predict
  gristmill train data.parquet --model logistic --label y -o run
  gristmill predict run new.csv -o predictions.parquet

`gristmill COMMAND --help` says more about each command. Exit codes: 0 done, 1 failed, 2 wrong request."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Every command, in the order of help.
#[derive(Debug, Subcommand)]
enum Command {
    /// See it all in half a minute: make data, ingest, train, evaluate, predict
    Quickstart(quickstart::Arguments),
    /// Turn files into a dataset: typed, encoded, split, shuffled, checksummed
    Ingest(ingest::Arguments),
    /// Train a model on a dataset, or straight on files
    Train(train::Arguments),
    /// Judge a model on rows it has not seen
    Evaluate(evaluate::Arguments),
    /// Predict with a model: any source in, Parquet, CSV or Arrow out
    Predict(predict::Arguments),
    /// Show what is in a dataset, a run or a source
    Inspect(inspect::Arguments),
    /// Check every checksum of a dataset
    Verify(verify::Arguments),
    /// Go on with an interrupted training, to the same bits
    Resume(resume::Arguments),
    /// Show what this machine can do: processor, memory, disk, MPI
    Doctor(doctor::Arguments),
    /// Print completions for a shell
    Completions(completions::Arguments),
}

/// The program: parses the command line, runs the command, prints a failure, and gives the exit code.
pub fn main() -> ExitCode {
    failure::install_panic_hook();
    // The panic hook has printed by the time this catches; what is left is the exit code.
    let outcome = std::panic::catch_unwind(|| run(std::env::args_os().collect()));
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) if reader_is_gone(&error) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            // Every rank finds the same fault in how it was launched: one of them says so.
            if !matches!(error, Error::Comm(mpi_launch::CommError::Launch(_))) || launch::speaks() {
                failure::print(&error);
            }
            ExitCode::from(error.exit_code())
        }
        Err(_) => ExitCode::from(crate::error::EXIT_FAILURE),
    }
}

/// True when the reader of standard output went away (`| head`): nobody is left to tell, and nothing is wrong.
fn reader_is_gone(error: &Error) -> bool {
    matches!(error, Error::Data(gristmill_io::Error::Io { path, source, .. })
        if source.kind() == std::io::ErrorKind::BrokenPipe && path == std::path::Path::new("-"))
}

/// A binary without MPI that finds itself one of several ranks would do all the work once a rank.
fn refuse_ranks_without_mpi() -> Result<()> {
    if cfg!(feature = "mpi") {
        return Ok(());
    }
    let refusal = launch::detect_here()?.as_ref().and_then(launch::refusal_without_mpi);
    refusal.map_or(Ok(()), |error| Err(error.into()))
}

/// Whether a command line, without the program's name, is one of ours; the tests of the documentation ask. `--config`
/// files are not looked at.
///
/// # Errors
/// [`Error::Usage`] with what is wrong.
pub fn check<S: AsRef<str>>(words: &[S]) -> Result<()> {
    let arguments = std::iter::once("gristmill").chain(words.iter().map(AsRef::as_ref));
    match Cli::command().try_get_matches_from(arguments) {
        Err(error) if error.use_stderr() => Err(usage(&error)),
        _ => Ok(()),
    }
}

/// Parse and run.
fn run(arguments: Vec<OsString>) -> Result<()> {
    let Some(matches) = parse(arguments)? else { return Ok(()) };
    let cli = Cli::from_arg_matches(&matches).map_err(|error| usage(&error))?;
    if !matches!(cli.command, Command::Doctor(_) | Command::Completions(_)) {
        refuse_ranks_without_mpi()?;
    }
    match &cli.command {
        Command::Quickstart(arguments) => quickstart::run(arguments),
        Command::Ingest(arguments) => ingest::run(arguments),
        Command::Train(arguments) => train::run(arguments, &matches),
        Command::Evaluate(arguments) => evaluate::run(arguments),
        Command::Predict(arguments) => predict::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Resume(arguments) => resume::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Completions(arguments) => completions::run(arguments, &mut Cli::command()),
    }
}

/// The matches of the command line with the `--config` file under it; none when help or the version was printed.
fn parse(mut arguments: Vec<OsString>) -> Result<Option<clap::ArgMatches>> {
    let command = Cli::command();
    let matches = match command.clone().try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse_or_help(&error).map(|()| None),
    };
    let more = config::arguments(&command, &matches)?;
    if more.is_empty() {
        return Ok(Some(matches));
    }
    arguments.extend(more);
    command.try_get_matches_from(arguments).map(Some).map_err(|error| usage(&error))
}

/// Help and version are printed; everything else is a usage error.
fn refuse_or_help(error: &clap::Error) -> Result<()> {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    match error.kind() {
        DisplayHelp | DisplayVersion => {
            let text = error.render();
            crate::report::Report::new(true, false).help(&text.to_string(), &text.ansi().to_string())
        }
        DisplayHelpOnMissingArgumentOrSubcommand => {
            crate::report::Report::new(true, false).help_as_error(&error.render().to_string());
            Err(Error::usage("no command given. Begin with `gristmill quickstart`, or see `gristmill --help`"))
        }
        _ => Err(usage(error)),
    }
}

/// The parser's complaint as one line.
fn usage(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim().trim_start_matches("error: "))
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    Error::usage(lines.join(". ").replace(". tip:", "; tip:").replace(":. ", ": "))
}
