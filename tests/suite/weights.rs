//! Weights of rows and of classes mean what repeated rows would mean, through the binary.

use std::path::Path;

use crate::harness::ok;
use crate::samples::{class, colour, number, target, write};

/// Coefficients and intercept of a run, by name.
pub fn coefficients(folder: &Path, run: &str) -> Vec<(String, f64)> {
    let about: serde_json::Value = serde_json::from_str(&ok(folder, &format!("inspect {run} --json"))).expect("JSON");
    let mut found: Vec<(String, f64)> = about["coefficients"]
        .as_object()
        .expect("coefficients")
        .iter()
        .map(|(name, value)| (name.clone(), value.as_f64().expect("a number")))
        .collect();
    found.push(("intercept".into(), about["intercept"].as_f64().expect("a number")));
    found
}

/// The same names, and values within `tolerance` of each other (relative to 1 or the value).
pub fn agree(left: &[(String, f64)], right: &[(String, f64)], tolerance: f64) {
    assert_eq!(left.len(), right.len(), "{left:?} {right:?}");
    for ((name, a), (other, b)) in left.iter().zip(right) {
        assert_eq!(name, other);
        assert!((a - b).abs() <= tolerance * a.abs().max(1.0), "{name}: {a} and {b}");
    }
}

/// A header, and a line a row; `times` says how often a row stands there, and with which weight.
fn table(rows: u64, times: impl Fn(u64) -> (usize, f64)) -> String {
    let mut text = String::from("a,b,colour,side,w,y,t\n");
    for row in 0..rows {
        let side = if row % 5 == 0 { "test" } else { "train" };
        let (repeat, weight) = times(row);
        let (a, b, c) = (number(row, 0), number(row, 1), colour(row));
        let line = format!("{a},{b},{c},{side},{weight},{},{}\n", u8::from(class(row)), target(row));
        text.push_str(&line.repeat(repeat));
    }
    text
}

/// The figures of an evaluation, without counts of rows.
fn figures(folder: &Path, words: &str) -> Vec<(String, f64)> {
    let judged: serde_json::Value = serde_json::from_str(&ok(folder, words)).expect("JSON");
    let figures = judged["evaluation"]["figures"].as_array().expect("figures");
    figures
        .iter()
        .filter_map(|figure| Some((figure["name"].as_str()?.to_string(), figure["value"].as_f64()?)))
        .collect()
}

/// Without standardisation: deviations of columns are those of the rows as they stand, whatever they weigh.
#[test]
fn a_weight_is_that_many_rows() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let times = |row: u64| (row * 7 % 4) as usize;
    write(folder.path(), "weighted.csv", table(900, |row| (1, times(row) as f64)));
    write(folder.path(), "repeated.csv", table(900, |row| (times(row), 1.0)));
    for (label, other, flags) in [
        ("y", "t", "--model logistic --l2 0.01 --standardize false"),
        ("t", "y", "--model linear --l2 0.1 --standardize false"),
        ("t", "y", "--model linear --l1 0.2 --standardize false"),
    ] {
        for (name, roles) in
            [("weighted", format!("--weight w --ignore {other}")), ("repeated", format!("--ignore w,{other}"))]
        {
            ok(
                folder.path(),
                &format!("ingest {name}.csv --label {label} {roles} --split-column side -o {name} --force -q"),
            );
            ok(folder.path(), &format!("train {name} {flags} -o {name}.run --force -q --tolerance 1e-10"));
        }
        let [one, two] = ["weighted", "repeated"].map(|name| coefficients(folder.path(), &format!("{name}.run")));
        agree(&one, &two, 1e-5);
        let [one, two] = ["weighted", "repeated"]
            .map(|name| figures(folder.path(), &format!("evaluate {name}.run {name} --split test --json -q")));
        assert!(one.len() >= 3, "{one:?}");
        agree(&one, &two, 1e-5);
    }
}

#[test]
fn a_class_weight_is_the_weight_of_its_rows() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", table(600, |row| (1, if class(row) { 3.0 } else { 1.0 })));
    let train = "--model logistic --l2 0.01 --standardize false --tolerance 1e-10 -q";
    ok(folder.path(), &format!("train d.csv --label y --weight w --ignore t,side {train} -o rows"));
    ok(folder.path(), &format!("train d.csv --label y --ignore w,t,side {train} --class-weight 0=1,1=3 -o classes"));
    ok(folder.path(), &format!("train d.csv --label y --ignore w,t,side {train} -o plain"));
    let [rows, classes, plain] = ["rows", "classes", "plain"].map(|run| coefficients(folder.path(), run));
    agree(&rows, &classes, 1e-6);
    assert!((plain[plain.len() - 1].1 - classes[classes.len() - 1].1).abs() > 0.1, "weights changed nothing");
    ok(folder.path(), &format!("train d.csv --label y --ignore w,t,side {train} --class-weight balanced -o balanced"));
    let ones = (0..600).filter(|row| class(*row)).count() as f64;
    let (zero, one) = (600.0 / (2.0 * (600.0 - ones)), 600.0 / (2.0 * ones));
    let words = format!("train d.csv --label y --ignore w,t,side {train} --class-weight 0={zero},1={one} -o same");
    ok(folder.path(), &words);
    let [balanced, same] = ["balanced", "same"].map(|run| coefficients(folder.path(), run));
    agree(&balanced, &same, 1e-9);
}
