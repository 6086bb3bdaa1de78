//! What the survey adds up (stage 2): per chunk, merged in the order of the source.

use std::path::PathBuf;

use crate::encode::few::Few;
use crate::encode::raw::ragged;
use crate::encode::row::located;
use crate::encode::summary::Summary;
use crate::error::{Place, Result};
use crate::roles::Planned;

/// What is known of a run of rows.
#[derive(Clone, Debug, Default)]
pub struct ChunkSummary {
    /// Training rows.
    pub train_rows: u64,
    /// Rows held out.
    pub test_rows: u64,
    /// Rows left out because their label is missing.
    pub dropped: u64,
    /// Of every column of the plan.
    pub columns: Vec<ColumnSummary>,
}

/// What is known of a column.
#[derive(Clone, Debug, Default)]
pub struct ColumnSummary {
    /// Its numbers in training rows (elements, for vectors; only counts, for categories).
    pub train: Summary,
    /// Its numbers in rows held out.
    pub test: Summary,
    /// Vectors: numbers a row, and the (chunk, row) where that was first seen.
    pub width: Option<(usize, (u64, u64))>,
    /// Sparse vectors: largest index and one.
    pub sparse_width: usize,
    /// Sparse vectors: some index is 0.
    pub has_index_zero: bool,
    /// Sparse vectors: number of entries.
    pub entries: u64,
    /// A label: its distinct values in all rows, while they are few.
    pub few: Few,
}

/// Counts and means of a chunk, by column: of training rows, and of rows held out. Of all that is summed up they alone depend on
/// the order of the chunks.
pub type Means = Box<[[(u64, f64); 2]]>;

impl ChunkSummary {
    /// Of no rows.
    pub fn new(columns: usize) -> ChunkSummary {
        ChunkSummary { columns: vec![ColumnSummary::default(); columns], ..ChunkSummary::default() }
    }

    /// What depends on the order.
    pub fn means(&self) -> Means {
        let of = |summary: &Summary| (summary.count, summary.mean);
        self.columns.iter().map(|column| [of(&column.train), of(&column.test)]).collect()
    }

    /// Take the means of the next chunk in, and nothing else of it.
    pub fn add_means(&mut self, next: &Means) {
        let one = |(count, mean): (u64, f64)| Summary { count, mean, ..Summary::default() };
        for (sum, [train, test]) in self.columns.iter_mut().zip(next) {
            sum.train.merge(&one(*train));
            sum.test.merge(&one(*test));
        }
    }

    /// Take the means of another that has the same rows.
    pub fn set_means(&mut self, of: &ChunkSummary) {
        for (own, of) in self.columns.iter_mut().zip(&of.columns) {
            (own.train.mean, own.test.mean) = (of.train.mean, of.test.mean);
        }
    }

    /// These rows and then those.
    ///
    /// # Errors
    /// When vectors differ in width.
    pub fn merge(
        &mut self,
        next: &ChunkSummary,
        plan: &[Planned],
        place: &dyn Fn(u64, u64) -> (PathBuf, Place),
    ) -> Result<()> {
        self.train_rows += next.train_rows;
        self.test_rows += next.test_rows;
        self.dropped += next.dropped;
        for ((sum, next), column) in self.columns.iter_mut().zip(&next.columns).zip(plan) {
            sum.train.merge(&next.train);
            sum.test.merge(&next.test);
            sum.sparse_width = sum.sparse_width.max(next.sparse_width);
            sum.has_index_zero |= next.has_index_zero;
            sum.entries += next.entries;
            sum.few.merge(&next.few);
            match (sum.width, next.width) {
                (Some((expected, _)), Some((found, (chunk, row)))) if expected != found => {
                    let at = |_: usize| place(chunk, row);
                    return Err(located(ragged(0, found, expected), &column.name, &at));
                }
                (None, found) => sum.width = found,
                _ => {}
            }
        }
        Ok(())
    }
}

impl ColumnSummary {
    /// Of both splits.
    pub fn all(&self) -> Summary {
        let mut all = self.train;
        all.merge(&self.test);
        all
    }
}
