//! Sums over 1 to 8 ranks against a plain sum.

use std::num::NonZero;

use mpi_launch::threads::{run, run_with};
use mpi_launch::{Algorithm, CommError, Communicator, Pending, Settings};
use proptest::prelude::*;

/// Small chunks, so that short slices take many columns, and the ring for the shortest; below 4 KiB in rings of factors and as
/// sums that stay in the cache.
fn settings(algorithm: Algorithm, chunk_bytes: usize) -> Settings {
    let short = 4096;
    let (factored_bytes_max, factored_in_memory_bytes_max, cached_bytes_max) = (short, short, short);
    let short_segment_bytes = 0;
    Settings {
        algorithm,
        chunk_bytes,
        short_segment_bytes,
        factored_bytes_max,
        factored_in_memory_bytes_max,
        cached_bytes_max,
        ..Settings::default()
    }
}

/// The same, with so many ranks on a node.
fn on_nodes(ranks_per_node: usize, algorithm: Algorithm, chunk_bytes: usize) -> Settings {
    Settings { ranks_per_node: NonZero::new(ranks_per_node), ..settings(algorithm, chunk_bytes) }
}

/// What rank `rank` adds at `index`: large enough that sums wrap.
fn value(rank: usize, index: usize) -> i64 {
    let mixed = (rank as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index as u64);
    mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9).cast_signed()
}

fn values(rank: usize, length: usize) -> Vec<i64> {
    (0..length).map(|index| value(rank, index)).collect()
}

fn plain_sum(ranks: usize, length: usize) -> Vec<i64> {
    let sum = |index| (0..ranks).fold(0_i64, |sum, rank| sum.wrapping_add(value(rank, index)));
    (0..length).map(sum).collect()
}

#[test]
fn every_number_of_ranks_and_length_gives_the_plain_sum() {
    for algorithm in [Algorithm::Ring, Algorithm::Tree, Algorithm::Auto, Algorithm::Mpi] {
        for ranks in [1, 2, 3, 4, 5, 8] {
            let lengths = [0, 1, ranks - 1, ranks, ranks + 1, 37, 1000, 10_007];
            let results = run_with(ranks, settings(algorithm, 256), |group| {
                for length in lengths {
                    let mut sum = values(group.rank(), length);
                    group.all_reduce(&mut sum)?;
                    assert_eq!(sum, plain_sum(ranks, length), "{algorithm:?}, {ranks} ranks, length {length}");
                    let mut owned = values(group.rank(), length);
                    group.all_reduce_vec(&mut owned)?;
                    assert_eq!(owned, sum, "handed over: {algorithm:?}, {ranks} ranks, length {length}");
                }
                Ok::<_, CommError>(())
            });
            assert_eq!(results, vec![Ok(()); ranks], "{algorithm:?}, {ranks} ranks");
        }
    }
}

/// As many ranks on every node, one node, one rank a node, and nodes of different size, which go around the ring.
#[test]
fn every_grouping_into_nodes_gives_the_plain_sum() {
    for (ranks, together, has_nodes) in [
        (4, 1, false),
        (4, 2, true),
        (4, 3, false),
        (4, 4, false),
        (6, 2, true),
        (6, 3, true),
        (8, 2, true),
        (8, 4, true),
    ] {
        let shape = format!("{ranks} ranks, {together} a node");
        for algorithm in [Algorithm::Hierarchical, Algorithm::Auto] {
            let results = run_with(ranks, on_nodes(together, algorithm, 256), |group| {
                assert_eq!(group.has_nodes(), has_nodes, "{shape}");
                for length in [0, 1, ranks - 1, ranks, ranks + 1, 37, 1001, 40_007] {
                    let mut sum = values(group.rank(), length);
                    group.all_reduce(&mut sum)?;
                    assert_eq!(sum, plain_sum(ranks, length), "{shape}, length {length}");
                    let mut owned = values(group.rank(), length);
                    group.all_reduce_vec(&mut owned)?;
                    assert_eq!(owned, sum, "handed over: {shape}, length {length}");
                }
                Ok::<_, CommError>(())
            });
            assert_eq!(results, vec![Ok(()); ranks], "{shape}");
        }
    }
}

#[test]
fn calibration_agrees_on_all_ranks_and_changes_no_sum() {
    for (ranks, ranks_per_node) in [(1, None), (2, None), (3, None), (5, None), (4, NonZero::new(2))] {
        let results = run_with(ranks, Settings { ranks_per_node, ..Settings::default() }, |group| {
            let found = group.calibrate()?;
            let timings = found.iter().flat_map(|found| &found.timings);
            assert!(timings.into_iter().all(|timing| timing.hierarchical.is_some() == ranks_per_node.is_some()));
            let mut sum = values(group.rank(), 70_000);
            group.all_reduce_vec(&mut sum)?;
            assert_eq!(sum, plain_sum(ranks, 70_000), "{ranks} ranks");
            Ok::<_, CommError>((found.map(|found| found.settings), group.settings()))
        });
        let all: Vec<_> = results.into_iter().map(|found| found.unwrap()).collect();
        for (found, now) in &all {
            assert_eq!((found, now), (&all[0].0, &all[0].1), "{ranks} ranks");
            assert_eq!(*found, Some(*now));
        }
    }
}

#[test]
fn a_large_sum_takes_the_ring_by_default_chunks() {
    let (ranks, length) = (3, (5 << 20) / 8 * 3 + 17);
    let results = run(ranks, |ranks_door: &dyn Communicator| {
        let mut sum = values(ranks_door.rank(), length);
        ranks_door.all_reduce(&mut sum)?;
        Ok::<_, CommError>(sum == plain_sum(ranks, length))
    });
    assert_eq!(results, vec![Ok(true); ranks]);
}

/// Integer-valued floats are added without rounding, so any order gives the plain sum.
#[test]
fn floats_are_summed_as_well() {
    for algorithm in [Algorithm::Ring, Algorithm::Tree] {
        for ranks in [1, 2, 3, 5, 8] {
            let results = run_with(ranks, settings(algorithm, 64), |group| {
                let own = |index: usize| (group.rank() * 100 + index) as f64;
                let mut wide: Vec<f64> = (0..101).map(own).collect();
                let mut narrow: Vec<f32> = (0..101).map(|index| own(index) as f32).collect();
                group.sum(&mut wide, |a, b| a + b)?;
                group.sum(&mut narrow, |a, b| a + b)?;
                Ok::<_, CommError>((wide, narrow))
            });
            let expected: Vec<f64> = (0..101).map(|i| (ranks * (ranks - 1) / 2 * 100 + ranks * i) as f64).collect();
            for result in results {
                let (wide, narrow) = result.unwrap();
                assert_eq!(wide, expected);
                assert!(narrow.iter().zip(&expected).all(|(a, b)| f64::from(*a) == *b));
            }
        }
    }
}

/// Rounded sums may depend on the algorithm, never on the rank that reads them.
#[test]
fn all_ranks_end_with_the_same_bits() {
    for algorithm in [Algorithm::Ring, Algorithm::Tree, Algorithm::Hierarchical] {
        for ranks in [2, 3, 4, 5, 7, 8] {
            let results = run_with(ranks, on_nodes(2, algorithm, 128), |group| {
                let mut sum: Vec<f32> = (0..333).map(|i| value(group.rank(), i) as f32 * 1e-7).collect();
                group.sum(&mut sum, |a, b| a + b)?;
                Ok::<_, CommError>(sum.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            });
            assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{algorithm:?}, {ranks} ranks");
        }
    }
}

#[test]
fn the_operation_is_the_callers() {
    let results = run_with(4, settings(Algorithm::Ring, 64), |group| {
        let mut greatest = values(group.rank(), 50);
        group.sum(&mut greatest, i64::max)?;
        Ok::<_, CommError>(greatest)
    });
    let expected: Vec<_> = (0..50).map(|index| (0..4).map(|rank| value(rank, index)).max()).collect();
    for result in results {
        assert!(result.unwrap().into_iter().map(Some).eq(expected.iter().copied()));
    }
}

/// Two sums and a barrier at once, polled as a scan would between tiles, by each rank as often as it likes.
#[test]
fn sums_under_way_do_not_disturb_each_other() {
    let (ranks, long, short) = (5, 5000, 7);
    let results = run_with(ranks, settings(Algorithm::Auto, 512), |group| {
        let (mut first, mut second) = (values(group.rank(), long), values(group.rank(), short));
        let door: &dyn Communicator = group;
        let mut long_sum = door.start_all_reduce(&mut first)?;
        let mut short_sum = door.start_all_reduce(&mut second)?;
        for tile in 0..3 * group.rank() {
            let pending = if tile % 2 == 0 { &mut long_sum } else { &mut short_sum };
            pending.progress()?;
        }
        group.barrier()?;
        long_sum.wait()?;
        short_sum.wait()?;
        Ok::<_, CommError>((first, second))
    });
    for result in results {
        assert_eq!(result, Ok((plain_sum(ranks, long), plain_sum(ranks, short))));
    }
}

/// While one sum is waited for the others move: all stand when the last one begun, which is waited for alone, does.
#[test]
fn what_is_done_meanwhile_moves_other_sums() {
    let (ranks, length) = (4, 700);
    let results = run_with(ranks, settings(Algorithm::Ring, 64), |group| {
        let door: &dyn Communicator = group;
        let (mut first, mut last) = (values(group.rank(), length), values(group.rank() + ranks, length));
        let mut other = door.start_all_reduce(&mut first)?;
        let mut stands = false;
        door.start_all_reduce(&mut last)?.wait_while(&mut || {
            stands = stands || other.progress()?;
            Ok(())
        })?;
        while !stands {
            stands = other.progress()?;
            std::thread::yield_now();
        }
        drop(other);
        let failing = door.start_all_reduce(&mut [1; 3])?.wait_while(&mut || Err(CommError::Launch("asked to".into())));
        assert_eq!(failing, Err(CommError::Launch("asked to".into())));
        Ok::<_, CommError>((first, last))
    });
    let sum_from = |first: usize| -> Vec<i64> {
        let of = |index| (first..first + ranks).fold(0_i64, |sum, rank| sum.wrapping_add(value(rank, index)));
        (0..length).map(of).collect()
    };
    assert_eq!(results, vec![Ok((sum_from(0), sum_from(ranks))); ranks]);
}

#[test]
fn polling_alone_completes_a_sum() {
    for algorithm in [Algorithm::Ring, Algorithm::Hierarchical] {
        let results = run_with(4, on_nodes(2, algorithm, 64), |group| {
            let mut sum = values(group.rank(), 500);
            let mut pending = group.start_sum(&mut sum, i64::wrapping_add)?;
            while !pending.progress()? {
                std::thread::yield_now();
            }
            assert!(pending.progress()?, "a complete sum stays complete");
            Ok::<_, CommError>(sum)
        });
        for result in results {
            assert_eq!(result, Ok(plain_sum(4, 500)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_values_any_shape(
        ranks in 1_usize..7,
        length in 0_usize..300,
        chunk_bytes in 1_usize..600,
        algorithm in prop::sample::select(vec![Algorithm::Ring, Algorithm::Tree, Algorithm::Hierarchical]),
        together in 1_usize..4,
        seed in any::<i64>(),
    ) {
        let own = |rank: usize| values(rank, length).into_iter().map(|v| v.wrapping_mul(seed)).collect::<Vec<_>>();
        let results = run_with(ranks, on_nodes(together, algorithm, chunk_bytes), |group| {
            let mut sum = own(group.rank());
            group.all_reduce(&mut sum)?;
            Ok::<_, CommError>(sum)
        });
        let expected: Vec<_> = plain_sum(ranks, length).into_iter().map(|v| v.wrapping_mul(seed)).collect();
        for result in results {
            prop_assert_eq!(result, Ok(expected.clone()));
        }
    }
}
