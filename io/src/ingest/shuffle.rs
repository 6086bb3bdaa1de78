//! A full random shuffle in bounded memory (stage 2).
//!
//! Every row has a random 64-bit key, a function of (seed, row number), and rows are stored in the order of their keys:
//!
//! ```text
//! pieces in source order --scatter by the key's leading bits--> buckets --sort by key--> rows in random order
//! ```
//!
//! Scattering reorders a group of rows by bucket with one gather; a bucket is then a list of slices, in memory or in a
//! temporary file. A bucket is sorted when it is encoded. The order depends on keys alone (equal keys, one pair in 2^64, keep
//! their source order), not on groups, buckets or memory. Cost: two gathers a value, and beyond memory one more write and
//! read of the rows.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

use arrow::array::types::UInt64Type;
use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};

use super::keep::{Piece, SpillFile};
use super::packed::Packing;
use super::parallel;
use super::sequence::lock;
use crate::error::{Error, Result};
use crate::watch::Cancel;

/// Rows that are loaded together.
#[derive(Debug)]
pub enum Lot {
    /// As they came.
    Piece(Piece),
    /// To be sorted by their keys, which are the last column; packed where it says how.
    Bucket(Vec<Piece>, Option<Arc<Packing>>),
}

impl Lot {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Lot::Piece(piece) => piece.rows(),
            Lot::Bucket(fragments, _) => fragments.iter().map(Piece::rows).sum(),
        }
    }

    /// The rows in their final order.
    ///
    /// # Errors
    /// [`Error::Io`] when a temporary file cannot be read.
    pub fn load(&self) -> Result<RecordBatch> {
        match self {
            Lot::Piece(piece) => piece.load(),
            Lot::Bucket(fragments, packing) => {
                let parts = fragments.iter().map(Piece::load).collect::<Result<Vec<_>>>()?;
                let Some(first) = parts.first() else { return Err(Error::Usage("a bucket has no rows".into())) };
                let all = concat_batches(&first.schema(), &parts).map_err(|error| super::odd(&error))?;
                drop(parts);
                let keys = keys(&all)?;
                let mut order: Vec<(u64, u32)> = keys.iter().zip(0u32..).map(|(&key, row)| (key, row)).collect();
                order.sort_unstable();
                let order = UInt32Array::from_iter_values(order.into_iter().map(|(_, row)| row));
                let columns: Vec<usize> = (0..all.num_columns() - 1).collect();
                let all = all.project(&columns).map_err(|error| super::odd(&error))?;
                let sorted = take_record_batch(&all, &order).map_err(|error| super::odd(&error))?;
                drop(all);
                match packing {
                    Some(packing) => packing.unpack(&sorted),
                    None => Ok(sorted),
                }
            }
        }
    }
}

fn keys(batch: &RecordBatch) -> Result<arrow::buffer::ScalarBuffer<u64>> {
    let keys = batch.columns().last().and_then(|keys| keys.as_primitive_opt::<UInt64Type>());
    keys.map(|keys| keys.values().clone()).ok_or_else(|| Error::Usage("rows to shuffle have no keys".into()))
}

/// How a shuffle is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Number of threads.
    pub threads: usize,
    /// Bytes of a bucket.
    pub bucket_bytes: u64,
    /// Bytes that are scattered together.
    pub group_bytes: u64,
}

/// Scatter `pieces` (with their keys) to buckets; into `spill`, or in memory without it.
///
/// # Errors
/// [`Error::Io`] when a temporary file cannot be written or read, or [`Error::Interrupted`].
pub fn scatter(pieces: Vec<Piece>, plan: Plan, spill: Option<&Arc<SpillFile>>, cancel: &Cancel) -> Result<Vec<Lot>> {
    let bytes: u64 = pieces.iter().map(Piece::bytes).sum();
    let buckets = (bytes / plan.bucket_bytes.max(1)).clamp(1, 65_536) as usize;
    let groups = groups(&pieces, if spill.is_some() { plan.group_bytes } else { 0 });
    // Taken out as they are scattered, so that rows in memory are not held twice.
    let pieces: Vec<Mutex<Option<Piece>>> = pieces.into_iter().map(|piece| Mutex::new(Some(piece))).collect();
    let packing = OnceLock::new();
    let scattered = parallel::each(plan.threads, groups.len(), cancel, |group| {
        let parts = pieces[groups[group].clone()].iter().filter_map(|piece| lock(piece).take());
        let parts = parts.map(|piece| piece.load()).collect::<Result<Vec<_>>>()?;
        let Some(first) = parts.first() else { return Ok(Vec::new()) };
        let mut rows = if parts.len() == 1 {
            first.clone()
        } else {
            concat_batches(&first.schema(), &parts).map_err(|error| super::odd(&error))?
        };
        drop(parts);
        if spill.is_some()
            && let Some(packing) = packing.get_or_init(|| Packing::of(&rows.schema()).map(Arc::new))
        {
            rows = packing.pack(&rows)?;
        }
        split_up(&rows, buckets)?
            .into_iter()
            .map(|(bucket, rows)| {
                Ok((bucket, spill.map_or_else(|| Ok(Piece::Memory(rows.clone())), |file| file.write(&rows))?))
            })
            .collect()
    })?;
    let mut lots: Vec<Vec<Piece>> = (0..buckets).map(|_| Vec::new()).collect();
    scattered.into_iter().flatten().for_each(|(bucket, piece)| lots[bucket].push(piece));
    let packing = packing.into_inner().flatten();
    let full = lots.into_iter().filter(|pieces| !pieces.is_empty());
    Ok(full.map(|pieces| Lot::Bucket(pieces, packing.clone())).collect())
}

/// Runs of pieces of about `bytes` together.
fn groups(pieces: &[Piece], bytes: u64) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut held) = (0, 0);
    for (number, piece) in pieces.iter().enumerate() {
        held += piece.bytes();
        if held >= bytes {
            groups.push(start..number + 1);
            (start, held) = (number + 1, 0);
        }
    }
    if start < pieces.len() {
        groups.push(start..pieces.len());
    }
    groups
}

/// The rows of each bucket, in their order.
fn split_up(rows: &RecordBatch, buckets: usize) -> Result<Vec<(usize, RecordBatch)>> {
    let bucket = |key: u64| ((u128::from(key) * buckets as u128) >> 64) as usize;
    let keys = keys(rows)?;
    let mut starts = vec![0u32; buckets + 1];
    keys.iter().for_each(|&key| starts[bucket(key) + 1] += 1);
    (0..buckets).for_each(|i| starts[i + 1] += starts[i]);
    let mut next = starts.clone();
    let mut order = vec![0u32; keys.len()];
    for (row, &key) in (0u32..).zip(keys.iter()) {
        let slot = &mut next[bucket(key)];
        order[*slot as usize] = row;
        *slot += 1;
    }
    let sorted = take_record_batch(rows, &UInt32Array::from(order)).map_err(|error| super::odd(&error))?;
    let range = |i: usize| (starts[i] as usize, (starts[i + 1] - starts[i]) as usize);
    let full = (0..buckets).map(|i| (i, range(i))).filter(|(_, (_, rows))| *rows > 0);
    Ok(full.map(|(i, (start, rows))| (i, sorted.slice(start, rows))).collect())
}
