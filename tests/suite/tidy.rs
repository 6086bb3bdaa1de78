//! What the house keeps: sizes, rooms for dangerous words, reasons for dependencies.

use std::path::{Path, PathBuf};

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below the root with one of these extensions (all when none is given), without build output and hidden folders.
pub fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "corpus", "artifacts", "data"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if extensions.is_empty() || extensions.contains(&extension.as_str()) {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 2, "no files were found below {}", root().display());
    found.sort();
    found
}

/// Path from the root, and text.
fn texts(extensions: &[&str]) -> Vec<(String, String)> {
    let name = |path: &Path| path.strip_prefix(root()).unwrap_or(path).display().to_string();
    files(extensions).into_iter().filter_map(|path| Some((name(&path), std::fs::read_to_string(path).ok()?))).collect()
}

/// `file:line: text` of the lines of code (comments left out) in Rust files for which `wrong` holds.
fn lines(wrong: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in texts(&["rs"]) {
        for (number, line) in text.lines().enumerate() {
            let code = line.trim_start();
            if !code.starts_with("//") && wrong(&name, code) {
                found.push(format!("{name}:{}: {code}", number + 1));
            }
        }
    }
    found
}

/// This module spells the words that it looks for.
fn elsewhere(name: &str) -> bool {
    !name.starts_with("tests/suite/")
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let long: Vec<String> = texts(&["rs", "md", "toml"])
        .into_iter()
        .filter(|(_, text)| text.lines().count() > 600)
        .map(|(name, _)| name)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn nothing_is_put_off() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    for (name, text) in texts(&["rs", "md", "toml", "sh", "py"]) {
        for (number, line) in text.lines().enumerate() {
            assert!(!words.iter().any(|word| line.contains(word)), "{name}:{}: {line}", number + 1);
        }
    }
}

#[test]
fn dangerous_words_stay_in_their_rooms() {
    let rooms = ["kernels/src/isa/", "io/src/mmap", "mpi-launch/src/world"];
    let at = lines(|name, code| {
        let says = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        elsewhere(name) && says && !rooms.iter().any(|room| name.starts_with(room))
    });
    assert!(at.is_empty(), "unsafe outside its rooms:\n{}", at.join("\n"));
    let at = lines(|name, code| {
        elsewhere(name) && code.contains("rename(") && name != "io/src/durable.rs" && !name.contains("test")
    });
    assert!(at.is_empty(), "rename( outside io/src/durable.rs:\n{}", at.join("\n"));
}

#[test]
fn only_reports_print() {
    let may = ["src/report/", "examples/", "benches/", "tests/", "build.rs", "tests.rs", "fuzz/", "datasets/"];
    let at = lines(|name, code| {
        (code.contains("println!(") || code.contains("print!(")) && !may.iter().any(|part| name.contains(part))
    });
    assert!(at.is_empty(), "printed outside src/report:\n{}", at.join("\n"));
}

#[test]
fn every_dependency_has_its_reason() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (_, section) = text.split_once("[workspace.dependencies]\n").expect("the section of dependencies");
    let mut before = "";
    let mut seen = 0;
    for line in section.lines().take_while(|line| !line.starts_with('[')) {
        if let Some((name, what)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            seen += 1;
            assert!(what.contains("path =") || before.starts_with("# "), "{name} has no reason above it");
        }
        before = line;
    }
    assert!(seen > 20, "only {seen} dependencies were found");
}

#[test]
fn no_path_of_a_machine_is_in_the_repository() {
    // Spelt in two parts, so that this file passes.
    let folders = [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];
    for (name, text) in texts(&["rs", "md", "toml", "json", "sh", "py", "yml", "lock"]) {
        for (number, line) in text.lines().enumerate() {
            let found = folders.iter().any(|folder| line.match_indices(folder).any(|(at, _)| begins(line, at)));
            assert!(!found, "{name}:{}: {line}", number + 1);
        }
    }
}

/// True where a path begins, not where it goes on (`a/work/b`).
fn begins(line: &str, at: usize) -> bool {
    line[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && !"._-/".contains(before))
}
