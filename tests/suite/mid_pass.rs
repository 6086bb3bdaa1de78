//! Ranks that are killed in the middle of a pass leave parts of it, and what is in them is not read again.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{error_line, ok, outcome};
use crate::ranks::{end, is_complete, longer_dataset, models, ranks, ranks_of, signal, start, wait_for};

/// Sixteen models side by side: a pass takes a while.
const LONG: &str = "train data --model logistic --solver lbfgs --l2 0.3,0.1,0.06,0.04,0.03,0.02,0.015,0.01,0.006,0.004,0.003,\
                    0.002,0.001,0.0006,0.0003,0.0001 --tolerance 1e-12 --max-passes 40 --threads 1 -q -o";
/// How long ranks may take to write their parts.
const LIMIT: Duration = Duration::from_secs(20);

/// The parts of a run, one a rank at most.
fn parts(run: &Path) -> usize {
    let names = std::fs::read_dir(run).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with("part-")).count()
}

#[test]
fn parts_of_a_pass_are_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    longer_dataset(folder);
    if ranks(folder, 2, "").is_none() {
        return;
    }
    ok(folder, &format!("{LONG} whole"));
    let whole = models(folder, "whole");
    let (mut gone_on, mut shorter) = (0, 0);
    for (turn, (from, to)) in [(2, 3), (3, 1), (2, 2)].into_iter().enumerate() {
        let (run, at) = (format!("run{turn}"), folder.join(format!("run{turn}")));
        let words = format!("{LONG} {run} --checkpoint-every 1");
        let mut child = start(&mut ranks(folder, from, &words).expect("found before"));
        wait_for(&at, 2 + turn as u64, &mut child);
        let began = Instant::now();
        // Each signal asks for the part of the pass that is under way then.
        while parts(&at) < from && began.elapsed() < LIMIT && child.try_wait().expect("a child").is_none() {
            ranks_of(child.id()).into_iter().for_each(|process| signal(process, Signal::USR1));
            std::thread::sleep(Duration::from_millis(15));
        }
        ranks_of(child.id()).into_iter().for_each(|process| signal(process, Signal::KILL));
        end(child);
        if is_complete(folder, &run) {
            continue;
        }
        assert_eq!(parts(&at), from, "every rank leaves its part");
        let found = outcome(
            ranks(folder, to, &format!("resume {run} --threads 1")).expect("found before").output().expect("starts"),
        );
        assert_eq!(found.code, Some(0), "{}", found.stderr);
        assert!(models(folder, &run) == whole, "{from} ranks killed in a pass, {to} went on: another model");
        gone_on += usize::from(found.stderr.contains("grains of a pass were summed before: they are not read again"));
        shorter += usize::from(one_is_shorter(&at));
    }
    assert!(gone_on >= 2, "only {gone_on} of 3 runs were killed with parts of a pass");
    assert!(shorter >= 1, "no pass was gone on with: the parts were all of passes that were over");
}

/// The part of a pass that a rank leaves cannot be written: the job ends as it was told to, with the trace of all ranks.
#[test]
fn a_part_that_one_rank_cannot_write_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    longer_dataset(folder);
    let words = format!("{LONG} run --checkpoint-every 1 --trace trace.json");
    let Some(mut command) = ranks(folder, 2, &words) else { return };
    let run = folder.join("run");
    let mut child = start(&mut command);
    wait_for(&run, 2, &mut child);
    // A folder in its place.
    std::fs::create_dir_all(run.join("part-0001.bin/full")).expect("a folder");
    ranks_of(child.id()).into_iter().for_each(|process| signal(process, Signal::TERM));
    let found = end(child);
    if is_complete(folder, "run") {
        println!("skipped: the training was over before it could be stopped");
        return;
    }
    assert!(error_line(&found).contains("interrupted"), "{}", found.stderr);
    let trace = std::fs::read_to_string(folder.join("trace.json")).expect("a trace");
    let trace: serde_json::Value = serde_json::from_str(&trace).expect("JSON");
    assert!(trace["traceEvents"].as_array().is_some_and(|events| events.len() > 10), "{trace}");
}

/// True when some whole pass read fewer bytes than another: the rest was in parts.
fn one_is_shorter(run: &Path) -> bool {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let passes = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let whole = passes.filter(|pass| pass["share"].as_f64() == Some(1.0));
    let bytes: Vec<u64> = whole.filter_map(|pass| pass["bytes"].as_u64()).collect();
    bytes.iter().min() < bytes.iter().max()
}
