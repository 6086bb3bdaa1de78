//! How much of the machine a command may use. None of it changes a result.

use clap::Args;

use crate::error::{Error, Result};

/// `--threads` and `--memory`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineOptions {
    /// Worker threads; 0: all cores that this process may use. Never changes the result
    #[arg(long, value_name = "N")]
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
        self.memory.unwrap_or_else(crate::machine::limit::default_memory_bytes)
    }
}

/// A number of bytes: `1500000`, `800MB` (powers of ten), `2GiB` or `2G` (powers of two).
pub fn size(text: &str) -> std::result::Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(format!("unknown unit '{unit}'; use KiB, MiB, GiB, TiB, KB, MB, GB or TB")),
    };
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        Err(_) => number.parse::<f64>().ok().map(|value| value * factor as f64).filter(|b| *b < 1e18).map(|b| b as u64),
    };
    bytes.filter(|&bytes| bytes > 0).ok_or_else(|| "expected a size such as 2GiB or 800MB".to_string())
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("123"), Ok(123));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert_eq!(size("1.5g"), Ok(3 << 29));
        assert_eq!(size("800 MB"), Ok(800_000_000));
        for bad in ["", "0", "GiB", "-1", "1XB", "1e400", "99999999999999999999"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
