//! Stochastic training: from a plan and a dataset to models, batch by batch.
//!
//! ```text
//! epoch      every row once, in an order that (seed, epoch) gives                     order
//! round      some grains are open, the next are read meanwhile                        learn
//! stretch    batches between two looks at the clock and at who wants to stop          learn
//! batch      margins, residuals, sums, steps: all workers, one wait                   batch
//! ```
//! | module | the question it answers |
//! |---|---|
//! | [`order`] | which rows make which batch? |
//! | [`slot`] | what lies where for a coordinate? |
//! | [`columns`], [`dense`], [`codes`], [`crossed`], [`sparse`] | what do columns of a kind do in a batch? |
//! | [`learner`] | which worker has which columns, and what are their coordinates? |
//! | [`batch`], [`barrier`] | what do workers do with a batch? |
//! | [`exchange`], [`feedback`] | what do ranks tell each other, and what do they keep back? |
//! | [`learn`], [`course`] | how does an epoch go on, stop, and go on again? |
//! | [`held`] | how are models doing on held-out rows, and when do they stop? |
//! | [`state`] | what does a checkpoint keep? |
//!
//! The law of the same bits holds: a batch is a set of rows that follows from seed and epoch; its margins are computed row by row,
//! its gradient is added up as integers; a coordinate's step depends on its own sum alone.

pub mod barrier;
pub mod batch;
pub mod codes;
pub mod columns;
pub mod course;
pub mod crossed;
pub mod dense;
pub mod exchange;
pub mod feedback;
pub mod held;
pub mod learn;
pub mod learner;
pub mod order;
pub mod slot;
pub mod sparse;
pub mod state;

#[cfg(test)]
mod rank_tests;
#[cfg(test)]
mod tests;
