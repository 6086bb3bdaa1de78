//! Text files as a sequence of chunks of whole records (stage 1), decompressed on the way.
//!
//! One thread at a time reads (the lock is inside); a chunk is about `chunk_bytes` long and ends where a record ends, so
//! that chunks can be decoded on their own. A chunk remembers the offset it began at (after decompression), so that the line
//! of a row can be found again when a message needs it, at no cost when none does.
//! gzip (several members, padded with zeros as tapes and block devices do) and zstd (several frames) are recognised by their first bytes.

use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cut::Cutter;
use crate::error::{Error, Place, Result};
use crate::source::files::{Positioned, SourceFile};
use crate::source::{Before, Chunk, Content};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// A zstd frame that asks for a larger window than this is refused: the window is memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How a text file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// By the first bytes of a file.
    pub fn of(head: &[u8]) -> Option<Compression> {
        if head.starts_with(&[0x1f, 0x8b]) {
            Some(Compression::Gzip)
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Compression::Zstd)
        } else {
            None
        }
    }

    fn reader(self, raw: impl Read + Send + 'static) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Compression::Gzip => Box::new(Members::new(BufReader::with_capacity(1 << 18, raw))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(1 << 18, raw))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

/// The members of a gzip file, one after the other; zeros between them and behind the last are padding, as for gzip itself.
struct Members<R: BufRead> {
    member: Option<flate2::bufread::GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    fn new(raw: R) -> Members<R> {
        Members { member: Some(flate2::bufread::GzDecoder::new(raw)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(to)?;
            if count > 0 || to.is_empty() {
                return Ok(count);
            }
            let Some(mut raw) = self.member.take().map(flate2::bufread::GzDecoder::into_inner) else { break };
            while let Some(padding) = padding(raw.fill_buf()?) {
                raw.consume(padding);
            }
            if !raw.fill_buf()?.is_empty() {
                self.member = Some(flate2::bufread::GzDecoder::new(raw));
            }
        }
        Ok(0)
    }
}

/// Zeros at the beginning; none where there are none.
fn padding(bytes: &[u8]) -> Option<usize> {
    Some(bytes.iter().take_while(|byte| **byte == 0).count()).filter(|count| *count > 0)
}

/// The beginning of a text of which only `head`, the first bytes of its file, is at hand.
///
/// # Errors
/// The decompressor's, when not even a beginning can be decompressed.
pub fn plain_head(head: &[u8], bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let Some(compression) = Compression::of(head) else { return Ok(head.to_vec()) };
    let mut reader = compression.reader(std::io::Cursor::new(head.to_vec()))?;
    let mut plain = vec![0; bytes_max];
    let mut length = 0;
    while length < bytes_max {
        match reader.read(&mut plain[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            // The head of a compressed file ends in the middle of a block.
            Err(_) if length > 0 => break,
            Err(error) => return Err(error),
        }
    }
    plain.truncate(length);
    Ok(plain)
}

/// Counts the bytes that were read from the file itself, for progress.
struct Counted {
    file: Positioned,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(to)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Where a chunk came from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    file: u32,
    line: u64,
    offset: u64,
    bytes: u64,
}

/// Where reading stands.
struct State {
    /// Chunks that begin elsewhere are left out.
    span: Range<u64>,
    next_file: usize,
    open: Option<Open>,
    /// Where each chunk handed out came from, by number.
    origins: Vec<Origin>,
}

struct Open {
    file: usize,
    reader: Box<dyn Read + Send>,
    is_compressed: bool,
    count: Arc<AtomicU64>,
    counted: u64,
    /// Read, but not handed out.
    rest: Vec<u8>,
    at_end: bool,
    line: u64,
    offset: u64,
}

/// How text files are cut.
#[derive(Clone, Copy, Debug)]
pub struct Cutting {
    /// What a record is.
    pub cutter: Cutter,
    /// True when the first record of every file holds names.
    pub header: bool,
    /// Bytes of a chunk.
    pub chunk_bytes: usize,
    /// A longer record is an error.
    pub record_bytes_max: usize,
}

/// The first record of a file, its header, is given to this check with the number of its file.
pub type HeaderCheck = Box<dyn Fn(usize, &[u8]) -> Result<()> + Send + Sync>;

/// Text files of one format, in order.
pub struct TextFiles {
    files: Vec<SourceFile>,
    /// Bytes before each file, and of all.
    starts: Vec<u64>,
    cutting: Cutting,
    check: HeaderCheck,
    state: Mutex<State>,
}

impl TextFiles {
    /// Files to be read from the beginning.
    pub fn new(files: Vec<SourceFile>, cutting: Cutting, check: HeaderCheck) -> TextFiles {
        let mut starts = vec![0];
        files.iter().for_each(|file| starts.push(starts[starts.len() - 1] + file.bytes));
        let state = State { span: 0..u64::MAX, next_file: 0, open: None, origins: Vec::new() };
        TextFiles { files, starts, cutting, check, state: Mutex::new(state) }
    }

    /// Hand out only chunks that begin in `span`, from the first of them. A compressed file begins where it begins; where the span
    /// begins inside another file, that is read and cut from its beginning, so that its chunks are the same as ever.
    pub fn narrow(&self, span: Range<u64>) -> Before {
        let rows = (span.start == 0).then_some(0);
        let next_file = self.starts.partition_point(|start| *start <= span.start) - 1;
        *self.lock() = State { span, next_file, open: None, origins: Vec::new() };
        Before { chunk: 0, rows }
    }

    /// The path of a file, by number.
    pub fn path(&self, file: usize) -> &std::path::Path {
        &self.files[file].path
    }

    /// Length of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The next chunk, as [`Content::Text`].
    ///
    /// # Errors
    /// When a file cannot be opened, read or decompressed, or a record is too long.
    pub fn next(&self) -> Result<Option<Chunk>> {
        let mut state = self.lock();
        loop {
            let mut open = match state.open.take() {
                Some(open) => open,
                None if state.next_file == self.files.len() => return Ok(None),
                None if self.starts[state.next_file] >= state.span.end => return Ok(None),
                None => {
                    let file = state.next_file;
                    state.next_file += 1;
                    self.open(file)?
                }
            };
            let at = self.starts[open.file] + if open.is_compressed { 0 } else { open.offset };
            if at >= state.span.end {
                state.next_file = self.files.len();
                return Ok(None);
            }
            let is_before = at < state.span.start;
            if is_before && open.is_compressed {
                continue;
            }
            let Some((line, offset, text)) = self.cut(&mut open)? else { continue };
            if is_before {
                open.counted = open.count.load(Ordering::Relaxed);
                state.open = Some(open);
                continue;
            }
            let number = state.origins.len() as u64;
            state.origins.push(Origin { file: open.file as u32, line, offset, bytes: text.len() as u64 });
            let count = open.count.load(Ordering::Relaxed);
            let bytes = count - std::mem::replace(&mut open.counted, count);
            let file = open.file;
            state.open = Some(open);
            return Ok(Some(Chunk { number, bytes, content: Content::Text { file, line, text } }));
        }
    }

    /// Path and line of row `row` of chunk `number`; `lines_before` counts the lines of a text that stand before a row.
    pub fn place(&self, number: u64, row: u64, lines_before: impl Fn(&[u8], u64) -> u64) -> (PathBuf, Place) {
        let origin = self.lock().origins.get(number as usize).copied();
        let Some(origin) = origin else { return (PathBuf::new(), Place::File) };
        let file = &self.files[origin.file as usize];
        let line = match self.read_again(file, origin) {
            Ok(text) => origin.line + lines_before(&text, row),
            // The file has changed or gone since; a line per row is the best guess left.
            Err(_) => origin.line + row,
        };
        (file.path.clone(), Place::Line(line))
    }

    fn read_again(&self, file: &SourceFile, origin: Origin) -> Result<Vec<u8>> {
        let failed = |error| Error::io(&file.path, "cannot read", error);
        let mut reader = self.reader(file)?.0;
        std::io::copy(&mut (&mut reader).take(origin.offset), &mut std::io::sink()).map_err(failed)?;
        let mut text = Vec::new();
        reader.take(origin.bytes).read_to_end(&mut text).map_err(failed)?;
        Ok(text)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the state half changed: `next` takes the open file out and puts it back when done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader of the plain text (the byte order mark included), the count of what it has read, and whether it decompresses.
    fn reader(&self, file: &SourceFile) -> Result<(Box<dyn Read + Send>, Arc<AtomicU64>, bool)> {
        let head = file.head(4)?;
        let count = Arc::new(AtomicU64::new(0));
        let raw = Counted { file: file.open()?, count: Arc::clone(&count) };
        let compression = Compression::of(&head);
        let reader: Box<dyn Read + Send> = match compression {
            Some(compression) => compression.reader(raw).map_err(|error| cannot_read(file, error))?,
            None => Box::new(raw),
        };
        Ok((reader, count, compression.is_some()))
    }

    fn open(&self, file: usize) -> Result<Open> {
        let (reader, count, is_compressed) = self.reader(&self.files[file])?;
        let (rest, at_end) = (Vec::new(), false);
        let mut open = Open { file, reader, is_compressed, count, counted: 0, rest, at_end, line: 1, offset: 0 };
        self.fill(&mut open, BOM.len())?;
        if open.rest.starts_with(BOM) {
            open.rest.drain(..BOM.len());
            open.offset = BOM.len() as u64;
        } else if open.rest.starts_with(&[0xff, 0xfe]) || open.rest.starts_with(&[0xfe, 0xff]) {
            return Err(Error::data(self.path(file), "the text is in UTF-16, expected UTF-8")
                .help("Convert it, for example with iconv"));
        }
        if self.cutting.header {
            self.header(&mut open)?;
        }
        Ok(open)
    }

    /// Take the header off and have it checked.
    fn header(&self, open: &mut Open) -> Result<()> {
        loop {
            let end = self.cutting.cutter.first_end(&open.rest).or(open.at_end.then_some(open.rest.len()));
            if let Some(end) = end {
                let header: Vec<u8> = open.rest.drain(..end).collect();
                open.offset += end as u64;
                open.line += line_feeds(&header);
                if header.trim_ascii().is_empty() && !open.rest.is_empty() {
                    continue;
                }
                return (self.check)(open.file, &header);
            }
            let target = self.grown(open)?;
            self.fill(open, target)?;
        }
    }

    /// Read until `target` bytes are at hand, or the end.
    fn fill(&self, open: &mut Open, target: usize) -> Result<()> {
        let missing = target.saturating_sub(open.rest.len());
        open.rest.reserve_exact(missing);
        let count = (&mut open.reader)
            .take(missing as u64)
            .read_to_end(&mut open.rest)
            .map_err(|error| cannot_read(&self.files[open.file], error))?;
        open.at_end = count < missing;
        Ok(())
    }

    /// How much to have at hand when what there is holds no whole record.
    fn grown(&self, open: &Open) -> Result<usize> {
        if open.rest.len() > self.cutting.record_bytes_max {
            let message = format!("a record is longer than {} bytes", self.cutting.record_bytes_max);
            let help = match self.cutting.cutter {
                Cutter::Lines => "Is this a text file with line feeds?",
                Cutter::Quoted { .. } => "Is a quote opened in this line and never closed?",
            };
            return Err(Error::data(self.path(open.file), message).at(Place::Line(open.line)).help(help));
        }
        // One byte more than allowed is enough to see that it is too many.
        let most = self.cutting.record_bytes_max.saturating_add(1);
        Ok((open.rest.len() * 2).max(self.cutting.chunk_bytes).max(64).min(most))
    }

    /// The next chunk of an open file: line and offset of its first record, and its text.
    fn cut(&self, open: &mut Open) -> Result<Option<(u64, u64, Vec<u8>)>> {
        let mut target = self.cutting.chunk_bytes;
        let end = loop {
            self.fill(open, target)?;
            if open.at_end {
                break open.rest.len();
            }
            match self.cutting.cutter.last_end(&open.rest) {
                Some(end) => break end,
                None => target = self.grown(open)?,
            }
        };
        if end == 0 {
            return Ok(None);
        }
        let rest = open.rest.split_off(end);
        let text = std::mem::replace(&mut open.rest, rest);
        let (line, offset) = (open.line, open.offset);
        open.line += line_feeds(&text);
        open.offset += text.len() as u64;
        Ok(Some((line, offset, text)))
    }
}

/// Number of line feeds.
pub fn line_feeds(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

fn cannot_read(file: &SourceFile, error: std::io::Error) -> Error {
    use std::io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    if matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof) {
        return Error::data(&file.path, format!("cannot decompress: {error}"))
            .help("The file is probably damaged or cut short: write or copy it again");
    }
    Error::io(&file.path, "cannot read", error)
}
