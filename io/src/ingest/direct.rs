//! One pass instead of two (stage 2): columns of plain numbers are encoded and written while they are read.
//!
//! Where a source knows its rows and the range of every column beforehand ([`crate::source::Columnar`]), how columns are
//! stored follows from that, and nothing need be kept until everything was seen:
//!
//! ```text
//! part (a row group): column by column: decode -> sum up -> encode -> tally, all in the cache -> whole grains -> shards
//!                     (each by any thread)                      ends of a grain -> wait for the rest of it
//! ```
//!
//! The survey is made on the way all the same, with the same sums in the same order. When it is complete, columns are decided
//! once more; if anything comes out otherwise than it was promised (a missing value, a range that is wrong, a fraction among
//! integers), what was written is thrown away and the two passes do all anew, as they do when a value cannot be read: they
//! name its place. So a dataset has the same bytes on either way.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, Float64Array};
use arrow::datatypes::DataType;
use gristmill_kernels::dtype::DType;

use super::decide::{self, Decided, Decision};
use super::gaps::Gaps;
use super::options::IngestOptions;
use super::part::{Column, Making, Piece};
use super::sequence::{Fold, Sequence, lock};
use super::shards::{Encoded, Grain, Shape, Shards};
use super::share::{self, Share};
use super::split::check_weights;
use super::summary::ChunkSummary;
use super::survey::Found;
use super::tally::ColumnTally;
use crate::dataset_writer::DatasetWriter;
use crate::encode::column::{Encoder, Raw, Stored};
use crate::encode::raw;
use crate::encode::summary::Summary;
use crate::error::{Error, Result};
use crate::manifest::{Role, Split};
use crate::mmap::strips::{Strip, Strips};
use crate::roles::{Resolved, Shape as Of};
use crate::source::Source;
use crate::source::columnar::{self, Columnar, Part, Spare};
use crate::watch::{Cancel, Progress, Silent};

/// Rows that are looked at for fractions before columns are taken for integers.
const PROBE_ROWS: usize = 1024;

/// What it needs to know.
pub struct Direct<'a> {
    /// The rows.
    pub source: &'a dyn Source,
    /// The columns.
    pub plan: &'a Resolved,
    /// What the user says.
    pub options: &'a IngestOptions,
    /// How wide rows become grains.
    pub shape: &'a (dyn Fn(&[Decision]) -> Shape + Sync),
    /// Most parts in flight.
    pub parts: u64,
    /// Bytes to stay within.
    pub memory: u64,
    /// Where shards go.
    pub writer: &'a DatasetWriter,
    /// Who watches.
    pub progress: &'a dyn Progress,
    /// Who stops.
    pub cancel: &'a Cancel,
}

/// What came out.
pub struct Made {
    /// How columns are stored.
    pub decided: Decided,
    /// The shards.
    pub encoded: Encoded,
    /// What was found.
    pub summary: ChunkSummary,
    /// How rows became grains.
    pub shape: Shape,
}

/// Why a worker stops.
enum Stop {
    /// The rows are not what they were taken for, or cannot be read.
    Unsuited,
    /// Nothing can go on.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

/// What the files promise of their rows, and how these become shards by it.
pub struct Promise<'a> {
    columns: Box<dyn Columnar + 'a>,
    parts: Vec<Part>,
    /// Rows before each part, and all of them.
    starts: Vec<usize>,
    decided: Decided,
    shape: Shape,
}

impl Promise<'_> {
    /// How many shards all rows make.
    pub fn shards(&self) -> usize {
        self.rows().div_ceil(self.shape.shard_rows())
    }

    /// A number that is another one where parts, columns or shapes are others.
    pub fn fingerprint(&self) -> u64 {
        let columns: Vec<_> = self.decided.stored.iter().map(|decision| &decision.column).collect();
        let about = serde_json::json!([self.starts, columns, self.shape.grain_rows, self.shape.shard_grains]);
        twox_hash::XxHash3_64::oneshot(about.to_string().as_bytes())
    }

    fn rows(&self) -> usize {
        self.starts[self.parts.len()]
    }

    /// The parts that have some of these rows.
    fn parts_of(&self, rows: &Range<usize>) -> Range<usize> {
        if rows.is_empty() {
            return 0..0;
        }
        let first = self.starts.partition_point(|&start| start <= rows.start) - 1;
        first..self.starts.partition_point(|&start| start < rows.end)
    }
}

/// Work that threads share.
struct Shared<'a> {
    direct: &'a Direct<'a>,
    promise: &'a Promise<'a>,
    decisions: &'a [Decision],
    /// The rows of the shards that are to be made, and the parts that they are in.
    rows: Range<usize>,
    parts: Range<usize>,
    shape: Shape,
    shards: Shards<'a>,
    open: Mutex<Open>,
    sequence: Sequence<()>,
    fold: Fold<ChunkSummary, ChunkSummary>,
    gaps: Gaps,
    stop: Mutex<Option<Stop>>,
}

/// What is still to be taken.
struct Open {
    /// Parts that nobody has begun.
    parts: Range<usize>,
    /// The part that was begun last, and its columns that nobody has taken.
    columns: Option<(Arc<Making>, Range<usize>)>,
    /// Where columns are decoded to that stay as they are, and how many bytes all of that part take.
    strips: Strips,
    lent_bytes: usize,
}

impl<'a> Direct<'a> {
    /// What is promised of the rows; none: too little for one pass.
    pub fn promise(&self) -> Option<Promise<'a>> {
        let options = self.options;
        let one_split = self.plan.split.is_none() && options.test_share == 0.0;
        let numeric = self.plan.columns.iter().all(|column| column.shape == Of::Numeric);
        if options.shuffle || !one_split || !numeric || !options.bucketize.is_empty() {
            return None;
        }
        let columns = self.source.columnar()?;
        let parts = columns.parts();
        let mut starts = vec![0];
        parts.iter().for_each(|part| starts.push(starts[starts.len() - 1] + part.rows));
        let summary = self.promised(columns.as_ref(), starts[parts.len()])?;
        let (decided, _) = self.decide(summary).ok()?;
        let shape = (self.shape)(&decided.stored);
        let is_certain = !decided.stored.is_empty() && decided.stored.iter().all(is_certain);
        is_certain.then_some(Promise { columns, parts, starts, decided, shape })
    }

    /// Make all shards; none: nothing was made, it takes two passes.
    ///
    /// # Errors
    /// When a file cannot be written, or on [`Cancel`].
    pub fn run(&self, promise: &Promise<'_>) -> Result<Option<Made>> {
        let fold = Fold::new(ChunkSummary::new(self.plan.columns.len()));
        let shards = self.shards(promise);
        let worked = self.work(promise, 0..promise.shards(), fold, shards)?;
        let made = worked.and_then(|(fold, shards)| self.made(promise, fold.into_inner(), shards.finish()));
        if made.is_none() {
            self.progress.end();
            self.writer.discard_shards()?;
        }
        Ok(made)
    }

    /// Make some of the shards; none: the rows are not as promised.
    ///
    /// # Errors
    /// As for [`Direct::run`].
    pub fn share(&self, promise: &Promise<'_>, own: Range<usize>) -> Result<Option<Share>> {
        let worked = self.work(promise, own, Fold::keeping(ChunkSummary::default()), self.shards(promise).apart())?;
        Ok(worked.map(|(fold, shards)| Share::new(fold.into_kept(), shards)))
    }

    /// What shares that have all shards make together; none: the rows are not as promised.
    ///
    /// # Errors
    /// Never for shares of one promise.
    pub fn join(&self, promise: &Promise<'_>, shares: Vec<Share>) -> Result<Option<Made>> {
        let place = |chunk, row| self.source.place(chunk, row);
        let merge = |sum: &mut ChunkSummary, next: ChunkSummary| sum.merge(&next, &self.plan.columns, &place);
        let fold = Fold::new(ChunkSummary::new(self.plan.columns.len()));
        let (summaries, encoded) = share::joined(shares, &promise.decided.stored);
        summaries.into_iter().try_for_each(|(number, summary)| fold.push(number, summary, merge))?;
        Ok(self.made(promise, fold.into_inner(), encoded))
    }

    /// All that was made, where it is as it was promised.
    fn made(&self, promise: &Promise<'_>, summary: ChunkSummary, encoded: Encoded) -> Option<Made> {
        let (decided, summary) = self.decide(summary).ok()?;
        let shape = promise.shape;
        same(&promise.decided.stored, &decided.stored).then_some(Made { decided, encoded, summary, shape })
    }

    fn shards<'b>(&'b self, promise: &'b Promise<'_>) -> Shards<'b> {
        let all = &[(Split::Train, promise.rows())];
        let threads = self.options.workers();
        Shards::new(&promise.decided.stored, all, promise.shape, threads, self.writer, &Silent)
    }

    /// Make the shards `own`; what their parts add up to, and they; none: the rows are not as promised.
    fn work<'b>(
        &'b self,
        promise: &'b Promise<'_>,
        own: Range<usize>,
        fold: Fold<ChunkSummary, ChunkSummary>,
        shards: Shards<'b>,
    ) -> Result<Option<(Fold<ChunkSummary, ChunkSummary>, Shards<'b>)>> {
        let shape = promise.shape;
        let rows = own.start * shape.shard_rows()..promise.rows().min(own.end * shape.shard_rows());
        let parts = promise.parts_of(&rows);
        let bytes = promise.parts[parts.clone()].iter().map(|part| part.bytes).sum();
        let shared = Shared {
            direct: self,
            promise,
            decisions: &promise.decided.stored,
            rows,
            open: Mutex::new(Open { parts: parts.clone(), columns: None, strips: Strips::default(), lent_bytes: 0 }),
            parts,
            shape,
            shards,
            sequence: Sequence::new(self.parts),
            fold,
            gaps: Gaps::default(),
            stop: Mutex::new(None),
        };
        self.progress.begin("reading", Some(bytes));
        std::thread::scope(|scope| {
            (1..self.options.workers()).for_each(|_| drop(scope.spawn(|| shared.work())));
            shared.work();
        });
        match shared.stop.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Stop::Failed(error)) => Err(error),
            Some(Stop::Unsuited) => Ok(None),
            None => Ok(Some((shared.fold, shared.shards))),
        }
    }

    /// What the source promises of all rows, as if the survey had found it.
    fn promised(&self, columns: &dyn Columnar, rows: usize) -> Option<ChunkSummary> {
        let mut summary = ChunkSummary::new(self.plan.columns.len());
        let mut spare = Spare::default();
        summary.train_rows = rows as u64;
        for (sum, column) in summary.columns.iter_mut().zip(&self.plan.columns) {
            let columnar::Range { min, max } = columns.range(column.index)?;
            let mut known = Summary::of(&Float64Array::from(vec![min, max]))?;
            known.count = rows as u64;
            known.single |= column.source_type == DataType::Float32;
            if known.integral && column.source_type.is_floating() {
                // Integers at both ends say little of those between.
                let read = columns.read(0, column.index, PROBE_ROWS, None, &mut spare).ok()??;
                known.integral = Summary::of(&read)?.integral;
            }
            sum.train = known;
        }
        Some(summary)
    }

    /// How columns of which that is known are stored.
    fn decide(&self, summary: ChunkSummary) -> Result<(Decided, ChunkSummary)> {
        let none = self.plan.columns.len();
        let found = Found {
            pieces: Vec::new(),
            summary,
            tables: (0..none).map(|_| None).collect(),
            counts: vec![Vec::new(); none],
            means: Vec::new(),
        };
        let decided = decide::decide(self.options, self.plan, &found, &BTreeMap::new(), None, self.memory)?;
        Ok((decided, found.summary))
    }
}

/// True when the range alone says how a column is stored: a centre of real numbers depends on their mean.
fn is_certain(decision: &Decision) -> bool {
    match &decision.encoder {
        Encoder::Numeric { affine, .. } => affine.offset == 0.0 || matches!(affine.dtype, DType::U8 | DType::U16),
        _ => false,
    }
}

/// True when columns are stored in the same way; what stands for a missing value does not matter where none is missing.
fn same(promised: &[Decision], found: &[Decision]) -> bool {
    let form = |decision: &Decision| match &decision.encoder {
        Encoder::Numeric { affine, .. } if decision.column.missing == 0 => Some(*affine),
        _ => None,
    };
    let pair = |(promised, found): (&Decision, &Decision)| form(promised).is_some() && form(promised) == form(found);
    promised.len() == found.len() && promised.iter().zip(found).all(pair)
}

impl Shared<'_> {
    fn work(&self) {
        let mut spare = Spare::default();
        while let Some((making, column, to)) = self.take() {
            let done = self.direct.cancel.check().map_err(Stop::Failed);
            if let Err(stop) = done.and_then(|()| self.column(&making, column, to, &mut spare)) {
                let mut first = lock(&self.stop);
                if !matches!(&*first, Some(Stop::Failed(_))) {
                    *first = Some(stop);
                }
                drop(first);
                return self.sequence.stop();
            }
        }
    }

    /// The next column, and where to decode it to, if it stays there; none: all are taken, or all stop.
    fn take(&self) -> Option<(Arc<Making>, usize, Option<Strip>)> {
        let mut guard = lock(&self.open);
        let open = &mut *guard;
        loop {
            if let Some((making, columns)) = &mut open.columns
                && let Some(column) = columns.next()
            {
                let (bytes, all) = (self.lent_bytes(making.part, column), open.lent_bytes);
                let strip = (bytes > 0).then(|| open.strips.cut(bytes, all)).transpose();
                match strip {
                    Ok(strip) => return Some((Arc::clone(making), column, strip)),
                    Err(error) => {
                        *lock(&self.stop) = Some(Stop::Failed(error));
                        self.sequence.stop();
                        return None;
                    }
                }
            }
            let number = open.parts.next()?;
            // The others wait for the lock meanwhile. Whoever has a column of a part in flight does not need it to finish that.
            if !self.sequence.enter((number - self.parts.start) as u64) {
                open.parts = 0..0;
                return None;
            }
            let columns = self.decisions.len();
            open.lent_bytes = (0..columns).map(|column| self.lent_bytes(number, column)).fold(0, usize::saturating_add);
            open.columns = Some((Arc::new(Making::new(number, self.pieces(number), columns)), 0..columns));
        }
    }

    fn column(
        &self,
        making: &Making,
        number: usize,
        to: Option<Strip>,
        spare: &mut Spare,
    ) -> std::result::Result<(), Stop> {
        let (part, first_row) = (self.promise.parts[making.part], self.promise.starts[making.part]);
        let (decision, index) = (&self.decisions[number], self.direct.plan.columns[number].index);
        let read = self.promise.columns.read(making.part, index, part.rows, to, spare).map_err(|_| Stop::Unsuited)?;
        let values = read.and_then(|read| raw::numbers(&read).ok()).filter(|values| values.null_count() == 0);
        let values = values.filter(|values| decision.column.role != Role::Weight || check_weights(values).is_ok());
        let values = values.ok_or(Stop::Unsuited)?;
        let mut column = Column::default();
        // In the batches of the two passes, so that means have their bits.
        for start in (0..part.rows).step_by(part.batch_rows).filter(|_| self.counts(making.part)) {
            let batch = values.slice(start, part.batch_rows.min(part.rows - start));
            column.summary.merge(&Summary::of(&batch).ok_or(Stop::Unsuited)?);
            if decision.column.role == Role::Label {
                column.few.add(&batch);
            }
        }
        let mut filled = Vec::new();
        for piece in &making.pieces {
            let own = values.slice(piece.first_row - first_row, piece.rows);
            if piece.is_whole {
                column.take(piece, own, decision)?;
                continue;
            }
            let whole = (piece.grain * self.shape.grain_rows, self.rows_of(piece.grain));
            let grain = self.gaps.fill(piece, whole, number, own, self.decisions).map_err(|_| Stop::Unsuited)?;
            filled.extend(grain.map(|grain| (piece, grain)));
        }
        drop(values);
        let columns = making.put(number, column);
        for (piece, grain) in filled {
            self.hand_in(piece, grain)?;
        }
        match columns {
            Some(columns) => self.finish(making, columns).map_err(Stop::Failed),
            None => Ok(()),
        }
    }

    /// Bytes of a column of a part that is stored as it is read; 0 for others.
    fn lent_bytes(&self, part: usize, column: usize) -> usize {
        let read = &self.direct.plan.columns[column].source_type;
        let width = read.primitive_width().filter(|_| self.decisions[column].encoder.lends(read));
        self.promise.parts[part].rows.saturating_mul(width.unwrap_or(0))
    }

    /// Where shards end inside a part, whoever makes the first of them counts it.
    fn counts(&self, part: usize) -> bool {
        self.promise.starts[part] >= self.rows.start
    }

    /// All columns of a part are there.
    fn finish(&self, making: &Making, columns: Vec<Column>) -> Result<()> {
        let part = self.promise.parts[making.part];
        if self.counts(making.part) {
            let mut summary = ChunkSummary::new(columns.len());
            summary.train_rows = part.rows as u64;
            for (sum, column) in summary.columns.iter_mut().zip(&columns) {
                (sum.train, sum.few) = (column.summary, column.few.clone());
            }
            let place = |chunk, row| self.direct.source.place(chunk, row);
            let merge =
                |sum: &mut ChunkSummary, next: ChunkSummary| sum.merge(&next, &self.direct.plan.columns, &place);
            self.fold.push(making.part as u64, summary, merge)?;
        }
        for (piece, grain) in making.grains(columns) {
            self.hand_in(piece, grain)?;
        }
        self.direct.progress.advance(part.rows as u64, part.bytes);
        self.sequence.hand_in((making.part - self.parts.start) as u64, (), 0);
        Ok(())
    }

    /// The grains to be made that a part has rows of.
    fn pieces(&self, number: usize) -> Vec<Piece> {
        let starts = &self.promise.starts;
        let (mut at, end) = (starts[number].max(self.rows.start), starts[number + 1].min(self.rows.end));
        let mut pieces = Vec::new();
        while at < end {
            let grain = at / self.shape.grain_rows;
            let stop = end.min((grain + 1) * self.shape.grain_rows);
            let rows = stop - at;
            pieces.push(Piece { grain, first_row: at, rows, is_whole: rows == self.rows_of(grain) });
            at = stop;
        }
        pieces
    }

    fn rows_of(&self, grain: usize) -> usize {
        self.shape.grain_rows.min(self.promise.rows() - grain * self.shape.grain_rows)
    }

    /// A grain goes to its shard.
    fn hand_in(&self, piece: &Piece, made: Grain) -> Result<()> {
        let grains = self.shape.shard_grains;
        self.shards.hand_in(piece.grain / grains, piece.grain % grains, made).map(drop)
    }
}

impl Column {
    /// The values of the next grain.
    fn take(&mut self, grain: &Piece, values: ArrayRef, decision: &Decision) -> std::result::Result<(), Stop> {
        let stored = match decision.encoder.lends(values.data_type()) {
            true => Stored::Lent(values),
            false => {
                let mut stored = decision.encoder.start(grain.rows);
                let error = decision.encoder.append(&Raw::Numbers(values), &mut stored).map_err(|_| Stop::Unsuited)?;
                self.worst = self.worst.max(error);
                stored
            }
        };
        let tally = ColumnTally::of(&stored, decision, grain.rows as u64);
        self.stored.push((stored, tally));
        Ok(())
    }
}
