//! The switchboard: the one place where the tier, chosen at run time, becomes a type.
//!
//! A [`Token`] holds the token of a detected tier, so that it cannot name instructions that the processor lacks;
//! [`Token::enter`] costs one predictable branch per kernel call. [`vectorised`] is the same for plain loops.

use std::sync::OnceLock;

#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
use super::{Isa, Kernel, portable::Portable};
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};
use crate::tier::Tier;

/// The token of one detected tier.
#[derive(Clone, Copy, Debug)]
pub enum Token {
    /// See [`Portable`].
    Portable(Portable),
    /// See [`Neon`].
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// See [`Avx2`].
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// See [`Avx512`].
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Token {
    /// The token of `tier`, if this processor has it.
    pub fn detect(tier: Tier) -> Option<Token> {
        match tier {
            Tier::Portable => Portable::detect().map(Token::Portable),
            #[cfg(target_arch = "aarch64")]
            Tier::Neon => Neon::detect().map(Token::Neon),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => Avx2::detect().map(Token::Avx2),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => Avx512::detect().map(Token::Avx512),
            #[allow(unreachable_patterns)] // which patterns are left depends on the target
            _ => None,
        }
    }

    /// The tier whose token this is.
    pub fn tier(self) -> Tier {
        match self {
            Token::Portable(_) => Tier::Portable,
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => Tier::Neon,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => Tier::Avx2,
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => Tier::Avx512,
        }
    }

    /// Runs `kernel` on the tier.
    #[inline(always)]
    pub fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Token::Portable(token) => token.enter(kernel),
            #[cfg(target_arch = "aarch64")]
            Token::Neon(token) => token.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(token) => token.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(token) => token.enter(kernel),
        }
    }
}

/// Runs loops that the compiler vectorises by itself, compiled with the instructions of the tier chosen for this process: the same
/// operations in the same order, so the same bits, on wider registers. Where the tier that was asked for is not to be had, with
/// those of the best.
///
/// For short loops: a closure that the compiler finds too long to inline keeps the instructions of the build; longer work is
/// for [`vectorised_work`].
#[inline]
pub fn vectorised<O>(work: impl FnOnce() -> O) -> O {
    vectorised_work(Closure(work))
}

/// As [`vectorised`], for loops of any length.
#[inline]
pub fn vectorised_work<W: Work>(work: W) -> W::Output {
    static TOKEN: OnceLock<Option<Token>> = OnceLock::new();
    let chosen = || Token::detect(Tier::chosen().unwrap_or_else(|_| Tier::best()));
    match TOKEN.get_or_init(chosen) {
        Some(token) => token.enter(Plain(work)),
        None => work.run(),
    }
}

/// Plain loops.
pub trait Work {
    /// What comes out.
    type Output;

    /// Do it; implementations are `#[inline(always)]`, so that they are compiled with the instructions of the tier.
    fn run(self) -> Self::Output;
}

struct Closure<F>(F);

impl<O, F: FnOnce() -> O> Work for Closure<F> {
    type Output = O;

    #[inline(always)]
    fn run(self) -> O {
        (self.0)()
    }
}

/// Work that names no vector.
struct Plain<W>(W);

impl<W: Work> Kernel for Plain<W> {
    type Output = W::Output;

    #[inline(always)]
    fn run<T: Isa>(self, _: T) -> W::Output {
        self.0.run()
    }
}
