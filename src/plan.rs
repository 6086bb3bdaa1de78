//! What to train and how: the typed configuration.
//!
//! *What was typed* is a [`TrainRequest`]: every key optional, numbers unchecked, one table for flags and for
//! `--config FILE`. *What is meant* is a [`TrainPlan`]: every value present and valid. All validation lies between, in
//! [`TrainRequest::resolve`]; nothing later checks a setting again. A plan is written into the run folder as it was
//! resolved.

mod checks;
pub mod online;
pub mod payload;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(crate) use checks::crosses;
use checks::{folds, own, positive, power, share, strengths, within};
use gristmill_io::dataset::Dataset;
use gristmill_io::tiles::Io;
use online::OnlinePlan;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::models::{self, Model, ModelName, Settings};
use crate::synonyms::{self, instead};

/// Default of `tolerance`: the estimated relative gap of the objective at which a solver stops.
pub const TOLERANCE: f64 = 1e-7;
/// Default of `max_passes`.
pub const PASSES_MAX: u32 = 1_000;
/// Default of `seed`.
pub const SEED: u64 = 42;
/// Most folds of a cross-validation.
pub const FOLDS_MAX: u32 = 1_000;

/// What was typed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TrainRequest {
    /// Name of the model: `linear`, `logistic` and so on.
    pub model: Option<String>,
    /// Where the Huber loss becomes straight, in units of the label.
    pub huber_delta: Option<f64>,
    /// The power of the mean that the variance of a Tweedie distribution grows with.
    pub tweedie_power: Option<f64>,
    /// The quantile of the label that is predicted.
    pub quantile: Option<f64>,
    /// How a model of two classes tells several apart.
    pub multiclass: Option<Several>,
    /// Columns to cross, such as `a*b`.
    pub cross: Option<Vec<String>>,
    /// Binary logarithm of the most levels of a cross.
    pub cross_bits: Option<u32>,
    /// Strengths of the l1 penalty; several make a path.
    pub l1: Option<OneOrMany>,
    /// Strengths of the l2 penalty; several make a path.
    pub l2: Option<OneOrMany>,
    /// Penalise coefficients of standardised columns.
    pub standardize: Option<bool>,
    /// Learn an intercept.
    pub intercept: Option<bool>,
    /// Name of the solver, or `auto`.
    pub solver: Option<String>,
    /// Relative gap of the objective at which to stop.
    pub tolerance: Option<f64>,
    /// Most passes over the data for one configuration of the path.
    pub max_passes: Option<u32>,
    /// Worker threads of a rank; 0: all cores this process may use.
    pub threads: Option<usize>,
    /// Bytes that reading may keep in memory; none: a share of what the machine or cgroup allows.
    pub memory: Option<u64>,
    /// How data get into memory.
    pub io: Option<Io>,
    /// Folds of a cross-validation; none or 0: no cross-validation.
    pub folds: Option<u32>,
    /// Seed of everything random.
    pub seed: Option<u64>,
    /// `none`, `balanced`, or a weight for each class by name.
    pub class_weight: Option<ClassWeight>,
    /// Instruction set to use, by name; none: the best of this processor.
    pub tier: Option<String>,
    /// Times that every row is learnt from.
    pub epochs: Option<u32>,
    /// Rows of a batch, of all ranks.
    pub batch_rows: Option<u32>,
    /// Grains that batches are drawn from at a time.
    pub open_grains: Option<u32>,
    /// Learning rates; several make as many configurations.
    pub learning_rate: Option<OneOrMany>,
    /// How the learning rate changes.
    pub schedule: Option<String>,
    /// Epochs of warm-up.
    pub warmup: Option<f64>,
    /// Epochs between falls of schedule `step`.
    pub step_epochs: Option<f64>,
    /// The factor of a fall.
    pub step_factor: Option<f64>,
    /// How fast schedule `inverse-time` falls.
    pub decay: Option<f64>,
    /// To which power.
    pub power: Option<f64>,
    /// Momentum of `sgd`.
    pub momentum: Option<f64>,
    /// Nesterov's momentum.
    pub nesterov: Option<bool>,
    /// Decay of the mean gradient.
    pub beta1: Option<f64>,
    /// Decay of the mean square.
    pub beta2: Option<f64>,
    /// What keeps a division by a root from one by 0.
    pub epsilon: Option<f64>,
    /// beta of `ftrl`.
    pub ftrl_beta: Option<f64>,
    /// Largest norm of a batch's gradient.
    pub clip_norm: Option<f64>,
    /// As what ranks send each other the sums of a batch.
    pub allreduce_dtype: Option<String>,
    /// Epochs after which the average of the weights begins.
    pub averaging: Option<f64>,
    /// Epochs without a better held-out loss.
    pub patience: Option<u32>,
    /// Seconds after which training stops.
    pub max_seconds: Option<f64>,
    /// The solver by passes that goes on.
    pub then: Option<String>,
    /// Find objective and gradient where the last epoch ends.
    pub final_pass: Option<bool>,
}

/// One number or a list of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// A single strength.
    One(f64),
    /// A path of strengths.
    Many(Vec<f64>),
}

/// How a model of two classes tells several apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Several {
    /// One against all others: a model a class; the class with the greatest margin is predicted.
    Ovr,
}

/// Weights of classes, multiplied with the weights of their rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeight {
    /// Every class counts 1.
    #[default]
    None,
    /// rows / (classes * rows of the class), as scikit-learn has it.
    Balanced,
    /// By name of the class; a class that is not named counts 1.
    #[serde(untagged)]
    Map(BTreeMap<String, f64>),
}

/// A way to minimise the objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SolverName {
    /// Chosen by shape and cost.
    Auto,
    /// Closed form from the Gram matrix (linear, no l1).
    Cholesky,
    /// Coordinate descent on the Gram matrix (linear).
    CoordinateDescent,
    /// Newton's method, also called IRLS (no l1).
    Newton,
    /// Limited-memory BFGS (no l1).
    Lbfgs,
    /// Orthant-wise limited-memory quasi-Newton (l1).
    Owlqn,
    /// Newton's method with coordinate descent inside (l1).
    ProximalNewton,
    /// Stochastic gradient descent, with or without momentum.
    Sgd,
    /// Stochastic: steps by the sum of squares of a coordinate.
    Adagrad,
    /// Stochastic: steps by the mean square.
    Rmsprop,
    /// Stochastic: two moments.
    Adam,
    /// Stochastic: the same with decoupled weight decay.
    Adamw,
    /// Stochastic: follow the regularised leader, proximal.
    Ftrl,
    /// Stochastic: gradients of reduced variance.
    Svrg,
}

impl SolverName {
    /// Every solver with the name that flags and files use.
    pub const ALL: [(SolverName, &'static str); 14] = [
        (SolverName::Auto, "auto"),
        (SolverName::Cholesky, "cholesky"),
        (SolverName::CoordinateDescent, "coordinate-descent"),
        (SolverName::Newton, "newton"),
        (SolverName::Lbfgs, "lbfgs"),
        (SolverName::Owlqn, "owlqn"),
        (SolverName::ProximalNewton, "proximal-newton"),
        (SolverName::Sgd, "sgd"),
        (SolverName::Adagrad, "adagrad"),
        (SolverName::Rmsprop, "rmsprop"),
        (SolverName::Adam, "adam"),
        (SolverName::Adamw, "adamw"),
        (SolverName::Ftrl, "ftrl"),
        (SolverName::Svrg, "svrg"),
    ];

    /// True for solvers that learn batch by batch instead of pass by pass.
    pub fn is_stochastic(self) -> bool {
        use SolverName::{Adagrad, Adam, Adamw, Ftrl, Rmsprop, Sgd, Svrg};
        matches!(self, Sgd | Adagrad | Rmsprop | Adam | Adamw | Ftrl | Svrg)
    }

    /// True for those that need a matrix of all parameters.
    pub fn takes_a_matrix(self) -> bool {
        use SolverName::{Cholesky, CoordinateDescent, Newton, ProximalNewton};
        matches!(self, Cholesky | CoordinateDescent | Newton | ProximalNewton)
    }

    /// The name that flags and files use.
    pub fn name(self) -> &'static str {
        SolverName::ALL.iter().find(|(solver, _)| *solver == self).map_or("auto", |(_, name)| name)
    }
}

/// What is meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrainPlan {
    /// The model.
    pub model: ModelName,
    /// Where the Huber loss becomes straight, in units of the label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub huber_delta: Option<f64>,
    /// The power of the mean that the variance of a Tweedie distribution grows with, 1 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tweedie_power: Option<f64>,
    /// The quantile of the label that is predicted, between 0 and 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
    /// How a model of two classes tells several apart; none: there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiclass: Option<Several>,
    /// Columns that are crossed, such as `a*b`, none twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cross: Vec<String>,
    /// Binary logarithm of the most levels of a cross, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_bits: Option<u32>,
    /// l1 strengths, finite and not negative, at least one.
    pub l1: Vec<f64>,
    /// l2 strengths, finite and not negative, at least one.
    pub l2: Vec<f64>,
    /// Penalise coefficients of standardised columns.
    pub standardize: bool,
    /// Learn an intercept.
    pub intercept: bool,
    /// The solver, or auto.
    pub solver: SolverName,
    /// Relative gap of the objective at which to stop, in (0, 1).
    pub tolerance: f64,
    /// Most passes over the data for one configuration of the path, at least 1.
    pub max_passes: u32,
    /// Worker threads; 0: all cores this process may use. Never changes the model.
    pub threads: usize,
    /// Stochastic training has all of them at work, also where fewer are faster. Never changes the model.
    #[serde(skip)]
    pub every_thread: bool,
    /// Bytes that reading may keep in memory; none: a share of what the machine or cgroup allows. Never changes the model.
    pub memory: Option<u64>,
    /// How data get into memory. Never changes the model.
    #[serde(default)]
    pub io: Io,
    /// Folds of a cross-validation, 0 or from 2 to [`FOLDS_MAX`]; 0: none.
    pub folds: u32,
    /// Seed of everything random.
    pub seed: u64,
    /// Weights of classes.
    pub class_weight: ClassWeight,
    /// Instruction set to use, by name; none: the best of this processor. Never changes the model among tiers with FMA.
    pub tier: Option<String>,
    /// How a stochastic solver learns; none for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<OnlinePlan>,
}

/// One configuration of the path.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Strengths {
    /// Of the l1 penalty.
    pub l1: f64,
    /// Of the l2 penalty.
    pub l2: f64,
    /// The learning rate of a stochastic solver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
}

impl TrainPlan {
    /// The configurations of the path, in the order in which they are reported: for every learning rate, for every l2, every
    /// l1.
    pub fn path(&self) -> Vec<Strengths> {
        let rates: Vec<Option<f64>> = match &self.online {
            Some(online) => online.learning_rate.iter().copied().map(Some).collect(),
            None => vec![None],
        };
        let of_l2 = |rate, l2| self.l1.iter().map(move |&l1| Strengths { l1, l2, rate });
        rates.into_iter().flat_map(|rate| self.l2.iter().flat_map(move |&l2| of_l2(rate, l2))).collect()
    }

    /// How many models are trained: for each configuration one on all rows, and one for each fold without its rows.
    pub fn tasks(&self) -> usize {
        self.path().len() * (1 + self.folds as usize)
    }

    /// The settings in which this plan and another differ, each with both values; threads, memory, io and tier
    /// never change the model and do not count.
    pub fn differences(&self, other: &TrainPlan) -> Vec<String> {
        let settings = |plan: &TrainPlan| {
            let fixed = TrainPlan { threads: 0, memory: None, io: Io::Auto, tier: None, ..plan.clone() };
            serde_json::to_value(fixed).unwrap_or_default()
        };
        let (ours, theirs) = (settings(self), settings(other));
        let keys = ours.as_object().into_iter().flat_map(|map| map.keys());
        keys.filter(|key| ours[*key] != theirs[*key])
            .map(|key| format!("{key} is {}, it was {}", ours[key], theirs[key]))
            .collect()
    }

    /// The dataset with the crossed columns of the plan.
    ///
    /// # Errors
    /// [`Error::Usage`] when it has no such columns, or they hold no levels.
    pub fn crossed(&self, dataset: Dataset) -> Result<Dataset> {
        match self.cross_bits {
            Some(bits) => Ok(dataset.crossed(&self.cross, bits)?),
            None => Ok(dataset),
        }
    }

    /// The model with its settings.
    pub fn model(&self) -> Box<dyn Model> {
        self.model.model().with(&self.settings())
    }

    /// What the model was told beside its name.
    pub fn settings(&self) -> Settings {
        Settings { huber_delta: self.huber_delta, tweedie_power: self.tweedie_power, quantile: self.quantile }
    }

    /// True when any configuration has an l1 penalty.
    fn any_l1(&self) -> bool {
        self.l1.iter().any(|&l1| l1 > 0.0)
    }
}

impl TrainRequest {
    /// The keys of this request that are set, else those of `below`: flags over a configuration file.
    #[must_use]
    pub fn over(self, below: TrainRequest) -> TrainRequest {
        TrainRequest {
            model: self.model.or(below.model),
            huber_delta: self.huber_delta.or(below.huber_delta),
            tweedie_power: self.tweedie_power.or(below.tweedie_power),
            quantile: self.quantile.or(below.quantile),
            multiclass: self.multiclass.or(below.multiclass),
            cross: self.cross.or(below.cross),
            cross_bits: self.cross_bits.or(below.cross_bits),
            l1: self.l1.or(below.l1),
            l2: self.l2.or(below.l2),
            standardize: self.standardize.or(below.standardize),
            intercept: self.intercept.or(below.intercept),
            solver: self.solver.or(below.solver),
            tolerance: self.tolerance.or(below.tolerance),
            max_passes: self.max_passes.or(below.max_passes),
            threads: self.threads.or(below.threads),
            memory: self.memory.or(below.memory),
            io: self.io.or(below.io),
            folds: self.folds.or(below.folds),
            seed: self.seed.or(below.seed),
            class_weight: self.class_weight.or(below.class_weight),
            tier: self.tier.or(below.tier),
            epochs: self.epochs.or(below.epochs),
            batch_rows: self.batch_rows.or(below.batch_rows),
            open_grains: self.open_grains.or(below.open_grains),
            learning_rate: self.learning_rate.or(below.learning_rate),
            schedule: self.schedule.or(below.schedule),
            warmup: self.warmup.or(below.warmup),
            step_epochs: self.step_epochs.or(below.step_epochs),
            step_factor: self.step_factor.or(below.step_factor),
            decay: self.decay.or(below.decay),
            power: self.power.or(below.power),
            momentum: self.momentum.or(below.momentum),
            nesterov: self.nesterov.or(below.nesterov),
            beta1: self.beta1.or(below.beta1),
            beta2: self.beta2.or(below.beta2),
            epsilon: self.epsilon.or(below.epsilon),
            ftrl_beta: self.ftrl_beta.or(below.ftrl_beta),
            clip_norm: self.clip_norm.or(below.clip_norm),
            allreduce_dtype: self.allreduce_dtype.or(below.allreduce_dtype),
            averaging: self.averaging.or(below.averaging),
            patience: self.patience.or(below.patience),
            max_seconds: self.max_seconds.or(below.max_seconds),
            then: self.then.or(below.then),
            final_pass: self.final_pass.or(below.final_pass),
        }
    }

    /// The plan that is meant, or what is wrong with the request.
    ///
    /// # Errors
    /// [`Error::Usage`], naming the key, what was found and what is allowed.
    pub fn resolve(self) -> Result<TrainPlan> {
        let model = match &self.model {
            Some(name) => ModelName::find(name)?,
            None => return Err(Error::usage(format!("no model given. Add --model; models: {}", models::names()))),
        };
        let solver = solver_named(self.solver.as_deref().unwrap_or("auto"))?;
        let (cross, cross_bits) = crosses(self.cross.clone().unwrap_or_default(), self.cross_bits)?;
        let online = OnlinePlan::resolve(&self, solver, model)?;
        let plan = TrainPlan {
            model,
            huber_delta: own("huber-delta", "huber", model, self.huber_delta, positive)?,
            tweedie_power: own("tweedie-power", "tweedie", model, self.tweedie_power, power)?,
            quantile: own("quantile", "quantile", model, self.quantile, share)?,
            multiclass: several(model, self.multiclass)?,
            cross,
            cross_bits,
            l1: strengths("l1", self.l1)?,
            l2: strengths("l2", self.l2)?,
            standardize: self.standardize.unwrap_or(true),
            intercept: self.intercept.unwrap_or(true),
            solver,
            tolerance: within("tolerance", self.tolerance.unwrap_or(TOLERANCE))?,
            max_passes: self.max_passes.unwrap_or(PASSES_MAX),
            threads: self.threads.unwrap_or(0),
            every_thread: false,
            memory: self.memory,
            io: self.io.unwrap_or_default(),
            folds: folds(self.folds.unwrap_or(0))?,
            seed: self.seed.unwrap_or(SEED),
            class_weight: self.class_weight.unwrap_or_default(),
            tier: self.tier,
            online,
        };
        if plan.max_passes == 0 {
            return Err(Error::usage("max-passes is 0; at least 1 pass is needed"));
        }
        check_class_weight(&plan)?;
        check_solver(&plan)?;
        Ok(plan)
    }
}

fn several(model: ModelName, given: Option<Several>) -> Result<Option<Several>> {
    let built = model.model();
    match given {
        Some(_) if built.is_joint() => Err(Error::usage(format!(
            "multiclass is set, but model '{model}' tells several classes apart by itself. Leave it out"
        ))),
        Some(_) if !built.is_classifier() => Err(Error::usage(format!(
            "multiclass is set, but model '{model}' has no classes. Leave it out, or train a classifier"
        ))),
        given => Ok(given),
    }
}

fn solver_named(name: &str) -> Result<SolverName> {
    if let Some((solver, _)) = SolverName::ALL.iter().find(|(_, known)| *known == name) {
        return Ok(*solver);
    }
    let known = SolverName::ALL.map(|(_, name)| name);
    let advice = instead(synonyms::SOLVERS, name, known, |_| true);
    Err(Error::usage(format!("unknown solver '{name}'.{advice} Solvers: {}", known.join(", "))))
}

fn check_class_weight(plan: &TrainPlan) -> Result<()> {
    if plan.class_weight != ClassWeight::None && !plan.model.model().is_classifier() {
        return Err(Error::usage(format!(
            "class-weight is set, but model '{}' has no classes. Leave it out, or train a classifier",
            plan.model
        )));
    }
    if let ClassWeight::Map(weights) = &plan.class_weight
        && let Some((class, weight)) = weights.iter().find(|(_, weight)| !(weight.is_finite() && **weight >= 0.0))
    {
        return Err(Error::usage(format!(
            "class-weight of '{class}' is {weight}; a weight is a finite number, 0 or greater"
        )));
    }
    Ok(())
}

fn check_solver(plan: &TrainPlan) -> Result<()> {
    let model = plan.model.model();
    let refuse = |why: &str, instead: &str| {
        Err(Error::usage(format!("solver '{}' {why}. Use --solver {instead}, or auto", plan.solver.name())))
    };
    match plan.solver {
        SolverName::Cholesky | SolverName::CoordinateDescent if !model.is_quadratic() => {
            refuse("needs a squared loss", if plan.any_l1() { "proximal-newton" } else { "newton" })
        }
        SolverName::ProximalNewton if model.is_joint() => {
            refuse("learns one margin, and softmax has several", if plan.any_l1() { "owlqn" } else { "newton" })
        }
        SolverName::Newton if plan.any_l1() && model.is_joint() => refuse("cannot have an l1 penalty", "owlqn"),
        SolverName::Cholesky if plan.any_l1() => refuse("cannot have an l1 penalty", "coordinate-descent"),
        SolverName::Newton if plan.any_l1() => refuse("cannot have an l1 penalty", "proximal-newton"),
        SolverName::Lbfgs if plan.any_l1() => refuse("cannot have an l1 penalty", "owlqn"),
        _ => Ok(()),
    }
}
