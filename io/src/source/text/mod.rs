//! What the text formats share (stage 1): decompression, cutting into chunks of whole records, and line numbers.

pub mod cut;
pub mod stream;

pub use cut::Cutter;
pub use stream::TextFiles;
