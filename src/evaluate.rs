//! Evaluation (stage 10): how good a model is on rows of a dataset or of a source.
//!
//! Several ranks share the grains, or the chunks of a source, among them; rank 0 adds up what all found, in the order one
//! process would have. The figures have the same bits.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use gristmill_io::dataset::Dataset;
use gristmill_io::encode::affine::Affine;
use gristmill_io::encode::row::RowEncoder;
use gristmill_io::encode::store::round_trip;
use gristmill_io::error::Place;
use gristmill_io::ingest::keep;
use gristmill_io::manifest::{Column, Kind, Role, Split};
use gristmill_io::memory;
use gristmill_io::source::{Chunk, Source};
use gristmill_io::tiles::{Io, Pick, StreamOptions};
use gristmill_io::watch::{Cancel, Progress};
use gristmill_kernels::tile::{Grain, Values};
use gristmill_kernels::{Kernels, Tier};
use mpi_launch::Communicator;

use crate::engine::domain;
use crate::error::{Error, Result};
use crate::metrics::{Evaluation, Rows, Scoreboard};
use crate::models;
use crate::predict::encoder;
use crate::predict::ordered::in_order;
use crate::predict::score::{self, Scorer};
use crate::ranks;
use crate::run::Model;
use crate::sharing;

/// Around an evaluation.
pub struct Settings<'a> {
    /// Worker threads.
    pub threads: usize,
    /// Of top-k accuracy, instead of the default.
    pub top_k: Option<usize>,
    /// Leave rows of a source without a label out instead of stopping.
    pub drop_missing_label: bool,
    /// Bytes that maps and sorted scores may take.
    pub memory_bytes: u64,
    /// How grains of a dataset get into memory.
    pub io: Io,
    /// Folder for sorted scores beyond that.
    pub scratch: &'a Path,
    /// Who watches.
    pub progress: &'a dyn Progress,
    /// Who may ask to stop.
    pub cancel: &'a Cancel,
    /// Who judges together.
    pub comm: &'a dyn Communicator,
}

/// Evaluate on splits of the dataset that the model was trained on; none on ranks other than 0.
///
/// # Errors
/// When the dataset is another one, has no rows in the splits, or cannot be read.
pub fn on_dataset(
    model: &Model,
    dataset: &Dataset,
    splits: &[Split],
    settings: &Settings<'_>,
) -> Result<Option<Evaluation>> {
    let own = splits.iter().map(|&split| Ok((split, sharing::own_grains(settings.comm, dataset, split)?)));
    let own = own.collect::<Result<Vec<_>>>()?;
    together(model, judge_dataset(model, dataset, own, settings), settings)
}

/// The figures of what all ranks found.
fn together(model: &Model, own: Result<Scoreboard>, settings: &Settings<'_>) -> Result<Option<Evaluation>> {
    let board = ranks::agree(settings.comm, own)?;
    let gathered = board.gathered(settings.comm).map_err(|error| ranks::fail(settings.comm, error))?;
    let names = model.metadata.labels().unwrap_or_default();
    let found = gathered.map(|board| Ok(board.finish()?.with_labels(names))).transpose();
    // Sorting takes seconds; who asked to stop meanwhile gets no figures.
    settings.cancel.check()?;
    found
}

/// Judges this rank's grains of each split.
fn judge_dataset(
    model: &Model,
    dataset: &Dataset,
    own: Vec<(Split, Vec<usize>)>,
    settings: &Settings<'_>,
) -> Result<Scoreboard> {
    let columns = &dataset.manifest().columns;
    check_same(model, dataset)?;
    let label = columns
        .iter()
        .find(|column| column.role == Role::Label)
        .ok_or_else(|| Error::usage(format!("{}: has no label column to compare with", dataset.folder().display())))?;
    let truth = Truth::of(model, label, || Ok(dataset.dictionary(position(columns, &label.name))?.levels))?;
    let weight = columns.iter().find(|column| column.role == Role::Weight);
    let part = part(settings);
    let board = Scoreboard::new(model.metadata.task(), settings.top_k, part as usize, settings.scratch);
    let mut first = 0;
    for (split, own_grains) in own {
        let grains = dataset.grains(split).len();
        let stream = dataset.stream(StreamOptions {
            grains: Some(own_grains),
            budget_bytes: part,
            threads: settings.threads,
            io: settings.io,
            ..StreamOptions::new(split)
        })?;
        let judge = Judge { scorer: Scorer::new(model, stream.layout())?, truth: &truth, weight, board: &board };
        let bytes = stream.grains().map(|grain| grain.bytes).sum();
        settings.progress.begin("evaluate", Some(bytes));
        let mut workers: Vec<Buffers> = (0..settings.threads).map(|_| Buffers::default()).collect();
        stream.scan(&mut workers, Pick::All, settings.cancel, settings.progress, |buffers, number, grain| {
            let at = |row| format!("{}, grain {number}, row {row}", dataset.folder().display());
            judge.grain(first + number as u64, grain, buffers, &at)
        })?;
        settings.progress.end();
        first += grains as u64;
    }
    Ok(board)
}

/// Evaluate on the rows of a source, which must have the label (and the weight, when training had one); none on ranks
/// other than 0.
///
/// # Errors
/// When the source cannot be read or a row has no stored form.
pub fn on_source(model: &Model, source: &dyn Source, settings: &Settings<'_>) -> Result<Option<Evaluation>> {
    let judged = together(model, judge_source(model, source, settings), settings)?;
    match &judged {
        Some(found) if found.rows == 0 => Err(Error::training("the source holds no rows to judge the model on")),
        _ => Ok(judged),
    }
}

/// Memory for scores in order, and as much for shards that stay: of what the model leaves, a fifth is for buffers.
fn part(settings: &Settings<'_>) -> u64 {
    settings.memory_bytes.saturating_sub(memory::resident_bytes()) / 5 * 2
}

/// The rows of a batch that are judged, and their numbers in it; no numbers: all.
fn judged_rows(
    encoder: &RowEncoder,
    batch: RecordBatch,
    place: &dyn Fn(usize) -> (PathBuf, Place),
    settings: &Settings<'_>,
) -> Result<(RecordBatch, Option<Vec<usize>>)> {
    let labelled = if settings.drop_missing_label { encoder.labelled(&batch, place)? } else { None };
    let Some(labelled) = labelled else { return Ok((batch, None)) };
    let numbers = labelled.values().set_indices().collect();
    let rows = filter_record_batch(&batch, &labelled).map_err(|error| Error::training(error.to_string()))?;
    Ok((rows, Some(numbers)))
}

fn judge_source(model: &Model, source: &dyn Source, settings: &Settings<'_>) -> Result<Scoreboard> {
    let (encoder, layout) = encoder::encoder(model, true)?;
    let columns = &model.metadata.columns;
    let label = model.metadata.label().ok_or_else(|| Error::usage("the model was trained without a label"))?;
    let truth = Truth::of(model, label, || {
        Ok(encoder::dictionaries(model)?.swap_remove(position(columns, &label.name)).unwrap_or_default())
    })?;
    let weight = columns.iter().find(|column| column.role == Role::Weight);
    let board = Scoreboard::new(model.metadata.task(), settings.top_k, part(settings) as usize, settings.scratch);
    let judge = Judge { scorer: Scorer::new(model, &layout)?, truth: &truth, weight, board: &board };
    let (rank, size) = (settings.comm.rank() as u64, settings.comm.size() as u64);
    settings.progress.begin("evaluate", source.bytes().map(|bytes| bytes / size));
    // Every rank goes through all chunks, which is cheap, and decodes its own.
    let draw = || loop {
        settings.cancel.check()?;
        match source.next()? {
            Some(chunk) if chunk.number % size != rank => {}
            Some(chunk) => return Ok(Some((chunk.number / size, chunk))),
            None => return Ok(None),
        }
    };
    let work = |chunk: Chunk| {
        let (number, bytes) = (chunk.number, chunk.bytes);
        let (mut buffers, mut first, mut memory) = (Buffers::default(), 0, 0);
        for (part, batch) in source.decode(chunk)?.into_iter().enumerate() {
            let place = encoder::place_in(source, number, first);
            first += batch.num_rows();
            memory += 2 * keep::own_bytes(&batch) as u64;
            let (batch, numbers) = judged_rows(&encoder, batch, &place, settings)?;
            let place =
                |row: usize| place(numbers.as_ref().map_or(row, |numbers| numbers.get(row).copied().unwrap_or(row)));
            let grain = encoder.encode(&batch, &place)?;
            let at = |row: usize| {
                let (path, place) = place(row - 1);
                format!("{}{}", path.display(), place_text(place))
            };
            // Chunks hold far fewer than 2^24 batches, so the numbers keep the order of the rows.
            judge.grain((number << 24) + part as u64, &grain.grain(), &mut buffers, &at)?;
        }
        Ok(((first as u64, bytes), memory))
    };
    // Of what scores and the model leave, a third is for what decoders hold.
    let room = (settings.memory_bytes / 2).saturating_sub(memory::resident_bytes()) / 3 * 2;
    let mut done = 0;
    in_order(settings.threads, room, draw, work, |(rows, bytes)| {
        done += 1;
        if size == 1 {
            board.settle(done << 24);
        }
        settings.progress.advance(rows, bytes);
        Ok(())
    })?;
    settings.progress.end();
    Ok(board)
}

/// A place in a file, as it follows the file's name.
pub fn place_text(place: Place) -> String {
    match place {
        Place::File => String::new(),
        Place::Line(line) => format!(", line {line}"),
        Place::Row(row) => format!(", row {row}"),
        Place::Offset(offset) => format!(", byte {offset}"),
    }
}

/// What a worker keeps between grains.
#[derive(Debug, Default)]
pub struct Buffers {
    margins: Vec<f64>,
    labels: Vec<f64>,
    weights: Vec<f64>,
}

/// Scores rows and compares them with the truth.
pub struct Judge<'a> {
    /// The model.
    pub scorer: Scorer,
    /// What the labels mean.
    pub truth: &'a Truth,
    /// How weights are stored.
    pub weight: Option<&'a Column>,
    /// Where results go.
    pub board: &'a Scoreboard,
}

impl Judge<'_> {
    /// Judge the rows of a grain; `at` says where a row came from.
    ///
    /// # Errors
    /// When a prediction or what it adds to the figures is no finite number, or a label is none of the classes.
    pub fn grain(
        &self,
        number: u64,
        grain: &Grain<'_>,
        buffers: &mut Buffers,
        at: &dyn Fn(usize) -> String,
    ) -> Result<()> {
        let Buffers { margins, labels, weights } = buffers;
        margins.clear();
        self.scorer.score(grain, margins);
        score::turn(&*self.truth.model, margins, grain.rows, &|row| at(row + 1))?;
        let stored = grain.label.ok_or_else(|| Error::usage("the rows have no label to compare with"))?;
        self.truth.labels(&stored, labels, at)?;
        if let (Some(stored), Some(Kind::Numeric { offset, scale, .. })) =
            (&grain.weight, self.weight.map(|column| &column.kind))
        {
            numbers(stored, *offset, *scale, weights)?;
        }
        let weight = (grain.weight.is_some() && self.weight.is_some()).then_some(weights.as_slice());
        let rows = Rows { prediction: margins, label: labels, weight, centre: self.truth.centre };
        if self.board.add(number, &rows)? { Ok(()) } else { Err(self.beyond(&rows, at)) }
    }

    /// The error for rows whose sums are no finite numbers: a mean that rounds to 0 has an infinite deviance, and the square of a large
    /// number may be none.
    fn beyond(&self, rows: &Rows<'_>, at: &dyn Fn(usize) -> String) -> Error {
        let bad = (0..rows.label.len()).find(|&row| {
            let own: Vec<f64> = rows.prediction.iter().copied().skip(row).step_by(rows.label.len()).collect();
            let (label, weight) = (&rows.label[row..=row], rows.weight.map(|weight| &weight[row..=row]));
            !self.board.is_finite(&Rows { prediction: &own, label, weight, centre: rows.centre })
        });
        let Some(row) = bad else {
            return Error::training(format!("{}: from here on figures add up to no finite number", at(1)));
        };
        let (what, label) = match self.truth.model.is_classifier() {
            true => ("margin", String::new()),
            false => ("prediction", format!(" and the label {:?}", rows.label[row])),
        };
        Error::training(format!(
            "{}: the {what} is {:?}{label}, of which a figure is no finite number: the row's numbers are too far from those of the training",
            at(row + 1),
            rows.prediction[row]
        ))
    }
}

/// What stored labels mean.
pub struct Truth {
    model: Box<dyn models::Model>,
    offset: f64,
    scale: f64,
    /// Classifiers: the stored value of each class.
    classes: Option<Vec<f64>>,
    names: Option<Vec<String>>,
    centre: f64,
}

impl Truth {
    /// What the stored values of `label` mean to a model; `levels`: the dictionary of a categorical label.
    ///
    /// # Errors
    /// When the label is not of the kind that the model predicts.
    pub fn of(model: &Model, label: &Column, levels: impl FnOnce() -> Result<Vec<String>>) -> Result<Truth> {
        let about = &model.metadata;
        let unfit = |what: &str| Error::usage(format!("label column '{}' {what}", label.name));
        if label.kind.labels() != about.labels() {
            return Err(unfit(
                "does not hold the labels of the model. Ingest the rows with the --label of its training",
            ));
        }
        let (offset, scale) = match (&label.kind, about.task()) {
            (Kind::Labels { .. }, _) => (0.0, 1.0),
            (Kind::Numeric { offset, scale, .. }, _) => (*offset, *scale),
            (Kind::Categorical { .. }, task) if task.has_classes() => (0.0, 1.0),
            _ => return Err(unfit("holds no numbers, but the model predicts a number")),
        };
        let classes = match (&about.classes, &label.kind) {
            (None, _) | (_, Kind::Labels { .. }) => None,
            (Some(names), Kind::Categorical { .. }) => {
                let levels = levels()?;
                let code =
                    |name: &String| levels.iter().position(|level| level == name).map_or(f64::NAN, |at| at as f64);
                Some(names.iter().map(code).collect())
            }
            (Some(names), kind) => {
                // A class is named by the fewest digits that are stored alike, rows have what was stored.
                let stored = |value: f64| match kind {
                    Kind::Numeric { dtype, .. } => {
                        round_trip(&Affine { dtype: *dtype, offset, scale, exact: false }, value)
                    }
                    _ => value,
                };
                let parse = |name: &String| {
                    let value = name.parse().map_err(|_| unfit("holds numbers, but the model's classes are names"))?;
                    Ok(stored(value))
                };
                Some(names.iter().map(parse).collect::<Result<_>>()?)
            }
        };
        Ok(Truth {
            model: about.built(),
            offset,
            scale,
            classes,
            names: about.classes.clone().filter(|_| about.labels().is_none()),
            centre: about.label_mean,
        })
    }

    /// Labels as numbers, or as 0 and 1.
    fn labels(&self, stored: &Values<'_>, labels: &mut Vec<f64>, at: &dyn Fn(usize) -> String) -> Result<()> {
        numbers(stored, self.offset, self.scale, labels)?;
        let (Some(classes), Some(names)) = (&self.classes, &self.names) else {
            let task = self.model.task();
            return match labels.iter().position(|label| !domain::allows(task, *label)) {
                Some(row) => Err(Error::training(format!(
                    "{}: the label is {}; model '{}' takes {}",
                    at(row + 1),
                    labels[row],
                    self.model.name(),
                    domain::words(task)
                ))),
                None => Ok(()),
            };
        };
        for (row, label) in labels.iter_mut().enumerate() {
            let class = classes.iter().position(|class| class == label).ok_or_else(|| {
                Error::training(format!(
                    "{}: the label is {label}, which is none of the classes of the model: '{}'",
                    at(row + 1),
                    names.join("', '")
                ))
            })?;
            *label = class as f64;
        }
        Ok(())
    }
}

/// Stored values as numbers in the units of the source.
fn numbers(stored: &Values<'_>, offset: f64, scale: f64, to: &mut Vec<f64>) -> Result<()> {
    let kernels = Kernels::<f64>::new(Tier::chosen().map_err(|error| Error::usage(error.to_string()))?);
    to.clear();
    to.resize(stored.len(), 0.0);
    kernels.convert(stored, 0..stored.len(), to);
    if (offset, scale) != (0.0, 1.0) {
        to.iter_mut().for_each(|value| *value = offset + scale * *value);
    }
    Ok(())
}

fn position(columns: &[Column], name: &str) -> usize {
    columns.iter().position(|column| column.name == name).unwrap_or(columns.len())
}

/// The dataset with the crossed columns of the model.
///
/// # Errors
/// As for [`check_same`].
pub fn crossed(model: &Model, dataset: Dataset) -> Result<Dataset> {
    check_same(model, &dataset)?;
    Ok(dataset.crossed_as(&model.metadata.columns)?)
}

/// The dataset's columns must be encoded as those of the model: equal encoders, equal dictionaries. Crossed columns are made of
/// them, and need not be there.
///
/// # Errors
/// When they are not.
pub fn check_same(model: &Model, dataset: &Dataset) -> Result<()> {
    let Some(which) = differing(model, dataset) else { return Ok(()) };
    Err(Error::usage(format!(
        "{}: {which} is encoded otherwise than in the dataset that the model was trained on. Name the source files \
         instead: their rows are encoded as the model needs them",
        dataset.folder().display()
    )))
}

/// What of the dataset is not as in the model's, in words; none: nothing.
pub fn differing(model: &Model, dataset: &Dataset) -> Option<String> {
    let about = &model.metadata;
    let theirs = &dataset.manifest().columns;
    let differs = |column: &&Column| {
        !column.kind.is_crossed()
            && matches!(column.role, Role::Feature | Role::Offset)
            && !theirs
                .iter()
                .any(|other| other.name == column.name && other.role == column.role && other.kind == column.kind)
    };
    let count = |columns: &[Column], role: Role| {
        columns.iter().filter(|column| column.role == role && !column.kind.is_crossed()).count()
    };
    let extra =
        [Role::Feature, Role::Offset].into_iter().any(|role| count(theirs, role) != count(&about.columns, role));
    let first = about.columns.iter().find(differs);
    if first.is_none() && !extra {
        return None;
    }
    Some(first.map_or("its columns".to_string(), |column| format!("column '{}'", column.name)))
}
