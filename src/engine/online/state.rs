//! Where a model stands that learns batch by batch, as a checkpoint keeps it.
//!
//! Slots are kept as they lie in memory, penalties not settled, so that a training that goes on takes the same steps to the
//! bit. They do not depend on threads or ranks: unit by unit in the order of the row. As text: two digits a byte.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::held::Best;

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Epochs that are over.
    pub epoch: u32,
    /// Rounds of this epoch that are over.
    pub round: u32,
    /// Batches of this round that are over.
    pub batch: u32,
    /// Batches over all epochs.
    pub steps: u64,
    /// Rows of this epoch.
    pub rows: u64,
    /// Time of the penalty.
    pub time: f64,
    /// The anchor of this epoch is set, where the optimiser has one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anchored: bool,
    /// Sums of losses in this epoch over all ranks, and of weights.
    pub loss: Vec<i64>,
    /// See `loss`.
    pub weight: Vec<i64>,
    /// Mean loss of the last whole epoch, each batch before it was learnt from.
    pub progressive: f64,
    /// Seconds of all epochs.
    pub seconds: f64,
    /// The best that it was on held-out rows.
    pub best: Option<Best>,
    /// Why it does not go on.
    pub stopped: Option<String>,
    /// Looks at its weights that are in their average.
    pub averaged: u64,
    /// That average, eight bytes a coordinate.
    pub average: Bytes,
    /// The slots.
    pub slots: Bytes,
}

/// Bytes that are written as text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&Digits(&self.0))
    }
}

/// Bytes as digits, a few at a time: a large model is never in memory as text.
struct Digits<'a>(&'a [u8]);

impl fmt::Display for Digits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        for some in self.0.chunks(1_024) {
            let text: String = some.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
            f.write_str(&text)?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(from)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let byte = |&[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
        match pairs.iter().map(byte).collect::<Option<Vec<u8>>>() {
            Some(bytes) if rest.is_empty() => Ok(Bytes(bytes)),
            _ => Err(serde::de::Error::custom("bytes are written as pairs of hexadecimal digits")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        let bytes = Bytes((0..=255).collect());
        let text = serde_json::to_string(&bytes).expect("plain data");
        assert_eq!(serde_json::from_str::<Bytes>(&text).expect("the same"), bytes);
        assert!(text.starts_with("\"000102") && text.ends_with("feff\""));
        for bad in ["\"0\"", "\"0g\"", "1"] {
            assert!(serde_json::from_str::<Bytes>(bad).is_err(), "{bad}");
        }
    }
}
