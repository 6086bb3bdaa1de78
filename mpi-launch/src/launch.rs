//! Was this process started as one of several ranks? The launcher says so in the environment.
//!
//! | launcher | number of ranks | rank | rank on its node |
//! |---|---|---|---|
//! | Open MPI's mpirun | `OMPI_COMM_WORLD_SIZE` | `OMPI_COMM_WORLD_RANK` | `OMPI_COMM_WORLD_LOCAL_RANK` |
//! | MPICH's Hydra, Intel MPI, Slurm with PMI-2 | `PMI_SIZE` | `PMI_RANK` | `MPI_LOCALRANKID`, `SLURM_LOCALID` |
//! | Slurm and others with PMIx | `SLURM_STEP_NUM_TASKS`, `SLURM_NTASKS` | `PMIX_RANK` with `PMIX_NAMESPACE` | `SLURM_LOCALID` |
//!
//! `SLURM_NTASKS` alone proves nothing: it is also set in the batch script, which runs once.

use crate::algorithm::Settings;
use crate::communicator::{CommError, Communicator, Result, Solo};

/// What the environment tells of the launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Who started the process, as one would say it.
    pub launcher: &'static str,
    /// This rank.
    pub rank: usize,
    /// Number of ranks, where the launcher tells.
    pub ranks: Option<usize>,
    /// Number of this rank among those of its node, where the launcher tells.
    pub local_rank: Option<usize>,
}

/// The variables of one launcher.
struct Marks {
    launcher: &'static str,
    /// All of these are set.
    proof: &'static [&'static str],
    rank: &'static str,
    ranks: &'static [&'static str],
    local_rank: &'static [&'static str],
}

/// The launchers known, the surest proof first: Open MPI's own variables stand beside PMIx ones.
const LAUNCHERS: [Marks; 4] = [
    Marks {
        launcher: "Open MPI",
        proof: &["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"],
        rank: "OMPI_COMM_WORLD_RANK",
        ranks: &["OMPI_COMM_WORLD_SIZE"],
        local_rank: &["OMPI_COMM_WORLD_LOCAL_RANK"],
    },
    Marks {
        launcher: "Slurm (PMI-2)",
        proof: &["PMI_SIZE", "PMI_RANK", "SLURM_STEP_ID"],
        rank: "PMI_RANK",
        ranks: &["PMI_SIZE"],
        local_rank: &["SLURM_LOCALID"],
    },
    Marks {
        launcher: "Hydra (MPICH or Intel MPI)",
        proof: &["PMI_SIZE", "PMI_RANK"],
        rank: "PMI_RANK",
        ranks: &["PMI_SIZE"],
        local_rank: &["MPI_LOCALRANKID"],
    },
    Marks {
        launcher: "PMIx",
        proof: &["PMIX_RANK", "PMIX_NAMESPACE"],
        rank: "PMIX_RANK",
        ranks: &["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"],
        local_rank: &["SLURM_LOCALID"],
    },
];

/// The launch that `variable` (a look-up in the environment) tells of; `None`: started by hand.
///
/// # Errors
/// [`CommError::Launch`] when a launcher's variable does not hold a number, or a rank is not below the number of ranks.
pub fn detect(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Launch>> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let proven = |marks: &&Marks| marks.proof.iter().all(|name| variable(name).is_some());
    let Some(marks) = LAUNCHERS.iter().find(proven) else { return Ok(None) };
    let number = |name: &str| -> Result<Option<usize>> {
        let Some(value) = variable(name) else { return Ok(None) };
        let bad = |_| {
            let launcher = marks.launcher;
            let what = format!("the variable {name} of the launcher ({launcher}) is '{value}', not a number");
            CommError::Launch(format!("{what}; unset it to run stand-alone"))
        };
        value.trim().parse().map(Some).map_err(bad)
    };
    let first = |names: &[&str]| names.iter().map(|name| number(name)).find(|found| !matches!(found, Ok(None)));
    let rank = number(marks.rank)?.unwrap_or(0);
    let ranks = first(marks.ranks).transpose()?.flatten();
    let local_rank = first(marks.local_rank).transpose()?.flatten();
    if let Some(ranks) = ranks
        && rank >= ranks
    {
        let message = format!("the launcher ({}) calls this rank {rank} of {ranks}", marks.launcher);
        return Err(CommError::Launch(format!("{message}: ranks count from 0; check {}", marks.rank)));
    }
    Ok(Some(Launch { launcher: marks.launcher, rank, ranks, local_rank }))
}

/// [`detect`] in this process's environment.
///
/// # Errors
/// As [`detect`].
pub fn detect_here() -> Result<Option<Launch>> {
    detect(|name| std::env::var(name).ok())
}

/// Whether this process speaks for all before (and if) they are joined: rank 0, or started by hand. Errors that every
/// rank runs into, such as a wrong flag, are so printed once.
#[must_use]
pub fn speaks() -> bool {
    detect_here().ok().flatten().is_none_or(|launch| launch.rank == 0)
}

/// Name and version of the MPI library that this binary is linked to; none without MPI. MPI is not initialised for it.
#[must_use]
pub fn library() -> Option<String> {
    #[cfg(feature = "mpi")]
    return Some(crate::world::library());
    #[cfg(not(feature = "mpi"))]
    None
}

/// What a binary without MPI says when it finds itself launched as one of several ranks; `None` when it is alone.
#[must_use]
pub fn refusal_without_mpi(launch: &Launch) -> Option<CommError> {
    if launch.ranks == Some(1) {
        return None;
    }
    let ranks = launch.ranks.map_or("one of several ranks".to_string(), |ranks| format!("{ranks} ranks"));
    Some(CommError::Launch(format!(
        "started by {} as {ranks}, but this binary was built without MPI, so every rank would do all the work alone; \
         rebuild it with: cargo build --release --features mpi (or start it without the launcher)",
        launch.launcher
    )))
}

/// What is wrong when the launcher and MPI disagree on the number of ranks; `None` when they agree.
#[must_use]
pub fn disagreement(launch: &Launch, ranks_of_mpi: usize, library: &str) -> Option<CommError> {
    let ranks = launch.ranks.filter(|ranks| *ranks != ranks_of_mpi)?;
    Some(CommError::Launch(format!(
        "{} started {ranks} ranks, but the MPI library of this binary ({library}) sees {ranks_of_mpi}: launcher and \
         library are not of one kind; start it with that library's own mpirun, or rebuild it against the launcher's \
         (with its mpicc first in PATH)",
        launch.launcher
    )))
}

/// The ranks this process belongs to: those of the launcher, or itself alone. MPI is initialised only if a launcher
/// started several ranks, and finalised when the communicator is dropped: drop it before the process exits, and after
/// a failure call [`Communicator::abort`].
///
/// # Errors
/// [`CommError::Launch`] when the launcher and this binary do not fit; the same on every rank, so that printing it
/// where [`speaks`] holds prints it once.
pub fn connect(settings: Settings) -> Result<Box<dyn Communicator>> {
    match detect_here()? {
        None => Ok(Box::new(Solo)),
        Some(launch) if launch.ranks == Some(1) => Ok(Box::new(Solo)),
        Some(launch) => join(&launch, settings),
    }
}

#[cfg(feature = "mpi")]
fn join(launch: &Launch, settings: Settings) -> Result<Box<dyn Communicator>> {
    let group = crate::world::world(settings)?;
    match disagreement(launch, group.size(), &crate::world::library()) {
        Some(error) => Err(error),
        None => Ok(Box::new(group)),
    }
}

#[cfg(not(feature = "mpi"))]
fn join(launch: &Launch, _settings: Settings) -> Result<Box<dyn Communicator>> {
    refusal_without_mpi(launch).map_or_else(|| Ok(Box::new(Solo) as Box<dyn Communicator>), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Option<Launch>> {
        detect(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_string()))
    }

    fn launch(launcher: &'static str, rank: usize, ranks: Option<usize>, local_rank: Option<usize>) -> Launch {
        Launch { launcher, rank, ranks, local_rank }
    }

    #[test]
    fn each_launcher_is_known_by_its_variables() {
        let open_mpi = [
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("PMIX_RANK", "3"),
            ("PMIX_NAMESPACE", "1234"),
        ];
        assert_eq!(from(&open_mpi), Ok(Some(launch("Open MPI", 3, Some(4), Some(1)))));
        let hydra = [("PMI_SIZE", "2"), ("PMI_RANK", "1"), ("MPI_LOCALRANKID", "1")];
        assert_eq!(from(&hydra), Ok(Some(launch("Hydra (MPICH or Intel MPI)", 1, Some(2), Some(1)))));
        let pmi2 = [("PMI_SIZE", "8"), ("PMI_RANK", "7"), ("SLURM_STEP_ID", "0"), ("SLURM_LOCALID", "3")];
        assert_eq!(from(&pmi2), Ok(Some(launch("Slurm (PMI-2)", 7, Some(8), Some(3)))));
        let pmix = [("PMIX_RANK", "5"), ("PMIX_NAMESPACE", "slurm.pmix.1.0"), ("SLURM_NTASKS", "6")];
        assert_eq!(from(&pmix), Ok(Some(launch("PMIx", 5, Some(6), None))));
        let step = [&pmix[..], &[("SLURM_STEP_NUM_TASKS", "12")]].concat();
        assert_eq!(from(&step), Ok(Some(launch("PMIx", 5, Some(12), None))));
        assert_eq!(from(&pmix[..2]), Ok(Some(launch("PMIx", 5, None, None))));
    }

    #[test]
    fn a_batch_script_is_no_rank() {
        assert_eq!(from(&[]), Ok(None));
        assert_eq!(from(&[("SLURM_NTASKS", "64"), ("SLURM_PROCID", "0"), ("SLURM_JOB_ID", "7")]), Ok(None));
        assert_eq!(from(&[("PMIX_RANK", "0")]), Ok(None));
        assert_eq!(from(&[("PMI_SIZE", ""), ("PMI_RANK", "")]), Ok(None));
    }

    #[test]
    fn nonsense_is_named() {
        let text = |variables: &[(&str, &str)]| from(variables).unwrap_err().to_string();
        let size = text(&[("PMI_SIZE", "many"), ("PMI_RANK", "0")]);
        assert!(size.contains("PMI_SIZE") && size.contains("'many'"), "{size}");
        let rank = text(&[("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_RANK", "2")]);
        assert!(rank.contains("rank 2 of 2"), "{rank}");
        assert!(text(&[("PMI_SIZE", "2"), ("PMI_RANK", "-1")]).contains("'-1'"));
    }

    #[test]
    fn without_mpi_several_ranks_are_refused_and_one_is_not() {
        assert_eq!(refusal_without_mpi(&launch("Open MPI", 0, Some(1), None)), None);
        for ranks in [Some(2), None] {
            let text = refusal_without_mpi(&launch("PMIx", 0, ranks, None)).unwrap().to_string();
            assert!(text.contains("cargo build --release --features mpi"), "{text}");
        }
    }

    #[test]
    fn a_launcher_of_another_library_is_noticed() {
        let launched = launch("Hydra (MPICH or Intel MPI)", 1, Some(4), None);
        assert_eq!(disagreement(&launched, 4, "MPICH"), None);
        let text = disagreement(&launched, 1, "Open MPI v4.1.4").unwrap().to_string();
        assert!(
            text.contains("started 4 ranks") && text.contains("Open MPI v4.1.4") && text.contains("sees 1"),
            "{text}"
        );
        assert_eq!(disagreement(&launch("PMIx", 0, None, None), 3, "Open MPI"), None);
    }
}
