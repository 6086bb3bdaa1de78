//! What survives when a training is ended early, and when ranks count as lost.

use std::time::Duration;

use clap::Args;

use crate::error::{Error, Result};
use crate::run::checkpoint::{self, EVERY, Every, KEPT, Keeping};

/// `--checkpoint-every`, `--checkpoints-kept` and `--rank-timeout`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Checkpoints and ranks")]
pub struct CheckpointOptions {
    /// Time (30s, 10m, 2h) or passes (5) between checkpoints, or never; signals write one in any case [default: 10m]
    #[arg(long, value_name = "INTERVAL")]
    pub checkpoint_every: Option<Every>,
    /// Checkpoints that stay; older ones are removed [default: 3]
    #[arg(long, value_name = "N")]
    pub checkpoints_kept: Option<usize>,
    /// End all ranks when one is silent for so long (30s, 10m): longer than any rank may be ahead in a pass [default: never]
    #[arg(long, value_name = "TIME", value_parser = rank_timeout)]
    pub rank_timeout: Option<Duration>,
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

fn rank_timeout(text: &str) -> std::result::Result<Duration, String> {
    checkpoint::time(text).ok_or_else(|| format!("'{text}' is no time; 30s, 10m or 2h was expected"))
}
