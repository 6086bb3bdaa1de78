//! Arrow IPC (stage 1): files (Feather V2 is one) and streams, plain, lz4 or zstd, with dictionaries. A chunk is a record
//! batch.
//!
//! [`index`] finds and checks the messages; decoding is the arrow crate's, with full validation, fenced in by
//! [`super::guard`]. Batches come uncut: the memory a batch takes is decided by who wrote it.

pub mod index;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::FileDecoder;

use self::index::{BatchSpan, Index};
use super::files::{Positioned, SourceFile};
use super::flatten::Flat;
use super::{Before, Chunk, Content, Source, SourceOptions, foreign_chunk, guard, no_rows};
use crate::error::{Error, Place, Result};

/// Decoders, with their dictionaries, kept at hand.
const DECODERS_MAX: usize = 8;

/// Arrow files with the same columns.
struct ArrowSource {
    files: Vec<Opened>,
    rows: u64,
    state: Mutex<State>,
}

/// A file and what is known of it.
struct Opened {
    file: SourceFile,
    index: Index,
    /// Root columns that are read.
    roots: Vec<usize>,
    /// From batches of those columns.
    flat: Flat,
}

struct State {
    file: usize,
    batch: usize,
    /// File and batch of the chunks handed out and of those before them.
    handed_out: Vec<(u32, u32)>,
    /// No chunk from this number on is handed out.
    end: usize,
    decoders: VecDeque<((usize, u32), Arc<Decoder>)>,
}

/// A decoder that has read the dictionaries of an epoch.
struct Decoder {
    file: Positioned,
    decoder: FileDecoder,
}

/// Open Arrow IPC files or streams.
///
/// # Errors
/// For files that are damaged, differ in their columns, or hold no row.
pub fn open(files: &[SourceFile], options: &SourceOptions) -> Result<Box<dyn Source>> {
    let mut opened: Vec<Opened> = Vec::with_capacity(files.len());
    for file in files {
        opened.push(guard::decoding(&file.path, || open_one(file, options))?);
    }
    if let Some((first, others)) = opened.split_first_mut() {
        let mut all = first.flat.clone();
        for other in &*others {
            all.join(&other.file.path, &other.flat, &first.file.path)?;
        }
        for file in std::iter::once(first).chain(others) {
            file.flat = file.flat.clone().in_order_of(&all);
        }
    }
    let rows = opened.iter().map(|file| file.index.rows).sum();
    if rows == 0 {
        no_rows(&opened[0].file.path, "holds no rows", options)?;
    }
    let state = State { file: 0, batch: 0, handed_out: Vec::new(), end: usize::MAX, decoders: VecDeque::new() };
    Ok(Box::new(ArrowSource { files: opened, rows, state: Mutex::new(state) }))
}

fn open_one(file: &SourceFile, options: &SourceOptions) -> Result<Opened> {
    let index = index::index(file, &file.open()?)?;
    let roots = Flat::plan(&file.path, &index.schema, options)?.roots();
    let projected = index.schema.project(&roots).map_err(|error| Error::data(&file.path, error.to_string()))?;
    let flat = Flat::select(&file.path, &projected, options)?;
    Ok(Opened { file: file.clone(), index, roots, flat })
}

impl ArrowSource {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic can happen while the state is half changed: every change is a single assignment or push.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decoder(&self, file: usize, epoch: u32) -> Result<Arc<Decoder>> {
        if let Some((_, decoder)) = self.lock().decoders.iter().find(|(key, _)| *key == (file, epoch)) {
            return Ok(Arc::clone(decoder));
        }
        let opened = &self.files[file];
        let positioned = opened.file.open()?;
        let mut decoder = FileDecoder::new(Arc::clone(&opened.index.schema), opened.index.version);
        if opened.roots.len() < opened.index.schema.fields().len() {
            decoder = decoder.with_projection(opened.roots.clone());
        }
        for span in &opened.index.epochs[epoch as usize] {
            let bytes = span.read(&positioned).map_err(|error| cannot_read(&opened.file, error))?;
            decoder.read_dictionary(&span.block(), &bytes).map_err(|error| decode_error(&opened.file, &error))?;
        }
        let decoder = Arc::new(Decoder { file: positioned, decoder });
        let mut state = self.lock();
        if state.decoders.len() >= DECODERS_MAX {
            state.decoders.pop_front();
        }
        state.decoders.push_back(((file, epoch), Arc::clone(&decoder)));
        Ok(decoder)
    }

    fn read(&self, file: usize, batch: BatchSpan) -> Result<RecordBatch> {
        let opened = &self.files[file];
        let decoder = self.decoder(file, batch.epoch)?;
        let bytes = batch.span.read(&decoder.file).map_err(|error| cannot_read(&opened.file, error))?;
        let here = |error: Error| error.at(Place::Row(batch.rows_before + 1));
        let decoded = decoder
            .decoder
            .read_record_batch(&batch.span.block(), &bytes)
            .map_err(|error| here(decode_error(&opened.file, &error)))?
            .filter(|decoded| decoded.num_rows() as u64 == batch.rows)
            .ok_or_else(|| here(Error::data(&opened.file.path, "a record batch has changed").help(guard::DAMAGED)))?;
        opened.flat.flatten(&opened.file.path, &decoded).map_err(here)
    }

    fn span(&self, chunk: usize) -> Option<(usize, BatchSpan)> {
        let (file, batch) = self.lock().handed_out.get(chunk).copied()?;
        Some((file as usize, self.files[file as usize].index.batches[batch as usize]))
    }
}

impl Source for ArrowSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.files[0].flat.schema)
    }

    fn bytes(&self) -> Option<u64> {
        Some(self.files.iter().flat_map(|file| &file.index.batches).map(|batch| batch.span.bytes()).sum())
    }

    fn rows(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn next(&self) -> Result<Option<Chunk>> {
        let mut state = self.lock();
        while let Some(opened) = self.files.get(state.file).filter(|_| state.handed_out.len() < state.end) {
            let (file, at) = (state.file, state.batch);
            let Some(batch) = opened.index.batches.get(at) else {
                (state.file, state.batch) = (file + 1, 0);
                continue;
            };
            state.batch += 1;
            let part = state.handed_out.len();
            state.handed_out.push((file as u32, at as u32));
            let content = Content::Part { file, part };
            return Ok(Some(Chunk { number: part as u64, bytes: batch.span.bytes(), content }));
        }
        Ok(None)
    }

    fn narrow(&self, span: std::ops::Range<u64>) -> Option<Before> {
        let of_file = |(number, file): (usize, &Opened)| -> Vec<_> {
            let batches = file.index.batches.iter().enumerate();
            batches.map(|(at, batch)| ((number as u32, at as u32), batch.span.bytes(), batch.rows)).collect()
        };
        let all: Vec<_> = self.files.iter().enumerate().flat_map(of_file).collect();
        let mut bytes = 0;
        let start = |own: &u64| {
            bytes += own;
            bytes - own
        };
        let starts: Vec<u64> = all.iter().map(|(_, own, _)| own).map(start).collect();
        let [first, end] = [span.start, span.end].map(|at| starts.partition_point(|start| *start < at));
        let (before, rest) = all.split_at(first);
        let next = rest.first().map_or((self.files.len(), 0), |((file, batch), ..)| (*file as usize, *batch as usize));
        let mut state = self.lock();
        (state.file, state.batch) = next;
        (state.handed_out, state.end) = (before.iter().map(|(at, ..)| *at).collect(), end);
        Some(Before { chunk: first as u64, rows: Some(before.iter().map(|(.., rows)| rows).sum()) })
    }

    fn decode(&self, chunk: Chunk) -> Result<Vec<RecordBatch>> {
        let Content::Part { part, .. } = chunk.content else { return Err(foreign_chunk()) };
        let (file, batch) = self.span(part).ok_or_else(foreign_chunk)?;
        guard::decoding(&self.files[file].file.path, || self.read(file, batch)).map(|batch| vec![batch])
    }

    fn place(&self, number: u64, row: u64) -> (PathBuf, Place) {
        match self.span(number as usize) {
            Some((file, batch)) => (self.files[file].file.path.clone(), Place::Row(batch.rows_before + row + 1)),
            None => (PathBuf::new(), Place::File),
        }
    }
}

fn cannot_read(file: &SourceFile, error: std::io::Error) -> Error {
    Error::io(&file.path, "cannot read", error)
}

fn decode_error(file: &SourceFile, error: &arrow::error::ArrowError) -> Error {
    Error::data(&file.path, format!("not a readable Arrow file: {error}")).help(guard::DAMAGED)
}
