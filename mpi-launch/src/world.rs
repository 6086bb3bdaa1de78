//! Ranks started by mpirun or srun: a [`Transport`] over MPI (crate `mpi`, any library it builds against).
//!
//! Messages are `MPI_Isend` and `MPI_Irecv` on a duplicate of the world communicator, so that they cannot meet anyone
//! else's. This file talks to the C interface, because the safe one ties a request to a scope on the stack, and an
//! exchange here lives on while the scan goes on; in return the memory of a request is kept alive in `State` until MPI
//! says that the request is complete. One lock serialises all calls (thread level MPI_THREAD_SERIALIZED).

mod lease;
mod nodes;

use std::ffi::{c_char, c_int, c_void};
use std::mem::{MaybeUninit, forget};
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mpi::Threading;
use mpi::environment::{Universe, initialize_with_threading, library_version};
use mpi::ffi;

use crate::algorithm::Settings;
use crate::communicator::{CommError, Result};
use crate::group::Group;
use crate::transport::{Patience, Pool, Tag, Transport};
use crate::window::{Copied, Lent};
use lease::{Lease, Leased};

/// What a rank that aborts the job has printed reaches the launcher in this time.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// All ranks of the launcher's job. MPI is initialised here, once per process, and finalised when the group is dropped,
/// which waits for the other ranks: after a failure call [`crate::Communicator::abort`] instead.
///
/// # Errors
/// [`CommError::Launch`] when MPI was initialised before or cannot be called from several threads in turn.
pub fn world(settings: Settings) -> Result<Group<World>> {
    Ok(Group::new(World::new(settings.patience)?, settings))
}

/// The MPI library's name and version, on one line. It can be asked for without initialising MPI.
#[must_use]
pub fn library() -> String {
    let text = library_version().unwrap_or_default();
    let line = text.lines().next().unwrap_or_default().replace('\0', "");
    // MPICH aligns its lines with tabs.
    line.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches(',').to_string()
}

/// This rank's end of MPI.
pub struct World {
    rank: usize,
    size: usize,
    /// Of each rank the least rank on its node.
    nodes: Vec<usize>,
    patience: Patience,
    /// That of the state, which is asked for between any two polls.
    completed: Arc<AtomicU64>,
    state: Mutex<State>,
}

/// Everything that MPI reads or writes; reached under the lock only.
struct State {
    comm: ffi::MPI_Comm,
    /// Posted receives, in the order they were posted, which is the order MPI matches those of a stream in. A few lanes' worth:
    /// looked through faster than hashed.
    incoming: Vec<Posted>,
    outgoing: Vec<Leaving>,
    pool: Pool,
    /// Requests completed.
    completed: Arc<AtomicU64>,
    /// Whether an exchange failed: the ranks are then no longer at the same step and MPI cannot be finalised.
    failed: bool,
    /// Finalises MPI when dropped, after `State::drop`.
    _universe: Universe,
}

// SAFETY: MPI's handles are plain numbers or pointers to objects of the library, which may be used from any thread as
// long as calls do not overlap (thread level SERIALIZED, checked in `World::new`); the mutex sees to that.
unsafe impl Send for State {}

struct Posted {
    request: ffi::MPI_Request,
    from: usize,
    tag: Tag,
    memory: Memory,
}

struct Leaving {
    request: ffi::MPI_Request,
    to: usize,
    tag: Tag,
    memory: Memory,
}

/// What a request reads or writes, kept alive by the request.
enum Memory {
    Message(Vec<u8>),
    Part(Arc<Lease>, Range<usize>),
}

impl Memory {
    fn bytes(&self) -> usize {
        match self {
            Self::Message(message) => message.len(),
            Self::Part(_, range) => range.len() * size_of::<i64>(),
        }
    }

    /// Where it starts; the heap memory does not move when `self` does.
    fn address(&mut self) -> *mut c_void {
        match self {
            Self::Message(message) => message.as_mut_ptr().cast(),
            Self::Part(lease, range) => lease.address(range).cast(),
        }
    }

    fn overlaps(&self, other: &Arc<Lease>, part: &Range<usize>) -> bool {
        match self {
            Self::Message(_) => false,
            Self::Part(lease, range) => Arc::ptr_eq(lease, other) && range.start < part.end && part.start < range.end,
        }
    }
}

impl World {
    fn new(patience: Option<Duration>) -> Result<Self> {
        let launch = |message: &str| CommError::Launch(message.to_string());
        let (universe, provided) =
            initialize_with_threading(Threading::Serialized).ok_or_else(|| launch("MPI was initialised twice"))?;
        if provided < Threading::Serialized {
            let wanted = "this MPI library cannot be called from several threads (MPI_THREAD_SERIALIZED); \
                          use a build of it that can";
            return Err(launch(wanted));
        }
        let (mut comm, mut rank, mut size) = (MaybeUninit::uninit(), 0, 0);
        // SAFETY: MPI is initialised, the output pointers are valid, and `comm` is written before it is read; an error
        // of these calls ends the process, as the world communicator has MPI's default error handler.
        let comm = unsafe {
            ffi::MPI_Comm_dup(ffi::RSMPI_COMM_WORLD, comm.as_mut_ptr());
            let comm = comm.assume_init();
            ffi::MPI_Comm_set_errhandler(comm, ffi::RSMPI_ERRORS_RETURN);
            // MPICH takes the world's handler for a request that failed, which belongs to no communicator any more.
            ffi::MPI_Comm_set_errhandler(ffi::RSMPI_COMM_WORLD, ffi::RSMPI_ERRORS_RETURN);
            ffi::MPI_Comm_rank(comm, &raw mut rank);
            ffi::MPI_Comm_size(comm, &raw mut size);
            comm
        };
        let completed = Arc::new(AtomicU64::new(0));
        let state = State {
            comm,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            pool: Pool::default(),
            completed: completed.clone(),
            failed: false,
            _universe: universe,
        };
        let count = |number: c_int| usize::try_from(number).map_err(|_| launch("MPI gave a negative rank or size"));
        let (own, size) = (count(rank)?, count(size)?);
        let nodes = nodes::of(comm, rank, size);
        let patience = Patience::new(patience);
        Ok(Self { rank: own, size, nodes, patience, completed, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic inside leaves requests and buffers together in their queues; they stay valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A count or rank as MPI takes it.
fn int(number: usize) -> Result<c_int> {
    let too_large = |_| CommError::Launch(format!("{number} is more than MPI can count in one message"));
    c_int::try_from(number).map_err(too_large)
}

/// MPI's own words for an error code.
fn describe(code: c_int) -> String {
    let mut text = [0_u8; 4096];
    let mut length = 0;
    // SAFETY: the text has room for MPI_MAX_ERROR_STRING bytes (at most 1,024 in the libraries known), and MPI writes
    // no more; the length is a valid pointer.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast::<c_char>(), &raw mut length) };
    let length = usize::try_from(length).unwrap_or(0).min(text.len());
    String::from_utf8_lossy(&text[..length]).into_owned()
}

impl State {
    /// An error when `code` is one; from then on this rank is out of step.
    fn check(&mut self, code: c_int, rank: usize) -> Result<()> {
        if code == ffi::MPI_SUCCESS as c_int {
            return Ok(());
        }
        self.failed = true;
        Err(CommError::Lost { rank, doing: String::new(), detail: describe(code) })
    }

    /// Completes a receive if it can be: the number of bytes that came, or `None`.
    fn test_receive(&mut self, place: usize) -> Result<Option<usize>> {
        let posted = &mut self.incoming[place];
        let (mut flag, mut status) = (0, MaybeUninit::uninit());
        // SAFETY: the request is live, and its memory stays in `incoming` until MPI has completed it.
        let code = unsafe { ffi::MPI_Test(&raw mut posted.request, &raw mut flag, status.as_mut_ptr()) };
        if code != ffi::MPI_SUCCESS as c_int {
            let mut class = 0;
            // SAFETY: `class` is a valid pointer.
            unsafe { ffi::MPI_Error_class(code, &raw mut class) };
            self.failed = true;
            let (rank, expected, doing) = (posted.from, posted.memory.bytes(), String::new());
            return Err(if class == ffi::MPI_ERR_TRUNCATE as c_int {
                CommError::Mismatch { rank, doing, expected, found: "more".to_string() }
            } else {
                CommError::Lost { rank, doing, detail: describe(code) }
            });
        }
        if flag == 0 {
            return Ok(None);
        }
        let mut count = 0;
        // SAFETY: a completed MPI_Test has written the status.
        unsafe { ffi::MPI_Get_count(status.as_ptr(), ffi::RSMPI_UINT8_T, &raw mut count) };
        self.completed.fetch_add(1, Ordering::Relaxed);
        Ok(Some(usize::try_from(count).unwrap_or(0)))
    }

    /// Completes the sends that can be.
    fn reap(&mut self) -> Result<()> {
        let mut index = 0;
        while index < self.outgoing.len() {
            let leaving = &mut self.outgoing[index];
            let mut flag = 0;
            // SAFETY: the request is live, and its memory stays in `outgoing` until MPI has completed it.
            let code = unsafe { ffi::MPI_Test(&raw mut leaving.request, &raw mut flag, ffi::RSMPI_STATUS_IGNORE) };
            let to = leaving.to;
            self.check(code, to)?;
            if flag == 0 {
                index += 1;
            } else {
                let done = self.outgoing.swap_remove(index);
                if let Memory::Message(buffer) = done.memory {
                    self.pool.give(buffer);
                }
                self.completed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn begin_send(&mut self, to: usize, tag: Tag, mut memory: Memory) -> Result<()> {
        let (count, peer, label) = (int(memory.bytes())?, int(to)?, int(tag.number() as usize)?);
        let mut request = MaybeUninit::uninit();
        let data = memory.address();
        // SAFETY: the memory has `count` bytes; it is kept in `outgoing`, and not written to, until the request is
        // complete.
        let code =
            unsafe { ffi::MPI_Isend(data, count, ffi::RSMPI_UINT8_T, peer, label, self.comm, request.as_mut_ptr()) };
        self.check(code, to)?;
        // SAFETY: MPI_Isend succeeded, so it has written the request.
        let request = unsafe { request.assume_init() };
        self.outgoing.push(Leaving { request, to, tag, memory });
        Ok(())
    }

    fn begin_receive(&mut self, from: usize, tag: Tag, mut memory: Memory) -> Result<()> {
        let (count, peer, label) = (int(memory.bytes())?, int(from)?, int(tag.number() as usize)?);
        let mut request = MaybeUninit::uninit();
        let data = memory.address();
        // SAFETY: the memory has `count` bytes; it is kept in `incoming`, and not looked at, until the request is
        // complete.
        let code =
            unsafe { ffi::MPI_Irecv(data, count, ffi::RSMPI_UINT8_T, peer, label, self.comm, request.as_mut_ptr()) };
        self.check(code, from)?;
        // SAFETY: MPI_Irecv succeeded, so it has written the request.
        let request = unsafe { request.assume_init() };
        self.incoming.push(Posted { request, from, tag, memory });
        Ok(())
    }

    /// The memory of the stream's oldest receive, if that is complete.
    fn take_received(&mut self, from: usize, tag: Tag) -> Result<Option<Memory>> {
        let of_stream = |posted: &Posted| posted.from == from && posted.tag == tag;
        let Some(place) = self.incoming.iter().position(of_stream) else { return Ok(None) };
        let Some(found) = self.test_receive(place)? else { return Ok(None) };
        let posted = self.incoming.remove(place);
        let expected = posted.memory.bytes();
        if found != expected {
            self.failed = true;
            let found = found.to_string();
            return Err(CommError::Mismatch { rank: from, doing: String::new(), expected, found });
        }
        Ok(Some(posted.memory))
    }

    /// Whether a part is being sent.
    fn sends(&self, lease: &Arc<Lease>, part: &Range<usize>) -> bool {
        self.outgoing.iter().any(|leaving| leaving.memory.overlaps(lease, part))
    }

    /// Whether a part is being received.
    fn receives(&self, lease: &Arc<Lease>, part: &Range<usize>) -> bool {
        self.incoming.iter().any(|posted| posted.memory.overlaps(lease, part))
    }
}

impl Transport for World {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn nodes(&self) -> Vec<usize> {
        self.nodes.clone()
    }

    fn send(&self, to: usize, tag: Tag, message: Vec<u8>) -> Result<()> {
        self.state().begin_send(to, tag, Memory::Message(message))
    }

    fn expect(&self, from: usize, tag: Tag, bytes: usize) -> Result<()> {
        let mut state = self.state();
        let message = state.pool.take(bytes);
        state.begin_receive(from, tag, Memory::Message(message))
    }

    fn swap(&self, with: usize, tag: Tag, message: Vec<u8>) -> Result<()> {
        let mut state = self.state();
        let room = state.pool.take(message.len());
        state.begin_receive(with, tag, Memory::Message(room))?;
        state.begin_send(with, tag, Memory::Message(message))
    }

    fn poll(&self, from: usize, tag: Tag) -> Result<Option<Vec<u8>>> {
        Ok(match self.state().take_received(from, tag)? {
            Some(Memory::Message(message)) => Some(message),
            // A part came to its place; the window that expects it asks for it by `arrived`.
            Some(Memory::Part(..)) | None => None,
        })
    }

    fn sent(&self, operation: u32) -> Result<bool> {
        let mut state = self.state();
        state.reap()?;
        Ok(!state.outgoing.iter().any(|leaving| leaving.tag.is_of(operation)))
    }

    fn arrivals(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Spins for some microseconds, the time of a short message; then gives the core away, for ranks may share it; and
    /// sleeps when nothing has moved for long, because the rank awaited may need the core for its scan.
    fn pause(&self, _seen: u64, idle: u32) {
        match idle {
            0..100 => std::hint::spin_loop(),
            100..20_000 => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(50)),
        }
    }

    fn buffer(&self, bytes: usize) -> Vec<u8> {
        self.state().pool.take(bytes)
    }

    fn recycle(&self, buffer: Vec<u8>) {
        let mut state = self.state();
        state.pool.give(buffer);
        // Sends complete in the shadow of receives: their buffers are taken back once in a while.
        if state.outgoing.len() > 2 * Tag::LANES as usize {
            // An error shows again at the next send or at the end of the operation.
            let _shown_later = state.reap();
        }
    }

    fn patience(&self) -> Option<Duration> {
        self.patience.get()
    }

    fn set_patience(&self, patience: Option<Duration>) {
        self.patience.set(patience);
    }

    fn has_native_all_reduce(&self) -> bool {
        true
    }

    fn native_all_reduce(&self, sum: &mut [i64]) -> Option<Result<()>> {
        let mut state = self.state();
        for part in sum.chunks_mut(1 << 30) {
            // SAFETY: `part` is `part.len()` elements of eight bytes that nothing else refers to; MPI_IN_PLACE is the
            // library's own constant. Unsigned addition is defined to wrap, and has the bits of the signed one.
            let code = unsafe {
                let (data, count) = (part.as_mut_ptr().cast(), part.len() as c_int);
                ffi::MPI_Allreduce(in_place(), data, count, ffi::RSMPI_UINT64_T, ffi::RSMPI_SUM, state.comm)
            };
            if code != ffi::MPI_SUCCESS as c_int {
                state.failed = true;
                return Some(Err(CommError::Library { operation: "MPI_Allreduce", message: describe(code) }));
            }
        }
        Some(Ok(()))
    }

    fn lend(&self, values: Vec<i64>) -> Box<dyn Lent + '_> {
        // Messages are little-endian, whichever way they are made.
        if cfg!(target_endian = "little") {
            Box::new(Leased::new(self, values))
        } else {
            Box::new(Copied::new(self, values))
        }
    }

    fn abort(&self, _message: &str, exit_code: i32) {
        // Hydra drops what it has not yet read from the ranks: the message, and that of a rank that fails at the same moment.
        std::thread::sleep(LAST_WORDS);
        let _state = self.state();
        // SAFETY: MPI is initialised until this value is dropped. The call ends this process.
        unsafe { ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, exit_code) };
    }
}

/// `MPI_IN_PLACE`, a macro in C that the crate `mpi` does not carry over: (void *) 1 in Open MPI, whose communicators
/// are pointers, and (void *) -1 in MPICH and the libraries that share its binary interface, where they are integers.
fn in_place() -> *const c_void {
    let open_mpi = size_of::<ffi::MPI_Comm>() == size_of::<*const ()>();
    ptr::without_provenance(if open_mpi { 1 } else { usize::MAX })
}

impl Drop for State {
    fn drop(&mut self) {
        if self.failed || !self.incoming.is_empty() || !self.outgoing.is_empty() || std::thread::panicking() {
            // Finalising would wait for ranks that wait for this one, and open requests would outlive their buffers.
            for posted in std::mem::take(&mut self.incoming) {
                forget(posted.memory);
            }
            for leaving in std::mem::take(&mut self.outgoing) {
                forget(leaving.memory);
            }
            // SAFETY: MPI is initialised. The call ends this process and, by the launcher, the others.
            unsafe { ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, 1) };
        }
        // SAFETY: no request is open, and the handle is not used again.
        unsafe { ffi::MPI_Comm_free(&raw mut self.comm) };
    }
}
