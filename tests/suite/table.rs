//! One hash for each training, whatever runs it: threads 1, 2 and 5 x ranks 1 to 4 of a real mpirun x solvers x killed and
//! resumed on other ranks and threads.
//!
//! `GRISTMILL_TABLE=full` (`make bits-table`) tries the whole table; otherwise a corner of it is tried.

use std::path::Path;
use std::process::Command;

use gristmill_io::checksum;
use rustix::process::Signal;

use crate::harness::{command, ok};
use crate::ranks::{
    dataset, end, is_complete, levels, longer_dataset, models, ok_on, ranks, ranks_of, signal, start, wait_for,
};

/// Trainings: every solver, a path, folds.
const TRAININGS: [&str; 13] = [
    "numbers --model linear --solver cholesky --l2 0.1",
    "numbers --model linear --solver coordinate-descent --l1 0.01 --l2 0.1",
    "classes --model logistic --solver newton --l2 0.01",
    "classes --model logistic --solver lbfgs --l2 0.01,0.001 --folds 2",
    "classes --model logistic --solver owlqn --l1 0.01,0.001",
    "classes --model logistic --solver proximal-newton --l1 0.01",
    "classes --model squared-hinge --l2 0.01",
    "numbers --model huber --l2 0.1",
    "classes --model logistic --solver adagrad --l2 0.01 --epochs 2 --batch-rows 64",
    "classes --model logistic --solver ftrl --l1 0.001 --batch-rows 100 --averaging 0 --then owlqn",
    "levels --model logistic --solver lbfgs --l2 0.01 --cross c*d",
    "levels --model logistic --solver adagrad --l2 0.01 --batch-rows 64 --cross c*d,b*d*c --cross-bits 5",
    "numbers --model linear --solver sgd --learning-rate 0.1,0.01 --momentum 0.9 --clip-norm 1 --batch-rows 32",
];

/// Trainings of many passes, which can be killed between two.
const LONG: [&str; 3] = [
    "data --model logistic --solver lbfgs --l2 0.3,0.03,0.003,0.0003 --tolerance 1e-12",
    "data --model logistic --solver newton --l2 0.3,0.03,0.003,0.0003 --tolerance 1e-12",
    "data --model logistic --solver owlqn --l1 0.03,0.003,0.001 --tolerance 1e-10",
];

/// What is tried: threads of a rank, and ranks.
fn places() -> Vec<(usize, usize)> {
    if std::env::var("GRISTMILL_TABLE").is_ok_and(|value| value == "full") {
        return (1..=4).flat_map(|ranks| [1, 2, 5].map(|threads| (ranks, threads))).collect();
    }
    vec![(1, 5), (3, 2)]
}

fn hash(folder: &Path, run: &str) -> String {
    let all: Vec<u8> =
        models(folder, run).into_iter().flat_map(|(name, bytes)| [name.into_bytes(), bytes].concat()).collect();
    checksum::of_bytes(&all)
}

/// The command on so many ranks: without mpirun on one.
fn on(folder: &Path, number: usize, words: &str) -> Option<Command> {
    if number > 1 {
        return ranks(folder, number, words);
    }
    let mut alone = command(folder);
    alone.args(words.split_whitespace());
    Some(alone)
}

#[test]
fn every_place_gives_the_same_hash() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    dataset(folder, "classes", "class");
    dataset(folder, "numbers", "number");
    levels(folder, "levels");
    for training in TRAININGS {
        ok(folder, &format!("train {training} --threads 1 -o alone --force -q"));
        let alone = hash(folder, "alone");
        let mut tried = 0;
        for (number, threads) in places() {
            let words = format!("train {training} --threads {threads} -o other --force -q");
            let Some(mut run) = on(folder, number, &words) else { continue };
            let found = end(start(&mut run));
            assert_eq!(found.code, Some(0), "{words} on {number} ranks: {}", found.stderr);
            assert_eq!(hash(folder, "other"), alone, "{training}: {number} ranks of {threads} threads");
            tried += 1;
        }
        println!("{alone}  {tried} places  {training}");
    }
}

#[test]
fn every_place_goes_on_to_the_same_hash() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    longer_dataset(folder);
    let places = places();
    let (mut killed, mut tried) = (0, 0);
    for (which, training) in LONG.iter().enumerate() {
        ok(folder, &format!("train {training} --threads 2 -o alone --force -q"));
        let alone = hash(folder, "alone");
        for (turn, &(number, threads)) in places.iter().enumerate() {
            let (to, threads_then) = places[(turn + 1 + which) % places.len()];
            let run = format!("run{which}-{turn}");
            let words = format!("train {training} --threads {threads} --checkpoint-every 1 -q -o {run}");
            let Some(mut first) = on(folder, number, &words) else { continue };
            tried += 1;
            let mut child = start(&mut first);
            wait_for(&folder.join(&run), 1 + turn as u64 % 3, &mut child);
            let mut victims = ranks_of(child.id());
            if victims.is_empty() {
                victims.push(child.id());
            }
            victims.into_iter().for_each(|process| signal(process, Signal::KILL));
            end(child);
            if !is_complete(folder, &run) {
                killed += 1;
                let words = format!("resume {run} --threads {threads_then} -q");
                if to == 1 {
                    ok(folder, &words);
                } else if !ok_on(folder, to, &words) {
                    return;
                }
            }
            let from = format!("from {number} ranks of {threads} threads to {to} of {threads_then}");
            assert_eq!(hash(folder, &run), alone, "{training}: {from}");
            std::fs::remove_dir_all(folder.join(&run)).expect("removes");
        }
        println!("{alone}  {training}");
    }
    println!("{killed} of {tried} runs were killed and went on");
    assert!(2 * killed >= tried, "only {killed} of {tried} runs were still going on when they were to be killed");
}
