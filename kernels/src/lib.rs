//! Hand-vectorised kernels over columnar tiles (stage 5 of the way of the data).
//!
//! A *tile* is a range of rows of a [`tile::Grain`]; its columns are slices of a mapped shard, in the narrowest type
//! that holds them exactly. Every kernel is written once, generic over an instruction-set tier and over the storage
//! type, and computes the same bits on every tier that has fused multiply-add.
//!
//! Contents: [`aligned`] buffers, [`dtype`] storage types, [`tile`] the shape of a row, [`tier`] which instructions,
//! [`isa`] the vector vocabulary and its tiers, [`math`] exp and friends, [`murmur3`], [`losses`], [`ops`] the loops, [`table`] the
//! door to them, [`reference`](mod@reference) the same in plain `f64`: start reading there.
#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod aligned;
pub mod dtype;
pub mod fixed;
pub mod isa;
pub mod losses;
pub mod math;
pub mod murmur3;
mod operations;
pub mod ops;
pub mod reference;
pub mod table;
pub mod tier;
pub mod tile;

pub use aligned::Aligned;
pub use fixed::FixedScale;
pub use isa::{LANES, Real, Work, vectorised, vectorised_work};
pub use losses::{Link, Loss, Smoothing};
pub use ops::ahead::Next;
pub use ops::carried::{Call, Carried};
pub use ops::gram::{GramLayout, GramRows, GramScales, GramScratch, GramSums, OutOfRange, Place};
pub use ops::loss::{LossLanes, LossRows, LossSums};
pub use ops::softmax::{Softmax, SoftmaxSums};
pub use table::{Kernels, Residuals};
pub use tier::{Tier, TierError};
