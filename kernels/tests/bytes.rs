//! Margins and gradient of many `u8` columns: the same bits on every tier, portable included, and those of plain loops over the
//! formula at the head of `ops::bytes`.

use gristmill_kernels::tile::{Block, Columns};
use gristmill_kernels::{Kernels, Tier, reference};

#[path = "battery/data.rs"]
#[allow(dead_code)]
mod data;
use data::Random;

/// Rows, columns, vectors: parts of 64 rows and of four columns, matrices half full, two chunks of columns, two pieces of rows.
const SHAPES: [[usize; 3]; 10] = [
    [1, 128, 1],
    [3, 132, 2],
    [64, 200, 1],
    [130, 129, 3],
    [65, 131, 12],
    [500, 200, 10],
    [333, 1_000, 4],
    [70, 2_600, 3],
    [4_200, 140, 5],
    [2_100, 150, 7],
];

/// Numbers of a size, numbers that are not, nothing at all, and what is not a number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Even,
    Uneven,
    Zero,
    Infinite,
}

fn numbers(kind: Kind, count: usize, random: &mut Random) -> Vec<f32> {
    let mut numbers = random.reals::<f32>(count);
    match kind {
        Kind::Even => {}
        Kind::Uneven => numbers.iter_mut().skip(1).for_each(|number| *number *= 1e-4),
        Kind::Zero => numbers.fill(0.0),
        Kind::Infinite => numbers[count / 2] = f32::NEG_INFINITY,
    }
    numbers
}

/// The integers and what one stands for; 24 bits where the mean is the `even`th part of the largest or more.
fn round(numbers: &[f32], even: i64) -> (Vec<i64>, f64) {
    let largest = numbers.iter().fold(0.0, |largest: f64, number| largest.max(f64::from(number.abs())));
    if largest == 0.0 || !largest.is_finite() {
        return (vec![0; numbers.len()], if largest == 0.0 { 0.0 } else { f64::NAN });
    }
    let at = |most: f64| numbers.iter().map(|n| (f64::from(*n) * (most / largest)).round_ties_even() as i64).collect();
    let (narrow, wide) = (8_355_711.0, 2_139_062_143.0);
    let integers: Vec<i64> = at(narrow);
    let total: i64 = integers.iter().map(|q| q.abs()).sum();
    if (total * even) < numbers.len() as i64 * 8_355_711 {
        (at(wide), largest / wide)
    } else {
        (integers, largest / narrow)
    }
}

#[test]
fn bits_are_those_of_plain_loops_on_every_tier() {
    let mut random = Random(23);
    for [rows, width, vectors] in SHAPES {
        let (tile, grain) = (5..5 + rows, rows + 7);
        let bytes: Vec<u8> = (0..grain * width).map(|_| random.next() as u8).collect();
        let columns: Vec<&[u8]> = bytes.chunks(grain).collect();
        let block = Block::Columns(Columns::U8(columns.clone()));
        let kind =
            |vector: usize| [Kind::Even, Kind::Uneven, Kind::Zero, Kind::Even, Kind::Infinite][(vector + width) % 5];
        let w: Vec<f32> = (0..vectors).flat_map(|v| numbers(kind(v), width, &mut random)).collect();
        let r: Vec<f32> = (0..vectors).flat_map(|v| numbers(kind(v + 1), rows, &mut random)).collect();
        let start = random.reals::<f32>(vectors * rows);
        let (mut want_z, mut want_g) = (start.clone(), vec![0.0; vectors * width]);
        // Chunks are alike, and whole fours of columns.
        let chunk = width.div_ceil(width.div_ceil(1_024)).next_multiple_of(4);
        for v in 0..vectors {
            for first in (0..width).step_by(chunk) {
                let last = width.min(first + chunk);
                let (q, unit) = round(&w[v * width + first..v * width + last], 32);
                for (i, row) in tile.clone().enumerate() {
                    let total: i64 = q.iter().zip(&columns[first..last]).map(|(q, x)| q * i64::from(x[row])).sum();
                    want_z[v * rows + i] += (total as f64 * unit) as f32;
                }
            }
            let (q, unit) = round(&r[v * rows..(v + 1) * rows], 4_096);
            for (j, column) in columns.iter().enumerate() {
                for piece in (0..rows).step_by(2_048) {
                    let piece = piece..rows.min(piece + 2_048);
                    let x = &column[tile.start + piece.start..tile.start + piece.end];
                    let total: i64 = q[piece].iter().zip(x).map(|(q, x)| q * i64::from(*x)).sum();
                    want_g[v * width + j] += total as f64 * unit;
                }
            }
        }
        for tier in Tier::available() {
            let kernels = Kernels::<f32>::new(tier);
            let what = format!("{rows} rows, {width} columns, {vectors} vectors, {tier}");
            let (mut z, mut g) = (start.clone(), vec![0.0; vectors * width]);
            kernels.margins_k(&block, tile.clone(), &w, &mut z);
            kernels.gradient_k(&block, tile.clone(), &r, &mut g);
            let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            for (i, (got, want)) in z.iter().zip(&want_z).enumerate() {
                assert!(same(f64::from(*got), f64::from(*want)), "margin {i} of {what} is {got}, expected {want}");
            }
            for (j, (got, want)) in g.iter().zip(&want_g).enumerate() {
                assert!(same(*got, *want), "gradient {j} of {what} is {got}, expected {want}");
            }
        }
    }
}

/// What is rounded is at most 6e-8 of the largest number where numbers are of a size, and 2.4e-10 of it elsewhere.
#[test]
fn what_is_rounded_is_small() {
    let (rows, width) = (300, 190);
    let mut random = Random(5);
    let bytes: Vec<u8> = (0..rows * width).map(|_| random.next() as u8).collect();
    let columns: Vec<&[u8]> = bytes.chunks(rows).collect();
    let block = Block::Columns(Columns::U8(columns));
    let kernels = Kernels::<f32>::new(Tier::best());
    for (kind, unit) in [(Kind::Even, 6e-8), (Kind::Uneven, 2.4e-10)] {
        let w = numbers(kind, width, &mut random);
        let largest = w.iter().fold(0.0, |largest: f64, w| largest.max(f64::from(w.abs())));
        let (mut z, mut want) = (vec![0.0; rows], vec![0.0; rows]);
        kernels.margins(&block, 0..rows, &w, &mut z);
        reference::margins(&block, 0..rows, &w.iter().map(|w| f64::from(*w)).collect::<Vec<_>>(), &mut want);
        let mut sums = vec![0.0; rows];
        reference::entries(&block, 0..rows, |i, _, x| sums[i] += x);
        for ((got, want), sum) in z.iter().zip(&want).zip(&sums) {
            let bound = largest * unit * sum + want.abs() * 6e-8;
            assert!((f64::from(*got) - want).abs() <= bound, "{kind:?}: {got}, expected {want} within {bound}");
        }
    }
}
