//! Columns crossed on the fly, from the command line: the model knows its crosses, whatever is done with it; what cannot be crossed is
//! named.

use std::fmt::Write as _;

use serde_json::Value;

use crate::harness::{fails, ok};
use crate::interrupted::models;
use crate::samples::{colour, number, write};

/// Rows whose class follows from the combination of two categories, and from neither alone; some shops are missing.
fn text(rows: u64, stored: bool) -> String {
    let mut text = String::from(if stored { "a,colour,shop,both,y\n" } else { "a,colour,shop,y\n" });
    for row in 0..rows {
        let shop = (number(row, 3) + 12.5) as u64 / 5;
        let name = if row % 41 == 3 { String::new() } else { format!("s{shop}") };
        let met = (colour(row).len() as u64 + shop).is_multiple_of(2);
        let y = if met == (number(row, 5) < 8.0) { "yes" } else { "no" };
        let both = if stored { format!("{}-{name},", colour(row)) } else { String::new() };
        writeln!(text, "{},{},{name},{both}{y}", number(row, 0), colour(row)).expect("a string takes it");
    }
    text
}

fn objective(folder: &std::path::Path, run: &str) -> f64 {
    let inspected: Value = serde_json::from_str(&ok(folder, &format!("inspect {run} --json"))).expect("JSON");
    inspected["objective"].as_f64().expect("a number")
}

#[test]
fn a_model_knows_its_crosses() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    write(folder, "d.csv", text(4_000, false));
    write(folder, "s.csv", text(4_000, true));
    ok(folder, "ingest d.csv -o data --label y -q");
    ok(folder, "ingest s.csv -o stored --label y -q");
    let flags = "--model logistic --l2 0.001 --standardize false --tolerance 1e-10 -q";
    ok(folder, &format!("train data {flags} --cross colour*shop -o run"));
    ok(folder, &format!("train stored {flags} -o same"));
    ok(folder, &format!("train data {flags} -o without"));
    let [crossed, stored, without] = ["run", "same", "without"].map(|run| objective(folder, run));
    // Combinations are numbered otherwise than levels by frequency, so that sums of solvers round otherwise.
    assert!((crossed / stored - 1.0).abs() < 1e-9, "{crossed}, with the column stored {stored}");
    assert!(crossed < 0.9 * without, "{crossed}, without the cross {without}");
    // By name: the column that holds the combination, and the levels that combine.
    let of = |run: &str, name: &str| {
        let inspected: Value = serde_json::from_str(&ok(folder, &format!("inspect {run} --json"))).expect("JSON");
        inspected["coefficients"][name].as_f64().unwrap_or_else(|| panic!("no {name}: {inspected}"))
    };
    for (name, same) in [("colour=red * shop=s2", "both=red-s2"), ("colour=blue * shop (missing)", "both=blue-")] {
        let (own, stored) = (of("run", name), of("same", same));
        assert!((own - stored).abs() < 1e-4 && own.abs() > 1e-3, "{name} has {own}, {same} has {stored}");
    }
    // The rows of the file and of the dataset are predicted and judged alike.
    ok(folder, "predict run d.csv -o rows.csv -q");
    ok(folder, "predict run data -o grains.csv --threads 2 -q");
    let [rows, grains] = ["rows.csv", "grains.csv"].map(|file| std::fs::read(folder.join(file)).expect("a file"));
    assert!(rows == grains && rows.len() > 40_000);
    let accuracy = |on: &str| {
        let judged: Value = serde_json::from_str(&ok(folder, &format!("evaluate run {on} --json"))).expect("JSON");
        let figures = judged["evaluation"]["figures"].as_array().expect("figures").clone();
        let found = figures.iter().find(|figure| figure["name"] == "accuracy").expect("accuracy");
        found["value"].as_f64().expect("a number")
    };
    assert!(accuracy("data") > 0.8 && (accuracy("data") - accuracy("d.csv")).abs() < 1e-12);
    // The configuration that was written trains the same again, and a run is a start for the same crosses only.
    ok(folder, "train --config run/config.toml -o again");
    assert!(models(&folder.join("again")) == models(&folder.join("run")));
    ok(folder, &format!("train data {flags} --cross colour*shop --warm-start run -o warm"));
    let message = fails(folder, &format!("train data {flags} --warm-start run -o other"), 2);
    assert!(message.contains("crossed columns (colour*shop) than this training (none)"), "{message}");
}

#[test]
fn hashed_crosses_are_within_their_bits() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    write(folder, "d.csv", text(3_000, false));
    ok(folder, "ingest d.csv -o data --label y --categorical a -q");
    let words =
        "train data --model logistic --solver adagrad --cross a*shop,colour*shop --cross a*colour*shop --cross-bits 6";
    ok(folder, &format!("{words} --epochs 2 -o run -q"));
    let inspected: Value = serde_json::from_str(&ok(folder, "inspect run --json")).expect("JSON");
    let names: Vec<&String> = inspected["coefficients"].as_object().expect("coefficients").keys().collect();
    let count = |start: &str| names.iter().filter(|name| name.starts_with(start)).count();
    assert_eq!((count("a*shop#"), count("a*colour*shop#")), (64, 64));
    // Colours and shops have fewer than 64 combinations: every shop meets every colour, also those that are missing or unseen.
    assert_eq!(count("colour=red * shop"), count("shop"));
    ok(folder, "evaluate run d.csv -q");
}

#[test]
fn what_cannot_be_crossed_is_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    write(folder, "d.csv", text(500, false));
    ok(folder, "ingest d.csv -o data --label y -q");
    for (flags, words) in [
        ("--cross colour", "two or more columns"),
        ("--cross colour*colour", "'colour' twice"),
        ("--cross colour*shop --cross shop*colour", "named before"),
        ("--cross colour*shp", "no column 'shp'. Categorical columns: colour, shop"),
        ("--cross a*shop", "'a' holds numbers"),
        ("--cross y*shop", "is the label"),
        ("--cross colour*shop --cross-bits 0", "from 1 to 30 bits"),
        ("--cross-bits 9", "there is no cross"),
    ] {
        let message = fails(folder, &format!("train data --model logistic {flags} -o run -q"), 2);
        assert!(message.contains(words), "{flags}: {message}");
        assert!(!folder.join("run").exists());
    }
}

#[test]
fn a_plan_counts_the_levels_of_crosses() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    write(folder, "d.csv", text(400, false));
    ok(folder, "ingest d.csv --label y -o data -q");
    let data = |flags: &str| {
        let machine = "--memory-rate 10GB/s --flops 1Tflop/s";
        let said: Value =
            serde_json::from_str(&ok(folder, &format!("plan data {machine} {flags} --json"))).expect("JSON");
        ["dense", "scattered", "entries", "row_bytes"].map(|name| said["data"][name].as_f64().expect("a number"))
    };
    let [stored, crossed, hashed] = ["", "--cross colour*shop", "--cross colour*shop --cross-bits 2"].map(data);
    let levels = |name: &str| {
        let inspected: Value = serde_json::from_str(&ok(folder, "inspect data --json")).expect("JSON");
        let columns = inspected["columns"].as_array().expect("columns").clone();
        let own = columns.iter().find(|column| column["name"] == name).expect("a column").clone();
        own["width"].as_f64().unwrap_or_else(|| panic!("no levels: {own}"))
    };
    assert_eq!(stored[2], 2.0);
    assert_eq!(crossed, [stored[0], stored[1] + levels("colour") * levels("shop"), 3.0, stored[3]]);
    assert_eq!(hashed, [stored[0], stored[1] + 4.0, 3.0, stored[3]]);
    assert!(fails(folder, "plan data --cross colour*what", 2).contains("'what'"));
    assert!(fails(folder, "plan data --cross-bits 9", 2).contains("there is no cross"));
    assert!(fails(folder, "plan data --cross colour*shop --columns 9", 2).contains("--columns"));
}
