//! When does a quasi-Newton method rest? Shared by [`super::lbfgs`] and [`super::owlqn`].
//!
//! The decrease that the quasi-Newton model promises for its next step is no bound: with a short memory the model does not
//! know the flat directions of a badly conditioned problem, and promises 1e-9 where 1e-5 is left. Two more views of what is
//! left, both free:
//!
//! *The way so far.* With d1 the decrease over the last h steps and d0 over the h before, a sequence that shrinks by r = d1 / d0
//! has ahead of it (Aitken, 1926)
//!
//! ```text
//! gap = d1 (r + r^2 + ...) = d1 r / (1 - r) = d1^2 / (d0 - d1)
//! ```
//! right for linear convergence, too high for faster, infinite while d1 is not below d0. Steps of a quasi-Newton method
//! come in good and bad ones, so the largest over h = 3, 5, 10 counts.
//!
//! *Curvature.* The objective is at least as curved as its l2 part, so for the smallest subgradient v
//!
//! ```text
//! gap <= sum_j v_j^2 / (2 l2_j)                                                   (Boyd and Vandenberghe 2004, 9.1.2)
//! ```
//! Directions flatter than `FLAT` (of a standardised column) are not looked for. The bound is far too high when v lies along
//! steep directions, so it may be `SLACK` times the tolerance when the estimates above are below it.

use serde::{Deserialize, Serialize};

use super::Penalty;

/// Lengths of the windows, in steps.
const WINDOWS: [usize; 3] = [3, 5, 10];
/// Objectives that are kept: two of the longest windows.
const KEPT: usize = 2 * WINDOWS[2] + 1;
/// Curvature below which nothing is looked for.
const FLAT: f64 = 1e-7;
/// How far above the tolerance the bound by curvature may be.
const SLACK: f64 = 100.0;
/// Steps without a decrease that the arithmetic can tell, after which no more comes.
const IDLE: u32 = 12;
/// As many when the bound says that something may be left.
const IDLE_MAX: u32 = 100;
/// Where noise ends the search, a converged point promises at most so many times the noise.
const RESOLVED: f64 = 10.0;

/// What is known at a good point of all rows.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// The objective.
    pub objective: f64,
    /// Decrease that the next step promises.
    pub promise: f64,
    /// The bound by curvature, see [`bound`].
    pub bound: f64,
    /// Gap at which to stop.
    pub enough: f64,
    /// What the arithmetic cannot tell from nothing.
    pub noise: f64,
}

impl Sight {
    /// True when what is left is within what the arithmetic can tell.
    pub fn is_resolved(&self) -> bool {
        self.promise <= RESOLVED * self.noise && self.bound <= SLACK * self.enough.max(self.noise)
    }
}

/// The bound by curvature at a point with smallest subgradient `v`.
pub fn bound(penalty: &Penalty, v: &[f64]) -> f64 {
    v.iter().zip(&penalty.l2).map(|(v, l2)| v * v / (2.0 * l2.max(FLAT))).sum()
}

/// The last objectives of full passes, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    objectives: Vec<f64>,
    /// The objective that the idle steps are counted from.
    anchor: Option<f64>,
    idle: u32,
}

/// What the way so far says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Go on.
    Moving,
    /// The estimated gap is small enough; it is the number.
    Near(f64),
    /// The objective no longer falls by anything that the arithmetic can tell; true when it is as low as can be told.
    Still(bool),
}

impl Rest {
    /// Takes in the next good point.
    pub fn absorb(&mut self, sight: &Sight) -> Pace {
        self.objectives.push(sight.objective);
        if self.objectives.len() > KEPT {
            self.objectives.remove(0);
        }
        match self.anchor {
            Some(anchor) if anchor - sight.objective <= sight.noise => self.idle += 1,
            _ => (self.anchor, self.idle) = (Some(sight.objective), 0),
        }
        let estimate = self.ahead().max(sight.promise);
        if sight.bound <= sight.enough {
            Pace::Near(sight.bound)
        } else if estimate <= sight.enough && sight.bound <= SLACK * sight.enough {
            Pace::Near(estimate)
        } else if self.idle >= IDLE && sight.is_resolved() || self.idle >= IDLE_MAX {
            Pace::Still(sight.is_resolved())
        } else {
            Pace::Moving
        }
    }

    /// The estimate by the way so far; infinite before two of the shortest windows are full.
    fn ahead(&self) -> f64 {
        let known = WINDOWS.iter().filter_map(|&h| {
            let (last, before) = (self.fall(0, h)?, self.fall(h, h)?);
            let ahead = if last <= 0.0 { 0.0 } else { last * last / (before - last) };
            Some(if ahead >= 0.0 { ahead } else { f64::INFINITY })
        });
        known.reduce(f64::max).unwrap_or(f64::INFINITY)
    }

    /// How far the objective fell over `steps` steps that ended `ago` steps ago.
    fn fall(&self, ago: usize, steps: usize) -> Option<f64> {
        let end = self.objectives.len().checked_sub(1 + ago)?;
        Some(self.objectives[end.checked_sub(steps)?] - self.objectives[end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps_until_near(objective: impl Fn(i32) -> f64, enough: f64) -> (i32, f64) {
        let mut rest = Rest::default();
        for step in 0..100_000 {
            let sight = Sight { objective: objective(step), promise: 0.0, bound: 2.0 * enough, enough, noise: 0.0 };
            if let Pace::Near(gap) = rest.absorb(&sight) {
                return (step, gap);
            }
        }
        panic!("never near")
    }

    /// 1 + r^k is r^k above its minimum: the estimate is that, to rounding.
    #[test]
    fn linear_convergence_is_estimated_exactly() {
        for rate in [0.3f64, 0.9, 0.99] {
            let (step, gap) = steps_until_near(|k| 1.0 + rate.powi(k), 1e-8);
            assert!((gap / rate.powi(step) - 1.0).abs() < 1e-3, "{rate}: {gap} at {step}");
        }
    }

    /// A fast part hides a slow one, 1e-5 high, that shrinks by 1% a step.
    #[test]
    fn a_slow_part_is_not_overlooked() {
        let objective = |k| 1.0 + 0.3f64.powi(k) + 1e-5 * 0.99f64.powi(k);
        let (step, gap) = steps_until_near(objective, 1e-8);
        assert!(1e-5 * 0.99f64.powi(step) < 2e-8 && gap > 5e-9, "{gap} at {step}");
    }

    /// On a quadratic with curvature l2 in every direction the bound is the gap: 2 t1^2 / 2 + 4 t2^2 / 2 at (1, 3) is 19.
    #[test]
    fn the_bound_is_sharp_for_a_pure_penalty() {
        let penalty = Penalty { l1: vec![0.0; 2], l2: vec![2.0, 4.0] };
        assert_eq!(bound(&penalty, &[2.0, 12.0]), 19.0);
    }

    #[test]
    fn a_high_bound_keeps_it_moving_and_noise_ends_it() {
        let end = |promise, bound| {
            let mut rest = Rest::default();
            for step in 0u32.. {
                let objective = 1.0 + 1e-8 * f64::from(step % 2);
                match rest.absorb(&Sight { objective, promise, bound, enough: 1e-9, noise: 1e-7 }) {
                    Pace::Moving => {}
                    end => return (step, end),
                }
            }
            panic!("never ends")
        };
        assert_eq!(end(1e-8, 1e-6), (IDLE, Pace::Still(true)));
        assert_eq!(end(1e-8, 1.0), (IDLE_MAX, Pace::Still(false)));
        assert_eq!(end(0.0, 1e-10), (0, Pace::Near(1e-10)));
    }
}
