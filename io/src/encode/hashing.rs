//! Hashed columns (stage 2): levels without a dictionary.
//!
//! ```text
//! level = |MurmurHash3_x86_32("name=value")| mod 2^bits        of a value, as text
//! level = |MurmurHash3_x86_32("name")| mod 2^bits              of a missing one
//! ```
//!
//! Seed 0; the row that scikit-learn's `FeatureHasher(n_features=2**bits, input_type="dict", alternate_sign=False)` makes. A
//! value that training never saw has a level like any other, and some values share one: with n values and 2^bits levels a
//! value is alone in its level with probability (1 - 2^-bits)^(n - 1). Cost: about 1 ns for every 4 bytes, plus the copy.

use arrow::array::ArrayRef;

use super::column::Encoder;
use super::levels;
use super::murmur3::bucket;
use super::raw::Fault;
use crate::manifest::code_bytes;

/// How the values of a column are hashed.
#[derive(Clone, Copy, Debug)]
pub struct Hashing<'a> {
    name: &'a str,
    bits: u8,
}

impl<'a> Hashing<'a> {
    /// Of the column `name` into 2^`bits` levels.
    pub fn new(name: &'a str, bits: u8) -> Hashing<'a> {
        Hashing { name, bits }
    }

    /// The level of missing values.
    pub fn missing(&self) -> u32 {
        bucket(self.name.as_bytes(), self.bits).0
    }

    /// The level of every row's text, [`levels::MISSING`] without one.
    ///
    /// # Errors
    /// [`Fault`] when the array holds no text.
    pub fn ids(&self, texts: &ArrayRef) -> Result<Vec<u32>, Fault> {
        let mut key = format!("{}=", self.name).into_bytes();
        let prefix = key.len();
        levels::ids(texts, |text| {
            key.truncate(prefix);
            key.extend_from_slice(text);
            Some(bucket(&key, self.bits).0)
        })
    }

    /// What stores them.
    pub fn encoder(&self) -> Encoder {
        Encoder::Buckets { bytes: code_bytes(1 << self.bits), missing: self.missing() }
    }
}
