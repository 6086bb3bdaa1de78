//! The peak of fused multiply-add, by one thread and by all: the ruler of everything that memory does not bound.
//!
//! Twelve independent chains of register-wide multiply-adds, of the kernels' own vocabulary and tier, hide the latency of
//! the instruction on every core we know (4 to 5 cycles, two units) and fit sixteen registers. A multiply-add of a lane
//! counts as two floating-point operations; figures are operations a second of the threads' own clocks.

use std::hint::black_box;
use std::sync::Barrier;

use gristmill_kernels::isa::{Isa, Kernel, Real, Register, Token};
use gristmill_kernels::tier::Tier;
use serde::{Deserialize, Serialize};

use super::clock::Stretch;

/// Peak of fused multiply-add under one tier, operations a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FmaPeak {
    /// The tier's name.
    pub tier: String,
    /// Threads of the `all` figures.
    pub threads: usize,
    /// `f32`, one thread.
    pub f32_one: f64,
    /// `f64`, one thread.
    pub f64_one: f64,
    /// `f32`, all threads together.
    pub f32_all: f64,
    /// `f64`, all threads together.
    pub f64_all: f64,
}

/// Independent chains.
const CHAINS: usize = 12;
/// Steps of every chain in one call: some tens of microseconds.
const STEPS: usize = 20_000;
/// Calls in a round: a millisecond or so.
const CALLS: usize = 25;
/// Rounds; the best counts.
const ROUNDS: usize = 4;

/// Measures the peak of `tier` in about a tenth of a second.
pub fn measure(tier: Tier, threads: usize) -> FmaPeak {
    let threads = threads.max(1);
    FmaPeak {
        tier: tier.name().to_owned(),
        threads,
        f32_one: peak::<f32>(tier, 1),
        f64_one: peak::<f64>(tier, 1),
        f32_all: peak::<f32>(tier, threads),
        f64_all: peak::<f64>(tier, threads),
    }
}

/// Operations a second of the best round of `threads` threads; 0 where the processor lacks the tier.
pub fn peak<R: Real>(tier: Tier, threads: usize) -> f64 {
    let Some(token) = Token::detect(tier) else { return 0.0 };
    let (threads, barrier) = (threads.max(1), Barrier::new(threads.max(1)));
    let worker = || {
        let mut best = 0.0_f64;
        for _ in 0..ROUNDS {
            barrier.wait();
            let stretch = Stretch::start();
            let operations: usize = (0..CALLS).map(|_| token.enter(Chains(black_box(R::from_f64(0.999))))).sum();
            best = best.max(operations as f64 / stretch.seconds());
        }
        best
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(0.0)).sum()
    })
}

/// Runs the chains and returns the number of operations.
struct Chains<R>(R);

impl<R: Real> Kernel for Chains<R> {
    type Output = usize;

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) -> usize {
        // x <- 0.999 x + 0.999 stays near 999: no overflow and no subnormal number slows the chains.
        let factor = R::Register::<T>::splat(tier, self.0);
        let mut chains = [factor; CHAINS];
        for _ in 0..STEPS {
            for chain in &mut chains {
                *chain = chain.fma(factor, factor);
            }
        }
        black_box(chains.map(R::Register::<T>::sum));
        STEPS * CHAINS * R::Register::<T>::WIDTH * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_has_a_peak() {
        for tier in Tier::available() {
            let found = measure(tier, 2);
            // How large it is depends on what else runs; that f32 has twice the lanes is not to be seen on a busy machine.
            for peak in [found.f32_one, found.f64_one, found.f32_all, found.f64_all] {
                assert!(peak.is_finite() && peak > 0.0, "{found:?}");
            }
        }
    }

    #[test]
    fn a_tier_that_is_not_there_has_no_peak() {
        for tier in Tier::ALL.into_iter().filter(|tier| !tier.is_available()) {
            assert_eq!(peak::<f32>(tier, 1), 0.0);
        }
    }
}
