//! Many direct reads at once (io_uring): one thread keeps the disk busy and sleeps in between.
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
const DEPTH: usize = 16;

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
        if transfer.outcome.is_ok() {
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
mod tests {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};

    use super::super::PAGE;
    use super::*;

    /// A file of numbered words, and a ring; none where the kernel has none.
    fn file(bytes: usize) -> (tempfile::TempDir, Arc<File>, Option<Ring>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..bytes.div_ceil(4) as u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &content[..bytes]).unwrap();
        let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
        let direct = File::options().read(true).custom_flags(flags).open(&path);
        let ring = Ring::new();
        if ring.is_none() {
            eprintln!("skipped: the kernel has no io_uring here");
        }
        (folder, Arc::new(direct.or_else(|_| File::open(&path)).unwrap()), ring)
    }

    fn part(file: Range<u64>, end: u64, at: usize) -> Part {
        Part { needed: (end.min(file.end) - file.start) as usize, file, at }
    }

    #[test]
    fn parts_of_many_transfers_arrive_where_they_belong() {
        let bytes = (9 << 20) + 12_345;
        let (_folder, file, Some(mut ring)) = file(bytes) else { return };
        let (page, end) = (PAGE as u64, bytes as u64);
        let last = end.next_multiple_of(page);
        let mut begun = 0;
        let plans: Vec<Vec<Part>> = (0..7_u64)
            .map(|key| {
                let first = part(key * page..(key + 300) * page, end, 0);
                let second = part(last - (key + 1) * page..last, end, 300 * PAGE);
                vec![first, second]
            })
            .collect();
        let mut seen = Vec::new();
        while seen.len() < plans.len() {
            while begun < plans.len() && ring.has_room() {
                let block = Arc::new(Block::new(400 * PAGE).unwrap());
                ring.begin(begun, &file, block, &plans[begun]).unwrap();
                begun += 1;
            }
            let (key, block, outcome) = ring.wait().unwrap().expect("a transfer");
            outcome.unwrap();
            let found = block.buffer();
            for part in &plans[key] {
                let mut expected = vec![0; part.needed];
                let plain = File::open(_folder.path().join("file")).unwrap();
                plain.read_exact_at(&mut expected, part.file.start).unwrap();
                assert!(found[part.at..part.at + part.needed] == expected[..], "transfer {key}");
            }
            seen.push(key);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..7).collect::<Vec<_>>());
        assert!(ring.wait().unwrap().is_none());
    }

    #[test]
    fn an_early_end_and_a_bad_file_are_told() {
        let (_folder, file, Some(mut ring)) = file(3 << 20) else { return };
        let block = || Arc::new(Block::new(8 << 20).unwrap());
        let range = (2 << 20)..(6 << 20);
        ring.begin(1, &file, block(), &[part(range, 6 << 20, 0)]).unwrap();
        let (_, block_back, outcome) = ring.wait().unwrap().expect("a transfer");
        let failure = outcome.unwrap_err();
        assert_eq!((failure.source.kind(), failure.offset), (io::ErrorKind::UnexpectedEof, 3 << 20));
        // A folder is no file to read.
        let folder = Arc::new(File::open(_folder.path()).unwrap());
        ring.begin(2, &folder, block_back, &[part(0..4096, 4096, 0)]).unwrap();
        let failure = ring.wait().unwrap().expect("a transfer").2.unwrap_err();
        assert_eq!(failure.source.raw_os_error(), Some(libc::EISDIR));
        // A block that somebody looks at, and one that is too small.
        let shared = block();
        let other = Arc::clone(&shared);
        assert!(ring.begin(3, &file, shared, &[part(0..4096, 4096, 0)]).is_err());
        assert!(ring.begin(4, &file, other, &[part(0..(9 << 20), 9 << 20, 0)]).is_err());
    }

    #[test]
    fn a_ring_that_goes_away_waits_for_what_is_in_flight() {
        let (_folder, file, Some(mut ring)) = file(8 << 20) else { return };
        let block = Arc::new(Block::new(8 << 20).unwrap());
        ring.begin(0, &file, block, &[part(0..(8 << 20), 8 << 20, 0)]).unwrap();
        ring.enter().unwrap();
        drop(ring);
    }
}
