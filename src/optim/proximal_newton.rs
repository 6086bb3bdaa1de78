//! Proximal Newton: second-order steps under an l1 penalty (glmnet's and liblinear's newGLMNET way).
//!
//! | | |
//! |---|---|
//! | objective | f convex and smooth, l1 and l2 |
//! | input | a pass a step: gradient, and the Hessian or a sample of it |
//! | output | the minimiser, with exact zeros |
//! | cost | as Newton's method; a step is solved by coordinate descent, n multiply-adds for each coordinate that moves |
//! | paper | Lee, Sun, Saunders, "Proximal Newton-Type Methods for Minimizing Composite Functions" (2014); Yuan, Ho, Lin, "An Improved GLMNET for L1-regularized Logistic Regression" (2012), algorithm 3 |

use serde::{Deserialize, Serialize};

use super::coordinate_descent::Until;
use super::schedule::Schedule;
use super::second_order::{Problem, SecondOrder};
use super::{Evaluation, Request, Solver, Status, coordinate_descent};

/// The state machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProximalNewton(SecondOrder);

impl ProximalNewton {
    /// From `start`.
    pub fn new(problem: Problem, start: Vec<f64>, schedule: Schedule) -> ProximalNewton {
        ProximalNewton(SecondOrder::new(problem, start, schedule))
    }

    /// See [`SecondOrder::blind`]; [`super::owlqn`] goes on from there.
    pub fn blind(&self) -> Option<Problem> {
        self.0.blind()
    }
}

impl Solver for ProximalNewton {
    fn request(&self) -> Request<'_> {
        self.0.request()
    }

    fn absorb(&mut self, found: Evaluation) -> Status {
        self.0.absorb(found, |quadratic, penalty, start, enough| {
            coordinate_descent::solve(quadratic, penalty, start, Until::Stationary(enough))
        })
    }
}
