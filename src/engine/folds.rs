//! Cross-validation's folds: which rows are held out together.
//!
//! Row number i of the training split belongs to fold floor(n u_i / 2^64) of n, with u_i the 64 random bits that the
//! counter-based generator gives for (seed, folds, i). So a row's fold follows from seed and row number alone: not from
//! grains, threads or ranks. Folds are of equal size up to chance (a deviation of sqrt(rows / n) rows). Cost: about 1 ns a row.

use gristmill_io::rng::{Purpose, Stream};

/// The folds of a training.
#[derive(Clone, Copy, Debug)]
pub struct Folds {
    count: u32,
    stream: Stream,
}

impl Folds {
    /// So many folds, none where `count` is 0.
    pub fn new(seed: u64, count: u32) -> Option<Folds> {
        (count > 0).then(|| Folds { count, stream: Stream::new(seed, Purpose::Folds) })
    }

    /// How many.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The fold of a row.
    #[inline]
    pub fn of(&self, row: u64) -> u16 {
        ((u128::from(self.stream.bits(row)) * u128::from(self.count)) >> 64) as u16
    }

    /// The folds of as many rows as `out` holds, from row number `first`.
    pub fn read(&self, first: u64, out: &mut [u16]) {
        for (row, fold) in (first..).zip(out) {
            *fold = self.of(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100,000 rows in 7 folds: each expects 14,286 with a standard deviation of 111; 6 of them are allowed.
    #[test]
    fn folds_are_even_and_follow_from_seed_and_row() {
        let folds = Folds::new(3, 7).expect("seven");
        let mut sizes = [0u32; 7];
        let mut all = vec![0; 100_000];
        folds.read(0, &mut all);
        all.iter().for_each(|&fold| sizes[usize::from(fold)] += 1);
        assert!(sizes.iter().all(|size| size.abs_diff(14_286) < 666), "{sizes:?}");
        let mut part = vec![0; 10];
        folds.read(777, &mut part);
        assert_eq!(part, all[777..787]);
        let other = Folds::new(4, 7).expect("seven");
        assert!((0..100).any(|row| other.of(row) != folds.of(row)));
        assert!(Folds::new(3, 0).is_none());
    }
}
