//! Loading lanes from every storage type, whole or as the tail of a slice.
//!
//! Tails are padded with zeros and go through the whole-vector load, so that a row gives the same bits wherever it
//! stands in a tile and on every tier.

use super::{Isa, LANES, Lanes, Real, Register};
use crate::dtype::{Element, f16};
use crate::tile::{Columns, Values};

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

/// A type of column that dense products read as it lies in memory, register by register.
pub trait Operand<R: Real>: Real {
    /// Lanes `part * WIDTH ..` of `values`, exactly.
    fn register<T: Isa>(tier: T, values: &[Self; LANES], part: usize) -> R::Register<T>;
    /// The columns, if they are of this type; none otherwise.
    fn columns<'c, 'a>(columns: &'c Columns<'a>) -> &'c [&'a [Self]];
    /// The values, if they are of this type.
    fn values<'a>(values: &Values<'a>) -> Option<&'a [Self]>;
}

macro_rules! operand {
    ($type:ty as $real:ty, $method:ident, $variant:ident) => {
        impl Operand<$real> for $type {
            #[inline(always)]
            fn register<T: Isa>(tier: T, values: &[Self; LANES], part: usize) -> <$real as Real>::Register<T> {
                <$real as Real>::Register::<T>::$method(tier, values, part)
            }
            #[inline(always)]
            fn columns<'c, 'a>(columns: &'c Columns<'a>) -> &'c [&'a [Self]] {
                if let Columns::$variant(columns) = columns { columns } else { &[] }
            }
            #[inline(always)]
            fn values<'a>(values: &Values<'a>) -> Option<&'a [Self]> {
                if let Values::$variant(values) = values { Some(values) } else { None }
            }
        }
    };
}
operand!(f32 as f32, load, F32);
operand!(f32 as f64, load_f32, F32);
operand!(f64 as f64, load, F64);
