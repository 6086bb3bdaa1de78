//! Raw rows between the passes (stage 2): in memory while they fit, in temporary files beyond.
//!
//! Temporary files live in the staging folder and have no name from the moment they are opened, so that nothing is left of
//! them however the process ends. A spilled piece is an Arrow IPC stream of one record batch.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayData, ArrayRef, RecordBatch};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::error::{Error, Result};
use crate::manifest::Split;

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
        SpillFile::with_name(folder.join(name))?.without_name()
    }

    /// A temporary file that keeps its name, for somebody else to open.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn with_name(path: PathBuf) -> Result<SpillFile> {
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|e| Error::io(&path, "cannot create the temporary file", e))?;
        Ok(SpillFile { file, end: AtomicU64::new(0), path })
    }

    /// What somebody else wrote; it has no name from now on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn of_another(path: PathBuf) -> Result<SpillFile> {
        let file = File::open(&path)
            .map_err(|e| Error::io(&path, "another rank wrote this file, and it cannot be opened here", e))?;
        SpillFile { file, end: AtomicU64::new(0), path }.without_name()
    }

    fn without_name(self) -> Result<SpillFile> {
        std::fs::remove_file(&self.path).map_err(|e| Error::io(&self.path, "cannot unlink the temporary file", e))?;
        Ok(self)
    }

    /// Append a batch.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk among them.
    pub fn write(self: &Arc<SpillFile>, batch: &RecordBatch) -> Result<Piece> {
        let odd = |e: arrow::error::ArrowError| Error::data(&self.path, format!("rows cannot be spilled: {e}"));
        let mut bytes = Vec::with_capacity(own_bytes(batch) + 4096);
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
            Piece::Memory(batch) => held_bytes(batch) as u64,
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

/// Bytes of the rows themselves.
pub fn own_bytes(batch: &RecordBatch) -> usize {
    let of = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or_default();
    batch.columns().iter().map(of).sum()
}

/// Bytes that stay in memory as long as the rows do. Columns of a record batch that was read from a file lie in one buffer, which
/// counts once.
fn held_bytes(batch: &RecordBatch) -> usize {
    fn add(data: &ArrayData, seen: &mut HashSet<usize>) -> usize {
        let buffers = data.buffers().iter().chain(data.nulls().map(NullBuffer::buffer));
        let own: usize =
            buffers.filter(|buffer| seen.insert(buffer.data_ptr().as_ptr() as usize)).map(Buffer::capacity).sum();
        own + data.child_data().iter().map(|child| add(child, seen)).sum::<usize>()
    }
    let mut seen = HashSet::new();
    batch.columns().iter().map(|column| add(&column.to_data(), &mut seen)).sum()
}

impl Keeper {
    /// Keeps at most `limit` bytes in memory; the rest goes to a temporary file in `folder`, that of this rank.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new(limit: u64, folder: &Path, rank: usize) -> Result<Keeper> {
        let spill = Arc::new(SpillFile::create(folder, &format!("rows-{rank}.spill"))?);
        Ok(Keeper { limit, held: AtomicU64::new(0), spill })
    }

    /// Keep a batch; `reserved` bytes of the limit are in use for something else (dictionaries).
    ///
    /// # Errors
    /// [`Error::Io`] when it has to be spilled and cannot.
    pub fn keep(&self, batch: RecordBatch, reserved: u64) -> Result<Piece> {
        let bytes = held_bytes(&batch) as u64;
        let held = self.held.fetch_add(bytes, Ordering::Relaxed);
        if held + bytes + reserved <= self.limit {
            return Ok(Piece::Memory(batch));
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.spill.write(&batch)
    }

    /// Spill the last of the pieces that are in memory until they leave `reserved` bytes of the limit.
    ///
    /// # Errors
    /// [`Error::Io`] when one cannot be spilled.
    pub fn trim(&self, pieces: &mut [(Split, Piece)], reserved: u64) -> Result<()> {
        for (_, piece) in pieces.iter_mut().rev() {
            if self.held() + reserved <= self.limit {
                break;
            }
            if let Piece::Memory(batch) = piece {
                self.held.fetch_sub(held_bytes(batch) as u64, Ordering::Relaxed);
                *piece = self.spill.write(batch)?;
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use arrow::array::{Array, UInt8Array};
    use arrow::buffer::ScalarBuffer;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    /// A wide record batch of an Arrow file: every column is a part of one buffer.
    #[test]
    fn columns_that_share_a_buffer_count_once() {
        let (rows, columns) = (1_000, 784);
        let buffer = Buffer::from_vec((0..rows * columns).map(|i| i as u8).collect::<Vec<u8>>());
        let column = |number: usize| {
            let values = ScalarBuffer::<u8>::new(buffer.clone(), number * rows, rows);
            Arc::new(UInt8Array::new(values, None)) as ArrayRef
        };
        let fields: Vec<Field> = (0..columns).map(|i| Field::new(i.to_string(), DataType::UInt8, false)).collect();
        let arrays = (0..columns).map(column).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        let bytes = rows * columns;
        assert!(held_bytes(&batch) >= bytes && held_bytes(&batch) < bytes + bytes / 4, "{}", held_bytes(&batch));
        assert_eq!(own_bytes(&batch), bytes);
        let folder = tempfile::tempdir().unwrap();
        let keeper = Keeper::new(2 * bytes as u64, folder.path(), 0).unwrap();
        assert!(matches!(keeper.keep(batch.clone(), 0).unwrap(), Piece::Memory(_)));
        let spilled = keeper.keep(batch.slice(10, 500), bytes as u64).unwrap();
        assert!(matches!(spilled, Piece::Spilled { rows: 500, .. }), "{spilled:?}");
        assert_eq!(spilled.load().unwrap().column(3).to_data(), batch.slice(10, 500).column(3).to_data());
        // Room for something else is made by pieces from the end.
        let mut pieces =
            [Piece::Memory(batch.clone()), Piece::Memory(batch.clone())].map(|piece| (Split::Train, piece));
        let keeper = Keeper::new(3 * bytes as u64, folder.path(), 1).unwrap();
        for _ in &pieces {
            keeper.keep(batch.clone(), 0).unwrap();
        }
        keeper.trim(&mut pieces, 3 * bytes as u64 / 2).unwrap();
        assert!(matches!(pieces.each_ref().map(|(_, piece)| piece), [Piece::Memory(_), Piece::Spilled { .. }]));
        assert!(keeper.held() <= 3 * bytes as u64 / 2);
        assert_eq!(pieces[1].1.load().unwrap().column(3).to_data(), batch.column(3).to_data());
    }
}
