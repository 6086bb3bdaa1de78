//! A line search for the strong Wolfe conditions as a state machine: one absorbed evaluation a call.
//!
//! ```text
//! phi(a) <= phi(0) + c1 a phi'(0)        enough decrease, c1 = 1e-4
//! |phi'(a)| <= c2 |phi'(0)|              flat enough, c2 = 0.9
//! ```
//! Paper: Nocedal and Wright, "Numerical Optimization" (2006), algorithms 3.5 and 3.6, with the cubic of two values and two
//! slopes (3.59) kept inside the middle eight tenths of the bracket.

use serde::{Deserialize, Serialize};

const C1: f64 = 1e-4;
const C2: f64 = 0.9;
/// Most evaluations of one search.
const TRIES_MAX: u32 = 30;
/// Growth of the step while no bracket is found.
const GROWTH: f64 = 3.0;

/// A point on the line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Sight {
    step: f64,
    value: f64,
    slope: f64,
}

/// The search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineSearch {
    origin: Sight,
    /// The best end of the bracket so far.
    low: Sight,
    /// The other end, once there is one.
    high: Option<Sight>,
    /// The step being tried.
    step: f64,
    tries: u32,
    /// Differences of the value below this mean nothing.
    noise: f64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// This step is good.
    Accept,
    /// Try that one.
    Try(f64),
    /// No step is good.
    Fail,
}

impl LineSearch {
    /// From a point with that value and slope (negative), trying `step` first.
    pub fn new(value: f64, slope: f64, step: f64, noise: f64) -> LineSearch {
        let origin = Sight { step: 0.0, value, slope };
        LineSearch { origin, low: origin, high: None, step, tries: 0, noise }
    }

    /// The step being tried.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// Takes in value and slope at the step being tried.
    pub fn absorb(&mut self, value: f64, slope: f64) -> Verdict {
        // A number that is none is the highest there is (and a state of finite numbers survives being written as JSON).
        let value = if value.is_finite() { value } else { f64::MAX };
        let slope = if slope.is_finite() { slope } else { 0.0 };
        let here = Sight { step: self.step, value, slope };
        self.tries += 1;
        let enough = value <= self.origin.value + C1 * here.step * self.origin.slope + self.noise;
        if enough && slope.abs() <= C2 * self.origin.slope.abs() {
            return Verdict::Accept;
        }
        if self.tries >= TRIES_MAX {
            return if enough { Verdict::Accept } else { Verdict::Fail };
        }
        let lower = value < self.low.value || (self.low.step == 0.0 && enough);
        if !(enough && lower) {
            self.high = Some(here);
        } else {
            let uphill = slope * self.high.map_or(1.0, |high| high.step - here.step) >= 0.0;
            if uphill {
                self.high = Some(self.low);
            }
            self.low = here;
        }
        self.step = match self.high {
            None => here.step * GROWTH,
            Some(high) => between(self.low, high),
        };
        let width = self.high.map_or(f64::INFINITY, |high| (high.step - self.low.step).abs());
        if width <= 1e-14 * self.low.step.abs().max(f64::MIN_POSITIVE) {
            return if self.low.step > 0.0 { Verdict::Accept } else { Verdict::Fail };
        }
        Verdict::Try(self.step)
    }
}

/// The minimum of the cubic through both ends, away from the ends; the middle where there is none.
fn between(a: Sight, b: Sight) -> f64 {
    let width = b.step - a.step;
    let d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.step - b.step);
    let root = (d1 * d1 - a.slope * b.slope).sqrt() * width.signum();
    let share = 1.0 - (b.slope + root - d1) / (b.slope - a.slope + 2.0 * root);
    let share = if share.is_finite() { share.clamp(0.1, 0.9) } else { 0.5 };
    a.step + share * width
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(phi: impl Fn(f64) -> (f64, f64), first: f64) -> (f64, u32) {
        let (value, slope) = phi(0.0);
        let mut search = LineSearch::new(value, slope, first, 0.0);
        loop {
            let (value, slope) = phi(search.step());
            match search.absorb(value, slope) {
                Verdict::Accept => return (search.step(), search.tries),
                Verdict::Try(_) => {}
                Verdict::Fail => panic!("no step found"),
            }
        }
    }

    /// Moré and Thuente (1994), functions 1 and 2 of their tests, from steps a thousand times too short and too long.
    #[test]
    fn wolfe_steps_are_found_from_far() {
        let first = |a: f64| (-a / (a * a + 2.0), (a * a - 2.0) / ((a * a + 2.0) * (a * a + 2.0)));
        let second = |a: f64| {
            let b: f64 = a + 0.004;
            (b.powi(5) - 2.0 * b.powi(4), 5.0 * b.powi(4) - 8.0 * b.powi(3))
        };
        for start in [1e-3, 1e-1, 1e1, 1e3] {
            for phi in [&first as &dyn Fn(f64) -> (f64, f64), &second] {
                let (value, slope) = phi(0.0);
                let (step, tries) = search(phi, start);
                let (low, flat) = phi(step);
                assert!(low <= value + C1 * step * slope && flat.abs() <= C2 * slope.abs(), "{start}: {step}");
                assert!(tries <= 20, "{tries} tries from {start}");
            }
        }
    }

    #[test]
    fn values_that_are_not_numbers_are_too_high() {
        let (step, _) = search(|a| if a > 0.5 { (f64::NAN, f64::NAN) } else { (-a + a * a, -1.0 + 2.0 * a) }, 1.0);
        assert!(step > 0.0 && step <= 0.5);
    }
}
