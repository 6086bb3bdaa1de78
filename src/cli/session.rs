//! What every command has around it: where to print, who may ask to stop, and the ranks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use gristmill_io::watch::Cancel;
use mpi_launch::{Algorithm, Communicator, Solo};

use super::options::{MachineOptions, OutputOptions, RankOptions};
use crate::error::{Error, Result};
use crate::machine;
use crate::ranks::{self, Share};
use crate::report::Report;

/// The ranks that run a command together; of one process started by hand, itself alone.
pub type Ranks = Arc<dyn Communicator>;

/// Around a command.
pub struct Session {
    /// Where it prints.
    pub report: Report,
    /// The request to stop, set by SIGINT, SIGTERM and SIGHUP.
    pub cancel: Cancel,
    /// The request for a checkpoint, set by SIGUSR1.
    pub asked: Arc<AtomicBool>,
    /// The same for what is done of the pass under way.
    pub asked_part: Arc<AtomicBool>,
    /// Who runs the command together.
    pub ranks: Ranks,
    /// How long a rank may be silent in a pass; none: for ever.
    pub rank_timeout: Option<Duration>,
    /// How sums are added over ranks.
    pub allreduce: Algorithm,
    signal: Arc<AtomicUsize>,
}

impl Session {
    /// Of a command that one process runs: prints as asked and stops at SIGINT, SIGTERM and SIGHUP; a second SIGINT or SIGTERM
    /// ends the process at once.
    ///
    /// # Errors
    /// When the system refuses the signal handlers.
    pub fn new(output: &OutputOptions) -> Result<Session> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
        let cancel = Cancel::new();
        let signal = Arc::new(AtomicUsize::new(0));
        for (number, code) in [(SIGINT, crate::error::EXIT_SIGINT), (SIGTERM, crate::error::EXIT_SIGTERM)] {
            // Order matters: the first signal finds the flag down and only sets it, the second one ends the process.
            signal_hook::flag::register_conditional_shutdown(number, i32::from(code), cancel.flag())
                .and_then(|_| signal_hook::flag::register_usize(number, signal.clone(), number as usize))
                .and_then(|_| signal_hook::flag::register(number, cancel.flag()))
                .map_err(|error| gristmill_io::Error::io("signals", "cannot be handled", error))?;
        }
        // A terminal that goes away may send it twice, as its shell does as well: the second one must not cost the checkpoint.
        if machine::heeds(SIGHUP) {
            signal_hook::flag::register_usize(SIGHUP, signal.clone(), SIGHUP as usize)
                .and_then(|_| signal_hook::flag::register(SIGHUP, cancel.flag()))
                .map_err(|error| gristmill_io::Error::io("signals", "cannot be handled", error))?;
        }
        // A file that may not grow any more (`ulimit -f`) is an error of the write then, and does not end the process.
        signal_hook::flag::register(SIGXFSZ, Arc::default())
            .map_err(|error| gristmill_io::Error::io("signals", "cannot be handled", error))?;
        let report = Report::new(output.quiet, output.json);
        Ok(Session {
            report,
            cancel,
            asked: Arc::default(),
            asked_part: Arc::default(),
            ranks: Arc::new(Solo),
            rank_timeout: None,
            allreduce: Algorithm::Auto,
            signal,
        })
    }

    /// Of a command that all ranks run, and rank 0 alone prints for; SIGUSR1 asks for a checkpoint.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn among(output: &OutputOptions, ranks: &Ranks, options: &RankOptions) -> Result<Session> {
        let mut session = Session {
            rank_timeout: options.rank_timeout,
            allreduce: options.allreduce.unwrap_or_default(),
            ..Session::new(output)?
        };
        for asked in [&session.asked, &session.asked_part] {
            signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(asked))
                .map_err(|error| gristmill_io::Error::io("signals", "cannot be handled", error))?;
        }
        session.ranks = Arc::clone(ranks);
        if ranks.rank() != 0 {
            session.report = Report::silent();
        }
        Ok(session)
    }

    /// Of a command whose rows all ranks share; none on a rank that has nothing to do, because standard input reaches rank
    /// 0 alone.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn sharing(output: &OutputOptions, ranks: &Ranks, sources: &[String]) -> Result<Option<Session>> {
        let session = Session::among(output, ranks, &RankOptions::default())?;
        if ranks.size() == 1 || !sources.iter().any(|source| source == "-") {
            return Ok(Some(session));
        }
        session.report.note("standard input reaches rank 0 alone; the other ranks wait for its end");
        Ok((ranks.rank() == 0).then(|| Session { ranks: Arc::new(Solo), ..session }))
    }

    /// Threads and memory as asked for, else what this rank may use of its machine.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn share(&self, machine: &MachineOptions) -> Result<Share> {
        if self.ranks.size() == 1 {
            return Ok(Share { threads: machine.threads(), memory: machine.memory_bytes() });
        }
        ranks::share(&*self.ranks, machine.threads.unwrap_or(0), machine.memory)
    }

    /// The error with the signal that caused it, so that the exit code says which it was.
    pub fn explain(&self, error: Error) -> Error {
        let signal = self.signal.load(Ordering::Relaxed) as i32;
        match error {
            // What fails after a signal fails because of it (standard input that ends, for one).
            _ if signal != 0 => Error::Interrupted { signal },
            Error::Data(gristmill_io::Error::Interrupted) | Error::Interrupted { .. } => Error::Interrupted { signal },
            other => other,
        }
    }
}
