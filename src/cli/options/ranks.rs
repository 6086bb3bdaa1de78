//! How several ranks work together. None of it changes a result.

use std::time::Duration;

use clap::Args;
use mpi_launch::Algorithm;

use crate::run::checkpoint;

/// `--allreduce`, `--rank-timeout` and `--local-shards`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Ranks")]
pub struct RankOptions {
    /// How sums are added over ranks: auto (tried at the start), ring, tree, hierarchical (rings inside nodes, rings between them),
    /// mpi. Never changes the result [default: auto]
    #[arg(long, value_name = "NAME", value_parser = algorithm)]
    pub allreduce: Option<Algorithm>,
    /// End all ranks when one is silent for so long (30s, 10m): longer than any rank may be ahead in a pass [default: never]
    #[arg(long, value_name = "TIME", value_parser = rank_timeout)]
    pub rank_timeout: Option<Duration>,
    #[command(flatten)]
    pub local: LocalOptions,
}

/// `--local-shards`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Ranks")]
pub struct LocalOptions {
    /// Each node holds its own shards beside the manifest: every rank reads what its node has. Never changes the result
    #[arg(long)]
    pub local_shards: bool,
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    let found = Algorithm::NAMES.iter().find(|(name, _)| *name == text).map(|(_, algorithm)| *algorithm);
    let names = || Algorithm::NAMES.map(|(name, _)| name).join(", ");
    found.ok_or_else(|| format!("'{text}' is no way to add over ranks; {} was expected", names()))
}

fn rank_timeout(text: &str) -> Result<Duration, String> {
    checkpoint::time(text).ok_or_else(|| format!("'{text}' is no time; 30s, 10m or 2h was expected"))
}
