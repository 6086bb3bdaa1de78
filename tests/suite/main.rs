//! The promises of gristmill, tried on the real binary and the public library: a module a promise.

mod cli;
mod harness;
