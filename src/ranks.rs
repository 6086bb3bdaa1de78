//! Several ranks as one program: they agree on failures before they go on, and share the cores and memory of a node.
//!
//! A failure that only one rank sees must not leave the others waiting in a sum. Before and after the passes ranks
//! [`agree`]: they exchange what went wrong, one of them says it, and all end with its exit code. Inside a pass there is no
//! time for that: the rank that fails says so and ends all ([`fail`]). What follows from sums over all ranks every rank finds by
//! itself, in the same place; there it is marked as such ([`of_all`]).

use std::collections::HashMap;

use gristmill_io::Error as IoError;
use gristmill_io::memory;
use gristmill_io::tiles::Io;
use mpi_launch::Communicator;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::machine;
use crate::plan::TrainPlan;
use crate::report::failure;

/// What a rank says that failed only because another one did; no message begins with this byte.
const ELSEWHERE: u8 = 0;

/// This rank as one would name it: `rank 1 of 4 on node7`.
pub fn name(comm: &dyn Communicator) -> String {
    let host = rustix::system::uname();
    format!("rank {} of {} on {}", comm.rank(), comm.size(), host.nodename().to_string_lossy())
}

/// `own` when it went well on all ranks; else an error on all of them: the first rank that failed keeps its own, with its
/// name, or as [`Error::Everywhere`] where all found the same, the others [`Error::Elsewhere`].
///
/// # Errors
/// See above, and when a rank is lost.
pub fn agree<T>(comm: &dyn Communicator, own: Result<T>) -> Result<T> {
    settle(comm, own, true)
}

/// [`agree`] where only rank 0 has work to do: its failure is that of all and needs no name.
///
/// # Errors
/// As [`agree`].
pub fn agree_with_first<T>(comm: &dyn Communicator, own: Result<T>) -> Result<T> {
    settle(comm, own, false)
}

fn settle<T>(comm: &dyn Communicator, own: Result<T>, named: bool) -> Result<T> {
    if comm.size() == 1 {
        return own;
    }
    let word = match &own {
        Ok(_) => Vec::new(),
        Err(Error::Elsewhere { .. }) => vec![ELSEWHERE],
        Err(error) => [&[error.exit_code()], error.to_string().as_bytes()].concat(),
    };
    let words = comm.all_gather(&word)?;
    let failed = |word: &&Vec<u8>| word.first().is_some_and(|code| *code != ELSEWHERE);
    let Some((rank, first)) = words.iter().enumerate().find(|(_, word)| failed(word)) else { return own };
    let same = words.iter().all(|word| word.first() == Some(&ELSEWHERE) || word.get(1..) == first.get(1..));
    match own {
        Err(error) if comm.rank() == rank && !named => Err(error),
        Err(error) if comm.rank() == rank && same => Err(of_all(comm, error)),
        Err(error) if comm.rank() == rank => Err(error.on(name(comm))),
        _ => Err(Error::Elsewhere { rank, code: first[0] }),
    }
}

/// Marks an error that every rank finds in the same place, for it follows from what all of them know: nobody waits for this rank.
pub fn of_all(comm: &dyn Communicator, error: Error) -> Error {
    match error {
        error @ (Error::OnRank { .. } | Error::Elsewhere { .. } | Error::Everywhere(_)) => error,
        error if comm.size() == 1 => error,
        error => Error::Everywhere(Box::new(error)),
    }
}

/// What becomes of an error out of the passes. What ranks [agreed](agree) on or [all find](of_all), and the wish to stop, go
/// back. Any other is this rank's alone, whatever its kind, and the others wait for it in a sum: it says so and ends all ranks,
/// itself included where they are processes.
pub fn fail(comm: &dyn Communicator, error: Error) -> Error {
    let known_to_all = matches!(
        &error,
        Error::Everywhere(_)
            | Error::OnRank { .. }
            | Error::Elsewhere { .. }
            | Error::Interrupted { .. }
            | Error::Data(IoError::Interrupted)
    );
    if comm.size() == 1 || known_to_all {
        return error;
    }
    let error = error.on(name(comm));
    failure::print(&error);
    comm.abort(&error.to_string(), i32::from(error.exit_code()));
    error
}

/// The least of what the ranks have: of what each reckons from its own memory, and all have to do alike.
///
/// # Errors
/// When a rank is lost.
pub fn least(comm: &dyn Communicator, own: usize) -> Result<usize> {
    if comm.size() == 1 {
        return Ok(own);
    }
    let told = comm.all_gather(&(own as u64).to_le_bytes())?;
    let all = told.iter().filter_map(|bytes| Some(u64::from_le_bytes(*bytes.first_chunk()?) as usize));
    Ok(all.fold(own, usize::min))
}

/// A rank's place, as it tells the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The same for all ranks of one machine, whatever container they are in.
    pub node: String,
    /// Its name.
    pub host: String,
    /// Cores that this rank may run on.
    pub cores: Vec<usize>,
    /// How many of them the control group lets it use.
    pub usable: usize,
}

impl Place {
    fn here() -> Place {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let node = match boot.trim() {
            "" => host.clone(),
            boot => boot.to_string(),
        };
        let mask = rustix::thread::sched_getaffinity(None);
        let cores = mask.map_or(Vec::new(), |mask| {
            (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| mask.is_set(*core)).collect()
        });
        let usable = machine::cores();
        Place { node, host, cores, usable }
    }
}

/// Threads of one rank so that those of a node together have one a core: each core counts for 1/k where k ranks of the
/// node may run on it, so ranks that the launcher bound to cores of their own keep all of theirs.
pub fn threads_of(rank: usize, places: &[Place]) -> usize {
    let Some(own) = places.get(rank) else { return 1 };
    let node: Vec<&Place> = places.iter().filter(|place| place.node == own.node).collect();
    let even = own.usable / node.len();
    if own.cores.is_empty() {
        return even.max(1);
    }
    let mut ranks_on = HashMap::new();
    node.iter().flat_map(|place| &place.cores).for_each(|core| *ranks_on.entry(core).or_insert(0u32) += 1);
    let share: f64 = own.cores.iter().map(|core| 1.0 / f64::from(ranks_on[core])).sum();
    // The sum of n times 1/n may be a rounding below 1.
    let share = (share + 1e-6) as usize;
    let quota = if own.usable < own.cores.len() { even } else { usize::MAX };
    share.min(quota).max(1)
}

/// The places of all ranks, in rank order.
///
/// # Errors
/// When a rank is lost.
pub fn places(comm: &dyn Communicator) -> Result<Vec<Place>> {
    let own = serde_json::to_vec(&Place::here()).unwrap_or_default();
    let told = comm.all_gather(&own)?;
    let read = |place: &Vec<u8>| serde_json::from_slice(place);
    let unreadable = |error| Error::usage(format!("a rank says in no known way where it is: {error}"));
    told.iter().map(read).collect::<std::result::Result<_, _>>().map_err(unreadable)
}

/// What of its machine a rank may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Worker threads.
    pub threads: usize,
    /// Bytes of memory.
    pub memory: u64,
}

/// This rank's share of its node where `threads` (0) and `memory` (none) are left open.
///
/// # Errors
/// When a rank is lost.
pub fn share(comm: &dyn Communicator, threads: usize, memory: Option<u64>) -> Result<Share> {
    let places = places(comm)?;
    let neighbours = places.iter().filter(|place| place.node == places[comm.rank()].node).count().max(1);
    Ok(Share {
        threads: if threads == 0 { threads_of(comm.rank(), &places) } else { threads },
        memory: memory.unwrap_or_else(|| memory::Limits::now().default_bytes() / neighbours as u64),
    })
}

/// The plan with this rank's share of its node where the plan leaves threads and memory open. Neither changes the model.
///
/// # Errors
/// When a rank is lost, or one was asked for another training: sums of different points would be added up.
pub fn placed(comm: &dyn Communicator, plan: &TrainPlan) -> Result<TrainPlan> {
    let mut plan = plan.clone();
    if comm.size() > 1 {
        agree(comm, check_same(comm, &plan)?)?;
        let share = share(comm, plan.threads, plan.memory)?;
        (plan.threads, plan.memory) = (share.threads, Some(share.memory));
    }
    Ok(plan)
}

/// That all ranks were given the same of what a plan does not hold and yet steers what they do together: setting and value.
///
/// # Errors
/// On a rank that was given something else than rank 0, and when a rank is lost.
pub fn same_flags(comm: &dyn Communicator, flags: &[(&str, String)]) -> Result<()> {
    if comm.size() == 1 {
        return Ok(());
    }
    let own = flags.iter().map(|(name, value)| ((*name).to_string(), value.as_str().into())).collect();
    agree(comm, same_settings(comm, &serde_json::Value::Object(own))?)
}

/// That all ranks were told to use the model that rank 0 uses, whose numbers have this checksum, or none.
///
/// # Errors
/// On a rank with another one, and when a rank is lost.
pub fn same_model(comm: &dyn Communicator, checksum: Option<&str>) -> Result<()> {
    if comm.size() == 1 {
        return Ok(());
    }
    let own = checksum.unwrap_or_default();
    let told = comm.all_gather(own.as_bytes())?;
    let refusal = "the model that was named is not the one that rank 0 uses. Give all ranks the same run";
    agree(comm, if told[0] == own.as_bytes() { Ok(()) } else { Err(Error::usage(refusal)) })
}

/// Whether this rank's plan is that of rank 0, but for what never changes a model.
fn check_same(comm: &dyn Communicator, plan: &TrainPlan) -> Result<Result<()>> {
    let plan = TrainPlan { threads: 0, memory: None, io: Io::default(), ..plan.clone() };
    same_settings(comm, &serde_json::to_value(&plan).unwrap_or_default())
}

/// Whether this rank's settings, by name, are those of rank 0.
fn same_settings(comm: &dyn Communicator, own: &serde_json::Value) -> Result<Result<()>> {
    let told = comm.all_gather(own.to_string().as_bytes())?;
    let first: serde_json::Value = serde_json::from_slice(&told[0]).unwrap_or_default();
    if *own == first {
        return Ok(Ok(()));
    }
    let settings = own.as_object().into_iter().flatten();
    let differing: Vec<&str> =
        settings.filter(|(key, value)| first.get(key) != Some(value)).map(|(key, _)| key.as_str()).collect();
    let message =
        format!("asked for another training than rank 0 ({}). Give all ranks the same flags", differing.join(", "));
    Ok(Err(Error::usage(message)))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use mpi_launch::{CommError, threads};

    fn place(node: &str, cores: Range<usize>, usable: usize) -> Place {
        Place { node: node.into(), host: node.into(), cores: cores.collect(), usable }
    }

    #[test]
    fn ranks_of_a_node_share_its_cores() {
        let free = [place("a", 0..8, 8), place("a", 0..8, 8), place("a", 0..8, 8), place("b", 0..8, 8)];
        assert_eq!([0, 1, 2, 3].map(|rank| threads_of(rank, &free)), [2, 2, 2, 8]);
        let bound = [place("a", 0..4, 4), place("a", 4..8, 4)];
        assert_eq!([0, 1].map(|rank| threads_of(rank, &bound)), [4, 4]);
        let crowded = [place("a", 0..2, 2), place("a", 0..2, 2), place("a", 0..2, 2)];
        assert_eq!(threads_of(2, &crowded), 1);
        let three = [place("a", 0..3, 3), place("a", 0..3, 3), place("a", 0..3, 3)];
        assert_eq!(threads_of(0, &three), 1);
        // A quota of 4 of 16 cores for both.
        let limited = [place("a", 0..16, 4), place("a", 0..16, 4)];
        assert_eq!(threads_of(0, &limited), 2);
        let unknown = [place("a", 0..0, 6), place("a", 0..0, 6)];
        assert_eq!(threads_of(0, &unknown), 3);
    }

    #[test]
    fn ranks_are_asked_for_the_same_training() {
        let placed_with = |l2: [f64; 2], threads: [usize; 2]| {
            threads::run(2, |comm| {
                let text = format!(r#"{{"model": "logistic", "l2": {}}}"#, l2[comm.rank()]);
                let plan = TrainPlan { threads: threads[comm.rank()], ..crate::engine::tests::plan(&text) };
                Ok::<_, Error>(placed(comm, &plan).map(|plan| plan.threads))
            })
        };
        let found: Vec<_> =
            placed_with([0.5, 0.5], [1, 3]).into_iter().map(|own| own.expect("no rank is lost")).collect();
        assert!(matches!(found[..], [Ok(1), Ok(3)]), "{found:?}");
        let found: Vec<_> =
            placed_with([0.5, 0.25], [1, 1]).into_iter().map(|own| own.expect("no rank is lost")).collect();
        assert!(matches!(found[0], Err(Error::Elsewhere { rank: 1, code: 2 })), "{found:?}");
        assert!(
            matches!(&found[1], Err(error @ Error::OnRank { .. }) if error.to_string().contains("(l2). Give all ranks the same flags")),
            "{found:?}"
        );
    }

    #[test]
    fn ranks_use_the_same_model() {
        let used = |named: [Option<&str>; 2]| -> Vec<Result<()>> {
            let found = threads::run(2, |comm| Ok::<_, Error>(same_model(comm, named[comm.rank()])));
            found.into_iter().map(|own| own.expect("no rank is lost")).collect()
        };
        for named in [[None, None], [Some("a"), Some("a")]] {
            assert!(used(named).iter().all(Result::is_ok));
        }
        for named in [[Some("a"), Some("b")], [None, Some("a")], [Some("a"), None]] {
            let found = used(named);
            assert!(
                matches!(&found[1], Err(error) if error.to_string().contains("Give all ranks the same run")),
                "{found:?}"
            );
        }
    }

    fn outcomes(ranks: usize, failing: &[usize]) -> Vec<Result<()>> {
        let found = threads::run(ranks, |comm| {
            let own = if failing.contains(&comm.rank()) { Err(Error::training("no data")) } else { Ok(()) };
            // What main does at the end must not add to it.
            Ok::<_, Error>(agree_with_first(comm, agree(comm, own)))
        });
        found.into_iter().map(|own| own.expect("no rank is lost")).collect()
    }

    #[test]
    fn one_rank_speaks_for_all() {
        assert!(outcomes(3, &[]).iter().all(Result::is_ok));
        let found = outcomes(3, &[2]);
        assert!(matches!(&found[2], Err(Error::OnRank { name, .. }) if name.starts_with("rank 2 of 3 on ")));
        assert!(found[..2].iter().all(|own| matches!(own, Err(Error::Elsewhere { rank: 2, code: 1 }))), "{found:?}");
        let found = outcomes(2, &[0, 1]);
        assert!(matches!(&found[0], Err(error @ Error::Everywhere(_)) if error.to_string() == "no data"), "{found:?}");
        assert!(matches!(&found[1], Err(Error::Elsewhere { rank: 0, code: 1 })), "{found:?}");
    }

    /// Of whatever kind it is: the others are waiting in a sum.
    #[test]
    fn what_one_rank_finds_in_a_pass_ends_the_others() {
        let kinds: [fn() -> Error; 4] = [
            || Error::usage("too much"),
            || Error::training("too much"),
            || Error::from(IoError::Usage("too much".into())),
            || Error::from(IoError::Tight { left_bytes: 1, least_bytes: 2, threads: 1 }),
        ];
        for kind in kinds {
            let found = threads::run(2, |comm| {
                if comm.rank() == 1 {
                    return Ok(fail(comm, kind()));
                }
                let summed = comm.all_reduce(&mut [1, 2, 3]);
                Ok::<_, Error>(summed.expect_err("rank 1 is not there").into())
            });
            let found: Vec<Error> = found.into_iter().map(|own| own.expect("an error that was found")).collect();
            let says = kind().to_string();
            assert!(
                matches!(&found[0], Error::Comm(CommError::PeerFailed { rank: 1, message }) if message.contains(&says)),
                "{found:?}"
            );
            assert!(
                matches!(&found[1], Error::OnRank { name, .. } if name.starts_with("rank 1 of 2 on ")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn what_all_ranks_find_is_said_once() {
        let found = threads::run(2, |comm| {
            let own = fail(comm, of_all(comm, Error::training("too far off")));
            Ok::<_, Error>(agree_with_first::<()>(comm, Err(own)))
        });
        let found: Vec<_> = found.into_iter().map(|own| own.expect("no rank is lost")).collect();
        assert!(
            matches!(&found[0], Err(error @ Error::Everywhere(_)) if error.to_string() == "too far off"),
            "{found:?}"
        );
        assert!(matches!(&found[1], Err(Error::Elsewhere { rank: 0, code: 1 })), "{found:?}");
    }

    #[test]
    fn the_least_is_that_of_all_ranks() {
        let found = threads::run(3, |comm| least(comm, [7, 3, 5][comm.rank()]));
        assert!(found.into_iter().all(|own: Result<usize>| matches!(own, Ok(3))));
    }

    #[test]
    fn ranks_are_given_the_same_flags() {
        let found = threads::run(2, |comm| {
            let flags = [("trace", "false".to_string()), ("allreduce", ["ring", "tree"][comm.rank()].to_string())];
            Ok::<_, Error>(same_flags(comm, &flags))
        });
        let found: Vec<_> = found.into_iter().map(|own| own.expect("no rank is lost")).collect();
        assert!(matches!(&found[0], Err(Error::Elsewhere { rank: 1, code: 2 })), "{found:?}");
        assert!(
            matches!(&found[1], Err(error) if error.to_string().contains("(allreduce). Give all ranks")),
            "{found:?}"
        );
    }
}
