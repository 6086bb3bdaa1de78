//! Losses (stage 5): how wrong a margin is, with first and second derivative.
//!
//! Registry: a loss is one file here, a variant of [`Loss`] and a line in [`Loss::ALL`], [`Loss::name`] and
//! [`Loss::visit`]; kernels, reference and battery follow from it.

mod gamma;
mod huber;
mod kinked;
mod logistic;
mod poisson;
mod squared;
mod squared_hinge;
mod tweedie;

pub use gamma::Gamma;
pub use huber::Huber;
pub use kinked::{Error as KinkedError, Kinked, Smoothing};
pub use logistic::Logistic;
pub use poisson::Poisson;
pub use squared::Squared;
pub use squared_hinge::SquaredHinge;
pub use tweedie::Tweedie;

use crate::isa::{Group, Isa, Real};

/// The losses that models are trained with, as a function of margin `z` and target `y`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// `(z - y)^2 / 2`.
    Squared,
    /// `log(1 + e^z) - y z` for `y` in [0, 1].
    Logistic,
    /// Half the Poisson deviance of the mean `e^z`, less that of this mean.
    Poisson(f64),
    /// Half the gamma deviance of the mean `e^z`, less that of this mean.
    Gamma(f64),
    /// Half the Tweedie deviance of a power between 1 and 2 of the mean `e^z`, less that of a mean: the power, and that mean.
    Tweedie(f64, f64),
    /// A parabola up to this distance from the target, straight lines beyond.
    Huber(f64),
    /// `max(0, 1 - s z)^2` with the class `s` = -1 or 1 for `y` = 0 or 1.
    SquaredHinge,
    /// `max(0, 1 - s z)`.
    Hinge(Smoothing),
    /// `|y - z|`.
    Absolute(Smoothing),
    /// `q (y - z)` above the margin, `(1 - q) (z - y)` below, for a quantile q between 0 and 1.
    Quantile(f64, Smoothing),
}

/// How a margin becomes a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// The margin itself.
    Identity,
    /// `1 / (1 + e^-z)`, a probability.
    Sigmoid,
    /// `e^z`, a mean that is positive.
    Exp,
}

impl Link {
    /// All links.
    pub const ALL: [Link; 3] = [Link::Identity, Link::Sigmoid, Link::Exp];
}

/// Loss and derivatives with respect to the margin.
#[derive(Clone, Copy, Debug)]
pub struct Terms<V> {
    /// The loss.
    pub loss: V,
    /// Its first derivative.
    pub residual: V,
    /// Its second derivative; for a loss with kinks, the positive number that Newton's method takes for it.
    pub curvature: V,
}

/// The arithmetic of a loss.
pub trait LossFunction: Copy {
    /// True when it is computed in `f64` whatever the arithmetic type of the run; residual and curvature are then rounded to
    /// that.
    const WIDE: bool = false;

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
    /// All losses, those with a parameter at one value of it or two.
    pub const ALL: [Loss; 17] = [
        Loss::Squared,
        Loss::Logistic,
        Loss::Poisson(1.0),
        Loss::Poisson(16.0),
        Loss::Gamma(1.0),
        Loss::Gamma(16.0),
        Loss::Tweedie(1.5, 1.0),
        Loss::Tweedie(1.5, 16.0),
        Loss::Huber(0.75),
        Loss::SquaredHinge,
        Loss::Hinge(Smoothing::Exact),
        Loss::Hinge(Smoothing::Width(0.5)),
        Loss::Absolute(Smoothing::Exact),
        Loss::Absolute(Smoothing::Width(0.5)),
        Loss::Quantile(0.9, Smoothing::Exact),
        Loss::Quantile(0.9, Smoothing::Width(0.5)),
        Loss::Quantile(0.9, Smoothing::Lifted(0.5, 0.25)),
    ];

    /// The name used in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Loss::Squared => "squared",
            Loss::Logistic => "logistic",
            Loss::Poisson(_) => "poisson",
            Loss::Gamma(_) => "gamma",
            Loss::Tweedie(..) => "tweedie",
            Loss::Huber(_) => "huber",
            Loss::SquaredHinge => "squared-hinge",
            Loss::Hinge(_) => "hinge",
            Loss::Absolute(_) => "absolute",
            Loss::Quantile(..) => "quantile",
        }
    }

    /// Hands the arithmetic of this loss to `visitor`.
    #[inline(always)]
    pub fn visit<V: LossVisitor>(self, visitor: V) -> V::Output {
        match self {
            Loss::Squared => visitor.visit(Squared),
            Loss::Logistic => visitor.visit(Logistic),
            Loss::Poisson(unit) => visitor.visit(Poisson::new(unit)),
            Loss::Gamma(unit) => visitor.visit(Gamma::new(unit)),
            Loss::Tweedie(power, unit) => visitor.visit(Tweedie::new(power, unit)),
            Loss::Huber(delta) => visitor.visit(Huber { delta }),
            Loss::SquaredHinge => visitor.visit(SquaredHinge),
            Loss::Hinge(smoothing) => {
                visitor.visit(Kinked { error: KinkedError::Hinge, up: 1.0, down: 0.0, smoothing })
            }
            Loss::Absolute(smoothing) => {
                visitor.visit(Kinked { error: KinkedError::Distance, up: 1.0, down: 1.0, smoothing })
            }
            Loss::Quantile(q, smoothing) => {
                visitor.visit(Kinked { error: KinkedError::Distance, up: q, down: 1.0 - q, smoothing })
            }
        }
    }

    /// The link that turns a margin trained with this loss into a prediction; that of a loss for classes without
    /// probabilities is the margin itself.
    pub const fn link(self) -> Link {
        match self {
            Loss::Squared | Loss::Huber(_) | Loss::SquaredHinge => Link::Identity,
            Loss::Hinge(_) | Loss::Absolute(_) | Loss::Quantile(..) => Link::Identity,
            Loss::Logistic => Link::Sigmoid,
            Loss::Poisson(_) | Loss::Gamma(_) | Loss::Tweedie(..) => Link::Exp,
        }
    }
}
