//! A rank that fails, panics, ends early, or runs another step is named to the others; nobody waits for ever.

use std::time::Duration;

use mpi_launch::threads::{run, run_with};
use mpi_launch::{Algorithm, CommError, Communicator, Settings};

/// The engine's error, in small.
#[derive(Debug, PartialEq, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Comm(#[from] CommError),
    #[error("disk full")]
    Own,
}

const RANKS: usize = 4;
const CULPRIT: usize = 2;

/// Ten sums by each algorithm; the culprit leaves before sum number `at` in the way given.
fn sums_with(
    algorithm: Algorithm,
    at: usize,
    leave: impl Fn() -> Result<(), Failure> + Sync,
) -> Vec<Result<(), Failure>> {
    let settings = Settings { algorithm, chunk_bytes: 64, short_segment_bytes: 0, ..Settings::default() };
    run_with(RANKS, settings, |group| {
        for round in 0..10 {
            if (group.rank(), round) == (CULPRIT, at) {
                return leave();
            }
            group.all_reduce(&mut vec![1; 200])?;
        }
        Ok(())
    })
}

#[test]
fn an_error_reaches_every_rank_with_its_message() {
    for algorithm in [Algorithm::Ring, Algorithm::Tree] {
        for at in [0, 1, 9] {
            let results = sums_with(algorithm, at, || Err(Failure::Own));
            for (rank, result) in results.into_iter().enumerate() {
                let told = CommError::PeerFailed { rank: CULPRIT, message: "disk full".to_string() };
                let expected = if rank == CULPRIT { Failure::Own } else { Failure::Comm(told) };
                assert_eq!(result, Err(expected), "rank {rank}, {algorithm:?}, sum {at}");
            }
        }
    }
}

#[test]
fn a_panic_reaches_every_rank_with_its_message() {
    let results = sums_with(Algorithm::Ring, 5, || panic!("index out of bounds"));
    for (rank, result) in results.into_iter().enumerate() {
        let text = result.unwrap_err().to_string();
        assert!(text.contains("rank 2") && text.contains("index out of bounds"), "rank {rank}: {text}");
    }
}

#[test]
fn a_rank_that_ends_early_is_lost_by_its_neighbour_and_named_to_the_others() {
    let results = sums_with(Algorithm::Ring, 3, || Ok(()));
    assert_eq!(results[CULPRIT], Ok(()));
    for (rank, result) in results.into_iter().enumerate().filter(|(rank, _)| *rank != CULPRIT) {
        let text = result.unwrap_err().to_string();
        assert!(text.contains("rank 2 was lost while summing around the ring"), "rank {rank}: {text}");
    }
}

#[test]
fn an_abort_is_heard_by_ranks_in_any_exchange() {
    let results = run(3, |door: &dyn Communicator| match door.rank() {
        0 => {
            door.abort("no space left", 1);
            Ok(())
        }
        1 => door.barrier(),
        // Of rank 0: a message of rank 1's barrier would be taken for one of its broadcast.
        _ => door.broadcast(&mut Vec::new(), 0),
    });
    let told = CommError::PeerFailed { rank: 0, message: "no space left".to_string() };
    assert_eq!(results, vec![Ok(()), Err(told.clone()), Err(told)]);
}

#[test]
fn a_silent_rank_is_lost_when_patience_ends() {
    let patience = Some(Duration::from_millis(200));
    for algorithm in [Algorithm::Ring, Algorithm::Tree] {
        let results =
            run_with(2, Settings { algorithm, patience, short_segment_bytes: 0, ..Settings::default() }, |group| {
                if group.rank() == 1 {
                    std::thread::sleep(Duration::from_millis(800));
                    return Ok(());
                }
                group.all_reduce(&mut [1, 2, 3])
            });
        let lost = results[0].as_ref().unwrap_err().to_string();
        assert!(lost.starts_with("rank 1 was lost while summing") && lost.contains("no message"), "{lost}");
    }
}

#[test]
fn slices_of_different_length_are_an_error() {
    for algorithm in [Algorithm::Ring, Algorithm::Tree] {
        let results = run_with(2, Settings { algorithm, short_segment_bytes: 0, ..Settings::default() }, |group| {
            group.all_reduce(&mut vec![1; 10 + 4 * group.rank()])
        });
        let mismatch = |result: &Result<(), CommError>| matches!(result, Err(CommError::Mismatch { .. }));
        assert!(results.iter().any(mismatch), "{results:?}");
        assert!(results.iter().all(Result::is_err), "{results:?}");
    }
}
