//! The engine: passes over grains, sums that do not depend on their order, and the loop that serves every solver.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`sum`] | how are real numbers added so that the order does not matter? |
//! | [`cells`] | what lies where in the one flat sum of a pass? |
//! | [`space`] | how do solver, stored and real coordinates belong together? |
//! | [`target`] | what do labels and weights mean to a model? |
//! | [`setup`] | what does every pass need to know? |
//! | [`pass`] | how is a pass made on all cores and ranks? |
//! | [`derive`](mod@derive) | how do the sums of a pass become loss, gradient and Hessian? |
//! | [`answer`] | how do points become models and warnings? |
//! | [`weights`] | what must be known of the weight column first? |
//! | [`names`] | what are parameters called? |
//! | [`drive`] | how does a plan become models? |

pub mod answer;
pub mod cells;
pub mod derive;
pub mod drive;
pub mod names;
pub mod pass;
pub mod setup;
pub mod space;
pub mod sum;
pub mod target;
pub mod weights;

#[cfg(test)]
mod reference_tests;
#[cfg(test)]
pub(crate) mod tests;
