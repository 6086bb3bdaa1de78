//! An interrupted training leaves a checkpoint, and `resume` ends with the same bits.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{command, fails, ok, outcome};
use crate::samples::{csv, write};

/// Files of the models of a run, by their path in it.
pub fn models(run: &Path) -> BTreeMap<String, Vec<u8>> {
    crate::harness::tree(run)
        .into_iter()
        .filter(|(path, _)| path.ends_with("model.json") || path.ends_with("model.safetensors"))
        .map(|(path, bytes)| (path.replace(&run.display().to_string(), ""), bytes))
        .collect()
}

#[test]
fn a_signal_leaves_a_checkpoint_and_resume_gives_the_same_bits() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(20_000));
    ok(folder.path(), "ingest d.csv --ignore id,t --label y -o data -q");
    // Several configurations, so that a signal comes before the end however fast the machine is.
    let path: Vec<String> = (1..=30).map(|step| format!("{:.6}", 0.2 / f64::from(step))).collect();
    let words = format!("train data --model logistic --l1 {} --solver owlqn --tolerance 1e-10", path.join(","));
    ok(folder.path(), &format!("{words} -o whole -q"));
    let whole = models(&folder.path().join("whole"));
    assert_eq!(whole.len(), 2 * path.len());
    let mut resumed = 0;
    for (number, pause) in [15, 30, 60, 100, 160, 250].into_iter().enumerate() {
        let run = format!("cut{number}");
        let child = command(folder.path())
            .args(words.split_whitespace())
            .args(["-o", &run])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        std::thread::sleep(Duration::from_millis(pause));
        let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
        let ended = outcome(child.wait_with_output().expect("ends"));
        // Before the program listens or after it is done there is nothing to check.
        if !sent.is_ok_and(|status| status.success()) || ended.code != Some(130) {
            continue;
        }
        // While data are opened there is nothing to keep yet.
        if !ended.stderr.contains(&format!("gristmill resume {run}")) {
            continue;
        }
        let folder = folder.path();
        assert!(fails(folder, &format!("predict {run} d.csv -o p.csv"), 2).contains("no run"));
        ok(folder, &format!("resume {run} -q"));
        assert!(models(&folder.join(&run)) == whole, "another model after an interruption at {pause} ms");
        assert!(fails(folder, &format!("resume {run}"), 2).contains("nothing to resume"));
        resumed += 1;
        if resumed == 2 {
            break;
        }
    }
    assert!(resumed > 0, "no signal came in the middle of the training");
}

#[test]
fn a_finished_model_answers_until_the_training_that_replaces_it_is_complete() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let folder = scratch.path();
    write(folder, "d.csv", csv(20_000));
    ok(folder, "ingest d.csv --ignore id,t --label y -o data -q");
    ok(folder, "train data --model logistic --l2 0.5 -o run -q");
    let (first, run) = (models(&folder.join("run")), folder.join("run"));
    let before = std::fs::read(run.join("config.toml")).expect("a configuration");
    let path: Vec<String> = (1..=40).map(|step| format!("{:.6}", 0.2 / f64::from(step))).collect();
    let words = format!("train data --model logistic --l1 {} --solver owlqn --tolerance 1e-10", path.join(","));
    let mut interrupted = 0;
    // The second training finds the folder as the first left it.
    for _ in 0..2 {
        let mut child = command(folder)
            .args(words.split_whitespace())
            .args(["-o", "run", "--force", "--checkpoint-every", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        crate::ranks::wait_for(&run, interrupted + 1, &mut child);
        let _ = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
        if outcome(child.wait_with_output().expect("ends")).code != Some(130) {
            println!("skipped: the training was over before a signal came");
            return;
        }
        interrupted = gristmill::run::checkpoint::list(&run).last().map_or(0, |(number, _)| *number);
        assert!(interrupted > 0, "no checkpoint");
        assert!(models(&run) == first, "the finished model changed");
        assert_eq!(std::fs::read(run.join("config.before.toml")).expect("kept"), before);
        ok(folder, "predict run d.csv -o p.csv --force -q");
    }
    ok(folder, "resume run -q");
    ok(folder, &format!("{words} -o whole -q"));
    assert!(models(&run) == models(&folder.join("whole")), "another model after the interruption");
    assert!(!run.join("config.before.toml").exists());
}
