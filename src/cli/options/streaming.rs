//! How the grains of a dataset get into memory, and what is recorded of it. Neither changes a result.

use std::path::PathBuf;

use clap::Args;
use gristmill_io::tiles::Io;

/// `--io`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Machine")]
pub struct StreamingOptions {
    /// How data get into memory: auto (maps where all fits, else direct I/O), mmap, direct. Never changes the result
    #[arg(long, value_name = "WAY", value_parser = way)]
    pub io: Option<Io>,
}

/// `--trace`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct TraceOptions {
    /// Write who did what when, a lane a thread, as a trace for ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

/// A way by its name.
fn way(text: &str) -> Result<Io, String> {
    Io::find(text).map_err(|error| error.to_string())
}
