//! The loop of the solvers: ask all that are on their way, make the pass, let each absorb what was found at its point, until
//! all are done.
//!
//! Each solver sees only its own point, and what a pass finds there is the same to the bit whatever other points it has: so a
//! model does not depend on what is trained beside it. As many are on their way at once as fit into memory.

use std::time::Instant;

use gristmill_kernels::Real;

use super::derive;
use super::drive::{Next, Training, lane};
use super::narrow;
use super::pass::{Found, Point, Want};
use super::setup::Setup;
use super::tasks::{self, Rounding, Stand, Task};
use crate::error::{Error, Result};
use crate::models::Smoothing;
use crate::optim::dense::norm;
use crate::optim::machine::Machine;
use crate::optim::schedule::Schedule;
use crate::optim::second_order::Problem;
use crate::optim::{Collect, Evaluation, Limits, Outcome, Penalty, Solver, Status};
use crate::plan::SolverName;
use crate::train::PointReport;

/// Multiply-adds of the solvers beyond which they go on several threads.
const SERIAL_MAX: usize = 1 << 20;

impl<R: Real + Default> Training<'_, R> {
    /// Pass after pass, until every model is done.
    ///
    /// # Errors
    /// When a pass fails.
    pub(super) fn iterate(&mut self) -> Result<Next> {
        loop {
            self.admit().map_err(|error| self.of_all(error))?;
            let Some(sample) = tasks::next_sample(&self.tasks) else { return Ok(Next::GoOn) };
            self.stand();
            let asked: Vec<usize> =
                (0..self.tasks.len()).filter(|&number| self.tasks[number].sample() == Some(sample)).collect();
            let points: Vec<Point> = asked.iter().flat_map(|&number| self.points(&self.tasks[number])).collect();
            let Some((found, reduced)) = self.pass(&points, sample)? else { return Ok(Next::Stop) };
            let solving = Instant::now();
            let reports = self.absorb(&asked, &found).map_err(|error| self.of_all(error))?;
            lane(self.setup).span("solve", solving, None);
            if sample.is_all() {
                asked.iter().for_each(|&number| self.tasks[number].passes += 1);
            }
            let multiply_adds = points.iter().map(|point| point.want.multiply_adds(self.setup)).sum();
            self.tell(reports, multiply_adds, sample, &reduced);
            if self.stops(&reduced) {
                return Ok(Next::Stop);
            }
        }
    }

    /// Sends models on their way while there is room for them.
    fn admit(&mut self) -> Result<()> {
        let mut running = self.tasks.iter().filter(|task| task.sample().is_some()).count();
        for number in 0..self.tasks.len() {
            let task = &self.tasks[number];
            if running < self.setup.shares.together && matches!(task.stand, Stand::Waiting) {
                if task.rounding.is_none() {
                    self.tasks[number].rounding = self.first_rounding(task);
                }
                let task = &self.tasks[number];
                self.tasks[number].stand = Stand::Running(Box::new(self.machine(task)?));
                running += 1;
            }
        }
        Ok(())
    }

    /// How a loss with a kink is rounded first.
    pub(super) fn first_rounding(&self, task: &Task) -> Option<Rounding> {
        self.setup.model.kink()?;
        let moments = self.known.of(task.left_out).moments(task.against);
        Some(Rounding {
            width: narrow::first_width(&*self.setup.model, &moments, self.plan.intercept),
            count: 1,
            from: None,
        })
    }

    fn machine(&self, task: &Task) -> Result<Machine> {
        let totals = self.known.of(task.left_out);
        // A row that no sample holds may have a mean beyond all numbers at the minimum of the sample.
        let schedule = match self.setup.deviance() {
            Some(_) => Schedule::whole(),
            None => Schedule::new(totals.rows, self.setup.joint * self.setup.space.mean.len()),
        };
        match task.rounding.as_ref().and_then(|rounding| rounding.from.clone()) {
            // The minimum of a wider kink is nearer than that of a sample.
            Some(before) => self.machine_at(task, before, Schedule::whole()),
            None => self.machine_at(task, self.start(task), schedule),
        }
    }

    /// The solver of a model, to begin at a point.
    pub(super) fn machine_at(&self, task: &Task, start: Vec<f64>, schedule: Schedule) -> Result<Machine> {
        let solver = self.solver_by_passes(task.strengths);
        let start = if solver == SolverName::Newton { self.centred(start) } else { start };
        let problem = Problem {
            penalty: self.penalty(task.strengths),
            intercept: self.plan.intercept,
            metric: self.setup.space.metric().repeat(self.setup.joint),
            is_rounded: task.rounding.is_some(),
            limits: match &task.rounding {
                Some(_) => narrow::limits(self.limits(task.left_out, task.against), task.passes),
                None => self.limits(task.left_out, task.against),
            },
        };
        Machine::new(solver, problem, start, schedule)
            .ok_or_else(|| Error::usage(format!("solver '{}' makes no steps", solver.name())))
    }

    /// A point of the same loss and no greater penalty: what all classes of a joint loss have in common is taken away, which the
    /// Hessian takes for granted (see [`derive`]).
    fn centred(&self, mut point: Vec<f64>) -> Vec<f64> {
        let (joint, n) = (self.setup.joint, self.setup.space.coordinates());
        if joint > 1 {
            for j in 0..n {
                let mean = (0..joint).map(|class| point[class * n + j]).sum::<f64>() / joint as f64;
                (0..joint).for_each(|class| point[class * n + j] -= mean);
            }
        }
        point
    }

    /// Where a model starts: as it was told, or at the best intercepts and no slopes.
    pub(super) fn start(&self, task: &Task) -> Vec<f64> {
        let n = self.setup.space.coordinates();
        match (&self.from, task.against) {
            (Some(from), None) => from.clone(),
            (Some(from), Some(class)) => from[usize::from(class) * n..][..n].to_vec(),
            (None, _) => {
                let totals = self.known.of(task.left_out);
                let mut point = vec![0.0; self.setup.coordinates()];
                let starts = self.setup.model.start(&totals.moments(task.against));
                for (margin, start) in point.chunks_exact_mut(n).zip(starts).filter(|_| self.plan.intercept) {
                    margin[n - 1] = start - self.setup.offset_mean;
                }
                point
            }
        }
    }

    /// Where a solver wants to be told of the loss: a point for each margin.
    fn points(&self, task: &Task) -> Vec<Point> {
        let width = task.rounding.as_ref().map_or(0.0, |rounding| rounding.width);
        let (left_out, against) = (task.left_out, task.against);
        let points = |point: &[f64], want: Want, smoothing: Smoothing| {
            let stored = self.setup.to_stored(point, self.rounding(task)).into_iter();
            stored.map(|at| Point { at, want, left_out, against, smoothing }).collect::<Vec<Point>>()
        };
        match &task.stand {
            Stand::Running(machine) => {
                let request = machine.request();
                let want = if request.collect == Collect::Hessian { Want::Hessian } else { Want::Gradient };
                let smoothing = match (width > 0.0, request.lift > 0.0) {
                    (false, _) => Smoothing::Exact,
                    (true, false) => Smoothing::Width(width),
                    (true, true) => Smoothing::Lifted(width, request.lift),
                };
                points(request.point, want, smoothing)
            }
            Stand::Certifying(outcome) => {
                let [loss, gap] = [Smoothing::Exact, Smoothing::Gap(width)]
                    .map(|smoothing| points(&outcome.point, Want::Gradient, smoothing));
                [loss, gap].concat()
            }
            Stand::Waiting | Stand::Learning(_) | Stand::Done(_) => Vec::new(),
        }
    }

    /// Every solver that asked takes in what was found at its point.
    fn absorb(&mut self, asked: &[usize], found: &[Found]) -> Result<Vec<PointReport>> {
        let (setup, known, n) = (self.setup, &self.known, self.setup.coordinates());
        let penalties: Vec<Penalty> = asked.iter().map(|&number| self.penalty(self.tasks[number].strengths)).collect();
        let matrices = found.iter().filter(|found| !found.matrices.is_empty()).count();
        let threads = if matrices * n * n * n + found.len() * n < SERIAL_MAX { 1 } else { setup.threads };
        let (mut joint, mut rest): (Vec<&[Found]>, &[Found]) = (Vec::new(), found);
        for &number in asked {
            let (own, others) = rest.split_at(self.tasks[number].points(setup.joint));
            joint.push(own);
            rest = others;
        }
        let limits: Vec<Limits> =
            asked.iter().map(|&number| self.limits(self.tasks[number].left_out, self.tasks[number].against)).collect();
        let tasks = self.tasks.iter_mut().enumerate().filter(|(number, _)| asked.binary_search(number).is_ok());
        let items: Vec<_> = tasks.map(|(_, task)| task).zip(joint).zip(penalties.into_iter().zip(limits)).collect();
        let absorbed = tasks::side_by_side(threads, items, |((task, found), (penalty, limits))| {
            if let Stand::Certifying(outcome) = &task.stand {
                let outcome = (**outcome).clone();
                return certified(setup, task, &outcome, found, (&penalty, &limits)).map(Some);
            }
            let Stand::Running(machine) = &mut task.stand else { return Ok(None) };
            let mut evaluation = derive::evaluation(&setup.space, found)?;
            if !found.iter().any(|found| found.beyond) {
                let totals = known.of(task.left_out);
                evaluation.loss -= totals.saturated / totals.weight;
            }
            let request = machine.request();
            let collected = if request.collect == Collect::Hessian { "hessian" } else { "gradient" };
            let (objective, gradient_norm) = told(&evaluation, request.point, &penalty);
            let report = PointReport {
                configuration: task.configuration,
                left_out: task.left_out,
                against: task.against,
                collected: collected.into(),
                objective: objective * setup.target.loss_unit(),
                gradient_norm: gradient_norm * setup.target.units.1.abs(),
                held_out: None,
            };
            if let Status::Done(outcome) = machine.absorb(evaluation) {
                let is_rounded = task.rounding.is_some();
                task.stand = if is_rounded { Stand::Certifying(outcome) } else { Stand::Done(outcome) };
            }
            Ok(Some(report))
        });
        absorbed.into_iter().filter_map(Result::transpose).collect()
    }
}

/// What the certificate of a minimum of a rounded loss says, of the exact loss and of the gap there.
fn certified(
    setup: &Setup<'_>,
    task: &mut Task,
    outcome: &Outcome,
    found: &[Found],
    (penalty, limits): (&Penalty, &Limits),
) -> Result<PointReport> {
    let exact = derive::evaluation(&setup.space, &found[..1])?;
    let gap = derive::evaluation(&setup.space, &found[1..])?.loss;
    let (objective, _) = told(&exact, &outcome.point, penalty);
    if let Some(rounding) = &mut task.rounding {
        let parts = (exact.loss, penalty.value(&outcome.point));
        task.stand = match narrow::judge(outcome, parts, gap, limits, (rounding.width, rounding.count)) {
            narrow::Verdict::Done(outcome) => Stand::Done(Box::new(outcome)),
            narrow::Verdict::Narrower(width) => {
                *rounding = Rounding { width, count: rounding.count + 1, from: Some(outcome.point.clone()) };
                Stand::Waiting
            }
        };
    }
    Ok(PointReport {
        configuration: task.configuration,
        left_out: task.left_out,
        against: task.against,
        held_out: None,
        collected: "gap".into(),
        objective: objective * setup.target.loss_unit(),
        gradient_norm: outcome.gradient_norm.unwrap_or(0.0) * setup.target.units.1.abs(),
    })
}

/// Objective and norm of the smallest subgradient at a point.
pub(super) fn told(found: &Evaluation, point: &[f64], penalty: &Penalty) -> (f64, f64) {
    let mut smooth = found.gradient.clone();
    penalty.add_smooth(point, &mut smooth);
    (found.loss + penalty.value(point), norm(&penalty.subgradient(point, &smooth)))
}
