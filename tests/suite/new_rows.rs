//! What new rows may look like to a model: columns that it does not need, types that the first lines do not tell, rows that are none;
//! and what is kept of them is what stands in the source.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, Int64Array, ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray, UInt64Builder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::harness::{command, fails, line, ok, outcome};
use crate::samples::write;

/// A folder with a run that learnt label = x, and one of a category beside it.
fn runs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", "label,x\n1,1\n2,2\n3,3\n4,4\n");
    ok(folder.path(), "train d.csv --model linear -o run -q");
    write(folder.path(), "c.csv", "label,x,c\n1,2,a\n2,3,b\n3,5,a\n");
    ok(folder.path(), "train c.csv --model linear --l2 0.1 -o run.c -q");
    folder
}

fn parquet(folder: &Path, name: &str, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let file = File::create(folder.join(name)).expect("creates");
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).expect("begins");
    writer.write(&batch).expect("writes");
    writer.close().expect("ends");
}

fn piped(folder: &Path, words: &str, text: &str) -> crate::harness::Outcome {
    write(folder, "piped", text);
    let input = File::open(folder.join("piped")).expect("a file");
    outcome(command(folder).args(words.split_whitespace()).stdin(input).output().expect("the binary starts"))
}

#[test]
fn columns_that_the_model_does_not_need_may_have_any_name() {
    let folder = runs();
    let at = folder.path();
    write(at, "plain.csv", "x\n1\n2\n");
    write(at, "twice.csv", ",x,z,z\n0,1,3,4\n1,2,5,6\n");
    let plain = ok(at, "predict run plain.csv -o -");
    assert_eq!(ok(at, "predict run twice.csv -o -"), plain);
    let one = |name: &'static str| -> (&str, ArrayRef) { (name, Arc::new(Int64Array::from(vec![1, 2]))) };
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = [one("z"), one("x"), one("z")]
        .into_iter()
        .map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array))
        .unzip();
    let batch = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), arrays).expect("a batch");
    let file = File::create(at.join("twice.parquet")).expect("creates");
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).expect("begins");
    writer.write(&batch).expect("writes");
    writer.close().expect("ends");
    assert_eq!(ok(at, "predict run twice.parquet -o -"), plain);
    write(at, "needed.csv", "x,x\n1,1\n");
    assert!(fails(at, "predict run needed.csv -o -", 1).contains("column 'x': two columns have this name"));
    assert!(fails(at, "predict run twice.csv --keep z -o -", 1).contains("column 'z': two columns have this name"));
    assert!(fails(at, "predict run twice.csv --keep all -o -", 2).contains("two columns of the source are called 'z'"));
    assert!(fails(at, "ingest twice.csv -o data", 1).contains("has no name"));
}

#[test]
fn a_class_that_training_never_saw_is_named() {
    let folder = runs();
    let at = folder.path();
    write(at, "k.csv", "x,y\n1,no\n2,yes\n3,no\n4,yes\n");
    ok(at, "train k.csv --model logistic --l2 1 -o run.k -q");
    write(at, "new.csv", "x,y\n1,no\n2,perhaps\n");
    let message = fails(at, "evaluate run.k new.csv", 1);
    assert!(
        message.contains("new.csv, line 3, column 'y': found 'perhaps', a class that training never saw"),
        "{message}"
    );
    assert!(message.contains("leave such rows out"), "{message}");
}

#[test]
fn classes_come_back_as_they_were_written() {
    let folder = runs();
    let at = folder.path();
    let label = ["0.1", "0.1000000001", "123456789.123"];
    let rows: String = (0..12).map(|row| format!("{},{}\n", [0, 9, 20][row % 3], label[row % 3])).collect();
    write(at, "k.csv", format!("a,y\n{rows}"));
    ok(at, "train k.csv --model softmax --l2 0.001 -o run.k -q");
    let predicted = ok(at, "predict run.k k.csv -o -");
    let found: Vec<&str> = predicted.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    assert_eq!(found, (0..12).map(|row| label[row % 3]).collect::<Vec<_>>());
    assert!(ok(at, "evaluate run.k k.csv").contains("accuracy"));
}

#[test]
fn a_text_where_training_had_times_says_what_is_needed() {
    let folder = runs();
    let at = folder.path();
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0, 1_000_000, 5_000_000]));
    parquet(at, "t.parquet", vec![("t", times), ("label", Arc::new(Int64Array::from(vec![1, 2, 3])))]);
    ok(at, "train t.parquet --model linear --l2 1 -o run.t -q");
    parquet(at, "s.parquet", vec![("t", Arc::new(StringArray::from(vec!["1970-01-01T00:00:00"])))]);
    let message = fails(at, "predict run.t s.parquet -o -", 1);
    assert!(message.contains("Give the column as Timestamp") && !message.contains("--null-values"), "{message}");
}

/// Columns of types that mean nothing to a model.
fn strange() -> Vec<(&'static str, ArrayRef)> {
    let mut map = MapBuilder::new(None, StringBuilder::new(), UInt64Builder::new());
    for row in 0..2 {
        map.keys().append_value("k");
        map.values().append_value(row);
        map.append(true).expect("a row");
    }
    let words: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let binary = arrow::array::BinaryArray::from(vec![&b"\xff\x00"[..], b"z"]);
    vec![
        ("id", Arc::new(FixedSizeBinaryArray::try_from_iter([[7u8; 16], [8; 16]].into_iter()).expect("of one width"))),
        ("map", Arc::new(map.finish())),
        ("words", Arc::new(ListArray::new(item, OffsetBuffer::new(vec![0, 2, 3].into()), words, None))),
        ("bytes", Arc::new(binary)),
    ]
}

#[test]
fn columns_that_a_model_does_not_need_are_not_looked_at() {
    let folder = runs();
    let numbers = || -> ArrayRef { Arc::new(Int64Array::from(vec![1, 2])) };
    let columns = [vec![("x", numbers()), ("label", numbers())], strange()].concat();
    parquet(folder.path(), "n.parquet", columns.clone());
    let json = "{\"x\": 1, \"label\": 1, \"deep\": [{\"a\": 1}], \"mixed\": 3}\n{\"x\": 2, \"label\": 2, \"mixed\": {\"a\": 1}}\n";
    write(folder.path(), "n.ndjson", json);
    for file in ["n.parquet", "n.ndjson"] {
        assert_eq!(ok(folder.path(), &format!("predict run {file} -o - -q")).lines().count(), 3, "{file}");
        assert!(ok(folder.path(), &format!("evaluate run {file} -q")).contains("rmse"), "{file}");
    }
    ok(folder.path(), "predict run n.parquet --keep id,map,words,bytes -o p.parquet -q");
    let file = File::open(folder.path().join("p.parquet")).expect("predictions");
    let mut found = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("rows");
    let found = found.next().expect("a batch").expect("rows");
    for (name, given) in strange() {
        let kept = found.column_by_name(name).expect("a kept column");
        assert_eq!(format!("{kept:?}"), format!("{given:?}"), "{name}");
    }
    let written = ok(folder.path(), "predict run n.ndjson --keep deep,mixed -o - -q");
    assert!(written.starts_with("deep,mixed,prediction\n\"[{\"\"a\"\": 1}]\",3,"), "{written}");
}

#[test]
fn columns_of_a_model_have_the_types_of_training_and_kept_ones_are_text() {
    let folder = runs();
    // More than the 4 MiB that types are inferred from.
    let mut text = String::from("id,x\n");
    (0..600_000).for_each(|row| text.push_str(&format!("{row},{}\n", row % 4)));
    text.push_str("a7,1.5\n008,true\n");
    write(folder.path(), "n.csv", text);
    let written = ok(folder.path(), "predict run n.csv --keep id -o - -q");
    let mut last = written.lines().rev();
    assert!(last.next().is_some_and(|line| line.starts_with("008,")), "true is 1");
    assert!(last.next().is_some_and(|line| line.starts_with("a7,1.5") || line.starts_with("a7,1.4999")), "{written}");
    write(folder.path(), "bad.csv", "x\n1\nmany\n");
    let message = fails(folder.path(), "predict run bad.csv -o - -q", 1);
    assert!(message.contains("line 3, column 'x': expected a number, found 'many'"), "{message}");
    assert!(message.contains("--null-values") && !message.contains("--ignore"), "{message}");
    // A column that training knows as dates and times may hold dates alone.
    write(folder.path(), "t.csv", "label,t\n1,2020-01-01 01:00:00\n2,2020-01-01 02:00:00\n3,2020-01-01 03:00:00\n");
    ok(folder.path(), "train t.csv --model linear -o run.t -q");
    write(folder.path(), "dates.csv", "t\n2020-01-01\n");
    let answer: f64 = ok(folder.path(), "predict run.t dates.csv -o - -q")
        .lines()
        .nth(1)
        .and_then(|line| line.parse().ok())
        .expect("a number");
    assert!(answer.abs() < 1e-2, "{answer}");
}

#[test]
fn kept_columns_of_text_are_written_as_they_stand() {
    let folder = runs();
    write(
        folder.path(),
        "n.csv",
        "id,zip,amount,flag,note,x\n0001,01234,1.10,TRUE,\"a, \"\"b\"\"\",1\n18446744073709551615,0,1e3,true,NA,2.0\n,,,,\"\",3\n",
    );
    let written = ok(folder.path(), "predict run n.csv --keep all -o - -q");
    let kept: Vec<&str> = written.lines().filter_map(|line| line.rsplit_once(',')).map(|parts| parts.0).collect();
    assert_eq!(
        kept,
        [
            "id,zip,amount,flag,note,x",
            "0001,01234,1.10,TRUE,\"a, \"\"b\"\"\",1",
            "18446744073709551615,0,1e3,true,NA,2.0",
            ",,,,\"\",3",
        ]
    );
    write(
        folder.path(),
        "n.ndjson",
        "{\"id\": \"0001\", \"n\": 1.10, \"x\": 1}\n{\"n\": 123456789012345678901, \"id\": null, \"x\": 2.0}\n",
    );
    let written = ok(folder.path(), "predict run n.ndjson --keep all -o - -q");
    let kept: Vec<&str> = written.lines().filter_map(|line| line.rsplit_once(',')).map(|parts| parts.0).collect();
    assert_eq!(kept, ["id,n,x", "0001,1.10,1", ",123456789012345678901,2.0"]);
    let message = fails(folder.path(), "predict run n.csv --keep nope -o -", 2);
    assert!(message.contains("no column 'nope'. It has id, zip, amount, flag, note, x"), "{message}");
    let message = fails(folder.path(), "predict run n.csv --keep id,x,id -o -", 2);
    assert!(message.contains("column 'id' is named twice"), "{message}");
}

#[test]
fn times_of_named_zones_are_written_in_utc() {
    let folder = runs();
    let x: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let time =
        |zone: &str| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone(zone)) };
    let columns = vec![("x", x), ("utc", time("UTC")), ("berlin", time("Europe/Berlin")), ("two", time("+02:00"))];
    parquet(folder.path(), "n.parquet", columns);
    let written = ok(folder.path(), "predict run n.parquet --keep utc,berlin,two -o - -q");
    let expected = "1970-01-01T00:00:01.500Z,1970-01-01T00:00:01.500Z,1970-01-01T02:00:01.500+02:00,";
    assert!(written.lines().nth(1).is_some_and(|line| line.starts_with(expected)), "{written}");
}

#[test]
fn a_key_that_no_line_has_is_a_missing_value() {
    let folder = runs();
    let answers = |text: &str| {
        let run = piped(folder.path(), "predict run.c - --format ndjson -o - -q", text);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        run.stdout
    };
    assert_eq!(answers("{\"x\": 1}\n"), answers("{\"x\": 1, \"c\": null}\n"));
    let run = piped(folder.path(), "predict run.c - --format csv -o - -q", "x\n1\n");
    assert!(run.stderr.contains("column 'c': the column is not there"), "{}", run.stderr);
}

#[test]
fn elements_that_training_did_not_know_are_left_out() {
    let folder = runs();
    write(folder.path(), "a.libsvm", "1 1:1 3:1\n0 2:1\n");
    ok(folder.path(), "train a.libsvm --model logistic --l2 1 -o run.svm -q");
    write(folder.path(), "more.libsvm", "0 1:1 4:1\n1 2:1 900:3 7000:1\n");
    write(folder.path(), "same.libsvm", "0 1:1\n1 2:1\n");
    let [more, same] =
        ["more", "same"].map(|name| ok(folder.path(), &format!("predict run.svm {name}.libsvm -o - -q")));
    assert_eq!(more, same);
    ok(folder.path(), "evaluate run.svm more.libsvm -q");
}

#[test]
fn rows_without_a_label_are_left_out_where_that_is_asked_for() {
    let folder = runs();
    write(folder.path(), "gaps.csv", "label,x\n1,1\n,2\n3,4\n");
    write(folder.path(), "full.csv", "label,x\n1,1\n3,4\n");
    let message = fails(folder.path(), "evaluate run gaps.csv", 1);
    assert!(message.contains("line 3, column 'label'") && message.contains("--drop-missing-label"), "{message}");
    let [gaps, full] = ["gaps.csv --drop-missing-label", "full.csv"].map(|words| {
        let judged = ok(folder.path(), &format!("evaluate run {words} --json -q"));
        let judged: serde_json::Value = serde_json::from_str(&judged).expect("JSON");
        judged["evaluation"].clone()
    });
    assert_eq!(gaps, full);
    write(folder.path(), "bad.csv", "label,x\n,2\n1,1\n3,four\n");
    let message = fails(folder.path(), "evaluate run bad.csv --drop-missing-label", 1);
    assert!(message.contains("line 4, column 'x'"), "{message}");
}

#[test]
fn no_rows_have_no_predictions() {
    let folder = runs();
    write(folder.path(), "none.csv", "id,x\n");
    write(folder.path(), "none.ndjson", "");
    parquet(
        folder.path(),
        "none.parquet",
        vec![
            ("id", Arc::new(StringArray::from(Vec::<&str>::new()))),
            ("x", Arc::new(Int64Array::from(Vec::<i64>::new()))),
        ],
    );
    for file in ["none.csv", "none.ndjson", "none.parquet"] {
        assert_eq!(ok(folder.path(), &format!("predict run {file} --keep id -o - -q")), "id,prediction\n", "{file}");
        ok(folder.path(), &format!("predict run {file} -o p.parquet --force -q"));
        let about: serde_json::Value =
            serde_json::from_str(&ok(folder.path(), &format!("predict run {file} -o q.arrow --force --json -q")))
                .expect("JSON");
        assert_eq!(about["rows"], 0, "{file}");
    }
    write(folder.path(), "label.csv", "label,x\n");
    let run = line(folder.path(), "evaluate run label.csv");
    assert!(run.code == Some(1) && run.stderr.contains("no rows to judge"), "{}", run.stderr);
}

/// The exponential of a margin may be more than a number holds: the row is named, and nothing is written.
#[test]
fn a_prediction_beyond_all_numbers_is_an_error() {
    let folder = runs();
    write(folder.path(), "counts.csv", "label,x\n1,1\n2,2\n4,3\n8,4\n");
    ok(folder.path(), "train counts.csv --model poisson --dtype f64 -o counts -q");
    write(folder.path(), "far.csv", "x\n1\n100000\n");
    let message = fails(folder.path(), "predict counts far.csv -o p.csv", 1);
    assert!(message.contains("far.csv, line 3") && message.contains("the prediction is inf"), "{message}");
    assert!(!folder.path().join("p.csv").exists());
}

#[test]
fn what_was_missing_in_training_is_missing_in_new_rows() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let folder = scratch.path();
    write(folder, "d.csv", "label,x\n1,1\n2,2\n-,3\n2.5,-999\n4,4\n");
    ok(folder, "train d.csv --model linear --null-values=-999,- --drop-missing-label -o run -q");
    write(folder, "n.csv", "x\n-999\n-\n2\n");
    let predicted = ok(folder, "predict run n.csv -o - -q");
    let values: Vec<&str> = predicted.lines().skip(1).collect();
    assert!(values.len() == 3 && values[0] == values[1] && values[0] != values[2], "{predicted}");
    // Told otherwise, it is a number, and another text none.
    assert!(fails(folder, "predict run n.csv -o - -q --null-values=NA", 1).contains("found '-'"));
}

#[test]
fn texts_for_missing_values_may_be_beside_the_usual_ones() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let folder = scratch.path();
    write(folder, "d.csv", "label,x\n1,1\n2,\n4,NA\n3,-\n4,4\n");
    let message = fails(folder, "train d.csv --model linear --numeric x -o run -q", 1);
    assert!(message.contains("line 5") && message.contains("pass --null-values default,'-' if"), "{message}");
    ok(folder, "train d.csv --model linear --numeric x --null-values default,- -o run -q");
    assert!(ok(folder, "inspect run.data").contains("60.00 %"));
    write(folder, "n.csv", "x\n-\nNA\n\n");
    let predicted = ok(folder, "predict run n.csv -o - -q");
    let values: Vec<&str> = predicted.lines().skip(1).collect();
    assert!(values.len() >= 2 && values[0] == values[1], "{predicted}");
}

/// Half the mean deviance is the objective without a penalty, computed in other ways; deviances are small beside their terms here.
#[test]
fn objectives_are_half_the_deviance_of_the_same_rows() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let folder = scratch.path();
    // R's `women`: weights of 15 heights.
    let weights = [115, 117, 120, 123, 126, 129, 132, 135, 139, 142, 146, 150, 154, 159, 164];
    let rows: String =
        weights.iter().enumerate().map(|(i, w)| format!("{},{}\n", 58 + i, f64::from(*w) + 0.01)).collect();
    write(folder, "women.csv", format!("height,label\n{rows}"));
    for model in ["poisson", "gamma", "tweedie"] {
        let trained = ok(folder, &format!("train women.csv --model {model} -o run -q --force --json"));
        let trained: serde_json::Value = serde_json::from_str(&trained).expect("JSON");
        let evaluated = ok(folder, "evaluate run women.csv -q --json");
        let evaluated: serde_json::Value = serde_json::from_str(&evaluated).expect("JSON");
        let figure = &evaluated["evaluation"]["figures"][0];
        let deviance = figure["value"].as_f64().filter(|_| figure["name"] == "deviance").expect("a number");
        let objective = trained["models"][0]["objective"].as_f64().expect("a number");
        assert!((2.0 * objective / deviance - 1.0).abs() < 1e-6, "{model}: {objective} and {deviance}");
    }
}

/// No arithmetic tells such objectives from 0.
#[test]
fn constant_labels_are_met() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let folder = scratch.path();
    write(folder, "d.csv", "x,label\n1,5\n2,5\n3,5\n");
    for model in ["linear", "huber", "absolute", "quantile", "poisson", "gamma", "tweedie"] {
        let trained = ok(folder, &format!("train d.csv --model {model} -o run -q --force --json"));
        let trained: serde_json::Value = serde_json::from_str(&trained).expect("JSON");
        let model = &trained["models"][0];
        assert!(model["converged"] == true && model["passes"].as_u64() < Some(5), "{model}");
    }
}

#[test]
fn a_date_means_the_same_where_training_had_moments() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let folder = scratch.path();
    let hours: String = (0..24).map(|hour| format!("{hour},2020-01-01 {hour:02}:00:00\n")).collect();
    write(folder, "d.csv", format!("label,t\n{hours}"));
    ok(folder, "train d.csv --model linear -o run -q");
    write(folder, "day.csv", "t\n2020-01-02\n");
    let predicted = ok(folder, "predict run day.csv -o - -q");
    let value: f64 = predicted.lines().last().and_then(|value| value.parse().ok()).expect("a number");
    assert!((value - 24.0).abs() < 0.1, "{predicted}");
}
