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
//! | [`packed`] | how does a shuffle hold rows of thousands of columns? |
//! | [`write`](mod@write), [`tally`], [`moments`] | pass B: grains and statistics |
//! | [`shards`] | how do grains made by any thread get into shards, in their order? |
//! | [`direct`], [`part`], [`gaps`] | when is one pass enough, and what is done then? |
//! | [`passes`] | how does one process make the two passes? |
//! | [`company`], [`share`] | how do several ranks make one dataset, and what do they tell each other? |
//! | [`together`], [`findings`], [`border`] | how do they make the two passes, and what of rows that lie between them? |
//! | [`message`] | how is it written? |
//! | [`differing`] | what if files differ in columns that are left out? |

pub mod border;
pub mod company;
pub mod decide;
pub mod differing;
pub mod direct;
pub mod findings;
pub mod gaps;
pub mod keep;
pub mod message;
pub mod moments;
pub mod options;
pub mod packed;
pub mod parallel;
pub mod part;
pub mod passes;
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
pub mod together;
pub mod write;

use std::path::Path;
use std::time::Instant;

use arrow::datatypes::Schema;

use company::{Led, Offer, Ranks, Way};
use decide::Decided;
use direct::{Direct, Promise};
use shards::Encoded;
use summary::ChunkSummary;

use crate::dataset_writer::{DatasetWriter, Description};
use crate::durable;
use crate::error::{Error, Result};
use crate::manifest::{Kind, Manifest, Role, SourceEntry};
use crate::memory::Limits;
use crate::mmap;
use crate::roles::{Resolved, Shape, inferred, listed};
use crate::source::{self, Source, SourceFile, SourceOptions};
use crate::watch::{Cancel, Progress};

pub use options::{Impute, IngestOptions};

/// Freed memory that is kept for the next buffers, at most.
const KEPT_BYTES_MAX: u64 = 64 << 20;

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
    while let Some(offer) = ranks.hear()? {
        let Ok(Opened { source, plan, entries }) = Opened::new(sources, &options, &offer.folder, cancel) else {
            // What rank 0 can open and this rank cannot is for rank 0 to make.
            ranks.answer(false)?;
            continue;
        };
        let (source, file) = (source.as_ref(), first_file(&entries));
        let (writer, budget) = (DatasetWriter::join(&offer.folder), Budget::of(&options, source));
        mmap::keep_freed(KEPT_BYTES_MAX.min(budget.memory / 16));
        let around = Around { ranks: None, progress, cancel };
        Job { source, file, plan: &plan, options: &options, budget, writer: &writer, around }.follow(ranks, &offer)?;
    }
    Ok(None)
}

fn first_file(entries: &[SourceEntry]) -> &Path {
    Path::new(entries.first().map_or("", |entry| &entry.path))
}

fn begin(sources: &[String], options: &IngestOptions, output: &Path, around: Around<'_>) -> Result<IngestReport> {
    options.check()?;
    let writer = DatasetWriter::create(output, options.force)?;
    let Opened { source, plan, entries } = Opened::new(sources, options, writer.folder(), around.cancel)?;
    entries.iter().try_for_each(|entry| durable::check_apart(Path::new(&entry.path), output))?;
    run(source.as_ref(), &plan, entries, options, writer, around)
}

/// Sources, and what is to be made of them.
struct Opened {
    source: Box<dyn Source>,
    plan: Resolved,
    entries: Vec<SourceEntry>,
}

impl Opened {
    fn new(sources: &[String], options: &IngestOptions, scratch: &Path, cancel: &Cancel) -> Result<Opened> {
        let mut reading = SourceOptions { cancel: cancel.clone(), ..options.source_options(scratch)? };
        let files = source::list(sources, &reading)?;
        // Columns of types that mean nothing are errors only when they are not ignored, and that is known a line further down.
        reading.any_type = true;
        let (mut source, left_out) = differing::open(&files, &reading, &options.roles)?;
        let mut plan = if left_out.is_empty() {
            planned(options, &source.schema())?
        } else {
            let read = IngestOptions { roles: options.roles.clone().without_ignored(), ..options.clone() };
            let mut plan = planned(&read, &source.schema())?;
            differing::note(left_out, &options.roles, &mut plan)?;
            plan
        };
        let beaten = options.roles.beaten.as_ref().filter(|_| options.roles.numeric.is_empty());
        let numeric = options.roles.numeric.iter().chain(beaten.iter().flat_map(|roles| &roles.numeric));
        let numeric = numeric.filter(|name| plan.is_numeric(name));
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
    plan.check_rules(options)?;
    if options.needs_label && !plan.columns.iter().any(|column| column.role == Role::Label) {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(Error::Usage(format!(
            "no column to predict: none is called label, target or y. Name it with --label COLUMN; the source has {}",
            listed(&names)
        )));
    }
    Ok(plan)
}

/// Leave out what is not wanted, and read categories as the text that stands in the file; true: something changed.
fn narrow(reading: &mut SourceOptions, plan: &Resolved, schema: &Schema) -> bool {
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
#[derive(Clone, Copy)]
struct Budget {
    memory: u64,
    keep: u64,
    bucket: u64,
    group: u64,
    /// Chunks in flight.
    chunks: u64,
    /// Threads that decode them.
    readers: usize,
}

impl Budget {
    /// Half of the memory holds rows and dictionaries; a quarter decoded chunks in flight; the rest gathers and grains in the
    /// making. Where decoding itself takes much, fewer threads do it, and fewer rows are held.
    fn of(options: &IngestOptions, source: &dyn Source) -> Budget {
        let memory = options.memory.unwrap_or_else(|| Limits::now().default_bytes());
        Budget::new(memory, options.workers() as u64, source.decode_bytes())
    }

    fn new(memory: u64, workers: u64, decode_bytes: u64) -> Budget {
        let (share, chunks) = (memory / 16 / workers, (memory / 4 / options::PART_BYTES as u64).max(1));
        let readers = (memory / 3 / decode_bytes.max(1)).clamp(1, workers);
        let flying = chunks.min(readers * (1 + survey::AHEAD)) * options::PART_BYTES as u64;
        let decoding = readers * decode_bytes + flying.min(memory / 4);
        Budget {
            memory,
            keep: memory.saturating_sub(decoding + memory / 8).clamp(memory / 4, memory / 2),
            bucket: share.clamp(1 << 16, 16 << 20),
            group: share.max(1 << 20),
            chunks,
            readers: readers as usize,
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
    let budget = Budget::of(options, source);
    mmap::keep_freed(KEPT_BYTES_MAX.min(budget.memory / 16));
    passes::check_hashed(plan, options, budget.memory)?;
    let job = Job { source, file: first_file(&entries), plan, options, budget, writer: &writer, around };
    let Made { mut decided, encoded, summary, shape, spilled, survey_seconds, ranks } = match job.one_pass()? {
        Some(made) => made,
        None => job.two_passes()?,
    };
    let statistics = encoded.tally.statistics(&decided.stored);
    for (decision, worst) in decided.stored.iter_mut().zip(encoded.worst) {
        if let Kind::Numeric { worst_error, .. } = &mut decision.column.kind {
            *worst_error += worst;
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
        null_values: options.null_values.clone(),
    };
    around.cancel.check()?;
    options.beside.iter().try_for_each(|(name, bytes)| durable::write_staged(&writer.folder().join(name), bytes))?;
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
    /// The first of its files.
    file: &'a Path,
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
    /// What a rank that does not lead makes of an offer.
    fn follow(&self, ranks: &Ranks<'_>, offer: &Offer) -> Result<()> {
        match offer.way {
            Way::TwoPasses => self.follow_together(ranks, offer),
            Way::OnePass => self.with_direct(self.options, |direct| {
                let promise = direct.promise();
                let fits = |promise: &Promise<'_>| offer.fits(promise.fingerprint(), self.source.bytes());
                let promise = promise.filter(fits);
                match ranks.answer(promise.is_some())?.then_some(promise).flatten() {
                    Some(promise) => ranks.work(direct, &promise),
                    None => Ok(()),
                }
            }),
        }
    }

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
        let budget = Budget::of(options, self.source);
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
}

/// An error of Arrow about batches that this module built itself.
fn odd(error: &arrow::error::ArrowError) -> Error {
    Error::Usage(format!("rows cannot be arranged: {error}"))
}

#[cfg(test)]
mod tests;
