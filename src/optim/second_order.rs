//! The loop that [`super::newton`] and [`super::proximal_newton`] share: at a point, replace the loss by its second-order
//! model, minimise that with the penalty as it is, go there, halve the step while the objective does not fall.
//!
//! Samples: on each sample of the schedule the steps go on until what is left is below what the sample can tell. The
//! Hessian of the largest sample is then kept while passes over all rows collect the gradient alone; a full Hessian is asked
//! for when steps with the kept one shrink the gap by less than `SHRINK`, or when the gradient has a part that the kept
//! one does not know (a level that no sampled row has). The Hessian of a smaller sample is kept on the next, and on all rows,
//! where it is of so many rows that one step by it will do on each. The last word is the gradient of all rows.
//!
//! Losses with a rounded kink are all but straight away from it. Their Hessian is lifted part of the way to that of parabolas nowhere below the
//! loss: less after a step that keeps what its model promised, more after one that is too long (as Levenberg 1944 and Marquardt 1963 damp theirs;
//! with all of it, which is the majorisation of Hunter and Lange, "Quantile Regression via an MM Algorithm", 2000, no step is).
//!
//! Stop: the decrease that the model predicts, an estimate of the gap, is below the tolerance; or below what the arithmetic
//! of a row can resolve.

use serde::{Deserialize, Serialize};

use super::dense::{Matrix, axpy, dot, norm};
use super::quadratic::Quadratic;
use super::schedule::Schedule;
use super::{Collect, Evaluation, Limits, Outcome, Penalty, Request, SEPARATED_WARNING, Sample, Status};

/// A kept Hessian must shrink the gap by this factor a pass, or it is collected anew.
const SHRINK: f64 = 0.05;
/// Newton's method squares the gap as a share of the objective; so many squares are left, or fewer. A Hessian that was collected at a
/// gap shrinks smaller ones by as many times that gap.
const SQUARES: f64 = 10.0;
/// Most steps on one sample.
const SAMPLE_STEPS_MAX: u32 = 12;
/// Share of the predicted decrease that a step must reach (Armijo).
const DECREASE: f64 = 1e-4;
/// Most halvings of a step.
const HALVINGS_MAX: u32 = 40;
/// A part of the gradient this large, relative to all of it, that a sampled Hessian does not know asks for a full one.
const UNKNOWN: f64 = 1e-4;
/// The same of a Hessian of all rows, relative to the greatest gradient on the way: well above what rounding leaves of a gradient
/// along dependent columns.
const BLIND: f64 = 1e-4;

/// Most halvings of steps by exact models while there is much to gain; a well-meant Hessian takes a few.
const SHORTENED_MAX: u32 = 40;

/// How far curvature is lifted first, and at least.
const LIFT_FIRST: f64 = 0.01;
const LIFT_LEAST: f64 = 1e-14;
/// Of what a model promises, a step that keeps more than the first lets curvature be lifted less, one that keeps less than the second more.
const KEPT: (f64, f64) = (0.75, 0.25);
/// How much less, how much more, and how much more where even half of half a step is too long; no less than the last then.
const LIFTS: (f64, f64, f64, f64) = (8.0, 4.0, 16.0, 1e-3);

/// How a model is minimised: the minimiser of a quadratic under a penalty, started at a point, to a gap.
pub type Subproblem = fn(&Quadratic, &Penalty, &[f64], f64) -> Outcome;

/// What the loop needs to know of the problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Strengths.
    pub penalty: Penalty,
    /// True when the last coordinate is an intercept.
    pub intercept: bool,
    /// See [`Quadratic::metric`].
    pub metric: Vec<f64>,
    /// True for a loss with a rounded kink, whose curvature may be lifted ([`Request::lift`]).
    #[serde(default)]
    pub is_rounded: bool,
    /// When to stop.
    pub limits: Limits,
}

/// State of the loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecondOrder {
    problem: Problem,
    schedule: Schedule,
    /// The point whose pass is asked for, and what that pass collects.
    trial: Vec<f64>,
    collect: Collect,
    /// The last good point of this sample.
    best: Option<Best>,
    /// The Hessian in use, and the sample it is from.
    hessian: Option<(Matrix, Sample)>,
    /// What a step by that Hessian leaves of a gap on other samples, as a share.
    #[serde(default)]
    leaves: f64,
    /// Gap at the good point before the last; none: nothing to judge the kept Hessian by.
    last_gap: Option<f64>,
    full_passes: u32,
    /// Steps on this sample, and in all.
    sample_steps: u32,
    steps: u32,
    halvings: u32,
    dependent: Vec<usize>,
    /// The greatest gradient so far.
    #[serde(default)]
    steepest: f64,
    /// See [`SecondOrder::exactly`] and [`SecondOrder::blind`].
    #[serde(default)]
    is_exact: bool,
    #[serde(default)]
    is_blind: bool,
    /// Halvings of steps on all rows while there was much to gain.
    #[serde(default)]
    shortened: u32,
    /// How far the next Hessian is lifted, and the one in use.
    #[serde(default)]
    lift: f64,
    #[serde(default)]
    lifted: f64,
}

/// A point, and what is known there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Best {
    point: Vec<f64>,
    loss: f64,
    objective: f64,
    gradient_norm: f64,
    /// Step to the minimiser of the model.
    direction: Vec<f64>,
    /// First-order change of the objective along it (negative).
    slope: f64,
    /// Decrease that the model promises.
    gap: f64,
    /// Part of the gradient that the Hessian does not know.
    unknown: f64,
    /// What no curvature answers of the gradient.
    #[serde(default)]
    unseen: f64,
}

impl SecondOrder {
    /// From `start`, through the samples of `schedule`.
    pub fn new(problem: Problem, start: Vec<f64>, schedule: Schedule) -> SecondOrder {
        let lift = if problem.is_rounded { LIFT_FIRST } else { 0.0 };
        SecondOrder {
            problem,
            schedule,
            trial: start,
            collect: Collect::Hessian,
            best: None,
            hessian: None,
            leaves: 0.0,
            last_gap: None,
            full_passes: 0,
            sample_steps: 0,
            steps: 0,
            halvings: 0,
            dependent: Vec::new(),
            steepest: 0.0,
            is_exact: false,
            is_blind: false,
            shortened: 0,
            lift,
            lifted: lift,
        }
    }

    /// Models are minimised exactly: what is left of the gradient at a minimum is what the Hessian does not know. Of a minimum that is
    /// found to a gap it is what coordinates without curvature have.
    pub fn exactly(self) -> SecondOrder {
        SecondOrder { is_exact: true, ..self }
    }

    /// After the end: the problem that is left, when it ended because the Hessian of all rows is 0 along a part of the gradient, or
    /// steps by it were too long again and again. Losses with straight parts (huber far from many rows) have such places, which
    /// steps of this kind leave slowly or never.
    pub fn blind(&self) -> Option<Problem> {
        let mut problem = self.problem.clone();
        problem.limits.passes_max = problem.limits.passes_max.saturating_sub(self.full_passes).max(1);
        self.is_blind.then_some(problem)
    }

    /// See [`super::Solver::request`].
    pub fn request(&self) -> Request<'_> {
        Request { point: &self.trial, collect: self.collect, sample: self.schedule.sample(), lift: self.lift }
    }

    /// See [`super::Solver::absorb`].
    pub fn absorb(&mut self, found: Evaluation, subproblem: Subproblem) -> Status {
        let sample = self.schedule.sample();
        self.full_passes += u32::from(sample.is_all());
        let objective = found.loss + self.problem.penalty.value(&self.trial);
        let last = self.best.take();
        let promised = last.as_ref().map(|last| (last.gap, last.objective));
        if let Some(last) = last {
            if !self.falls_enough(&last, objective) {
                return self.shorten(last);
            }
            self.last_gap = Some(last.gap);
        }
        if let Some(hessian) = found.hessian {
            self.hessian = Some((hessian, sample));
            self.lifted = self.lift;
        }
        if let Some((gap, before)) = promised {
            self.trust(gap, before, objective);
        }
        let best = self.model(found.loss, objective, &found.gradient, subproblem);
        self.steepest = self.steepest.max(best.gradient_norm);
        self.steps += 1;
        self.sample_steps += 1;
        self.halvings = 0;
        if sample.is_all() { self.judge(best) } else { self.judge_sample(best) }
    }

    fn falls_enough(&self, last: &Best, objective: f64) -> bool {
        let length = 0.5f64.powi(self.halvings as i32);
        let slack = self.problem.limits.noise_of(last.objective);
        objective <= last.objective + DECREASE * length * last.slope + slack
    }

    /// Half the step, or the end when there is nothing left of it.
    fn shorten(&mut self, last: Best) -> Status {
        self.halvings += 1;
        let is_much = last.gap > 1e3 * self.problem.limits.noise_of(last.objective);
        self.shortened += u32::from(is_much && self.schedule.sample().is_all());
        let is_stuck = is_much && self.halvings > HALVINGS_MAX;
        // With all of the chord's curvature a step cannot be too long.
        if self.halvings >= 2 && self.problem.is_rounded && self.lifted < 1.0 && !self.at_limit() {
            self.lift = (self.lifted * LIFTS.2).clamp(LIFTS.3, 1.0);
            return self.ask(last.point, Collect::Hessian);
        }
        let is_slow = self.is_exact && self.shortened > SHORTENED_MAX && !self.problem.is_rounded;
        if (is_stuck || is_slow) && !self.at_limit() {
            self.is_blind = true;
            return self.done(last, false, "steps by the Hessian are too long".into(), Vec::new());
        }
        if self.halvings > HALVINGS_MAX || self.at_limit() {
            let resolved = last.gap <= 1e3 * self.problem.limits.noise_of(last.objective);
            let reason =
                if self.at_limit() { "pass limit" } else { "no further decrease at the precision of the data" };
            return self.done(last, resolved && !self.at_limit(), reason.into(), Vec::new());
        }
        // A kept Hessian that misleads is replaced at the good point.
        let kept = self.hessian.as_ref().is_some_and(|(_, sample)| !sample.is_all());
        if kept && self.halvings >= 2 {
            return self.ask(last.point, Collect::Hessian);
        }
        self.trial = last.point.clone();
        axpy(0.5f64.powi(self.halvings as i32), &last.direction, &mut self.trial);
        self.best = Some(last);
        Status::Continue
    }

    /// How far curvature is lifted from here on, by what the step to `objective` kept of the decrease that its model promised.
    fn trust(&mut self, promised: f64, before: f64, objective: f64) {
        if !self.problem.is_rounded {
            return;
        }
        let is_noise = promised <= self.problem.limits.noise_of(before);
        let kept = (before - objective) / promised.max(f64::MIN_POSITIVE);
        if self.halvings > 0 || (kept < KEPT.1 && !is_noise) {
            self.lift = (self.lift * LIFTS.1).min(1.0);
        } else if kept > KEPT.0 || is_noise {
            self.lift = (self.lift / LIFTS.0).max(LIFT_LEAST);
        }
    }

    /// Minimises the second-order model at the trial point.
    fn model(&mut self, loss: f64, objective: f64, gradient: &[f64], subproblem: Subproblem) -> Best {
        let penalty = &self.problem.penalty;
        let point = self.trial.clone();
        let mut smooth = gradient.to_vec();
        penalty.add_smooth(&point, &mut smooth);
        let here = norm(&penalty.subgradient(&point, &smooth));
        let Some((hessian, _)) = &self.hessian else {
            // The first pass always collects a Hessian; without one there is no step.
            let nothing = vec![0.0; point.len()];
            return Best {
                point,
                loss,
                objective,
                gradient_norm: here,
                direction: nothing,
                slope: 0.0,
                gap: 0.0,
                unknown: 0.0,
                unseen: 0.0,
            };
        };
        let mut at_zero = vec![0.0; point.len()];
        hessian.times(&point, &mut at_zero);
        for (a, g) in at_zero.iter_mut().zip(gradient) {
            *a = g - *a;
        }
        let quadratic = Quadratic {
            loss,
            gradient: at_zero,
            hessian: hessian.clone(),
            intercept: self.problem.intercept,
            metric: self.problem.metric.clone(),
            noise: self.problem.limits.noise,
        };
        let minimum = subproblem(&quadratic, penalty, &point, self.problem.limits.gap(objective) * 1e-2);
        let direction: Vec<f64> = minimum.point.iter().zip(&point).map(|(to, from)| to - from).collect();
        let mut bent = vec![0.0; point.len()];
        hessian.times(&direction, &mut bent);
        let change = penalty.value(&minimum.point) - penalty.value(&point);
        let gap = (-dot(gradient, &direction) - dot(&direction, &bent) / 2.0 - change).max(0.0);
        let l1: f64 =
            penalty.l1.iter().zip(&point).zip(&minimum.point).map(|((l1, a), b)| l1 * (b.abs() - a.abs())).sum();
        let slope = (dot(&smooth, &direction) + l1).min(0.0);
        let left = minimum.gradient_norm.unwrap_or(0.0);
        let unknown = left / here.max(f64::MIN_POSITIVE);
        let is_answered = !self.is_exact && minimum.has_converged();
        let unseen = if is_answered { straight(&quadratic, penalty, &minimum.point) } else { left };
        self.dependent = minimum.dependent;
        Best { point, loss, objective, gradient_norm: here, direction, slope, gap, unknown, unseen }
    }

    /// On a sample: go on, or on to the next.
    fn judge_sample(&mut self, best: Best) -> Status {
        let scale = best.objective.abs().max(f64::MIN_POSITIVE);
        let (share, enough) = (best.gap / scale, self.schedule.gap());
        let is_kept = self.hessian.as_ref().is_some_and(|(_, sample)| *sample != self.schedule.sample());
        if is_kept && best.unknown > UNKNOWN && best.gradient_norm > 0.0 {
            return self.ask(best.point, Collect::Hessian);
        }
        // A step from here may land below what the sample can tell.
        let lands = share * (SQUARES * share + if is_kept { self.leaves } else { 0.0 }) <= enough;
        if share <= enough || lands || self.sample_steps >= SAMPLE_STEPS_MAX {
            if !is_kept {
                self.leaves = self.leaves_of_gaps(share);
            }
            let mut to = best.point;
            if lands {
                axpy(1.0, &best.direction, &mut to);
            }
            let before = self.schedule.gap();
            self.schedule.advance();
            self.sample_steps = 0;
            self.last_gap = None;
            let keeps = lands && (self.schedule.sample().is_all() || self.is_served(before));
            return self.ask(to, if keeps { Collect::Gradient } else { Collect::Hessian });
        }
        self.step(best, Collect::Hessian)
    }

    /// What a step by the Hessian of this sample, collected at a gap, leaves of a gap on other rows: it changed on the way, and misses
    /// that of all rows by about 2 sqrt(p / n), or by what n rows say of the coordinate that fewest of them have.
    fn leaves_of_gaps(&self, share: f64) -> f64 {
        let Some((hessian, _)) = &self.hessian else { return f64::MAX };
        let diagonal = (0..self.trial.len()).map(|j| hessian.at(j, j));
        let (least, most) =
            diagonal.fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), h| (least.min(h), most.max(h)));
        let missed = (4.0 * self.trial.len() as f64 + most / least) / self.schedule.sample_rows();
        (SQUARES * share + missed).min(f64::MAX)
    }

    /// True when one step by the Hessian of the sample before, whose [`Schedule::gap`] is given, will do on this sample and on all rows.
    fn is_served(&self, before: f64) -> bool {
        let here = self.schedule.gap();
        // What a sample cannot tell is ten times its gap, and more as a share of an objective below 1.
        self.leaves * 20.0 * before <= here && self.leaves * 20.0 * here <= 0.5 * self.problem.limits.tolerance
    }

    /// On all rows: stop, or go on.
    fn judge(&mut self, best: Best) -> Status {
        let limits = self.problem.limits;
        let sampled = self.hessian.as_ref().is_some_and(|(_, sample)| !sample.is_all());
        if !(best.objective.is_finite() && best.gap.is_finite()) {
            return self.done(best, false, "the objective is not a finite number".into(), Vec::new());
        }
        if self.problem.penalty.is_none() && limits.is_separated(best.loss) {
            return self.done(best, false, "separable data".into(), vec![SEPARATED_WARNING.into()]);
        }
        if sampled && !self.at_limit() && best.unknown > UNKNOWN && best.gradient_norm > 0.0 {
            return self.ask(best.point, Collect::Hessian);
        }
        let share = best.gap / best.objective.abs().max(f64::MIN_POSITIVE);
        // The gap by a Hessian that does not see the gradient, or of a sample that does not, says nothing.
        let is_blind = best.unseen > BLIND * self.steepest || (sampled && best.unknown > UNKNOWN);
        let is_near = best.gap <= limits.gap(best.objective);
        if is_near && is_blind && !self.at_limit() {
            self.is_blind = true;
            return self.done(best, false, "the Hessian knows no way down".into(), Vec::new());
        }
        if is_near && !is_blind {
            let warnings = self.drift_warning(&best);
            return self.done(best, true, format!("estimated gap {share:.1e} of the objective"), warnings);
        }
        let stalled = self.last_gap.is_some_and(|last| best.gap > 0.5 * last);
        if stalled && best.gap <= limits.noise_of(best.objective) {
            return self.done(best, true, "the precision of the data is reached".into(), Vec::new());
        }
        if self.at_limit() {
            return self.done(best, false, "pass limit".into(), Vec::new());
        }
        let shrinks = self.last_gap.map_or(sampled, |last| best.gap <= SHRINK * last);
        self.step(best, if shrinks { Collect::Gradient } else { Collect::Hessian })
    }

    /// Coefficients that still move far while the objective does not: part of the rows is separated.
    fn drift_warning(&self, best: &Best) -> Vec<String> {
        let largest = |values: &[f64]| values.iter().fold(0.0f64, |a, v| a.max(v.abs()));
        let far = largest(&best.direction) > 0.02 * largest(&best.point);
        let flat = 2.0 * best.gap < 1e-3 * dot(&best.direction, &best.direction) * self.problem.limits.null_loss;
        if self.problem.limits.open && self.problem.penalty.is_none() && self.steps >= 8 && far && flat {
            vec![
                "Some rows are perfectly separated by the columns (a level or a combination that only one class has): \
                 without a penalty some coefficients grow without bound. Add --l2 (or --l1) for finite ones."
                    .into(),
            ]
        } else {
            Vec::new()
        }
    }

    fn step(&mut self, best: Best, collect: Collect) -> Status {
        self.trial = best.point.clone();
        axpy(1.0, &best.direction, &mut self.trial);
        self.collect = collect;
        self.best = Some(best);
        Status::Continue
    }

    /// A pass at a point that no other is compared with.
    fn ask(&mut self, point: Vec<f64>, collect: Collect) -> Status {
        self.trial = point;
        self.collect = collect;
        self.best = None;
        self.halvings = 0;
        Status::Continue
    }

    fn at_limit(&self) -> bool {
        self.full_passes >= self.problem.limits.passes_max
    }

    fn done(&self, best: Best, converged: bool, reason: String, warnings: Vec<String>) -> Status {
        Status::Done(Box::new(Outcome {
            point: best.point,
            loss: best.loss,
            objective: best.objective,
            gradient_norm: Some(best.gradient_norm),
            converged: Some(converged),
            reason,
            warnings,
            dependent: self.dependent.clone(),
        }))
    }
}

/// The part of the gradient at `point` that lies in coordinates along which the quadratic is straight.
fn straight(quadratic: &Quadratic, penalty: &Penalty, point: &[f64]) -> f64 {
    let mut left = penalty.subgradient(point, &quadratic.at(point, penalty).smooth);
    for (j, left) in left.iter_mut().enumerate() {
        if quadratic.hessian.at(j, j) > 0.0 {
            *left = 0.0;
        }
    }
    norm(&left)
}
