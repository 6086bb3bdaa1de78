//! What must be known of labels and weights before a first pass: the largest weight (the bound of every sum), and for all rows
//! and for those outside each fold the weighted mean of the target (where the intercept starts). Two scans over label and weight
//! alone; a dataset without weights needs only the second, for folds: its statistics say the rest.

use gristmill_io::manifest::Split;
use gristmill_io::tiles::{Pick, StreamOptions, TileStream};
use gristmill_io::watch::Silent;
use gristmill_kernels::Kernels;
use gristmill_kernels::tile::Grain;

use super::exact;
use super::setup::Setup;
use super::sum::Scale;
use super::target;
use crate::error::{Error, Result};
use crate::metrics::multilabel::has;
use crate::models::Moments;
use crate::ranks;

/// Weighted sums of the target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Number of rows.
    pub rows: u64,
    /// Sum of weights.
    pub weight: f64,
    /// Weighted sum of the target as the model sees it.
    pub label: f64,
    /// Weighted sum of its square.
    pub square: f64,
    /// Weighted sum of the least loss of a row: see [`crate::models::Moments::saturated`].
    pub saturated: f64,
    /// Weight of each class, or of rows with each label, where there are several margins a row; else empty.
    pub classes: Vec<f64>,
}

impl Totals {
    /// What a model sees of them; of a class against all others.
    pub fn moments(&self, against: Option<u16>) -> Moments {
        let share = |part: f64| part / self.weight;
        let shares: Vec<f64> = self.classes.iter().map(|class| share(*class)).collect();
        match against {
            Some(class) => {
                let mean = shares[usize::from(class)];
                Moments { mean, square: mean, saturated: 0.0, shares: Vec::new() }
            }
            None => Moments {
                mean: share(self.label),
                square: share(self.square),
                saturated: share(self.saturated),
                shares,
            },
        }
    }
}

/// What is known of labels and weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Largest weight of a row.
    pub weight_max: f64,
    /// Least and largest of what is added to margins.
    pub offset_range: (f64, f64),
    /// Its weighted mean.
    pub offset_mean: f64,
    /// All rows.
    pub all: Totals,
    /// Each fold.
    pub folds: Vec<Fold>,
}

/// What is known of a fold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fold {
    /// Its rows.
    pub inside: Totals,
    /// All others.
    pub outside: Totals,
}

impl Known {
    /// Of all rows, or of those outside a fold.
    pub fn of(&self, left_out: Option<u16>) -> &Totals {
        left_out.map_or(&self.all, |fold| &self.folds[usize::from(fold)].outside)
    }
}

/// The totals of all ranks.
///
/// # Errors
/// When data cannot be read or a rank is lost.
pub fn known(setup: &Setup<'_>) -> Result<Known> {
    let labels = setup.target.labels.is_some();
    let plain = setup.folds.is_none() && setup.deviance().is_none() && setup.offset.is_none();
    if !setup.weighted && plain && !labels {
        return Ok(from_statistics(setup));
    }
    let mut options = StreamOptions::new(Split::Train);
    options.columns = Some(Vec::new());
    options.grains = Some(setup.own_grains.clone());
    options.threads = setup.threads;
    options.budget_bytes = setup.shares.passes_bytes;
    let stream = ranks::agree(setup.company.comm, setup.dataset.stream(options).map_err(Error::from))?;
    let ends = if setup.weighted || setup.offset.is_some() { ends(setup, &stream)? } else { Ends::default() };
    let weight_max = if setup.weighted { ends.weight } else { setup.weight_max };
    let mut known = folded(setup, &stream, weight_max)?;
    if setup.offset.is_some() {
        known.offset_range = (ends.low, ends.high);
        known.offset_mean = ends.offset_sum / ends.weight_sum.max(f64::MIN_POSITIVE);
    }
    if !setup.weighted && !labels {
        known.all = Totals { saturated: known.all.saturated, ..from_statistics(setup).all };
    }
    Ok(known)
}

/// Between what weights and offsets lie.
#[derive(Clone, Copy, Debug)]
struct Ends {
    /// Largest weight.
    weight: f64,
    /// Least and largest offset.
    low: f64,
    high: f64,
    /// Weighted sum of offsets, and sum of weights.
    offset_sum: f64,
    weight_sum: f64,
}

impl Default for Ends {
    fn default() -> Ends {
        Ends { weight: 0.0, low: f64::INFINITY, high: f64::NEG_INFINITY, offset_sum: 0.0, weight_sum: 0.0 }
    }
}

/// The ends of weights and offsets of all ranks.
fn ends(setup: &Setup<'_>, stream: &TileStream<'_>) -> Result<Ends> {
    let kernels = Kernels::<f64>::new(setup.tier);
    let mut workers = vec![Worker { cells: vec![0; 2 * exact::CELLS], ..Worker::default() }; setup.threads];
    stream.scan(&mut workers, Pick::All, &setup.company.cancel_alone(), &Silent, |worker, _, grain| {
        worker.read(&kernels, setup, grain);
        setup.read_offset(&kernels, grain, &(0..grain.rows), &mut worker.offset);
        worker.end()
    })?;
    let (mut own, mut sums) = (Ends::default(), vec![0i64; 2 * exact::CELLS]);
    for worker in &workers {
        own.weight = own.weight.max(worker.ends.weight);
        (own.low, own.high) = (own.low.min(worker.ends.low), own.high.max(worker.ends.high));
        sums.iter_mut().zip(&worker.cells).for_each(|(sum, cell)| *sum += cell);
    }
    setup.company.comm.all_reduce_vec(&mut sums)?;
    (own.offset_sum, own.weight_sum) = (exact::value(&sums[..exact::CELLS]), exact::value(&sums[exact::CELLS..]));
    let bytes: Vec<u8> = [own.weight, own.low, own.high].iter().flat_map(|end| end.to_le_bytes()).collect();
    for bytes in setup.company.comm.all_gather(&bytes)? {
        if let [weight, low, high] =
            bytes.as_chunks().0.iter().map(|end| f64::from_le_bytes(*end)).collect::<Vec<_>>()[..]
        {
            own.weight = own.weight.max(weight);
            (own.low, own.high) = (own.low.min(low), own.high.max(high));
        }
    }
    Ok(own)
}

/// Sums of a total, before those of classes.
const SUMS: usize = 4;

/// Cells of one total: the rows, and two limbs for each sum.
fn cells_of(scales: &[Scale]) -> usize {
    1 + 2 * scales.len()
}

/// The totals of all rows, and of the rows outside each fold: those of the other folds, added as integers.
fn folded(setup: &Setup<'_>, stream: &TileStream<'_>, weight_max: f64) -> Result<Known> {
    let kernels = Kernels::<f64>::new(setup.tier);
    let folds = setup.folds.map_or(0, |folds| folds.count() as usize);
    let bound = weight_max * setup.grain_rows as f64;
    let label = setup.target.largest;
    // The least loss of a row is 0 for a label that is the unit of the model and falls towards both ends.
    let least = setup.saturated(setup.target.least).abs().max(setup.saturated(label).abs());
    let [rows, labels, squares, saturated] = [1.0, label, label * label, least].map(|most| Scale::new(bound * most));
    let mut scales = vec![rows?, labels?, squares?, saturated?];
    for _class in 0..setup.margins_of_row() {
        scales.push(Scale::new(bound)?);
    }
    let length = cells_of(&scales);
    let mut workers = vec![Worker { cells: vec![0; (1 + folds) * length], ..Worker::default() }; setup.threads];
    stream.scan(&mut workers, Pick::All, &setup.company.cancel_alone(), &Silent, |worker, number, grain| {
        worker.read(&kernels, setup, grain);
        worker.fold.resize(if folds > 0 { grain.rows } else { 0 }, 0);
        if let Some(folds) = setup.folds {
            folds.read(setup.first_row(number), &mut worker.fold);
        }
        worker.add(&scales, setup)
    })?;
    let mut sum = vec![0i64; (1 + folds) * length];
    for worker in &workers {
        sum.iter_mut().zip(&worker.cells).for_each(|(sum, cell)| *sum += cell);
    }
    setup.company.comm.all_reduce_vec(&mut sum)?;
    let totals = |cells: &[i64]| {
        let value = |k: usize| scales[k].value(&cells[1 + 2 * k..]);
        let [weight, label, square, saturated] = [0, 1, 2, 3].map(value);
        let classes = (SUMS..scales.len()).map(value).collect();
        Totals { rows: cells[0].cast_unsigned(), weight, label, square, saturated, classes }
    };
    let section = |total: usize| &sum[total * length..(total + 1) * length];
    let of_fold = |fold: usize| {
        let mut others = vec![0i64; length];
        for other in (0..folds).filter(|other| *other != fold) {
            others.iter_mut().zip(section(1 + other)).for_each(|(cell, own)| *cell += own);
        }
        Fold { inside: totals(section(1 + fold)), outside: totals(&others) }
    };
    let folds = (0..folds).map(of_fold).collect();
    Ok(Known { weight_max, all: totals(section(0)), folds, ..Known::default() })
}

fn from_statistics(setup: &Setup<'_>) -> Known {
    let Some(label) = &setup.statistics.label else { return Known::default() };
    let rows = label.rows as f64;
    let all = match &setup.target.classes {
        Some(classes) => {
            let weights: Vec<f64> =
                classes.rows.iter().zip(&classes.weight).map(|(rows, weight)| *rows as f64 * weight).collect();
            let power = |power: i32| -> f64 {
                weights.iter().enumerate().map(|(class, weight)| (class as f64).powi(power) * weight).sum()
            };
            let (weight, sum, square) = (weights.iter().sum(), power(1), power(2));
            let own = if setup.margins_of_row() > 1 { weights } else { Vec::new() };
            Totals { rows: label.rows, weight, label: sum, square, saturated: 0.0, classes: own }
        }
        None => {
            let (mean, m2) = setup.target.moments(label);
            let square = m2 + rows * mean * mean;
            Totals { rows: label.rows, weight: rows, label: rows * mean, square, saturated: 0.0, classes: Vec::new() }
        }
    };
    Known { weight_max: setup.weight_max, all, ..Known::default() }
}

#[derive(Clone, Debug, Default)]
struct Worker {
    label: Vec<f64>,
    weight: Vec<f64>,
    fold: Vec<u16>,
    offset: Vec<f64>,
    ends: Ends,
    cells: Vec<i64>,
}

impl Worker {
    fn read(&mut self, kernels: &Kernels<f64>, setup: &Setup<'_>, grain: &Grain<'_>) {
        self.label.resize(grain.rows, 0.0);
        self.weight.resize(grain.rows, 0.0);
        target::read(kernels, grain.weight.as_ref(), 0..grain.rows, &mut self.weight);
        let (label, weight) = (&mut self.label, Some(&mut self.weight[..]));
        setup.target.read_labels(kernels, grain.label.as_ref(), 0..grain.rows, label, weight);
    }

    /// Notes how far the rows of a grain reach.
    fn end(&mut self) -> Result<()> {
        let Ends { weight, low, high, .. } = &mut self.ends;
        *weight = self.weight.iter().fold(*weight, |a, w| a.max(*w));
        *low = self.offset.iter().fold(*low, |a, offset| a.min(*offset));
        *high = self.offset.iter().fold(*high, |a, offset| a.max(*offset));
        let (offsets, weights) = self.cells.split_at_mut(exact::CELLS);
        exact::add(self.offset.iter().zip(&self.weight).map(|(offset, weight)| offset * weight).sum(), offsets)?;
        exact::add(self.weight.iter().sum(), weights)
    }

    /// Adds the rows of a grain to the totals of all and of their folds.
    fn add(&mut self, scales: &[Scale], setup: &Setup<'_>) -> Result<()> {
        let length = cells_of(scales);
        let mut totals = vec![(0, vec![0.0; scales.len()]); self.cells.len() / length];
        for (row, (w, y)) in self.weight.iter().zip(&self.label).enumerate() {
            let least = w * setup.saturated(*y);
            let of_fold = self.fold.get(row).map(|fold| 1 + usize::from(*fold));
            for total in [Some(0), of_fold].into_iter().flatten() {
                let (rows, sums) = &mut totals[total];
                *rows += 1;
                sums.iter_mut().zip([*w, w * y, w * y * y, least]).for_each(|(sum, more)| *sum += more);
                if setup.target.labels.is_some() {
                    let own = sums[SUMS..].iter_mut().enumerate().filter(|(label, _)| has(*y, *label));
                    own.for_each(|(_, label)| *label += w);
                } else if let Some(class) = sums[SUMS..].get_mut(*y as usize) {
                    *class += w;
                }
            }
        }
        for ((rows, sums), cells) in totals.into_iter().zip(self.cells.chunks_exact_mut(length)) {
            let (count, limbs) = cells.split_at_mut(1);
            count[0] += rows;
            for ((scale, sum), cells) in scales.iter().zip(sums).zip(limbs.chunks_exact_mut(2)) {
                scale.add(sum, cells)?;
            }
        }
        Ok(())
    }
}
