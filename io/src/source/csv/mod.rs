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

/// CSV files with the same columns, as far as they are read.
struct CsvSource {
    text: TextFiles,
    plan: Plan,
    others: Others,
}

/// The plans of files whose headers differ from the first in columns that are not read, by number of the file.
type Others = Arc<[OnceLock<Plan>]>;

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
    let columns: Vec<PlannedColumn> = names
        .into_iter()
        .zip(types)
        .map(|(name, inferred)| PlannedColumn {
            kind: options.wants(&name).then(|| options.types.get(&name).copied().unwrap_or(inferred)),
            is_given: options.types.contains_key(&name),
            is_kept: options.keeps(&name),
            name,
        })
        .collect();
    let nulls = NullMarkers::new(&options.null_values);
    let others: Others = files.iter().map(|_| OnceLock::new()).collect();
    let headers = Headers {
        paths: files.iter().map(|file| file.path.clone()).collect(),
        delimiter,
        options: options.clone(),
        columns: columns.clone(),
        nulls: nulls.clone(),
        others: Arc::clone(&others),
    };
    let check = Box::new(move |file: usize, header: &[u8]| headers.check(file, header));
    let plan = Plan::new(delimiter, columns, nulls);
    Ok(Box::new(CsvSource { text: TextFiles::new(files.to_vec(), cutting, check), plan, others }))
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
    sniff::delimiter(&file.path, head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head))
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
        let (header, path, options) = (Arc::clone(&header), files[0].path.clone(), options.clone());
        let may_be_data = options.header != Some(true);
        Box::new(move |_, line| {
            if header.get().is_none() {
                let _ = header.set(sniff::names(&path, line, delimiter, may_be_data, &options)?);
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

/// Holds the header of every file against that of the first.
struct Headers {
    paths: Vec<PathBuf>,
    delimiter: u8,
    /// Where these name what is read, other columns may be anything.
    options: SourceOptions,
    /// Those of the first file.
    columns: Vec<PlannedColumn>,
    nulls: NullMarkers,
    others: Others,
}

impl Headers {
    fn check(&self, file: usize, header: &[u8]) -> Result<()> {
        let names = sniff::names(&self.paths[file], header, self.delimiter, false, &self.options)?;
        if names.iter().eq(self.columns.iter().map(|column| &column.name)) {
            return Ok(());
        }
        let is_read = |column: &&PlannedColumn| column.kind.is_some() || column.is_kept;
        let unread = |name: &String| PlannedColumn { name: name.clone(), kind: None, is_given: false, is_kept: false };
        let known = |name: &String| self.columns.iter().filter(is_read).find(|column| column.name == *name).cloned();
        let found: Vec<PlannedColumn> = names.iter().map(|name| known(name).unwrap_or_else(|| unread(name))).collect();
        let read = |columns: &[PlannedColumn]| -> Vec<String> {
            columns.iter().filter(is_read).map(|column| column.name.clone()).collect()
        };
        if self.options.columns.is_some() && read(&found) == read(&self.columns) {
            let _ = self.others[file].set(Plan::new(self.delimiter, found, self.nulls.clone()));
            return Ok(());
        }
        Err(Error::data(&self.paths[file], self.difference(&names)).at(Place::Line(1)).help(SAME))
    }

    fn difference(&self, names: &[String]) -> String {
        let (first, expected) = (self.paths[0].display(), &self.columns);
        if names.len() != expected.len() {
            return format!("the header has {} columns, but that of {first} has {}", names.len(), expected.len());
        }
        let at = names.iter().zip(expected).position(|(name, expected)| *name != expected.name).unwrap_or(0);
        format!("column {} is '{}', but in {first} it is '{}'", at + 1, names[at], expected[at].name)
    }
}

const SAME: &str =
    "All files of a source need the same columns in the same order; leave out those that differ with --ignore";

impl CsvSource {
    fn plan(&self, file: usize) -> &Plan {
        self.others.get(file).and_then(OnceLock::get).unwrap_or(&self.plan)
    }
}

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
        decode::decode(self.plan(file), self.text.path(file), line, &text).map(|batch| vec![batch])
    }

    fn count(&self, chunk: Chunk) -> Result<u64> {
        let Content::Text { text, .. } = chunk.content else { return Err(super::foreign_chunk()) };
        Ok(fields::records(&text, self.plan.delimiter))
    }

    fn place(&self, number: u64, row: u64) -> (PathBuf, Place) {
        self.text.place(number, row, |text, row| decode::lines_before(text, row, self.plan.delimiter))
    }
}
