//! Ranks (stage 7): the [`Communicator`] door and what stands behind it.
//!
//! Whatever crosses a rank is one flat slice of integers that can be added; see `ARCHITECTURE.md`, "The law of the
//! same bits". This crate knows nothing of models or data.

mod communicator;

pub use communicator::{CommError, Communicator, Result, Solo};
