//! What each rank found in its span of the rows, and what rank 0 makes of all (stage 2), as messages.
//!
//! ```text
//! findings of a rank:  summary | places of widths | columns: texts of the ids, training rows of each
//! verdict of rank 0:   whether to go on | rows of each rank: (training, held out) | summary | columns: as above, all ranks' levels
//! ```
//! Ids of levels are each rank's own: it meets them in another order. Rank 0 numbers all of them, rank by rank, and every rank
//! decides from the same summary, levels and counts how columns are stored, which is a function of these alone. Only means depend
//! on the order of the rows: they are added up by one rank after the other ([`super::together`]). Cost: 184 bytes a column,
//! and the texts of the levels, a rank.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::message::{Reader, Writer};
use super::share::{of_summary, read_few, summary_of, write_few};
use super::summary::{ChunkSummary, ColumnSummary};
use super::survey::{Found, too_large, too_many};
use crate::encode::intern::Interner;
use crate::encode::row::located;
use crate::error::{Place, Result};
use crate::roles::Planned;

/// Where a chunk's row came from.
pub type Places = HashMap<(u64, u64), (PathBuf, Place)>;

/// Most that levels of all ranks may be.
#[derive(Clone, Copy, Debug)]
pub struct LevelLimits<'a> {
    /// Levels of a column.
    pub levels: usize,
    /// Bytes of all columns.
    pub bytes: u64,
    /// The file that is named when there are more: the first.
    pub file: &'a Path,
}

/// What a rank found.
#[derive(Debug)]
pub struct Findings<'a> {
    summary: ChunkSummary,
    places: Places,
    columns: Vec<Column<'a>>,
}

/// Levels of a column, by id, none for one that has none; training rows of each.
type Column<'a> = (Option<Vec<&'a [u8]>>, Vec<u64>);

/// What rank 0 makes of it.
pub struct Verdict {
    /// False: rank 0 does it alone.
    pub goes_on: bool,
    /// Training rows of every rank, and those held out.
    pub rows: [Vec<u64>; 2],
    /// As if one process had found it, without the rows.
    pub found: Found,
}

/// What was found as a message; `place` says where rows are.
pub fn told(found: &Found, place: &dyn Fn(u64, u64) -> (PathBuf, Place)) -> Vec<u8> {
    let mut to = Writer::default();
    write_summary(&mut to, &found.summary);
    let widths = found.summary.columns.iter().filter_map(|column| column.width);
    to.list(widths, |to, (_, (chunk, row))| {
        let (path, at) = place(chunk, row);
        to.words([chunk, row]);
        to.text(path.as_os_str().as_bytes());
        to.words(match at {
            Place::File => [0, 0],
            Place::Line(number) => [1, number],
            Place::Row(number) => [2, number],
            Place::Offset(number) => [3, number],
        });
    });
    columns(&mut to, found, |_| true);
    to.finish()
}

fn columns(to: &mut Writer, found: &Found, counts: impl Fn(usize) -> bool) {
    to.list(found.tables.iter().zip(&found.counts).enumerate(), |to, (number, (table, counts_of))| {
        to.word(u64::from(table.is_some()));
        let ids = table.iter().flat_map(|table| (0..table.len() as u32).map(|id| table.text(id)));
        to.list(ids, Writer::text);
        to.list(counts_of.iter().filter(|_| counts(number)), |to, count| to.word(*count));
    });
}

impl<'a> Findings<'a> {
    /// Those of a message; none: it is no such message.
    pub fn of_bytes(bytes: &'a [u8]) -> Option<Findings<'a>> {
        Reader::whole(bytes, |from| {
            let summary = read_summary(from)?;
            let places = from.list(|from| {
                let key = (from.word()?, from.word()?);
                let path = PathBuf::from(OsStr::from_bytes(from.text()?));
                let at = match (from.word()?, from.word()?) {
                    (0, _) => Place::File,
                    (1, number) => Place::Line(number),
                    (2, number) => Place::Row(number),
                    (3, number) => Place::Offset(number),
                    _ => return None,
                };
                Some((key, (path, at)))
            })?;
            Some(Findings { summary, places, columns: from.list(column_in)? })
        })
    }

    /// Training rows, and rows held out.
    pub fn rows(&self) -> [u64; 2] {
        [self.summary.train_rows, self.summary.test_rows]
    }
}

/// What all ranks found, in their order, but for the means.
///
/// # Errors
/// When vectors differ in width, or there are too many levels.
pub fn merged(all: &[Findings<'_>], plan: &[Planned], limits: LevelLimits<'_>) -> Result<Found> {
    let tables = plan.iter().map(|_| None).collect();
    let mut found = Found {
        pieces: Vec::new(),
        summary: ChunkSummary::new(plan.len()),
        tables,
        counts: vec![Vec::new(); plan.len()],
        means: Vec::new(),
    };
    for own in all {
        let nowhere = || (limits.file.to_path_buf(), Place::File);
        let place = |chunk, row| own.places.get(&(chunk, row)).cloned().unwrap_or_else(nowhere);
        found.summary.merge(&own.summary, plan, &place)?;
        for (number, (levels, counts)) in own.columns.iter().enumerate().take(plan.len()) {
            let sum = &mut found.counts[number];
            let Some(levels) = levels else {
                add(sum, counts.iter().copied().enumerate());
                continue;
            };
            let table = found.tables[number].get_or_insert_with(Interner::default);
            let ids: Vec<usize> = levels.iter().map(|text| table.insert(text) as usize).collect();
            add(sum, ids.into_iter().zip(counts.iter().copied()));
            if table.len() > limits.levels {
                return Err(located(too_many(limits.levels), &plan[number].name, &|_| nowhere()));
            }
            let bytes = found.tables.iter().flatten().map(|table| table.memory() as u64).sum::<u64>();
            if bytes > limits.bytes {
                return Err(located(too_large(limits.bytes), &plan[number].name, &|_| nowhere()));
            }
        }
    }
    Ok(found)
}

fn add(sum: &mut Vec<u64>, counts: impl Iterator<Item = (usize, u64)>) {
    for (id, count) in counts {
        if sum.len() <= id {
            sum.resize(id + 1, 0);
        }
        sum[id] += count;
    }
}

impl Verdict {
    /// As a message. Training rows of hashed levels stay with rank 0, which alone writes them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.word(u64::from(self.goes_on));
        for rows in &self.rows {
            to.list(rows, |to, rows| to.word(*rows));
        }
        write_summary(&mut to, &self.found.summary);
        columns(&mut to, &self.found, |number| self.found.tables[number].is_some());
        to.finish()
    }

    /// The verdict of a message; none: it is no such message.
    pub fn of_bytes(bytes: &[u8]) -> Option<Verdict> {
        Reader::whole(bytes, |from| {
            let goes_on = from.flag()?;
            let rows = [from.list(Reader::word)?, from.list(Reader::word)?];
            let summary = read_summary(from)?;
            let columns: Vec<Column<'_>> = from.list(column_in)?;
            let table = |levels: Vec<&[u8]>| {
                let mut table = Interner::default();
                levels.into_iter().for_each(|text| _ = table.insert(text));
                table
            };
            let (tables, counts) = columns.into_iter().map(|(levels, counts)| (levels.map(table), counts)).unzip();
            let found = Found { pieces: Vec::new(), summary, tables, counts, means: Vec::new() };
            Some(Verdict { goes_on, rows, found })
        })
    }
}

/// Write a summary.
pub fn write_summary(to: &mut Writer, summary: &ChunkSummary) {
    to.words([summary.train_rows, summary.test_rows, summary.dropped]);
    to.list(&summary.columns, |to, column| {
        to.words(of_summary(&column.train).into_iter().chain(of_summary(&column.test)));
        let (width, (chunk, row)) = column.width.unwrap_or_default();
        to.words([u64::from(column.width.is_some()), width as u64, chunk, row]);
        to.words([column.sparse_width as u64, u64::from(column.has_index_zero), column.entries]);
        write_few(to, &column.few);
    });
}

/// The summary that is next in a message.
pub fn read_summary(from: &mut Reader<'_>) -> Option<ChunkSummary> {
    let (train_rows, test_rows, dropped) = (from.word()?, from.word()?, from.word()?);
    let columns = from.list(|from| {
        let (train, test) = (summary_of(from)?, summary_of(from)?);
        let (has_width, width) = (from.flag()?, (from.count()?, (from.word()?, from.word()?)));
        let (sparse_width, has_index_zero, entries) = (from.count()?, from.flag()?, from.word()?);
        let width = has_width.then_some(width);
        let few = read_few(from)?;
        Some(ColumnSummary { train, test, width, sparse_width, has_index_zero, entries, few })
    })?;
    Some(ChunkSummary { train_rows, test_rows, dropped, columns })
}

fn column_in<'a>(from: &mut Reader<'a>) -> Option<Column<'a>> {
    let has_levels = from.flag()?;
    let levels: Vec<&[u8]> = from.list(Reader::text)?;
    Some((has_levels.then_some(levels), from.list(Reader::word)?))
}
