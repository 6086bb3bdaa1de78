//! The law of the same bits: a model is a function of data, configuration and seed alone.

use std::path::Path;

use crate::harness::{command, ok, outcome};
use crate::interrupted::models;
use crate::samples::{class, colour, csv, number, target, write};

/// Trains on 1, 2 and 5 threads and on every tier but the portable one: the files of the models must be the same.
fn same(folder: &Path, data: &str, flags: &str) {
    ok(folder, &format!("train {data} {flags} --threads 1 -o first --force -q"));
    let first = models(&folder.join("first"));
    assert!(first.len() >= 2, "{flags}: no model was written");
    for threads in [2, 5] {
        ok(folder, &format!("train {data} {flags} --threads {threads} -o next --force -q"));
        assert!(models(&folder.join("next")) == first, "{data} {flags}: {threads} threads give another model");
    }
    for tier in gristmill_kernels::Tier::available().into_iter().map(gristmill_kernels::Tier::name) {
        if tier == "portable" {
            continue;
        }
        let words = format!("train {data} {flags} -o next --force -q");
        let run = command(folder).args(words.split_whitespace()).env("GRISTMILL_TIER", tier).output();
        let run = outcome(run.expect("the binary starts"));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(models(&folder.join("next")) == first, "{data} {flags}: {tier} gives another model");
    }
}

#[test]
fn threads_and_tiers_change_no_bit() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(5_000));
    ok(folder.path(), "ingest d.csv -o data --ignore id --label y --numeric t -q");
    for flags in ["--l2 0.01", "--l1 0.002", "--l2 0.01 --solver lbfgs", "--l2 0.001,0.01,0.1"] {
        same(folder.path(), "data", &format!("--model logistic {flags}"));
    }
    ok(folder.path(), "ingest d.csv -o real --ignore id,y --label t -q");
    for flags in ["--l2 0.1", "--l2 0.1 --standardize false", "--l1 0.05 --l2 0.01", "--l2 0.01,0.1,1", "--l1 0.5,0.05"]
    {
        same(folder.path(), "real", &format!("--model linear {flags}"));
    }
}

#[test]
fn sparse_rows_change_no_bit_either() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let text: String = (0..3_000)
        .map(|row| {
            let far = 10 + row * 7 % 50;
            format!("{} 1:{} 7:{} {far}:{}\n", u8::from(class(row)), number(row, 0), number(row, 1), number(row, 2))
        })
        .collect();
    write(folder.path(), "d.libsvm", text);
    ok(folder.path(), "ingest d.libsvm -o data -q");
    for flags in ["--model logistic --l2 0.01", "--model logistic --l1 0.01", "--model linear --l2 0.01"] {
        same(folder.path(), "data", flags);
    }
}

#[test]
fn vectors_beside_categories_change_no_bit_either() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let text: String = (0..3_000)
        .map(|row| {
            let v: Vec<String> = (3..12).map(|column| number(row, column).to_string()).collect();
            let [c, b] = [colour(row).to_string(), number(row, 1).to_string()];
            format!("{{\"v\": [{}], \"c\": \"{c}\", \"b\": {b}, \"y\": {}}}\n", v.join(","), target(row))
        })
        .collect();
    write(folder.path(), "d.ndjson", text);
    ok(folder.path(), "ingest d.ndjson --label y -o data -q");
    for flags in ["--l2 0.01", "--l1 0.05", "--l2 0.01 --solver lbfgs"] {
        same(folder.path(), "data", &format!("--model linear {flags}"));
    }
}

#[test]
fn predictions_do_not_depend_on_threads() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(3_000));
    ok(folder.path(), "train d.csv --ignore id,y --label t --model linear -o run -q");
    ok(folder.path(), "predict run d.csv --keep id --threads 1 -o one.csv -q");
    ok(folder.path(), "predict run d.csv --keep id --threads 5 -o five.csv -q");
    let [one, five] = ["one.csv", "five.csv"].map(|file| std::fs::read(folder.path().join(file)).expect("a file"));
    assert!(one == five);
}
