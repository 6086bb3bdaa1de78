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
fn numbers_that_are_text_stand_as_they_are_written() {
    let text = r#"{"c": 18446744073709551615, "v": [true, false]}
{"c": 1.50, "v": [0.5, null]}
{"c": "a\nb", "v": null}
{"c": null}
{"c": true, "v": [1, 2]}
{"c": -0}
"#;
    let types = [("c".to_owned(), TextType::Text)].into();
    let batch = read(text, &SourceOptions { types, ..SourceOptions::default() }).unwrap();
    let found: Vec<Option<&str>> = batch.column(0).as_string::<i32>().iter().collect();
    assert_eq!(found, [Some("18446744073709551615"), Some("1.50"), Some("a\nb"), None, Some("true"), Some("-0")]);
    let vectors = batch.column(1).as_list::<i32>();
    assert_eq!(vectors.value(0).as_primitive::<Float64Type>().values().as_ref(), [1.0, 0.0]);
    let types: std::collections::BTreeMap<_, _> = [("c".to_owned(), TextType::Text)].into();
    for (value, found) in [("[1]", "an array"), ("{\"d\": 1}", "an object")] {
        let text = format!("{{\"c\": \"x\", \"y\": 1}}\n{{\"c\": {value}}}\n");
        let error = fails(&text, &SourceOptions { types: types.clone(), sample_bytes: 17, ..SourceOptions::default() });
        assert!(error.starts_with(&format!(", line 2, column 'c': expected a text, found {found}")), "{error}");
    }
}

#[test]
fn arrays_of_texts_are_named_for_what_they_are() {
    let any = SourceOptions { any_type: true, ..SourceOptions::default() };
    let error = fails("{\"a\": [\"x\"], \"b\": 1}\n", &any);
    let expected =
        ", line 1, column 'a': expected one kind of value in all lines, or arrays of numbers, found an array";
    assert!(error.starts_with(expected) && error.contains("--ignore a"), "{error}");
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

#[test]
fn kept_values_are_handed_on_as_they_stand() {
    let text = r#"{"a": 1, "id": 1.10, "o": {"s": "x\u00e9\"", "n": null}, "deep": [{"b": 1}], "big": 123456789012345678901}
{"a": 2.5, "id": "007", "o": {"s": true}, "deep": 3}
{"a": null, "id": null, "deep": {"c": []}}
"#;
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
    let options = SourceOptions {
        columns: Some(names(&["a"])),
        verbatim: names(&["a", "id", "o.s", "o.n", "deep", "big"]),
        ..SourceOptions::default()
    };
    let batch = read(text, &options).unwrap();
    let schema = batch.schema();
    let found: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(found, ["a", "a", "id", "o.s", "o.n", "deep", "big"]);
    let numbers: Vec<Option<f64>> = batch.column(0).as_primitive::<Float64Type>().iter().collect();
    assert_eq!(numbers, [Some(1.0), Some(2.5), None]);
    for (column, expected) in [
        [Some("1"), Some("2.5"), None],
        [Some("1.10"), Some("007"), None],
        [Some("x\u{e9}\""), Some("true"), None],
        [None, None, None],
        [Some("[{\"b\": 1}]"), Some("3"), Some("{\"c\": []}")],
        [Some("123456789012345678901"), None, None],
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(batch.column(column + 1).as_string::<i32>().iter().collect::<Vec<_>>(), expected, "{column}");
    }
    assert!(
        fails("{\"a\": 1, \"id\": 2, \"id\": 3, \"o\": {\"s\": 1, \"n\": 1}, \"deep\": 1, \"big\": 1}\n", &options)
            .contains("twice")
    );
}

#[test]
fn a_column_that_is_to_be_numeric_has_numbers_in_quotes() {
    let options = SourceOptions { types: [("a".to_owned(), TextType::Float)].into(), ..SourceOptions::default() };
    let batch = read("{\"a\": \"1\"}\n{\"a\": \" 2.5 \"}\n{\"a\": 3}\n", &options).unwrap();
    assert_eq!(batch.column(0).as_primitive::<Float64Type>().values().as_ref(), [1.0, 2.5, 3.0]);
    let error = fails("{\"a\": \"one\"}\n", &options);
    assert!(error.contains("found 'one'. Mend it, or read the column as text with --categorical a"), "{error}");
    let error = fails(&format!("{}{{\"a\": \"2\"}}\n", "{\"a\": 1.5}\n".repeat(20)), &short());
    assert!(error.contains("column 'a': expected a number, found '2'"), "{error}");
}

#[test]
fn a_value_that_cannot_be_read_is_named_with_its_column() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (value, what) in [("1e999", "number out of range"), ("\"\\ud800\"", "hex escape"), (&deep, "recursion limit")] {
        let bad = format!("{{\"y\": 0, \"a\": {value}}}\n");
        let first = fails(&bad, &SourceOptions::default());
        assert!(first.starts_with(", line 1, column 'a': the value cannot be read"), "{first}");
        let later = fails(&format!("{}{bad}", "{\"y\": 0, \"a\": 1}\n".repeat(20)), &short());
        let wanted = match what {
            // It is no number, however deep.
            "recursion limit" => "expected an integer, found an array",
            what => what,
        };
        assert!(later.starts_with(", line 21, column 'a': ") && later.contains(wanted), "{later}");
        assert!(first.contains(what) && first.contains("--ignore a"), "{first}");
        let ignoring = SourceOptions { ignore: vec!["a".into()], ..SourceOptions::default() };
        assert_eq!(read(&bad, &ignoring).unwrap().num_columns(), 1);
    }
    assert!(fails("{\"y\": 0}\n7\n", &SourceOptions::default()).contains("line 2"));
}

#[test]
fn what_is_settled_beforehand_need_not_be_in_the_sample() {
    let names = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>());
    let number = |name: &str| (name.to_owned(), TextType::Number);
    let options = SourceOptions {
        columns: names(&["x", "o.late", "never"]),
        types: [number("x"), number("o.late"), number("never")].into(),
        settled: true,
        ..short()
    };
    let head = "{\"x\": 1, \"other\": {\"k\": 2}}\n".repeat(20);
    let batch =
        read(&format!("{head}{}\n", r#"{"x": "2.5", "o": {"late": true}, "other": [1, "a"], "new": 3}"#), &options)
            .unwrap();
    let last: Vec<Option<f64>> = (0..3)
        .map(|column| batch.column(column).as_primitive::<Float64Type>())
        .map(|column| column.is_valid(20).then(|| column.value(20)))
        .collect();
    assert_eq!(last, [Some(2.5), Some(1.0), None]);
    assert_eq!(batch.column(1).null_count(), 20);
    let error = fails(&format!("{head}{}\n", r#"{"x": "some"}"#), &options);
    assert!(error.starts_with(", line 21, column 'x': expected a number, found 'some'. Mend it"), "{error}");
    assert_eq!(read("\n", &options).unwrap_or_else(|error| panic!("{error}")).num_columns(), 3);
}

#[test]
fn a_first_line_that_is_no_json_is_said_to_be_none() {
    let error = fails("{\"label\": 1, \"a\": NaN}\n{\"label\": 2, \"a\": 3}\n", &SourceOptions::default());
    assert!(error.starts_with(", line 1: not valid JSON at byte"), "{error}");
}
