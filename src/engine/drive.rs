//! The training loop: for each configuration of the path, ask the solver, make the pass, let it absorb, until it is done.

use std::time::Instant;

use gristmill_io::Error as IoError;
use gristmill_io::dataset::Dataset;
use gristmill_io::trace::Lane;
use gristmill_kernels::Real;
use serde::{Deserialize, Serialize};

use super::answer::{self, Answer, Clock};
use super::derive;
use super::pass::{Found, Order, Passes, Want};
use super::setup::Setup;
use super::space::Stored;
use super::weights::{self, Totals};
use crate::error::{Error, Result};
use crate::models::Moments;
use crate::optim::coordinate_descent::Until;
use crate::optim::dense::norm;
use crate::optim::machine::Machine;
use crate::optim::quadratic::Quadratic;
use crate::optim::schedule::Schedule;
use crate::optim::second_order::Problem;
use crate::optim::{
    Collect, Evaluation, Limits, Outcome, Penalty, Sample, Solver, Status, cholesky, coordinate_descent,
};
use crate::plan::{SolverName, Strengths, TrainPlan};
use crate::ranks;
use crate::train::{Checkpoint, Company, Ended, Fitted, PassReport, Start, Trained};

/// Version of [`Checkpoint`].
pub const CHECKPOINT_FORMAT: u32 = 2;
/// Means further than this from 0, in deviations, make products of a Gram matrix lose digits in `f32`.
const OFF_CENTRE: f64 = 16.0;
/// A closed form's path is solved at least to this share of the objective.
const CLOSED_TOLERANCE: f64 = 1e-9;

/// Trains what `plan` says on `dataset`.
///
/// # Errors
/// When plan and data do not fit, data cannot be read, or a rank is lost.
pub fn train(dataset: &Dataset, plan: &TrainPlan, start: Start, company: &Company<'_>) -> Result<Ended> {
    let began = Instant::now();
    if let Start::Resume(checkpoint) = &start {
        check_dataset(dataset, checkpoint)?;
    }
    let mut setup = ranks::agree(company.comm, Setup::new(dataset, plan, company))?;
    let totals = weights::totals(&setup)?;
    setup.weight_max = totals.weight_max;
    answer::check_totals(&setup, &totals)?;
    lane(&setup).span("open", began, None);
    let clock = Clock { began, opening_seconds: began.elapsed().as_secs_f64(), checkpointing_seconds: 0.0 };
    if setup.is_wide() {
        Training::<f64>::new(&setup, plan, totals, clock).run(start)
    } else {
        Training::<f32>::new(&setup, plan, totals, clock).run(start)
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
struct Training<'a, R: Real> {
    setup: &'a Setup<'a>,
    plan: &'a TrainPlan,
    totals: Totals,
    limits: Limits,
    solver: SolverName,
    passes: Passes<R>,
    exact: bool,
    models: Vec<Fitted>,
    history: Vec<PassReport>,
    answer: Answer,
    clock: Clock,
}

/// The part of a checkpoint that is the solver's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The solver on its way; none for a closed form, which has a single pass.
    machine: Option<Machine>,
    history: Vec<PassReport>,
    rows_read: u64,
}

/// What came of a pass.
enum Made {
    Whole(Evaluation, bool),
    Interrupted,
}

impl<'a, R: Real + Default> Training<'a, R> {
    fn new(setup: &'a Setup<'a>, plan: &'a TrainPlan, totals: Totals, clock: Clock) -> Training<'a, R> {
        let mean = totals.label / totals.weight;
        let solver = match plan.solver {
            SolverName::Auto => setup.model.solver(&setup.shape(plan.any_l1())),
            named => named,
        };
        let limits = Limits {
            tolerance: plan.tolerance,
            passes_max: plan.max_passes,
            noise: if size_of::<R>() == 4 { 1e-7 } else { 1e-14 },
            null_loss: setup.model.null_loss(&Moments { mean, square: totals.square / totals.weight }),
            open: setup.model.is_open(),
        };
        let space = &setup.space;
        let off_centre = space.mean.iter().zip(&space.inverse).any(|(mean, inverse)| mean.abs() * inverse > OFF_CENTRE);
        Training {
            passes: Passes::new(setup),
            exact: setup.model.is_quadratic() || off_centre,
            answer: Answer::new(setup),
            models: Vec::new(),
            history: Vec::new(),
            clock,
            setup,
            plan,
            totals,
            limits,
            solver,
        }
    }

    fn run(self, start: Start) -> Result<Ended> {
        if self.is_iterative() { self.iterate(start) } else { self.closed_form(start) }
    }

    /// One pass, then every configuration from it.
    fn closed_form(mut self, start: Start) -> Result<Ended> {
        if let Start::Resume(checkpoint) = start {
            self.check(&checkpoint)?;
        }
        let zero = vec![0.0; self.setup.space.coordinates()];
        let none = Penalty::none(zero.len());
        self.stand(None);
        let Made::Whole(found, _) = self.pass(&zero, Want::Gram, Sample::ALL, &none, 0)? else {
            return Ok(self.interrupted(None));
        };
        let metric = self.setup.space.metric();
        let Some(quadratic) = Quadratic::new(found, self.plan.intercept, metric) else {
            return Err(Error::Sum("a pass for a closed form brought no Gram matrix".into()));
        };
        let mut point = zero;
        for strengths in self.plan.path() {
            let penalty = self.penalty(strengths);
            let outcome = if penalty.has_l1() {
                self.descend(&quadratic, &penalty, &point)
            } else {
                cholesky::solve(&quadratic, &penalty)
            };
            point.clone_from(&outcome.point);
            self.finish(strengths, outcome, |weight| weight);
        }
        self.trained()
    }

    fn descend(&self, quadratic: &Quadratic, penalty: &Penalty, start: &[f64]) -> Outcome {
        let rough = Until::DualityGap(CLOSED_TOLERANCE * self.limits.null_loss);
        let first = coordinate_descent::solve(quadratic, penalty, start, rough);
        let share = self.limits.tolerance.min(CLOSED_TOLERANCE);
        let enough = Until::DualityGap(share * first.objective.max(1e-9 * self.limits.null_loss));
        coordinate_descent::solve(quadratic, penalty, &first.point, enough)
    }

    /// Pass after pass, configuration after configuration.
    fn iterate(mut self, start: Start) -> Result<Ended> {
        let (mut point, mut resumed) = self.begin(start)?;
        let path = self.plan.path();
        for (number, step) in path.iter().enumerate().skip(self.models.len()) {
            let mut machine = match resumed.take() {
                Some(machine) => machine,
                None => self.machine(*step, point)?,
            };
            let outcome = loop {
                self.stand(Some(&machine));
                let request = machine.request();
                let want = if request.collect == Collect::Hessian { Want::Hessian } else { Want::Gradient };
                let penalty = self.penalty(*step);
                match self.pass(request.point, want, request.sample, &penalty, number)? {
                    Made::Interrupted => return Ok(self.interrupted(Some(&machine))),
                    Made::Whole(found, stop) => {
                        let solving = Instant::now();
                        let status = machine.absorb(found);
                        lane(self.setup).span("solve", solving, None);
                        match status {
                            Status::Done(outcome) => break *outcome,
                            Status::Continue if stop => return Ok(self.interrupted(Some(&machine))),
                            Status::Continue => {}
                        }
                    }
                }
            };
            point = outcome.point.clone();
            self.finish(*step, outcome, |weight| R::from_f64(weight).to_f64());
        }
        self.trained()
    }

    /// Where the first configuration starts, and the solver of a checkpoint.
    fn begin(&mut self, start: Start) -> Result<(Vec<f64>, Option<Machine>)> {
        match start {
            Start::Cold => {
                let mut point = vec![0.0; self.setup.space.coordinates()];
                if self.plan.intercept
                    && let Some(last) = point.last_mut()
                {
                    *last = self.setup.model.margin(self.totals.label / self.totals.weight);
                }
                Ok((point, None))
            }
            Start::From { weights, intercept } => {
                let want = self.setup.space.mean.len();
                if weights.len() != want {
                    return Err(Error::usage(format!(
                        "the model to start from has {} parameters, this dataset has {want}. Start from a model of the same \
                         columns, or leave --warm-start out",
                        weights.len()
                    )));
                }
                let (offset, scale) = self.setup.target.units;
                let weights = weights.iter().map(|w| w / scale).collect();
                let stored = Stored { weights, intercept: (intercept - offset) / scale };
                Ok((self.setup.space.from_stored(&stored), None))
            }
            Start::Resume(checkpoint) => {
                self.check(&checkpoint)?;
                let Checkpoint { models, state, warnings, passes, .. } = *checkpoint;
                self.models = models;
                self.answer.warnings = warnings;
                self.answer.passes = passes;
                self.answer.rows_read = state.rows_read;
                self.history = state.history;
                Ok((Vec::new(), state.machine))
            }
        }
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
        if checkpoint.state.machine.is_none() && self.is_iterative() {
            return refuse(format!("it holds no state of solver '{}'", self.solver.name()));
        }
        Ok(())
    }

    /// Shows where the training stands.
    fn stand(&mut self, machine: Option<&Machine>) {
        let began = Instant::now();
        self.setup.company.watch.stand(&|| self.checkpoint(machine));
        lane(self.setup).span("checkpoint", began, None);
        self.clock.checkpointing_seconds += began.elapsed().as_secs_f64();
    }

    fn is_iterative(&self) -> bool {
        !matches!(self.solver, SolverName::Cholesky | SolverName::CoordinateDescent)
    }

    fn penalty(&self, strengths: Strengths) -> Penalty {
        self.setup.space.penalty(self.setup.target.strengths(strengths))
    }

    fn machine(&self, strengths: Strengths, point: Vec<f64>) -> Result<Machine> {
        let problem = Problem {
            penalty: self.penalty(strengths),
            intercept: self.plan.intercept,
            metric: self.setup.space.metric(),
            limits: self.limits,
        };
        let schedule = Schedule::new(self.setup.statistics.rows, self.setup.space.mean.len());
        Machine::new(self.solver, problem, point, schedule)
            .ok_or_else(|| Error::usage(format!("solver '{}' makes no steps", self.solver.name())))
    }

    /// One pass at a point of solver space, reported.
    fn pass(
        &mut self,
        point: &[f64],
        want: Want,
        sample: Sample,
        penalty: &Penalty,
        configuration: usize,
    ) -> Result<Made> {
        let stored = self.setup.space.to_stored(point, |weight| R::from_f64(weight).to_f64());
        let order = Order { want, point: &stored, sample, exact: self.exact };
        let began = Instant::now();
        let found = match self.passes.make(self.setup, &order) {
            Err(Error::Data(IoError::Interrupted)) => return Ok(Made::Interrupted),
            other => other?,
        };
        lane(self.setup).span("pass", began, Some(u64::from(self.answer.passes) + 1));
        let space = &self.setup.space;
        let evaluation =
            if want == Want::Gram { derive::quadratic(space, &found)? } else { derive::evaluation(space, &found)? };
        self.tell(&evaluation, &found, point, want, sample, penalty, configuration);
        Ok(Made::Whole(evaluation, found.stop))
    }

    #[allow(clippy::too_many_arguments, reason = "one call; they are the fields of a report")]
    fn tell(
        &mut self,
        evaluation: &Evaluation,
        found: &Found,
        point: &[f64],
        want: Want,
        sample: Sample,
        penalty: &Penalty,
        configuration: usize,
    ) {
        let mut smooth = evaluation.gradient.clone();
        penalty.add_smooth(point, &mut smooth);
        let collected = match want {
            Want::Gradient => "gradient",
            Want::Hessian => "hessian",
            Want::Gram => "gram",
        };
        let every = u64::from(sample.every);
        let rows = self.setup.statistics.rows / every;
        let (once, pairs) = self.setup.multiply_adds();
        let multiply_adds = rows as f64
            * match want {
                Want::Gradient => 2.0 * once,
                Want::Hessian => 2.0 * once + pairs,
                Want::Gram => pairs,
            };
        let workers = self.setup.threads as f64;
        let whole_grains = found.report.rows <= rows;
        let report = PassReport {
            configuration,
            pass: self.answer.passes + 1,
            share: 1.0 / f64::from(sample.every),
            collected: collected.into(),
            objective: (evaluation.loss + penalty.value(point)) * self.setup.target.loss_unit(),
            gradient_norm: norm(&penalty.subgradient(point, &smooth)) * self.setup.target.units.1.abs(),
            rows,
            bytes: if whole_grains { found.report.bytes } else { found.report.bytes / every },
            seconds: found.report.seconds,
            waiting_seconds: found.report.wait_seconds / workers,
            reading_seconds: found.report.view_seconds / workers,
            computing_seconds: found.report.visit_seconds / workers,
            reducing_seconds: found.reducing_seconds,
            read_bytes: found.report.read_bytes,
            multiply_adds,
        };
        self.answer.count(&report, sample.is_all());
        self.setup.company.watch.pass(&report);
        self.history.push(report);
    }

    /// A configuration is done.
    fn finish(&mut self, strengths: Strengths, outcome: Outcome, round: impl Fn(f64) -> f64) {
        let history = std::mem::take(&mut self.history);
        self.answer.warn(self.setup, &outcome);
        self.models.push(answer::fitted(self.setup, strengths, outcome, history, round));
    }

    fn trained(self) -> Result<Ended> {
        let trained: Trained = {
            let arithmetic = if size_of::<R>() == 4 { "f32" } else { "f64" };
            self.answer.trained(self.setup, self.models, self.solver, &self.clock, arithmetic)?
        };
        Ok(Ended::Trained(Box::new(trained)))
    }

    fn interrupted(&self, machine: Option<&Machine>) -> Ended {
        Ended::Interrupted(Box::new(self.checkpoint(machine)))
    }

    /// Where this training stands between passes.
    fn checkpoint(&self, machine: Option<&Machine>) -> Checkpoint {
        Checkpoint {
            format: CHECKPOINT_FORMAT,
            plan: self.plan.clone(),
            fingerprint: self.setup.dataset.manifest().fingerprint.clone(),
            models: self.models.clone(),
            state: State { machine: machine.cloned(), history: self.history.clone(), rows_read: self.answer.rows_read },
            warnings: self.answer.warnings.clone(),
            passes: self.answer.passes,
        }
    }
}
