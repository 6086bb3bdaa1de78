//! Margins and scattered gradient of a categorical column, one-hot: `z[i] += w[code[i]]`, `g[code[i]] += r[i]`.
//!
//! A tile's residuals are brought to fixed point once for all categorical columns of one scale ([`Quantise`]), so that an
//! entry costs one integer addition; the sums that rows a little later touch are asked for meanwhile.

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

use crate::fixed::{FixedScale, OutOfRange};
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

/// `quantised[i] = round(r[i] 2^exponent)`.
pub struct Quantise<'a, R> {
    /// Residuals.
    pub r: &'a [R],
    /// Scale of the sums.
    pub scale: FixedScale,
    /// One integer a residual.
    pub quantised: &'a mut [i64],
}

impl<R: Real> Kernel for Quantise<'_, R> {
    type Output = Result<(), OutOfRange>;

    #[inline(always)]
    fn run<T: Isa>(self, _: T) -> Result<(), OutOfRange> {
        let mut inside = true;
        for (quantised, r) in self.quantised.iter_mut().zip(self.r) {
            let (integer, fits) = self.scale.quantise(r.to_f64());
            *quantised = integer;
            inside &= fits;
        }
        if inside { Ok(()) } else { Err(OutOfRange) }
    }
}

/// `g[codes[i]] += quantised[i]`.
pub struct Scatter<'a, C> {
    /// Levels of the tile's rows, each below `g.len()`.
    pub codes: &'a [C],
    /// Residuals in fixed point.
    pub quantised: &'a [i64],
    /// Sums, added to, one a level.
    pub g: &'a mut [i64],
}

/// Sums that the second-level cache is sure to hold beside the tile: there nothing need be asked for.
const NEAR_SUMS: usize = 1 << 15;
/// Rows that the sums are asked for ahead: some hundred nanoseconds of additions.
const ROWS_AHEAD: usize = 32;

impl<C: Code> Kernel for Scatter<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let Scatter { codes, quantised, g } = self;
        if g.len() <= NEAR_SUMS {
            return scatter(codes, quantised, g);
        }
        let near = codes.len().saturating_sub(ROWS_AHEAD);
        for ((code, later), quantised) in codes[..near].iter().zip(&codes[codes.len() - near..]).zip(quantised) {
            tier.prefetch(g, later.index());
            let sum = &mut g[code.index()];
            *sum = sum.wrapping_add(*quantised);
        }
        scatter(&codes[near..], &quantised[near..], g);
    }
}

#[inline(always)]
fn scatter<C: Code>(codes: &[C], quantised: &[i64], g: &mut [i64]) {
    for (code, quantised) in codes.iter().zip(quantised) {
        let sum = &mut g[code.index()];
        *sum = sum.wrapping_add(*quantised);
    }
}
