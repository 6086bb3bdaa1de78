//! Between the passes (stage 2): exact quantiles of training rows, in bounded memory, the same on any number of threads.
//!
//! Values are mapped to integers of the same order. A round reads the kept rows once and counts, for every cell of keys that
//! holds a wanted rank, the keys of each of its parts; a part whose keys are all equal is the answer. When few keys are left
//! they are collected and sorted. Two or three rounds are usual; 64 bits of key bound them. Counts and extremes of parts can
//! be merged in any order. Memory: 6 MiB a thread and `COLLECTED_MAX` keys.
//!
//! Edges of n buckets over m values, x sorted from 1: `e_i = (x_k + x_{k+1}) / 2` where k = i m / n is whole, else `x_{floor(k) + 1}`;
//! the first is the least value, the last the largest. That is `averaged_inverted_cdf` of Hyndman and Fan (1996, definition 2), as
//! scikit-learn's `KBinsDiscretizer(strategy="quantile", quantile_method="averaged_inverted_cdf")` takes them. Equal edges
//! are one edge, so that a value that many rows have makes fewer buckets.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::buffer::NullBuffer;

use super::keep::Piece;
use super::sequence::lock;
use crate::encode::raw::{Number, WithNumbers, with_numbers};
use crate::error::{Error, Result};
use crate::watch::Cancel;

/// Parts of all cells of a round.
const PARTS_MAX: usize = 1 << 18;
/// Keys that are sorted rather than counted again.
const COLLECTED_MAX: u64 = 1 << 20;

/// Reads a column of the training rows.
pub struct Column<'a> {
    /// Training rows.
    pub pieces: &'a [&'a Piece],
    /// Number of the column among the raw ones.
    pub number: usize,
    /// Number of threads.
    pub threads: usize,
    /// Who stops.
    pub cancel: &'a Cancel,
}

/// Parts of equal width of some cells: the keys `prefix << free ..` of each.
struct Cells {
    /// The leading bits of each cell, rising.
    prefixes: Vec<u64>,
    /// Bits below the prefix.
    free: u32,
    /// Of these, bits that tell parts apart.
    bits: u32,
}

/// What is known of the keys of a part.
#[derive(Clone, Copy)]
struct Part {
    count: u64,
    least: u64,
    largest: u64,
}

const EMPTY: Part = Part { count: 0, least: u64::MAX, largest: 0 };

/// A rank that is wanted, and what is known of it.
struct Wanted {
    /// Position among the keys of its cell, from 0.
    rank: u64,
    /// Its cell's leading bits.
    prefix: u64,
    found: Option<u64>,
}

impl Column<'_> {
    /// The edges of `buckets` buckets of the `count` values of the column: rising, at least one.
    ///
    /// # Errors
    /// When kept rows cannot be read, or on [`Cancel`].
    pub fn edges(&self, buckets: usize, count: u64) -> Result<Vec<f64>> {
        let (n, m) = (buckets as u128, u128::from(count));
        // The two positions, from 0, whose mean is the edge.
        let positions = |i: u128| -> [u64; 2] {
            let (whole, rest) = (i * m / n, i * m % n);
            let upper = whole.min(m.saturating_sub(1));
            let lower = if rest == 0 && whole > 0 { whole - 1 } else { upper };
            [lower as u64, upper as u64]
        };
        let pairs: Vec<[u64; 2]> = (0..=n).map(positions).collect();
        let mut ranks: Vec<u64> = pairs.iter().flatten().copied().collect();
        ranks.sort_unstable();
        ranks.dedup();
        let values = self.select(&ranks)?;
        let value = |rank: u64| ranks.binary_search(&rank).map_or(f64::NAN, |at| values[at]);
        let mut edges: Vec<f64> = pairs
            .into_iter()
            .map(|[lower, upper]| (value(lower), value(upper)))
            .map(|(lower, upper)| upper - (upper - lower) * 0.5)
            .collect();
        edges.dedup();
        Ok(edges)
    }

    /// The values at rising positions (from 0) of the sorted column.
    fn select(&self, ranks: &[u64]) -> Result<Vec<f64>> {
        let mut wanted: Vec<Wanted> = ranks.iter().map(|&rank| Wanted { rank, prefix: 0, found: None }).collect();
        let mut free = 64;
        loop {
            let mut prefixes: Vec<u64> =
                wanted.iter().filter(|wanted| wanted.found.is_none()).map(|wanted| wanted.prefix).collect();
            prefixes.dedup();
            if prefixes.is_empty() {
                break;
            }
            let bits = (PARTS_MAX / prefixes.len()).max(2).ilog2().min(free);
            let cells = Cells { prefixes, free, bits };
            let parts = self.count(&cells)?;
            let left = advance(&mut wanted, &cells, &parts);
            free -= bits;
            if left <= COLLECTED_MAX {
                self.collect(&mut wanted, free)?;
                break;
            }
        }
        let lost = || Error::Usage("rows that were read before cannot be found again".into());
        wanted.into_iter().map(|wanted| wanted.found.map(value_of).ok_or_else(lost)).collect()
    }

    fn count(&self, cells: &Cells) -> Result<Vec<Part>> {
        let empty = || vec![EMPTY; cells.prefixes.len() << cells.bits];
        let merge = |sum: &mut Vec<Part>, next: Vec<Part>| {
            for (sum, next) in sum.iter_mut().zip(next) {
                sum.count += next.count;
                sum.least = sum.least.min(next.least);
                sum.largest = sum.largest.max(next.largest);
            }
        };
        self.each(empty, |key, parts| cells.add(key, parts), merge)
    }

    /// Ends what is left by sorting.
    fn collect(&self, wanted: &mut [Wanted], free: u32) -> Result<()> {
        let mut prefixes: Vec<u64> =
            wanted.iter().filter(|wanted| wanted.found.is_none()).map(|wanted| wanted.prefix).collect();
        prefixes.dedup();
        if prefixes.is_empty() {
            return Ok(());
        }
        let take = |key: u64, keys: &mut Vec<u64>| {
            if prefixes.binary_search(&leading(key, free)).is_ok() {
                keys.push(key);
            }
        };
        let mut keys = self.each(Vec::new, take, |all: &mut Vec<u64>, next| all.extend(next))?;
        keys.sort_unstable();
        for wanted in wanted.iter_mut().filter(|wanted| wanted.found.is_none()) {
            let first = keys.partition_point(|&key| leading(key, free) < wanted.prefix);
            wanted.found = keys.get(first + wanted.rank as usize).copied();
        }
        Ok(())
    }

    /// Something about every key, by all threads.
    fn each<T: Send>(
        &self,
        empty: impl Fn() -> T + Sync,
        take: impl Fn(u64, &mut T) + Sync,
        merge: impl Fn(&mut T, T) + Sync,
    ) -> Result<T> {
        let next = AtomicUsize::new(0);
        let sum = Mutex::new(Ok(empty()));
        let work = || {
            let mut own = empty();
            let read = loop {
                let Some(piece) = self.pieces.get(next.fetch_add(1, Ordering::Relaxed)) else { break Ok(()) };
                let loaded = self.cancel.check().and_then(|()| piece.load());
                match loaded {
                    Ok(batch) => {
                        let _ = with_numbers(batch.column(self.number), Keys { take: |key| take(key, &mut own) });
                    }
                    Err(error) => break Err(error),
                }
            };
            let mut sum = lock(&sum);
            match (read, sum.as_mut()) {
                (Ok(()), Ok(all)) => merge(all, own),
                (Err(error), Ok(_)) => *sum = Err(error),
                (_, Err(_)) => {}
            }
        };
        std::thread::scope(|scope| {
            (1..self.threads).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Cells {
    fn add(&self, key: u64, parts: &mut [Part]) {
        let cell = match self.prefixes.as_slice() {
            [only] => usize::from(*only != leading(key, self.free)),
            all => all.binary_search(&leading(key, self.free)).unwrap_or(all.len()),
        };
        if cell < self.prefixes.len() {
            let inside = leading(key, self.free - self.bits) & ((1 << self.bits) - 1);
            let part = &mut parts[(cell << self.bits) + inside as usize];
            part.count += 1;
            part.least = part.least.min(key);
            part.largest = part.largest.max(key);
        }
    }
}

/// Moves every rank into the part that holds it; returns how many keys lie in parts that hold ranks not yet found.
fn advance(wanted: &mut [Wanted], cells: &Cells, parts: &[Part]) -> u64 {
    let (mut left, mut last) = (0, None);
    for wanted in wanted.iter_mut().filter(|wanted| wanted.found.is_none()) {
        let Ok(cell) = cells.prefixes.binary_search(&wanted.prefix) else { continue };
        let of_cell = &parts[cell << cells.bits..(cell + 1) << cells.bits];
        let Some((number, part)) = of_cell.iter().enumerate().find(|(_, part)| {
            let is_here = wanted.rank < part.count;
            wanted.rank -= if is_here { 0 } else { part.count };
            is_here
        }) else {
            continue;
        };
        // Of 64 bits none may be left to shift by.
        wanted.prefix = wanted.prefix.checked_shl(cells.bits).unwrap_or(0) | number as u64;
        if part.least == part.largest {
            wanted.found = Some(part.least);
        } else if last != Some(wanted.prefix) {
            left += part.count;
            last = Some(wanted.prefix);
        }
    }
    left
}

/// The bits of a key above the lowest `free`.
fn leading(key: u64, free: u32) -> u64 {
    key.checked_shr(free).unwrap_or(0)
}

/// An integer of the same order; 0 and -0 are one value.
fn key_of(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn value_of(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

struct Keys<F> {
    take: F,
}

impl<F: FnMut(u64)> WithNumbers for Keys<F> {
    type Output = ();

    fn call<T: Number>(mut self, values: &[T], nulls: Option<&NullBuffer>) {
        match nulls {
            None => values.iter().for_each(|value| (self.take)(key_of(value.number()))),
            Some(nulls) => nulls.valid_indices().for_each(|row| (self.take)(key_of(values[row].number()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, RecordBatch};
    use std::sync::Arc;

    fn pieces(values: &[f64], rows: usize) -> Vec<Piece> {
        let batch = |part: &[f64]| {
            let array: ArrayRef = Arc::new(Float64Array::from(part.to_vec()));
            Piece::Memory(RecordBatch::try_from_iter([("x", array)]).unwrap())
        };
        values.chunks(rows).map(batch).collect()
    }

    /// The definition itself, over sorted values.
    fn expected(values: &[f64], buckets: usize) -> Vec<f64> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (n, m) = (buckets, sorted.len());
        let mut edges: Vec<f64> = (0..=n)
            .map(|i| match (i * m / n, i * m % n) {
                (0, _) => sorted[0],
                (k, _) if k == m => sorted[m - 1],
                (k, 0) => (sorted[k - 1] + sorted[k]) / 2.0,
                (k, _) => sorted[k],
            })
            .collect();
        edges.dedup();
        edges
    }

    #[test]
    fn edges_are_exact_for_every_spread_of_values() {
        let n = 20_011;
        let mixed = |i: usize| (i * 7919 % n) as f64;
        let cases: Vec<Vec<f64>> = vec![
            (0..n).map(mixed).collect(),
            (0..n).map(|i| (mixed(i) / 1e4).exp() * if i % 3 == 0 { -1e-200 } else { 1e30 }).collect(),
            // Neighbours in the last bit only, around a power of two.
            (0..n).map(|i| f64::from_bits(2f64.to_bits() - 10_000 + mixed(i) as u64)).collect(),
            (0..n).map(|i| mixed(i).sqrt().floor()).collect(),
            (0..n).map(|i| if i % 10 == 0 { mixed(i) } else { -0.0 }).collect(),
            vec![3.5; 100],
            vec![1.0, 2.0],
            vec![-7.0],
        ];
        for values in cases {
            for buckets in [2, 10, 1000] {
                let mut seen = Vec::new();
                let ways = [(2, 10_000), (1, 977), (5, 313)];
                for (threads, rows) in ways.into_iter().take(if buckets == 10 { 3 } else { 1 }) {
                    let pieces = pieces(&values, rows);
                    let pieces: Vec<&Piece> = pieces.iter().collect();
                    let column = Column { pieces: &pieces, number: 0, threads, cancel: &Cancel::new() };
                    seen.push(column.edges(buckets, values.len() as u64).unwrap());
                }
                assert_eq!(seen[0], expected(&values, buckets), "{buckets} of {} values", values.len());
                assert!(seen.iter().all(|edges| *edges == seen[0]));
            }
        }
    }

    #[test]
    fn more_values_than_can_be_sorted_are_counted_again() {
        // 2^21 values in one cell of the first round: below a relative distance of 2^-6.
        let n = 1 << 21;
        let values: Vec<f64> =
            (0..n).map(|i: u64| 1.0 + (i.wrapping_mul(1_000_003) % n) as f64 * 2f64.powi(-28)).collect();
        let pieces = pieces(&values, 1 << 18);
        let pieces: Vec<&Piece> = pieces.iter().collect();
        let column = Column { pieces: &pieces, number: 0, threads: 2, cancel: &Cancel::new() };
        assert_eq!(column.edges(100, n).unwrap(), expected(&values, 100));
    }

    #[test]
    fn keys_keep_the_order_of_values() {
        let values = [f64::MIN, -1.5, -f64::MIN_POSITIVE, 0.0, 1e-300, 2.0, f64::MAX];
        assert!(values.windows(2).all(|pair| key_of(pair[0]) < key_of(pair[1])));
        assert!(values.iter().all(|&value| value_of(key_of(value)) == value));
        assert_eq!(key_of(-0.0), key_of(0.0));
    }
}
