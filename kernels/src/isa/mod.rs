//! The vector vocabulary (stage 5): sixteen logical lanes of `f32` or `f64` on every tier.
//!
//! Contents: one file per tier ([`portable`], `avx2`, `avx512`, `neon`), the only files that name intrinsics.
//! A tier is a zero-sized token that only detection creates ([`Isa::detect`]); vectors are made with a token, so a
//! vector that exists proves that its instructions may run, and its operations are safe to call. They are all
//! `#[inline(always)]`: an algorithm is written once as a [`Kernel`], generic over the tier, and [`Isa::enter`] is the
//! one `#[target_feature]` function per tier into which it is compiled.
//!
//! Same bits: every operation here is one IEEE 754 operation per lane, rounded to nearest even, and [`Lanes::sum`]
//! folds in one fixed tree, so that a kernel gives the same bits on every tier whose [`Lanes::fma`] is fused (all but
//! [`portable`] on processors without FMA).

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod amx;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2_bytes;
pub mod bytes;
mod element;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod elementwise;
#[allow(unsafe_code)]
pub mod even;
mod group;
mod token;

#[cfg(not(target_arch = "x86_64"))]
#[path = "no_amx.rs"]
pub mod amx;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod avx512;
#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)]
pub mod neon;
pub mod portable;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod vnni;

pub use element::{Load, Operand};
pub use group::Group;
pub use token::{Token, Work, vectorised, vectorised_work};

use crate::dtype::Element;
use crate::math::Constants;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// Logical lanes of a vector, on every tier and for both arithmetic types.
pub const LANES: usize = 16;

mod sealed {
    use crate::operations::{F32, F64, Operations};

    /// Keeps [`super::Real`] to the types that have a table of kernels.
    pub trait Sealed: Sized + 'static {
        /// The table.
        fn operations() -> &'static Operations<Self>
        where
            Self: super::Real;
    }
    impl Sealed for f32 {
        fn operations() -> &'static Operations<f32> {
            &F32
        }
    }
    impl Sealed for f64 {
        fn operations() -> &'static Operations<f64> {
            &F64
        }
    }
}

/// The arithmetic type of a run: `f32` or `f64`.
pub trait Real:
    sealed::Sealed + Element + Load + Constants + PartialOrd + std::fmt::Debug + std::ops::AddAssign + Default
{
    /// Sixteen lanes of it under tier `T`.
    type Lanes<T: Isa>: Lanes<T, Self>;
    /// One machine register of it under tier `T`.
    type Register<T: Isa>: Register<T, Self>;
    /// The narrower type of column that dense products read: `f32`.
    type Narrow: Operand<Self>;
    /// The type itself.
    type Own: Operand<Self>;
    /// Lanes over which a dot product of [`crate::ops::gram`] is spread: the widest register of any tier.
    const REGISTER_LANES: usize;
    /// The numbers, if they are `f32`.
    fn singles(numbers: &[Self]) -> Option<&[f32]>;
    /// The numbers, if they are `f32`.
    fn singles_mut(numbers: &mut [Self]) -> Option<&mut [f32]>;
    /// The nearest value to `value`.
    fn from_f64(value: f64) -> Self;
    /// The square root, rounded to nearest.
    fn sqrt(self) -> Self;
}

impl Real for f32 {
    type Lanes<T: Isa> = T::F32;
    type Register<T: Isa> = T::Register32;
    type Narrow = f32;
    type Own = f32;
    const REGISTER_LANES: usize = 16;
    #[inline(always)]
    fn singles(numbers: &[f32]) -> Option<&[f32]> {
        Some(numbers)
    }
    #[inline(always)]
    fn singles_mut(numbers: &mut [f32]) -> Option<&mut [f32]> {
        Some(numbers)
    }
    #[inline(always)]
    fn from_f64(value: f64) -> f32 {
        value as f32
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
}

impl Real for f64 {
    type Lanes<T: Isa> = T::F64;
    type Register<T: Isa> = T::Register64;
    type Narrow = f32;
    type Own = f64;
    const REGISTER_LANES: usize = 8;
    #[inline(always)]
    fn singles(numbers: &[f64]) -> Option<&[f32]> {
        let _ = numbers;
        None
    }
    #[inline(always)]
    fn singles_mut(numbers: &mut [f64]) -> Option<&mut [f32]> {
        let _ = numbers;
        None
    }
    #[inline(always)]
    fn from_f64(value: f64) -> f64 {
        value
    }
    #[inline(always)]
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
}

/// A tier: a token that proves that the processor has the instructions.
pub trait Isa: Copy + Send + Sync + 'static {
    /// Sixteen lanes of `f32`.
    type F32: Lanes<Self, f32>;
    /// Sixteen lanes of `f64`.
    type F64: Lanes<Self, f64>;
    /// One machine register of `f32`.
    type Register32: Register<Self, f32>;
    /// One machine register of `f64`.
    type Register64: Register<Self, f64>;
    /// Vector registers that the instruction set names: what a kernel may hold at a time.
    const REGISTERS: usize;

    /// The token, if this processor has the tier.
    fn detect() -> Option<Self>;

    /// Runs `kernel`, compiled with the instructions of the tier as a function of its own: a kernel enters others where
    /// its inner loops want all registers to themselves.
    fn enter<K: Kernel>(self, kernel: K) -> K::Output;

    /// Asks for the cache line of `values[index]` to be brought into the first-level cache; `index` may be any.
    fn prefetch<E>(self, values: &[E], index: usize);

    /// Asks for the cache line of `values[index]` to be brought into the second-level cache; `index` may be any.
    fn prefetch_far<E>(self, values: &[E], index: usize);
}

/// An algorithm written once for all tiers. Its `run` must be `#[inline(always)]`.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// The algorithm.
    fn run<T: Isa>(self, tier: T) -> Self::Output;
}

/// One machine register of `R` under tier `T`: what a register-blocked product counts in.
pub trait Register<T: Isa, R: Real>: Copy + Add<Output = Self> + Mul<Output = Self> {
    /// Its lanes: [`Real::REGISTER_LANES`] or half of them.
    const WIDTH: usize;

    /// `value` in every lane.
    fn splat(tier: T, value: R) -> Self;
    /// Lanes `part * WIDTH ..` of `values`.
    fn load(tier: T, values: &[R; LANES], part: usize) -> Self;
    /// Lanes `part * WIDTH ..` of `values`, exactly.
    fn load_f32(tier: T, values: &[f32; LANES], part: usize) -> Self;
    /// Stores to lanes `part * WIDTH ..` of `values`.
    fn store(self, values: &mut [R; LANES], part: usize);
    /// `self * factor + addend` with one rounding (two on a portable tier without FMA).
    fn fma(self, factor: Self, addend: Self) -> Self;
    /// The sum of the lanes, folded by halves: lane `i` with `i + WIDTH / 2`, and so on.
    fn sum(self) -> R;
    /// The sums of four registers; the same bits as four times [`Register::sum`], in fewer instructions.
    #[inline(always)]
    fn sums(four: [Self; 4]) -> [R; 4] {
        four.map(Self::sum)
    }
}

/// Sixteen lanes of `R` under tier `T`. Operators work lane by lane.
pub trait Lanes<T: Isa, R: Real>:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    /// One truth value per lane.
    type Mask: Copy;

    /// Machine registers that one vector fills.
    const REGISTERS: usize;

    /// `value` in every lane.
    fn splat(tier: T, value: R) -> Self;
    /// Loads `f64`, rounded to nearest.
    fn load_f64(tier: T, values: &[f64; LANES]) -> Self;
    /// Loads `f32`.
    fn load_f32(tier: T, values: &[f32; LANES]) -> Self;
    /// Loads `f16`, exactly.
    fn load_f16(tier: T, values: &[crate::dtype::f16; LANES]) -> Self;
    /// Loads `u16`, exactly.
    fn load_u16(tier: T, values: &[u16; LANES]) -> Self;
    /// Loads `u8`, exactly.
    fn load_u8(tier: T, values: &[u8; LANES]) -> Self;
    /// Stores the lanes.
    fn store(self, values: &mut [R; LANES]);

    /// `self * factor + addend` with one rounding (two on a portable tier without FMA).
    fn fma(self, factor: Self, addend: Self) -> Self;
    /// The lesser; `other` where either is NaN.
    fn min(self, other: Self) -> Self;
    /// The greater; `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// `self < other`; false where either is NaN.
    fn less(self, other: Self) -> Self::Mask;
    /// `yes` where the mask holds, `no` elsewhere.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// The lane's bits shifted left by the width of the mantissa: moves a small integer that lies in the lowest bits
    /// into the exponent (see [`crate::math::exp`]).
    fn shift_into_exponent(self) -> Self;
    /// The lanes as `f64`, exactly.
    fn widen(self) -> T::F64;
    /// The lanes of `wide`, rounded to nearest.
    fn narrow(wide: T::F64) -> Self;
    /// The sum of the lanes: lane `i` with `i + 8`, then with `i + 4`, `i + 2`, `i + 1`.
    fn sum(self) -> R;
    /// The sums of four vectors; the same bits as four times [`Lanes::sum`], in fewer instructions.
    #[inline(always)]
    fn sums(four: [Self; 4]) -> [R; 4] {
        four.map(Self::sum)
    }

    /// Zero in every lane.
    #[inline(always)]
    fn zero(tier: T) -> Self {
        Self::splat(tier, R::default())
    }
}
