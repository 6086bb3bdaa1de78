//! MurmurHash3, the 32-bit variant for x86, in its rounds: what hashed columns, words and crosses of columns share.
//!
//! Austin Appleby's public-domain `MurmurHash3_x86_32`, which scikit-learn's `FeatureHasher` and `HashingVectorizer`, Spark's
//! `HashingTF` and Vowpal Wabbit use as well. A word of four bytes a round.

/// A word, its bits spread; 0 stays 0.
#[inline(always)]
pub fn spread(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

/// The hash of one word more.
#[inline(always)]
pub fn mixed(hash: u32, word: u32) -> u32 {
    (hash ^ spread(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

/// Its end, once the number of bytes is in it.
#[inline(always)]
pub fn finish(hash: u32) -> u32 {
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}
