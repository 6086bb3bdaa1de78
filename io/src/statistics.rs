//! Statistics of the training rows, taken while ingesting: what solvers, bounds and reports need before a first pass.
//!
//! One row a parameter, in the order of [`crate::manifest::Layout::of`] all features; in stored units s (a numeric
//! column's real value is offset + scale * s). `m2` is the sum of squared deviations from the mean, so the variance is
//! m2 / (rows - 1). A level of a category counts as 0 or 1, an absent element of a sparse row as 0.
//!
//! ```text
//! statistics.arrow    mean f64 | m2 f64 | min f64 | max f64 | nonzero u64     one row a parameter
//!                     metadata: rows, label (JSON)
//! ```

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ingest::moments::Moments;
use crate::manifest::FileEntry;
use crate::shard::table::{self, Table};

/// A label with at most this many distinct values has them listed.
pub const DISTINCT_MAX: usize = 1000;

/// Per-parameter statistics of the training rows, in stored units.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Number of training rows.
    pub rows: u64,
    /// Means.
    pub mean: Vec<f64>,
    /// Sums of squared deviations from the mean.
    pub m2: Vec<f64>,
    /// Smallest values.
    pub min: Vec<f64>,
    /// Largest values.
    pub max: Vec<f64>,
    /// Numbers of rows whose value is not zero.
    pub nonzero: Vec<u64>,
    /// Of the label, where there is one.
    pub label: Option<LabelStatistics>,
}

/// Statistics of the label over the training rows, in stored units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelStatistics {
    /// Number of training rows.
    pub rows: u64,
    /// Mean.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub m2: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// The distinct values with their counts, ascending, when there are at most [`DISTINCT_MAX`].
    pub distinct: Option<Vec<(f64, u64)>>,
}

impl Statistics {
    /// Write them as a new file.
    ///
    /// # Errors
    /// [`Error::Data`] when the arrays differ in length or a number is not finite, [`Error::Io`] when the file cannot
    /// be written.
    pub fn write(&self, path: &Path) -> Result<FileEntry> {
        self.check(self.mean.len()).map_err(|message| Error::data(path, message))?;
        let floats = [&self.mean, &self.m2, &self.min, &self.max].map(|values| {
            let array: ArrayRef = Arc::new(Float64Array::from(values.clone()));
            array
        });
        let mut arrays = floats.to_vec();
        arrays.push(Arc::new(UInt64Array::from(self.nonzero.clone())));
        let label = serde_json::to_string(&self.label).map_err(|e| Error::data(path, e.to_string()))?;
        let batch = RecordBatch::try_new(Arc::new(schema()), arrays).map_err(|e| Error::data(path, e.to_string()))?;
        table::write(path, &batch, &[("rows", self.rows.to_string()), ("label", label)])
    }

    /// Read those of `parameters` parameters.
    ///
    /// # Errors
    /// [`Error::Data`] when the file is damaged, [`Error::Io`] when it is missing or cannot be read.
    pub fn read(folder: &Path, entry: &FileEntry, parameters: usize) -> Result<Statistics> {
        let table = Table::read(folder, entry, &schema())?;
        let rows = table.metadata("rows")?.parse();
        let label = serde_json::from_str(table.metadata("label")?);
        let statistics = Statistics {
            rows: rows.map_err(|e| table.error(format!("its number of rows is damaged: {e}")))?,
            mean: table.numbers(0)?,
            m2: table.numbers(1)?,
            min: table.numbers(2)?,
            max: table.numbers(3)?,
            nonzero: table.numbers(4)?,
            label: label.map_err(|e| table.error(format!("its label statistics are damaged: {e}")))?,
        };
        statistics.check(parameters).map_err(|message| table.error(message))?;
        Ok(statistics)
    }

    /// Adds parameters before number `at` that are 1 in so many rows and else 0.
    pub fn insert_levels(&mut self, at: usize, counts: &[u64]) {
        let flags = counts.iter().map(|&ones| Moments::of_flag(ones, self.rows));
        let flags: Vec<Moments> = flags.collect();
        self.mean.splice(at..at, flags.iter().map(|flag| flag.mean));
        self.m2.splice(at..at, flags.iter().map(|flag| flag.m2));
        self.min.splice(at..at, flags.iter().map(|flag| flag.min));
        self.max.splice(at..at, flags.iter().map(|flag| flag.max));
        self.nonzero.splice(at..at, flags.iter().map(|flag| flag.nonzero));
    }

    fn check(&self, parameters: usize) -> std::result::Result<(), String> {
        let lengths = [self.mean.len(), self.m2.len(), self.min.len(), self.max.len(), self.nonzero.len()];
        if lengths != [parameters; 5] {
            return Err(format!("statistics of {parameters} parameters were expected, found {lengths:?}"));
        }
        let label = self.label.iter().flat_map(|label| [label.mean, label.m2, label.min, label.max]);
        let mut numbers = self.mean.iter().chain(&self.m2).chain(&self.min).chain(&self.max).copied().chain(label);
        if numbers.any(|number| !number.is_finite()) {
            return Err("a statistic is not a finite number".to_string());
        }
        let bad = (0..parameters).find(|&p| {
            let spread = self.min[p] <= self.max[p] && self.m2[p] >= 0.0 && self.nonzero[p] <= self.rows;
            self.rows > 0 && !spread
        });
        match bad {
            Some(parameter) => Err(format!("the statistics of parameter {parameter} contradict each other")),
            None => Ok(()),
        }
    }
}

fn schema() -> Schema {
    let mut fields = ["mean", "m2", "min", "max"].map(|name| Field::new(name, DataType::Float64, false)).to_vec();
    fields.push(Field::new("nonzero", DataType::UInt64, false));
    Schema::new(fields)
}
