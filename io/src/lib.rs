//! Data in: sources, ingest, shards and the tile stream (stages 1 to 4 of the way of the data).
//!
//! | module | the question it answers |
//! |---|---|
//! | [`source`] | how do foreign files become record batches? |
//! | [`roles`] | what is each column for? |
//! | [`encode`] | how does a value become a stored number? |
//! | [`ingest`] | how do sources become a dataset folder? |
//! | [`recipe`] | which data sets can be generated? |
//! | [`rng`] | how are random numbers drawn, whatever the thread? |
//! | [`crossed`] | which columns are made of others and never stored? |
//! | [`manifest`] | what is in a dataset folder? |
//! | [`error`] | what went wrong, where, and what to do? |
//! | [`trace`] | who did what when? |
//! | [`watch`] | how do long jobs report progress and stop when asked? |
#![warn(missing_docs)]

pub mod checksum;
pub mod crossed;
pub mod dataset;
pub mod dataset_writer;
pub mod dictionary;
pub mod durable;
pub mod encode;
pub mod error;
pub mod ingest;
pub mod manifest;
mod manifest_check;
pub mod memory;
pub mod mmap;
pub mod recipe;
pub mod rng;
pub mod roles;
pub mod shard;
pub mod source;
pub mod statistics;
pub mod testing;
pub mod tiles;
pub mod trace;
pub mod verify;
pub mod watch;

pub use dataset::{Dataset, GrainEntry};
pub use dataset_writer::{DatasetWriter, Description};
pub use dictionary::Dictionary;
pub use error::{Error, Result};
pub use statistics::{LabelStatistics, Statistics};
