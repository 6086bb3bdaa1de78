//! The iterative solvers as one serialisable value: what a checkpoint holds.

use serde::{Deserialize, Serialize};

use super::lbfgs::Lbfgs;
use super::newton::Newton;
use super::owlqn::Owlqn;
use super::proximal_newton::ProximalNewton;
use super::schedule::Schedule;
use super::second_order::Problem;
use super::{Evaluation, Request, Solver, Status};
use crate::plan::SolverName;

/// A solver on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::large_enum_variant, reason = "there is one of them")]
pub enum Machine {
    /// See [`super::newton`].
    Newton(Newton),
    /// See [`super::proximal_newton`].
    ProximalNewton(ProximalNewton),
    /// See [`super::lbfgs`].
    Lbfgs(Lbfgs),
    /// See [`super::owlqn`].
    Owlqn(Owlqn),
}

impl Machine {
    /// The solver of that name; none for closed forms, stochastic ones and `auto`. An l1 penalty that is 0 in this configuration does no
    /// harm to solvers that are made for one.
    pub fn new(name: SolverName, problem: Problem, start: Vec<f64>, schedule: Schedule) -> Option<Machine> {
        match name {
            SolverName::Newton => Some(Machine::Newton(Newton::new(problem, start, schedule))),
            SolverName::ProximalNewton => Some(Machine::ProximalNewton(ProximalNewton::new(problem, start, schedule))),
            SolverName::Lbfgs => Some(Machine::Lbfgs(Lbfgs::new(problem, start, schedule))),
            SolverName::Owlqn => Some(Machine::Owlqn(Owlqn::new(problem, start, schedule))),
            _ => None,
        }
    }
}

impl Solver for Machine {
    fn request(&self) -> Request<'_> {
        match self {
            Machine::Newton(solver) => solver.request(),
            Machine::ProximalNewton(solver) => solver.request(),
            Machine::Lbfgs(solver) => solver.request(),
            Machine::Owlqn(solver) => solver.request(),
        }
    }

    fn absorb(&mut self, found: Evaluation) -> Status {
        match self {
            Machine::Newton(solver) => match (solver.absorb(found), solver.blind()) {
                // Steps along gradients need no curvature.
                (Status::Done(outcome), Some(problem)) => {
                    *self = Machine::Lbfgs(Lbfgs::new(problem, outcome.point, Schedule::whole()));
                    Status::Continue
                }
                (status, _) => status,
            },
            Machine::ProximalNewton(solver) => match (solver.absorb(found), solver.blind()) {
                (Status::Done(outcome), Some(problem)) => {
                    *self = Machine::Owlqn(Owlqn::new(problem, outcome.point, Schedule::whole()));
                    Status::Continue
                }
                (status, _) => status,
            },
            Machine::Lbfgs(solver) => solver.absorb(found),
            Machine::Owlqn(solver) => solver.absorb(found),
        }
    }
}
