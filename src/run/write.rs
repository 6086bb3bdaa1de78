//! A training as a run folder, and what is said of it at its end.

use std::path::Path;
use std::time::Duration;

use gristmill_io::dataset::Dataset;
use gristmill_io::durable::{self, Staging};
use gristmill_io::manifest::{FileEntry, Kind, Role};
use serde::Serialize;
use serde_json::{Value, json};

use super::checkpoint::Keeping;
use super::folder::{CONFIG_FILE, PASSES_FILE, SUMMARY_FILE, SUMMARY_TEXT_FILE, write_json, write_json_lines};
use super::model::FORMAT_VERSION;
use super::weights::Weights;
use super::{Fit, Metadata, Model};
use crate::error::Result;
use crate::machine;
use crate::plan::{Strengths, TrainPlan};
use crate::report::{Table, number};
use crate::train::{Fitted, Trained};

/// A training that reads less than this is over before its speed can be told.
const BYTES_MIN: u64 = 64 << 20;

/// A training and where it goes.
#[derive(Clone)]
pub struct Job<'a> {
    /// The data.
    pub dataset: &'a Dataset,
    /// What to train.
    pub plan: TrainPlan,
    /// The run's folder.
    pub output: &'a Path,
    /// Replace it when it exists.
    pub force: bool,
    /// The configuration as resolved.
    pub config: String,
    /// Its checkpoints.
    pub keeping: Keeping,
}

/// How fast it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Processes.
    pub ranks: usize,
    /// Worker threads of rank 0.
    pub threads: usize,
    /// Seconds inside passes.
    pub pass_seconds: f64,
    /// Rows a second inside passes.
    pub rows_per_s: f64,
    /// Bytes a second inside passes.
    pub bytes_per_s: f64,
    /// Memory-read bandwidth of as many threads, measured right before; none for data too small to tell, and with several
    /// ranks, of which only one would measure.
    pub memory_bytes_per_s: Option<f64>,
    /// Where the time of the training went.
    pub time: Time,
    /// How sums went over ranks; none with one.
    pub allreduce: Option<AllReduceWay>,
}

/// How sums went over ranks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AllReduceWay {
    /// What `--allreduce` said.
    pub asked: &'static str,
    /// What came of it: `tree below 256 KiB, ring from there on`.
    pub used: String,
    /// Seconds that finding out took.
    pub calibration_seconds: f64,
}

/// Seconds of a training by what they were spent on; they add up to all of it (of a training that was not interrupted).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Time {
    /// Inside passes, waiting for data that were not in memory (the mean of this rank's workers).
    pub waiting_seconds: f64,
    /// Inside passes, otherwise.
    pub computing_seconds: f64,
    /// Adding sums over workers and ranks.
    pub reducing_seconds: f64,
    /// The rest: solvers, and what is set up before the first pass.
    pub solving_seconds: f64,
}

impl Time {
    fn of(trained: &Trained) -> Time {
        let passes = || trained.models.iter().flat_map(|model| &model.history);
        let inside: f64 = passes().map(|pass| pass.seconds).sum();
        let waiting_seconds = passes().map(|pass| pass.waiting_seconds).sum();
        let reducing_seconds: f64 = passes().map(|pass| pass.reducing_seconds).sum();
        Time {
            waiting_seconds,
            computing_seconds: (inside - waiting_seconds - reducing_seconds).max(0.0),
            reducing_seconds,
            // A resumed training counts the passes before it was interrupted, and not their seconds.
            solving_seconds: (trained.seconds - inside).max(0.0),
        }
    }
}

impl Measured {
    /// The machine's bandwidth, measured before the data is mapped so that the buffers and the data are never in memory
    /// together; none where `bytes` of data are over too soon to compare.
    pub fn bandwidth(bytes: u64, plan: &TrainPlan) -> Option<f64> {
        let limit = plan.memory.map_or(u64::MAX, |limit| limit / 2);
        (bytes >= BYTES_MIN).then(|| machine::memory_bandwidth(threads(plan), limit))
    }

    /// The speed of a training beside the machine's bandwidth.
    pub fn of(trained: &Trained, plan: &TrainPlan, ranks: usize, bandwidth: Option<f64>) -> Measured {
        let passes = trained.models.iter().flat_map(|model| &model.history);
        let pass_seconds: f64 = passes.map(|pass| pass.seconds).sum();
        let s = pass_seconds.max(1e-9);
        Measured {
            ranks,
            threads: threads(plan),
            pass_seconds,
            rows_per_s: trained.rows_read as f64 / s,
            bytes_per_s: trained.bytes_read as f64 / s,
            memory_bytes_per_s: bandwidth,
            time: Time::of(trained),
            allreduce: None,
        }
    }

    /// Share of the memory bandwidth.
    pub fn share(&self) -> Option<f64> {
        self.memory_bytes_per_s.map(|bandwidth| self.bytes_per_s / bandwidth)
    }

    /// The speed in words.
    pub fn text(&self) -> String {
        let rates = format!("{}, {}", number::rows_per_s(self.rows_per_s), number::gb_per_s(self.bytes_per_s));
        match (self.share(), self.memory_bytes_per_s) {
            (Some(share), Some(bandwidth)) => {
                let (share, bandwidth) = (number::share(share), number::gb_per_s(bandwidth));
                format!("{rates}: {share} of the memory bandwidth measured in this run ({bandwidth})")
            }
            _ if self.ranks > 1 => rates,
            _ => format!("{rates} (over too soon to compare with memory bandwidth)"),
        }
    }
}

/// Worker threads that a plan means.
fn threads(plan: &TrainPlan) -> usize {
    match plan.threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}

/// Write a finished training as its run folder.
///
/// # Errors
/// When the folder exists and is not to be replaced, or a file cannot be written; the output is then as it was.
pub fn trained(trained: &Trained, measured: &Measured, job: &Job<'_>) -> Result<()> {
    let staging = Staging::create(job.output, job.force)?;
    let folder = staging.folder();
    for fitted in &trained.models {
        let own = folder.join(model_folder(trained, fitted));
        std::fs::create_dir_all(&own).map_err(|e| gristmill_io::Error::io(&own, "cannot create the folder", e))?;
        let weights = Weights {
            weights: fitted.weights.clone(),
            intercept: fitted.intercept,
            coefficients: fitted.coefficients.clone(),
            real_intercept: fitted.real_intercept,
        };
        Model::write(metadata(trained, fitted, job)?, &weights, &own, job.dataset.folder())?;
    }
    durable::write_bytes(&folder.join(CONFIG_FILE), job.config.as_bytes())?;
    let passes = trained.models.iter().flat_map(|model| &model.history);
    write_json_lines(&folder.join(PASSES_FILE), passes)?;
    write_json(&folder.join(SUMMARY_FILE), &summary(trained, measured, job))?;
    durable::write_bytes(&folder.join(SUMMARY_TEXT_FILE), (text(trained, measured, job) + "\n").as_bytes())?;
    Ok(staging.commit()?)
}

/// Folder of a model inside the run: the run itself, unless there are several.
fn model_folder(trained: &Trained, fitted: &Fitted) -> String {
    let Strengths { l1, l2 } = fitted.strengths;
    if trained.models.len() == 1 { String::new() } else { format!("l1-{l1}-l2-{l2}") }
}

fn metadata(trained: &Trained, fitted: &Fitted, job: &Job<'_>) -> Result<Metadata> {
    let manifest = job.dataset.manifest();
    let plan = &job.plan;
    Ok(Metadata {
        format: FORMAT_VERSION,
        created_by: concat!("gristmill ", env!("CARGO_PKG_VERSION")).into(),
        model: plan.model,
        link: if plan.model.model().is_classifier() { "logit" } else { "identity" }.into(),
        classes: trained.classes.clone(),
        label_mean: label_mean(job.dataset, trained.classes.is_some())?,
        columns: manifest.columns.clone(),
        parameters: fitted.weights.len(),
        fit: Fit {
            strengths: fitted.strengths,
            standardize: plan.standardize,
            intercept: plan.intercept,
            solver: trained.solver.clone(),
            tolerance: plan.tolerance,
            seed: plan.seed,
            objective: fitted.objective,
            loss: fitted.loss,
            gradient_norm: fitted.gradient_norm,
            passes: fitted.passes,
            converged: fitted.converged,
            reason: fitted.reason.clone(),
            rows: trained.rows,
        },
        dataset_fingerprint: manifest.fingerprint.clone(),
        weights: FileEntry { file: String::new(), bytes: 0, xxh3: String::new() },
    })
}

/// Mean of the training labels in the units of the source; of a classifier's: the share of the second class.
fn label_mean(dataset: &Dataset, classes: bool) -> Result<f64> {
    let Some(label) = dataset.statistics()?.label else { return Ok(0.0) };
    if classes {
        let second = label.distinct.iter().flatten().rfind(|(_, rows)| *rows > 0).map_or(0, |(_, rows)| *rows);
        return Ok(second as f64 / label.rows.max(1) as f64);
    }
    let column = dataset.manifest().columns.iter().find(|column| column.role == Role::Label);
    Ok(match column.map(|column| &column.kind) {
        Some(Kind::Numeric { offset, scale, .. }) => offset + scale * label.mean,
        _ => label.mean,
    })
}

/// What was trained and measured, for programs.
pub fn summary(trained: &Trained, measured: &Measured, job: &Job<'_>) -> Value {
    let models: Vec<Value> = trained
        .models
        .iter()
        .map(|fitted| {
            json!({
                "folder": model_folder(trained, fitted),
                "l1": fitted.strengths.l1,
                "l2": fitted.strengths.l2,
                "objective": fitted.objective,
                "loss": fitted.loss,
                "gradient_norm": fitted.gradient_norm,
                "passes": fitted.passes,
                "converged": fitted.converged,
                "reason": fitted.reason,
                "nonzero": nonzero(fitted),
            })
        })
        .collect();
    json!({
        "kind": "run",
        "run": job.output,
        "model": job.plan.model,
        "dataset": job.dataset.folder(),
        "dataset_fingerprint": job.dataset.manifest().fingerprint,
        "solver": trained.solver,
        "tier": trained.tier,
        "parameters": trained.models.first().map_or(0, |fitted| fitted.weights.len()),
        "rows": trained.rows,
        "passes": trained.passes,
        "rows_read": trained.rows_read,
        "bytes_read": trained.bytes_read,
        "seconds": trained.seconds,
        "speed": measured,
        "share_of_memory_bandwidth": measured.share(),
        "warnings": trained.warnings,
        "models": models,
    })
}

/// What was trained and measured, line by line.
pub fn table(trained: &Trained, measured: &Measured, job: &Job<'_>) -> Table {
    let parameters = trained.models.first().map_or(0, |fitted| fitted.weights.len()) as u64;
    let mut table = Table::of_pairs();
    let [rows, parameters] = [trained.rows, parameters].map(number::count);
    table.pair("trained on", format!("{rows} rows, {parameters} parameters"));
    let plural = if trained.passes == 1 { "pass" } else { "passes" };
    let time = number::time(Duration::from_secs_f64(trained.seconds.max(0.0)));
    let (solver, tier) = (&trained.solver, &trained.tier);
    let threads = match measured.ranks {
        1 => format!("{} threads", measured.threads),
        ranks => format!("{ranks} ranks of {} threads", measured.threads),
    };
    table.pair("solver", format!("{solver} on {tier}, {threads}: {} {plural} in {time}", trained.passes));
    if let [only] = trained.models.as_slice() {
        let converged = if only.converged { "converged" } else { "NOT converged" };
        table.pair("objective", format!("{} ({converged}: {})", number::plain(only.objective, 10), only.reason));
    }
    table.pair("speed", measured.text());
    if let Some(way) = &measured.allreduce {
        table.pair("all-reduce", &way.used);
    }
    table.pair("run", job.output.display().to_string());
    table
}

/// What was trained and measured, for people.
pub fn text(trained: &Trained, measured: &Measured, job: &Job<'_>) -> String {
    let mut text = format!("{} model\n{}", job.plan.model, table(trained, measured, job).text(2));
    if trained.models.len() > 1 {
        text = format!("{text}\n\n{}", path_table(trained).text(2));
    }
    for warning in &trained.warnings {
        text = format!("{text}\n  note: {warning}");
    }
    text
}

fn path_table(trained: &Trained) -> Table {
    let mut table = Table::with_head(&["folder", ">objective", ">loss", ">non-zero", ">passes"]);
    for fitted in &trained.models {
        table.line([
            model_folder(trained, fitted),
            number::plain(fitted.objective, 10),
            number::plain(fitted.loss, 10),
            number::count(nonzero(fitted) as u64),
            fitted.passes.to_string(),
        ]);
    }
    table
}

fn nonzero(fitted: &Fitted) -> usize {
    fitted.weights.iter().filter(|weight| **weight != 0.0).count()
}

#[cfg(test)]
mod tests {
    use gristmill_io::testing::SampleDataset;

    use super::*;
    use crate::engine::tests::fit;

    #[test]
    fn the_shares_of_time_add_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let x: Vec<f32> = (0..1_000).map(|i| ((i * 37) % 101) as f32).collect();
        let y = x.iter().enumerate().map(|(i, x)| f32::from(x + (i % 70) as f32 > 80.0)).collect();
        let sample = SampleDataset::new(64).f32("x", Role::Feature, x).f32("y", Role::Label, y);
        let dataset = sample.write(&folder.path().join("data")).expect("a dataset");
        let trained = fit(&dataset, r#"{"model": "logistic", "l2": 0.01, "threads": 2}"#).expect("trains");
        let time = Time::of(&trained);
        let parts = [time.waiting_seconds, time.computing_seconds, time.reducing_seconds, time.solving_seconds];
        assert!(parts.iter().all(|&part| part > 0.0), "{time:?}");
        assert!((parts.iter().sum::<f64>() / trained.seconds - 1.0).abs() < 1e-6, "{time:?} {}", trained.seconds);
    }
}
