//! A training from its dataset and plan to its models: what all its parts share, and their order.
//!
//! ```text
//! closed forms   one pass for all configurations and folds     closed
//! solvers        pass after pass, all models in each           iterate
//! folds          one pass that judges                          judge
//! ```

use std::time::Instant;

use gristmill_io::Error as IoError;
use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Split;
use gristmill_io::memory;
use gristmill_io::trace::Lane;
use gristmill_kernels::Real;

use super::answer::{self, Answer, Clock};
use super::crossed;
use super::pass::{Found, Order, Passes, Point, parts};
use super::reduce::Reduced;
use super::setup::Setup;
use super::shares;
use super::space::Stored;
use super::tasks::{self, Stand, Task};
use super::weights::{self, Known};
use crate::error::{Error, Result};
use crate::models;
use crate::optim::{Limits, Outcome, Penalty, Sample};
use crate::plan::{SolverName, Strengths, TrainPlan};
use crate::ranks;
use crate::sharing;
use crate::train::{Checkpoint, Company, Ended, PassReport, PointReport, Start};

/// Version of [`Checkpoint`].
pub const CHECKPOINT_FORMAT: u32 = 4;
/// Means further than this from 0, in deviations, make products of a Gram matrix lose digits in `f32`.
const OFF_CENTRE: f64 = 16.0;

/// Trains what `plan` says on `dataset`.
///
/// # Errors
/// When plan and data do not fit, data cannot be read, or a rank is lost.
pub fn train(dataset: &Dataset, plan: &TrainPlan, start: Start, company: &Company<'_>) -> Result<Ended> {
    let began = Instant::now();
    if let Start::Resume(checkpoint) = &start {
        ranks::agree(company.comm, check_dataset(dataset, checkpoint))?;
    }
    let own_grains = sharing::own_grains(company.comm, dataset, Split::Train)?;
    let statistics = crossed::statistics(dataset, plan, company, &own_grains)?;
    let mut setup = ranks::agree(company.comm, Setup::new(dataset, plan, company, (own_grains, statistics)))?;
    // Each rank reckons with its own memory and threads; a pass has the same points on all.
    setup.shares.together = ranks::least(company.comm, setup.shares.together)?;
    let known = weights::known(&setup)?;
    setup.weight_max = known.weight_max;
    (setup.offset_range, setup.offset_mean) = (known.offset_range, known.offset_mean);
    ranks::agree(company.comm, answer::check_known(&setup, &known))?;
    setup.centre =
        if setup.margins_of_row() > 1 { 0.0 } else { setup.model.margin(known.all.label / known.all.weight) };
    lane(&setup).span("open", began, None);
    let clock = Clock { began, opening_seconds: began.elapsed().as_secs_f64(), checkpointing_seconds: 0.0 };
    if setup.wide {
        Training::<f64>::new(&setup, plan, known, clock).run(start)
    } else {
        Training::<f32>::new(&setup, plan, known, clock).run(start)
    }
}

/// The lane of the training itself in a trace.
pub fn lane<'a>(setup: &'a Setup<'_>) -> Lane<'a> {
    Lane::of(setup.company.watch.trace().map(|trace| &**trace), || "training".into())
}

/// Before anything else is looked at: a changed dataset may be wrong in many ways that would be named instead.
fn check_dataset(dataset: &Dataset, checkpoint: &Checkpoint) -> Result<()> {
    let fingerprint = &dataset.manifest().fingerprint;
    if checkpoint.fingerprint == *fingerprint {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the checkpoint cannot be resumed: the dataset has changed since: {} has fingerprint {fingerprint}, it was {}. Restore \
         it, or train again from the start",
        dataset.folder().display(),
        checkpoint.fingerprint
    )))
}

/// A training on its way.
pub struct Training<'a, R: Real> {
    pub(super) setup: &'a Setup<'a>,
    pub(super) plan: &'a TrainPlan,
    pub(super) known: Known,
    pub(super) passes: Passes<R>,
    /// Where models start when they do not start cold.
    pub(super) from: Option<Vec<f64>>,
    pub(super) tasks: Vec<Task>,
    exact: bool,
    pub(super) answer: Answer,
    clock: Clock,
}

/// What becomes of a training after a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    GoOn,
    /// It was asked to stop.
    Stop,
}

impl<'a, R: Real + Default> Training<'a, R> {
    fn new(setup: &'a Setup<'a>, plan: &'a TrainPlan, known: Known, clock: Clock) -> Training<'a, R> {
        let space = &setup.space;
        let off_centre = space.mean.iter().zip(&space.inverse).any(|(mean, inverse)| mean.abs() * inverse > OFF_CENTRE);
        Training {
            passes: Passes::new(setup),
            exact: setup.model.is_quadratic() || off_centre,
            answer: Answer::new(setup),
            clock,
            tasks: tasks::of(plan, setup.against),
            from: None,
            setup,
            plan,
            known,
        }
    }

    fn run(mut self, start: Start) -> Result<Ended> {
        let begun = self.check_offset().and_then(|()| self.check_matrix()).and_then(|()| self.begin(start));
        ranks::agree(self.setup.company.comm, begun)?;
        if self.closed_forms()? == Next::Stop || self.learn()? == Next::Stop || self.iterate()? == Next::Stop {
            return Ok(self.interrupted());
        }
        let Some(validation) = self.judge()? else { return Ok(self.interrupted()) };
        let mut models = Vec::new();
        let whole: Vec<&Task> = self.tasks.iter().filter(|task| task.left_out.is_none()).collect();
        for tasks in whole.chunks(self.setup.against.max(1)) {
            tasks.iter().filter_map(|task| task.outcome()).for_each(|outcome| self.answer.warn(self.setup, outcome));
            let solver = self.solved_by(tasks[0].strengths);
            models.extend(answer::fitted(self.setup, tasks, &solver, self.rounding(tasks[0])));
        }
        models
            .iter()
            .try_for_each(|model| answer::check_finite(self.setup, model))
            .map_err(|error| self.of_all(error))?;
        self.answer.warn_of_folds(validation.as_ref());
        let arithmetic = if size_of::<R>() == 4 { "f32" } else { "f64" };
        let trained = self.answer.trained(self.setup, models, validation, &self.clock, arithmetic);
        Ok(Ended::Trained(Box::new(trained)))
    }

    /// A Gram matrix holds no margins.
    fn check_offset(&self) -> Result<()> {
        let closed = matches!(self.plan.solver, SolverName::Cholesky | SolverName::CoordinateDescent);
        if !closed || self.setup.offset.is_none() {
            return Ok(());
        }
        Err(Error::usage(format!(
            "solver '{}' takes no offset: a Gram matrix knows the label alone. Use --solver newton (proximal-newton for \
             l1), or auto",
            self.plan.solver.name()
        )))
    }

    /// Takes over where models start, or where they were.
    fn begin(&mut self, start: Start) -> Result<()> {
        match start {
            Start::Cold => {}
            Start::From { weights, intercepts } => {
                let (margins, parameters) = (self.setup.margins_of_row(), self.setup.space.mean.len());
                if intercepts.len() != margins || weights.len() != margins * parameters {
                    return Err(Error::usage(format!(
                        "the model to start from has {} parameters for {} margins, this training has {parameters} for \
                         {margins}. Start from a model of the same columns and classes, or leave --warm-start out",
                        weights.len() / intercepts.len().max(1),
                        intercepts.len(),
                    )));
                }
                let (offset, scale) = self.setup.target.units;
                let stored = |(margin, intercept): (usize, &f64)| {
                    let own = &weights[margin * parameters..(margin + 1) * parameters];
                    let weights = own.iter().map(|w| w / scale).collect();
                    self.setup.space.from_stored(&Stored { weights, intercept: (intercept - offset) / scale })
                };
                self.from = Some(intercepts.iter().enumerate().flat_map(stored).collect());
            }
            Start::Resume(checkpoint) => {
                self.check(&checkpoint)?;
                let Checkpoint { tasks, from, history, rows_read, bytes_read, .. } = *checkpoint;
                (self.tasks, self.from) = (tasks, from);
                self.answer.resume(history, rows_read, bytes_read);
            }
        }
        Ok(())
    }

    fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        let refuse = |why: String| Err(Error::usage(format!("the checkpoint cannot be resumed: {why}")));
        if checkpoint.format != CHECKPOINT_FORMAT {
            return refuse(format!("it has format {}, this build reads {CHECKPOINT_FORMAT}", checkpoint.format));
        }
        let differing = self.plan.differences(&checkpoint.plan);
        if !differing.is_empty() {
            return refuse(format!("its configuration is another: {}. Resume with the same one", differing.join(", ")));
        }
        let same = |(ours, theirs): (&Task, &Task)| {
            let points = theirs.outcome().is_none_or(|outcome| outcome.point.len() == self.setup.coordinates());
            let what = |task: &Task| (task.configuration, task.left_out, task.against);
            points && what(ours) == what(theirs)
        };
        if checkpoint.tasks.len() != self.tasks.len() || !self.tasks.iter().zip(&checkpoint.tasks).all(same) {
            return refuse("it holds other models than its configuration says".into());
        }
        let coordinates = self.setup.margins_of_row() * self.setup.space.coordinates();
        if checkpoint.from.as_ref().is_some_and(|from| from.len() != coordinates) {
            return refuse(format!("models to come do not start at {coordinates} coordinates"));
        }
        Ok(())
    }

    /// A matrix of all parameters has to fit, where a solver was named that needs one.
    fn check_matrix(&self) -> Result<()> {
        let solvers = |task: &Task| [self.solver(task.strengths), self.solver_by_passes(task.strengths)];
        let Some(solver) = self.tasks.iter().flat_map(solvers).find(|solver| solver.takes_a_matrix()) else {
            return Ok(());
        };
        let n = self.setup.coordinates() as u64;
        let bytes = shares::matrix_bytes(n, self.setup.threads);
        let limit = self.plan.memory.unwrap_or_else(|| memory::Limits::now().default_bytes());
        if bytes <= limit {
            return Ok(());
        }
        Err(Error::usage(format!(
            "solver '{}' needs matrices of {n} x {n} parameters, {} in all; the limit is {}. Use --solver lbfgs (owlqn for \
             l1), or make fewer parameters with ingest --min-count or --hash-bits",
            solver.name(),
            memory::format_size(bytes),
            memory::format_size(limit)
        )))
    }

    /// The solver of a configuration.
    pub(super) fn solver(&self, strengths: Strengths) -> SolverName {
        match self.plan.solver {
            SolverName::Auto => {
                let shape = self.setup.shape(strengths.l1 > 0.0);
                let is_plain = self.setup.offset.is_none();
                if is_plain { self.setup.model.solver(&shape) } else { models::smooth_solver(&shape) }
            }
            named => named,
        }
    }

    /// The solver by passes of a configuration: of a stochastic one, that which goes on where it ends.
    pub(super) fn solver_by_passes(&self, strengths: Strengths) -> SolverName {
        let solver = self.solver(strengths);
        match self.plan.online.as_ref().and_then(|online| online.then).filter(|_| solver.is_stochastic()) {
            Some(SolverName::Auto) => match self.setup.model.solver(&self.setup.shape(strengths.l1 > 0.0)) {
                SolverName::Cholesky => SolverName::Lbfgs,
                SolverName::CoordinateDescent => SolverName::Owlqn,
                other => other,
            },
            Some(then) => then,
            None => solver,
        }
    }

    /// What a configuration was solved by, in words.
    fn solved_by(&self, strengths: Strengths) -> String {
        let (solver, then) = (self.solver(strengths), self.solver_by_passes(strengths));
        if solver == then { solver.name().into() } else { format!("{} then {}", solver.name(), then.name()) }
    }

    pub(super) fn is_closed(&self, task: &Task) -> bool {
        matches!(self.solver(task.strengths), SolverName::Cholesky | SolverName::CoordinateDescent)
    }

    pub(super) fn penalty(&self, strengths: Strengths) -> Penalty {
        self.setup.space.penalty(self.setup.target.strengths(strengths)).repeated(self.setup.joint)
    }

    /// When to stop, of all rows or of those outside a fold, and of all classes or of one against all others.
    pub(super) fn limits(&self, left_out: Option<u16>, against: Option<u16>) -> Limits {
        let moments = self.known.of(left_out).moments(against);
        Limits {
            tolerance: self.plan.tolerance,
            passes_max: self.plan.max_passes,
            noise: if size_of::<R>() == 4 { 1e-7 } else { 1e-14 },
            terms: self.setup.terms(&moments),
            null_loss: self.setup.model.null_loss(&moments),
            open: self.setup.model.is_open(),
        }
    }

    /// How weights are rounded to those of a model: to the arithmetic type that its objective was computed in; a closed form
    /// is computed in `f64`.
    pub(super) fn rounding(&self, task: &Task) -> fn(f64) -> f64 {
        if self.is_closed(task) { |weight| weight } else { |weight| R::from_f64(weight).to_f64() }
    }

    /// An error that follows from the sums of all ranks.
    pub(super) fn of_all(&self, error: Error) -> Error {
        ranks::of_all(self.setup.company.comm, error)
    }

    /// Makes a pass, unless the training is asked to stop before its end.
    pub(super) fn pass(&mut self, points: &[Point], sample: Sample) -> Result<Option<(Vec<Found>, Reduced)>> {
        let began = Instant::now();
        match self.passes.make(self.setup, &Order { points, sample, exact: self.exact }) {
            Err(Error::Data(IoError::Interrupted)) => Ok(None),
            made => {
                lane(self.setup).span("pass", began, Some(u64::from(self.answer.passes()) + 1));
                made.map(Some)
            }
        }
    }

    /// Shows where the training stands before a pass.
    pub(super) fn stand(&mut self) {
        let began = Instant::now();
        self.setup.company.watch.stand(&|| self.checkpoint());
        lane(self.setup).span("checkpoint", began, None);
        self.clock.checkpointing_seconds += began.elapsed().as_secs_f64();
    }

    /// True when some rank was asked to stop and there is something left to do.
    pub(super) fn stops(&self, reduced: &Reduced) -> bool {
        reduced.stop && (self.plan.folds > 0 || self.tasks.iter().any(|task| task.outcome().is_none()))
    }

    /// Tells of a pass; `multiply_adds` is what a row costs at all of its points.
    pub(super) fn tell(&mut self, points: Vec<PointReport>, multiply_adds: f64, sample: Sample, reduced: &Reduced) {
        let Some(first) = points.first().cloned() else { return };
        let every = u64::from(sample.every);
        let rows = self.setup.statistics.rows / every;
        let (_, tiles_every) = parts(self.setup, sample);
        let workers = self.setup.threads as f64;
        let report = PassReport {
            pass: self.answer.passes() + 1,
            share: 1.0 / f64::from(sample.every),
            first,
            points: if points.len() > 1 { points } else { Vec::new() },
            rows,
            bytes: reduced.report.bytes / tiles_every as u64,
            seconds: reduced.report.seconds,
            waiting_seconds: reduced.report.wait_seconds / workers,
            reading_seconds: reduced.report.view_seconds / workers,
            computing_seconds: reduced.report.visit_seconds / workers,
            reducing_seconds: reduced.reducing_seconds,
            overlapped_seconds: reduced.overlapped_seconds,
            read_bytes: reduced.report.read_bytes,
            multiply_adds: rows as f64 * multiply_adds,
        };
        self.setup.company.watch.pass(&report);
        self.answer.count(report);
    }

    /// A model is fitted.
    pub(super) fn done(&mut self, task: usize, outcome: Outcome) {
        self.tasks[task].stand = Stand::Done(Box::new(outcome));
    }

    fn interrupted(&self) -> Ended {
        Ended::Interrupted(Box::new(self.checkpoint()))
    }

    /// Where this training stands between passes.
    fn checkpoint(&self) -> Checkpoint {
        let waits = self.tasks.iter().any(|task| matches!(task.stand, Stand::Waiting));
        Checkpoint {
            format: CHECKPOINT_FORMAT,
            plan: self.plan.clone(),
            fingerprint: self.setup.dataset.manifest().fingerprint.clone(),
            tasks: self.tasks.clone(),
            from: self.from.clone().filter(|_| waits),
            history: self.answer.history().to_vec(),
            rows_read: self.answer.rows_read,
            bytes_read: self.answer.bytes_read,
        }
    }
}
