//! The promises of the CSV reader, from file to batches.

use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};

use crate::error::{Place, Result};
use crate::source::{Source, SourceOptions, TextType, open};

fn options() -> SourceOptions {
    SourceOptions { format: Some("csv".into()), ..SourceOptions::default() }
}

fn read_all(source: &dyn Source) -> Result<RecordBatch> {
    let mut batches = Vec::new();
    while let Some(chunk) = source.next()? {
        batches.extend(source.decode(chunk)?);
    }
    Ok(concat_batches(&source.schema(), &batches).unwrap())
}

fn read_bytes(text: &[u8], options: &SourceOptions) -> Result<RecordBatch> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    std::fs::write(&path, text).unwrap();
    let source = open(&[path.display().to_string()], options)?;
    read_all(source.as_ref())
}

fn read(text: &str) -> RecordBatch {
    read_bytes(text.as_bytes(), &options()).unwrap()
}

fn fails(text: &str, options: &SourceOptions) -> String {
    let error = read_bytes(text.as_bytes(), options).unwrap_err().to_string();
    error.split_once("x.csv").map_or(error.clone(), |(_, rest)| rest.to_owned())
}

fn floats(batch: &RecordBatch, column: &str) -> Vec<Option<f64>> {
    batch.column_by_name(column).unwrap().as_primitive::<Float64Type>().iter().collect()
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    batch.column_by_name(column).unwrap().as_string::<i32>().iter().map(|value| value.map(str::to_owned)).collect()
}

fn types(batch: &RecordBatch) -> Vec<DataType> {
    batch.schema().fields().iter().map(|field| field.data_type().clone()).collect()
}

#[test]
fn types_are_inferred_and_values_are_exact() {
    let batch = read(
        "i,f,b,d,t,s\n1,0.1,true,1970-01-02,1970-01-01T00:00:01Z,a b\n-2,1e-3,False,1970-01-03,1970-01-01 00:00:02,\"c,\"\"d\"\n",
    );
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    assert_eq!(
        types(&batch),
        [DataType::Int64, DataType::Float64, DataType::Boolean, DataType::Date32, micros, DataType::Utf8]
    );
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values().as_ref(), [1, -2]);
    assert_eq!(floats(&batch, "f"), [Some(0.1), Some(1e-3)]);
    assert!(batch.column(2).as_boolean().value(0) && !batch.column(2).as_boolean().value(1));
    assert_eq!(batch.column(3).as_primitive::<Date32Type>().values().as_ref(), [1, 2]);
    assert_eq!(batch.column(4).as_primitive::<TimestampMicrosecondType>().values().as_ref(), [1_000_000, 2_000_000]);
    assert_eq!(texts(&batch, "s"), [Some("a b".into()), Some("c,\"d".into())]);
}

#[test]
fn missing_values_are_told_from_text() {
    let batch = read("x,s\n1.5,NA\n,\"NA\"\nNaN,\"\"\n?,\n\" 2.5 \", z\n");
    assert_eq!(floats(&batch, "x"), [Some(1.5), None, None, None, Some(2.5)]);
    assert_eq!(texts(&batch, "s"), [None, Some("NA".into()), Some("".into()), None, Some(" z".into())]);
    let own = SourceOptions { null_values: vec!["-999".into()], ..options() };
    let batch = read_bytes(b"x,y\n1.5,NaN\n-999,2\n", &own).unwrap();
    assert_eq!(floats(&batch, "x"), [Some(1.5), None]);
    assert!(floats(&batch, "y")[0].unwrap().is_nan());
    // Quoted throughout: a marker of the user's own is missing among numbers, and text among texts.
    let own = SourceOptions { null_values: vec!["NA".into()], ..options() };
    let batch = read_bytes(b"\"x\",\"s\"\n\"2.5\",\"NA\"\n\"NA\",\"b\"\n", &own).unwrap();
    assert_eq!(floats(&batch, "x"), [Some(2.5), None]);
    assert_eq!(texts(&batch, "s"), [Some("NA".into()), Some("b".into())]);
}

#[test]
fn byte_order_mark_line_ends_blank_lines_and_a_missing_last_line_feed_do_not_matter() {
    let expected = read("a,b\n1,x\n2,y\n");
    for text in [
        "\u{feff}a,b\n1,x\n2,y\n",
        "a,b\r\n1,x\r\n2,y\r\n",
        "a,b\r\n1,x\r\n2,y",
        "\na,b\n\n1,x\n\n2,y\n\n",
        "a;b\n1;x\n2;y\n",
        "a\tb\n1\tx\n2\ty",
    ] {
        assert_eq!(read(text), expected, "{text:?}");
    }
}

#[test]
fn compressed_files_are_read_whole_members_and_frames() {
    use std::io::Write;
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let expected = read("a,b\n1,x\n2,y\n");
    let both = [gzip("a,b\n1,x\n"), gzip("2,y\n")].concat();
    assert_eq!(read_bytes(&both, &options()).unwrap(), expected);
    let padded = [&both[..], &[0; 300_000]].concat();
    assert_eq!(read_bytes(&padded, &options()).unwrap(), expected);
    let error = read_bytes(&[&padded[..], b"x"].concat(), &options()).unwrap_err().to_string();
    assert!(error.contains("cannot decompress"), "{error}");
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 3).unwrap();
    let both = [zstd("a,b\n1,x\n"), zstd("2,y\n")].concat();
    assert_eq!(read_bytes(&both, &options()).unwrap(), expected);
    for damaged in [&gzip("a,b\n1,x\n")[..15], &zstd("a,b\n1,x\n")[..12]] {
        let error = read_bytes(damaged, &options()).unwrap_err().to_string();
        assert!(error.contains("cannot decompress"), "{error}");
    }
}

#[test]
fn columns_without_a_header_are_numbered() {
    let own = SourceOptions { header: Some(false), ..options() };
    let batch = read_bytes(b"1.5,a\n2.5,b\n", &own).unwrap();
    assert_eq!(floats(&batch, "column_1"), [Some(1.5), Some(2.5)]);
    assert!(fails("1.5,2\n3,4\n", &options()).contains("line 1: the first line holds numbers (1.5, 2)"));
}

#[test]
fn a_value_that_does_not_fit_names_line_column_value_and_flag() {
    let small = SourceOptions { sample_bytes: 64, chunk_bytes: 64, ..options() };
    let head = format!("a,x\n{}", "1,2\n".repeat(30));
    let error = fails(&format!("{head}\n7,eight\n"), &small);
    assert!(error.starts_with(", line 33, column 'x': expected an integer, found 'eight'"), "{error}");
    assert!(error.contains("--categorical x"), "{error}");
    let decimal = format!("{head}7,8.5\n");
    let error = fails(&decimal, &small);
    assert!(error.contains("line 32, column 'x'") && error.contains("--numeric x"), "{error}");
    let typed = SourceOptions { types: [("x".to_owned(), TextType::Float)].into(), ..small };
    let batch = read_bytes(decimal.as_bytes(), &typed).unwrap();
    assert_eq!(floats(&batch, "x")[30], Some(8.5));
}

#[test]
fn ragged_rows_name_line_and_counts() {
    for (text, expected) in [
        ("a,b\n1,2\n3\n", ", line 3: expected 2 fields, found 1"),
        ("a,b\n1,2\n3,4,5\n", ", line 3: expected 2 fields, found 3"),
        ("a,b\n1,2\n\"x\ny\",2\nbad\n", ", line 5: expected 2 fields, found 1"),
        ("a,b\n1,2\nx\n", ", line 3: expected 2 fields, found 1"),
        ("a,b\n1,\"2\n", ", line 2: a quoted field is never closed"),
        ("a,b\n1,\"2\"3\n", ", line 2: expected a delimiter"),
    ] {
        let comma = SourceOptions { delimiter: Some(b','), ..options() };
        let error = fails(text, &comma);
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
}

#[test]
fn files_without_rows_or_with_bad_text_are_errors() {
    assert!(fails("", &options()).contains("the file is empty"));
    assert!(fails("a,b\n", &options()).contains("holds a header but no rows"));
    assert!(fails("a,b", &options()).contains("holds a header but no rows"));
    assert!(fails("a,a\n1,2\n", &options()).contains("column 'a': two columns have this name"));
    let error = read_bytes(b"a,b\n1,\xff\xfe\n", &options()).unwrap_err().to_string();
    assert!(error.contains("line 2, column 'b': the text is not UTF-8"), "{error}");
    let error = read_bytes(b"\xff\xfea\0,\0", &options()).unwrap_err().to_string();
    assert!(error.contains("UTF-16"), "{error}");
    let short = SourceOptions { record_bytes_max: 1000, chunk_bytes: 100, sample_bytes: 100, ..options() };
    let endless = format!("a,b\n1,\"{}", "z\n".repeat(4000));
    assert!(fails(&endless, &short).contains("line 2: a record is longer than 1000 bytes"));
    // Lengths with the line end.
    let long = |bytes: usize| format!("a,b\n1,{}\n2,z\n", "z".repeat(bytes - 3));
    assert_eq!(read_bytes(long(1000).as_bytes(), &short).unwrap().num_rows(), 2);
    for bytes in [1002, 1100, 1599] {
        assert!(fails(&long(bytes), &short).contains("line 2: a record is longer than 1000 bytes"), "{bytes}");
    }
}

#[test]
fn several_files_need_the_same_header() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("1.csv", "a,b\n1,x\n");
    write("2.csv", "a,b\n2,y\n");
    let spec = [folder.path().display().to_string()];
    let source = open(&spec, &options()).unwrap();
    let batch = read_all(source.as_ref()).unwrap();
    assert_eq!(texts(&batch, "b"), [Some("x".into()), Some("y".into())]);
    assert_eq!(source.place(1, 0), (folder.path().join("2.csv"), Place::Line(2)));
    write("3.csv", "a,c\n2,y\n");
    let source = open(&spec, &options()).unwrap();
    let error = read_all(source.as_ref()).unwrap_err().to_string();
    assert!(error.contains("3.csv, line 1: column 2 is 'c', but in") && error.contains("it is 'b'"), "{error}");
}

#[test]
fn chunks_of_any_size_give_the_same_rows_and_true_lines() {
    let mut text = String::from("a,s\n");
    let mut lines = Vec::new();
    let mut line = 2;
    for row in 0..200 {
        let value = ["plain", "\"two\nlines\"", "\"\"\"q\"\",\""][row % 3];
        if row % 7 == 0 {
            text.push('\n');
            line += 1;
        }
        lines.push(line);
        text.push_str(&format!("{row},{value}\n"));
        line += 1 + u64::from(row % 3 == 1);
    }
    let expected = read(&text);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    std::fs::write(&path, &text).unwrap();
    for chunk_bytes in [1, 7, 50, 300, 100_000] {
        let source = open(&[path.display().to_string()], &SourceOptions { chunk_bytes, ..options() }).unwrap();
        let (mut batches, mut places) = (Vec::new(), Vec::new());
        while let Some(chunk) = source.next().unwrap() {
            let number = chunk.number;
            let decoded = source.decode(chunk).unwrap();
            let rows: usize = decoded.iter().map(RecordBatch::num_rows).sum();
            places.extend((0..rows).map(|row| source.place(number, row as u64).1));
            batches.extend(decoded);
        }
        assert_eq!(concat_batches(&source.schema(), &batches).unwrap(), expected, "{chunk_bytes}");
        assert_eq!(places, lines.iter().map(|&line| Place::Line(line)).collect::<Vec<_>>(), "{chunk_bytes}");
    }
}

#[test]
fn unknown_columns_are_named_with_the_nearest() {
    let own = SourceOptions { ignore: vec!["agee".into()], ..options() };
    let error = read_bytes(b"age,b\n1,2\n", &own).unwrap_err().to_string();
    assert_eq!(error, "there is no column 'agee', is 'age' meant?");
}

#[test]
fn a_file_that_vanishes_or_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    std::fs::write(&path, "a,b\n1,2\n").unwrap();
    let source = open(&[path.display().to_string()], &options()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let error = source.next().unwrap_err().to_string();
    assert!(error.contains("x.csv: cannot open: No such file"), "{error}");
    assert!(open(&[Path::new("/nowhere/x.csv").display().to_string()], &options()).is_err());
}

#[test]
fn kept_fields_are_handed_on_as_they_stand() {
    let kept = SourceOptions {
        columns: Some(vec!["b".into()]),
        verbatim: vec!["a".into(), "b".into(), "s".into()],
        types: [("b".to_owned(), TextType::Number)].into(),
        ..options()
    };
    let batch = read_bytes(b"a,b,c,s\n0001,1.10,9,\"q \"\"x\"\"\"\nNA,TRUE,9,\n,NA,9,\"\"\n", &kept).unwrap();
    assert_eq!(types(&batch), [DataType::Float64, DataType::Utf8, DataType::Utf8, DataType::Utf8]);
    assert_eq!(floats(&batch, "b"), [Some(1.1), Some(1.0), None]);
    assert_eq!(texts(&batch, "a"), [Some("0001".into()), Some("NA".into()), None]);
    let again: Vec<Option<&str>> = batch.column(2).as_string::<i32>().iter().collect();
    assert_eq!(again, [Some("1.10"), Some("TRUE"), Some("NA")]);
    assert_eq!(texts(&batch, "s"), [Some("q \"x\"".into()), None, Some(String::new())]);
}

#[test]
fn a_given_type_is_kept_and_a_source_that_is_settled_may_be_empty() {
    let given = SourceOptions { types: [("x".to_owned(), TextType::Number)].into(), settled: true, ..options() };
    let error = fails("a,x\n1,2\n7,eight\n", &given);
    assert_eq!(
        error,
        ", line 3, column 'x': expected a number, found 'eight'. Mend it, or pass --null-values default,'eight' if it stands for a missing value"
    );
    let batch = read_bytes(b"a,x\n", &given).unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns()), (0, 2));
    assert!(fails("a,x\n", &options()).contains("holds a header but no rows"));
}
