//! Where outputs go and what is found there: links, names that are no UTF-8, trainings that were interrupted, batch scripts.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{command, fails, ok, run, tree};
use crate::ranks::{LONG, end, is_complete, long_dataset, models, signal, start, wait_for};
use crate::samples::{csv, write};

/// A training of which a signal leaves a checkpoint under this name; none when it was too fast for that.
fn interrupted(folder: &Path, name: &str) -> Option<()> {
    long_dataset(folder);
    let mut child = start(command(folder).args(format!("{LONG} {name}").split_whitespace()));
    wait_for(&folder.join(name), 1, &mut child);
    signal(child.id(), Signal::INT);
    end(child);
    let is_cut = !is_complete(folder, name);
    if !is_cut {
        println!("skipped: the training was over before a signal came");
    }
    is_cut.then_some(())
}

#[test]
fn an_interrupted_training_says_how_to_go_on_wherever_it_is_named() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    let Some(()) = interrupted(folder, "run") else { return };
    let before = tree(&folder.join("run"));
    let refused = fails(folder, &format!("{LONG} run"), 2);
    for part in ["interrupted", "`gristmill resume run`", "--force"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let shown = ok(folder, "inspect run");
    assert!(shown.contains("interrupted") && shown.contains("gristmill resume run"), "{shown}");
    let about: serde_json::Value = serde_json::from_str(&ok(folder, "inspect run --json")).expect("JSON");
    assert_eq!((&about["kind"], &about["model"]), (&"interrupted run".into(), &"logistic".into()));
    assert!(about["passes"].is_u64(), "{about}");
    let source = fails(folder, "train run --model logistic --label y -o other", 2);
    assert!(source.contains("run is the folder of a training") && source.contains("resume run"), "{source}");
    assert!(tree(&folder.join("run")) == before, "what was interrupted has changed");
    // From inside it goes on all the same.
    let found = run(&folder.join("run"), ["resume", ".", "-q"]);
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(is_complete(folder, "run"));
    ok(folder, &format!("{LONG} whole"));
    assert!(models(folder, "run") == models(folder, "whole"));
}

#[test]
fn an_output_that_is_a_link_stays_one() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    std::fs::create_dir(folder.join("disk")).expect("a folder");
    symlink("disk/run", folder.join("run")).expect("a link");
    symlink("disk/data", folder.join("set")).expect("a link");
    write(folder, "d.csv", csv(300));
    ok(folder, "ingest d.csv --ignore id,t --label y -o set -q");
    let Some(()) = interrupted(folder, "run") else { return };
    assert!(folder.join("disk/run/config.toml").is_file());
    ok(folder, "resume run -q");
    assert!(is_complete(folder, "disk/run"));
    ok(folder, "train set --model logistic --l2 1 --force -o run -q");
    for link in ["run", "set"] {
        assert!(folder.join(link).symlink_metadata().expect("a link").is_symlink(), "{link}");
    }
    assert!(std::fs::read_to_string(folder.join("disk/run/config.toml")).expect("a file").contains("l2 = 1"));
    symlink("disk/p.csv", folder.join("p.csv")).expect("a link");
    for force in ["", "--force"] {
        ok(folder, &format!("predict run d.csv -o p.csv -q {force}"));
        assert!(folder.join("p.csv").is_symlink() && folder.join("disk/p.csv").is_file());
    }
    assert_eq!(std::fs::read_dir(folder.join("disk")).expect("a folder").count(), 3);
}

#[test]
fn names_that_are_no_utf8_are_names() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    write(folder, "d.csv", csv(300));
    let odd = |name: &'static [u8]| OsStr::from_bytes(name);
    let words = |text: &'static str| text.split_whitespace().map(OsStr::new);
    let all = [
        words("ingest d.csv --ignore id,t --label y --json -o").chain([odd(b"o\xff")]).collect::<Vec<_>>(),
        words("inspect --json").chain([odd(b"o\xff")]).collect(),
        words("verify --json").chain([odd(b"o\xff")]).collect(),
        words("train d.csv --ignore id,t --label y --model logistic --l2 1 --json -o").chain([odd(b"r\xff")]).collect(),
        words("evaluate --json").chain([odd(b"r\xff"), OsStr::new("d.csv")]).collect(),
        words("predict --json").chain([odd(b"r\xff")]).chain(words("d.csv -o")).chain([odd(b"p\xff.csv")]).collect(),
        words("inspect --json").chain([odd(b"p\xff.csv")]).collect(),
        words("generate numeric --rows 100 --json -o").chain([odd(b"g\xff.parquet")]).collect(),
    ];
    for words in all {
        let found = run(folder, &words);
        assert_eq!(found.code, Some(0), "{words:?}: {}", found.stderr);
        serde_json::from_str::<serde_json::Value>(&found.stdout).expect("JSON");
    }
    assert!(folder.join(odd(b"r\xff")).join("model.json").is_file());
}

#[test]
fn predictions_do_not_replace_the_model_that_makes_them() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    write(folder, "d.csv", csv(300));
    ok(folder, "train d.csv --ignore id,t --label y --model logistic --l2 1 -o run -q");
    let before = tree(&folder.join("run"));
    for file in ["model.json", "model.safetensors", "summary.json", "config.toml"] {
        let refused = fails(folder, &format!("predict run d.csv -o run/{file} --force --output-format csv"), 2);
        assert!(refused.contains("would be gone"), "{refused}");
    }
    assert!(tree(&folder.join("run")) == before);
    ok(folder, "predict run d.csv -o run/p.csv -q");
    ok(folder, "predict run d.csv -o run/p.csv --force -q");
}

#[test]
fn a_batch_script_that_exists_is_kept() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    std::fs::write(folder.join("job.sh"), "precious").expect("writes");
    let words = "launch -n 1 --slurm job.sh -- train data --model logistic -o run";
    assert!(fails(folder, words, 2).contains("--force"));
    assert_eq!(std::fs::read_to_string(folder.join("job.sh")).expect("a file"), "precious");
    ok(folder, &words.replace("job.sh", "job.sh --force"));
    assert!(std::fs::read_to_string(folder.join("job.sh")).expect("a file").contains("#SBATCH"));
}

/// What stands for srun ends with a code of its own when it is told to stop.
#[test]
fn a_batch_job_that_came_to_its_end_is_not_requeued() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    ok(folder, "launch -n 1 --slurm job.sh -- train data --model logistic -o run");
    let text = std::fs::read_to_string(folder.join("job.sh")).expect("a script");
    std::fs::create_dir(folder.join("bin")).expect("a folder");
    crate::supervised::script(&folder.join("bin/scontrol"), "#!/bin/bash\necho \"$@\" >> requeued\n");
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    for (code, requeues) in [(0, false), (1, false), (2, false), (130, true), (143, true)] {
        let stands_in =
            format!("#!/bin/bash\ntrap 'exit {code}' TERM\ntouch started\nwhile true; do sleep 0.02; done\n");
        crate::supervised::script(&folder.join("bin/job"), &stands_in);
        let program = text.lines().find_map(|line| line.strip_suffix(" &")).expect("a line that starts the job");
        std::fs::write(folder.join("job.sh"), text.replace(program, "job")).expect("writes");
        let _ = (std::fs::remove_file(folder.join("started")), std::fs::remove_file(folder.join("requeued")));
        let mut job = Command::new("bash");
        let child = start(job.arg("job.sh").current_dir(folder).env("PATH", &path).env("SLURM_JOB_ID", "77"));
        let began = std::time::Instant::now();
        while !folder.join("started").exists() && began.elapsed().as_secs() < 60 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        signal(child.id(), Signal::USR1);
        let found = end(child);
        assert_eq!(found.code, Some(if requeues { 0 } else { code }), "{code}: {}", found.stderr);
        assert_eq!(folder.join("requeued").exists(), requeues, "{code}");
    }
}

#[test]
fn a_terminal_that_goes_away_leaves_a_checkpoint() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path();
    long_dataset(folder);
    for through in ["", "launch -n 1 --restarts 0 -- "] {
        let name = if through.is_empty() { "run" } else { "launched" };
        let mut child = start(command(folder).args(format!("{through}{LONG} {name}").split_whitespace()));
        wait_for(&folder.join(name), 1, &mut child);
        // The shell sends it, and the system as well.
        signal(child.id(), Signal::HUP);
        signal(child.id(), Signal::HUP);
        let found = end(child);
        if is_complete(folder, name) {
            println!("skipped: the training was over before a signal came");
            continue;
        }
        assert_eq!(found.code, Some(129), "{}", found.stderr);
        assert!(found.stderr.contains("gristmill: error: interrupted"), "{}", found.stderr);
        for left in [".lock", ".partial"] {
            assert!(!folder.join(format!(".{name}{left}")).exists(), "{left} stays");
        }
        ok(folder, &format!("resume {name} -q"));
    }
    // As nohup has it.
    let mut ignoring = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_gristmill");
    ignoring.args(["-c", &format!("trap '' HUP; exec {program} {LONG} kept")]).current_dir(folder).arg0("sh");
    let mut child = start(&mut ignoring);
    wait_for(&folder.join("kept"), 1, &mut child);
    signal(child.id(), Signal::HUP);
    assert_eq!(end(child).code, Some(0));
    assert!(models(folder, "kept") == models(folder, "run"));
}
