//! What the memory limit is shared out to: models on their way, and data in memory.
//!
//! ```text
//! limit = process + what is known of parameters + models side by side + data
//! ```
//! A solver by passes has vectors of its history, a copy of the others in the next checkpoint, and sums of every worker. One that learns
//! batch by batch has slots (`online::slot`); its vectors come when the open grains are let go, so that the grains of the
//! epochs and the data of the passes behind them are reckoned each by itself.

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::Layout;
use gristmill_io::memory;

use super::group::LINED_MIN;
use crate::optim::stochastic::state_numbers;
use crate::plan::{SolverName, TrainPlan};

/// Parameters up to which a matrix is reckoned with in the memory limit: the most for which a solver takes one by itself.
const GRAM_PARAMETERS_MAX: u64 = 2_048;
/// The same where a row has several margins: parameters of all of them.
const JOINT_PARAMETERS_MAX: u64 = 256;
/// What the process takes without any data, about.
pub(super) const PROCESS_BYTES: u64 = 24 << 20;
/// Statistics and spaces of a parameter, whatever its models.
const KNOWN_BYTES: u64 = 128;
/// Its name, while a model is written.
const NAME_BYTES: u64 = 56;
/// A dozen vectors of a model's end: its point in all spaces, gradient, coefficients.
const END_BYTES: u64 = 96;

/// What is to be trained.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Workers.
    pub threads: usize,
    /// Margins that make one loss.
    pub joint: usize,
    /// Models of a configuration, at least 1.
    pub against: usize,
    /// True when arithmetic is `f64`.
    pub wide: bool,
}

/// See the head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Data in memory during passes.
    pub passes_bytes: u64,
    /// Open grains while models learn batch by batch.
    pub open_bytes: u64,
    /// How many models are trained side by side at most: together they take at most half of the limit.
    pub together: usize,
}

impl Shares {
    /// Of the plan's limit, or what the machine allows.
    pub fn new(dataset: &Dataset, plan: &TrainPlan, needs: &Needs) -> Shares {
        let limit = plan.memory.unwrap_or_else(|| memory::Limits::now().default_bytes());
        let parameters = Layout::of(&dataset.manifest().columns, |_| true).parameters as u64;
        Shares::of(limit.saturating_sub(PROCESS_BYTES), parameters, plan, needs)
    }

    fn of(limit: u64, parameters: u64, plan: &TrainPlan, needs: &Needs) -> Shares {
        let models = (needs.against * plan.tasks()) as u64;
        let fits = |one: u64| (limit / 2 / one.max(1)).clamp(1, models);
        let own = needs.joint as u64 * parameters;
        let threads = needs.threads as u64;
        // Two limbs and an f64 a gradient cell; of models that meet in a pass another integer, see `tile`.
        let cell = if models * needs.joint as u64 >= LINED_MIN as u64 { 32 } else { 24 };
        if let Some(online) = plan.online.as_ref().filter(|online| online.then.is_none()) {
            let real = if needs.wide { 8 } else { 4 };
            // Weight and state, once more as a checkpoint keeps them; the sum; the pull of the penalty, and what a batch read.
            let kept = real * (1 + state_numbers(plan.solver, online).unwrap_or(2) as u64);
            let is_penalised = plan.l1.iter().chain(&plan.l2).any(|strength| *strength > 0.0);
            let slot = 2 * kept + 8 + if is_penalised { 4 * real + 8 } else { 0 };
            let vectors =
                [online.averaging.is_some(), online.patience.is_some()].into_iter().filter(|has| *has).count();
            let learning = own * (slot + 16 * vectors as u64);
            let ending = own * (END_BYTES + if online.final_pass { cell * threads } else { 0 });
            if plan.solver == SolverName::Svrg {
                // Anchors are as many slots again, and every epoch makes a pass beside its open grains.
                let one = 2 * learning + ending;
                let together = fits(one);
                let bytes = limit.saturating_sub((KNOWN_BYTES + NAME_BYTES) * parameters + together * one) / 2;
                return Shares { passes_bytes: bytes, open_bytes: bytes, together: together as usize };
            }
            let together = fits(learning.max(ending));
            return Shares {
                passes_bytes: limit.saturating_sub((KNOWN_BYTES + NAME_BYTES) * parameters + together * ending),
                open_bytes: limit.saturating_sub(KNOWN_BYTES * parameters + together * learning),
                together: together as usize,
            };
        }
        let named = plan.solver.takes_a_matrix() && matrix_bytes(own, needs.threads) <= limit / 2;
        let most = if needs.joint == 1 { GRAM_PARAMETERS_MAX } else { JOINT_PARAMETERS_MAX };
        let matrix = if named || own <= most { own * own } else { 0 };
        // A worker: its cells, and as much for half a matrix as for a gradient. A solver and its copy in the next
        // checkpoint: two dozen vectors and one matrix each, and two matrices on their way from the sum to the solver.
        let one = threads * (cell * own + 12 * matrix) + 400 * own + 32 * matrix;
        let together = fits(one);
        let bytes = limit.saturating_sub(together * one);
        Shares { passes_bytes: bytes, open_bytes: bytes, together: together as usize }
    }
}

/// What the matrices of a model take: half a one in three numbers for every worker, four of the solver and on their way to it.
pub fn matrix_bytes(parameters: u64, threads: usize) -> u64 {
    parameters.saturating_mul(parameters).saturating_mul(12 * threads as u64 + 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::plan;

    /// Bytes that the models leave of 1 GB, by the arithmetic of the head of the file.
    #[test]
    fn a_solver_takes_what_it_needs() {
        let (limit, parameters) = (1_000_000_000, 1_000_000);
        let needs = Needs { threads: 2, joint: 1, against: 1, wide: false };
        let of = |rest: &str, needs: &Needs| {
            Shares::of(limit, parameters, &plan(&format!(r#"{{"model": "logistic", {rest}}}"#)), needs)
        };
        let million = |left: &Shares| [left.passes_bytes, left.open_bytes].map(|bytes| (limit - bytes) / 1_000_000);
        let by_passes = of(r#""solver": "lbfgs""#, &needs);
        assert_eq!((million(&by_passes), by_passes.together), ([448, 448], 1));
        let adagrad = of(r#""solver": "adagrad""#, &needs);
        assert_eq!(million(&adagrad), [128 + 56 + 96 + 48, 128 + 8 + 2 * 8]);
        let free = of(r#""solver": "sgd", "final-pass": false"#, &needs);
        assert_eq!(million(&free), [128 + 56 + 96, 128 + 8 + 2 * 4]);
        let wide = of(r#""solver": "adam", "l2": 0.1, "patience": 1"#, &Needs { wide: true, ..needs });
        assert_eq!(million(&wide)[1], 128 + 8 + 2 * 24 + 40 + 16);
        let svrg = of(r#""solver": "svrg""#, &needs);
        assert_eq!(svrg.open_bytes, (limit - parameters * (184 + 2 * 24 + 144)) / 2);
        let then = of(r#""solver": "adagrad", "then": "lbfgs""#, &needs);
        assert_eq!(then, by_passes);
        // Half of the limit: three models of 160 bytes a parameter.
        let several = of(r#""solver": "adagrad", "learning-rate": [0.1, 0.2, 0.3, 0.4, 0.5]"#, &needs);
        assert_eq!((several.together, million(&several)[1]), (3, 128 + 3 * 24));
    }
}
