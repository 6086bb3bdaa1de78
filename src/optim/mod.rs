//! Solvers (stage 8): how the objective is minimised. One room each; what they share stands beside them.
//!
//! The objective in a solver's coordinates t (slopes, then the intercept; see `engine::space`):
//!
//! ```text
//! F(t) = f(t) + sum_j l1_j |t_j| + sum_j l2_j t_j^2 / 2        f: the weighted mean loss, convex and smooth
//! ```
//!
//! A solver never sees data. It is a state machine: [`Solver::request`] says at which point, over which sample of the
//! grains, f and its derivatives are wanted; the engine makes that pass; [`Solver::absorb`] moves on. Its state is plain
//! data, so a checkpoint is that state and a resumed training takes the same steps. A quadratic f (a squared loss) needs
//! one pass only: [`quadratic`] solves every configuration of a path from it.
//!
//! | room | for | inside |
//! |---|---|---|
//! | [`cholesky`] | squared loss, no l1 | linear equations |
//! | [`coordinate_descent`] | squared loss with l1 | cyclic soft thresholds on the Gram matrix |
//! | [`newton`] | few parameters, no l1 | second-order steps by linear equations |
//! | [`proximal_newton`] | few parameters with l1 | second-order steps by coordinate descent |
//! | [`lbfgs`] | many parameters, no l1 | limited-memory quasi-Newton, strong Wolfe search |
//! | [`owlqn`] | many parameters with l1 | the same inside an orthant |

pub mod cholesky;
pub mod coordinate_descent;
pub mod dense;
pub mod lbfgs;
pub mod line_search;
pub mod machine;
pub mod memory;
pub mod newton;
pub mod owlqn;
pub mod penalty;
pub mod proximal_newton;
pub mod quadratic;
pub mod rest;
pub mod schedule;
pub mod second_order;
pub mod stochastic;

#[cfg(test)]
pub(crate) mod problems;

use serde::{Deserialize, Serialize};

use dense::Matrix;
pub use penalty::Penalty;
pub use schedule::Sample;

/// What a pass collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Collect {
    /// f and its gradient.
    Gradient,
    /// f, gradient and Hessian.
    Hessian,
}

/// The pass that a solver wants next.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// Where.
    pub point: &'a [f64],
    /// What.
    pub collect: Collect,
    /// Over which rows.
    pub sample: Sample,
    /// How far the curvature of a loss that is all but straight away from a kink is lifted (see `kernels/src/losses/kinked.rs`), from 0 to 1.
    pub lift: f64,
}

/// What a pass found: the weighted mean loss of its rows and its derivatives, without the penalty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean loss.
    pub loss: f64,
    /// Its gradient, a number a coordinate.
    pub gradient: Vec<f64>,
    /// Its Hessian, where it was asked for.
    pub hessian: Option<Matrix>,
}

/// Where a solver ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The point.
    pub point: Vec<f64>,
    /// Mean loss there.
    pub loss: f64,
    /// Objective there.
    pub objective: f64,
    /// Norm of the smallest subgradient there; none where no pass was made there, and loss and objective are of batches before they
    /// were learnt from.
    pub gradient_norm: Option<f64>,
    /// Whether the stopping rule was met; none of a solver that ends after so many epochs, which has none.
    pub converged: Option<bool>,
    /// Why it stopped, a short phrase.
    pub reason: String,
    /// What the user should know beyond that: full sentences.
    pub warnings: Vec<String>,
    /// Coordinates that are combinations of others, where the solver found out.
    pub dependent: Vec<usize>,
}

impl Outcome {
    /// True when the stopping rule was met.
    pub fn has_converged(&self) -> bool {
        self.converged == Some(true)
    }
}

/// Whether a solver goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// It wants another pass.
    Continue,
    /// It is done.
    Done(Box<Outcome>),
}

/// Share of the loss without slopes below which classes count as separated.
const SEPARATED: f64 = 1e-6;

/// What is said about separated classes.
pub const SEPARATED_WARNING: &str = "The classes are perfectly separated by the columns: without a penalty the coefficients \
     grow without bound and the objective has no minimum. The model classifies the training rows rightly, but its \
     probabilities are extreme. Add --l2 (or --l1) for finite coefficients.";

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Estimated gap to the minimum, as a share of the objective.
    pub tolerance: f64,
    /// Full passes.
    pub passes_max: u32,
    /// Relative error that a computed loss may have from the arithmetic of a row: smaller differences mean nothing.
    pub noise: f64,
    /// Size of the terms that a loss is the difference of, where it is small beside them; 0: it is none.
    #[serde(default)]
    pub terms: f64,
    /// The loss with no slopes: the scale of an objective that falls to zero.
    pub null_loss: f64,
    /// True when the loss is 0 at infinity only, as that of a class is: without a penalty it has no minimum on data that
    /// a plane separates.
    pub open: bool,
}

impl Limits {
    /// The gap at which to stop when the objective is `objective`.
    pub fn gap(&self, objective: f64) -> f64 {
        self.tolerance * objective.abs().max(1e-12 * self.null_loss)
    }

    /// What the arithmetic of rows cannot tell from nothing, where the objective is `objective`.
    pub fn noise_of(&self, objective: f64) -> f64 {
        self.noise * objective.abs().max(self.terms)
    }

    /// True when an unpenalised loss fell so low that only separated classes explain it.
    pub fn is_separated(&self, loss: f64) -> bool {
        self.open && loss < SEPARATED * self.null_loss
    }
}

/// The door of the iterative solvers.
pub trait Solver {
    /// The pass it wants.
    fn request(&self) -> Request<'_>;

    /// Takes in what that pass found.
    fn absorb(&mut self, found: Evaluation) -> Status;
}
