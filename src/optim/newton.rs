//! Newton's method, which statisticians call iteratively reweighted least squares.
//!
//! | | |
//! |---|---|
//! | objective | f convex and smooth, l2 |
//! | input | a pass a step: gradient, and the Hessian or a sample of it |
//! | output | the minimiser; of smallest norm in the penalty's metric where columns are dependent; a warning where classes are separated |
//! | cost | p^2 / 2 multiply-adds a row of a Hessian pass, 2 p of a gradient pass, n^3 / 3 a step; 5 to 8 steps |
//! | paper | Boyd and Vandenberghe, "Convex Optimization" (2004), algorithm 9.5 (damped, stopped by the decrement); sampled Hessians: Roosta-Khorasani and Mahoney, "Sub-sampled Newton methods" (2019) |

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use super::second_order::{Problem, SecondOrder};
use super::{Evaluation, Request, Solver, Status, cholesky};

/// The state machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Newton(SecondOrder);

impl Newton {
    /// From `start`.
    pub fn new(problem: Problem, start: Vec<f64>, schedule: Schedule) -> Newton {
        Newton(SecondOrder::new(problem, start, schedule).exactly())
    }

    /// See [`SecondOrder::blind`]; [`super::lbfgs`] goes on from there.
    pub fn blind(&self) -> Option<Problem> {
        self.0.blind()
    }
}

impl Solver for Newton {
    fn request(&self) -> Request<'_> {
        self.0.request()
    }

    fn absorb(&mut self, found: Evaluation) -> Status {
        self.0.absorb(found, |quadratic, penalty, _, _| cholesky::solve(quadratic, penalty))
    }
}
