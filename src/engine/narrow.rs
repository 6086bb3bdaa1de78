//! Losses with a kink (hinge, absolute, pinball) under solvers that want curvature: the kink is rounded at a width
//! (`kernels/src/losses/kinked.rs`), the rounded objective minimised, and the width narrowed from there until the gap is small.
//!
//! At a minimum of the rounded objective its slopes r_i are a feasible point of the dual problem: the gradient is 0 there, so
//! sum w_i r_i x_i is in balance with the penalty, and every r_i lies between the slopes of the loss. The difference of primal
//! and dual objective is then the weighted mean of value - r_i u_i, which a pass sums as it sums a loss. It bounds from above how
//! far the objective itself is from its minimum, up to what the gradient at the end of the inner solver is off 0 (its own
//! estimated gap, below a tenth of the tolerance). (Boyd and Vandenberghe 2004, 5.5.1; Nesterov 2005, "Smooth minimization of non-smooth
//! functions".)
//!
//! Away from the kink a rounded loss is all but straight, and a model of second order promises minima that are anywhere: Hessians are lifted
//! towards those of parabolas above the loss (`kernels/src/losses/kinked.rs`), as far as steps ask for it (`optim::second_order`).
//!
//! Only rows near the kink have a gap, and about `width` of them lie there: it falls with the square of the width while these
//! rows are many, and with the width itself where the kinks of p rows hold the solution. Cost: five or so widths of a few
//! second-order steps each, and a pass for each certificate.

use crate::models::{Model, Moments};
use crate::optim::{Limits, Outcome};

/// The first width, as a share of the deviation of the labels (without an intercept of their distance from 0, where margins begin), or of the
/// distance of a class's margin from the kink.
const FIRST: f64 = 0.5;
/// A next width is this part of the last at least, and at most.
const NARROWER: (f64, f64) = (0.2, 0.5);
/// Of the part that would bring the gap below the tolerance if it fell with the width.
const SAFETY: f64 = 0.7;
/// Tolerance of the solver at a width, as a share of that of the whole.
const INNER: f64 = 0.1;
/// Most widths.
const WIDTHS_MAX: u32 = 14;
/// Share of the loss without slopes below which an objective counts as 0.
const LEAST: f64 = 1e-6;

/// The width that is first minimised at.
pub fn first_width(model: &dyn Model, moments: &Moments, intercept: bool) -> f64 {
    let centre = if intercept { moments.mean } else { 0.0 };
    let deviation = (moments.square - centre * centre).max(0.0).sqrt();
    if model.is_classifier() {
        FIRST
    } else if deviation > 0.0 {
        FIRST * deviation
    } else {
        FIRST * moments.mean.abs().max(1.0)
    }
}

/// When a solver at a width is to stop: nearer than the whole, as the certificate relies on it; the passes so far count.
pub fn limits(whole: Limits, passes: u32) -> Limits {
    Limits { tolerance: INNER * whole.tolerance, passes_max: whole.passes_max.saturating_sub(passes).max(1), ..whole }
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// This is where it ends.
    Done(Outcome),
    /// Minimise again at this width, from there.
    Narrower(f64),
}

/// Judges the minimum at a width, the `count`-th: `loss` is the exact mean loss there, and `gap` the certified one.
pub fn judge(
    outcome: &Outcome,
    (loss, penalty): (f64, f64),
    gap: f64,
    limits: &Limits,
    (width, count): (f64, u32),
) -> Verdict {
    let objective = loss + penalty;
    let scale = objective.max(LEAST * limits.null_loss);
    let enough = limits.tolerance * scale;
    // Neither loss nor penalty is less than 0.
    let is_near = gap <= enough || objective == 0.0;
    if !is_near && outcome.has_converged() && count < WIDTHS_MAX {
        return Verdict::Narrower(width * (SAFETY * enough / gap).clamp(NARROWER.0, NARROWER.1));
    }
    let reason = match (is_near, outcome.has_converged()) {
        (true, true) if objective == 0.0 => "the objective is zero".into(),
        (true, true) => format!("certified gap {:.1e} of the objective", gap / scale),
        (_, true) => format!("certified gap {:.1e} of the objective, no narrower kink is resolved", gap / scale),
        (_, false) => outcome.reason.clone(),
    };
    Verdict::Done(Outcome {
        loss,
        objective,
        reason,
        converged: Some(is_near && outcome.has_converged()),
        ..outcome.clone()
    })
}
