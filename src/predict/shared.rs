//! A prediction by several ranks: they take turns over the chunks, and rank 0 writes what all of them predicted.
//!
//! ```text
//! turn k    rank 0: chunks kBN .. kBN+B    rank 1: the next B    ...    rank N-1: the last B of the turn
//!           each decodes, encodes, scores and prepares its own with all its threads; rank 0 gathers and appends
//! ```
//! Chunks are appended in order, batch by batch, so the output has the bytes that one process writes. At the beginning of
//! every turn the ranks tell each other what failed, so all end with one error. Cost: B chunks of each rank in memory;
//! rank 0 receives the output once.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use mpi_launch::Communicator;

use super::output::{Format, Prepared, Writer};
use crate::error::Result;
use crate::ranks;

/// What a rank did in a turn.
#[derive(Default)]
pub struct Part {
    /// Its predictions, chunk after chunk.
    pub prepared: Vec<Prepared>,
    /// Rows of them.
    pub rows: u64,
}

/// The turns of a prediction by ranks.
pub struct Turns<'a> {
    comm: &'a dyn Communicator,
    /// Chunks of a rank in a turn.
    chunks: u64,
}

impl<'a> Turns<'a> {
    /// For ranks of which the largest has so many threads as the largest number given.
    ///
    /// # Errors
    /// When a rank is lost.
    pub fn new(comm: &'a dyn Communicator, threads: usize) -> Result<Turns<'a>> {
        let all = comm.all_gather(&(threads as u64).to_le_bytes())?;
        let threads = all.iter().filter_map(|bytes| bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)));
        Ok(Turns { comm, chunks: 2 * threads.max().unwrap_or(1).max(1) })
    }

    /// The numbers of this rank's chunks in a turn, and the first number of the next turn.
    pub fn own(&self, turn: u64) -> (std::ops::Range<u64>, u64) {
        let (rank, ranks) = (self.comm.rank() as u64, self.comm.size() as u64);
        let first = turn * self.chunks * ranks;
        let own = first + rank * self.chunks;
        (own..own + self.chunks, first + ranks * self.chunks)
    }

    /// Ends a turn: rank 0, which has the writer, appends all ranks' parts. Returns the rows of all ranks on rank 0.
    ///
    /// # Errors
    /// The first error of any rank's part, or of writing, on all ranks.
    pub fn append<W: Write + Send>(
        &self,
        format: Format,
        part: Result<Part>,
        writer: Option<&mut Writer<W>>,
        failed: impl Fn(ArrowError) -> crate::Error,
    ) -> Result<u64> {
        let packed = part.and_then(|part| pack(&part).map_err(&failed));
        let packed = ranks::agree(self.comm, packed)?;
        let gathered = self.comm.gather(&packed, 0)?;
        let appended = match (gathered, writer) {
            (Some(parts), Some(writer)) => {
                parts.iter().try_fold(0, |rows, part| Ok(rows + unpack(format, part, writer)?)).map_err(failed)
            }
            _ => Ok(0),
        };
        ranks::agree_with_first(self.comm, appended)
    }
}

/// Rows, then the lines of text or an Arrow stream of the batches; nothing for no rows.
fn pack(part: &Part) -> std::result::Result<Vec<u8>, ArrowError> {
    let mut bytes = part.rows.to_le_bytes().to_vec();
    let mut batches: Option<StreamWriter<Vec<u8>>> = None;
    for prepared in &part.prepared {
        match prepared {
            Prepared::Text(text) => bytes.extend_from_slice(text),
            Prepared::Batch(batch) => match &mut batches {
                Some(stream) => stream.write(batch)?,
                none => none.insert(StreamWriter::try_new(Vec::new(), &batch.schema())?).write(batch)?,
            },
        }
    }
    if let Some(stream) = batches {
        bytes.extend_from_slice(&stream.into_inner()?);
    }
    Ok(bytes)
}

fn unpack<W: Write + Send>(
    format: Format,
    bytes: &[u8],
    writer: &mut Writer<W>,
) -> std::result::Result<u64, ArrowError> {
    let odd = || ArrowError::InvalidArgumentError("a rank sent a part of a prediction that has no head".into());
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or_else(odd)?;
    if !rest.is_empty() && format == Format::Csv {
        writer.append(&Prepared::Text(rest.to_vec()))?;
    } else if !rest.is_empty() {
        let batches = StreamReader::try_new(rest, None)?;
        batches
            .into_iter()
            .try_for_each(|batch: std::result::Result<RecordBatch, _>| writer.append(&Prepared::Batch(batch?)))?;
    }
    Ok(u64::from_le_bytes(*head))
}
