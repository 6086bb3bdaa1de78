//! Tiers: which instruction set the kernels use, found when the program runs.
//!
//! The best tier of the processor is taken unless the environment variable [`VARIABLE`] names another, which tests and
//! benches do to run each of them.

use crate::isa::Token;

/// The environment variable that forces a tier.
pub const VARIABLE: &str = "GRISTMILL_TIER";

/// An instruction set that the kernels are compiled for, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// What every processor of the target has, through `wide`.
    Portable,
    /// NEON of 64-bit ARM.
    Neon,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

/// A tier was asked for that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
    /// No tier has the name.
    #[error(
        "the environment variable {VARIABLE} is {name:?}, which names no tier; expected one of {}; unset it to use the best",
        names(&Tier::ALL)
    )]
    Unknown {
        /// What was found.
        name: String,
    },
    /// The processor lacks the tier.
    #[error(
        "the environment variable {VARIABLE} asks for the tier {}, which this processor lacks; it has {}; unset it to use the best",
        tier.name(), names(&Tier::available())
    )]
    Unavailable {
        /// What was asked for.
        tier: Tier,
    },
}

impl Tier {
    /// All tiers, worst first.
    pub const ALL: [Tier; 4] = [Tier::Portable, Tier::Neon, Tier::Avx2, Tier::Avx512];

    /// The tiers that this processor has, the best last; [`Tier::Portable`] is always among them.
    pub fn available() -> Vec<Tier> {
        Tier::ALL.into_iter().filter(|&tier| tier.is_available()).collect()
    }

    /// True when this processor has the tier.
    pub fn is_available(self) -> bool {
        Token::detect(self).is_some()
    }

    /// The best tier that this processor has.
    pub fn best() -> Tier {
        Tier::ALL.into_iter().rev().find(|&tier| tier.is_available()).unwrap_or(Tier::Portable)
    }

    /// The tier to use: that named by the environment variable [`VARIABLE`], else the best.
    pub fn chosen() -> Result<Tier, TierError> {
        match std::env::var_os(VARIABLE) {
            None => Ok(Tier::best()),
            Some(name) => Tier::named(&name.to_string_lossy()),
        }
    }

    /// The tier that a value of [`VARIABLE`] asks for; an empty value asks for the best.
    fn named(name: &str) -> Result<Tier, TierError> {
        if name.is_empty() {
            return Ok(Tier::best());
        }
        let tier = Tier::from_name(name).ok_or_else(|| TierError::Unknown { name: name.to_owned() })?;
        if tier.is_available() { Ok(tier) } else { Err(TierError::Unavailable { tier }) }
    }

    /// The name used in [`VARIABLE`], tables and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Portable => "portable",
            Tier::Neon => "neon",
            Tier::Avx2 => "avx2",
            Tier::Avx512 => "avx512",
        }
    }

    /// The tier of that name.
    pub fn from_name(name: &str) -> Option<Tier> {
        Tier::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

fn names(tiers: &[Tier]) -> String {
    tiers.iter().map(|tier| tier.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_tiers() {
        for tier in Tier::ALL {
            assert_eq!(Tier::from_name(tier.name()), Some(tier));
        }
        assert_eq!(Tier::from_name("AVX2"), None);
    }

    #[test]
    fn the_best_tier_is_the_last_available_and_portable_is_always_there() {
        let available = Tier::available();
        assert_eq!(available.last(), Some(&Tier::best()));
        assert_eq!(available.first(), Some(&Tier::Portable));
    }

    #[test]
    fn a_tier_that_cannot_be_had_is_an_error_that_says_what_can() {
        assert_eq!(Tier::named(""), Ok(Tier::best()));
        assert_eq!(Tier::named("portable"), Ok(Tier::Portable));
        let message = Tier::named("sse9").map_err(|error| error.to_string());
        assert!(message.clone().is_err_and(|m| m.contains("sse9") && m.contains("avx512")), "{message:?}");
        for tier in Tier::ALL.into_iter().filter(|tier| !tier.is_available()) {
            assert_eq!(Tier::named(tier.name()), Err(TierError::Unavailable { tier }));
        }
    }
}
