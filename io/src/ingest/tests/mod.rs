//! Promises of ingest, over a source in memory: what is stored, that nothing but data, options and seed decides it, and
//! what is left behind when it fails.

mod buckets;
mod direct;
mod faults;
mod hashed;
mod laws;
mod memory;
mod ranks;
mod sources;
mod text;
mod together;
mod values;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::FileReader;

use super::*;
use crate::error::Place;
use crate::manifest::Split;
use crate::rng::{Purpose, Stream};
use crate::source::{Chunk, Content};
use crate::watch::Silent;

/// Batches that lie in memory, one a chunk.
pub(super) struct Memory {
    batches: Vec<RecordBatch>,
    next: AtomicUsize,
}

impl Memory {
    /// `columns` cut into chunks of `rows` rows.
    pub(super) fn new(columns: Vec<(&str, ArrayRef)>, rows: usize) -> Memory {
        let columns = columns.into_iter().map(|(name, array)| (name, array, true));
        let all = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let starts = (0..all.num_rows().max(1)).step_by(rows);
        let batches = starts.map(|start| all.slice(start, rows.min(all.num_rows() - start))).collect();
        Memory { batches, next: AtomicUsize::new(0) }
    }
}

impl Source for Memory {
    fn schema(&self) -> SchemaRef {
        self.batches[0].schema()
    }

    fn bytes(&self) -> Option<u64> {
        None
    }

    fn rows(&self) -> Option<u64> {
        None
    }

    fn next(&self) -> Result<Option<Chunk>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let content = Content::Part { file: 0, part: number };
        Ok((number < self.batches.len()).then_some(Chunk { number: number as u64, bytes: 1, content }))
    }

    fn decode(&self, chunk: Chunk) -> Result<Vec<RecordBatch>> {
        Ok(vec![self.batches[chunk.number as usize].clone()])
    }

    fn place(&self, number: u64, row: u64) -> (PathBuf, Place) {
        let before: usize = self.batches[..number as usize].iter().map(RecordBatch::num_rows).sum();
        (PathBuf::from("rows.mem"), Place::Row(before as u64 + row + 1))
    }
}

/// Ingest without the lower bound of memory.
pub(super) fn ingested(source: &Memory, options: &IngestOptions, output: &Path) -> Result<IngestReport> {
    let plan = planned(options, &source.schema())?;
    let writer = DatasetWriter::create(output, options.force)?;
    run(source, &plan, Vec::new(), options, writer, Around { ranks: None, progress: &Silent, cancel: &Cancel::new() })
}

/// The stored rows of a split, as any Arrow reader sees them; none: no such rows.
pub(super) fn stored(folder: &Path, manifest: &Manifest, split: Split) -> Option<RecordBatch> {
    let mut batches = Vec::new();
    for shard in manifest.shards.iter().filter(|shard| shard.split == split) {
        let reader = FileReader::try_new(File::open(folder.join(&shard.file.file)).unwrap(), None).unwrap();
        batches.extend(reader.map(|batch| batch.unwrap()));
    }
    let schema = batches.first()?.schema();
    Some(concat_batches(&schema, &batches).unwrap())
}

/// A numeric column in the units of the source.
pub(super) fn real(batch: &RecordBatch, manifest: &Manifest, name: &str) -> Vec<f64> {
    let column = manifest.columns.iter().find(|column| column.name == name).unwrap();
    let Kind::Numeric { offset, scale, .. } = column.kind else { panic!("{column:?}") };
    raw(batch, name).into_iter().map(|stored| offset + scale * stored).collect()
}

/// The stored numbers of a column.
pub(super) fn raw(batch: &RecordBatch, name: &str) -> Vec<f64> {
    let array =
        arrow::compute::cast(batch.column_by_name(name).unwrap(), &arrow::datatypes::DataType::Float64).unwrap();
    let numbers: &arrow::array::Float64Array = arrow::array::AsArray::as_primitive(&array);
    numbers.values().to_vec()
}

pub(super) fn kind<'a>(manifest: &'a Manifest, name: &str) -> &'a Kind {
    &manifest.columns.iter().find(|column| column.name == name).unwrap().kind
}

pub(super) fn floats(values: impl IntoIterator<Item = f64>) -> ArrayRef {
    Arc::new(arrow::array::Float64Array::from_iter_values(values))
}

pub(super) fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<arrow::array::StringArray>())
}
