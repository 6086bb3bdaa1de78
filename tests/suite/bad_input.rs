//! Bad input is an error that says where and what, never a panic, a hang or a wrong number, and leaves nothing behind.

use std::path::Path;

use crate::harness::{fails, ok, tree};
use crate::samples::{csv, write};

fn here() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

/// Ingest must fail with code 1 or 2 and a message with all of `parts`; the folder stays as it is.
fn refused(folder: &Path, words: &str, parts: &[&str]) {
    let before = tree(folder);
    let outcome = crate::harness::line(folder, words);
    assert!(matches!(outcome.code, Some(1 | 2)), "`{words}`: {outcome:?}");
    let message = crate::harness::error_line(&outcome);
    for part in parts {
        assert!(message.contains(part), "`{words}`: '{part}' is not in: {message}");
    }
    assert_eq!(tree(folder), before, "`{words}` left something behind");
    assert!(!folder.join("data").exists() && !folder.join(".data.partial").exists(), "`{words}` left something behind");
}

#[test]
fn text_that_is_no_table() {
    let folder = here();
    let cases: &[(&str, &str, &[&str])] = &[
        ("empty.csv", "", &["empty.csv", "empty"]),
        ("head.csv", "a,b,y\n", &["head.csv"]),
        ("ragged.csv", "a,b,y\n1,2,3\n1,2\n", &["ragged.csv", "line 3"]),
        ("twice.csv", "a,a,y\n1,2,3\n", &["'a'"]),
        ("quote.csv", "a,b,y\n1,\"2,3\n", &["quote.csv", "line 2"]),
        ("broken.ndjson", "{\"a\": 1, \"y\": 0}\n{\"a\": \n", &["broken.ndjson", "line 2"]),
    ];
    for (name, text, parts) in cases {
        write(folder.path(), name, text);
        refused(folder.path(), &format!("ingest {name} --label y -o data"), parts);
    }
}

#[test]
fn labels_that_are_none() {
    let folder = here();
    write(folder.path(), "nolabel.csv", "a,b\n1,2\n3,4\n");
    refused(folder.path(), "ingest nolabel.csv --label y -o data", &["'y'", "'a'"]);
    for (name, bad) in [("nan.csv", "NaN"), ("inf.csv", "inf"), ("missing.csv", "")] {
        write(folder.path(), name, format!("a,y\n1,0.5\n2,1.5\n3,{bad}\n"));
        refused(folder.path(), &format!("ingest {name} --label y -o data"), &[name, "'y'"]);
    }
    write(folder.path(), "words.csv", "a,y\n1,0.5\n2,many\n3,few\n");
    ok(folder.path(), "ingest words.csv --label y -o words -q");
    assert!(fails(folder.path(), "train words --model linear -o run", 1).contains("'y'"));
    assert!(fails(folder.path(), "train words --model logistic -o run", 1).contains("3 distinct"));
    write(folder.path(), "one.csv", "a,y\n1,1\n2,1\n");
    ok(folder.path(), "ingest one.csv --label y -o one -q");
    assert!(fails(folder.path(), "train one --model logistic -o run", 1).contains("'y'"));
    assert!(!folder.path().join("run").exists());
}

#[test]
fn nothing_to_predict() {
    let folder = here();
    write(folder.path(), "a.csv", "a,b\n1,2\n3,4\n5,5\n");
    refused(folder.path(), "train a.csv --model linear -o run", &["--label COLUMN", "'a', 'b'", "label, target or y"]);
    ok(folder.path(), "ingest a.csv -o unlabelled -q");
    let message = fails(folder.path(), "train unlabelled --model linear -o run", 2);
    assert!(message.contains("unlabelled: ") && message.contains("Ingest its sources again"), "{message}");
}

#[test]
fn a_run_where_a_dataset_belongs() {
    let folder = here();
    write(folder.path(), "a.csv", "a,y\n1,0.5\n2,1.5\n3,2\n");
    ok(folder.path(), "train a.csv --label y --model linear -o run -q");
    for words in ["train run --label y --model linear -o other", "evaluate run run", "predict run run -o p.csv"] {
        let message = fails(folder.path(), words, 2);
        assert!(message.contains("run is the folder of a training") && message.contains("resume run"), "{message}");
    }
    assert!(!folder.path().join("other").exists() && !folder.path().join("p.csv").exists());
}

#[test]
fn a_dataset_or_a_run_where_sources_belong() {
    let folder = here();
    write(folder.path(), "a.csv", "x,y\n1,0.5\n2,1.5\n3,2\n");
    ok(folder.path(), "ingest a.csv -o made -q");
    ok(folder.path(), "train a.csv --model linear -o run -q");
    refused(folder.path(), "ingest made -o data", &["made is a dataset already", "give it to train"]);
    refused(folder.path(), "ingest run -o data", &["run is the folder of a training"]);
}

#[test]
fn rules_for_columns_that_they_cannot_apply_to() {
    let folder = here();
    write(folder.path(), "a.csv", "x,c,t,y\n1,u,some words,0\n2,v,more words,1\n");
    for (flags, part) in [
        ("--dtype c=f16", "--dtype c: the column is a category"),
        ("--impute c=3", "--impute c: the column is a category"),
        ("--text t --impute t=2", "--impute t: the column is a text"),
        ("--text t --dtype t=f32", "--dtype t: the column is a text"),
        ("--impute y=3", "--impute y: the column is the label"),
    ] {
        refused(folder.path(), &format!("ingest a.csv {flags} -o data"), &[part]);
    }
    ok(folder.path(), "ingest a.csv --dtype x=f16 --impute x=3 --dtype y=f64 -o fits -q");
    write(folder.path(), "y.csv", "y\n1\n2\n");
    let message = fails(folder.path(), "ingest y.csv -o data", 2);
    assert!(message.contains("a column that is no label") && !message.contains("--ignore"), "{message}");
    refused(folder.path(), "ingest a.csv --ignore x,c,t -o data", &["Name fewer under --ignore"]);
    refused(folder.path(), "ingest a.csv --memory 1MiB -o data", &["128.0 MiB to ingest"]);
}

#[test]
fn libsvm_with_bad_indices() {
    let folder = here();
    let cases: &[(&str, &str)] = &[
        ("unsorted", "1 3:1 2:1\n"),
        ("twice", "1 2:1 2:1\n"),
        ("negative", "1 -2:1\n"),
        ("huge", "1 99999999999:1\n"),
        ("nocolon", "1 2\n"),
    ];
    for (name, line) in cases {
        write(folder.path(), &format!("{name}.libsvm"), format!("0 1:1\n{line}"));
        refused(folder.path(), &format!("ingest {name}.libsvm -o data"), &[name, "line 2"]);
    }
}

#[test]
fn files_that_are_cut_or_not_what_they_say() {
    let folder = here();
    write(folder.path(), "d.csv", csv(2_000));
    ok(folder.path(), "train d.csv --ignore id,t --label y --model logistic --l2 0.1 -o run -q");
    ok(folder.path(), "predict run d.csv --keep all -o whole.parquet -q");
    ok(folder.path(), "predict run d.csv --keep all -o whole.arrow -q");
    for name in ["whole.parquet", "whole.arrow"] {
        let bytes = std::fs::read(folder.path().join(name)).expect("a file");
        let (_, extension) = name.split_once('.').expect("an extension");
        write(folder.path(), &format!("cut.{extension}"), &bytes[..bytes.len() * 2 / 3]);
        refused(folder.path(), &format!("ingest cut.{extension} --label y -o data"), &[&format!("cut.{extension}")]);
        write(folder.path(), &format!("magic.{extension}"), "this is no such file, and long enough to be looked into");
        refused(
            folder.path(),
            &format!("ingest magic.{extension} --label y -o data"),
            &[&format!("magic.{extension}")],
        );
        let mut corrupt = bytes.clone();
        let middle = corrupt.len() / 3;
        corrupt[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0xa5);
        write(folder.path(), &format!("corrupt.{extension}"), corrupt);
        // Damage in numbers may read as other numbers where a format has no checksum; it must not panic.
        let outcome =
            crate::harness::line(folder.path(), &format!("ingest corrupt.{extension} --label y -o maybe --force"));
        assert!(matches!(outcome.code, Some(0..=2)) && !outcome.stderr.contains("internal fault"), "{outcome:?}");
    }
}

#[test]
fn sources_that_do_not_fit_each_other_or_are_not_there() {
    let folder = here();
    std::fs::create_dir(folder.path().join("mixed")).expect("a folder");
    write(folder.path(), "mixed/1.csv", "a,y\n1,0\n");
    write(folder.path(), "mixed/2.csv", "a,b,y\n1,2,0\n");
    refused(folder.path(), "ingest mixed --label y -o data", &["2.csv"]);
    refused(folder.path(), "ingest nowhere.csv --label y -o data", &["nowhere.csv"]);
    refused(folder.path(), "ingest *.parquet --label y -o data", &["*.parquet"]);
}

#[test]
fn a_source_without_a_column_that_the_model_needs() {
    let folder = here();
    write(folder.path(), "d.csv", csv(300));
    ok(folder.path(), "train d.csv --ignore id,t --label y --model logistic --l2 0.1 -o run -q");
    write(folder.path(), "less.csv", "a,colour\n1,red\n");
    assert!(fails(folder.path(), "predict run less.csv -o p.csv", 1).contains("'b'"));
    write(folder.path(), "words.csv", "a,b,colour\n1,2,red\n1,old,red\n");
    let message = fails(folder.path(), "predict run words.csv -o p.csv", 1);
    assert!(message.contains("words.csv") && message.contains("'b'") && message.contains("line 3"), "{message}");
    write(folder.path(), "label.csv", "a,b,colour,y\n1,2,red,perhaps\n");
    assert!(fails(folder.path(), "evaluate run label.csv", 1).contains("'y'"));
    assert!(!folder.path().join("p.csv").exists());
}

#[test]
fn files_that_cannot_be_read() {
    let folder = here();
    // Permissions do not stop root, so these cannot be read by anybody.
    std::os::unix::fs::symlink("nowhere", folder.path().join("link.csv")).expect("a link");
    std::fs::create_dir(folder.path().join("folder.csv")).expect("a folder");
    refused(folder.path(), "ingest link.csv --label y -o data", &["link.csv"]);
    refused(folder.path(), "ingest folder.csv --label y -o data", &["folder.csv"]);
    write(folder.path(), "d.csv", csv(200));
    refused(folder.path(), "ingest d.csv link.csv --label y -o data", &["link.csv"]);
}

#[test]
fn a_dataset_whose_files_vanish_or_change() {
    let folder = here();
    write(folder.path(), "d.csv", csv(400));
    ok(folder.path(), "ingest d.csv --label y --ignore id,t -o data -q");
    let shard = folder.path().join("data/train-00000.arrow");
    let bytes = std::fs::read(&shard).expect("a shard");
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    std::fs::write(&shard, damaged).expect("writes");
    assert!(fails(folder.path(), "verify data", 1).contains("train-00000.arrow"));
    for io in ["mmap", "direct"] {
        let error = fails(folder.path(), &format!("train data --model logistic --io {io} -o run"), 1);
        let parts = ["train-00000.arrow, byte ", "column '", "does not match its checksum"];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert!(!folder.path().join("run").exists());
    }
    std::fs::write(&shard, &bytes[..bytes.len() / 2]).expect("writes");
    assert!(fails(folder.path(), "train data --model logistic -o run", 1).contains("train-00000.arrow"));
    std::fs::remove_file(&shard).expect("removes");
    assert!(fails(folder.path(), "train data --model logistic -o run", 1).contains("train-00000.arrow"));
    assert!(!folder.path().join("run").exists());
}

#[test]
fn an_output_that_exists_survives_a_failure_even_with_force() {
    let folder = here();
    write(folder.path(), "d.csv", csv(300));
    write(folder.path(), "bad.csv", "a,y\n1,0\n2,1,7\n");
    ok(folder.path(), "ingest d.csv --label y --ignore id,t -o data -q");
    ok(folder.path(), "train data --model logistic --l2 0.1 -o run -q");
    ok(folder.path(), "predict run d.csv -o p.csv -q");
    let before = tree(folder.path());
    write(folder.path(), "worse.csv", "a,b,colour\n1,2,red\n1,old,red\n");
    fails(folder.path(), "ingest bad.csv --label y -o data --force", 1);
    fails(folder.path(), "train data --model logistic --class-weight 7=1 -o run --force", 2);
    fails(folder.path(), "predict run worse.csv -o p.csv --force", 1);
    std::fs::remove_file(folder.path().join("worse.csv")).expect("removes");
    assert_eq!(tree(folder.path()), before);
    assert!(!folder.path().join(".data.partial").exists() && !folder.path().join(".run.partial").exists());
}

/// A file system of a few hundred kilobytes; unmounted in the end.
struct Small(std::path::PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk() {
    let folder = here();
    let small = folder.path().join("small");
    std::fs::create_dir(&small).expect("a folder");
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=192k", "tmpfs"])
        .arg(&small)
        .output()
        .is_ok_and(|run| run.status.success());
    if !mount {
        eprintln!("skipped: a small file system cannot be mounted here (needs root)");
        return;
    }
    let _small = Small(small.clone());
    write(folder.path(), "few.csv", csv(100));
    write(folder.path(), "many.csv", csv(40_000));
    ok(folder.path(), "ingest few.csv --label y --ignore id,t -o small/data -q");
    ok(folder.path(), "train small/data --model logistic --l2 0.1 -o run -q");
    let before = tree(&small);
    for words in [
        "ingest many.csv --label y --ignore id,t -o small/data --force",
        "ingest many.csv --label y --ignore id,t -o small/other",
        "predict run many.csv --keep all -o small/p.csv",
        "train many.csv --label y --ignore id,t --model logistic -o small/run",
    ] {
        let message = fails(folder.path(), words, 1);
        assert!(message.contains("No space left on device") && message.contains("small"), "`{words}`: {message}");
        assert_eq!(tree(&small), before, "`{words}` left something behind");
    }
}
