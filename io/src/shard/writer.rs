//! Writes a shard: a record batch a grain, hashed on the way.
//!
//! Bytes are gathered to blocks that begin at multiples of their size, hashed by XXH3 while they are in the cache, and written. The
//! page cache then holds them in units of a block, which are cheaper to write and to map than what pieces of any length leave behind.
//! The disk begins to write while grains are still being made; the commit of the folder ([`crate::durable`]) waits for it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};

use super::reader::CHECKSUMS;
use crate::checksum::{self, HashingWriter};
use crate::error::{Error, Result};
use crate::manifest::{Column, FileEntry, ShardEntry, Split};
use crate::mmap::{self, start_writeback};

/// Bytes of a block. Blocks of 256 KiB are little cheaper to map, and a system may have to look for such memory.
const BLOCK_BYTES: usize = 128 << 10;

/// Bytes after which the disk is told to begin: what it has not begun when the last grain comes is waited for.
const EAGER_BYTES: u64 = 4 << 20;

/// A file whose bytes are on their way to the disk soon after they were written.
struct Eager {
    file: File,
    bytes: u64,
    /// How many of them the disk was told of.
    begun: u64,
}

impl Eager {
    fn new(file: File) -> Eager {
        Eager { file, bytes: 0, begun: 0 }
    }

    fn begin(&mut self) {
        start_writeback(&self.file, self.begun..self.bytes);
        self.begun = self.bytes;
    }
}

impl Write for Eager {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        if self.bytes - self.begun >= EAGER_BYTES {
            self.begin();
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Writes blocks of [`BLOCK_BYTES`] at multiples of that, but for the last.
struct Blocks<W> {
    to: W,
    /// Bytes that went on.
    written: usize,
    block: Vec<u8>,
}

impl<W: Write> Blocks<W> {
    fn new(to: W) -> Blocks<W> {
        Blocks { to, written: 0, block: Vec::with_capacity(BLOCK_BYTES) }
    }

    /// What is gathered goes on.
    fn pass(&mut self) -> std::io::Result<()> {
        self.to.write_all(&self.block)?;
        self.written += self.block.len();
        self.block.clear();
        Ok(())
    }

    /// The writer inside, which has all bytes.
    fn into_inner(mut self) -> std::io::Result<W> {
        self.pass()?;
        Ok(self.to)
    }
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let end = self.written + self.block.len();
        let count = bytes.len().min(BLOCK_BYTES - end % BLOCK_BYTES);
        self.block.extend_from_slice(&bytes[..count]);
        if (end + count).is_multiple_of(BLOCK_BYTES) {
            self.pass()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.pass()?;
        self.to.flush()
    }
}

/// An Arrow IPC file in the making, with 64-byte alignment, no compression and a checksum.
pub struct IpcWriter {
    path: PathBuf,
    writer: FileWriter<Blocks<HashingWriter<Eager>>>,
}

impl IpcWriter {
    /// Create a new file.
    ///
    /// # Errors
    /// [`Error::Io`] when it exists or cannot be written.
    pub fn create(path: &Path, schema: &Schema) -> Result<IpcWriter> {
        let file = File::options().write(true).create_new(true).open(path);
        let file = file.map_err(|e| Error::io(path, "cannot create", e))?;
        let to = Blocks::new(HashingWriter::new(Eager::new(file)));
        let options = IpcWriteOptions::try_new(super::ALIGNMENT, false, arrow::ipc::MetadataVersion::V5);
        let writer = options.and_then(|options| FileWriter::try_new_with_options(to, schema, options));
        Ok(IpcWriter { path: path.to_path_buf(), writer: writer.map_err(|e| failed(path, e))? })
    }

    /// Add a record batch.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|e| failed(&self.path, e))
    }

    /// Add a key-value pair to the footer.
    pub fn metadata(&mut self, key: &str, value: String) {
        self.writer.write_metadata(key, value);
    }

    /// Write the footer; the disk begins to write, and whoever puts the file in its place waits for it.
    ///
    /// # Errors
    /// [`Error::Io`] when the bytes cannot be written.
    pub fn finish(mut self) -> Result<FileEntry> {
        let path = self.path;
        self.writer.finish().map_err(|e| failed(&path, e))?;
        let blocks = self.writer.into_inner().map_err(|e| failed(&path, e))?;
        let hashing = blocks.into_inner().map_err(|e| Error::io(&path, "cannot write", e))?;
        let (mut file, bytes, xxh3) = hashing.finish();
        file.begin();
        mmap::mark_finished(&file.file);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(FileEntry { file: name, bytes, xxh3 })
    }
}

fn failed(path: &Path, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => Error::io(path, "cannot write", source),
        other => Error::data(path, format!("cannot be written as an Arrow file: {other}")),
    }
}

/// A shard in the making.
pub struct ShardWriter {
    file: IpcWriter,
    schema: SchemaRef,
    split: Split,
    rows: u64,
    grains: usize,
    /// Checksums of the columns so far, grain after grain, as the footer holds them.
    checksums: String,
}

impl ShardWriter {
    /// Create a new shard file for these columns.
    ///
    /// # Errors
    /// [`Error::Io`] when it exists or cannot be written.
    pub fn create(path: &Path, columns: &[Column], split: Split) -> Result<ShardWriter> {
        let schema = Arc::new(super::schema(columns));
        let file = IpcWriter::create(path, &schema)?;
        Ok(ShardWriter { file, schema, split, rows: 0, grains: 0, checksums: String::new() })
    }

    /// The Arrow schema that grains have to have.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Add a grain: the arrays of all columns, in order, of one length and without nulls.
    ///
    /// # Errors
    /// [`Error::Data`] when types or lengths are wrong or something is null, [`Error::Io`] when it cannot be written.
    pub fn write(&mut self, arrays: Vec<ArrayRef>) -> Result<()> {
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays);
        let batch =
            batch.map_err(|e| Error::data(&self.file.path, format!("a grain does not fit the columns: {e}")))?;
        self.write_batch(&batch)
    }

    /// Add a grain as a record batch of [`ShardWriter::schema`].
    ///
    /// # Errors
    /// As [`ShardWriter::write`].
    pub fn write_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.schema_ref().fields() != self.schema.fields() || batch.num_rows() == 0 {
            let message = format!(
                "a grain does not fit the columns: expected at least one row of {:?}, found {} of {:?}",
                self.schema,
                batch.num_rows(),
                batch.schema_ref()
            );
            return Err(Error::data(&self.file.path, message));
        }
        for column in batch.columns() {
            self.checksums.push_str(&checksum::of_array(&column.to_data()));
        }
        self.file.write(batch)?;
        self.rows += batch.num_rows() as u64;
        self.grains += 1;
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Grains so far.
    pub fn grains(&self) -> usize {
        self.grains
    }

    /// As [`IpcWriter::finish`].
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written.
    pub fn finish(mut self) -> Result<ShardEntry> {
        self.file.metadata(CHECKSUMS, self.checksums);
        Ok(ShardEntry { file: self.file.finish()?, split: self.split, rows: self.rows, grains: self.grains })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers what each call wrote.
    #[derive(Default)]
    struct Calls(Vec<Vec<u8>>);

    impl Write for Calls {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn blocks_begin_at_multiples_of_their_size() {
        let bytes: Vec<u8> = (0..5 * BLOCK_BYTES as u32 / 2).map(|i| (i % 251) as u8).collect();
        let mut blocks = Blocks::new(Calls::default());
        let (mut rest, mut count) = (&bytes[..], 1);
        while !rest.is_empty() {
            let (part, next) = rest.split_at(count.min(rest.len()));
            blocks.write_all(part).unwrap();
            (rest, count) = (next, count * 3);
            if count == 9 {
                blocks.flush().unwrap();
            }
        }
        let calls = blocks.into_inner().unwrap().0;
        let lengths: Vec<usize> = calls.iter().map(Vec::len).collect();
        assert_eq!(lengths, [4, BLOCK_BYTES - 4, BLOCK_BYTES, BLOCK_BYTES / 2]);
        assert_eq!(calls.concat(), bytes);
    }
}
