//! Promises about ranks under a real mpirun (feature `mpi`): each test starts this test binary again as several
//! ranks, which run [`body`].
//!
//! Skipped, with a message, where mpirun is missing or cannot start a process.
#![cfg(feature = "mpi")]
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use mpi_launch::launch::connect;
use mpi_launch::{Algorithm, CommError, Communicator, Settings};

/// Tells [`body`] what to do.
const CASE: &str = "MPI_LAUNCH_TEST_CASE";

/// `mpirun -n ranks` of this test binary with the given case; `None` where there is no mpirun.
fn mpirun(ranks: usize, case: &str) -> Option<Output> {
    let version = Command::new("mpirun").arg("--version").output().ok()?;
    let session = tempfile::tempdir().unwrap();
    let mut command = Command::new("mpirun");
    if String::from_utf8_lossy(&version.stdout).contains("Open MPI") {
        command.args(["--oversubscribe", "--bind-to", "none"]);
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        // Runs that share a session folder remove it under one another.
        command.env("OMPI_MCA_orte_tmpdir_base", session.path());
    }
    command.args(["-n", &ranks.to_string()]).arg(std::env::current_exe().unwrap());
    command.args(["body", "--exact", "--ignored", "--nocapture"]).env(CASE, case);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
    let started = Instant::now();
    // Ranks print little: the pipes hold it until they end.
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(100) {
            child.kill().unwrap();
            panic!("{case} on {ranks} ranks did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().ok()
}

/// Runs the case and hands its success, output and error output on; says so when it cannot.
fn under_mpirun(ranks: usize, case: &str, check: impl Fn(bool, &str, &str)) {
    match mpirun(ranks, case) {
        None => println!("skipped: no mpirun here; install openmpi-bin or mpich"),
        Some(output) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            check(output.status.success(), &text(&output.stdout), &text(&output.stderr));
        }
    }
}

fn value(rank: usize, index: usize) -> i64 {
    ((rank as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index as u64).wrapping_mul(0xbf58_476d).cast_signed()
}

/// Sums of many lengths, both ways of waiting, spreads.
fn exchange(door: &dyn Communicator) -> Result<(), CommError> {
    let (rank, ranks) = (door.rank(), door.size());
    for length in [0, 1, ranks - 1, ranks, ranks + 1, 1000, 32_768, 300_007, 3_000_001] {
        let expected = |index: usize| (0..ranks).fold(0_i64, |sum, from| sum.wrapping_add(value(from, index)));
        let right = |sum: &[i64]| sum.iter().enumerate().all(|(index, sum)| *sum == expected(index));
        let mut sum: Vec<i64> = (0..length).map(|index| value(rank, index)).collect();
        let (mut again, mut owned) = (sum.clone(), sum.clone());
        door.all_reduce_vec(&mut owned)?;
        assert!(right(&owned), "handed-over sum of {length} on {ranks} ranks");
        door.all_reduce(&mut sum)?;
        assert!(right(&sum), "sum of {length} on {ranks} ranks");
        let mut pending = door.start_all_reduce(&mut again)?;
        for _tile in 0..rank * 3 {
            pending.progress()?;
        }
        door.barrier()?;
        pending.wait()?;
        assert!(right(&again), "polled sum of {length} on {ranks} ranks");
    }
    for root in 0..ranks {
        let mut bytes = vec![rank as u8; 3_000_000 + rank];
        door.broadcast(&mut bytes, root)?;
        assert_eq!(bytes, vec![root as u8; 3_000_000 + root]);
    }
    let gathered = door.all_gather(&vec![rank as u8; rank * 700_000])?;
    assert!(gathered.iter().enumerate().all(|(from, bytes)| *bytes == vec![from as u8; from * 700_000]));
    door.barrier()
}

/// `auto` chooses by a trial first.
fn calibrated(door: &dyn Communicator, algorithm: Algorithm) -> Result<(), CommError> {
    if algorithm == Algorithm::Auto {
        let found = door.calibrate()?;
        assert!(found.is_none_or(|found| found.timings.iter().all(|timing| timing.mpi.is_some())));
    }
    Ok(())
}

/// What a rank does; alone (without a launcher and a case) it exchanges with itself.
#[test]
#[ignore = "run by the other tests under mpirun"]
fn body() {
    let case = std::env::var(CASE).unwrap_or_default();
    let named = Algorithm::NAMES.iter().find(|(name, _)| case.ends_with(name));
    let algorithm = named.map_or(Algorithm::Auto, |named| named.1);
    let patience = (case == "silence").then_some(Duration::from_secs(1));
    // `2 a node, hierarchical`; else MPI says who shares a node, which is all ranks of this machine.
    let ranks_per_node = case.split(' ').next().and_then(|word| word.parse().ok());
    let settings = Settings { algorithm, patience, ranks_per_node, short_segment_bytes: 0, ..Settings::default() };
    let door = connect(settings).unwrap();
    let mut line = format!("rank {} of {}: ", door.rank(), door.size());
    match (case.as_str(), door.rank()) {
        ("abort", 1) => {
            eprintln!("rank 1 failed: disk full");
            door.abort("disk full", 3);
        }
        ("panic", 1) => panic!("rank 1 is out of luck"),
        // The first sum is empty: the others miss this rank at the barrier after it.
        ("silence", 1) => std::thread::sleep(Duration::from_secs(30)),
        ("lengths ring" | "lengths tree" | "2 a node, lengths hierarchical", rank) => {
            // At least one of the ranks sees it.
            match door.all_reduce(&mut vec![1; 10 + 8 * rank]).and_then(|()| door.barrier()) {
                Err(error) => eprintln!("{line}{error}"),
                Ok(()) => eprintln!("{line}no error"),
            }
            door.abort("lengths", 1);
        }
        _ => match calibrated(&*door, algorithm).and_then(|()| exchange(&*door)) {
            Ok(()) => write!(line, "all sums right").unwrap(),
            Err(error) => {
                eprintln!("{line}{error}");
                door.abort(&error.to_string(), 1);
            }
        },
    }
    // One write a line: the launcher mixes the ranks' output.
    println!("{line}");
}

#[test]
fn every_algorithm_sums_right_on_one_to_four_ranks() {
    for (name, _) in Algorithm::NAMES {
        for ranks in 1..=4 {
            under_mpirun(ranks, name, |success, out, err| {
                assert!(success, "{name} on {ranks} ranks: {out}{err}");
                let found = out.matches(&format!("of {ranks}: all sums right")).count();
                assert_eq!(found, ranks, "{name} on {ranks} ranks: {out}{err}");
            });
        }
    }
}

#[test]
fn sums_over_nodes_are_right() {
    for (ranks, case) in [(4, "2 a node, hierarchical"), (4, "2 a node, auto"), (4, "3 a node, hierarchical")] {
        under_mpirun(ranks, case, |success, out, err| {
            assert!(success, "{case} on {ranks} ranks: {out}{err}");
            assert_eq!(out.matches("of 4: all sums right").count(), ranks, "{case}: {out}{err}");
        });
    }
}

#[test]
fn a_rank_that_aborts_ends_all_with_its_exit_code() {
    under_mpirun(3, "abort", |success, out, err| {
        assert!(!success && err.contains("rank 1 failed: disk full"), "{out}{err}");
        assert!(!out.contains("all sums right"), "{out}{err}");
    });
}

#[test]
fn a_rank_that_panics_ends_all() {
    under_mpirun(3, "panic", |success, out, err| {
        assert!(!success && err.contains("rank 1 is out of luck"), "{out}{err}");
    });
}

#[test]
fn a_silent_rank_is_named_within_its_time() {
    let started = Instant::now();
    under_mpirun(2, "silence", |success, out, err| {
        assert!(!success && err.contains("rank 0 of 2: rank 1 was lost while waiting at a barrier"), "{out}{err}");
        assert!(started.elapsed() < Duration::from_secs(20), "took {:?}", started.elapsed());
    });
}

#[test]
fn slices_of_different_length_are_an_error() {
    for (ranks, case) in [(2, "lengths ring"), (2, "lengths tree"), (4, "2 a node, lengths hierarchical")] {
        under_mpirun(ranks, case, |success, out, err| {
            assert!(!success && err.contains("bytes where") && err.contains("were expected"), "{case}: {out}{err}");
        });
    }
}
