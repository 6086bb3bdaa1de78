//! Ranks as threads of one process: [`run`] starts a function once per rank and hands each a [`Communicator`].
//!
//! The messages are real (each rank has an inbox, nothing else is shared), so every collective and every law about
//! ranks can be tested inside one process. A rank that returns an error, panics or ends too early is named to all
//! others instead of leaving them waiting.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::algorithm::Settings;
use crate::communicator::{CommError, Communicator, Result};
use crate::group::Group;
use crate::transport::{Patience, Pool, Tag, Transport};

/// Runs `body` on `ranks` threads and returns what each rank returned, in rank order.
///
/// A rank whose body returns an error or panics makes every exchange of the others fail with
/// [`CommError::PeerFailed`]; the rank that panicked itself yields [`CommError::Panicked`].
pub fn run<R, E>(
    ranks: usize,
    body: impl Fn(&dyn Communicator) -> std::result::Result<R, E> + Sync,
) -> Vec<std::result::Result<R, E>>
where
    R: Send,
    E: Send + Display + From<CommError>,
{
    run_with(ranks, Settings::default(), |group| body(group))
}

/// [`run`] with the group itself, whose sums may be of any element and by a chosen algorithm.
pub fn run_with<R, E>(
    ranks: usize,
    settings: Settings,
    body: impl Fn(&Group<ThreadTransport>) -> std::result::Result<R, E> + Sync,
) -> Vec<std::result::Result<R, E>>
where
    R: Send,
    E: Send + Display + From<CommError>,
{
    let transports = transports(ranks, settings.patience);
    std::thread::scope(|scope| {
        let body = &body;
        let start = |transport: ThreadTransport| scope.spawn(move || run_rank(transport, settings, body));
        let threads: Vec<_> = transports.into_iter().map(start).collect();
        let join = |(rank, thread): (usize, std::thread::ScopedJoinHandle<'_, _>)| {
            thread.join().unwrap_or_else(|panic| Err(panicked(rank, panic.as_ref()).into()))
        };
        threads.into_iter().enumerate().map(join).collect()
    })
}

/// The body of one rank, its end announced to the others however it comes.
fn run_rank<R, E: Display + From<CommError>>(
    transport: ThreadTransport,
    settings: Settings,
    body: impl Fn(&Group<ThreadTransport>) -> std::result::Result<R, E>,
) -> std::result::Result<R, E> {
    let (hub, rank) = (transport.hub.clone(), transport.rank);
    let group = Group::new(transport, settings);
    // The body's state is dropped with its panic: nothing of it is looked at again but the inboxes, which are
    // consistent between any two of their operations.
    let result = catch_unwind(AssertUnwindSafe(|| body(&group)))
        .unwrap_or_else(|panic| Err(panicked(rank, panic.as_ref()).into()));
    hub.end(rank, result.as_ref().err().map(ToString::to_string));
    result
}

fn panicked(rank: usize, panic: &(dyn Any + Send)) -> CommError {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let message = text.or_else(|| panic.downcast_ref::<String>().cloned());
    CommError::Panicked { rank, message: message.unwrap_or_else(|| "no message".to_string()) }
}

/// What the ranks of one group share.
struct Hub {
    inboxes: Vec<Inbox>,
    /// The first failure; it alone is told to everyone.
    failed: OnceLock<(usize, String)>,
}

/// Messages on their way to one rank.
#[derive(Default)]
struct Inbox {
    content: Mutex<Content>,
    changed: Condvar,
}

#[derive(Default)]
struct Content {
    messages: HashMap<(usize, Tag), VecDeque<Vec<u8>>>,
    arrivals: u64,
    /// Ranks that will send nothing more.
    ended: Vec<usize>,
}

impl Hub {
    fn content(&self, rank: usize) -> MutexGuard<'_, Content> {
        // A lock is only held between two statements here that cannot panic half-way.
        self.inboxes[rank].content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it known that `rank` will send nothing more, and why.
    fn end(&self, rank: usize, failure: Option<String>) {
        if let Some(message) = failure {
            let _only_the_first_counts = self.failed.set((rank, message));
        }
        for (to, inbox) in self.inboxes.iter().enumerate() {
            let mut content = self.content(to);
            content.ended.push(rank);
            content.arrivals += 1;
            inbox.changed.notify_all();
        }
    }
}

/// One rank's end of the inboxes.
pub struct ThreadTransport {
    rank: usize,
    hub: Arc<Hub>,
    expected: Mutex<HashMap<(usize, Tag), VecDeque<usize>>>,
    pool: Mutex<Pool>,
    patience: Patience,
}

/// The transports of a new group, in rank order.
#[must_use]
pub fn transports(ranks: usize, patience: Option<Duration>) -> Vec<ThreadTransport> {
    let inboxes = (0..ranks).map(|_| Inbox::default()).collect();
    let hub = Arc::new(Hub { inboxes, failed: OnceLock::new() });
    let new = |rank| ThreadTransport {
        rank,
        hub: hub.clone(),
        expected: Mutex::default(),
        pool: Mutex::default(),
        patience: Patience::new(patience),
    };
    (0..ranks).map(new).collect()
}

impl ThreadTransport {
    /// An error when another rank has failed.
    fn check(&self) -> Result<()> {
        match self.hub.failed.get() {
            Some((rank, message)) if *rank != self.rank => {
                Err(CommError::PeerFailed { rank: *rank, message: message.clone() })
            }
            _ => Ok(()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transport for ThreadTransport {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.hub.inboxes.len()
    }

    fn send(&self, to: usize, tag: Tag, message: Vec<u8>) -> Result<()> {
        self.check()?;
        let mut content = self.hub.content(to);
        content.messages.entry((self.rank, tag)).or_default().push_back(message);
        content.arrivals += 1;
        self.hub.inboxes[to].changed.notify_all();
        Ok(())
    }

    fn expect(&self, from: usize, tag: Tag, bytes: usize) -> Result<()> {
        self.check()?;
        lock(&self.expected).entry((from, tag)).or_default().push_back(bytes);
        Ok(())
    }

    fn poll(&self, from: usize, tag: Tag) -> Result<Option<Vec<u8>>> {
        self.check()?;
        let mut content = self.hub.content(self.rank);
        let stream = content.messages.get_mut(&(from, tag));
        let (found, last) = stream.map_or((None, false), |stream| (stream.pop_front(), stream.is_empty()));
        if last {
            content.messages.remove(&(from, tag));
        }
        let ended = content.ended.contains(&from);
        drop(content);
        let Some(message) = found else {
            // A failure is set before its rank counts as ended: look again before calling the end unexplained.
            self.check()?;
            let lost = || {
                let detail = "it had already finished".to_string();
                CommError::Lost { rank: from, doing: String::new(), detail }
            };
            return if ended { Err(lost()) } else { Ok(None) };
        };
        let expected = lock(&self.expected).get_mut(&(from, tag)).and_then(VecDeque::pop_front);
        let (expected, found) = (expected.unwrap_or(0), message.len());
        if expected != found {
            let found = found.to_string();
            return Err(CommError::Mismatch { rank: from, doing: String::new(), expected, found });
        }
        Ok(Some(message))
    }

    fn sent(&self, _operation: u32) -> Result<bool> {
        self.check()?;
        Ok(true)
    }

    fn arrivals(&self) -> u64 {
        self.hub.content(self.rank).arrivals
    }

    fn pause(&self, seen: u64, _idle: u32) {
        let content = self.hub.content(self.rank);
        if content.arrivals == seen {
            let longest = Duration::from_millis(2);
            // Whether it was the time or a message that ended the rest, the caller polls again.
            let _rested = self.hub.inboxes[self.rank].changed.wait_timeout(content, longest);
        }
    }

    fn buffer(&self, bytes: usize) -> Vec<u8> {
        lock(&self.pool).take(bytes)
    }

    fn recycle(&self, buffer: Vec<u8>) {
        lock(&self.pool).give(buffer);
    }

    fn patience(&self) -> Option<Duration> {
        self.patience.get()
    }

    fn set_patience(&self, patience: Option<Duration>) {
        self.patience.set(patience);
    }

    fn abort(&self, message: &str, _exit_code: i32) {
        self.hub.end(self.rank, Some(message.to_string()));
    }
}
