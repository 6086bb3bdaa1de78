//! The `gristmill` binary.
#![forbid(unsafe_code)]

fn main() {}
