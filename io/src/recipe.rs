//! Generated data sets of any size, as Parquet: for the first minute, for tests and for benchmarks.
//!
//! | recipe | columns |
//! |---|---|
//! | `quickstart` | 20 numeric, some with missing values, 4 categorical of 5, 20, 100 and 1,000 levels; label 0 or 1 |
//! | `numeric` | 28 (or as many as asked for) `f32`, standard normal, label 0 or 1 |
//! | `clicks` | 13 numeric, 26 categorical with 1,000,000 Zipf-distributed levels in all; label 0 or 1, one in five |
//! | `images` | 784 bytes, 28 lines of 28 grey values; label 0 to 9 |
//!
//! The label of `images` is drawn first: three spots make the shape of a class, and a row shows its own, a share of another's and noise.
//! Elsewhere the label is drawn from a logistic model that the test beside knows: P(y = 1) = 1 / (1 + exp(-z)), with z a weighted sum of
//! the numeric columns (before values go missing) and an effect of every level. A row is a function of (recipe, seed,
//! row number): files of more rows begin with the rows of smaller ones. Row groups are made in parallel and written in order; memory is a few row
//! groups.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use arrow::array::types::Int32Type;
use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt8Array};
use arrow::array::{DictionaryArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::durable;
use crate::error::{Error, Result};
use crate::ingest::sequence::lock;
use crate::rng::{Purpose, Stream};
use crate::watch::{Cancel, Progress};

/// Rows of a row group.
const GROUP_ROWS: u64 = 1 << 16;
/// Rows from which the bytes of a row are estimated.
const SAMPLE_ROWS: u64 = 1024;

/// Columns of `numeric` unless told otherwise.
pub const NUMERIC_COLUMNS: u32 = 28;

/// Levels of the categorical columns of `clicks`: a few large ones, many small ones, 1,000,000 in all.
const CLICK_LEVELS: [u64; 26] = [
    300_000, 10, 100, 3_000, 250_000, 30, 300, 10_000, 200_000, 20, 200, 2_000, 120_000, 10, 100, 1_000, 60_000, 30,
    300, 3_000, 26_900, 20, 200, 2_000, 5, 20_775,
];

/// A generated data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// Mixed columns with missing values.
    Quickstart,
    /// So many numbers.
    Numeric {
        /// How many, at least 1.
        columns: u32,
    },
    /// Categories with many levels.
    Clicks,
    /// Grey values of ten classes.
    Images,
}

/// Lines of an image, and grey values of a line.
const SIDE: usize = 28;
const CLASSES: u64 = 10;

impl std::str::FromStr for Recipe {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Recipe, String> {
        match name {
            "quickstart" => Ok(Recipe::Quickstart),
            "numeric" => Ok(Recipe::Numeric { columns: NUMERIC_COLUMNS }),
            "clicks" => Ok(Recipe::Clicks),
            "images" => Ok(Recipe::Images),
            other => Err(format!("found the recipe '{other}', expected quickstart, numeric, clicks or images")),
        }
    }
}

/// A column of a recipe.
struct Plan {
    name: String,
    values: Values,
}

enum Values {
    /// offset + scale * standard normal, missing with this share, and its weight in the model (of the standard normal).
    Number { offset: f64, scale: f64, missing: f64, weight: f64 },
    /// Levels, how skewed (0: uniform, 1: Zipf), and the size of their effects.
    Level { levels: u64, skew: f64, effect: f64 },
}

impl Recipe {
    fn plan(self) -> Vec<Plan> {
        let number = |name: String, offset, scale, missing, weight| Plan {
            name,
            values: Values::Number { offset, scale, missing, weight },
        };
        let level = |name: String, levels, skew, effect| Plan { name, values: Values::Level { levels, skew, effect } };
        // Weights fall and change sign, so that columns differ in what they tell.
        let weight = |i: usize| if i.is_multiple_of(2) { 0.8 } else { -0.6 } / (1.0 + i as f64 / 4.0);
        match self {
            Recipe::Quickstart => {
                let mut plan: Vec<Plan> = (0..20)
                    .map(|i| {
                        let missing = if i % 5 == 3 { 0.05 } else { 0.0 };
                        number(format!("x{i:02}"), i as f64 - 5.0, 1.0 + i as f64 / 3.0, missing, weight(i))
                    })
                    .collect();
                let sizes = [("plan", 5), ("region", 20), ("device", 100), ("shop", 1000)];
                plan.extend(sizes.map(|(name, levels)| level(name.into(), levels, 0.6, 0.7)));
                plan
            }
            Recipe::Numeric { columns } => {
                (0..columns as usize).map(|i| number(format!("x{i:02}"), 0.0, 1.0, 0.0, weight(i))).collect()
            }
            Recipe::Clicks => {
                let numbers = (0..13).map(|i| number(format!("i{:02}", i + 1), 2.0, 1.5, 0.02, weight(i) * 0.5));
                let sizes = CLICK_LEVELS.into_iter().enumerate();
                let levels = sizes.map(|(i, levels)| level(format!("c{:02}", i + 1), levels, 1.0, 0.3));
                numbers.chain(levels).collect()
            }
            Recipe::Images => Vec::new(),
        }
    }

    /// Names its random streams.
    fn number(self) -> u64 {
        match self {
            Recipe::Quickstart => 0,
            Recipe::Numeric { .. } => 1,
            Recipe::Clicks => 2,
            Recipe::Images => 3,
        }
    }

    fn intercept(self) -> f64 {
        if self == Recipe::Clicks { -1.6 } else { 0.0 }
    }
}

/// The effect of a level in the model, on [-effect, effect).
fn effect_of(stream: Stream, level: u64, effect: f64) -> f64 {
    (stream.child(1).uniform(level) * 2.0 - 1.0) * effect
}

/// A level: uniform for skew 0, near Zipf's law for skew 1 (the inverse of its continuous distribution function).
fn level_of(u: f64, levels: u64, skew: f64) -> u64 {
    let n = levels as f64;
    let x = match skew {
        0.0 => u * n,
        1.0 => (u * (n + 1.0).ln()).exp() - 1.0,
        s => (u * ((n + 1.0).powf(1.0 - s) - 1.0) + 1.0).powf(1.0 / (1.0 - s)) - 1.0,
    };
    (x as u64).min(levels - 1)
}

/// Two standard normal numbers (Box and Muller, 1958).
fn normal_pair(stream: Stream, pair: u64) -> (f64, f64) {
    let radius = (-2.0 * (1.0 - stream.uniform(2 * pair)).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * stream.uniform(2 * pair + 1)).sin_cos();
    (radius * cos, radius * sin)
}

/// Rows `first` to `first + rows` of a recipe (`first` even).
///
/// # Errors
/// [`Error::Usage`] when Arrow refuses the columns.
pub fn batch(recipe: Recipe, seed: u64, first: u64, rows: u64) -> Result<RecordBatch> {
    let stream = Stream::new(seed, Purpose::Recipe).child(recipe.number());
    if recipe == Recipe::Images {
        return images(stream, first, rows);
    }
    let mut z = vec![recipe.intercept(); rows as usize];
    let mut columns: Vec<(String, ArrayRef, bool)> = Vec::new();
    for (number, plan) in recipe.plan().into_iter().enumerate() {
        let own = stream.child(number as u64 + 10);
        let array = match plan.values {
            Values::Number { offset, scale, missing, weight } => {
                numbers(own, first, &mut z, |x| (offset + scale * x) as f32, missing, weight)
            }
            Values::Level { levels, skew, effect } => {
                level_column(own, first, &mut z, &plan.name, levels, skew, effect)?
            }
        };
        columns.push((plan.name, array, true));
    }
    let draw = stream.child(1);
    let label = (first..).zip(&z).map(|(row, z)| u8::from(draw.uniform(row) * (1.0 + (-z).exp()) < 1.0));
    columns.push(("label".into(), Arc::new(UInt8Array::from_iter_values(label)), false));
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| Error::Usage(e.to_string()))
}

fn images(stream: Stream, first: u64, rows: u64) -> Result<RecordBatch> {
    let shapes: Vec<Vec<f64>> = (0..CLASSES).map(|class| shape(stream.child(10 + class))).collect();
    let (label, other, share, noise) = (stream.child(1), stream.child(2), stream.child(3), stream.child(4));
    let class_of = |own: Stream, row| (own.uniform(row) * CLASSES as f64) as usize;
    let mut pixels: Vec<Vec<u8>> = (0..SIDE * SIDE).map(|_| Vec::with_capacity(rows as usize)).collect();
    for row in first..first + rows {
        let (own, foreign) = (&shapes[class_of(label, row)], &shapes[class_of(other, row)]);
        let (share, noise) = (0.5 * share.uniform(row), noise.child(row));
        for (at, pixels) in pixels.iter_mut().enumerate() {
            let shown = own[at] + share * (foreign[at] - own[at]);
            // Where nothing is shown, most noise is below black.
            pixels.push((255.0 * shown + 160.0 * noise.uniform(at as u64) - 120.0).clamp(0.0, 255.0) as u8);
        }
    }
    let column = |(at, pixels)| (format!("p{at:03}"), Arc::new(UInt8Array::from(pixels)) as ArrayRef, false);
    let mut columns: Vec<(String, ArrayRef, bool)> = pixels.into_iter().enumerate().map(column).collect();
    let labels = (first..first + rows).map(|row| class_of(label, row) as u8);
    columns.push(("label".into(), Arc::new(UInt8Array::from_iter_values(labels)), false));
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| Error::Usage(e.to_string()))
}

/// The grey values of a class, 0 to 1: three spots away from the edge.
fn shape(own: Stream) -> Vec<f64> {
    let mut shape = vec![0.0_f64; SIDE * SIDE];
    for spot in (0..9).step_by(3) {
        let place = |number| 7.0 + 14.0 * own.uniform(spot + number);
        let (line, column, width) = (place(0), place(1), 6.0 + 12.0 * own.uniform(spot + 2));
        for (at, grey) in shape.iter_mut().enumerate() {
            let (down, right) = ((at / SIDE) as f64 - line, (at % SIDE) as f64 - column);
            *grey = (*grey + (-(down * down + right * right) / width).exp()).min(1.0);
        }
    }
    shape
}

fn numbers(own: Stream, first: u64, z: &mut [f64], value: impl Fn(f64) -> f32, missing: f64, weight: f64) -> ArrayRef {
    let mut values = Vec::with_capacity(z.len() + 1);
    for pair in first / 2..(first + z.len() as u64).div_ceil(2) {
        let (a, b) = normal_pair(own, pair);
        values.extend([a, b]);
    }
    z.iter_mut().zip(&values).for_each(|(z, x)| *z += weight * x);
    let values = values[..z.len()].iter().map(|&x| value(x));
    if missing == 0.0 {
        return Arc::new(Float32Array::from_iter_values(values));
    }
    let gone = own.child(2);
    Arc::new(
        (first..).zip(values).map(|(row, x)| (gone.uniform(row) >= missing).then_some(x)).collect::<Float32Array>(),
    )
}

fn level_column(
    own: Stream,
    first: u64,
    z: &mut [f64],
    name: &str,
    levels: u64,
    skew: f64,
    effect: f64,
) -> Result<ArrayRef> {
    let drawn: Vec<u64> = (first..first + z.len() as u64).map(|row| level_of(own.uniform(row), levels, skew)).collect();
    let mut present = drawn.clone();
    present.sort_unstable();
    present.dedup();
    let effects: Vec<f64> = present.iter().map(|&level| effect_of(own, level, effect)).collect();
    let places: Vec<usize> = drawn.iter().map(|level| present.partition_point(|other| other < level)).collect();
    z.iter_mut().zip(&places).for_each(|(z, &place)| *z += effects[place]);
    let names = StringArray::from_iter_values(present.iter().map(|level| format!("{name}-{level:04}")));
    let keys: PrimitiveArray<Int32Type> = places.iter().map(|&place| Some(place as i32)).collect();
    let array: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::new(names)));
    cast(&array, &DataType::Utf8).map_err(|e| Error::Usage(e.to_string()))
}

/// Write `rows` rows of a recipe as a Parquet file. Progress counts bytes in memory.
///
/// # Errors
/// [`Error::Io`] when it cannot be written, [`Error::Interrupted`]; the file is then as it was.
pub fn write(
    recipe: Recipe,
    rows: u64,
    seed: u64,
    path: &Path,
    threads: usize,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<()> {
    if rows == 0 {
        return Err(Error::Usage("a data set has at least one row".into()));
    }
    let sample = batch(recipe, seed, 0, SAMPLE_ROWS)?;
    let row_bytes = sample.get_array_memory_size() as u64 / SAMPLE_ROWS;
    progress.begin("generating", Some(rows * row_bytes));
    let written = durable::write_output(path, |file| {
        let failed = |e: parquet::errors::ParquetError| Error::io(path, "cannot write", std::io::Error::other(e));
        let schema = sample.schema();
        let properties = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_dictionary_enabled(recipe == Recipe::Images)
            .set_encoding(Encoding::PLAIN);
        let properties = recipe.plan().iter().fold(properties, |properties, plan| {
            let is_level = matches!(plan.values, Values::Level { .. });
            properties.set_column_dictionary_enabled(plan.name.as_str().into(), is_level)
        });
        let mut writer =
            ArrowWriter::try_new(std::io::BufWriter::with_capacity(1 << 20, file), schema, Some(properties.build()))
                .map_err(failed)?;
        in_order(
            rows.div_ceil(GROUP_ROWS),
            threads,
            |group| {
                cancel.check()?;
                let first = group * GROUP_ROWS;
                batch(recipe, seed, first, GROUP_ROWS.min(rows - first))
            },
            |batch| {
                writer.write(&batch).and_then(|()| writer.flush()).map_err(failed)?;
                let rows = batch.num_rows() as u64;
                progress.advance(rows, rows * row_bytes);
                Ok(())
            },
        )?;
        let buffered = writer.into_inner().map_err(failed)?;
        buffered.into_inner().map(drop).map_err(|e| Error::io(path, "cannot write", e.into_error()))
    });
    progress.end();
    written
}

/// Make things on several threads and use them on this one, in order, with few of them waiting.
fn in_order<T: Send>(
    count: u64,
    threads: usize,
    make: impl Fn(u64) -> Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    struct State<T> {
        handed_out: u64,
        taken: u64,
        made: Vec<(u64, Result<T>)>,
    }
    let state = Mutex::new(State { handed_out: 0, taken: 0, made: Vec::new() });
    let moved = Condvar::new();
    let ahead = threads as u64 + 2;
    let work = || {
        loop {
            let mut held = lock(&state);
            while held.handed_out < count && held.handed_out >= held.taken + ahead {
                held = moved.wait(held).unwrap_or_else(PoisonError::into_inner);
            }
            if held.handed_out >= count {
                return;
            }
            let number = held.handed_out;
            held.handed_out += 1;
            drop(held);
            let made = make(number);
            lock(&state).made.push((number, made));
            moved.notify_all();
        }
    };
    std::thread::scope(|scope| {
        (0..threads.max(1)).for_each(|_| drop(scope.spawn(work)));
        let mut outcome = Ok(());
        for number in 0..count {
            let mut held = lock(&state);
            let made = loop {
                if let Some(at) = held.made.iter().position(|(made, _)| *made == number) {
                    break held.made.swap_remove(at).1;
                }
                held = moved.wait(held).unwrap_or_else(PoisonError::into_inner);
            };
            drop(held);
            outcome = made.and_then(&mut take);
            let mut held = lock(&state);
            held.taken += 1;
            if outcome.is_err() {
                held.handed_out = count;
            }
            drop(held);
            moved.notify_all();
            if outcome.is_err() {
                break;
            }
        }
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Silent;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float32Type, UInt8Type};

    const NUMERIC: Recipe = Recipe::Numeric { columns: NUMERIC_COLUMNS };

    #[test]
    fn clicks_have_a_million_levels() {
        assert_eq!(CLICK_LEVELS.iter().sum::<u64>(), 1_000_000);
        let rows = batch(Recipe::Clicks, 1, 0, 10_000).unwrap();
        // Zipf's law with 300,000 levels: the first has a share of ln 2 / ln 300,001 = 0.055; the standard deviation is 23.
        let first = rows
            .column_by_name("c01")
            .unwrap()
            .as_string::<i32>()
            .iter()
            .flatten()
            .filter(|c| *c == "c01-0000")
            .count();
        assert!(first.abs_diff(550) < 115, "{first}");
    }

    #[test]
    fn a_row_is_a_function_of_seed_and_number() {
        for recipe in [Recipe::Quickstart, NUMERIC, Recipe::Clicks, Recipe::Images] {
            let whole = batch(recipe, 5, 0, 1001).unwrap();
            assert_eq!(batch(recipe, 5, 500, 100).unwrap(), whole.slice(500, 100));
            assert_ne!(batch(recipe, 6, 500, 100).unwrap(), whole.slice(500, 100));
        }
    }

    #[test]
    fn the_label_follows_the_model() {
        // 50,000 rows: a mean of a standard normal times the centred label. For z = w x + rest the sign of each is that of w.
        let rows = batch(NUMERIC, 1, 0, 50_000).unwrap();
        let label = rows.column_by_name("label").unwrap().as_primitive::<UInt8Type>();
        let mean = label.values().iter().map(|&y| f64::from(y)).sum::<f64>() / 50_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        for (i, sign) in [1.0, -1.0, 1.0, -1.0].into_iter().enumerate() {
            let x = rows.column(i).as_primitive::<Float32Type>();
            let products = x.values().iter().zip(label.values()).map(|(&x, &y)| f64::from(x) * (f64::from(y) - 0.5));
            // Weights of at least 0.34 give at least 0.04; the standard deviation of the mean is 0.5 / sqrt(50,000) = 0.002.
            assert!(products.sum::<f64>() / 50_000.0 * sign > 0.03, "x{i:02}");
        }
    }

    #[test]
    fn images_show_their_class() {
        let rows = batch(Recipe::Images, 1, 0, 4_000).unwrap();
        let pixels: Vec<_> = (0..SIDE * SIDE).map(|at| rows.column(at).as_primitive::<UInt8Type>().values()).collect();
        let label = rows.column_by_name("label").unwrap().as_primitive::<UInt8Type>().values();
        let mut means = vec![vec![0.0; SIDE * SIDE]; CLASSES as usize];
        for (at, pixels) in pixels.iter().enumerate() {
            pixels.iter().zip(label).for_each(|(x, y)| means[usize::from(*y)][at] += f64::from(*x));
        }
        for (class, means) in means.iter_mut().enumerate() {
            // Binomial: 400 rows a class with a standard deviation of 19; 5 of them.
            let count = label.iter().filter(|y| usize::from(**y) == class).count();
            assert!(count.abs_diff(400) < 95, "{count} of class {class}");
            means.iter_mut().for_each(|mean| *mean /= count as f64);
        }
        // A row is nearer to the mean of its class than to any other nearly always: half of it at least is its own.
        let near = |row: usize, means: &Vec<f64>| {
            pixels.iter().zip(means).map(|(x, mean)| (f64::from(x[row]) - mean).powi(2)).sum::<f64>()
        };
        let right = (0..500).filter(|&row| {
            let own = near(row, &means[usize::from(label[row])]);
            means.iter().all(|means| own <= near(row, means))
        });
        assert!(right.count() > 400);
    }

    #[test]
    fn quickstart_has_missing_values_and_all_levels() {
        let rows = batch(Recipe::Quickstart, 1, 0, 50_000).unwrap();
        let missing = rows.column_by_name("x03").unwrap().null_count();
        // Binomial: 2,500 with a standard deviation of 49; 5 of them.
        assert!(missing.abs_diff(2_500) < 245, "{missing}");
        for (name, levels) in [("plan", 5), ("region", 20), ("device", 100), ("shop", 1000)] {
            let column = rows.column_by_name(name).unwrap().as_string::<i32>();
            let distinct: std::collections::HashSet<_> = column.iter().flatten().collect();
            assert_eq!(distinct.len(), levels, "{name}");
        }
    }

    #[test]
    fn the_file_is_the_same_for_any_number_of_threads() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<_> = [1, 3]
            .map(|threads| {
                let path = folder.path().join(threads.to_string());
                write(Recipe::Quickstart, GROUP_ROWS * 2 + 10, 1, &path, threads, &Silent, &Cancel::new()).unwrap();
                std::fs::read(path).unwrap()
            })
            .into();
        assert!(files[0] == files[1]);
        let cancel = Cancel::new();
        cancel.request();
        let path = folder.path().join("none");
        assert!(matches!(write(NUMERIC, 10, 1, &path, 2, &Silent, &cancel), Err(Error::Interrupted)));
        assert!(!path.exists());
    }
}
