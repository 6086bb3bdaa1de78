//! Folders that hold values (stage 1), as Hive, Spark, pyarrow and DuckDB write them: below `month=3` every row has the value 3 in the
//! column `month`, which the files themselves leave out.
//!
//! Only folders below the folder, or behind the first wild card of the pattern, that was given count, so that where data lie means
//! nothing. A column that the files have is theirs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::files::SourceFile;
use super::{Before, Chunk, Content, Format, Source, SourceOptions, TextType};
use crate::error::{Error, Place, Result};

/// The name of a folder whose rows have no value.
const MISSING: &str = "__HIVE_DEFAULT_PARTITION__";

/// Keys and values of the folders between `root` and the file.
pub fn between(root: &Path, file: &Path) -> Vec<(String, Option<String>)> {
    let below = file.strip_prefix(root).ok().and_then(Path::parent);
    let folders = below.iter().flat_map(|below| below.components());
    let names = folders.map(|folder| folder.as_os_str().to_string_lossy().into_owned());
    names.filter_map(|name| pair(&name)).collect()
}

fn pair(name: &str) -> Option<(String, Option<String>)> {
    let (key, value) = name.split_once('=').filter(|(key, _)| !key.is_empty())?;
    Some((decoded(key), (value != MISSING && !value.is_empty()).then(|| decoded(value))))
}

/// Characters that a name of a folder cannot have stand there as `%` and two hexadecimal digits.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let code = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// The columns that folders make of `files`, without those that the files have.
///
/// # Errors
/// When folders of two files have different keys, or those of one file the same twice.
pub(super) fn keys(files: &[SourceFile], format: &Format, options: &SourceOptions) -> Result<Vec<String>> {
    let Some(first) = files.first() else { return Ok(Vec::new()) };
    let of = |file: &SourceFile| file.partition.iter().map(|(key, _)| key.clone()).collect::<Vec<String>>();
    let mut keys = of(first);
    let listed = |keys: &[String]| if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
    if let Some(other) = files.iter().find(|file| of(file) != keys) {
        let message = format!(
            "the folders around it name the columns {}, but those of {} {}",
            listed(&of(other)),
            first.path.display(),
            listed(&keys)
        );
        return Err(Error::data(&other.path, message)
            .help("Give the files of one layout at a time; a file that is named one by one has no such columns"));
    }
    if let Some((_, twice)) = keys.iter().enumerate().find(|(at, key)| keys[..*at].contains(key)) {
        return Err(Error::data(&first.path, "two folders around it name the same column").column(twice));
    }
    if !keys.is_empty() {
        let look = SourceOptions {
            any_type: true,
            settled: true,
            columns: None,
            verbatim: Vec::new(),
            ignore: Vec::new(),
            types: BTreeMap::new(),
            ..options.clone()
        };
        let theirs = (format.open)(&files[..1], &look)?.schema();
        keys.retain(|key| theirs.field_with_name(key).is_err());
    }
    Ok(keys)
}

/// Open `files`, whose folders make the columns `keys`.
///
/// # Errors
/// As [`super::open_files`].
pub(super) fn open(
    files: &[SourceFile],
    keys: &[String],
    format: &Format,
    options: &SourceOptions,
) -> Result<Box<dyn Source>> {
    let mut theirs = options.clone();
    for names in [&mut theirs.verbatim, &mut theirs.ignore].into_iter().chain(theirs.columns.as_mut()) {
        names.retain(|name| !keys.contains(name));
    }
    theirs.types.retain(|name, _| !keys.contains(name));
    let inner = (format.open)(files, &theirs)?;
    let keys: Vec<&String> = keys.iter().filter(|key| options.wants(key) || options.keeps(key)).collect();
    if keys.is_empty() {
        return Ok(inner);
    }
    let columns: Vec<(Field, Vec<ArrayRef>)> = keys.into_iter().map(|key| column(files, key, options)).collect();
    let known = inner.schema();
    let fields = known.fields().iter().map(|field| field.as_ref().clone());
    let schema =
        Arc::new(Schema::new(fields.chain(columns.iter().map(|(field, _)| field.clone())).collect::<Vec<_>>()));
    let values = columns.into_iter().map(|(_, values)| values).collect();
    let paths = files.iter().map(|file| file.path.clone()).collect();
    Ok(Box::new(Partitioned { inner, schema, values, paths }))
}

/// A column and its value in each file, an array of one row: whole numbers where all files have one, else text.
fn column(files: &[SourceFile], key: &str, options: &SourceOptions) -> (Field, Vec<ArrayRef>) {
    let values: Vec<Option<&str>> = files.iter().map(|file| value(file, key)).collect();
    let number = |value: &Option<&str>| value.map(str::parse::<i64>).transpose().ok();
    let numbers: Option<Vec<Option<i64>>> = values.iter().map(number).collect();
    let is_text = options.types.get(key) == Some(&TextType::Text);
    match numbers.filter(|numbers| !is_text && numbers.iter().any(Option::is_some)) {
        Some(numbers) => {
            let values = numbers.into_iter().map(|number| Arc::new(Int64Array::from(vec![number])) as ArrayRef);
            (Field::new(key, DataType::Int64, true), values.collect())
        }
        None => {
            let values = values.into_iter().map(|text| Arc::new(StringArray::from(vec![text])) as ArrayRef);
            (Field::new(key, DataType::Utf8, true), values.collect())
        }
    }
}

fn value<'a>(file: &'a SourceFile, key: &str) -> Option<&'a str> {
    file.partition.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.as_deref())
}

/// A source, and behind its columns those of the folders.
struct Partitioned {
    inner: Box<dyn Source>,
    schema: SchemaRef,
    /// Of each column the value in each file.
    values: Vec<Vec<ArrayRef>>,
    paths: Vec<PathBuf>,
}

impl Partitioned {
    fn file_of(&self, chunk: &Chunk) -> usize {
        match &chunk.content {
            Content::Part { file, .. } | Content::Text { file, .. } => *file,
            Content::Batches(_) => {
                let path = self.inner.place(chunk.number, 0).0;
                self.paths.iter().position(|known| *known == path).unwrap_or_default()
            }
        }
    }
}

impl Source for Partitioned {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn bytes(&self) -> Option<u64> {
        self.inner.bytes()
    }

    fn rows(&self) -> Option<u64> {
        self.inner.rows()
    }

    fn next(&self) -> Result<Option<Chunk>> {
        self.inner.next()
    }

    fn decode(&self, chunk: Chunk) -> Result<Vec<RecordBatch>> {
        let file = self.file_of(&chunk);
        let path = &self.paths[file];
        let failed = |error: arrow::error::ArrowError| Error::data(path, error.to_string());
        let widened = |batch: RecordBatch| {
            let rows = batch.num_rows();
            let same = arrow::array::UInt32Array::from(vec![0; rows]);
            let mut columns = batch.columns().to_vec();
            for values in &self.values {
                columns.push(arrow::compute::take(&values[file], &same, None).map_err(failed)?);
            }
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(failed)
        };
        self.inner.decode(chunk)?.into_iter().map(widened).collect()
    }

    fn decode_bytes(&self) -> u64 {
        self.inner.decode_bytes()
    }

    fn count(&self, chunk: Chunk) -> Result<u64> {
        self.inner.count(chunk)
    }

    fn narrow(&self, span: Range<u64>) -> Option<Before> {
        self.inner.narrow(span)
    }

    fn place(&self, number: u64, row: u64) -> (PathBuf, Place) {
        self.inner.place(number, row)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use arrow::util::display::array_value_to_string;

    use super::super::{list, open_files};
    use super::*;

    fn lay(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn opened(spec: &Path, options: &SourceOptions) -> Result<Box<dyn Source>> {
        open_files(&list(&[spec.display().to_string()], options)?, options)
    }

    /// All rows, each as its values joined by blanks.
    fn rows(source: &dyn Source) -> Vec<String> {
        let mut rows = Vec::new();
        while let Some(chunk) = source.next().unwrap() {
            for batch in source.decode(chunk).unwrap() {
                for row in 0..batch.num_rows() {
                    let texts = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
                    rows.push(texts.collect::<Vec<_>>().join(" "));
                }
            }
        }
        rows
    }

    #[test]
    fn folders_become_columns_of_the_rows_below_them() {
        let missing = format!("at=x/m={MISSING}/3.csv");
        let folder = lay(&[("at=a%2Fb/m=01/1.csv", "x\n1\n2\n"), ("at=x/m=12/2.csv", "x\n3\n"), (&missing, "x\n4\n")]);
        let source = opened(folder.path(), &SourceOptions::default()).unwrap();
        assert_eq!(rows(source.as_ref()), ["1 a/b 1", "2 a/b 1", "3 x 12", "4 x "]);
        assert_eq!(*source.schema().field(2).data_type(), DataType::Int64);
        // Behind the first wild card of a pattern.
        let source = opened(&folder.path().join("at=*/m=1*/*.csv"), &SourceOptions::default()).unwrap();
        assert_eq!(rows(source.as_ref()), ["3 x 12"]);
        // A file, or a folder inside, says nothing of the folders around it.
        let source = opened(&folder.path().join("at=x/m=12"), &SourceOptions::default()).unwrap();
        assert_eq!(rows(source.as_ref()), ["3"]);
    }

    #[test]
    fn columns_of_folders_are_chosen_and_typed_like_others() {
        let folder = lay(&[("m=01/a.ndjson", "{\"x\": 1}\n"), ("m=2/a.ndjson", "{\"x\": 2}\n")]);
        let of = |change: fn(&mut SourceOptions)| {
            let mut options = SourceOptions::default();
            change(&mut options);
            rows(opened(folder.path(), &options).unwrap().as_ref())
        };
        assert_eq!(of(|options| _ = options.types.insert("m".into(), TextType::Text)), ["1 01", "2 2"]);
        assert_eq!(of(|options| options.ignore = vec!["m".into()]), ["1", "2"]);
        assert_eq!(of(|options| options.columns = Some(vec!["x".into()])), ["1", "2"]);
        assert_eq!(of(|options| options.columns = Some(vec!["x".into(), "m".into()])), ["1 1", "2 2"]);
        let names = super::super::names(
            &list(&[folder.path().display().to_string()], &SourceOptions::default()).unwrap(),
            &SourceOptions::default(),
        );
        assert_eq!(names.unwrap(), ["x", "m"]);
    }

    #[test]
    fn a_column_of_the_files_is_theirs() {
        let folder = lay(&[("m=1/a.csv", "x,m\n1,7\n"), ("m=2/a.csv", "x,m\n2,8\n")]);
        assert_eq!(rows(opened(folder.path(), &SourceOptions::default()).unwrap().as_ref()), ["1 7", "2 8"]);
        let source = opened(folder.path(), &SourceOptions::default()).unwrap();
        assert_eq!(
            source.decode(source.next().unwrap().unwrap()).unwrap()[0].column(1).as_primitive::<Int64Type>().value(0),
            7
        );
    }

    #[test]
    fn folders_of_two_layouts_are_an_error() {
        let folder = lay(&[("m=1/a.csv", "x\n1\n"), ("b.csv", "x\n1\n")]);
        let error = opened(folder.path(), &SourceOptions::default()).err().unwrap().to_string();
        assert!(error.contains("name the columns m, but those of") && error.contains("b.csv none"), "{error}");
        let folder = lay(&[("m=1/m=2/a.csv", "x\n1\n")]);
        let error = opened(folder.path(), &SourceOptions::default()).err().unwrap().to_string();
        assert!(error.contains("column 'm': two folders around it"), "{error}");
    }
}
