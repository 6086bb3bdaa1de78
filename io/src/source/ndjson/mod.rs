//! NDJSON (stage 1): one JSON object a line (RFC 8259), optionally gzip or zstd.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`shape`] | which columns, of which types? |
//! | [`value`] | what does a line of the sample hold? |
//! | [`decode`] | how does text become columns? |
//!
//! Columns are inferred from the first lines (4 MiB of the first file). A key that is absent is a missing value; a key that the
//! sample did not have is an error, because it would be lost silently.

pub mod decode;
pub mod shape;
#[cfg(test)]
mod tests;
pub mod value;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};

use self::shape::{Inference, Kind, Object, wanted};
use self::value::{Json, Values};
use super::files::SourceFile;
use super::text::stream::Cutting;
use super::text::{Cutter, TextFiles};
use super::{Before, Chunk, Content, Source, SourceOptions, check_names, foreign_chunk, no_rows};
use crate::error::{Error, Place, Result};

/// NDJSON files.
struct NdjsonSource {
    text: TextFiles,
    root: Object,
    columns: Vec<(String, Kind)>,
    schema: SchemaRef,
    options: SourceOptions,
}

/// Open NDJSON files.
///
/// # Errors
/// For unreadable files, lines that are no objects, and files that hold no row.
pub fn open(files: &[SourceFile], options: &SourceOptions) -> Result<Box<dyn Source>> {
    let inference = sample(files, options)?;
    if !options.settled {
        check_names(options, &inference.names())?;
    }
    let (root, columns) = inference.shape(options);
    let unreadable = columns.iter().find(|column| column.1 == Kind::Unreadable && !options.any_type);
    if let Some((name, _)) = unreadable {
        return Err(Error::data(
            &files[0].path,
            "holds arrays of something else than numbers, or objects and values in turn",
        )
        .column(name)
        .help(format!("Leave the column out with --ignore {name}")));
    }
    if columns.is_empty() && !options.settled {
        return Err(Error::data(&files[0].path, "no column is left to read").help("Check --ignore"));
    }
    let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(name, kind.data_type(), true)).collect();
    let read = columns.iter().filter(|column| column.1 != Kind::Verbatim);
    let mut names: Vec<&String> = read.map(|column| &column.0).collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::data(&files[0].path, "two columns have this name")
            .column(pair[0])
            .help("Rename one of the keys"));
    }
    let schema = Arc::new(Schema::new(fields));
    let text = TextFiles::new(files.to_vec(), cutting(options.chunk_bytes, options), Box::new(|_, _| Ok(())));
    Ok(Box::new(NdjsonSource { text, root, columns, schema, options: options.clone() }))
}

fn cutting(chunk_bytes: usize, options: &SourceOptions) -> Cutting {
    Cutting { cutter: Cutter::Lines, header: false, chunk_bytes, record_bytes_max: options.record_bytes_max }
}

/// What the first lines hold.
fn sample(files: &[SourceFile], options: &SourceOptions) -> Result<Inference> {
    let text = TextFiles::new(files.to_vec(), cutting(options.sample_bytes, options), Box::new(|_, _| Ok(())));
    let mut inference = Inference::default();
    while let Some(chunk) = text.next()? {
        let Content::Text { file, line, text: bytes } = chunk.content else { continue };
        let mut rows = 0;
        for (before, content) in decode::lines(&bytes).enumerate() {
            if content.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice(content) {
                Ok(Json::Object(object)) => inference.add(&object),
                _ => {
                    let found = by_value(content, options);
                    inference.add(&found.map_err(|fault| locate(text.path(file), line + before as u64, fault))?);
                }
            }
            rows += 1;
        }
        if rows > 0 {
            return Ok(inference);
        }
    }
    no_rows(&files[0].path, "holds no rows", options)?;
    Ok(inference)
}

/// The object of a line of which some value cannot be read: without it, where nobody wants it, else the fault.
fn by_value(line: &[u8], options: &SourceOptions) -> std::result::Result<Vec<(String, Json)>, decode::Fault> {
    let Ok(values) = serde_json::from_slice::<Values<'_>>(line) else {
        // The decoder's error says more about a line that is no object: let it find the fault again.
        let nothing = SourceOptions { columns: Some(Vec::new()), ..SourceOptions::default() };
        let (root, columns) = Inference::default().shape(&nothing);
        let fault = decode::decode(line, &root, &columns, &nothing).err();
        return Err(fault.unwrap_or_else(|| decode::Fault {
            lines_before: 0,
            column: None,
            message: "expected a JSON object".into(),
            help: "Each line holds one object".into(),
        }));
    };
    let mut object = Vec::with_capacity(values.0.len());
    for (name, value) in values.0 {
        match serde_json::from_str(value.get()) {
            Ok(value) => object.push((name, value)),
            Err(_) if !wanted(options, &name) => object.push((name, Json::Null)),
            Err(error) => {
                let message = error.to_string();
                let message = message.split_once(" at line ").map_or(&*message, |(what, _)| what);
                return Err(decode::Fault {
                    lines_before: 0,
                    message: format!("the value cannot be read: {message}"),
                    help: format!("Mend it, or leave the column out with --ignore {name}"),
                    column: Some(name),
                });
            }
        }
    }
    Ok(object)
}

fn locate(path: &std::path::Path, line: u64, fault: decode::Fault) -> Error {
    let error = Error::data(path, fault.message).at(Place::Line(line + fault.lines_before)).help(fault.help);
    match fault.column {
        Some(column) => error.column(column),
        None => error,
    }
}

impl Source for NdjsonSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn bytes(&self) -> Option<u64> {
        Some(self.text.bytes())
    }

    fn rows(&self) -> Option<u64> {
        None
    }

    fn next(&self) -> Result<Option<Chunk>> {
        self.text.next()
    }

    fn narrow(&self, span: Range<u64>) -> Option<Before> {
        Some(self.text.narrow(span))
    }

    fn decode(&self, chunk: Chunk) -> Result<Vec<RecordBatch>> {
        let Content::Text { file, line, text } = chunk.content else { return Err(foreign_chunk()) };
        let path = self.text.path(file);
        let (columns, rows) = decode::decode(&text, &self.root, &self.columns, &self.options)
            .map_err(|fault| locate(path, line, fault))?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map(|batch| vec![batch])
            .map_err(|error| Error::data(path, error.to_string()).at(Place::Line(line)))
    }

    fn count(&self, chunk: Chunk) -> Result<u64> {
        let Content::Text { text, .. } = chunk.content else { return Err(foreign_chunk()) };
        Ok(decode::lines(&text).filter(|line| !line.trim_ascii().is_empty()).count() as u64)
    }

    fn place(&self, number: u64, row: u64) -> (PathBuf, Place) {
        self.text.place(number, row, |text, row| {
            let mut rows = decode::lines(text).enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
            rows.nth(row as usize).map_or(0, |(number, _)| number as u64)
        })
    }
}
