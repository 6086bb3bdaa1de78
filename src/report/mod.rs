//! Reports: the one place that prints.
//!
//! Results go to standard output, as text for people or as one JSON document (`--json`); progress, notes and errors go
//! to standard error. On a terminal progress is a bar; elsewhere it is one JSON object a line, at intervals that keep
//! a log readable. `--quiet` leaves only results and errors. A reader of standard output that goes away (`| head`) is
//! no error: output ends there.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`failure`] | how does a failure look, and what is its exit code? |
//! | [`number`] | how are counts, bytes, rates and times written? |
//! | [`passes`] | what does a training tell while it runs? |
//! | [`progress`] | how far is it? |
//! | [`table`] | how are lines aligned? |

pub mod failure;
pub mod number;
pub mod passes;
pub mod progress;
pub mod table;

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::error::{Error, Result};

pub use passes::PassWatch;
pub use progress::Watcher;
pub use table::Table;

/// How results and progress are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A bar on the terminal.
    Terminal,
    /// JSON lines on standard error.
    Lines,
    /// No progress at all.
    Quiet,
}

/// Where a command prints.
#[derive(Debug)]
pub struct Report {
    style: Style,
    json: bool,
    colour: bool,
    silent: bool,
}

impl Report {
    /// A report as `--quiet` and `--json` ask for.
    pub fn new(quiet: bool, json: bool) -> Report {
        let style = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Style::Quiet,
            (false, true) => Style::Terminal,
            (false, false) => Style::Lines,
        };
        // A launcher may give its ranks terminals of their own, wherever its output goes.
        let is_rank = !matches!(mpi_launch::launch::detect_here(), Ok(None));
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() && !is_rank;
        Report { style, json, colour, silent: false }
    }

    /// A report of a rank that does not speak: it prints nothing at all.
    pub fn silent() -> Report {
        Report { style: Style::Quiet, json: false, colour: false, silent: true }
    }

    /// True when the result is wanted as JSON.
    pub fn wants_json(&self) -> bool {
        self.json
    }

    /// A watcher for a long job.
    pub fn watcher(&self) -> Watcher {
        Watcher::new(self.style)
    }

    /// Text for people on standard output; nothing when JSON is wanted.
    ///
    /// # Errors
    /// When standard output cannot be written to for another reason than a reader that went away.
    pub fn text(&self, text: &str) -> Result<()> {
        if self.json || self.silent { Ok(()) } else { to_stdout(&format!("{text}\n")) }
    }

    /// Text in bold, where colours are wanted.
    pub fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_string() }
    }

    /// The result as JSON on standard output; nothing unless it is wanted.
    ///
    /// # Errors
    /// As for [`Report::text`].
    pub fn json(&self, value: &impl Serialize) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(value).map_err(|error| stdout_failed(error.into()))?;
        to_stdout(&format!("{text}\n"))
    }

    /// Something to know that is no failure, on standard error.
    pub fn note(&self, text: &str) {
        match self.style {
            Style::Quiet => {}
            Style::Terminal => to_stderr(&format!("note: {text}\n")),
            Style::Lines => to_stderr(&format!("{}\n", serde_json::json!({ "note": text }))),
        }
    }

    /// Raw text on standard output, whatever was asked for (help, completions).
    ///
    /// # Errors
    /// As for [`Report::text`].
    pub fn raw(&self, text: &str) -> Result<()> {
        if self.silent { Ok(()) } else { to_stdout(text) }
    }

    /// Help on standard output, with colours where they are wanted.
    ///
    /// # Errors
    /// As for [`Report::text`].
    pub fn help(&self, plain: &str, coloured: &str) -> Result<()> {
        to_stdout(if self.colour { coloured } else { plain })
    }

    /// Help on standard error, before the error that explains why.
    pub fn help_as_error(&self, plain: &str) {
        to_stderr(plain);
        to_stderr("\n");
    }
}

/// Standard output, for results that are streams.
#[derive(Clone, Copy, Debug)]
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::stdout().lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stdout().lock().flush()
    }
}

/// Write to standard output; a reader that went away is no error.
fn to_stdout(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(stdout_failed(error)),
        _ => Ok(()),
    }
}

fn stdout_failed(error: std::io::Error) -> Error {
    gristmill_io::Error::io("standard output", "cannot write", error).into()
}

/// Write to standard error; when even that fails there is nobody left to tell.
fn to_stderr(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
