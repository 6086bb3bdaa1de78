//! Margins and scattered gradient of a categorical column, one-hot: `z[i] += w[code[i]]`, `g[code[i]] += r[i]`.

/// A level number.
pub trait Code: Copy {
    /// As an index.
    fn index(self) -> usize;
}

impl Code for u8 {
    #[inline(always)]
    fn index(self) -> usize {
        usize::from(self)
    }
}
impl Code for u16 {
    #[inline(always)]
    fn index(self) -> usize {
        usize::from(self)
    }
}
impl Code for u32 {
    #[inline(always)]
    fn index(self) -> usize {
        self as usize
    }
}

use crate::fixed::quantise;
use crate::isa::{Isa, Kernel, Real};

/// `z[i] += w[codes[i]]`.
pub struct Margins<'a, C, R> {
    /// Levels of the tile's rows, each below `w.len()`.
    pub codes: &'a [C],
    /// Weights, one a level.
    pub w: &'a [R],
    /// Margins, added to.
    pub z: &'a mut [R],
}

impl<C: Code, R: Real> Kernel for Margins<'_, C, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, _: T) {
        for (z, code) in self.z.iter_mut().zip(self.codes) {
            *z += self.w[code.index()];
        }
    }
}

/// `g[codes[i]] += round(r[i] 2^exponent)`.
pub struct Scatter<'a, C, R> {
    /// Levels of the tile's rows, each below `g.len()`.
    pub codes: &'a [C],
    /// Residuals.
    pub r: &'a [R],
    /// Binary exponent of the fixed-point scale.
    pub exponent: i32,
    /// Sums, added to, one a level.
    pub g: &'a mut [i64],
}

impl<C: Code, R: Real> Kernel for Scatter<'_, C, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, _: T) {
        for (code, r) in self.codes.iter().zip(self.r) {
            let sum = &mut self.g[code.index()];
            *sum = sum.wrapping_add(quantise(r.to_f64(), self.exponent));
        }
    }
}
