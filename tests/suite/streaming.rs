//! Whatever way data get into memory the model is the same; a trace says who did what; a file that goes away is an error.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use serde_json::Value;

use crate::harness::{command, fails, ok};
use crate::interrupted::models;
use crate::samples;

/// A dataset of many small grains, so that a memory limit can be too small for it.
fn dataset(folder: &Path, rows: usize) {
    let column = |number: u64| (0..rows as u64).map(|row| samples::number(row, number) as f32).collect::<Vec<f32>>();
    let labels = (0..rows as u64).map(|row| f32::from(u8::from(samples::class(row)))).collect();
    let mut sample = SampleDataset::new(960).f32("y", Role::Label, labels);
    for number in 0..5 {
        sample = sample.f32(&format!("x{number}"), Role::Feature, column(number));
    }
    let codes: Vec<u32> = (0..rows as u32).map(|row| row * 7 % 11).collect();
    sample.codes("c", Role::Feature, 11, &codes).write(&folder.join("data")).expect("a dataset");
}

fn summary(folder: &Path, run: &str) -> Value {
    let text = std::fs::read_to_string(folder.join(run).join("summary.json")).expect("a summary");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn no_way_of_reading_changes_a_bit() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    dataset(folder, 60_000);
    ok(folder, "train data --model logistic --l2 0.01 -o first -q");
    let first = models(&folder.join("first"));
    let io = &summary(folder, "first")["io"];
    assert_eq!((&io["asked"], &io["resident"]), (&"auto".into(), &"mmap".into()));
    assert!(io["why"].as_str().is_some_and(|why| why.contains("stay mapped")), "{io}");
    for way in ["auto", "mmap", "direct"] {
        // All in memory, and (24 MiB are for the process itself) a part of it streamed in every pass.
        for memory in ["", "--memory 25MiB"] {
            let words =
                format!("train data --model logistic --l2 0.01 --io {way} {memory} --threads 1 -o next --force -q");
            let run = crate::harness::line(folder, &words);
            if run.code == Some(2) && run.stderr.contains("has no direct I/O") {
                eprintln!("skipped: the temporary folder has no direct I/O");
                continue;
            }
            assert_eq!(run.code, Some(0), "{words}: {}", run.stderr);
            assert!(models(&folder.join("next")) == first, "{words}: another model");
            let io = &summary(folder, "next")["io"];
            assert_eq!(io["asked"], way);
            assert_eq!(io["streamed_bytes"].as_u64() > Some(0), !memory.is_empty(), "{words}: {io}");
            assert_eq!(io["streamed"].is_null(), memory.is_empty(), "{words}: {io}");
            ok(folder, &format!("evaluate next data --io {way} {memory} -q"));
            ok(folder, &format!("predict next data -o p.parquet --io {way} {memory} --force -q"));
        }
    }
    let config = std::fs::read_to_string(folder.join("next/config.toml")).expect("a file");
    assert!(config.contains("io = \"direct\"") || config.contains("io = \"mmap\""), "{config}");
    assert!(fails(folder, "train data --model logistic --io fast -o x", 2).contains("auto, mmap, direct"));
}

#[test]
fn every_run_says_where_the_time_went_and_what_bounds_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    dataset(folder.path(), 3_000);
    let text = ok(folder.path(), "train data --model logistic --l2 0.01 -o run");
    for line in ["  data ", "  time ", "  bound by "] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    let speed = &summary(folder.path(), "run")["speed"];
    assert!(speed["bound"]["resource"].is_string() && speed["bound"]["text"].is_string(), "{speed}");
    let time = speed["time"].as_object().expect("times");
    for part in ["opening", "waiting", "reading", "computing", "idle", "reducing", "solving", "checkpointing"] {
        assert!(time[&format!("{part}_seconds")].as_f64() >= Some(0.0), "{part}: {speed}");
    }
}

/// Spans of each thread lie one after the other or one inside the other, never across.
fn check_nesting(spans: &[(f64, f64, String)]) {
    let mut open: Vec<(f64, String)> = Vec::new();
    for (start, time, name) in spans {
        // A microsecond's thousandth is what the format keeps.
        while open.last().is_some_and(|(end, _)| *end <= start + 2e-3) {
            open.pop();
        }
        if let Some((end, outer)) = open.last() {
            assert!(start + time <= end + 2e-3, "{name} at {start} outlasts {outer}, which ends at {end}");
        }
        open.push((start + time, name.clone()));
    }
}

#[test]
fn a_trace_shows_every_thread_and_nests() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    dataset(folder, 30_000);
    let train = "train data --model logistic --l2 0.01 --solver lbfgs --io mmap --threads 2 -o run";
    let out = crate::harness::line(folder, &format!("{train} --checkpoint-every 1 --trace trace.json"));
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    assert!(out.stderr.contains("ui.perfetto.dev"), "{}", out.stderr);
    let text = std::fs::read_to_string(folder.join("trace.json")).expect("a trace");
    let trace: Value = serde_json::from_str(&text).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let mut names = std::collections::BTreeMap::new();
    for event in events.iter().filter(|event| event["name"] == "thread_name") {
        names.insert(event["tid"].as_u64().expect("a number"), event["args"]["name"].as_str().expect("a name"));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (&thread, &name) in &names {
        let spans: Vec<(f64, f64, String)> = events
            .iter()
            .filter(|event| event["ph"] == "X" && event["tid"] == thread)
            .map(|event| {
                let number = |key: &str| event[key].as_f64().expect("a number");
                (number("ts"), number("dur"), event["name"].as_str().expect("a name").to_string())
            })
            .collect();
        assert!(spans.is_sorted_by(|a, b| a.0 <= b.0), "{name} is not in order");
        check_nesting(&spans);
        seen.extend(
            spans.iter().map(|(_, _, span)| format!("{}: {span}", name.trim_end_matches(|c: char| c.is_numeric()))),
        );
    }
    for wanted in [
        "worker : compute",
        "worker : wait",
        "reader : load",
        "training: open",
        "training: pass",
        "training: scan",
        "training: reduce",
        "training: solve",
        "training: checkpoint",
    ] {
        assert!(seen.contains(wanted), "{wanted} is missing: {seen:?}");
    }
    // As many passes as were made, every grain once in each of the whole ones.
    let passes = std::fs::read_to_string(folder.join("run/metrics.jsonl")).expect("passes").lines().count();
    let of = |name: &str| events.iter().filter(|event| event["name"] == name && event["ph"] == "X").count();
    assert_eq!(of("pass"), passes);
    assert!(of("compute") > passes && of("load") == 32, "{} loads of 32 grains", of("load"));
    // A file that exists is not replaced without being asked, and the model does not know of the trace.
    assert!(fails(folder, &format!("{train} --trace trace.json").replace("-o run", "-o other"), 2).contains("--force"));
    ok(folder, &format!("{} -q", train.replace("-o run", "-o other")));
    assert!(models(&folder.join("run")) == models(&folder.join("other")));
}

#[test]
fn a_trace_costs_neither_a_file_nor_a_model() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    dataset(folder, 3_000);
    let train = "train data --model logistic --solver lbfgs -o run";
    let manifest = folder.join("data/manifest.json");
    let before = std::fs::read(&manifest).expect("a manifest");
    let refused = fails(folder, &format!("{train} --force --trace data/manifest.json"), 2);
    assert!(refused.contains("is no trace"), "{refused}");
    assert_eq!(std::fs::read(&manifest).expect("a manifest"), before);
    let refused = fails(folder, &format!("{train} --trace data/manifest.json/new/trace.json"), 2);
    assert!(refused.contains("data/manifest.json is no folder"), "{refused}");
    assert!(!folder.join("run").exists());
    // The temporary name is longer than a name may be, which shows only once all is trained.
    let failed = fails(folder, &format!("{train} --trace {}", "t".repeat(250)), 1);
    assert!(failed.contains("cannot create"), "{failed}");
    ok(folder, "inspect run");
    // A trace may lie in the run that it is of, and takes the place of an older one.
    ok(folder, &format!("{train} --force --trace run/trace.json"));
    ok(folder, &format!("{train} --force --trace run/trace.json"));
    assert!(folder.join("run/trace.json").exists() && folder.join("run/model.json").exists());
    ok(folder, &format!("{train} --force --max-passes 1 --trace made/for/trace.json"));
    assert!(folder.join("made/for/trace.json").exists());
}

/// The child is held still while its shard is cut, so that the cut falls into a pass whatever the speed of the machine: what
/// it does next is touch pages that are gone, or look whether the file has changed.
#[test]
fn a_shard_truncated_during_a_pass_ends_the_run_with_its_name() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    dataset(folder, 60_000);
    let path: Vec<String> = (1..=40).map(|step| format!("{:.6}", 0.2 / f64::from(step))).collect();
    let words = format!("train data --model logistic --l1 {} --solver owlqn --tolerance 1e-12", path.join(","));
    ok(folder, &format!("{words} -o whole -q"));
    let shard = folder.join("data/train-00000.arrow");
    let bytes = std::fs::read(&shard).expect("a shard");
    for way in ["mmap", "direct"] {
        let run = format!("cut-{way}");
        let mut child = command(folder)
            .args(words.split_whitespace())
            .args(["--checkpoint-every", "1", "--io", way, "-o", &run])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("standard error"));
        let (mut told, mut passes) = (String::new(), 0);
        while passes < 3 {
            let from = told.len();
            assert!(lines.read_line(&mut told).expect("a line") > 0, "it ended early: {told}");
            passes += usize::from(told[from..].contains("\"event\":\"pass\""));
        }
        let signal = |name: &str| {
            let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
            assert!(sent.is_ok_and(|status| status.success()), "no signal {name}");
        };
        signal("STOP");
        let file = std::fs::File::options().write(true).open(&shard).expect("the shard opens");
        file.set_len(bytes.len() as u64 / 2).expect("it is cut");
        signal("CONT");
        lines.read_to_string(&mut told).expect("the rest");
        let code = child.wait().expect("ends").code();
        std::fs::write(&shard, &bytes).expect("it is put back");
        if code == Some(2) && told.contains("has no direct I/O") {
            continue;
        }
        assert_eq!(code, Some(1), "{way}: {told}");
        let error = told.lines().find(|line| line.starts_with("gristmill: error: ")).unwrap_or_default();
        assert!(error.contains("train-00000.arrow") && error.contains("truncated"), "{way}: {error}");
        assert!(told.contains(&format!("gristmill resume {run}")), "{way}: no checkpoint is named: {told}");
        ok(folder, &format!("resume {run} -q"));
        assert!(models(&folder.join(&run)) == models(&folder.join("whole")), "{way}: another model after resume");
    }
}
