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

/// Takes results by number from many threads, and passes them on in order.
pub struct Sink<T, F> {
    line: Mutex<Line<T>>,
    moved: Condvar,
    absorb: Mutex<F>,
    window: u64,
}

impl<T, F: FnMut(T) -> Result<()>> Sink<T, F> {
    /// A sink that passes results 0, 1, 2... to `absorb`; threads wait that are `window` results ahead.
    pub fn new(window: u64, absorb: F) -> Sink<T, F> {
        let line = Line { waiting: BTreeMap::new(), next: 0, busy: false, failed: None, stopped: false };
        Sink { line: Mutex::new(line), moved: Condvar::new(), absorb: Mutex::new(absorb), window }
    }

    /// True after a failure: there is no use in more results.
    pub fn stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Stop with a failure that belongs to no result: it comes after those handed in so far.
    pub fn stop(&self, error: Option<crate::Error>) {
        let mut line = self.lock();
        line.stopped = true;
        if line.failed.is_none() {
            line.failed = error;
        }
        self.moved.notify_all();
    }

    /// Hand in a result; when it is next, it and its successors are passed on by this thread.
    pub fn hand_in(&self, number: u64, result: Result<T>) {
        let mut line = self.lock();
        while number >= line.next.saturating_add(self.window) && !line.stopped {
            line = self.moved.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        line.waiting.insert(number, result);
        if line.busy {
            return;
        }
        line.busy = true;
        let mut absorb = self.absorb.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let next = line.next;
            let Some(result) = line.waiting.remove(&next) else { break };
            drop(line);
            let outcome = result.and_then(&mut *absorb);
            line = self.lock();
            line.next += 1;
            self.moved.notify_all();
            if let Err(error) = outcome {
                line.waiting.clear();
                line.stopped = true;
                // A failure in line comes before one of drawing, which is about what follows.
                line.failed = Some(error);
                // Nothing is next any more: what others still hand in comes after it.
                line.next = u64::MAX;
                break;
            }
        }
        line.busy = false;
    }

    /// How it went.
    ///
    /// # Errors
    /// The first failure.
    pub fn finish(self) -> Result<()> {
        self.line.into_inner().unwrap_or_else(PoisonError::into_inner).failed.map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, Line<T>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    let sink = Sink::new(2 * threads as u64, absorb);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                // A thread that panics must not leave the others waiting for its result.
                let _guard = StopOnPanic(&sink);
                while !sink.stopped() {
                    match draw() {
                        Ok(Some((number, item))) => sink.hand_in(number, work(item)),
                        Ok(None) => break,
                        Err(error) => sink.stop(Some(error)),
                    }
                }
            });
        }
    });
    sink.finish()
}

struct StopOnPanic<'a, T, F: FnMut(T) -> Result<()>>(&'a Sink<T, F>);

impl<T, F: FnMut(T) -> Result<()>> Drop for StopOnPanic<'_, T, F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(None);
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
