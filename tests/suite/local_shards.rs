//! Nodes that each hold some shards of a dataset train the model that one node with all of them trains, bit for bit. Each
//! rank stands for a node: a script gives it a folder of its own.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{error_line, fails, ok, outcome};
use crate::ranks::{LONG, dataset, end, is_complete, long_dataset, models, ranks, signal, start, wait_for};

/// Whether a rank has a shard, by their numbers.
type Has = fn(usize, usize) -> bool;

/// For each rank a folder `node<rank>/data` with the manifest, the tables, and the shards of the training rows that `has` says.
fn spread(folder: &Path, number: usize, has: impl Fn(usize, usize) -> bool) {
    let whole = folder.join("data");
    for rank in 0..number {
        let node = folder.join(format!("node{rank}/data"));
        let _was_there = std::fs::remove_dir_all(&node);
        std::fs::create_dir_all(&node).expect("a folder");
        for entry in std::fs::read_dir(&whole).expect("a dataset").flatten() {
            let name = entry.file_name().into_string().expect("UTF-8");
            let shard = name.strip_prefix("train-").and_then(|rest| rest.strip_suffix(".arrow")?.parse().ok());
            if shard.is_none_or(|shard| has(rank, shard)) {
                std::fs::copy(entry.path(), node.join(name)).expect("copies");
            }
        }
    }
}

/// The command on so many ranks; `NODE` in it becomes the rank's own folder.
fn on_nodes(folder: &Path, number: usize, words: &str) -> Option<Command> {
    // What mpirun starts is a shell, which knows its rank from either MPI's environment and becomes the binary.
    let usual = ranks(folder, number, "")?;
    let binary = env!("CARGO_BIN_EXE_gristmill");
    let line = format!("exec {binary} {}", words.replace("NODE", "node${OMPI_COMM_WORLD_RANK:-$PMI_RANK}"));
    let mut command = Command::new(usual.get_program());
    command.current_dir(folder).env_remove("GRISTMILL_TIER");
    command.envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(usual.get_args().filter(|word| *word != binary)).args(["sh", "-c", &line]);
    Some(command)
}

fn ok_on_nodes(folder: &Path, number: usize, words: &str) -> bool {
    let Some(mut command) = on_nodes(folder, number, words) else { return false };
    let found = end(start(&mut command));
    assert_eq!(found.code, Some(0), "{words}: {}{}", found.stdout, found.stderr);
    true
}

#[test]
fn shards_on_many_nodes_make_the_same_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    // 40 grains in 6 shards.
    dataset(folder, "data", "class");
    let flags = "--model logistic --solver lbfgs --l2 0.01 --threads 1 -q";
    ok(folder, &format!("train data {flags} -o alone"));
    let judged = ok(folder, "evaluate alone data --split train --json -q");
    // All on one of three; the rest on others; some on several.
    let spreads: [(usize, Has); 3] = [
        (2, |rank, shard| shard % 2 == rank),
        (3, |rank, shard| rank == shard / 2 || shard == 5),
        (2, |rank, _| rank == 1),
    ];
    for (turn, (number, has)) in spreads.into_iter().enumerate() {
        spread(folder, number, has);
        if !ok_on_nodes(folder, number, &format!("train NODE/data --local-shards {flags} -o run{turn}")) {
            return;
        }
        assert!(models(folder, &format!("run{turn}")) == models(folder, "alone"), "spread {turn}: another model");
        let mut evaluate = on_nodes(folder, number, "evaluate alone NODE/data --split train --local-shards --json -q")
            .expect("found before");
        let found = outcome(evaluate.output().expect("starts"));
        let figures = |text: &str| -> serde_json::Value {
            serde_json::from_str::<serde_json::Value>(text).expect("JSON")["evaluation"].clone()
        };
        assert_eq!(figures(&found.stdout), figures(&judged), "spread {turn}: {}", found.stderr);
    }
}

/// A training that is stopped goes on on other nodes, each with other shards.
#[test]
fn a_stopped_training_goes_on_where_the_shards_are_now() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    long_dataset(folder);
    spread(folder, 3, |rank, shard| shard % 3 == rank);
    let words = format!("{LONG} run").replace(" data ", " NODE/data --local-shards ");
    let Some(mut command) = on_nodes(folder, 3, &words) else { return };
    let mut child = start(&mut command);
    wait_for(&folder.join("run"), 2, &mut child);
    signal(child.id(), Signal::TERM);
    end(child);
    ok(folder, &format!("{} whole", LONG));
    if !is_complete(folder, "run") {
        spread(folder, 2, |rank, shard| (shard % 3 == 0) == (rank == 0));
        assert!(ok_on_nodes(folder, 2, "resume run --dataset NODE/data --local-shards --threads 1 -q"));
    }
    assert!(models(folder, "run") == models(folder, "whole"), "another model");
}

#[test]
fn a_shard_that_no_rank_has_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    dataset(folder, "data", "class");
    let flags = "--model logistic --local-shards";
    for (words, says) in [
        ("train data data --model logistic --local-shards -o run", "one dataset folder was expected"),
        ("train nowhere --model logistic --local-shards -o run", "nowhere"),
    ] {
        assert!(fails(folder, words, 2).contains(says), "{words}");
    }
    spread(folder, 1, |_, shard| shard != 2 && shard != 4);
    let line = fails(folder, &format!("train node0/data {flags} -o run"), 2);
    assert!(line.contains("train-00002.arrow and 1 more are on no rank (rank 0 of 1 on "), "{line}");
    assert!(line.contains(" has 4)"), "{line}");
    assert!(!folder.join("run").exists());
    spread(folder, 2, |rank, shard| shard % 2 == rank && shard != 3);
    let Some(mut command) = on_nodes(folder, 2, &format!("train NODE/data {flags} -o run")) else { return };
    let found = end(start(&mut command));
    assert_eq!(found.code, Some(2), "{}", found.stderr);
    assert!(error_line(&found).contains("train-00003.arrow is on no rank"), "{}", found.stderr);
    // A shard that is cut off is not one that lies elsewhere.
    let path = folder.join("node1/data/train-00001.arrow");
    let bytes = std::fs::read(&path).expect("a shard");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("writes");
    let found = end(start(&mut command));
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    let line = error_line(&found);
    assert!(line.contains("rank 1 of 2 on ") && line.contains("train-00001.arrow") && line.contains("bytes"), "{line}");
}
