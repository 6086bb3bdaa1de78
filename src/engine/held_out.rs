//! What a tile says of models on the rows that they never saw (see `judge`).

use std::ops::Range;

use gristmill_kernels::tile::{Grain, parts};
use gristmill_kernels::{Aligned, Kernels, Real, Softmax, SoftmaxSums};

use super::exact;
use super::folds::Folds;
use super::group::{Blocks, Group};
use super::reduce::HEAD;
use super::setup::Setup;
use super::space::Stored;
use super::target;
use crate::error::{Error, Result};
use crate::metrics::{Figure, Rows, Task};

/// Sums of a model before those of the metrics: loss, and weight.
const OWN: usize = 2;

/// A model and the fold that it is judged on.
pub struct Judged {
    /// The weights of each margin of a row.
    pub at: Vec<Stored>,
    /// The fold.
    pub fold: u16,
}

/// What a model's sums say.
pub struct Verdict {
    /// Mean loss, in the units of the objective.
    pub loss: f64,
    /// Figures of the metrics.
    pub figures: Vec<Figure>,
}

/// A worker's buffers.
#[derive(Default)]
pub struct Worker<R> {
    /// Its flat sum: the head, then for each model an exact sum for each of its sums.
    pub cells: Vec<i64>,
    z: Aligned<R>,
    /// Margins of the rows of a fold, one after the other, and then residuals.
    margin: Vec<f64>,
    /// What is added to margins; empty where there is nothing.
    offset: Vec<R>,
    tile: Tile,
    /// Of a grain, model after model.
    sums: Vec<f64>,
}

/// The rows of a tile, ordered by fold.
#[derive(Default)]
struct Tile {
    /// The fold of each row, as they lie in the tile.
    fold: Vec<u16>,
    /// Their places in the tile, and where each fold begins.
    order: Vec<usize>,
    starts: Vec<usize>,
    /// Stored labels, and what the loss takes.
    label: Vec<f64>,
    y: Vec<f64>,
    /// Weights of rows, and with those of their classes.
    weight: Vec<f64>,
    class_weight: Vec<f64>,
    /// One of these as it lies in the tile.
    scratch: Vec<f64>,
}

/// What workers read while the pass runs.
pub struct Judge<'a, R: Real> {
    setup: &'a Setup<'a>,
    folds: Folds,
    judged: &'a [Judged],
    kernels: Kernels<R>,
    wide: Kernels<f64>,
    groups: Vec<Group<R>>,
    blocks: Blocks,
    task: Task,
    /// Near the labels' mean.
    centre: f64,
    /// Sums of a model.
    sums: usize,
}

impl<'a, R: Real + Default> Judge<'a, R> {
    /// For models; `centre` is near the mean of the labels in their own units.
    pub fn new(setup: &'a Setup<'a>, folds: Folds, judged: &'a [Judged], centre: f64) -> Judge<'a, R> {
        let blocks = Blocks::of(setup.stream.layout(), &setup.dataset.manifest().columns);
        let points: Vec<&Stored> = judged.iter().flat_map(|judged| &judged.at).collect();
        let task = setup.task();
        Judge {
            groups: Group::all(&points, &blocks, setup.margins_of_row()),
            kernels: Kernels::new(setup.tier),
            wide: Kernels::new(setup.tier),
            sums: OWN + task.metrics(None).iter().map(|metric| metric.sums()).sum::<usize>(),
            setup,
            folds,
            judged,
            blocks,
            task,
            centre,
        }
    }

    /// Buffers for a worker.
    pub fn worker(&self) -> Worker<R> {
        let sums = self.judged.len() * self.sums;
        Worker {
            cells: vec![0; HEAD + sums * exact::CELLS],
            sums: vec![0.0; sums],
            z: Aligned::zeros(self.setup.cut.run * Group::most(&self.groups)),
            ..Worker::default()
        }
    }

    /// Judges the rows of a grain.
    ///
    /// # Errors
    /// [`Error::Sum`] when a sum is not a finite number.
    pub fn grain(&self, worker: &mut Worker<R>, number: usize, grain: &Grain<'_>) -> Result<()> {
        worker.sums.fill(0.0);
        for rows in parts(&(0..grain.rows), self.setup.cut.run) {
            worker.tile.read(&self.wide, self.setup, self.folds, (number, grain), &rows);
            self.setup.read_offset(&self.kernels, grain, &rows, &mut worker.offset);
            for group in &self.groups {
                let z = &mut worker.z[..group.points.len() * rows.len()];
                group.margins(&self.kernels, &self.blocks, (grain, &rows), &worker.offset, z);
                let margins = self.setup.margins_of_row();
                for (place, point) in group.points.clone().enumerate().step_by(margins) {
                    let model = point / margins;
                    let z = worker.z[place * rows.len()..(place + margins) * rows.len()].chunks_exact(rows.len());
                    let fold = worker.tile.rows(self.judged[model].fold);
                    let order = &worker.tile.order[fold.clone()];
                    worker.margin.clear();
                    z.for_each(|z| worker.margin.extend(order.iter().map(|&row| z[row].to_f64())));
                    let sums = &mut worker.sums[model * self.sums..(model + 1) * self.sums];
                    self.add(&mut worker.margin, &worker.tile, fold, sums);
                }
            }
        }
        for (sum, cells) in worker.sums.iter().zip(worker.cells[HEAD..].chunks_exact_mut(exact::CELLS)) {
            exact::add(*sum, cells)?;
        }
        Ok(())
    }

    /// Adds a model's margins on the rows of its fold to its sums.
    fn add(&self, margin: &mut [f64], tile: &Tile, fold: Range<usize>, sums: &mut [f64]) {
        let (offset, scale) = self.setup.target.units;
        let (own, mut rest) = sums.split_at_mut(OWN);
        let (y, class_weight) = (&tile.y[fold.clone()], &tile.class_weight[fold.clone()]);
        // The metrics come first: the loss leaves residuals where margins were.
        let real = |values: &[f64]| values.iter().map(|value| offset + scale * value).collect::<Vec<f64>>();
        let means = || margin.iter().map(|margin| self.setup.model.mean(*margin)).collect::<Vec<f64>>();
        let in_units = match self.task {
            _ if self.setup.model.reads_real() => Some((means(), y.to_vec())),
            Task::Regression => Some((real(margin), real(&tile.label[fold.clone()]))),
            Task::Deviance(_) | Task::Quantile(_) => Some((means(), y.to_vec())),
            Task::Binary | Task::Margin | Task::Multiclass(_) | Task::Multilabel(_) => None,
        };
        let (prediction, label) =
            in_units.as_ref().map_or((&*margin, y), |(z, label)| (z.as_slice(), label.as_slice()));
        let weight = self.setup.weighted.then_some(&tile.weight[fold]);
        let rows = Rows { prediction, label, weight, centre: self.centre };
        for metric in self.task.metrics(None) {
            let (part, others) = rest.split_at_mut(metric.sums());
            metric.add(&rows, part);
            rest = others;
        }
        let found = self.loss(margin, y, class_weight);
        let least: f64 = y.iter().zip(class_weight).map(|(y, weight)| weight * self.setup.saturated(*y)).sum();
        own[0] += found.loss - least;
        own[1] += found.weight;
    }

    /// Losses and weights of rows; margins become residuals.
    fn loss(&self, margins: &mut [f64], y: &[f64], weight: &[f64]) -> SoftmaxSums {
        if y.is_empty() {
            return SoftmaxSums::default();
        }
        if self.setup.model.is_joint() {
            let mut residuals = vec![0.0; self.setup.joint];
            let rows = Softmax { z: margins, y, weight: Some(weight), residuals: &mut residuals };
            return self.wide.softmax(rows);
        }
        let target = &self.setup.target;
        let against = |class: usize| y.iter().map(|y| f64::from(target.holds(*y, class))).collect::<Vec<f64>>();
        let mut sums = SoftmaxSums::default();
        for (class, z) in margins.chunks_exact_mut(y.len()).enumerate() {
            let against = (self.setup.against > 0).then(|| against(class));
            let y = against.as_deref().unwrap_or(y);
            let found = self.wide.loss(self.setup.model.loss(), z, y, Some(weight), None, None);
            sums.loss += found.loss;
            sums.weight = found.weight;
        }
        sums
    }

    /// What the sums of all ranks say.
    ///
    /// # Errors
    /// [`Error::Training`] when the rows of a fold weigh nothing.
    pub fn verdicts(&self, sum: &[i64]) -> Result<Vec<Verdict>> {
        let values: Vec<f64> = sum[HEAD..].chunks_exact(exact::CELLS).map(exact::value).collect();
        let models = self.judged.iter().zip(values.chunks_exact(self.sums));
        models.map(|(judged, sums)| self.verdict(judged, sums)).collect()
    }

    fn verdict(&self, judged: &Judged, sums: &[f64]) -> Result<Verdict> {
        let (own, mut rest) = sums.split_at(OWN);
        if own[1] <= 0.0 {
            return Err(Error::training(format!(
                "the rows of fold {} weigh nothing: no model can be judged on them. Use fewer --folds",
                judged.fold
            )));
        }
        let mut figures = Vec::new();
        for metric in self.task.metrics(None) {
            let (part, others) = rest.split_at(metric.sums());
            figures.extend(metric.figures(part));
            rest = others;
        }
        Ok(Verdict { loss: own[0] / own[1] * self.setup.target.loss_unit(), figures })
    }
}

impl Tile {
    fn read<'g>(
        &mut self,
        kernels: &Kernels<f64>,
        setup: &Setup<'_>,
        folds: Folds,
        (number, grain): (usize, &Grain<'g>),
        rows: &Range<usize>,
    ) {
        let n = rows.len();
        self.fold.resize(n, 0);
        folds.read(setup.first_row(number) + rows.start as u64, &mut self.fold);
        self.sort(folds.count() as usize);
        self.scratch.resize(n, 0.0);
        for (values, out) in [(grain.label, &mut self.label), (grain.weight, &mut self.weight)] {
            target::read(kernels, values.as_ref(), rows.clone(), &mut self.scratch);
            out.clear();
            out.extend(self.order.iter().map(|&row| self.scratch[row]));
        }
        self.y.clone_from(&self.label);
        self.class_weight.clone_from(&self.weight);
        setup.target.apply(&mut self.y, Some(&mut self.class_weight));
    }

    /// Orders the rows by fold, those of a fold as they lie.
    fn sort(&mut self, folds: usize) {
        self.starts.clear();
        self.starts.resize(folds + 1, 0);
        self.fold.iter().for_each(|&fold| self.starts[usize::from(fold) + 1] += 1);
        for fold in 0..folds {
            self.starts[fold + 1] += self.starts[fold];
        }
        self.order.resize(self.fold.len(), 0);
        let mut next = self.starts.clone();
        for (row, &fold) in self.fold.iter().enumerate() {
            self.order[next[usize::from(fold)]] = row;
            next[usize::from(fold)] += 1;
        }
    }

    /// Where the rows of a fold lie.
    fn rows(&self, fold: u16) -> Range<usize> {
        self.starts[usize::from(fold)]..self.starts[usize::from(fold) + 1]
    }
}
