//! Statistics of stored columns (stage 2), taken while shards are written: per grain, merged in the order of the grains.
//!
//! Mean and sum of squared deviations are merged by the formula of Chan, Golub and LeVeque (1979); inside a grain they are
//! computed in two passes over values that lie in the cache.

use std::ops::Range;

use gristmill_kernels::dtype::Element;
use gristmill_kernels::tile::Values;
use gristmill_kernels::{Work, vectorised_work};

/// Count, mean, squared deviations and extremes of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub m2: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many are not zero.
    pub nonzero: u64,
}

impl Default for Moments {
    fn default() -> Self {
        Moments { count: 0, mean: 0.0, m2: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, nonzero: 0 }
    }
}

const LANES: usize = 16;

impl Moments {
    /// Of a column.
    pub fn of(values: Values<'_>) -> Moments {
        match values {
            Values::F64(values) => Moments::of_slice(values),
            Values::F32(values) => Moments::of_slice(values),
            Values::F16(values) => Moments::of_slice(values),
            Values::U16(values) => Moments::of_slice(values),
            Values::U8(values) => Moments::of_slice(values),
        }
    }

    /// Of every element of row-major vectors.
    pub fn of_vectors(values: Values<'_>, width: usize) -> Vec<Moments> {
        match values {
            Values::F64(values) => elements(values, width),
            Values::F32(values) => elements(values, width),
            Values::F16(values) => elements(values, width),
            Values::U16(values) => elements(values, width),
            Values::U8(values) => elements(values, width),
        }
    }

    fn of_slice<T: Element>(values: &[T]) -> Moments {
        if values.is_empty() {
            return Moments::default();
        }
        let first = vectorised_work(Across(values, First::default()));
        let mean = first.sum.iter().sum::<f64>() / values.len() as f64;
        let squares = vectorised_work(Across(values, Deviations { mean: [mean; LANES], m2: [0.0; LANES] }));
        Moments {
            count: values.len() as u64,
            mean,
            m2: squares.m2.iter().sum(),
            min: first.min.into_iter().fold(f64::INFINITY, f64::min),
            max: first.max.into_iter().fold(f64::NEG_INFINITY, f64::max),
            nonzero: first.nonzero.iter().sum::<f64>() as u64,
        }
    }

    /// One number more (sparse entries).
    pub fn push(&mut self, x: f64) {
        self.count += 1;
        let delta = x - self.mean;
        self.mean += delta / self.count as f64;
        self.m2 += delta * (x - self.mean);
        self.min = self.min.min(x);
        self.max = self.max.max(x);
        self.nonzero += u64::from(x != 0.0);
    }

    /// These numbers and those.
    pub fn merge(&mut self, other: &Moments) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        self.mean += delta * (b / (a + b));
        self.m2 += other.m2 + delta * delta * (a * b / (a + b));
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.nonzero += other.nonzero;
    }

    /// These numbers and zeros up to `rows` numbers in all (absent entries of sparse rows).
    pub fn fill_with_zeros(&mut self, rows: u64) {
        let zeros = rows.saturating_sub(self.count);
        if zeros > 0 {
            self.merge(&Moments { count: zeros, mean: 0.0, m2: 0.0, min: 0.0, max: 0.0, nonzero: 0 });
        }
    }

    /// Of a 0/1 number that is 1 in `ones` of `rows` rows.
    pub fn of_flag(ones: u64, rows: u64) -> Moments {
        let share = if rows == 0 { 0.0 } else { ones as f64 / rows as f64 };
        Moments {
            count: rows,
            mean: share,
            m2: ones as f64 * (1.0 - share),
            min: if ones == rows && rows > 0 { 1.0 } else { 0.0 },
            max: if ones > 0 { 1.0 } else { 0.0 },
            nonzero: ones,
        }
    }
}

/// Sums and extremes.
struct First {
    sum: [f64; LANES],
    min: [f64; LANES],
    max: [f64; LANES],
    nonzero: [f64; LANES],
}

impl Default for First {
    fn default() -> First {
        First { sum: [0.0; LANES], min: [f64::INFINITY; LANES], max: [f64::NEG_INFINITY; LANES], nonzero: [0.0; LANES] }
    }
}

impl Lanewise for First {
    #[inline(always)]
    fn add(&mut self, lane: usize, x: f64) {
        self.sum[lane] += x;
        self.min[lane] = if x < self.min[lane] { x } else { self.min[lane] };
        self.max[lane] = if x > self.max[lane] { x } else { self.max[lane] };
        self.nonzero[lane] += if x == 0.0 { 0.0 } else { 1.0 };
    }
}

/// Squared deviations from a mean.
struct Deviations {
    mean: [f64; LANES],
    m2: [f64; LANES],
}

impl Lanewise for Deviations {
    #[inline(always)]
    fn add(&mut self, lane: usize, x: f64) {
        self.m2[lane] += (x - self.mean[lane]) * (x - self.mean[lane]);
    }
}

/// All numbers: row `i` goes to lane `i % 16`, a fixed order that vector instructions can follow.
struct Across<'a, T, S>(&'a [T], S);

impl<T: Element, S: Lanewise> Work for Across<'_, T, S> {
    type Output = S;

    #[inline(always)]
    fn run(self) -> S {
        let Across(values, mut sums) = self;
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, x) in chunk.iter().enumerate() {
                sums.add(lane, x.to_f64());
            }
        }
        for (lane, x) in rest.iter().enumerate() {
            sums.add(lane, x.to_f64());
        }
        sums
    }
}

fn elements<T: Element>(values: &[T], width: usize) -> Vec<Moments> {
    let mut all = vec![Moments::default(); width];
    let rows = values.len() / width.max(1);
    for place in (0..width).step_by(LANES) {
        // What is left over of long rows is looked at beside elements before it.
        let elements = place.min(width.saturating_sub(LANES))..width.min(place + LANES);
        let first = vectorised_work(Down(values, width, elements.clone(), First::default()));
        let mean = first.sum.map(|sum| sum / rows.max(1) as f64);
        let squares = vectorised_work(Down(values, width, elements.clone(), Deviations { mean, m2: [0.0; LANES] }));
        for (lane, moments) in all[elements].iter_mut().enumerate() {
            *moments = Moments {
                count: rows as u64,
                mean: mean[lane],
                m2: squares.m2[lane],
                min: first.min[lane],
                max: first.max[lane],
                nonzero: first.nonzero[lane] as u64,
            };
        }
    }
    all
}

/// What is summed up in lanes.
trait Lanewise {
    /// One number more.
    fn add(&mut self, lane: usize, x: f64);
}

/// At most [`LANES`] elements of row-major vectors of that width, a lane each, row after row.
struct Down<'a, T, S>(&'a [T], usize, Range<usize>, S);

impl<T: Element, S: Lanewise> Work for Down<'_, T, S> {
    type Output = S;

    #[inline(always)]
    fn run(self) -> S {
        let Down(values, width, elements, mut sums) = self;
        for row in values.chunks_exact(width) {
            let row = &row[elements.clone()];
            match row.first_chunk::<LANES>() {
                Some(row) => row.iter().enumerate().for_each(|(lane, x)| sums.add(lane, x.to_f64())),
                None => row.iter().enumerate().for_each(|(lane, x)| sums.add(lane, x.to_f64())),
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * b.abs().max(1.0)
    }

    #[test]
    fn moments_of_known_numbers_merged_from_parts() {
        // 0, 1, ..., 99: mean 49.5, m2 = n (n^2 - 1) / 12 = 83,325.
        let values: Vec<f32> = (0..100u8).map(f32::from).collect();
        let mut merged = Moments::default();
        values.chunks(33).for_each(|part| merged.merge(&Moments::of(Values::F32(part))));
        for found in [Moments::of(Values::F32(&values)), merged] {
            assert!(close(found.mean, 49.5) && close(found.m2, 83_325.0), "{found:?}");
            assert_eq!((found.count, found.min, found.max, found.nonzero), (100, 0.0, 99.0, 99));
        }
    }

    #[test]
    fn sparse_entries_and_absent_zeros() {
        let mut found = Moments::default();
        [2.0, -2.0, 3.0].into_iter().for_each(|x| found.push(x));
        found.fill_with_zeros(6);
        // Of 2, -2, 3, 0, 0, 0: mean 0.5, m2 = 4 + 4 + 9 - 6 / 4 = 15.5.
        assert!(close(found.mean, 0.5) && close(found.m2, 15.5), "{found:?}");
        assert_eq!((found.count, found.min, found.max, found.nonzero), (6, -2.0, 3.0, 3));
    }

    #[test]
    fn vectors_element_by_element_and_flags() {
        let found = Moments::of_vectors(Values::U8(&[1, 10, 3, 20]), 2);
        assert!(close(found[0].mean, 2.0) && close(found[0].m2, 2.0));
        assert!(close(found[1].mean, 15.0) && close(found[1].m2, 50.0));
        let flag = Moments::of_flag(1, 4);
        // Of 1, 0, 0, 0: m2 = 1 - 1 / 4.
        assert!(close(flag.m2, 0.75) && (flag.min, flag.max, flag.nonzero) == (0.0, 1.0, 1));
    }
}
