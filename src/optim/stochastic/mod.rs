//! Stochastic optimisers (stage 8): how one coordinate moves by the gradient of a batch. One room each, one door
//! ([`Optimiser`]), one registry ([`visit`]).
//!
//! An optimiser sees one coordinate: its weight, the few numbers of state that stand beside it in the same slot, and the
//! gradient of the batch's mean loss. It is pure, so the engine may call it for every coordinate (dense columns) or only for
//! those that a batch touched (categories, sparse columns): then moments and accumulators rest while their coordinate is
//! not seen, which is what PyTorch calls `SparseAdam` and TensorFlow `LazyAdam`.
//!
//! Penalties are split off (proximal steps, as in Duchi and Singer, "Efficient online and batch learning using forward backward
//! splitting", 2009). While time s passes, a weight follows the flow of its penalty, dw/ds = -(l2 w + l1 sign w), and
//! ends at
//!
//! ```text
//! |w(s)| = max(0, (|w| + l1/l2) exp(-l2 s) - l1/l2)        l2 = 0:  max(0, |w| - l1 s)
//! ```
//! A flow may be followed in one piece or in many: so a coordinate that was not seen for a thousand steps catches up in one
//! formula, exactly as if it had been seen, and zeros of l1 are exact zeros. A step of rate h takes time h, in the metric
//! of the optimiser (h / sqrt(v) and so on): the rest point is the minimum of the objective.
//!
//! | room | state | source |
//! |---|---|---|
//! | [`sgd`] | none; a velocity with momentum | Robbins, Monro 1951; Sutskever and others 2013 |
//! | [`adagrad`] | sum of squares | Duchi, Hazan, Singer 2011 |
//! | [`rmsprop`] | mean square | Tieleman, Hinton 2012 |
//! | [`adam`] | two moments; also AdamW | Kingma, Ba 2015; Loshchilov, Hutter 2019 |
//! | [`ftrl`] | z and sum of squares | McMahan and others 2013 |

pub mod adagrad;
pub mod adam;
pub mod ftrl;
pub mod rates;
pub mod rmsprop;
pub mod sgd;
pub mod svrg;

use gristmill_kernels::Real;

use crate::plan::SolverName;
use crate::plan::online::OnlinePlan;

/// A batch as optimisers see it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// Its number, from 1, over all epochs.
    pub number: u64,
    /// The learning rate.
    pub rate: f64,
    /// Its rows.
    pub rows: f64,
}

/// The pull of the penalty on a coordinate since it was last settled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pull {
    /// Strength of |w|.
    pub l1: f64,
    /// Strength of w^2 / 2.
    pub l2: f64,
    /// Time at which the weight was settled.
    pub since: f64,
    /// Time now.
    pub now: f64,
}

/// The door. Arithmetic is `f64`; what is kept is in the arithmetic type of the run.
pub trait Optimiser: Copy + Send + Sync + 'static {
    /// Numbers beside the weight.
    type State<R: Real>: Copy + Default + Send + Sync + AsRef<[R]> + AsMut<[R]> + 'static;

    /// True when gradients are summed over the rows of a batch and time is counted in rows, false when gradients are their
    /// mean and a step takes as much time as its rate.
    const SUMS: bool = false;

    /// True when a step leans on an anchor: gradients are then those at the weight less those at its anchor, and the first number of
    /// the state is the full gradient there (see `svrg`). Every coordinate steps in every batch.
    const ANCHORED: bool = false;

    /// The optimiser at that step, with what depends on its number worked out.
    #[must_use]
    fn at(self, _step: &Step) -> Self {
        self
    }

    /// The state of a coordinate that starts at `weight`.
    fn begin<R: Real>(&self, _weight: f64) -> Self::State<R> {
        Self::State::default()
    }

    /// The weight after a step, the penalty not counted.
    fn step<R: Real>(&self, rate: f64, gradient: f64, weight: f64, state: &mut Self::State<R>) -> f64;

    /// The weight after the pull of the penalty.
    fn settle<R: Real>(&self, weight: f64, state: &Self::State<R>, pull: &Pull) -> f64 {
        flow(weight, pull, self.metric(state))
    }

    /// Factor of the rate in this coordinate, once gradients are steady: what the penalty is slowed or sped up by.
    fn metric<R: Real>(&self, state: &Self::State<R>) -> f64;
}

/// The flow of the penalty over the time of `pull`, `metric` times as fast; see the head of the file.
pub fn flow(weight: f64, pull: &Pull, metric: f64) -> f64 {
    let time = (pull.now - pull.since) * metric;
    if weight == 0.0 || time <= 0.0 {
        return weight;
    }
    let size = weight.abs();
    let left = if pull.l2 == 0.0 {
        size - pull.l1 * time
    } else {
        let (decay, shift) = (pull.l2 * time, pull.l1 / pull.l2);
        // (size + shift) exp(-decay) - shift without cancellation.
        size + (size + shift) * (-decay).exp_m1()
    };
    left.max(0.0).copysign(weight)
}

/// Something done with an optimiser that is known only at run time.
pub trait OptimiserVisitor {
    /// What it returns.
    type Output;
    /// Does it.
    fn visit<O: Optimiser>(self, optimiser: O) -> Self::Output;
}

/// The registry: hands the optimiser of that name to `visitor`; none for solvers that make passes.
pub fn visit<V: OptimiserVisitor>(solver: SolverName, plan: &OnlinePlan, visitor: V) -> Option<V::Output> {
    let (momentum, epsilon) = (plan.momentum.unwrap_or(0.0), plan.epsilon.unwrap_or(0.0));
    let beta = (plan.beta1.unwrap_or(0.0), plan.beta2.unwrap_or(0.0));
    Some(match solver {
        SolverName::Sgd if momentum == 0.0 => visitor.visit(sgd::Sgd),
        SolverName::Sgd => visitor.visit(sgd::Momentum { momentum, nesterov: plan.nesterov.unwrap_or(false) }),
        SolverName::Adagrad => visitor.visit(adagrad::Adagrad { epsilon }),
        SolverName::Rmsprop => visitor.visit(rmsprop::Rmsprop { decay: beta.1, epsilon }),
        SolverName::Adam => visitor.visit(adam::Adam::<false>::new(beta, epsilon)),
        SolverName::Adamw => visitor.visit(adam::Adam::<true>::new(beta, epsilon)),
        SolverName::Ftrl => visitor.visit(ftrl::Ftrl { alpha: 1.0, beta: plan.ftrl_beta.unwrap_or(1.0) }),
        SolverName::Svrg => visitor.visit(svrg::Svrg),
        _ => return None,
    })
}

/// Numbers of the state of a coordinate; none for solvers that make passes.
pub fn state_numbers(solver: SolverName, plan: &OnlinePlan) -> Option<usize> {
    struct Count;
    impl OptimiserVisitor for Count {
        type Output = usize;
        fn visit<O: Optimiser>(self, _optimiser: O) -> usize {
            O::State::<f64>::default().as_ref().len()
        }
    }
    visit(solver, plan, Count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flow in one piece is the flow in many, and many small proximal steps come near it.
    #[test]
    fn a_flow_may_be_followed_in_pieces() {
        for (l1, l2) in [(0.0, 0.3), (0.2, 0.0), (0.2, 0.3), (2.0, 0.01)] {
            for weight in [-3.0, -0.4, 0.0, 1e-3, 0.7, 5.0] {
                let whole = flow(weight, &Pull { l1, l2, since: 1.0, now: 3.0 }, 1.0);
                let (mut pieces, mut steps) = (weight, weight);
                for piece in 0..4 {
                    let since = 1.0 + 0.5 * f64::from(piece);
                    pieces = flow(pieces, &Pull { l1, l2, since, now: since + 0.5 }, 1.0);
                }
                for _ in 0..200_000 {
                    let h: f64 = 1e-5;
                    steps = crate::optim::penalty::soft(steps, h * l1) / (1.0 + h * l2);
                }
                assert!((whole - pieces).abs() < 1e-14, "{weight} {l1} {l2}: {whole} {pieces}");
                assert!((whole - steps).abs() < 1e-5, "{weight} {l1} {l2}: {whole} {steps}");
                assert!(whole == 0.0 || whole.signum() == weight.signum());
            }
        }
    }
}
