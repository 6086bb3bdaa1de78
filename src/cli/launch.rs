//! `gristmill launch -n RANKS -- train ...`: starts the ranks and sees the job through to its end.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory};
use gristmill_io::durable;

use super::session::Ranks;
use crate::error::{Error, Result};
use crate::report::Report;
use crate::supervise::hosts::Host;
use crate::supervise::slurm::{self, Batch};
use crate::supervise::starter::Starter;
use crate::supervise::{Signals, Supervised};

/// Restarts unless told otherwise.
const RESTARTS: u32 = 3;

/// Arguments of `launch`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Ranks: processes that train together
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one(), allow_negative_numbers = true)]
    ranks: usize,
    /// Hosts to run on, separated by commas, each with the ranks it takes where they differ: node1:4,node2:2
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    hosts: Vec<Host>,
    /// What reaches another host [default: ssh]
    #[arg(long, value_name = "COMMAND")]
    agent: Option<String>,
    /// mpirun or srun, by name or path [default: srun inside a Slurm job, else mpirun]
    #[arg(long, value_name = "PROGRAM")]
    launcher: Option<String>,
    /// Words for mpirun or srun, such as "--map-by node"
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    launcher_flags: Option<String>,
    /// How many times a job that failed is started again, from its last checkpoint [default: 3]
    #[arg(long, value_name = "N")]
    restarts: Option<u32>,
    /// Go on from the run's checkpoint when there is one already
    #[arg(long)]
    resume: bool,
    /// Write a batch script for Slurm to FILE (- for standard output) and start nothing
    #[arg(long, value_name = "FILE")]
    slurm: Option<PathBuf>,
    /// Replace the batch script when it exists
    #[arg(long, requires = "slurm")]
    force: bool,
    /// Time limit in the batch script [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = slurm::time, allow_hyphen_values = true, requires = "slurm")]
    time: Option<String>,
    /// Nodes in the batch script
    #[arg(long, value_name = "N", value_parser = at_least_one(), allow_negative_numbers = true, requires = "slurm")]
    nodes: Option<usize>,
    /// Leave out what is told between starts
    #[arg(short, long)]
    quiet: bool,
    /// What every rank runs: train or resume with their flags, or another command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A whole number from 1 on that MPI can count to.
fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=i32::MAX as u64)
}

/// Launch.
///
/// # Errors
/// When the request makes no sense, the ranks cannot be started, or the job fails with no restart left.
pub fn run(arguments: &Arguments, ranks: &Ranks) -> Result<()> {
    if ranks.size() > 1 {
        return Err(Error::usage("launch starts the ranks itself: run it without mpirun or srun"));
    }
    if let Some(nodes) = arguments.nodes.filter(|nodes| *nodes > arguments.ranks) {
        return Err(Error::usage(format!(
            "--nodes is {nodes} with -n {}: a node has at least one rank",
            arguments.ranks
        )));
    }
    let inner = inner(&arguments.command)?;
    let program = std::env::current_exe().map_err(|e| gristmill_io::Error::io("this program", "cannot be found", e))?;
    let program = program.display().to_string();
    if let Some(path) = &arguments.slurm {
        return write_script(arguments, &inner, program, path);
    }
    if arguments.ranks > 1 && !cfg!(feature = "mpi") {
        return Err(Error::usage(
            "this binary was built without MPI and cannot be one of several ranks. Rebuild it with: cargo build --release \
             --features mpi",
        ));
    }
    let flags = arguments.launcher_flags.iter().flat_map(|words| words.split_whitespace()).map(String::from).collect();
    let of_rank = |words: &[String]| std::iter::once(program.clone()).chain(words.iter().cloned()).collect();
    let resume = resume_words(&inner).map(|(run, words)| (run, of_rank(&words)));
    let supervised = Supervised {
        starter: match &arguments.launcher {
            None if arguments.ranks == 1 && arguments.hosts.is_empty() => Starter::nothing(),
            name => Starter::find(name.as_deref(), flags)?,
        },
        ranks: arguments.ranks,
        hosts: arguments.hosts.clone(),
        agent: arguments.agent.clone().unwrap_or_else(|| "ssh".into()),
        restarts: if resume.is_some() { arguments.restarts.unwrap_or(RESTARTS) } else { 0 },
        first: of_rank(&arguments.command),
        resume,
        resume_at_once: arguments.resume,
    };
    let report = Report::new(arguments.quiet, false);
    if supervised.resume.is_none() && arguments.restarts.is_some() {
        report.note("only train and resume leave checkpoints to go on from: this command is started once");
    }
    supervised.run(&Signals::caught()?, &|text| report.note(text))
}

/// The command of the ranks, parsed, so that what is wrong with it is said before anything is started.
fn inner(words: &[String]) -> Result<ArgMatches> {
    let arguments: Vec<_> = std::iter::once("gristmill".into()).chain(words.iter().map(Into::into)).collect();
    let matches = super::parse(&arguments, false)?;
    let matches = matches.ok_or_else(|| Error::usage("no command given after --. Say what the ranks are to run"))?;
    match matches.subcommand_name() {
        Some("launch") => Err(Error::usage("launch cannot launch itself. Name train, or another command, after --")),
        _ => Ok(matches),
    }
}

/// The run of a training, and the words of the `resume` that goes on with it: those of its flags that were typed and that
/// `resume` knows.
fn resume_words(matches: &ArgMatches) -> Option<(PathBuf, Vec<String>)> {
    let (name, own) = matches.subcommand()?;
    let run: PathBuf = match name {
        "train" => own.get_one::<PathBuf>("output")?.clone(),
        "resume" => own.get_one::<PathBuf>("run")?.clone(),
        _ => return None,
    };
    let mut words = vec!["resume".to_string(), run.display().to_string()];
    let program = super::Cli::command();
    let flags = program.find_subcommand("resume")?.get_arguments().filter(|flag| flag.get_long().is_some());
    for flag in flags {
        let (id, long) = (flag.get_id().as_str(), flag.get_long().unwrap_or_default());
        if !own.ids().any(|known| known == id) || own.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        if flag.get_action().takes_values() {
            let values = own.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy());
            words.extend(values.map(|value| format!("--{long}={value}")));
        } else {
            words.push(format!("--{long}"));
        }
    }
    Some((run, words))
}

fn write_script(arguments: &Arguments, inner: &ArgMatches, program: String, path: &std::path::Path) -> Result<()> {
    if resume_words(inner).is_none() {
        return Err(Error::usage("--slurm: the script goes on from checkpoints, which train and resume alone leave"));
    }
    let threads = inner.subcommand().and_then(|(_, own)| own.get_one::<usize>("threads").copied()).unwrap_or(0);
    let batch = Batch {
        ranks: arguments.ranks,
        nodes: arguments.nodes,
        threads: threads.max(1),
        time: arguments.time.clone().unwrap_or_else(|| "24:00:00".into()),
        restarts: arguments.restarts.unwrap_or(RESTARTS),
        program,
        words: arguments.command.clone(),
    };
    let report = Report::new(arguments.quiet, false);
    if threads == 0 {
        report.note("a rank gets one core in the script: say train --threads N for more");
    }
    if path == std::path::Path::new("-") {
        return report.raw(&batch.script());
    }
    durable::check_output(path, arguments.force)?;
    durable::write_output_bytes(path, batch.script().as_bytes())?;
    report.text(&format!("{} is written: sbatch {}", path.display(), path.display()))
}
