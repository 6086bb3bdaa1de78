//! Rows of a source, opened and encoded as a model needs them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::datatypes::DataType;
use gristmill_io::dictionary::Dictionary;
use gristmill_io::encode::row::RowEncoder;
use gristmill_io::error::Place;
use gristmill_io::manifest::{Kind, Layout, READ_AS, value_type};
use gristmill_io::source::{self, NamedBy, Source, SourceFile, SourceOptions, TextType};

use crate::error::{Error, Result};
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

/// Open files with the columns that the model reads (its label and weight where `targets` says so) and those to `keep`; what else is in
/// them is not looked at. Columns of the model have the types that training saw, whatever the first rows look like; those to keep stay as
/// they stand in the source, and `["all"]` means every column. Returns the names of the kept ones.
///
/// # Errors
/// When files cannot be read, or lack a column.
pub fn open(
    files: &[SourceFile],
    options: SourceOptions,
    model: &Model,
    keep: &[String],
    targets: bool,
) -> Result<(Box<dyn Source>, Vec<String>)> {
    let has = source::names(files, &options)?;
    let listed = || has.join(", ");
    let keep = if keep == ["all"] { has.clone() } else { keep.to_vec() };
    let (encoder, _) = encoder(model, targets)?;
    let needed: Vec<String> = encoder.names().into_iter().map(String::from).collect();
    let by_row = source::detect::format_of(files, &options)?.named_by == NamedBy::Row;
    if let Some(missing) = needed.iter().find(|name| !by_row && !has.contains(name)) {
        let path = files.first().map(|file| file.path.clone()).unwrap_or_default();
        let error = gristmill_io::Error::data(path, "the column is not there, and the model needs it").column(missing);
        return Err(error.help(format!("The source has {}", listed())).into());
    }
    // Rows that name their columns have named none where there are no rows.
    if let Some(unknown) = keep.iter().find(|name| !has.contains(name) && (!by_row || !has.is_empty())) {
        return Err(Error::usage(format!("--keep: the source has no column '{unknown}'. It has {}", listed())));
    }
    if let Some((_, twice)) = keep.iter().enumerate().find(|(at, name)| keep[..*at].contains(name)) {
        return Err(Error::usage(match has.iter().filter(|name| *name == twice).count() {
            0 | 1 => format!("--keep: column '{twice}' is named twice. Name it once"),
            _ => format!("--keep: two columns of the source are called '{twice}'. Rename one, or keep others"),
        }));
    }
    let options = SourceOptions {
        types: types(model).into_iter().filter(|(name, _)| needed.contains(name)).collect(),
        columns: Some(needed),
        verbatim: keep.clone(),
        settled: true,
        ..options
    };
    Ok((source::open_files(files, &options)?, keep))
}

/// The types that columns of the model have in a source of text: a category of digits must not become a number, and a number is one
/// whatever the first rows look like. None for those whose rows say it: vectors, and categories that were neither texts nor numbers.
fn types(model: &Model) -> BTreeMap<String, TextType> {
    let mut types = BTreeMap::new();
    for column in &model.metadata.columns {
        let found = column.source_type.split_once(READ_AS).map_or(column.source_type.as_str(), |(_, read)| read);
        let found = value_type(found);
        let number = match found {
            date if date.starts_with("Date") => TextType::Date,
            timestamp if timestamp.starts_with("Timestamp") => TextType::Timestamp,
            _ => TextType::Number,
        };
        let is_plain = found.contains("Utf8") || found.parse::<DataType>().is_ok_and(|found| found.is_numeric());
        match &column.kind {
            kind if kind.is_text() && is_plain => drop(types.insert(column.name.clone(), TextType::Text)),
            Kind::Numeric { .. } | Kind::Bucketized { .. } => drop(types.insert(column.name.clone(), number)),
            Kind::Labels { names, .. } => types.extend(names.iter().map(|name| (name.clone(), number))),
            _ => {}
        }
    }
    types
}

/// Where rows of one batch of a chunk came from: the batch begins at row `first` of the chunk.
pub fn place_in<'a>(source: &'a dyn Source, chunk: u64, first: usize) -> impl Fn(usize) -> (PathBuf, Place) + 'a {
    move |row| source.place(chunk, (first + row) as u64)
}
