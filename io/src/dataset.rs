//! A dataset folder, opened: manifest and every shard's footer are checked, nothing else is read yet.
//!
//! A dataset may be spread over nodes: each has the manifest, the tables and some of the shards ([`Dataset::open_local`]).
//! Grains are numbered alike everywhere, for the manifest says how many each shard has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dictionary::Dictionary;
use crate::error::{Error, Place, Result};
use crate::manifest::{Column, FORMAT_VERSION, Kind, Layout, Manifest, Role, ShardEntry, Split};
use crate::shard::{self, Shard};
use crate::statistics::Statistics;

/// Name of the manifest inside a dataset folder.
pub const MANIFEST: &str = "manifest.json";

/// A dataset, open for reading.
#[derive(Debug)]
pub struct Dataset {
    folder: PathBuf,
    pub(crate) manifest: Manifest,
    shards: Vec<Shard>,
    is_local: bool,
    train: Vec<GrainEntry>,
    test: Vec<GrainEntry>,
}

/// A grain of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrainEntry {
    /// Its number in the split, from 0.
    pub number: usize,
    /// Number of its first row in the split, from 0.
    pub first_row: u64,
    /// Number of its rows.
    pub rows: usize,
    /// Bytes of its body in the file, all columns; of a grain on another node, its even share of the shard.
    pub bytes: u64,
    /// Number of its shard in the manifest.
    pub shard: usize,
    /// Number of its record batch in the shard.
    pub batch: usize,
}

impl Dataset {
    /// Open the dataset in `folder`.
    ///
    /// # Errors
    /// [`Error::Data`] when manifest or shards are not what they should be, [`Error::Io`] when a file is missing.
    pub fn open(folder: impl AsRef<Path>) -> Result<Dataset> {
        Dataset::opened(folder.as_ref(), false)
    }

    /// Open what this node has of the dataset in `folder`: shards whose files are not there lie on other nodes.
    ///
    /// # Errors
    /// As [`Dataset::open`], but for missing shards.
    pub fn open_local(folder: impl AsRef<Path>) -> Result<Dataset> {
        Dataset::opened(folder.as_ref(), true)
    }

    fn opened(folder: &Path, is_local: bool) -> Result<Dataset> {
        let folder = folder.to_path_buf();
        let manifest = read_manifest(&folder)?;
        let columns: Arc<[Column]> = manifest.columns.clone().into();
        let schema = Arc::new(shard::schema(&columns));
        let open = |entry: &ShardEntry| match Shard::open(&folder, entry, &columns, &schema, manifest.grain_rows) {
            Err(Error::Io { source, .. }) if is_local && source.kind() == std::io::ErrorKind::NotFound => {
                Ok(Shard::elsewhere(&folder, entry, &columns, &schema, manifest.grain_rows))
            }
            opened => opened,
        };
        let shards = manifest.shards.iter().map(open).collect::<Result<Vec<Shard>>>()?;
        // Of shards the lengths are known to be right by now.
        for file in manifest.files().skip(shards.len()) {
            let path = folder.join(&file.file);
            let found = std::fs::metadata(&path).map_err(|e| Error::io(&path, "cannot open", e))?;
            shard::reader::check_length(&path, found.len(), file.bytes)?;
        }
        let (train, test) = (grains(&manifest, &shards, Split::Train), grains(&manifest, &shards, Split::Test));
        Ok(Dataset { folder, manifest, shards, is_local, train, test })
    }

    /// True when it was opened by [`Dataset::open_local`]: some of its shards may lie on other nodes.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// The numbers of the grains of a split that this node has, in rising order.
    pub fn grains_here(&self, split: Split) -> Vec<usize> {
        let here = self.grains(split).iter().filter(|grain| self.shards[grain.shard].is_here());
        here.map(|grain| grain.number).collect()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its shards, in the order of the manifest.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The grains of a split.
    pub fn grains(&self, split: Split) -> &[GrainEntry] {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    /// Number of rows of a split.
    pub fn rows(&self, split: Split) -> u64 {
        self.manifest.rows(split)
    }

    /// Statistics of the training rows, a parameter each in the order of the layout of all stored features.
    ///
    /// # Errors
    /// [`Error::Data`] when the file is damaged, [`Error::Io`] when it cannot be read.
    pub fn statistics(&self) -> Result<Statistics> {
        let parameters = Layout::of(&self.manifest.columns, |column| !column.kind.is_crossed()).parameters;
        Statistics::read(&self.folder, &self.manifest.statistics, parameters)
    }

    /// The levels of categorical column number `column`.
    ///
    /// # Errors
    /// [`Error::Usage`] when the column is not categorical, [`Error::Data`] when the file is damaged.
    pub fn dictionary(&self, column: usize) -> Result<Dictionary> {
        match self.manifest.columns.get(column).map(|column| &column.kind) {
            Some(Kind::Categorical { dictionary, levels, .. }) => {
                let read = Dictionary::read(&self.folder, dictionary)?;
                if read.levels.len() > *levels {
                    let message = format!("{} levels were found, at most {levels} expected", read.levels.len());
                    return Err(Error::data(self.folder.join(&dictionary.file), message));
                }
                Ok(read)
            }
            _ => Err(Error::Usage(format!("column number {column} has no dictionary"))),
        }
    }

    /// Number of the label's column, where there is one.
    pub fn label(&self) -> Option<usize> {
        self.manifest.column_with(Role::Label)
    }
}

fn grains(manifest: &Manifest, shards: &[Shard], split: Split) -> Vec<GrainEntry> {
    let of_split = manifest.shards.iter().zip(shards).enumerate().filter(|(_, (entry, _))| entry.split == split);
    let mut grains = Vec::new();
    let mut first_row = 0;
    for (number, (entry, shard)) in of_split {
        for batch in 0..entry.grains {
            let rows = shard.grain_rows(batch).1;
            let place = shard.batches().get(batch);
            grains.push(GrainEntry {
                number: grains.len(),
                first_row,
                rows,
                bytes: place.map_or(entry.file.bytes / entry.grains as u64, |place| place.body_bytes),
                shard: number,
                batch,
            });
            first_row += rows as u64;
        }
    }
    grains
}

pub(crate) fn read_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    let text = std::fs::read(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Usage(format!(
            "{} is no dataset: it has no {MANIFEST}. Make one with 'gristmill ingest'",
            folder.display()
        )),
        _ => Error::io(&path, "cannot read", source),
    })?;
    let damaged = |e: serde_json::Error| {
        Error::data(&path, format!("the manifest is damaged: {e}")).at(Place::Line(e.line() as u64))
    };
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(damaged)?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(format) if format == u64::from(FORMAT_VERSION) => {}
        Some(format) => {
            let message = format!("the dataset has format {format}, this build reads format {FORMAT_VERSION}");
            return Err(
                Error::data(&path, message).help("Use the build that wrote it, or run 'gristmill ingest' again")
            );
        }
        None => {
            return Err(Error::data(&path, "the manifest names no format").help("This may be another program's file"));
        }
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(damaged)?;
    manifest.check().map_err(|message| Error::data(&path, format!("the manifest is damaged: {message}")))?;
    Ok(manifest)
}
