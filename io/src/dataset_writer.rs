//! A dataset folder in the making: shards, dictionaries and statistics go into a staging folder; the manifest with all
//! checksums comes last, and then the folder gets its name ([`crate::durable`]).

use std::path::{Path, PathBuf};

use crate::dataset::MANIFEST;
use crate::dictionary::Dictionary;
use crate::durable::{self, Replace, Staging};
use crate::error::{Error, Result};
use crate::manifest::{Column, FORMAT_VERSION, FileEntry, Manifest, ShardEntry, SourceEntry, Split};
use crate::shard::ShardWriter;
use crate::statistics::Statistics;

/// Name of the statistics.
const STATISTICS: &str = "statistics.arrow";

/// Whether a folder holds a dataset, whole or not.
fn is_dataset(folder: &Path) -> bool {
    folder.join(MANIFEST).is_file() && folder.join(STATISTICS).is_file()
}

/// A dataset folder in the making. Shards may be written by many threads at once.
#[derive(Debug)]
pub struct DatasetWriter {
    folder: PathBuf,
    /// None: another rank's, who will finish it.
    staging: Option<Staging>,
}

/// What a manifest says beside its files.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// Program and version.
    pub created_by: String,
    /// Seed of the split and of the shuffle.
    pub seed: u64,
    /// True when the rows lie in random order.
    pub shuffled: bool,
    /// The files it was made from.
    pub sources: Vec<SourceEntry>,
    /// Rows of every grain but the last of a split.
    pub grain_rows: usize,
    /// Stored columns, their dictionaries' entries filled in.
    pub columns: Vec<Column>,
    /// Columns of the source that were left out.
    pub ignored: Vec<String>,
    /// Texts that stood for a missing value, where other than the usual ones were given.
    pub null_values: Option<Vec<String>>,
}

impl DatasetWriter {
    /// Start a dataset that will be `output`, which must not exist, or with `force` be a dataset or empty.
    ///
    /// # Errors
    /// As [`Staging::create`].
    pub fn create(output: &Path, force: bool) -> Result<DatasetWriter> {
        let staging = Staging::create(output, Replace::if_forced(force, is_dataset))?;
        Ok(DatasetWriter { folder: staging.folder().to_path_buf(), staging: Some(staging) })
    }

    /// For shards of a dataset that another rank has begun, and will finish, in the staging folder `folder`.
    pub fn join(folder: &Path) -> DatasetWriter {
        DatasetWriter { folder: folder.to_path_buf(), staging: None }
    }

    /// The staging folder; scratch files may be put there, and must be gone before [`DatasetWriter::finish`].
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Start shard number `number` of a split.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn shard(&self, split: Split, number: usize, columns: &[Column]) -> Result<ShardWriter> {
        ShardWriter::create(&self.folder().join(shard_file(split, number)), columns, split)
    }

    /// Remove the shards that were begun: they will be written anew.
    ///
    /// # Errors
    /// [`Error::Io`] when that cannot be done.
    pub fn discard_shards(&self) -> Result<()> {
        let entries = std::fs::read_dir(self.folder()).map_err(|e| Error::io(self.folder(), "cannot list", e))?;
        for entry in entries {
            let entry = entry.map_err(|e| Error::io(self.folder(), "cannot list", e))?;
            let name = entry.file_name();
            if ["train-", "test-"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                std::fs::remove_file(entry.path()).map_err(|e| Error::io(entry.path(), "cannot remove", e))?;
            }
        }
        Ok(())
    }

    /// Write the dictionary of column number `column`.
    ///
    /// # Errors
    /// As [`Dictionary::write`].
    pub fn dictionary(&self, column: usize, dictionary: &Dictionary) -> Result<FileEntry> {
        dictionary.write(&self.folder().join(format!("dictionary-{column}.arrow")))
    }

    /// Write statistics and manifest and put the folder in its place. `shards` in any order.
    ///
    /// # Errors
    /// [`Error::Data`] when the parts do not fit together, [`Error::Io`] when they cannot be written.
    pub fn finish(self, about: Description, mut shards: Vec<ShardEntry>, statistics: &Statistics) -> Result<Manifest> {
        let statistics = statistics.write(&self.folder().join(STATISTICS))?;
        shards.sort_by_key(|shard| (shard.split == Split::Test, shard.file.file.len(), shard.file.file.clone()));
        let mut manifest = Manifest {
            format: FORMAT_VERSION,
            created_by: about.created_by,
            seed: about.seed,
            shuffled: about.shuffled,
            sources: about.sources,
            grain_rows: about.grain_rows,
            columns: about.columns,
            ignored: about.ignored,
            null_values: about.null_values,
            shards,
            statistics,
            fingerprint: String::new(),
        };
        manifest.fingerprint = manifest.fingerprint_of_content();
        let path = self.folder().join(MANIFEST);
        let output = self.staging.as_ref().map_or(&*self.folder, Staging::output).to_path_buf();
        let unfit = |message: String| Error::data(&output, format!("the dataset cannot be finished: {message}"));
        manifest.check().map_err(unfit)?;
        let mut json = serde_json::to_vec_pretty(&manifest).map_err(|e| unfit(e.to_string()))?;
        json.push(b'\n');
        durable::write_staged(&path, &json)?;
        self.staging.ok_or_else(|| unfit("the rank that began it does that".into()))?.commit()?;
        Ok(manifest)
    }
}

/// File name of a shard.
pub fn shard_file(split: Split, number: usize) -> String {
    match split {
        Split::Train => format!("train-{number:05}.arrow"),
        Split::Test => format!("test-{number:05}.arrow"),
    }
}
