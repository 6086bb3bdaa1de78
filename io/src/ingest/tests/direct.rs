//! One pass makes what two passes make, and makes way for them where it cannot.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use arrow::array::{BooleanArray, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array, UInt16Array};
use gristmill_kernels::dtype::DType;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::*;
use crate::mmap::strips::Strip;
use crate::roles::Roles;
use crate::source::columnar::{Part, Range, Spare};
use crate::source::{Columnar, SourceOptions};

const ROWS: usize = 5_000;

/// A source that counts who reads rows, and may keep quiet about its columns.
struct Watched {
    source: Box<dyn Source>,
    columnar: bool,
    decoded: AtomicUsize,
}

impl Source for Watched {
    fn schema(&self) -> SchemaRef {
        self.source.schema()
    }

    fn bytes(&self) -> Option<u64> {
        self.source.bytes()
    }

    fn rows(&self) -> Option<u64> {
        self.source.rows()
    }

    fn next(&self) -> Result<Option<Chunk>> {
        self.source.next()
    }

    fn decode(&self, chunk: Chunk) -> Result<Vec<RecordBatch>> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        self.source.decode(chunk)
    }

    fn columnar(&self) -> Option<Box<dyn Columnar + '_>> {
        self.source.columnar().filter(|_| self.columnar)
    }

    fn place(&self, number: u64, row: u64) -> (PathBuf, Place) {
        self.source.place(number, row)
    }
}

/// Every type of a plain number; label `y`.
fn columns() -> Vec<(&'static str, ArrayRef)> {
    let wave = |step: f64| (0..ROWS).map(move |row| (row as f64 * step).sin());
    vec![
        ("f32", Arc::new(Float32Array::from_iter_values(wave(0.1).map(|x| x as f32)))),
        ("f64", Arc::new(Float64Array::from_iter_values(wave(0.3)))),
        ("i8", Arc::new(Int8Array::from_iter_values(wave(0.2).map(|x| (100.0 * x) as i8)))),
        ("i32", Arc::new(Int32Array::from_iter_values((0..ROWS as i32).map(|row| row * 1_000 - 7)))),
        ("i64", Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|row| 1_000_000 + row % 300)))),
        ("u16", Arc::new(UInt16Array::from_iter_values((0..ROWS as u16).map(|row| row * 13)))),
        ("flag", Arc::new(BooleanArray::from_iter((0..ROWS).map(|row| Some(row % 3 == 0))))),
        ("unit", Arc::new(Float32Array::from_iter_values((0..ROWS).map(|row| (row % 101) as f32 / 100.0)))),
        ("y", floats((0..ROWS).map(|row| f64::from(row % 7 == 0)))),
    ]
}

/// The columns with one of them changed.
fn with(name: &str, array: &ArrayRef) -> Vec<(&'static str, ArrayRef)> {
    let put = |(found, old): (&'static str, ArrayRef)| (found, if found == name { Arc::clone(array) } else { old });
    columns().into_iter().map(put).collect()
}

fn write(columns: Vec<(&'static str, ArrayRef)>, properties: WriterProperties, path: &Path) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn row_groups(rows: usize) -> WriterProperties {
    WriterProperties::builder().set_max_row_group_row_count(Some(rows)).set_data_page_row_count_limit(100).build()
}

fn options(threads: usize) -> IngestOptions {
    IngestOptions {
        threads: Some(threads),
        grain_rows: Some(960),
        shard_grains: Some(2),
        roles: Roles { label: Some("y".into()), ..Roles::default() },
        ..IngestOptions::default()
    }
}

/// The manifest, and how many chunks of rows were decoded for it.
fn made(path: &Path, options: &IngestOptions, part_bytes: usize, columnar: bool) -> Result<(Manifest, usize)> {
    let reading = SourceOptions { part_bytes, ..SourceOptions::default() };
    let source = Watched {
        source: source::open(&[path.display().to_string()], &reading)?,
        columnar,
        decoded: AtomicUsize::new(0),
    };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let report = ingest_source(&source, Vec::new(), options, &output, &Silent, &Cancel::new())?;
    let files = std::fs::read_dir(&output).unwrap().count();
    assert_eq!(files, report.manifest.shards.len() + 2, "shards, statistics and manifest, and nothing else");
    crate::verify::verify(&output, &Silent, &Cancel::new()).unwrap();
    Ok((report.manifest, source.decoded.into_inner()))
}

#[test]
fn one_pass_and_two_passes_make_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let plain = || WriterProperties::builder().set_dictionary_enabled(false);
    // Row groups larger and smaller than grains, of several parts and of a fraction of one.
    let cases = [
        (row_groups(ROWS), 1 << 20),
        (row_groups(ROWS), 1 << 10),
        (row_groups(1_777), 1 << 20),
        (row_groups(1_920), 1 << 20),
        (row_groups(101), 1 << 20),
        (plain().set_max_row_group_row_count(Some(1_111)).build(), 1 << 20),
    ];
    for (case, (properties, part_bytes)) in cases.into_iter().enumerate() {
        write(columns(), properties, &path);
        let (expected, decoded) = made(&path, &options(2), part_bytes, false).unwrap();
        assert!(decoded > 0);
        for threads in [1, 2, 5] {
            let (found, decoded) = made(&path, &options(threads), part_bytes, true).unwrap();
            assert_eq!((found, decoded), (expected.clone(), 0), "case {case}, {threads} threads");
        }
    }
}

#[test]
fn what_is_not_as_promised_takes_two_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let changed = |row: usize, value: f32| -> ArrayRef {
        Arc::new(Float32Array::from_iter_values((0..ROWS).map(|i| if i == row { value } else { (i % 5) as f32 })))
    };
    let some = (0..ROWS).map(|row| (row != 4_000).then_some(row as f32 / 3.0));
    // Far from zero: the centre is the mean, which no footer tells.
    let far = Float32Array::from_iter_values((0..ROWS).map(|row| 1e6 + (row % 90) as f32 / 16.0));
    let without = WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None).build();
    let cases: Vec<(ArrayRef, WriterProperties)> = vec![
        (changed(4_900, f32::NAN), row_groups(1_000)),
        (changed(4_900, 1.5), row_groups(1_000)),
        (Arc::new(some.collect::<Float32Array>()), row_groups(1_000)),
        (Arc::new(far), row_groups(1_000)),
        (changed(0, 0.5), without),
    ];
    for (case, (array, properties)) in cases.into_iter().enumerate() {
        write(with("f32", &array), properties, &path);
        let (expected, _) = made(&path, &options(2), 1 << 20, false).unwrap();
        let (found, decoded) = made(&path, &options(2), 1 << 20, true).unwrap();
        assert!(decoded > 0, "case {case}");
        assert_eq!(found, expected, "case {case}");
    }
}

/// Only all rows say that labels recur of which `f32` would lose some; that they are measured the first pass finds out itself.
#[test]
fn labels_that_f32_does_not_tell_take_two_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    for (step, has_classes) in [(7, true), (ROWS, false)] {
        let label: ArrayRef = floats((0..ROWS).map(|row| (row % step) as f64 / 3.0 + 0.01));
        write(with("y", &label), row_groups(1_000), &path);
        let (expected, _) = made(&path, &options(2), 1 << 20, false).unwrap();
        let (found, decoded) = made(&path, &options(2), 1 << 20, true).unwrap();
        let dtype = if has_classes { DType::F64 } else { DType::F32 };
        assert!(matches!(kind(&found, "y"), Kind::Numeric { dtype: stored, .. } if *stored == dtype), "{step}");
        assert_eq!((found == expected, decoded > 0), (true, has_classes), "{step}");
    }
}

#[test]
fn options_that_need_all_rows_take_two_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    write(columns(), row_groups(1_000), &path);
    for options in [
        IngestOptions { shuffle: true, ..options(2) },
        IngestOptions { test_share: 0.2, ..options(2) },
        IngestOptions { bucketize: [("f64".to_string(), 8)].into(), ..options(2) },
    ] {
        assert!(made(&path, &options, 1 << 20, true).unwrap().1 > 0, "{options:?}");
    }
}

#[test]
fn faults_are_named_as_in_two_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let values = |value: f64| -> ArrayRef { floats((0..ROWS).map(|row| if row == 3_210 { value } else { 0.5 })) };
    let weighted = IngestOptions {
        roles: Roles { label: Some("y".into()), weight: Some("f64".into()), ..Roles::default() },
        ..options(2)
    };
    for (value, options, expected) in [
        (f64::NEG_INFINITY, options(2), "x.parquet, row 3211, column 'f64': found an infinite value"),
        (-1.0, weighted.clone(), "x.parquet, row 3211, column 'f64': found the weight -1"),
        (f64::NAN, weighted, "x.parquet, row 3211, column 'f64': the weight is missing"),
    ] {
        write(with("f64", &values(value)), row_groups(1_000), &path);
        let error = made(&path, &options, 1 << 20, true).unwrap_err().to_string();
        assert!(error.contains(expected), "expected '{expected}', found '{error}'");
    }
}

#[test]
fn a_file_that_is_cut_short_meanwhile_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    write(columns(), row_groups(1_000), &path);
    let source = source::open(&[path.display().to_string()], &SourceOptions::default()).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(20_000).unwrap();
    let output = folder.path().join("data");
    let error = ingest_source(source.as_ref(), Vec::new(), &options(2), &output, &Silent, &Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("x.parquet"), "{error}");
    assert!(!output.exists());
}

/// A source whose columns are read by nobody before two threads want one.
struct Meeting {
    source: Box<dyn Source>,
    threads: Mutex<HashSet<ThreadId>>,
    came: Condvar,
}

struct Met<'a>(Box<dyn Columnar + 'a>, &'a Meeting);

impl Source for Meeting {
    fn schema(&self) -> SchemaRef {
        self.source.schema()
    }

    fn bytes(&self) -> Option<u64> {
        self.source.bytes()
    }

    fn rows(&self) -> Option<u64> {
        self.source.rows()
    }

    fn next(&self) -> Result<Option<Chunk>> {
        self.source.next()
    }

    fn decode(&self, chunk: Chunk) -> Result<Vec<RecordBatch>> {
        self.source.decode(chunk)
    }

    fn columnar(&self) -> Option<Box<dyn Columnar + '_>> {
        Some(Box::new(Met(self.source.columnar()?, self)))
    }

    fn place(&self, number: u64, row: u64) -> (PathBuf, Place) {
        self.source.place(number, row)
    }
}

impl Columnar for Met<'_> {
    fn parts(&self) -> Vec<Part> {
        self.0.parts()
    }

    fn range(&self, column: usize) -> Option<Range> {
        self.0.range(column)
    }

    fn read(
        &self,
        part: usize,
        column: usize,
        rows: usize,
        to: Option<Strip>,
        spare: &mut Spare,
    ) -> Result<Option<ArrayRef>> {
        // A look at the first rows comes before there are threads.
        if rows == ROWS {
            let mut threads = self.1.threads.lock().unwrap();
            threads.insert(std::thread::current().id());
            self.1.came.notify_all();
            let waited = self.1.came.wait_timeout_while(threads, Duration::from_secs(20), |threads| threads.len() < 2);
            assert!(!waited.unwrap().1.timed_out(), "no second thread came");
        }
        self.0.read(part, column, rows, to, spare)
    }
}

#[test]
fn threads_share_the_columns_of_a_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    write(columns(), row_groups(ROWS), &path);
    let source = source::open(&[path.display().to_string()], &SourceOptions::default()).unwrap();
    let meeting = Meeting { source, threads: Mutex::default(), came: Condvar::new() };
    assert_eq!(meeting.columnar().unwrap().parts().len(), 1);
    let output = folder.path().join("data");
    ingest_source(&meeting, Vec::new(), &options(2), &output, &Silent, &Cancel::new()).unwrap();
    assert_eq!(meeting.threads.into_inner().unwrap().len(), 2);
}
