//! The run folder: complete, never overwritten without being asked, and enough for everything that follows.

use crate::harness::{fails, line, ok, tree};
use crate::samples::{csv, write};

fn trained(rows: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(rows));
    ok(folder.path(), "ingest d.csv -o data --label y --ignore id,t --test-share 0.25 -q");
    ok(folder.path(), "train data --model logistic --l2 0.01 -o run -q");
    folder
}

#[test]
fn a_run_holds_what_the_format_says() {
    let folder = trained(2_000);
    for file in ["model.json", "model.safetensors", "config.toml", "metrics.jsonl", "summary.json", "summary.txt"] {
        assert!(folder.path().join("run").join(file).is_file(), "{file} is missing");
    }
    let passes = std::fs::read_to_string(folder.path().join("run/metrics.jsonl")).expect("passes");
    for line in passes.lines() {
        let pass: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
        assert!(pass["objective"].is_f64() && pass["gradient_norm"].is_f64(), "{pass}");
    }
    let inspected: serde_json::Value =
        serde_json::from_str(&ok(folder.path(), "inspect run --json")).expect("inspect prints JSON");
    for name in ["a", "b", "colour=red", "colour=blue"] {
        assert!(inspected["coefficients"][name].is_f64(), "{name}: {inspected}");
    }
    assert!(inspected["coefficients"]["a"].as_f64() > Some(0.0) && inspected["coefficients"]["b"].as_f64() < Some(0.0));
    assert!(inspected["objective"].is_f64() && inspected["passes"].is_u64() && inspected["intercept"].is_f64());
}

#[test]
fn nothing_is_overwritten_without_force() {
    let folder = trained(500);
    ok(folder.path(), "predict run d.csv -o p.csv -q");
    let before = tree(folder.path());
    for words in [
        "ingest d.csv -o data --label y",
        "train data --model logistic -o run",
        "train d.csv --label y --model logistic -o run",
        "predict run d.csv -o p.csv",
    ] {
        assert!(fails(folder.path(), words, 2).contains("--force"), "{words}");
        assert_eq!(tree(folder.path()), before, "{words}");
    }
    ok(folder.path(), "train data --model logistic --l2 1 -o run --force -q");
    assert_ne!(tree(folder.path()), before);
}

#[test]
fn force_replaces_only_what_the_command_writes() {
    let folder = trained(500);
    let mine = folder.path().join("mine");
    std::fs::create_dir(&mine).expect("a folder");
    write(&mine, "a.csv", csv(200));
    write(&mine, "thesis.txt", "precious");
    write(&folder.path().join("run"), "own.csv", csv(200));
    let before = tree(folder.path());
    for (words, why) in [
        ("ingest mine/a.csv -o mine --label y --force", "not what this command writes"),
        ("ingest d.csv -o run --label y --force", "not what this command writes"),
        ("ingest d.csv -o d.csv --label y --force", "not what this command writes"),
        ("train data --model logistic -o mine --force", "not what this command writes"),
        ("train data --model logistic -o data --force", "not what this command writes"),
        ("train run/own.csv --label y --model logistic -o run --force", "run/own.csv is read"),
        ("predict run d.csv -o mine --force --output-format csv", "is a folder"),
        ("predict run d.csv -o d.csv --force", "d.csv is read"),
    ] {
        let error = fails(folder.path(), words, 2);
        assert!(error.contains(why), "{words}: {error}");
        assert_eq!(tree(folder.path()), before, "{words}");
    }
    std::fs::create_dir(folder.path().join("empty")).expect("a folder");
    ok(folder.path(), "ingest d.csv -o empty --label y --force -q");
    ok(folder.path(), "ingest d.csv -o empty --label y --force -q");
}

#[test]
fn what_rounding_did_is_shown() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", "y,a,b\n0,0.5,2049\n1,1.5,1\n");
    ok(folder.path(), "ingest d.csv -o data --label y --dtype f16 -q");
    let shown = ok(folder.path(), "inspect data");
    let column =
        |name: &str| shown.lines().find(|line| line.trim_start().starts_with(name)).expect("a line").to_string();
    // 2049 lies between 2048 and 2050, neighbours in f16; 0.5 and 1.5 are in it.
    assert!(!column("a ").contains('±'), "{shown}");
    assert!(column("b ").contains("f16 (±1.0e0)") || column("b ").contains("u16"), "{shown}");
}

#[test]
fn the_resolved_configuration_trains_the_same_model_again() {
    let folder = trained(1_000);
    ok(folder.path(), "train --config run/config.toml -o again -q");
    for file in ["model.json", "model.safetensors", "config.toml"] {
        let [first, second] =
            ["run", "again"].map(|run| std::fs::read(folder.path().join(run).join(file)).expect("a file"));
        assert!(first == second, "{file} differs");
    }
    // Flags beat the file.
    ok(folder.path(), "train --config run/config.toml --l2 0.5 -o other -q");
    let config = std::fs::read_to_string(folder.path().join("other/config.toml")).expect("a file");
    assert!(config.contains("l2 = 0.5"), "{config}");
    write(folder.path(), "bad.toml", "modle = \"linear\"\n");
    assert!(fails(folder.path(), "train data --config bad.toml -o x", 2).contains("'model'"));
    write(folder.path(), "bad.toml", "model = \"linear\"\n[l1\n");
    assert!(fails(folder.path(), "train data --config bad.toml -o x", 2).contains("bad.toml, line 2"));
}

#[test]
fn what_is_shown_names_every_parameter_once_and_says_nothing_to_the_terminal() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(
        folder.path(),
        "d.csv",
        "b,b=x,none,y\nx,1,,0\n\"z\u{1b}[31m\nw\",2,,1\nx,5,,1\n\"z\u{1b}[31m\nw\",1,,0\nx,3,,1\n",
    );
    let outcome = line(folder.path(), "train d.csv --model logistic --l2 0.1 -o run");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("left out, for no training row has a value: none"), "{}", outcome.stderr);
    let text = ok(folder.path(), "inspect run --json");
    let shown: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let names: Vec<&String> = shown["coefficients"].as_object().expect("coefficients by name").keys().collect();
    assert_eq!(shown["parameters"].as_u64(), Some(names.len() as u64), "{names:?}");
    assert!(names.iter().any(|name| *name == "b=x_") && text.matches("\"b=x\":").count() == 1, "{text}");
    for path in ["run", "run.data"] {
        let shown = ok(folder.path(), &format!("inspect {path}"));
        assert!(shown.contains("z\\u{1b}[31m\\nw") && !shown.contains('\u{1b}'), "{shown}");
    }
}

#[test]
fn training_on_files_keeps_and_reuses_their_data() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(600));
    let train = "train d.csv --label y --ignore id,t --model logistic --l2 0.1 --force -o run";
    ok(folder.path(), train);
    let made = std::fs::metadata(folder.path().join("run.data/manifest.json")).and_then(|file| file.modified());
    ok(folder.path(), train);
    let kept = std::fs::metadata(folder.path().join("run.data/manifest.json")).and_then(|file| file.modified());
    assert_eq!(made.expect("made"), kept.expect("kept"), "the data were ingested again");
    write(folder.path(), "d.csv", csv(700));
    ok(folder.path(), train);
    let summary = std::fs::read_to_string(folder.path().join("run/summary.json")).expect("a summary");
    assert!(summary.contains("\"rows\": 700"), "changed sources were not seen: {summary}");
    // What copies a file may keep its length and its time.
    let file = folder.path().join("d.csv");
    let changed = std::fs::metadata(&file).and_then(|file| file.modified()).expect("a time");
    write(folder.path(), "d.csv", csv(700).replacen(",no,", ",oh,", 1));
    std::fs::File::options().append(true).open(&file).and_then(|file| file.set_modified(changed)).expect("a time");
    let found = line(folder.path(), train);
    assert!(
        found.code != Some(0),
        "a third class, in a file of the same length and time, was not seen: {}",
        found.stderr
    );
}

#[test]
fn a_path_of_penalties_is_a_folder_each() {
    let folder = trained(800);
    ok(folder.path(), "train data --model logistic --l1 0.001,0.05 -o path -q");
    let inspected = ok(folder.path(), "inspect path");
    assert!(inspected.contains("l1-0.001-l2-0") && inspected.contains("l1-0.05-l2-0"), "{inspected}");
    ok(folder.path(), "evaluate path/l1-0.05-l2-0 data -q");
}

#[test]
fn a_damaged_model_is_refused() {
    let folder = trained(400);
    let path = folder.path().join("run/model.safetensors");
    let mut bytes = std::fs::read(&path).expect("a file");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).expect("writes");
    assert!(fails(folder.path(), "predict run d.csv -o p.csv", 1).contains("model.safetensors"));
    assert!(!folder.path().join("p.csv").exists());
}
