//! Rows of a source, opened and encoded as a model needs them.

use std::path::PathBuf;

use gristmill_io::dictionary::Dictionary;
use gristmill_io::encode::row::RowEncoder;
use gristmill_io::error::Place;
use gristmill_io::manifest::{Kind, Layout};
use gristmill_io::source::{Source, SourceOptions, TextType};

use crate::error::Result;
use crate::run::Model;

/// Levels of every categorical column of a model, by column number.
///
/// # Errors
/// When a dictionary is missing or damaged.
pub fn dictionaries(model: &Model) -> Result<Vec<Option<Vec<String>>>> {
    let read = |kind: &Kind| match kind {
        Kind::Categorical { dictionary, .. } => Ok(Some(Dictionary::read(&model.folder, dictionary)?.levels)),
        _ => Ok(None),
    };
    model.metadata.columns.iter().map(|column| read(&column.kind)).collect()
}

/// The encoder of a model's features, and of its label and weight where `targets` says so.
///
/// # Errors
/// When a dictionary is missing or damaged.
pub fn encoder(model: &Model, targets: bool) -> Result<(RowEncoder, Layout)> {
    let levels = dictionaries(model)?;
    let layout = model.metadata.layout();
    let encoder = RowEncoder::new(&model.metadata.columns, &levels, &layout)?;
    let encoder = if targets { encoder.with_targets(&levels)? } else { encoder };
    Ok((encoder, layout))
}

/// The options with the types of those text columns among `read` that training saw: a category of digits must not
/// become a number.
pub fn typed(mut options: SourceOptions, model: &Model, read: &[String]) -> SourceOptions {
    for column in model.metadata.columns.iter().filter(|column| read.contains(&column.name)) {
        let text = column.source_type.contains("Utf8");
        if text && column.kind.is_text() {
            options.types.entry(column.name.clone()).or_insert(TextType::Text);
        }
    }
    options
}

/// Where rows of one batch of a chunk came from: the batch begins at row `first` of the chunk.
pub fn place_in<'a>(source: &'a dyn Source, chunk: u64, first: usize) -> impl Fn(usize) -> (PathBuf, Place) + 'a {
    move |row| source.place(chunk, (first + row) as u64)
}
