//! Sums in place: values that are handed over to the transport, parts of which MPI reads and writes directly.
//!
//! The memory is owned by every open request (an [`Arc`] in [`State`]), so it outlives them whatever becomes of the
//! exchange. Whether a part is in flight is looked up before it is touched: the list is as long as a ring's lanes.

use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::Arc;

use super::{Memory, State, World};
use crate::communicator::{CommError, Result};
use crate::transport::Tag;
use crate::window::{Lent, Window};

/// The memory of a vector, taken apart.
pub(super) struct Lease {
    data: *mut i64,
    elements: usize,
    capacity: usize,
}

// SAFETY: a lease owns its memory as a vector does; who may touch which part is decided by `Leased` under the lock of the
// transport.
unsafe impl Send for Lease {}
// SAFETY: as above; nothing is reached through a shared lease but its address and length.
unsafe impl Sync for Lease {}

impl Lease {
    fn new(values: Vec<i64>) -> Self {
        let mut values = ManuallyDrop::new(values);
        Self { data: values.as_mut_ptr(), elements: values.len(), capacity: values.capacity() }
    }

    /// The address of a part.
    pub(super) fn address(&self, range: &Range<usize>) -> *mut i64 {
        assert!(range.start <= range.end && range.end <= self.elements, "{range:?} of {} elements", self.elements);
        // SAFETY: the part lies within the memory, as just checked.
        unsafe { self.data.add(range.start) }
    }

    fn into_values(self) -> Vec<i64> {
        let lease = ManuallyDrop::new(self);
        // SAFETY: these are the parts of a vector, which nobody else will put together, for `lease` is not dropped.
        unsafe { Vec::from_raw_parts(lease.data, lease.elements, lease.capacity) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // SAFETY: these are the parts of a vector, which nobody else will put together.
        drop(unsafe { Vec::from_raw_parts(self.data, self.elements, self.capacity) });
    }
}

/// A window on leased memory.
pub(super) struct Leased<'a> {
    world: &'a World,
    lease: Arc<Lease>,
    /// Receives that wait until their part has left.
    later: Vec<(usize, Tag, Range<usize>)>,
}

impl<'a> Leased<'a> {
    pub(super) fn new(world: &'a World, values: Vec<i64>) -> Self {
        Self { world, lease: Arc::new(Lease::new(values)), later: Vec::new() }
    }

    fn memory(&self, range: Range<usize>) -> Memory {
        Memory::Part(self.lease.clone(), range)
    }
}

/// A part in use by MPI was asked for: a mistake in the algorithm, not in the network.
fn in_flight(state: &mut State, range: &Range<usize>) -> CommError {
    state.failed = true;
    CommError::Library { operation: "a sum in place", message: format!("elements {range:?} are still in flight") }
}

impl Window<i64> for Leased<'_> {
    fn elements(&mut self) -> usize {
        self.lease.elements
    }

    fn part(&mut self, range: Range<usize>) -> Result<&mut [i64]> {
        let mut state = self.world.state();
        if state.sends(&self.lease, &range) {
            state.reap()?;
        }
        if state.sends(&self.lease, &range) || state.receives(&self.lease, &range) {
            return Err(in_flight(&mut state, &range));
        }
        let address = self.lease.address(&range);
        // SAFETY: the part lies within the memory (checked by `address`), which holds initialised integers; no request
        // touches it (just checked), and none can begin while `self` is borrowed.
        Ok(unsafe { std::slice::from_raw_parts_mut(address, range.len()) })
    }

    fn send(&mut self, to: usize, tag: Tag, range: Range<usize>) -> Result<()> {
        let mut state = self.world.state();
        if state.receives(&self.lease, &range) {
            return Err(in_flight(&mut state, &range));
        }
        state.begin_send(to, tag, self.memory(range))
    }

    fn expect(&mut self, from: usize, tag: Tag, range: Range<usize>) -> Result<()> {
        let mut state = self.world.state();
        if state.sends(&self.lease, &range) {
            state.reap()?;
        }
        if state.sends(&self.lease, &range) {
            self.later.push((from, tag, range));
            return Ok(());
        }
        state.begin_receive(from, tag, self.memory(range))
    }

    fn arrived(&mut self, from: usize, tag: Tag, _range: Range<usize>) -> Result<bool> {
        let mut state = self.world.state();
        if let Some(place) = self.later.iter().position(|(rank, label, _)| (*rank, *label) == (from, tag)) {
            state.reap()?;
            let range = self.later[place].2.clone();
            if state.sends(&self.lease, &range) {
                return Ok(false);
            }
            self.later.swap_remove(place);
            state.begin_receive(from, tag, self.memory(range))?;
        }
        Ok(state.take_received(from, tag)?.is_some())
    }
}

impl Lent for Leased<'_> {
    fn give_back(self: Box<Self>) -> Result<Vec<i64>> {
        let everything = 0..self.lease.elements;
        let world = self.world;
        match Arc::try_unwrap(self.lease) {
            Ok(lease) => Ok(lease.into_values()),
            Err(_in_use) => Err(in_flight(&mut world.state(), &everything)),
        }
    }
}
