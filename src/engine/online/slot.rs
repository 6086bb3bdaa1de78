//! Slots: a coordinate's weight with all that moves with it, in one cache line.
//!
//! ```text
//! slot   [sum of the batch: i64][weight][state of the optimiser: 0 to 2 numbers]       16 or 24 bytes in f32
//! pull   [l1][l2][time at which the weight was settled][what a batch read][that batch]    where there is a penalty
//! ```
//! The gradient of a batch is added up as integers (see `engine::sum`), so that it does not depend on the order of rows, nor on
//! who has them. A weight is settled, that is, moved by the penalty for the time since it was last, with each of its steps; what no
//! batch touches costs nothing. A batch that reads a weight for its margins finds the settled one, and keeps it beside the slot: which
//! levels and elements are read is known to the rank that has the rows, and one that was read and not moved (its rows are beyond the
//! margin of a hinge, or weigh nothing) is settled in one piece everywhere, or its last bit would tell who read it.

use gristmill_io::mmap;
use gristmill_kernels::Real;

use crate::optim::penalty::soft;
use crate::optim::stochastic::{Optimiser, Pull, Step};

/// A coordinate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot<R, S> {
    /// Sum of the batch's gradient.
    pub sum: i64,
    /// The weight.
    pub weight: R,
    /// Of the optimiser.
    pub state: S,
}

/// A coordinate's penalty.
#[derive(Clone, Copy, Debug, Default)]
struct Pulled<R> {
    l1: R,
    l2: R,
    settled: R,
    /// What a batch read, and its number; batches count from 1.
    read: R,
    batch: u64,
}

/// What a batch does to every coordinate that it touches.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    /// The batch.
    pub step: Step,
    /// What an integer of a sum stands for, in coordinates whose values are at most 1.
    pub unit: f64,
    /// Times before and after.
    pub time: (f64, f64),
}

/// The slots of some columns; those of a coordinate's lines (see `columns`) side by side: `coordinate * lines + line`.
pub struct Slots<O: Optimiser, R: Real> {
    /// One a coordinate and line.
    pub slots: Vec<Slot<R, O::State<R>>>,
    /// Margins of a row.
    pub lines: usize,
    pulls: Vec<Pulled<R>>,
    optimiser: O,
}

/// What a rank adds to a slot: its number, and the sum.
pub type Entry = (u32, i64);

/// Slots of an optimiser that is not named.
pub trait Coordinates {
    /// Puts every slot at a weight.
    fn start(&mut self, weights: &[f64], step: &Step);
    /// Puts the anchor of every coordinate at its weight, with the full gradient there: a number a slot, those of anchors left out of
    /// account.
    fn anchor(&mut self, gradient: &[f64]);
    /// Settles all at a time, for an optimiser at that step.
    fn settle(&mut self, step: &Step, now: f64);
    /// Adds the sums of a rank.
    fn add(&mut self, entries: &[Entry]);
    /// Adds the sums of all ranks, and takes each coordinate's out again; those that are 0 are left out.
    fn merge(&mut self, entries: &mut Vec<Entry>);
    /// Moves these coordinates, each once however often it is named.
    fn step_entries(&mut self, entries: &[Entry], order: &Move);
    /// The weights.
    fn weights(&self, out: &mut [f64]);
    /// What a checkpoint keeps: between batches all sums are 0.
    fn save(&self, bytes: &mut Vec<u8>);
    /// The opposite; false where there is too little.
    fn load(&mut self, bytes: &mut &[u8]) -> bool;
}

impl<R: Real> Pulled<R> {
    /// What the penalty leaves of a weight.
    #[inline(always)]
    fn pull<O: Optimiser>(&self, optimiser: &O, slot: &Slot<R, O::State<R>>, then: R) -> R {
        let (l1, l2) = (self.l1.to_f64(), self.l2.to_f64());
        let pull = Pull { l1, l2, since: self.settled.to_f64(), now: then.to_f64() };
        R::from_f64(optimiser.settle(slot.weight.to_f64(), &slot.state, &pull))
    }
}

impl<O: Optimiser, R: Real> Slots<O, R> {
    /// For so many coordinates of so many lines, with these strengths in each line; none: no penalty.
    pub fn new(optimiser: O, (count, lines): (usize, usize), strengths: Option<(&[f64], &[f64])>) -> Slots<O, R> {
        let zero = R::default();
        let mut pulls = mmap::table(if strengths.is_some() { count * lines } else { 0 });
        if let Some((l1, l2)) = strengths {
            let pair =
                |(l1, l2): (&f64, &f64)| Pulled { l1: R::from_f64(*l1), l2: R::from_f64(*l2), ..Pulled::default() };
            pulls.extend(l1.iter().zip(l2).flat_map(|own| std::iter::repeat_n(pair(own), lines)));
        }
        let mut slots = mmap::table(count * lines);
        slots.resize(count * lines, Slot { sum: 0, weight: zero, state: O::State::default() });
        Slots { slots, lines, pulls, optimiser }
    }

    /// True when there is no penalty.
    pub fn is_free(&self) -> bool {
        self.pulls.is_empty()
    }

    /// The optimiser at a step.
    pub fn at(&self, step: &Step) -> O {
        self.optimiser.at(step)
    }

    /// Settles the weight of a coordinate: all ranks do, or none.
    #[inline(always)]
    pub fn settle_one(&mut self, optimiser: &O, coordinate: usize, now: f64) -> R {
        let slot = &mut self.slots[coordinate];
        if let Some(pulled) = self.pulls.get_mut(coordinate) {
            let then = R::from_f64(now);
            if pulled.settled != then {
                slot.weight = pulled.pull(optimiser, slot, then);
                pulled.settled = then;
            }
        }
        slot.weight
    }

    /// The weight of a coordinate as it is settled before a batch; the slot stays as it is.
    #[inline(always)]
    pub fn read(&mut self, optimiser: &O, coordinate: usize, order: &Move) -> R {
        let slot = &self.slots[coordinate];
        let Some(pulled) = self.pulls.get_mut(coordinate) else { return slot.weight };
        // By its number: rates may be so small that time stands still, and optimisers differ from batch to batch.
        if pulled.batch != order.step.number {
            let then = R::from_f64(order.time.0);
            pulled.read = if pulled.settled == then { slot.weight } else { pulled.pull(optimiser, slot, then) };
            pulled.batch = order.step.number;
        }
        pulled.read
    }

    /// Moves a coordinate by its sum, if that is not 0, and forgets the sum.
    #[inline(always)]
    pub fn touch(&mut self, optimiser: &O, coordinate: usize, order: &Move) {
        if self.slots[coordinate].sum != 0 {
            // Another rank may have read it, and not this one.
            let weight = self.read(optimiser, coordinate, order).to_f64();
            let slot = &mut self.slots[coordinate];
            let gradient = slot.sum as f64 * order.unit;
            slot.sum = 0;
            slot.weight = R::from_f64(optimiser.step(order.step.rate, gradient, weight, &mut slot.state));
            if let Some(pulled) = self.pulls.get_mut(coordinate) {
                pulled.settled = R::from_f64(order.time.0);
                self.settle_one(optimiser, coordinate, order.time.1);
            }
        }
    }

    /// Moves all coordinates of an optimiser with an anchor, and forgets the sums: the second half of the lines are the anchors of
    /// the first. `factor`: what sums of a coordinate stand for, in units of those whose values are at most 1.
    pub fn step_anchored(&mut self, order: &Move, factor: impl Fn(usize) -> f64) {
        let (half, rate, optimiser) = (self.lines / 2, order.step.rate, self.at(&order.step));
        for (coordinate, lines) in self.slots.chunks_exact_mut(self.lines.max(1)).enumerate() {
            let unit = order.unit * factor(coordinate);
            let (own, anchors) = lines.split_at_mut(half);
            for (line, (slot, anchor)) in own.iter_mut().zip(anchors).enumerate() {
                let sum = slot.sum.wrapping_sub(anchor.sum);
                (slot.sum, anchor.sum) = (0, 0);
                let moved = optimiser.step(rate, sum as f64 * unit, slot.weight.to_f64(), &mut slot.state);
                let pulled = self.pulls.get(coordinate * self.lines + line);
                let (l1, l2) = pulled.map_or((0.0, 0.0), |pulled| (pulled.l1.to_f64(), pulled.l2.to_f64()));
                slot.weight = R::from_f64(soft(moved, rate * l1) / (1.0 + rate * l2));
            }
        }
    }

    /// Moves a coordinate by a gradient, 0 or not.
    pub fn push(&mut self, optimiser: &O, coordinate: usize, gradient: f64, order: &Move) {
        let slot = &mut self.slots[coordinate];
        slot.sum = 0;
        slot.weight = R::from_f64(optimiser.step(order.step.rate, gradient, slot.weight.to_f64(), &mut slot.state));
        self.settle_one(optimiser, coordinate, order.time.1);
    }
}

impl<O: Optimiser, R: Real> Coordinates for Slots<O, R> {
    fn start(&mut self, weights: &[f64], step: &Step) {
        let optimiser = self.optimiser.at(step);
        for (slot, &weight) in self.slots.iter_mut().zip(weights) {
            slot.weight = R::from_f64(weight);
            slot.state = optimiser.begin(weight);
        }
    }

    fn anchor(&mut self, gradient: &[f64]) {
        let (lines, half) = (self.lines.max(1), self.lines / 2);
        for (lines, gradient) in self.slots.chunks_exact_mut(lines).zip(gradient.chunks_exact(lines)) {
            let (own, anchors) = lines.split_at_mut(half);
            for ((slot, anchor), gradient) in own.iter_mut().zip(anchors).zip(gradient) {
                anchor.weight = slot.weight;
                if let Some(full) = slot.state.as_mut().first_mut() {
                    *full = R::from_f64(*gradient);
                }
            }
        }
    }

    fn settle(&mut self, step: &Step, now: f64) {
        if !self.is_free() {
            let optimiser = self.optimiser.at(step);
            (0..self.slots.len()).for_each(|coordinate| {
                self.settle_one(&optimiser, coordinate, now);
            });
        }
    }

    fn add(&mut self, entries: &[Entry]) {
        for &(coordinate, sum) in entries {
            if let Some(slot) = self.slots.get_mut(coordinate as usize) {
                slot.sum = slot.sum.wrapping_add(sum);
            }
        }
    }

    fn merge(&mut self, entries: &mut Vec<Entry>) {
        self.add(entries);
        let slots = &mut self.slots;
        entries.retain_mut(|(coordinate, sum)| {
            *sum = slots.get_mut(*coordinate as usize).map_or(0, |slot| std::mem::take(&mut slot.sum));
            *sum != 0
        });
    }

    fn step_entries(&mut self, entries: &[Entry], order: &Move) {
        if O::ANCHORED {
            return self.step_anchored(order, |_| 1.0);
        }
        let optimiser = self.optimiser.at(&order.step);
        for &(coordinate, _) in entries {
            if (coordinate as usize) < self.slots.len() {
                self.touch(&optimiser, coordinate as usize, order);
            }
        }
    }

    fn weights(&self, out: &mut [f64]) {
        out.iter_mut().zip(&self.slots).for_each(|(out, slot)| *out = slot.weight.to_f64());
    }

    fn save(&self, bytes: &mut Vec<u8>) {
        for slot in &self.slots {
            put(slot.weight, bytes);
            slot.state.as_ref().iter().for_each(|&number| put(number, bytes));
        }
        self.pulls.iter().for_each(|pulled| put(pulled.settled, bytes));
    }

    fn load(&mut self, bytes: &mut &[u8]) -> bool {
        let mut take = || get::<R>(bytes);
        for slot in &mut self.slots {
            let places = std::iter::once(&mut slot.weight).chain(slot.state.as_mut());
            for place in places {
                let Some(number) = take() else { return false };
                *place = number;
            }
        }
        for pulled in &mut self.pulls {
            let Some(number) = take() else { return false };
            pulled.settled = number;
        }
        true
    }
}

/// The number's bytes, as many as its type has.
fn put<R: Real>(number: R, bytes: &mut Vec<u8>) {
    if size_of::<R>() == 4 {
        bytes.extend_from_slice(&(number.to_f64() as f32).to_le_bytes());
    } else {
        bytes.extend_from_slice(&number.to_f64().to_le_bytes());
    }
}

fn get<R: Real>(bytes: &mut &[u8]) -> Option<R> {
    let (own, rest) = bytes.split_at_checked(size_of::<R>())?;
    *bytes = rest;
    Some(match own.try_into() {
        Ok(four) => R::from_f64(f64::from(f32::from_le_bytes(four))),
        Err(_) => R::from_f64(f64::from_le_bytes(own.try_into().ok()?)),
    })
}
