//! What one of several ranks made of its part of the rows (stage 2), as it tells rank 0.
//!
//! Means and moments are floats, whose sums depend on the order of the terms: ranks send those of every part and shard, and rank
//! 0 merges them in the order of the rows, as one process does. Cost: 48 bytes a column and part, and as much a column and shard.
//!
//! ```text
//! message ([`super::message`]): entries (JSON) | worst errors | parts: (number, rows, columns: 6 words, distinct values each)
//!     | shards: (number, rows, labels, columns: moments of 6 words)
//! ```

use std::collections::{BTreeMap, HashMap};

use super::decide::Decision;
use super::message::{Reader, Writer};
use super::moments::Moments;
use super::shards::{Encoded, Shards};
use super::summary::{ChunkSummary, ColumnSummary};
use super::tally::Tally;
use crate::encode::few::Few;
use crate::encode::summary::Summary;
use crate::manifest::ShardEntry;

/// What a rank made.
#[derive(Debug)]
pub struct Share {
    /// Sums of its parts, by number.
    summaries: BTreeMap<u64, ChunkSummary>,
    shards: Vec<ShardEntry>,
    /// Of its shards, by number.
    tallies: BTreeMap<u64, Tally>,
    /// Largest error of every stored column.
    worst: Vec<f64>,
}

/// The sums of all parts, by number, and all shards.
pub fn joined(shares: Vec<Share>, decisions: &[Decision]) -> (BTreeMap<u64, ChunkSummary>, Encoded) {
    let (mut summaries, mut tallies) = (BTreeMap::new(), BTreeMap::new());
    let mut all = Encoded { shards: Vec::new(), tally: Tally::new(decisions), worst: vec![0.0; decisions.len()] };
    for share in shares {
        summaries.extend(share.summaries);
        tallies.extend(share.tallies);
        all.shards.extend(share.shards);
        all.worst.iter_mut().zip(&share.worst).for_each(|(all, worst)| *all = all.max(*worst));
    }
    tallies.into_values().for_each(|tally| all.tally.merge(tally));
    (summaries, all)
}

impl Share {
    /// Of sums that were kept apart.
    pub fn new(summaries: BTreeMap<u64, ChunkSummary>, shards: Shards<'_>) -> Share {
        let (shards, worst, tallies) = shards.finish_apart();
        Share { summaries, shards, tallies, worst }
    }

    /// The shards.
    pub fn shards(&self) -> &[ShardEntry] {
        &self.shards
    }

    /// As a message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.text(&serde_json::to_vec(&self.shards).unwrap_or_default());
        to.list(&self.worst, |to, worst| to.float(*worst));
        to.list(&self.summaries, |to, (number, summary)| {
            to.words([*number, summary.train_rows]);
            to.list(&summary.columns, |to, column| {
                to.words(of_summary(&column.train));
                write_few(to, &column.few);
            });
        });
        to.list(&self.tallies, |to, (number, tally)| {
            to.words([*number, tally.rows, u64::from(tally.labels.is_some())]);
            to.list(tally.labels.iter().flatten(), |to, (value, count)| to.words([*value, *count]));
            to.list(&tally.moments, |to, column| to.list(column, |to, own| to.words(of_moments(own))));
        });
        to.finish()
    }

    /// The share of a message; none: it is no such message.
    pub fn of_bytes(bytes: &[u8]) -> Option<Share> {
        Reader::whole(bytes, |from| {
            let shards = serde_json::from_slice(from.text()?).ok()?;
            let worst = from.list(Reader::float)?;
            let summaries = from.list(|from| {
                let (number, train_rows) = (from.word()?, from.word()?);
                let mut summary = ChunkSummary { train_rows, ..ChunkSummary::default() };
                summary.columns = from.list(|from| {
                    let (train, few) = (summary_of(from)?, read_few(from)?);
                    Some(ColumnSummary { train, few, ..ColumnSummary::default() })
                })?;
                Some((number, summary))
            })?;
            let tallies = from.list(|from| {
                let (number, rows, has_labels) = (from.word()?, from.word()?, from.flag()?);
                let labels: HashMap<u64, u64> = from.list(|from| Some((from.word()?, from.word()?)))?;
                let moments = from.list(|from| from.list(moments_of))?;
                Some((number, Tally { moments, labels: has_labels.then_some(labels), rows }))
            })?;
            Some(Share { summaries, shards, tallies, worst })
        })
    }
}

/// The words of a summary.
pub fn of_summary(summary: &Summary) -> [u64; 6] {
    let Summary { count, missing, mean, min, max, integral, single } = *summary;
    [count, missing, mean.to_bits(), min.to_bits(), max.to_bits(), u64::from(integral) | u64::from(single) << 1]
}

/// Write the distinct values of a label.
pub fn write_few(to: &mut Writer, few: &Few) {
    to.word(u64::from(few.bits().is_some()));
    to.list(few.bits().into_iter().flatten(), Writer::word);
}

/// Those that are next in a message.
pub fn read_few(from: &mut Reader<'_>) -> Option<Few> {
    let (are_few, bits) = (from.flag()?, from.list(Reader::word)?);
    Some(Few::of_bits(are_few.then_some(bits)))
}

/// The summary of such words.
pub fn summary_of(from: &mut Reader<'_>) -> Option<Summary> {
    let (count, missing, mean) = (from.word()?, from.word()?, from.float()?);
    let (min, max, flags) = (from.float()?, from.float()?, from.word()?);
    Some(Summary { count, missing, mean, min, max, integral: flags & 1 != 0, single: flags & 2 != 0 })
}

fn of_moments(moments: &Moments) -> [u64; 6] {
    let Moments { count, mean, m2, min, max, nonzero } = *moments;
    [count, mean.to_bits(), m2.to_bits(), min.to_bits(), max.to_bits(), nonzero]
}

fn moments_of(from: &mut Reader<'_>) -> Option<Moments> {
    let (count, mean, m2) = (from.word()?, from.float()?, from.float()?);
    Some(Moments { count, mean, m2, min: from.float()?, max: from.float()?, nonzero: from.word()? })
}

#[cfg(test)]
impl Share {
    /// Of one part and one shard.
    pub fn sample(moments: Moments) -> Share {
        let train = Summary { count: 3, mean: 0.1, min: -0.0, max: f64::MAX, integral: false, ..Summary::default() };
        let few = Few::of_bits(Some(vec![0.1f64.to_bits()]));
        let columns = vec![ColumnSummary { train, few, ..ColumnSummary::default() }; 2];
        let summary = ChunkSummary { train_rows: 3, columns, ..ChunkSummary::default() };
        let file = crate::manifest::FileEntry { file: "train-00007.arrow".into(), bytes: 1 << 40, xxh3: "ff".into() };
        let entry = ShardEntry { file, split: crate::manifest::Split::Train, rows: 3, grains: 1 };
        let labels = Some(HashMap::from([(1.5f64.to_bits(), 3)]));
        let tally = Tally { moments: vec![vec![moments], Vec::new()], labels, rows: 3 };
        Share {
            summaries: [(9, summary)].into(),
            shards: vec![entry],
            tallies: [(7, tally)].into(),
            worst: vec![1e-300],
        }
    }
}
