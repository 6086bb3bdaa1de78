//! Prediction (stage 10): any source in, Parquet, CSV or Arrow out, in bounded memory, on all cores.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`score`] | what is the margin of a row? |
//! | [`ordered`] | how do many threads write in one order? |
//! | [`output`] | how are predictions written? |

pub mod ordered;
pub mod output;
pub mod score;
