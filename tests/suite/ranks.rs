//! The same binary under mpirun: the same model bits on any number of ranks, one voice, one exit code, and checkpoints that
//! survive whatever ends a run.
//!
//! What needs mpirun is skipped, with a message, where it is missing or the binary was built without the feature `mpi`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Outcome, command, error_line, fails, ok, outcome, tree};
use crate::samples;
use gristmill_io::manifest::Role;
use gristmill_io::testing::SampleDataset;
use rustix::process::{Pid, Signal, kill_process};

/// A command that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// `mpirun -n ranks gristmill words`; none where there is no mpirun.
fn launcher(folder: &Path, ranks: usize, words: &str) -> Option<Command> {
    let version = Command::new("mpirun").arg("--version").output().ok()?;
    let program = command(folder).get_program().to_owned();
    let mut launcher = Command::new("mpirun");
    if String::from_utf8_lossy(&version.stdout).contains("Open MPI") {
        launcher.args(["--oversubscribe", "--bind-to", "none"]);
        launcher.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        // Runs that share a session folder remove it under one another.
        launcher.env("OMPI_MCA_orte_tmpdir_base", folder);
    }
    launcher.current_dir(folder).env_remove("GRISTMILL_TIER").args(["-n", &ranks.to_string()]).arg(program);
    launcher.args(words.split_whitespace());
    Some(launcher)
}

/// The launcher of a binary that can be one of several ranks; says so when there is none.
pub fn ranks(folder: &Path, ranks: usize, words: &str) -> Option<Command> {
    let found = if cfg!(feature = "mpi") { launcher(folder, ranks, words) } else { None };
    if found.is_none() {
        println!("skipped: no mpirun, or the binary was built without --features mpi");
    }
    found
}

pub fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the launcher starts")
}

/// How it ends; what it prints is little enough for the pipes to hold.
pub fn end(mut child: Child) -> Outcome {
    let began = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if began.elapsed() > LIMIT {
            child.kill().expect("kills");
            panic!("hangs: {:?}", outcome(child.wait_with_output().expect("ends")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    outcome(child.wait_with_output().expect("ends"))
}

/// Runs on ranks what must succeed; false where it is skipped.
pub fn ok_on(folder: &Path, number: usize, words: &str) -> bool {
    let Some(mut command) = ranks(folder, number, words) else { return false };
    let found = end(start(&mut command));
    assert_eq!(found.code, Some(0), "{words} on {number} ranks: {}{}", found.stdout, found.stderr);
    true
}

/// A dataset with 40 grains of 64 rows.
pub fn dataset(folder: &Path, name: &str, label: &str) {
    write(folder, name, label, 2_550, 64);
}

/// A dataset that a training is busy with for some time.
pub fn long_dataset(folder: &Path) {
    write(folder, "data", "class", 60_000, 960);
}

/// A dataset whose passes take ten times as long.
pub fn longer_dataset(folder: &Path) {
    write(folder, "data", "class", 600_000, 4_032);
}

/// Four columns and a weight; the label is a class or a number.
fn write(folder: &Path, name: &str, label: &str, rows: u64, grain_rows: usize) {
    let column = |number: u64| (0..rows).map(|row| samples::number(row, number) as f32).collect();
    let label = (0..rows).map(|row| match label {
        "class" => f32::from(samples::class(row)),
        _ => samples::target(row) as f32,
    });
    SampleDataset::new(grain_rows)
        .grains_per_shard(7)
        .f32("a", Role::Feature, column(0))
        .f32("b", Role::Feature, column(1))
        .f32("c", Role::Feature, column(2))
        .f32("d", Role::Feature, column(3))
        .f32("y", Role::Label, label.collect())
        .f32("w", Role::Weight, column(9).iter().map(|w: &f32| w.abs() + 0.5).collect())
        .write(&folder.join(name))
        .expect("a dataset");
}

/// A dataset of categories beside a number.
pub fn levels(folder: &Path, name: &str) {
    let codes = |column: u64, levels: f64| -> Vec<u32> {
        (0..2_550).map(|row| ((samples::number(row, column) + 12.5) / 25.01 * levels) as u32).collect()
    };
    SampleDataset::new(64)
        .grains_per_shard(7)
        .f32("a", Role::Feature, (0..2_550).map(|row| samples::number(row, 0) as f32).collect())
        .codes("b", Role::Feature, 4, &codes(1, 4.0))
        .codes("c", Role::Feature, 9, &codes(2, 9.0))
        .codes("d", Role::Feature, 30, &codes(3, 30.0))
        .f32("y", Role::Label, (0..2_550).map(|row| f32::from(samples::class(row))).collect())
        .write(&folder.join(name))
        .expect("a dataset");
}

/// The files that hold a run's models.
pub fn models(folder: &Path, run: &str) -> Vec<(String, Vec<u8>)> {
    let run = folder.join(run);
    let prefix = run.display().to_string();
    let files = tree(&run).into_iter().filter(|(name, _)| name.contains("model."));
    let found: Vec<_> = files.map(|(name, bytes)| (name.replace(&prefix, ""), bytes)).collect();
    assert!(found.len() >= 2, "{prefix} holds no model");
    found
}

#[test]
fn ranks_threads_and_solvers_change_no_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    dataset(folder, "classes", "class");
    dataset(folder, "numbers", "number");
    for flags in [
        "classes --model logistic --solver newton --l2 0.01",
        "classes --model logistic --solver lbfgs --l2 0.01",
        "classes --model logistic --solver owlqn --l1 0.01,0.001",
        "numbers --model linear --solver cholesky --l2 0.1",
    ] {
        ok(folder, &format!("train {flags} --threads 1 -o alone --force -q"));
        let alone = models(folder, "alone");
        for (number, threads) in [(1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (4, 1), (4, 2)] {
            if !ok_on(folder, number, &format!("train {flags} --threads {threads} -o together --force -q")) {
                return;
            }
            assert!(models(folder, "together") == alone, "{flags}: {number} ranks of {threads} threads: another model");
        }
    }
}

#[test]
fn one_rank_prints_and_failures_have_one_voice() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    dataset(folder, "data", "class");
    let Some(mut train) = ranks(folder, 3, "train data --model logistic --l2 0.1 -o run") else { return };
    let found = end(start(&mut train));
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert_eq!(found.stdout.matches("trained on").count(), 1, "{}", found.stdout);
    for (words, code, says) in [
        ("train data --model logistic -o run", 2, "exists already"),
        ("train nowhere --model logistic --label y -o other", 1, "nowhere"),
        ("train data --model logistc -o other", 2, "logistic"),
        ("train data --model logistic --nonsense", 2, "--nonsense"),
        // What all find on their way is said once as well, whatever it is.
        ("train data --model logistic --solver adam --patience 2 -o other", 2, "patience needs held-out rows"),
        (
            "train data --model poisson --solver sgd --learning-rate 1e9 --batch-rows 64 -o other",
            1,
            "the training diverged in epoch 1",
        ),
        ("evaluate nowhere data", 2, "nowhere"),
        // Rank 0 alone has something to do; the others end with it.
        ("ingest nowhere.csv --label y -o other", 1, "nowhere.csv"),
    ] {
        let found = end(start(&mut ranks(folder, 3, words).expect("found before")));
        assert_eq!(found.code, Some(code), "{words}: {}", found.stderr);
        assert!(error_line(&found).contains(says), "{words}: {}", found.stderr);
    }
    for words in ["evaluate run data -q", "predict run data -o p.csv -q", "inspect run", "verify data", "--version"] {
        assert!(ok_on(folder, 2, words));
    }
    let found = end(start(&mut ranks(folder, 2, "verify data").expect("found before")));
    assert!(found.stderr.contains("runs on rank 0 alone"), "{found:?}");
}

#[test]
fn a_rank_that_fails_alone_is_named_and_ends_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    dataset(folder, "data", "class");
    let Some(mut train) = ranks(folder, 2, "train data --model logistic --threads 1 -o run -q") else { return };
    // What no checksum of a pass looks at: values that the statistics do not promise, in rows of the last rank alone.
    let values: Vec<u8> = (2_540..2_544).flat_map(|row| (samples::number(row, 0) as f32).to_le_bytes()).collect();
    let mut spoilt = 0;
    for (name, mut bytes) in tree(&folder.join("data")).into_iter().filter(|(name, _)| name.contains("train-")) {
        if let Some(at) = bytes.windows(values.len()).position(|window| window == values) {
            bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            std::fs::write(&name, bytes).expect("writes");
            spoilt += 1;
        }
    }
    assert_eq!(spoilt, 1);
    let found = end(start(&mut train));
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    assert!(error_line(&found).contains("rank 1 of 2 on "), "{}", found.stderr);
    // The launcher's signal may leave a checkpoint on rank 0, but no model.
    assert!(!is_complete(folder, "run"));
}

#[test]
fn a_binary_without_mpi_is_no_rank() {
    let folder = tempfile::tempdir().expect("a folder");
    if cfg!(feature = "mpi") {
        println!("skipped: this binary was built with --features mpi");
        return;
    }
    let Some(mut train) = launcher(folder.path(), 3, "train data --model logistic -o run") else { return };
    let found = end(start(&mut train));
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    assert!(error_line(&found).contains("built without MPI"), "{}", found.stderr);
}

/// A training of many passes, each of which leaves a checkpoint.
pub const LONG: &str = "train data --model logistic --solver lbfgs --l2 0.3,0.1,0.06,0.04,0.03,0.02,0.015,0.01,0.006,0.004,0.003,0.002,0.001,0.0006,0.0003,0.0001 \
                    --tolerance 1e-12 --threads 1 --checkpoint-every 1 -q -o";

/// Waits until the run has a checkpoint of that number or is over.
pub fn wait_for(run: &Path, number: u64, child: &mut Child) {
    while child.try_wait().expect("a child").is_none() {
        let newest = gristmill::run::checkpoint::list(run).last().map_or(0, |(number, _)| *number);
        if newest >= number {
            return;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// True when the training was over before anyone could end it.
pub fn is_complete(folder: &Path, run: &str) -> bool {
    folder.join(run).join("summary.json").is_file()
}

/// Waits until the process catches SIGUSR1.
fn wait_for_handler(child: &mut Child) {
    let catches = |text: String| {
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
        Some(mask >> (Signal::USR1.as_raw() - 1) & 1 == 1)
    };
    let path = format!("/proc/{}/status", child.id());
    while child.try_wait().expect("a child").is_none() {
        if std::fs::read_to_string(&path).ok().and_then(catches) == Some(true) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn signal(process: u32, signal: Signal) {
    let process = Pid::from_raw(process.cast_signed()).expect("a process number");
    // It may have ended just now.
    let _ = kill_process(process, signal);
}

/// The processes that `of` started, and those that these started.
fn descendants(of: u32) -> Vec<u32> {
    let parent = |process: u32| -> Option<u32> {
        let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        text.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let all: Vec<u32> = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let mut found = vec![of];
    let mut next = 0;
    while next < found.len() {
        let children: Vec<u32> = all.iter().copied().filter(|process| parent(*process) == Some(found[next])).collect();
        found.extend(children);
        next += 1;
    }
    found.split_off(1)
}

/// The ranks among them.
pub fn ranks_of(launcher: u32) -> Vec<u32> {
    // Those that were killed and that the launcher has not looked at yet do not count.
    let is_rank = |process: &u32| {
        let about = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        about.contains("(gristmill)") && !about.contains("(gristmill) Z")
    };
    descendants(launcher).into_iter().filter(is_rank).collect()
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    longer_dataset(folder);
    ok(folder, &format!("{LONG} whole"));
    let whole = models(folder, "whole");
    let mut killed = 0;
    for (turn, at) in [1, 2, 3, 5, 8].into_iter().enumerate() {
        let run = format!("run{turn}");
        let mut child = start(command(folder).args(format!("{LONG} {run}").split_whitespace()));
        wait_for(&folder.join(&run), at, &mut child);
        signal(child.id(), Signal::KILL);
        end(child);
        if is_complete(folder, &run) {
            continue;
        }
        killed += 1;
        assert!(
            gristmill::run::checkpoint::list(&folder.join(&run)).len() <= 4,
            "three, and one that was just written"
        );
        ok(folder, &format!("resume {run} --threads {} -q", 1 + turn % 3));
        assert!(models(folder, &run) == whole, "killed at checkpoint {at}: another model");
    }
    assert!(killed >= 3, "only {killed} of 5 runs were still going on when they were to be killed");
}

#[test]
fn killed_ranks_go_on_on_other_ranks() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    longer_dataset(folder);
    if ranks(folder, 2, "").is_none() {
        return;
    }
    ok(folder, &format!("{LONG} whole"));
    let whole = models(folder, "whole");
    let mut killed = 0;
    for (turn, (from, to, at)) in [(2, 3, 1), (3, 1, 3), (2, 4, 5), (4, 2, 8)].into_iter().enumerate() {
        let run = format!("run{turn}");
        let mut child = start(&mut ranks(folder, from, &format!("{LONG} {run}")).expect("found before"));
        wait_for(&folder.join(&run), at, &mut child);
        // One rank, never the same, or all of them.
        let all = ranks_of(child.id());
        let victims = if turn == 1 { &all[..] } else { &all[turn % all.len().max(1)..][..1.min(all.len())] };
        victims.iter().for_each(|process| signal(*process, Signal::KILL));
        end(child);
        if is_complete(folder, &run) {
            continue;
        }
        killed += 1;
        assert!(ok_on(folder, to, &format!("resume {run} --threads 1 -q")));
        assert!(models(folder, &run) == whole, "{from} ranks killed at checkpoint {at}, {to} went on: another model");
    }
    assert!(killed >= 2, "only {killed} of 4 runs were still going on when they were to be killed");
}

#[test]
fn signals_leave_a_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    long_dataset(folder);
    let long = LONG.replace("--checkpoint-every 1", "--checkpoint-every never");
    ok(folder, &format!("{long} whole"));
    let whole = models(folder, "whole");
    for (name, with, code) in [("int", Signal::INT, 130), ("term", Signal::TERM, 143)] {
        let mut child = start(command(folder).args(format!("{long} {name}").split_whitespace()));
        // USR1 makes a checkpoint and the run goes on; before its handler stands it would end the process.
        wait_for_handler(&mut child);
        signal(child.id(), Signal::USR1);
        wait_for(&folder.join(name), 1, &mut child);
        signal(child.id(), with);
        let found = end(child);
        if !is_complete(folder, name) {
            assert_eq!(found.code, Some(code), "{}", found.stderr);
            ok(folder, &format!("resume {name} -q"));
        }
        assert!(models(folder, name) == whole, "{name}: another model");
    }
}

#[test]
fn a_stopped_job_of_ranks_leaves_a_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    long_dataset(folder);
    let Some(mut command) = ranks(folder, 2, &format!("{LONG} run")) else { return };
    ok(folder, &format!("{LONG} whole"));
    let mut child = start(&mut command);
    wait_for(&folder.join("run"), 1, &mut child);
    signal(child.id(), Signal::TERM);
    end(child);
    if !is_complete(folder, "run") {
        assert!(ok_on(folder, 3, "resume run --threads 1 -q"));
    }
    assert!(models(folder, "run") == models(folder, "whole"));
}

#[test]
fn a_silent_rank_is_named_and_all_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    long_dataset(folder);
    let words = format!("{LONG} run --rank-timeout 2s");
    let Some(mut command) = ranks(folder, 2, &words) else { return };
    let mut child = start(&mut command);
    wait_for(&folder.join("run"), 1, &mut child);
    let second = |process: &&u32| {
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|v| v == b"OMPI_COMM_WORLD_RANK=1" || v == b"PMI_RANK=1")
    };
    ranks_of(child.id()).iter().filter(second).for_each(|process| signal(*process, Signal::STOP));
    let found = end(child);
    if is_complete(folder, "run") {
        println!("skipped: the training was over before a rank could be stopped");
        return;
    }
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    let line = error_line(&found);
    assert!(line.contains("rank 0 of 2 on ") && line.contains("rank 1 was lost"), "{line}");
    assert!(ok_on(folder, 1, "resume run -q"));
    ok(folder, &format!("{LONG} whole"));
    assert!(models(folder, "run") == models(folder, "whole"));
}

/// A run that was killed after its third checkpoint. On a busy machine it may be over first: then another one.
fn killed(folder: &Path) {
    long_dataset(folder);
    for _attempt in 0..10 {
        let mut child = start(command(folder).args(format!("{LONG} run --force").split_whitespace()));
        wait_for(&folder.join("run"), 3, &mut child);
        signal(child.id(), Signal::KILL);
        if end(child).code != Some(0) {
            return;
        }
    }
    panic!("ten runs were over before they could be killed");
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    killed(folder);
    let all = gristmill::run::checkpoint::list(&folder.join("run"));
    let spoil = |path: &Path| {
        let mut bytes = std::fs::read(path).expect("a checkpoint");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).expect("writes");
    };
    all.iter().for_each(|(_, path)| spoil(path));
    assert!(fails(folder, "resume run", 1).contains("damaged"));
    let (last, others) = all.split_last().expect("checkpoints");
    others.iter().for_each(|(_, path)| spoil(path));
    let found = crate::harness::line(folder, "resume run");
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let before = &others.last().expect("two checkpoints").1;
    assert!(found.stderr.contains(&name(&last.1)) && found.stderr.contains("damaged"), "{}", found.stderr);
    assert!(found.stderr.contains(&format!("going on from run/{}", name(before))), "{}", found.stderr);
    ok(folder, &format!("{LONG} whole"));
    assert!(models(folder, "run") == models(folder, "whole"));
}

#[test]
fn changed_data_or_configuration_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    killed(folder);
    let path = folder.join("run/config.toml");
    let config = std::fs::read_to_string(&path).expect("a configuration");
    std::fs::write(&path, config.replace("solver = \"lbfgs\"", "solver = \"newton\"")).expect("writes");
    let line = fails(folder, "resume run", 2);
    assert!(line.contains("solver = \"newton\"") && line.contains("solver = \"lbfgs\""), "{line}");
    std::fs::write(&path, config).expect("writes");
    std::fs::rename(folder.join("data"), folder.join("old")).expect("moves");
    assert!(fails(folder, "resume run", 2).contains("cannot be opened"));
    dataset(folder, "data", "number");
    let line = fails(folder, "resume run", 2);
    assert!(line.contains("dataset has changed") && line.contains("fingerprint"), "{line}");
    std::fs::remove_dir_all(folder.join("data")).expect("removes");
    std::fs::rename(folder.join("old"), folder.join("data")).expect("moves");
    ok(folder, "resume run -q");
    assert!(fails(folder, "resume run", 2).contains("complete"));
}
