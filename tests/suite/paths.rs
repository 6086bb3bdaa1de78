//! Paths of penalties and cross-validation: a model of a path is the model trained alone, byte for byte, and a run with folds
//! says which configuration is best and holds it.

use std::fs::File;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt16Type;
use arrow::ipc::reader::FileReader;

use crate::harness::{fails, ok};
use crate::interrupted::models;
use crate::samples::{csv, write};

fn data(rows: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(rows));
    ok(folder.path(), "ingest d.csv -o data --label y --ignore id,t -q");
    folder
}

#[test]
fn a_model_of_a_path_is_the_model_trained_alone() {
    let folder = data(3_000);
    let at = folder.path();
    for (solver, l1) in [("auto", ["0", "0.003"]), ("owlqn", ["0.001", "0.003"])] {
        let train = format!("train data --model logistic --solver {solver} --force -q");
        ok(at, &format!("{train} --l1 {} --l2 0.1,0.01,0.001 -o path", l1.join(",")));
        for l1 in l1 {
            for l2 in ["0.1", "0.01", "0.001"] {
                ok(at, &format!("{train} --l1 {l1} --l2 {l2} -o alone"));
                let own = at.join("path").join(format!("l1-{l1}-l2-{l2}"));
                assert!(models(&own) == models(&at.join("alone")), "{solver} {l1} {l2}");
            }
        }
    }
    // From another run, every configuration.
    ok(at, "train data --model logistic --l2 0.1,0.01 --warm-start alone -o warm --force -q");
    ok(at, "train data --model logistic --l2 0.01 --warm-start alone -o one --force -q");
    assert!(models(&at.join("warm/l1-0-l2-0.01")) == models(&at.join("one")));
}

#[test]
fn folds_choose_the_best_configuration() {
    let folder = data(2_000);
    let at = folder.path();
    let said = ok(at, "train data --model logistic --l2 10,0.01 --folds 4 --seed 3 -o run");
    for part in ["held out, mean of 4 folds", "accuracy", "±", "best by held-out loss: l1-0-l2-0.01"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let summary = std::fs::read_to_string(at.join("run/summary.json")).expect("a summary");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!((&summary["best"], &summary["validation"]["best"]), (&"l1-0-l2-0.01".into(), &1.into()));
    let best = &summary["validation"]["configurations"][1];
    assert_eq!(best["loss"]["folds"].as_array().map(Vec::len), Some(4));
    assert!(best["figures"]["accuracy"]["mean"].as_f64() > Some(0.5), "{best}");
    for file in ["model.json", "model.safetensors"] {
        let [run, best] =
            ["run", "run/l1-0-l2-0.01"].map(|run| std::fs::read(at.join(run).join(file)).expect("a file"));
        assert!(run == best, "{file}");
    }
    // The folds as told: as many rows of each as the summary counts.
    let reader = FileReader::try_new(File::open(at.join("run/folds.arrow")).expect("a file"), None).expect("Arrow IPC");
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().expect("batches");
    let folds = || batches.iter().flat_map(|batch| batch.column(0).as_primitive::<UInt16Type>().values());
    let counts: Vec<u64> = (0..4).map(|fold| folds().filter(|own| **own == fold).count() as u64).collect();
    assert_eq!(summary["validation"]["rows"], serde_json::json!(counts));
    assert_eq!(counts.iter().sum::<u64>(), 2_000);
    ok(at, "predict run d.csv -o p.csv -q");
    // One configuration: a line for each fold, and the model as without folds.
    let said = ok(at, "train data --model logistic --l2 0.01 --folds 4 --seed 3 -o one");
    assert!(said.contains("standard error") && said.contains("held out, 4 folds"), "{said}");
    ok(at, "train data --model logistic --l2 0.01 --seed 3 -o plain -q");
    assert!(models(&at.join("one")) == models(&at.join("plain")));
    assert!(fails(at, "train data --model logistic --folds 1 -o x", 2).contains("from 2 to 1000"));
}
