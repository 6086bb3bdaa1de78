//! The error of this crate: where (path, row, column), what was found, what was expected, what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::memory::format_size;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why data could not be read, converted or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The content of a file is not what it should be.
    #[error("{0}")]
    Data(Box<DataError>),
    /// A call to the operating system failed.
    #[error("{path}: {doing}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as in "cannot open".
        doing: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The request itself does not make sense (exit code 2 on the command line).
    #[error("{0}")]
    Usage(String),
    /// A limit on memory leaves too little for data (exit code 2 as well).
    #[error(
        "the memory limit leaves {} for data; {threads} threads need at least {}. Raise --memory or lower --threads",
        format_size(*left_bytes),
        format_size(*least_bytes)
    )]
    Tight {
        /// What there is for data.
        left_bytes: u64,
        /// What is needed.
        least_bytes: u64,
        /// By so many threads.
        threads: usize,
    },
    /// The system does not give the memory that the limit allows.
    #[error(
        "cannot allocate a read buffer of {}: {source}. Lower --memory, or raise what the system lets a process have \
         (ulimit -v, the control group)",
        format_size(*bytes)
    )]
    Memory {
        /// Bytes of the buffer.
        bytes: u64,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Stopped because it was asked to (Ctrl-C, SIGTERM).
    #[error("interrupted")]
    Interrupted,
    /// Ranks that work together could not exchange what they had to.
    #[error("{0}")]
    Ranks(String),
    /// Another rank failed, and says why.
    #[error("stopped because rank {rank} failed")]
    Elsewhere {
        /// That rank.
        rank: usize,
    },
}

/// A fault of a file's content. Rows and lines count from 1, as an editor shows them.
#[derive(Debug)]
pub struct DataError {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub at: Place,
    /// The column's name, where one is known.
    pub column: Option<String>,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it, a full sentence or empty.
    pub help: String,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A line of text, from 1.
    Line(u64),
    /// A row of a table, from 1.
    Row(u64),
    /// A byte offset, from 0.
    Offset(u64),
}

impl Error {
    /// A fault of a file's content, without place, column or help; add them with the methods below.
    pub fn data(path: impl AsRef<Path>, message: impl Into<String>) -> Error {
        Error::Data(Box::new(DataError {
            path: path.as_ref().to_path_buf(),
            at: Place::File,
            column: None,
            message: message.into(),
            help: String::new(),
        }))
    }

    /// A failed call to the operating system.
    pub fn io(path: impl AsRef<Path>, doing: &'static str, source: std::io::Error) -> Error {
        Error::Io { path: path.as_ref().to_path_buf(), doing, source }
    }

    /// The same error with its place.
    #[must_use]
    pub fn at(self, at: Place) -> Error {
        self.edit(|data| data.at = at)
    }

    /// The same error with the column's name.
    #[must_use]
    pub fn column(self, column: impl Into<String>) -> Error {
        self.edit(|data| data.column = Some(column.into()))
    }

    /// The same error with what to do about it.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Error {
        self.edit(|data| data.help = help.into())
    }

    fn edit(mut self, change: impl FnOnce(&mut DataError)) -> Error {
        if let Error::Data(data) = &mut self {
            change(data);
        }
        self
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match self.at {
            Place::File => {}
            Place::Line(line) => write!(f, ", line {line}")?,
            Place::Row(row) => write!(f, ", row {row}")?,
            Place::Offset(offset) => write!(f, ", byte {offset}")?,
        }
        if let Some(column) = &self.column {
            write!(f, ", column '{column}'")?;
        }
        write!(f, ": {}", self.message)?;
        if !self.help.is_empty() {
            write!(f, ". {}", self.help)?;
        }
        Ok(())
    }
}
