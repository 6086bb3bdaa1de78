//! A part in the making (stage 2): every column of it is made by any thread, and who brings the last one has all.
//!
//! Threads take one column after the other, of one part after the other. So all of them have work until the last column of the
//! last part, however few parts there are; grains are written while columns of the next part are decoded; and hardly more than
//! one part is in memory at a time.

use std::sync::Mutex;

use super::sequence::lock;
use super::shards::Grain;
use super::tally::{ColumnTally, GrainTally};
use crate::encode::column::Stored;
use crate::encode::few::Few;
use crate::encode::summary::Summary;

/// Rows of a part that belong to one grain.
pub struct Piece {
    /// Its number.
    pub grain: usize,
    /// The first of the rows, among all rows.
    pub first_row: usize,
    /// How many.
    pub rows: usize,
    /// They are all rows of the grain.
    pub is_whole: bool,
}

/// What was made of a column of a part.
#[derive(Default)]
pub struct Column {
    /// Of all its values.
    pub summary: Summary,
    /// Of a label, its distinct values, while they are few.
    pub few: Few,
    /// Largest error of a stored number.
    pub worst: f64,
    /// By piece that is a whole grain.
    pub stored: Vec<(Stored, ColumnTally)>,
}

/// A part whose columns are being made.
pub struct Making {
    /// The number of the part.
    pub part: usize,
    /// Its rows, by grain.
    pub pieces: Vec<Piece>,
    columns: Mutex<Columns>,
}

struct Columns {
    made: Vec<Option<Column>>,
    left: usize,
}

impl Making {
    /// None of its columns is there yet.
    pub fn new(part: usize, pieces: Vec<Piece>, columns: usize) -> Making {
        let columns = Columns { made: (0..columns).map(|_| None).collect(), left: columns };
        Making { part, pieces, columns: Mutex::new(columns) }
    }

    /// A column is there; all of them, where it is the last.
    pub fn put(&self, number: usize, column: Column) -> Option<Vec<Column>> {
        let mut columns = lock(&self.columns);
        columns.made[number] = Some(column);
        columns.left -= 1;
        (columns.left == 0).then(|| std::mem::take(&mut columns.made).into_iter().flatten().collect())
    }

    /// What all columns have of each piece that is a whole grain.
    pub fn grains(&self, columns: Vec<Column>) -> Vec<(&Piece, Grain)> {
        let worst: Vec<f64> = columns.iter().map(|column| column.worst).collect();
        let empty = |piece: &Piece| Grain {
            stored: Vec::with_capacity(worst.len()),
            tally: Some(GrainTally::new(piece.rows)),
            rows: piece.rows,
            worst: worst.clone(),
        };
        let whole = self.pieces.iter().filter(|piece| piece.is_whole);
        let mut grains: Vec<(&Piece, Grain)> = whole.map(|piece| (piece, empty(piece))).collect();
        for column in columns {
            for ((_, grain), (stored, tally)) in grains.iter_mut().zip(column.stored) {
                grain.stored.push(stored);
                if let Some(all) = &mut grain.tally {
                    all.add(tally);
                }
            }
        }
        grains
    }
}
