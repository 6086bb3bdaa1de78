//! How the other modules run the binary.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::Duration;

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The binary, in `folder`, with a clean environment as far as gristmill looks at it.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    command.current_dir(folder).env_remove("GRISTMILL_TIER").env("NO_COLOR", "1");
    command
}

/// Run with these arguments.
pub fn run<I: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = I>) -> Outcome {
    outcome(command(folder).args(arguments).output().expect("the binary starts"))
}

/// Run a line of words without quotes.
pub fn line(folder: &Path, words: &str) -> Outcome {
    run(folder, words.split_whitespace())
}

/// Run a line that must succeed; its standard output.
pub fn ok(folder: &Path, words: &str) -> String {
    let outcome = line(folder, words);
    assert_eq!(outcome.code, Some(0), "`gristmill {words}` failed: {}", outcome.stderr);
    outcome.stdout
}

/// Run a line that must fail with this exit code; its one line of error.
pub fn fails(folder: &Path, words: &str, code: i32) -> String {
    let outcome = line(folder, words);
    assert_eq!(outcome.code, Some(code), "`gristmill {words}`: {}{}", outcome.stdout, outcome.stderr);
    error_line(&outcome)
}

/// The one line that says what went wrong.
pub fn error_line(outcome: &Outcome) -> String {
    let lines: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("gristmill: error: ")).collect();
    assert_eq!(lines.len(), 1, "one line of error was expected: {}", outcome.stderr);
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    lines[0].to_string()
}

/// The output of a finished process.
pub fn outcome(output: Output) -> Outcome {
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("output in UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("errors in UTF-8"),
    }
}

/// Every file below a folder with its content, to show that nothing changed.
pub fn tree(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                // A link that leads nowhere has no bytes; where it leads stands for them.
                let bytes = std::fs::read(&path)
                    .or_else(|_| std::fs::read_link(&path).map(|to| to.into_os_string().into_encoded_bytes()));
                files.insert(path.display().to_string(), bytes.expect("a file"));
            }
        }
    }
    files
}

/// Waits until the process reads its standard input, for which it has a file without a name by then.
pub fn wait_for_reading(child: &mut Child) {
    let open = format!("/proc/{}/fd", child.id());
    let reads = || {
        let entries = std::fs::read_dir(&open).into_iter().flatten().flatten();
        let mut files = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        files.any(|file| file.to_string_lossy().contains(".gristmill-stdin-"))
    };
    while child.try_wait().expect("a child").is_none() && !reads() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
