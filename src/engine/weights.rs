//! What must be known of the weight column before a first pass: its largest value (the bound of every sum), and the
//! weighted mean of the target (where the intercept starts). Two scans over label and weight alone; a dataset without weights
//! needs none, its statistics say it all.

use gristmill_io::manifest::Split;
use gristmill_io::tiles::{Pick, StreamOptions};
use gristmill_io::watch::{Cancel, Silent};
use gristmill_kernels::Kernels;
use gristmill_kernels::tile::Grain;

use super::setup::Setup;
use super::sum::Scale;
use super::target;
use crate::error::{Error, Result};

/// Weighted sums of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Largest weight of a row.
    pub weight_max: f64,
    /// Sum of weights.
    pub weight: f64,
    /// Weighted sum of the target as the model sees it.
    pub label: f64,
    /// Weighted sum of its square.
    pub square: f64,
}

/// The totals of all ranks.
///
/// # Errors
/// When data cannot be read or a rank is lost.
pub fn totals(setup: &Setup<'_>) -> Result<Totals> {
    if !setup.weighted {
        return Ok(from_statistics(setup));
    }
    let mut options = StreamOptions::new(Split::Train);
    options.columns = Some(Vec::new());
    options.grains = Some(setup.stream.range());
    options.threads = setup.threads;
    options.budget_bytes = setup.budget_bytes;
    let stream = setup.dataset.stream(options)?;
    let kernels = Kernels::<f64>::new(setup.tier);
    let mut workers = vec![Worker::default(); setup.threads];
    let never = Cancel::new();
    stream.scan(&mut workers, Pick::All, &never, &Silent, |worker, _, grain| {
        worker.read(&kernels, setup, grain);
        worker.weight_max = worker.weight.iter().fold(worker.weight_max, |a, w| a.max(*w));
        Ok::<(), Error>(())
    })?;
    let own = workers.iter().fold(0.0f64, |a, worker| a.max(worker.weight_max));
    let ranks = setup.company.comm.all_gather(&own.to_le_bytes())?;
    let weight_max = ranks.iter().filter_map(|bytes| Some(f64::from_le_bytes(bytes.as_slice().try_into().ok()?)));
    let weight_max = weight_max.fold(0.0, f64::max);
    let bound = weight_max * setup.grain_rows as f64;
    let label = setup.target.largest;
    let scales = [Scale::new(bound)?, Scale::new(bound * label)?, Scale::new(bound * label * label)?];
    stream.scan(&mut workers, Pick::All, &never, &Silent, |worker, _, grain| {
        worker.read(&kernels, setup, grain);
        let rows = || worker.weight.iter().zip(&worker.label);
        let sums = [
            rows().map(|(w, _)| w).sum(),
            rows().map(|(w, y)| w * y).sum(),
            rows().map(|(w, y)| w * y * y).sum::<f64>(),
        ];
        let mut cells = worker.cells;
        for ((scale, sum), cells) in scales.iter().zip(sums).zip(cells.chunks_exact_mut(2)) {
            scale.add(sum, cells)?;
        }
        worker.cells = cells;
        Ok::<(), Error>(())
    })?;
    let mut sum = [0i64; 6];
    for worker in &workers {
        sum.iter_mut().zip(&worker.cells).for_each(|(sum, cell)| *sum += cell);
    }
    setup.company.comm.all_reduce(&mut sum)?;
    let [weight, label, square] = [0, 1, 2].map(|k: usize| scales[k].value(&sum[2 * k..]));
    Ok(Totals { weight_max, weight, label, square })
}

fn from_statistics(setup: &Setup<'_>) -> Totals {
    let Some(label) = &setup.statistics.label else { return Totals::default() };
    let rows = label.rows as f64;
    match &setup.target.classes {
        Some(classes) => {
            let weights = [0, 1].map(|class: usize| classes.rows[class] as f64 * classes.weight[class]);
            let weight_max = setup.target.largest_class_weight();
            Totals { weight_max, weight: weights[0] + weights[1], label: weights[1], square: weights[1] }
        }
        None => {
            let square = label.m2 + rows * label.mean * label.mean;
            Totals { weight_max: 1.0, weight: rows, label: rows * label.mean, square }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Worker {
    label: Vec<f64>,
    weight: Vec<f64>,
    weight_max: f64,
    cells: [i64; 6],
}

impl Worker {
    fn read(&mut self, kernels: &Kernels<f64>, setup: &Setup<'_>, grain: &Grain<'_>) {
        self.label.resize(grain.rows, 0.0);
        self.weight.resize(grain.rows, 0.0);
        target::read(kernels, grain.label.as_ref(), 0..grain.rows, &mut self.label);
        target::read(kernels, grain.weight.as_ref(), 0..grain.rows, &mut self.weight);
        setup.target.apply(&mut self.label, Some(&mut self.weight));
    }
}
