//! Prediction (stage 10): any source in, Parquet, CSV or Arrow out, in bounded memory, on all cores.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`encoder`] | how do rows of a source become what the model reads? |
//! | [`score`] | what is the margin of a row? |
//! | [`ordered`] | how do many threads write in one order? |
//! | [`output`] | how are predictions written? |
//! | [`dictionaries`] | how do columns with a dictionary a batch become those of one file? |
//! | [`shared`] | how do several ranks write one output? |
//! | [`run`] | all of it |

pub mod dictionaries;
pub mod encoder;
pub mod ordered;
pub mod output;
pub mod run;
pub mod score;
pub mod shared;
