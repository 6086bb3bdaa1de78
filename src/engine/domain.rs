//! Which labels a model takes: those of a positive mean are never negative, and of a gamma distribution never 0.

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::{Column, Split};
use gristmill_io::tiles::{Pick, StreamOptions};
use gristmill_io::watch::{Cancel, Silent};
use gristmill_kernels::{Kernels, Tier};

use super::target;
use crate::error::{Error, Result};
use crate::metrics::Task;
use crate::models::Model;

/// Memory for a look at the labels alone.
const BUDGET_BYTES: u64 = 64 << 20;

/// True when a label may be that number.
pub fn allows(task: Task, label: f64) -> bool {
    match task {
        Task::Deviance(2.0) => label > 0.0,
        Task::Deviance(_) => label >= 0.0,
        _ => true,
    }
}

/// What such a label may be, in words.
pub fn words(task: Task) -> &'static str {
    if task == Task::Deviance(2.0) { "numbers greater than 0" } else { "numbers that are 0 or greater" }
}

/// What one thread found: the labels of a grain, and the first place of one that the model does not take.
#[derive(Default)]
struct Search {
    labels: Vec<f64>,
    first: Option<(usize, usize, f64)>,
}

/// The error for the first training row, of those on this node, whose label the model does not take.
///
/// # Errors
/// When the labels cannot be read.
pub fn complaint(dataset: &Dataset, column: &Column, units: (f64, f64), model: &dyn Model) -> Result<Error> {
    let mut options = StreamOptions::new(Split::Train);
    options.columns = Some(Vec::new());
    options.weight = false;
    options.grains = Some(dataset.grains_here(Split::Train));
    options.threads = 1;
    options.budget_bytes = BUDGET_BYTES;
    let stream = dataset.stream(options)?;
    let kernels = Kernels::<f64>::new(Tier::Portable);
    let mut searches = [Search::default()];
    stream.scan(&mut searches, Pick::All, &Cancel::new(), &Silent, |search, number, grain| {
        let Search { labels, first } = search;
        labels.resize(grain.rows, 0.0);
        target::read(&kernels, grain.label.as_ref(), 0..grain.rows, labels);
        labels.iter_mut().for_each(|label| *label = units.0 + units.1 * *label);
        let row = labels.iter().position(|label| !allows(model.task(), *label));
        if let Some(row) = row.filter(|_| first.is_none_or(|(earliest, ..)| number < earliest)) {
            *first = Some((number, row + 1, labels[row]));
        }
        Ok::<(), Error>(())
    })?;
    let place = |(grain, row, label): (usize, usize, f64)| format!("{label} in training grain {grain}, row {row}");
    let found = searches[0].first.map_or_else(|| "another number in a row of another node".to_string(), place);
    Ok(Error::training(format!(
        "{}: the label '{}' is {found}; model '{}' takes {}. Leave such rows out before ingest, or use --model linear or huber",
        dataset.folder().display(),
        column.name,
        model.name(),
        words(model.task())
    )))
}
