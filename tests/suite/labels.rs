//! Several labels from the command line: learnt together, predicted, judged and shown, each as if it were alone.

use serde_json::Value;

use crate::harness::{fails, ok};
use crate::samples::write;

/// Rows `x,z,big,far,odd`: big where x is above 5, far where x + z is above 12; one row in ten of each is wrong. odd says nothing.
fn rows() -> String {
    let line = |i: usize| {
        let (x, z) = (((i * 37) % 101) as f64 / 10.0, ((i * 53) % 97) as f64 / 10.0);
        let wrong = i % 10 == 9;
        let [big, far] = [x > 5.0, x + z > 12.0].map(|yes| u8::from(yes != wrong));
        format!("{x},{z},{big},{far},{}\n", i % 2)
    };
    std::iter::once("x,z,big,far,odd\n".to_string()).chain((0..800).map(line)).collect()
}

fn figure(evaluation: &Value, name: &str) -> f64 {
    let found = evaluation["figures"].as_array().expect("figures").iter().find(|figure| figure["name"] == name);
    found.and_then(|figure| figure["value"].as_f64()).unwrap_or_else(|| panic!("no {name}: {evaluation}"))
}

fn evaluation(folder: &std::path::Path, words: &str) -> Value {
    let said: Value = serde_json::from_str(&ok(folder, words)).expect("JSON");
    said["evaluation"].clone()
}

#[test]
fn labels_are_learnt_together_and_each_is_as_if_alone() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    write(at, "t.csv", rows());
    ok(at, "ingest t.csv -o data --label far,big,odd -q");
    assert!(ok(at, "inspect data").contains("3 labels, each 0 or 1"));
    ok(at, "train data --model logistic --l2 0.001 -o run -q");
    let lines = ok(at, "predict run t.csv --keep x -o -");
    let head = "x,prediction_far,probability_far,prediction_big,probability_big,prediction_odd,probability_odd";
    assert_eq!(lines.lines().next(), Some(head));
    assert_eq!(lines.lines().count(), 801);
    let judged = evaluation(at, "evaluate run t.csv --json");
    let of_dataset = evaluation(at, "evaluate run data --json");
    assert!((figure(&judged, "log_loss") - figure(&of_dataset, "log_loss")).abs() < 1e-12);
    assert!(ok(at, "evaluate run t.csv").contains("each label"));
    // Each label: the same numbers as the model that is trained alone on it.
    for (number, label) in ["far", "big", "odd"].into_iter().enumerate() {
        let others = ["far", "big", "odd"].into_iter().filter(|other| *other != label).collect::<Vec<_>>().join(",");
        ok(at, &format!("train t.csv --model logistic --l2 0.001 --label {label} --ignore {others} -o {label} -q"));
        let alone = ok(at, &format!("predict {label} t.csv -o -"));
        for (all, one) in lines.lines().zip(alone.lines()).skip(1) {
            let own: Vec<&str> = all.split(',').skip(1 + 2 * number).take(2).collect();
            assert_eq!(own.join(","), one);
        }
        let alone = evaluation(at, &format!("evaluate {label} t.csv --json"));
        let own = &judged["labels"][number];
        assert_eq!(own["label"], label);
        for name in ["log_loss", "accuracy", "precision", "recall", "f1", "auc", "average_precision"] {
            assert_eq!(figure(own, name), figure(&alone, name), "{label}: {name}");
        }
    }
    assert!(figure(&judged["labels"][1], "accuracy") > 0.85, "{judged}");
    let shown: Value = serde_json::from_str(&ok(at, "inspect run --json")).expect("JSON");
    assert_eq!((shown["link"].as_str(), shown["label"].as_str()), (Some("labels-logit"), Some("far,big,odd")));
    assert!(shown["coefficients"]["big"]["x"].as_f64().expect("a number") > 0.1, "{shown}");
    assert!(ok(at, "inspect run").contains("labels"));
    ok(at, "train --config run/config.toml -o again -q");
    let [first, second] =
        ["run", "again"].map(|run| std::fs::read(at.join(run).join("model.safetensors")).expect("numbers"));
    assert!(first == second);
    ok(at, "train data --model hinge --l2 0.01 -o svm -q");
    let head = "prediction_far,decision_far,prediction_big,decision_big,prediction_odd,decision_odd";
    assert_eq!(ok(at, "predict svm data -o -").lines().next(), Some(head));
    assert!(figure(&evaluation(at, "evaluate svm t.csv --json"), "hinge_loss") < 1.5);
    // A model of one label and a dataset of several do not fit, nor the other way round.
    assert!(fails(at, "evaluate big data", 2).contains("does not hold the labels of the model"));
    ok(at, "ingest t.csv -o one --label big --ignore far,odd -q");
    assert!(fails(at, "evaluate run one", 2).contains("does not hold the labels of the model"));
}

#[test]
fn labels_that_are_not_0_or_1_are_named_with_file_row_and_column() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    write(at, "two.csv", "x,a,b\n1,0,1\n2,1,0\n3,2,1\n");
    let said = fails(at, "ingest two.csv -o data --label b,a", 1);
    assert!(said.contains("two.csv, line 4, column 'a': found 2, expected 0 or 1"), "{said}");
    write(at, "gap.csv", "x,a,b\n1,0,1\n2,1,\n3,0,0\n4,1,1\n");
    let said = fails(at, "train gap.csv --model logistic --label a,b -o run", 1);
    assert!(said.contains("gap.csv, line 3, column 'b': the label is missing"), "{said}");
    ok(at, "ingest gap.csv -o data --label a,b --drop-missing-label -q");
    assert!(ok(at, "inspect data").contains("labels"));
    write(at, "words.csv", "x,a,b\n1,no,1\n2,yes,0\n3,no,1\n");
    let said = fails(at, "ingest words.csv -o words --label a,b", 1);
    assert!(said.contains("words.csv, line 2, column 'a'") && said.contains("column of 0 and 1"), "{said}");
    assert!(fails(at, "ingest gap.csv -o x --label a,c", 2).contains("no column 'c'"));
    assert!(fails(at, "ingest gap.csv -o x --label a,a", 2).contains("named twice"));
    // What no model of two classes can be, and what speaks of one label.
    write(at, "t.csv", rows());
    ok(at, "ingest t.csv -o three --label far,big,odd -q");
    assert!(fails(at, "train three --model linear -o x", 1).contains("model 'linear' learns one"));
    assert!(fails(at, "train three --model softmax -o x", 1).contains("--model logistic"));
    assert!(fails(at, "train three --model logistic --multiclass ovr -o x", 2).contains("has a model of its own"));
    assert!(fails(at, "train three --model logistic --class-weight balanced -o x", 2).contains("several labels"));
    ok(at, "train three --model logistic --l2 0.001 -o run -q");
    write(at, "new.csv", "x,z,big,far,odd\n1,2,0,1,0\n1,2,0,7,0\n");
    let said = fails(at, "evaluate run new.csv", 1);
    assert!(said.contains("new.csv, line 3, column 'far': found 7, expected 0 or 1"), "{said}");
    // Prediction needs no label.
    write(at, "bare.csv", "x,z\n1,2\n");
    assert_eq!(ok(at, "predict run bare.csv -o -").lines().count(), 2);
}

/// Batch by batch, with a path of learning rates, early stopping and l1.
#[test]
fn labels_are_learnt_batch_by_batch() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    write(at, "t.csv", rows());
    ok(at, "ingest t.csv -o data --label far,big --ignore odd --test-share 0.3 --shuffle -q");
    ok(
        at,
        "train data --model logistic --solver adam --learning-rate 0.1,0.01 --batch-rows 16 --epochs 5 --patience 9 -o run -q",
    );
    let judged = evaluation(at, "evaluate run/l1-0-l2-0-rate-0.1 data --split test --json");
    assert!(figure(&judged, "macro_auc") > 0.85, "{judged}");
    ok(at, "train data --model squared-hinge --solver ftrl --l1 0.001 --then owlqn -o svm -q");
    assert!(figure(&evaluation(at, "evaluate svm data --json"), "micro_f1") > 0.8);
}
