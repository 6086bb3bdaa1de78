//! `gristmill generate RECIPE -o FILE`: a data set of any size to try things on, as Parquet.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use gristmill_io::durable;
use gristmill_io::recipe::{self, NUMERIC_COLUMNS, Recipe};
use gristmill_io::source::detect;
use serde_json::json;

use super::Session;
use super::options::{OutputOptions, seed, threads};
use crate::error::{Error, Result};
use crate::machine;
use crate::report::number;

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What is made: quickstart (20 numbers, 4 categories), numeric (numbers only) or clicks (13 numbers, 26 categories with
    /// 1,000,000 levels in all), each with a label of 0 or 1; images (784 grey values), with a label of 0 to 9
    recipe: Recipe,
    /// The Parquet file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Rows
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Columns of the recipe numeric [default: 28]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    columns: Option<u32>,
    /// Seed of the data; a file of more rows begins with the rows of a smaller one
    #[arg(long, value_name = "N", default_value_t = crate::plan::SEED, value_parser = seed, allow_negative_numbers = true)]
    seed: u64,
    /// Worker threads; 0: all cores that this process may use. Never changes the result
    #[arg(long, value_name = "N", value_parser = threads, default_value_t = 0)]
    threads: usize,
    /// Replace the file
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output_options: OutputOptions,
}

/// Generate.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let session = Session::new(&arguments.output_options)?;
    let path = &arguments.output;
    if let Some(format) = detect::by_extension(path).filter(|format| format.name != "parquet") {
        return Err(Error::usage(format!(
            "{}: generate writes Parquet, and the name is that of {}. Name it {}",
            path.display(),
            format.title,
            path.with_extension("parquet").display()
        )));
    }
    durable::check_output(path, arguments.force)?;
    let recipe = match (arguments.recipe, arguments.columns) {
        (Recipe::Numeric { .. }, columns) => Recipe::Numeric { columns: columns.unwrap_or(NUMERIC_COLUMNS) },
        (other, None) => other,
        (_, Some(_)) => return Err(Error::usage("--columns is for the recipe numeric; the others have fixed columns")),
    };
    let began = Instant::now();
    let watcher = session.report.watcher();
    recipe::write(
        recipe,
        arguments.rows,
        arguments.seed,
        path,
        machine::threads(arguments.threads),
        &watcher,
        &session.cancel,
    )
    .map_err(|error| session.explain(error.into()))?;
    drop(watcher);
    let bytes = std::fs::metadata(path).map_or(0, |about| about.len());
    session.report.json(&json!({
        "file": path.display().to_string(), "rows": arguments.rows, "bytes": bytes, "seed": arguments.seed, "seconds": began.elapsed().as_secs_f64(),
    }))?;
    session.report.text(&format!(
        "{}: {}, {}, in {}",
        path.display(),
        number::several(arguments.rows, "row"),
        number::bytes(bytes),
        number::time(began.elapsed())
    ))
}
