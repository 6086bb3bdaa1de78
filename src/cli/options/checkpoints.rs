//! What survives when a training is ended early.

use clap::Args;

use crate::error::{Error, Result};
use crate::run::checkpoint::{EVERY, Every, KEPT, Keeping};

/// `--checkpoint-every` and `--checkpoints-kept`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Checkpoints")]
pub struct CheckpointOptions {
    /// Time (30s, 10m, 2h) or passes (5) between checkpoints, or never; signals write one in any case [default: 10m]
    #[arg(long, value_name = "INTERVAL")]
    pub checkpoint_every: Option<Every>,
    /// Checkpoints that stay; older ones are removed [default: 3]
    #[arg(long, value_name = "N")]
    pub checkpoints_kept: Option<usize>,
}

impl CheckpointOptions {
    /// Which checkpoints are meant.
    ///
    /// # Errors
    /// When none is to be kept.
    pub fn keeping(&self) -> Result<Keeping> {
        match self.checkpoints_kept {
            Some(0) => Err(Error::usage("--checkpoints-kept is 0; at least 1 is needed to go on from")),
            kept => Ok(Keeping { every: self.checkpoint_every.unwrap_or(EVERY), kept: kept.unwrap_or(KEPT) }),
        }
    }
}
