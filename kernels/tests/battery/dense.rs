//! Margins, gradient and conversion of dense blocks.

use super::data::{Numbers, Random};
use super::{Arithmetic, LENGTHS, SameBits, assert_close, gamma, kernels};
use gristmill_kernels::dtype::DType;
use gristmill_kernels::reference;
use gristmill_kernels::tile::{Block, parts};
use gristmill_kernels::{Call, Carried, Kernels, LANES};

/// Calls `test` with scalar columns and row-major vectors of every storage type and many shapes; the tile starts at
/// row 3 of the grain and ends two rows before its end.
fn each_block(mut test: impl FnMut(&Block<'_>, std::ops::Range<usize>, usize, &mut Random, &str)) {
    let mut random = Random(7);
    for dtype in DType::ALL {
        for (at, rows) in LENGTHS.into_iter().enumerate() {
            let tile = 3..3 + rows;
            let grain = rows + 5;
            for width in [0, 1, 3, 4, 9, 28, 123] {
                if rows * width > 70_000 {
                    continue;
                }
                let numbers = Numbers::random(dtype, 1 + (grain + 1) * width, &mut random);
                let block = Block::Columns(numbers.columns(at % 2, grain, grain + 1, width));
                let what = format!("{rows} rows of {width} {} columns", dtype.name());
                test(&block, tile.clone(), width, &mut random, &what);
            }
            for width in [0, 1, 15, 16, 17, 33, 64, 70, 130, 200] {
                if rows * width > 70_000 {
                    continue;
                }
                let numbers = Numbers::random(dtype, 1 + grain * width, &mut random);
                let block = Block::Vectors { values: numbers.values(at % 2), width };
                let what = format!("{rows} vectors of {width} {}", dtype.name());
                test(&block, tile.clone(), width, &mut random, &what);
            }
        }
    }
}

fn to_f64<R: Arithmetic>(values: &[R]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

fn margins_agree<R: Arithmetic>() {
    let all: Vec<Kernels<R>> = kernels();
    each_block(|block, rows, width, random, what| {
        let (w, start) = (random.reals::<R>(width), random.reals::<R>(rows.len()));
        let mut want = to_f64(&start);
        reference::margins(block, rows.clone(), &to_f64(&w), &mut want);
        let mut magnitude = vec![0.0; rows.len()];
        reference::entries(block, rows.clone(), |i, j, x| magnitude[i] += (w[j].to_f64() * x).abs());
        // Two roundings a product without FMA, one of each `f64` value to `f32`, one more for the start of the sum,
        // and the reference's own.
        let bound: Vec<f64> = magnitude
            .iter()
            .zip(&start)
            .map(|(sum, z)| gamma(2 * width + 20, R::UNIT) * (sum + z.to_f64().abs()) * 1.000_001)
            .collect();
        let mut same = SameBits::default();
        for kernels in &all {
            let what = format!("margins, {}, {what}", kernels.tier());
            let mut z = start.clone();
            kernels.margins(block, rows.clone(), &w, &mut z);
            assert_close(&to_f64(&z), &want, &bound, &what);
            same.check(kernels.tier(), z.into_iter().map(R::bits).collect(), &what);
        }
    });
}

#[test]
fn margins_in_f32() {
    margins_agree::<f32>();
}

#[test]
fn margins_in_f64() {
    margins_agree::<f64>();
}

fn gradients_agree<R: Arithmetic>() {
    let all: Vec<Kernels<R>> = kernels();
    each_block(|block, rows, width, random, what| {
        let (r, start) = (random.reals::<R>(rows.len()), random.reals::<f64>(width));
        let mut want = start.clone();
        reference::gradient(block, rows.clone(), &to_f64(&r), &mut want);
        let mut magnitude = vec![0.0; width];
        reference::entries(block, rows.clone(), |i, j, x| magnitude[j] += (r[i].to_f64() * x).abs());
        let bound: Vec<f64> = magnitude
            .iter()
            .zip(&start)
            .map(|(sum, g)| gamma(2 * rows.len() + 20, R::UNIT) * sum + gamma(rows.len() + 20, f64::UNIT) * g.abs())
            .collect();
        let mut same = SameBits::default();
        for kernels in &all {
            let what = format!("gradient, {}, {what}", kernels.tier());
            let mut g = start.clone();
            kernels.gradient(block, rows.clone(), &r, &mut g);
            assert_close(&g, &want, &bound, &what);
            same.check(kernels.tier(), g.into_iter().map(f64::to_bits).collect(), &what);
        }
    });
}

#[test]
fn gradients_in_f32() {
    gradients_agree::<f32>();
}

#[test]
fn gradients_in_f64() {
    gradients_agree::<f64>();
}

/// A row's margin does not depend on where the row stands in the tile, so that prediction and training agree and tiles
/// may be cut anywhere.
#[test]
fn a_row_has_the_same_margin_in_every_tile() {
    for kernels in kernels::<f32>() {
        each_block(|block, rows, width, random, what| {
            let w = random.reals::<f32>(width);
            let mut whole = vec![0.0; rows.len()];
            kernels.margins(block, rows.clone(), &w, &mut whole);
            for (i, row) in rows.enumerate().step_by(13) {
                let mut alone = [0.0];
                kernels.margins(block, row..row + 1, &w, &mut alone);
                assert_eq!(alone[0].to_bits(), whole[i].to_bits(), "{}, {what}, row {i}", kernels.tier());
            }
        });
    }
}

/// Any number of weight vectors in one pass gives each the bits it gets alone.
fn several_are_as_one<R: Arithmetic>() {
    let all: Vec<Kernels<R>> = kernels();
    each_block(|block, rows, width, random, what| {
        let count = 1 + (rows.len() + width) % 15;
        let w = random.reals::<R>(count * width);
        let mut z = random.reals::<R>(count * rows.len());
        let mut g = random.reals::<f64>(count * width);
        let (start_z, start_g) = (z.clone(), g.clone());
        if width == 0 || rows.is_empty() {
            return;
        }
        for kernels in &all {
            let what = format!("{count} weight vectors, {}, {what}", kernels.tier());
            z.copy_from_slice(&start_z);
            g.copy_from_slice(&start_g);
            kernels.gradient_k(block, rows.clone(), &z, &mut g);
            kernels.margins_k(block, rows.clone(), &w, &mut z);
            for v in 0..count {
                let (of_rows, of_columns) = (v * rows.len()..(v + 1) * rows.len(), v * width..(v + 1) * width);
                let (mut one_z, mut one_g) = (start_z[of_rows.clone()].to_vec(), start_g[of_columns.clone()].to_vec());
                kernels.gradient(block, rows.clone(), &one_z, &mut one_g);
                kernels.margins(block, rows.clone(), &w[of_columns.clone()], &mut one_z);
                let bits = |values: &[R]| values.iter().map(|value| value.bits()).collect::<Vec<_>>();
                assert_eq!(bits(&z[of_rows]), bits(&one_z), "margins {v} of {what}");
                assert_eq!(g[of_columns], one_g, "gradient {v} of {what}");
            }
        }
    });
}

#[test]
fn several_weight_vectors_in_f32() {
    several_are_as_one::<f32>();
}

#[test]
fn several_weight_vectors_in_f64() {
    several_are_as_one::<f64>();
}

/// A gradient whose rows come in several calls has the bits of one call.
fn calls_are_as_one<R: Arithmetic>() {
    let all: Vec<Kernels<R>> = kernels();
    each_block(|block, rows, width, random, what| {
        let (r, start) = (random.reals::<R>(rows.len()), random.reals::<f64>(width));
        for (number, kernels) in all.iter().enumerate() {
            let mut whole = start.clone();
            kernels.gradient(block, rows.clone(), &r, &mut whole);
            for piece in [64, 128 + 64 * number] {
                // What was in the lanes before does not matter.
                let (mut lanes, mut g) = (vec![[R::ONE; LANES]; width], start.clone());
                for part in parts(&rows, piece) {
                    let call = Call { first: part.start == rows.start, last: part.end == rows.end };
                    let r = &r[part.start - rows.start..part.end - rows.start];
                    let carried = Some(Carried { call, lanes: &mut lanes[..] });
                    kernels.gradient_of_run(block, part, r, carried, &mut g);
                }
                assert_eq!(g, whole, "gradient in pieces of {piece}, {}, {what}", kernels.tier());
            }
        }
    });
}

#[test]
fn calls_of_a_run_in_f32() {
    calls_are_as_one::<f32>();
}

#[test]
fn calls_of_a_run_in_f64() {
    calls_are_as_one::<f64>();
}

fn conversion_is_exact<R: Arithmetic>() {
    let mut random = Random(11);
    for kernels in kernels::<R>() {
        for dtype in DType::ALL {
            for rows in LENGTHS {
                let numbers = Numbers::random(dtype, rows + 4, &mut random);
                let mut out = vec![R::default(); rows];
                kernels.convert(&numbers.values(1), 2..2 + rows, &mut out);
                for (i, got) in out.into_iter().enumerate() {
                    let want = R::from_f64(reference::value(&numbers.values(1), 2 + i));
                    assert_eq!(got.bits(), want.bits(), "{} {} of {rows} {}", kernels.tier(), i, dtype.name());
                }
            }
        }
    }
}

#[test]
fn conversion_to_f32_is_correctly_rounded() {
    conversion_is_exact::<f32>();
}

#[test]
fn conversion_to_f64_is_exact() {
    conversion_is_exact::<f64>();
}
