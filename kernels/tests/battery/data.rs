//! Seeded columns of every storage type.

use gristmill_kernels::Real;
use gristmill_kernels::dtype::{DType, f16};
use gristmill_kernels::tile::{Columns, Values};

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    pub fn signed(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn reals<R: Real>(&mut self, count: usize) -> Vec<R> {
        (0..count).map(|_| R::from_f64(self.signed())).collect()
    }
}

/// Owned numbers of one storage type.
pub enum Numbers {
    F64(Vec<f64>),
    F32(Vec<f32>),
    F16(Vec<f16>),
    U16(Vec<u16>),
    U8(Vec<u8>),
}

impl Numbers {
    /// Random numbers that use the whole range of the small types; the greater floats are of order 1.
    pub fn random(dtype: DType, count: usize, random: &mut Random) -> Numbers {
        match dtype {
            DType::F64 => Numbers::F64((0..count).map(|_| random.signed()).collect()),
            DType::F32 => Numbers::F32((0..count).map(|_| random.signed() as f32).collect()),
            DType::F16 => Numbers::F16((0..count).map(|_| f16::from_f64(random.signed() * 100.0)).collect()),
            DType::U16 => Numbers::U16((0..count).map(|_| random.next() as u16).collect()),
            DType::U8 => Numbers::U8((0..count).map(|_| random.next() as u8).collect()),
        }
    }

    /// The numbers from `start` on.
    pub fn values(&self, start: usize) -> Values<'_> {
        match self {
            Numbers::F64(values) => Values::F64(&values[start..]),
            Numbers::F32(values) => Values::F32(&values[start..]),
            Numbers::F16(values) => Values::F16(&values[start..]),
            Numbers::U16(values) => Values::U16(&values[start..]),
            Numbers::U8(values) => Values::U8(&values[start..]),
        }
    }

    /// `count` columns of `rows` numbers, the first at `start`: with an odd pitch, every alignment occurs.
    pub fn columns(&self, start: usize, rows: usize, pitch: usize, count: usize) -> Columns<'_> {
        fn cut<E>(values: &[E], start: usize, rows: usize, pitch: usize, count: usize) -> Vec<&[E]> {
            (0..count).map(|j| &values[start + j * pitch..][..rows]).collect()
        }
        match self {
            Numbers::F64(values) => Columns::F64(cut(values, start, rows, pitch, count)),
            Numbers::F32(values) => Columns::F32(cut(values, start, rows, pitch, count)),
            Numbers::F16(values) => Columns::F16(cut(values, start, rows, pitch, count)),
            Numbers::U16(values) => Columns::U16(cut(values, start, rows, pitch, count)),
            Numbers::U8(values) => Columns::U8(cut(values, start, rows, pitch, count)),
        }
    }
}
