//! Three spaces of one model, and the ways between them.
//!
//! ```text
//! solver     t_j, t_0    z = t_0 + sum_j t_j (s_j - m_j) / d_j       columns centred and scaled: well conditioned
//! stored     w_j, b      z = b + sum_j w_j s_j                       what kernels multiply with
//! real       c_j, a      y = a + sum_j c_j (o_j + e_j s_j)           the units of the source columns
//! ```
//!
//! m, d: mean and deviation of the stored column; with no intercept m is what stands for a real 0, -o / e, d the root mean
//! square about it, and t_0 the constant that stands for a real 0 of the target. A column that is
//! constant has 1 / d := 0, so its weight is 0 (the intercept says all it could). o, e: offset and scale of storage. Nothing
//! is done to a row: sparse columns and levels are centred by the intercept, b = t_0 - sum_j w_j m_j, and derivatives by
//! g_j = (G_j - m_j R) / d_j, with G_j = sum r s_j and R = sum r.
//!
//! Solvers always see this space, whatever is penalised; `--standardize` only chooses the factor of the penalty. The
//! penalised coefficient is c_j * (sample deviation of the real column) = t_j * D_j / d_j with D_j the deviation of the stored
//! column, or c_j = t_j / (d_j e_j) as it stands. So factor_j = D_j / d_j or 1 / (d_j e_j), l1_j = l1 factor_j and
//! l2_j = l2 factor_j^2.

use gristmill_io::manifest::{Column, Kind, Layout};
use gristmill_io::statistics::Statistics;

use crate::optim::Penalty;
use crate::plan::Strengths;

/// The ways between the spaces.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// m, a number a parameter.
    pub mean: Vec<f64>,
    /// 1 / d, or 0 for a constant column.
    pub inverse: Vec<f64>,
    /// Penalty factor of t_j.
    pub factor: Vec<f64>,
    /// Largest |s_j|.
    pub largest: Vec<f64>,
    /// Least and largest s_j.
    pub range: Vec<(f64, f64)>,
    /// o and e of each parameter.
    pub real: Vec<(f64, f64)>,
    /// True when there is an intercept: the last coordinate.
    pub intercept: bool,
    /// t_0 where there is no intercept.
    pub base: f64,
    /// Without an intercept: the columns that vary by less than 1 / `FAR` of their distance from 0. Two of them are alike but
    /// for that part of a part, which sums of their products in f64 do not hold.
    pub far: Vec<usize>,
}

/// With two columns of this ratio objectives come out right to 1e-6, with two of ten times as much by none of the solvers.
const FAR: f64 = 1e5;

/// A point in stored space.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// w.
    pub weights: Vec<f64>,
    /// b.
    pub intercept: f64,
}

impl Space {
    /// The space of `layout`'s parameters.
    pub fn new(
        columns: &[Column],
        layout: &Layout,
        statistics: &Statistics,
        standardize: bool,
        intercept: bool,
    ) -> Space {
        let n = layout.parameters;
        let count = (statistics.rows as f64).max(1.0);
        let mut space = Space {
            mean: vec![0.0; n],
            inverse: vec![0.0; n],
            factor: vec![1.0; n],
            largest: vec![0.0; n],
            range: statistics.min.iter().copied().zip(statistics.max.iter().copied()).collect(),
            real: real_units(columns, layout),
            intercept,
            base: 0.0,
            far: Vec::new(),
        };
        for j in 0..n {
            let (mean, largest) = (statistics.mean[j], statistics.min[j].abs().max(statistics.max[j].abs()));
            let constant = statistics.min[j] == statistics.max[j];
            let deviation = if constant { 0.0 } else { (statistics.m2[j] / (count - 1.0).max(1.0)).sqrt() };
            let (offset, scale) = space.real[j];
            let centre = if intercept { mean } else { -offset / scale };
            let off = mean - centre;
            let spread = if intercept { deviation } else { (statistics.m2[j] / count + off * off).sqrt() };
            space.largest[j] = largest;
            space.mean[j] = centre;
            // A spread below the rounding of the column's values is no spread; it came with them from the source, offset and all.
            if spread > 1e-14 * largest.max((offset / scale).abs()) && spread.is_normal() {
                space.inverse[j] = 1.0 / spread;
            }
            if !intercept && deviation > 0.0 && spread > FAR * deviation {
                space.far.push(j);
            }
            space.factor[j] = if standardize { deviation * space.inverse[j] } else { space.inverse[j] / scale.abs() };
            // With no deviation there is no standardised coefficient to penalise: it is left out.
            if space.factor[j] == 0.0 {
                (space.inverse[j], space.factor[j]) = (0.0, 1.0);
            }
        }
        space
    }

    /// Number of coordinates of the solver.
    pub fn coordinates(&self) -> usize {
        self.mean.len() + usize::from(self.intercept)
    }

    /// The penalty of a configuration in solver space.
    pub fn penalty(&self, strengths: Strengths) -> Penalty {
        let mut penalty = Penalty {
            l1: self.factor.iter().map(|factor| strengths.l1 * factor).collect(),
            l2: self.factor.iter().map(|factor| strengths.l2 * factor * factor).collect(),
        };
        penalty.l1.resize(self.coordinates(), 0.0);
        penalty.l2.resize(self.coordinates(), 0.0);
        penalty
    }

    /// Root of the l2 factor a coordinate: see `Quadratic::metric`.
    pub fn metric(&self) -> Vec<f64> {
        let mut metric = self.factor.clone();
        metric.resize(self.coordinates(), 1.0);
        metric
    }

    /// From solver to stored space, weights rounded by `round` (to the arithmetic type of the run): the intercept goes
    /// with the rounded weights, so that centring stays exact.
    pub fn to_stored(&self, point: &[f64], round: impl Fn(f64) -> f64) -> Stored {
        let n = self.mean.len();
        let weights: Vec<f64> = point[..n].iter().zip(&self.inverse).map(|(t, inverse)| round(t * inverse)).collect();
        let shift: f64 = weights.iter().zip(&self.mean).map(|(w, m)| w * m).sum();
        let intercept = if self.intercept { point[n] } else { self.base } - shift;
        Stored { weights, intercept }
    }

    /// From stored to solver space; weights of columns that are left out are dropped.
    pub fn from_stored(&self, stored: &Stored) -> Vec<f64> {
        let weights = stored.weights.iter().zip(&self.inverse);
        let mut point: Vec<f64> = weights.map(|(w, &inverse)| if inverse > 0.0 { w / inverse } else { 0.0 }).collect();
        if self.intercept {
            let shift: f64 = stored.weights.iter().zip(&self.mean).map(|(w, m)| w * m).sum();
            point.push(stored.intercept + shift);
        }
        point
    }

    /// Coefficients and intercept in real units.
    pub fn to_real(&self, stored: &Stored) -> (Vec<f64>, f64) {
        let coefficients: Vec<f64> = stored.weights.iter().zip(&self.real).map(|(w, (_, scale))| w / scale).collect();
        let shift: f64 = coefficients.iter().zip(&self.real).map(|(c, (offset, _))| c * offset).sum();
        (coefficients, if self.intercept { stored.intercept - shift } else { 0.0 })
    }

    /// Least and largest z that any row can have at a point in stored space, and a little more on both sides for what rounding
    /// to the arithmetic type does: one part in a thousand.
    pub fn margins(&self, stored: &Stored) -> (f64, f64) {
        let (mut low, mut high, mut most) = (stored.intercept, stored.intercept, stored.intercept.abs());
        for (w, (least, greatest)) in stored.weights.iter().zip(&self.range) {
            let ends = [w * least, w * greatest];
            (low, high) = (low + ends[0].min(ends[1]), high + ends[0].max(ends[1]));
            most += ends[0].abs().max(ends[1].abs());
        }
        (low - 0.001 * most, high + 0.001 * most)
    }
}

fn real_units(columns: &[Column], layout: &Layout) -> Vec<(f64, f64)> {
    let mut real = Vec::with_capacity(layout.parameters);
    for block in &layout.blocks {
        for &number in &block.columns {
            let kind = &columns[number].kind;
            let units = match kind {
                Kind::Numeric { offset, scale, .. } => (*offset, *scale),
                _ => (0.0, 1.0),
            };
            real.extend(std::iter::repeat_n(units, kind.parameters()));
        }
    }
    real
}
