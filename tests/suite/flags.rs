//! The flags that messages tell people to use exist.

use std::collections::BTreeSet;

use crate::harness::ok;
use crate::tidy::{files, root};

/// These write command lines of other programs: mpirun, srun, sbatch.
const FOREIGN: [&str; 2] = ["src/supervise/starter.rs", "src/supervise/slurm.rs"];

/// Words of the form `--name` in a text.
fn flags(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("--") {
        let before = text[..at].chars().next_back();
        let name: String =
            text[at + 2..].chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-').collect();
        let name = name.trim_end_matches('-');
        if name.starts_with(|c: char| c.is_ascii_lowercase()) && before.is_none_or(|c| !c.is_alphanumeric() && c != '-')
        {
            found.insert(format!("--{name}"));
        }
    }
    found
}

#[test]
fn flags_that_messages_name_exist() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut known: BTreeSet<String> = ["--release", "--features"].map(String::from).into(); // of cargo, when MPI is not built in
    let commands = [
        "quickstart",
        "ingest",
        "train",
        "evaluate",
        "predict",
        "inspect",
        "verify",
        "resume",
        "launch",
        "plan",
        "doctor",
        "bench",
        "generate",
        "completions",
    ];
    for command in commands {
        known.extend(flags(&ok(folder.path(), &format!("{command} --help"))));
    }
    known.extend(flags(&ok(folder.path(), "--help")));
    let (mut named, mut strange) = (BTreeSet::new(), Vec::new());
    for path in files(&["rs"]) {
        let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        if !(name.starts_with("src/") || name.starts_with("io/src/"))
            || name.contains("test")
            || FOREIGN.contains(&name.as_str())
        {
            continue;
        }
        for line in std::fs::read_to_string(&path).expect("a source file").lines() {
            let code = line.trim_start();
            for flag in if code.starts_with("//") { BTreeSet::new() } else { flags(code) } {
                if !known.contains(&flag) {
                    strange.push(format!("{name}: {flag}: {code}"));
                }
                named.insert(flag);
            }
        }
    }
    assert!(strange.is_empty(), "messages name flags that do not exist:\n{}", strange.join("\n"));
    assert!(named.len() > 10, "only {named:?} were found");
}
