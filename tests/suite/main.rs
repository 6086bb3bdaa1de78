//! The promises of gristmill, tried on the real binary: a module a promise.

mod bad_input;
mod bits;
mod cli;
mod docs;
mod flags;
mod formats;
mod generate;
mod harness;
mod interrupted;
mod killed;
mod local_shards;
mod losses;
mod outputs;
mod paths;
mod pyarrow;
mod quickstart;
mod ranks;
mod runs;
mod samples;
mod several;
mod streaming;
mod supervised;
mod tidy;
mod together;
mod weights;
