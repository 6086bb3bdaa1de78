//! The run folder: what a training leaves behind (stage 10). Layout and versions: `docs/model-format.md`.
//!
//! ```text
//! RUN/model.json           what the model is: columns, encoders, classes, objective           model.rs
//!     model.safetensors    its numbers, f64                                                   weights.rs
//!     dictionary-3.arrow   levels of categorical columns, as in the dataset
//!     config.toml          the configuration as resolved; `train --config` takes it again
//!     metrics.jsonl        a JSON object for every pass                                       folder.rs
//!     summary.json         what was trained and measured
//!     summary.txt          the same, for people
//! ```
//!
//! A training with several penalties writes one such model a folder inside RUN. Everything is written into a staging
//! folder that becomes RUN at once, or not at all.

pub mod bound;
pub mod checkpoint;
pub mod folder;
pub mod held_out;
pub mod model;
pub mod names;
pub mod parts;
pub mod saver;
pub mod speed;
pub mod weights;
pub mod write;

pub use model::{Fit, Metadata, Model, how_it_ended};
