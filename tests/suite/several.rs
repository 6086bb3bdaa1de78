//! Several classes from the command line: trained, predicted, judged, shown, whatever the label is made of.

use serde_json::Value;

use crate::harness::{fails, ok};
use crate::samples::write;

const NAMES: [&str; 3] = ["ash", "birch", "cedar"];

/// Rows `x,z,kind,code`: three kinds around three places; every tenth row lies at the place of the next kind.
fn trees() -> String {
    let line = |i: usize| {
        let kind = i % 3;
        let place = if i % 10 == 9 { (kind + 1) % 3 } else { kind };
        let wobble = ((i * 37) % 11) as f64 / 10.0;
        format!(
            "{},{},{},{}\n",
            [0.0, 4.0, 8.0][place] + wobble,
            [0.0, 5.0, 0.0][place] - wobble,
            NAMES[kind],
            [7, 3, 11][kind]
        )
    };
    std::iter::once("x,z,kind,code\n".to_string()).chain((0..900).map(line)).collect()
}

fn evaluation(folder: &std::path::Path, words: &str) -> Value {
    let said: Value = serde_json::from_str(&ok(folder, words)).expect("JSON");
    said["evaluation"].clone()
}

fn figure(evaluation: &Value, name: &str) -> f64 {
    let found = evaluation["figures"].as_array().expect("figures").iter().find(|figure| figure["name"] == name);
    found.and_then(|figure| figure["value"].as_f64()).unwrap_or_else(|| panic!("no {name}: {evaluation}"))
}

/// Batch by batch: the best that patience is told of held-out rows is the log loss that evaluate finds there.
#[test]
fn softmax_learns_batch_by_batch() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    write(at, "t.csv", trees());
    ok(at, "ingest t.csv -o data --label kind --ignore code --test-share 0.3 -q");
    ok(
        at,
        "train data --model softmax --solver adam --learning-rate 0.1,0.01 --batch-rows 16 --epochs 5 --patience 9 -o run -q",
    );
    let metrics = std::fs::read_to_string(at.join("run/metrics.jsonl")).expect("metrics");
    let passes = metrics.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let epochs: Vec<Value> = passes.filter(|pass| pass["collected"] == "epoch").collect();
    assert_eq!(epochs.len(), 5, "{metrics}");
    for (model, rate) in ["0.1", "0.01"].into_iter().enumerate() {
        let judged = evaluation(at, &format!("evaluate run/l1-0-l2-0-rate-{rate} data --split test --json"));
        let told = epochs.iter().map(|epoch| epoch["points"][model]["held_out"].as_f64().expect("told"));
        let (best, found) = (told.fold(f64::INFINITY, f64::min), figure(&judged, "log_loss"));
        assert!((best / found - 1.0).abs() < 1e-5, "{rate}: {best} {found}");
        assert!(figure(&judged, "accuracy") > 0.8, "{judged}");
    }
    let refused = "train data --model softmax --solver adam --then proximal-newton -o x";
    assert!(fails(at, refused, 2).contains("--then newton"));
    let refused = "train data --model softmax --solver newton --l1 0.1 -o x";
    assert!(fails(at, refused, 2).contains("--solver owlqn"));
}

#[test]
fn classes_by_name_are_predicted_judged_and_shown() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    write(at, "t.csv", trees());
    ok(at, "ingest t.csv -o data --label kind --ignore code -q");
    ok(at, "train data --model softmax --l2 0.001 -o run -q");
    let lines = ok(at, "predict run t.csv --keep kind -o -");
    let head = "kind,prediction,probability_ash,probability_birch,probability_cedar";
    assert_eq!(lines.lines().next(), Some(head));
    for (i, line) in lines.lines().skip(1).enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        let shares: Vec<f64> = cells[2..].iter().map(|cell| cell.parse().expect("a number")).collect();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{line}");
        let best = (0..3).max_by(|&a, &b| shares[a].total_cmp(&shares[b])).expect("three");
        assert_eq!(cells[1], NAMES[best], "{line}");
        assert_eq!(cells[0] == cells[1], i % 10 != 9, "the rows in the wrong place, and no others: {i} {line}");
    }
    let judged = evaluation(at, "evaluate run t.csv --top-k 2 --json");
    assert_eq!(figure(&judged, "accuracy"), 0.9);
    assert!(figure(&judged, "top_2_accuracy") > 0.9);
    assert_eq!(judged["confusion"], serde_json::json!([[270.0, 30.0, 0.0], [0.0, 270.0, 30.0], [30.0, 0.0, 270.0]]));
    // The figures of the dataset are those of the source.
    let of_dataset = evaluation(at, "evaluate run data --top-k 2 --json");
    assert!((figure(&judged, "log_loss") - figure(&of_dataset, "log_loss")).abs() < 1e-12);
    assert!(ok(at, "evaluate run t.csv").contains("as birch"));
    let shown: Value = serde_json::from_str(&ok(at, "inspect run --json")).expect("JSON");
    assert_eq!((shown["link"].as_str(), shown["classes"].as_array().map(Vec::len)), (Some("softmax"), Some(3)));
    let sum: f64 = NAMES.iter().map(|name| shown["coefficients"][name]["x"].as_f64().expect("a number")).sum();
    assert!(sum.abs() < 1e-5, "symmetric: {sum}");
    assert!(ok(at, "inspect run").contains("birch"));
    ok(at, "train data --model softmax --l2 0.001 --warm-start run -o warm -q");
    ok(at, "train --config run/config.toml -o again -q");
    let [first, second] =
        ["run", "again"].map(|run| std::fs::read(at.join(run).join("model.safetensors")).expect("numbers"));
    assert!(first == second);
    assert!(fails(at, "train data --model logistic --warm-start run -o x", 1).contains("--multiclass ovr"));
    assert!(fails(at, "train data --model logistic --multiclass ovr --warm-start t.csv -o x", 2).contains("no run"));
}

#[test]
fn classes_by_number_are_told_from_all_others() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    write(at, "t.csv", trees());
    ok(at, "ingest t.csv -o data --label code --ignore kind -q");
    ok(at, "train data --model logistic --multiclass ovr --l2 0.0001 -o run -q");
    let lines = ok(at, "predict run data -o -");
    assert_eq!(lines.lines().next(), Some("prediction,probability_3,probability_7,probability_11"));
    let judged = evaluation(at, "evaluate run t.csv --json");
    assert!(figure(&judged, "accuracy") > 0.85 && figure(&judged, "log_loss") < 0.8, "{judged}");
    ok(at, "train data --model squared-hinge --multiclass ovr --l2 0.0001 -o svm -q");
    assert_eq!(ok(at, "predict svm data -o -").lines().next(), Some("prediction,decision_3,decision_7,decision_11"));
    assert!(!evaluation(at, "evaluate svm t.csv --json").to_string().contains("log_loss"));
    ok(at, "train data --model logistic --multiclass ovr --l2 0.0001 --warm-start run -o warm -q");
    // What makes no sense is refused.
    assert!(fails(at, "train data --model softmax --multiclass ovr -o x", 2).contains("by itself"));
    assert!(fails(at, "train data --model linear --multiclass ovr -o x", 2).contains("no classes"));
    assert!(fails(at, "train data --model softmax --solver proximal-newton -o x", 2).contains("--solver newton"));
    assert!(fails(at, "train data --model softmax --warm-start svm --l2 1 -o x --class-weight 5=1", 2).contains("'5'"));
    write(at, "new.csv", "x,z,code\n1,2,5\n");
    let said = fails(at, "evaluate run new.csv", 1);
    assert!(said.contains("new.csv, line 2") && said.contains("none of the classes"), "{said}");
}

#[test]
fn numbers_that_storage_rounds_name_classes_as_the_source_does() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    let cases = [["-7", "0.1", "2.35"], ["5", "123456789", "123456791"]];
    for (number, classes) in cases.iter().enumerate() {
        let rows = (0..60).map(|row| format!("{},{}\n", row % 3 * 10 + row % 7, classes[row % 3]));
        write(at, "c.csv", std::iter::once("x,label\n".to_string()).chain(rows).collect::<String>());
        ok(at, &format!("train c.csv --model softmax --l2 0.0001 -o run{number} -q"));
        let lines = ok(at, &format!("predict run{number} c.csv -o - -q"));
        let head = format!("prediction,probability_{}", classes.join(",probability_"));
        assert_eq!(lines.lines().next(), Some(head.as_str()));
        let named = lines.lines().skip(1).map(|line| line.split(',').next().unwrap_or_default());
        assert!(named.enumerate().all(|(row, name)| name == classes[row % 3]), "{lines}");
        for rows in ["c.csv".to_string(), format!("run{number}.data")] {
            let judged = evaluation(at, &format!("evaluate run{number} {rows} --json"));
            assert_eq!(figure(&judged, "accuracy"), 1.0, "{judged}");
        }
    }
}
