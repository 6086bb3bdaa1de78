//! Encoding (stage 2): raw columns become stored columns. Ingest and prediction share it.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`raw`] | what number does a value of any source type stand for? |
//! | [`intern`] | how does text become a small number? |

pub mod intern;
pub mod raw;
