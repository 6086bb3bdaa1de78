//! Memory: read-only maps of files, page-aligned blocks to read into, and both as owners of Arrow buffers.
//!
//! The one room of this crate with `unsafe` code, and so of the hints to the system that have no safe form. A tile is a pointer
//! into a map (stage 4), so nothing is copied on the way from the page cache to a kernel; [`Block`] is the other way in, for
//! direct I/O past the page cache.
//!
//! Two things about maps are not in the compiler's hands:
//! - Another process may change the file. A shard is written once, under a temporary name, and never again; its
//!   length and time stamp are compared at the start of every scan ([`Identity`]).
//! - Touching a page that cannot be read raises SIGBUS. [`Map::populate`] therefore asks the kernel to map the pages first
//!   (`MADV_POPULATE_READ`, Linux 5.14), which answers with an error; what fails after that is noted by a signal handler
//!   (`faults`) and becomes an error of [`Map::check`].

mod faults;
pub mod ring;
pub mod strips;

use std::fs::File;
use std::ops::Range;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use arrow::buffer::Buffer;

use crate::error::{Error, Place, Result};

/// Has the kernel begin to write those bytes of a file to the disk, and does not wait for it: a later sync finds little left
/// to do, and the bytes stay in the page cache. A hint; nothing happens where there is no such call.
pub fn start_writeback(file: &File, range: Range<u64>) {
    #[cfg(target_os = "linux")]
    if let (Ok(start), Ok(length)) = (i64::try_from(range.start), i64::try_from(range.end.saturating_sub(range.start)))
    {
        // SAFETY: the call takes no pointers, and the descriptor is open while `file` is borrowed. What it cannot begin, the
        // sync at the end does, and reports.
        unsafe { libc::sync_file_range(file.as_raw_fd(), start, length, libc::SYNC_FILE_RANGE_WRITE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, range);
}

/// Has the allocator keep up to about `bytes` of freed memory for the next use instead of giving it back to the system, which
/// would clear it again: buffers of a few hundred kilobytes come and go thousands of times in a second. Where the allocator is
/// not that of glibc, nothing changes.
pub fn keep_freed(bytes: u64) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        for (parameter, value) in [
            (libc::M_TRIM_THRESHOLD, bytes),
            (libc::M_MMAP_THRESHOLD, KEPT_BUFFER_BYTES.min(bytes)),
            (libc::M_TOP_PAD, GROWTH_BYTES.min(bytes)),
        ] {
            // SAFETY: takes no pointers; the allocator sets one word of its own under its lock.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = bytes;
}

/// Has the allocator give freed memory back to the system now, wherever it lies: small buffers of many threads leave holes that large
/// ones cannot use.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no pointers; the allocator goes through its own heaps under their locks.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// An empty vector with room for so many values, in huge pages where the system has them and the room holds some: a table that is read
/// and written here and there misses the address cache with nearly every access otherwise.
pub fn table<T>(capacity: usize) -> Vec<T> {
    let mut room = Vec::with_capacity(capacity);
    #[cfg(target_os = "linux")]
    {
        let spare = room.spare_capacity_mut();
        let (start, bytes) = (spare.as_mut_ptr().addr(), size_of_val(spare));
        // Whole pages of the room alone.
        let first = start.next_multiple_of(PAGE) - start;
        if let Some(bytes) =
            bytes.checked_sub(first).map(|bytes| bytes / PAGE * PAGE).filter(|&bytes| bytes >= HUGE_PAGE)
        {
            let pages = spare.as_mut_ptr().wrapping_byte_add(first).cast();
            // SAFETY: these are whole pages of memory that `room` owns; the advice changes no byte of them. Advice only: without
            // huge pages all works the same.
            let _ = unsafe { rustix::mm::madvise(pages, bytes, rustix::mm::Advice::LinuxHugepage) };
        }
    }
    room
}

/// True where the kernel reads a map in huge pages when it is told so (Linux 5.18 with transparent huge pages); older ones would read it page by
/// page. A file system whose page cache has no large units (ext4 before 6.16) is read in as large requests, into small pages.
pub fn reads_huge_pages() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (5, 18) && Path::new("/sys/kernel/mm/transparent_hugepage").exists()
}

/// Bytes of a huge page on most machines: smaller tables and blocks have none.
pub const HUGE_PAGE: usize = 2 << 20;

/// Larger buffers get a map of their own, and give it back.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BUFFER_BYTES: i32 = 4 << 20;
/// The heap grows by so much at a time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GROWTH_BYTES: i32 = 1 << 20;

/// Pages of maps and the unit of direct I/O; a multiple of every common sector and page size.
pub const PAGE: usize = 4096;

/// The largest unit in which the page cache holds a file.
const FOLIO_BYTES_MAX: usize = 2 << 20;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Length in bytes.
    pub bytes: u64,
    device: u64,
    inode: u64,
    modified: (i64, i64),
}

impl Identity {
    /// The identity of an open file.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn of(file: &File) -> std::io::Result<Identity> {
        file.metadata().map(|metadata| Identity::from(&metadata))
    }

    /// An error unless the file at `path` is still the one that was opened, unchanged.
    ///
    /// # Errors
    /// [`Error::Data`] when the file vanished or changed.
    pub fn check(&self, path: &Path) -> Result<()> {
        let metadata =
            std::fs::metadata(path).map_err(|source| Error::io(path, "the file vanished while in use", source))?;
        let now = Identity::from(&metadata);
        if now == *self {
            return Ok(());
        }
        let message = if now.bytes < self.bytes {
            format!("the file was truncated while in use: it had {} bytes, now {}", self.bytes, now.bytes)
        } else {
            "the file was changed while in use".to_string()
        };
        Err(Error::data(path, message).help("Run 'gristmill verify' on the dataset, then start again"))
    }
}

/// Extended attribute of a file that its writer has finished: what [`Mark::of`] was then.
const MARK: &str = "user.gristmill.written";

/// What tells whether a file was written to, or copied, since it was finished.
struct Mark(String);

impl Mark {
    fn of(file: &File) -> std::io::Result<Mark> {
        let Identity { bytes, inode, modified: (seconds, nanoseconds), .. } = Identity::of(file)?;
        Ok(Mark(format!("{inode} {bytes} {seconds} {nanoseconds}")))
    }
}

/// Notes that the file is finished. A file system without extended attributes notes nothing: then the file counts as another's.
pub fn mark_finished(file: &File) {
    if let Ok(Mark(mark)) = Mark::of(file) {
        let _ = rustix::fs::fsetxattr(file, MARK, mark.as_bytes(), rustix::fs::XattrFlags::empty());
    }
}

/// Whether the file is the one that was finished, and was not written to since.
pub fn is_as_finished(file: &File) -> bool {
    let mut noted = [0; 128];
    let noted = rustix::fs::fgetxattr(file, MARK, &mut noted).map(|length| &noted[..length]);
    matches!((noted, Mark::of(file)), (Ok(noted), Ok(Mark(mark))) if noted == mark.as_bytes())
}

impl From<&std::fs::Metadata> for Identity {
    fn from(metadata: &std::fs::Metadata) -> Identity {
        Identity {
            bytes: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A whole file, mapped read-only. Costs address space only until pages are populated or touched.
#[derive(Debug)]
pub struct Map {
    path: PathBuf,
    /// Before the pages, so that it ends before they do.
    watch: faults::Watch,
    pages: memmap2::Mmap,
}

impl Map {
    /// Map a file of at least one byte.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses.
    pub fn new(path: &Path, file: &File) -> Result<Map> {
        // SAFETY: the map is read-only, and shards are never written again once they have their name (`durable`);
        // `Identity::check` before each scan and `populate` before first use turn a change by others into an error.
        let pages = unsafe { memmap2::Mmap::map(file) }.map_err(|e| Error::io(path, "cannot map the file", e))?;
        // The kernel's own read-ahead (up to 8 MiB on some disks) would bring in columns and grains that nobody asked for
        // and that the memory budget does not know; `populate` asks for exactly what is wanted. Refusal changes nothing.
        let _ = pages.advise(memmap2::Advice::Random);
        let watch = faults::Watch::over(pages.as_ptr() as usize, pages.len());
        Ok(Map { path: path.to_path_buf(), watch, pages })
    }

    /// Number of bytes mapped.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// True for a map of nothing, which the system does not make.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// From now on, what is missing is read in huge pages where the file system has them: far fewer to ask for, to map and to drop. Advice
    /// only: without them it is read in large requests. What `ask` asks for is not.
    pub fn in_huge_pages(&self) {
        let _ = self.pages.advise(memmap2::Advice::HugePage);
    }

    /// Have the disk begin to read what is missing of a range, in large requests. A hint: nobody waits for it.
    pub fn ask(&self, range: Range<usize>) {
        if !range.is_empty() {
            let _ = self.pages.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        }
    }

    /// Bring the pages of a range in and map them, so that touching them can neither wait nor kill.
    ///
    /// # Errors
    /// [`Error::Data`] with the offset when the file was truncated, [`Error::Io`] when the disk fails.
    pub fn populate(&self, range: Range<usize>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        match self.pages.advise_range(memmap2::Advice::PopulateRead, range.start, range.len()) {
            Ok(()) => Ok(()),
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => self.read_through(range),
            Err(e) => Err(self.fault(&range, &e)),
        }
    }

    /// An error once a page of the map could not be read when it was touched: what was computed from the map since it was
    /// populated may be wrong.
    ///
    /// # Errors
    /// [`Error::Data`] with the offset.
    pub fn check(&self) -> Result<()> {
        match self.watch.fault() {
            None => Ok(()),
            Some(offset) => {
                let at = offset.min(self.len());
                Err(self.fault(&(at..self.len()), &rustix::io::Errno::IO.into()))
            }
        }
    }

    /// For kernels without MADV_POPULATE_READ: read the range once through the page cache.
    fn read_through(&self, range: Range<usize>) -> Result<()> {
        let file = File::open(&self.path).map_err(|e| Error::io(&self.path, "the file vanished while in use", e))?;
        let mut scratch = vec![0; range.len().min(1 << 20)];
        let mut at = range.start;
        while at < range.end {
            let part = &mut scratch[..(range.end - at).min(1 << 20)];
            file.read_exact_at(part, at as u64).map_err(|e| self.fault(&(at..range.end), &e))?;
            at += part.len();
        }
        Ok(())
    }

    /// Why pages of `range` could not be had.
    fn fault(&self, range: &Range<usize>, source: &std::io::Error) -> Error {
        match std::fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() < range.end as u64 => {
                let message =
                    format!("the file was truncated while in use: it had {} bytes, now {}", self.len(), metadata.len());
                Error::data(&self.path, message).at(Place::Offset(metadata.len().max(range.start as u64)))
            }
            Ok(_) => {
                let message = format!("cannot read {} bytes: {source}", range.len());
                Error::data(&self.path, message)
                    .at(Place::Offset(range.start as u64))
                    .help("The disk may be failing; run 'gristmill verify' on the dataset")
            }
            Err(e) => Error::io(&self.path, "the file vanished while in use", e),
        }
    }

    /// Unmap the pages of a range and drop them from the page cache. A hint: what cannot be dropped stays.
    ///
    /// The first page goes even if it is shared with what lies before (in file order, that has been used already); the
    /// last one stays if it is shared with what follows.
    pub fn evict(&self, range: Range<usize>) {
        let start = range.start / PAGE * PAGE;
        let end = if range.end == self.len() { range.end } else { range.end / PAGE * PAGE };
        if start >= end {
            return;
        }
        // SAFETY: a read-only map of a file that nobody writes: pages dropped here come back from the file with the
        // same bytes when they are touched again, so even a live reference into the range stays valid.
        let _ = unsafe { self.pages.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
        // The cache holds pages in folios of up to 2 MiB, and drops whole ones only: those at the edge were left by the
        // range before. Going back over them is harmless, as pages that are mapped (in use, or staying) are not dropped.
        let back = start.saturating_sub(FOLIO_BYTES_MAX);
        let length = std::num::NonZeroU64::new((range.end - back) as u64);
        if let Ok(file) = File::open(&self.path) {
            let _ = rustix::fs::fadvise(&file, back as u64, length, rustix::fs::Advice::DontNeed);
        }
    }

    /// The whole map as an Arrow buffer that keeps it alive (no copy).
    pub fn buffer(self: &Arc<Map>) -> Buffer {
        let bytes: &[u8] = &self.pages;
        // SAFETY: pointer and length are those of a live slice; the buffer's owner keeps the map, which never moves
        // its pages, until the last slice of the buffer is dropped. The bytes are never written through it.
        unsafe { Buffer::from_custom_allocation(NonNull::from(bytes).cast(), bytes.len(), Arc::clone(self) as _) }
    }
}

/// Page-aligned memory to read into: the target of direct I/O. All of a map, or a part of one that nobody else has.
#[derive(Debug)]
pub struct Block {
    /// Keeps the memory.
    map: Arc<memmap2::MmapMut>,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the bytes belong to the block alone (see `Block::cut`), and the map may be dropped by any thread.
unsafe impl Send for Block {}
// SAFETY: through a shared block its bytes can be read only, and nobody else has them.
unsafe impl Sync for Block {}

impl Block {
    /// A block of at least `bytes` bytes, a whole number of pages, zeroed.
    ///
    /// # Errors
    /// [`Error::Memory`] when the system has no such memory.
    pub fn new(bytes: usize) -> Result<Block> {
        let bytes = bytes.max(1).next_multiple_of(PAGE);
        let mut map =
            memmap2::MmapMut::map_anon(bytes).map_err(|source| Error::Memory { bytes: bytes as u64, source })?;
        let start = NonNull::from(&mut map[..]).cast();
        Ok(Block { map: Arc::new(map), start, bytes })
    }

    /// A block that stays or is used again: in huge pages where the system has them, for fewer misses of the address cache. A disk of a
    /// virtual machine fills them half as fast again as small ones (docs/speed.md).
    ///
    /// # Errors
    /// As [`Block::new`].
    pub fn for_long(bytes: usize) -> Result<Block> {
        let block = Block::new(bytes)?;
        // Advice only: without huge pages all works the same.
        let _ = block.map.advise(memmap2::Advice::HugePage);
        Ok(block)
    }

    /// Cut the first so many bytes off, whole pages; none when it has fewer.
    pub fn cut(&mut self, bytes: usize) -> Option<Block> {
        let bytes = bytes.max(1).checked_next_multiple_of(PAGE).filter(|bytes| *bytes <= self.bytes)?;
        let first = Block { map: Arc::clone(&self.map), start: self.start, bytes };
        // SAFETY: at most `self.bytes` further on, so inside the map or at its end. From here on the bytes before belong to `first` alone.
        self.start = unsafe { self.start.add(bytes) };
        self.bytes -= bytes;
        Some(first)
    }

    /// Its bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: bytes of a live map, zeroed when it was made, that no other block has.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// True for a block that was cut to its end.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The block as an Arrow buffer that keeps it alive (no copy). It can be written again once all such buffers are
    /// gone (`Arc::get_mut`).
    pub fn buffer(self: &Arc<Block>) -> Buffer {
        // SAFETY: pointer and length are those of live memory; the buffer's owner keeps the block alive, and while
        // it does, the block cannot be borrowed mutably (that takes the only `Arc`).
        unsafe { Buffer::from_custom_allocation(self.start, self.bytes, Arc::clone(self) as _) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_a_vector_of_any_size() {
        for capacity in [0, 1, 1_000, HUGE_PAGE / 8 + 1_000, 3 * HUGE_PAGE] {
            let mut numbers: Vec<u64> = table(capacity);
            assert!(numbers.is_empty() && numbers.capacity() >= capacity);
            numbers.extend(0..capacity as u64);
            assert!(numbers.iter().zip(0..).all(|(own, number)| *own == number));
            numbers.push(7);
            assert_eq!(numbers[capacity], 7);
        }
    }

    /// No fault of the request: other ranks, and other times, have that memory.
    #[test]
    fn memory_that_the_system_does_not_give_is_no_wrong_request() {
        let Err(error) = Block::new(1 << 60) else { panic!("nobody has so much memory") };
        assert!(matches!(error, Error::Memory { bytes, .. } if bytes == 1 << 60), "{error:?}");
        let told = error.to_string();
        assert!(
            told.contains("cannot allocate a read buffer of 1048576.0 TiB") && told.contains("Lower --memory"),
            "{told}"
        );
    }

    #[test]
    fn a_file_that_the_disk_was_told_of_is_whole() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut file = File::create(&path).unwrap();
        file.write_all(&[5; 10_000]).unwrap();
        start_writeback(&file, 0..10_000);
        // A range that is not there is no fault either.
        start_writeback(&file, 20_000..30_000);
        file.sync_data().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [5; 10_000]);
    }
}
