//! Crossed columns: their codes against a named hash, and margins and sums against those of a column that holds the same codes.

#![allow(clippy::unwrap_used)] // a test may panic

mod levels;

use gristmill_kernels::reference;
use gristmill_kernels::tile::{Block, Codes, Cross, Part};
use gristmill_kernels::{FixedScale, Kernels, Real, Residuals, Tier};

const ROWS: usize = 2_500;
const LEVELS: [usize; 3] = [200, 3_000, 70_000];

struct Data {
    codes: (Vec<u8>, Vec<u16>, Vec<u32>),
}

impl Data {
    fn new() -> Data {
        Data { codes: levels::codes(ROWS, LEVELS, [0, 5, 9]) }
    }

    fn cross(&self, parts: &[usize], hash_bits: Option<u32>) -> Cross<'_> {
        let all = [Codes::U8(&self.codes.0), Codes::U16(&self.codes.1), Codes::U32(&self.codes.2)];
        let product: usize = parts.iter().map(|&part| LEVELS[part]).product();
        Cross {
            parts: parts.iter().map(|&part| Part { codes: all[part], levels: LEVELS[part] }).collect(),
            levels: hash_bits.map_or(product, |bits| 1 << bits),
            hash_bits,
        }
    }

    fn crosses(&self) -> Vec<Cross<'_>> {
        vec![
            self.cross(&[0, 1], None),
            self.cross(&[1, 0], None),
            self.cross(&[0, 2], Some(12)),
            self.cross(&[2, 1, 0], Some(18)),
        ]
    }

    /// The code of a row, from the formula.
    fn exact(&self, parts: &[usize], row: usize) -> u32 {
        let code =
            |part| [usize::from(self.codes.0[row]), usize::from(self.codes.1[row]), self.codes.2[row] as usize][part];
        parts.iter().fold(0, |sum, &part| sum * LEVELS[part] + code(part)) as u32
    }
}

fn codes(kernels: &Kernels<f32>, cross: &Cross<'_>, rows: std::ops::Range<usize>) -> Vec<u32> {
    let mut out = vec![7; rows.len()];
    kernels.cross(cross, rows, &mut out);
    out
}

/// `sklearn.utils.murmurhash3_32(codes as '<u4' bytes, seed=0, positive=True)` of scikit-learn 1.9.1.
#[test]
fn hashes_are_those_of_murmur3() {
    let known: [(&[u32], u32); 7] = [
        (&[0, 0], 0x6385_2afc),
        (&[1, 2], 0xc364_2e86),
        (&[2, 1], 0x5831_50c3),
        (&[255, 65_535], 0x44d9_be6b),
        (&[u32::MAX, 3], 0x6d73_289f),
        (&[1, 2, 3], 0xe9d7_8ad6),
        (&[3, 2, 1], 0x289a_b552),
    ];
    for (words, hash) in known {
        let columns: Vec<[u32; 1]> = words.iter().map(|word| [*word]).collect();
        let parts: Vec<Part<'_>> =
            columns.iter().map(|codes| Part { codes: Codes::U32(codes), levels: 1 << 32 }).collect();
        for bits in [32, 18, 5, 0] {
            let cross = Cross { parts: parts.clone(), levels: 1 << bits, hash_bits: Some(bits) };
            let kept = (u64::from(hash) & ((1 << bits) - 1)) as u32;
            for tier in Tier::available() {
                assert_eq!(codes(&Kernels::new(tier), &cross, 0..1), [kept], "{tier}, {words:?}, {bits} bits");
            }
        }
    }
}

#[test]
fn codes_follow_the_formula_on_every_tier() {
    let data = Data::new();
    for tier in Tier::available() {
        let kernels = Kernels::<f32>::new(tier);
        for rows in [0..0, 3..4, 5..22, 7..7 + 1_024, 0..ROWS] {
            for parts in [&[0, 1][..], &[1, 0], &[0, 2]] {
                let expected: Vec<u32> = rows.clone().map(|row| data.exact(parts, row)).collect();
                assert_eq!(codes(&kernels, &data.cross(parts, None), rows.clone()), expected, "{tier}, {parts:?}");
            }
            for cross in data.crosses() {
                let single: Vec<u32> =
                    rows.clone().map(|row| gristmill_kernels::ops::crossed::code(&cross, row)).collect();
                assert_eq!(codes(&kernels, &cross, rows.clone()), single, "{tier}, rows {rows:?}");
                assert!(single.iter().all(|code| (*code as usize) < cross.levels));
            }
        }
    }
}

/// What a crossed column adds is what a categorical column of the same codes adds, bit for bit.
fn as_stored<R: Real>() {
    let data = Data::new();
    let rows = 11..ROWS - 3;
    for tier in Tier::available() {
        let kernels = Kernels::<R>::new(tier);
        for cross in data.crosses() {
            let levels = cross.levels;
            let stored = codes(&Kernels::new(tier), &cross, 0..ROWS);
            let plain = Block::Codes { codes: Codes::U32(&stored), levels };
            let crossed = Block::Crossed(cross);
            assert_eq!((crossed.parameters(), crossed.is_scattered()), (levels, true));
            let number = |at: usize| R::from_f64(((at * 37 % 1_001) as f64 - 500.0) / 1_001.0);
            let w: Vec<R> = (0..3 * levels).map(number).collect();
            let margins = |block: &Block<'_>, count: usize| {
                let mut z: Vec<R> = (0..count * rows.len()).map(number).collect();
                if count == 1 {
                    kernels.margins(block, rows.clone(), &w[..levels], &mut z);
                } else {
                    kernels.margins_k(block, rows.clone(), &w[..count * levels], &mut z);
                }
                z.iter().map(|z| z.to_f64().to_bits()).collect::<Vec<_>>()
            };
            assert_eq!(margins(&crossed, 1), margins(&plain, 1), "{tier}");
            assert_eq!(margins(&crossed, 3), margins(&plain, 3), "{tier}");
            let r: Vec<R> = rows.clone().map(number).collect();
            let sums = |block: &Block<'_>| {
                let (mut scratch, mut g) = (vec![0; r.len()], vec![0; levels]);
                let mut residuals = Residuals::new(&r, &mut scratch);
                kernels.scatter(block, rows.clone(), &mut residuals, FixedScale::new(30, 0.5), &mut g).unwrap();
                g
            };
            assert!(sums(&crossed) == sums(&plain), "{tier}");
            let reference = |block: &Block<'_>| {
                let (r, mut g) = (r.iter().map(|r| r.to_f64()).collect::<Vec<_>>(), vec![0.0; levels]);
                reference::gradient(block, rows.clone(), &r, &mut g);
                g
            };
            assert!(reference(&crossed) == reference(&plain));
        }
    }
}

#[test]
fn as_a_stored_column_in_f32() {
    as_stored::<f32>();
}

#[test]
fn as_a_stored_column_in_f64() {
    as_stored::<f64>();
}
