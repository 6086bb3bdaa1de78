//! Files written by another implementation are read back: datasets/samples, made by its make_samples.py with pyarrow 26.0.1.
//! The formulas of the values are those of that script.

use std::path::PathBuf;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit};

use super::{SourceOptions, open};

const ROWS: usize = 150;

fn read(name: &str) -> RecordBatch {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../datasets/samples").join(name);
    let source = open(&[path.display().to_string()], &SourceOptions::default())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut batches = Vec::new();
    while let Some(chunk) = source.next().unwrap() {
        batches.extend(source.decode(chunk).unwrap_or_else(|error| panic!("{name}: {error}")));
    }
    concat_batches(&source.schema(), &batches).unwrap()
}

/// A column as another type; none when the file has no such column.
fn column(batch: &RecordBatch, name: &str, to: &DataType) -> Option<ArrayRef> {
    batch.column_by_name(name).map(|column| cast(column, to).unwrap())
}

fn assert_numbers(file: &str, batch: &RecordBatch, name: &str, value: impl Fn(usize) -> Option<f64>) {
    let Some(found) = column(batch, name, &DataType::Float64) else { return };
    let found: Vec<Option<f64>> = found.as_primitive::<Float64Type>().iter().collect();
    assert_eq!(found, (0..ROWS).map(value).collect::<Vec<_>>(), "{file}, column {name}");
}

fn assert_sample(file: &str, columns: usize) {
    let batch = read(file);
    assert_eq!((batch.num_rows(), batch.num_columns()), (ROWS, columns), "{file}");
    assert_numbers(file, &batch, "i", |i| Some((i * 7 % 101) as f64));
    assert_numbers(file, &batch, "x", |i| (i % 10 != 3).then_some(i as f64 / 8.0 - 3.0));
    assert_numbers(file, &batch, "h", |i| Some(i as f64 / 4.0));
    assert_numbers(file, &batch, "b", |i| Some(f64::from(i % 3 == 0)));
    assert_numbers(file, &batch, "m", |i| Some(i as f64 * 0.25));
    assert_numbers(file, &batch, "n.a", |i| (i % 7 != 0).then_some(i as f64));
    assert_numbers(file, &batch, "n.c", |i| (i % 7 != 0).then_some(i as f64 / 2.0));
    let days = column(&batch, "d", &DataType::Date32).and_then(|days| cast(&days, &DataType::Int32).ok());
    let days = cast(&days.unwrap(), &DataType::Int64).unwrap();
    // 2020-01-01 is day 18,262.
    assert!(days.as_primitive::<Int64Type>().iter().eq((0..ROWS as i64).map(|i| Some(18_262 + i))), "{file}, column d");
    let micros = column(&batch, "t", &DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
    let micros = cast(&micros, &DataType::Int64).unwrap();
    assert!(
        micros.as_primitive::<Int64Type>().iter().eq((0..ROWS as i64).map(|i| Some(i * 1_000_003))),
        "{file}, column t"
    );
    let words = column(&batch, "s", &DataType::Utf8).unwrap();
    assert!(
        words.as_string::<i32>().iter().map(Option::unwrap).eq((0..ROWS).map(|i| format!("w{}", i % 13))),
        "{file}, column s"
    );
    if let Some(vectors) = batch.column_by_name("v") {
        for i in 0..ROWS {
            let vector = vectors.as_list::<i32>().value(i);
            assert_eq!(
                vector.as_primitive::<Float32Type>().values().as_ref(),
                [i as f32, i as f32 + 0.5],
                "{file}, column v"
            );
        }
    }
}

#[test]
fn parquet_of_every_codec_and_encoding() {
    for codec in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"] {
        assert_sample(&format!("codec_{codec}.parquet"), 11);
    }
    assert_sample("int96.parquet", 11);
    assert_sample("dictionary.parquet", 11);
    assert_sample("delta_byte_array.parquet", 5);
    assert_sample("delta_length.parquet", 5);
}

#[test]
fn arrow_files_streams_and_feather() {
    for codec in ["None", "lz4", "zstd"] {
        assert_sample(&format!("file_{codec}.arrow"), 11);
        assert_sample(&format!("stream_{codec}.arrows"), 11);
    }
    assert_sample("feather_v2.feather", 11);
}

#[test]
fn csv_with_quotes_and_tsv() {
    assert_sample("quoted.csv", 6);
    assert_sample("plain.tsv", 6);
}
