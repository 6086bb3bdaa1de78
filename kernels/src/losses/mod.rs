//! Losses (stage 5): how wrong a margin is, with first and second derivative.
//!
//! Registry: a loss is one file here, a variant of [`Loss`] and a line in [`Loss::ALL`], [`Loss::name`] and
//! [`Loss::visit`]; kernels, reference and battery follow from it.

mod logistic;
mod squared;

pub use logistic::Logistic;
pub use squared::Squared;

use crate::isa::{Group, Isa, Real};

/// The losses that models are trained with, as a function of margin `z` and target `y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// `(z - y)^2 / 2`.
    Squared,
    /// `log(1 + e^z) - y z` for `y` in [0, 1].
    Logistic,
}

/// How a margin becomes a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// The margin itself.
    Identity,
    /// `1 / (1 + e^-z)`, a probability.
    Sigmoid,
}

/// Loss and derivatives with respect to the margin.
#[derive(Clone, Copy, Debug)]
pub struct Terms<V> {
    /// The loss.
    pub loss: V,
    /// Its first derivative.
    pub residual: V,
    /// Its second derivative.
    pub curvature: V,
}

/// The arithmetic of a loss.
pub trait LossFunction: Copy {
    /// Loss and derivatives, lane by lane; must be `#[inline(always)]`.
    fn terms<T: Isa, R: Real, const N: usize>(
        self,
        tier: T,
        z: Group<T, R, N>,
        y: Group<T, R, N>,
    ) -> Terms<Group<T, R, N>>;
    /// The same for one row, in plain `f64`: the definition that the battery checks the lanes against.
    fn reference(self, z: f64, y: f64) -> Terms<f64>;
}

/// Something done with the arithmetic of a loss that is known only at run time.
pub trait LossVisitor {
    /// What it returns.
    type Output;
    /// Does it.
    fn visit<L: LossFunction>(self, loss: L) -> Self::Output;
}

impl Loss {
    /// All losses.
    pub const ALL: [Loss; 2] = [Loss::Squared, Loss::Logistic];

    /// The name used in configurations and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Loss::Squared => "squared",
            Loss::Logistic => "logistic",
        }
    }

    /// Hands the arithmetic of this loss to `visitor`.
    #[inline(always)]
    pub fn visit<V: LossVisitor>(self, visitor: V) -> V::Output {
        match self {
            Loss::Squared => visitor.visit(Squared),
            Loss::Logistic => visitor.visit(Logistic),
        }
    }

    /// The link that turns a margin trained with this loss into a prediction.
    pub const fn link(self) -> Link {
        match self {
            Loss::Squared => Link::Identity,
            Loss::Logistic => Link::Sigmoid,
        }
    }
}
