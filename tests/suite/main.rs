//! The promises of gristmill, tried on the real binary: a module a promise.

mod bad_input;
mod bits;
mod cli;
mod formats;
mod harness;
mod runs;
mod samples;
