//! Every source format, from the file through training to predictions.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};

use crate::harness::{command, line, ok, outcome};
use crate::samples::{class, colour, csv, number, write};

const ROWS: u64 = 600;

fn here() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

fn batch() -> RecordBatch {
    let rows = || 0..ROWS;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(Float64Array::from_iter_values(rows().map(|row| number(row, 0))))),
        ("b", Arc::new(Float64Array::from_iter_values(rows().map(|row| number(row, 1))))),
        ("colour", Arc::new(StringArray::from_iter_values(rows().map(colour)))),
        ("y", Arc::new(Float64Array::from_iter_values(rows().map(|row| f64::from(u8::from(class(row))))))),
    ];
    RecordBatch::try_from_iter(columns).expect("a batch")
}

/// Train on the file, predict it, and judge it: the model must have learnt something, and every row has an answer.
fn through(folder: &Path, file: &str) {
    ok(folder, &format!("train {file} --label y --model logistic --l2 0.001 -o run --force -q"));
    ok(folder, &format!("predict run {file} -o p.csv --force -q"));
    let lines = std::fs::read_to_string(folder.join("p.csv")).expect("predictions");
    assert_eq!(lines.lines().count() as u64, ROWS + 1, "{file}");
    let judged: serde_json::Value =
        serde_json::from_str(&ok(folder, &format!("evaluate run {file} --json -q"))).expect("JSON");
    let figures = judged["evaluation"]["figures"].as_array().expect("figures");
    let auc = figures.iter().find(|figure| figure["name"] == "auc").and_then(|figure| figure["value"].as_f64());
    assert!(auc > Some(0.7), "{file}: {judged}");
    assert_eq!(judged["evaluation"]["rows"], ROWS, "{file}");
}

#[test]
fn parquet_and_arrow() {
    let folder = here();
    let batch = batch();
    let mut parquet = parquet::arrow::ArrowWriter::try_new(
        File::create(folder.path().join("d.parquet")).expect("creates"),
        batch.schema(),
        None,
    )
    .expect("begins");
    parquet.write(&batch).expect("writes");
    parquet.close().expect("ends");
    let mut file = arrow::ipc::writer::FileWriter::try_new(
        File::create(folder.path().join("d.arrow")).expect("creates"),
        &batch.schema(),
    )
    .expect("begins");
    file.write(&batch).expect("writes");
    file.finish().expect("ends");
    let mut stream = arrow::ipc::writer::StreamWriter::try_new(
        File::create(folder.path().join("d.arrows")).expect("creates"),
        &batch.schema(),
    )
    .expect("begins");
    stream.write(&batch).expect("writes");
    stream.finish().expect("ends");
    for file in ["d.parquet", "d.arrow", "d.arrows"] {
        through(folder.path(), file);
    }
}

#[test]
fn text_formats() {
    let folder = here();
    let lines = |separator: &str, end: &str| {
        let mut text = ["a", "b", "colour", "y"].join(separator) + end;
        for row in 0..ROWS {
            let cells = [
                number(row, 0).to_string(),
                number(row, 1).to_string(),
                colour(row).into(),
                u8::from(class(row)).to_string(),
            ];
            text.push_str(&(cells.join(separator) + end));
        }
        text
    };
    write(folder.path(), "d.csv", lines(",", "\n"));
    write(folder.path(), "d.tsv", lines("\t", "\r\n"));
    write(folder.path(), "bom.csv", "\u{feff}".to_string() + &lines(";", "\n"));
    let json: String = (0..ROWS)
        .map(|row| {
            let y = u8::from(class(row));
            format!(
                "{{\"a\": {}, \"b\": {}, \"colour\": \"{}\", \"y\": {y}}}\n",
                number(row, 0),
                number(row, 1),
                colour(row)
            )
        })
        .collect();
    write(folder.path(), "d.ndjson", json);
    for file in ["d.csv", "d.tsv", "bom.csv", "d.ndjson"] {
        through(folder.path(), file);
    }
}

#[test]
fn libsvm_stays_sparse() {
    let folder = here();
    let text: String = (0..ROWS)
        .map(|row| format!("{} 1:{} 7:{} 90000:1\n", u8::from(class(row)), number(row, 0), number(row, 1)))
        .collect();
    write(folder.path(), "d.libsvm", text);
    ok(folder.path(), "train d.libsvm --model logistic --l2 0.01 -o run -q");
    ok(folder.path(), "predict run d.libsvm -o p.csv -q");
    let inspected: serde_json::Value =
        serde_json::from_str(&ok(folder.path(), "inspect run.data --json")).expect("inspect prints JSON");
    let sparse = inspected["columns"].as_array().expect("columns").iter().find(|column| column["kind"] == "sparse");
    assert_eq!(sparse.expect("a sparse column")["width"], 90_000);
}

#[test]
fn predictions_in_every_format_agree() {
    let folder = here();
    write(folder.path(), "d.csv", csv(300));
    ok(folder.path(), "train d.csv --ignore id,t --label y --model logistic --l2 0.01 -o run -q");
    for output in ["p.csv", "p.parquet", "p.arrow"] {
        ok(folder.path(), &format!("predict run d.csv --keep id,colour -o {output} -q"));
    }
    let written = std::fs::read_to_string(folder.path().join("p.csv")).expect("a file");
    assert!(written.starts_with("id,colour,prediction,probability\n0,"), "{written}");
    assert_eq!(ok(folder.path(), "predict run d.csv --keep id,colour -o - -q"), written);
    for file in ["p.parquet", "p.arrow"] {
        let about: serde_json::Value =
            serde_json::from_str(&ok(folder.path(), &format!("inspect {file} --json"))).expect("JSON");
        assert_eq!(about["rows"], 300, "{file}");
        let names: Vec<&str> =
            about["columns"].as_array().expect("columns").iter().filter_map(|column| column["name"].as_str()).collect();
        assert_eq!(names, ["id", "colour", "prediction", "probability"], "{file}");
    }
}

#[test]
fn standard_input_is_a_source() {
    let folder = here();
    write(folder.path(), "d.csv", csv(300));
    let input = File::open(folder.path().join("d.csv")).expect("a file");
    let words = "ingest - --format csv --label y -o data -q";
    let run = command(folder.path()).args(words.split_whitespace()).stdin(input).output();
    let run = outcome(run.expect("the binary starts"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    ok(folder.path(), "verify data");
}

#[test]
fn unseen_and_missing_values_are_answered_as_trained() {
    let folder = here();
    write(folder.path(), "d.csv", csv(500));
    ok(folder.path(), "train d.csv --ignore id,t --label y --model logistic --l2 0.01 -o run -q");
    write(folder.path(), "new.csv", "a,b,colour\n1.5,2,red\n,2,purple\n1.5,,\n");
    let run = line(folder.path(), "predict run new.csv -o - -q");
    assert_eq!((run.code, run.stdout.lines().count()), (Some(0), 4), "{}{}", run.stdout, run.stderr);
}
