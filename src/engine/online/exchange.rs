//! What ranks tell each other in a batch: the sums that each has, as pairs (coordinate, integer) of what it touched.
//!
//! ```text
//! a message   [bytes of bundle 0: u32][bytes of bundle 1] ... then the bundles
//! a bundle    model by model, unit by unit: [pairs: u32][coordinate: u32, sum: i64, or 16 bits] ...
//! ```
//! Every rank gathers the messages of all and adds them: integers, so that all ranks come to the same bits. Cost a batch:
//! 12 bytes a touched coordinate and rank, 6 where sums are rounded ([`Feedback`]).
//!
//! The rows of one rank alone may have left all bounds. The others wait for its message, so it sends what it found instead
//! ([`Exchange::note`]), as `FAULT` and words, and all ranks end at the same batch, one of them with those words.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use mpi_launch::Communicator;

use super::barrier::Barrier;
use super::batch::broken;
use super::feedback::Feedback;
use super::slot::Entry;
use crate::engine::exact;
use crate::error::{Error, Result};
use crate::plan::payload::Payload;
use crate::ranks;

/// Bundle by bundle, model by model, unit by unit.
type Message = Vec<Vec<Vec<Vec<Entry>>>>;

/// Bytes of a coordinate.
const COORDINATE: usize = 4;
/// How the message of a rank that has no sums begins, instead of a number of pairs.
const FAULT: [u8; 4] = u32::MAX.to_le_bytes();

/// The other ranks.
pub struct Exchange<'a> {
    comm: &'a dyn Communicator,
    /// What is to be sent: bundle, then model, then unit.
    outbox: Mutex<Message>,
    /// Why it cannot be sent.
    fault: Mutex<Option<String>>,
    /// Messages of all ranks, and where bundles, models and units begin in them.
    inbox: RwLock<Vec<Message>>,
    largest: RwLock<Vec<f64>>,
    /// Squared norms of gradients, model by model, as exact sums; none where they are not wanted.
    norms: Option<Mutex<Vec<i64>>>,
    /// What rounding keeps back; none where sums are exact.
    feedback: Option<&'a Feedback>,
}

impl<'a> Exchange<'a> {
    /// For models whose bundles have so many units each.
    pub fn new(
        comm: &'a dyn Communicator,
        (units, models): (&[usize], usize),
        norms: bool,
        feedback: Option<&'a Feedback>,
    ) -> Exchange<'a> {
        let norms = norms.then(|| Mutex::new(vec![0; models * exact::CELLS]));
        let empty = units.iter().map(|&units| vec![vec![Vec::new(); units]; models]).collect();
        Exchange {
            comm,
            outbox: Mutex::new(empty),
            fault: Mutex::default(),
            inbox: RwLock::default(),
            largest: RwLock::default(),
            norms,
            feedback,
        }
    }

    /// True when steps have to wait for other ranks, or for the norm of the whole gradient.
    pub fn is_needed(&self) -> bool {
        self.comm.size() > 1 || self.norms.is_some()
    }

    /// Takes what came of the sums of this rank's rows; false when there are none. With several ranks an [`Error::Sum`] goes to
    /// all of them with the next message.
    ///
    /// # Errors
    /// What was found, where no message waits for it.
    pub fn note(&self, found: Result<()>) -> Result<bool> {
        match found {
            Ok(()) => Ok(true),
            Err(Error::Sum(message)) if self.comm.size() > 1 => {
                self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Adds to the squared norm of a model's gradient, which is the same on all ranks.
    ///
    /// # Errors
    /// [`Error::Sum`] when it is not a finite number.
    pub fn add_norm(&self, model: usize, squares: impl Iterator<Item = f64>) -> Result<()> {
        let Some(norms) = &self.norms else { return Ok(()) };
        let mut own = vec![0; exact::CELLS];
        for square in squares {
            exact::add(square, &mut own).map_err(|error| ranks::of_all(self.comm, error))?;
        }
        let mut norms = norms.lock().unwrap_or_else(PoisonError::into_inner);
        norms[model * exact::CELLS..].iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        Ok(())
    }

    /// The norm of a model's gradient; none where it is not wanted.
    pub fn norm(&self, model: usize) -> Option<f64> {
        let norms = self.norms.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(exact::value(&norms[model * exact::CELLS..(model + 1) * exact::CELLS]).sqrt())
    }

    fn payload(&self) -> Payload {
        self.feedback.map_or(Payload::I64, Feedback::payload)
    }

    /// Puts what `take` finds for a unit, sums in units of 2^-exponent, into the next message.
    ///
    /// # Errors
    /// None in practice.
    pub fn post(
        &self,
        (bundle, model, unit): (usize, usize, usize),
        exponent: i32,
        take: impl FnOnce(&mut Vec<Entry>),
    ) -> Result<()> {
        let mut own = std::mem::take(&mut self.outbox()[bundle][model][unit]);
        own.clear();
        take(&mut own);
        if let Some(feedback) = self.feedback {
            feedback.round((bundle, model, unit), exponent, &mut own);
        }
        self.outbox()[bundle][model][unit] = own;
        Ok(())
    }

    /// Gathers the messages of all ranks; one worker does.
    ///
    /// # Errors
    /// [`Error::Sum`] on all ranks when one noted it; and when a rank is lost, or sends what makes no sense.
    pub fn gather(&self) -> Result<()> {
        if let Some(norms) = &self.norms {
            norms.lock().unwrap_or_else(PoisonError::into_inner).fill(0);
        }
        let payload = self.payload();
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        let message = if let Some(fault) = fault {
            [&FAULT, fault.as_bytes()].concat()
        } else {
            let outbox = self.outbox();
            let mut bytes = Vec::new();
            for entries in outbox.iter().flatten().flatten() {
                bytes.extend_from_slice(&(entries.len() as u32).to_le_bytes());
                for (coordinate, sum) in entries {
                    bytes.extend_from_slice(&coordinate.to_le_bytes());
                    match payload {
                        Payload::I64 => bytes.extend_from_slice(&sum.to_le_bytes()),
                        rounded => bytes.extend_from_slice(&rounded.to_bits(*sum as f64).to_le_bytes()),
                    }
                }
            }
            bytes
        };
        let found = self.comm.all_gather(&message)?;
        if let Some(fault) = found.iter().find_map(|message| message.strip_prefix(&FAULT)) {
            let fault = Error::Sum(String::from_utf8_lossy(fault).into_owned());
            return Err(ranks::of_all(self.comm, fault));
        }
        let shape = self.outbox();
        let read = |message: &Vec<u8>| read(message, &shape, payload).ok_or_else(odd);
        let all = found.iter().map(read).collect::<Result<Vec<_>>>()?;
        *self.inbox.write().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(())
    }

    /// What all ranks sent for a unit.
    ///
    /// # Errors
    /// None in practice: the messages were gathered before.
    pub fn entries(&self, (bundle, model, unit): (usize, usize, usize)) -> Result<Vec<Entry>> {
        let inbox = self.inbox.read().unwrap_or_else(PoisonError::into_inner);
        let own = |rank: &Message| rank.get(bundle)?.get(model)?.get(unit).cloned();
        let all = inbox.iter().map(|rank| own(rank).ok_or_else(odd)).collect::<Result<Vec<_>>>()?;
        Ok(all.concat())
    }

    /// The largest of a number over ranks, model by model. All workers call it with what all of them have found.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn largest(&self, own: Vec<f64>, barrier: &Barrier, leads: bool) -> Result<Vec<f64>> {
        if self.comm.size() == 1 {
            return Ok(own);
        }
        if leads {
            let bytes: Vec<u8> = own.iter().flat_map(|number| number.to_le_bytes()).collect();
            let mut most = vec![0.0f64; own.len()];
            for message in self.comm.all_gather(&bytes)? {
                for (most, number) in most.iter_mut().zip(message.as_chunks::<8>().0) {
                    let number = f64::from_le_bytes(*number);
                    // Put so that NaN is seen.
                    *most = if number <= *most { *most } else { number };
                }
            }
            *self.largest.write().unwrap_or_else(PoisonError::into_inner) = most;
        }
        barrier.wait().map_err(broken)?;
        Ok(self.largest.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Lists of plain numbers: whole whatever happened to the thread that had them last.
    fn outbox(&self) -> MutexGuard<'_, Message> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn odd() -> Error {
    Error::training(
        "a rank sent sums of another shape: start all ranks with the same command, configuration and version",
    )
}

/// A message in the shape of another.
fn read(mut message: &[u8], shape: &Message, payload: Payload) -> Option<Message> {
    let mut unit = || {
        let (count, rest) = message.split_first_chunk::<4>()?;
        let pair_bytes = COORDINATE + payload.bytes();
        let bytes = (u32::from_le_bytes(*count) as usize).checked_mul(pair_bytes)?;
        let (own, rest) = rest.split_at_checked(bytes)?;
        message = rest;
        let pair = |pair: &[u8]| -> Option<Entry> {
            let (coordinate, sum) = pair.split_at_checked(COORDINATE)?;
            let sum = match payload {
                Payload::I64 => i64::from_le_bytes(sum.try_into().ok()?),
                rounded => rounded.of_bits(u16::from_le_bytes(sum.try_into().ok()?)) as i64,
            };
            Some((u32::from_le_bytes(coordinate.try_into().ok()?), sum))
        };
        own.chunks_exact(pair_bytes).map(pair).collect::<Option<Vec<Entry>>>()
    };
    let bundles = shape.iter().map(|models| {
        let models = models.iter().map(|units| units.iter().map(|_| unit()).collect::<Option<Vec<_>>>());
        models.collect::<Option<Vec<_>>>()
    });
    bundles.collect()
}
