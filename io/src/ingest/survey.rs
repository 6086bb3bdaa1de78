//! Pass A, the survey (stage 2): every row is read once, becomes raw columns, is summed up and kept.
//!
//! Workers loop: take the next chunk (in order), decode it (in parallel), and, once all chunks before it have been counted,
//! give its rows their numbers, decide which are held out, bring the columns to raw form, look levels up, sum up and keep.
//! Cost: the decoder's, plus about 2 ns a number and 10 ns a category.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt64Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema};
use std::sync::Arc;

use super::keep::{Keeper, Piece};
use super::sequence::{Fold, Placed, Sequence, lock};
use super::split::Splitter;
use super::summary::{ChunkSummary, ColumnSummary, Means};
use crate::encode::column::Raw;
use crate::encode::hashing::Hashing;
use crate::encode::intern::Interner;
use crate::encode::labels;
use crate::encode::levels::{self, MISSING, UNKNOWN};
use crate::encode::raw::{self, Fault};
use crate::encode::row::located;
use crate::encode::summary::Summary;
use crate::encode::words::Words;
use crate::error::{Error, Place, Result};
use crate::manifest::{Role, Split};
use crate::rng::Stream;
use crate::roles::{Planned, Resolved, Shape};
use crate::source::{Before, Source};
use crate::watch::{Cancel, Progress};

/// Chunks in flight for each worker, besides the one it works on.
pub const AHEAD: u64 = 2;

/// What the survey is told.
pub struct Survey<'a> {
    /// The rows.
    pub source: &'a dyn Source,
    /// The file that is named for faults of a column as a whole: the first.
    pub file: &'a Path,
    /// The columns.
    pub plan: &'a Resolved,
    /// Which rows are held out.
    pub splitter: Splitter,
    /// Keys for the shuffle; none: rows keep their order.
    pub shuffle: Option<Stream>,
    /// Leave rows without a label out.
    pub drop_missing_label: bool,
    /// Most levels of a column.
    pub max_categories: usize,
    /// Most bytes of all dictionaries.
    pub dictionary_bytes: u64,
    /// Bytes of a level in the tallies of all workers.
    pub level_bytes: u64,
    /// Bytes of the tallies of hashed levels and elements.
    pub hashed_bytes: u64,
    /// Where rows go.
    pub keeper: &'a Keeper,
    /// Number of threads.
    pub threads: usize,
    /// Most chunks in flight.
    pub chunks: u64,
    /// What lies before the rows, when they are a span of all.
    pub span: Option<Before>,
    /// Who watches.
    pub progress: &'a dyn Progress,
    /// Who stops.
    pub cancel: &'a Cancel,
}

/// What the survey found.
pub struct Found {
    /// Kept rows in the order of the source: (split, piece).
    pub pieces: Vec<(Split, Piece)>,
    /// Of every column.
    pub summary: ChunkSummary,
    /// The levels of categorical columns.
    pub tables: Vec<Option<Interner>>,
    /// Training rows by column and id.
    pub counts: Vec<Vec<u64>>,
    /// Of a span, the means of every chunk, in order: what depends on the chunks before.
    pub means: Vec<Means>,
}

struct Shared<'a> {
    survey: &'a Survey<'a>,
    sequence: Sequence<Vec<RecordBatch>>,
    fold: Fold<(ChunkSummary, Vec<Means>), ChunkSummary>,
    tables: Vec<Option<RwLock<Interner>>>,
    dictionary_bytes: AtomicU64,
    /// What the rows that are kept leave room for: dictionaries and tallies.
    reserved_bytes: AtomicU64,
    pieces: Mutex<Vec<(u64, usize, Split, Piece)>>,
    failed: Mutex<Option<(u64, Error)>>,
}

impl Survey<'_> {
    /// Read everything.
    ///
    /// # Errors
    /// The first fault in the order of the rows.
    pub fn run(&self) -> Result<Found> {
        let columns = &self.plan.columns;
        let tables = columns.iter().map(|column| (column.shape == Shape::Categorical).then(RwLock::default));
        let window = self.chunks.min(self.threads as u64 * (1 + AHEAD));
        let before = self.span.unwrap_or(Before { chunk: 0, rows: None });
        let shared = Shared {
            survey: self,
            // Where rows before are unknown, nothing is made of their number.
            sequence: Sequence::from(window, before.chunk, before.rows.unwrap_or(0)),
            fold: Fold::from((ChunkSummary::new(columns.len()), Vec::new()), before.chunk),
            tables: tables.collect(),
            dictionary_bytes: AtomicU64::new(0),
            reserved_bytes: AtomicU64::new(self.hashed_bytes),
            pieces: Mutex::new(Vec::new()),
            failed: Mutex::new(None),
        };
        let counts = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads).map(|_| scope.spawn(|| shared.work())).collect();
            let counts: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            counts
        });
        if let Some((_, error)) = shared.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut sums: Vec<Vec<u64>> = vec![Vec::new(); columns.len()];
        for counts in counts {
            // A worker that panicked left no error behind; pass its panic on.
            let counts = counts.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            sums.iter_mut().zip(counts).for_each(|(sum, counts)| add(sum, &counts));
        }
        let mut pieces = shared.pieces.into_inner().unwrap_or_else(PoisonError::into_inner);
        pieces.sort_unstable_by_key(|&(chunk, batch, split, _)| (split == Split::Test, chunk, batch));
        let table = |table: RwLock<Interner>| table.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (summary, means) = shared.fold.into_inner();
        Ok(Found {
            pieces: pieces.into_iter().map(|(_, _, split, piece)| (split, piece)).collect(),
            summary,
            means,
            tables: shared.tables.into_iter().map(|lock| lock.map(table)).collect(),
            counts: sums,
        })
    }
}

fn add(sum: &mut Vec<u64>, counts: &[u64]) {
    if sum.len() < counts.len() {
        sum.resize(counts.len(), 0);
    }
    sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

impl Shared<'_> {
    fn work(&self) -> Vec<Vec<u64>> {
        let mut counts = vec![Vec::new(); self.tables.len()];
        while self.step(&mut counts) {}
        counts
    }

    /// One chunk; false: nothing more to do.
    fn step(&self, counts: &mut [Vec<u64>]) -> bool {
        let chunk = match self.survey.cancel.check().and_then(|()| self.survey.source.next()) {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return false,
            // After every chunk handed out so far: their faults come first.
            Err(error) => return self.fail(u64::MAX, error),
        };
        let (number, bytes) = (chunk.number, chunk.bytes);
        if !self.sequence.enter(number) {
            return false;
        }
        let batches = match self.survey.source.decode(chunk) {
            Ok(batches) => batches,
            Err(error) => return self.fail(number, error),
        };
        let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        for placed in self.sequence.hand_in(number, batches, rows) {
            let number = placed.chunk;
            if let Err(error) = self.place(placed, counts) {
                return self.fail(number, error);
            }
        }
        self.survey.progress.advance(rows, bytes);
        true
    }

    fn fail(&self, number: u64, error: Error) -> bool {
        let mut failed = lock(&self.failed);
        if failed.as_ref().is_none_or(|(first, _)| number < *first) {
            *failed = Some((number, error));
        }
        drop(failed);
        self.sequence.stop();
        false
    }

    /// A chunk whose rows have their numbers.
    fn place(&self, placed: Placed<Vec<RecordBatch>>, counts: &mut [Vec<u64>]) -> Result<()> {
        let mut summary = ChunkSummary::new(self.tables.len());
        let mut row_in_chunk = 0;
        for (number, batch) in placed.content.into_iter().enumerate() {
            let rows = batch.num_rows() as u64;
            let at = At { chunk: placed.chunk, batch: number, row_in_chunk, row: placed.first_row + row_in_chunk };
            row_in_chunk += rows;
            if rows > 0 {
                self.batch(&batch, at, counts, &mut summary)?;
            }
        }
        let place = |chunk, row| self.survey.source.place(chunk, row);
        self.fold.push(placed.chunk, summary, |(sum, means), next| {
            if self.survey.span.is_some() {
                means.push(next.means());
            }
            sum.merge(&next, &self.survey.plan.columns, &place)
        })
    }

    fn batch(&self, batch: &RecordBatch, at: At, counts: &mut [Vec<u64>], sum: &mut ChunkSummary) -> Result<()> {
        let plan = self.survey.plan;
        let place = |row: usize| self.survey.source.place(at.chunk, at.row_in_chunk + row as u64);
        let mut arrays = Vec::with_capacity(plan.columns.len() + 1);
        for (number, column) in plan.columns.iter().enumerate() {
            if column.shape == Shape::Labels {
                let of_label: Vec<&ArrayRef> = column.labels.iter().map(|(_, index)| batch.column(*index)).collect();
                let merged = labels::merged(&of_label, !self.survey.drop_missing_label);
                arrays.push(merged.map_err(|(label, fault)| located(fault, &column.labels[label].0, &place))?);
                continue;
            }
            let raw = self.raw(number, column, batch.column(column.index));
            arrays.push(raw.and_then(Raw::into_array).map_err(|fault| located(fault, &column.name, &place))?);
            // Which rows bring the level that is one too many depends on the workers: no row of them is named.
            let whole = |_| (self.survey.file.to_path_buf(), Place::File);
            self.check_levels(number).map_err(|fault| located(fault, &column.name, &whole))?;
        }
        if let Some(keys) = self.survey.shuffle {
            let keys = (0..batch.num_rows() as u64).map(|row| keys.bits(at.row + row));
            arrays.push(Arc::new(UInt64Array::from_iter_values(keys)));
        }
        let raw = raw_batch(arrays)?;
        for (number, column) in plan.columns.iter().enumerate() {
            let check = self.check_target(column, raw.column(number));
            check.map_err(|fault| located(fault, &column.name, &place))?;
        }
        let (test, dropped) = self.held_out(batch, &raw, at)?;
        sum.dropped += dropped.as_ref().map_or(0, |dropped| dropped.count_set_bits() as u64);
        let parts = parts(&raw, test.as_ref(), dropped.as_ref())?;
        let mut summary = ChunkSummary::new(plan.columns.len());
        for (split, part) in parts {
            let rows = part.num_rows() as u64;
            *if split == Split::Train { &mut summary.train_rows } else { &mut summary.test_rows } += rows;
            for (number, column) in plan.columns.iter().enumerate() {
                let found = &mut summary.columns[number];
                found.add(column.shape, split, part.column(number), (at.chunk, at.row_in_chunk));
                if (column.role, column.shape) == (Role::Label, Shape::Numeric) {
                    found.few.add(part.column(number));
                }
                if matches!(column.shape, Shape::Categorical | Shape::Hashed { .. }) && split == Split::Train {
                    count(part.column(number), &mut counts[number]);
                }
            }
            let kept = self.survey.keeper.keep(part, self.reserved_bytes.load(Ordering::Relaxed))?;
            lock(&self.pieces).push((at.chunk, at.batch, split, kept));
        }
        let place = |chunk, row| self.survey.source.place(chunk, row);
        sum.merge(&summary, &plan.columns, &place)
    }

    fn raw(&self, number: usize, column: &Planned, array: &ArrayRef) -> std::result::Result<Raw, Fault> {
        Ok(match column.shape {
            Shape::Numeric | Shape::Labels => Raw::Numbers(raw::numbers(array)?),
            Shape::Vector => {
                let (values, width) = raw::vectors(array)?;
                Raw::Vectors(values, width)
            }
            Shape::Sparse => Raw::Sparse(raw::sparse(array)?),
            Shape::Text { bits, ngrams } => Raw::Sparse(Words { bits, ngrams }.rows(array)?),
            Shape::Hashed { bits } => Raw::Ids(Hashing::new(&column.name, bits).ids(&raw::texts(array)?)?.into()),
            Shape::Categorical => Raw::Ids(self.ids(number, &raw::texts(array)?)?.into()),
        })
    }

    /// Ids of levels. Most batches bring no new level and need a shared lock only.
    fn ids(&self, number: usize, texts: &ArrayRef) -> std::result::Result<Vec<u32>, Fault> {
        let Some(table) = &self.tables[number] else { return Err(Fault::whole("has no table of levels", "")) };
        let read = table.read().unwrap_or_else(PoisonError::into_inner);
        let ids = levels::ids(texts, |text| read.find(text))?;
        drop(read);
        if !ids.contains(&UNKNOWN) {
            return Ok(ids);
        }
        let limit = self.survey.max_categories;
        let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
        let (before, levels) = (table.memory() as u64, table.len() as u64);
        // One level more than allowed is inserted and no further one, so memory is bounded inside a batch as well.
        let ids =
            levels::ids(texts, |text| if table.len() > limit { table.find(text) } else { Some(table.insert(text)) })?;
        let grown = table.memory() as u64 - before;
        self.dictionary_bytes.fetch_add(grown, Ordering::Relaxed);
        let tallied = (table.len() as u64 - levels) * self.survey.level_bytes;
        self.reserved_bytes.fetch_add(grown + tallied, Ordering::Relaxed);
        Ok(ids)
    }

    /// Levels are no more than allowed.
    fn check_levels(&self, number: usize) -> std::result::Result<(), Fault> {
        let Survey { max_categories, dictionary_bytes, .. } = *self.survey;
        let Some(table) = &self.tables[number] else { return Ok(()) };
        if table.read().unwrap_or_else(PoisonError::into_inner).len() > max_categories {
            return Err(too_many(max_categories));
        }
        if self.dictionary_bytes.load(Ordering::Relaxed) > dictionary_bytes {
            return Err(too_large(dictionary_bytes));
        }
        Ok(())
    }

    /// Labels and weights must be there and make sense.
    fn check_target(&self, column: &Planned, array: &ArrayRef) -> std::result::Result<(), Fault> {
        match column.role {
            Role::Feature => Ok(()),
            Role::Label if self.survey.drop_missing_label => Ok(()),
            Role::Label => match first_missing(column, array) {
                Some(row) => Err(Fault::at(
                    row,
                    "the label is missing or not a number",
                    "Give it a value in the source, or leave such rows out with --drop-missing-label",
                )),
                None => Ok(()),
            },
            Role::Weight => super::split::check_weights(array),
            Role::Offset => match first_missing(column, array) {
                Some(row) => Err(Fault::at(row, "the offset is missing or not a number", "Every row needs an offset")),
                None => Ok(()),
            },
        }
    }

    fn held_out(
        &self,
        batch: &RecordBatch,
        raw: &RecordBatch,
        at: At,
    ) -> Result<(Option<BooleanBuffer>, Option<BooleanBuffer>)> {
        let plan = self.survey.plan;
        let column = plan.split.map(|index| batch.column(index));
        let place = |row: usize| self.survey.source.place(at.chunk, at.row_in_chunk + row as u64);
        let name = plan.split.map_or(String::new(), |index| batch.schema().field(index).name().clone());
        let test = self.survey.splitter.test_rows(column, at.row, batch.num_rows());
        let test = test.map_err(|fault| located(fault, &name, &place))?;
        let mut columns = plan.columns.iter().zip(raw.columns());
        let label = columns.find(|(column, _)| column.role == Role::Label);
        let dropped = match label.filter(|_| self.survey.drop_missing_label) {
            Some((column, array)) if first_missing(column, array).is_some() => {
                Some(BooleanBuffer::collect_bool(raw.num_rows(), |row| is_missing(column, array, row)))
            }
            _ => None,
        };
        Ok((test, dropped))
    }
}

const FEWER_LEVELS: &str = "Leave the column out with --ignore, read it as numbers with --numeric, or raise the limit";

/// A column has more levels than `limit`.
pub fn too_many(limit: usize) -> Fault {
    Fault::whole(format!("has more than {limit} levels, the limit of --max-categories"), FEWER_LEVELS)
}

/// Levels take more than `bytes`.
pub fn too_large(bytes: u64) -> Fault {
    let megabytes = bytes / 1_000_000;
    let message = format!("its levels and those of the other columns take more than {megabytes} MB, half of --memory");
    Fault::whole(message, FEWER_LEVELS)
}

/// Where a batch stands.
#[derive(Clone, Copy)]
struct At {
    chunk: u64,
    batch: usize,
    row_in_chunk: u64,
    row: u64,
}

/// Ids of levels carry a mark, numbers carry nulls: the largest `u32` is a number as any other.
fn is_missing(column: &Planned, array: &ArrayRef, row: usize) -> bool {
    use arrow::array::AsArray;
    match array.as_primitive_opt::<arrow::datatypes::UInt32Type>() {
        Some(ids) if matches!(column.shape, Shape::Categorical | Shape::Hashed { .. }) => ids.value(row) == MISSING,
        _ => array.is_null(row),
    }
}

fn first_missing(column: &Planned, array: &ArrayRef) -> Option<usize> {
    (0..array.len()).find(|&row| is_missing(column, array, row))
}

fn count(ids: &ArrayRef, counts: &mut Vec<u64>) {
    use arrow::array::AsArray;
    let Some(ids) = ids.as_primitive_opt::<arrow::datatypes::UInt32Type>() else { return };
    for &id in ids.values() {
        if id == MISSING {
            continue;
        }
        if id as usize >= counts.len() {
            counts.resize(id as usize + 1, 0);
        }
        counts[id as usize] += 1;
    }
}

/// Raw columns side by side, named by number.
fn raw_batch(arrays: Vec<ArrayRef>) -> Result<RecordBatch> {
    let fields: Vec<Field> = arrays
        .iter()
        .enumerate()
        .map(|(i, array)| Field::new(i.to_string(), array.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|error| super::odd(&error))
}

/// The rows of each split, in order.
fn parts(
    raw: &RecordBatch,
    test: Option<&BooleanBuffer>,
    dropped: Option<&BooleanBuffer>,
) -> Result<Vec<(Split, RecordBatch)>> {
    let (train, test) = match (test, dropped) {
        (None, None) => return Ok(vec![(Split::Train, raw.clone())]),
        (Some(test), None) => (!test, test.clone()),
        (None, Some(dropped)) => (!dropped, BooleanBuffer::new_unset(raw.num_rows())),
        (Some(test), Some(dropped)) => (&!test & &!dropped, test & &!dropped),
    };
    let mut parts = Vec::new();
    for (split, mask) in [(Split::Train, train), (Split::Test, test)] {
        let part = filter_record_batch(raw, &BooleanArray::new(mask, None)).map_err(|error| super::odd(&error))?;
        if part.num_rows() > 0 {
            parts.push((split, part));
        }
    }
    Ok(parts)
}

impl ColumnSummary {
    /// Take rows of one split in; `first` is where the batch begins.
    fn add(&mut self, shape: Shape, split: Split, array: &ArrayRef, first: (u64, u64)) {
        use arrow::array::{Array, AsArray};
        let numbers = match shape {
            Shape::Numeric | Shape::Labels => Summary::of(array),
            Shape::Vector => array.as_fixed_size_list_opt().and_then(|lists| {
                self.width = Some((lists.value_length() as usize, first));
                Summary::of(lists.values())
            }),
            Shape::Categorical | Shape::Hashed { .. } => {
                array.as_primitive_opt::<arrow::datatypes::UInt32Type>().map(|ids| {
                    let missing = ids.values().iter().filter(|&&id| id == MISSING).count() as u64;
                    Summary { count: ids.len() as u64 - missing, missing, ..Summary::default() }
                })
            }
            Shape::Sparse | Shape::Text { .. } => {
                array.as_list_opt::<i32>().and_then(|lists| raw::sparse_parts(lists).ok()).map(|rows| {
                    let width = rows.indices.iter().max().map_or(0, |&last| last as usize + 1);
                    self.sparse_width = self.sparse_width.max(width);
                    self.has_index_zero |= rows.indices.contains(&0);
                    self.entries += rows.indices.len() as u64;
                    Summary { count: array.len() as u64, ..Summary::default() }
                })
            }
        };
        if let Some(numbers) = numbers {
            let sum = if split == Split::Train { &mut self.train } else { &mut self.test };
            sum.merge(&numbers);
        }
    }
}
