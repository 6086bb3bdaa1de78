//! gristmill: out-of-core, SIMD-optimised training of machine-learning models, scaled by MPI.
#![forbid(unsafe_code)]

pub mod machine;
pub mod metrics;
