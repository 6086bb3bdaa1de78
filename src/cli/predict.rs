//! `gristmill predict RUN SOURCE... -o FILE`.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use gristmill_io::dataset::{Dataset, MANIFEST};
use gristmill_io::durable;
use gristmill_io::manifest::Split;
use gristmill_io::source::{self, Source, SourceFile, SourceOptions};
use gristmill_io::watch::Cancel;

use super::options::{MachineOptions, OutputOptions, ReadingOptions, StreamingOptions};
use super::session::{Ranks, Session};
use crate::error::{Error, Result};
use crate::evaluate;
use crate::predict::encoder;
use crate::predict::output::Format;
use crate::predict::run::{Settings, added, on_dataset, on_source};
use crate::ranks;
use crate::report::number;
use crate::run::Model;
use crate::run::folder::{CONFIG_FILE, OWN_FILES, is_run};
use crate::run::model::METADATA_FILE;

/// Arguments of `predict`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The run whose model predicts
    pub run: PathBuf,
    /// Files, folders, patterns, `-` for standard input, or the dataset that the model was trained on
    #[arg(required = true)]
    pub source: Vec<String>,
    /// Where to write, by extension .parquet, .csv or .arrow; `-` for CSV on standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Format to write when the extension does not say: parquet, csv or arrow
    #[arg(long, value_name = "NAME")]
    pub output_format: Option<String>,
    /// Columns of the source to write before the prediction, separated by commas, or `all`
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub keep: Vec<String>,
    /// Rows of a dataset: train, test or all [default: test, when there are any]
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,
    /// Replace the output when it exists
    #[arg(long)]
    pub force: bool,
    /// Flags of reading.
    #[command(flatten)]
    pub reading: ReadingOptions,
    /// Flags of the machine.
    #[command(flatten)]
    pub machine: MachineOptions,
    /// Flags of streaming.
    #[command(flatten)]
    pub streaming: StreamingOptions,
    /// Flags of output.
    #[command(flatten)]
    pub output_options: OutputOptions,
}

/// Predict.
///
/// # Errors
/// When model or source cannot be read, or the output exists or cannot be written.
pub fn run(arguments: &Arguments, ranks: &Ranks) -> Result<()> {
    let Some(session) = Session::sharing(&arguments.output_options, ranks, &arguments.source)? else { return Ok(()) };
    predict(arguments, &session).map_err(|error| session.explain(error))
}

/// Model and input, found by every rank; the format, and whether standard output takes it.
fn open(arguments: &Arguments, cancel: &Cancel) -> Result<(Model, Format, bool, Input)> {
    let model = Model::read(&arguments.run)?;
    let format = Format::find(arguments.output_format.as_deref(), &arguments.output)?;
    let to_stdout = arguments.output == Path::new("-");
    if to_stdout && format != Format::Csv {
        return Err(Error::usage("only CSV can be written to standard output; name a file for other formats"));
    }
    if !to_stdout {
        durable::check_output(&arguments.output, arguments.force)?;
        let mut own = model.files().into_iter().chain(OWN_FILES.map(|name| arguments.run.join(name)));
        own.try_for_each(|file| durable::check_apart(&file, &arguments.output))?;
    }
    let input = Input::open(arguments, &model, cancel)?;
    Ok((model, format, to_stdout, input))
}

fn predict(arguments: &Arguments, session: &Session) -> Result<()> {
    let comm = &*session.ranks;
    let (model, format, to_stdout, input) = ranks::agree(comm, open(arguments, &session.cancel))?;
    ranks::same_model(comm, Some(&model.metadata.weights.xxh3))?;
    let share = session.share(&arguments.machine)?;
    let watcher = session.report.watcher();
    let settings = Settings {
        threads: share.threads,
        memory_bytes: share.memory,
        io: arguments.streaming.io.unwrap_or_default(),
        format,
        output: &arguments.output,
        progress: &watcher,
        cancel: &session.cancel,
        comm,
    };
    let began = std::time::Instant::now();
    if comm.rank() > 0 {
        ranks::agree_with_first(comm, Ok(()))?;
        input.predict(&model, None::<std::io::Sink>, &settings)?;
        return Ok(());
    }
    if to_stdout {
        ranks::agree_with_first(comm, Ok(()))?;
        input.predict(&model, Some(crate::report::Stdout), &settings)?;
        return Ok(());
    }
    let mut begun = false;
    let rows = durable::write_output(&arguments.output, |file| {
        begun = true;
        ranks::agree_with_first(comm, Ok(()))?;
        input.predict(&model, Some(BufWriter::with_capacity(1 << 20, file)), &settings)
    });
    // The others wait to hear whether there is a file to write to.
    let rows = if begun { rows } else { ranks::agree_with_first(comm, rows) }?;
    let s = began.elapsed().as_secs_f64().max(1e-9);
    session.report.json(&serde_json::json!({
        "rows": rows, "output": arguments.output.display().to_string(), "seconds": s, "rows_per_s": rows as f64 / s,
        "columns": added(&model).iter().map(|field| field.name().clone()).collect::<Vec<_>>(),
    }))?;
    session.report.text(&format!(
        "{} predicted into {} ({})",
        number::several(rows, "row"),
        arguments.output.display(),
        number::rows_per_s(rows as f64 / s)
    ))
}

/// What is predicted.
enum Input {
    Source(Box<dyn Source>, Vec<String>),
    Dataset(Box<Dataset>, Vec<Split>),
}

impl Input {
    fn open(arguments: &Arguments, model: &Model, cancel: &Cancel) -> Result<Input> {
        if let Some(dataset) = dataset_of(&arguments.source)? {
            if !arguments.keep.is_empty() {
                return Err(Error::usage(
                    "--keep: a dataset holds encoded columns only; name the source files to keep some",
                ));
            }
            let dataset = evaluate::crossed(model, dataset)?;
            let splits = splits(arguments.split.as_deref(), &dataset)?;
            for entry in std::fs::read_dir(dataset.folder()).into_iter().flatten().flatten() {
                durable::check_apart(&entry.path(), &arguments.output)?;
            }
            return Ok(Input::Dataset(Box::new(dataset), splits));
        }
        if arguments.split.is_some() {
            return Err(Error::usage("--split: a source has no splits; only datasets have"));
        }
        let files = files_of(&arguments.source, &arguments.reading, model, cancel)?;
        files.0.iter().try_for_each(|file| durable::check_apart(&file.path, &arguments.output))?;
        let (source, keep) = open_source(files, model, &arguments.keep, false)?;
        Ok(Input::Source(source, keep))
    }

    fn predict<W: Write + Send>(&self, model: &Model, to: Option<W>, settings: &Settings<'_>) -> Result<u64> {
        match self {
            Input::Source(source, keep) => on_source(model, source.as_ref(), keep, to, settings),
            Input::Dataset(dataset, splits) => on_dataset(model, dataset, splits, to, settings),
        }
    }
}

/// The dataset that a lone argument names, where it does.
pub fn dataset_of(sources: &[String]) -> Result<Option<Dataset>> {
    let [one] = sources else { return Ok(None) };
    let folder = Path::new(one);
    if folder.join(MANIFEST).is_file() {
        return Ok(Some(Dataset::open(folder)?));
    }
    let is_model = folder.join(CONFIG_FILE).is_file() && folder.join(METADATA_FILE).is_file();
    if is_model || is_run(folder) {
        return Err(Error::usage(format!(
            "{one} is the folder of a training, not a dataset: name a dataset or source files here. `gristmill inspect {one}` \
             shows it, `gristmill resume {one}` goes on with one that was interrupted"
        )));
    }
    Ok(None)
}

/// The folder that `--local-shards` speaks of.
///
/// # Errors
/// [`Error::Usage`] when the arguments name no dataset.
pub fn local_folder(sources: &[String]) -> Result<&Path> {
    match sources {
        [one] if one != "-" => Ok(Path::new(one)),
        _ => Err(Error::usage(
            "--local-shards: one dataset folder was expected. Run 'gristmill ingest' on the sources first",
        )),
    }
}

/// The splits that are meant.
pub fn splits(name: Option<&str>, dataset: &Dataset) -> Result<Vec<Split>> {
    let has_test = dataset.rows(Split::Test) > 0;
    match name {
        None if has_test => Ok(vec![Split::Test]),
        None | Some("train") => Ok(vec![Split::Train]),
        Some("test") if has_test => Ok(vec![Split::Test]),
        Some("test") => Err(Error::usage(format!(
            "{}: no rows were held out. Use --split train, or ingest again with --test-share",
            dataset.folder().display()
        ))),
        Some("all") => Ok(vec![Split::Train, Split::Test]),
        Some(other) => Err(Error::usage(format!("--split is '{other}'; train, test or all was expected"))),
    }
}

/// Files to open, and how they are read.
pub type Files = (Vec<SourceFile>, SourceOptions);

/// Decoded bytes of a row group that are read at once: they are encoded, and as lines some numbers take three times as much.
const PART_BYTES: usize = 16 << 20;

/// The files that sources name, read as the flags say, else as in training.
pub fn files_of(specs: &[String], reading: &ReadingOptions, model: &Model, cancel: &Cancel) -> Result<Files> {
    let mut options = SourceOptions { cancel: cancel.clone(), part_bytes: PART_BYTES, ..reading.options()? };
    if let Some(markers) = model.metadata.null_values.as_ref().filter(|_| reading.null_values.is_empty()) {
        options.null_values.clone_from(markers);
    }
    Ok((source::list(specs, &options)?, options))
}

/// Open files with the columns that the model reads (its label and weight where `targets` says so) and those to keep.
pub fn open_source(
    (files, options): Files,
    model: &Model,
    keep: &[String],
    targets: bool,
) -> Result<(Box<dyn Source>, Vec<String>)> {
    encoder::open(&files, options, model, keep, targets)
}
