//! Broadcast, gathers and barrier.

use std::sync::atomic::{AtomicUsize, Ordering};

use mpi_launch::threads::run_with;
use mpi_launch::{CommError, Communicator, Settings, Solo};

const RANKS: [usize; 6] = [1, 2, 3, 4, 5, 8];

fn settings() -> Settings {
    Settings { chunk_bytes: 100, ..Settings::default() }
}

fn text(rank: usize, length: usize) -> Vec<u8> {
    (0..length).map(|index| (rank * 31 + index * 7) as u8).collect()
}

#[test]
fn a_broadcast_replaces_what_the_others_had() {
    for ranks in RANKS {
        for length in [0, 1, 99, 100, 101, 1000] {
            let results = run_with(ranks, settings(), |group| {
                for root in 0..ranks {
                    let mut bytes = text(group.rank(), length + group.rank());
                    group.broadcast(&mut bytes, root)?;
                    assert_eq!(bytes, text(root, length + root), "{ranks} ranks, root {root}, {length} bytes");
                }
                Ok::<_, CommError>(())
            });
            assert_eq!(results, vec![Ok(()); ranks]);
        }
    }
}

#[test]
fn a_gather_has_every_ranks_bytes_in_rank_order() {
    for ranks in RANKS {
        let results = run_with(ranks, settings(), |group| group.all_gather(&text(group.rank(), group.rank() * 90)));
        let expected: Vec<_> = (0..ranks).map(|rank| text(rank, rank * 90)).collect();
        assert_eq!(results, vec![Ok::<_, CommError>(expected); ranks]);
    }
}

#[test]
fn a_gather_to_one_rank_leaves_the_others_with_nothing() {
    for ranks in RANKS {
        for root in 0..ranks {
            let results =
                run_with(ranks, settings(), |group| group.gather(&text(group.rank(), group.rank() * 90), root));
            let expected: Vec<_> = (0..ranks).map(|rank| text(rank, rank * 90)).collect();
            for (rank, found) in results.into_iter().enumerate() {
                let wanted = (rank == root).then(|| expected.clone());
                assert_eq!(found, Ok::<_, CommError>(wanted), "rank {rank} of {ranks}");
            }
        }
    }
}

#[test]
fn nobody_leaves_a_barrier_before_everybody_has_come() {
    for ranks in RANKS {
        let come = AtomicUsize::new(0);
        let results = run_with(ranks, settings(), |group| {
            for round in 1..20 {
                come.fetch_add(1, Ordering::SeqCst);
                group.barrier()?;
                assert!(come.load(Ordering::SeqCst) >= round * ranks);
                group.barrier()?;
            }
            Ok::<_, CommError>(())
        });
        assert_eq!(results, vec![Ok(()); ranks]);
    }
}

#[test]
fn a_root_that_does_not_exist_is_an_error() {
    let results = run_with(2, settings(), |group| group.broadcast(&mut Vec::new(), 2));
    for result in results {
        assert!(matches!(result, Err(CommError::Launch(_))), "{result:?}");
    }
}

#[test]
fn alone_everything_is_done_already() {
    let (mut sum, mut bytes) = (vec![1, 2], b"abc".to_vec());
    Solo.all_reduce(&mut sum).unwrap();
    Solo.broadcast(&mut bytes, 0).unwrap();
    Solo.barrier().unwrap();
    assert_eq!((sum, bytes), (vec![1, 2], b"abc".to_vec()));
    assert_eq!(Solo.all_gather(b"x").unwrap(), vec![b"x".to_vec()]);
    assert_eq!(Solo.gather(b"x", 0).unwrap(), Some(vec![b"x".to_vec()]));
    assert!(Solo.start_all_reduce(&mut []).unwrap().progress().unwrap());
}
