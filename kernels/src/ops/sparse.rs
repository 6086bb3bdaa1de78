//! Margins and scattered gradient of a sparse vector column (compressed sparse rows): over the entries `(j, x)` of row
//! `i`, `z[i] += sum w[j] x`, `g[j] += r[i] x`.

use crate::fixed::{FixedScale, OutOfRange};
use crate::isa::{Isa, Kernel, Real};

/// The rows of a tile: row `i` has the entries `offsets[i]..offsets[i + 1]`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// One more than there are rows.
    pub offsets: &'a [i32],
    /// Element numbers of all entries of the grain.
    pub indices: &'a [u32],
    /// Values beside them.
    pub values: &'a [f32],
}

impl<'a> Rows<'a> {
    /// The entries of each row.
    #[inline(always)]
    fn iter(self) -> impl Iterator<Item = impl Iterator<Item = (usize, f32)> + 'a> + 'a {
        self.offsets.windows(2).map(move |ends| {
            let entries = ends[0] as usize..ends[1] as usize;
            self.indices[entries.clone()].iter().map(|&j| j as usize).zip(self.values[entries].iter().copied())
        })
    }
}

/// `z[i] += sum w[j] x`.
pub struct Margins<'a, R> {
    /// Rows of the tile.
    pub rows: Rows<'a>,
    /// Weights, one an element.
    pub w: &'a [R],
    /// Margins, added to.
    pub z: &'a mut [R],
}

impl<R: Real> Kernel for Margins<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, _: T) {
        for (z, entries) in self.z.iter_mut().zip(self.rows.iter()) {
            let sum: f64 = entries.map(|(j, x)| self.w[j].to_f64() * f64::from(x)).sum();
            *z += R::from_f64(sum);
        }
    }
}

/// `g[j] += round(r[i] x 2^exponent)`.
pub struct Scatter<'a, R> {
    /// Rows of the tile.
    pub rows: Rows<'a>,
    /// Residuals.
    pub r: &'a [R],
    /// Scale of the sums.
    pub scale: FixedScale,
    /// Sums, added to, one an element.
    pub g: &'a mut [i64],
}

impl<R: Real> Kernel for Scatter<'_, R> {
    type Output = Result<(), OutOfRange>;

    #[inline(always)]
    fn run<T: Isa>(self, _: T) -> Result<(), OutOfRange> {
        let mut inside = true;
        for (r, entries) in self.r.iter().zip(self.rows.iter()) {
            for (j, x) in entries {
                let (integer, fits) = self.scale.quantise(r.to_f64() * f64::from(x));
                inside &= fits;
                self.g[j] = self.g[j].wrapping_add(integer);
            }
        }
        if inside { Ok(()) } else { Err(OutOfRange) }
    }
}
