//! Commands whose rows several ranks share give what one process gives, byte for byte; how sums go over ranks is told and
//! changes nothing.

use std::path::Path;

use serde_json::Value;

use crate::harness::{error_line, fails, ok};
use crate::ranks::{dataset, end, models, ok_on, ranks, start};
use crate::samples::{csv, write};

/// A model of `a` and `b`, and nine files to use it on: as many chunks, so that ranks take several turns.
fn model_and_files(folder: &Path) {
    write(folder, "train.csv", csv(900));
    ok(folder, "ingest train.csv --ignore id,t,colour --label y --test-share 0.3 -o data -q");
    ok(folder, "train data --model logistic --l2 0.01 -o run -q");
    std::fs::create_dir(folder.join("parts")).expect("a folder");
    let text = csv(1_503);
    let (head, rows) = text.split_once('\n').expect("a header");
    let rows: Vec<&str> = rows.lines().collect();
    for (number, part) in rows.chunks(167).enumerate() {
        write(folder, &format!("parts/{number}.csv"), format!("{head}\n{}\n", part.join("\n")));
    }
}

#[test]
fn predictions_of_ranks_have_the_bytes_of_one_process() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    model_and_files(folder);
    let read = |name: &str| std::fs::read(folder.join(name)).expect("predictions");
    for (from, flags, extension) in [
        ("parts", "--keep id,colour", "csv"),
        ("parts", "--keep id", "parquet"),
        ("parts", "", "arrow"),
        ("data", "--split all", "csv"),
        ("data", "--split train", "parquet"),
    ] {
        ok(folder, &format!("predict run {from} {flags} -o alone.{extension} --force -q"));
        for number in [2, 3] {
            let words = format!("predict run {from} {flags} --threads 1 -o together.{extension} --force -q");
            if !ok_on(folder, number, &words) {
                return;
            }
            let [alone, together] = ["alone", "together"].map(|name| read(&format!("{name}.{extension}")));
            assert!(alone == together, "{from} {flags} {extension}: {number} ranks wrote other bytes");
        }
    }
    let found = end(start(&mut ranks(folder, 2, "predict run parts -o - -q").expect("found before")));
    assert_eq!((found.code, found.stdout), (Some(0), ok(folder, "predict run parts -o - -q")));
}

#[test]
fn evaluations_of_ranks_have_the_figures_of_one_process() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    model_and_files(folder);
    for from in ["data", "data --split all", "parts"] {
        let alone = ok(folder, &format!("evaluate run {from} --json -q"));
        assert!(alone.contains("\"auc\""), "{alone}");
        for number in [2, 3] {
            let words = format!("evaluate run {from} --threads 1 --json -q");
            let Some(mut command) = ranks(folder, number, &words) else { return };
            let found = end(start(&mut command));
            assert_eq!(found.code, Some(0), "{}", found.stderr);
            assert_eq!(found.stdout, alone, "{from} on {number} ranks");
        }
    }
}

#[test]
fn what_one_rank_finds_ends_a_prediction_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    model_and_files(folder);
    write(folder, "parts/3.csv", "id,a,b,colour,y,t\n1,2,oops,red,yes,1\n");
    for words in ["predict run parts -o out.csv -q --threads 1", "evaluate run parts -q --threads 1"] {
        let Some(mut command) = ranks(folder, 2, words) else { return };
        let found = end(start(&mut command));
        assert_eq!(found.code, Some(1), "{}", found.stderr);
        let line = error_line(&found);
        assert!(line.contains("3.csv") && line.contains("oops"), "{line}");
    }
    assert!(!folder.join("out.csv").exists());
    // A folder of the output cannot be made where a file is: the first rank alone writes, and all end.
    let words = "predict run parts/1.csv -o parts/1.csv/out.csv -q";
    let found = end(start(&mut ranks(folder, 2, words).expect("found before")));
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    assert!(error_line(&found).contains("parts/1.csv"), "{}", found.stderr);
}

#[test]
fn the_way_of_sums_is_told_and_changes_no_bit() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    dataset(folder, "data", "class");
    ok(folder, "train data --model logistic --l2 0.01 -o alone -q");
    let alone = models(folder, "alone");
    for way in ["auto", "ring", "tree", "hierarchical", "mpi", "auto --rank-timeout 60s"] {
        let words =
            format!("train data --model logistic --l2 0.01 --allreduce {way} -o together --force -q --threads 1");
        if !ok_on(folder, 3, &words) {
            return;
        }
        assert!(models(folder, "together") == alone, "{way}: another model");
        let summary = std::fs::read_to_string(folder.join("together/summary.json")).expect("a summary");
        let summary: Value = serde_json::from_str(&summary).expect("JSON");
        let told = &summary["speed"]["allreduce"];
        assert_eq!(told["asked"], way.split(' ').next().unwrap_or_default());
        let used = told["used"].as_str().expect("words");
        assert!(way != "mpi" || used == "mpi", "{used}");
        // All ranks are on this machine.
        assert!(way != "hierarchical" || used.starts_with("ring"), "{used}");
        // The library cannot notice a silent rank.
        assert!(!way.contains("timeout") || !used.contains("mpi"), "{used}");
    }
    let found = end(start(&mut ranks(folder, 2, "train data --allreduce star -o x").expect("found before")));
    assert!(found.code == Some(2) && error_line(&found).contains("ring"), "{}", found.stderr);
}

/// Sums of thousands of levels, long enough for rings: four ranks, of which two count as a node.
#[test]
fn sums_by_nodes_change_no_bit() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    ok(folder, "generate clicks --rows 3000 -o clicks.parquet -q");
    ok(folder, "ingest clicks.parquet --label label -o data -q");
    ok(folder, "train data --model logistic --l2 0.01 -o alone -q");
    let words = "train data --model logistic --l2 0.01 --threads 1 -o together --force -q --allreduce";
    for (together, way, used) in
        [("2", "hierarchical", "hierarchical"), ("2", "auto", ""), ("3", "hierarchical", "ring, for")]
    {
        let Some(mut command) = ranks(folder, 4, &format!("{words} {way}")) else { return };
        let found = end(start(command.env("GRISTMILL_RANKS_PER_NODE", together)));
        assert_eq!(found.code, Some(0), "{}", found.stderr);
        assert!(models(folder, "together") == models(folder, "alone"), "{way}, {together} a node: another model");
        let summary = std::fs::read_to_string(folder.join("together/summary.json")).expect("a summary");
        let summary: Value = serde_json::from_str(&summary).expect("JSON");
        let parameters = summary["parameters"].as_u64().unwrap_or_default();
        let told = summary["speed"]["allreduce"]["used"].as_str().expect("words");
        assert!(told.starts_with(used), "{way}, {together} a node: {told}, {parameters} parameters");
    }
    let mut command = ranks(folder, 2, &format!("{words} ring")).expect("found before");
    let found = end(start(command.env("GRISTMILL_RANKS_PER_NODE", "some")));
    assert!(
        found.code == Some(2) && error_line(&found).contains("GRISTMILL_RANKS_PER_NODE is 'some'"),
        "{}",
        found.stderr
    );
}

#[test]
fn rounded_sums_of_batches_are_told_and_are_no_default() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    dataset(folder, "data", "class");
    let words = "train data --model logistic --solver adagrad --batch-rows 64 --threads 1 --force";
    for (flags, dtype, told) in [("", "i64", false), ("--allreduce-dtype bf16", "bf16", true)] {
        let Some(mut command) = ranks(folder, 2, &format!("{words} {flags} -o run")) else { return };
        let found = end(start(&mut command));
        assert_eq!(found.code, Some(0), "{}", found.stderr);
        assert_eq!(found.stdout.contains("batches as bf16"), told, "{}", found.stdout);
        let summary = std::fs::read_to_string(folder.join("run/summary.json")).expect("a summary");
        let summary: Value = serde_json::from_str(&summary).expect("JSON");
        assert_eq!(summary["speed"]["allreduce"]["dtype"], dtype);
        let config = std::fs::read_to_string(folder.join("run/config.toml")).expect("a configuration");
        assert_eq!(config.contains("allreduce-dtype"), told, "{config}");
    }
    let line = fails(folder, "train data --model logistic --solver lbfgs --allreduce-dtype bf16 -o x", 2);
    assert!(line.contains("allreduce-dtype is set, but solver 'lbfgs' does not learn batch by batch"), "{line}");
}
