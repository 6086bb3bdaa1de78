//! How a stochastic solver learns: the flags of `train` for those.

use clap::Args;

use super::training::one_or_many;
use crate::plan::TrainRequest;

/// Flags of stochastic training.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Batch by batch (solvers sgd, adagrad, rmsprop, adam, adamw, ftrl, svrg)")]
pub struct OnlineOptions {
    /// Times that every row is learnt from [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub epochs: Option<u32>,
    /// Rows of a batch, of all ranks together [default: about a 1,024th of the rows, from 32 to 16,384;
    /// more for adagrad and ftrl beyond a million rows]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub batch_rows: Option<u32>,
    /// Learning rate; several, separated by commas, are trained side by side [default: by solver, see docs/online.md]
    #[arg(long, value_name = "X", value_delimiter = ',', allow_negative_numbers = true)]
    pub learning_rate: Vec<f64>,
    /// How the learning rate changes: constant, step, cosine, inverse-time, one-cycle [default: constant]
    #[arg(long, value_name = "NAME")]
    pub schedule: Option<String>,
    /// Epochs in which the learning rate rises to its height [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub warmup: Option<f64>,
    /// Schedule step: epochs between two falls of the learning rate [default: 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub step_epochs: Option<f64>,
    /// Schedule step: factor of a fall [default: 0.1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub step_factor: Option<f64>,
    /// Schedule inverse-time: d in rate / (1 + d epochs)^p [default: 1]
    #[arg(long, value_name = "D", allow_negative_numbers = true)]
    pub decay: Option<f64>,
    /// Schedule inverse-time: p in rate / (1 + d epochs)^p [default: 1]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub power: Option<f64>,
    /// Solver sgd: momentum [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub momentum: Option<f64>,
    /// Solver sgd: Nesterov's momentum [default: false]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub nesterov: Option<bool>,
    /// Solvers adam, adamw: decay of the mean gradient [default: 0.9]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub beta1: Option<f64>,
    /// Solvers adam, adamw, rmsprop: decay of the mean square [default: 0.999; of rmsprop 0.99]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub beta2: Option<f64>,
    /// Solvers adagrad, rmsprop, adam, adamw: added to the root [default: 1e-8; of adagrad 1e-10]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub epsilon: Option<f64>,
    /// Solver ftrl: beta [default: 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub ftrl_beta: Option<f64>,
    /// Scale the gradient of a batch down to this norm where it is larger
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub clip_norm: Option<f64>,
    /// As what ranks send each other the sums of a batch: i64, f16, bf16. Rounded, they take half the bytes, and the model
    /// depends on the number of ranks [default: i64]
    #[arg(long, value_name = "NAME")]
    pub allreduce_dtype: Option<String>,
    /// Average the weights, from so many epochs on (0: from the start)
    #[arg(long, value_name = "EPOCHS", allow_negative_numbers = true)]
    pub averaging: Option<f64>,
    /// Stop once the loss on held-out rows was no better for so many epochs, and take the best
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub patience: Option<u32>,
    /// Stop after so much time
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub max_seconds: Option<f64>,
    /// Solver by passes that goes on where the last epoch ends: auto, newton, lbfgs, owlqn, proximal-newton
    #[arg(long, value_name = "NAME")]
    pub then: Option<String>,
    /// After the last epoch, find objective and gradient in one pass over all rows [default: true]
    #[arg(long, value_name = "true|false")]
    pub final_pass: Option<bool>,
    /// Grains of the dataset that batches are drawn from at a time [default: 32]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub open_grains: Option<u32>,
}

impl OnlineOptions {
    /// The part of a request that these flags make.
    pub fn request(&self) -> TrainRequest {
        TrainRequest {
            epochs: self.epochs,
            batch_rows: self.batch_rows,
            open_grains: self.open_grains,
            learning_rate: one_or_many(&self.learning_rate),
            schedule: self.schedule.clone(),
            warmup: self.warmup,
            step_epochs: self.step_epochs,
            step_factor: self.step_factor,
            decay: self.decay,
            power: self.power,
            momentum: self.momentum,
            nesterov: self.nesterov,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            ftrl_beta: self.ftrl_beta,
            clip_norm: self.clip_norm,
            allreduce_dtype: self.allreduce_dtype.clone(),
            averaging: self.averaging,
            patience: self.patience,
            max_seconds: self.max_seconds,
            then: self.then.clone(),
            final_pass: self.final_pass,
            ..TrainRequest::default()
        }
    }
}
