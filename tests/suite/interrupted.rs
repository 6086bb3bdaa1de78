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
