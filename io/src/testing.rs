//! Datasets made from values at hand, for tests and benchmarks (of this crate and of others).
//!
//! ```
//! # use gristmill_io::testing::SampleDataset;
//! # use gristmill_io::manifest::{Role, Split};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let dataset = SampleDataset::new(64)
//!     .f32("x", Role::Feature, vec![1.0, 2.0, 3.0])
//!     .f32("y", Role::Label, vec![0.0, 1.0, 0.0])
//!     .write(&folder.path().join("data"))?;
//! assert_eq!(dataset.rows(Split::Train), 3);
//! # Ok(())
//! # }
//! ```

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, FixedSizeListArray, Float16Array, Float32Array, Float64Array, ListArray, StructArray,
    UInt8Array, UInt16Array, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Float16Type, Float32Type, Float64Type, UInt8Type, UInt16Type, UInt32Type};
use gristmill_kernels::dtype::{DType, Element, f16};

use crate::dataset::Dataset;
use crate::dataset_writer::{DatasetWriter, Description};
use crate::dictionary::Dictionary;
use crate::encode::labels;
use crate::error::{Error, Result};
use crate::manifest::{Column, FileEntry, Kind, Layout, Role, Split};
use crate::shard;
use crate::statistics::{DISTINCT_MAX, LabelStatistics, Statistics};

/// Columns in memory that become a dataset folder.
#[derive(Clone, Debug)]
pub struct SampleDataset {
    grain_rows: usize,
    test_rows: usize,
    grains_per_shard: usize,
    columns: Vec<(Column, ArrayRef)>,
}

impl SampleDataset {
    /// A dataset with grains of so many rows.
    pub fn new(grain_rows: usize) -> SampleDataset {
        SampleDataset { grain_rows, test_rows: 0, grains_per_shard: usize::MAX, columns: Vec::new() }
    }

    /// The last `rows` rows are the test split.
    #[must_use]
    pub fn test_rows(mut self, rows: usize) -> SampleDataset {
        self.test_rows = rows;
        self
    }

    /// Split the training rows into shards of so many grains.
    #[must_use]
    pub fn grains_per_shard(mut self, grains: usize) -> SampleDataset {
        self.grains_per_shard = grains;
        self
    }

    /// Any column, with an array of the type [`shard::data_type`] says.
    #[must_use]
    pub fn column(mut self, name: &str, role: Role, kind: Kind, values: ArrayRef) -> SampleDataset {
        let column = Column { name: name.to_string(), role, kind, source_type: "sample".to_string(), missing: 0 };
        self.columns.push((column, values));
        self
    }

    /// A column of `f32`.
    #[must_use]
    pub fn f32(self, name: &str, role: Role, values: Vec<f32>) -> SampleDataset {
        self.column(name, role, numeric(DType::F32, 0.0, 1.0), Arc::new(Float32Array::from(values)))
    }

    /// A column of `f64`.
    #[must_use]
    pub fn f64(self, name: &str, role: Role, values: Vec<f64>) -> SampleDataset {
        self.column(name, role, numeric(DType::F64, 0.0, 1.0), Arc::new(Float64Array::from(values)))
    }

    /// A numeric column of any storage type, of stored values (rounded to that type).
    #[must_use]
    pub fn stored(
        self,
        name: &str,
        role: Role,
        dtype: DType,
        offset: f64,
        scale: f64,
        values: &[f64],
    ) -> SampleDataset {
        self.column(name, role, numeric(dtype, offset, scale), numbers(dtype, values))
    }

    /// A categorical column of codes below `levels`; the dictionary's levels are `l0`, `l1`, ...
    #[must_use]
    pub fn codes(self, name: &str, role: Role, levels: usize, codes: &[u32]) -> SampleDataset {
        let (code_bytes, array): (u8, ArrayRef) = match levels {
            0..=0x100 => (1, Arc::new(UInt8Array::from_iter_values(codes.iter().map(|&code| code as u8)))),
            0x101..=0x1_0000 => (2, Arc::new(UInt16Array::from_iter_values(codes.iter().map(|&code| code as u16)))),
            _ => (4, Arc::new(UInt32Array::from_iter_values(codes.iter().copied()))),
        };
        let dictionary = FileEntry { file: String::new(), bytes: 0, xxh3: String::new() };
        let kind = Kind::Categorical { code_bytes, levels, dictionary, missing_code: None, unseen_code: None };
        self.column(name, role, kind, array)
    }

    /// So many labels `label0`, `label1`, ..., label k of a row in bit k.
    #[must_use]
    pub fn labels(self, count: usize, rows: &[u64]) -> SampleDataset {
        let names = (0..count).map(|label| format!("label{label}")).collect();
        let dtype = labels::dtype(count);
        let values: Vec<f64> = rows.iter().map(|&labels| labels as f64).collect();
        self.column("labels", Role::Label, Kind::Labels { names, dtype }, numbers(dtype, &values))
    }

    /// A vector column, row-major.
    #[must_use]
    pub fn vectors(self, name: &str, dtype: DType, width: usize, values: &[f64]) -> SampleDataset {
        let kind = Kind::Vector { dtype, width };
        let (item, size) = match shard::data_type(&kind) {
            DataType::FixedSizeList(item, size) => (item, size),
            other => (Arc::new(Field::new("item", other, false)), 0),
        };
        let array = FixedSizeListArray::new(item, size, numbers(dtype, values), None);
        self.column(name, Role::Feature, kind, Arc::new(array))
    }

    /// A sparse vector column: a list of (index, value) a row.
    #[must_use]
    pub fn sparse(self, name: &str, width: usize, rows: &[Vec<(u32, f32)>]) -> SampleDataset {
        let kind = Kind::Sparse { width, one_based: false };
        let entries = || rows.iter().flatten();
        let indices: ArrayRef = Arc::new(UInt32Array::from_iter_values(entries().map(|entry| entry.0)));
        let values: ArrayRef = Arc::new(Float32Array::from_iter_values(entries().map(|entry| entry.1)));
        let item = Field::new("item", DataType::Null, false);
        let (item, fields) = match shard::data_type(&kind) {
            DataType::List(item) => match item.data_type() {
                DataType::Struct(fields) => (Arc::clone(&item), fields.clone()),
                _ => (item, Default::default()),
            },
            _ => (Arc::new(item), Default::default()),
        };
        let entries = StructArray::new(fields, vec![indices, values], None);
        let offsets = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
        self.column(name, Role::Feature, kind, Arc::new(ListArray::new(item, offsets, Arc::new(entries), None)))
    }

    /// Write it as a dataset folder and open that.
    ///
    /// # Errors
    /// When columns differ in length or the folder cannot be written.
    pub fn write(mut self, folder: &Path) -> Result<Dataset> {
        let writer = DatasetWriter::create(folder, true)?;
        let rows = self.columns.first().map_or(0, |(_, values)| values.len());
        if self.columns.iter().any(|(_, values)| values.len() != rows) || self.test_rows > rows {
            return Err(Error::Usage(
                "columns of a sample differ in length, or have fewer rows than the test split".into(),
            ));
        }
        let train = rows - self.test_rows;
        for (number, (column, values)) in self.columns.iter_mut().enumerate() {
            if let Kind::Categorical { levels, dictionary, .. } = &mut column.kind {
                *dictionary = writer.dictionary(number, &dictionary_of(*levels, &values.slice(0, train)))?;
            }
        }
        let columns: Vec<Column> = self.columns.iter().map(|(column, _)| column.clone()).collect();
        let mut shards = Vec::new();
        let per_shard = self.grains_per_shard.saturating_mul(self.grain_rows);
        for (split, range) in [(Split::Train, 0..train), (Split::Test, train..rows)] {
            for (number, start) in range.clone().step_by(per_shard).enumerate() {
                let mut shard = writer.shard(split, number, &columns)?;
                let end = start.saturating_add(per_shard).min(range.end);
                for first in (start..end).step_by(self.grain_rows) {
                    let count = self.grain_rows.min(end - first);
                    shard.write(self.columns.iter().map(|(_, values)| values.slice(first, count)).collect())?;
                }
                shards.push(shard.finish()?);
            }
        }
        let about = Description {
            created_by: format!("gristmill-io {}", env!("CARGO_PKG_VERSION")),
            grain_rows: self.grain_rows,
            columns: columns.clone(),
            ..Description::default()
        };
        writer.finish(about, shards, &self.statistics(&columns, train))?;
        Dataset::open(folder)
    }

    /// By definition, over the stored values of the training rows.
    fn statistics(&self, columns: &[Column], rows: usize) -> Statistics {
        let mut statistics = Statistics { rows: rows as u64, ..Statistics::default() };
        let layout = Layout::of(columns, |_| true);
        for number in layout.blocks.iter().flat_map(|block| &block.columns) {
            for moments in parameter_moments(&self.columns[*number].1.slice(0, rows), &columns[*number].kind) {
                statistics.mean.push(moments.mean);
                statistics.m2.push(moments.m2);
                statistics.min.push(moments.min);
                statistics.max.push(moments.max);
                statistics.nonzero.push(moments.nonzero);
            }
        }
        statistics.label = self.columns.iter().find(|(column, _)| column.role == Role::Label).map(|(_, values)| {
            let values = floats(&values.slice(0, rows));
            let Moments { mean, m2, min, max, .. } = moments(&values);
            LabelStatistics { rows: rows as u64, mean, m2, min, max, distinct: distinct(&values) }
        });
        statistics
    }
}

fn numeric(dtype: DType, offset: f64, scale: f64) -> Kind {
    Kind::Numeric { dtype, offset, scale, impute: None, worst_error: 0.0 }
}

fn numbers(dtype: DType, values: &[f64]) -> ArrayRef {
    let values = values.iter().copied();
    match dtype {
        DType::F64 => Arc::new(Float64Array::from_iter_values(values)),
        DType::F32 => Arc::new(Float32Array::from_iter_values(values.map(|value| value as f32))),
        DType::F16 => Arc::new(Float16Array::from_iter_values(values.map(f16::from_f64))),
        DType::U16 => Arc::new(UInt16Array::from_iter_values(values.map(|value| value as u16))),
        DType::U8 => Arc::new(UInt8Array::from_iter_values(values.map(|value| value as u8))),
    }
}

/// The values of an array of numbers.
fn floats(values: &ArrayRef) -> Vec<f64> {
    let exact = |values: &[f64]| values.to_vec();
    match values.data_type() {
        DataType::Float64 => exact(values.as_primitive::<Float64Type>().values()),
        DataType::Float32 => values.as_primitive::<Float32Type>().values().iter().map(|value| value.to_f64()).collect(),
        DataType::Float16 => values.as_primitive::<Float16Type>().values().iter().map(|value| value.to_f64()).collect(),
        DataType::UInt32 => values.as_primitive::<UInt32Type>().values().iter().copied().map(f64::from).collect(),
        DataType::UInt16 => values.as_primitive::<UInt16Type>().values().iter().copied().map(f64::from).collect(),
        DataType::UInt8 => values.as_primitive::<UInt8Type>().values().iter().copied().map(f64::from).collect(),
        _ => Vec::new(),
    }
}

/// What is known of a parameter.
struct Moments {
    mean: f64,
    m2: f64,
    min: f64,
    max: f64,
    nonzero: u64,
}

/// The moments of every parameter of a stored column.
fn parameter_moments(values: &ArrayRef, kind: &Kind) -> Vec<Moments> {
    let rows = values.len();
    match kind {
        Kind::Numeric { .. } | Kind::Labels { .. } | Kind::Indicator { .. } => vec![moments(&floats(values))],
        Kind::Categorical { .. } | Kind::Hashed { .. } | Kind::Bucketized { .. } => {
            let levels = &kind.parameters();
            dictionary_of(*levels, values).counts.into_iter().map(|count| level_moments(count, rows as f64)).collect()
        }
        Kind::Crossed { .. } => Vec::new(),
        Kind::Vector { width, .. } => {
            let list = values.as_fixed_size_list();
            let items = floats(&list.values().slice(list.value_offset(0) as usize, rows * width));
            let element = |element| items.iter().skip(element).step_by(*width).copied().collect::<Vec<f64>>();
            (0..*width).map(|number| moments(&element(number))).collect()
        }
        Kind::Sparse { .. } | Kind::Text { .. } => {
            let mut columns = vec![vec![0.0; rows]; kind.parameters()];
            let list = values.as_list::<i32>();
            for (row, entries) in list.iter().enumerate() {
                let Some(entries) = entries else { continue };
                let entries = entries.as_struct();
                let indices = entries.column(0).as_primitive::<UInt32Type>();
                for (index, value) in indices.values().iter().zip(floats(entries.column(1))) {
                    columns[*index as usize][row] = value;
                }
            }
            columns.iter().map(|column| moments(column)).collect()
        }
    }
}

/// Of a level that `count` of `rows` rows have: a variable that is 1 so often, else 0.
fn level_moments(count: u64, rows: f64) -> Moments {
    let ones = count as f64;
    let (min, max) = (f64::from(ones == rows && rows > 0.0), f64::from(count > 0));
    Moments { mean: ones / rows.max(1.0), m2: ones * (rows - ones) / rows.max(1.0), min, max, nonzero: count }
}

/// By definition; zeros for no values.
fn moments(values: &[f64]) -> Moments {
    if values.is_empty() {
        return Moments { mean: 0.0, m2: 0.0, min: 0.0, max: 0.0, nonzero: 0 };
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let m2 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let nonzero = values.iter().filter(|&&value| value != 0.0).count() as u64;
    Moments { mean, m2, min, max, nonzero }
}

fn distinct(values: &[f64]) -> Option<Vec<(f64, u64)>> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let counts: Vec<(f64, u64)> = sorted.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u64)).collect();
    (counts.len() <= DISTINCT_MAX).then_some(counts)
}

fn dictionary_of(levels: usize, codes: &ArrayRef) -> Dictionary {
    let mut counts = vec![0; levels];
    for code in floats(codes) {
        if let Some(count) = counts.get_mut(code as usize) {
            *count += 1;
        }
    }
    Dictionary { levels: (0..levels).map(|level| format!("l{level}")).collect(), counts }
}
