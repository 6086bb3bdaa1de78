//! `gristmill quickstart`: the first minute. Data are made, ingested, learnt from, judged and predicted, and every step
//! says what it did and how fast.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use gristmill_io::dataset::Dataset;
use gristmill_io::durable;
use gristmill_io::ingest::{self, IngestOptions};
use gristmill_io::manifest::Split;
use gristmill_io::recipe::{self, Recipe};
use gristmill_io::roles::Roles;
use gristmill_io::tiles::Io;
use serde_json::{Value, json};

use super::job::{Before, execute};
use super::options::{MachineOptions, OutputOptions, ReadingOptions, StreamingOptions, TrainingOptions, seed};
use super::{Session, predict, summary};
use crate::error::{Error, Result};
use crate::evaluate;
use crate::metrics::Evaluation;
use crate::plan::{OneOrMany, TrainRequest};
use crate::predict::output::Format;
use crate::predict::run::{self as prediction, on_source};
use crate::report::{Table, number};
use crate::run::Model;
use crate::run::checkpoint::Keeping;
use crate::run::folder::write_json;
use crate::run::write::{self, Job};
use crate::train::Start;

/// The file that tells a folder of ours from any other.
const MARK_FILE: &str = "quickstart.json";
/// Share of the rows that are held out.
const TEST_SHARE: f64 = 0.2;
/// A light penalty, so that rare levels keep small coefficients.
const L2: f64 = 1e-5;

/// Arguments of `quickstart`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder for everything that is made
    #[arg(short, long, value_name = "FOLDER", default_value = "gristmill-quickstart")]
    output: PathBuf,
    /// Rows of the data set, 1000 or more
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    rows: u64,
    /// Seed of the data
    #[arg(long, value_name = "N", default_value_t = crate::plan::SEED, value_parser = seed, allow_negative_numbers = true)]
    seed: u64,
    /// Replace an earlier quickstart (never another folder)
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    output_options: OutputOptions,
}

/// Show it all.
///
/// # Errors
/// When the folder exists or a step fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let session = Session::new(&arguments.output_options)?;
    Tour { arguments, session: &session, folder: &arguments.output }.run().map_err(|error| session.explain(error))
}

/// The steps and what they share.
struct Tour<'a> {
    arguments: &'a Arguments,
    session: &'a Session,
    folder: &'a Path,
}

impl Tour<'_> {
    fn run(&self) -> Result<()> {
        let began = Instant::now();
        self.prepare()?;
        let title = self.session.report.bold("gristmill quickstart");
        let folder = self.folder.display();
        self.session.report.text(&format!("{title}: data, dataset, run and predictions go to {folder}/\n"))?;
        let made = self.make()?;
        let ingested = self.ingest()?;
        let dataset = Dataset::open(self.at("dataset"))?;
        let trained = self.train(&dataset)?;
        let model = Model::read(&self.at("run"))?;
        let evaluation = self.evaluate(&model, &dataset)?;
        let predicted = self.predict(&model)?;
        let s = began.elapsed().as_secs_f64();
        let all = json!({
            "folder": self.folder.display().to_string(), "seconds": s, "made": made, "ingested": ingested, "trained": trained,
            "evaluation": evaluation, "predicted": predicted,
        });
        write_json(&self.at(MARK_FILE), &all)?;
        self.session.report.json(&all)?;
        self.session.report.text(&self.farewell(s))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// An empty folder with our mark in it.
    fn prepare(&self) -> Result<()> {
        if self.folder.exists() {
            let (name, ours) = (self.folder.display(), self.at(MARK_FILE).is_file());
            match (ours, self.arguments.force) {
                (true, true) => std::fs::remove_dir_all(self.folder)
                    .map_err(|e| gristmill_io::Error::io(self.folder, "cannot remove the earlier quickstart", e))?,
                (true, false) => {
                    return Err(Error::usage(format!(
                        "{name} holds an earlier quickstart. Add --force to replace it, or -o for another folder"
                    )));
                }
                (false, _) => {
                    return Err(Error::usage(format!(
                        "{name} exists and is no quickstart folder, so it stays as it is. Name another by -o"
                    )));
                }
            }
        }
        std::fs::create_dir_all(self.folder)
            .map_err(|e| gristmill_io::Error::io(self.folder, "cannot create the folder", e))?;
        write_json(&self.at(MARK_FILE), &json!({ "complete": false }))
    }

    fn step(&self, number: u32, what: &str, lines: &str) -> Result<()> {
        let title = self.session.report.bold(&format!("{number}  {what}"));
        self.session.report.text(&format!("{title}\n{lines}\n"))
    }

    fn make(&self) -> Result<Value> {
        let began = Instant::now();
        let path = self.at("data.parquet");
        let threads = self.arguments.machine.threads();
        let (rows, seed) = (self.arguments.rows, self.arguments.seed);
        let watcher = self.session.report.watcher();
        recipe::write(Recipe::Quickstart, rows, seed, &path, threads, &watcher, &self.session.cancel)?;
        drop(watcher);
        let (s, bytes) = (began.elapsed().as_secs_f64(), std::fs::metadata(&path).map_or(0, |about| about.len()));
        let mut table = Table::of_pairs();
        let [rows_text, bytes_text] = [number::count(rows), number::bytes(bytes)];
        table.pair("file", format!("{} ({rows_text} rows, {bytes_text}, seed {seed})", path.display()));
        table.pair("columns", "20 numbers, some missing; 4 categories of 5 to 1,000 levels; label 0 or 1");
        table.pair("time", number::time(began.elapsed()));
        self.step(1, "make a data set as Parquet", &table.text(3))?;
        Ok(json!({ "rows": rows, "bytes": bytes, "seconds": s }))
    }

    fn ingest(&self) -> Result<Value> {
        let options = IngestOptions {
            roles: Roles { label: Some("label".into()), ..Roles::default() },
            test_share: TEST_SHARE,
            seed: self.arguments.seed,
            indicator: true,
            memory: self.arguments.machine.memory,
            threads: Some(self.arguments.machine.threads()),
            ..IngestOptions::default()
        };
        let source = [self.at("data.parquet").display().to_string()];
        let watcher = self.session.report.watcher();
        let done = ingest::ingest(&source, &options, &self.at("dataset"), &watcher, &self.session.cancel)?;
        drop(watcher);
        self.step(2, "ingest it: typed, encoded, a fifth of the rows held out", &super::ingest::text(&done, 3))?;
        Ok(super::ingest::facts(&done, &self.at("dataset")))
    }

    fn train(&self, dataset: &Dataset) -> Result<Value> {
        let request =
            TrainRequest { model: Some("logistic".into()), l2: Some(OneOrMany::One(L2)), ..Default::default() };
        let flags = TrainingOptions::default().request(
            &self.arguments.machine,
            &StreamingOptions::default(),
            Some(self.arguments.seed),
        )?;
        let plan = request.over(flags).resolve()?;
        let config = toml::to_string(&plan).unwrap_or_default();
        let output = self.at("run");
        let job =
            Job { dataset, plan, output: &output, force: false, config, keeping: Keeping::default(), trace: None };
        let (trained, measured) = execute(&job, Start::Cold, Before::default(), self.session)?
            .ok_or_else(|| Error::usage("quickstart is for one process"))?;
        let lines = write::table(&trained, &measured, &job).text(3);
        self.step(3, "train logistic regression", &lines)?;
        Ok(write::summary(&trained, &measured, &job))
    }

    fn evaluate(&self, model: &Model, dataset: &Dataset) -> Result<Evaluation> {
        let watcher = self.session.report.watcher();
        let settings = evaluate::Settings {
            top_k: None,
            drop_missing_label: false,
            threads: self.arguments.machine.threads(),
            memory_bytes: self.arguments.machine.memory_bytes(),
            io: Io::Auto,
            scratch: self.folder,
            progress: &watcher,
            cancel: &self.session.cancel,
            comm: &*self.session.ranks,
        };
        let found = evaluate::on_dataset(model, dataset, &[Split::Test], &settings)?;
        let found = found.ok_or_else(|| Error::usage("quickstart is for one process"))?;
        drop(watcher);
        self.step(4, "evaluate it on the rows held out", &summary::figures(&found, 3))?;
        Ok(found)
    }

    fn predict(&self, model: &Model) -> Result<Value> {
        let began = Instant::now();
        let output = self.at("predictions.parquet");
        let specs = [self.at("data.parquet").display().to_string()];
        let files = predict::files_of(&specs, &ReadingOptions::default(), model, &self.session.cancel)?;
        let (source, keep) = predict::open_source(files, model, &[], false)?;
        let watcher = self.session.report.watcher();
        let settings = prediction::Settings {
            threads: self.arguments.machine.threads(),
            memory_bytes: self.arguments.machine.memory_bytes(),
            io: Io::Auto,
            format: Format::Parquet,
            output: &output,
            progress: &watcher,
            cancel: &self.session.cancel,
            comm: &*self.session.ranks,
        };
        let rows = durable::write_file(&output, |file| {
            on_source(model, source.as_ref(), &keep, Some(BufWriter::with_capacity(1 << 20, file)), &settings)
        })?;
        drop(watcher);
        let s = began.elapsed().as_secs_f64().max(1e-9);
        let mut table = Table::of_pairs();
        table.pair("file", format!("{} (class and probability)", output.display()));
        let rate = number::rows_per_s(rows as f64 / s);
        table.pair("speed", format!("{} rows in {}, {rate}", number::count(rows), number::time(began.elapsed())));
        self.step(5, "predict every row of the Parquet file", &table.text(3))?;
        Ok(json!({ "rows": rows, "seconds": s, "rows_per_s": rows as f64 / s }))
    }

    fn farewell(&self, s: f64) -> String {
        let folder = self.folder.display();
        let title = self.session.report.bold(&format!(
            "Done in {}. Three commands to try next:",
            number::time(std::time::Duration::from_secs_f64(s))
        ));
        format!(
            "{title}\n  gristmill inspect {folder}/run\n  gristmill train {folder}/dataset --model logistic --l1 \
             0.001,0.01 --force -o {folder}/path\n  gristmill predict {folder}/run {folder}/data.parquet --keep label -o -"
        )
    }
}
