//! The functions against libm on every tier, over the whole range of arguments.

use super::*;
use crate::fixed::power_of_two;
use crate::isa::{Kernel, LANES, Token};
use crate::tier::Tier;

/// One of the functions, over a slice.
struct Apply<'a, R> {
    function: Function,
    x: &'a mut [R],
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Exp,
    Log1p,
    Log1pWide,
    Sigmoid,
    Softplus,
}

impl<R: Real> Kernel for Apply<'_, R> {
    type Output = ();
    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        for x in self.x.as_chunks_mut::<LANES>().0 {
            let lanes = Group::<T, R, 1>::load(tier, x);
            let value = match self.function {
                Function::Exp => exp(tier, lanes),
                Function::Log1p => log1p_unit(tier, lanes),
                Function::Log1pWide => log1p(tier, lanes),
                Function::Sigmoid => sigmoid(tier, lanes),
                Function::Softplus => softplus(tier, lanes),
            };
            value.store(x);
        }
    }
}

impl Function {
    /// By libm; for `f32` arguments exact to far below an `f32` unit in the last place.
    fn libm(self, x: f64) -> f64 {
        match self {
            Function::Exp => x.exp(),
            Function::Log1p | Function::Log1pWide => x.ln_1p(),
            Function::Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
            Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Function::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}

/// Arguments of every sign and magnitude, dense where the functions bend.
fn arguments(function: Function, lowest: f64, smallest: f64, huge: f64) -> Vec<f64> {
    let mut x: Vec<f64> = (0..=40_000).map(|i| f64::from(i) / 40_000.0).collect();
    if matches!(function, Function::Log1pWide) {
        x.extend((0..=40_000).map(|i| f64::from(i) * 1.634_567));
    } else if !matches!(function, Function::Log1p) {
        x.extend((0..=60_000).map(|i| lowest * (f64::from(i) / 30_000.0 - 1.0)));
        x.extend((-30_000..=30_000).map(|i| f64::from(i) / 1_000.0 * 0.999_7));
        x.extend([f64::INFINITY, -f64::INFINITY, huge, -huge, -0.0, -smallest, -1e-20]);
    }
    x.extend([0.0, smallest, 1e-300, 1e-40, 1e-20, 1e-8]);
    x.resize(x.len().next_multiple_of(LANES), 0.5);
    x
}

fn token(tier: Tier) -> Token {
    Token::detect(tier).expect("the tier is available")
}

/// Largest error in units of the last place of the result, where the result is at least `tiny`; below it, the absolute
/// error must be at most `tiny`.
fn worst(function: Function, got: &[f64], x: &[f64], digits: i32, tiny: f64) -> (f64, f64) {
    let mut worst = (0.0, 0.0);
    for (&got, &x) in got.iter().zip(x) {
        let want = function.libm(x);
        if want.is_infinite() {
            assert_eq!(got, want, "{function:?}({x})");
        } else if want < tiny {
            assert!((0.0..=tiny).contains(&got), "{function:?}({x}) = {got}, expected {want}");
        } else {
            let scale = power_of_two(want.log2().floor() as i32);
            let error = (got - want).abs() / scale * power_of_two(digits);
            assert!(error.is_finite(), "{function:?}({x}) = {got}, expected {want}");
            if error > worst.0 {
                worst = (error, x);
            }
        }
    }
    worst
}

/// Units in the last place; libm, which the `f64` results are held against, may itself be off by one and a half.
const LIMITS: [(Function, f64); 5] = [
    (Function::Exp, 1.1),
    (Function::Log1p, 2.0),
    (Function::Log1pWide, 2.0),
    (Function::Sigmoid, 3.0),
    (Function::Softplus, 3.0),
];

#[test]
fn f32_functions_are_within_their_units_in_the_last_place() {
    for tier in Tier::available() {
        for (function, limit) in LIMITS {
            let highest = if matches!(function, Function::Exp) { 88.722 } else { 1e30 };
            let x: Vec<f32> = arguments(function, -104.0, f64::from(f32::from_bits(1)), 3e38)
                .into_iter()
                .map(|x| x as f32)
                .filter(|&x| f64::from(x) <= highest || x > 89.0)
                .collect();
            let whole = x.len() / LANES * LANES;
            let mut got = x[..whole].to_vec();
            token(tier).enter(Apply { function, x: &mut got });
            let got: Vec<f64> = got.into_iter().map(f64::from).collect();
            let x: Vec<f64> = x.into_iter().map(f64::from).collect();
            // Values that libm puts beyond f32 are infinite in f32.
            let (error, at) = worst_f32(function, &got, &x);
            println!("{tier} f32 {function:?}: {error:.2} ulp at {at}");
            assert!(error <= limit, "{tier} f32 {function:?}: {error} ulp at {at}, limit {limit}");
        }
    }
}

fn worst_f32(function: Function, got: &[f64], x: &[f64]) -> (f64, f64) {
    let finite: Vec<(f64, f64)> = got
        .iter()
        .zip(x)
        .filter(|&(&got, &x)| {
            let over = function.libm(x) > f64::from(f32::MAX);
            assert!(!over || got.is_infinite(), "{function:?}({x}) = {got}, expected infinity");
            !over
        })
        .map(|(&got, &x)| (got, x))
        .collect();
    let (got, x): (Vec<f64>, Vec<f64>) = finite.into_iter().unzip();
    // 2^-125 is where exp goes to 0; a subnormal log1p(u) = u is below it as well.
    worst(function, &got, &x, 23, 2f64.powi(-125) * 1.001)
}

#[test]
fn f64_functions_are_within_their_units_in_the_last_place() {
    for tier in Tier::available() {
        for (function, limit) in LIMITS {
            let x = arguments(function, -745.0, f64::from_bits(1), 1e308);
            let mut got = x.clone();
            token(tier).enter(Apply { function, x: &mut got });
            let (error, at) = worst(function, &got, &x, 52, 2f64.powi(-1021) * 1.001);
            println!("{tier} f64 {function:?}: {error:.2} ulp at {at}");
            assert!(error <= limit, "{tier} f64 {function:?}: {error} ulp at {at}, limit {limit}");
        }
    }
}

#[test]
fn not_a_number_stays_so() {
    for tier in Tier::available() {
        for (function, _) in LIMITS {
            let (mut single, mut double) = ([f32::NAN; LANES], [f64::NAN; LANES]);
            token(tier).enter(Apply { function, x: &mut single });
            token(tier).enter(Apply { function, x: &mut double });
            assert!(single.iter().all(|x| x.is_nan()), "{tier} f32 {function:?}: {single:?}");
            assert!(double.iter().all(|x| x.is_nan()), "{tier} f64 {function:?}: {double:?}");
        }
    }
}
