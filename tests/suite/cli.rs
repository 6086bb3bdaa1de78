//! The command line: help, wrong flags, exit codes.

use crate::harness::{fails, ok};
use crate::samples::write;

fn here() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

#[test]
fn the_first_screen_names_every_command_and_where_to_begin() {
    let folder = here();
    let help = ok(folder.path(), "--help");
    for command in [
        "quickstart",
        "ingest",
        "train",
        "evaluate",
        "predict",
        "inspect",
        "verify",
        "resume",
        "doctor",
        "generate",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not on the first screen:\n{help}");
        let own = ok(folder.path(), &format!("{command} --help"));
        assert!(own.contains("Usage: gristmill"), "{own}");
    }
    assert!(help.contains("gristmill quickstart"));
    assert!(help.lines().count() <= 40, "the first screen is no screen:\n{help}");
    assert_eq!(ok(folder.path(), "help train"), ok(folder.path(), "train --help"));
    assert!(ok(folder.path(), "--version").starts_with("gristmill "));
}

#[test]
fn a_wrong_request_is_one_line_and_exit_code_2() {
    let folder = here();
    assert!(fails(folder.path(), "train --modle linear", 2).contains("--model"));
    assert!(fails(folder.path(), "trian", 2).contains("train"));
    assert!(fails(folder.path(), "train --l1 many", 2).contains("--l1"));
    assert!(fails(folder.path(), "train --memory 2XB", 2).contains("8GiB"));
    for command in ["ingest a.csv -o d", "train d -o r", "predict r d -o p.csv", "evaluate r d", "resume r"] {
        assert!(fails(folder.path(), &format!("{command} --memory 1.5"), 2).contains("8GiB"));
        assert!(fails(folder.path(), &format!("{command} --memory 1MiB"), 2).contains("at least 16.0 MiB"));
        assert!(fails(folder.path(), &format!("{command} --threads 4097"), 2).contains("0 to 4096"));
    }
    for rules in ["--hash-bits 1,2", "--impute zero,c=1,mean", "--dtype f16 --dtype f32"] {
        let message = fails(folder.path(), &format!("ingest a.csv -o d {rules}"), 2);
        assert!(message.contains("all columns") && message.contains("COLUMN=RULE"), "{message}");
    }
    assert!(fails(folder.path(), "ingest a.csv -o d --bucketize x=2,x=3", 2).contains("column 'x'"));
    for (flag, part) in [
        ("--nodes 0", "not in 1.."),
        ("--nodes -1", "--nodes"),
        ("--nodes 3", "at least one rank"),
        ("--time -1", "04:00:00"),
        ("--time 0", "04:00:00"),
        ("-n 0", "not in 1.."),
    ] {
        let ranks = if flag.starts_with("-n") { "" } else { "-n 2" };
        let message = fails(folder.path(), &format!("launch {ranks} --slurm - {flag} -- train d -o r"), 2);
        assert!(message.contains(part), "{flag}: {message}");
    }
    assert!(fails(folder.path(), "", 2).contains("gristmill quickstart"));
}

#[test]
fn the_names_of_other_programs_are_answered_with_ours() {
    let folder = here();
    let says = |words: &str, part: &str| {
        let message = fails(folder.path(), words, 2);
        assert!(message.contains(part), "`{words}`: '{part}' is not in: {message}");
    };
    for (model, part) in [
        ("ridge", "--model linear --l2"),
        ("Lasso", "--model linear --l1"),
        ("elastic_net", "--l1 X --l2 Y"),
        ("LinearRegression", "--model linear"),
        ("ols", "--model linear"),
        ("svm", "squared-hinge"),
        ("svr", "huber"),
        ("multinomial", "softmax"),
        ("binary:logistic", "--model logistic"),
        ("XGBoost", "Only linear models"),
        ("logstic", "Did you mean 'logistic'?"),
        ("zebra", "'zebra'. Models: linear"),
    ] {
        says(&format!("train d --model {model} -o r"), part);
    }
    for (solver, part) in [("saga", "svrg"), ("newton-cg", "newton"), ("L-BFGS", "'lbfgs'"), ("xyz", "'xyz'. Solvers:")]
    {
        says(&format!("train d --model linear --solver {solver} -o r"), part);
    }
    for (flag, part) in [
        ("--alpha=1", "--l2 alpha/n"),
        ("--C=1", "1/(C n)"),
        ("-c 1", "1/(C n)"),
        ("--target=y", "--label"),
        ("--max_iter=1", "--max-passes"),
        ("--tol=1", "--tolerance"),
        ("--penalty=l2", "--l2"),
        ("--reg-param=1", "--l2"),
        ("--lr=1", "--learning-rate"),
        ("--n_jobs=2", "--threads"),
        ("--learning_rate=1", "Did you mean '--learning-rate'?"),
        ("--keep=a", "flag of predict"),
        ("--zzz", "'--zzz'. Flags: see `gristmill train --help`"),
    ] {
        says(&format!("train d {flag}"), part);
    }
    write(folder.path(), "wrong.toml", "alpha = 1\n");
    says("train d --config wrong.toml -o r", "--l2");
    says("predict r d -o p.csv --alpha 1", "'--alpha'. Flags:");
    says("fit d", "gristmill train");
}

#[test]
fn completions_know_every_command_and_flag() {
    let folder = here();
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(folder.path(), &format!("completions {shell}"));
        for word in ["ingest", "max-passes", "standardize"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    fails(folder.path(), "completions tcsh", 2);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = here();
    let mut child = crate::harness::command(folder.path())
        .args(["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let outcome = crate::harness::outcome(child.wait_with_output().expect("ends"));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_signal_ends_it_with_its_code() {
    let folder = here();
    // Standard input that never comes keeps the command waiting.
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut child = crate::harness::command(folder.path())
            .args(["ingest", "-", "--format", "csv", "-o", "out"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the binary starts");
        crate::harness::wait_for_reading(&mut child);
        let sent = std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
        drop(child.stdin.take());
        let outcome = crate::harness::outcome(child.wait_with_output().expect("ends"));
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(!folder.path().join("out").exists());
    }
}
