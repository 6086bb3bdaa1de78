//! Sums of a batch as numbers of 16 bits, for links that are slower than the learning (`--allreduce-dtype`), with error feedback:
//!
//! ```text
//! q = round16(v + e)     sent: 2 bytes for 8      v: a rank's sum of a coordinate, an integer
//! e = (v + e) - q        kept                     e: what this rank has not sent of it yet
//! ```
//! so that nothing is lost, only late: the sum of all q is that of all v up to the last e. Every q is an integer again, so ranks add
//! exactly and come to the same bits; but what is rounded depends on who has which rows, and with it the model on the number of
//! ranks. A coordinate's e waits until a batch touches it again, is no part of a checkpoint, and starts at 0 after a resume.
//!
//! Memory: 4 bytes a coordinate and model, on every rank. Source: F. Seide and others, "1-bit stochastic gradient descent",
//! INTERSPEECH (2014); S. P. Karimireddy and others, "Error feedback fixes SignSGD", ICML (2019).

use std::sync::{Mutex, PoisonError};

use super::slot::Entry;
use crate::plan::payload::Payload;

/// The sums of all ranks stay below this, whatever was kept back.
const SUM_MAX: f64 = (1_u64 << 62) as f64;

/// What this rank has not sent yet.
pub struct Feedback {
    payload: Payload,
    /// The largest number that is sent.
    largest: f64,
    /// Bundle by bundle: of each model and unit a number a coordinate, as many as were touched so far.
    kept: Vec<Mutex<Vec<Vec<Vec<f32>>>>>,
}

impl Feedback {
    /// For models whose bundles have so many units each; none where sums are exact, or go nowhere.
    pub fn new(payload: Payload, ranks: usize, units: &[usize], models: usize) -> Option<Feedback> {
        if payload.is_exact() || ranks == 1 {
            return None;
        }
        // A power of two, which every payload holds exactly.
        let largest = (SUM_MAX / ranks.next_power_of_two() as f64).min((1_u64 << 60) as f64);
        let kept = units.iter().map(|&units| Mutex::new(vec![vec![Vec::new(); units]; models])).collect();
        Some(Feedback { payload, largest, kept })
    }

    /// As what numbers are sent.
    pub fn payload(&self) -> Payload {
        self.payload
    }

    /// Turns a unit's sums, in units of 2^-exponent, into those that are sent; leaves out what is 0 then.
    pub fn round(&self, (bundle, model, unit): (usize, usize, usize), exponent: i32, entries: &mut Vec<Entry>) {
        let scale = 2f64.powi(exponent);
        // Plain numbers: whole whatever happened to the thread that had them last.
        let mut kept = self.kept[bundle].lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut kept[model][unit];
        entries.retain_mut(|(coordinate, sum)| {
            let coordinate = *coordinate as usize;
            if kept.len() <= coordinate {
                kept.resize(coordinate + 1, 0.0);
            }
            let wanted = (*sum as f64 + f64::from(kept[coordinate]) * scale).round();
            let sent = self.nearest(wanted);
            kept[coordinate] = ((wanted - sent) / scale) as f32;
            *sum = sent as i64;
            *sum != 0
        });
    }

    /// The nearest number that can be sent.
    fn nearest(&self, wanted: f64) -> f64 {
        self.payload.of_bits(self.payload.to_bits(wanted.clamp(-self.largest, self.largest)))
    }
}

#[cfg(test)]
#[path = "feedback_tests.rs"]
mod tests;
