//! Ranks (stage 7): the [`Communicator`] door and what stands behind it.
//!
//! Whatever crosses a rank is one flat slice of integers that can be added; see `ARCHITECTURE.md`, "The law of the
//! same bits". This crate knows nothing of models or data. Its README draws the ring.
//!
//! Bottom up: a [`Transport`] carries messages between two ranks; [`ring`] and [`tree`] sum over all ranks with it, the ring
//! also nested, node by node ([`Torus`]);
//! [`Group`] makes a [`Communicator`] of any transport; [`threads`] is a transport inside one process, `world` (feature
//! `mpi`) one over MPI; [`launch`] finds out which of them this process needs.
#![cfg_attr(not(feature = "mpi"), forbid(unsafe_code))]
#![cfg_attr(feature = "mpi", deny(unsafe_code))]

mod algorithm;
pub mod calibrate;
mod communicator;
mod element;
mod group;
pub mod launch;
pub mod ring;
mod spread;
pub mod threads;
mod torus;
mod transport;
pub mod tree;
pub mod window;
// The C interface of MPI.
#[cfg(feature = "mpi")]
#[allow(unsafe_code)]
pub mod world;

pub use algorithm::{Algorithm, Settings};
pub use calibrate::Calibration;
pub use communicator::{CommError, Communicator, Pending, Result, Solo};
pub use element::Element;
pub use group::{AllReduce, Group};
pub use launch::connect;
pub use torus::Torus;
pub use transport::{Tag, Transport};
