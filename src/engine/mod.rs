//! The engine: passes over grains, sums that do not depend on their order, and the loop that serves every solver.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`sum`] | how are real numbers added so that the order does not matter? |
//! | [`exact`] | and where no bound is known beforehand? |
//! | [`sheet`], [`cells`], [`gram`] | what lies where in the one flat sum of a pass? |
//! | [`space`] | how do solver, stored and real coordinates belong together? |
//! | [`target`] | what do labels and weights mean to a model? |
//! | [`folds`] | which rows are held out together? |
//! | [`setup`] | what does every pass need to know? |
//! | [`crossed`] | which levels do crossed columns have? |
//! | [`weights`] | what must be known of labels and weights first? |
//! | [`pass`], [`tile`], [`rows`], [`group`] | how is a pass over many points made on all cores? |
//! | [`part`] | how is a pass gone on with that was ended early? |
//! | [`reduce`] | how are the sums of workers and ranks added? |
//! | [`late`] | and while rows are still being scanned? |
//! | [`domain`] | which labels does a model take? |
//! | [`derive`](mod@derive) | how do the sums of a pass become loss, gradient and Hessian? |
//! | [`tasks`] | which models are trained, and how far is each? |
//! | [`drive`], [`closed`], [`iterate`] | how does a plan become models? |
//! | [`narrow`] | how are losses with a kink minimised? |
//! | [`online`] | how does a model learn batch by batch? |
//! | [`judge`], [`held_out`], [`validation`] | how do models do on rows that they never saw? |
//! | [`answer`] | how do points become models and warnings? |
//! | [`names`] | what are parameters called? |

pub mod answer;
pub mod cells;
pub mod closed;
pub mod crossed;
pub mod derive;
pub mod domain;
pub mod drive;
pub mod exact;
pub mod folds;
pub mod gram;
pub mod group;
pub mod held_out;
pub mod iterate;
pub mod judge;
pub mod late;
pub mod names;
pub mod narrow;
pub mod online;
pub mod part;
pub mod pass;
pub mod reduce;
pub mod rows;
pub mod setup;
pub mod shares;
pub mod sheet;
pub mod space;
pub mod sum;
pub mod target;
pub mod tasks;
pub mod tile;
pub mod validation;
pub mod weights;

#[cfg(test)]
mod agreement_tests;
#[cfg(test)]
mod crossed_tests;
#[cfg(test)]
mod fold_reference_tests;
#[cfg(test)]
mod labels_tests;
#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod liblinear_tests;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod narrow_tests;
#[cfg(test)]
mod offset_tests;
#[cfg(test)]
mod part_tests;
#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod pieces_tests;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod several_tests;
#[cfg(test)]
pub(crate) mod tests;
