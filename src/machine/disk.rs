//! Sequential disk bandwidth of a folder: reads past the page cache with several requests in flight.
//!
//! A scratch file is made in the folder and unlinked before its first byte is written, so that it is gone whatever
//! happens; then several threads read it in turn, one request of `REQUEST` bytes each at a time. Files are opened
//! with O_DIRECT; a file system that has none (tmpfs, some network file systems) is read through the page cache after
//! it was told to forget the file, and the report says so.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gristmill_io::mmap::{self, HUGE_PAGE};
use gristmill_io::watch::Cancel;
use rustix::fs::{Advice, OFlags};
use serde::{Deserialize, Serialize};

/// Bytes of one request: large enough that its latency is small beside its transfer.
const REQUEST: usize = 1 << 20;

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskTest {
    /// The folder whose disk is measured.
    pub folder: PathBuf,
    /// Size of the scratch file; rounded up to whole requests.
    pub bytes: u64,
    /// Requests in flight, at least 1.
    pub requests: usize,
}

impl DiskTest {
    /// A file of `bytes` in `folder`, read with eight requests in flight.
    pub fn new(folder: impl Into<PathBuf>, bytes: u64) -> DiskTest {
        DiskTest { folder: folder.into(), bytes, requests: 8 }
    }
}

/// Sequential disk bandwidth, bytes a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskBandwidth {
    /// The folder whose disk was measured.
    pub folder: PathBuf,
    /// Bytes written, then read.
    pub bytes: u64,
    /// Requests in flight.
    pub requests: usize,
    /// True when the page cache was bypassed; otherwise `read` may be the speed of memory.
    pub direct: bool,
    /// Bytes a second of reading.
    pub read: f64,
    /// Bytes a second of writing, sync included.
    pub write: f64,
}

/// Measures; the error is the system's own, with the folder and what to do about it, also when `cancel` ends it early.
pub fn measure(test: &DiskTest, cancel: &Cancel) -> io::Result<DiskBandwidth> {
    let requests = test.requests.max(1);
    let count = test.bytes.div_ceil(REQUEST as u64).max(1);
    let bytes = count * REQUEST as u64;
    let explain = |doing: &str, error: io::Error| {
        let advice = "choose a folder that can be written and has that much free space";
        io::Error::new(error.kind(), format!("{}: {doing} {bytes} bytes: {error}; {advice}", test.folder.display()))
    };
    let (file, direct) = scratch_file(&test.folder).map_err(|error| explain("opening a scratch file of", error))?;
    let watched = |done: io::Result<()>| if cancel.requested() { Err(io::ErrorKind::Interrupted.into()) } else { done };
    let put = |buffer: &mut [u8], at: u64| watched(file.write_all_at(buffer, at));
    let get = |buffer: &mut [u8], at: u64| watched(file.read_exact_at(buffer, at));
    let write =
        timed(bytes, || in_flight(requests, count, put, Some(&file))).map_err(|error| explain("writing", error))?;
    // Advice only: a system that does not take it still reads.
    let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
    let read = timed(bytes, || in_flight(requests, count, get, None)).map_err(|error| explain("reading", error))?;
    Ok(DiskBandwidth { folder: test.folder.clone(), bytes, requests, direct, read, write })
}

/// How long [`read_rate`] reads.
const SAMPLE_TIME: Duration = Duration::from_millis(300);

/// Bytes a second of direct reads of these files, in order from the middle of them on, eight requests in flight, for at most
/// `SAMPLE_TIME`; none where the file system has no direct I/O or the files cannot be read.
pub fn read_rate(files: &[PathBuf]) -> Option<f64> {
    let mut requests = Vec::new();
    for (number, path) in files.iter().enumerate() {
        let whole = std::fs::metadata(path).ok()?.len() / REQUEST as u64;
        requests.extend((0..whole).map(|request| (number, request * REQUEST as u64)));
    }
    let middle = requests.len() / 2;
    requests.rotate_left(middle);
    let direct = |path: &PathBuf| {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path).ok()
    };
    // Those alone that can be reached in the time: a data set may have more files than a process may open.
    let most = (SAMPLE_TIME.as_secs_f64() * 64e9 / REQUEST as f64) as usize;
    requests.truncate(most);
    let mut open: Vec<Option<File>> = Vec::new();
    open.resize_with(files.len(), || None);
    for &(number, _) in &requests {
        if open[number].is_none() {
            open[number] = Some(direct(&files[number])?);
        }
    }
    let (start, read) = (Instant::now(), AtomicU64::new(0));
    let one = |buffer: &mut [u8], at: u64| {
        let (number, offset) = requests[(at / REQUEST as u64) as usize];
        if start.elapsed() < SAMPLE_TIME
            && let Some(file) = &open[number]
        {
            file.read_exact_at(buffer, offset)?;
            read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    };
    in_flight(8, requests.len() as u64, one, None).ok()?;
    let bytes = read.load(Ordering::Relaxed);
    (bytes > 0).then(|| bytes as f64 / start.elapsed().as_secs_f64().max(1e-9))
}

fn timed(bytes: u64, work: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(bytes as f64 / start.elapsed().as_secs_f64().max(1e-9))
}

/// An open file without a name, and whether it bypasses the page cache.
fn scratch_file(folder: &Path) -> io::Result<(File, bool)> {
    let path = folder.join(format!(".gristmill-disk-test-{}", std::process::id()));
    let open = |flags: OFlags| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600).custom_flags(flags.bits().cast_signed());
        options.open(&path)
    };
    // A file system without O_DIRECT may leave the name behind when it refuses.
    let opened = open(OFlags::DIRECT).map(|file| (file, true)).or_else(|error| {
        if error.kind() != io::ErrorKind::InvalidInput {
            return Err(error);
        }
        let _ = std::fs::remove_file(&path);
        open(OFlags::empty()).map(|file| (file, false))
    })?;
    std::fs::remove_file(&path)?;
    Ok(opened)
}

/// Hands `count` requests, in file order, to `requests` threads; then syncs the file if one is given.
fn in_flight(
    requests: usize,
    count: u64,
    request: impl Fn(&mut [u8], u64) -> io::Result<()> + Sync,
    sync: Option<&File>,
) -> io::Result<()> {
    let next = AtomicU64::new(0);
    // In huge pages, which some disks fill faster: so do the streams.
    let bytes = requests * REQUEST + HUGE_PAGE;
    let mut memory = mmap::table::<u8>(bytes);
    memory.resize(bytes, 0);
    let start = memory.as_ptr().align_offset(HUGE_PAGE);
    let worker = |buffer: &mut [u8]| -> io::Result<()> {
        fill(buffer);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            request(buffer, number * REQUEST as u64)?;
        }
    };
    std::thread::scope(|scope| {
        let buffers = memory[start..].chunks_exact_mut(REQUEST).take(requests);
        let workers: Vec<_> = buffers.map(|buffer| scope.spawn(|| worker(buffer))).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, io::Result<()>>| {
            worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker died")))
        };
        // Every worker is waited for; the first error is the answer.
        let results: Vec<io::Result<()>> = workers.into_iter().map(join).collect();
        results.into_iter().collect::<io::Result<()>>()
    })?;
    sync.map_or(Ok(()), File::sync_data)
}

/// Bytes that no disk or file system can compress (splitmix64).
fn fill(buffer: &mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for word in buffer.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word.copy_from_slice(&(mixed ^ (mixed >> 27)).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let found = measure(&DiskTest::new(folder.path(), (3 << 20) + 1), &Cancel::new()).unwrap();
        assert_eq!(found.bytes, 4 << 20);
        assert!(found.read > 1e5 && found.write > 1e5, "{found:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = measure(&DiskTest::new(&missing, 1), &Cancel::new()).unwrap_err();
        assert!(error.to_string().contains("missing") && error.to_string().contains("choose a folder"), "{error}");
    }

    #[test]
    fn it_ends_when_asked_to() {
        let folder = tempfile::tempdir().unwrap();
        let cancel = Cancel::new();
        cancel.request();
        let error = measure(&DiskTest::new(folder.path(), 1 << 50), &cancel).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn files_are_read_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = (0..3).map(|number| folder.path().join(number.to_string())).collect();
        files.iter().for_each(|path| std::fs::write(path, vec![1; (2 << 20) + 5]).unwrap());
        if let Some(rate) = read_rate(&files) {
            assert!(rate > 1e5, "{rate}");
        }
        assert_eq!(read_rate(&[folder.path().join("missing")]), None);
        assert_eq!(read_rate(&[]), None);
    }

    #[test]
    fn the_first_failed_request_stops_with_its_error() {
        let error = in_flight(3, 100, |_, at| if at == 0 { Err(io::Error::other("bad sector")) } else { Ok(()) }, None);
        assert_eq!(error.unwrap_err().to_string(), "bad sector");
    }
}
