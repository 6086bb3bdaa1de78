//! Numbers that begin on a cache line.
//!
//! A vector register that holds a whole line is loaded in one step where the line is whole, and in two where it
//! straddles two: residuals that begin anywhere cost the gradient of eight vectors a third of its time.
//! And what a thread writes again and again shares no line with what belongs to another; a second-level cache fetches lines in pairs.

use std::ops::{Deref, DerefMut};

/// Bytes of two cache lines.
const LINES: usize = 128;

/// A buffer whose first number lies on a cache line, and whose lines are its own, in pairs; dereferences to its numbers.
#[derive(Debug, Default)]
pub struct Aligned<R> {
    /// The numbers, and room before and behind them.
    room: Vec<R>,
    start: usize,
    len: usize,
}

impl<R: Copy + Default> Aligned<R> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Aligned<R> {
        Aligned::within(Vec::with_capacity(Aligned::<R>::room(len)), len)
    }

    /// Room that so many numbers take.
    pub const fn room(len: usize) -> usize {
        let pair = LINES / size_of::<R>();
        len.next_multiple_of(pair) + pair
    }

    /// `len` zeros in the room of an empty vector with capacity for [`Aligned::room`] of them.
    pub fn within(mut room: Vec<R>, len: usize) -> Aligned<R> {
        room.resize(Aligned::<R>::room(len), R::default());
        // An offset beyond the slack, which the standard library reserves the right to give, costs speed alone.
        let start = room.as_ptr().align_offset(LINES).min(room.len() - len);
        Aligned { room, start, len }
    }

    /// Makes it `len` numbers long; where that is a change, they are zeros.
    pub fn resize(&mut self, len: usize) {
        if self.len != len {
            *self = Aligned::zeros(len);
        }
    }
}

impl<R> Deref for Aligned<R> {
    type Target = [R];

    fn deref(&self) -> &[R] {
        &self.room[self.start..self.start + self.len]
    }
}

impl<R> DerefMut for Aligned<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut self.room[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Real;

    fn begins_on_a_line<R: Real>() {
        let mut numbers = Aligned::<R>::default();
        assert!(numbers.is_empty());
        for len in [1, 0, 16, 17, 1_000, 100_003] {
            numbers.resize(len);
            assert_eq!(numbers.len(), len);
            assert!(numbers.as_ptr().addr().is_multiple_of(LINES));
            assert!(numbers.iter().all(|&x| x == R::default()));
            numbers.fill(R::from_f64(2.5));
            numbers.resize(len);
            assert!(numbers.iter().all(|&x| x == R::from_f64(2.5)), "the same length changes nothing");
        }
    }

    #[test]
    fn begins_on_a_cache_line_at_any_length() {
        begins_on_a_line::<f32>();
        begins_on_a_line::<f64>();
    }
}
