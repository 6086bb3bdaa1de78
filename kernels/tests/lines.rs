//! Categorical blocks for several vectors in one pass: the bits of one call a block and vector.

#![allow(clippy::unwrap_used)] // a test may panic

mod levels;

use gristmill_kernels::ops::lines;
use gristmill_kernels::tile::{Block, Codes, Cross, Part};
use gristmill_kernels::{FixedScale, Kernels, Real, Residuals, Tier};

const ROWS: usize = 700;
/// Of u8, u16 and u32 codes; the lines of the last are far.
const LEVELS: [usize; 3] = [40, 900, 66_000];

struct Data {
    codes: (Vec<u8>, Vec<u16>, Vec<u32>),
}

impl Data {
    fn new() -> Data {
        Data { codes: levels::codes(ROWS, LEVELS, [0, 5, 9]) }
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        let all = [Codes::U8(&self.codes.0), Codes::U16(&self.codes.1), Codes::U32(&self.codes.2)];
        let part = |number: usize| Part { codes: all[number], levels: LEVELS[number] };
        let mut blocks: Vec<Block<'_>> =
            all.iter().zip(LEVELS).map(|(&codes, levels)| Block::Codes { codes, levels }).collect();
        let exact = Cross { parts: vec![part(0), part(1)], levels: LEVELS[0] * LEVELS[1], hash_bits: None };
        let hashed = Cross { parts: vec![part(2), part(0)], levels: 512, hash_bits: Some(9) };
        blocks.extend([Block::Crossed(exact), Block::Crossed(hashed)]);
        blocks
    }
}

fn number<R: Real>(at: usize) -> R {
    R::from_f64(((at * 37 % 1_001) as f64 - 500.0) / 1_001.0)
}

/// What vectors have one after the other, level by level.
fn side_by_side<N: Copy>(vectors: &[N], width: usize) -> Vec<N> {
    (0..width).flat_map(|level| vectors.iter().skip(level).step_by(width).copied()).collect()
}

fn battery<R: Real>() {
    let data = Data::new();
    let blocks = data.blocks();
    let widths: Vec<usize> = blocks.iter().map(Block::parameters).collect();
    for tier in Tier::available() {
        let kernels = Kernels::<R>::new(tier);
        for (count, rows) in
            [(2, 0..1), (3, 5..133), (4, 0..128), (7, 1..300), (8, 0..ROWS), (10, 3..ROWS - 2), (19, 7..40)]
        {
            let n = rows.len();
            let weights: Vec<Vec<R>> = widths.iter().map(|width| (0..count * width).map(number).collect()).collect();
            let start: Vec<R> = (0..count * n).map(|at| number(at + 3)).collect();
            let (mut expected, mut found) = (start.clone(), start);
            for (block, own) in blocks.iter().zip(&weights) {
                for (w, z) in own.chunks_exact(block.parameters()).zip(expected.chunks_exact_mut(n)) {
                    kernels.margins(block, rows.clone(), w, z);
                }
            }
            let w: Vec<R> = weights.iter().zip(&widths).flat_map(|(own, width)| side_by_side(own, *width)).collect();
            kernels.margins_lines(lines::Margins { blocks: &blocks, rows: rows.clone(), count, w: &w, z: &mut found });
            let bits = |z: &[R]| z.iter().map(|z| z.to_f64().to_bits()).collect::<Vec<_>>();
            assert!(bits(&found) == bits(&expected), "{tier}, {count} vectors, rows {rows:?}");

            let r: Vec<R> = (0..count * n).map(number).collect();
            let scale = FixedScale::new(30, 0.5);
            let mut alone: Vec<Vec<i64>> = widths.iter().map(|width| vec![0; count * width]).collect();
            let mut scratch = vec![0; n];
            for (v, r) in r.chunks_exact(n).enumerate() {
                let mut residuals = Residuals::new(r, &mut scratch);
                for (block, g) in blocks.iter().zip(&mut alone) {
                    let g = &mut g[v * block.parameters()..(v + 1) * block.parameters()];
                    kernels.scatter(block, rows.clone(), &mut residuals, scale, g).unwrap();
                }
            }
            let expected: Vec<i64> =
                alone.iter().zip(&widths).flat_map(|(own, width)| side_by_side(own, *width)).collect();
            let (mut quantised, mut g) = (vec![0; count * n], vec![0; expected.len()]);
            for (r, quantised) in r.chunks_exact(n).zip(quantised.chunks_exact_mut(n)) {
                kernels.quantise(r, scale, quantised).unwrap();
            }
            let (blocks, quantised) = (&blocks[..], &quantised[..]);
            kernels.scatter_lines(lines::Scatter { blocks, rows: rows.clone(), count, quantised, g: &mut g });
            assert!(g == expected, "{tier}, {count} vectors, rows {rows:?}");
        }
    }
}

#[test]
fn bits_in_f32() {
    battery::<f32>();
}

#[test]
fn bits_in_f64() {
    battery::<f64>();
}

#[test]
fn a_residual_beyond_its_bound_is_an_error() {
    for tier in Tier::available() {
        let (kernels, mut out) = (Kernels::<f32>::new(tier), [0; 3]);
        assert!(kernels.quantise(&[0.5, -0.5, 0.0], FixedScale::new(30, 0.5), &mut out).is_ok());
        for wrong in [0.500_1, f32::NAN, f32::INFINITY] {
            assert!(kernels.quantise(&[0.0, wrong, 0.0], FixedScale::new(30, 0.5), &mut out).is_err());
        }
    }
}
