//! The kernels (stage 5): each written once, generic over tier, storage type and arithmetic type.
//!
//! Contents: [`margins`] and [`gradient`] over scalar columns, [`bytes`] both over those of `u8`, [`several`] both for several weight
//! vectors in one pass, [`vectors`] both over row-major vectors, [`codes`],
//! [`crossed`] and [`sparse`] both over scattered blocks, [`lines`] both over categorical ones for several vectors, [`gram`] the weighted Gram matrix over all blocks, [`loss`] over
//! margins, [`softmax`] over the margins of all classes, [`convert`] and link functions; [`carried`] sums that several calls make, `ahead` how far ahead rows are asked for.

pub mod ahead;
pub mod bytes;
pub mod carried;
pub mod codes;
pub mod convert;
pub mod crossed;
pub mod gradient;
pub mod gram;
pub mod lines;
pub mod loss;
pub mod margins;
pub mod several;
pub mod softmax;
pub mod sparse;
pub mod vectors;
