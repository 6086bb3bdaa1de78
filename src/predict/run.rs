//! A whole prediction: chunks are decoded, encoded, scored and prepared by all threads, and written in order.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Split;
use gristmill_io::source::{Chunk, Source};
use gristmill_io::tiles::{Pick, StreamOptions};
use gristmill_io::watch::{Cancel, Progress};

use super::encoder;
use super::ordered::{Sink, in_order};
use super::output::{Format, Prepared, Writer, prepare};
use super::score::Scorer;
use crate::error::{Error, Result};
use crate::metrics::Task;
use crate::metrics::calibration::sigmoid;
use crate::run::Model;

/// How to predict.
pub struct Settings<'a> {
    /// Worker threads.
    pub threads: usize,
    /// Bytes that maps may take.
    pub memory_bytes: u64,
    /// Format of the output.
    pub format: Format,
    /// Name of the output, for messages.
    pub output: &'a std::path::Path,
    /// Who watches.
    pub progress: &'a dyn Progress,
    /// Who may ask to stop.
    pub cancel: &'a Cancel,
}

/// The columns that a prediction adds.
pub fn added(model: &Model) -> Vec<Field> {
    match model.metadata.task() {
        Task::Regression => vec![Field::new("prediction", DataType::Float64, false)],
        Task::Binary => {
            vec![Field::new("prediction", DataType::Utf8, false), Field::new("probability", DataType::Float64, false)]
        }
    }
}

/// Predict the rows of a source; columns named in `keep` are written before the prediction. Returns the number of rows.
///
/// # Errors
/// When the source cannot be read, a row has no stored form, or the output cannot be written.
pub fn on_source<W: Write + Send>(
    model: &Model,
    source: &dyn Source,
    keep: &[String],
    to: W,
    settings: &Settings<'_>,
) -> Result<u64> {
    let (encoder, layout) = encoder::encoder(model, false)?;
    let scorer = Scorer::new(model, &layout)?;
    let (schema, kept) = schema(model, &source.schema(), keep)?;
    let failed = |error: ArrowError| write_failed(settings, error);
    let mut writer = Writer::begin(settings.format, to, &schema).map_err(failed)?;
    let mut rows = 0;
    settings.progress.begin("predict", source.bytes());
    let work = |chunk: Chunk| -> Result<(Vec<Prepared>, u64, u64)> {
        let (number, bytes) = (chunk.number, chunk.bytes);
        let (mut first, mut prepared) = (0, Vec::new());
        for batch in source.decode(chunk)? {
            let grain = encoder.encode(&batch, &encoder::place_in(source, number, first))?;
            let mut margins = Vec::with_capacity(grain.rows());
            scorer.score(&grain.grain(), &mut margins);
            let columns = kept.iter().map(|&column| batch.column(column).clone()).collect();
            let answer = answer(model, &schema, columns, margins).map_err(failed)?;
            prepared.push(prepare(settings.format, answer).map_err(failed)?);
            first += batch.num_rows();
        }
        Ok((prepared, first as u64, bytes))
    };
    let draw = || {
        settings.cancel.check()?;
        Ok(source.next()?.map(|chunk| (chunk.number, chunk)))
    };
    in_order(settings.threads, draw, work, |(prepared, count, bytes)| {
        prepared.iter().try_for_each(|batch| writer.append(batch)).map_err(failed)?;
        rows += count;
        settings.progress.advance(count, bytes);
        Ok(())
    })?;
    writer.finish().map_err(failed)?;
    settings.progress.end();
    Ok(rows)
}

/// Predict rows of the dataset that the model was trained on. Returns the number of rows.
///
/// # Errors
/// When the dataset cannot be read or the output cannot be written.
pub fn on_dataset<W: Write + Send>(
    model: &Model,
    dataset: &Dataset,
    splits: &[Split],
    to: W,
    settings: &Settings<'_>,
) -> Result<u64> {
    crate::evaluate::check_same(model, dataset)?;
    let schema: SchemaRef = Arc::new(Schema::new(added(model)));
    let failed = |error: ArrowError| write_failed(settings, error);
    let mut writer = Writer::begin(settings.format, to, &schema).map_err(failed)?;
    let mut rows = 0;
    for &split in splits {
        let stream = dataset.stream(StreamOptions {
            label: false,
            weight: false,
            budget_bytes: settings.memory_bytes,
            threads: settings.threads,
            ..StreamOptions::new(split)
        })?;
        let scorer = Scorer::new(model, stream.layout())?;
        settings.progress.begin("predict", Some(stream.grains().iter().map(|grain| grain.bytes).sum()));
        // Without a window: a scan that fails elsewhere must not leave a worker waiting here. Results are small.
        let sink = Sink::new(u64::MAX, |prepared: Prepared| writer.append(&prepared).map_err(failed));
        let mut workers = vec![(); settings.threads.max(1)];
        let report = stream.scan(&mut workers, Pick::All, settings.cancel, settings.progress, |(), number, grain| {
            let mut margins = Vec::with_capacity(grain.rows);
            scorer.score(grain, &mut margins);
            let prepared =
                answer(model, &schema, Vec::new(), margins).and_then(|batch| prepare(settings.format, batch));
            sink.hand_in(number as u64, prepared.map_err(failed));
            if sink.stopped() { Err(Error::from(gristmill_io::Error::Interrupted)) } else { Ok(()) }
        });
        sink.finish()?;
        rows += report?.rows;
        settings.progress.end();
    }
    writer.finish().map_err(failed)?;
    Ok(rows)
}

/// The schema of the output and the numbers of the kept columns in the source.
fn schema(model: &Model, source: &SchemaRef, keep: &[String]) -> Result<(SchemaRef, Vec<usize>)> {
    let added = added(model);
    let (mut fields, mut kept) = (Vec::new(), Vec::new());
    for name in keep {
        let (number, field) = source.column_with_name(name).ok_or_else(|| {
            let names: Vec<&str> = source.fields().iter().map(|field| field.name().as_str()).collect();
            Error::usage(format!("--keep: the source has no column '{name}'. It has {}", names.join(", ")))
        })?;
        if added.iter().any(|own| own.name() == name) {
            return Err(Error::usage(format!("--keep: the output has a column '{name}' of its own; leave it out")));
        }
        fields.push(field.clone().with_nullable(true));
        kept.push(number);
    }
    fields.extend(added);
    Ok((Arc::new(Schema::new(fields)), kept))
}

/// The kept columns and the prediction.
fn answer(
    model: &Model,
    schema: &SchemaRef,
    mut columns: Vec<ArrayRef>,
    margins: Vec<f64>,
) -> std::result::Result<RecordBatch, ArrowError> {
    if let Some(row) = margins.iter().position(|margin| !margin.is_finite()) {
        return Err(ArrowError::ComputeError(format!(
            "the prediction of row {row} of a batch is {}: its values are too large",
            margins[row]
        )));
    }
    match &model.metadata.classes {
        Some([no, yes]) => {
            let class = |margin: &f64| if *margin > 0.0 { yes.as_str() } else { no.as_str() };
            columns.push(Arc::new(StringArray::from_iter_values(margins.iter().map(class))));
            columns.push(Arc::new(Float64Array::from_iter_values(margins.into_iter().map(sigmoid))));
        }
        None => columns.push(Arc::new(Float64Array::from(margins))),
    }
    RecordBatch::try_new(schema.clone(), columns)
}

/// A failure of the output, with the reason of the system where there is one.
fn write_failed(settings: &Settings<'_>, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => gristmill_io::Error::io(settings.output, "cannot write", source).into(),
        ArrowError::ExternalError(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => gristmill_io::Error::io(settings.output, "cannot write", *source).into(),
            Err(source) => Error::File { path: settings.output.to_path_buf(), message: source.to_string() },
        },
        other => Error::File { path: settings.output.to_path_buf(), message: other.to_string() },
    }
}
