//! CSV and TSV (stage 1; RFC 4180): quotes, line feeds in quotes, any one-byte delimiter, LF or CRLF, byte order mark,
//! gzip and zstd, with or without a header line.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`fields`] | where does a field end? |
//! | [`sniff`] | which delimiter, which names? |
//! | [`infer`] | which type has a column? |
//! | [`decode`] | how does text become columns? |
//!
//! Types come from the first rows (the first 4 MiB of the first file that has rows) and can be set by name; a later value
//! that does not fit is an error, never a guess. Blank lines are skipped. Blanks around numbers are allowed.

pub mod decode;
pub mod fields;
pub mod infer;
pub mod sniff;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use self::decode::{Plan, PlannedColumn};
use self::infer::{Inference, NullMarkers};
use super::files::SourceFile;
use super::options::TextType;
use super::text::stream::{Cutting, HeaderCheck, plain_head};
use super::text::{Cutter, TextFiles};
use super::{Before, Chunk, Content, Source, SourceOptions, check_names, no_rows};
use crate::error::{Error, Place, Result};

/// Bytes at the head of the first file that the delimiter is told from.
const SNIFF_BYTES: usize = 64 << 10;

/// CSV files with the same columns.
struct CsvSource {
    text: TextFiles,
    plan: Plan,
}

/// Open CSV files.
///
/// # Errors
/// For unreadable files, bad headers, and files that hold no row.
pub fn open(files: &[SourceFile], options: &SourceOptions) -> Result<Box<dyn Source>> {
    let delimiter = delimiter(&files[0], options)?;
    let has_header = options.header.unwrap_or(true);
    let cutting = Cutting {
        cutter: Cutter::Quoted { delimiter },
        header: has_header,
        chunk_bytes: options.chunk_bytes,
        record_bytes_max: options.record_bytes_max,
    };
    let (names, types) = sample(files, delimiter, cutting, options)?;
    check_names(options, &names)?;
    let columns = names
        .iter()
        .zip(types)
        .map(|(name, inferred)| PlannedColumn {
            name: name.clone(),
            kind: options.wants(name).then(|| options.types.get(name).copied().unwrap_or(inferred)),
            is_given: options.types.contains_key(name),
            is_kept: options.keeps(name),
        })
        .collect();
    let plan = Plan::new(delimiter, columns, NullMarkers::new(&options.null_values));
    let check = same_names(files, names, delimiter);
    Ok(Box::new(CsvSource { text: TextFiles::new(files.to_vec(), cutting, check), plan }))
}

fn delimiter(file: &SourceFile, options: &SourceOptions) -> Result<u8> {
    if let Some(delimiter) = options.delimiter {
        if matches!(delimiter, b'"' | b'\n' | b'\r') {
            return Err(Error::Usage("a quote or line end cannot be the delimiter".into()));
        }
        return Ok(delimiter);
    }
    let name = file.path.to_string_lossy().to_ascii_lowercase();
    if [".tsv", ".tab"].iter().any(|end| name.contains(end)) {
        return Ok(b'\t');
    }
    let head = file.head(SNIFF_BYTES as u64)?;
    let head = plain_head(&head, SNIFF_BYTES)
        .map_err(|error| Error::data(&file.path, format!("cannot decompress: {error}")).help(super::guard::DAMAGED))?;
    Ok(sniff::delimiter(head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head)))
}

/// Names from the header of the first file, types from the first rows of all.
fn sample(
    files: &[SourceFile],
    delimiter: u8,
    cutting: Cutting,
    options: &SourceOptions,
) -> Result<(Vec<String>, Vec<TextType>)> {
    let header = Arc::new(OnceLock::new());
    let check: HeaderCheck = {
        let (header, path, trusted) = (Arc::clone(&header), files[0].path.clone(), options.header == Some(true));
        Box::new(move |_, line| {
            if header.get().is_none() {
                let _ = header.set(sniff::names(&path, line, delimiter, !trusted)?);
            }
            Ok(())
        })
    };
    // Where all types are given, a few rows are enough to see that there are any.
    let is_known = |columns: &Vec<String>| columns.iter().all(|name| options.types.contains_key(name));
    let known = options.columns.as_ref().is_some_and(is_known);
    let chunk_bytes = if known { options.sample_bytes.min(SNIFF_BYTES) } else { options.sample_bytes };
    let sample = TextFiles::new(files.to_vec(), Cutting { chunk_bytes, ..cutting }, check);
    while let Some(chunk) = sample.next()? {
        let Content::Text { file, line, text } = chunk.content else { continue };
        let fault = |(fault, at): (fields::Fault, usize)| {
            let (message, help) = fault.message();
            let line = line + super::text::stream::line_feeds(&text[..at]);
            Error::data(sample.path(file), message).at(Place::Line(line)).help(help)
        };
        let Some((first, mut at)) = fields::record(&text, 0, delimiter).map_err(fault)? else { continue };
        let names = match header.get() {
            Some(names) => names.clone(),
            None => (1..=first.len()).map(|number| format!("column_{number}")).collect(),
        };
        let nulls = NullMarkers::new(&options.null_values);
        let mut inference = Inference::new(names.len());
        inference.add(&first, &nulls);
        // A fault further on is reported by the decoder, with all it knows about the columns.
        while let Ok(Some((record, next))) = fields::record(&text, at, delimiter) {
            inference.add(&record, &nulls);
            at = next;
        }
        return Ok((names, inference.types()));
    }
    let what = if cutting.header { "holds a header but no rows" } else { "holds no rows" };
    no_rows(&files[0].path, what, options)?;
    // Without a header nobody knows which columns there would be.
    let names = header.get().cloned().ok_or_else(|| Error::data(&files[0].path, what))?;
    let types = Inference::new(names.len()).types();
    Ok((names, types))
}

/// A check that every file has the names of the first.
fn same_names(files: &[SourceFile], expected: Vec<String>, delimiter: u8) -> HeaderCheck {
    let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    Box::new(move |file, header| {
        let names = sniff::names(&paths[file], header, delimiter, false)?;
        if names.len() != expected.len() {
            let message = format!(
                "the header has {} columns, but that of {} has {}",
                names.len(),
                paths[0].display(),
                expected.len()
            );
            return Err(Error::data(&paths[file], message).at(Place::Line(1)).help(SAME));
        }
        match names.iter().zip(&expected).position(|(name, expected)| name != expected) {
            None => Ok(()),
            Some(at) => {
                let message = format!(
                    "column {} is '{}', but in {} it is '{}'",
                    at + 1,
                    names[at],
                    paths[0].display(),
                    expected[at]
                );
                Err(Error::data(&paths[file], message).at(Place::Line(1)).help(SAME))
            }
        }
    })
}

const SAME: &str = "All files of a source need the same columns in the same order";

impl Source for CsvSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.plan.schema)
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
        let Content::Text { file, line, text } = chunk.content else { return Err(super::foreign_chunk()) };
        decode::decode(&self.plan, self.text.path(file), line, &text).map(|batch| vec![batch])
    }

    fn count(&self, chunk: Chunk) -> Result<u64> {
        let Content::Text { text, .. } = chunk.content else { return Err(super::foreign_chunk()) };
        Ok(fields::records(&text, self.plan.delimiter))
    }

    fn place(&self, number: u64, row: u64) -> (PathBuf, Place) {
        self.text.place(number, row, |text, row| decode::lines_before(text, row, self.plan.delimiter))
    }
}
