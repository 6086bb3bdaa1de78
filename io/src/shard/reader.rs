//! A shard of a dataset, opened: its footer is checked, its grains are read one at a time and only where asked.
//!
//! Of a dataset that is spread over nodes, some shards lie elsewhere: such a shard has a name and no content.
//!
//! No file stays open: maps outlive their descriptor, and a dataset may have more shards than a process has descriptors.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;

use super::footer::{self, BatchPlace};
use super::message::{self, BatchLayout, Piece};
use super::stored::{Fault, Stored};
use crate::checksum;
use crate::error::{Error, Place, Result};
use crate::manifest::{Column, ShardEntry};
use crate::mmap::{self, Identity, Map};

/// Key of the footer behind which the checksums of all columns of all grains stand, grain after grain: XXH3-64 over the buffers of the
/// column, 16 hexadecimal digits each.
pub(super) const CHECKSUMS: &str = "gristmill.xxh3";

/// Digits of a checksum.
const DIGITS: usize = 16;

/// A shard, open for reading.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    schema: SchemaRef,
    columns: Arc<[Column]>,
    /// None: the file lies on another node.
    identity: Option<Identity>,
    rows: u64,
    grain_rows: usize,
    batches: Vec<BatchPlace>,
    /// Of every column of every grain; none in files of earlier versions.
    checksums: Option<String>,
    as_finished: bool,
    map: OnceLock<Arc<Map>>,
}

impl Shard {
    /// Open the shard `entry` of the dataset in `folder`.
    ///
    /// # Errors
    /// [`Error::Data`] when it is not what the manifest says, [`Error::Io`] when it is missing or cannot be read.
    pub fn open(
        folder: &Path,
        entry: &ShardEntry,
        columns: &Arc<[Column]>,
        schema: &SchemaRef,
        grain_rows: usize,
    ) -> Result<Shard> {
        let path = folder.join(&entry.file.file);
        let file = open(&path)?;
        let identity = Identity::of(&file).map_err(|e| Error::io(&path, "cannot look at", e))?;
        check_length(&path, identity.bytes, entry.file.bytes)?;
        let mut footer = footer::read(&path, &file, identity.bytes, schema)?;
        if footer.batches.len() != entry.grains {
            let message = format!("{} grains were expected, found {}", entry.grains, footer.batches.len());
            return Err(Error::data(&path, message).help("Manifest and shard do not belong together"));
        }
        let checksums = footer.metadata.remove(CHECKSUMS);
        if checksums.as_ref().is_some_and(|all| !all.is_ascii() || all.len() != entry.grains * columns.len() * DIGITS) {
            let message = "the footer has not one checksum for each column of each grain";
            return Err(Error::data(&path, message).help("Run 'gristmill ingest' again to make the dataset anew"));
        }
        let shard = Shard {
            path,
            schema: Arc::clone(schema),
            columns: Arc::clone(columns),
            identity: Some(identity),
            rows: entry.rows,
            grain_rows,
            batches: footer.batches,
            checksums,
            as_finished: mmap::is_as_finished(&file),
            map: OnceLock::new(),
        };
        Ok(shard)
    }

    /// The shard `entry` of the dataset in `folder`, whose file lies on another node. Reading from it is an error.
    pub fn elsewhere(
        folder: &Path,
        entry: &ShardEntry,
        columns: &Arc<[Column]>,
        schema: &SchemaRef,
        grain_rows: usize,
    ) -> Shard {
        Shard {
            path: folder.join(&entry.file.file),
            schema: Arc::clone(schema),
            columns: Arc::clone(columns),
            identity: None,
            rows: entry.rows,
            grain_rows,
            batches: Vec::new(),
            checksums: None,
            as_finished: false,
            map: OnceLock::new(),
        }
    }

    /// False when its file lies on another node.
    pub fn is_here(&self) -> bool {
        self.identity.is_some()
    }

    /// Whether the file is the one that ingest wrote, on the file system where it wrote it, and nobody wrote to it since.
    pub fn is_as_finished(&self) -> bool {
        self.as_finished
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its grains lie.
    pub fn batches(&self) -> &[BatchPlace] {
        &self.batches
    }

    /// First row and number of rows of a grain.
    pub fn grain_rows(&self, grain: usize) -> (u64, usize) {
        let first = grain as u64 * self.grain_rows as u64;
        (first, self.rows.saturating_sub(first).min(self.grain_rows as u64) as usize)
    }

    /// An error unless the file is as it was when it was opened.
    ///
    /// # Errors
    /// [`Error::Data`] when it changed, [`Error::Io`] when it vanished, [`Error::Usage`] when it lies on another node.
    pub fn check_unchanged(&self) -> Result<()> {
        match &self.identity {
            Some(identity) => identity.check(&self.path),
            None => Err(Error::Usage(format!("{} is not on this node", self.path.display()))),
        }
    }

    /// Where a grain lies in the file.
    ///
    /// # Errors
    /// [`Error::Data`] when there is no such grain.
    pub fn place(&self, grain: usize) -> Result<BatchPlace> {
        self.batches.get(grain).copied().ok_or_else(|| Error::data(&self.path, format!("there is no grain {grain}")))
    }

    /// Where the columns of a grain lie in the file.
    ///
    /// # Errors
    /// [`Error::Data`] when the grain is damaged, [`Error::Io`] when it cannot be read.
    pub fn layout(&self, grain: usize) -> Result<BatchLayout> {
        let rows = Some(self.grain_rows(grain).1);
        message::read(&self.path, &open(&self.path)?, self.place(grain)?, &self.schema, rows)
    }

    /// Where the columns of a grain lie in the file, its message being at hand.
    ///
    /// # Errors
    /// [`Error::Data`] when the grain is damaged.
    pub fn parse_layout(&self, grain: usize, message: &[u8]) -> Result<BatchLayout> {
        message::parse(&self.path, message, self.place(grain)?, &self.schema, Some(self.grain_rows(grain).1))
    }

    /// Open the file past the page cache. None when the file system does not do that.
    ///
    /// # Errors
    /// [`Error::Data`] when the file changed since it was opened first, [`Error::Io`] when it vanished.
    pub fn open_direct(&self) -> Result<Option<File>> {
        let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
        let file = match File::options().read(true).custom_flags(flags).open(&self.path) {
            Ok(file) => file,
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => return Ok(None),
            Err(e) => return Err(Error::io(&self.path, "cannot open", e)),
        };
        self.check_unchanged()?;
        Ok(Some(file))
    }

    /// The whole file, mapped (once).
    ///
    /// # Errors
    /// [`Error::Data`] when it changed since it was opened, [`Error::Io`] when it cannot be mapped.
    pub fn map(&self) -> Result<&Arc<Map>> {
        if let Some(map) = self.map.get() {
            return Ok(map);
        }
        self.check_unchanged()?;
        let file = open(&self.path)?;
        let map = Arc::new(Map::new(&self.path, &file)?);
        // The ranges of footer and messages were checked against this length.
        check_length(&self.path, map.len() as u64, self.identity.as_ref().map_or(0, |identity| identity.bytes))?;
        Ok(self.map.get_or_init(|| map))
    }

    /// An error once a page of the map could not be read: what was computed from it since may be wrong.
    ///
    /// # Errors
    /// [`Error::Data`] with the offset.
    pub fn check_pages(&self) -> Result<()> {
        self.map.get().map_or(Ok(()), |map| map.check())
    }

    /// View column number `column` of `grain`, whose pieces are at hand, and check what kernels rely on.
    ///
    /// # Errors
    /// [`Error::Data`] with row and column for a value that is not allowed, with offset and column for bytes that are not those that were
    /// written.
    pub fn view(
        &self,
        grain: usize,
        column: usize,
        pieces: &[Piece],
        check: Check,
        find: impl Fn(&Piece) -> Option<Buffer>,
    ) -> Result<Stored> {
        let Some(spec) = self.columns.get(column) else {
            return Err(Error::data(&self.path, format!("there is no column number {column}")));
        };
        let Some(stored) = Stored::view(&spec.kind, pieces, &find) else {
            let message = format!("grain {grain} is damaged: its buffers are missing or not aligned");
            return Err(Error::data(&self.path, message).column(&spec.name));
        };
        let checked = match check {
            Check::Kernels | Check::Bytes => stored.check(spec),
            Check::All => stored.check(spec).and_then(|()| stored.check_numbers(spec.role)),
        };
        checked.map_err(|fault| self.fault(grain, spec, &fault))?;
        if check != Check::Kernels {
            self.check_sum(grain, column, pieces, find)?;
        }
        Ok(stored)
    }

    /// An error unless the bytes are those that were written.
    fn check_sum(
        &self,
        grain: usize,
        column: usize,
        pieces: &[Piece],
        find: impl Fn(&Piece) -> Option<Buffer>,
    ) -> Result<()> {
        let at = (grain * self.columns.len() + column) * DIGITS;
        let Some(expected) = self.checksums.as_ref().and_then(|all| all.get(at..at + DIGITS)) else { return Ok(()) };
        let parts: Vec<Buffer> = pieces.iter().filter_map(find).collect();
        let found = checksum::of_parts(parts.iter().map(Buffer::as_slice));
        if found == expected {
            return Ok(());
        }
        let message = format!("the content does not match its checksum: {found}, the footer says {expected}");
        let place = Place::Offset(pieces.first().map_or(0, |piece| piece.start));
        let error = Error::data(&self.path, message).at(place).column(&self.columns[column].name);
        Err(error.help("The file was damaged after it was written. Copy it again or run 'gristmill ingest' again"))
    }

    fn fault(&self, grain: usize, column: &Column, fault: &Fault) -> Error {
        let row = self.grain_rows(grain).0 + fault.row as u64 + 1;
        Error::data(&self.path, format!("the stored data are damaged: {}", fault.message))
            .at(Place::Row(row))
            .column(&column.name)
            .help("Run 'gristmill ingest' again to make the dataset anew")
    }
}

/// Which checks a view gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// What kernels rely on.
    Kernels,
    /// That, and that the bytes are those that were written.
    Bytes,
    /// That, and every number finite.
    All,
}

/// Open for reading.
pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| Error::io(path, "cannot open", e))
}

/// A file's length must be what the manifest says.
pub(crate) fn check_length(path: &Path, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let message = format!("the file has {found} bytes, the manifest says {expected}");
    Err(Error::data(path, message).help("It was truncated or replaced; copy it again or run 'gristmill ingest' again"))
}
