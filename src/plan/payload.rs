//! As which numbers ranks send each other the sums of a batch (`--allreduce-dtype`).

use gristmill_kernels::dtype::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// See the head of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// The integers that they are: the same bits on any number of ranks.
    #[default]
    I64,
    /// IEEE 754 half precision: 11 bits.
    F16,
    /// The upper half of an `f32`: 8 bits, and its range.
    Bf16,
}

/// Sums are at most 2^60 in size, and `f16` at most 65,504: it counts in these units, so that nothing overflows.
const F16_UNIT: f64 = (1_u64 << 45) as f64;

impl Payload {
    /// Every payload with its name on the command line.
    pub const ALL: [(Payload, &'static str); 3] =
        [(Payload::I64, "i64"), (Payload::F16, "f16"), (Payload::Bf16, "bf16")];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Payload::ALL.iter().find(|(payload, _)| *payload == self).map_or("", |(_, name)| *name)
    }

    /// The payload of that name.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is none.
    pub fn named(name: &str) -> Result<Payload> {
        let found = Payload::ALL.iter().find(|(_, known)| *known == name).map(|(payload, _)| *payload);
        found.ok_or_else(|| {
            let names = Payload::ALL.map(|(_, name)| name).join(", ");
            Error::usage(format!("allreduce-dtype is '{name}'; one of {names} was expected"))
        })
    }

    /// True when nothing is rounded.
    pub fn is_exact(&self) -> bool {
        *self == Payload::I64
    }

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        if self.is_exact() { 8 } else { 2 }
    }

    /// The 16 bits of the nearest number to an integer of at most 2^60 in size.
    pub fn to_bits(self, sum: f64) -> u16 {
        match self {
            Payload::F16 => f16::from_f64(sum / F16_UNIT).to_bits(),
            _ => bf16::from_f64(sum).to_bits(),
        }
    }

    /// The number of these bits: an integer, where they are those of one.
    pub fn of_bits(self, bits: u16) -> f64 {
        match self {
            Payload::F16 => f16::from_bits(bits).to_f64() * F16_UNIT,
            _ => bf16::from_bits(bits).to_f64(),
        }
    }
}
