//! Small tables of a dataset folder (dictionaries, statistics): Arrow IPC files of one record batch, read whole.
//!
//! The checksum is compared before anything is parsed.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, Schema};

use super::message::{self, BatchLayout, Piece};
use super::reader::{check_length, open};
use super::{footer, writer::IpcWriter};
use crate::checksum;
use crate::error::{Error, Result};
use crate::manifest::FileEntry;

/// Write a table of one record batch, with key-value pairs beside it.
///
/// # Errors
/// [`Error::Io`] when it exists or cannot be written.
pub fn write(path: &Path, batch: &RecordBatch, metadata: &[(&str, String)]) -> Result<FileEntry> {
    let mut writer = IpcWriter::create(path, batch.schema_ref())?;
    for (key, value) in metadata {
        writer.metadata(key, value.clone());
    }
    writer.write(batch)?;
    writer.finish()
}

/// A table, read.
#[derive(Debug)]
pub struct Table {
    path: PathBuf,
    content: Buffer,
    layout: BatchLayout,
    metadata: HashMap<String, String>,
}

impl Table {
    /// Read the table `entry` of `folder`, whose columns must be those of `schema`.
    ///
    /// # Errors
    /// [`Error::Data`] when it is damaged, [`Error::Io`] when it is missing or cannot be read.
    pub fn read(folder: &Path, entry: &FileEntry, schema: &Schema) -> Result<Table> {
        let path = folder.join(&entry.file);
        let file = open(&path)?;
        let content = read_whole(&path, &file, entry)?;
        let footer = footer::read(&path, &file, entry.bytes, schema)?;
        let [place] = footer.batches[..] else {
            return Err(Error::data(&path, format!("one record batch was expected, found {}", footer.batches.len())));
        };
        let layout = message::read(&path, &file, place, schema, None)?;
        Ok(Table { path, content: Buffer::from_vec(content), layout, metadata: footer.metadata })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Data`] when there is none.
    pub fn metadata(&self, key: &str) -> Result<&str> {
        self.metadata
            .get(key)
            .map(String::as_str)
            .ok_or_else(|| self.error(format!("it has no '{key}' in its metadata")))
    }

    /// A column of numbers.
    ///
    /// # Errors
    /// [`Error::Data`] when the column is not one of such numbers.
    pub fn numbers<T: ArrowNativeType>(&self, column: usize) -> Result<Vec<T>> {
        match self.pieces(column) {
            [piece] => self.typed(piece),
            _ => Err(self.error(format!("column {column} is not one of numbers"))),
        }
    }

    /// A column of strings.
    ///
    /// # Errors
    /// [`Error::Data`] when the column is not one of strings, or not of valid ones.
    pub fn strings(&self, column: usize) -> Result<Vec<String>> {
        let [offsets, bytes] = self.pieces(column) else {
            return Err(self.error(format!("column {column} is not one of strings")));
        };
        let (offsets, bytes) = (self.typed::<i32>(offsets)?, self.typed::<u8>(bytes)?);
        let string = |pair: &[i32]| {
            let range = usize::try_from(pair[0]).ok()?..usize::try_from(pair[1]).ok()?;
            Some(std::str::from_utf8(bytes.get(range)?).ok()?.to_string())
        };
        let strings: Option<Vec<String>> = offsets.windows(2).map(string).collect();
        strings.ok_or_else(|| self.error(format!("column {column} holds strings that are damaged")))
    }

    fn pieces(&self, column: usize) -> &[Piece] {
        self.layout.columns.get(column).map_or(&[], Vec::as_slice)
    }

    fn typed<T: ArrowNativeType>(&self, piece: &Piece) -> Result<Vec<T>> {
        // The file may have changed between the two reads; ranges speak of the second.
        let (start, end) = (piece.start as usize, piece.end as usize);
        if end > self.content.len() || !(end - start).is_multiple_of(size_of::<T>()) {
            return Err(self.error("its buffers lie outside the file".to_string()));
        }
        let bytes = Buffer::from_slice_ref(&self.content[start..end]);
        let count = bytes.len() / size_of::<T>();
        Ok(ScalarBuffer::<T>::new(bytes, 0, count).to_vec())
    }

    /// An error about this file.
    pub fn error(&self, message: String) -> Error {
        Error::data(&self.path, message).help("Run 'gristmill ingest' again to make the dataset anew")
    }
}

fn read_whole(path: &Path, file: &File, entry: &FileEntry) -> Result<Vec<u8>> {
    let length = file.metadata().map_err(|e| Error::io(path, "cannot look at", e))?.len();
    check_length(path, length, entry.bytes)?;
    let mut content = vec![0; length as usize];
    file.read_exact_at(&mut content, 0).map_err(|e| Error::io(path, "cannot read", e))?;
    let xxh3 = checksum::of_bytes(&content);
    if xxh3 != entry.xxh3 {
        let message = format!("the content does not match its checksum: {xxh3}, the manifest says {}", entry.xxh3);
        return Err(Error::data(path, message).help("Copy the file again or run 'gristmill ingest' again"));
    }
    Ok(content)
}
