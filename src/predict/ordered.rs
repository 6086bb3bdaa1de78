//! Work on chunks by many threads, results in the order of the chunks, in bounded memory.
//!
//! Threads draw chunks, work on them, and hand results in by number. Whoever hands in the result that is next in line
//! takes it, and those that wait behind it, through the serial part (a writer, a sum). A thread that runs too far ahead
//! waits, so at most `window` results exist, and nobody draws while as many chunks are under way as have room in memory, each
//! taken to be as large as the largest so far. The first failure stops everybody; it is the one with the lowest number,
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
    /// Items drawn whose results are not passed on yet.
    under_way: u64,
    /// Bytes that the largest of all so far took; 0: none is done.
    largest: u64,
}

/// What an item is taken for before one was seen.
const ITEM_BYTES: u64 = 128 << 20;

/// Takes results by number from many threads, and passes them on in order.
pub struct Sink<T, F> {
    line: Mutex<Line<T>>,
    moved: Condvar,
    absorb: Mutex<F>,
    window: u64,
    /// Bytes of memory for items under way.
    room: u64,
}

impl<T, F: FnMut(T) -> Result<()>> Sink<T, F> {
    /// A sink that passes results 0, 1, 2... to `absorb`; threads wait that are `window` results ahead.
    pub fn new(window: u64, absorb: F) -> Sink<T, F> {
        Sink::within(u64::MAX, window, absorb)
    }

    /// The same for items that take memory: [`Sink::enter`] holds off whoever would draw one too many.
    fn within(room: u64, window: u64, absorb: F) -> Sink<T, F> {
        let line = Line {
            waiting: BTreeMap::new(),
            next: 0,
            busy: false,
            failed: None,
            stopped: false,
            under_way: 0,
            largest: 0,
        };
        Sink { line: Mutex::new(line), moved: Condvar::new(), absorb: Mutex::new(absorb), window, room }
    }

    /// Wait until there is room for one more item; false after a failure. Items are drawn in order, so the one that all wait for is
    /// under way.
    fn enter(&self) -> bool {
        let mut line = self.lock();
        loop {
            let one = if line.largest == 0 { ITEM_BYTES.min(self.room / 2).max(1) } else { line.largest };
            if line.stopped || line.under_way == 0 || (line.under_way + 1).saturating_mul(one) <= self.room {
                line.under_way += 1;
                return !line.stopped;
            }
            line = self.moved.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No item was drawn after all.
    fn leave(&self) {
        self.lock().under_way -= 1;
        self.moved.notify_all();
    }

    /// An item took so many bytes.
    fn took(&self, bytes: u64) {
        let mut line = self.lock();
        line.largest = line.largest.max(bytes);
        self.moved.notify_all();
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
            line.under_way = line.under_way.saturating_sub(1);
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
/// result with `work` on `threads` threads, and pass the results to `absorb` in the order of their numbers 0, 1, 2... `work` also tells
/// the bytes of memory that an item took; those under way stay within `room` bytes, or one at a time.
///
/// # Errors
/// The failure with the lowest number, of whichever part.
pub fn in_order<I, T: Send>(
    threads: usize,
    room: u64,
    draw: impl Fn() -> Result<Option<(u64, I)>> + Sync,
    work: impl Fn(I) -> Result<(T, u64)> + Sync,
    absorb: impl FnMut(T) -> Result<()> + Send,
) -> Result<()> {
    let sink = Sink::within(room, 2 * threads as u64, absorb);
    let worked = |item| {
        let (result, bytes) = work(item)?;
        sink.took(bytes);
        Ok(result)
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                // A thread that panics must not leave the others waiting for its result.
                let _guard = StopOnPanic(&sink);
                while sink.enter() {
                    match draw() {
                        Ok(Some((number, item))) => sink.hand_in(number, worked(item)),
                        Ok(None) => {
                            sink.leave();
                            break;
                        }
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
            if bad.is_some_and(|bad| number >= bad) {
                Err(Error::training(format!("{number}")))
            } else {
                Ok((number, 1))
            }
        };
        let outcome = in_order(threads, u64::MAX, draw, work, |number| {
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
        let outcome = in_order(3, u64::MAX, draw, |()| Ok(((), 0)), |()| Ok(()));
        assert_eq!(outcome.expect_err("fails").to_string(), "gone");
    }

    /// Of items of 3 bytes three have room in 10, and those without any room go one at a time.
    #[test]
    fn no_more_is_under_way_than_has_room() {
        for (room, most) in [(10, 3), (6, 2), (2, 1), (0, 1)] {
            let (next, under_way, seen) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
            let draw = || {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number < 40 {
                    let now = under_way.fetch_add(1, Ordering::Relaxed) + 1;
                    seen.fetch_max(now, Ordering::Relaxed);
                }
                Ok((number < 40).then_some((number, ())))
            };
            let work = |()| {
                std::thread::sleep(std::time::Duration::from_micros(200));
                Ok(((), 3))
            };
            let outcome = in_order(5, room, draw, work, |()| {
                under_way.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            });
            assert!(outcome.is_ok());
            assert!(seen.into_inner() <= most.max(2), "room {room}");
            assert!(next.into_inner() >= 40);
        }
    }
}
