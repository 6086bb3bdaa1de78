//! Stochastic training through the binary: learning rates side by side, interruptions in mid-epoch, a memory limit, flags.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{command, fails, ok, outcome};
use crate::interrupted::models;
use crate::samples::{csv, write};

fn data(rows: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(rows));
    ok(folder.path(), "ingest d.csv -o data --label y --ignore id,t --test-share 0.2 -q");
    folder
}

#[test]
fn learning_rates_side_by_side_are_those_trained_alone() {
    let folder = data(5_000);
    let at = folder.path();
    for solver in ["adagrad", "ftrl --l1 0.001", "sgd --momentum 0.9 --nesterov --schedule cosine --clip-norm 1"] {
        let train = format!("train data --model logistic --solver {solver} --epochs 2 --batch-rows 64 --force -q");
        ok(at, &format!("{train} --learning-rate 0.3,0.03 -o path --threads 2"));
        for rate in ["0.3", "0.03"] {
            ok(at, &format!("{train} --learning-rate {rate} -o alone --threads 1"));
            let l1 = if solver.contains("--l1") { "0.001" } else { "0" };
            let own = at.join("path").join(format!("l1-{l1}-l2-0-rate-{rate}"));
            assert!(models(&own) == models(&at.join("alone")), "{solver} {rate}");
        }
    }
    let metrics = std::fs::read_to_string(at.join("alone/metrics.jsonl")).expect("metrics");
    let passes: Vec<serde_json::Value> =
        metrics.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let collected: Vec<&str> = passes.iter().filter_map(|pass| pass["collected"].as_str()).collect();
    assert_eq!(collected, ["epoch", "epoch", "gradient"]);
    assert!(passes[0]["objective"].as_f64() > passes[1]["objective"].as_f64(), "the loss falls: {metrics}");
    // The resolved configuration makes the same model; predictions are those of any run.
    ok(at, "train data --config alone/config.toml -o again -q");
    assert!(models(&at.join("again")) == models(&at.join("alone")));
    ok(at, "predict again d.csv -o p.csv -q");
    ok(at, "evaluate again data -q");
}

#[test]
fn a_signal_in_mid_epoch_leaves_a_checkpoint_and_resume_gives_the_same_bits() {
    let folder = data(20_000);
    let at = folder.path();
    let words =
        "train data --model logistic --solver adam --l2 0.01 --batch-rows 8 --epochs 60 --averaging 3 --patience 50";
    ok(at, &format!("{words} -o whole --threads 2 -q"));
    let whole = models(&at.join("whole"));
    let mut resumed = 0;
    for (number, pause) in [200, 400, 800, 1_600, 3_000].into_iter().enumerate() {
        let run = format!("cut{number}");
        let child = command(at)
            .args(words.split_whitespace())
            .args(["-o", &run, "--threads", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        std::thread::sleep(Duration::from_millis(pause));
        let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
        let ended = outcome(child.wait_with_output().expect("ends"));
        if !sent.is_ok_and(|status| status.success())
            || ended.code != Some(130)
            || !ended.stderr.contains(&format!("gristmill resume {run}"))
        {
            continue;
        }
        ok(at, &format!("resume {run} --threads 2 -q"));
        assert!(models(&at.join(&run)) == whole, "another model after an interruption at {pause} ms");
        resumed += 1;
        if resumed == 2 {
            break;
        }
    }
    assert!(resumed > 0, "no signal came in the middle of the training");
}

#[test]
fn flags_of_other_solvers_are_refused() {
    let folder = data(500);
    let at = folder.path();
    assert!(fails(at, "train data --model logistic --epochs 3 -o x", 2).contains("does not learn batch by batch"));
    assert!(fails(at, "train data --model logistic --solver adam --momentum 0.9 -o x", 2).contains("--solver sgd"));
    assert!(
        fails(at, "train data --model logistic --solver ftrl --schedule cosine -o x", 2).contains("falls by itself")
    );
    assert!(fails(at, "train data --model logistic --solver sgd --then cholesky -o x", 2).contains("proximal-newton"));
    let diverged = "train data --model logistic --solver sgd --learning-rate 1e300 --epochs 5 -o x";
    assert!(fails(at, diverged, 1).contains("diverged in epoch"));
}
