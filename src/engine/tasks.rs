//! What a training trains: for every configuration a model on all rows, and in a cross-validation one outside each fold. Their
//! solvers stand side by side, each with a state of its own, so that each takes the same steps as if it were alone.

use serde::{Deserialize, Serialize};

use super::online::state::State;
use crate::optim::machine::Machine;
use crate::optim::{Outcome, Sample, Solver};
use crate::plan::{Strengths, TrainPlan};

/// A model to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Number of its configuration, from 0.
    pub configuration: usize,
    /// The penalty of that.
    pub strengths: Strengths,
    /// The fold that it is trained without; none: on all rows.
    pub left_out: Option<u16>,
    /// The class that it tells from all others; none: it tells all that there is to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<u16>,
    /// Passes over all rows that it took part in.
    pub passes: u32,
    /// How its loss with a kink is rounded; none: the loss has none, or it has not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
    /// How far it is.
    pub stand: Stand,
}

/// How the kink of a loss is rounded at this time: see `narrow`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rounding {
    /// The width.
    pub width: f64,
    /// How many widths there were, this one counted.
    pub count: u32,
    /// The minimum at the width before; none at the first.
    pub from: Option<Vec<f64>>,
}

/// How far a model is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stand {
    /// Not begun.
    Waiting,
    /// Its solver is on its way.
    Running(Box<Machine>),
    /// It learns batch by batch.
    Learning(Box<State>),
    /// Its solver has minimised a rounded loss; whether that is near enough is to be seen.
    Certifying(Box<Outcome>),
    /// Fitted.
    Done(Box<Outcome>),
}

/// The tasks of a plan: configuration after configuration, on all rows first; each once for every class that is told from all
/// others, of which there are `against`, 0 where one model tells them all.
pub fn of(plan: &TrainPlan, against: usize) -> Vec<Task> {
    let subsets = || std::iter::once(None).chain((0..plan.folds).map(|fold| Some(fold as u16)));
    let classes = if against == 0 { vec![None] } else { (0..against).map(|class| Some(class as u16)).collect() };
    let of_configuration = |(configuration, strengths)| {
        let of_subset = |left_out| {
            let task = |&against| Task {
                configuration,
                strengths,
                left_out,
                against,
                passes: 0,
                rounding: None,
                stand: Stand::Waiting,
            };
            classes.iter().map(task).collect::<Vec<Task>>()
        };
        subsets().flat_map(of_subset).collect::<Vec<Task>>()
    };
    plan.path().into_iter().enumerate().flat_map(of_configuration).collect()
}

impl Task {
    /// The sample that its solver wants, while it is on its way.
    pub fn sample(&self) -> Option<Sample> {
        match &self.stand {
            Stand::Running(machine) => Some(machine.request().sample),
            Stand::Certifying(_) => Some(Sample::ALL),
            _ => None,
        }
    }

    /// Points of a pass that it asks for: one for each margin that makes its loss, or for a certificate the loss and its gap.
    pub fn points(&self, joint: usize) -> usize {
        if matches!(self.stand, Stand::Certifying(_)) { 2 } else { joint }
    }

    /// Where it ended, once it is done.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.stand {
            Stand::Done(outcome) => Some(outcome),
            _ => None,
        }
    }
}

/// The coarsest sample that any solver wants. Those that want a finer one wait: passes over few rows are cheap, and so
/// passes over all rows are made together.
pub fn next_sample(tasks: &[Task]) -> Option<Sample> {
    tasks.iter().filter_map(Task::sample).max_by_key(|sample| sample.every)
}

/// Runs `work` on every item, on up to `threads` threads; what comes of them in order.
pub fn side_by_side<T: Send, U: Send>(threads: usize, items: Vec<T>, work: impl Fn(T) -> U + Sync) -> Vec<U> {
    if threads <= 1 || items.len() <= 1 {
        return items.into_iter().map(work).collect();
    }
    let each = items.len().div_ceil(threads);
    let (mut items, work) = (items.into_iter(), &work);
    std::thread::scope(|scope| {
        let mut handles = Vec::new();
        loop {
            let own: Vec<T> = items.by_ref().take(each).collect();
            if own.is_empty() {
                break;
            }
            handles.push(scope.spawn(move || own.into_iter().map(work).collect::<Vec<U>>()));
        }
        let joined = handles.into_iter().map(|handle| handle.join());
        joined.flat_map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_of_items_is_in_their_order() {
        for threads in 1..6 {
            for count in 0..12 {
                let squares: Vec<usize> = (0..count).map(|i| i * i).collect();
                assert_eq!(side_by_side(threads, (0..count).collect(), |i| i * i), squares, "{threads} {count}");
            }
        }
    }
}
