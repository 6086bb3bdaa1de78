//! Limited-memory BFGS with a strong Wolfe line search.
//!
//! | | |
//! |---|---|
//! | objective | f convex and smooth, l2 |
//! | input | one gradient pass a step, seldom two |
//! | output | a point whose estimated gap is below the tolerance |
//! | cost | 2 p multiply-adds a row a pass, 40 n a step beside it, 22 n numbers of memory |
//! | paper | Liu and Nocedal, "On the limited memory BFGS method for large scale optimization" (1989); Nocedal and Wright, algorithm 7.5 |
//!
//! Stop: g'Hg / 2 with the quasi-Newton H, the decrease that the next step promises, and the gap that the last decreases imply
//! (see `rest`) are below the tolerance; or the objective no longer falls by more than the arithmetic of a row resolves.

use serde::{Deserialize, Serialize};

use super::dense::{axpy, dot, norm};
use super::line_search::{LineSearch, Verdict};
use super::memory::Memory;
use super::rest::{self, Pace, Rest, Sight};
use super::schedule::Schedule;
use super::second_order::Problem;
use super::{Collect, Evaluation, Outcome, Request, SEPARATED_WARNING, Solver, Status};

/// The state machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lbfgs {
    problem: Problem,
    schedule: Schedule,
    memory: Memory,
    trial: Vec<f64>,
    /// The last good point of this sample.
    best: Option<Best>,
    search: Option<LineSearch>,
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
    gradient: Vec<f64>,
    direction: Vec<f64>,
    /// Decrease that the next step promises.
    promise: f64,
}

impl Lbfgs {
    /// From `start`.
    pub fn new(problem: Problem, start: Vec<f64>, schedule: Schedule) -> Lbfgs {
        let memory = Memory::default();
        Lbfgs {
            problem,
            schedule,
            memory,
            trial: start,
            best: None,
            search: None,
            full_passes: 0,
            rest: Rest::default(),
        }
    }

    /// A good point: learn from the way to it, and judge.
    fn arrive(&mut self, loss: f64, objective: f64, gradient: Vec<f64>, last: Option<Best>) -> Status {
        let mut decrease = f64::INFINITY;
        if let Some(last) = last {
            let s = self.trial.iter().zip(&last.point).map(|(a, b)| a - b).collect();
            let y = gradient.iter().zip(&last.gradient).map(|(a, b)| a - b).collect();
            self.memory.push(s, y, &self.problem.penalty.l2);
            decrease = last.objective - objective;
        }
        let mut direction = self.memory.direction(&gradient, &self.problem.penalty.l2);
        if dot(&direction, &gradient) >= 0.0 {
            self.memory.clear();
            direction = self.memory.direction(&gradient, &self.problem.penalty.l2);
        }
        let promise = -dot(&direction, &gradient) / 2.0;
        let best = Best { point: self.trial.clone(), loss, objective, gradient, direction, promise };
        if self.schedule.sample().is_all() { self.judge(best) } else { self.judge_sample(best, decrease) }
    }

    fn judge_sample(&mut self, best: Best, decrease: f64) -> Status {
        let enough = self.schedule.gap() * best.objective.abs();
        let told = !self.memory.is_empty() && best.promise <= enough && decrease <= 4.0 * enough;
        if told || self.schedule.is_spent(&self.problem, best.loss) {
            self.schedule.advance();
            self.trial = best.point;
            self.best = None;
            self.search = None;
            return Status::Continue;
        }
        self.step(best)
    }

    fn judge(&mut self, best: Best) -> Status {
        let limits = self.problem.limits;
        if self.problem.penalty.is_none() && limits.is_separated(best.loss) {
            return self.done(best, false, "separable data".into(), vec![SEPARATED_WARNING.into()]);
        }
        if best.gradient.iter().all(|&g| g == 0.0) {
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
            bound: rest::bound(&self.problem.penalty, &best.gradient),
            enough: limits.gap(best.objective),
            noise: limits.noise_of(best.objective),
        }
    }

    fn step(&mut self, best: Best) -> Status {
        let slope = dot(&best.direction, &best.gradient);
        let first = if self.memory.is_empty() { 1.0f64.min(1.0 / (-slope).sqrt()) } else { 1.0 };
        let noise = self.problem.limits.noise_of(best.objective);
        self.search = Some(LineSearch::new(best.objective, slope, first, noise));
        self.try_step(best, first)
    }

    fn try_step(&mut self, best: Best, length: f64) -> Status {
        self.trial = best.point.clone();
        axpy(length, &best.direction, &mut self.trial);
        self.best = Some(best);
        Status::Continue
    }

    /// The search found nothing: forget the memory once, else this is as low as the arithmetic can tell.
    fn give_up(&mut self, best: Best) -> Status {
        if !self.memory.is_empty() && best.promise > self.problem.limits.noise_of(best.objective) {
            self.memory.clear();
            let direction = self.memory.direction(&best.gradient, &self.problem.penalty.l2);
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
            gradient_norm: Some(norm(&best.gradient)),
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

impl Solver for Lbfgs {
    fn request(&self) -> Request<'_> {
        Request { point: &self.trial, collect: Collect::Gradient, sample: self.schedule.sample(), lift: 0.0 }
    }

    fn absorb(&mut self, found: Evaluation) -> Status {
        self.schedule.count();
        self.full_passes += u32::from(self.schedule.sample().is_all());
        let objective = found.loss + self.problem.penalty.value(&self.trial);
        let mut gradient = found.gradient;
        self.problem.penalty.add_smooth(&self.trial, &mut gradient);
        let (Some(best), Some(mut search)) = (self.best.take(), self.search.take()) else {
            return self.arrive(found.loss, objective, gradient, None);
        };
        match search.absorb(objective, dot(&gradient, &best.direction)) {
            Verdict::Accept => self.arrive(found.loss, objective, gradient, Some(best)),
            Verdict::Fail => self.give_up(best),
            Verdict::Try(_) if self.full_passes >= self.problem.limits.passes_max => {
                self.done(best, false, "pass limit".into(), Vec::new())
            }
            Verdict::Try(length) => {
                self.search = Some(search);
                self.try_step(best, length)
            }
        }
    }
}
