//! The `gristmill` binary: everything is in the library, so that tests and other programs can use it.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    gristmill::cli::main()
}
