//! Rows that cross from one rank to another (stage 2): those of shards that begin among the rows of a rank before.
//!
//! ```text
//! rows     |---- rank 0 ----|------ rank 1 ------|---- rank 2 ----|
//! shards   [      ][      ][      ][      ][      ][      ][      ]
//!                           ^^^^^^                ^^
//!            made by rank 0, which is given the rows of rank 1 in it
//! ```
//! A shard is made by the rank that has its first row. The others write their rows of it, raw, with the numbers that all ranks
//! have for levels, into a file of the folder in the making, and say where in it each batch is. At most one shard's rows of each split are
//! written and read once more by a rank, whatever the size of the data.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::UInt32Type;

use super::keep::{Piece, SpillFile};
use super::message::{Reader, Writer};
use super::shuffle::Lot;
use crate::encode::levels::MISSING;
use crate::error::Result;
use crate::manifest::Split;

/// Where the rows of each rank begin among those of a split, and how many there are; shards have so many rows.
#[derive(Debug)]
pub struct Border {
    starts: Vec<usize>,
    shard_rows: usize,
}

impl Border {
    /// Of ranks with so many rows.
    pub fn new(rows: &[u64], shard_rows: usize) -> Border {
        let mut starts = vec![0];
        rows.iter().for_each(|rows| starts.push(starts[starts.len() - 1] + *rows as usize));
        Border { starts, shard_rows }
    }

    /// How many rows there are.
    pub fn all(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// The rows of a rank.
    pub fn own(&self, rank: usize) -> Range<usize> {
        self.starts[rank]..self.starts[rank + 1]
    }

    /// Those of them that belong to a shard of a rank before.
    pub fn given(&self, rank: usize) -> Range<usize> {
        let own = self.own(rank);
        own.start..own.end.min(own.start.next_multiple_of(self.shard_rows))
    }

    /// The ranks that give rows to this one, in order.
    pub fn givers(&self, rank: usize) -> impl Iterator<Item = usize> {
        let (own, ranks) = (self.own(rank), self.starts.len() - 1);
        (rank + 1..ranks).filter(move |giver| {
            let given = self.given(*giver);
            !given.is_empty() && own.contains(&(given.start / self.shard_rows * self.shard_rows))
        })
    }
}

/// The number that all ranks have for every id of this rank, by column; none for columns without levels.
pub type Numbers = Vec<Option<Vec<u32>>>;

/// Batches of rows in a file: offset, bytes and rows of each.
pub type Batches = Vec<[u64; 3]>;

/// What is written of one split.
#[derive(Debug, Default)]
pub struct Given {
    /// Where the batches are.
    pub batches: Batches,
    /// The pieces that have other rows.
    pub kept: Vec<Piece>,
    /// Rows before those pieces.
    pub before: usize,
}

/// Write the first `count` rows of `pieces` for the rank that makes their shard.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn give(pieces: Vec<Piece>, count: usize, path: PathBuf, numbers: &Numbers) -> Result<Given> {
    if count == 0 {
        return Ok(Given { kept: pieces, ..Given::default() });
    }
    let file = Arc::new(SpillFile::with_name(path)?);
    let (mut given, mut at) = (Given::default(), 0);
    for piece in pieces {
        let rows = piece.rows();
        if at < count {
            let batch = piece.load()?;
            let batch = renumbered(&batch.slice(0, rows.min(count - at)), numbers)?;
            if let Piece::Spilled { offset, bytes, rows, .. } = file.write(&batch)? {
                given.batches.push([offset, bytes as u64, rows as u64]);
            }
        }
        at += rows;
        if at > count {
            given.kept.push(piece);
        } else {
            given.before = at;
        }
    }
    Ok(given)
}

/// The rows that another rank wrote; its file has no name from then on.
///
/// # Errors
/// [`crate::Error::Io`], when the file is not here among others.
pub fn take(path: PathBuf, batches: &Batches) -> Result<Vec<Lot>> {
    let file = Arc::new(SpillFile::of_another(path)?);
    let piece = |&[offset, bytes, rows]: &[u64; 3]| {
        Lot::Piece(Piece::Spilled { file: Arc::clone(&file), offset, bytes: bytes as usize, rows: rows as usize })
    };
    Ok(batches.iter().map(piece).collect())
}

/// Where a rank writes rows of a split.
pub fn path(folder: &Path, split: Split, rank: usize) -> PathBuf {
    let split = if split == Split::Train { "train" } else { "test" };
    folder.join(format!("rows-of-{rank}.{split}"))
}

/// What was written of both splits, as a message.
pub fn told(given: &[Given; 2]) -> Vec<u8> {
    let mut to = Writer::default();
    for given in given {
        to.list(&given.batches, |to, batch| to.words(*batch));
    }
    to.finish()
}

/// The batches of both splits of a message; none: it is no such message.
pub fn heard(bytes: &[u8]) -> Option<[Batches; 2]> {
    Reader::whole(bytes, |from| {
        let batches = |from: &mut Reader<'_>| from.list(|from| Some([from.word()?, from.word()?, from.word()?]));
        Some([batches(from)?, batches(from)?])
    })
}

fn renumbered(batch: &RecordBatch, numbers: &Numbers) -> Result<RecordBatch> {
    let mut arrays = batch.columns().to_vec();
    for (array, numbers) in arrays.iter_mut().zip(numbers) {
        let ids = array.as_primitive_opt::<UInt32Type>();
        if let (Some(ids), Some(numbers)) = (ids, numbers) {
            let number = |&id: &u32| if id == MISSING { MISSING } else { numbers[id as usize] };
            let ids: ArrayRef = Arc::new(UInt32Array::from_iter_values(ids.values().iter().map(number)));
            *array = ids;
        }
    }
    RecordBatch::try_new(batch.schema(), arrays).map_err(|error| super::odd(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_a_shard_comes_to_the_rank_that_has_its_first() {
        // Ranks without rows, shards over several ranks, shards that end with a rank.
        for rows in [vec![10, 0, 7, 23, 1, 1, 0, 8], vec![0, 5, 5], vec![3], vec![0, 0], vec![12, 12, 12]] {
            for shard_rows in [1, 4, 6, 12, 100] {
                let border = Border::new(&rows, shard_rows);
                let mut made = Vec::new();
                for rank in 0..rows.len() {
                    let own = border.own(rank);
                    made.extend(border.given(rank).end..own.end);
                    made.extend(border.givers(rank).flat_map(|giver| border.given(giver)));
                    let shards = own.start.next_multiple_of(shard_rows)..own.end;
                    assert_eq!(shards.is_empty(), border.given(rank).end == own.end, "{rows:?} {shard_rows} {rank}");
                }
                assert!(made.iter().copied().eq(0..border.all()), "{rows:?} in {shard_rows}: {made:?}");
            }
        }
    }
}
