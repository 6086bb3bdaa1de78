//! The models that learn together: their slots, their figures, and a stretch of batches on all workers.

use std::ops::Range;

use gristmill_io::Error as IoError;
use gristmill_kernels::tile::Grain;
use gristmill_kernels::{Kernels, Real};

use super::barrier::Barrier;
use super::batch::{Model, Place, Seen, Shared, Worker, residual_max};
use super::exchange::Exchange;
use super::feedback::Feedback;
use super::held::Best;
use super::learner::{Bundle, Online, share};
use super::order::{Plan, Round};
use super::state::{Bytes, State};
use crate::engine::exact;
use crate::engine::setup::Setup;
use crate::error::{Error, Result};
use crate::machine;
use crate::optim::stochastic::Step;
use crate::optim::stochastic::rates::Rates;
use crate::plan::online::OnlinePlan;

/// Looks at the weights for their average in an epoch.
const SNAPSHOTS: u64 = 32;

/// See the head of the file.
pub struct Course<'a, R: Real> {
    /// Coordinates and units.
    pub online: Online<'a>,
    /// The settings.
    pub plan: &'a OnlinePlan,
    /// The order of epochs.
    pub order: Plan,
    /// Numbers of the models among the tasks.
    pub numbers: Vec<usize>,
    /// Their rates and times.
    pub models: Vec<Model>,
    /// Their slots.
    pub bundles: Vec<Bundle<R>>,
    /// Their losses in this epoch, of this rank's rows.
    pub seen: Vec<Seen>,
    /// What else is known of them.
    pub records: Vec<Record>,
    /// Where the epoch stands.
    pub place: Place,
    /// The anchor of this epoch is set, where the optimiser has one.
    pub anchored: bool,
    /// Rounds of this epoch that are over.
    pub round: usize,
    /// Batches of this round that are over.
    pub batch: usize,
    /// Batches of the next stretch.
    pub stretch: usize,
    /// After the last stretch some rank had seen rows of this epoch that weigh something, for every model.
    pub weighed: bool,
    /// Seconds of all epochs, of the slowest rank.
    pub seconds: f64,
    /// What rounding keeps back on this rank; none where sums are exact.
    pub feedback: Option<Feedback>,
    /// Of this epoch on this rank.
    pub clock: Clock,
}

/// What is known of a model beside its slots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Mean loss of the last epoch, each batch before it was learnt from.
    pub progressive: f64,
    /// The best that it was on held-out rows, where that is looked at.
    pub best: Option<Best>,
    /// Why it does not go on.
    pub stopped: Option<String>,
    /// Mean of its weights, and of how many looks at them.
    pub average: (u64, Vec<f64>),
}

/// Where the time of an epoch went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// All.
    pub seconds: f64,
    /// Waiting for grains.
    pub waiting: f64,
    /// Bytes that were read.
    pub read_bytes: u64,
}

impl<R: Real> Course<'_, R> {
    /// Learns from some batches of a round.
    ///
    /// # Errors
    /// When the training diverges, or a rank is lost.
    pub fn learn(
        &mut self,
        setup: &Setup<'_>,
        round: &Round,
        grains: &[Option<Grain<'_>>],
        batches: Range<usize>,
    ) -> Result<()> {
        let comm = setup.company.comm;
        let empty = Vec::new;
        let blocks: Vec<_> =
            grains.iter().map(|grain| grain.as_ref().map_or_else(empty, |grain| self.online.cut(grain))).collect();
        let units: Vec<usize> = self.bundles.iter().map(|bundle| bundle.units.len()).collect();
        let count = self.models.len();
        let margins: Vec<_> = units.iter().map(|_| std::array::from_fn(|_| vec![Vec::new(); count].into())).collect();
        let costs: Vec<f64> = self.bundles.iter().map(|bundle| bundle.cost).collect();
        let row_ns = costs.iter().sum::<f64>() * count as f64;
        let processors = machine::cores();
        let most = setup.threads.min(processors);
        let useful = workers(row_ns, self.order.batch_rows() / comm.size()).clamp(1, most);
        let owners = share(&costs, if setup.every_thread { setup.threads } else { useful });
        let barrier = Barrier::new(owners.len(), processors);
        let exchange = Exchange::new(comm, (&units, count), self.plan.clip_norm.is_some(), self.feedback.as_ref());
        let shared = Shared {
            setup,
            online: &self.online,
            kernels: Kernels::new(setup.tier),
            round,
            first_slot: self.order.own_slots(comm.rank(), comm.size()).start,
            grains,
            blocks: &blocks,
            batches,
            place: self.place,
            residual_max: residual_max(setup),
            clip_norm: self.plan.clip_norm,
            barrier: &barrier,
            margins: &margins,
            exchange: &exchange,
        };
        let mut free: Vec<Option<&mut Bundle<R>>> = self.bundles.iter_mut().map(Some).collect();
        let mut seen = Some(self.seen.as_mut_slice());
        let mut workers = Vec::new();
        for (number, owned) in owners.into_iter().enumerate() {
            let own = owned.into_iter().filter_map(|bundle| Some((bundle, free[bundle].take()?))).collect();
            workers.push(Worker::new(own, self.models.clone(), seen.take(), number == 0));
        }
        let outcomes: Vec<Result<Vec<Model>>> = std::thread::scope(|scope| {
            let mut workers = workers.into_iter();
            let first = workers.next();
            let shared = &shared;
            let others: Vec<_> = workers.map(|worker| scope.spawn(move || worker.run(shared))).collect();
            let mut outcomes: Vec<_> = first.into_iter().map(|worker| worker.run(shared)).collect();
            let joined = others.into_iter().map(|other| other.join());
            outcomes.extend(joined.map(|other| other.unwrap_or_else(|panic| std::panic::resume_unwind(panic))));
            outcomes
        });
        let mut left = None;
        for outcome in outcomes {
            match outcome {
                Ok(models) => self.models = models,
                // It left because of another, whose error says more.
                Err(error @ Error::Data(IoError::Interrupted)) => left = left.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        left.map_or(Ok(()), Err)
    }

    /// Losses of the epoch so far over all ranks; all of them ask.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn seen_by_all(&self, setup: &Setup<'_>) -> Result<Vec<Seen>> {
        let mut cells: Vec<i64> =
            self.seen.iter().flat_map(|seen| seen.loss.iter().chain(&seen.weight)).copied().collect();
        setup.company.comm.all_reduce_vec(&mut cells)?;
        let models = cells.chunks_exact(2 * exact::CELLS).map(|cells| cells.split_at(exact::CELLS));
        Ok(models.map(|(loss, weight)| Seen { loss: loss.to_vec(), weight: weight.to_vec() }).collect())
    }

    /// Mean losses of the epoch over all ranks; a new one begins.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn losses(&mut self, setup: &Setup<'_>) -> Result<Vec<f64>> {
        let all = self.seen_by_all(setup)?;
        self.seen.fill(Seen::default());
        Ok(all.iter().map(|seen| exact::value(&seen.loss) / exact::value(&seen.weight)).collect())
    }

    /// Brings all coordinates up to date with the penalty.
    pub fn settle(&mut self) {
        for bundle in &mut self.bundles {
            for (columns, model) in bundle.models.iter_mut().zip(&self.models) {
                let epochs = f64::from(self.place.epoch) + 1.0;
                let step = Step { number: self.place.steps.max(1), rate: model.rates.at(epochs, 0.0), rows: 0.0 };
                columns.iter_mut().for_each(|columns| columns.coordinates_mut().settle(&step, model.time));
            }
        }
    }

    /// Puts the anchor of a model where it is, with the gradient of a solver's objective there.
    pub fn anchor(&mut self, model: usize, gradient: &[f64]) {
        let gradient = self.online.from_gradient(gradient);
        for bundle in &mut self.bundles {
            for (&unit, columns) in bundle.units.iter().zip(&mut bundle.models[model]) {
                columns.coordinates_mut().anchor(&self.online.own(unit, &gradient));
            }
        }
    }

    /// A model as a point of a solver, whatever its average.
    pub fn latest(&self, model: usize) -> Vec<f64> {
        self.online.to_point(&self.online.weights(&self.bundles, model))
    }

    /// A model as a point of a solver: the average of its weights where that was asked for and has begun.
    pub fn point(&self, model: usize) -> Vec<f64> {
        match &self.records[model].average {
            (0, _) => self.latest(model),
            (_, weights) => self.online.to_point(weights),
        }
    }

    /// A model as it ends: at its best where that is known.
    pub fn end(&self, model: usize) -> Vec<f64> {
        self.records[model].best.as_ref().map_or_else(|| self.point(model), Best::point)
    }

    /// Mean loss of the epoch that a model ends at, each batch before it was learnt from.
    pub fn progressive(&self, model: usize) -> f64 {
        let record = &self.records[model];
        record.best.as_ref().map_or(record.progressive, |best| best.progressive)
    }

    /// Why a model ends.
    pub fn reason(&self, model: usize) -> String {
        let epochs = self.plan.epochs;
        let whole = || format!("{epochs} epoch{}", if epochs == 1 { "" } else { "s" });
        self.records[model].stopped.clone().unwrap_or_else(whole)
    }

    /// Batches from one look at the weights to the next; none where there is no average.
    fn between_looks(&self, setup: &Setup<'_>) -> Option<u64> {
        let batches = setup.statistics.rows.div_ceil(self.order.batch_rows() as u64);
        self.plan.averaging.map(|_| (batches / SNAPSHOTS).max(1))
    }

    /// The batches of the next stretch of a round that has so many, up to the next look at the weights.
    pub fn next(&self, setup: &Setup<'_>, ends: usize) -> Range<usize> {
        let end = ends.min(self.batch + self.stretch);
        let look = self.between_looks(setup).map(|every| every - self.place.steps % every);
        self.batch..look.map_or(end, |left| end.min(self.batch + left as usize))
    }

    /// Counts a stretch, and looks at the weights where it is time.
    pub fn count(&mut self, setup: &Setup<'_>, batches: &Range<usize>, rows: u64) {
        self.batch = batches.end;
        self.place.steps += batches.len() as u64;
        self.place.rows += rows;
        let Some(every) = self.between_looks(setup) else { return };
        let epochs = f64::from(self.place.epoch) + self.place.rows as f64 / setup.statistics.rows as f64;
        if self.place.steps.is_multiple_of(every) && self.plan.averaging.is_some_and(|start| epochs > start) {
            self.settle();
            for model in 0..self.models.len() {
                let weights = self.online.weights(&self.bundles, model);
                let (looks, average) = &mut self.records[model].average;
                *looks += 1;
                average.resize(weights.len(), 0.0);
                average.iter_mut().zip(weights).for_each(|(mean, weight)| *mean += (weight - *mean) / *looks as f64);
            }
        }
    }

    /// True when there is a time limit, and it is over: not before there is a loss to tell.
    pub fn is_late(&self) -> bool {
        self.weighed && self.plan.max_seconds.is_some_and(|limit| self.seconds >= limit)
    }

    /// True when no model goes on.
    pub fn is_over(&self) -> bool {
        self.place.epoch >= self.plan.epochs || self.records.iter().all(|record| record.stopped.is_some())
    }

    /// Takes in the held-out losses after an epoch.
    pub fn judge(&mut self, losses: &[f64], patience: u32) {
        for (model, &loss) in losses.iter().enumerate() {
            if self.records[model].stopped.is_some() {
                continue;
            }
            let point = self.point(model);
            let (record, epoch) = (&mut self.records[model], self.place.epoch + 1);
            match &mut record.best {
                Some(best) if best.loss <= loss => best.waited += 1,
                _ => record.best = Some(Best::new(loss, epoch, record.progressive, &point)),
            }
            if let Some(best) = record.best.as_ref().filter(|best| best.waited >= patience) {
                record.stopped = Some(format!("held-out loss was best after epoch {}", best.epoch));
            }
        }
    }

    /// What a checkpoint keeps of a model whose losses over all ranks are these.
    pub fn state(&self, model: usize, seen: Seen) -> State {
        let mut units: Vec<(usize, &Bundle<R>, usize)> = Vec::new();
        for bundle in &self.bundles {
            units.extend(bundle.units.iter().enumerate().map(|(place, &unit)| (unit, bundle, place)));
        }
        units.sort_unstable_by_key(|(unit, _, _)| *unit);
        let mut slots = Vec::new();
        for (_, bundle, place) in units {
            bundle.models[model][place].coordinates().save(&mut slots);
        }
        slots.shrink_to_fit();
        let record = &self.records[model];
        State {
            epoch: self.place.epoch,
            round: self.round as u32,
            batch: self.batch as u32,
            steps: self.place.steps,
            rows: self.place.rows,
            time: self.models[model].time,
            anchored: self.anchored,
            loss: seen.loss,
            weight: seen.weight,
            seconds: self.seconds,
            progressive: record.progressive,
            best: record.best.clone(),
            stopped: record.stopped.clone(),
            averaged: record.average.0,
            average: Bytes(record.average.1.iter().flat_map(|weight| weight.to_le_bytes()).collect()),
            slots: Bytes(slots),
        }
    }

    /// Where a model was; none when the checkpoint is of other coordinates. `counts`: its losses, which are those of all ranks, become
    /// those of this one.
    pub fn resume(&mut self, model: usize, state: &State, counts: bool) -> Option<()> {
        self.place = Place { steps: state.steps, epoch: state.epoch, rows: state.rows };
        (self.round, self.batch) = (state.round as usize, state.batch as usize);
        self.anchored = state.anchored;
        self.models[model].time = state.time;
        self.seconds = state.seconds;
        let average = state.average.0.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        self.records[model] = Record {
            progressive: state.progressive,
            best: state.best.clone(),
            stopped: state.stopped.clone(),
            average: (state.averaged, average),
        };
        let whole = state.loss.len() == exact::CELLS && state.weight.len() == exact::CELLS;
        if counts {
            self.seen[model] = Seen { loss: state.loss.clone(), weight: state.weight.clone() };
        }
        let mut units: Vec<(usize, usize, usize)> = Vec::new();
        for (number, bundle) in self.bundles.iter().enumerate() {
            units.extend(bundle.units.iter().enumerate().map(|(place, &unit)| (unit, number, place)));
        }
        units.sort_unstable();
        let mut bytes = state.slots.0.as_slice();
        for (_, bundle, place) in units {
            let columns = &mut self.bundles[bundle].models[model][place];
            columns.coordinates_mut().load(&mut bytes).then_some(())?;
        }
        (whole && bytes.is_empty()).then_some(())
    }
}

/// The curve of the learning rate.
pub fn rates(plan: &OnlinePlan, peak: f64) -> Rates {
    Rates {
        peak,
        schedule: plan.schedule,
        epochs: f64::from(plan.epochs),
        warmup: plan.warmup,
        step: (plan.step_epochs.unwrap_or(1.0), plan.step_factor.unwrap_or(1.0)),
        decay: (plan.decay.unwrap_or(0.0), plan.power.unwrap_or(1.0)),
    }
}

/// What a worker must have of a row, and of a batch, to be worth its while, in nanoseconds: each worker finds the losses of all rows
/// again, and all wait for each other once a batch. Data of 28 numbers (14 ns) learn slower with two workers at any size of
/// batches, click rows (260 ns) faster from 64 rows on.
const WORKER_ROW_NS: f64 = 64.0;
/// See [`WORKER_ROW_NS`].
const WORKER_BATCH_NS: f64 = 5_000.0;

/// How many workers are worth their while for batches of so many rows of this rank, of which one takes so long; 0 as well, and never a
/// matter of the result.
fn workers(row_ns: f64, rows: usize) -> usize {
    (row_ns / WORKER_ROW_NS).min(row_ns * rows as f64 / WORKER_BATCH_NS) as usize
}
