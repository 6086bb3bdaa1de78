//! Models beside least squares and log-odds, from the command line: what they predict, how they are judged, what they refuse.

use serde_json::Value;

use crate::harness::{fails, ok};
use crate::samples::write;

/// Rows `x,count,class` in two groups: x = 0 with counts 1 and 3, x = 1 with counts 4 and 8, of so many.
fn groups_of(unit: u64) -> String {
    let lines = (0..400).map(|i| {
        let (x, count) = [(0, unit), (0, 3 * unit), (1, 4 * unit), (1, 8 * unit)][i % 4];
        format!("{x},{count},{}\n", if x == 0 { "low" } else { "high" })
    });
    std::iter::once("x,count,class\n".to_string()).chain(lines).collect()
}

fn groups() -> String {
    groups_of(1)
}

fn figures(folder: &std::path::Path, run: &str) -> Value {
    serde_json::from_str(&ok(folder, &format!("evaluate {run} g.csv --json"))).expect("JSON")
}

fn figure(evaluation: &Value, name: &str) -> f64 {
    let figures = evaluation["evaluation"]["figures"].as_array().expect("figures");
    let found = figures.iter().find(|figure| figure["name"] == name);
    found.and_then(|figure| figure["value"].as_f64()).unwrap_or_else(|| panic!("no {name}: {evaluation}"))
}

/// Without a penalty and with an intercept each group's mean is fitted: 2 and 6. The deviances follow by hand.
#[test]
fn means_of_groups_are_predicted_and_judged_by_deviance() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "g.csv", groups());
    ok(folder.path(), "ingest g.csv -o data --label count --ignore class -q");
    let poisson = |y: f64, m: f64| 2.0 * (y * (y / m).ln() - y + m);
    let gamma = |y: f64, m: f64| 2.0 * ((m / y).ln() + y / m - 1.0);
    let mean = |d: &dyn Fn(f64, f64) -> f64| (d(1.0, 2.0) + d(3.0, 2.0) + d(4.0, 6.0) + d(8.0, 6.0)) / 4.0;
    let null = |d: &dyn Fn(f64, f64) -> f64| (d(1.0, 4.0) + d(3.0, 4.0) + d(4.0, 4.0) + d(8.0, 4.0)) / 4.0;
    for (model, d) in [("poisson", &poisson as &dyn Fn(f64, f64) -> f64), ("gamma", &gamma)] {
        ok(folder.path(), &format!("train data --model {model} -o {model} -q"));
        let lines = ok(folder.path(), &format!("predict {model} g.csv --keep x -o -"));
        for line in lines.lines().skip(1) {
            let (x, mean) = line.split_once(',').expect("two columns");
            let want = if x == "0" { 2.0 } else { 6.0 };
            // A gap of 1e-7 of the objective leaves its root, 3e-4, to the mean.
            assert!((mean.parse::<f64>().expect("a number") / want - 1.0).abs() < 1e-3, "{model}: {line}");
        }
        let evaluation = figures(folder.path(), model);
        let (deviance, d2) = (figure(&evaluation, "deviance"), figure(&evaluation, "d2"));
        assert!((deviance / mean(d) - 1.0).abs() < 1e-6, "{model}: {deviance} is not {}", mean(d));
        assert!((d2 - (1.0 - mean(d) / null(d))).abs() < 1e-6, "{model}: {d2}");
        let inspected: Value =
            serde_json::from_str(&ok(folder.path(), &format!("inspect {model} --json"))).expect("JSON");
        assert_eq!(inspected["link"], "log");
        let objective = inspected["objective"].as_f64().expect("a number");
        assert!((objective / (mean(d) / 2.0) - 1.0).abs() < 1e-6, "half the deviance: {objective}");
    }
}

/// The gamma deviance does not know units, and says the same of amounts in the millions of millions.
#[test]
fn large_amounts_are_judged_as_small_ones() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let judged = |unit: u64| {
        write(folder.path(), "g.csv", groups_of(unit));
        ok(folder.path(), "train g.csv --label count --ignore class --model gamma -o run --force -q");
        let evaluation = figures(folder.path(), "run");
        ["deviance", "d2"].map(|name| figure(&evaluation, name))
    };
    let (small, large) = (judged(1), judged(1 << 43));
    let off = |k: usize| (small[k] / large[k] - 1.0).abs();
    assert!(off(0) < 1e-6 && off(1) < 1e-6, "{small:?} {large:?}");
}

/// `evaluate` refuses the row that `predict` refuses, with its place, and one whose mean rounds to 0, which `predict` writes.
#[test]
fn a_row_beyond_all_numbers_is_not_judged() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "g.csv", groups());
    write(folder.path(), "far.csv", "x,count,class\n1,4,high\n1e30,4,high\n");
    write(folder.path(), "low.csv", "x,count,class\n-1e30,4,high\n");
    ok(folder.path(), "train g.csv --label count --ignore class --model poisson -o run -q");
    let predicted = fails(folder.path(), "predict run far.csv -o -", 1);
    assert!(predicted.contains("far.csv, line 3: the prediction is inf"), "{predicted}");
    let judged = fails(folder.path(), "evaluate run far.csv", 1);
    assert!(judged.contains("far.csv, line 3: the prediction is inf"), "{judged}");
    ok(folder.path(), "predict run low.csv -o -");
    let judged = fails(folder.path(), "evaluate run low.csv --json", 1);
    assert!(judged.contains("low.csv, line 2: the prediction is 0.0 and the label 4.0"), "{judged}");
}

#[test]
fn a_support_vector_machine_says_class_and_decision() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "g.csv", groups());
    ok(folder.path(), "ingest g.csv -o data --label class --ignore count -q");
    ok(folder.path(), "train data --model squared-hinge --l2 0.01 -o run -q");
    let lines = ok(folder.path(), "predict run g.csv --keep class -o -");
    assert_eq!(lines.lines().next(), Some("class,prediction,decision"));
    for line in lines.lines().skip(1) {
        let [class, prediction, decision] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!(class, prediction);
        // Classes are in the order of their names: high, low.
        assert_eq!(decision.parse::<f64>().expect("a number") > 0.0, class == "low", "{line}");
    }
    let evaluation = figures(folder.path(), "run");
    assert_eq!(figure(&evaluation, "accuracy"), 1.0);
    assert!(figure(&evaluation, "hinge_loss") < 0.1);
    assert!(!evaluation.to_string().contains("log_loss"), "there are no probabilities: {evaluation}");
}

#[test]
fn settings_of_other_models_and_labels_without_a_logarithm_are_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let line = |i: usize| format!("{},{}\n", i * i % 7, if i == 40 { -1.0 } else { 0.25 + i as f64 });
    write(folder.path(), "g.csv", std::iter::once("x,y\n".to_string()).chain((0..60).map(line)).collect::<String>());
    ok(folder.path(), "ingest g.csv -o data --label y -q");
    let message = fails(folder.path(), "train data --model poisson -o run", 1);
    assert!(message.contains("'y' is -1 in training grain 0, row ") && message.contains("0 or greater"), "{message}");
    let message = fails(folder.path(), "train data --model poisson --huber-delta 2 -o run", 2);
    assert!(message.contains("--model huber"), "{message}");
    ok(folder.path(), "train data --model huber --huber-delta 0.5 -o run -q");
    ok(folder.path(), "train --config run/config.toml -o again -q");
    let [first, second] =
        ["run", "again"].map(|run| std::fs::read(folder.path().join(run).join("model.json")).expect("a model"));
    assert!(first == second, "the configuration as resolved holds --huber-delta");
}

/// Rates of 2 and 6 for each unit of exposure: with the logarithm of the exposure as offset they are the coefficients, and a
/// prediction counts the exposure of its row.
#[test]
fn an_offset_is_read_by_training_predicting_and_judging() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    let rows = (0..400).map(|i| {
        let (x, exposure) = (i % 2, [1.0, 2.0, 8.0, 16.0][i / 2 % 4]);
        format!("{x},{},{}\n", f64::ln(exposure), [2.0, 6.0][x] * exposure)
    });
    write(at, "e.csv", std::iter::once("x,e,y\n".to_string()).chain(rows).collect::<String>());
    ok(at, "ingest e.csv -o data --offset e -q");
    ok(at, "train data --model poisson --tolerance 1e-12 --threads 2 -o run -q");
    let shown: Value = serde_json::from_str(&ok(at, "inspect run --json")).expect("JSON");
    assert!((shown["intercept"].as_f64().expect("a number") - 2f64.ln()).abs() < 1e-4, "{shown}");
    assert!((shown["coefficients"]["x"].as_f64().expect("a number") - 3f64.ln()).abs() < 1e-4, "{shown}");
    let lines = ok(at, "predict run e.csv --keep y -o -");
    for line in lines.lines().skip(1) {
        let (y, mean) = line.split_once(',').expect("two columns");
        let [y, mean] = [y, mean].map(|cell| cell.parse::<f64>().expect("a number"));
        assert!((mean / y - 1.0).abs() < 1e-3, "{line}");
    }
    let of_source: Value = serde_json::from_str(&ok(at, "evaluate run e.csv --json")).expect("JSON");
    let of_dataset: Value = serde_json::from_str(&ok(at, "evaluate run data --json")).expect("JSON");
    assert!(
        (figure(&of_source, "rmse") - figure(&of_dataset, "rmse")).abs() < 1e-9 && figure(&of_source, "r2") > 0.999
    );
    // Without the column there is no prediction, and without a value no row.
    write(at, "none.csv", "x,y\n1,2\n");
    assert!(fails(at, "predict run none.csv -o -", 1).contains("'e'"));
    write(at, "gap.csv", "x,e,y\n1,0,2\n0,,3\n");
    let said = fails(at, "ingest gap.csv -o gap --offset e", 1);
    assert!(said.contains("gap.csv, line 3") && said.contains("offset is missing"), "{said}");
    assert!(fails(at, "ingest e.csv -o twice --offset e --weight e", 2).contains("as weight and as offset"));
    assert!(fails(at, "train data --offset x --model poisson -o x", 2).contains("its column is 'e'"));
    ok(at, "train e.csv --offset e --model poisson -o direct -q");
}

/// Labels 0, 1, ..., 9 in two groups, the second 100 higher: the quantile 0.85 of each is its ninth label.
#[test]
fn quantiles_of_groups_are_predicted_with_a_certificate() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    let rows = (0..400).map(|i| format!("{},{},{}\n", i % 2, i / 2 % 10 + 100 * (i % 2), ["no", "yes"][i % 2]));
    write(at, "g.csv", std::iter::once("x,y,class\n".to_string()).chain(rows).collect::<String>());
    ok(at, "ingest g.csv -o data --label y --ignore class -q");
    ok(at, "train data --model quantile --quantile 0.85 -o run -q");
    for line in ok(at, "predict run g.csv --keep x -o -").lines().skip(1) {
        let (x, quantile) = line.split_once(',').expect("two columns");
        let want = if x == "0" { 8.0 } else { 108.0 };
        assert!((quantile.parse::<f64>().expect("a number") - want).abs() < 1e-3, "{line}");
    }
    let pinball = |error: f64| if error > 0.0 { 0.85 * error } else { -0.15 * error };
    let want = (0..10).map(|y| pinball(f64::from(y) - 8.0)).sum::<f64>() / 10.0;
    let found = figures(at, "run");
    assert!((figure(&found, "pinball_loss") / want - 1.0).abs() < 1e-5, "{found}");
    let shown: Value = serde_json::from_str(&ok(at, "inspect run --json")).expect("JSON");
    assert!(shown["reason"].as_str().expect("a reason").contains("certified gap"), "{shown}");
    assert!((shown["objective"].as_f64().expect("a number") / want - 1.0).abs() < 1e-6, "{shown}");
    ok(at, "train data --model absolute --l2 0.001 -o median -q");
    ok(at, "ingest g.csv -o classes --label class --ignore y -q");
    ok(at, "train classes --model hinge --l2 0.01 -o svm -q");
    assert_eq!(ok(at, "predict svm classes -o -").lines().next(), Some("prediction,decision"));
    let said = fails(at, "train data --model quantile --quantile 1 -o x", 2);
    assert!(said.contains("quantile is 1") && said.contains("between 0 and 1"), "{said}");
    assert!(fails(at, "train data --model linear --quantile 0.5 -o x", 2).contains("--model quantile"));
}

/// One row in ten lies far below zero, and none as far above it: sums have room for these too.
#[test]
fn labels_may_be_far_below_zero() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    let rows = (0..100).map(|i| format!("{},{}\n", i % 2, if i % 10 < 8 { 1.0 } else { -1000.0 * f64::from(i) }));
    write(at, "d.csv", std::iter::once("x,label\n".to_string()).chain(rows).collect::<String>());
    for model in ["absolute", "quantile --quantile 0.4"] {
        ok(at, &format!("train d.csv --model {model} -o run --force -q"));
        for line in ok(at, "predict run d.csv -o - -q").lines().skip(1) {
            assert!((line.parse::<f64>().expect("a number") - 1.0).abs() < 0.1, "{model}: {line}");
        }
    }
}

/// Without an intercept the first point is far from all labels, where these losses are straight: no curvature there is no minimum. The
/// label is a multiple of `x`, so that nothing but the penalty is left.
#[test]
fn a_start_far_from_all_labels_is_no_minimum() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    for (name, x, step) in [("near.csv", 8, 100), ("far.csv", 128, 10)] {
        let rows = (0..200).map(|i| format!("{},{}\n", x + i % 2, step * (x + i % 2)));
        write(at, name, std::iter::once("x,label\n".to_string()).chain(rows).collect::<String>());
        for model in ["absolute", "quantile --quantile 0.3", "huber"] {
            let flags = "--l1 0.001 --intercept false --standardize false --solver proximal-newton";
            ok(at, &format!("train {name} --model {model} {flags} -o run --force -q"));
            let shown: Value = serde_json::from_str(&ok(at, "inspect run --json")).expect("JSON");
            let off = shown["objective"].as_f64().expect("a number") / (0.001 * f64::from(step)) - 1.0;
            assert!(off.abs() < 1e-4, "{name}, {model}: {shown}");
        }
    }
}

/// The levels of a category are together what such a column nearly is, a column of ones.
#[test]
fn a_far_column_beside_levels_is_warned_of_without_an_intercept() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let folder = scratch.path();
    let rows = |far: f64| -> String {
        (0..40).map(|i| format!("{},{},{}\n", far + f64::from(i % 7), ["a", "b", "c"][i as usize % 3], i % 5)).collect()
    };
    for (far, is_warned) in [(1e9, true), (10.0, false)] {
        write(folder, "d.csv", format!("x,c,label\n{}", rows(far)));
        let told = ok(folder, "train d.csv --model linear --intercept false -o run -q --force");
        assert_eq!(told.contains("cannot be told apart well from categories"), is_warned, "{told}");
    }
}
