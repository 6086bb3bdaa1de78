//! Closed forms: the Gram matrix of all rows, and in a cross-validation those of the rows outside each fold, are gathered in one
//! pass; every configuration is solved from them.
//!
//! Every configuration starts at 0 and not at its neighbour's solution, so that a model does not depend on the path it is
//! part of. Cost of the pass: p^2 / 2 multiply-adds a row and matrix.

use std::time::Instant;

use gristmill_kernels::Real;

use super::derive;
use super::drive::{Next, Training, lane};
use super::iterate::told;
use super::pass::{Found, Point, Want};
use super::space::Stored;
use super::tasks::{self, Stand};
use crate::error::{Error, Result};
use crate::models::Smoothing;
use crate::optim::coordinate_descent::Until;
use crate::optim::quadratic::Quadratic;
use crate::optim::{Limits, Outcome, Penalty, Sample, cholesky, coordinate_descent};
use crate::train::PointReport;

/// A closed form is solved at least to this share of the objective.
const TOLERANCE: f64 = 1e-9;

impl<R: Real + Default> Training<'_, R> {
    /// Solves every model that has a closed form, as many subsets of the rows in a pass as fit into memory.
    ///
    /// # Errors
    /// When the pass fails.
    pub(super) fn closed_forms(&mut self) -> Result<Next> {
        let waiting = |training: &Self, number: &usize| {
            let task = &training.tasks[*number];
            training.is_closed(task) && matches!(task.stand, Stand::Waiting)
        };
        let waiting: Vec<usize> = (0..self.tasks.len()).filter(|number| waiting(self, number)).collect();
        let mut subsets: Vec<Option<u16>> = Vec::new();
        for &number in &waiting {
            if !subsets.contains(&self.tasks[number].left_out) {
                subsets.push(self.tasks[number].left_out);
            }
        }
        for subsets in subsets.chunks(self.setup.shares.together) {
            let of_subset = |subset: &Option<u16>| {
                waiting.iter().copied().filter(|&number| self.tasks[number].left_out == *subset).collect()
            };
            let tasks: Vec<Vec<usize>> = subsets.iter().map(of_subset).collect();
            if self.closed_pass(subsets, &tasks)? == Next::Stop {
                return Ok(Next::Stop);
            }
        }
        Ok(Next::GoOn)
    }

    /// One pass, and every configuration of its subsets from it.
    fn closed_pass(&mut self, subsets: &[Option<u16>], tasks: &[Vec<usize>]) -> Result<Next> {
        let zero = Stored { weights: vec![0.0; self.setup.space.mean.len()], intercept: 0.0 };
        let point = |&left_out: &Option<u16>| Point {
            at: zero.clone(),
            want: Want::Gram,
            left_out,
            against: None,
            smoothing: Smoothing::Exact,
        };
        let points: Vec<Point> = subsets.iter().map(point).collect();
        self.stand();
        let Some((found, reduced)) = self.pass(&points, Sample::ALL)? else { return Ok(Next::Stop) };
        let solving = Instant::now();
        let mut reports = Vec::new();
        for ((found, tasks), &left_out) in found.iter().zip(tasks).zip(subsets) {
            let (quadratic, report) = self.quadratic(found, left_out).map_err(|error| self.of_all(error))?;
            reports.push(report);
            for (&task, outcome) in tasks.iter().zip(self.solve(&quadratic, tasks, left_out)) {
                self.done(task, outcome);
                self.tasks[task].passes += 1;
            }
        }
        lane(self.setup).span("solve", solving, None);
        let multiply_adds = points.len() as f64 * Want::Gram.multiply_adds(self.setup);
        self.tell(reports, multiply_adds, Sample::ALL, &reduced);
        Ok(if self.stops(&reduced) { Next::Stop } else { Next::GoOn })
    }

    fn quadratic(&self, found: &Found, left_out: Option<u16>) -> Result<(Quadratic, PointReport)> {
        let evaluation = derive::quadratic(&self.setup.space, found)?;
        let n = self.setup.space.coordinates();
        let (objective, gradient_norm) = told(&evaluation, &vec![0.0; n], &Penalty::none(n));
        let report = PointReport {
            configuration: 0,
            left_out,
            against: None,
            collected: "gram".into(),
            objective: objective * self.setup.target.loss_unit(),
            gradient_norm: gradient_norm * self.setup.target.units.1.abs(),
            held_out: None,
        };
        let quadratic = Quadratic::new(evaluation, self.plan.intercept, self.setup.space.metric());
        let missing = || Error::Sum("a pass for a closed form brought no Gram matrix".into());
        Ok((quadratic.ok_or_else(missing)?, report))
    }

    /// The minima of one quadratic under the penalties of some tasks.
    fn solve(&self, quadratic: &Quadratic, tasks: &[usize], left_out: Option<u16>) -> Vec<Outcome> {
        let limits = self.limits(left_out, None);
        let penalties: Vec<Penalty> = tasks.iter().map(|&task| self.penalty(self.tasks[task].strengths)).collect();
        tasks::side_by_side(self.setup.threads, penalties, |penalty| match penalty.has_l1() {
            true => descend(quadratic, &penalty, &limits),
            false => cholesky::solve(quadratic, &penalty),
        })
    }
}

/// Coordinate descent, roughly first: that gives the scale of the objective.
fn descend(quadratic: &Quadratic, penalty: &Penalty, limits: &Limits) -> Outcome {
    let rough = Until::DualityGap(TOLERANCE * limits.null_loss);
    let first = coordinate_descent::solve(quadratic, penalty, &vec![0.0; quadratic.n()], rough);
    let share = limits.tolerance.min(TOLERANCE);
    let enough = Until::DualityGap(share * first.objective.max(1e-9 * limits.null_loss));
    coordinate_descent::solve(quadratic, penalty, &first.point, enough)
}
