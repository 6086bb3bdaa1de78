//! A trained model on disk: `model.json` beside `model.safetensors` and the dictionaries.
//!
//! The files hold what data, configuration and seed determine, and nothing else (no times, paths, threads or tiers):
//! equal trainings write equal bytes. Reading trusts nothing: versions, lengths, checksums, shapes and names are
//! checked, and faults are errors with the file's name.

use std::path::{Path, PathBuf};

use gristmill_io::crossed::Crossing;
use gristmill_io::manifest::{Column, FileEntry, Kind, Layout, Role};
use gristmill_io::statistics::DISTINCT_MAX;
use gristmill_io::{checksum, durable};
use serde::{Deserialize, Serialize};

use super::weights::Weights;
use crate::error::{Error, Result};
use crate::metrics::{Multiclass, Multilabel, Odds, Task};
use crate::models::{self, ModelName, Settings};
use crate::plan::{Several, Strengths};

/// The version of the model format that this build writes.
pub const FORMAT_VERSION: u32 = 1;
/// Name of the metadata file.
pub const METADATA_FILE: &str = "model.json";
/// Name of the file of numbers.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// A metadata file larger than this is not ours.
const METADATA_BYTES_MAX: u64 = 1 << 30;

/// `model.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Format version.
    pub format: u32,
    /// Program and version that wrote it.
    pub created_by: String,
    /// The model, by name.
    pub model: ModelName,
    /// What it was told beside its name.
    #[serde(default)]
    pub settings: Settings,
    /// What a margin means; see [`link`].
    pub link: String,
    /// The classes by number from 0, for classifiers; of several labels their names.
    pub classes: Option<Vec<String>>,
    /// How a model of two classes tells several apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiclass: Option<Several>,
    /// Mean of the training labels, each row counted once (as numbers of classes for classifiers).
    pub label_mean: f64,
    /// Stored columns with their encoders: features, and the label and weight that it was trained with.
    pub columns: Vec<Column>,
    /// Texts that stood for a missing value, where other than the usual ones were given: prediction takes them so too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_values: Option<Vec<String>>,
    /// Number of parameters, the intercept not counted.
    pub parameters: usize,
    /// The training.
    pub fit: Fit,
    /// Fingerprint of the dataset it was trained on.
    pub dataset_fingerprint: String,
    /// The numbers.
    pub weights: FileEntry,
}

/// How a model was fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// Its penalty.
    pub strengths: Strengths,
    /// Coefficients of standardised columns were penalised.
    pub standardize: bool,
    /// An intercept was learnt.
    pub intercept: bool,
    /// The solver.
    pub solver: String,
    /// Relative gap of the objective at which it was to stop.
    pub tolerance: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Objective at the model, penalty included.
    pub objective: f64,
    /// Weighted mean loss at the model.
    pub loss: f64,
    /// Norm of the (sub)gradient in standardised coordinates; none where objective and loss are progressive.
    pub gradient_norm: Option<f64>,
    /// Passes over all rows.
    pub passes: u32,
    /// Whether the stopping rule was met; none of a solver that ends after so many epochs, which has none.
    pub converged: Option<bool>,
    /// Why it stopped.
    pub reason: String,
    /// Training rows.
    pub rows: u64,
}

/// How a training ended, as [`Fit::converged`] has it.
pub fn how_it_ended(converged: Option<bool>) -> &'static str {
    match converged {
        Some(true) => "converged",
        Some(false) => "NOT converged",
        None => "ended",
    }
}

/// A model in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What it is.
    pub metadata: Metadata,
    /// Its numbers.
    pub weights: Weights,
    /// Where it was read from; its dictionaries are there.
    pub folder: PathBuf,
}

impl Metadata {
    /// What the model predicts.
    pub fn task(&self) -> Task {
        let task = self.built().task();
        match self.labels() {
            Some(names) => task.of_labels(names.len()),
            None => task.against(self.against()),
        }
    }

    /// The model with its settings and classes.
    pub fn built(&self) -> Box<dyn models::Model> {
        let model = self.model.model().with(&self.settings);
        model.of_classes(self.classes.as_ref().map_or(0, Vec::len)).unwrap_or(model)
    }

    /// Classes that are each told from all others by weights of their own; 0 where there are none such.
    fn against(&self) -> usize {
        if self.multiclass.is_some() { self.classes.as_ref().map_or(0, Vec::len) } else { 0 }
    }

    /// Margins that a row has: one, or one a class or label.
    pub fn margins(&self) -> usize {
        match self.task() {
            Task::Multiclass(of) => of.classes,
            Task::Multilabel(of) => of.labels,
            _ => 1,
        }
    }

    /// The names of several labels.
    pub fn labels(&self) -> Option<&[String]> {
        self.label()?.kind.labels()
    }

    /// The label's column.
    pub fn label(&self) -> Option<&Column> {
        self.columns.iter().find(|column| column.role == Role::Label)
    }

    /// Where the parameters of the features lie.
    pub fn layout(&self) -> Layout {
        Layout::of(&self.columns, |_| true)
    }
}

/// What a margin means: `identity` (the value), `logit` (log-odds of the second class), `log` (logarithm of the mean) or
/// `sign` (the second class where it is positive); of the margins of several classes: `softmax`, or `ovr` (the class with the
/// greatest); of the margins of several labels `labels-logit` or `labels-sign`, each as that of a model of two classes.
pub fn link(task: Task) -> &'static str {
    match task {
        Task::Regression | Task::Quantile(_) => "identity",
        Task::Deviance(_) => "log",
        Task::Binary => "logit",
        Task::Margin => "sign",
        Task::Multiclass(Multiclass { odds: Odds::Joint, .. }) => "softmax",
        Task::Multiclass(_) => "ovr",
        Task::Multilabel(Multilabel { probabilities: true, .. }) => "labels-logit",
        Task::Multilabel(_) => "labels-sign",
    }
}

impl Model {
    /// Write the model into `folder`, part of a staging folder, with the dictionaries of its columns copied from `dataset`. `metadata.weights` is
    /// filled in here.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write(mut metadata: Metadata, weights: &Weights, folder: &Path, dataset: &Path) -> Result<()> {
        let path = folder.join(WEIGHTS_FILE);
        let bytes = weights.to_bytes().map_err(|message| Error::File { path: path.clone(), message })?;
        durable::write_staged(&path, &bytes)?;
        metadata.weights =
            FileEntry { file: WEIGHTS_FILE.into(), bytes: bytes.len() as u64, xxh3: checksum::of_bytes(&bytes) };
        for entry in dictionaries(&metadata.columns) {
            let bytes = read_checked(dataset, entry)?;
            durable::write_staged(&folder.join(&entry.file), &bytes)?;
        }
        let path = folder.join(METADATA_FILE);
        let mut text = serde_json::to_string_pretty(&metadata)
            .map_err(|error| Error::File { path: path.clone(), message: error.to_string() })?;
        text.push('\n');
        Ok(durable::write_staged(&path, text.as_bytes())?)
    }

    /// The model in `folder`.
    ///
    /// # Errors
    /// When a file is missing, of another version, damaged, or does not fit the others.
    pub fn read(folder: &Path) -> Result<Model> {
        let path = folder.join(METADATA_FILE);
        if !path.is_file() {
            return Err(Error::usage(format!(
                "{} is no run: it has no {METADATA_FILE}. Make one with 'gristmill train'; of a path of penalties name one of its folders",
                folder.display()
            )));
        }
        let metadata = read_metadata(&path)?;
        let bytes = read_checked(folder, &metadata.weights)?;
        let weights = Weights::from_bytes(&bytes, metadata.parameters, metadata.margins())
            .map_err(|message| Error::File { path: folder.join(&metadata.weights.file), message })?;
        Ok(Model { metadata, weights, folder: folder.to_path_buf() })
    }

    /// The files that it was read from, or will be.
    pub fn files(&self) -> Vec<PathBuf> {
        let dictionaries = dictionaries(&self.metadata.columns).map(|entry| &*entry.file);
        let names = [METADATA_FILE, &self.metadata.weights.file].into_iter().chain(dictionaries);
        names.map(|name| self.folder.join(name)).collect()
    }

    /// True when `folder` holds a model.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(METADATA_FILE).is_file()
    }
}

fn read_metadata(path: &Path) -> Result<Metadata> {
    let fault = |message: String| Error::File { path: path.to_path_buf(), message };
    let length = std::fs::metadata(path).map_err(|e| gristmill_io::Error::io(path, "cannot read", e))?.len();
    if length > METADATA_BYTES_MAX {
        return Err(fault(format!("{length} bytes; the metadata of a model is never above {METADATA_BYTES_MAX}")));
    }
    let text = std::fs::read(path).map_err(|e| gristmill_io::Error::io(path, "cannot read", e))?;
    check_version(&text).map_err(fault)?;
    let metadata: Metadata =
        serde_json::from_slice(&text).map_err(|error| fault(format!("no model metadata of gristmill: {error}")))?;
    check_metadata(&metadata).map_err(fault)?;
    Ok(metadata)
}

/// The version comes first, so that a file of a later version is named as such and not as a broken one.
fn check_version(text: &[u8]) -> std::result::Result<(), String> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    match serde_json::from_slice::<Version>(text) {
        Ok(Version { format: FORMAT_VERSION }) => Ok(()),
        Ok(Version { format }) => Err(format!(
            "model format {format}; this build reads format {FORMAT_VERSION}. Use the version of gristmill that wrote it"
        )),
        Err(error) => Err(format!("no model metadata of gristmill: {error}")),
    }
}

/// What later code relies on.
fn check_metadata(metadata: &Metadata) -> std::result::Result<(), String> {
    for (number, column) in metadata.columns.iter().enumerate() {
        column.kind.check().map_err(|what| format!("column '{}': {what}", column.name))?;
        Crossing::of(&metadata.columns, number).map_err(|error| error.to_string())?;
    }
    let mut parameters = 0usize;
    for column in metadata.columns.iter().filter(|column| column.role == Role::Feature) {
        parameters = parameters
            .checked_add(column.kind.parameters())
            .ok_or_else(|| format!("column '{}' has too many parameters", column.name))?;
    }
    if parameters != metadata.parameters {
        let stated = metadata.parameters;
        return Err(format!("states {stated} parameters, but its columns have {parameters}"));
    }
    if metadata.model.model().is_classifier() != metadata.classes.is_some() {
        return Err(format!("classes do not fit a {} model", metadata.model));
    }
    if let Some(names) = metadata.labels() {
        let fits = !metadata.model.model().is_joint() && metadata.multiclass.is_none();
        if !fits || metadata.classes.as_deref() != Some(names) {
            return Err(format!("its several labels do not fit its classes or a {} model", metadata.model));
        }
    }
    let several = metadata.model.model().is_joint() || metadata.multiclass.is_some() || metadata.labels().is_some();
    let count = metadata.classes.as_ref().map_or(2, Vec::len);
    if !(2..=DISTINCT_MAX).contains(&count) || (count > 2 && !several) {
        return Err(format!("has {count} classes, which do not fit a {} model", metadata.model));
    }
    let files = dictionaries(&metadata.columns).chain([&metadata.weights]);
    for entry in files {
        let plain = Path::new(&entry.file).components().count() == 1 && !entry.file.starts_with('.');
        if !plain || entry.file.contains(['/', '\\']) {
            return Err(format!("names the file '{}'; files lie in the model's own folder", entry.file));
        }
    }
    Ok(())
}

/// The dictionaries of the categorical columns.
pub fn dictionaries(columns: &[Column]) -> impl Iterator<Item = &FileEntry> {
    columns.iter().filter_map(|column| match &column.kind {
        Kind::Categorical { dictionary, .. } => Some(dictionary),
        _ => None,
    })
}

/// The content of a file whose length and checksum are stated elsewhere.
fn read_checked(folder: &Path, entry: &FileEntry) -> Result<Vec<u8>> {
    let path = folder.join(&entry.file);
    let bytes = std::fs::read(&path).map_err(|e| gristmill_io::Error::io(&path, "cannot read", e))?;
    let (length, xxh3) = (bytes.len() as u64, checksum::of_bytes(&bytes));
    if length != entry.bytes || xxh3 != entry.xxh3 {
        let message = format!(
            "{length} bytes with checksum {xxh3}; {} bytes with {} were written. The file was changed or damaged: \
             restore it or train again",
            entry.bytes, entry.xxh3
        );
        return Err(Error::File { path, message });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
