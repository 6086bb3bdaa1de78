//! The door: what the engine asks of a group of ranks (stage 7).
//!
//! Implementations: [`Solo`] (one process, nothing to do), [`crate::threads`] (ranks as threads of one process) and,
//! with the feature `mpi`, ranks started by mpirun or srun.

use std::time::Duration;

use crate::algorithm::Algorithm;
use crate::calibrate::Calibration;

/// A failed exchange between ranks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommError {
    /// A rank ended or stopped answering.
    #[error("rank {rank} was lost while {doing}: {detail}")]
    Lost {
        /// The rank that is missing.
        rank: usize,
        /// What this rank was doing with it.
        doing: String,
        /// What was seen.
        detail: String,
    },
    /// Another rank reported a failure of its own; this one has nothing more to do.
    #[error("stopped because rank {rank} failed: {message}")]
    PeerFailed {
        /// The rank that failed first.
        rank: usize,
        /// Its error.
        message: String,
    },
    /// This rank's own thread panicked (ranks as threads only).
    #[error("rank {rank} panicked: {message}")]
    Panicked {
        /// This rank.
        rank: usize,
        /// The panic's message.
        message: String,
    },
    /// A message has another length than the step calls for: the ranks are not at the same step, or not with slices
    /// of the same length.
    #[error(
        "rank {rank} sent {found} bytes where {expected} were expected while {doing}: the ranks do not run the same \
         step on the same data; start all of them with the same command, configuration and version"
    )]
    Mismatch {
        /// The rank whose message it is.
        rank: usize,
        /// What this rank was doing with it.
        doing: String,
        /// Bytes the step calls for.
        expected: usize,
        /// Bytes that came, as far as known.
        found: String,
    },
    /// The MPI library's own collective failed; it does not say because of which rank.
    #[error("{operation} failed: {message}")]
    Library {
        /// The function that failed.
        operation: &'static str,
        /// The library's own words.
        message: String,
    },
    /// The launcher's environment and this binary do not fit.
    #[error("{0}")]
    Launch(String),
}

impl CommError {
    /// The same error, saying what this rank was doing; transports know the peer, collectives know the step.
    #[must_use]
    pub(crate) fn while_doing(mut self, what: impl FnOnce() -> String) -> Self {
        if let Self::Lost { doing, .. } | Self::Mismatch { doing, .. } = &mut self
            && doing.is_empty()
        {
            *doing = what();
        }
        self
    }
}

/// Result of an exchange.
pub type Result<T> = std::result::Result<T, CommError>;

/// A group of ranks that run the same program.
///
/// Every method but `rank`, `size` and `abort` is collective: all ranks call it, in the same order, with slices of
/// the same length, one thread of a rank at a time.
pub trait Communicator: Send + Sync {
    /// This rank's number, below [`Communicator::size`].
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Element-wise wrapping sum over the ranks, left in `sum` on every rank. Integer addition is associative, so the
    /// result does not depend on the algorithm or on the number of ranks.
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed.
    fn all_reduce(&self, sum: &mut [i64]) -> Result<()> {
        self.start_all_reduce(sum)?.wait()
    }

    /// [`Communicator::all_reduce`] of values that are handed over meanwhile, which spares copies of long sums under
    /// MPI. After an error `sum` may be empty.
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed.
    fn all_reduce_vec(&self, sum: &mut Vec<i64>) -> Result<()> {
        self.all_reduce(sum)
    }

    /// Begins [`Communicator::all_reduce`] and returns at once. Large messages move only while some rank's
    /// [`Pending::progress`] or [`Pending::wait`] runs, so a scan calls `progress` between tiles. Several sums may be
    /// under way; all ranks start them in the same order and wait for them in that order.
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed.
    fn start_all_reduce<'a>(&'a self, sum: &'a mut [i64]) -> Result<Box<dyn Pending + 'a>>;

    /// `bytes` of `root` on every rank; the others' content is replaced.
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed.
    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<()>;

    /// The bytes of every rank, in rank order, on every rank (lengths may differ).
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed.
    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// The bytes of every rank, in rank order, on rank `root`; none elsewhere (lengths may differ).
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed, or there is no rank `root`.
    fn gather(&self, bytes: &[u8], root: usize) -> Result<Option<Vec<Vec<u8>>>>;

    /// Returns when every rank has called it.
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed.
    fn barrier(&self) -> Result<()>;

    /// From now on a rank that stays silent for so long counts as lost; `None` waits for ever. It must exceed the longest time
    /// by which one rank may be ahead of another. Given alike on all ranks, between exchanges.
    fn set_patience(&self, _patience: Option<Duration>) {}

    /// Whether there are several nodes of as many ranks each, more than one: where not, [`Algorithm::Hierarchical`] is the ring.
    fn has_nodes(&self) -> bool {
        false
    }

    /// From now on sums go that way; given alike on all ranks, between exchanges. It never changes a sum of integers.
    fn set_algorithm(&self, _algorithm: Algorithm) {}

    /// Times the ways of a sum between these ranks, and has [`Algorithm::Auto`] choose by what was found from now on.
    /// Collective; none where there is nothing to choose.
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed.
    fn calibrate(&self) -> Result<Option<Calibration>> {
        Ok(None)
    }

    /// Tells the other ranks that this one failed and stops taking part: ranks as threads get
    /// [`CommError::PeerFailed`] with `message` from whatever they wait on; under MPI the launcher ends every process,
    /// **this one included, with `exit_code`**, so the caller prints its message first. Alone it does nothing.
    fn abort(&self, message: &str, exit_code: i32);
}

/// An exchange that has begun.
///
/// Dropping it unfinished leaves the other ranks waiting until this rank aborts or ends.
pub trait Pending {
    /// Moves what can be moved without waiting; true when the result stands.
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed.
    fn progress(&mut self) -> Result<bool>;

    /// Returns when the result stands. It moves this exchange only, so ranks wait for several in the same order.
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed.
    fn wait(self: Box<Self>) -> Result<()> {
        self.wait_while(&mut || Ok(()))
    }

    /// [`Pending::wait`] that calls `meanwhile` again and again, which moves what else is under way.
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed, and what `meanwhile` fails with.
    fn wait_while(self: Box<Self>, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()>;
}

/// One process, one rank: every exchange is already done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

/// The exchange of a rank that is alone.
struct Done;

impl Pending for Done {
    fn progress(&mut self) -> Result<bool> {
        Ok(true)
    }

    fn wait_while(self: Box<Self>, _meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        Ok(())
    }
}

impl Communicator for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn start_all_reduce<'a>(&'a self, _sum: &'a mut [i64]) -> Result<Box<dyn Pending + 'a>> {
        Ok(Box::new(Done))
    }

    fn broadcast(&self, _bytes: &mut Vec<u8>, _root: usize) -> Result<()> {
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes.to_vec()])
    }

    fn gather(&self, bytes: &[u8], _root: usize) -> Result<Option<Vec<Vec<u8>>>> {
        Ok(Some(vec![bytes.to_vec()]))
    }

    fn barrier(&self) -> Result<()> {
        Ok(())
    }

    fn abort(&self, _message: &str, _exit_code: i32) {}
}
