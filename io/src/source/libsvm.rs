//! libsvm (stage 1), sparse rows: `label [qid:n] index:value index:value ... [# comment]`.
//!
//! ```text
//! label     Float64
//! features  List<Struct<index: UInt32, value: Float32>>, indices as written, strictly increasing
//! ```
//! Whether indices count from 0 or 1 can only be known at the end of the data, so they are handed on as written: the
//! schema's metadata says under [`INDEX_BASE`] what the user said, `0`, `1` or `auto` (1 unless an index 0 occurs), and ingest
//! subtracts. `qid` is checked and left out. Blank lines and lines of comment alone hold no row.
//! Source: the README of LIBSVM 3.x (the format has no other standard).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, ListArray, RecordBatch, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::files::SourceFile;
use super::text::stream::Cutting;
use super::text::{Cutter, TextFiles};
use super::{Before, Chunk, Content, Source, SourceOptions, check_names, foreign_chunk, no_rows};
use crate::error::{Error, Place, Result};

/// Key of the schema's metadata that says what indices count from: `0`, `1` or `auto`.
pub const INDEX_BASE: &str = "libsvm.index_base";
/// Name of the column of labels.
pub const LABEL: &str = "label";
/// Name of the column of sparse rows.
pub const FEATURES: &str = "features";
/// Indices end below this.
const INDEX_END: u32 = 1 << 31;

/// libsvm files.
struct LibsvmSource {
    text: TextFiles,
    schema: SchemaRef,
    wants_features: bool,
    wants_label: bool,
    index_min: u32,
}

/// Open libsvm files.
///
/// # Errors
/// For unreadable files, and files that hold no row.
pub fn open(files: &[SourceFile], options: &SourceOptions) -> Result<Box<dyn Source>> {
    let index_min = match options.index_base {
        None | Some(0) => 0,
        Some(1) => 1,
        Some(other) => return Err(Error::Usage(format!("indices count from 0 or 1, not from {other}"))),
    };
    check_names(options, &[LABEL.to_owned(), FEATURES.to_owned()])?;
    let [wants_label, wants_features] = [LABEL, FEATURES].map(|name| options.wants(name) || options.keeps(name));
    let source = |files: &[SourceFile], chunk_bytes| LibsvmSource {
        text: TextFiles::new(files.to_vec(), cutting(chunk_bytes, options), Box::new(|_, _| Ok(()))),
        schema: schema(options),
        wants_features,
        wants_label,
        index_min,
    };
    // A first look says at once whether this is libsvm at all.
    let sample = source(files, 64 << 10);
    while let Some(chunk) = sample.next()? {
        if sample.decode(chunk)?.iter().any(|batch| batch.num_rows() > 0) {
            return Ok(Box::new(source(files, options.chunk_bytes)));
        }
    }
    no_rows(&files[0].path, "holds no rows", options)?;
    Ok(Box::new(source(files, options.chunk_bytes)))
}

fn cutting(chunk_bytes: usize, options: &SourceOptions) -> Cutting {
    Cutting { cutter: Cutter::Lines, header: false, chunk_bytes, record_bytes_max: options.record_bytes_max }
}

/// Fields of an element of a sparse row.
fn element() -> Fields {
    Fields::from(vec![Field::new("index", DataType::UInt32, false), Field::new("value", DataType::Float32, false)])
}

fn list_item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(element()), false))
}

fn schema(options: &SourceOptions) -> SchemaRef {
    let fields = [Field::new(LABEL, DataType::Float64, true), Field::new(FEATURES, DataType::List(list_item()), true)];
    let fields: Vec<Field> =
        fields.into_iter().filter(|field| options.wants(field.name()) || options.keeps(field.name())).collect();
    let base = options.index_base.map_or("auto".to_owned(), |base| base.to_string());
    Arc::new(Schema::new_with_metadata(fields, [(INDEX_BASE.to_owned(), base)].into()))
}

impl Source for LibsvmSource {
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
        let rows = parse(&text, self.index_min).map_err(|fault| fault.locate(path, line))?;
        let mut columns: Vec<ArrayRef> = Vec::new();
        if self.wants_label {
            columns.push(Arc::new(Float64Array::from(rows.labels)));
        }
        if self.wants_features {
            let index: ArrayRef = Arc::new(UInt32Array::from(rows.indices));
            let value: ArrayRef = Arc::new(Float32Array::from(rows.values));
            let elements = StructArray::new(element(), vec![index, value], None);
            columns.push(Arc::new(ListArray::new(
                list_item(),
                OffsetBuffer::new(rows.offsets.into()),
                Arc::new(elements),
                None,
            )));
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| Error::data(path, error.to_string()).at(Place::Line(line)))?;
        Ok(vec![batch])
    }

    fn count(&self, chunk: Chunk) -> Result<u64> {
        let Content::Text { text, .. } = chunk.content else { return Err(foreign_chunk()) };
        Ok(lines(&text).filter(|line| !content(line).is_empty()).count() as u64)
    }

    fn place(&self, number: u64, row: u64) -> (PathBuf, Place) {
        self.text.place(number, row, lines_before)
    }
}

/// The rows of a text, as CSR.
#[derive(Debug, Default, PartialEq)]
pub struct Rows {
    /// One a row.
    pub labels: Vec<f64>,
    /// Where rows begin and end among the elements.
    pub offsets: Vec<i32>,
    /// Indices as written.
    pub indices: Vec<u32>,
    /// Values.
    pub values: Vec<f32>,
}

/// What is wrong with a text.
#[derive(Debug, PartialEq)]
pub struct Fault {
    /// Lines before the faulty one.
    pub lines_before: u64,
    message: String,
    help: &'static str,
}

impl Fault {
    fn locate(self, path: &Path, line: u64) -> Error {
        Error::data(path, self.message).at(Place::Line(line + self.lines_before)).help(self.help)
    }
}

type Found<T> = std::result::Result<T, (String, &'static str)>;

/// The rows of `text`; an index below `index_min` is an error.
///
/// # Errors
/// [`Fault`] with the line.
pub fn parse(text: &[u8], index_min: u32) -> std::result::Result<Rows, Fault> {
    let mut rows = Rows { offsets: vec![0], ..Rows::default() };
    for (lines_before, line) in lines(text).enumerate() {
        let content = content(line);
        if !content.is_empty() {
            parse_line(content, index_min, &mut rows).map_err(|(message, help)| Fault {
                lines_before: lines_before as u64,
                message,
                help,
            })?;
        }
    }
    Ok(rows)
}

/// Number of lines before the one that holds row `row`.
fn lines_before(text: &[u8], row: u64) -> u64 {
    let mut rows = lines(text).enumerate().filter(|(_, line)| !content(line).is_empty());
    rows.nth(row as usize).map_or(0, |(number, _)| number as u64)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        at += end + 1;
        Some(&rest[..end])
    })
}

/// A line without comment and blanks around.
fn content(line: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'#', line).unwrap_or(line.len());
    line[..end].trim_ascii()
}

const FORM: &str = "A line is 'label index:value index:value ...'";

fn parse_line(line: &[u8], index_min: u32, rows: &mut Rows) -> Found<()> {
    let (label, mut at) = number::<f64>(line, 0, "a label")?;
    if line.get(at) == Some(&b':') {
        return Err((format!("expected a label, found '{}'", word(line, 0)), FORM));
    }
    let first = rows.indices.len();
    loop {
        let before = at;
        while line.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        if at == line.len() {
            break;
        }
        if at == before {
            return Err((format!("expected a blank before '{}'", word(line, at)), FORM));
        }
        if line[at..].starts_with(b"qid:") {
            if rows.indices.len() > first {
                return Err(("qid stands after an index".to_owned(), "It belongs right after the label"));
            }
            at = number::<f64>(line, at + 4, "a number after 'qid:'")?.1;
            continue;
        }
        let (index, value, end) = pair(line, at)?;
        check_index(index, index_min, rows.indices.get(first..).and_then(<[u32]>::last))?;
        rows.indices.push(index);
        rows.values.push(value);
        at = end;
    }
    rows.labels.push(label);
    rows.offsets.push(
        i32::try_from(rows.indices.len())
            .map_err(|_| ("too many elements in one chunk".to_owned(), "Use smaller chunks"))?,
    );
    Ok(())
}

/// Index, value and end of `index:value` at `at`.
fn pair(line: &[u8], at: usize) -> Found<(u32, f32, usize)> {
    let (mut end, mut index) = (at, 0_u64);
    while let Some(digit) = line.get(end).map(|byte| byte.wrapping_sub(b'0'))
        && digit <= 9
    {
        index = index.saturating_mul(10).saturating_add(u64::from(digit));
        end += 1;
    }
    if end == at || line.get(end) != Some(&b':') {
        if line[at] == b'-' {
            return Err((format!("a negative index in '{}'", word(line, at)), "Indices count from 0 or 1"));
        }
        return Err((format!("expected 'index:value', found '{}'", word(line, at)), FORM));
    }
    let small = u32::try_from(index).ok().filter(|index| *index < INDEX_END);
    let Some(index) = small else {
        return Err((format!("index {} is too large", word(&line[..end], at)), "Indices lie below 2147483648"));
    };
    let (value, end) = number::<f32>(line, end + 1, "a value after the index")?;
    Ok((index, value, end))
}

fn check_index(index: u32, index_min: u32, before: Option<&u32>) -> Found<()> {
    if index < index_min {
        return Err(("index 0, but indices were said to count from 1".to_owned(), "Pass --index-base 0"));
    }
    match before {
        Some(before) if *before == index => {
            Err((format!("index {index} stands twice"), "Add the two values up, or drop one"))
        }
        Some(before) if *before > index => {
            Err((format!("index {index} stands after {before}"), "Sort the indices of each line in rising order"))
        }
        _ => Ok(()),
    }
}

/// A finite number at `at`, and where it ends.
fn number<T: fast_float2::FastFloat + Into<f64> + Copy>(line: &[u8], at: usize, what: &str) -> Found<(T, usize)> {
    let parsed = line.get(at..).and_then(|rest| fast_float2::parse_partial::<T, _>(rest).ok());
    match parsed {
        Some((value, length)) if value.into().is_finite() => Ok((value, at + length)),
        _ => Err((format!("expected {what}, found '{}'", word(line, at)), FORM)),
    }
}

/// The word at `at`, shortened for a message.
fn word(line: &[u8], at: usize) -> String {
    let rest = line.get(at..).unwrap_or_default();
    let word = rest.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    String::from_utf8_lossy(&word[..word.len().min(60)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float32Type, UInt32Type};
    use proptest::prelude::*;

    fn fault(text: &str) -> (u64, String) {
        let fault = parse(text.as_bytes(), 0).unwrap_err();
        (fault.lines_before, fault.message)
    }

    #[test]
    fn rows_are_read_with_comments_blanks_and_query_numbers() {
        let rows = parse(b"# head\n+1 qid:3 1:0.5 7:-2e1 # tail\r\n\n-1\n2.5\t3:1", 1).unwrap();
        assert_eq!(rows.labels, [1.0, -1.0, 2.5]);
        assert_eq!(rows.offsets, [0, 2, 2, 3]);
        assert_eq!(rows.indices, [1, 7, 3]);
        assert_eq!(rows.values, [0.5, -20.0, 1.0]);
        assert_eq!([0, 1, 2].map(|row| lines_before(b"# head\n+1 1:1\n\n-1\n2", row)), [1, 3, 4]);
    }

    #[test]
    fn faults_name_the_line_and_what_is_wrong() {
        for (text, line, message) in [
            ("1 1:2\n1 3:1 2:1\n", 1, "index 2 stands after 3"),
            ("1 1:2 1:3\n", 0, "index 1 stands twice"),
            ("1 -1:2\n", 0, "a negative index in '-1:2'"),
            ("1 2147483648:1\n", 0, "index 2147483648 is too large"),
            ("1 99999999999999999999999:1\n", 0, "index 99999999999999999999999 is too large"),
            ("1 a:2\n", 0, "expected 'index:value', found 'a:2'"),
            ("1 3\n", 0, "expected 'index:value', found '3'"),
            ("1 3:\n", 0, "expected a value after the index, found ''"),
            ("1 3:nan\n", 0, "expected a value after the index, found 'nan'"),
            ("1 3:1e99\n", 0, "expected a value after the index, found '1e99'"),
            ("1 3:1x\n", 0, "expected a blank before 'x'"),
            ("1:2 3:4\n", 0, "expected a label, found '1:2'"),
            ("\nspam 1:2\n", 1, "expected a label, found 'spam'"),
            ("inf 1:2\n", 0, "expected a label, found 'inf'"),
            ("1 2:3 qid:1\n", 0, "qid stands after an index"),
        ] {
            assert_eq!(fault(text), (line, message.to_owned()), "{text:?}");
        }
        assert!(parse(b"1 0:1\n", 1).unwrap_err().help.contains("--index-base 0"));
    }

    fn written(rows: &[(f64, Vec<(u32, f32)>)]) -> String {
        let line = |(label, pairs): &(f64, Vec<(u32, f32)>)| {
            pairs.iter().fold(label.to_string(), |line, (index, value)| format!("{line} {index}:{value}")) + "\n"
        };
        rows.iter().map(line).collect()
    }

    proptest! {
        #[test]
        fn written_rows_are_read_back(rows in prop::collection::vec(
            (-1e6..1e6_f64, prop::collection::btree_map(0..INDEX_END, -1e6..1e6_f32, 0..6)), 0..20))
        {
            let rows: Vec<(f64, Vec<(u32, f32)>)> = rows.into_iter().map(|(label, pairs)| (label, pairs.into_iter().collect())).collect();
            let found = parse(written(&rows).as_bytes(), 0).unwrap();
            prop_assert_eq!(&found.labels, &rows.iter().map(|row| row.0).collect::<Vec<_>>());
            let pairs: Vec<(u32, f32)> = found.indices.iter().copied().zip(found.values.iter().copied()).collect();
            prop_assert_eq!(pairs, rows.iter().flat_map(|row| row.1.clone()).collect::<Vec<_>>());
            let lengths: Vec<usize> = found.offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).collect();
            prop_assert_eq!(lengths, rows.iter().map(|row| row.1.len()).collect::<Vec<_>>());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9 :.#a\n+e-]{0,60}") {
            let _ = parse(text.as_bytes(), 0);
        }
    }

    #[test]
    fn files_become_lists_with_indices_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.svm");
        std::fs::write(&path, "1 1:2 5:3\n0\n").unwrap();
        let spec = [path.display().to_string()];
        let source = crate::source::open(&spec, &SourceOptions::default()).unwrap();
        assert_eq!(source.schema().metadata()[INDEX_BASE], "auto");
        let chunk = source.next().unwrap().unwrap();
        let batch = source.decode(chunk).unwrap().remove(0);
        let row = batch.column(1).as_list::<i32>().value(0);
        assert_eq!(row.as_struct().column(0).as_primitive::<UInt32Type>().values().as_ref(), [1, 5]);
        assert_eq!(row.as_struct().column(1).as_primitive::<Float32Type>().values().as_ref(), [2.0, 3.0]);
        assert_eq!(batch.column(1).as_list::<i32>().value(1).len(), 0);
        assert_eq!(source.place(0, 1), (path.clone(), Place::Line(2)));
        std::fs::write(&path, "# nothing\n").unwrap();
        let error = crate::source::open(&spec, &SourceOptions::default()).err().unwrap().to_string();
        assert!(error.contains("x.svm: holds no rows"), "{error}");
    }
}
