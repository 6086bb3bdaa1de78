//! Where the messages of an Arrow IPC file or stream lie (stage 1), each checked before a decoder sees it.
//!
//! ```text
//! file:    "ARROW1" 00 00 | messages ... | footer | footer length, i32 | "ARROW1"
//! stream:  messages ... | end: FF FF FF FF 00 00 00 00, or just the end
//! message: FF FF FF FF | metadata length, i32 | metadata (flatbuffer) | body
//! ```
//! A stream is indexed by a walk over its metadata, so that its batches are decoded in parallel like those of a file. A
//! dictionary that changes on the way (replaced, or grown by a delta) begins a new epoch: each batch knows
//! which dictionaries it sees.
//!
//! Every length is checked against the file, every buffer against its body, and every announced uncompressed length
//! against what the codec could reach, before anything is allocated. Source: Arrow Columnar Format 1.5.

use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::read_footer_length;
use arrow::ipc::{Block, MessageHeader, MetadataVersion, RecordBatch, root_as_footer, root_as_message};
use std::sync::Arc;

use crate::error::{Error, Place, Result};
use crate::source::files::{Positioned, SourceFile};
use crate::source::guard::DAMAGED;

/// First and last bytes of a file.
pub const MAGIC: &[u8] = b"ARROW1";
/// First bytes of a message.
pub const CONTINUATION: &[u8] = &[0xff; 4];
/// Metadata of one message, or a footer, larger than this is an error.
const METADATA_MAX: u64 = 256 << 20;
/// Decoded bytes of one record batch larger than this are an error.
const BATCH_MAX: u64 = 8 << 30;
/// What zstd can shrink by at most (a block of 128 KiB takes no less than 4 bytes); lz4 reaches 255.
const RATIO_MAX: u64 = 128 << 10;
/// Dictionary messages over all epochs, at most (bounds memory for a stream that changes them before each batch).
const DICTIONARIES_MAX: usize = 1 << 20;

/// A message with its body.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    offset: u64,
    /// Bytes before the body: prefix and metadata.
    metadata: u64,
    body: u64,
}

impl Span {
    /// Bytes of all of it.
    pub fn bytes(&self) -> u64 {
        self.metadata + self.body
    }

    /// As the decoder of the arrow crate wants it.
    pub fn block(&self) -> Block {
        Block::new(self.offset as i64, self.metadata as i32, self.body as i64)
    }

    /// The bytes, at an address aligned to 64 bytes.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&self, file: &Positioned) -> std::io::Result<arrow::buffer::Buffer> {
        let mut bytes = arrow::buffer::MutableBuffer::from_len_zeroed(self.bytes() as usize);
        file.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes.into())
    }
}

/// A record batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchSpan {
    /// Where it is.
    pub span: Span,
    /// Which dictionaries it sees.
    pub epoch: u32,
    /// Rows of the file before it.
    pub rows_before: u64,
    /// Its rows.
    pub rows: u64,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub struct Index {
    /// Its schema.
    pub schema: SchemaRef,
    /// Version of the metadata of its messages; what the footer says is that of the footer.
    pub version: MetadataVersion,
    /// The dictionaries of each epoch, in the order in which they apply.
    pub epochs: Vec<Vec<Span>>,
    /// Its record batches, in order.
    pub batches: Vec<BatchSpan>,
    /// Their rows.
    pub rows: u64,
}

/// Reads the parts of one file with errors that say where.
struct Walker<'a> {
    source: &'a SourceFile,
    file: &'a Positioned,
}

/// What a message's metadata says.
enum Message {
    Schema(SchemaRef, MetadataVersion),
    Dictionary { id: i64, is_delta: bool, version: MetadataVersion },
    Batch { rows: u64, version: MetadataVersion },
}

/// The index of a file or stream.
///
/// # Errors
/// For a file that is damaged or cut short.
pub fn index(source: &SourceFile, file: &Positioned) -> Result<Index> {
    let walker = Walker { source, file };
    let head = walker.read(0, 8.min(file.length()))?;
    if head.starts_with(MAGIC) { walker.file() } else { walker.stream() }
}

impl Index {
    fn new(schema: SchemaRef, version: MetadataVersion) -> Index {
        Index { schema, version, epochs: vec![Vec::new()], batches: Vec::new(), rows: 0 }
    }

    fn push(&mut self, span: Span, rows: u64) -> Option<()> {
        let epoch = (self.epochs.len() - 1) as u32;
        self.batches.push(BatchSpan { span, epoch, rows_before: self.rows, rows });
        self.rows = self.rows.checked_add(rows)?;
        Some(())
    }
}

impl Walker<'_> {
    fn damaged(&self, offset: u64, message: impl Into<String>) -> Error {
        Error::data(&self.source.path, message).at(Place::Offset(offset)).help(DAMAGED)
    }

    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.file.length());
        if !inside || length > METADATA_MAX {
            return Err(self.damaged(offset, "the file ends before what is announced here"));
        }
        let mut bytes = vec![0; length as usize];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|error| Error::io(&self.source.path, "cannot read", error))?;
        Ok(bytes)
    }

    fn file(&self) -> Result<Index> {
        let length = self.file.length();
        if length < 18 {
            return Err(self.damaged(0, "the Arrow file is cut short: it has no footer"));
        }
        let mut tail = [0; 10];
        tail.copy_from_slice(&self.read(length - 10, 10)?);
        let no_footer = |_| {
            self.damaged(length - 10, "the Arrow file is cut short: it does not end with a footer")
                .help("If it is still being written, wait; else write or copy it again")
        };
        let footer_length = read_footer_length(tail).map_err(no_footer)? as u64;
        let at = (length - 10)
            .checked_sub(footer_length)
            .ok_or_else(|| self.damaged(length - 10, "the footer is longer than the file"))?;
        let bytes = self.read(at, footer_length)?;
        let footer =
            root_as_footer(&bytes).map_err(|error| self.damaged(at, format!("the footer is damaged ({error})")))?;
        let schema = footer.schema().ok_or_else(|| self.damaged(at, "the footer holds no schema"))?;
        let mut index = Index::new(self.schema(at, schema)?, footer.version());
        for block in footer.dictionaries().iter().flatten() {
            let span = self.span(at, block)?;
            match self.message(span)? {
                Message::Dictionary { version, .. } => {
                    index.version = version;
                    index.epochs[0].push(span);
                }
                _ => return Err(self.damaged(span.offset, "expected a dictionary here")),
            }
        }
        for block in footer.recordBatches().iter().flatten() {
            let span = self.span(at, block)?;
            let Message::Batch { rows, version } = self.message(span)? else {
                return Err(self.damaged(span.offset, "expected a record batch here"));
            };
            index.version = version;
            index.push(span, rows).ok_or_else(|| self.damaged(at, "the row counts are impossible"))?;
        }
        Ok(index)
    }

    /// A block of the footer at `at`, when it lies inside the file.
    fn span(&self, at: u64, block: &Block) -> Result<Span> {
        let outside = || self.damaged(at, "the footer points outside the file");
        let offset = u64::try_from(block.offset()).map_err(|_| outside())?;
        let metadata = u64::try_from(block.metaDataLength()).map_err(|_| outside())?;
        let body = u64::try_from(block.bodyLength()).map_err(|_| outside())?;
        let end = offset.checked_add(metadata).and_then(|end| end.checked_add(body)).ok_or_else(outside)?;
        if end > self.file.length() || metadata < 8 {
            return Err(outside());
        }
        Ok(Span { offset, metadata, body })
    }

    fn stream(&self) -> Result<Index> {
        let mut at = 0;
        let mut index: Option<Index> = None;
        // Identifiers of the dictionaries of the current epoch, in step with its spans.
        let mut ids: Vec<(i64, Span)> = Vec::new();
        let mut dictionaries = 0;
        while let Some(span) = self.next_in_stream(at)? {
            at = span.offset + span.bytes();
            match (self.message(span)?, &mut index) {
                (Message::Schema(schema, version), None) => index = Some(Index::new(schema, version)),
                (Message::Schema(..), Some(_)) => return Err(self.damaged(span.offset, "a second schema")),
                (_, None) => return Err(self.damaged(span.offset, "expected a schema at the head of the stream")),
                (Message::Dictionary { id, is_delta, .. }, Some(index)) => {
                    if !is_delta {
                        ids.retain(|(other, _)| *other != id);
                    }
                    ids.push((id, span));
                    let spans = ids.iter().map(|(_, span)| *span).collect();
                    // Nothing has been read with the current epoch yet: it grows instead.
                    if index.batches.last().is_none_or(|batch| batch.epoch as usize + 1 < index.epochs.len()) {
                        index.epochs.pop();
                    } else {
                        dictionaries += ids.len();
                    }
                    if dictionaries > DICTIONARIES_MAX {
                        return Err(self.damaged(span.offset, "the dictionaries change too often"));
                    }
                    index.epochs.push(spans);
                }
                (Message::Batch { rows, .. }, Some(index)) => {
                    index.push(span, rows).ok_or_else(|| self.damaged(at, "the row counts are impossible"))?;
                }
            }
        }
        index.ok_or_else(|| self.damaged(0, "the stream holds no schema"))
    }

    /// The message at `at`; none at the end of the stream.
    fn next_in_stream(&self, at: u64) -> Result<Option<Span>> {
        if at == self.file.length() {
            return Ok(None);
        }
        let head = self.read(at, 8.min(self.file.length() - at))?;
        // Before version 0.15 the length stood first.
        let (prefix, length) = match (head.starts_with(CONTINUATION), head.get(..4), head.get(4..8)) {
            (true, _, Some(length)) => (8, length),
            (false, Some(length), _) => (4, length),
            _ => return Err(self.damaged(at, "the stream is cut short")),
        };
        let mut four = [0; 4];
        four.copy_from_slice(length);
        let length =
            u64::try_from(i32::from_le_bytes(four)).map_err(|_| self.damaged(at, "not an Arrow IPC stream"))?;
        if length == 0 {
            return Ok(None);
        }
        let bytes = self.read(at + prefix, length)?;
        let message = root_as_message(&bytes)
            .map_err(|error| self.damaged(at, format!("not an Arrow IPC stream, or a damaged one ({error})")))?;
        let body = u64::try_from(message.bodyLength()).map_err(|_| self.damaged(at, "a body of negative length"))?;
        let metadata = prefix + length;
        if at.checked_add(metadata).and_then(|end| end.checked_add(body)).is_none_or(|end| end > self.file.length()) {
            return Err(self.damaged(at, "the stream is cut short: a message runs past its end"));
        }
        Ok(Some(Span { offset: at, metadata, body }))
    }

    /// The message of a span, with all that it announces about its body checked.
    fn message(&self, span: Span) -> Result<Message> {
        let bytes = self.read(span.offset, span.metadata)?;
        let prefix = if bytes.starts_with(CONTINUATION) { 8 } else { 4 };
        let message = bytes
            .get(prefix..)
            .and_then(|bytes| root_as_message(bytes).ok())
            .ok_or_else(|| self.damaged(span.offset, "the metadata of a message is damaged"))?;
        let incomplete = || self.damaged(span.offset, "the metadata of a message is incomplete");
        match message.header_type() {
            MessageHeader::Schema => {
                let schema = message.header_as_schema().ok_or_else(incomplete)?;
                Ok(Message::Schema(self.schema(span.offset, schema)?, message.version()))
            }
            MessageHeader::DictionaryBatch => {
                let dictionary = message.header_as_dictionary_batch().ok_or_else(incomplete)?;
                self.check(span, dictionary.data().ok_or_else(incomplete)?)?;
                let (id, is_delta) = (dictionary.id(), dictionary.isDelta());
                Ok(Message::Dictionary { id, is_delta, version: message.version() })
            }
            MessageHeader::RecordBatch => {
                let rows = self.check(span, message.header_as_record_batch().ok_or_else(incomplete)?)?;
                Ok(Message::Batch { rows, version: message.version() })
            }
            other => Err(self
                .damaged(span.offset, format!("unsupported message {other:?}"))
                .help("Tensors and other messages hold no rows: write a table")),
        }
    }

    fn schema(&self, at: u64, schema: arrow::ipc::Schema<'_>) -> Result<SchemaRef> {
        if !schema.endianness().equals_to_target_endianness() {
            return Err(self
                .damaged(at, "the numbers are in the byte order of another kind of processor")
                .help("Write the file again on a machine of this byte order (little-endian is usual)"));
        }
        let schema: Schema = fb_to_schema(schema);
        Ok(Arc::new(schema))
    }

    /// Number of rows of a batch whose nodes and buffers are possible.
    fn check(&self, span: Span, batch: RecordBatch<'_>) -> Result<u64> {
        let rows = u64::try_from(batch.length()).map_err(|_| self.damaged(span.offset, "a negative row count"))?;
        for node in batch.nodes().iter().flatten() {
            if node.length() < 0 || node.null_count() < 0 || node.null_count() > node.length() {
                return Err(self.damaged(span.offset, "an array of impossible length"));
            }
        }
        let mut plain: u64 = 0;
        for buffer in batch.buffers().iter().flatten() {
            let outside = || self.damaged(span.offset, "a buffer lies outside the body of its message");
            let offset = u64::try_from(buffer.offset()).map_err(|_| outside())?;
            let length = u64::try_from(buffer.length()).map_err(|_| outside())?;
            if offset.checked_add(length).is_none_or(|end| end > span.body) {
                return Err(outside());
            }
            if batch.compression().is_some() && length > 0 {
                plain = plain.saturating_add(self.plain_length(span, offset, length)?);
            }
        }
        if plain > BATCH_MAX {
            return Err(self
                .damaged(span.offset, format!("a record batch of {plain} bytes, at most {BATCH_MAX} are read"))
                .help("Write smaller record batches"));
        }
        Ok(rows)
    }

    /// The uncompressed length that a compressed buffer announces.
    fn plain_length(&self, span: Span, offset: u64, length: u64) -> Result<u64> {
        let impossible = || self.damaged(span.offset, "a compressed buffer announces an impossible length");
        let at = span.offset + span.metadata + offset;
        if length < 8 {
            return Err(impossible());
        }
        let mut eight = [0; 8];
        eight.copy_from_slice(&self.read(at, 8)?);
        match i64::from_le_bytes(eight) {
            -1 => Ok(length - 8),
            announced => u64::try_from(announced)
                .ok()
                .filter(|announced| *announced <= length.saturating_mul(RATIO_MAX))
                .ok_or_else(impossible),
        }
    }
}
