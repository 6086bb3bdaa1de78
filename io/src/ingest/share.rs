//! What one of several ranks made of its part of the rows (stage 2), as it tells rank 0.
//!
//! Means and moments are floats, whose sums depend on the order of the terms: ranks send those of every part and shard, and rank
//! 0 merges them in the order of the rows, as one process does. Cost: 48 bytes a column and part, and as much a column and shard.
//!
//! ```text
//! message: length of the entries (u64) | entries (JSON) | words (u64 each, floats by their bits, lowest byte first)
//! words:   worst errors | parts: (number, rows, columns: 6 words each) | shards: (number, rows, labels, columns: moments of 6)
//! ```
//! Every list is preceded by its length.

use std::collections::{BTreeMap, HashMap};

use super::decide::Decision;
use super::moments::Moments;
use super::shards::{Encoded, Shards};
use super::summary::{ChunkSummary, ColumnSummary};
use super::tally::Tally;
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
        let entries = serde_json::to_vec(&self.shards).unwrap_or_default();
        let mut words = Vec::new();
        list(&mut words, &self.worst, |words, worst| words.push(worst.to_bits()));
        list(&mut words, &self.summaries, |words, (number, summary)| {
            words.extend([*number, summary.train_rows]);
            list(words, &summary.columns, |words, column| words.extend(of_summary(&column.train)));
        });
        list(&mut words, &self.tallies, |words, (number, tally)| {
            words.extend([*number, tally.rows, u64::from(tally.labels.is_some())]);
            list(words, tally.labels.iter().flatten(), |words, (value, count)| words.extend([value, count]));
            list(words, &tally.moments, |words, column| {
                list(words, column, |words, own| words.extend(of_moments(own)));
            });
        });
        let words = words.into_iter().flat_map(u64::to_le_bytes);
        (entries.len() as u64).to_le_bytes().into_iter().chain(entries.iter().copied()).chain(words).collect()
    }

    /// The share of a message; none: it is no such message.
    pub fn of_bytes(bytes: &[u8]) -> Option<Share> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (entries, words) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let shards = serde_json::from_slice(entries).ok()?;
        let (words, []) = words.as_chunks() else { return None };
        let mut words = Words(words);
        let worst = words.list(Words::float)?;
        let summaries = words.list(|words| {
            let (number, train_rows) = (words.next()?, words.next()?);
            let mut summary = ChunkSummary { train_rows, ..ChunkSummary::default() };
            summary.columns =
                words.list(|words| Some(ColumnSummary { train: words.summary()?, ..ColumnSummary::default() }))?;
            Some((number, summary))
        })?;
        let tallies = words.list(|words| {
            let (number, rows, has_labels) = (words.next()?, words.next()?, words.next()? == 1);
            let labels: HashMap<u64, u64> = words.list(|words| Some((words.next()?, words.next()?)))?;
            let moments = words.list(|words| words.list(Words::moments))?;
            Some((number, Tally { moments, labels: has_labels.then_some(labels), rows }))
        })?;
        words.0.is_empty().then_some(Share { summaries, shards, tallies, worst })
    }
}

fn list<T>(words: &mut Vec<u64>, items: impl IntoIterator<Item = T>, each: impl Fn(&mut Vec<u64>, T)) {
    let at = words.len();
    words.push(0);
    for item in items {
        words[at] += 1;
        each(words, item);
    }
}

fn of_summary(summary: &Summary) -> [u64; 6] {
    let Summary { count, missing, mean, min, max, integral, single } = *summary;
    [count, missing, mean.to_bits(), min.to_bits(), max.to_bits(), u64::from(integral) | u64::from(single) << 1]
}

fn of_moments(moments: &Moments) -> [u64; 6] {
    let Moments { count, mean, m2, min, max, nonzero } = *moments;
    [count, mean.to_bits(), m2.to_bits(), min.to_bits(), max.to_bits(), nonzero]
}

/// The words of a message that are still to be read.
struct Words<'a>(&'a [[u8; 8]]);

impl Words<'_> {
    fn next(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }

    fn float(&mut self) -> Option<f64> {
        self.next().map(f64::from_bits)
    }

    fn list<T, C: FromIterator<T>>(&mut self, mut each: impl FnMut(&mut Self) -> Option<T>) -> Option<C> {
        let length = self.next()?;
        (0..length).map(|_| each(self)).collect()
    }

    fn summary(&mut self) -> Option<Summary> {
        let (count, missing, mean) = (self.next()?, self.next()?, self.float()?);
        let (min, max, flags) = (self.float()?, self.float()?, self.next()?);
        Some(Summary { count, missing, mean, min, max, integral: flags & 1 != 0, single: flags & 2 != 0 })
    }

    fn moments(&mut self) -> Option<Moments> {
        let (count, mean, m2) = (self.next()?, self.float()?, self.float()?);
        Some(Moments { count, mean, m2, min: self.float()?, max: self.float()?, nonzero: self.next()? })
    }
}

#[cfg(test)]
impl Share {
    /// Of one part and one shard.
    pub fn sample(moments: Moments) -> Share {
        let train = Summary { count: 3, mean: 0.1, min: -0.0, max: f64::MAX, integral: false, ..Summary::default() };
        let columns = vec![ColumnSummary { train, ..ColumnSummary::default() }; 2];
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
