//! Encoding (stage 2): raw columns become stored columns. Ingest and prediction share it.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`raw`] | what number does a value of any source type stand for? |
//! | [`summary`] | what must be known of a column before its type is chosen? |
//! | [`affine`] | in which type, around which offset? |
//! | [`few`] | may the labels be names of classes, none of which may be lost? |
//! | [`store`] | the loops that write stored numbers |
//! | [`column`](mod@column) | how do raw columns become stored columns and blocks? |
//! | [`levels`] | which code has a level? |
//! | [`labels`] | how do several labels become one number? |
//! | [`hashing`], [`murmur3`] | which level has a value without a dictionary? |
//! | [`words`], [`word_table`] | which elements has a text? |
//! | [`buckets`] | which bucket has a number? |
//! | [`row`], [`grain`] | rows to predict, as kernels see them |
//! | [`intern`] | how does text become a small number? |

pub mod affine;
pub mod buckets;
pub mod column;
pub mod few;
pub mod grain;
pub mod hashing;
pub mod intern;
pub mod labels;
pub mod levels;
pub mod murmur3;
pub mod raw;
pub mod row;
pub mod store;
pub mod summary;
pub mod word_table;
pub mod words;

pub use grain::EncodedGrain;
pub use row::RowEncoder;
