//! Measures ingest on files at hand, or writes a generated one:
//!
//! ```text
//! cargo run --release -p gristmill-io --example ingest -- run OUTPUT FILE... [key=value...]
//! cargo run --release -p gristmill-io --example ingest -- make RECIPE ROWS FILE
//! ```
//!
//! Keys are those of `IngestOptions` in TOML: `threads=2 shuffle=true test_share=0.2 memory=1073741824`.

use std::path::Path;
use std::process::ExitCode;

use gristmill_io::ingest::{IngestOptions, ingest};
use gristmill_io::recipe::{Recipe, write};
use gristmill_io::watch::{Cancel, Silent};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let text = |e: gristmill_io::Error| e.to_string();
    match arguments {
        [command, output, rest @ ..] if command == "run" => {
            let (keys, files): (Vec<_>, Vec<_>) = rest.iter().cloned().partition(|argument| argument.contains('='));
            let options: IngestOptions = toml::from_str(&keys.join("\n")).map_err(|e| e.to_string())?;
            let report = ingest(&files, &options, Path::new(output), &Silent, &Cancel::new()).map_err(text)?;
            println!(
                "{} + {} rows; survey {:.2} s, encode {:.2} s; {:.0} MB in, {:.0} MB out, {:.0} MB spilled",
                report.train_rows,
                report.test_rows,
                report.survey_seconds,
                report.encode_seconds,
                report.source_bytes as f64 / 1e6,
                report.dataset_bytes as f64 / 1e6,
                report.spilled_bytes as f64 / 1e6
            );
            Ok(())
        }
        [command, recipe, rows, file] if command == "make" => {
            let recipe: Recipe = recipe.parse()?;
            let rows = rows.parse().map_err(|_| format!("found '{rows}', expected a number of rows"))?;
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            write(recipe, rows, 1, Path::new(file), threads, &Cancel::new()).map_err(text)
        }
        _ => Err("usage: run OUTPUT FILE... [key=value...] | make quickstart|numeric|clicks ROWS FILE".into()),
    }
}
