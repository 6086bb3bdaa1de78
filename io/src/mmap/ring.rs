//! Many direct reads at once (io_uring): one thread keeps the disk busy and sleeps in between; threads of the kernel begin the requests.
//!
//! A transfer is a block and the parts of a file that are read into it, in requests of a megabyte, as many in flight as keep a
//! disk busy. Buffers are not registered with the kernel: that takes memory that the system lets an ordinary user lock
//! (8 MiB by default), and saves little beside requests of this size.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};

use super::Block;

/// Bytes of a request: large enough that its latency is small beside its transfer.
const REQUEST_BYTES: usize = 1 << 20;
/// What direct reads come in: one that ends elsewhere met the end of the file.
const SECTOR: usize = 512;
/// Requests in flight.
const DEPTH: usize = 8;

/// A part of a file, whole pages, and where in a block it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The part of the file, whole pages.
    pub file: Range<u64>,
    /// The bytes of it that must exist: the last page may end early, where the file does.
    pub needed: usize,
    /// Where in the block it begins.
    pub at: usize,
}

/// A part of a file that could not be read.
#[derive(Debug)]
pub struct Failure {
    /// First byte that is missing.
    pub offset: u64,
    /// Why; an unexpected end of file when it ends before.
    pub source: io::Error,
}

/// Transfers on their way.
pub struct Ring {
    ring: IoUring,
    transfers: HashMap<usize, Transfer>,
    /// Requests to be made.
    waiting: VecDeque<Request>,
    /// Requests in flight, by the number that the kernel gives back.
    flying: Vec<Option<Request>>,
    in_flight: usize,
}

struct Transfer {
    file: Arc<File>,
    /// Nobody else has it, so nobody looks while the kernel writes.
    block: Arc<Block>,
    start: *mut u8,
    /// Requests that are not done.
    left: usize,
    outcome: Result<(), Failure>,
}

struct Request {
    key: usize,
    offset: u64,
    at: usize,
    length: usize,
    /// Bytes of it that must exist.
    needed: usize,
}

impl Ring {
    /// A ring; none where the kernel does not allow it.
    pub fn new() -> Option<Ring> {
        let ring = IoUring::new(DEPTH as u32).ok()?;
        let flying = std::iter::repeat_with(|| None).take(DEPTH).collect();
        Some(Ring { ring, transfers: HashMap::new(), waiting: VecDeque::new(), flying, in_flight: 0 })
    }

    /// True when another transfer would keep the disk busier.
    pub fn has_room(&self) -> bool {
        self.in_flight + self.waiting.len() < DEPTH
    }

    /// Begin to read parts of `file` into `block`.
    ///
    /// # Errors
    /// When the block is still in use, or too small.
    pub fn begin(
        &mut self,
        key: usize,
        file: &Arc<File>,
        mut block: Arc<Block>,
        parts: &[Part],
    ) -> Result<(), Failure> {
        let fail =
            |part: &Part, why: &str| Failure { offset: part.file.start, source: io::Error::other(why.to_string()) };
        let (Some(own), Some(first)) = (Arc::get_mut(&mut block), parts.first()) else {
            let offset = parts.first().map_or(0, |part| part.file.start);
            return Err(Failure { offset, source: io::Error::other("a read buffer is still in use") });
        };
        if self.transfers.contains_key(&key) {
            return Err(fail(first, "the grain is being read already"));
        }
        if let Some(part) = parts.iter().find(|part| part.at + part.needed > own.len()) {
            return Err(fail(part, "a read buffer is too small"));
        }
        let start = own.bytes_mut().as_mut_ptr();
        let room = own.len();
        let mut left = 0;
        for part in parts {
            let length = ((part.file.end - part.file.start) as usize).min(room - part.at);
            for done in (0..length).step_by(REQUEST_BYTES) {
                let (offset, at, length) =
                    (part.file.start + done as u64, part.at + done, REQUEST_BYTES.min(length - done));
                let needed = part.needed.saturating_sub(done).min(length);
                self.waiting.push_back(Request { key, offset, at, length, needed });
                left += 1;
            }
        }
        let transfer = Transfer { file: Arc::clone(file), block, start, left, outcome: Ok(()) };
        self.transfers.insert(key, transfer);
        self.launch();
        Ok(())
    }

    /// Wait for a transfer to end: its key, its block, and how it went. None when there is none.
    ///
    /// # Errors
    /// When the kernel does not answer any more; transfers are lost.
    #[allow(clippy::type_complexity)]
    pub fn wait(&mut self) -> io::Result<Option<(usize, Arc<Block>, Result<(), Failure>)>> {
        loop {
            if let Some(&key) = self.transfers.iter().find(|(_, transfer)| transfer.left == 0).map(|(key, _)| key)
                && let Some(transfer) = self.transfers.remove(&key)
            {
                return Ok(Some((key, transfer.block, transfer.outcome)));
            }
            if self.transfers.is_empty() {
                return Ok(None);
            }
            self.launch();
            self.enter()?;
            self.reap();
        }
    }

    /// Hand requests to the kernel, as many as may be in flight.
    fn launch(&mut self) {
        while self.in_flight < DEPTH
            && let Some(slot) = self.flying.iter().position(Option::is_none)
            && let Some(request) = self.waiting.pop_front()
        {
            let Some(transfer) = self.transfers.get(&request.key) else { continue };
            let entry = transfer.entry(&request, slot as u64);
            // SAFETY: the file is open and the memory that the kernel writes to is owned until the request is done: both
            // belong to the transfer, which is given back when none of its requests is in flight, and not dropped before
            // (see `drop`). The block is nobody else's, so no reference to its bytes exists meanwhile, and the request
            // ends inside it (`begin`).
            if unsafe { self.ring.submission().push(&entry) }.is_err() {
                self.waiting.push_front(request);
                return;
            }
            self.flying[slot] = Some(request);
            self.in_flight += 1;
        }
    }

    /// Submit what was handed over and wait until something is done.
    fn enter(&mut self) -> io::Result<()> {
        loop {
            match self.ring.submit_and_wait(usize::from(self.in_flight > 0)) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The queue of answers is full, or memory is short: take what is there.
                Err(e) if matches!(e.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    /// Take in what is done.
    fn reap(&mut self) {
        let done: Vec<(usize, i32)> =
            self.ring.completion().map(|answer| (answer.user_data() as usize, answer.result())).collect();
        for (slot, result) in done {
            let Some(request) = self.flying.get_mut(slot).and_then(Option::take) else { continue };
            self.in_flight -= 1;
            self.account(request, result);
        }
    }

    fn account(&mut self, request: Request, result: i32) {
        let key = request.key;
        let Some(transfer) = self.transfers.get_mut(&key) else { return };
        let failure = match result {
            // Interrupted: once more.
            result if result == -libc::EINTR || result == -libc::EAGAIN => {
                self.waiting.push_front(request);
                return;
            }
            result if result < 0 => Failure { offset: request.offset, source: io::Error::from_raw_os_error(-result) },
            result if result as usize >= request.needed => {
                transfer.left -= 1;
                return;
            }
            result if result == 0 || !(result as usize).is_multiple_of(SECTOR) => {
                Failure { offset: request.offset + result as u64, source: io::ErrorKind::UnexpectedEof.into() }
            }
            // Less than was asked for: the rest once more.
            result => {
                let done = result as usize;
                let rest = Request {
                    offset: request.offset + done as u64,
                    at: request.at + done,
                    length: request.length - done,
                    needed: request.needed - done,
                    ..request
                };
                self.waiting.push_front(rest);
                return;
            }
        };
        // What is still to be asked for is of no use any more.
        transfer.left -= 1;
        // Requests end in any order: what is told is where the file ends, or goes bad, first.
        if transfer.outcome.as_ref().err().is_none_or(|told| failure.offset < told.offset) {
            transfer.outcome = Err(failure);
        }
        let before = self.waiting.len();
        self.waiting.retain(|request| request.key != key);
        transfer.left -= before - self.waiting.len();
    }
}

impl Transfer {
    fn entry(&self, request: &Request, slot: u64) -> squeue::Entry {
        // Inside the block, as `begin` made it so: no overflow.
        let target = self.start.wrapping_add(request.at);
        opcode::Read::new(types::Fd(self.file.as_raw_fd()), target, request.length as u32)
            .offset(request.offset)
            .build()
            // By threads of the kernel: memory that is touched first is cleared there, on other cores, and not while nothing else is asked for.
            .flags(squeue::Flags::ASYNC)
            .user_data(slot)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.waiting.clear();
        while self.in_flight > 0 {
            if self.enter().is_err() {
                // The kernel may still write: the memory is never given back.
                std::mem::forget(std::mem::take(&mut self.transfers));
                return;
            }
            self.reap();
            self.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests;
