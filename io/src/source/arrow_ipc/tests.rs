//! The promises of the Arrow reader, over files written here with the `arrow` crate.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, Float32Array, Float64Array, Int64Array, NullArray, RecordBatch, StringArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type, Int32Type};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{DictionaryHandling, FileWriter, IpcWriteOptions, StreamWriter};

use crate::error::{Place, Result};
use crate::source::{Source, SourceOptions, open};

fn words(values: &[&str]) -> ArrayRef {
    Arc::new(values.iter().copied().collect::<DictionaryArray<Int32Type>>())
}

fn batch(first: i64, values: &[&str]) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..values.len()).map(|row| first + row as i64)));
    let decimals: ArrayRef =
        Arc::new(Float32Array::from_iter((0..values.len()).map(|row| (row != 1).then_some(row as f32 * 0.5))));
    RecordBatch::try_from_iter([("n", numbers), ("x", decimals), ("w", words(values))]).unwrap()
}

/// Of one dictionary: a file holds no other.
fn two_batches() -> [RecordBatch; 2] {
    let all = batch(0, &["a", "b", "a", "b", "b"]);
    [all.slice(0, 3), all.slice(3, 2)]
}

fn file(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn stream(batches: &[RecordBatch], handling: DictionaryHandling) -> Vec<u8> {
    let options = IpcWriteOptions::default().with_dictionary_handling(handling);
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn read_all(source: &dyn Source) -> Result<RecordBatch> {
    let mut batches = Vec::new();
    while let Some(chunk) = source.next()? {
        batches.extend(source.decode(chunk)?);
    }
    Ok(concat_batches(&source.schema(), &batches).unwrap())
}

fn read(bytes: &[u8], options: &SourceOptions) -> Result<RecordBatch> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bin");
    std::fs::write(&path, bytes).unwrap();
    read_all(open(&[path.display().to_string()], options)?.as_ref())
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let column = cast(batch.column_by_name("w").unwrap(), &DataType::Utf8).unwrap();
    column.as_string::<i32>().iter().map(|value| value.unwrap().to_owned()).collect()
}

#[test]
fn files_are_read_plain_and_compressed() {
    let batches = two_batches();
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let found = read(&file(&batches, compression), &SourceOptions::default()).unwrap();
        let expected = concat_batches(&batches[0].schema(), &batches).unwrap();
        assert_eq!(found.columns()[..2], expected.columns()[..2]);
        assert_eq!(texts(&found), ["a", "b", "a", "b", "b"]);
    }
}

#[test]
fn a_footer_may_be_newer_than_the_messages() {
    use arrow::ipc::reader::read_footer_length;
    use arrow::ipc::{Footer, MetadataVersion, root_as_footer};
    let batches = two_batches();
    let options = IpcWriteOptions::try_new(64, false, MetadataVersion::V4).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    let mut bytes = writer.into_inner().unwrap();
    assert_eq!(texts(&read(&bytes, &SourceOptions::default()).unwrap()).len(), 5);
    let end = bytes.len() - 10;
    let start = end - read_footer_length(bytes[end..].try_into().unwrap()).unwrap();
    let table = root_as_footer(&bytes[start..end]).unwrap()._tab;
    let version = start + table.loc() + usize::from(table.vtable().get(Footer::VT_VERSION));
    assert_eq!(bytes[version], MetadataVersion::V4.0 as u8);
    bytes[version] = MetadataVersion::V5.0 as u8;
    assert_eq!(texts(&read(&bytes, &SourceOptions::default()).unwrap()), ["a", "b", "a", "b", "b"]);
}

#[test]
fn streams_are_read_with_replaced_and_growing_dictionaries() {
    let growing =
        [batch(0, &["a", "b"]), batch(2, &["a", "b"]), batch(4, &["a", "b", "c"]), batch(7, &["a", "b", "c", "d"])];
    for handling in [DictionaryHandling::Resend, DictionaryHandling::Delta] {
        let found = read(&stream(&growing, handling), &SourceOptions::default()).unwrap();
        assert_eq!(texts(&found), ["a", "b", "a", "b", "a", "b", "c", "a", "b", "c", "d"]);
        assert_eq!(found.num_rows(), 11);
    }
    let replaced = [batch(0, &["a", "b"]), batch(2, &["x", "y"]), batch(4, &["a"])];
    let found = read(&stream(&replaced, DictionaryHandling::Resend), &SourceOptions::default()).unwrap();
    assert_eq!(texts(&found), ["a", "b", "x", "y", "a"]);
}

#[test]
fn rows_and_places_are_known_and_columns_projected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.arrow");
    std::fs::write(&path, file(&two_batches(), None)).unwrap();
    let options = SourceOptions { ignore: vec!["n".into(), "w".into()], ..SourceOptions::default() };
    let source = open(&[path.display().to_string()], &options).unwrap();
    assert_eq!((source.rows(), source.schema().fields().len()), (Some(5), 1));
    assert_eq!(read_all(source.as_ref()).unwrap().num_rows(), 5);
    assert_eq!(source.place(1, 1), (path, Place::Row(5)));
}

#[test]
fn damaged_files_are_errors_with_what_is_wrong() {
    let good = file(&[batch(0, &["a", "b", "a"])], None);
    let fails = |bytes: &[u8]| read(bytes, &SourceOptions::default()).unwrap_err().to_string();
    assert!(fails(&good[..good.len() - 3]).contains("does not end with a footer"));
    assert!(fails(b"ARROW1\0\0").contains("has no footer"));
    let piped = stream(&[batch(0, &["a", "b", "a"])], DictionaryHandling::Resend);
    assert!(fails(&piped[..piped.len() - 40]).contains("cut short"));
    assert!(fails(&piped[..200]).contains("the file ends before") || fails(&piped[..200]).contains("cut short"));
    let empty = RecordBatch::new_empty(batch(0, &["a"]).schema());
    assert!(fails(&file(&[empty], None)).contains("holds no rows"));
}

#[test]
fn a_stream_may_end_without_an_end_mark() {
    let piped = stream(&[batch(0, &["a", "b", "a"])], DictionaryHandling::Resend);
    assert_eq!(read(&piped[..piped.len() - 8], &SourceOptions::default()).unwrap().num_rows(), 3);
}

#[test]
fn files_of_other_columns_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let one = batch(0, &["a"]);
    std::fs::write(folder.path().join("1.arrow"), file(std::slice::from_ref(&one), None)).unwrap();
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let other =
        RecordBatch::try_from_iter([("n", Arc::clone(&text)), ("x", Arc::clone(one.column(1))), ("w", text)]).unwrap();
    std::fs::write(folder.path().join("2.arrow"), file(&[other], None)).unwrap();
    let error =
        open(&[Path::new(folder.path()).display().to_string()], &SourceOptions::default()).err().unwrap().to_string();
    assert!(
        error.contains("2.arrow, column 'n': the type is Utf8, but in") && error.contains("it is Int64"),
        "{error}"
    );
}

/// Whichever file comes first, all are read as what holds the values of both.
#[test]
fn types_of_files_may_differ_where_one_holds_all_values() {
    let none: ArrayRef = Arc::new(NullArray::new(2));
    let whole: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let real: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), None]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let folder = tempfile::tempdir().unwrap();
    for order in [["1", "2", "3"], ["3", "1", "2"], ["2", "3", "1"]] {
        let files = [(&whole, &none), (&real, &text), (&none, &none)];
        for (name, (x, t)) in order.iter().zip(files) {
            let batch =
                RecordBatch::try_from_iter_with_nullable([("x", x.clone(), true), ("t", t.clone(), true)]).unwrap();
            std::fs::write(folder.path().join(format!("{name}.arrow")), file(&[batch], None)).unwrap();
        }
        let source = open(&[folder.path().display().to_string()], &SourceOptions::default()).unwrap();
        let found = read_all(source.as_ref()).unwrap();
        let mut values: Vec<f64> = found.column(0).as_primitive::<Float64Type>().iter().flatten().collect();
        values.sort_by(f64::total_cmp);
        let texts: Vec<&str> = found.column(1).as_string::<i32>().iter().flatten().collect();
        assert_eq!((values, texts, found.num_rows()), (vec![0.5, 1.0, 2.0], vec!["a", "b"], 6), "{order:?}");
    }
}
