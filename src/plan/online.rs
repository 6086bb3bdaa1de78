//! The settings of stochastic solvers: what each of them takes, and what is meant where nothing is said.

use serde::{Deserialize, Serialize};

use super::payload::Payload;
use super::{OneOrMany, SolverName, TrainRequest};
use crate::error::{Error, Result};
use crate::models::ModelName;
use crate::optim::stochastic::rates::Schedule;

/// Default of `epochs`.
pub const EPOCHS: u32 = 1;
/// Batches that an epoch is cut into, about, where nothing is said.
const BATCHES: f64 = 1_024.0;
/// Rows beyond which some solvers do with fewer of them.
const MANY_ROWS: f64 = 1e6;
/// Least and most rows of a batch then.
const BATCH_ROWS: (f64, f64) = (32.0, 16_384.0);
/// Default of `open_grains`.
pub const OPEN_GRAINS: u32 = 32;

/// How a stochastic solver learns. Every setting that the solver or its schedule does not have is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OnlinePlan {
    /// Times that every row is learnt from.
    pub epochs: u32,
    /// Rows of a batch, of all ranks; none: by the rows of the dataset (see [`OnlinePlan::rows_of_batch`]).
    pub batch_rows: Option<u32>,
    /// Grains that batches are drawn from at a time.
    pub open_grains: u32,
    /// Learning rates, one or more: each is a configuration.
    pub learning_rate: Vec<f64>,
    /// How the rate changes.
    pub schedule: Schedule,
    /// Epochs of warm-up.
    pub warmup: f64,
    /// Epochs between falls of schedule `step`.
    pub step_epochs: Option<f64>,
    /// The factor of a fall.
    pub step_factor: Option<f64>,
    /// How fast schedule `inverse-time` falls.
    pub decay: Option<f64>,
    /// To which power.
    pub power: Option<f64>,
    /// Of `sgd`.
    pub momentum: Option<f64>,
    /// Of `sgd` with momentum.
    pub nesterov: Option<bool>,
    /// Decay of the mean gradient of `adam` and `adamw`.
    pub beta1: Option<f64>,
    /// Decay of the mean square of `adam`, `adamw` and `rmsprop`.
    pub beta2: Option<f64>,
    /// What keeps a division by a root from one by 0.
    pub epsilon: Option<f64>,
    /// beta of `ftrl`.
    pub ftrl_beta: Option<f64>,
    /// Largest norm of a batch's gradient; none: any.
    pub clip_norm: Option<f64>,
    /// As what ranks send each other the sums of a batch.
    #[serde(default, skip_serializing_if = "Payload::is_exact")]
    pub allreduce_dtype: Payload,
    /// Epochs after which the average of the weights begins; none: the last weights.
    pub averaging: Option<f64>,
    /// Epochs without a better held-out loss after which a model stops; none: it does not.
    pub patience: Option<u32>,
    /// Seconds after which training stops; none: it does not.
    pub max_seconds: Option<f64>,
    /// The solver by passes that goes on where the last epoch ends.
    pub then: Option<SolverName>,
    /// After the last epoch, one pass over all rows for objective and gradient.
    #[serde(default = "yes")]
    pub final_pass: bool,
}

/// Plans from before there was a choice.
fn yes() -> bool {
    true
}

/// A number that some solvers or schedules have.
struct Setting {
    key: &'static str,
    given: Option<f64>,
    /// What it belongs to, and what it is there when nothing is said.
    of: &'static [(&'static str, f64)],
    allowed: fn(f64) -> bool,
    what: &'static str,
}

impl Setting {
    /// Its value with this owner; none where the owner has no such setting.
    fn of(self, owner: &str, flag: &str) -> Result<Option<f64>> {
        let Setting { key, given, of, allowed, what } = self;
        let Some((_, default)) = of.iter().find(|(name, _)| *name == owner) else {
            if given.is_none() {
                return Ok(None);
            }
            let owners: Vec<&str> = of.iter().map(|(name, _)| *name).collect();
            return Err(Error::usage(format!(
                "{key} is set, but the {flag} is '{owner}'. Leave it out, or use --{flag} {}",
                owners.join(" or ")
            )));
        };
        let value = given.unwrap_or(*default);
        if !allowed(value) {
            return Err(Error::usage(format!("{key} is {value}; it is {what}")));
        }
        Ok(Some(value))
    }
}

fn below_one(value: f64) -> bool {
    (0.0..1.0).contains(&value)
}

fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

fn not_negative(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

const BELOW_ONE: &str = "a number from 0, less than 1";
const POSITIVE: &str = "a finite number, greater than 0";

/// The rate that a solver is given when nothing is said.
fn default_rate(solver: SolverName) -> f64 {
    match solver {
        SolverName::Adagrad | SolverName::Svrg => 0.05,
        SolverName::Ftrl => 0.1,
        SolverName::Rmsprop | SolverName::Sgd => 0.01,
        _ => 0.001,
    }
}

impl OnlinePlan {
    /// The settings of a request for `solver`; none for a solver that makes passes.
    ///
    /// # Errors
    /// [`Error::Usage`] for a setting that this solver does not have, or out of its range.
    pub fn resolve(request: &TrainRequest, solver: SolverName, model: ModelName) -> Result<Option<OnlinePlan>> {
        if !solver.is_stochastic() {
            return refuse(request, solver).map(|()| None);
        }
        let number = |key, given, of, allowed, what| Setting { key, given, of, allowed, what };
        let (name, schedule) = (solver.name(), schedule(request.schedule.as_deref().unwrap_or("constant"))?);
        let curve = Schedule::ALL.iter().find(|(known, _)| *known == schedule).map_or("", |(_, name)| *name);
        let momentum =
            number("momentum", request.momentum, &[("sgd", 0.0)], below_one, BELOW_ONE).of(name, "solver")?;
        let nesterov = request.nesterov.filter(|_| momentum.is_some_and(|momentum| momentum > 0.0));
        if request.nesterov == Some(true) && nesterov.is_none() {
            return Err(Error::usage(
                "nesterov is set, but there is no momentum. Leave it out, or use --solver sgd --momentum 0.9",
            ));
        }
        let plan = OnlinePlan {
            epochs: whole("epochs", request.epochs, EPOCHS)?,
            batch_rows: request.batch_rows.map(|rows| whole("batch-rows", Some(rows), 1)).transpose()?,
            open_grains: whole("open-grains", request.open_grains, OPEN_GRAINS)?,
            learning_rate: learning_rates(request.learning_rate.as_ref(), default_rate(solver))?,
            schedule,
            warmup: request.warmup.unwrap_or(0.0),
            step_epochs: number("step-epochs", request.step_epochs, &[("step", 1.0)], positive, POSITIVE)
                .of(curve, "schedule")?,
            step_factor: number("step-factor", request.step_factor, &[("step", 0.1)], positive, POSITIVE)
                .of(curve, "schedule")?,
            decay: number("decay", request.decay, &[("inverse-time", 1.0)], positive, POSITIVE)
                .of(curve, "schedule")?,
            power: number("power", request.power, &[("inverse-time", 1.0)], positive, POSITIVE)
                .of(curve, "schedule")?,
            momentum,
            nesterov,
            beta1: number("beta1", request.beta1, &[("adam", 0.9), ("adamw", 0.9)], below_one, BELOW_ONE)
                .of(name, "solver")?,
            beta2: number(
                "beta2",
                request.beta2,
                &[("adam", 0.999), ("adamw", 0.999), ("rmsprop", 0.99)],
                below_one,
                BELOW_ONE,
            )
            .of(name, "solver")?,
            epsilon: number(
                "epsilon",
                request.epsilon,
                &[("adagrad", 1e-10), ("rmsprop", 1e-8), ("adam", 1e-8), ("adamw", 1e-8)],
                positive,
                POSITIVE,
            )
            .of(name, "solver")?,
            ftrl_beta: number("ftrl-beta", request.ftrl_beta, &[("ftrl", 1.0)], positive, POSITIVE)
                .of(name, "solver")?,
            clip_norm: request.clip_norm,
            allreduce_dtype: request.allreduce_dtype.as_deref().map(Payload::named).transpose()?.unwrap_or_default(),
            averaging: request.averaging,
            patience: request.patience.map(|patience| whole("patience", Some(patience), 1)).transpose()?,
            max_seconds: request.max_seconds,
            then: request.then.as_deref().map(|name| then(name, request, model)).transpose()?,
            final_pass: request.final_pass.unwrap_or(true),
        };
        for (key, given) in [("clip-norm", plan.clip_norm), ("max-seconds", plan.max_seconds)] {
            if let Some(value) = given.filter(|value| !positive(*value)) {
                return Err(Error::usage(format!("{key} is {value}; it is {POSITIVE}")));
            }
        }
        if let (false, Some(then)) = (plan.final_pass, plan.then) {
            return Err(Error::usage(format!(
                "final-pass is false, but solver '{}' then makes passes over all rows. Leave final-pass or then out",
                then.name()
            )));
        }
        if let Some(start) = plan.averaging.filter(|start| !(0.0..f64::from(plan.epochs)).contains(start)) {
            return Err(Error::usage(format!(
                "averaging is {start}; it is the number of epochs after which it begins, from 0, less than epochs ({})",
                plan.epochs
            )));
        }
        if solver == SolverName::Ftrl && (plan.schedule != Schedule::Constant || plan.warmup > 0.0) {
            return Err(Error::usage(
                "solver 'ftrl' has a learning rate of its own for every coordinate, which falls by itself. Leave schedule and \
                 warmup out, or use --solver adagrad",
            ));
        }
        if solver == SolverName::Svrg && plan.clip_norm.is_some() {
            return Err(Error::usage(
                "clip-norm is set, but the steps of solver 'svrg' are no gradients of a batch. Leave it out, or use --solver sgd",
            ));
        }
        if solver == SolverName::Svrg && !plan.allreduce_dtype.is_exact() {
            return Err(Error::usage(format!(
                "allreduce-dtype is {}, but the steps of solver 'svrg' are small differences of large sums, which 16 bits would \
                 drown. Leave it out, or use --solver sgd",
                plan.allreduce_dtype.name()
            )));
        }
        if !not_negative(plan.warmup) {
            return Err(Error::usage(format!("warmup is {}; it is a number of epochs, 0 or greater", plan.warmup)));
        }
        Ok(Some(plan))
    }

    /// Rows of a batch for so many training rows: as they were given, else the power of two nearest to a 1,024th of them, from 32
    /// to 16,384. Small datasets need steps; where an epoch has a thousand of them, a batch costs less the larger it is. Solvers whose
    /// rate falls with all gradients so far need fewer: beyond a million rows their share grows with the rows.
    pub fn rows_of_batch(&self, rows: u64, solver: SolverName) -> u32 {
        let falls = matches!(solver, SolverName::Adagrad | SolverName::Ftrl);
        let more = if falls { (rows as f64 / MANY_ROWS).max(1.0) } else { 1.0 };
        let share = (rows as f64 / BATCHES * more).max(1.0);
        self.batch_rows.unwrap_or_else(|| share.log2().round().exp2().clamp(BATCH_ROWS.0, BATCH_ROWS.1) as u32)
    }
}

/// Settings of stochastic solvers for one that is none.
fn refuse(request: &TrainRequest, solver: SolverName) -> Result<()> {
    let set = [
        ("epochs", request.epochs.is_some()),
        ("batch-rows", request.batch_rows.is_some()),
        ("open-grains", request.open_grains.is_some()),
        ("learning-rate", request.learning_rate.is_some()),
        ("schedule", request.schedule.is_some()),
        ("warmup", request.warmup.is_some()),
        ("step-epochs", request.step_epochs.is_some()),
        ("step-factor", request.step_factor.is_some()),
        ("decay", request.decay.is_some()),
        ("power", request.power.is_some()),
        ("momentum", request.momentum.is_some()),
        ("nesterov", request.nesterov.is_some()),
        ("beta1", request.beta1.is_some()),
        ("beta2", request.beta2.is_some()),
        ("epsilon", request.epsilon.is_some()),
        ("ftrl-beta", request.ftrl_beta.is_some()),
        ("clip-norm", request.clip_norm.is_some()),
        ("allreduce-dtype", request.allreduce_dtype.is_some()),
        ("averaging", request.averaging.is_some()),
        ("patience", request.patience.is_some()),
        ("max-seconds", request.max_seconds.is_some()),
        ("then", request.then.is_some()),
        ("final-pass", request.final_pass.is_some()),
    ];
    match set.iter().find(|(_, set)| *set) {
        None => Ok(()),
        Some((key, _)) => Err(Error::usage(format!(
            "{key} is set, but solver '{}' does not learn batch by batch. Leave it out, or add --solver with one of {}",
            solver.name(),
            stochastic_names()
        ))),
    }
}

/// The solver that goes on.
fn then(name: &str, request: &TrainRequest, model: ModelName) -> Result<SolverName> {
    use SolverName::{Auto, Lbfgs, Newton, Owlqn, ProximalNewton};
    let allowed = [Auto, Newton, Lbfgs, Owlqn, ProximalNewton];
    let Some(solver) = allowed.into_iter().find(|solver| solver.name() == name) else {
        let names = allowed.map(SolverName::name).join(", ");
        return Err(Error::usage(format!("then is '{name}'; one of {names} was expected")));
    };
    let any_l1 = match &request.l1 {
        Some(OneOrMany::One(l1)) => *l1 > 0.0,
        Some(OneOrMany::Many(l1)) => l1.iter().any(|l1| *l1 > 0.0),
        None => false,
    };
    match solver {
        Newton | Lbfgs if any_l1 => {
            Err(Error::usage(format!("then is '{name}', which cannot have an l1 penalty. Use --then owlqn, or auto")))
        }
        ProximalNewton if model.model().is_joint() => Err(Error::usage(format!(
            "then is '{name}', which learns one margin, and '{model}' has several. Use --then newton (owlqn for l1), or auto"
        ))),
        _ => Ok(solver),
    }
}

fn stochastic_names() -> String {
    let names: Vec<&str> =
        SolverName::ALL.iter().filter(|(solver, _)| solver.is_stochastic()).map(|(_, name)| *name).collect();
    names.join(", ")
}

fn schedule(name: &str) -> Result<Schedule> {
    let found = Schedule::ALL.iter().find(|(_, known)| *known == name).map(|(schedule, _)| *schedule);
    found.ok_or_else(|| {
        let names: Vec<&str> = Schedule::ALL.iter().map(|(_, name)| *name).collect();
        Error::usage(format!("schedule is '{name}'; one of {} was expected", names.join(", ")))
    })
}

fn whole(key: &str, given: Option<u32>, default: u32) -> Result<u32> {
    match given.unwrap_or(default) {
        0 => Err(Error::usage(format!("{key} is 0; at least 1 is needed"))),
        value => Ok(value),
    }
}

fn learning_rates(given: Option<&OneOrMany>, default: f64) -> Result<Vec<f64>> {
    let values = match given {
        None => vec![default],
        Some(OneOrMany::One(value)) => vec![*value],
        Some(OneOrMany::Many(values)) => values.clone(),
    };
    if values.is_empty() {
        return Err(Error::usage("learning-rate is an empty list; give at least one"));
    }
    if let Some(twice) = values.iter().enumerate().find(|(place, value)| values[..*place].contains(value)) {
        return Err(Error::usage(format!("learning-rate lists {} twice; name each once", twice.1)));
    }
    match values.iter().find(|value| !positive(**value)) {
        Some(bad) => Err(Error::usage(format!("learning-rate is {bad}; it is {POSITIVE}"))),
        None => Ok(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Option<OnlinePlan>> {
        Ok(serde_json::from_str::<TrainRequest>(text).expect("a request").resolve()?.online)
    }

    fn message(text: &str) -> String {
        resolve(text).expect_err("a fault").to_string()
    }

    #[test]
    fn settings_belong_to_solvers_and_schedules() {
        let plan = resolve(r#"{"model": "logistic", "solver": "adam"}"#).expect("valid").expect("stochastic");
        assert_eq!((plan.beta1, plan.beta2, plan.epsilon), (Some(0.9), Some(0.999), Some(1e-8)));
        assert_eq!((plan.momentum, plan.decay, plan.epochs), (None, None, 1));
        let plan = resolve(r#"{"model": "linear", "solver": "sgd", "schedule": "step"}"#).expect("valid");
        assert_eq!(plan.expect("stochastic").step_factor, Some(0.1));
        assert!(resolve(r#"{"model": "logistic", "solver": "newton"}"#).expect("valid").is_none());
    }

    #[test]
    fn batches_follow_from_the_rows() {
        let plan = resolve(r#"{"model": "logistic", "solver": "adam"}"#).expect("valid").expect("stochastic");
        let rows = [0, 150, 20_000, 40_000, 100_000, 1_000_000, 2_000_000, 5_000_000, 1 << 40];
        let found = |solver| rows.map(|rows| plan.rows_of_batch(rows, solver));
        assert_eq!(found(SolverName::Adam), [32, 32, 32, 32, 128, 1_024, 2_048, 4_096, 16_384]);
        assert_eq!(found(SolverName::Ftrl), [32, 32, 32, 32, 128, 1_024, 4_096, 16_384, 16_384]);
        let given = resolve(r#"{"model": "logistic", "solver": "adam", "batch-rows": 7}"#).expect("valid");
        assert_eq!(given.expect("stochastic").rows_of_batch(5_000_000, SolverName::Adagrad), 7);
    }

    #[test]
    fn faults_are_named() {
        let with =
            |solver: &str, rest: &str| message(&format!(r#"{{"model": "logistic", "solver": "{solver}", {rest}}}"#));
        assert!(with("newton", r#""epochs": 2"#).contains("epochs is set, but solver 'newton'"));
        assert!(with("adam", r#""momentum": 0.9"#).contains("--solver sgd"));
        assert!(with("sgd", r#""momentum": 1"#).contains("momentum is 1"));
        assert!(with("sgd", r#""nesterov": true"#).contains("--momentum"));
        assert!(with("sgd", r#""decay": 2"#).contains("--schedule inverse-time"));
        assert!(with("sgd", r#""schedule": "cosin""#).contains("cosine"));
        assert!(with("sgd", r#""batch-rows": 0"#).contains("batch-rows is 0"));
        assert!(with("sgd", r#""learning-rate": [0.1, 0.1]"#).contains("lists 0.1 twice"));
        assert!(with("ftrl", r#""learning-rate": -1"#).contains("learning-rate is -1"));
        assert!(with("sgd", r#""averaging": 1"#).contains("averaging is 1"));
        assert!(with("sgd", r#""then": "cholesky""#).contains("proximal-newton"));
        assert!(with("sgd", r#""then": "lbfgs", "l1": 1"#).contains("--then owlqn"));
        let joint = message(r#"{"model": "softmax", "solver": "sgd", "then": "proximal-newton"}"#);
        assert!(joint.contains("--then newton"), "{joint}");
        assert!(with("svrg", r#""clip-norm": 1"#).contains("--solver sgd"));
        assert!(with("svrg", r#""allreduce-dtype": "bf16""#).contains("--solver sgd"));
        assert!(with("newton", r#""allreduce-dtype": "bf16""#).contains("allreduce-dtype is set, but solver 'newton'"));
        assert!(with("sgd", r#""allreduce-dtype": "fp16""#).contains("one of i64, f16, bf16"));
        assert!(with("sgd", r#""patience": 0"#).contains("patience is 0"));
        assert!(with("sgd", r#""then": "lbfgs", "final-pass": false"#).contains("final-pass is false"));
        assert!(with("sgd", r#""clip-norm": 0"#).contains("clip-norm is 0"));
        assert!(with("sgd", r#""warmup": -1"#).contains("warmup is -1"));
    }
}
