//! What the shell around a command may do to it: limits, another process at the same output, an input that says nothing.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{command, error_line, fails, line, ok, outcome, wait_for_reading};
use crate::ranks::signal;
use crate::samples::{csv, write};

#[test]
fn a_second_training_into_a_run_is_told_before_it_begins() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    write(folder, "d.csv", csv(200));
    ok(folder, "ingest d.csv --ignore id,t --label y -o data -q");
    let held = File::create(folder.join(".run.lock")).expect("a file");
    rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("a lock");
    let second = line(folder, "train data --model logistic -o run");
    assert_eq!(second.code, Some(2), "{}", second.stderr);
    assert!(error_line(&second).contains("another process is writing run. Wait for it"), "{}", second.stderr);
    assert!(!second.stderr.contains("pass"), "it trained first: {}", second.stderr);
    drop(held);
    ok(folder, "train data --model logistic -o run -q");
    assert!(!folder.join(".run.lock").exists());
}

#[test]
fn a_run_that_cannot_be_written_is_told_before_it_begins() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    write(folder, "d.csv", csv(200));
    ok(folder, "ingest d.csv --ignore id,t --label y -o data -q");
    let refused = line(folder, "train data --model logistic -o d.csv/run");
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(error_line(&refused).contains("d.csv: cannot create"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("pass"), "it trained first: {}", refused.stderr);
}

#[test]
fn folders_of_an_output_are_made() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    ok(folder, "generate quickstart --rows 300 -o made/of/data.parquet -q");
    ok(folder, "train made/of/data.parquet --model logistic --label label -o runs/one -q");
    ok(folder, "predict runs/one made/of/data.parquet -o predicted/one/p.csv -q");
    assert!(folder.join("predicted/one/p.csv").is_file());
    let refused = line(folder, "predict runs/one made/of/data.parquet -o predicted/one/p.csv/p.csv");
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(error_line(&refused).contains("cannot create the folder"), "{}", refused.stderr);
    // A file that cannot be read leaves no folder.
    assert_eq!(line(folder, "predict runs/one nothing.parquet -o other/p.csv").code, Some(1));
    assert!(!folder.join("other").exists());
}

#[test]
fn an_evaluation_that_cannot_be_saved_is_shown() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    write(folder, "d.csv", csv(200));
    ok(folder, "train d.csv --ignore id,t --label y --model logistic -o run -q");
    std::fs::create_dir(folder.join("run/evaluation.json")).expect("a folder");
    let evaluated = line(folder, "evaluate run d.csv --save");
    assert_eq!(evaluated.code, Some(1), "{}", evaluated.stderr);
    assert!(error_line(&evaluated).contains("evaluation.json"), "{}", evaluated.stderr);
    assert!(evaluated.stdout.contains("log"), "no figures: {}", evaluated.stdout);
}

#[test]
fn a_signal_ends_the_wait_for_a_silent_standard_input() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    write(folder, "d.csv", csv(200));
    ok(folder, "train d.csv --ignore id,t --label y --model logistic -o run -q");
    for words in ["predict run - -o p.csv", "evaluate run -", "ingest - --label y -o data"] {
        let mut child = command(folder);
        let child =
            child.args(words.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().expect("the binary starts");
        wait_for_reading(&mut child);
        signal(child.id(), Signal::TERM);
        let began = Instant::now();
        // `wait_with_output` would close the standard input, and with it end the wait.
        let input = child.stdin.take();
        let ended = outcome(child.wait_with_output().expect("ends"));
        assert_eq!(ended.code, Some(143), "{words}: {}", ended.stderr);
        assert!(began.elapsed() < Duration::from_secs(10), "{words}: {:?}", began.elapsed());
        drop(input);
    }
    assert!(!folder.join("data").exists() && !folder.join("p.csv").exists());
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_with_its_file() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    write(folder, "d.csv", csv(20_000));
    let limited = Command::new("sh")
        .current_dir(folder)
        .args(["-c", "ulimit -f 64; exec \"$0\" ingest d.csv --ignore id,t --label y -o data -q"])
        .arg(env!("CARGO_BIN_EXE_gristmill"))
        .output();
    let limited = outcome(limited.expect("a shell"));
    assert_eq!(limited.code, Some(1), "{}", limited.stderr);
    assert!(error_line(&limited).contains("File too large"), "{}", limited.stderr);
    let left: Vec<_> = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["d.csv"]);
}

#[test]
fn what_was_expected_of_a_number_is_said() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (words, expected) in [
        ("doctor --threads x", "'x' for '--threads <N>': a whole number from 0 to 4096 was expected"),
        ("train d -o r --max-passes x", "'x' for '--max-passes <N>': a whole number was expected"),
        ("train d -o r --max-passes 99999999999999999999", "a smaller number was expected"),
        ("bench --margin x --compare y", "'x' for '--margin <X>': a number was expected"),
    ] {
        let error = fails(folder.path(), words, 2);
        assert!(error.contains(expected), "{error}");
    }
}
