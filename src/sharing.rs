//! Which rank reads which grains? Every grain is read by one rank, whichever it is: sums do not depend on it, so it never
//! shows in a result.
//!
//! Where all ranks see all shards, rank r takes the r-th of N contiguous parts of equal bytes. Where each node has only
//! some of them (`--local-shards`), ranks first tell each other what they have. The shards that the same ranks have
//! make a group; groups are dealt out in turn, those that few ranks have first. A group fills its ranks up to a common
//! level of bytes, as water would:
//!
//! ```text
//! bytes of a rank after the groups before     after a group of 6 that ranks 1, 2 and 3 have
//!   rank 0 ####                                 ####
//!   rank 1 ##                                   ##++         each + is a contiguous part of the group;
//!   rank 2 #                                    #+++         rank 3 has the most already, but not the level
//!   rank 3 ###                                  ###+
//! ```
//! All ranks compute the same from the same lists. Cost: one all-gather of a few bytes a shard and rank, once a training.

use std::collections::BTreeMap;
use std::ops::Range;

use gristmill_io::dataset::{Dataset, GrainEntry};
use gristmill_io::manifest::Split;
use mpi_launch::Communicator;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ranks;

/// Most ranks that a complaint lists.
const LISTED_MAX: usize = 8;

/// The numbers of the grains of a split that this rank reads, in rising order. Collective where the dataset is spread over
/// nodes.
///
/// # Errors
/// When some shard is on no rank, or a rank is lost.
pub fn own_grains(comm: &dyn Communicator, dataset: &Dataset, split: Split) -> Result<Vec<usize>> {
    let grains = dataset.grains(split);
    if !dataset.is_local() {
        let group: Vec<usize> = (0..grains.len()).collect();
        let parts = parts(grains, &group, &vec![0; comm.size()]);
        return Ok(group[parts[comm.rank()].clone()].to_vec());
    }
    let held = told(comm, dataset, split)?;
    let lists: Vec<&[usize]> = held.iter().map(|held| held.shards.as_slice()).collect();
    // All have the same lists, and miss the same.
    dealt(grains, &lists, comm.rank()).map_err(|shards| ranks::of_all(comm, nowhere(dataset, &shards, &held)))
}

/// What a rank has of a split, as it tells the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held {
    rank: String,
    /// Numbers in the manifest, in rising order.
    shards: Vec<usize>,
}

fn told(comm: &dyn Communicator, dataset: &Dataset, split: Split) -> Result<Vec<Held>> {
    let shards = dataset.manifest().shards.iter().zip(dataset.shards()).enumerate();
    let here = shards.filter(|(_, (entry, shard))| entry.split == split && shard.is_here());
    let own = Held { rank: ranks::name(comm), shards: here.map(|(number, _)| number).collect() };
    let told = comm.all_gather(&serde_json::to_vec(&own).unwrap_or_default())?;
    let odd = |error| Error::usage(format!("a rank says in no known way which shards it has: {error}"));
    told.iter().map(|held| serde_json::from_slice(held)).collect::<std::result::Result<_, _>>().map_err(odd)
}

fn nowhere(dataset: &Dataset, shards: &[usize], held: &[Held]) -> Error {
    let first = shards.first().and_then(|number| dataset.manifest().shards.get(*number));
    let first = first.map_or(String::new(), |entry| entry.file.file.clone());
    let more = if shards.len() > 1 { format!(" and {} more are", shards.len() - 1) } else { " is".to_string() };
    let mut lines: Vec<String> =
        held.iter().take(LISTED_MAX).map(|held| format!("{} has {}", held.rank, held.shards.len())).collect();
    if held.len() > LISTED_MAX {
        lines.push(format!("{} more ranks", held.len() - LISTED_MAX));
    }
    Error::usage(format!(
        "{}: {first}{more} on no rank ({}). Copy every shard to some node of the job, or start ranks on the nodes that have \
         them",
        dataset.folder().display(),
        lines.join(", ")
    ))
}

/// The grains of `rank` where rank r has the shards `held[r]`; or the shards that nobody has.
fn dealt(grains: &[GrainEntry], held: &[&[usize]], rank: usize) -> std::result::Result<Vec<usize>, Vec<usize>> {
    let mut holders: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for grain in grains {
        holders.entry(grain.shard).or_default();
    }
    for (rank, shards) in held.iter().enumerate() {
        for shard in *shards {
            holders.entry(*shard).or_default().push(rank);
        }
    }
    let missing: Vec<usize> = holders.iter().filter(|(_, ranks)| ranks.is_empty()).map(|(shard, _)| *shard).collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let mut groups: BTreeMap<(usize, &[usize]), Vec<usize>> = BTreeMap::new();
    for (place, grain) in grains.iter().enumerate() {
        let ranks = holders[&grain.shard].as_slice();
        groups.entry((ranks.len(), ranks)).or_default().push(place);
    }
    let mut loads = vec![0; held.len()];
    let mut own = Vec::new();
    for ((_, ranks), group) in &groups {
        let before: Vec<u64> = ranks.iter().map(|rank| loads[*rank]).collect();
        for (&holder, part) in ranks.iter().zip(parts(grains, group, &before)) {
            loads[holder] += bytes(grains, &group[part.clone()]);
            if holder == rank {
                own.extend(group[part].iter().map(|place| grains[*place].number));
            }
        }
    }
    own.sort_unstable();
    Ok(own)
}

fn bytes(grains: &[GrainEntry], places: &[usize]) -> u64 {
    places.iter().map(|place| grains[*place].bytes).sum()
}

/// Cuts a group of grains into a contiguous part a rank, so that ranks that have `loads` bytes already come to the same
/// level, to half a grain on each side. A cut lies where the bytes before it are nearest to what they should be.
fn parts(grains: &[GrainEntry], group: &[usize], loads: &[u64]) -> Vec<Range<usize>> {
    let level = level(bytes(grains, group), loads);
    let mut before_rank = 0_u128;
    let mut cuts = vec![0];
    for load in loads {
        before_rank += level.saturating_sub(u128::from(*load));
        let mut before = 0_u128;
        // The first grain whose middle lies beyond the cut.
        let beyond = group.iter().position(|place| {
            let bytes = u128::from(grains[*place].bytes);
            before += bytes;
            before - bytes / 2 > before_rank
        });
        cuts.push(beyond.unwrap_or(group.len()));
    }
    if let Some(last) = cuts.last_mut() {
        *last = group.len();
    }
    cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// The level to which `more` bytes fill up ranks that have `loads` bytes.
fn level(more: u64, loads: &[u64]) -> u128 {
    let mut rising: Vec<u128> = loads.iter().map(|load| u128::from(*load)).collect();
    rising.sort_unstable();
    let (mut sum, mut level) = (u128::from(more), 0);
    for (place, load) in rising.iter().enumerate() {
        if place > 0 && level <= *load {
            break;
        }
        sum += load;
        level = sum / (place as u128 + 1);
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grains of so many bytes, `per_shard` in each shard.
    fn grains(bytes: &[u64], per_shard: usize) -> Vec<GrainEntry> {
        let entry = |(number, &bytes): (usize, &u64)| GrainEntry {
            number,
            first_row: 0,
            rows: 1,
            bytes,
            shard: number / per_shard,
            batch: number % per_shard,
        };
        bytes.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn grains_are_shared_out_by_bytes() {
        let cases: [&[u64]; 5] = [&[], &[5], &[10; 7], &[100, 1, 1, 1, 1, 100], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]];
        for bytes in cases {
            let grains = grains(bytes, 3);
            let group: Vec<usize> = (0..grains.len()).collect();
            let (total, most) = (bytes.iter().sum::<u64>(), bytes.iter().copied().max().unwrap_or(0));
            for ranks in 1..6 {
                let all = parts(&grains, &group, &vec![0; ranks]);
                assert!(all.iter().cloned().flatten().eq(0..grains.len()), "{bytes:?}: {all:?}");
                for own in all {
                    let own: u64 = bytes[own].iter().sum();
                    assert!(own <= total / ranks as u64 + most + 1, "{bytes:?} on {ranks}: {own}");
                }
            }
        }
    }

    #[test]
    fn water_finds_its_level() {
        assert_eq!(level(6, &[0, 0, 0]), 2);
        assert_eq!(level(6, &[2, 1, 3]), 4);
        assert_eq!(level(3, &[9, 0, 1]), 2);
        assert_eq!(level(0, &[7, 5]), 5);
    }

    #[test]
    fn every_grain_has_one_rank_that_has_it() {
        let all = grains(&[10; 12], 2);
        let cases: [&[&[usize]]; 6] = [
            &[&[0, 1, 2], &[3, 4, 5]],
            &[&[0, 1, 2, 3, 4, 5]],
            // Two nodes of two ranks each; one node has more.
            &[&[0, 1, 2, 3], &[0, 1, 2, 3], &[4, 5], &[4, 5]],
            // Copies that overlap, and a rank that has nothing.
            &[&[0, 1, 2, 3], &[2, 3, 4, 5], &[], &[0, 5]],
            &[&[0, 1, 2, 3, 4, 5], &[5]],
            &[&[0], &[0, 1, 2, 3, 4, 5], &[0, 1, 2, 3, 4, 5]],
        ];
        for held in cases {
            let own: Vec<Vec<usize>> =
                (0..held.len()).map(|rank| dealt(&all, held, rank).expect("all are somewhere")).collect();
            let mut seen: Vec<usize> = own.iter().flatten().copied().collect();
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..12), "{held:?}: {own:?}");
            for (own, held) in own.iter().zip(held) {
                assert!(own.is_sorted() && own.iter().all(|grain| held.contains(&(grain / 2))), "{held:?}: {own:?}");
            }
        }
        let counts = |held: &[&[usize]]| -> Vec<usize> {
            (0..held.len()).map(|rank| dealt(&all, held, rank).map_or(0, |own| own.len())).collect()
        };
        assert_eq!(counts(cases[2]), [4, 4, 2, 2]);
        assert_eq!(counts(cases[4]), [10, 2]);
        assert_eq!(counts(cases[5]), [2, 5, 5]);
        assert_eq!(dealt(&all, &[&[0, 1], &[3, 5]], 0), Err(vec![2, 4]));
    }
}
