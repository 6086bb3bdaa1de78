//! Point-to-point messages of bytes between the ranks of a group: what every collective here stands on.
//!
//! Buffers are owned: a message is given away with `send` and comes into being with `poll`. So no borrowed memory is
//! ever in flight, an abandoned exchange cannot dangle, and a rank of the ring forwards the very buffer it received.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::communicator::{CommError, Result};
use crate::window::{Copied, Lent};

/// A patience that may change while exchanges wait.
#[derive(Debug, Default)]
pub(crate) struct Patience(AtomicU64);

impl Patience {
    pub(crate) fn new(patience: Option<Duration>) -> Self {
        let own = Self::default();
        own.set(patience);
        own
    }

    pub(crate) fn set(&self, patience: Option<Duration>) {
        // 0 stands for ever; the most that the number holds is five centuries.
        let nanoseconds = patience.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1));
        self.0.store(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        Some(self.0.load(Ordering::Relaxed)).filter(|time| *time > 0).map(Duration::from_nanos)
    }
}

/// Names a stream of messages between two ranks. Messages of one tag from one rank arrive in the order they were sent;
/// streams do not overtake or disturb each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(u32);

impl Tag {
    /// Streams of one operation.
    pub const LANES: u32 = 8;
    /// Operations that can be under way at once. Tags stay below 32,768, the least upper bound the MPI standard
    /// (version 3.1, section 8.1.2) lets a program rely on.
    pub const OPERATIONS: u32 = 4096;

    /// Stream `lane` of collective operation number `operation` (counted alike on all ranks).
    #[must_use]
    pub fn new(operation: u32, lane: u32) -> Self {
        debug_assert!(lane < Self::LANES, "lane {lane} of {}", Self::LANES);
        Self(operation % Self::OPERATIONS * Self::LANES + lane)
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// Whether the tag belongs to `operation`.
    #[must_use]
    pub fn is_of(self, operation: u32) -> bool {
        self.0 / Self::LANES == operation % Self::OPERATIONS
    }
}

/// Messages between ranks. Nothing here blocks but [`Transport::pause`], and that not for long.
pub trait Transport: Send + Sync {
    /// This rank's number.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Of each rank the least rank on its node: between ranks of a node messages are a matter of its memory.
    fn nodes(&self) -> Vec<usize> {
        vec![0; self.size()]
    }

    /// Starts to send `message` to rank `to`.
    ///
    /// # Errors
    /// [`CommError`] when that rank, or the group, is known to have failed.
    fn send(&self, to: usize, tag: Tag, message: Vec<u8>) -> Result<()>;

    /// Announces that the next message of this stream has `bytes` bytes, so that it can be received as it comes.
    ///
    /// # Errors
    /// [`CommError`] when that rank, or the group, is known to have failed.
    fn expect(&self, from: usize, tag: Tag, bytes: usize) -> Result<()>;

    /// [`Transport::expect`] and [`Transport::send`] at once: what recursive doubling does in each of its rounds.
    ///
    /// # Errors
    /// As those.
    fn swap(&self, with: usize, tag: Tag, message: Vec<u8>) -> Result<()> {
        self.expect(with, tag, message.len())?;
        self.send(with, tag, message)
    }

    /// The oldest expected message of the stream, if it has come.
    ///
    /// # Errors
    /// [`CommError`] when that rank ended without sending it, when any rank reported a failure, or when the message
    /// has another length than expected.
    fn poll(&self, from: usize, tag: Tag) -> Result<Option<Vec<u8>>>;

    /// Whether every message of `operation` that this rank sent has left: only then may the rank turn to other work
    /// without holding up its neighbours.
    ///
    /// # Errors
    /// [`CommError`] when a rank, or the group, is known to have failed.
    fn sent(&self, operation: u32) -> Result<bool>;

    /// Number of messages that have arrived so far; taken before polling and handed to [`Transport::pause`].
    fn arrivals(&self) -> u64;

    /// Rests until more than `seen` messages have arrived or a short time has gone by; `idle` counts the rests since
    /// something last moved, so that a transport that must spin can spin first and yield later.
    fn pause(&self, seen: u64, idle: u32);

    /// A buffer of `bytes` bytes with any content.
    fn buffer(&self, bytes: usize) -> Vec<u8>;

    /// Takes back a buffer that is no longer needed.
    fn recycle(&self, buffer: Vec<u8>);

    /// How long a rank may stay silent before it counts as lost; `None`: for ever.
    fn patience(&self) -> Option<Duration>;

    /// From now on a rank may stay silent so long.
    fn set_patience(&self, patience: Option<Duration>);

    /// Whether there is a [`Transport::native_all_reduce`].
    fn has_native_all_reduce(&self) -> bool {
        false
    }

    /// Element-wise wrapping sum by the library's own collective, where there is one.
    fn native_all_reduce(&self, _sum: &mut [i64]) -> Option<Result<()>> {
        None
    }

    /// A window on `values` that works in place where the transport can, and copies where it cannot. The transport
    /// owns the memory meanwhile, so that no exchange, however it ends, outlives it.
    fn lend(&self, values: Vec<i64>) -> Box<dyn Lent + '_>
    where
        Self: Sized,
    {
        Box::new(Copied::new(self, values))
    }

    /// See [`crate::Communicator::abort`].
    fn abort(&self, message: &str, exit_code: i32);
}

/// Buffers that went round once and can go round again, so that a steady exchange allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Vec<Vec<u8>>,
}

impl Pool {
    /// More than the buffers one ring has in flight on a rank (a received and a sent one per lane).
    const KEPT: usize = 4 * Tag::LANES as usize;

    pub(crate) fn take(&mut self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.free.pop().unwrap_or_default();
        buffer.resize(bytes, 0);
        buffer
    }

    pub(crate) fn give(&mut self, buffer: Vec<u8>) {
        if self.free.len() < Self::KEPT && buffer.capacity() > 0 {
            self.free.push(buffer);
        }
    }
}

/// What one attempt to move an exchange came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The exchange is complete.
    Done,
    /// Nothing can be done before this rank has sent, or taken, a message.
    Waiting(usize),
}

/// Attempts in vain after which a rank looks at the clock.
const SHORT_WAIT: u32 = 64;

/// How long nobody has sent anything, as far as this rank was there to see it.
#[derive(Debug, Default)]
struct Silence {
    read: Option<Instant>,
    heard: Duration,
}

impl Silence {
    /// Reads the clock. Of the time since the last look at most a quarter of `patience` counts: a rank that was stopped
    /// itself, and goes on, has not listened meanwhile and may not call the others lost.
    fn at(&mut self, now: Instant, patience: Duration) -> Duration {
        let gap = self.read.replace(now).map_or(Duration::ZERO, |read| now.saturating_duration_since(read));
        self.heard += gap.min(patience / 4);
        self.heard
    }
}

/// Attempts until done. `attempt` moves all it can each time it is called; `doing` says where it stands.
pub(crate) fn drive<T: Transport + ?Sized, S>(
    transport: &T,
    state: &mut S,
    doing: impl Fn(&S) -> String,
    mut attempt: impl FnMut(&mut S) -> Result<Step>,
) -> Result<()> {
    let (mut idle, mut last_seen, mut silence) = (0_u32, u64::MAX, Silence::default());
    loop {
        let seen = transport.arrivals();
        let rank = match attempt(state).map_err(|error| error.while_doing(|| doing(state)))? {
            Step::Done => return Ok(()),
            Step::Waiting(rank) => rank,
        };
        if seen != last_seen {
            (idle, last_seen, silence) = (0, seen, Silence::default());
        }
        // Not while a short message may be on its way: reading the clock costs as much as an attempt does. Then every time, for
        // rests may be long, and of a long one not all counts.
        if idle >= SHORT_WAIT
            && let Some(patience) = transport.patience()
        {
            let silent = silence.at(Instant::now(), patience);
            if silent > patience {
                let detail = format!("no message from it for {silent:.0?}");
                return Err(CommError::Lost { rank, doing: doing(state), detail });
            }
        }
        transport.pause(seen, idle);
        idle = idle.saturating_add(1);
    }
}

/// Waits for the next message of a stream.
pub(crate) fn receive<T: Transport + ?Sized>(
    transport: &T,
    from: usize,
    tag: Tag,
    doing: impl Fn() -> String,
) -> Result<Vec<u8>> {
    let mut message = None;
    drive(
        transport,
        &mut message,
        |_| doing(),
        |message| {
            *message = transport.poll(from, tag)?;
            Ok(if message.is_some() { Step::Done } else { Step::Waiting(from) })
        },
    )?;
    Ok(message.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_that_was_stopped_itself_does_not_call_others_lost() {
        let (patience, start) = (Duration::from_secs(2), Instant::now());
        let mut silence = Silence::default();
        let mut at = |milliseconds| silence.at(start + Duration::from_millis(milliseconds), patience);
        assert_eq!(at(0), Duration::ZERO);
        assert_eq!(at(10), Duration::from_millis(10));
        assert_eq!(at(60_010), Duration::from_millis(510), "a minute in which this rank did not run");
        let listened = (0..20).map(|read| at(60_110 + read * 100)).position(|silent| silent > patience);
        assert_eq!(listened, Some(14), "510 ms, and 15 times 100 of listening");
    }
}
