//! How long jobs report progress and stop when asked. This crate never prints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// A request to stop, shared by the signal handler and everything that runs long.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A request not yet made.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// The flag itself, for a signal handler to set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Ask everything that watches to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once asked.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error once asked.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check(&self) -> Result<()> {
        if self.requested() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Where a long job says how far it is. Methods are called from many threads, a few hundred times a second at most.
pub trait Progress: Sync {
    /// A stage begins ("reading", "writing"); `bytes` in all, where known.
    fn begin(&self, stage: &str, bytes: Option<u64>);
    /// So much more is done.
    fn advance(&self, rows: u64, bytes: u64);
    /// The stage is done.
    fn end(&self);
}

/// Progress that nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _stage: &str, _bytes: Option<u64>) {}
    fn advance(&self, _rows: u64, _bytes: u64) {}
    fn end(&self) {}
}
