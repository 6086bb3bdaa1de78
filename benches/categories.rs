//! Categorical columns: the time of margins and scattered gradients of several weight vectors in one pass in times of a pass a
//! vector, and of a crossed column in times of a stored one.
//!
//! `cargo bench --bench categories -- [--test] [--rows 400000] [--rounds 5]`
//! 26 columns with Zipf levels, 1,000, 30,000 and 1,000,000 in all; then one column of 2^8, 2^15 and 2^20 levels, stored with codes of 32 bits,
//! and crossed of two of 16 bits, exactly and hashed. Every case checks its bits first. One thread; the cases of a round run in
//! turn, and the median of the rounds' ratios is told.

use gristmill_kernels::ops::lines;
use gristmill_kernels::tile::{Block, Codes, Cross, Part};
use gristmill_kernels::{Aligned, FixedScale, Kernels, Residuals, Tier};
use std::time::Instant;

const COLUMNS: usize = 26;
const TILE: usize = 576;
const VECTORS: [usize; 4] = [1, 2, 4, 8];

fn options() -> (usize, usize) {
    let (mut rows, mut rounds, mut test) = (400_000, 5, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let slot = match word.as_str() {
            "--bench" => continue,
            "--test" => {
                test = true;
                continue;
            }
            "--rows" => &mut rows,
            "--rounds" => &mut rounds,
            _ => usage(&format!("unknown option {word}")),
        };
        *slot = match words.next().and_then(|text| text.parse().ok()) {
            Some(number) if number > 0 => number,
            _ => usage(&format!("{word} wants a positive number")),
        };
    }
    if test { (4 * TILE, 1) } else { (rows, rounds) }
}

fn usage(message: &str) -> ! {
    eprintln!("{message}; see the head of benches/categories.rs");
    std::process::exit(2)
}

/// Uniform in [0, 1): the splittable generator of Steele, Lea and Flood (2014).
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Levels that occur as often as 1 / (1 + number).
fn zipf(levels: usize, rows: usize, state: &mut u64) -> Vec<u32> {
    (0..rows).map(|_| (((levels as f64 + 1.0).powf(uniform(state)) - 1.0) as u32).min(levels as u32 - 1)).collect()
}

/// What a worker has of some vectors: weights and sums, block after block; in a block vector after vector, or in lines.
struct Tables {
    count: usize,
    w: Aligned<f32>,
    g: Aligned<i64>,
    z: Vec<f32>,
    quantised: Vec<i64>,
}

impl Tables {
    fn new(blocks: &[Block<'_>], count: usize, in_lines: bool) -> Tables {
        let mut w = Vec::new();
        for (number, block) in blocks.iter().enumerate() {
            let levels = block.parameters();
            let weight = |v: usize, level: usize| ((number * 31 + v * 7 + level) as f32 * 0.7).sin() * 0.1;
            match in_lines {
                true => w.extend((0..levels).flat_map(|level| (0..count).map(move |v| weight(v, level)))),
                false => w.extend((0..count).flat_map(|v| (0..levels).map(move |level| weight(v, level)))),
            }
        }
        let (mut own, g) = (Aligned::zeros(w.len()), Aligned::zeros(w.len()));
        own.copy_from_slice(&w);
        Tables { count, g, w: own, z: vec![0.0; count * TILE], quantised: vec![0; count * TILE] }
    }

    /// Margins and sums of all rows: block by block and vector by vector.
    fn alone(&mut self, kernels: &Kernels<f32>, blocks: &[Block<'_>], rows: usize) {
        let scale = FixedScale::new(30, 1e3);
        for start in (0..rows).step_by(TILE) {
            let rows = start..rows.min(start + TILE);
            let n = rows.len();
            self.z[..self.count * n].fill(0.1);
            let mut first = 0;
            for block in blocks {
                let w = &self.w[first..first + self.count * block.parameters()];
                for (w, z) in w.chunks_exact(block.parameters()).zip(self.z.chunks_exact_mut(n)) {
                    kernels.margins(block, rows.clone(), w, z);
                }
                first += w.len();
            }
            for (v, (z, scratch)) in
                self.z.chunks_exact(n).zip(self.quantised.chunks_exact_mut(n)).enumerate().take(self.count)
            {
                let (mut residuals, mut first) = (Residuals::new(z, scratch), 0);
                for block in blocks {
                    let levels = block.parameters();
                    let g = &mut self.g[first + v * levels..first + (v + 1) * levels];
                    assert!(kernels.scatter(block, rows.clone(), &mut residuals, scale, g).is_ok());
                    first += self.count * levels;
                }
            }
        }
    }

    /// The same, in lines.
    fn lines(&mut self, kernels: &Kernels<f32>, blocks: &[Block<'_>], rows: usize) {
        let (scale, count) = (FixedScale::new(30, 1e3), self.count);
        for start in (0..rows).step_by(TILE) {
            let rows = start..rows.min(start + TILE);
            let n = rows.len();
            let (z, quantised) = (&mut self.z[..count * n], &mut self.quantised[..count * n]);
            z.fill(0.1);
            kernels.margins_lines(lines::Margins { blocks, rows: rows.clone(), count, w: &self.w, z });
            for (z, quantised) in z.chunks_exact(n).zip(quantised.chunks_exact_mut(n)) {
                assert!(kernels.quantise(z, scale, quantised).is_ok());
            }
            kernels.scatter_lines(lines::Scatter { blocks, rows, count, quantised, g: &mut self.g });
        }
    }
}

fn seconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn several(kernels: &Kernels<f32>, levels: usize, rows: usize, rounds: usize) {
    let mut state = 1;
    let widths: Vec<usize> =
        (0..COLUMNS).map(|c| (levels as f64 * 0.2 * 0.35f64.powi(c as i32 % 8)).max(4.0) as usize).collect();
    let codes: Vec<Vec<u32>> = widths.iter().map(|&levels| zipf(levels, rows, &mut state)).collect();
    let block = |(codes, &levels): (&'static [u32], &usize)| Block::Codes { codes: Codes::U32(codes), levels };
    let codes: Vec<&'static [u32]> = codes.into_iter().map(|codes| &*codes.leak()).collect();
    let blocks: Vec<Block<'_>> = codes.into_iter().zip(&widths).map(block).collect();
    for count in VECTORS {
        let (mut alone, mut lines) = (Tables::new(&blocks, count, false), Tables::new(&blocks, count, true));
        alone.alone(kernels, &blocks, rows);
        lines.lines(kernels, &blocks, rows);
        assert!(alone.z == lines.z && sums(&alone.g) == sums(&lines.g), "{count} vectors have other bits in lines");
        let rounds: Vec<(f64, f64)> = (0..rounds)
            .map(|_| {
                let one = seconds(|| alone.alone(kernels, &blocks, rows));
                (one, seconds(|| lines.lines(kernels, &blocks, rows)))
            })
            .collect();
        let rate = rows as f64 / median(rounds.iter().map(|round| round.1).collect()) / 1e6;
        let ratio = median(rounds.iter().map(|round| round.0 / round.1).collect());
        println!(
            "{:<10} {:>9} {count:>3} {rate:>12.2} {ratio:>22.2}",
            kernels.tier().name(),
            widths.iter().sum::<usize>()
        );
    }
}

/// Sums without their places.
fn sums(g: &[i64]) -> (i64, i64) {
    (g.iter().fold(0, |sum, g| sum.wrapping_add(*g)), g.iter().fold(0, |sum, g| sum ^ g))
}

fn crossed(kernels: &Kernels<f32>, bits: u32, rows: usize, rounds: usize) {
    let (mut state, side) = (2, 1usize << (bits / 2));
    let narrow = |codes: Vec<u32>| codes.into_iter().map(|code| code as u16).collect::<Vec<u16>>();
    let codes = [side, (1 << bits) / side].map(|levels| narrow(zipf(levels, rows, &mut state)));
    let part = |codes, levels| Part { codes: Codes::U16(codes), levels };
    let parts = vec![part(&codes[0], side), part(&codes[1], (1 << bits) / side)];
    let cross = |hash_bits| Cross { parts: parts.clone(), levels: 1 << bits, hash_bits };
    let stored = |cross: &Cross<'_>| {
        let mut out = vec![0; rows];
        kernels.cross(cross, 0..rows, &mut out);
        out
    };
    for (name, cross) in [("exact", cross(None)), ("hashed", cross(Some(bits)))] {
        let codes = stored(&cross);
        let plain = [Block::Codes { codes: Codes::U32(&codes), levels: 1 << bits }];
        let crossed = [Block::Crossed(cross)];
        let (mut one, mut other) = (Tables::new(&plain, 1, false), Tables::new(&crossed, 1, false));
        one.alone(kernels, &plain, rows);
        other.alone(kernels, &crossed, rows);
        assert!(one.z == other.z && *one.g == *other.g, "a crossed column has other bits than a stored one");
        let rounds: Vec<(f64, f64)> = (0..rounds)
            .map(|_| {
                let plain = seconds(|| one.alone(kernels, &plain, rows));
                (plain, seconds(|| other.alone(kernels, &crossed, rows)))
            })
            .collect();
        let nanoseconds = |seconds: Vec<f64>| median(seconds) / rows as f64 * 1e9;
        println!(
            "{:<10} {:>9} {name:>7} {:>14.2} {:>14.2} {:>14.2}",
            kernels.tier().name(),
            1 << bits,
            nanoseconds(rounds.iter().map(|round| round.0).collect()),
            nanoseconds(rounds.iter().map(|round| round.1).collect()),
            median(rounds.iter().map(|round| round.1 / round.0).collect())
        );
    }
}

fn main() {
    let (rows, rounds) = options();
    println!("{:<10} {:>9} {:>3} {:>12} {:>22}", "tier", "levels", "K", "M rows/s", "a pass a vector, times");
    let tiers = || Tier::available().into_iter().rev().map(Kernels::new);
    for kernels in tiers() {
        [1_000, 30_000, 1_000_000].into_iter().for_each(|levels| several(&kernels, levels, rows, rounds));
    }
    println!(
        "{:<10} {:>9} {:>7} {:>14} {:>14} {:>14}",
        "tier", "levels", "cross", "stored, ns/row", "crossed", "times"
    );
    for kernels in tiers() {
        [8, 15, 20].into_iter().for_each(|bits| crossed(&kernels, bits, rows, rounds));
    }
}
