//! A rank that fails, panics, ends early, or runs another step is named to the others; nobody waits for ever.

use std::num::NonZero;
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
    // Two nodes of two, for the way that knows nodes.
    let ranks_per_node = NonZero::new(2);
    let settings =
        Settings { algorithm, ranks_per_node, chunk_bytes: 64, short_segment_bytes: 0, ..Settings::default() };
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
    for algorithm in [Algorithm::Ring, Algorithm::Tree, Algorithm::Hierarchical] {
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
    for algorithm in [Algorithm::Ring, Algorithm::Hierarchical] {
        let results = sums_with(algorithm, 3, || Ok(()));
        assert_eq!(results[CULPRIT], Ok(()));
        for (rank, result) in results.into_iter().enumerate().filter(|(rank, _)| *rank != CULPRIT) {
            let text = result.unwrap_err().to_string();
            assert!(text.contains("rank 2 was lost while summing around the ring"), "rank {rank}: {text}");
        }
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

/// Of the silent rank's node one waits for it inside the node, of the other node one between nodes: whoever loses patience
/// first names it. The fourth, which waits for one of these, is given more.
#[test]
fn a_silent_rank_of_another_node_is_lost_as_well() {
    let settings = Settings {
        algorithm: Algorithm::Hierarchical,
        ranks_per_node: NonZero::new(2),
        patience: Some(Duration::from_millis(200)),
        short_segment_bytes: 0,
        ..Settings::default()
    };
    let results = run_with(4, settings, |group| {
        match group.rank() {
            0 => group.set_patience(Some(Duration::from_secs(30))),
            3 => {
                std::thread::sleep(Duration::from_millis(800));
                return Ok(());
            }
            _ => {}
        }
        group.all_reduce(&mut [1; 100])
    });
    for lost in &results[..3] {
        let lost = lost.as_ref().unwrap_err().to_string();
        let named = ["inside the node (column 1 of 1, step 1 of 4)", "between nodes (column 1 of 1, step 2 of 4)"];
        let is_named =
            |place| lost.contains(&format!("rank 3 was lost while summing around the ring {place}: no message"));
        assert!(named.into_iter().any(is_named), "{lost}");
    }
}

#[test]
fn slices_of_different_length_are_an_error() {
    for (ranks, algorithm) in [(2, Algorithm::Ring), (2, Algorithm::Tree), (4, Algorithm::Hierarchical)] {
        let ranks_per_node = NonZero::new(2);
        let settings = Settings { algorithm, ranks_per_node, short_segment_bytes: 0, ..Settings::default() };
        let results = run_with(ranks, settings, |group| {
            group.all_reduce(&mut vec![1; 10 + 4 * (group.rank() / 2 + group.rank() % 2)])
        });
        let mismatch = |result: &Result<(), CommError>| matches!(result, Err(CommError::Mismatch { .. }));
        assert!(results.iter().any(mismatch), "{results:?}");
        assert!(results.iter().all(Result::is_err), "{results:?}");
    }
}
