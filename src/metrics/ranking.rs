//! Exact AUC and average precision, out of core.
//!
//! Both need the rows in the order of their scores. Every row becomes 16 bytes (score, signed weight); when the memory
//! given is full they are sorted by all cores and appended to a scratch file as a sorted run; at the end the runs are
//! merged. Nothing is binned or sampled. Cost: a sort of the rows; bytes: 16 a row in memory or on disk.
//!
//! With rows of equal score taken together, in falling order of scores (scikit-learn's `roc_auc_score` and
//! `average_precision_score`), TP and FP the weights of both classes down to and including a score:
//!
//! ```text
//! AUC = sum over scores of neg(score) * (TP before it + pos(score) / 2) / (pos * neg)
//! AP  = sum over scores of (pos(score) / pos) * TP / (TP + FP)
//! ```
//!
//! Rows of equal score are ordered by weight too, so every sum has one order and the result one set of bits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use gristmill_io::{Error, Result};
use rayon::slice::ParallelSliceMut;

use super::Rows;

/// Bytes of a row, in memory and in a run.
const ROW_BYTES: usize = 16;

/// A row: the score as a key that grows when the score falls, and the weight with its class as a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scored {
    /// Bits of the score, so arranged that keys compare as falling scores do.
    key: u64,
    /// Bits of the weight, positive for class 1, negative for class 0.
    weight: u64,
}

/// Scores in order.
#[derive(Debug)]
pub struct Ranking {
    rows: Vec<Scored>,
    capacity: usize,
    scratch: PathBuf,
    /// Sorted runs, one after the other.
    file: Option<File>,
    /// The bytes of each.
    runs: Vec<Range<u64>>,
}

/// What the order of the scores says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Area under the receiver operating characteristic; none when a class is absent.
    pub auc: Option<f64>,
    /// Average precision (area under the precision-recall steps); none without class 1.
    pub average_precision: Option<f64>,
}

impl Ranking {
    /// An empty ranking that keeps at most `memory_bytes` and spills to an unnamed file in the folder `scratch`.
    pub fn new(memory_bytes: usize, scratch: &Path) -> Ranking {
        let capacity = (memory_bytes / ROW_BYTES).max(1024);
        Ranking { rows: Vec::new(), capacity, scratch: scratch.to_path_buf(), file: None, runs: Vec::new() }
    }

    /// Add rows; those of weight zero count for nothing and are left out.
    ///
    /// # Errors
    /// [`Error::Io`] when a run cannot be written.
    pub fn add(&mut self, rows: &Rows<'_>) -> Result<()> {
        for (score, label, weight) in rows.iter() {
            if weight == 0.0 {
                continue;
            }
            if self.rows.len() == self.capacity {
                self.spill()?;
            }
            let signed = if label > 0.5 { weight } else { -weight };
            self.rows.push(Scored { key: falling_key(score), weight: signed.to_bits() });
        }
        Ok(())
    }

    /// Rows added so far.
    pub fn rows(&self) -> usize {
        let bytes: u64 = self.runs.iter().map(|run| run.end - run.start).sum();
        self.rows.len() + bytes as usize / ROW_BYTES
    }

    /// Takes `count` of the rows, fewer only when no more are left, as pairs of numbers for
    /// [`Ranking::put`]; nothing is added afterwards.
    ///
    /// # Errors
    /// [`Error::Io`] when a run cannot be read back.
    pub fn take(&mut self, count: usize) -> Result<Vec<u64>> {
        let mut taken = Vec::new();
        // To the full count where there are as many, over the ends of runs too: whoever takes counts on it.
        while taken.len() < 2 * count && self.rows() > 0 {
            if self.rows.is_empty() {
                self.load()?;
            }
            let kept = self.rows.len().saturating_sub(count - taken.len() / 2);
            taken.extend(self.rows.drain(kept..).flat_map(|row| [row.key, row.weight]));
        }
        Ok(taken)
    }

    /// Brings a run back into memory, which is empty.
    fn load(&mut self) -> Result<()> {
        let failed = |source| Error::io(&self.scratch, "cannot read sorted scores back from a scratch file", source);
        let (Some(run), Some(file)) = (self.runs.pop(), &self.file) else { return Ok(()) };
        let mut rows = Run::new(file, run);
        while let Some(row) = rows.next().map_err(failed)? {
            self.rows.push(row);
        }
        Ok(())
    }

    /// Adds rows that another ranking gave away.
    ///
    /// # Errors
    /// [`Error::Io`] when a run cannot be written.
    pub fn put(&mut self, numbers: &[u64]) -> Result<()> {
        for pair in numbers.chunks_exact(2) {
            if self.rows.len() == self.capacity {
                self.spill()?;
            }
            self.rows.push(Scored { key: pair[0], weight: pair[1] });
        }
        Ok(())
    }

    /// AUC and average precision of all rows added.
    ///
    /// # Errors
    /// [`Error::Io`] when a run cannot be read back.
    pub fn finish(mut self) -> Result<Ranked> {
        self.rows.par_sort_unstable();
        let mut totals = Totals::default();
        self.merge(|row| totals.add(row))?;
        let mut curve = Curve::new(totals);
        self.merge(|row| curve.add(row))?;
        Ok(curve.finish())
    }

    /// Write the rows in memory as a sorted run.
    fn spill(&mut self) -> Result<()> {
        self.rows.par_sort_unstable();
        let failed = |source| {
            Error::io(
                &self.scratch,
                "cannot write sorted scores to a scratch file here (TMPDIR names another folder)",
                source,
            )
        };
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(&self.scratch).map_err(failed)?,
        };
        // A run that was taken back leaves its place to the next.
        let start = self.runs.last().map_or(0, |run| run.end);
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        let mut to = BufWriter::with_capacity(1 << 20, &mut file);
        for row in &self.rows {
            to.write_all(&row.key.to_le_bytes()).map_err(failed)?;
            to.write_all(&row.weight.to_le_bytes()).map_err(failed)?;
        }
        to.flush().map_err(failed)?;
        drop(to);
        self.file = Some(file);
        self.runs.push(start..start + (self.rows.len() * ROW_BYTES) as u64);
        self.rows.clear();
        Ok(())
    }

    /// Every row in order, out of the runs and of what is in memory (which must be sorted).
    fn merge(&mut self, mut each: impl FnMut(Scored)) -> Result<()> {
        let Some(file) = &self.file else {
            self.rows.iter().for_each(|&row| each(row));
            return Ok(());
        };
        let failed = |source| Error::io(&self.scratch, "cannot read sorted scores back from a scratch file", source);
        let mut runs: Vec<Run<'_>> = Vec::with_capacity(self.runs.len() + 1);
        runs.extend(self.runs.iter().map(|run| Run::new(file, run.clone())));
        runs.push(Run::Memory(self.rows.iter()));
        let mut heads = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            heads.extend(run.next().map_err(failed)?.map(|row| Reverse((row, number))));
        }
        while let Some(Reverse((row, number))) = heads.pop() {
            each(row);
            heads.extend(runs[number].next().map_err(failed)?.map(|next| Reverse((next, number))));
        }
        Ok(())
    }
}

/// A sorted run being read.
enum Run<'a> {
    File(BufReader<Bytes<'a>>),
    Memory(std::slice::Iter<'a, Scored>),
}

/// Some bytes of a file.
struct Bytes<'a> {
    file: &'a File,
    left: Range<u64>,
}

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min((self.left.end - self.left.start) as usize);
        let read = self.file.read_at(&mut buffer[..most], self.left.start)?;
        if read == 0 && most > 0 {
            return Err(std::io::Error::other("the scratch file is shorter than what was written to it"));
        }
        self.left.start += read as u64;
        Ok(read)
    }
}

impl<'a> Run<'a> {
    fn new(file: &'a File, bytes: Range<u64>) -> Run<'a> {
        Run::File(BufReader::with_capacity(1 << 18, Bytes { file, left: bytes }))
    }

    fn next(&mut self) -> std::io::Result<Option<Scored>> {
        let Run::File(from) = self else {
            let Run::Memory(rows) = self else { return Ok(None) };
            return Ok(rows.next().copied());
        };
        let (mut key, mut weight) = ([0; 8], [0; 8]);
        match from.read_exact(&mut key) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        from.read_exact(&mut weight)?;
        Ok(Some(Scored { key: u64::from_le_bytes(key), weight: u64::from_le_bytes(weight) }))
    }
}

/// Weight of each class.
#[derive(Debug, Default)]
struct Totals {
    positive: Exact,
    negative: Exact,
}

impl Totals {
    fn add(&mut self, row: Scored) {
        let weight = f64::from_bits(row.weight);
        if weight > 0.0 {
            self.positive.add(weight);
        } else {
            self.negative.add(-weight);
        }
    }

    fn values(&self) -> (f64, f64) {
        (self.positive.value(), self.negative.value())
    }
}

/// Both areas, as the scores fall.
struct Curve {
    totals: Totals,
    key: u64,
    tie: Totals,
    above: Totals,
    auc: Exact,
    precision: Exact,
}

impl Curve {
    fn new(totals: Totals) -> Curve {
        Curve {
            totals,
            key: 0,
            tie: Totals::default(),
            above: Totals::default(),
            auc: Exact::default(),
            precision: Exact::default(),
        }
    }

    fn add(&mut self, row: Scored) {
        if row.key != self.key {
            self.close_tie();
            self.key = row.key;
        }
        self.tie.add(row);
    }

    /// Count the rows of one score.
    fn close_tie(&mut self) {
        let (positive, negative) = std::mem::take(&mut self.tie).values();
        self.auc.add(negative * (self.above.positive.value() + positive / 2.0));
        self.above.positive.add(positive);
        self.above.negative.add(negative);
        if positive > 0.0 {
            let (true_positive, false_positive) = self.above.values();
            self.precision.add(positive * true_positive / (true_positive + false_positive));
        }
    }

    fn finish(mut self) -> Ranked {
        self.close_tie();
        let (positive, negative) = self.totals.values();
        let both = positive > 0.0 && negative > 0.0;
        Ranked {
            auc: both.then(|| self.auc.value() / positive / negative),
            average_precision: (positive > 0.0).then(|| self.precision.value() / positive),
        }
    }
}

/// A sum with its rounding error carried along (Neumaier), so that a billion small terms lose no digits.
#[derive(Debug, Default)]
struct Exact {
    sum: f64,
    lost: f64,
}

impl Exact {
    fn add(&mut self, x: f64) {
        let sum = self.sum + x;
        self.lost += if self.sum.abs() >= x.abs() { (self.sum - sum) + x } else { (x - sum) + self.sum };
        self.sum = sum;
    }

    fn value(&self) -> f64 {
        self.sum + self.lost
    }
}

/// Bits that grow when the score falls; -0 counts as 0.
fn falling_key(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 0 { !(bits | 1 << 63) } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_falling_scores() {
        let scores = [f64::INFINITY, 3.5, 1.0, 1e-300, 0.0, -1e-300, -2.0, f64::NEG_INFINITY];
        assert!(scores.windows(2).all(|pair| falling_key(pair[0]) < falling_key(pair[1])));
        assert_eq!(falling_key(0.0), falling_key(-0.0));
    }

    /// Scores of both classes alternate: above each row of class 0 stand as many of class 1 as below. The class totals of a million
    /// tenths, summed up plainly, are off by 1e-11.
    #[test]
    fn weights_that_round_lose_no_digits() {
        let count = 1_000_000;
        let score: Vec<f64> = (0..count).map(|i| f64::from(-i)).collect();
        let label: Vec<f64> = (0..count).map(|i| f64::from(1 - i % 2)).collect();
        let rows = Rows { prediction: &score, label: &label, weight: Some(&vec![0.1; count as usize]), centre: 0.0 };
        let mut ranking = Ranking::new(1 << 30, Path::new("."));
        ranking.add(&rows).expect("in memory");
        let pairs = f64::from(count / 2);
        let expected = (pairs + 1.0) / (2.0 * pairs);
        let auc = ranking.finish().expect("in memory").auc.expect("both classes");
        assert!((auc / expected - 1.0).abs() < 4.0 * f64::EPSILON, "{auc} {expected}");
    }

    /// A ranking that spills gives the same bits as one that does not.
    #[test]
    fn spilled_runs_change_nothing() {
        let scratch = tempfile::tempdir().expect("temporary folder");
        let count = 10_000;
        let score: Vec<f64> = (0..count).map(|i| f64::from((i * 7919) % 1013) / 100.0 - 5.0).collect();
        let label: Vec<f64> = (0..count).map(|i| f64::from(u8::from((i * 31) % 1013 > 400 + i % 97))).collect();
        let weight: Vec<f64> = (0..count).map(|i| f64::from(i % 5) * 0.3).collect();
        let rows = Rows { prediction: &score, label: &label, weight: Some(&weight), centre: 0.0 };
        let ranked = |memory| {
            let mut ranking = Ranking::new(memory, scratch.path());
            ranking.add(&rows).expect("scratch file");
            assert_eq!(ranking.runs.is_empty(), memory > 1 << 20);
            ranking.finish().expect("scratch file")
        };
        let (small, large) = (ranked(1024 * ROW_BYTES), ranked(1 << 30));
        let (mut giver, mut taker) = (Ranking::new(0, scratch.path()), Ranking::new(1 << 30, scratch.path()));
        giver.add(&rows).expect("scratch file");
        assert!(giver.rows() > 0 && !giver.runs.is_empty());
        while giver.rows() > 0 {
            taker.put(&giver.take(300).expect("scratch file")).expect("room");
        }
        assert!(taker.finish().expect("in memory") == large, "moved rows");
        assert_eq!(small.auc.map(f64::to_bits), large.auc.map(f64::to_bits));
        assert_eq!(small.average_precision.map(f64::to_bits), large.average_precision.map(f64::to_bits));
        assert_eq!(std::fs::read_dir(scratch.path()).expect("folder").count(), 0, "a scratch file is left");
    }
}
