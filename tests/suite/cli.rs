//! The command line: help, wrong flags, exit codes.

fn here() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
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
