//! Supervision: a job of ranks is started by mpirun or srun, watched, and started again from its last checkpoint when it
//! fails, with fewer ranks when a host is gone.
//!
//! ```text
//!   hosts that answer -> start -> wait, passing signals on -> 0, 2, 129, 130, 143 or our own signal: done
//!        ^                                  |
//!        +--- a pause, `resume RUN` <-------+ any other end, while restarts are left
//! ```
//!
//! A training is a function of data, configuration and seed, and a checkpoint the same on all ranks, so a restart on
//! fewer ranks gives the bits that an undisturbed job gives.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`abandoned`] | does a launcher wait for ranks that have all ended? |
//! | [`hosts`] | where may ranks run, and who still answers? |
//! | [`starter`] | what is the command line of mpirun or srun? |
//! | [`slurm`] | how does a batch job survive its time limit? |

pub mod abandoned;
pub mod hosts;
pub mod slurm;
pub mod starter;

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{EXIT_FAILURE, EXIT_SIGHUP, EXIT_SIGINT, EXIT_SIGTERM, EXIT_USAGE, Error, Result};
use crate::machine;
use crate::run::checkpoint;
use crate::run::folder::SUMMARY_FILE;
use abandoned::{PATIENCE, Watched};
use hosts::Host;
use starter::Starter;

/// How soon a signal or the end of the job is noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// The pause before the first restart; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A job to be seen through to its end.
pub struct Supervised {
    /// How ranks are started.
    pub starter: Starter,
    /// Ranks asked for.
    pub ranks: usize,
    /// Hosts they may run on; none named: this one, or those of the scheduler.
    pub hosts: Vec<Host>,
    /// What reaches another host, `ssh` for one.
    pub agent: String,
    /// How many times it may be started again.
    pub restarts: u32,
    /// The program and its words: what a rank runs at first.
    pub first: Vec<String>,
    /// The run's folder and the words that go on from its checkpoint; none for a command that cannot go on.
    pub resume: Option<(PathBuf, Vec<String>)>,
    /// Go on from a checkpoint that is there already.
    pub resume_at_once: bool,
}

/// Signals that were sent to this process and are to be passed on, by number; the latest counts.
#[derive(Clone, Debug, Default)]
pub struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// From now on SIGINT, SIGTERM, SIGUSR1, and SIGHUP unless it is ignored, are noted here.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn caught() -> Result<Signals> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
        let own = Signals::default();
        for number in [SIGINT, SIGTERM, SIGUSR1, SIGHUP] {
            if number == SIGHUP && !machine::heeds(SIGHUP) {
                continue;
            }
            signal_hook::flag::register_usize(number, own.0.clone(), number as usize)
                .map_err(|error| gristmill_io::Error::io("signals", "cannot be handled", error))?;
        }
        Ok(own)
    }

    fn take(&self) -> Option<Signal> {
        match self.0.swap(0, Ordering::Relaxed) as i32 {
            number if number == Signal::INT.as_raw() => Some(Signal::INT),
            number if number == Signal::TERM.as_raw() => Some(Signal::TERM),
            number if number == Signal::HUP.as_raw() => Some(Signal::HUP),
            number if number == Signal::USR1.as_raw() => Some(Signal::USR1),
            _ => None,
        }
    }
}

/// How one start of the job ended.
struct End {
    code: u8,
    /// The signal that asked this process to stop.
    asked: Option<Signal>,
}

impl Supervised {
    /// Runs the job to its end; `tell` is told what happens between starts.
    ///
    /// # Errors
    /// When it cannot be started, and when it fails with no restart left: [`Error::Job`] with its exit code.
    pub fn run(&self, signals: &Signals, tell: &dyn Fn(&str)) -> Result<()> {
        let before = self.newest();
        let mut going_on = self.resume_at_once && before.is_some();
        if let (Some((path, _)), true) = (&before, going_on) {
            tell(&format!("going on from {}, with the configuration that lies beside it", path.display()));
        }
        for attempt in 0..=self.restarts {
            let (hosts, ranks) = self.at_hand(tell)?;
            let began = SystemTime::now();
            let end = self.once(&hosts, ranks, going_on, (signals, tell))?;
            // Hydra's mpiexec (MPICH 4.0.2) now and then ends with 0 after ranks that were told to stop: then the run folder decides.
            let believed = end.asked.is_none() || self.resume.is_none();
            if end.code == 0 && believed || self.is_complete_since(began) {
                return Ok(());
            }
            let last = attempt == self.restarts;
            if let Some(error) = end.is_final(last, self.restarts) {
                return Err(error);
            }
            // One that this job did not write, and does not go on from, is of a training that it replaces.
            let checkpoint = self.newest().filter(|newest| self.resume_at_once || Some(newest) != before.as_ref());
            going_on = checkpoint.is_some();
            let from = checkpoint
                .map_or("the start: there is no checkpoint yet".into(), |(path, _)| path.display().to_string());
            let (number, restarts, code) = (attempt + 1, self.restarts, end.code);
            tell(&format!("the job failed (exit code {code}); restart {number} of {restarts} goes on from {from}"));
            if let Some(signal) = pause(attempt, signals) {
                return Err(stopped_by(signal));
            }
        }
        Ok(())
    }

    /// The hosts that answer, and how many ranks they hold.
    fn at_hand(&self, tell: &dyn Fn(&str)) -> Result<(Vec<Host>, usize)> {
        if self.hosts.is_empty() {
            return Ok((Vec::new(), self.ranks));
        }
        let (alive, gone): (Vec<Host>, Vec<Host>) =
            self.hosts.iter().cloned().partition(|host| host.answers(&self.agent));
        if alive.is_empty() {
            let names: Vec<&str> = gone.iter().map(|host| host.name.as_str()).collect();
            let (names, agent) = (names.join(", "), &self.agent);
            return Err(Error::Job { message: format!("no host answers to {agent}: {names}"), code: EXIT_FAILURE });
        }
        let ranks = hosts::ranks_on(&alive, &self.hosts, self.ranks);
        for host in &gone {
            tell(&format!("host {} does not answer: going on with {ranks} ranks of {}", host.name, self.ranks));
        }
        Ok((alive, ranks))
    }

    /// The newest checkpoint of the run, and when it was written.
    fn newest(&self) -> Option<(PathBuf, Option<SystemTime>)> {
        let (run, _) = self.resume.as_ref()?;
        let (_, path) = checkpoint::list(run).pop()?;
        let written = std::fs::metadata(&path).and_then(|about| about.modified()).ok();
        Some((path, written))
    }

    /// True when the run was finished meanwhile: what failed then failed after the work was done.
    fn is_complete_since(&self, began: SystemTime) -> bool {
        let finished = |run: &Path| std::fs::metadata(run.join(SUMMARY_FILE)).and_then(|about| about.modified()).ok();
        let finished = self.resume.as_ref().and_then(|(run, _)| finished(run));
        finished.is_some_and(|at| at >= began) && self.newest().is_none()
    }

    fn once(
        &self,
        hosts: &[Host],
        ranks: usize,
        going_on: bool,
        (signals, tell): (&Signals, &dyn Fn(&str)),
    ) -> Result<End> {
        let words = match &self.resume {
            Some((_, words)) if going_on => words,
            _ => &self.first,
        };
        let line = self.starter.line(ranks, hosts, &self.agent, words);
        let mut command = Command::new(&line[0]);
        // A group of its own: a terminal's Ctrl-C reaches the ranks once, through us.
        let child = command.args(&line[1..]).process_group(0).spawn();
        let child = child.map_err(|error| {
            let message = format!("{} cannot be started: {error}. Is it installed, and in PATH?", line[0]);
            Error::Job { message, code: EXIT_FAILURE }
        })?;
        watch(child, signals, tell)
    }
}

/// Waits for the job, passing signals on. A launcher that waits for nobody is ended.
fn watch(mut child: Child, signals: &Signals, tell: &dyn Fn(&str)) -> Result<End> {
    let mut asked = None;
    let mut watched = Watched::new(child.id());
    loop {
        let ended =
            child.try_wait().map_err(|error| gristmill_io::Error::io("the job", "cannot be waited for", error))?;
        if let Some(status) = ended {
            return Ok(End { code: code_of(status), asked });
        }
        if let Some(signal) = signals.take() {
            let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            // It may have ended just now.
            // Launchers do not pass SIGHUP on.
            let sent = if signal == Signal::HUP { Signal::TERM } else { signal };
            let _ended = process.map(|process| kill_process(process, sent));
            asked = if signal == Signal::USR1 { asked } else { Some(signal) };
        }
        if watched.is_abandoned() {
            tell(&format!("the launcher has not ended {} s after its last rank: it is killed", PATIENCE.as_secs()));
            // It may have ended just now.
            let _ended = child.kill();
            watched = Watched::new(child.id());
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_FAILURE)
}

impl End {
    /// The error that supervision ends with, unless the job is to be started again.
    fn is_final(&self, last: bool, restarts: u32) -> Option<Error> {
        let failed = |message: String| Some(Error::Job { message, code: self.code });
        match (self.asked, self.code) {
            (Some(signal), _) => Some(stopped_by(signal)),
            // The job has said what is wrong with the request; it will be as wrong the next time.
            (None, code @ (EXIT_USAGE | EXIT_SIGHUP | EXIT_SIGINT | EXIT_SIGTERM)) => {
                Some(Error::Elsewhere { rank: 0, code })
            }
            (None, code) if last && restarts == 0 => failed(format!("the job failed with exit code {code}")),
            (None, code) if last => failed(format!("the job failed with exit code {code}, after {restarts} restarts")),
            _ => None,
        }
    }
}

fn stopped_by(signal: Signal) -> Error {
    Error::Interrupted { signal: signal.as_raw() }
}

/// Gives connections time to close and hosts time to come back; a signal ends it.
fn pause(attempt: u32, signals: &Signals) -> Option<Signal> {
    let length = PAUSE.saturating_mul(1 << attempt.min(16)).min(PAUSE_MAX);
    let began = Instant::now();
    while began.elapsed() < length {
        match signals.take() {
            Some(signal) if signal != Signal::USR1 => return Some(signal),
            _ => std::thread::sleep(LOOK_INTERVAL),
        }
    }
    None
}
