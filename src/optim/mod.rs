//! Solvers: state machines that ask for passes and absorb what those collect.
