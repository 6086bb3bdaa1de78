//! What the documentation shows works: commands parse, links lead somewhere.

use crate::tidy::{files, root};

/// Commands of `gristmill` in the code blocks of a page, without the program's name; comments cut off.
fn commands(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    let joined: String = page.split("\\\n").map(str::trim_start).collect();
    for line in joined.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            inside = !inside;
            continue;
        }
        let line = launched(line.trim_start_matches("$ ")).trim_start_matches("target/release/");
        let own = ["gristmill ", "cargo run --release -- "].iter().find_map(|start| line.strip_prefix(start));
        if let Some(rest) = own.filter(|_| inside) {
            let end = [" #", " | ", " > ", " && ", " ; "].iter().filter_map(|sign| rest.find(sign)).min();
            found.push(rest[..end.unwrap_or(rest.len())].to_string());
        }
    }
    found
}

/// What `mpirun -n N` starts; any other line as it is.
fn launched(line: &str) -> &str {
    line.strip_prefix("mpirun -n ").and_then(|rest| rest.split_once(' ')).map_or(line, |(_, command)| command)
}

/// A line's words, quotes taken off.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| word.trim_matches(['\'', '"']).to_string()).collect()
}

#[test]
fn commands_of_the_documentation_parse() {
    let mut seen = 0;
    for page in files(&["md"]) {
        for line in commands(&std::fs::read_to_string(&page).expect("a page")) {
            // Forms such as `train ... -o RUN` or `[--flag]` name arguments; they are no commands to type.
            // And `gristmill quickstart: ...` is what the program prints.
            if line.contains("...") || line.contains('[') || line.contains(": ") {
                continue;
            }
            seen += 1;
            let parsed = gristmill::cli::check(&words(&line));
            assert!(
                parsed.is_ok(),
                "{}: `gristmill {line}`: {:?}",
                page.display(),
                parsed.err().map(|e| e.to_string())
            );
        }
    }
    assert!(seen > 0, "no page shows a command");
}

#[test]
fn commands_are_found_in_blocks() {
    let page = "gristmill no\n```sh\n$ gristmill inspect run  # shows\ncargo run --release -- train a \\\n -o b\n\
                mpirun -n 8 gristmill resume b\n```\n";
    let found: Vec<String> = commands(page).iter().map(|line| words(line).join(" ")).collect();
    assert_eq!(found, ["inspect run", "train a -o b", "resume b"]);
    assert!(gristmill::cli::check(&["train", "--no-such-flag"]).is_err());
    assert!(gristmill::cli::check(&["predict"]).is_err());
}

#[test]
fn links_between_pages_lead_somewhere() {
    for page in files(&["md"]) {
        let text = std::fs::read_to_string(&page).expect("a page");
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let folder = page.parent().unwrap_or(root());
            assert!(folder.join(target).exists(), "{}: the link to {target} leads nowhere", page.display());
        }
    }
}
