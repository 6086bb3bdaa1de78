//! Data for the kernels' cases: grains as they lie in a shard, column after column, larger together than the caches.

use gristmill_kernels::Aligned;
use gristmill_kernels::dtype::{DType, f16};
use gristmill_kernels::tile::{Block, Codes, Columns, Values};

/// Bytes of a grain, about; of little data less, down to the second.
const GRAIN_BYTES: (usize, usize) = (4 << 20, 64 << 10);

/// A stream of numbers that differ (a linear congruential generator; its upper bits).
pub struct Random(u64);

impl Random {
    /// The stream of that seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 24 bits.
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as u32
    }

    /// In -0.5 .. 0.5.
    pub fn real(&mut self) -> f32 {
        self.bits() as f32 / (1 << 24) as f32 - 0.5
    }
}

/// What the rows of a case are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Scalar columns of one storage type.
    Columns(DType),
    /// One vector column.
    Vectors(DType),
    /// Categorical columns of so many levels.
    Codes(usize),
    /// A sparse column of that width.
    Sparse(usize),
}

/// They begin on a cache line, as the buffers of a shard do.
enum Numbers {
    F32(Aligned<f32>),
    F16(Aligned<f16>),
    U16(Aligned<u16>),
    U8(Aligned<u8>),
    F64(Aligned<f64>),
    Codes(Aligned<u32>, usize),
    Sparse { offsets: Vec<i32>, indices: Aligned<u32>, values: Aligned<f32>, width: usize },
}

/// Grains of one kind of rows.
pub struct Grains {
    numbers: Numbers,
    vectors: bool,
    /// Columns, elements of the vector, or entries a row.
    pub columns: usize,
    /// Rows of a grain.
    pub rows: usize,
    /// Grains.
    pub grains: usize,
}

impl Grains {
    /// Grains of `columns` numbers a row and `bytes` bytes together, at least two.
    pub fn new(rows: Rows, columns: usize, bytes: usize) -> Grains {
        let width = match rows {
            Rows::Columns(dtype) | Rows::Vectors(dtype) => dtype.bytes(),
            Rows::Codes(_) => 4,
            Rows::Sparse(_) => 8,
        };
        // An odd multiple of 64 rows: a column pitch that is no power of two.
        let grain_bytes = (bytes / 2).clamp(GRAIN_BYTES.1, GRAIN_BYTES.0);
        let grain_rows = (grain_bytes / (columns * width) / 64).max(1) / 2 * 128 + 64;
        let grains = (bytes / (grain_rows * columns * width)).max(2);
        let (count, mut random) = (grain_rows * columns * grains, Random::new(1));
        let numbers = match rows {
            Rows::Columns(dtype) | Rows::Vectors(dtype) => reals(dtype, count, &mut random),
            Rows::Codes(levels) => Numbers::Codes(skewed(count, levels, &mut random), levels),
            Rows::Sparse(width) => sparse(grain_rows, columns, grains, width, &mut random),
        };
        Grains { numbers, vectors: matches!(rows, Rows::Vectors(_)), columns, rows: grain_rows, grains }
    }

    /// Bytes of all grains.
    pub fn bytes(&self) -> usize {
        let number = match &self.numbers {
            Numbers::F64(_) | Numbers::Sparse { .. } => 8,
            Numbers::F32(_) | Numbers::Codes(..) => 4,
            Numbers::F16(_) | Numbers::U16(_) => 2,
            Numbers::U8(_) => 1,
        };
        self.grains * self.rows * self.columns * number
    }

    /// The blocks of a grain.
    pub fn blocks(&self, grain: usize) -> Vec<Block<'_>> {
        let size = self.rows * self.columns;
        let range = grain * size..(grain + 1) * size;
        if self.vectors {
            let values = match &self.numbers {
                Numbers::F64(values) => Values::F64(&values[range]),
                Numbers::F32(values) => Values::F32(&values[range]),
                Numbers::F16(values) => Values::F16(&values[range]),
                Numbers::U16(values) => Values::U16(&values[range]),
                Numbers::U8(values) => Values::U8(&values[range]),
                Numbers::Codes(..) | Numbers::Sparse { .. } => return Vec::new(),
            };
            return vec![Block::Vectors { values, width: self.columns }];
        }
        let columns = match &self.numbers {
            Numbers::F64(values) => Columns::F64(values[range].chunks(self.rows).collect()),
            Numbers::F32(values) => Columns::F32(values[range].chunks(self.rows).collect()),
            Numbers::F16(values) => Columns::F16(values[range].chunks(self.rows).collect()),
            Numbers::U16(values) => Columns::U16(values[range].chunks(self.rows).collect()),
            Numbers::U8(values) => Columns::U8(values[range].chunks(self.rows).collect()),
            Numbers::Codes(codes, levels) => {
                let column = |codes| Block::Codes { codes: Codes::U32(codes), levels: *levels };
                return codes[range].chunks(self.rows).map(column).collect();
            }
            Numbers::Sparse { offsets, indices, values, width } => {
                let (indices, values) = (&indices[range.clone()], &values[range]);
                return vec![Block::Sparse { offsets, indices, values, width: *width }];
            }
        };
        vec![Block::Columns(columns)]
    }
}

fn reals(dtype: DType, count: usize, random: &mut Random) -> Numbers {
    match dtype {
        DType::F64 => Numbers::F64(filled(count, |_| f64::from(random.real()))),
        DType::F32 => Numbers::F32(filled(count, |_| random.real())),
        DType::F16 => {
            // Conversion is slow: repeat a stretch of odd length.
            let stretch: Vec<f16> = (0..100_003).map(|_| f16::from_f32(random.real())).collect();
            Numbers::F16(filled(count, |at| stretch[at % stretch.len()]))
        }
        DType::U16 => Numbers::U16(filled(count, |_| random.bits() as u16)),
        DType::U8 => Numbers::U8(filled(count, |_| random.bits() as u8)),
    }
}

/// `count` numbers, each made from its place.
fn filled<R: Copy + Default>(count: usize, mut number: impl FnMut(usize) -> R) -> Aligned<R> {
    let mut numbers = Aligned::zeros(count);
    numbers.iter_mut().enumerate().for_each(|(at, to)| *to = number(at));
    numbers
}

/// Codes of which the small ones are the frequent ones, as ingest orders them.
fn skewed(count: usize, levels: usize, random: &mut Random) -> Aligned<u32> {
    filled(count, |_| {
        let u = f64::from(random.bits()) / f64::from(1 << 24);
        (u * u * u * levels as f64) as u32
    })
}

fn sparse(rows: usize, entries: usize, grains: usize, width: usize, random: &mut Random) -> Numbers {
    let (count, step) = (rows * entries * grains, (width / entries).max(1) as u32);
    let indices = filled(count, |at| (at % entries) as u32 * step + random.bits() % step);
    let values = filled(count, |_| random.real());
    Numbers::Sparse { offsets: (0..=rows).map(|row| (row * entries) as i32).collect(), indices, values, width }
}
