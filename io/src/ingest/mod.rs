//! Ingest (stage 2): sources become a dataset folder.
//!
//! ```text
//! source --pass A: decode, number rows, split, sum up--> raw rows in memory or spilled --> storage of every column
//!        [--scatter by random keys-->] --pass B: encode, tally--> shards, dictionaries, statistics, manifest
//! ```
//!
//! Sources of plain numbers that say beforehand what is in them take one pass only ([`direct`]).
//!
//! The dataset is a function of the source's rows, the options and the seed: not of threads, not of memory.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`options`] | what may the user say? |
//! | [`survey`], [`summary`] | pass A: what is in the source? |
//! | [`sequence`], [`parallel`] | how do parallel chunks get numbered rows and ordered sums? |
//! | [`split`] | which rows are held out? |
//! | [`keep`] | where are the rows between the passes? |
//! | [`refine`] | which columns may flags name, and what becomes of them? |
//! | [`quantiles`] | where are the edges between buckets of numbers? |
//! | [`decide`] | how is every column stored? |
//! | [`shuffle`] | how do rows get into random order in bounded memory? |
//! | [`write`](mod@write), [`tally`], [`moments`] | pass B: grains and statistics |
//! | [`shards`] | how do grains made by any thread get into shards, in their order? |
//! | [`direct`] | when is one pass enough, and what is done then? |
//! | [`company`], [`share`] | how do several ranks make one dataset, and what do they tell each other? |

pub mod company;
pub mod decide;
pub mod direct;
pub mod keep;
pub mod moments;
pub mod options;
pub mod parallel;
pub mod quantiles;
pub mod refine;
pub mod sequence;
pub mod shards;
pub mod share;
pub mod shuffle;
pub mod split;
pub mod summary;
pub mod survey;
pub mod tally;
pub mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use arrow::datatypes::Schema;

use company::{Led, Ranks};
use decide::{Decided, Decision};
use direct::Direct;
use keep::{Keeper, Piece};
use shards::Encoded;
use shuffle::Lot;
use summary::ChunkSummary;
use survey::{Found, Survey};

use crate::dataset_writer::{DatasetWriter, Description};
use crate::error::{Error, Result};
use crate::manifest::{Kind, Manifest, SourceEntry, Split};
use crate::memory::Limits;
use crate::mmap;
use crate::rng::{Purpose, Stream};
use crate::roles::{Resolved, Shape, inferred};
use crate::shard;
use crate::source::libsvm::INDEX_BASE;
use crate::source::{self, Source, SourceFile};
use crate::watch::{Cancel, Progress};

pub use options::{Impute, IngestOptions};

/// Freed memory that is kept for the next buffers, at most.
const KEPT_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a parameter's statistics while they are written: as numbers and as an Arrow array.
const STATISTICS_BYTES: u64 = 80;

/// What ingest did.
#[derive(Clone, Debug)]
pub struct IngestReport {
    /// The manifest of the dataset.
    pub manifest: Manifest,
    /// Training rows.
    pub train_rows: u64,
    /// Rows held out.
    pub test_rows: u64,
    /// Rows left out because their label is missing.
    pub dropped_rows: u64,
    /// Columns left out because no training row has a value.
    pub empty_columns: Vec<String>,
    /// Bytes of the sources.
    pub source_bytes: u64,
    /// Bytes of the shards.
    pub dataset_bytes: u64,
    /// Bytes that went through temporary files because memory was short.
    pub spilled_bytes: u64,
    /// Seconds of the survey (decoding).
    pub survey_seconds: f64,
    /// Seconds of encoding and writing (and of the shuffle).
    pub encode_seconds: f64,
    /// Ranks that made it.
    pub ranks: usize,
}

/// Make the dataset folder `output` from `sources` (files, folders, patterns, `-` for the standard input).
///
/// # Errors
/// Any of [`Error`]; nothing is left at `output` then, and what was there before stays.
pub fn ingest(
    sources: &[String],
    options: &IngestOptions,
    output: &Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<IngestReport> {
    begin(sources, options, output, Around { ranks: None, progress, cancel })
}

/// [`ingest`] by several ranks that see the same files, each of which calls this; what was done, on rank 0. Where there is nothing to
/// share, rank 0 does it alone, and the others return when it has come to its end.
///
/// # Errors
/// As [`ingest`], and [`Error::Elsewhere`] where another rank failed.
pub fn ingest_among(
    ranks: &Ranks<'_>,
    sources: &[String],
    options: &IngestOptions,
    output: &Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Option<IngestReport>> {
    if ranks.size() == 1 {
        return ingest(sources, options, output, progress, cancel).map(Some);
    }
    if ranks.leads() {
        let made = begin(sources, options, output, Around { ranks: Some(ranks), progress, cancel });
        let dismissed = ranks.dismiss();
        return made.and_then(|made| dismissed.map(|()| Some(made)));
    }
    let options = ranks.options(options);
    let follow = |folder: &Path, then: &dyn Fn(&Direct<'_>) -> Result<()>| {
        let writer = DatasetWriter::join(folder);
        let Opened { source, plan, .. } = Opened::new(sources, &options, folder)?;
        let around = Around { ranks: None, progress, cancel };
        let budget = Budget::of(&options);
        mmap::keep_freed(KEPT_BYTES_MAX.min(budget.memory / 16));
        Job { source: source.as_ref(), plan: &plan, options: &options, budget, writer: &writer, around }
            .with_direct(&options, then)
    };
    ranks.follow(follow).map(|()| None)
}

fn begin(sources: &[String], options: &IngestOptions, output: &Path, around: Around<'_>) -> Result<IngestReport> {
    options.check()?;
    let writer = DatasetWriter::create(output, options.force)?;
    let Opened { source, plan, entries } = Opened::new(sources, options, writer.folder())?;
    run(source.as_ref(), &plan, entries, options, writer, around)
}

/// Sources, and what is to be made of them.
struct Opened {
    source: Box<dyn Source>,
    plan: Resolved,
    entries: Vec<SourceEntry>,
}

impl Opened {
    fn new(sources: &[String], options: &IngestOptions, scratch: &Path) -> Result<Opened> {
        let mut reading = options.source_options(scratch)?;
        let files = source::list(sources, &reading)?;
        // Columns of types that mean nothing are errors only when they are not ignored, and that is known a line further down.
        reading.any_type = true;
        let mut source = source::open_files(&files, &reading)?;
        let mut plan = planned(options, &source.schema())?;
        let numeric = options.roles.numeric.iter().filter(|name| source.schema().field_with_name(name).is_ok());
        reading.types.extend(numeric.map(|name| (name.clone(), source::TextType::Float)));
        if narrow(&mut reading, &plan, &source.schema()) {
            let before = source.schema();
            source = source::open_files(&files, &reading)?;
            plan.follow(&before, &source.schema())?;
        }
        let entry = |file: &SourceFile| SourceEntry { path: file.path.display().to_string(), bytes: file.bytes };
        Ok(Opened { source, plan, entries: files.iter().map(entry).collect() })
    }
}

/// What is to be made of each column.
fn planned(options: &IngestOptions, schema: &Schema) -> Result<Resolved> {
    let mut plan = options.roles.resolve(schema, options.split_column.as_deref())?;
    plan.hash(options.hash_bits, &options.hashes)?;
    options.ngrams.map_or(Ok(()), |ngrams| plan.set_ngrams(ngrams))?;
    plan.check_buckets(options.bucketize.keys())?;
    Ok(plan)
}

/// Leave out what is not wanted, and read categories as the text that stands in the file; true: something changed.
fn narrow(reading: &mut source::SourceOptions, plan: &Resolved, schema: &Schema) -> bool {
    for column in &plan.columns {
        let is_category = matches!(column.shape, Shape::Categorical | Shape::Hashed { .. } | Shape::Text { .. });
        if is_category && inferred(&column.source_type) == Some(Shape::Numeric) {
            reading.types.insert(column.name.clone(), source::TextType::Text);
        }
    }
    if !plan.ignored.is_empty() {
        let split = plan.split.map(|index| schema.field(index).name().clone());
        let names = plan.columns.iter().flat_map(|column| match column.labels[..] {
            [] => vec![column.name.clone()],
            _ => column.labels.iter().map(|(name, _)| name.clone()).collect(),
        });
        reading.columns = Some(names.chain(split).collect());
    }
    !reading.types.is_empty() || reading.columns.is_some()
}

/// Make a dataset from an opened source.
///
/// # Errors
/// As [`ingest`].
pub fn ingest_source(
    source: &dyn Source,
    entries: Vec<SourceEntry>,
    options: &IngestOptions,
    output: &Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<IngestReport> {
    options.check()?;
    let plan = planned(options, &source.schema())?;
    let writer = DatasetWriter::create(output, options.force)?;
    run(source, &plan, entries, options, writer, Around { ranks: None, progress, cancel })
}

/// Bytes for each purpose.
struct Budget {
    memory: u64,
    keep: u64,
    bucket: u64,
    group: u64,
    /// Chunks in flight.
    chunks: u64,
}

impl Budget {
    /// Half of the memory holds rows and dictionaries; a quarter decoded chunks in flight; the rest gathers and grains in the
    /// making.
    fn of(options: &IngestOptions) -> Budget {
        let memory = options.memory.unwrap_or_else(|| Limits::now().default_bytes());
        let share = memory / 16 / options.workers() as u64;
        Budget {
            memory,
            keep: memory / 2,
            bucket: share.clamp(1 << 16, 16 << 20),
            group: share.max(1 << 20),
            chunks: (memory / 4 / options::PART_BYTES as u64).max(1),
        }
    }
}

/// Who works along, watches and stops.
#[derive(Clone, Copy)]
struct Around<'a> {
    /// None: one process.
    ranks: Option<&'a Ranks<'a>>,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

fn run(
    source: &dyn Source,
    plan: &Resolved,
    entries: Vec<SourceEntry>,
    options: &IngestOptions,
    writer: DatasetWriter,
    around: Around<'_>,
) -> Result<IngestReport> {
    let began = Instant::now();
    let budget = Budget::of(options);
    mmap::keep_freed(KEPT_BYTES_MAX.min(budget.memory / 16));
    check_hashed(plan, options, budget.memory)?;
    let job = Job { source, plan, options, budget, writer: &writer, around };
    let Made { mut decided, encoded, summary, shape, spilled, survey_seconds, ranks } = match job.one_pass()? {
        Some(made) => made,
        None => job.two_passes()?,
    };
    let statistics = encoded.tally.statistics(&decided.stored);
    for (decision, worst) in decided.stored.iter_mut().zip(encoded.worst) {
        if let Kind::Numeric { worst_error, .. } = &mut decision.column.kind {
            *worst_error = worst;
        }
    }
    let source_bytes = entries.iter().map(|entry| entry.bytes).sum();
    let ignored = plan.ignored.iter().chain(&decided.empty).cloned().collect();
    let about = Description {
        created_by: concat!("gristmill ", env!("CARGO_PKG_VERSION")).into(),
        seed: options.seed,
        shuffled: options.shuffle,
        sources: entries,
        grain_rows: shape.grain_rows,
        columns: decided.stored.into_iter().map(|decision| decision.column).collect(),
        ignored,
    };
    around.cancel.check()?;
    let manifest = writer.finish(about, encoded.shards, &statistics)?;
    around.progress.end();
    Ok(IngestReport {
        train_rows: summary.train_rows,
        test_rows: summary.test_rows,
        dropped_rows: summary.dropped,
        empty_columns: decided.empty,
        source_bytes,
        dataset_bytes: manifest.shards.iter().map(|shard| shard.file.bytes).sum(),
        spilled_bytes: spilled,
        survey_seconds,
        encode_seconds: began.elapsed().as_secs_f64() - survey_seconds,
        ranks,
        manifest,
    })
}

/// What is to be made of a source, and with what.
struct Job<'a> {
    source: &'a dyn Source,
    plan: &'a Resolved,
    options: &'a IngestOptions,
    budget: Budget,
    writer: &'a DatasetWriter,
    around: Around<'a>,
}

/// All but the manifest.
struct Made {
    decided: Decided,
    encoded: Encoded,
    summary: ChunkSummary,
    shape: shards::Shape,
    spilled: u64,
    survey_seconds: f64,
    ranks: usize,
}

impl Job<'_> {
    /// In one pass, where that can be done, by all ranks, where they can.
    fn one_pass(&self) -> Result<Option<Made>> {
        let began = Instant::now();
        let made = |direct: Option<direct::Made>, ranks| {
            direct.map(|direct::Made { decided, encoded, summary, shape }| {
                let survey_seconds = began.elapsed().as_secs_f64();
                Made { decided, encoded, summary, shape, spilled: 0, survey_seconds, ranks }
            })
        };
        if let Some(ranks) = self.around.ranks {
            let led = self.with_direct(&ranks.options(self.options), |direct| {
                direct.promise().map_or(Ok(Led::Alone), |promise| ranks.lead(direct, &promise))
            });
            match led? {
                Led::Made(direct) => return Ok(made(Some(*direct), ranks.size())),
                Led::Unsuited => return Ok(None),
                Led::Alone => {}
            }
        }
        let direct =
            self.with_direct(self.options, |direct| direct.promise().map_or(Ok(None), |promise| direct.run(&promise)));
        Ok(made(direct?, 1))
    }

    /// What the one pass is told, with the threads and memory of these options.
    fn with_direct<T>(&self, options: &IngestOptions, then: impl FnOnce(&Direct<'_>) -> T) -> T {
        let budget = Budget::of(options);
        let direct = Direct {
            source: self.source,
            plan: self.plan,
            options,
            shape: &|stored| self.shape(stored),
            parts: budget.chunks.min(options.workers() as u64 * (1 + survey::AHEAD)),
            memory: budget.memory,
            writer: self.writer,
            progress: self.around.progress,
            cancel: self.around.cancel,
        };
        then(&direct)
    }

    /// First to see what is there, then to encode it.
    fn two_passes(&self) -> Result<Made> {
        let began = Instant::now();
        let Job { source, plan, options, ref budget, writer, around: Around { progress, cancel, .. } } = *self;
        let keeper = Keeper::new(budget.keep, writer.folder())?;
        progress.begin("reading", source.bytes());
        let mut found = survey(source, plan, options, budget, &keeper, progress, cancel)?;
        progress.end();
        let survey_seconds = began.elapsed().as_secs_f64();

        let schema = source.schema();
        let index_base = schema.metadata().get(INDEX_BASE).map(String::as_str);
        let edges = edges(plan, options, &found, cancel)?;
        let mut decided = decide::decide(options, plan, &found, &edges, index_base, budget.memory)?;
        found.tables.clear();
        for (number, decision) in decided.stored.iter_mut().enumerate() {
            if let (Some(levels), Kind::Categorical { dictionary, .. }) = (&decision.levels, &mut decision.column.kind)
            {
                *dictionary = writer.dictionary(number, levels)?;
            }
            decision.levels = None;
        }
        let shape = self.shape(&decided.stored);
        progress.begin("writing", None);
        let rows = arrange(found.pieces, options, budget, &keeper, cancel)?;
        let threads = options.workers();
        let encoding = write::Encoding { rows, decisions: &decided.stored, shape, writer, threads, progress, cancel };
        let encoded = encoding.run()?;
        drop(encoding);
        Ok(Made {
            decided,
            encoded,
            summary: found.summary,
            shape,
            spilled: keeper.spilled(),
            survey_seconds,
            ranks: 1,
        })
    }

    /// How rows of these columns become grains and shards.
    fn shape(&self, stored: &[Decision]) -> shards::Shape {
        let row_bytes = stored.iter().map(|decision| decision.row_bytes).sum();
        let grain_rows = self.options.grain_rows.unwrap_or_else(|| shard::grain_rows(row_bytes));
        let of_bytes = || match self.options.shard_bytes {
            Some(bytes) => shard::grains_within(bytes as f64, row_bytes, grain_rows),
            None => shard::grains_per_shard(row_bytes, grain_rows),
        };
        let shard_grains = self.options.shard_grains.unwrap_or_else(of_bytes);
        shards::Shape { grain_rows, shard_grains }
    }
}

/// Hashed levels and elements have statistics, whatever the rows: refuse before anything is read. Levels are counted by every
/// worker; of elements every worker keeps moments.
fn check_hashed(plan: &Resolved, options: &IngestOptions, memory: u64) -> Result<()> {
    let tallies = 1 + options.workers() as u64;
    let needs = plan.columns.iter().filter_map(|column| match column.shape {
        Shape::Hashed { bits } => Some((1u64 << bits, 8)),
        Shape::Text { bits, .. } => Some((1u64 << bits, size_of::<moments::Moments>() as u64)),
        _ => None,
    });
    let (levels, needed) = needs.fold((0, 0), |(levels, needed), (own, bytes)| {
        (levels + own, needed + own * (STATISTICS_BYTES + bytes * tallies))
    });
    if needed > memory / 2 {
        return Err(Error::Usage(format!(
            "hashed columns and texts have {levels} levels and elements in all, whose statistics take {} MB, more than half of \
             --memory. Lower --hash-bits (of one column: --hash-bits COLUMN=N), or raise --memory",
            needed / 1_000_000
        )));
    }
    Ok(())
}

fn survey(
    source: &dyn Source,
    plan: &Resolved,
    options: &IngestOptions,
    budget: &Budget,
    keeper: &Keeper,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Found> {
    let splitter = match plan.split {
        Some(_) => split::Splitter::Column,
        None => split::Splitter::share(options.seed, options.test_share),
    };
    let survey = Survey {
        source,
        plan,
        splitter,
        shuffle: options.shuffle.then(|| Stream::new(options.seed, Purpose::Shuffle)),
        drop_missing_label: options.drop_missing_label,
        max_categories: options.max_categories,
        dictionary_bytes: budget.keep,
        keeper,
        threads: options.workers(),
        chunks: budget.chunks,
        progress,
        cancel,
    };
    let found = survey.run()?;
    cancel.check()?;
    let summary = &found.summary;
    if summary.train_rows == 0 {
        return Err(Error::Usage(match (summary.test_rows, summary.dropped) {
            (0, 0) => "the source has no rows".into(),
            (0, dropped) => format!("all {dropped} rows were left out: none has a label"),
            (test, _) => format!("all {test} rows are held out, none is left to learn from"),
        }));
    }
    Ok(found)
}

/// The inner edges of the columns that become buckets, by number of the column.
fn edges(
    plan: &Resolved,
    options: &IngestOptions,
    found: &Found,
    cancel: &Cancel,
) -> Result<BTreeMap<usize, Vec<f64>>> {
    let pieces: Vec<&Piece> =
        found.pieces.iter().filter(|(split, _)| *split == Split::Train).map(|(_, piece)| piece).collect();
    let mut all = BTreeMap::new();
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

/// An error of Arrow about batches that this module built itself.
fn odd(error: &arrow::error::ArrowError) -> Error {
    Error::Usage(format!("rows cannot be arranged: {error}"))
}

#[cfg(test)]
mod tests;
