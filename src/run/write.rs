//! A training as a run folder, and what is said of it at its end.

use std::path::Path;
use std::time::Duration;

use gristmill_io::dataset::Dataset;
use gristmill_io::durable::{self, Replace, Staging};
use gristmill_io::manifest::{FileEntry, Kind, Role};
use serde_json::{Value, json};

use super::checkpoint::Keeping;
use super::folder::{self, CONFIG_FILE, PASSES_FILE, SUMMARY_FILE, SUMMARY_TEXT_FILE, json_lines, of_model};
use super::held_out;
use super::model::{FORMAT_VERSION, link};
use super::speed::Measured;
use super::weights::Weights;
use super::{Fit, Metadata, Model, how_it_ended};
use crate::error::Result;
use crate::metrics::Task;
use crate::plan::TrainPlan;
use crate::report::{Table, number};
use crate::train::{Fitted, Trained};

/// A training and where it goes.
#[derive(Clone)]
pub struct Job<'a> {
    /// The data.
    pub dataset: &'a Dataset,
    /// What to train.
    pub plan: TrainPlan,
    /// The run's folder.
    pub output: &'a Path,
    /// Replace it when it is a run.
    pub force: bool,
    /// The configuration as resolved.
    pub config: String,
    /// Its checkpoints.
    pub keeping: Keeping,
    /// Where to write who did what when.
    pub trace: Option<&'a Path>,
}

impl Job<'_> {
    /// What the run may take the place of.
    pub fn replace(&self) -> Replace {
        folder::replace(self.force)
    }
}

/// Write a finished training as its run folder.
///
/// # Errors
/// When the folder exists and is not to be replaced, or a file cannot be written; the output is then as it was.
pub fn trained(trained: &Trained, measured: &Measured, job: &Job<'_>) -> Result<()> {
    let staging = Staging::create(job.output, job.replace())?;
    let folder = staging.folder();
    let label_mean = label_mean(trained, job.dataset);
    let write = |fitted: &Fitted, own: &Path| -> Result<()> {
        std::fs::create_dir_all(own).map_err(|e| gristmill_io::Error::io(own, "cannot create the folder", e))?;
        let weights = Weights {
            weights: fitted.weights.clone(),
            intercepts: fitted.intercepts.clone(),
            coefficients: fitted.coefficients.clone(),
            real_intercepts: fitted.real_intercepts.clone(),
        };
        Model::write(metadata(trained, fitted, job, label_mean), &weights, own, job.dataset.folder())
    };
    for fitted in &trained.models {
        write(fitted, &folder.join(model_folder(trained, fitted)))?;
    }
    if let Some(best) = best(trained).filter(|_| trained.models.len() > 1) {
        write(best, folder)?;
    }
    held_out::write_folds(job.dataset, &job.plan, folder)?;
    let put = |name: &str, text: String| durable::write_staged(&folder.join(name), text.as_bytes());
    put(CONFIG_FILE, job.config.clone())?;
    put(PASSES_FILE, json_lines(&folder.join(PASSES_FILE), &trained.history)?)?;
    put(SUMMARY_FILE, folder::json(&folder.join(SUMMARY_FILE), &summary(trained, measured, job))?)?;
    put(SUMMARY_TEXT_FILE, text(trained, measured, job) + "\n")?;
    Ok(staging.commit()?)
}

/// Folder of a model inside the run: the run itself, unless there are several.
fn model_folder(trained: &Trained, fitted: &Fitted) -> String {
    if trained.models.len() == 1 { String::new() } else { of_model(fitted.strengths) }
}

/// The model whose configuration did best on held-out rows.
fn best(trained: &Trained) -> Option<&Fitted> {
    trained.models.get(trained.validation.as_ref()?.best)
}

fn metadata(trained: &Trained, fitted: &Fitted, job: &Job<'_>, label_mean: f64) -> Metadata {
    let manifest = job.dataset.manifest();
    let plan = &job.plan;
    Metadata {
        format: FORMAT_VERSION,
        created_by: concat!("gristmill ", env!("CARGO_PKG_VERSION")).into(),
        model: plan.model,
        settings: plan.settings(),
        link: link(task(trained, job)).into(),
        classes: trained.classes.clone(),
        multiclass: plan.multiclass,
        label_mean,
        columns: manifest.columns.clone(),
        parameters: parameters(fitted),
        fit: Fit {
            strengths: fitted.strengths,
            standardize: plan.standardize,
            intercept: plan.intercept,
            solver: fitted.solver.clone(),
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
        null_values: manifest.null_values.clone(),
        dataset_fingerprint: manifest.fingerprint.clone(),
        weights: FileEntry { file: String::new(), bytes: 0, xxh3: String::new() },
    }
}

/// True where rows have several labels.
fn labels(dataset: &Dataset) -> bool {
    dataset.manifest().columns.iter().any(|column| column.kind.labels().is_some())
}

/// What a run's models predict.
fn task(trained: &Trained, job: &Job<'_>) -> Task {
    let plan = &job.plan;
    let classes = trained.classes.as_ref().map_or(0, Vec::len);
    let model = plan.model();
    let task = model.of_classes(classes).unwrap_or(model).task();
    match (labels(job.dataset), plan.multiclass) {
        (true, _) => task.of_labels(classes),
        (false, Some(_)) => task.against(classes),
        (false, None) => task,
    }
}

/// Parameters of a margin.
fn parameters(fitted: &Fitted) -> usize {
    fitted.weights.len() / fitted.intercepts.len().max(1)
}

/// Mean of the training labels in the units of the source; of a classifier's as numbers of classes (of two: the share of the
/// second); of several labels 0.
fn label_mean(trained: &Trained, dataset: &Dataset) -> f64 {
    let Some(label) = trained.label.as_ref().filter(|_| !labels(dataset)) else { return 0.0 };
    if trained.classes.is_some() {
        let classes = label.distinct.iter().flatten().filter(|(_, rows)| *rows > 0).enumerate();
        let sum: f64 = classes.map(|(class, (_, rows))| class as f64 * *rows as f64).sum();
        return sum / label.rows.max(1) as f64;
    }
    let column = dataset.manifest().columns.iter().find(|column| column.role == Role::Label);
    match column.map(|column| &column.kind) {
        Some(Kind::Numeric { offset, scale, .. }) => offset + scale * label.mean,
        _ => label.mean,
    }
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
                "learning_rate": fitted.strengths.rate,
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
        "run": job.output.display().to_string(),
        "model": job.plan.model,
        "dataset": job.dataset.folder().display().to_string(),
        "dataset_fingerprint": job.dataset.manifest().fingerprint,
        "solver": trained.solver,
        "batch_rows": batch_rows(trained, job),
        "tier": trained.tier,
        "parameters": trained.models.first().map_or(0, parameters),
        "rows": trained.rows,
        "passes": trained.passes,
        "rows_read": trained.rows_read,
        "bytes_read": trained.bytes_read,
        "seconds": trained.seconds,
        "io": trained.way,
        "speed": measured,
        "share_of_memory_bandwidth": measured.share(),
        "warnings": trained.warnings,
        "models": models,
        "best": best(trained).map(|fitted| model_folder(trained, fitted)),
        "validation": trained.validation.as_ref().map(held_out::json),
    })
}

/// What was trained and measured, line by line.
pub fn table(trained: &Trained, measured: &Measured, job: &Job<'_>) -> Table {
    let parameters = trained.models.first().map_or(0, parameters) as u64;
    let mut table = Table::of_pairs();
    let (rows, parameters) = (number::several(trained.rows, "row"), number::several(parameters, "parameter"));
    let classes = match &trained.classes {
        Some(names) if labels(job.dataset) => format!(", {} labels", names.len()),
        Some(classes) if classes.len() > 2 => format!(", {} classes", classes.len()),
        _ => String::new(),
    };
    table.pair("trained on", format!("{rows}, {parameters}{classes}"));
    let plural = if trained.passes == 1 { "pass" } else { "passes" };
    let time = number::time(Duration::from_secs_f64(trained.seconds.max(0.0)));
    let (solver, tier) = (&trained.solver, &trained.tier);
    let threads = number::several(measured.threads as u64, "thread");
    let threads = match measured.ranks {
        1 => threads,
        ranks => format!("{ranks} ranks of {threads}"),
    };
    let batches = match batch_rows(trained, job) {
        Some(rows) => format!(", batches of {} rows", number::count(u64::from(rows))),
        None => String::new(),
    };
    let samples = match trained.history.iter().filter(|pass| pass.share < 1.0).count() {
        sampled if sampled > 0 && batches.is_empty() => format!(" and {sampled} over samples"),
        _ => String::new(),
    };
    let passes = format!("{} {plural}{samples}", trained.passes);
    table.pair("solver", format!("{solver}{batches} on {tier}, {threads}: {passes} in {time}"));
    if let [only] = trained.models.as_slice() {
        let converged = how_it_ended(only.converged);
        let progressive = if only.gradient_norm.is_some() { "" } else { "progressive objective, " };
        table.pair(
            "objective",
            format!("{} ({progressive}{converged}: {})", number::plain(only.objective, 10), only.reason),
        );
    }
    table.pair("data", &trained.way.why);
    table.pair("speed", measured.text());
    if let Some(way) = &measured.allreduce {
        let rounded = match way.dtype {
            "i64" => String::new(),
            dtype => format!("; batches as {dtype}, so that the model depends on the number of ranks"),
        };
        table.pair("all-reduce", format!("{}{rounded}", way.used));
    }
    table.pair("time", measured.time.text());
    table.pair("bound by", &measured.bound.text);
    table.pair("run", job.output.display().to_string());
    table
}

/// What was trained and measured, for people.
pub fn text(trained: &Trained, measured: &Measured, job: &Job<'_>) -> String {
    let mut text = format!("{} model\n{}", job.plan.model, table(trained, measured, job).text(2));
    if trained.models.len() > 1 {
        text = format!("{text}\n\n{}", path_table(trained).text(2));
    }
    if let Some(validation) = &trained.validation {
        text = format!("{text}\n\n{}", held_out::text(validation));
    }
    for warning in &trained.warnings {
        text = format!("{text}\n  note: {warning}");
    }
    text
}

/// Rows of a batch of a stochastic solver.
fn batch_rows(trained: &Trained, job: &Job<'_>) -> Option<u32> {
    job.plan.online.as_ref().map(|online| online.rows_of_batch(trained.rows, job.plan.solver))
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
