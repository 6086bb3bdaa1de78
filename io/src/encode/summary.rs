//! Summaries of raw numbers (stage 2): what must be known of a column before its storage type is decided.
//!
//! One pass over the values, 16 lanes, no branches: about 1 ns a value. Summaries are merged in the order of the rows, so
//! that the mean has the same bits whatever the number of threads.

use arrow::array::Array;
use arrow::buffer::NullBuffer;
use gristmill_kernels::{Work, vectorised_work};

use super::raw::{Number, WithNumbers, with_numbers};

/// What is known of a run of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Values present.
    pub count: u64,
    /// Values missing.
    pub missing: u64,
    /// Mean of the values present; 0 when there is none.
    pub mean: f64,
    /// Smallest value present; +infinity when there is none.
    pub min: f64,
    /// Largest value present; -infinity when there is none.
    pub max: f64,
    /// Every value is an integer (and below 2^51).
    pub integral: bool,
    /// Every value is exact in `f32`.
    pub single: bool,
}

impl Default for Summary {
    fn default() -> Self {
        Summary {
            count: 0,
            missing: 0,
            mean: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            integral: true,
            single: true,
        }
    }
}

impl Summary {
    /// The summary of a raw numeric array; none: not a raw numeric type.
    pub fn of(array: &dyn Array) -> Option<Summary> {
        with_numbers(array, Scan)
    }

    /// The mean, which rounding of sums may have put outside the values.
    pub fn mean_within(&self) -> f64 {
        if self.count == 0 { self.mean } else { self.mean.clamp(self.min, self.max) }
    }

    /// The summary of these rows and then those.
    pub fn merge(&mut self, next: &Summary) {
        let count = self.count + next.count;
        if next.count > 0 {
            // Shares instead of a difference: no overflow with values near the largest f64.
            let share = next.count as f64 / count as f64;
            self.mean = if self.count == 0 { next.mean } else { self.mean * (1.0 - share) + next.mean * share };
        }
        self.count = count;
        self.missing += next.missing;
        self.min = self.min.min(next.min);
        self.max = self.max.max(next.max);
        self.integral &= next.integral;
        self.single &= next.single;
    }

    /// Largest absolute value.
    pub fn magnitude(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.min.abs().max(self.max.abs()) }
    }

    /// Difference of the extremes; infinite when it overflows.
    pub fn range(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.max - self.min }
    }
}

struct Scan;

impl WithNumbers for Scan {
    type Output = Summary;

    fn call<T: Number>(self, values: &[T], nulls: Option<&NullBuffer>) -> Summary {
        let mut lanes = Lanes::default();
        match nulls {
            None => vectorised_work(Slices { lanes: &mut lanes, values, slices: std::iter::once((0, values.len())) }),
            Some(nulls) => vectorised_work(Slices { lanes: &mut lanes, values, slices: nulls.valid_slices() }),
        }
        let missing = nulls.map_or(0, NullBuffer::null_count);
        let mut summary = lanes.finish((values.len() - missing) as u64, missing as u64);
        if !summary.mean.is_finite() {
            // The sum overflowed: sum shares instead.
            let valid = |row: &usize| nulls.is_none_or(|nulls| nulls.is_valid(*row));
            let count = summary.count as f64;
            summary.mean = (0..values.len()).filter(valid).map(|row| values[row].number() / count).sum();
        }
        summary
    }
}

const LANES: usize = 16;

/// Values among which a fraction is looked for first; whole rows of lanes.
const FIRST_LOOK: usize = 64 * LANES;

/// Slices of values. A closure would not always be compiled with the instructions of the tier.
struct Slices<'a, T, S> {
    lanes: &'a mut Lanes,
    values: &'a [T],
    slices: S,
}

impl<T: Number, S: Iterator<Item = (usize, usize)>> Work for Slices<'_, T, S> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (start, end) in self.slices {
            self.lanes.scan(&self.values[start..end]);
        }
    }
}

#[derive(Clone, Copy)]
struct Lanes {
    sum: [f64; LANES],
    min: [f64; LANES],
    max: [f64; LANES],
    /// Nonzero once a value was no integer, or not exact in f32.
    fraction: [f64; LANES],
    rounded: [f64; LANES],
}

impl Default for Lanes {
    fn default() -> Self {
        Lanes {
            sum: [0.0; LANES],
            min: [f64::INFINITY; LANES],
            max: [f64::NEG_INFINITY; LANES],
            fraction: [0.0; LANES],
            rounded: [0.0; LANES],
        }
    }
}

/// Adding and subtracting 1.5 * 2^52 rounds to an integer for |x| < 2^51, without an instruction that older processors lack.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

impl Lanes {
    #[inline(always)]
    fn scan<T: Number>(&mut self, values: &[T]) {
        // A copy that nobody else can see stays in registers.
        let mut own = *self;
        // Among reals a fraction turns up soon, and no other need be looked for.
        let (first, rest) = values.split_at(values.len().min(FIRST_LOOK));
        own.steps::<T, true>(first);
        if own.fraction == [0.0; LANES] {
            own.steps::<T, true>(rest);
        } else {
            own.steps::<T, false>(rest);
        }
        *self = own;
    }

    #[inline(always)]
    fn steps<T: Number, const FRACTION: bool>(&mut self, values: &[T]) {
        let mut chunks = values.chunks_exact(LANES);
        for chunk in &mut chunks {
            for (lane, &value) in chunk.iter().enumerate() {
                self.step::<T, FRACTION>(lane, value);
            }
        }
        for (lane, &value) in chunks.remainder().iter().enumerate() {
            self.step::<T, FRACTION>(lane, value);
        }
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is what is measured")]
    fn step<T: Number, const FRACTION: bool>(&mut self, lane: usize, value: T) {
        let x = value.number();
        self.sum[lane] += x;
        self.min[lane] = if x < self.min[lane] { x } else { self.min[lane] };
        self.max[lane] = if x > self.max[lane] { x } else { self.max[lane] };
        if FRACTION && !T::INTEGRAL {
            self.fraction[lane] += (x - ((x + ROUNDER) - ROUNDER)).abs();
        }
        if !T::SINGLE {
            self.rounded[lane] += (x - f64::from(x as f32)).abs();
        }
    }

    fn finish(&self, count: u64, missing: u64) -> Summary {
        let sum: f64 = self.sum.iter().sum();
        Summary {
            count,
            missing,
            mean: if count == 0 { 0.0 } else { sum / count as f64 },
            min: self.min.iter().copied().fold(f64::INFINITY, f64::min),
            max: self.max.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            // NaN and infinity (from values beyond f32) count as "not exact".
            integral: self.fraction.iter().all(|&sum| sum == 0.0),
            single: self.rounded.iter().all(|&sum| sum == 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float32Array, Float64Array, Int64Array};

    #[test]
    fn a_summary_of_known_numbers() {
        let array = Float64Array::from(vec![Some(1.0), None, Some(-2.0), Some(4.0)]);
        let summary = Summary::of(&array).unwrap();
        let expected = Summary { count: 3, missing: 1, mean: 1.0, min: -2.0, max: 4.0, integral: true, single: true };
        assert_eq!(summary, expected);
        assert!(!Summary::of(&Float64Array::from(vec![1.0, 0.1])).unwrap().single);
        assert!(!Summary::of(&Float32Array::from(vec![1.0, 0.5])).unwrap().integral);
        assert!(Summary::of(&Float32Array::from(vec![0.1])).unwrap().single);
        assert!(!Summary::of(&Int64Array::from(vec![16_777_217])).unwrap().single);
        assert!(!Summary::of(&Float64Array::from(vec![1e300])).unwrap().single);
        assert_eq!(Summary::of(&Float64Array::from(vec![None, None])).unwrap().missing, 2);
    }

    #[test]
    fn a_fraction_is_found_wherever_it_is() {
        let rows = 2 * FIRST_LOOK + 5;
        for at in [0, FIRST_LOOK - 1, FIRST_LOOK, rows - 1] {
            let values = |row: usize| if row == at { 0.5f32 } else { row as f32 };
            let summary = Summary::of(&Float32Array::from_iter_values((0..rows).map(values))).unwrap();
            assert!(!summary.integral && summary.single, "{at}");
            assert_eq!(
                (summary.min, summary.max),
                (if at == 0 { 0.5 } else { 0.0 }, values(rows - 1).max(values(rows - 2)).into())
            );
            // Sums of halves below 2^24 are exact, whatever their order.
            let sum: f64 = (0..rows).map(|row| f64::from(values(row))).sum();
            assert_eq!(summary.mean, sum / rows as f64, "{at}");
        }
        let whole = Summary::of(&Float32Array::from_iter_values((0..rows).map(|row| row as f32))).unwrap();
        assert!(whole.integral && whole.single);
    }

    #[test]
    fn huge_values_do_not_overflow_the_mean() {
        let array = Float64Array::from(vec![1.7e308, 1.7e308, -1.7e308, 1.7e308]);
        let mut summary = Summary::of(&array).unwrap();
        // (1.7 + 1.7 - 1.7 + 1.7) / 4 * 1e308
        assert!((summary.mean / 8.5e307 - 1.0).abs() < 1e-12, "{summary:?}");
        summary.merge(&Summary::of(&Float64Array::from(vec![-1.7e308; 4])).unwrap());
        assert!((summary.mean / -4.25e307 - 1.0).abs() < 1e-12, "{summary:?}");
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let values: Vec<f64> = (0..1000).map(|i| f64::from(i * i % 97)).collect();
        let whole = Summary::of(&Float64Array::from(values.clone())).unwrap();
        let mut merged = Summary::default();
        for part in values.chunks(77) {
            merged.merge(&Summary::of(&Float64Array::from(part.to_vec())).unwrap());
        }
        assert_eq!((merged.count, merged.min, merged.max), (whole.count, whole.min, whole.max));
        assert!((merged.mean - whole.mean).abs() < 1e-12);
    }
}
