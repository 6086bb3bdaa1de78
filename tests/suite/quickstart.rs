//! The first minute: one command, five steps, three commands to try next, all of which work.

use crate::harness::{fails, line, ok, tree};

#[test]
fn it_works_and_so_do_the_commands_that_it_names() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let text = ok(folder.path(), "quickstart --rows 20000");
    let next: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  gristmill ")).collect();
    assert_eq!(next.len(), 3, "{text}");
    for said in ["rows/s", "GB/s", "auc"] {
        assert!(text.to_lowercase().contains(&said.to_lowercase()), "'{said}' is not in:\n{text}");
    }
    for words in next {
        let outcome = line(folder.path(), words);
        assert_eq!(outcome.code, Some(0), "`gristmill {words}`: {}", outcome.stderr);
    }
    let before = tree(folder.path());
    assert!(fails(folder.path(), "quickstart --rows 20000", 2).contains("--force"));
    assert_eq!(tree(folder.path()), before);
    std::fs::create_dir(folder.path().join("mine")).expect("a folder");
    assert!(fails(folder.path(), "quickstart --rows 20000 --force -o mine", 2).contains("no quickstart folder"));
    ok(folder.path(), "quickstart --rows 5000 --force -q");
}
