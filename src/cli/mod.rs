//! The command line: one table of flags makes the parser, help, completions and the keys of `--config` files.
//!
//! A file a command; groups of flags that commands share are in `options`. What was typed becomes typed requests
//! here and nowhere else. Exit codes: 0 done, 1 failed, 2 the request makes no sense, 129, 130 and 143 after SIGHUP,
//! SIGINT and SIGTERM.

mod advice;
mod bench;
mod cache;
mod completions;
mod config;
mod doctor;
mod evaluate;
mod generate;
mod ingest;
mod inspect;
mod job;
mod launch;
mod options;
mod plan;
mod predict;
mod quickstart;
mod refusal;
mod resume;
mod ring_test;
mod session;
mod summary;
mod train;
mod verify;

use std::ffi::OsString;
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use mpi_launch::{CommError, Settings, Solo, launch as started};

use crate::error::{Error, Result};
use crate::report::{Report, failure};

use refusal::usage;
pub use session::{Ranks, Session};

/// How long a rank that finds a fault in its launch waits for rank 0 to say it.
const TIME_TO_SPEAK: Duration = Duration::from_secs(2);

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
#[expect(clippy::large_enum_variant, reason = "there is one value in a process")]
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
    /// Start a job of ranks and see it through: restarts from checkpoints, batch scripts for Slurm
    Launch(launch::Arguments),
    /// Foretell the time of a pass on other machines and numbers of ranks
    Plan(plan::Arguments),
    /// Show what this machine can do: processor, memory, disk, MPI, ranks
    Doctor(doctor::Arguments),
    /// Make a data set of any size to try things on
    Generate(generate::Arguments),
    /// Measure every part as a share of what this machine can do
    Bench(bench::Arguments),
    /// Print completions for a shell
    Completions(completions::Arguments),
}

/// The program: joins the ranks, parses the command line, runs the command, prints a failure, and gives the exit code.
pub fn main() -> ExitCode {
    failure::install_panic_hook();
    let ranks = match connect() {
        Ok(ranks) => ranks,
        Err(error) => return refuse_launch(&error),
    };
    if ranks.size() > 1 {
        failure::name_rank(crate::ranks::name(&*ranks));
    }
    // The panic hook has printed by the time this catches; what is left is the exit code.
    let run = std::panic::AssertUnwindSafe(|| run(&std::env::args_os().collect::<Vec<OsString>>(), &ranks));
    let Ok(outcome) = std::panic::catch_unwind(run) else {
        ranks.abort("internal fault", i32::from(crate::error::EXIT_FAILURE));
        return ExitCode::from(crate::error::EXIT_FAILURE);
    };
    let outcome = match outcome {
        Err(error) if reader_is_gone(&error) => Ok(()),
        outcome => outcome,
    };
    let code = match crate::ranks::agree_with_first(&*ranks, outcome) {
        Ok(()) => ExitCode::SUCCESS,
        // Every rank finds the same fault in how it was launched: one of them says so.
        Err(error @ Error::Comm(CommError::Launch(_))) => refuse_launch(&error),
        Err(error) => {
            if !matches!(error, Error::Elsewhere { .. }) {
                failure::print(&error);
            }
            ExitCode::from(error.exit_code())
        }
    };
    // The launcher ends all ranks at the first that fails: not before it is said why.
    match ranks.barrier() {
        Ok(()) => code,
        Err(_) => ExitCode::from(crate::error::EXIT_FAILURE),
    }
}

/// The ranks of the launcher, or this process alone.
fn connect() -> Result<Ranks> {
    if cfg!(feature = "mpi") {
        let settings = Settings { ranks_per_node: ranks_per_node()?, ..Settings::default() };
        return Ok(started::connect(settings)?.into());
    }
    Ok(Arc::new(Solo))
}

/// So many ranks count as a node when they add, whatever the machine is: to try `--allreduce hierarchical` without a cluster.
const RANKS_PER_NODE: &str = "GRISTMILL_RANKS_PER_NODE";

/// What [`RANKS_PER_NODE`] says.
fn ranks_per_node() -> Result<Option<NonZero<usize>>> {
    let Ok(text) = std::env::var(RANKS_PER_NODE) else { return Ok(None) };
    let unknown = |_| Error::usage(format!("{RANKS_PER_NODE} is '{text}'; a number of ranks from 1 on was expected"));
    text.parse().map(Some).map_err(unknown)
}

/// A fault in how the ranks were launched, which each of them finds: one says it, the others give it the time to.
fn refuse_launch(error: &Error) -> ExitCode {
    if started::speaks() {
        failure::print(error);
    } else {
        std::thread::sleep(TIME_TO_SPEAK);
    }
    ExitCode::from(error.exit_code())
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
    let refusal = started::detect_here()?.as_ref().and_then(started::refusal_without_mpi);
    refusal.map_or(Ok(()), |error| Err(error.into()))
}

/// Whether a command line, without the program's name, is one of ours; the tests of the documentation ask. `--config`
/// files are not looked at.
///
/// # Errors
/// [`Error::Usage`] with what is wrong.
pub fn check<S: AsRef<str>>(words: &[S]) -> Result<()> {
    let arguments: Vec<OsString> =
        std::iter::once("gristmill").chain(words.iter().map(AsRef::as_ref)).map(Into::into).collect();
    match Cli::command().try_get_matches_from(&arguments) {
        Err(error) if error.use_stderr() => Err(usage(&error, &arguments)),
        _ => Ok(()),
    }
}

/// Parse and run.
fn run(arguments: &[OsString], ranks: &Ranks) -> Result<()> {
    let Some(matches) = parse(arguments, ranks.rank() == 0)? else { return Ok(()) };
    let cli = Cli::from_arg_matches(&matches).map_err(|error| usage(&error, arguments))?;
    if !matches!(cli.command, Command::Doctor(_) | Command::Completions(_)) {
        refuse_ranks_without_mpi()?;
    }
    match &cli.command {
        Command::Train(arguments) => train::run(arguments, &matches, ranks),
        Command::Resume(arguments) => resume::run(arguments, ranks),
        Command::Evaluate(arguments) => evaluate::run(arguments, ranks).map_err(|error| possible(error, "evaluate")),
        Command::Predict(arguments) => predict::run(arguments, ranks).map_err(|error| possible(error, "predict")),
        Command::Ingest(arguments) => ingest::run(arguments, ranks),
        Command::Launch(arguments) => launch::run(arguments, ranks),
        Command::Doctor(arguments) => doctor::run(arguments, ranks),
        _ if ranks.rank() > 0 => Ok(()),
        command => run_alone(command, &matches, ranks.size()),
    }
}

/// The error with no other advice than the command can take.
fn possible(error: Error, command: &str) -> Error {
    let all = Cli::command();
    let own = all.find_subcommand(command).into_iter().flat_map(clap::Command::get_arguments);
    advice::possible(error, &own.filter_map(clap::Arg::get_long).collect::<Vec<_>>())
}

/// The commands that rank 0 runs alone while the others wait for its end.
fn run_alone(command: &Command, matches: &ArgMatches, ranks: usize) -> Result<()> {
    if let (Some((name, own)), true) = (matches.subcommand(), ranks > 1) {
        let quiet = matches!(own.try_get_one::<bool>("quiet"), Ok(Some(true)));
        Report::new(quiet, false).note(&format!("{name} runs on rank 0 alone; the other ranks wait"));
    }
    match command {
        Command::Quickstart(arguments) => quickstart::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Generate(arguments) => generate::run(arguments),
        Command::Plan(arguments) => plan::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Completions(arguments) => completions::run(arguments, &mut Cli::command()),
        // These are for all ranks.
        Command::Train(_)
        | Command::Resume(_)
        | Command::Evaluate(_)
        | Command::Predict(_)
        | Command::Ingest(_)
        | Command::Launch(_)
        | Command::Doctor(_) => Ok(()),
    }
}

/// The matches of the command line with the `--config` file under it; none when help or the version was printed, where `speaks`.
fn parse(arguments: &[OsString], speaks: bool) -> Result<Option<ArgMatches>> {
    let command = Cli::command();
    let matches = match command.clone().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refuse_or_help(&error, arguments, speaks).map(|()| None),
    };
    let more = config::arguments(&command, &matches)?;
    if more.is_empty() {
        return Ok(Some(matches));
    }
    let all: Vec<OsString> = arguments.iter().cloned().chain(more).collect();
    command.try_get_matches_from(&all).map(Some).map_err(|error| usage(&error, &all))
}

/// Help and version are printed; everything else is a usage error.
fn refuse_or_help(error: &clap::Error, arguments: &[OsString], speaks: bool) -> Result<()> {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    match error.kind() {
        DisplayHelp | DisplayVersion if !speaks => Ok(()),
        DisplayHelp | DisplayVersion => {
            let text = error.render();
            Report::new(true, false).help(&text.to_string(), &text.ansi().to_string())
        }
        DisplayHelpOnMissingArgumentOrSubcommand => {
            if speaks {
                Report::new(true, false).help_as_error(&error.render().to_string());
            }
            Err(Error::usage("no command given. Begin with `gristmill quickstart`, or see `gristmill --help`"))
        }
        _ => Err(usage(error, arguments)),
    }
}
