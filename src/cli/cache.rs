//! Training straight on files: they are ingested to `RUN.data` beside the run, once.
//!
//! `RUN.data/cache.json` holds what the dataset was made of: sources (path, size, time of change) and options. When they
//! are the same, the dataset is used again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gristmill_io::dataset::Dataset;
use gristmill_io::durable;
use gristmill_io::ingest::company::Ranks;
use gristmill_io::ingest::{self, IngestOptions, IngestReport};
use gristmill_io::source::{self, SourceOptions};
use serde_json::{Value, json};

use super::Session;
use crate::error::{Error, Result};

/// Name of the file that says what the cache was made of.
const KEY_FILE: &str = "cache.json";

/// The dataset of these sources, made, with the other ranks where they see the sources as well, or found.
///
/// # Errors
/// When the sources cannot be read, or something else lies where the cache belongs.
pub fn ingested(
    sources: &[String],
    options: &IngestOptions,
    run: &Path,
    session: &Session,
    together: &Ranks<'_>,
) -> Result<Dataset> {
    let folder = beside(run);
    let key = key(sources, options, run, session)?;
    let found = std::fs::read(folder.join(KEY_FILE)).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    if found.is_none() && folder.exists() {
        return Err(Error::usage(format!(
            "{} exists and is no cache of gristmill: it is where the ingested data belong. Name another run, or move it",
            folder.display()
        )));
    }
    if found.is_some() && found == key {
        session.report.note(&format!("sources and options are unchanged: using {} again", folder.display()));
        return Ok(Dataset::open(&folder)?);
    }
    // With the dataset, not after it: what is there without its key is nobody's cache.
    let text = serde_json::to_vec_pretty(&key.unwrap_or(Value::Null)).unwrap_or_default();
    let options = IngestOptions { force: true, beside: vec![(KEY_FILE.into(), text)], ..options.clone() };
    if is_stream(sources) {
        // It reaches rank 0 alone.
        tell(session, &ingest::ingest(sources, &options, &folder, &session.report.watcher(), &session.cancel)?);
    } else if let Some(done) = super::ingest::among(together, sources, &options, &folder, session)? {
        tell(session, &done);
    }
    Ok(Dataset::open(&folder)?)
}

/// Says what of the sources nothing is learnt from.
fn tell(session: &Session, done: &IngestReport) {
    if !done.empty_columns.is_empty() {
        let names = done.empty_columns.join(", ");
        session.report.note(&format!("left out, for no training row has a value: {names}"));
    }
}

/// `RUN.data`.
fn beside(run: &Path) -> PathBuf {
    let mut name = run.file_name().unwrap_or_default().to_os_string();
    name.push(".data");
    run.with_file_name(name)
}

fn is_stream(sources: &[String]) -> bool {
    sources.iter().any(|source| source == "-")
}

/// What the other ranks do while rank 0 makes or finds it.
///
/// # Errors
/// As [`super::ingest::among`].
pub fn help(
    sources: &[String],
    options: &IngestOptions,
    run: &Path,
    session: &Session,
    together: &Ranks<'_>,
) -> Result<()> {
    super::ingest::among(together, sources, options, &beside(run), session).map(drop)
}

/// What decides the dataset; none for standard input, which cannot be looked at twice.
///
/// # Errors
/// When sources cannot be looked at, or lie in the run that is to be replaced.
fn key(sources: &[String], options: &IngestOptions, run: &Path, session: &Session) -> Result<Option<Value>> {
    if is_stream(sources) {
        return Ok(None);
    }
    let reading = SourceOptions { cancel: session.cancel.clone(), ..options.source_options(Path::new("."))? };
    let mut files = Vec::new();
    for file in source::list(sources, &reading)? {
        durable::check_apart(&file.path, run)?;
        let about = std::fs::metadata(&file.path).map_err(|e| gristmill_io::Error::io(&file.path, "cannot read", e))?;
        let changed = about.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        files.push(json!([
            std::path::absolute(&file.path).ok().map(|path| path.display().to_string()),
            file.partition,
            about.len(),
            changed.map(|time| time.as_nanos().to_string()),
            // Programs that copy files set the time of change of content, never this one.
            [about.ctime(), about.ctime_nsec()]
        ]));
    }
    // Threads and memory never change a dataset.
    let options = IngestOptions { threads: None, memory: None, force: false, ..options.clone() };
    Ok(Some(json!({ "version": env!("CARGO_PKG_VERSION"), "sources": files, "options": options })))
}
