//! gristmill: out-of-core, SIMD-optimised training of machine-learning models, scaled by MPI.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`plan`] | what was asked for, and is it valid? |
//! | [`train`] | what goes into training and what comes out? |
//! | [`models`] | what is learnt? |
//! | [`optim`] | how is the objective minimised? |
//! | [`engine`] | how is a pass made, on all cores and ranks, with the same bits? |
//! | [`machine`] | what can this machine do? |
//! | [`metrics`] | how good is a model? |
//! | [`ranks`] | how do several ranks act as one program? |
//! | [`sharing`] | which rank reads which grains? |
//! | [`run`] | what does a training leave behind? |
//! | [`evaluate`] | how good is it on rows that it has not seen? |
//! | [`predict`] | what does a model say of new rows? |
//! | [`supervise`] | who starts the ranks, and what when they fail? |
//! | [`forecast`] | how fast would it be on a larger machine? |
//! | [`report`] | what is printed, and how? |
//! | [`cli`] | what was typed? |
//! | [`synonyms`] | what is meant by a name that is not ours? |
//! | [`bench`](mod@bench) | how fast is every part on this machine? |
//! | [`error`] | what went wrong, and which exit code is it? |
#![forbid(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod forecast;
pub mod machine;
pub mod metrics;
pub mod models;
pub mod optim;
pub mod plan;
pub mod predict;
pub mod ranks;
pub mod report;
pub mod run;
pub mod sharing;
pub mod supervise;
pub mod synonyms;
pub mod train;

pub use error::{Error, Result};
