//! Scattered gradients of categorical columns and sparse rows: integers that every tier and every cut into tiles must
//! find alike, and contributions beyond their bound, which must be told.

#![allow(clippy::unwrap_used)] // a test may panic

mod levels;

use gristmill_kernels::tile::{Block, Codes};
use gristmill_kernels::{FixedScale, Kernels, OutOfRange, Real, Residuals, Tier};
use std::ops::Range;

const ROWS: usize = 1_000;
/// Tables that lie near and far; see `ops::codes`.
const LEVELS: [usize; 3] = [200, 50_000, 100_000];
const WIDTH: usize = 50;
const EXPONENT: i32 = 30;

struct Data {
    codes: (Vec<u8>, Vec<u16>, Vec<u32>),
    offsets: Vec<i32>,
    indices: Vec<u32>,
    values: Vec<f32>,
    r: Vec<f32>,
}

impl Data {
    fn new() -> Data {
        Data {
            codes: levels::codes(ROWS, LEVELS, [0; 3]),
            offsets: (0..=ROWS).map(|row| 2 * row as i32).collect(),
            indices: (0..ROWS).flat_map(|row| [row as u32 % 20, 20 + row as u32 % 30]).collect(),
            values: (0..2 * ROWS).map(|entry| (entry % 17) as f32 / 8.0 - 1.0).collect(),
            r: (0..ROWS).map(|row| (row % 101) as f32 / 101.0 - 0.5).collect(),
        }
    }

    fn blocks(&self) -> [Block<'_>; 4] {
        let (offsets, indices, values) = (&self.offsets[..], &self.indices[..], &self.values[..]);
        [
            Block::Codes { codes: Codes::U8(&self.codes.0), levels: LEVELS[0] },
            Block::Codes { codes: Codes::U16(&self.codes.1), levels: LEVELS[1] },
            Block::Sparse { offsets, indices, values, width: WIDTH },
            Block::Codes { codes: Codes::U32(&self.codes.2), levels: LEVELS[2] },
        ]
    }

    /// Level or element, and value, of each entry of a row.
    fn entries(&self, block: usize, row: usize) -> Vec<(usize, f32)> {
        match block {
            0 => vec![(usize::from(self.codes.0[row]), 1.0)],
            1 => vec![(usize::from(self.codes.1[row]), 1.0)],
            2 => (2 * row..2 * row + 2).map(|at| (self.indices[at] as usize, self.values[at])).collect(),
            _ => vec![(self.codes.2[row] as usize, 1.0)],
        }
    }
}

/// The sums of every block over the tiles; the scale of each block is one bit finer than the last's.
fn sums<R: Real>(tier: Tier, data: &Data, r: &[f32], tiles: &[Range<usize>]) -> Result<Vec<Vec<i64>>, OutOfRange> {
    let kernels = Kernels::<R>::new(tier);
    let r: Vec<R> = r.iter().map(|&r| R::from_f64(f64::from(r))).collect();
    let blocks = data.blocks();
    let mut sums: Vec<Vec<i64>> = blocks.iter().map(|block| vec![0; block.parameters()]).collect();
    let mut scratch = vec![0; ROWS];
    for rows in tiles {
        let mut residuals = Residuals::new(&r[rows.clone()], &mut scratch[..rows.len()]);
        for (number, (block, sums)) in blocks.iter().zip(&mut sums).enumerate() {
            // The first two share a scale, so that residuals are reused; sparse values are at most 1 in size.
            let scale = FixedScale::new(EXPONENT + number as i32 / 2, 0.5);
            kernels.scatter(block, rows.clone(), &mut residuals, scale, sums)?;
        }
    }
    Ok(sums)
}

fn battery<R: Real>() {
    let data = Data::new();
    for length in [0, 1, 7, 31, 32, 33, 63, 64, 65, ROWS - 3] {
        let rows = 3..3 + length;
        let mut expected: Vec<Vec<i64>> = data.blocks().iter().map(|block| vec![0; block.parameters()]).collect();
        for (number, sums) in expected.iter_mut().enumerate() {
            for row in rows.clone() {
                for (element, x) in data.entries(number, row) {
                    let product = f64::from(data.r[row]) * f64::from(x) * 2f64.powi(EXPONENT + number as i32 / 2);
                    sums[element] += product.round_ties_even() as i64;
                }
            }
        }
        for tier in Tier::available() {
            let cut = rows.start + length / 3;
            for tiles in [vec![rows.clone()], vec![cut..rows.end, rows.start..cut]] {
                let found = sums::<R>(tier, &data, &data.r, &tiles).unwrap();
                assert!(found == expected, "{tier}, rows {tiles:?}");
            }
        }
    }
}

#[test]
fn integers_of_residuals_in_f32() {
    battery::<f32>();
}

#[test]
fn integers_of_residuals_in_f64() {
    battery::<f64>();
}

#[test]
fn a_residual_beyond_its_bound_is_an_error() {
    let data = Data::new();
    for tier in Tier::available() {
        for wrong in [0.500_1, -0.500_1, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for row in [0, 1, 500, ROWS - 1] {
                let mut r = data.r.clone();
                r[row] = wrong;
                let rows = 0..ROWS;
                let found = sums::<f32>(tier, &data, &r, std::slice::from_ref(&rows));
                assert_eq!(found, Err(OutOfRange), "{tier}, {wrong} in row {row}");
            }
        }
    }
}
