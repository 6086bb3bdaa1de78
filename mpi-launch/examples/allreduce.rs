//! Ring, tree and (between several nodes of several ranks) rings of nodes against the MPI library's own in-place
//! `MPI_Allreduce`, 1 KiB to 256 MiB of i64.
//!
//! `mpirun -n 4 target/release/examples/allreduce [LARGEST_MIB] [CHUNK_KIB] [LANES] [RANKS_PER_NODE]` (build it with
//! `cargo build --release -p mpi-launch --features mpi --example allreduce`). Each answer is checked before it is
//! timed; the ways are timed in turn, round by round; a round's time is that of its slowest rank. The table shows medians, and how
//! many times faster than `MPI_Allreduce` each is: the median of the rounds' own ratios, which a machine that slows down for a
//! while changes less than a ratio of medians.
#![forbid(unsafe_code)]

use std::time::Instant;

use mpi_launch::world::{World, library, world};
use mpi_launch::{Algorithm, CommError, Communicator, Group, Settings};

/// Ways compared, the last where there are nodes; the first is the one to beat.
const WAYS: [Algorithm; 4] = [Algorithm::Mpi, Algorithm::Ring, Algorithm::Tree, Algorithm::Hierarchical];

/// The slowest way takes about so long a round.
const ROUND_SECONDS: f64 = 0.1;

fn main() -> Result<(), CommError> {
    let number = |place: usize, default: usize| {
        std::env::args().nth(place).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (largest, chunk_bytes) = (number(1, 256) << 20, number(2, Settings::default().chunk_bytes >> 10) << 10);
    let lanes = number(3, Settings::default().lanes as usize) as u32;
    let ranks_per_node = std::num::NonZero::new(number(4, 0));
    let lanes_in_memory = number(3, Settings::default().lanes_in_memory as usize) as u32;
    let settings = Settings { chunk_bytes, lanes, lanes_in_memory, ranks_per_node, ..Settings::default() };
    let group = world(settings)?;
    let ways = if group.has_nodes() { &WAYS[..] } else { &WAYS[..3] };
    let first = group.rank() == 0;
    if first {
        println!(
            "{} ranks, {}, {lanes} lanes ({lanes_in_memory} in memory) of {} KiB",
            group.size(),
            library(),
            chunk_bytes >> 10
        );
        let cells = ways.iter().map(|way| format!(" {:>15}", format!("{} us", way.name()))).collect::<String>();
        let ratios = ways[1..].iter().map(|way| format!(" {:>14}", format!("{} x", way.name()))).collect::<String>();
        println!("{:>12}{cells}{ratios}", "bytes");
    }
    let mut bytes = 1 << 10;
    while bytes <= largest {
        let seconds = compare(&group, settings, ways, bytes)?;
        if first {
            let times = seconds.iter().map(|seconds| median(seconds.iter().map(|seconds| seconds * 1e6)));
            let faster = |own: &Vec<f64>| median(seconds[0].iter().zip(own).map(|(mpi, own)| mpi / own));
            let cells = times.map(|time| format!(" {time:>15.1}")).collect::<String>();
            let ratios = seconds[1..].iter().map(|own| format!(" {:>14.2}", faster(own))).collect::<String>();
            println!("{bytes:>12}{cells}{ratios}");
        }
        bytes *= 4;
    }
    Ok(())
}

/// Seconds of each way for a sum of `bytes`, round by round.
fn compare(
    group: &Group<World>,
    settings: Settings,
    ways: &[Algorithm],
    bytes: usize,
) -> Result<Vec<Vec<f64>>, CommError> {
    let length = bytes / 8;
    let mut values = vec![0_i64; length];
    let mut slowest = 0.0_f64;
    for &algorithm in ways {
        group.set(Settings { algorithm, ..settings });
        check(group, &mut values)?;
        values.fill(0);
        let start = Instant::now();
        group.all_reduce_vec(&mut values)?;
        slowest = slowest.max(start.elapsed().as_secs_f64());
    }
    let slowest = slowest_of_all(group, slowest)?;
    let (rounds, most) = match bytes {
        0..0x10_0000 => (41, 50),
        0x10_0000..0x200_0000 => (21, (16 << 20) / bytes),
        _ => (9, 1),
    };
    // Ranks that outnumber the cores, or a slow network, take milliseconds a call: then few calls say enough.
    let calls = ((ROUND_SECONDS / slowest) as usize).clamp(1, most);
    let mut seconds = vec![Vec::new(); ways.len()];
    for _round in 0..rounds {
        for (&algorithm, seconds) in ways.iter().zip(&mut seconds) {
            group.set(Settings { algorithm, ..settings });
            group.barrier()?;
            let start = Instant::now();
            for _call in 0..calls {
                group.all_reduce_vec(&mut values)?;
            }
            seconds.push(slowest_of_all(group, start.elapsed().as_secs_f64() / calls as f64)?);
        }
    }
    Ok(seconds)
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The greatest over ranks, on all of them.
fn slowest_of_all(group: &Group<World>, own: f64) -> Result<f64, CommError> {
    let all = group.all_gather(&own.to_le_bytes())?;
    let read = |bytes: &Vec<u8>| bytes.first_chunk().map_or(f64::NAN, |bytes| f64::from_le_bytes(*bytes));
    Ok(all.iter().map(read).fold(0.0, f64::max))
}

/// One sum whose answer is known: rank r adds r + 1 times the index.
fn check(group: &Group<World>, values: &mut Vec<i64>) -> Result<(), CommError> {
    let (rank, ranks) = (group.rank() as i64, group.size() as i64);
    for (index, value) in values.iter_mut().enumerate() {
        *value = (rank + 1) * index as i64;
    }
    group.all_reduce_vec(values)?;
    let factor = ranks * (ranks + 1) / 2;
    match values.iter().enumerate().find(|(index, value)| **value != factor * *index as i64) {
        None => Ok(()),
        Some((index, value)) => {
            eprintln!("wrong sum at {index}: {value}, expected {}", factor * index as i64);
            group.abort("wrong sum", 1);
            Ok(())
        }
    }
}
