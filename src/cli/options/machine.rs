//! How much of the machine a command may use. None of it changes a result.

use clap::Args;
use gristmill_io::memory;

use crate::error::{Error, Result};

/// `--threads` and `--memory`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineOptions {
    /// Worker threads; 0: all cores that this process may use. Never changes the result
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub threads: Option<usize>,
    /// Memory to stay within, such as 2GiB or 800MB; default: a share of what the machine or cgroup allows
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
}

/// The most threads that make sense to ask for.
const THREADS_MAX: usize = 4096;

impl MachineOptions {
    /// Number of worker threads that is meant.
    ///
    /// # Errors
    /// When it is absurd.
    pub fn threads(&self) -> Result<usize> {
        match self.threads {
            Some(threads) if threads > THREADS_MAX => {
                Err(Error::usage(format!("--threads is {threads}; at most {THREADS_MAX} make sense")))
            }
            None | Some(0) => Ok(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
            Some(threads) => Ok(threads),
        }
    }
}

impl MachineOptions {
    /// Bytes of memory to stay within.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.unwrap_or_else(|| memory::Limits::now().default_bytes())
    }
}

/// A number of bytes with or without a unit.
///
/// # Errors
/// When it is no such number.
pub fn size(text: &str) -> std::result::Result<u64, String> {
    memory::parse_size(text).map_err(|error| error.to_string())
}

/// A seed.
///
/// # Errors
/// When it is no whole number, or too large.
pub fn seed(text: &str) -> std::result::Result<u64, String> {
    text.parse().map_err(|_| format!("a whole number from 0 to {} was expected", u64::MAX))
}
