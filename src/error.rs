//! The error of the engine and of the program, and the exit code that each ends with.

use std::path::PathBuf;

use gristmill_io::Error as IoError;
use mpi_launch::CommError;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a command could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading, converting or writing data failed.
    #[error(transparent)]
    Data(#[from] IoError),
    /// The ranks could not exchange what they had to.
    #[error(transparent)]
    Comm(#[from] CommError),
    /// The request itself does not make sense: a flag, a key of the configuration, or two that contradict.
    #[error("{0}")]
    Usage(String),
    /// The data do not allow the training that was asked for (one class only, no weight, ...).
    #[error("{0}")]
    Training(String),
    /// A sum left the range that was proven for it: a fault of this program, found before it could become a wrong number.
    #[error("{0}")]
    Sum(String),
    /// A file that this program wrote is not what it should be.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// Stopped because it was asked to, by the signal of that number (0: not by a signal).
    #[error("interrupted")]
    Interrupted {
        /// 1 for SIGHUP, 2 for SIGINT, 15 for SIGTERM.
        signal: i32,
    },
    /// One rank of several failed, and this is it.
    #[error("{name}: {error}")]
    OnRank {
        /// The rank and its host.
        name: String,
        /// What went wrong there.
        error: Box<Error>,
    },
    /// Every rank found this in the same place, so that one of them says it for all.
    #[error("{0}")]
    Everywhere(Box<Error>),
    /// A job of ranks that this program supervises failed, and has said why.
    #[error("{message}")]
    Job {
        /// How it ended.
        message: String,
        /// Its exit code.
        code: u8,
    },
    /// Another rank failed and says why.
    #[error("stopped because rank {rank} failed")]
    Elsewhere {
        /// That rank.
        rank: usize,
        /// Its exit code.
        code: u8,
    },
}

/// Exit code of a failure.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code of a request that does not make sense.
pub const EXIT_USAGE: u8 = 2;
/// Exit code after Ctrl-C.
pub const EXIT_SIGINT: u8 = 130;
/// Exit code after SIGHUP: the terminal is gone.
pub const EXIT_SIGHUP: u8 = 129;
/// Exit code after SIGTERM.
pub const EXIT_SIGTERM: u8 = 143;

impl Error {
    /// A request that does not make sense.
    pub fn usage(message: impl Into<String>) -> Error {
        Error::Usage(message.into())
    }

    /// Data that do not allow the training.
    pub fn training(message: impl Into<String>) -> Error {
        Error::Training(message.into())
    }

    /// The same on the rank of that name.
    #[must_use]
    pub fn on(self, name: String) -> Error {
        match self {
            settled @ (Error::OnRank { .. } | Error::Everywhere(_)) => settled,
            error => Error::OnRank { name, error: Box::new(error) },
        }
    }

    /// The exit code that the program ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Data(IoError::Usage(_) | IoError::Tight { .. }) => EXIT_USAGE,
            Error::Interrupted { signal: 15 } => EXIT_SIGTERM,
            Error::Interrupted { signal: 1 } => EXIT_SIGHUP,
            Error::Interrupted { .. } | Error::Data(IoError::Interrupted) => EXIT_SIGINT,
            Error::OnRank { error, .. } | Error::Everywhere(error) => error.exit_code(),
            Error::Elsewhere { code, .. } | Error::Job { code, .. } => *code,
            _ => EXIT_FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        assert_eq!(Error::usage("x").exit_code(), 2);
        assert_eq!(Error::from(IoError::Usage("x".into())).exit_code(), 2);
        assert_eq!(Error::from(IoError::Tight { left_bytes: 1, least_bytes: 2, threads: 1 }).exit_code(), 2);
        assert_eq!(Error::training("x").exit_code(), 1);
        assert_eq!(Error::Everywhere(Box::new(Error::usage("x"))).exit_code(), 2);
        assert_eq!(Error::Interrupted { signal: 2 }.exit_code(), 130);
        assert_eq!(Error::Interrupted { signal: 15 }.exit_code(), 143);
        assert_eq!(Error::Interrupted { signal: 1 }.exit_code(), 129);
        assert_eq!(Error::from(IoError::Interrupted).exit_code(), 130);
    }
}
