//! The promises of the Parquet reader, over files written here with the `parquet` crate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float64Array, Int32Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Float32Type};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::WriterProperties;

use crate::error::{Place, Result};
use crate::source::columnar::Spare;
use crate::source::{Source, SourceOptions, open};

fn table(rows: i32) -> RecordBatch {
    let numbers: ArrayRef =
        Arc::new(Float32Array::from_iter((0..rows).map(|row| (row % 7 != 3).then_some(row as f32 / 3.0))));
    let labels: ArrayRef = Arc::new(Int32Array::from_iter_values((0..rows).map(|row| row % 2)));
    let words: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("w{}", row % 5))));
    RecordBatch::try_from_iter([("x", numbers), ("y", labels), ("s", words)]).unwrap()
}

fn write(path: &Path, batch: &RecordBatch, properties: WriterProperties) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn read_all(source: &dyn Source) -> Result<RecordBatch> {
    let mut batches = Vec::new();
    while let Some(chunk) = source.next()? {
        batches.extend(source.decode(chunk)?);
    }
    Ok(concat_batches(&source.schema(), &batches).unwrap())
}

fn read(path: &Path, options: &SourceOptions) -> Result<RecordBatch> {
    read_all(open(&[path.display().to_string()], options)?.as_ref())
}

/// The same values, whatever the schemas say about nullability.
fn assert_same(found: &RecordBatch, expected: &RecordBatch) {
    assert_eq!(found.num_columns(), expected.num_columns());
    for (at, column) in expected.columns().iter().enumerate() {
        assert_eq!(found.column(at), column, "column {at}");
    }
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    (folder, path)
}

#[test]
fn every_codec_and_encoding_is_read() {
    let (_folder, path) = scratch();
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(Default::default()),
    ];
    let expected = table(3000);
    for codec in codecs {
        write(&path, &expected, WriterProperties::builder().set_compression(codec).build());
        assert_same(&read(&path, &SourceOptions::default()).unwrap(), &expected);
    }
    for (number, text) in [
        (Encoding::PLAIN, Encoding::PLAIN),
        (Encoding::BYTE_STREAM_SPLIT, Encoding::DELTA_BYTE_ARRAY),
        (Encoding::PLAIN, Encoding::DELTA_LENGTH_BYTE_ARRAY),
    ] {
        for version in [
            parquet::file::properties::WriterVersion::PARQUET_1_0,
            parquet::file::properties::WriterVersion::PARQUET_2_0,
        ] {
            let properties = WriterProperties::builder()
                .set_writer_version(version)
                .set_dictionary_enabled(false)
                .set_column_encoding("x".into(), number)
                .set_column_encoding("y".into(), Encoding::DELTA_BINARY_PACKED)
                .set_column_encoding("s".into(), text)
                .build();
            write(&path, &expected, properties);
            assert_same(&read(&path, &SourceOptions::default()).unwrap(), &expected);
        }
    }
}

#[test]
fn large_row_groups_are_split_into_parts_with_true_places() {
    let (_folder, path) = scratch();
    let expected = table(10_000);
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(6000)).set_data_page_row_count_limit(500).build();
    write(&path, &expected, properties);
    let options = SourceOptions { part_bytes: 1024, ..SourceOptions::default() };
    let source = open(&[path.display().to_string()], &options).unwrap();
    assert_eq!(source.rows(), Some(10_000));
    let (mut batches, mut row, mut bytes, mut chunks) = (Vec::new(), 0, 0, Vec::new());
    while let Some(chunk) = source.next().unwrap() {
        chunks.push(chunk);
    }
    assert_eq!(chunks.len(), 6 + 4);
    for chunk in chunks {
        bytes += chunk.bytes;
        assert_eq!(source.place(chunk.number, 2), (path.clone(), Place::Row(row + 3)));
        let decoded = source.decode(chunk).unwrap();
        row += decoded.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        batches.extend(decoded);
    }
    assert_same(&concat_batches(&source.schema(), &batches).unwrap(), &expected);
    assert_eq!(Some(bytes), source.bytes());
}

/// Columns that are read by several readers, because one of them all would hold too many pages, are the columns of one: nested ones too,
/// in whatever order they are wanted.
#[test]
fn wide_row_groups_are_read_some_columns_at_a_time() {
    let (_folder, path) = scratch();
    let table = table(5_000);
    let inner = StructArray::from(table.clone());
    let lists =
        ListArray::from_iter_primitive::<Float32Type, _, _>((0..5_000).map(|row| Some(vec![Some(row as f32); 3])));
    let columns: [(&str, ArrayRef); 4] = [
        ("a", Arc::clone(table.column(0))),
        ("of", Arc::new(inner)),
        ("list", Arc::new(lists)),
        ("z", Arc::clone(table.column(2))),
    ];
    write(&path, &RecordBatch::try_from_iter(columns).unwrap(), WriterProperties::default());
    let whole = read(&path, &SourceOptions::default()).unwrap();
    assert_eq!(whole.num_columns(), 6);
    for part_bytes in [1_024, 30_000, 100_000] {
        assert_same(&read(&path, &SourceOptions { part_bytes, ..SourceOptions::default() }).unwrap(), &whole);
    }
}

#[test]
fn columns_longer_than_a_window_are_read_whole() {
    let (_folder, path) = scratch();
    // Distinct values: the dictionary, where there is one, is one page of 1.6 MB.
    let value = |row: u32| f64::from(row.wrapping_mul(2_654_435_761)) / 7.0;
    let numbers: ArrayRef = Arc::new(Float64Array::from_iter_values((0..200_000).map(value)));
    let labels: ArrayRef = Arc::new(Int32Array::from_iter_values((0..200_000).map(|row| row % 2)));
    let batch = RecordBatch::try_from_iter([("x", numbers), ("y", labels)]).unwrap();
    let about = || WriterProperties::builder().set_data_page_row_count_limit(9_001).set_write_batch_size(1_000);
    let cases = [
        about().set_dictionary_enabled(false),
        about().set_dictionary_page_size_limit(4 << 20),
        about().set_dictionary_enabled(false).set_compression(Compression::SNAPPY),
        about().set_dictionary_page_size_limit(4 << 20).set_compression(Compression::SNAPPY),
    ];
    let mut spare = Spare::default();
    for (case, properties) in cases.into_iter().enumerate() {
        write(&path, &batch, properties.build());
        let source = open(&[path.display().to_string()], &SourceOptions::default()).unwrap();
        let columns = source.columnar().unwrap();
        assert_eq!(columns.parts().len(), 1);
        for (number, expected) in batch.columns().iter().enumerate() {
            let found = columns.read(0, number, batch.num_rows(), None, &mut spare).unwrap().unwrap();
            assert_eq!(&found, expected, "case {case}, column {number}");
        }
    }
}

#[test]
fn structs_are_flattened_and_lists_of_numbers_stay() {
    let (_folder, path) = scratch();
    let list = ListArray::from_iter_primitive::<Float32Type, _, _>(vec![
        Some(vec![Some(1.0), Some(2.0)]),
        None,
        Some(vec![Some(3.0), Some(4.0)]),
    ]);
    let strange = ListArray::from_iter_primitive::<Float32Type, _, _>(vec![Some(vec![Some(1.0)]); 3]);
    let strange = {
        let field = Arc::new(Field::new("item", strange.data_type().clone(), true));
        ListArray::new(field, arrow::buffer::OffsetBuffer::from_lengths([1, 1, 1]), Arc::new(strange), None)
    };
    let number: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let inner = StructArray::from(vec![
        (Arc::new(Field::new("deep", strange.data_type().clone(), true)), Arc::new(strange) as ArrayRef),
        (Arc::new(Field::new("b", DataType::Int32, true)), Arc::clone(&number)),
    ]);
    let batch = RecordBatch::try_from_iter([
        ("v", Arc::new(list) as ArrayRef),
        ("a", Arc::new(inner) as ArrayRef),
        ("z", number),
    ])
    .unwrap();
    write(&path, &batch, WriterProperties::default());
    let error = read(&path, &SourceOptions::default()).unwrap_err().to_string();
    assert!(error.contains("column 'a.deep': the type List") && error.contains("--ignore a.deep"), "{error}");
    let options = SourceOptions { ignore: vec!["a.deep".into()], ..SourceOptions::default() };
    let found = read(&path, &options).unwrap();
    let names: Vec<String> = found.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["v", "a.b", "z"]);
    assert_eq!(found.column(0).as_list::<i32>().value(2).as_primitive::<Float32Type>().values().as_ref(), [3.0, 4.0]);
    assert!(found.column(0).is_null(1));
}

#[test]
fn several_files_need_the_same_columns_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().display().to_string();
    let first = table(10);
    write(&folder.path().join("1.parquet"), &first, WriterProperties::default());
    write(&folder.path().join("2.parquet"), &first.project(&[2, 0, 1]).unwrap(), WriterProperties::default());
    let source = open(std::slice::from_ref(&spec), &SourceOptions::default()).unwrap();
    assert_same(&read_all(source.as_ref()).unwrap(), &concat_batches(&first.schema(), [&first, &first]).unwrap());
    let other: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let one = table(1);
    let wrong =
        RecordBatch::try_from_iter([("x", Arc::clone(one.column(0))), ("y", other), ("s", Arc::clone(one.column(2)))])
            .unwrap();
    write(&folder.path().join("3.parquet"), &wrong, WriterProperties::default());
    let error = open(std::slice::from_ref(&spec), &SourceOptions::default()).err().unwrap().to_string();
    assert!(
        error.contains("3.parquet, column 'y': the type is Utf8, but in") && error.contains("it is Int32"),
        "{error}"
    );
    std::fs::write(folder.path().join("3.parquet"), "").unwrap();
    let error = open(std::slice::from_ref(&spec), &SourceOptions::default()).err().unwrap().to_string();
    assert!(error.contains("3.parquet: the file is empty"), "{error}");
    std::fs::remove_file(folder.path().join("3.parquet")).unwrap();
    std::fs::write(folder.path().join("3.csv"), "a,b\n1,2\n").unwrap();
    let error = open(&[spec], &SourceOptions::default()).err().unwrap().to_string();
    assert!(error.contains("3.csv: is a CSV file, but") && error.contains("1.parquet is a Parquet file"), "{error}");
}

#[test]
fn damaged_files_are_errors() {
    let (folder, path) = scratch();
    write(&path, &table(500), WriterProperties::default());
    let good = std::fs::read(&path).unwrap();
    let fails = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        read(&path, &SourceOptions::default()).unwrap_err().to_string()
    };
    assert!(fails(&good[..good.len() - 5]).contains("not a readable Parquet file"));
    assert!(fails(&good[..3]).contains("not a readable Parquet file"));
    assert!(fails(b"a,b\n1,2\n").contains("not a readable Parquet file"));
    write(&path, &table(0), WriterProperties::default());
    assert!(read(&path, &SourceOptions::default()).unwrap_err().to_string().contains("holds no rows"));
    let misnamed = folder.path().join("y.csv");
    std::fs::write(&misnamed, &good).unwrap();
    let error = read(&misnamed, &SourceOptions::default()).unwrap_err().to_string();
    assert!(error.contains("is named as a CSV file, but its content is a Parquet file"), "{error}");
}

#[test]
fn dictionaries_of_booleans_and_decimals_are_dictionaries() {
    use arrow::array::{BooleanArray, Decimal128Array, DictionaryArray, Int8Array};
    let (_folder, path) = scratch();
    let keys = || Int8Array::from(vec![Some(1), None, Some(0), Some(1)]);
    let flags: ArrayRef = Arc::new(DictionaryArray::new(keys(), Arc::new(BooleanArray::from(vec![false, true]))));
    let prices = Decimal128Array::from(vec![150, 275]).with_precision_and_scale(9, 2).unwrap();
    let prices: ArrayRef = Arc::new(DictionaryArray::new(keys(), Arc::new(prices)));
    let inner =
        StructArray::from(vec![(Arc::new(Field::new("flag", flags.data_type().clone(), true)), Arc::clone(&flags))]);
    let plain: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3, 4]));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("unread", Arc::clone(&plain), true),
        ("flag", flags, true),
        ("price", prices, true),
        ("in", Arc::new(inner) as ArrayRef, true),
    ])
    .unwrap();
    // The writer knows no dictionaries of booleans either: values are written plain, and the schema is said to hold them.
    let values = |name: &str| -> ArrayRef {
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]));
        match name {
            "in" => Arc::new(StructArray::from(vec![(Arc::new(Field::new("flag", DataType::Boolean, true)), flags)])),
            "flag" => flags,
            _ => arrow::compute::cast(batch.column_by_name(name).unwrap(), &DataType::Float64).unwrap(),
        }
    };
    let decimals = |array: &ArrayRef| arrow::compute::cast(array, &DataType::Decimal128(9, 2)).unwrap();
    let written = RecordBatch::try_from_iter_with_nullable([
        ("unread", plain, true),
        ("flag", values("flag"), true),
        ("price", decimals(&values("price")), true),
        ("in", values("in"), true),
    ])
    .unwrap();
    let mut properties = WriterProperties::builder().build();
    parquet::arrow::add_encoded_arrow_schema_to_metadata(&batch.schema(), &mut properties);
    let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new_with_options(file, written.schema(), options).unwrap();
    writer.write(&written).unwrap();
    writer.close().unwrap();

    let options = SourceOptions { ignore: vec!["unread".into()], ..SourceOptions::default() };
    let found = read(&path, &options).unwrap();
    let texts = |name: &str| -> Vec<Option<String>> {
        let column = found.column_by_name(name).unwrap();
        assert!(matches!(column.data_type(), DataType::Dictionary(..)), "{name}: {}", column.data_type());
        let texts = arrow::compute::cast(column, &DataType::Utf8).unwrap();
        texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    };
    let owned = |texts: [Option<&str>; 4]| texts.map(|text| text.map(str::to_owned)).to_vec();
    assert_eq!(texts("flag"), owned([Some("true"), None, Some("false"), Some("true")]));
    assert_eq!(texts("in.flag"), owned([Some("true"), None, Some("false"), Some("true")]));
    assert_eq!(texts("price"), owned([Some("2.75"), None, Some("1.50"), Some("2.75")]));
}

#[test]
fn a_page_header_that_announces_more_than_the_file_has_ends() {
    let (_folder, path) = scratch();
    let numbers: ArrayRef = Arc::new(Float64Array::from_iter_values((0..300).map(f64::from)));
    let plain = WriterProperties::builder().set_dictionary_enabled(false).build();
    write(&path, &RecordBatch::try_from_iter([("x", numbers)]).unwrap(), plain);
    let mut bytes = std::fs::read(&path).unwrap();
    // Behind the magic bytes: an unknown field, a list of 2^31 - 1 numbers of eight bytes each.
    bytes[4..11].copy_from_slice(&[0x99, 0xf7, 0xff, 0xff, 0xff, 0xff, 0x07]);
    std::fs::write(&path, bytes).unwrap();
    let error = read(&path, &SourceOptions::default()).unwrap_err().to_string();
    assert!(error.contains("x.parquet") && error.contains("not a readable Parquet file"), "{error}");
    let source = open(&[path.display().to_string()], &SourceOptions::default()).unwrap();
    let found = source.columnar().unwrap().read(0, 0, 300, None, &mut Spare::default());
    assert!(!matches!(found, Ok(Some(_))));
}

#[test]
fn texts_and_lists_are_the_same_in_whatever_layout() {
    use arrow::array::{DictionaryArray, LargeStringArray};
    use arrow::datatypes::Int32Type;
    let list = |name: &str| -> ArrayRef {
        let values: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0]));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1, 1]);
        Arc::new(ListArray::new(Arc::new(Field::new(name, DataType::Float32, true)), offsets, values, None))
    };
    let texts: [ArrayRef; 3] = [
        Arc::new(StringArray::from(vec![Some("a"), None])),
        Arc::new(LargeStringArray::from(vec![Some("a"), None])),
        Arc::new([Some("a"), None].into_iter().collect::<DictionaryArray<Int32Type>>()),
    ];
    for first in &texts {
        for second in &texts {
            let folder = tempfile::tempdir().unwrap();
            for (name, text, item) in [("1.parquet", first, "item"), ("2.parquet", second, "element")] {
                let columns = [("t", Arc::clone(text), true), ("v", list(item), true)];
                let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
                write(&folder.path().join(name), &batch, WriterProperties::default());
            }
            let found = read(folder.path(), &SourceOptions::default()).unwrap();
            let plain = arrow::compute::cast(found.column(0), &DataType::Utf8).unwrap();
            let plain: Vec<Option<&str>> = plain.as_string::<i32>().iter().collect();
            assert_eq!(plain, [Some("a"), None, Some("a"), None], "{} and {}", first.data_type(), second.data_type());
            assert_eq!(found.column(1).len(), 4);
        }
    }
}

/// Also where all columns are plain numbers without a missing one, which are read column by column in files of one type.
#[test]
fn whole_numbers_in_one_file_and_decimal_ones_in_the_next() {
    use arrow::array::Int64Array;
    use arrow::datatypes::Float64Type;
    let whole: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let real: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 3.0]));
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, x: &ArrayRef| {
        let batch = RecordBatch::try_from_iter([("x", x.clone())]).unwrap();
        write(&folder.path().join(name), &batch, WriterProperties::default());
    };
    let values = |source: &dyn Source| {
        let found = read_all(source)?;
        Ok::<_, crate::error::Error>(found.column(0).as_primitive::<Float64Type>().values().to_vec())
    };
    let open_all = || open(&[folder.path().display().to_string()], &SourceOptions::default()).unwrap();
    for (first, second, expected) in [(&whole, &real, [1.0, 2.0, 0.5, 3.0]), (&real, &whole, [0.5, 3.0, 1.0, 2.0])] {
        put("1.parquet", first);
        put("2.parquet", second);
        let source = open_all();
        assert_eq!(values(source.as_ref()).unwrap(), expected);
        assert!(source.columnar().is_none());
    }
    put("2.parquet", &(Arc::new(Int64Array::from(vec![1, (1 << 53) + 1])) as ArrayRef));
    let error = values(open_all().as_ref()).unwrap_err().to_string();
    let parts = ["2.parquet", "column 'x'", "Int64 cannot be read as Float64", "2^53", "Write all files with one type"];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}
