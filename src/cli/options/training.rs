//! What to learn and how: the flags of `train` that a [`TrainRequest`] holds.

use clap::Args;

use super::{MachineOptions, OnlineOptions, StreamingOptions};
use crate::error::{Error, Result};
use crate::plan::{ClassWeight, OneOrMany, Several, TrainRequest};

/// Flags of training.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Model")]
pub struct TrainingOptions {
    /// What to learn: linear, logistic, softmax, huber, squared-hinge, hinge, absolute, quantile, poisson, gamma or tweedie
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Where the loss of model huber becomes straight, in units of the label [default: 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub huber_delta: Option<f64>,
    /// Power of the mean that the variance grows with in model tweedie: from 1 (Poisson) to 2 (gamma) [default: 1.5]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub tweedie_power: Option<f64>,
    /// Which quantile of the label model quantile predicts, between 0 and 1 [default: 0.5]
    #[arg(long, value_name = "Q", allow_negative_numbers = true)]
    pub quantile: Option<f64>,
    /// How a model of two classes tells several apart: ovr, one against all others (a model a class)
    #[arg(long, value_name = "HOW", value_parser = several)]
    pub multiclass: Option<Several>,
    /// Columns of categories to cross: a coefficient for each combination of their levels, made on the fly (a*b, a*b*c; several
    /// by commas or by repeating the flag)
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub cross: Vec<String>,
    /// Most coefficients of a cross, 2^N; where there are more combinations they are hashed into as many [default: 18]
    #[arg(long, value_name = "N")]
    pub cross_bits: Option<u32>,
    /// Strength of the l1 penalty; several, separated by commas, make a path (one model each)
    #[arg(long, value_name = "X", value_delimiter = ',', allow_negative_numbers = true)]
    pub l1: Vec<f64>,
    /// Strength of the l2 penalty; several, separated by commas, make a path (one model each)
    #[arg(long, value_name = "X", value_delimiter = ',', allow_negative_numbers = true)]
    pub l2: Vec<f64>,
    /// Penalise the coefficients of standardised columns (glmnet, Spark) or of columns as they are (scikit-learn) [default: true]
    #[arg(long, value_name = "true|false")]
    pub standardize: Option<bool>,
    /// Learn an intercept [default: true]
    #[arg(long, value_name = "true|false")]
    pub intercept: Option<bool>,
    /// How to minimise: auto, cholesky, coordinate-descent, newton, lbfgs, owlqn, proximal-newton; batch by batch: sgd, adagrad,
    /// rmsprop, adam, adamw, ftrl, svrg
    #[arg(long, value_name = "NAME")]
    pub solver: Option<String>,
    /// Relative gap of the objective at which to stop [default: 1e-7]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    /// Most passes over the data [default: 1000]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub max_passes: Option<u32>,
    /// Cross-validation: judge every configuration on so many folds, each held out in turn [default: 0, none]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub folds: Option<u32>,
    /// Weights of classes: none, balanced, or NAME=WEIGHT separated by commas
    #[arg(long, value_name = "WEIGHTS", value_delimiter = ',', allow_hyphen_values = true)]
    pub class_weight: Vec<String>,
    /// Start from the coefficients of another run
    #[arg(long, value_name = "RUN")]
    pub warm_start: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub online: OnlineOptions,
}

impl TrainingOptions {
    /// The request that these flags make.
    ///
    /// # Errors
    /// When a class weight is not one.
    pub fn request(
        &self,
        machine: &MachineOptions,
        streaming: &StreamingOptions,
        seed: Option<u64>,
    ) -> Result<TrainRequest> {
        Ok(TrainRequest {
            model: self.model.clone(),
            huber_delta: self.huber_delta,
            tweedie_power: self.tweedie_power,
            quantile: self.quantile,
            multiclass: self.multiclass,
            cross: (!self.cross.is_empty()).then(|| self.cross.clone()),
            cross_bits: self.cross_bits,
            l1: one_or_many(&self.l1),
            l2: one_or_many(&self.l2),
            standardize: self.standardize,
            intercept: self.intercept,
            solver: self.solver.clone(),
            tolerance: self.tolerance,
            max_passes: self.max_passes,
            threads: machine.threads,
            memory: machine.memory,
            io: streaming.io,
            folds: self.folds,
            seed,
            class_weight: class_weight(&self.class_weight)?,
            tier: None,
            ..self.online.request()
        })
    }
}

fn several(text: &str) -> std::result::Result<Several, String> {
    match text {
        "ovr" => Ok(Several::Ovr),
        _ => Err(format!("'{text}' is no way to tell several classes apart; ovr was expected")),
    }
}

pub(super) fn one_or_many(values: &[f64]) -> Option<OneOrMany> {
    match values {
        [] => None,
        [one] => Some(OneOrMany::One(*one)),
        many => Some(OneOrMany::Many(many.to_vec())),
    }
}

fn class_weight(given: &[String]) -> Result<Option<ClassWeight>> {
    match given {
        [] => return Ok(None),
        [one] if one == "none" => return Ok(Some(ClassWeight::None)),
        [one] if one == "balanced" => return Ok(Some(ClassWeight::Balanced)),
        _ => {}
    }
    let weights = given.iter().map(|part| {
        let (class, weight) = part.rsplit_once('=')?;
        Some((class.to_string(), weight.parse().ok()?))
    });
    match weights.collect::<Option<_>>() {
        Some(weights) => Ok(Some(ClassWeight::Map(weights))),
        None => Err(Error::usage(format!(
            "--class-weight is '{}'; none, balanced, or NAME=WEIGHT separated by commas was expected",
            given.join(",")
        ))),
    }
}
