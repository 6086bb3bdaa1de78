//! `doctor` under mpirun: where the ranks are, and whether and how fast they add.

use std::time::Instant;

use mpi_launch::{Algorithm, Communicator};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::ranks::{self, Place};
use crate::report::{Table, number};

/// Elements of the sum whose speed is told: 32 MiB, far beyond what latency matters for.
const LONG: usize = 4 << 20;
/// Sums of that length.
const ROUNDS: usize = 3;

/// What was found of the ranks.
#[derive(Debug, Serialize)]
pub struct RanksFinding {
    /// Each rank.
    pub map: Vec<RankFinding>,
    /// Sums whose answer is known and was found, of several lengths by each way.
    pub sums_right: usize,
    /// Microseconds of a sum of 256 bytes, by the faster way.
    pub short_sum_us: f64,
    /// Bytes a second that each rank sends in a long sum around the ring.
    pub ring_bytes_per_s: f64,
    /// What `--allreduce auto` takes.
    pub auto: String,
    /// Seconds by length and way.
    pub timings: Vec<TimingFinding>,
}

/// Where a rank is.
#[derive(Debug, Serialize)]
pub struct RankFinding {
    /// Its number.
    pub rank: usize,
    /// Its host.
    pub host: String,
    /// Cores that it may run on: `0-3,8`.
    pub cores: String,
    /// Threads that it takes without `--threads`.
    pub threads: usize,
}

/// Microseconds of a sum.
#[derive(Debug, Serialize)]
pub struct TimingFinding {
    /// Bytes summed.
    pub bytes: usize,
    /// By the tree.
    pub tree_us: f64,
    /// Around the ring.
    pub ring_us: f64,
    /// Around rings of nodes, where there are several of as many ranks.
    pub hierarchical_us: Option<f64>,
    /// By `MPI_Allreduce`.
    pub mpi_us: Option<f64>,
}

/// Looks at all ranks and has them add; none when there is only one.
///
/// # Errors
/// When a rank is lost or a sum is wrong.
pub fn look(comm: &dyn Communicator) -> Result<Option<RanksFinding>> {
    if comm.size() == 1 {
        return Ok(None);
    }
    let places = ranks::places(comm)?;
    let sums_right = ranks::agree(comm, check(comm))?;
    comm.set_algorithm(Algorithm::Auto);
    let Some(found) = comm.calibrate()? else { return Ok(None) };
    let ring_bytes_per_s = speed(comm)?;
    comm.set_algorithm(Algorithm::Auto);
    let map = places.iter().enumerate().map(|(rank, place)| RankFinding {
        rank,
        host: place.host.clone(),
        cores: ranges(&place.cores),
        threads: ranks::threads_of(rank, &places),
    });
    let us = |seconds: f64| (seconds * 1e7).round() / 10.0;
    let timings: Vec<TimingFinding> = found
        .timings
        .iter()
        .map(|timing| TimingFinding {
            bytes: timing.bytes,
            tree_us: us(timing.tree),
            ring_us: us(timing.ring),
            hierarchical_us: timing.hierarchical.map(us),
            mpi_us: timing.mpi.map(us),
        })
        .collect();
    let short = found.timings.first().map_or(f64::NAN, |timing| timing.tree.min(timing.mpi.unwrap_or(f64::INFINITY)));
    Ok(Some(RanksFinding {
        map: map.collect(),
        sums_right,
        short_sum_us: us(short),
        ring_bytes_per_s,
        auto: found.words(),
        timings,
    }))
}

/// Sums with known answers: rank r gives (r + 1) (i + 1) at place i.
fn check(comm: &dyn Communicator) -> Result<usize> {
    let ranks = comm.size();
    let mut right = 0;
    for (name, algorithm) in Algorithm::NAMES {
        comm.set_algorithm(algorithm);
        for length in [0, 1, ranks - 1, ranks, ranks + 1, 1_000, 100_003] {
            let mut sum: Vec<i64> = (0..length).map(|i| (comm.rank() as i64 + 1) * (i as i64 + 1)).collect();
            comm.all_reduce_vec(&mut sum)?;
            let factor = (ranks * (ranks + 1) / 2) as i64;
            if let Some(place) = (0..length).find(|&i| sum[i] != factor * (i as i64 + 1)) {
                let (found, expected) = (sum[place], factor * (place as i64 + 1));
                return Err(Error::Sum(format!(
                    "a sum of {length} numbers by {name} is {found} at place {place}, {expected} was expected: the network or \
                     the MPI library changes data"
                )));
            }
            right += 1;
        }
    }
    Ok(right)
}

/// Bytes a second that a rank sends in a long sum around the ring.
fn speed(comm: &dyn Communicator) -> Result<f64> {
    comm.set_algorithm(Algorithm::Ring);
    let mut sum = vec![1_i64; LONG];
    let mut best = f64::INFINITY;
    for _round in 0..ROUNDS {
        comm.barrier()?;
        let began = Instant::now();
        comm.all_reduce_vec(&mut sum)?;
        best = best.min(began.elapsed().as_secs_f64());
    }
    let slowest = comm.all_gather(&best.to_le_bytes())?;
    let read = |bytes: &Vec<u8>| bytes.first_chunk().map_or(0.0, |bytes| f64::from_le_bytes(*bytes));
    let slowest = slowest.iter().map(read).fold(0.0, f64::max);
    let ranks = comm.size() as f64;
    Ok(2.0 * (ranks - 1.0) / ranks * (LONG * 8) as f64 / slowest)
}

/// Numbers in words: `0-3,8`.
fn ranges(numbers: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let words = parts.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    words.collect::<Vec<_>>().join(",")
}

/// In words, with what one should know.
pub fn text(found: &RanksFinding) -> String {
    let mut map = Table::with_head(&[">rank", "host", "cores", ">threads"]);
    for rank in &found.map {
        map.line([rank.rank.to_string(), rank.host.clone(), rank.cores.clone(), rank.threads.to_string()]);
    }
    let mut times = Table::with_head(&[">bytes", ">tree us", ">ring us", ">hierarchical us", ">mpi us"]);
    for timing in &found.timings {
        let us = |us: f64| format!("{us:.1}");
        let where_there_is = |found: Option<f64>| found.map_or("-".to_string(), us);
        let (nodes, mpi) = (where_there_is(timing.hierarchical_us), where_there_is(timing.mpi_us));
        times.line([number::binary_bytes(timing.bytes as u64), us(timing.tree_us), us(timing.ring_us), nodes, mpi]);
    }
    let mut about = Table::of_pairs();
    about.pair("sums", format!("{} of known answer, all right", found.sums_right));
    about.pair("latency", format!("{:.1} us for a sum of 256 bytes", found.short_sum_us));
    about.pair("ring", format!("{} sent by each rank in a sum of 32 MiB", number::gb_per_s(found.ring_bytes_per_s)));
    about.pair("auto", found.auto.clone());
    format!("ranks\n{}\n\nall-reduce\n{}\n{}", map.text(2), about.text(2), times.text(2))
}

/// What is wrong with the placement, if anything: more threads on a node than its ranks have cores.
pub fn crowding(places: &[Place]) -> Option<String> {
    let crowded = |own: &&Place| {
        let node: Vec<&Place> = places.iter().filter(|place| place.node == own.node).collect();
        let mut cores: Vec<usize> = node.iter().flat_map(|place| place.cores.iter().copied()).collect();
        cores.sort_unstable();
        cores.dedup();
        !cores.is_empty() && node.len() > cores.len()
    };
    let own = places.iter().find(crowded)?;
    Some(format!("host {} has more ranks than cores: they take turns. Start fewer ranks there", own.host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpi_launch::threads;

    #[test]
    fn numbers_become_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 3, 8]), "0-3,8");
        assert_eq!(ranges(&[5]), "5");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn ranks_are_found_and_their_sums_are_right() {
        for ranks in [2, 3] {
            let all = threads::run(ranks, |comm| look(comm));
            for found in all {
                let found = found.expect("no rank is lost").expect("several ranks");
                assert_eq!((found.map.len(), found.sums_right), (ranks, Algorithm::NAMES.len() * 7));
                assert!(found.ring_bytes_per_s > 0.0 && found.short_sum_us > 0.0 && text(&found).contains("all right"));
            }
        }
    }

    #[test]
    fn crowding_is_named() {
        let place = |cores: std::ops::Range<usize>| Place {
            node: "n".into(),
            host: "h".into(),
            cores: cores.collect(),
            usable: 2,
        };
        assert_eq!(crowding(&[place(0..2), place(0..2)]), None);
        assert_eq!(crowding(&[place(0..1), place(1..2)]), None);
        assert!(crowding(&[place(0..2), place(0..2), place(0..2)]).is_some_and(|text| text.contains("host h")));
    }
}
