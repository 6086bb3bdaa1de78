//! Work on chunks by many threads, results in the order of the chunks, in bounded memory.
//!
//! Threads draw chunks, work on them, and hand results in by number. Whoever hands in the result that is next in line
//! takes it, and those that wait behind it, through the serial part (a writer, a sum). A thread that runs too far ahead
//! waits, so at most `window` results exist. The first failure stops everybody; it is the one with the lowest number,
//! so a message does not depend on the number of threads.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Result;

/// Results that wait for their turn.
struct Line<T> {
    waiting: BTreeMap<u64, Result<T>>,
    next: u64,
    busy: bool,
    failed: Option<crate::Error>,
    stopped: bool,
}

/// Draw numbered items with `draw` (called by many threads, one at a time inside) until there is none, turn each into a
/// result with `work` on `threads` threads, and pass the results to `absorb` in the order of their numbers 0, 1, 2...
///
/// # Errors
/// The failure with the lowest number, of whichever part.
pub fn in_order<I, T: Send>(
    threads: usize,
    draw: impl Fn() -> Result<Option<(u64, I)>> + Sync,
    work: impl Fn(I) -> Result<T> + Sync,
    absorb: impl FnMut(T) -> Result<()> + Send,
) -> Result<()> {
    let window = 2 * threads as u64;
    let line = Mutex::new(Line { waiting: BTreeMap::new(), next: 0, busy: false, failed: None, stopped: false });
    let moved = Condvar::new();
    let absorb = Mutex::new(absorb);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                // A thread that panics must not leave the others waiting for its result.
                let _guard = StopOnPanic { line: &line, moved: &moved };
                while let Some((number, result)) = drawn(&draw, &work, &line, &moved) {
                    hand_in(number, result, window, &line, &moved, &absorb);
                }
            });
        }
    });
    let line = line.into_inner().unwrap_or_else(PoisonError::into_inner);
    line.failed.map_or(Ok(()), Err)
}

/// The next item, worked on; none at the end or after a failure.
fn drawn<I, T>(
    draw: &(impl Fn() -> Result<Option<(u64, I)>> + Sync),
    work: &(impl Fn(I) -> Result<T> + Sync),
    line: &Mutex<Line<T>>,
    moved: &Condvar,
) -> Option<(u64, Result<T>)> {
    if lock(line).stopped {
        return None;
    }
    match draw() {
        Ok(None) => None,
        Ok(Some((number, item))) => Some((number, work(item))),
        Err(error) => {
            // Without a number: it comes after everything drawn so far.
            let mut line = lock(line);
            line.stopped = true;
            line.failed.get_or_insert(error);
            moved.notify_all();
            None
        }
    }
}

/// Put a result in line; when it is next, take it and its successors through the serial part.
fn hand_in<T>(
    number: u64,
    result: Result<T>,
    window: u64,
    line: &Mutex<Line<T>>,
    moved: &Condvar,
    absorb: &Mutex<impl FnMut(T) -> Result<()>>,
) {
    let mut state = lock(line);
    while number >= state.next + window && !state.stopped {
        state = moved.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    state.waiting.insert(number, result);
    if state.busy {
        return;
    }
    state.busy = true;
    let mut absorb = absorb.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let next = state.next;
        let Some(result) = state.waiting.remove(&next) else { break };
        drop(state);
        let outcome = result.and_then(&mut *absorb);
        state = lock(line);
        state.next += 1;
        if let Err(error) = outcome {
            state.waiting.clear();
            state.stopped = true;
            // A failure in line comes before one of drawing, which is about what follows.
            state.failed = Some(error);
            moved.notify_all();
            break;
        }
        moved.notify_all();
    }
    state.busy = false;
}

fn lock<T>(line: &Mutex<Line<T>>) -> MutexGuard<'_, Line<T>> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

struct StopOnPanic<'a, T> {
    line: &'a Mutex<Line<T>>,
    moved: &'a Condvar,
}

impl<T> Drop for StopOnPanic<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(self.line).stopped = true;
            self.moved.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::Error;

    /// Draw 0..count; work is slower for some numbers than for others.
    fn run(threads: usize, count: u64, bad: Option<u64>) -> (Result<()>, Vec<u64>) {
        let (next, mut seen) = (AtomicU64::new(0), Vec::new());
        let draw = || {
            let number = next.fetch_add(1, Ordering::Relaxed);
            Ok((number < count).then_some((number, number)))
        };
        let work = |number: u64| {
            std::thread::sleep(std::time::Duration::from_micros(number * 7919 % 300));
            if bad.is_some_and(|bad| number >= bad) { Err(Error::training(format!("{number}"))) } else { Ok(number) }
        };
        let outcome = in_order(threads, draw, work, |number| {
            seen.push(number);
            Ok(())
        });
        (outcome, seen)
    }

    #[test]
    fn results_come_in_order_whatever_the_number_of_threads() {
        for threads in [1, 2, 5] {
            for count in [0, 1, 2, 200] {
                let (outcome, seen) = run(threads, count, None);
                assert!(outcome.is_ok());
                assert_eq!(seen, (0..count).collect::<Vec<u64>>());
            }
        }
    }

    #[test]
    fn the_first_failure_in_line_is_the_one_told() {
        for threads in [1, 2, 5] {
            let (outcome, seen) = run(threads, 100, Some(17));
            assert_eq!(outcome.expect_err("fails").to_string(), "17");
            assert_eq!(seen, (0..17).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn a_failure_of_drawing_stops_it() {
        let draw = || Err::<Option<(u64, ())>, _>(Error::training("gone"));
        let outcome = in_order(3, draw, |()| Ok(()), |()| Ok(()));
        assert_eq!(outcome.expect_err("fails").to_string(), "gone");
    }
}
