//! `gristmill launch` starts ranks, starts them again from the last checkpoint when one is lost, and ends with their exit
//! code; its batch script goes back into the queue. `plan` and `doctor` say what ranks can do.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{command, error_line, fails, ok};
use crate::ranks::{
    LONG, end, is_complete, long_dataset, longer_dataset, models, ranks, ranks_of, signal, start, wait_for,
};

/// `gristmill launch` with what mpirun needs in a container.
fn launch(folder: &Path, words: &str) -> Command {
    let mut command = command(folder);
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.env("OMPI_MCA_rmaps_base_oversubscribe", "1").env("OMPI_MCA_orte_tmpdir_base", folder);
    command.arg("launch").args(words.split_whitespace());
    command
}

/// The same, where there is an mpirun.
fn launched(folder: &Path, words: &str) -> Option<Child> {
    ranks(folder, 1, "")?;
    Some(start(&mut launch(folder, words)))
}

/// An executable script.
pub fn script(path: &Path, text: &str) {
    std::fs::write(path, text).expect("writes");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

#[test]
fn a_job_that_loses_ranks_is_restarted_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    longer_dataset(folder);
    let Some(mut child) = launched(folder, &format!("-n 2 --restarts 4 -- {LONG} run")) else { return };
    let mut killed = 0;
    for number in [1, 4, 8] {
        wait_for(&folder.join("run"), number, &mut child);
        let Some(victim) = ranks_of(child.id()).into_iter().last().filter(|process| *process != child.id()) else {
            break;
        };
        signal(victim, Signal::KILL);
        killed += 1;
    }
    let found = end(child);
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(
        killed >= 1 && found.stderr.contains("goes on from") && found.stderr.contains("checkpoint-"),
        "{}",
        found.stderr
    );
    ok(folder, &format!("{LONG} whole"));
    assert!(models(folder, "run") == models(folder, "whole"), "another model after {killed} kills");
}

#[test]
fn exit_codes_and_wrong_requests_are_passed_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    long_dataset(folder);
    assert!(fails(folder, "launch -n 1 -- train data --model logistc -o x", 2).contains("logistic"));
    for (words, says) in [
        ("launch -n 0 -- train data", "0 is not in 1.."),
        ("launch -n 1 -- train data --nonsense", "--nonsense"),
        ("launch -n 1 -- launch -n 1 -- train", "launch cannot launch itself"),
        ("launch -n 1 --hosts a:x -- train data", "NAME:RANKS"),
        ("launch -n 1 --launcher nowhere -- train data -o x", "nowhere cannot be run"),
        ("launch -n 1 --slurm - -- inspect data", "checkpoints"),
    ] {
        let line = fails(folder, words, 2);
        assert!(line.contains(says), "{words}: {line}");
    }
    let Some(child) = launched(folder, "-n 2 -- train nowhere --model logistic --label y -o x") else { return };
    let found = end(child);
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    assert!(found.stderr.contains("nowhere") && found.stderr.contains("after 3 restarts"), "{}", found.stderr);
}

#[test]
fn a_signal_stops_the_job_with_a_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    long_dataset(folder);
    let Some(mut child) = launched(folder, &format!("-n 2 -- {LONG} run")) else { return };
    wait_for(&folder.join("run"), 1, &mut child);
    signal(child.id(), Signal::TERM);
    let found = end(child);
    if !is_complete(folder, "run") {
        assert_eq!(found.code, Some(143), "{}", found.stderr);
        ok(folder, "resume run -q");
    }
    ok(folder, &format!("{LONG} whole"));
    assert!(models(folder, "run") == models(folder, "whole"));
}

/// As Hydra now and then does: what stands for mpirun ends with 0 after it was told to stop.
#[test]
fn a_launcher_that_loses_the_exit_code_is_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    if ranks(folder, 2, "").is_none() {
        return;
    }
    let text = "#!/bin/sh\nif [ \"$1\" = --version ]; then echo HYDRA; exit; fi\ntrap 'exit 0' TERM\ntouch started\n\
                while true; do sleep 0.05; done\n";
    script(&folder.join("mpirun"), text);
    let launcher = folder.join("mpirun").display().to_string();
    let words = format!("-n 2 --launcher {launcher} -- train data --model logistic -o run");
    let child = start(&mut launch(folder, &words));
    let began = std::time::Instant::now();
    while !folder.join("started").exists() && began.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    signal(child.id(), Signal::TERM);
    let found = end(child);
    assert_eq!(found.code, Some(143), "{}", found.stderr);
}

/// What stands for mpirun fails at first: the checkpoint in the run is of a training that `--force` replaces.
#[test]
fn a_restart_does_not_go_on_from_the_training_that_it_replaces() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    long_dataset(folder);
    let mut child = start(command(folder).args(format!("{LONG} run").split_whitespace()));
    wait_for(&folder.join("run"), 1, &mut child);
    signal(child.id(), Signal::TERM);
    end(child);
    if is_complete(folder, "run") {
        return;
    }
    let text = "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'mpirun (Open MPI)'; exit; fi\n\
                if [ ! -e failed ]; then touch failed; exit 1; fi\n\
                while [ \"$1\" != \"$PROGRAM\" ]; do shift; done\nexec \"$@\"\n";
    script(&folder.join("mpirun"), text);
    let launcher = folder.join("mpirun").display().to_string();
    let words = "train data --model logistic --l2 0.5 -q -o";
    let mut command = launch(folder, &format!("-n 1 --restarts 1 --launcher {launcher} -- {words} run --force"));
    let program = command.get_program().to_owned();
    let found = end(start(command.env("PROGRAM", program)));
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(found.stderr.contains("there is no checkpoint yet"), "{}", found.stderr);
    ok(folder, &format!("{words} alone"));
    assert!(models(folder, "run") == models(folder, "alone"));
}

/// What stands for mpirun starts a rank that ends, and does not look at it.
#[test]
fn a_launcher_that_waits_for_nobody_is_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    if ranks(folder, 2, "").is_none() {
        return;
    }
    let text =
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'mpirun (Open MPI)'; exit; fi\nsleep 1 &\nexec sleep 120\n";
    script(&folder.join("mpirun"), text);
    let launcher = folder.join("mpirun").display().to_string();
    let found = end(start(&mut launch(
        folder,
        &format!("-n 2 --restarts 1 --launcher {launcher} -- train data --model logistic -o run"),
    )));
    assert_eq!(found.code, Some(137), "{}", found.stderr);
    assert_eq!(found.stderr.matches("after its last rank: it is killed").count(), 2, "{}", found.stderr);
    assert!(found.stderr.contains("after 1 restarts"), "{}", found.stderr);
}

/// One of two hosts answers at first and not any more: the agent, which stands for ssh, runs commands of the other here.
#[test]
fn a_host_that_is_gone_takes_its_ranks_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    long_dataset(folder);
    if ranks(folder, 1, "").is_none() {
        return;
    }
    script(&folder.join("agent"), "#!/bin/sh\nshift\nexec sh -c \"$*\"\n");
    script(&folder.join("gone"), "#!/bin/sh\nexit 255\n");
    let both = |agent: &str| {
        let agent = folder.join(agent);
        format!("-n 4 --hosts localhost:1,elsewhere:3 --agent {} -- {LONG} run --force", agent.display())
    };
    let found = end(start(&mut launch(folder, &both("gone"))));
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(found.stderr.contains("host elsewhere does not answer: going on with 1 ranks of 4"), "{}", found.stderr);
    ok(folder, &format!("{LONG} whole"));
    assert!(models(folder, "run") == models(folder, "whole"));
    let nobody = format!("launch -n 2 --hosts elsewhere --agent {} -- {LONG} run", folder.join("gone").display());
    if cfg!(feature = "mpi") {
        assert!(fails(folder, &nobody, 1).contains("no host answers"));
    }
}

/// The script is run by bash with stand-ins for Slurm's programs: srun starts one rank, scontrol notes what it is told.
#[test]
fn the_batch_script_requeues_itself_before_its_time_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    long_dataset(folder);
    let words = format!("launch -n 1 --slurm job.sh --time 4h --nodes 1 --restarts 2 -- {LONG} run");
    assert!(ok(folder, &words).contains("sbatch job.sh"));
    let text = std::fs::read_to_string(folder.join("job.sh")).expect("a script");
    for line in ["--ntasks=1", "--nodes=1", "--time=04:00:00", "--signal=B:USR1@120", "--requeue", "--open-mode=append"]
    {
        assert!(text.contains(&format!("#SBATCH {line}\n")), "{line}: {text}");
    }
    let bin = folder.join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    script(&bin.join("srun"), "#!/bin/bash\nshift 2\nexec \"$@\"\n");
    script(&bin.join("scontrol"), "#!/bin/bash\necho \"$@\" >> requeued\n");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let job = || {
        let mut job = Command::new("bash");
        job.arg("job.sh").current_dir(folder).env("PATH", &path).env("SLURM_JOB_ID", "77").env_remove("GRISTMILL_TIER");
        start(&mut job)
    };
    let mut child = job();
    wait_for(&folder.join("run"), 1, &mut child);
    signal(child.id(), Signal::USR1);
    let found = end(child);
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    if !is_complete(folder, "run") {
        assert_eq!(std::fs::read_to_string(folder.join("requeued")).expect("was told"), "requeue 77\n");
        let found = end(job());
        assert_eq!(found.code, Some(0), "{}", found.stderr);
    }
    ok(folder, &format!("{LONG} whole"));
    assert!(models(folder, "run") == models(folder, "whole"));
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_plan_follows_its_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let given =
        "--net 100Gbit --latency 2us --disk 5GB/s --memory-rate 100GB/s --flops 1Tflop/s --memory 64GB --cores 32";
    let found = json(&ok(folder, &format!("plan --rows 1e9 --columns 28 --ranks 1,2,64 {given} --json")));
    let of = |place: usize, name: &str| found["forecasts"][place][name].as_f64().expect("a number");
    // 116 GB, of which 64 stay: 52 GB from the disk at 5 GB/s. With two ranks all of it stays: 58 GB at 100 GB/s.
    assert!((of(0, "scan_seconds") - 10.4).abs() < 1e-9 && (of(1, "scan_seconds") - 0.58).abs() < 1e-9, "{found}");
    assert_eq!(found["forecasts"][2]["way"], "tree");
    assert!(of(2, "communication_share") > of(1, "communication_share"));
    long_dataset(folder);
    let found = json(&ok(folder, &format!("plan data --ranks 1,4 {given} --json")));
    assert_eq!((found["data"]["rows"].as_f64(), found["data"]["dense"].as_f64()), (Some(60_000.0), Some(4.0)));
    assert!(ok(folder, &format!("plan data --ranks 4 {given}")).contains("efficiency"));
    for (words, says) in [
        ("plan", "--rows"),
        ("plan --rows 100", "--columns"),
        ("plan --rows 1e3 --columns 2 --net fast", "100Gbit"),
        ("plan --rows 1e3 --columns 2 --ranks 0", "at least 1"),
        ("plan --rows 1e3 --columns 2 --collect all", "hessian"),
        ("plan --rows 1e3 --columns 2 --dtype i8", "f16"),
        ("plan --rows 1e3 --columns 2 --disk nowhere", "nowhere"),
    ] {
        let line = fails(folder, words, 2);
        assert!(line.contains(says), "{words}: {line}");
    }
}

#[test]
fn doctor_maps_the_ranks_and_tries_their_sums() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut doctor) = ranks(folder.path(), 3, "doctor --json --threads 1") else { return };
    let found = end(start(&mut doctor));
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    let ranks = &json(&found.stdout)["ranks"];
    let map = ranks["map"].as_array().expect("a map");
    // Five ways, seven lengths each.
    assert_eq!((map.len(), ranks["sums_right"].as_u64()), (3, Some(35)), "{ranks}");
    assert!(map.iter().all(|rank| rank["threads"].as_u64() >= Some(1) && rank["cores"].is_string()), "{ranks}");
    assert!(ranks["ring_bytes_per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{ranks}");
}

#[test]
fn a_rank_cannot_launch() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut inside) = ranks(folder.path(), 2, "launch -n 2 -- train data -o x") else { return };
    let found = end(start(&mut inside));
    assert_eq!(found.code, Some(2), "{}", found.stderr);
    assert!(error_line(&found).contains("without mpirun"), "{}", found.stderr);
}
