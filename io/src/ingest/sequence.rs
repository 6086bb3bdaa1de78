//! Order out of parallel work (stage 2): chunks are decoded by any thread and numbered in the order of the source.
//!
//! A worker that has decoded a chunk hands it in; when all chunks before it are in too, its first row gets its number and the
//! chunk goes to whoever closed the gap. Workers that run too far ahead wait, so that few chunks are in flight. What chunks
//! add up to is merged in their order ([`Fold`]), so that sums of floats have the same bits for any number of threads.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lock a mutex whose data stays sound when a holder panics (plain maps and counters).
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers the rows of chunks.
#[derive(Debug)]
pub struct Sequence<T> {
    state: Mutex<State<T>>,
    moved: Condvar,
    window: u64,
}

#[derive(Debug)]
struct State<T> {
    next: u64,
    rows: u64,
    pending: BTreeMap<u64, (T, u64)>,
    stopped: bool,
}

/// A chunk whose place is known.
#[derive(Debug)]
pub struct Placed<T> {
    /// Its number.
    pub chunk: u64,
    /// The number of its first row among all rows.
    pub first_row: u64,
    /// What was handed in.
    pub content: T,
}

impl<T> Sequence<T> {
    /// At most `window` chunks are in flight.
    pub fn new(window: u64) -> Sequence<T> {
        Sequence::from(window, 0, 0)
    }

    /// The same where chunk `next` is the first, and row `rows` its first.
    pub fn from(window: u64, next: u64, rows: u64) -> Sequence<T> {
        let state = State { next, rows, pending: BTreeMap::new(), stopped: false };
        Sequence { state: Mutex::new(state), moved: Condvar::new(), window: window.max(1) }
    }

    /// Wait until chunk `number` is near enough to the oldest one in flight; false: stopped meanwhile.
    pub fn enter(&self, number: u64) -> bool {
        let mut state = lock(&self.state);
        while !state.stopped && number >= state.next + self.window {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.stopped
    }

    /// Hand chunk `number` with `rows` rows in; returns the chunks that are now placed, in order.
    pub fn hand_in(&self, number: u64, content: T, rows: u64) -> Vec<Placed<T>> {
        let mut state = lock(&self.state);
        state.pending.insert(number, (content, rows));
        let mut placed = Vec::new();
        loop {
            let next = state.next;
            let Some((content, rows)) = state.pending.remove(&next) else { break };
            placed.push(Placed { chunk: next, first_row: state.rows, content });
            state.rows += rows;
            state.next += 1;
        }
        drop(state);
        self.moved.notify_all();
        placed
    }

    /// Let everybody who waits go.
    pub fn stop(&self) {
        lock(&self.state).stopped = true;
        self.moved.notify_all();
    }
}

/// Merges values in the order of their numbers, whatever the order of arrival.
#[derive(Debug)]
pub struct Fold<S, T> {
    state: Mutex<(u64, S, BTreeMap<u64, T>)>,
}

impl<S, T> Fold<S, T> {
    /// A fold that begins with `start` and number 0.
    pub fn new(start: S) -> Fold<S, T> {
        Fold::from(start, 0)
    }

    /// A fold that begins with `start` and another number.
    pub fn from(start: S, first: u64) -> Fold<S, T> {
        Fold { state: Mutex::new((first, start, BTreeMap::new())) }
    }

    /// A fold that merges nothing and keeps all values apart, for somebody else to merge.
    pub fn keeping(start: S) -> Fold<S, T> {
        Fold { state: Mutex::new((u64::MAX, start, BTreeMap::new())) }
    }

    /// Hand value `number` in; it and those that waited for it are merged.
    ///
    /// # Errors
    /// Of `merge`.
    pub fn push<E>(&self, number: u64, value: T, mut merge: impl FnMut(&mut S, T) -> Result<(), E>) -> Result<(), E> {
        let mut state = lock(&self.state);
        let (next, sum, pending) = &mut *state;
        pending.insert(number, value);
        while let Some(value) = pending.remove(next) {
            *next += 1;
            merge(sum, value)?;
        }
        Ok(())
    }

    /// The sum.
    pub fn into_inner(self) -> S {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).1
    }

    /// The values that were not merged, by number.
    pub fn into_kept(self) -> BTreeMap<u64, T> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_placed_in_their_order() {
        let sequence = Sequence::new(10);
        assert!(sequence.hand_in(1, 'b', 5).is_empty());
        let placed: Vec<_> =
            sequence.hand_in(0, 'a', 3).into_iter().map(|p| (p.chunk, p.first_row, p.content)).collect();
        assert_eq!(placed, [(0, 0, 'a'), (1, 3, 'b')]);
        assert_eq!(sequence.hand_in(2, 'c', 1)[0].first_row, 8);
    }

    #[test]
    fn who_runs_ahead_waits_until_it_is_near_or_all_stop() {
        let sequence = Sequence::<()>::new(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| sequence.enter(1));
            sequence.hand_in(0, (), 1);
            assert!(waiting.join().unwrap());
            let stopped = scope.spawn(|| sequence.enter(9));
            sequence.stop();
            assert!(!stopped.join().unwrap());
        });
    }

    #[test]
    fn a_fold_merges_in_order() {
        let fold = Fold::new(String::new());
        for (number, text) in [(2, "c"), (0, "a"), (1, "b")] {
            fold.push::<()>(number, text, |all, text| {
                all.push_str(text);
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(fold.into_inner(), "abc");
        let fold = Fold::keeping(());
        for (number, text) in [(1, "b"), (0, "a")] {
            fold.push::<()>(number, text, |(), _| Err(())).unwrap();
        }
        assert_eq!(fold.into_kept().into_iter().collect::<Vec<_>>(), [(0, "a"), (1, "b")]);
    }
}
