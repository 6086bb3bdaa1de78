//! A run that is killed at any moment, and resumed on another number of ranks, ends with the bits of one that was not.
//!
//! `GRISTMILL_KILLS` says how many times (`make kill-test`: 100); `GRISTMILL_KILL_SEED` repeats other moments.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Outcome, command, ok};
use crate::ranks::{end, longer_dataset, models, ranks, ranks_of, signal, start, wait_for};

/// Kills unless the environment says otherwise.
const KILLS: u64 = 6;

/// How long a launcher without ranks may take to end.
const LAUNCHER_LIMIT: Duration = Duration::from_secs(5);

/// Trainings that are killed: iterations of each kind, one model and paths.
const TRAININGS: [&str; 3] = [
    "train data --model logistic --solver lbfgs --l2 0.3,0.1,0.03,0.01,0.003,0.001,0.0003,0.0001 --tolerance 1e-12",
    "train data --model logistic --solver newton --l2 0.3,0.1,0.03,0.01,0.003,0.001 --tolerance 1e-12",
    "train data --model logistic --solver owlqn --l1 0.03,0.01,0.003,0.001 --tolerance 1e-10",
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Numbers that look random (splitmix64), the same in every run of the test.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// The command on so many ranks: without mpirun on one.
fn on(folder: &Path, number: u64, words: &str) -> Command {
    let words = format!("{words} --threads 1 --checkpoint-every 1");
    let several = (number > 1).then(|| ranks(folder, number as usize, &words)).flatten();
    several.unwrap_or_else(|| {
        let mut alone = command(folder);
        alone.args(words.split_whitespace());
        alone
    })
}

/// Kills one rank, or all of them, after a time; true when the job was still going on.
fn kill(child: &mut Child, after: Duration, all: bool, random: &mut Random) -> bool {
    let began = Instant::now();
    while began.elapsed() < after {
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let mut processes = ranks_of(child.id());
    if processes.is_empty() {
        processes.push(child.id());
    }
    let one = random.below(processes.len() as u64) as usize;
    let victims = if all { &processes[..] } else { &processes[one..=one] };
    victims.iter().for_each(|process| signal(*process, Signal::KILL));
    true
}

/// How a killed job ends. Open MPI 4.1.4's mpirun now and then waits for ever on a lock of its own when a rank is killed while
/// it starts up: no rank is left then, and it is killed as well.
fn end_of_killed(mut child: Child) -> Outcome {
    let mut empty_since = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if !ranks_of(child.id()).is_empty() {
            empty_since = Instant::now();
        }
        if empty_since.elapsed() > LAUNCHER_LIMIT {
            signal(child.id(), Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    end(child)
}

#[test]
fn runs_killed_at_any_moment_end_with_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    longer_dataset(folder);
    let (kills, mut random) = (number("GRISTMILL_KILLS", KILLS), Random(number("GRISTMILL_KILL_SEED", 1)));
    let ranks_max = if ranks(folder, 2, "").is_some() { 4 } else { 1 };
    let mut wholes = Vec::new();
    for (which, training) in TRAININGS.iter().enumerate() {
        let began = Instant::now();
        ok(folder, &format!("{training} --threads 1 --checkpoint-every 1 -q -o whole{which}"));
        wholes.push((models(folder, &format!("whole{which}")), began.elapsed()));
    }
    let (mut done, mut resumed, mut again, mut turn) = (0, 0, 0, 0_u64);
    while done < kills {
        assert!(turn < 20 * kills + 20, "only {done} of {turn} jobs were still going on when they were to be killed");
        let which = (turn % 3) as usize;
        let (whole, length) = &wholes[which];
        let (run, mut words) = (format!("run{turn}"), format!("{} -q -o run{turn}", TRAININGS[which]));
        turn += 1;
        // Killed again and again, at most three times, until it comes to its end undisturbed.
        for attempt in 0..4 {
            let number = 1 + random.below(ranks_max);
            let mut child = start(&mut on(folder, number, &words));
            // Of four moments one lies anywhere, start of the launcher included; the others behind the first checkpoint.
            if random.below(4) > 0 {
                wait_for(&folder.join(&run), 1, &mut child);
            }
            let wait = length.mul_f64(random.below(800) as f64 / 1_000.0);
            let killed =
                attempt < 3 && random.below(4) > 0 && kill(&mut child, wait, random.below(2) == 0, &mut random);
            done += u64::from(killed);
            let found = if killed { end_of_killed(child) } else { end(child) };
            if folder.join(&run).join("summary.json").is_file() {
                break;
            }
            assert!(killed, "{words} on {number} ranks failed undisturbed: {}", found.stderr);
            let left = !gristmill::run::checkpoint::list(&folder.join(&run)).is_empty();
            (resumed, again) = (resumed + u64::from(left), again + u64::from(!left));
            // Killed before its first checkpoint it leaves nothing, and begins again.
            words = if left { format!("resume {run} -q") } else { words };
        }
        assert!(models(folder, &run) == *whole, "{run} ({}): another model", TRAININGS[which]);
        std::fs::remove_dir_all(folder.join(&run)).expect("removes");
    }
    // A few kills may all fall on the start of the launcher, many may not.
    assert!(
        done < 20 || resumed >= again,
        "only {resumed} of {} killed runs went on from a checkpoint",
        resumed + again
    );
    println!("{done} kills in {turn} runs: {resumed} resumed, {again} begun again, all with the same bits");
}
