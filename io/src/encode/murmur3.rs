//! MurmurHash3 of bytes (stage 2): the hash of hashed columns and of words. Little-endian on every machine; about 1 ns for a short
//! text.

use gristmill_kernels::murmur3::{finish, mixed, spread};

/// The hash of some bytes.
#[inline]
pub fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let (blocks, tail) = bytes.as_chunks::<4>();
    let mut hash = seed;
    for block in blocks {
        hash = mixed(hash, u32::from_le_bytes(*block));
    }
    let last = tail.iter().rev().fold(0, |last, &byte| last << 8 | u32::from(byte));
    // No bytes are a word of 0, so that an empty tail changes nothing. Lengths count modulo 2^32.
    finish(hash ^ spread(last) ^ bytes.len() as u32)
}

/// Where a text belongs in a table of 2^`bits` places, and the sign of its hash: |h| mod 2^bits of the hash h as a signed
/// number, as scikit-learn's `FeatureHasher` has it (|-2^31| is 2^31).
#[inline]
pub fn bucket(text: &[u8], bits: u8) -> (u32, bool) {
    let hash = murmur3(text, 0) as i32;
    (hash.unsigned_abs() & ((1u32 << bits) - 1), hash >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sklearn.utils.murmurhash3_32(text, seed, positive=True)` of scikit-learn 1.9.1, by `tests/reference/hashing.py`.
    #[test]
    fn hashes_are_those_of_scikit_learn() {
        let known = [
            ("", 0, 0x0000_0000),
            ("", 2_147_483_655, 0x0a97_9046),
            ("a", 0, 0x3c25_69b2),
            ("a", 2_147_483_655, 0x2361_633f),
            ("ab", 0, 0x9bbf_d75f),
            ("ab", 2_147_483_655, 0x50b4_f12d),
            ("abc", 0, 0xb3dd_93fa),
            ("abc", 2_147_483_655, 0xc836_0348),
            ("abcd", 0, 0x43ed_676a),
            ("abcd", 2_147_483_655, 0x4965_8816),
            ("city=New York", 0, 0xaeb2_a081),
            ("city=New York", 2_147_483_655, 0x3119_f665),
            ("Grüße, 世界", 0, 0xf77a_bd79),
            ("Grüße, 世界", 2_147_483_655, 0x143e_5e60),
            ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 0, 0xc409_ea7b),
            ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 2_147_483_655, 0x8781_a28b),
        ];
        for (text, seed, hash) in known {
            assert_eq!(murmur3(text.as_bytes(), seed), hash, "{text:?} {seed}");
        }
    }

    /// Indices and signs of `FeatureHasher(n_features=2**bits, input_type="string")`, by the same script.
    #[test]
    fn buckets_are_those_of_scikit_learn() {
        let known = [
            ("a", 1, 0, true),
            ("a", 8, 178, true),
            ("a", 20, 354_738, true),
            ("a", 30, 1_009_084_850, true),
            ("ab", 1, 1, false),
            ("ab", 8, 161, false),
            ("ab", 20, 10_401, false),
            ("ab", 30, 608_184_481, false),
            ("abc", 1, 0, false),
            ("abc", 8, 6, false),
            ("abc", 20, 158_726, false),
            ("abc", 30, 203_582_470, false),
            ("abcd", 1, 0, true),
            ("abcd", 8, 106, true),
            ("abcd", 20, 878_442, true),
            ("abcd", 30, 65_890_154, true),
            ("city=New York", 1, 1, false),
            ("city=New York", 8, 127, false),
            ("city=New York", 20, 876_415, false),
            ("city=New York", 30, 290_283_391, false),
            ("Grüße, 世界", 1, 1, false),
            ("Grüße, 世界", 8, 135, false),
            ("Grüße, 世界", 20, 344_711, false),
            ("Grüße, 世界", 30, 142_951_047, false),
            ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 1, 1, false),
            ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 8, 133, false),
            ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 20, 398_725, false),
            ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 30, 1_005_983_109, false),
        ];
        for (text, bits, place, sign) in known {
            assert_eq!(bucket(text.as_bytes(), bits), (place, sign), "{text:?} {bits}");
        }
    }
}
