//! What every command has around it: where to print, who may ask to stop, and the ranks.

use gristmill_io::watch::Cancel;

use super::options::OutputOptions;
use crate::error::{Error, Result};
use crate::report::Report;

/// Around a command.
#[derive(Debug)]
pub struct Session {
    /// Where it prints.
    pub report: Report,
    /// The request to stop, set by SIGINT and SIGTERM.
    pub cancel: Cancel,
    signal: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Session {
    /// A session that prints as asked and stops at SIGINT and SIGTERM; a second signal ends the process at once.
    ///
    /// # Errors
    /// When the system refuses the signal handlers.
    pub fn new(output: &OutputOptions) -> Result<Session> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let cancel = Cancel::new();
        let signal = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        for (number, code) in [(SIGINT, crate::error::EXIT_SIGINT), (SIGTERM, crate::error::EXIT_SIGTERM)] {
            // Order matters: the first signal finds the flag down and only sets it, the second one ends the process.
            signal_hook::flag::register_conditional_shutdown(number, i32::from(code), cancel.flag())
                .and_then(|_| signal_hook::flag::register_usize(number, signal.clone(), number as usize))
                .and_then(|_| signal_hook::flag::register(number, cancel.flag()))
                .map_err(|error| gristmill_io::Error::io("signals", "cannot be handled", error))?;
        }
        Ok(Session { report: Report::new(output.quiet, output.json), cancel, signal })
    }

    /// The error with the signal that caused it, so that the exit code says which it was.
    pub fn explain(&self, error: Error) -> Error {
        let signal = self.signal.load(std::sync::atomic::Ordering::Relaxed) as i32;
        match error {
            // What fails after a signal fails because of it (standard input that ends, for one).
            _ if signal != 0 => Error::Interrupted { signal },
            Error::Data(gristmill_io::Error::Interrupted) | Error::Interrupted { .. } => Error::Interrupted { signal },
            other => other,
        }
    }
}
