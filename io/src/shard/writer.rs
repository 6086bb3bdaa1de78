//! Writes a shard: a record batch a grain, hashed on the way.
//!
//! Buffers go from the caller's arrays to the kernel as they are (no copy of ours but for those below 64 KiB, which are
//! gathered), so that the cost is that of writing the bytes, plus XXH3 over them while they are in the cache. The disk begins to
//! write while grains are still being made; the commit of the folder ([`crate::durable`]) waits for it.

use std::fs::File;
use std::io::{BufWriter, Write};
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

/// Buffers smaller than this are gathered before they are written.
const GATHER_BYTES: usize = 64 << 10;

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

/// An Arrow IPC file in the making, with 64-byte alignment, no compression and a checksum.
pub struct IpcWriter {
    path: PathBuf,
    writer: FileWriter<BufWriter<HashingWriter<Eager>>>,
}

impl IpcWriter {
    /// Create a new file.
    ///
    /// # Errors
    /// [`Error::Io`] when it exists or cannot be written.
    pub fn create(path: &Path, schema: &Schema) -> Result<IpcWriter> {
        let file = File::options().write(true).create_new(true).open(path);
        let file = file.map_err(|e| Error::io(path, "cannot create", e))?;
        let to = BufWriter::with_capacity(GATHER_BYTES, HashingWriter::new(Eager::new(file)));
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
        let gathered = self.writer.into_inner().map_err(|e| failed(&path, e))?;
        let hashing = gathered.into_inner().map_err(|e| Error::io(&path, "cannot write", e.into_error()))?;
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
