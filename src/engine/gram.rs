//! The Gram matrix's part of a section of the flat sum. One plan serves all points of a pass with the same bound on a row.

use gristmill_kernels::ops::gram::{GramLayout, GramScales};

use super::setup::Setup;
use super::sum::{Scale, exponent_above};
use crate::error::{Error, Result};

/// Where the pairs of a Gram matrix lie, and at which scale.
pub struct Gram {
    /// Where pairs lie.
    pub layout: GramLayout,
    /// Scales of scattered pairs.
    pub scales: GramScales,
    /// Exponent of the bound of each dense variable.
    exponents: Vec<i32>,
    /// Scales by the sum of two exponents, from `lowest`.
    table: Vec<Scale>,
    lowest: i32,
}

impl Gram {
    /// For rows of which each weighs at most `bend` in a product.
    ///
    /// # Errors
    /// [`Error::Sum`] when a bound is not a finite number.
    pub fn new(setup: &Setup<'_>, bend: f64, layout: GramLayout) -> Result<Gram> {
        let mut of_variables = setup.space.largest.clone();
        of_variables.push(1.0);
        if layout.target().is_some() {
            of_variables.push(setup.target.largest);
        }
        let scales = GramScales::new(&layout, setup.statistics.rows, 2.0 * bend, &of_variables)
            .map_err(|e| Error::Sum(e.to_string()))?;
        let tail = 1 + usize::from(layout.target().is_some());
        let dense = layout.dense_variables();
        let mut exponents: Vec<i32> = of_variables[..dense - tail].iter().map(|x| exponent_above(*x)).collect();
        exponents.extend(of_variables[of_variables.len() - tail..].iter().map(|x| exponent_above(*x)));
        let common = exponent_above(2.0 * setup.grain_rows as f64 * bend);
        let (lowest, highest) = exponents.iter().fold((0, 0), |(low, high), &e| (low.min(e), high.max(e)));
        let table = (2 * lowest..=2 * highest).map(|sum| Scale::of(common + sum)).collect();
        Ok(Gram { layout, scales, exponents, table, lowest: 2 * lowest })
    }

    /// Folds a grain's dense sums into two limbs each.
    ///
    /// # Errors
    /// [`Error::Sum`] when a sum is beyond its bound.
    pub fn fold(&self, sums: &[f64], cells: &mut [i64]) -> Result<()> {
        let mut pairs = sums.iter().zip(cells.chunks_exact_mut(2));
        for (a, &row) in self.exponents.iter().enumerate() {
            for (&column, (sum, cells)) in self.exponents[a..].iter().zip(&mut pairs) {
                self.table[(row + column - self.lowest) as usize].add(*sum, cells)?;
            }
        }
        Ok(())
    }

    /// The matrix, symmetric, over the variables of the layout.
    pub fn matrix(&self, dense: &[i64], scattered: &[i64]) -> Vec<f64> {
        self.layout.assemble(&self.scales, &self.values(dense), scattered)
    }

    fn values(&self, cells: &[i64]) -> Vec<f64> {
        let mut pairs = cells.chunks_exact(2);
        let mut values = Vec::with_capacity(self.layout.dense_len());
        for (a, &row) in self.exponents.iter().enumerate() {
            for (&column, cells) in self.exponents[a..].iter().zip(&mut pairs) {
                values.push(self.table[(row + column - self.lowest) as usize].value(cells));
            }
        }
        values
    }
}
