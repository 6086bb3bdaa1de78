//! The promises of the NDJSON reader, from file to batches.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type};

use crate::error::{Place, Result};
use crate::source::{SourceOptions, TextType, open};

fn read(text: &str, options: &SourceOptions) -> Result<RecordBatch> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ndjson");
    std::fs::write(&path, text).unwrap();
    let source = open(&[path.display().to_string()], options)?;
    let mut batches = Vec::new();
    while let Some(chunk) = source.next()? {
        batches.extend(source.decode(chunk)?);
    }
    Ok(concat_batches(&source.schema(), &batches).unwrap())
}

fn fails(text: &str, options: &SourceOptions) -> String {
    let error = read(text, options).unwrap_err().to_string();
    error.split_once("x.ndjson").map_or(error.clone(), |(_, rest)| rest.to_owned())
}

/// A sample of the first lines only.
fn short() -> SourceOptions {
    SourceOptions { sample_bytes: 64, chunk_bytes: 64, ..SourceOptions::default() }
}

#[test]
fn nested_objects_are_flattened_and_absent_keys_are_missing() {
    let text = r#"{"a": 1, "o": {"x": 0.5, "y": {"z": "p"}}, "d": "1970-01-02", "v": [1, 2.5]}

{"o": {"x": 2}, "a": null, "b": true, "v": [3, null]}
{"a": -3, "o": null, "d": "1970-01-03"}
"#;
    let batch = read(text, &SourceOptions::default()).unwrap();
    let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["a", "o.x", "o.y.z", "d", "v", "b"]);
    let a: Vec<Option<i64>> = batch.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(a, [Some(1), None, Some(-3)]);
    let x: Vec<Option<f64>> = batch.column(1).as_primitive::<Float64Type>().iter().collect();
    assert_eq!(x, [Some(0.5), Some(2.0), None]);
    assert_eq!(batch.column(2).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("p"), None, None]);
    assert_eq!(batch.column(3).as_primitive::<Date32Type>().iter().collect::<Vec<_>>(), [Some(1), None, Some(2)]);
    let vectors = batch.column(4).as_list::<i32>();
    assert_eq!(vectors.value(0).as_primitive::<Float64Type>().values().as_ref(), [1.0, 2.5]);
    assert!(vectors.value(1).is_null(1) && vectors.is_null(2));
    assert_eq!(batch.column(5).as_boolean().iter().collect::<Vec<_>>(), [None, Some(true), None]);
}

#[test]
fn later_lines_that_do_not_fit_are_named() {
    let head = "{\"a\": 1, \"s\": \"x\", \"v\": [1]}\n".repeat(20);
    for (line, expected) in [
        ("{\"a\": 1, \"new\": 2}", ", line 21, column 'new': a key that the first lines do not have"),
        ("{\"a\": \"text\"}", ", line 21, column 'a': expected an integer, found 'text'"),
        ("{\"a\": 1.5}", ", line 21, column 'a': expected an integer, found 1.5"),
        ("{\"a\": 1, \"a\": 2}", ", line 21, column 'a': the key stands twice"),
        ("{\"a\": {\"b\": 2}}", ", line 21, column 'a': expected an integer, found an object"),
        ("{\"v\": [\"x\"]}", ", line 21, column 'v': expected an array of numbers"),
        ("{\"v\": 3}", ", line 21, column 'v': expected an array of numbers, found 3"),
        ("{\"a\": 1", ", line 21: not valid JSON"),
        ("[1, 2]", ", line 21: not valid JSON"),
        ("{\"a\": 1} {}", ", line 21: not valid JSON"),
    ] {
        let error = fails(&format!("{head}{line}\n"), &short());
        assert!(error.starts_with(expected), "{line}: {error}");
    }
    let ignoring = SourceOptions { ignore: vec!["v".into()], columns: Some(vec!["a".into()]), ..short() };
    let batch = read(&format!("{head}{}\n", "{\"a\": 1, \"new\": 2}"), &ignoring).unwrap();
    assert_eq!((batch.num_columns(), batch.num_rows()), (1, 21));
    let typed = SourceOptions { types: [("a".to_owned(), TextType::Text)].into(), ..short() };
    let batch = read(&format!("{head}{}\n", "{\"a\": \"text\"}"), &typed).unwrap();
    assert_eq!(batch.column(0).as_string::<i32>().value(20), "text");
}

#[test]
fn what_cannot_be_read_is_an_error_unless_ignored() {
    let text = "{\"a\": 1, \"deep\": [{\"b\": 1}], \"mixed\": 3}\n{\"a\": 1, \"deep\": [], \"mixed\": {\"x\": 1}}\n";
    assert!(fails(text, &SourceOptions::default()).contains("column 'deep': holds arrays of something else"));
    let options = SourceOptions { ignore: vec!["deep".into(), "mixed".into()], ..SourceOptions::default() };
    let batch = read(text, &options).unwrap();
    assert_eq!(batch.schema().field(0).data_type(), &DataType::Int64);
    assert_eq!(batch.num_columns(), 1);
    assert!(fails("[{\"a\": 1}]\n", &SourceOptions::default()).contains("jq -c"));
    assert!(fails("\n\n", &SourceOptions::default()).contains("holds no rows"));
    assert!(fails("{\"a\": 1}\nnope\n", &SourceOptions::default()).contains("line 2: not valid JSON"));
    assert!(
        fails("{\"a.b\": 1, \"a\": {\"b\": 2}}\n", &SourceOptions::default()).contains("two columns have this name")
    );
}

#[test]
fn places_count_blank_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.jsonl");
    std::fs::write(&path, "{\"a\":1}\n\n{\"a\":2}\n").unwrap();
    let source = open(&[path.display().to_string()], &SourceOptions::default()).unwrap();
    source.next().unwrap().unwrap();
    assert_eq!(source.place(0, 1), (path, Place::Line(3)));
}
