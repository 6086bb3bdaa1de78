//! Hand-vectorised kernels over columnar tiles (stage 5 of the way of the data).
//!
//! A *tile* is a range of rows of a [`tile::Grain`]; its columns are slices of a mapped shard, in the narrowest type
//! that holds them exactly. Every kernel is written once, generic over an instruction-set tier and over the storage
//! type, and computes the same bits on every tier that has fused multiply-add.
#![warn(missing_docs)]

pub mod dtype;
pub mod tile;
