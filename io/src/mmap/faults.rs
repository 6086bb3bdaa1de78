//! A page of a map that cannot be read any more is an error of its pass, not the end of the process.
//!
//! [`Map::populate`](super::Map::populate) asks for pages before they are touched, but a file that is truncated later takes
//! its pages back, and the disk may fail when one that was dropped is wanted again: the touch is then answered with SIGBUS.
//! The handler here looks whether the address lies in one of our maps; if so, it notes where, puts a page of zeros in its
//! place, and the thread goes on. What it computes from zeros is worth nothing, and is never used: after every grain the
//! scan asks whether its map had a fault ([`Watch::fault`]). Any other SIGBUS goes to whoever handled it before.
//!
//! The maps are a linked list of slots that are never freed, only used again, so that the handler can walk it at any moment.

use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// The mark of a map without a fault.
const NONE: usize = usize::MAX;

/// The address range of a map, and its first fault.
struct Slot {
    taken: AtomicBool,
    /// 0: no map.
    start: AtomicUsize,
    bytes: AtomicUsize,
    /// Smallest offset that could not be read.
    fault: AtomicUsize,
    next: AtomicPtr<Slot>,
}

static FIRST: AtomicPtr<Slot> = AtomicPtr::new(null_mut());
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Faults of a range of addresses are noted as long as this lives.
#[derive(Debug)]
pub(super) struct Watch(&'static Slot);

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot(fault: {:?})", self.first_fault())
    }
}

impl Watch {
    /// Watch `bytes` bytes from the address `start`.
    pub(super) fn over(start: usize, bytes: usize) -> Watch {
        install();
        let slot = free_slot();
        slot.fault.store(NONE, Ordering::Relaxed);
        slot.bytes.store(bytes, Ordering::Relaxed);
        slot.start.store(start, Ordering::Release);
        Watch(slot)
    }

    /// The smallest offset of the range that could not be read, if any. Zeros stand there.
    pub(super) fn fault(&self) -> Option<usize> {
        self.0.first_fault()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Release);
        self.0.taken.store(false, Ordering::Release);
    }
}

impl Slot {
    fn first_fault(&self) -> Option<usize> {
        Some(self.fault.load(Ordering::Acquire)).filter(|&offset| offset != NONE)
    }

    /// Note a fault at `address` when it is ours. Only loads and stores of atomics: the handler calls this.
    fn note(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::Acquire);
        let bytes = self.bytes.load(Ordering::Acquire);
        // The last page reaches beyond the file.
        let end = start.saturating_add(bytes.next_multiple_of(PAGE_BYTES.load(Ordering::Relaxed)));
        if start == 0 || !(start..end).contains(&address) || self.start.load(Ordering::Acquire) != start {
            return false;
        }
        self.fault.fetch_min(address - start, Ordering::AcqRel);
        true
    }
}

/// A slot for a new map: one that is free again, or one more.
fn free_slot() -> &'static Slot {
    let take = |slot: &&'static Slot| !slot.taken.swap(true, Ordering::AcqRel);
    if let Some(slot) = slots().find(take) {
        return slot;
    }
    let slot: &'static Slot = Box::leak(Box::new(Slot {
        taken: AtomicBool::new(true),
        start: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        fault: AtomicUsize::new(NONE),
        next: AtomicPtr::new(null_mut()),
    }));
    let mut first = FIRST.load(Ordering::Acquire);
    loop {
        slot.next.store(first, Ordering::Relaxed);
        let new = std::ptr::from_ref(slot).cast_mut();
        match FIRST.compare_exchange(first, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return slot,
            Err(other) => first = other,
        }
    }
}

/// All slots, free ones too.
fn slots() -> impl Iterator<Item = &'static Slot> {
    let follow = |at: *mut Slot| {
        // SAFETY: null, or a slot that was leaked by `free_slot` and is only ever shared: valid for ever.
        unsafe { at.as_ref() }
    };
    std::iter::successors(follow(FIRST.load(Ordering::Acquire)), move |slot| follow(slot.next.load(Ordering::Acquire)))
}

/// Install the handler, once a process.
fn install() {
    BEFORE.get_or_init(|| {
        PAGE_BYTES.store(rustix::param::page_size(), Ordering::Relaxed);
        // SAFETY: both are plain structures for which all zeros are valid; the handler has the signature that SA_SIGINFO
        // asks for, touches only atomics and calls mmap, which is a bare system call. On failure, which no valid signal
        // number has, the handler is not installed and things are as they were.
        unsafe {
            let (mut ours, mut before) = (std::mem::zeroed::<libc::sigaction>(), std::mem::zeroed::<libc::sigaction>());
            ours.sa_sigaction = on_bus_error as *const () as usize;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigaction(libc::SIGBUS, &raw const ours, &raw mut before);
            before
        }
    });
}

/// The handler: zeros for a page of ours that cannot be read, else what was there before us.
extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid siginfo_t to a handler installed with SA_SIGINFO, and si_addr is what SIGBUS fills.
    let address = unsafe { (*info).si_addr() } as usize;
    // Every slot that matches: while one is given to another map, its range may be neither the old nor the new one.
    let ours = slots().fold(false, |found, slot| slot.note(address) | found);
    if ours && put_zeros(address) {
        return;
    }
    pass_on(signal, info, context);
}

/// Replace the page of `address`, which lies in one of our maps, by zeros.
fn put_zeros(address: usize) -> bool {
    let page = PAGE_BYTES.load(Ordering::Relaxed);
    let start = address / page * page;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the page lies inside a read-only map of a file that a live `Map` owns; another page in the same place is
    // unmapped with it. References into it stay valid: readable memory, whose bytes nobody relies on (see the head).
    // errno, which the interrupted code may be about to read, is put back.
    unsafe {
        let errno = *libc::__errno_location();
        let put = libc::mmap(start as *mut libc::c_void, page, libc::PROT_READ, flags, -1, 0);
        *libc::__errno_location() = errno;
        put != libc::MAP_FAILED
    }
}

/// Not ours: the handler before us, or the default, which ends the process.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE.get().map_or((libc::SIG_DFL, 0), |before| (before.sa_sigaction, before.sa_flags));
    // SAFETY: a value other than SIG_DFL and SIG_IGN is the handler that somebody installed with these flags, which say
    // its signature. With the default back in place the instruction faults again as this returns.
    unsafe {
        match before {
            (libc::SIG_DFL | libc::SIG_IGN, _) => {
                libc::signal(signal, libc::SIG_DFL);
            }
            (handler, flags) if flags & libc::SA_SIGINFO != 0 => {
                type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
                std::mem::transmute::<usize, Handler>(handler)(signal, info, context);
            }
            (handler, _) => std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler)(signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_and_know_their_range() {
        // Addresses that no map has.
        let first = Watch::over(1 << 60, 5000);
        let other = Watch::over(1 << 61, 4096);
        assert!(first.0.note((1 << 60) + 8191) && !first.0.note((1 << 60) + 8192) && !first.0.note((1 << 60) - 1));
        assert!(first.0.note((1 << 60) + 70));
        assert_eq!((first.fault(), other.fault()), (Some(70), None));
        let slot = std::ptr::from_ref(first.0);
        drop(first);
        let again: Vec<Watch> = (0..64).map(|_| Watch::over(1 << 62, 1)).collect();
        let reused = again.iter().find(|watch| std::ptr::eq(watch.0, slot));
        assert_eq!(reused.map(Watch::fault), Some(None));
    }
}
