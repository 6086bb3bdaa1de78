//! Loading lanes from every storage type, whole or as the tail of a slice.
//!
//! Tails are padded with zeros and go through the whole-vector load, so that a row gives the same bits wherever it
//! stands in a tile and on every tier.

use super::{Isa, LANES, Lanes, Real};
use crate::dtype::{Element, f16};

/// A storage type that lanes are loaded from.
pub trait Load: Element + Default {
    /// Sixteen values as lanes of `R` (exact, except `f64` to `f32`, which rounds to nearest).
    fn load<T: Isa, R: Real>(tier: T, values: &[Self; LANES]) -> R::Lanes<T>;

    /// At most sixteen values; the lanes behind them are zero.
    #[inline(always)]
    fn load_tail<T: Isa, R: Real>(tier: T, values: &[Self]) -> R::Lanes<T> {
        let mut padded = [Self::default(); LANES];
        // Byte by byte in effect: a call of memcpy would leave the vector registers.
        for (to, from) in padded.iter_mut().zip(values) {
            *to = *from;
        }
        Self::load::<T, R>(tier, &padded)
    }
}

macro_rules! load {
    ($type:ty, $method:ident) => {
        impl Load for $type {
            #[inline(always)]
            fn load<T: Isa, R: Real>(tier: T, values: &[Self; LANES]) -> R::Lanes<T> {
                R::Lanes::<T>::$method(tier, values)
            }
        }
    };
}
load!(f64, load_f64);
load!(f32, load_f32);
load!(f16, load_f16);
load!(u16, load_u16);
load!(u8, load_u8);
