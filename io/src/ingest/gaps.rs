//! Grains that several parts have rows of (stage 2): their columns are put together piece by piece.
//!
//! A piece is encoded to the end of its column where all rows before it are there; one that comes earlier waits, encoded, for them.
//! Parts are begun in order, so that most pieces are written once. Who brings the last piece of a column counts it, and who
//! brings that of the last column has the grain.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef};

use super::decide::Decision;
use super::part::{Column, Making, Piece};
use super::sequence::lock;
use super::shards::Grain;
use super::tally::ColumnTally;
use crate::encode::column::{Encoder, Raw, Stored};
use crate::encode::raw::Fault;

/// The grains of which some rows are there.
#[derive(Default)]
pub struct Gaps {
    open: Mutex<HashMap<usize, Arc<Gap>>>,
}

/// A grain in the making.
struct Gap {
    first_row: usize,
    rows: usize,
    making: Making,
    columns: Vec<Mutex<Joint>>,
}

/// A column of it.
#[derive(Default)]
struct Joint {
    /// Its first rows, and how many.
    stored: Option<Stored>,
    rows: usize,
    /// Rows that come later, by the first of them, with their number.
    early: BTreeMap<usize, (usize, Stored)>,
    worst: f64,
}

impl Gaps {
    /// What column `number` has of a piece of the grain that has `rows` rows from row `first_row` on; all of the grain, where nothing
    /// else is missing.
    ///
    /// # Errors
    /// [`Fault`] for values that the encoder has no place for.
    pub fn fill(
        &self,
        piece: &Piece,
        (first_row, rows): (usize, usize),
        number: usize,
        values: ArrayRef,
        decisions: &[Decision],
    ) -> Result<Option<Grain>, Fault> {
        let new = || Arc::new(Gap::new(piece.grain, first_row, rows, decisions.len()));
        let gap = Arc::clone(lock(&self.open).entry(piece.grain).or_insert_with(new));
        let decision = &decisions[number];
        let Some(column) = gap.take(piece.first_row, number, values, decision)? else { return Ok(None) };
        let Some(columns) = gap.making.put(number, column) else { return Ok(None) };
        lock(&self.open).remove(&piece.grain);
        Ok(gap.making.grains(columns).pop().map(|(_, grain)| grain))
    }
}

impl Gap {
    fn new(grain: usize, first_row: usize, rows: usize, columns: usize) -> Gap {
        let whole = Piece { grain, first_row, rows, is_whole: true };
        Gap {
            first_row,
            rows,
            making: Making::new(0, vec![whole], columns),
            columns: (0..columns).map(|_| Mutex::default()).collect(),
        }
    }

    /// The next values of a column; the column, where they are the last.
    fn take(&self, row: usize, number: usize, values: ArrayRef, decision: &Decision) -> Result<Option<Column>, Fault> {
        let mut joint = lock(&self.columns[number]);
        joint.take(row - self.first_row, self.rows, values, &decision.encoder)?;
        if joint.rows < self.rows {
            return Ok(None);
        }
        let (stored, worst) = (joint.stored.take(), joint.worst);
        drop(joint);
        let counted = |stored| {
            let tally = ColumnTally::of(&stored, decision, self.rows as u64);
            (stored, tally)
        };
        Ok(Some(Column { worst, stored: stored.map(counted).into_iter().collect(), ..Column::default() }))
    }
}

impl Joint {
    /// Values from row `row` of the grain on, which has `all` rows.
    fn take(&mut self, row: usize, all: usize, values: ArrayRef, encoder: &Encoder) -> Result<(), Fault> {
        let (rows, values) = (values.len(), Raw::Numbers(values));
        if row > self.rows {
            let mut stored = encoder.start(rows);
            self.worst = self.worst.max(encoder.append(&values, &mut stored)?);
            self.early.insert(row, (rows, stored));
            return Ok(());
        }
        let stored = self.stored.get_or_insert_with(|| encoder.start(all));
        self.worst = self.worst.max(encoder.append(&values, stored)?);
        self.rows += rows;
        while let Some((rows, next)) = self.early.remove(&self.rows) {
            stored.append(&next)?;
            self.rows += rows;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;
    use gristmill_kernels::dtype::DType;

    use super::*;
    use crate::encode::affine::Affine;
    use crate::encode::store::Numbers;
    use crate::encode::summary::Summary;

    #[test]
    fn pieces_in_any_order_make_the_same_column() {
        let values: Vec<f64> = (0..60).map(|row| f64::from(row) / 7.0).collect();
        let all: ArrayRef = Arc::new(Float64Array::from(values.clone()));
        let affine = Affine::choose(&Summary::of(&all).unwrap(), Some(DType::U8), false);
        let encoder = Encoder::Numeric { affine, impute: None };
        let mut whole = encoder.start(values.len());
        let worst = encoder.append(&Raw::Numbers(Arc::clone(&all)), &mut whole).unwrap();
        assert!(worst > 0.0);
        let pieces = [(0, 10), (10, 1), (11, 29), (40, 20)];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 0, 3, 1]] {
            let mut joint = Joint::default();
            for (taken, at) in order.into_iter().enumerate() {
                assert!(joint.rows < values.len(), "{order:?}, {taken}");
                let (row, rows) = pieces[at];
                joint.take(row, values.len(), all.slice(row, rows), &encoder).unwrap();
            }
            assert_eq!((joint.rows, joint.worst, joint.early.len()), (values.len(), worst, 0), "{order:?}");
            let (Some(Stored::Numbers(found, None)), Stored::Numbers(expected, None)) = (&joint.stored, &whole) else {
                panic!("{order:?}: no numbers");
            };
            assert_eq!(found, expected, "{order:?}");
            assert!(matches!(found, Numbers::U8(numbers) if numbers.capacity() >= values.len()));
        }
    }
}
