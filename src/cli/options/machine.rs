//! How much of the machine a command may use. None of it changes a result.

use clap::Args;
use gristmill_io::memory;

/// `--threads` and `--memory`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineOptions {
    /// Worker threads; 0: all cores that this process may use. Never changes the result
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub threads: Option<usize>,
    /// Memory to stay within, such as 2GiB or 800MB; default: a share of what the machine or cgroup allows
    #[arg(long, value_name = "SIZE", value_parser = budget)]
    pub memory: Option<u64>,
}

/// The most threads that make sense to ask for.
const THREADS_MAX: usize = 4096;
/// Less memory than this does not hold the program itself.
const MEMORY_MIN: u64 = 16 << 20;

impl MachineOptions {
    /// Number of worker threads that is meant.
    pub fn threads(&self) -> usize {
        crate::machine::threads(self.threads.unwrap_or(0))
    }

    /// Bytes of memory to stay within.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.unwrap_or_else(|| memory::Limits::now().default_bytes())
    }
}

/// A number of threads.
///
/// # Errors
/// When it is none, or absurd.
pub fn threads(text: &str) -> Result<usize, String> {
    let threads = text.parse().ok().filter(|threads| *threads <= THREADS_MAX);
    threads.ok_or_else(|| format!("a whole number from 0 to {THREADS_MAX} was expected"))
}

/// Bytes to stay within.
fn budget(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if bytes < MEMORY_MIN {
        let (found, least) = (memory::format_size(bytes), memory::format_size(MEMORY_MIN));
        let ingest = memory::format_size(gristmill_io::ingest::options::MEMORY_MIN);
        return Err(format!(
            "{found} were found, at least {least} are needed, {ingest} to ingest; write 2GiB, 800MB or a number of bytes"
        ));
    }
    Ok(bytes)
}

/// A number of bytes with or without a unit.
///
/// # Errors
/// When it is no such number.
pub fn size(text: &str) -> Result<u64, String> {
    memory::parse_size(text).map_err(|error| error.to_string())
}

/// A seed.
///
/// # Errors
/// When it is no whole number, or too large.
pub fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a whole number from 0 to {} was expected", u64::MAX))
}
