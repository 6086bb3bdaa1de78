//! Data in: sources, ingest, shards and the tile stream (stages 1 to 4 of the way of the data).
//!
//! | module | the question it answers |
//! |---|---|
//! | [`source`] | how do foreign files become record batches? |
//! | [`manifest`] | what is in a dataset folder? |
//! | [`error`] | what went wrong, where, and what to do? |
//! | [`watch`] | how do long jobs report progress and stop when asked? |
#![warn(missing_docs)]

pub mod checksum;
pub mod durable;
pub mod error;
pub mod manifest;
pub mod mmap;
pub mod source;
pub mod watch;

pub use error::{Error, Result};
