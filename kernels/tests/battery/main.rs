//! The shared battery: every operation on every tier of this machine, against the plain `f64` reference within derived
//! bounds, and bit for bit among the tiers with fused multiply-add.
//!
//! Error bounds follow Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1: a sum of `n`
//! products computed in any order is off by at most `gamma(n) sum |a_i b_i|`, `gamma(n) = n u / (1 - n u)`, where `u` is
//! half a unit in the last place of 1.

mod data;
mod dense;
mod losses;
mod softmax;

use gristmill_kernels::{Kernels, Real, Tier};

/// Lengths around the widths of registers, unrolled loops and tiles.
const LENGTHS: [usize; 19] = [0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 500, 1_000];

/// Every tier of this machine; names those it lacks.
fn tiers() -> Vec<Tier> {
    let available = Tier::available();
    for tier in Tier::ALL.iter().filter(|tier| !available.contains(tier)) {
        println!("skipped: this processor lacks the tier {tier}");
    }
    available
}

/// The kernels of every tier of this machine.
fn kernels<R: Real>() -> Vec<Kernels<R>> {
    tiers().into_iter().map(Kernels::new).collect()
}

/// True for tiers whose multiply-add rounds once, which therefore agree in every bit.
fn is_fused(tier: Tier) -> bool {
    tier != Tier::Portable
}

/// `gamma(n)` for the arithmetic type with `u = unit`.
fn gamma(n: usize, unit: f64) -> f64 {
    let nu = n as f64 * unit;
    nu / (1.0 - nu)
}

/// An arithmetic type, as the battery needs it.
trait Arithmetic: Real {
    /// Half a unit in the last place of 1.
    const UNIT: f64;
    /// The bits.
    fn bits(self) -> u64;
}

impl Arithmetic for f32 {
    const UNIT: f64 = 1.0 / (1u64 << 24) as f64;
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Arithmetic for f64 {
    const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

/// The results of the fused tiers so far, to compare the next one with.
#[derive(Default)]
struct SameBits(Option<(Tier, Vec<u64>)>);

impl SameBits {
    fn check(&mut self, tier: Tier, bits: Vec<u64>, what: &str) {
        if !is_fused(tier) {
            return;
        }
        match &self.0 {
            None => self.0 = Some((tier, bits)),
            Some((first, expected)) => assert_eq!(&bits, expected, "{what}: {tier} differs from {first}"),
        }
    }
}

/// Asserts `|got - want| <= bound` for every element.
fn assert_close(got: &[f64], want: &[f64], bound: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, ((got, want), bound)) in got.iter().zip(want).zip(bound).enumerate() {
        assert!((got - want).abs() <= *bound, "{what}: element {i} is {got}, expected {want} within {bound}");
    }
}
