//! Promises about ranks, kept by whole groups inside one process: right sums for every number of ranks and length,
//! the same bits on all ranks, and a failure named instead of a hang.
#![forbid(unsafe_code)]
// A failed unwrap is a failed test; helpers of tests unwrap as well.
#![allow(clippy::unwrap_used)]

mod counted;
mod failures;
mod spreads;
mod sums;
