//! Raw rows between the passes (stage 2): in memory while they fit, in temporary files beyond.
//!
//! Temporary files live in the staging folder and have no name from the moment they are opened, so that nothing is left of
//! them however the process ends. A spilled piece is an Arrow IPC stream of one record batch.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::error::{Error, Result};

/// Where a piece is.
#[derive(Clone, Debug)]
pub enum Piece {
    /// In memory.
    Memory(RecordBatch),
    /// In a temporary file.
    Spilled {
        /// The file.
        file: Arc<SpillFile>,
        /// Where in it.
        offset: u64,
        /// How long.
        bytes: usize,
        /// Its number of rows.
        rows: usize,
    },
}

/// A temporary file that many threads append to and read.
#[derive(Debug)]
pub struct SpillFile {
    file: File,
    end: AtomicU64,
    path: PathBuf,
}

/// Decides where pieces go.
#[derive(Debug)]
pub struct Keeper {
    limit: u64,
    held: AtomicU64,
    spill: Arc<SpillFile>,
}

impl SpillFile {
    /// A temporary file in `folder`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(folder: &Path, name: &str) -> Result<SpillFile> {
        let path = folder.join(name);
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|e| Error::io(&path, "cannot create the temporary file", e))?;
        std::fs::remove_file(&path).map_err(|e| Error::io(&path, "cannot unlink the temporary file", e))?;
        Ok(SpillFile { file, end: AtomicU64::new(0), path })
    }

    /// Append a batch.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk among them.
    pub fn write(self: &Arc<SpillFile>, batch: &RecordBatch) -> Result<Piece> {
        let odd = |e: arrow::error::ArrowError| Error::data(&self.path, format!("rows cannot be spilled: {e}"));
        let mut bytes = Vec::with_capacity(batch.get_array_memory_size() + 4096);
        let mut writer = StreamWriter::try_new(&mut bytes, batch.schema_ref()).map_err(odd)?;
        writer.write(batch).and_then(|()| writer.finish()).map_err(odd)?;
        drop(writer);
        let offset = self.end.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file
            .write_all_at(&bytes, offset)
            .map_err(|e| Error::io(&self.path, "cannot write the temporary file", e))?;
        Ok(Piece::Spilled { file: Arc::clone(self), offset, bytes: bytes.len(), rows: batch.num_rows() })
    }

    /// Bytes written.
    pub fn bytes(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }
}

impl Piece {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Piece::Memory(batch) => batch.num_rows(),
            Piece::Spilled { rows, .. } => *rows,
        }
    }

    /// Bytes that it takes in memory, or about.
    pub fn bytes(&self) -> u64 {
        match self {
            Piece::Memory(batch) => batch.get_array_memory_size() as u64,
            Piece::Spilled { bytes, .. } => *bytes as u64,
        }
    }

    /// The rows.
    ///
    /// # Errors
    /// [`Error::Io`] when the temporary file cannot be read.
    pub fn load(&self) -> Result<RecordBatch> {
        match self {
            Piece::Memory(batch) => Ok(batch.clone()),
            Piece::Spilled { file, offset, bytes, .. } => {
                let mut content = vec![0; *bytes];
                file.file
                    .read_exact_at(&mut content, *offset)
                    .map_err(|e| Error::io(&file.path, "cannot read the temporary file", e))?;
                let odd =
                    |e: arrow::error::ArrowError| Error::data(&file.path, format!("spilled rows cannot be read: {e}"));
                let mut reader = StreamReader::try_new(content.as_slice(), None).map_err(odd)?;
                match reader.next() {
                    Some(batch) => batch.map_err(odd),
                    None => Err(Error::data(&file.path, "spilled rows are gone")),
                }
            }
        }
    }
}

impl Keeper {
    /// Keeps at most `limit` bytes in memory; the rest goes to a temporary file in `folder`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new(limit: u64, folder: &Path) -> Result<Keeper> {
        let spill = Arc::new(SpillFile::create(folder, "rows.spill")?);
        Ok(Keeper { limit, held: AtomicU64::new(0), spill })
    }

    /// Keep a batch; `reserved` bytes of the limit are in use for something else (dictionaries).
    ///
    /// # Errors
    /// [`Error::Io`] when it has to be spilled and cannot.
    pub fn keep(&self, batch: RecordBatch, reserved: u64) -> Result<Piece> {
        let bytes = batch.get_array_memory_size() as u64;
        let held = self.held.fetch_add(bytes, Ordering::Relaxed);
        if held + bytes + reserved <= self.limit {
            return Ok(Piece::Memory(batch));
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.spill.write(&batch)
    }

    /// Bytes in memory.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes written to the temporary file.
    pub fn spilled(&self) -> u64 {
        self.spill.bytes()
    }

    /// The temporary file.
    pub fn spill(&self) -> &Arc<SpillFile> {
        &self.spill
    }
}
