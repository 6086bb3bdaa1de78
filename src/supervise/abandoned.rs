//! Has a launcher still anyone to wait for? Open MPI 4.1.4's mpirun now and then waits for ever, on a lock of its own, when
//! a rank is killed while it starts up: no rank is left then, and nothing would end the job.
//!
//! ```text
//! mpirun            mpirun                    mpirun                mpirun
//!   rank              rank (defunct)            ssh to a host         (nothing yet)
//!   rank (defunct)    rank (defunct)            rank (defunct)
//! waits             abandoned                 waits                 waits: it never had anyone
//! ```
//! A process that lives and has no children of its own is someone to wait for; one whose children are all defunct (a proxy of
//! Hydra) waits itself. Cost: a few reads of `/proc` every `LOOK_INTERVAL`.

use std::path::Path;
use std::time::{Duration, Instant};

/// How often it is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long a launcher may take to end when its ranks have.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// See the head of the file.
pub struct Watched {
    launcher: u32,
    looked: Instant,
    /// True once it had someone.
    seen: bool,
    /// Since when it has nobody.
    since: Option<Instant>,
}

impl Watched {
    /// For a launcher that was started just now.
    pub fn new(launcher: u32) -> Watched {
        Watched { launcher, looked: Instant::now(), seen: false, since: None }
    }

    /// True once the launcher had ranks and has had none for longer than [`PATIENCE`]. False where the system does not say.
    pub fn is_abandoned(&mut self) -> bool {
        if self.looked.elapsed() >= LOOK_INTERVAL {
            self.looked = Instant::now();
            let has = children(self.launcher).into_iter().any(waits);
            self.seen |= has;
            self.since = if has || !self.seen { None } else { self.since.or(Some(self.looked)) };
        }
        self.since.is_some_and(|since| since.elapsed() > PATIENCE)
    }
}

/// Whether there is someone to wait for at or below a process.
fn waits(process: u32) -> bool {
    let own = children(process);
    if own.is_empty() { lives(process) } else { own.into_iter().any(waits) }
}

/// The children of all threads of a process, defunct ones too.
fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let of = |thread: &Path| std::fs::read_to_string(thread.join("children")).unwrap_or_default();
    let lists = threads.flatten().map(|thread| of(&thread.path()));
    lists.flat_map(|list| list.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<_>>()).collect()
}

/// False for a process that is gone or that nobody has waited for.
fn lives(process: u32) -> bool {
    let about = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The state follows the name, which is in brackets and may itself hold some.
    about.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    /// A launcher: a shell that starts something and becomes a process that waits for nobody.
    fn launcher(starts: &str) -> Child {
        let line = format!("{starts}; exec sleep 60");
        Command::new("sh").args(["-c", &line]).spawn().expect("a shell")
    }

    fn settled(watched: &mut Watched, what: impl Fn(&Watched) -> bool) -> bool {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            watched.is_abandoned();
            if what(watched) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    #[test]
    fn defunct_ranks_are_nobody_to_wait_for() {
        let mut child = launcher("sleep 0.6 & sh -c 'sleep 0.6 & exec sleep 50' & true");
        let mut watched = Watched::new(child.id());
        assert!(settled(&mut watched, |watched| watched.seen && watched.since.is_none()), "nobody was seen");
        assert!(settled(&mut watched, |watched| watched.since.is_some()), "defunct processes count");
        let proxy: Vec<u32> = children(child.id());
        child.kill().expect("kills");
        child.wait().expect("ends");
        for process in proxy {
            let process = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw).expect("a number");
            let _ended = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }

    #[test]
    fn a_launcher_that_has_nobody_yet_is_not_abandoned() {
        let mut child = launcher("true");
        let mut watched = Watched::new(child.id());
        std::thread::sleep(3 * LOOK_INTERVAL);
        assert!(!watched.is_abandoned() && !watched.seen && watched.since.is_none());
        child.kill().expect("kills");
        child.wait().expect("ends");
        assert!(!lives(child.id()) && lives(std::process::id()));
    }
}
