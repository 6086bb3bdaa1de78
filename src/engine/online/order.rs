//! The order of an epoch: which rows make which batch, by seed and epoch alone (stage 4).
//!
//! ```text
//! strata   the grains in stored order, cut into W runs of equal length           a slot each
//! round    one grain of every stratum, drawn by (seed, epoch): W open grains
//! piece    a few rows of a grain in a row; the pieces of a grain in an order drawn by (seed, epoch, grain)
//! batch    the next rows of the round: a piece of slot 0, one of slot 16, of slot 8, ... and so on round the slots
//! ```
//! So every batch and every round holds rows from all over the dataset, whatever that is sorted by: the share of a class in
//! a round is that of the dataset to within 1 / W. A slot belongs to one rank, so a rank reads whole grains, the same ones in
//! every epoch, and a batch is shared out evenly. Small datasets have pieces of one row. The last batch of a round is
//! shorter where rows do not divide.
//!
//! Memory: W open grains, and W more that are read meanwhile. Cost: about 2 ns a piece.

use std::ops::Range;

use gristmill_io::rng::{Purpose, Stream};

/// Most rows of a piece: kernels hold so many margins in registers.
const PIECE_ROWS_MAX: usize = 64;
/// Least rows of a piece where there are rows enough to mix.
const PIECE_ROWS_MIN: usize = 16;
/// A dataset is cut into about so many pieces at least, down to single rows.
const PIECES: u64 = 1 << 14;

/// The order of all epochs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rows of each grain.
    grains: Vec<usize>,
    /// The grains of each slot.
    strata: Vec<Range<usize>>,
    batch_rows: usize,
    piece_rows: usize,
    stream: Stream,
}

/// Rows of an open grain that belong to one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The slot.
    pub slot: usize,
    /// Rows of its grain.
    pub rows: Range<usize>,
}

/// Grains that are open together, and their batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The grain of each slot; none where a stratum has run out.
    pub grains: Vec<Option<usize>>,
    /// All pieces, batch after batch.
    pub pieces: Vec<Piece>,
    /// Where each batch ends among the pieces.
    pub ends: Vec<usize>,
}

impl Plan {
    /// Rows of a batch.
    pub fn batch_rows(&self) -> usize {
        self.batch_rows
    }

    /// For grains of so many rows.
    pub fn new(grains: Vec<usize>, open: usize, batch_rows: usize, seed: u64) -> Plan {
        let rows: u64 = grains.iter().map(|&rows| rows as u64).sum();
        let slots = open.clamp(1, grains.len().max(1));
        let strata = (0..slots).map(|slot| slot * grains.len() / slots..(slot + 1) * grains.len() / slots).collect();
        let fine = (rows / PIECES).clamp(1, PIECE_ROWS_MAX as u64) as usize;
        let piece_rows = fine.min((batch_rows / slots).max(PIECE_ROWS_MIN));
        // The largest power of two below, so that pieces of a batch have equal length where they can.
        let piece_rows = 1 << piece_rows.ilog2();
        Plan { grains, strata, batch_rows, piece_rows, stream: Stream::new(seed, Purpose::Epoch) }
    }

    /// Slots.
    pub fn slots(&self) -> usize {
        self.strata.len()
    }

    /// The slots of a rank.
    pub fn own_slots(&self, rank: usize, ranks: usize) -> Range<usize> {
        rank * self.slots() / ranks..(rank + 1) * self.slots() / ranks
    }

    /// The grains that belong to slots.
    pub fn grains_of(&self, slots: &Range<usize>) -> Range<usize> {
        if slots.is_empty() {
            return 0..0;
        }
        self.strata[slots.start].start..self.strata[slots.end - 1].end
    }

    /// Rounds of an epoch.
    pub fn rounds(&self) -> usize {
        self.strata.iter().map(ExactSizeIterator::len).max().unwrap_or(0)
    }

    /// A round of an epoch.
    pub fn round(&self, epoch: usize, round: usize) -> Round {
        let stream = self.stream.child(epoch as u64);
        let draw = |(slot, stratum): (usize, &Range<usize>)| {
            let order = permutation(stratum.len(), stream.child(slot as u64));
            order.get(round).map(|&place| stratum.start + place as usize)
        };
        let grains: Vec<Option<usize>> = self.strata.iter().enumerate().map(draw).collect();
        let slots = self.slots();
        let orders: Vec<Vec<u32>> = grains
            .iter()
            .map(|grain| {
                let pieces = grain.map_or(0, |grain| self.grains[grain].div_ceil(self.piece_rows));
                permutation(pieces, stream.child((slots + grain.unwrap_or(0)) as u64))
            })
            .collect();
        let (mut pieces, mut ends, mut room) = (Vec::new(), Vec::new(), self.batch_rows);
        let (turns, most) = (spread(slots), orders.iter().map(Vec::len).max().unwrap_or(0));
        for turn in 0..most {
            for &slot in &turns {
                let (Some(&piece), Some(grain)) = (orders[slot].get(turn), grains[slot]) else { continue };
                let mut start = piece as usize * self.piece_rows;
                let end = self.grains[grain].min(start + self.piece_rows);
                while start < end {
                    let rows = start..end.min(start + room);
                    (start, room) = (rows.end, room - rows.len());
                    pieces.push(Piece { slot, rows });
                    if room == 0 {
                        ends.push(pieces.len());
                        room = self.batch_rows;
                    }
                }
            }
        }
        if ends.last().copied().unwrap_or(0) < pieces.len() {
            ends.push(pieces.len());
        }
        Round { grains, pieces, ends }
    }
}

impl Round {
    /// The pieces of a batch.
    pub fn batch(&self, number: usize) -> &[Piece] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.pieces[start..self.ends[number]]
    }
}

/// The numbers below `count` in random order (Fisher, Yates).
fn permutation(count: usize, stream: Stream) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    for last in (1..count).rev() {
        let other = ((u128::from(stream.bits(last as u64)) * (last as u128 + 1)) >> 64) as usize;
        order.swap(last, other);
    }
    order
}

/// The numbers below `count` so that any few in a row lie far apart: by their bits in reverse.
fn spread(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|number| number.reverse_bits());
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grains(count: usize, rows: usize, last: usize) -> Vec<usize> {
        (0..count).map(|grain| if grain + 1 == count { last } else { rows }).collect()
    }

    /// Every row once an epoch, in batches of the size asked for but for the last of a round; another order in each epoch.
    #[test]
    fn an_epoch_holds_every_row_once() {
        for (count, rows, last) in [(1, 50, 50), (7, 192, 5), (70, 960, 960), (33, 2_000, 1)] {
            for (open, batch) in [(1, 1), (32, 100), (32, 1_024), (4, 7)] {
                let plan = Plan::new(grains(count, rows, last), open, batch, 3);
                let mut seen: Vec<Vec<u8>> = (0..count).map(|grain| vec![0; plan.grains[grain]]).collect();
                for round in 0..plan.rounds() {
                    let round = plan.round(1, round);
                    for number in 0..round.ends.len() {
                        let mut size = 0;
                        for piece in round.batch(number) {
                            let grain = round.grains[piece.slot].expect("open");
                            size += piece.rows.len();
                            piece.rows.clone().for_each(|row| seen[grain][row] += 1);
                        }
                        assert!(size == batch || number + 1 == round.ends.len() && size < batch && size > 0);
                    }
                }
                assert!(seen.iter().flatten().all(|&times| times == 1), "{count} {rows} {open} {batch}");
                if count * rows > 100 {
                    assert_ne!(plan.round(0, 0), plan.round(1, 0));
                }
            }
        }
    }

    /// 320 grains of which the first fifth is of another kind: every batch has its share to within 1 / 32.
    #[test]
    fn sorted_data_are_mixed_in_every_batch() {
        let plan = Plan::new(grains(320, 6_400, 6_400), 32, 1_024, 3);
        for round in 0..plan.rounds() {
            let round = plan.round(0, round);
            for number in 0..round.ends.len() - 1 {
                let of_kind = |piece: &&Piece| round.grains[piece.slot].expect("open") < 64;
                let kind: usize = round.batch(number).iter().filter(of_kind).map(|piece| piece.rows.len()).sum();
                assert!((kind as f64 / 1_024.0 - 0.2).abs() <= 1.0 / 32.0, "{kind}");
            }
        }
    }

    #[test]
    fn ranks_share_slots_and_read_their_grains_only() {
        let plan = Plan::new(grains(70, 960, 960), 32, 256, 3);
        for ranks in [1, 2, 3, 5, 40] {
            let slots: Vec<Range<usize>> = (0..ranks).map(|rank| plan.own_slots(rank, ranks)).collect();
            assert!(slots.iter().cloned().flatten().eq(0..32));
            let own: Vec<usize> = slots.iter().flat_map(|slots| plan.grains_of(slots)).collect();
            assert!(own.into_iter().eq(0..70));
        }
    }
}
