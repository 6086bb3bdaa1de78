//! Read-ahead: readers load the grains that are not in memory, in the order in which workers will want them, never more
//! of them at once than the window holds.
//!
//! No deadlock: grains are claimed by readers and by workers in the same order, so the grains in the window are always the
//! next ones wanted; each is let go when its worker is done, and one more is let in whenever the window is empty.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::load::Loaded;
use crate::error::Result;

/// How long a thread sleeps at most before it looks whether it should stop.
pub const NAP: Duration = Duration::from_millis(20);

/// The queue between readers and workers of one pass.
pub struct Feed {
    /// Memory each grain takes while on its way, in the order of the pass.
    bytes: Vec<u64>,
    window_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// First grain that no reader has claimed.
    next: usize,
    held_bytes: u64,
    ready: HashMap<usize, Result<Loaded>>,
}

impl Feed {
    /// A queue for grains that take `bytes` each.
    pub fn new(bytes: Vec<u64>, window_bytes: u64) -> Feed {
        Feed { bytes, window_bytes, state: Mutex::default(), changed: Condvar::new() }
    }

    /// True when there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next grain to load, once there is room for it. None when all are claimed, or `stop` is set.
    pub fn claim(&self, stop: &AtomicBool) -> Option<usize> {
        let mut state = self.lock();
        while state.next < self.bytes.len() && !stop.load(Ordering::Relaxed) {
            if let Some(item) = self.admit(&mut state) {
                return Some(item);
            }
            state = self.nap(state);
        }
        None
    }

    /// The next grain to load, if there is room for it now.
    pub fn claim_now(&self, stop: &AtomicBool) -> Option<usize> {
        if stop.load(Ordering::Relaxed) { None } else { self.admit(&mut self.lock()) }
    }

    fn admit(&self, state: &mut State) -> Option<usize> {
        let item = state.next;
        let bytes = *self.bytes.get(item)?;
        let fits = state.held_bytes == 0 || state.held_bytes.saturating_add(bytes) <= self.window_bytes;
        fits.then(|| {
            state.next += 1;
            state.held_bytes += bytes;
            item
        })
    }

    /// A claimed grain is in memory, or could not be read.
    pub fn put(&self, item: usize, loaded: Result<Loaded>) {
        self.lock().ready.insert(item, loaded);
        self.changed.notify_all();
    }

    /// Wait for grain number `item` of the queue. None once `stop` says so.
    pub fn take(&self, item: usize, stop: &impl Fn() -> bool) -> Option<Result<Loaded>> {
        let mut state = self.lock();
        loop {
            if let Some(loaded) = state.ready.remove(&item) {
                return Some(loaded);
            }
            if stop() {
                return None;
            }
            state = self.nap(state);
        }
    }

    /// The memory of grain number `item` of the queue is free again.
    pub fn release(&self, item: usize) {
        self.lock().held_bytes -= self.bytes[item];
        self.changed.notify_all();
    }

    /// Wake all, to look whether they should stop.
    pub fn wake(&self) {
        self.changed.notify_all();
    }

    fn nap<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, NAP).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The state is a set of counters that stay right even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
