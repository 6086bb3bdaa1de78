//! The door: what the engine asks of a group of ranks.

/// A failed exchange between ranks.
#[derive(Debug, thiserror::Error)]
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
    /// The launcher's environment and this binary do not fit.
    #[error("{0}")]
    Launch(String),
}

/// Result of an exchange.
pub type Result<T> = std::result::Result<T, CommError>;

/// A group of ranks that run the same program.
///
/// Every method but `rank` and `size` is collective: all ranks call it, in the same order, with slices of the same
/// length.
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
    fn all_reduce(&self, sum: &mut [i64]) -> Result<()>;

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

    /// Returns when every rank has called it.
    ///
    /// # Errors
    /// [`CommError`] when a rank is lost or failed.
    fn barrier(&self) -> Result<()>;
}

/// One process, one rank: every exchange is already done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

impl Communicator for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_reduce(&self, _sum: &mut [i64]) -> Result<()> {
        Ok(())
    }

    fn broadcast(&self, _bytes: &mut Vec<u8>, _root: usize) -> Result<()> {
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes.to_vec()])
    }

    fn barrier(&self) -> Result<()> {
        Ok(())
    }
}
