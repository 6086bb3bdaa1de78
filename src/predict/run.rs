//! A whole prediction: chunks are decoded, encoded, scored and prepared by all threads of all ranks, and written in order.

use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use gristmill_io::dataset::Dataset;
use gristmill_io::encode::row::RowEncoder;
use gristmill_io::ingest::keep;
use gristmill_io::manifest::Split;
use gristmill_io::memory;
use gristmill_io::source::{Chunk, Source};
use gristmill_io::tiles::{Io, Pick, StreamOptions, TileStream};
use gristmill_io::watch::{Cancel, Progress};
use mpi_launch::Communicator;

use super::encoder;
use super::ordered::{Sink, in_order};
use super::output::{Format, Prepared, Writer, prepare};
use super::score::{self, Scorer};
use super::shared::{Part, Turns};
use crate::error::{Error, Result};
use crate::evaluate::place_text;
use crate::metrics::calibration::sigmoid;
use crate::metrics::{Multiclass, Multilabel, Odds, Task, multiclass};
use crate::ranks;
use crate::run::Model;

/// How to predict.
pub struct Settings<'a> {
    /// Worker threads.
    pub threads: usize,
    /// Bytes that maps, or chunks of a source under way, may take.
    pub memory_bytes: u64,
    /// How grains of a dataset get into memory.
    pub io: Io,
    /// Format of the output.
    pub format: Format,
    /// Name of the output, for messages.
    pub output: &'a std::path::Path,
    /// Who watches.
    pub progress: &'a dyn Progress,
    /// Who may ask to stop.
    pub cancel: &'a Cancel,
    /// Who predicts together.
    pub comm: &'a dyn Communicator,
}

/// The columns that a prediction adds.
pub fn added(model: &Model) -> Vec<Field> {
    match model.metadata.task() {
        Task::Regression | Task::Quantile(_) | Task::Deviance(_) => {
            vec![Field::new("prediction", DataType::Float64, false)]
        }
        Task::Binary => {
            vec![Field::new("prediction", DataType::Utf8, false), Field::new("probability", DataType::Float64, false)]
        }
        Task::Margin => {
            vec![Field::new("prediction", DataType::Utf8, false), Field::new("decision", DataType::Float64, false)]
        }
        Task::Multiclass(of) => {
            let what = if of.odds == Odds::Never { "decision" } else { "probability" };
            let classes = model.metadata.classes.iter().flatten();
            let columns = classes.map(|class| Field::new(format!("{what}_{class}"), DataType::Float64, false));
            std::iter::once(Field::new("prediction", DataType::Utf8, false)).chain(columns).collect()
        }
        Task::Multilabel(of) => {
            let what = if of.probabilities { "probability" } else { "decision" };
            let columns = |label: &String| {
                [
                    Field::new(format!("prediction_{label}"), DataType::UInt8, false),
                    Field::new(format!("{what}_{label}"), DataType::Float64, false),
                ]
            };
            model.metadata.classes.iter().flatten().flat_map(columns).collect()
        }
    }
}

/// Predict the rows of a source; columns named in `keep` are written before the prediction. `to` is where rank 0 writes;
/// other ranks have none. Returns the number of rows, on rank 0.
///
/// # Errors
/// When the source cannot be read, a row has no stored form, or the output cannot be written.
pub fn on_source<W: Write + Send>(
    model: &Model,
    source: &dyn Source,
    keep: &[String],
    to: Option<W>,
    settings: &Settings<'_>,
) -> Result<u64> {
    let predictor = Predictor::new(model, source, keep, settings);
    let predictor = ranks::agree(settings.comm, predictor)?;
    let writer = begin(to, &predictor.schema, settings)?;
    settings.progress.begin("predict", source.bytes());
    let rows = match (settings.comm.size(), writer) {
        (1, Some(writer)) => predictor.alone(writer)?,
        (_, writer) => predictor.together(writer)?,
    };
    settings.progress.end();
    Ok(rows)
}

/// Rank 0's output, begun.
fn begin<W: Write + Send>(to: Option<W>, schema: &SchemaRef, settings: &Settings<'_>) -> Result<Option<Writer<W>>> {
    let begun = to.map(|to| Writer::begin(settings.format, to, schema)).transpose();
    ranks::agree_with_first(settings.comm, begun.map_err(|error| write_failed(settings, error)))
}

/// What turns chunks of a source into predictions.
struct Predictor<'a> {
    model: &'a Model,
    source: &'a dyn Source,
    encoder: RowEncoder,
    scorer: Scorer,
    schema: SchemaRef,
    /// Numbers of the kept columns in the source.
    kept: Vec<usize>,
    settings: &'a Settings<'a>,
}

impl<'a> Predictor<'a> {
    fn new(
        model: &'a Model,
        source: &'a dyn Source,
        keep: &[String],
        settings: &'a Settings<'a>,
    ) -> Result<Predictor<'a>> {
        let (encoder, layout) = encoder::encoder(model, false)?;
        let scorer = Scorer::new(model, &layout)?;
        let (schema, kept) = schema(model, &source.schema(), keep)?;
        Ok(Predictor { model, source, encoder, scorer, schema, kept, settings })
    }

    /// The predictions of a chunk and its bytes in the source; and in memory, as rows, as encoded and as what is written.
    fn chunk(&self, chunk: Chunk) -> Result<((Part, u64), u64)> {
        let failed = |error: ArrowError| write_failed(self.settings, error);
        let (number, bytes) = (chunk.number, chunk.bytes);
        let (mut first, mut prepared, mut memory) = (0, Vec::new(), 0);
        for batch in self.source.decode(chunk)? {
            memory += 2 * keep::own_bytes(&batch) as u64;
            let place = encoder::place_in(self.source, number, first);
            let grain = self.encoder.encode(&batch, &place)?;
            let mut margins = Vec::with_capacity(grain.rows());
            self.scorer.score(&grain.grain(), &mut margins);
            let columns = self.kept.iter().map(|&column| batch.column(column).clone()).collect();
            let at = |row: usize| {
                let (path, place) = place(row);
                format!("{}{}", path.display(), place_text(place))
            };
            score::turn(&*self.model.metadata.built(), &mut margins, grain.rows(), &at)?;
            let answer = answer(self.model, &self.schema, columns, margins).map_err(failed)?;
            let written = prepare(self.settings.format, answer).map_err(failed)?;
            memory += written.bytes() as u64;
            prepared.push(written);
            first += batch.num_rows();
        }
        Ok(((Part { prepared, rows: first as u64 }, bytes), memory))
    }

    fn alone<W: Write + Send>(&self, mut writer: Writer<W>) -> Result<u64> {
        let failed = |error: ArrowError| write_failed(self.settings, error);
        let mut rows = 0;
        let draw = || {
            self.settings.cancel.check()?;
            Ok(self.source.next()?.map(|chunk| (chunk.number, chunk)))
        };
        let work = |chunk| self.chunk(chunk);
        in_order(self.settings.threads, room(self.settings), draw, work, |(part, bytes)| {
            part.prepared.iter().try_for_each(|batch| writer.append(batch)).map_err(failed)?;
            rows += part.rows;
            self.settings.progress.advance(part.rows, bytes);
            Ok(())
        })?;
        writer.finish().map_err(failed)?;
        Ok(rows)
    }

    fn together<W: Write + Send>(&self, mut writer: Option<Writer<W>>) -> Result<u64> {
        let failed = |error: ArrowError| write_failed(self.settings, error);
        let turns = Turns::new(self.settings.comm, self.settings.threads)?;
        let (mut rows, mut ended) = (0, false);
        for turn in 0.. {
            let (own, end) = turns.own(turn);
            let chunks = self.draw(&own, end, &mut ended);
            let bytes: u64 = chunks.iter().flatten().map(|chunk| chunk.bytes).sum();
            let part = chunks.and_then(|chunks| self.chunks(chunks, own.start));
            let appended = turns.append(self.settings.format, part, writer.as_mut(), failed)?;
            rows += appended;
            // The others' chunks are about as long as one's own.
            self.settings.progress.advance(appended, bytes * self.settings.comm.size() as u64);
            if ended {
                break;
            }
        }
        finish(writer, self.settings)?;
        Ok(rows)
    }

    /// This rank's chunks of a turn that ends before chunk number `end`.
    fn draw(&self, own: &Range<u64>, end: u64, ended: &mut bool) -> Result<Vec<Chunk>> {
        let mut chunks = Vec::new();
        loop {
            self.settings.cancel.check()?;
            let Some(chunk) = self.source.next()? else {
                *ended = true;
                return Ok(chunks);
            };
            let number = chunk.number;
            if own.contains(&number) {
                chunks.push(chunk);
            }
            if number + 1 == end {
                return Ok(chunks);
            }
        }
    }

    fn chunks(&self, chunks: Vec<Chunk>, first: u64) -> Result<Part> {
        let chunks = Mutex::new(chunks.into_iter());
        let draw = || {
            self.settings.cancel.check()?;
            let next = chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
            Ok(next.map(|chunk| (chunk.number - first, chunk)))
        };
        let mut all = Part::default();
        in_order(
            self.settings.threads,
            room(self.settings),
            draw,
            |chunk| self.chunk(chunk),
            |(part, _)| {
                all.prepared.extend(part.prepared);
                all.rows += part.rows;
                Ok(())
            },
        )?;
        Ok(all)
    }
}

/// Memory for chunks under way: of what the model leaves, a third is for the writer and what decoders hold.
fn room(settings: &Settings<'_>) -> u64 {
    settings.memory_bytes.saturating_sub(memory::resident_bytes()) / 3 * 2
}

fn finish<W: Write + Send>(writer: Option<Writer<W>>, settings: &Settings<'_>) -> Result<()> {
    let finished = writer.map_or(Ok(()), Writer::finish).map_err(|error| write_failed(settings, error));
    ranks::agree_with_first(settings.comm, finished)
}

/// Predict rows of the dataset that the model was trained on. `to` is where rank 0 writes; other ranks have none. Returns
/// the number of rows, on rank 0.
///
/// # Errors
/// When the dataset cannot be read or the output cannot be written.
pub fn on_dataset<W: Write + Send>(
    model: &Model,
    dataset: &Dataset,
    splits: &[Split],
    to: Option<W>,
    settings: &Settings<'_>,
) -> Result<u64> {
    ranks::agree(settings.comm, crate::evaluate::check_same(model, dataset))?;
    let schema: SchemaRef = Arc::new(Schema::new(added(model)));
    let mut writer = begin(to, &schema, settings)?;
    let mut rows = 0;
    for &split in splits {
        let stream = dataset.stream(StreamOptions {
            label: false,
            weight: false,
            budget_bytes: settings.memory_bytes,
            threads: settings.threads,
            io: settings.io,
            ..StreamOptions::new(split)
        });
        let stream = ranks::agree(settings.comm, stream.map_err(Error::from))?;
        let scorer = ranks::agree(settings.comm, Scorer::new(model, stream.layout()))?;
        let grains = Grains { model, stream, scorer, schema: &schema, settings };
        settings.progress.begin("predict", Some(grains.stream.grains().map(|grain| grain.bytes).sum()));
        rows += match (settings.comm.size(), &mut writer) {
            (1, Some(writer)) => grains.alone(writer)?,
            (_, writer) => grains.together(writer.as_mut())?,
        };
        settings.progress.end();
    }
    finish(writer, settings)?;
    Ok(rows)
}

/// What turns grains of a dataset into predictions.
struct Grains<'a> {
    model: &'a Model,
    stream: TileStream<'a>,
    scorer: Scorer,
    schema: &'a SchemaRef,
    settings: &'a Settings<'a>,
}

impl Grains<'_> {
    fn alone<W: Write + Send>(&self, writer: &mut Writer<W>) -> Result<u64> {
        let failed = |error: ArrowError| write_failed(self.settings, error);
        self.scan(Pick::All, 0, |prepared| writer.append(&prepared).map_err(failed))
    }

    fn together<W: Write + Send>(&self, mut writer: Option<&mut Writer<W>>) -> Result<u64> {
        let failed = |error: ArrowError| write_failed(self.settings, error);
        let turns = Turns::new(self.settings.comm, self.settings.threads)?;
        let count = self.stream.grains().len() as u64;
        let mut rows = 0;
        for turn in 0.. {
            let (own, end) = turns.own(turn);
            let numbers: Vec<usize> = (own.start..own.end.min(count)).map(|number| number as usize).collect();
            let mut prepared = Vec::new();
            let keep = |batch| {
                prepared.push(batch);
                Ok(())
            };
            let scanned = if numbers.is_empty() { Ok(0) } else { self.scan(Pick::List(&numbers), numbers[0], keep) };
            let part = scanned.map(|rows| Part { prepared, rows });
            rows += turns.append(self.settings.format, part, writer.as_deref_mut(), failed)?;
            if end >= count {
                break;
            }
        }
        Ok(rows)
    }

    /// Predicts the picked grains, which are numbered one after the other from `first`, and passes results on in order.
    fn scan(&self, pick: Pick<'_>, first: usize, absorb: impl FnMut(Prepared) -> Result<()> + Send) -> Result<u64> {
        let failed = |error: ArrowError| write_failed(self.settings, error);
        // Without a window: a scan that fails elsewhere must not leave a worker waiting here. Results are small.
        let sink = Sink::new(u64::MAX, absorb);
        let mut workers = vec![(); self.settings.threads.max(1)];
        let (cancel, progress) = (self.settings.cancel, self.settings.progress);
        let report = self.stream.scan(&mut workers, pick, cancel, progress, |(), number, grain| {
            let mut margins = Vec::with_capacity(grain.rows);
            self.scorer.score(grain, &mut margins);
            let at = |row: usize| format!("grain {number} of the dataset, row {}", row + 1);
            let turned = score::turn(&*self.model.metadata.built(), &mut margins, grain.rows, &at);
            let prepared = turned.and_then(|()| {
                answer(self.model, self.schema, Vec::new(), margins)
                    .and_then(|batch| prepare(self.settings.format, batch))
                    .map_err(failed)
            });
            sink.hand_in((number - first) as u64, prepared);
            if sink.stopped() { Err(Error::from(gristmill_io::Error::Interrupted)) } else { Ok(()) }
        });
        sink.finish()?;
        Ok(report?.rows)
    }
}

/// The schema of the output and the numbers of the kept columns in the source.
fn schema(model: &Model, source: &SchemaRef, keep: &[String]) -> Result<(SchemaRef, Vec<usize>)> {
    let added = added(model);
    let (mut fields, mut kept) = (Vec::new(), Vec::new());
    for name in keep {
        // Where the model reads a column of that name as well, the kept one stands behind it.
        let number = source.fields().iter().rposition(|field| field.name() == name);
        let number = number.ok_or_else(|| Error::usage(format!("--keep: the source has no column '{name}'")))?;
        let field = source.field(number);
        if added.iter().any(|own| own.name() == name) {
            return Err(Error::usage(format!("--keep: the output has a column '{name}' of its own; leave it out")));
        }
        fields.push(field.clone().with_nullable(true));
        kept.push(number);
    }
    fields.extend(added);
    Ok((Arc::new(Schema::new(fields)), kept))
}

/// The kept columns and the prediction: of numbers `margins` are these.
fn answer(
    model: &Model,
    schema: &SchemaRef,
    mut columns: Vec<ArrayRef>,
    margins: Vec<f64>,
) -> std::result::Result<RecordBatch, ArrowError> {
    match (model.metadata.task(), model.metadata.classes.as_deref()) {
        (Task::Multiclass(of), Some(classes)) => columns.extend(of_classes(of, classes, margins)),
        (Task::Multilabel(of), _) => columns.extend(of_labels(of, &margins)),
        (_, Some([no, yes])) => {
            let class = |margin: &f64| if *margin > 0.0 { yes.as_str() } else { no.as_str() };
            columns.push(Arc::new(StringArray::from_iter_values(margins.iter().map(class))));
            let of_probability = model.metadata.task() == Task::Binary;
            let numbers = margins.into_iter().map(|margin| if of_probability { sigmoid(margin) } else { margin });
            columns.push(Arc::new(Float64Array::from_iter_values(numbers)));
        }
        _ => columns.push(Arc::new(Float64Array::from(margins))),
    }
    RecordBatch::try_new(schema.clone(), columns)
}

/// The predicted class, and probabilities or margins class after class.
fn of_classes(of: Multiclass, classes: &[String], mut margins: Vec<f64>) -> Vec<ArrayRef> {
    let rows = margins.len() / classes.len();
    let (mut names, mut own) = (Vec::with_capacity(rows), vec![0.0; classes.len()]);
    for row in 0..rows {
        own.iter_mut().enumerate().for_each(|(class, own)| *own = margins[class * rows + row]);
        names.push(classes[multiclass::predicted(own.iter().copied())].as_str());
        of.probabilities(&mut own);
        own.iter().enumerate().for_each(|(class, own)| margins[class * rows + row] = *own);
    }
    let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from_iter_values(names))];
    for class in 0..classes.len() {
        let own = margins[class * rows..(class + 1) * rows].iter().copied();
        columns.push(Arc::new(Float64Array::from_iter_values(own)));
    }
    columns
}

/// Of each label 1 where it is predicted and else 0, and its probability or margin.
fn of_labels(of: Multilabel, margins: &[f64]) -> Vec<ArrayRef> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for label in 0..of.labels {
        let rows = margins.len() / of.labels;
        let own = margins[label * rows..(label + 1) * rows].iter().copied();
        columns.push(Arc::new(UInt8Array::from_iter_values(own.clone().map(|margin| u8::from(margin > 0.0)))));
        let number = |margin| if of.probabilities { sigmoid(margin) } else { margin };
        columns.push(Arc::new(Float64Array::from_iter_values(own.map(number))));
    }
    columns
}

/// A failure of the output, with the reason of the system where there is one.
fn write_failed(settings: &Settings<'_>, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => gristmill_io::Error::io(settings.output, "cannot write", source).into(),
        ArrowError::ExternalError(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => gristmill_io::Error::io(settings.output, "cannot write", *source).into(),
            Err(source) => Error::File { path: settings.output.to_path_buf(), message: source.to_string() },
        },
        other => {
            let message = format!(
                "a column cannot be written in this format ({other}). Leave it out of --keep, or choose another --output-format"
            );
            Error::File { path: settings.output.to_path_buf(), message }
        }
    }
}
