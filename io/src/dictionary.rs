//! Dictionaries: the levels of a categorical column, by code, with their counts.
//!
//! ```text
//! dictionary-3.arrow    level utf8 | count u64      row = code; special levels (missing, unseen) are not listed
//! ```

use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};

use crate::error::{Error, Result};
use crate::manifest::FileEntry;
use crate::shard::table::{self, Table};

/// The levels of a categorical column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dictionary {
    /// Level of every code.
    pub levels: Vec<String>,
    /// Number of training rows with it.
    pub counts: Vec<u64>,
}

impl Dictionary {
    /// Write it as a new file.
    ///
    /// # Errors
    /// [`Error::Data`] when the levels are longer than 2 GiB together, [`Error::Io`] when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<FileEntry> {
        let bytes: usize = self.levels.iter().map(String::len).sum();
        if i32::try_from(bytes).is_err() || self.levels.len() != self.counts.len() {
            let message = format!("a dictionary of {} levels with {bytes} bytes was asked for", self.levels.len());
            return Err(
                Error::data(path, message).help("At most 2 GiB of text are possible; ignore the column, or hash it")
            );
        }
        let levels = Arc::new(StringArray::from_iter_values(&self.levels));
        let counts = Arc::new(UInt64Array::from(self.counts.clone()));
        let batch = RecordBatch::try_new(Arc::new(schema()), vec![levels, counts]);
        table::write(path, &batch.map_err(|e| Error::data(path, e.to_string()))?, &[])
    }

    /// Read it.
    ///
    /// # Errors
    /// [`Error::Data`] when the file is damaged, [`Error::Io`] when it is missing or cannot be read.
    pub fn read(folder: &Path, entry: &FileEntry) -> Result<Dictionary> {
        let table = Table::read(folder, entry, &schema())?;
        Ok(Dictionary { levels: table.strings(0)?, counts: table.numbers(1)? })
    }
}

fn schema() -> Schema {
    Schema::new(vec![Field::new("level", DataType::Utf8, false), Field::new("count", DataType::UInt64, false)])
}
