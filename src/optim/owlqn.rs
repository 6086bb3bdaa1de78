//! OWL-QN: limited-memory quasi-Newton steps under an l1 penalty, each inside one orthant.
//!
//! | | |
//! |---|---|
//! | objective | f convex and smooth, l1 and l2 |
//! | input | one gradient pass a step, seldom two |
//! | output | a point with exact zeros whose estimated gap is below the tolerance |
//! | cost | 2 p multiply-adds a row a pass, 40 n a step beside it, 22 n numbers of memory |
//! | paper | Andrew and Gao, "Scalable Training of L1-Regularized Log-Linear Models" (2007), with the aligned direction of section 3.2 |
//!
//! In an orthant |t_j| is linear, so the objective is smooth there. The orthant is that of the point, and for coordinates at 0
//! the one the subgradient descends into; a step that would leave it stops at 0. Only the smooth part shapes the memory.
//! Stop: as L-BFGS, with the subgradient for the gradient.

use serde::{Deserialize, Serialize};

use super::dense::{dot, norm};
use super::memory::Memory;
use super::rest::{self, Pace, Rest, Sight};
use super::schedule::Schedule;
use super::second_order::Problem;
use super::{Collect, Evaluation, Outcome, Penalty, Request, SEPARATED_WARNING, Solver, Status};

/// Share of the first-order decrease that a step must reach.
const DECREASE: f64 = 1e-4;
/// Most halvings of a step.
const HALVINGS_MAX: u32 = 40;

/// The state machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owlqn {
    problem: Problem,
    schedule: Schedule,
    memory: Memory,
    trial: Vec<f64>,
    best: Option<Best>,
    length: f64,
    halvings: u32,
    full_passes: u32,
    /// Judges when to stop.
    rest: Rest,
}

/// A point, and what is known there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Best {
    point: Vec<f64>,
    loss: f64,
    objective: f64,
    smooth: Vec<f64>,
    subgradient: Vec<f64>,
    direction: Vec<f64>,
    promise: f64,
}

impl Owlqn {
    /// From `start`.
    pub fn new(problem: Problem, start: Vec<f64>, schedule: Schedule) -> Owlqn {
        Owlqn {
            problem,
            schedule,
            memory: Memory::default(),
            trial: start,
            best: None,
            length: 1.0,
            halvings: 0,
            full_passes: 0,
            rest: Rest::default(),
        }
    }

    fn falls_enough(&self, best: &Best, objective: f64) -> bool {
        let moved = self.trial.iter().zip(&best.point).zip(&best.subgradient);
        let first_order: f64 = moved.map(|((to, from), g)| (to - from) * g).sum();
        let slack = self.problem.limits.noise_of(best.objective);
        objective <= best.objective + DECREASE * first_order + slack
    }

    fn arrive(&mut self, loss: f64, objective: f64, smooth: Vec<f64>, last: Option<Best>) -> Status {
        let mut decrease = f64::INFINITY;
        if let Some(last) = last {
            let s = self.trial.iter().zip(&last.point).map(|(a, b)| a - b).collect();
            let y = smooth.iter().zip(&last.smooth).map(|(a, b)| a - b).collect();
            self.memory.push(s, y, &self.problem.penalty.l2);
            decrease = last.objective - objective;
        }
        let best = self.aim(loss, objective, smooth);
        if self.schedule.sample().is_all() { self.judge(best) } else { self.judge_sample(best, decrease) }
    }

    /// The direction of the memory, without the parts that the subgradient does not descend along.
    fn aim(&mut self, loss: f64, objective: f64, smooth: Vec<f64>) -> Best {
        let point = self.trial.clone();
        let subgradient = self.problem.penalty.subgradient(&point, &smooth);
        let mut direction = aligned(&self.memory, &subgradient, &self.problem.penalty);
        if dot(&direction, &subgradient) >= 0.0 {
            self.memory.clear();
            direction = aligned(&self.memory, &subgradient, &self.problem.penalty);
        }
        let promise = -dot(&direction, &subgradient) / 2.0;
        Best { point, loss, objective, smooth, subgradient, direction, promise }
    }

    fn judge_sample(&mut self, best: Best, decrease: f64) -> Status {
        let enough = self.schedule.gap() * best.objective.abs();
        let told = !self.memory.is_empty() && best.promise <= enough && decrease <= 4.0 * enough;
        if told || self.schedule.is_spent(&self.problem, best.loss) {
            self.schedule.advance();
            self.trial = best.point;
            return Status::Continue;
        }
        self.step(best)
    }

    fn judge(&mut self, best: Best) -> Status {
        let limits = self.problem.limits;
        if self.problem.penalty.is_none() && limits.is_separated(best.loss) {
            return self.done(best, false, "separable data".into(), vec![SEPARATED_WARNING.into()]);
        }
        if best.subgradient.iter().all(|&g| g == 0.0) {
            return self.done(best, true, "the gradient is zero".into(), Vec::new());
        }
        match self.rest.absorb(&self.sight(&best)) {
            Pace::Near(gap) => {
                let share = gap / best.objective.abs().max(f64::MIN_POSITIVE);
                return self.done(best, true, format!("estimated gap {share:.1e} of the objective"), Vec::new());
            }
            Pace::Still(resolved) => {
                return self.done(best, resolved, "the precision of the data is reached".into(), Vec::new());
            }
            Pace::Moving => {}
        }
        if self.full_passes >= limits.passes_max {
            return self.done(best, false, "pass limit".into(), Vec::new());
        }
        self.step(best)
    }

    fn sight(&self, best: &Best) -> Sight {
        let limits = &self.problem.limits;
        Sight {
            objective: best.objective,
            promise: best.promise,
            bound: rest::bound(&self.problem.penalty, &best.subgradient),
            enough: limits.gap(best.objective),
            noise: limits.noise_of(best.objective),
        }
    }

    fn step(&mut self, best: Best) -> Status {
        let slope = dot(&best.direction, &best.subgradient);
        self.length = if self.memory.is_empty() { 1.0f64.min(1.0 / (-slope).sqrt()) } else { 1.0 };
        self.halvings = 0;
        self.try_step(best)
    }

    /// The step, stopped at the walls of the orthant.
    fn try_step(&mut self, best: Best) -> Status {
        let l1 = &self.problem.penalty.l1;
        self.trial = (0..best.point.len())
            .map(|j| {
                let (from, to) = (best.point[j], best.point[j] + self.length * best.direction[j]);
                let side = if from != 0.0 { from } else { -best.subgradient[j] };
                if l1[j] == 0.0 || to * side > 0.0 { to } else { 0.0 }
            })
            .collect();
        self.best = Some(best);
        Status::Continue
    }

    fn shorten(&mut self, best: Best) -> Status {
        self.halvings += 1;
        self.length *= 0.5;
        if self.full_passes >= self.problem.limits.passes_max {
            return self.done(best, false, "pass limit".into(), Vec::new());
        }
        if self.halvings <= HALVINGS_MAX && (self.halvings <= 8 || self.memory.is_empty()) {
            return self.try_step(best);
        }
        let noise = self.problem.limits.noise_of(best.objective);
        if !self.memory.is_empty() && best.promise > noise {
            self.memory.clear();
            let direction = aligned(&self.memory, &best.subgradient, &self.problem.penalty);
            return self.step(Best { direction, ..best });
        }
        if !self.schedule.sample().is_all() {
            self.schedule.advance();
            self.trial = best.point;
            return Status::Continue;
        }
        let resolved = self.sight(&best).is_resolved();
        self.done(best, resolved, "no further decrease at the precision of the data".into(), Vec::new())
    }

    fn done(&self, best: Best, converged: bool, reason: String, warnings: Vec<String>) -> Status {
        Status::Done(Box::new(Outcome {
            gradient_norm: Some(norm(&best.subgradient)),
            point: best.point,
            loss: best.loss,
            objective: best.objective,
            converged: Some(converged),
            reason,
            warnings,
            dependent: Vec::new(),
        }))
    }
}

/// The direction of the memory, without the parts of penalised coordinates that the subgradient does not descend along; the
/// others have no orthant to stay in.
fn aligned(memory: &Memory, subgradient: &[f64], penalty: &Penalty) -> Vec<f64> {
    let mut direction = memory.direction(subgradient, &penalty.l2);
    for ((d, g), l1) in direction.iter_mut().zip(subgradient).zip(&penalty.l1) {
        if *l1 > 0.0 && *d * g >= 0.0 {
            *d = 0.0;
        }
    }
    direction
}

impl Solver for Owlqn {
    fn request(&self) -> Request<'_> {
        Request { point: &self.trial, collect: Collect::Gradient, sample: self.schedule.sample(), lift: 0.0 }
    }

    fn absorb(&mut self, found: Evaluation) -> Status {
        self.schedule.count();
        self.full_passes += u32::from(self.schedule.sample().is_all());
        let objective = found.loss + self.problem.penalty.value(&self.trial);
        let mut smooth = found.gradient;
        self.problem.penalty.add_smooth(&self.trial, &mut smooth);
        match self.best.take() {
            Some(best) if !self.falls_enough(&best, objective) => self.shorten(best),
            best => self.arrive(found.loss, objective, smooth, best),
        }
    }
}
