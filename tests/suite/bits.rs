//! The law of the same bits: a model is a function of data, configuration and seed alone.

use crate::harness::{command, ok, outcome};
use crate::samples::{csv, write};

/// The files that hold a model.
fn model(folder: &std::path::Path, run: &str) -> Vec<Vec<u8>> {
    ["model.json", "model.safetensors"]
        .map(|file| std::fs::read(folder.join(run).join(file)).expect("a model"))
        .to_vec()
}

#[test]
fn threads_and_tiers_change_no_bit() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(5_000));
    ok(folder.path(), "ingest d.csv -o data --ignore id --label y --numeric t -q");
    let tiers: Vec<&str> = gristmill_kernels::Tier::available()
        .into_iter()
        .map(gristmill_kernels::Tier::name)
        .filter(|name| *name != "portable")
        .collect();
    for (number, flags) in
        ["--model logistic --l2 0.01", "--model logistic --l1 0.002", "--model logistic --l2 0.01 --solver lbfgs"]
            .iter()
            .enumerate()
    {
        ok(folder.path(), &format!("train data {flags} --threads 1 -o first{number} -q"));
        let first = model(folder.path(), &format!("first{number}"));
        for threads in [2, 5] {
            ok(folder.path(), &format!("train data {flags} --threads {threads} -o next --force -q"));
            assert!(model(folder.path(), "next") == first, "{flags}: {threads} threads give another model");
        }
        for tier in &tiers {
            let words = format!("train data {flags} -o next --force -q");
            let run = command(folder.path()).args(words.split_whitespace()).env("GRISTMILL_TIER", tier).output();
            let run = outcome(run.expect("the binary starts"));
            assert_eq!(run.code, Some(0), "{}", run.stderr);
            assert!(model(folder.path(), "next") == first, "{flags}: {tier} gives another model");
        }
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
