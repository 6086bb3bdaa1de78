//! The two passes by one process (stage 2): a survey of all rows, which are kept, and then their encoding.

use std::collections::BTreeMap;
use std::time::Instant;

use super::decide::{self, Decided, Decision};
use super::keep::{Keeper, Piece};
use super::moments::Moments;
use super::options::IngestOptions;
use super::shuffle::{self, Lot};
use super::summary::ChunkSummary;
use super::survey::{Found, Survey};
use super::{Around, Budget, Job, Made, quantiles, shards, split, write};
use crate::encode::intern::Interner;
use crate::error::{Error, Result};
use crate::manifest::{Kind, Split};
use crate::mmap;
use crate::rng::{Purpose, Stream};
use crate::roles::{Resolved, Shape};
use crate::shard;
use crate::source::Before;
use crate::source::libsvm::INDEX_BASE;
use crate::watch::Cancel;

/// Bytes of a parameter's statistics while they are written: as numbers and as an Arrow array.
const STATISTICS_BYTES: u64 = 80;

/// Bytes of a level in a worker's tally, or in that of all.
const COUNT_BYTES: u64 = 8;

/// The inner edges of columns that become buckets, by number.
pub(super) type Edges = BTreeMap<usize, Vec<f64>>;

impl Job<'_> {
    /// First to see what is there, then to encode it; by all ranks, where they can.
    pub(super) fn two_passes(&self) -> Result<Made> {
        if let Some(ranks) = self.around.ranks
            && let Some(made) = self.lead_together(ranks)?
        {
            return Ok(made);
        }
        let began = Instant::now();
        let Job { source, options, ref budget, writer, around: Around { progress, cancel, .. }, .. } = *self;
        let keeper = Keeper::new(budget.keep, writer.folder(), 0)?;
        progress.begin("reading", source.bytes());
        let mut found = self.survey(&keeper, None)?;
        check_rows(&found.summary)?;
        progress.end();
        let survey_seconds = began.elapsed().as_secs_f64();
        let edges = self.edges(&found)?;
        let mut decided = self.decide(&found, &edges)?;
        found.tables.clear();
        self.write_dictionaries(&mut decided)?;
        give_back_if_short(&keeper);
        let shape = self.shape(&decided.stored);
        progress.begin("writing", None);
        let rows = arrange(found.pieces, options, budget, &keeper, cancel)?;
        let threads = options.workers();
        let decisions = &decided.stored;
        let encoding = write::Encoding { rows, decisions, others: &[], shape, writer, threads, progress, cancel };
        let encoded = encoding.run()?;
        drop(encoding);
        give_back_if_short(&keeper);
        let (summary, spilled) = (found.summary, keeper.spilled());
        Ok(Made { decided, encoded, summary, shape, spilled, survey_seconds, ranks: 1 })
    }

    /// Pass A over all rows, or over those of a span with what lies before it.
    pub(super) fn survey(&self, keeper: &Keeper, span: Option<Before>) -> Result<Found> {
        let Job { source, file, plan, options, budget, around: Around { progress, cancel, .. }, .. } = *self;
        let splitter = match plan.split {
            Some(_) => split::Splitter::Column,
            None => split::Splitter::share(options.seed, options.test_share),
        };
        let survey = Survey {
            source,
            file,
            plan,
            splitter,
            shuffle: options.shuffle.then(|| Stream::new(options.seed, Purpose::Shuffle)),
            drop_missing_label: options.drop_missing_label,
            max_categories: options.max_categories,
            dictionary_bytes: budget.keep,
            level_bytes: COUNT_BYTES * (1 + options.workers() as u64),
            hashed_bytes: hashed(plan, options).1,
            keeper,
            threads: budget.readers,
            chunks: budget.chunks,
            span,
            progress,
            cancel,
        };
        let mut found = survey.run()?;
        cancel.check()?;
        // Rows that were kept before most levels came up make room for them, once more while they are put in order, and for the
        // tallies of the second pass.
        let elements: u64 = found.summary.columns.iter().map(|column| column.sparse_width as u64).sum();
        let moments = elements * size_of::<Moments>() as u64 * (1 + options.workers() as u64);
        let of_table = |table: &Interner| {
            2 * table.memory() as u64 + table.len() as u64 * (survey.level_bytes + size_of::<String>() as u64)
        };
        let levels: u64 = found.tables.iter().flatten().map(of_table).sum();
        keeper.trim(&mut found.pieces, survey.hashed_bytes.max(moments) + levels)?;
        give_back_if_short(keeper);
        Ok(found)
    }

    /// How columns are stored of which that was found.
    pub(super) fn decide(&self, found: &Found, edges: &Edges) -> Result<Decided> {
        let schema = self.source.schema();
        let index_base = schema.metadata().get(INDEX_BASE).map(String::as_str);
        decide::decide(self.options, self.plan, found, edges, index_base, self.budget.memory)
    }

    /// Put the levels of the columns into the folder.
    pub(super) fn write_dictionaries(&self, decided: &mut Decided) -> Result<()> {
        for (number, decision) in decided.stored.iter_mut().enumerate() {
            if let (Some(levels), Kind::Categorical { dictionary, .. }) = (&decision.levels, &mut decision.column.kind)
            {
                *dictionary = self.writer.dictionary(number, levels)?;
            }
            decision.levels = None;
        }
        Ok(())
    }

    /// How rows of these columns become grains and shards.
    pub(super) fn shape(&self, stored: &[Decision]) -> shards::Shape {
        let row_bytes = stored.iter().map(|decision| decision.row_bytes).sum();
        let grain_rows = self.options.grain_rows.unwrap_or_else(|| shard::grain_rows(row_bytes));
        let of_bytes = || match self.options.shard_bytes {
            Some(bytes) => shard::grains_within(bytes as f64, row_bytes, grain_rows),
            None => shard::grains_per_shard(row_bytes, grain_rows),
        };
        let shard_grains = self.options.shard_grains.unwrap_or_else(of_bytes);
        shards::Shape { grain_rows, shard_grains }
    }

    fn edges(&self, found: &Found) -> Result<Edges> {
        let Job { plan, options, around: Around { cancel, .. }, .. } = *self;
        let pieces: Vec<&Piece> =
            found.pieces.iter().filter(|(split, _)| *split == Split::Train).map(|(_, piece)| piece).collect();
        let mut all = Edges::new();
        for (number, column) in plan.columns.iter().enumerate() {
            let count = found.summary.columns[number].train.count;
            if let Some(&buckets) = options.bucketize.get(&column.name).filter(|_| count > 0) {
                let column = quantiles::Column { pieces: &pieces, number, threads: options.workers(), cancel };
                let edges = column.edges(buckets, count)?;
                all.insert(number, edges.get(1..edges.len() - 1).unwrap_or_default().to_vec());
            }
        }
        Ok(all)
    }
}

/// Hashed levels and elements have statistics, whatever the rows: refuse before anything is read. Levels are counted by every
/// worker; of elements every worker keeps moments.
pub(super) fn check_hashed(plan: &Resolved, options: &IngestOptions, memory: u64) -> Result<()> {
    let (levels, tallied) = hashed(plan, options);
    let needed = levels * STATISTICS_BYTES + tallied;
    if needed > memory / 2 {
        return Err(Error::Usage(format!(
            "hashed columns and texts have {levels} levels and elements in all, whose statistics take {} MB, more than half of \
             --memory. Lower --hash-bits (of one column: --hash-bits COLUMN=N), or raise --memory",
            needed / 1_000_000
        )));
    }
    Ok(())
}

/// Levels and elements that are there whatever the rows, and the bytes of all tallies of them.
fn hashed(plan: &Resolved, options: &IngestOptions) -> (u64, u64) {
    let tallies = 1 + options.workers() as u64;
    let needs = plan.columns.iter().filter_map(|column| match column.shape {
        Shape::Hashed { bits } => Some((1u64 << bits, COUNT_BYTES)),
        Shape::Text { bits, .. } => Some((1u64 << bits, size_of::<Moments>() as u64)),
        _ => None,
    });
    needs.fold((0, 0), |(levels, tallied), (own, bytes)| (levels + own, tallied + own * bytes * tallies))
}

/// Where memory is short, what one step has freed must not count beside what the next one takes.
fn give_back_if_short(keeper: &Keeper) {
    if keeper.spilled() > 0 {
        mmap::give_back();
    }
}

/// An error unless there are rows to learn from.
pub(super) fn check_rows(summary: &ChunkSummary) -> Result<()> {
    if summary.train_rows > 0 {
        return Ok(());
    }
    Err(Error::Usage(match (summary.test_rows, summary.dropped) {
        (0, 0) => "the source has no rows".into(),
        (0, dropped) => format!("all {dropped} rows were left out: none has a label"),
        (test, _) => format!("all {test} rows are held out, none is left to learn from"),
    }))
}

/// Rows of both splits in their final order.
fn arrange(
    pieces: Vec<(Split, Piece)>,
    options: &IngestOptions,
    budget: &Budget,
    keeper: &Keeper,
    cancel: &Cancel,
) -> Result<[write::Rows; 2]> {
    let (train, test): (Vec<_>, Vec<_>) = pieces.into_iter().partition(|(split, _)| *split == Split::Train);
    let spill = (keeper.spilled() > 0).then(|| keeper.spill());
    let plan = shuffle::Plan { threads: options.workers(), bucket_bytes: budget.bucket, group_bytes: budget.group };
    let lots = |pieces: Vec<(Split, Piece)>| -> Result<Vec<Lot>> {
        let pieces: Vec<Piece> = pieces.into_iter().map(|(_, piece)| piece).collect();
        match options.shuffle {
            true => shuffle::scatter(pieces, plan, spill, cancel),
            false => Ok(pieces.into_iter().map(Lot::Piece).collect()),
        }
    };
    Ok([write::Rows::new(Split::Train, lots(train)?), write::Rows::new(Split::Test, lots(test)?)])
}
