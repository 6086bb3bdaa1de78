//! The one flat sum of a pass: where each quantity lies in it, and at which scale.
//!
//! ```text
//! [stop][loss 2][residual 2][weight 2][bytes][dense gradient 2 each][dense Gram 2 each][scattered gradient 1 each][scattered Gram 1 each]
//! ```
//!
//! What dense columns add is summed over a grain in `f64` and then folded into two limbs (see `sum`); what a level or a
//! sparse entry adds goes straight into one limb at its block's scale, chosen so that all rows together stay below 2^62.

use gristmill_io::manifest::Kind;
use gristmill_kernels::LossSums;
use gristmill_kernels::fixed::{FixedScale, power_of_two};
use gristmill_kernels::ops::gram::{GramLayout, GramScales};

use super::setup::Setup;
use super::sum::{Scale, exponent_above};
use crate::error::{Error, Result};

/// Bits that the sum of a scattered parameter may use.
const SCATTERED_BITS: i32 = 62;

/// Bounds that a pass works between.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Largest loss of a row, weight included.
    pub loss: f64,
    /// Largest |residual| of a row, weight included.
    pub residual: f64,
    /// Largest h of a row in a Gram matrix, weight included.
    pub bend: f64,
}

/// The plan of the flat sum.
pub struct Cells {
    /// Dense parameters: the first so many.
    pub dense: usize,
    /// All parameters.
    pub parameters: usize,
    gram: Option<Gram>,
    loss: Scale,
    residual: Scale,
    weight: Scale,
    gradient: Vec<Scale>,
    /// Scale of each scattered block, by number of the block.
    pub scales: Vec<FixedScale>,
    /// The exponent of each parameter behind the dense ones.
    scattered: Vec<i32>,
}

/// Gives all categorical blocks the scale of the fullest, so that a row's residual is brought to fixed point once for
/// all of them; the bits that the others lose are far below the rounding of the residual.
fn share_among_categorical(exponents: &mut [i32], most: &mut [f64], is_categorical: impl Fn(usize) -> bool) {
    let categorical: Vec<usize> = (0..exponents.len()).filter(|&number| is_categorical(number)).collect();
    let least = categorical.iter().map(|&number| exponents[number]).min().unwrap_or(0);
    let largest = categorical.iter().map(|&number| most[number]).fold(0.0, f64::max);
    for number in categorical {
        (exponents[number], most[number]) = (least, largest);
    }
}

/// The part of the sum that is a Gram matrix.
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

const STOP: usize = 0;
/// A rank that left counts so much in the stop cell, more than there can be ranks that only ask.
const LEFT: i64 = 1 << 32;
const LOSS: usize = 1;
const RESIDUAL: usize = 3;
const WEIGHT: usize = 5;
const BYTES: usize = 7;
const HEAD: usize = 8;

impl Cells {
    /// For a pass between `bounds`, with a Gram matrix over `layout` where there is one.
    ///
    /// # Errors
    /// [`Error::Sum`] when a bound is not a finite number.
    pub fn new(setup: &Setup<'_>, bounds: Bounds, layout: Option<GramLayout>) -> Result<Cells> {
        let rows = setup.grain_rows as f64;
        // Twice the bound: kernels round.
        let largest = &setup.space.largest;
        let blocks = &setup.stream.layout().blocks;
        let parameters = largest.len();
        let kind = |number: usize| &setup.dataset.manifest().columns[number].kind;
        let is_categorical =
            |columns: &[usize]| columns.iter().any(|&number| matches!(kind(number), Kind::Categorical { .. }));
        let is_scattered = |columns: &[usize]| {
            is_categorical(columns) || columns.iter().any(|&number| matches!(kind(number), Kind::Sparse { .. }))
        };
        let dense = blocks.iter().find(|block| is_scattered(&block.columns)).map_or(parameters, |b| b.first_parameter);
        let gradient = largest[..dense].iter().map(|x| Scale::new(2.0 * rows * bounds.residual * x));
        let (mut exponents, mut most) = (vec![0; blocks.len()], vec![0.0; blocks.len()]);
        for (number, block) in blocks.iter().enumerate().filter(|(_, block)| block.first_parameter >= dense) {
            let range = block.first_parameter..block.first_parameter + block.parameters;
            let fullest = range.clone().map(|j| setup.statistics.nonzero[j] as f64 * largest[j]).fold(0.0, f64::max);
            let most_of_a_row = range.clone().map(|j| largest[j]).fold(0.0, f64::max);
            most[number] = 2.0 * bounds.residual * most_of_a_row;
            let bound = 2.0 * bounds.residual * fullest.max(most_of_a_row);
            if !bound.is_finite() {
                Scale::new(bound)?;
            }
            // Rounding adds at most half a unit a row, 2^40 rows at most.
            exponents[number] = (SCATTERED_BITS - 1 - exponent_above(bound)).clamp(-1_000, 1_000);
        }
        share_among_categorical(&mut exponents, &mut most, |number| is_categorical(&blocks[number].columns));
        let mut scattered = Vec::with_capacity(parameters - dense);
        for (block, &exponent) in blocks.iter().zip(&exponents).filter(|(block, _)| block.first_parameter >= dense) {
            scattered.resize(block.first_parameter + block.parameters - dense, exponent);
        }
        Ok(Cells {
            gradient: gradient.collect::<Result<_>>()?,
            loss: Scale::new(2.0 * rows * bounds.loss)?,
            residual: Scale::new(2.0 * rows * bounds.residual)?,
            weight: Scale::new(2.0 * rows * setup.weight_max)?,
            gram: layout.map(|layout| Gram::new(setup, bounds, layout)).transpose()?,
            dense,
            parameters,
            scales: exponents.iter().zip(&most).map(|(&exponent, &most)| FixedScale::new(exponent, most)).collect(),
            scattered,
        })
    }

    /// Length of the flat sum.
    pub fn flat_len(&self) -> usize {
        let gram = self.gram.as_ref().map_or(0, |gram| 2 * gram.layout.dense_len() + gram.layout.scattered_len());
        HEAD + 2 * self.dense + (self.parameters - self.dense) + gram
    }

    /// The Gram matrix's part.
    pub fn gram(&self) -> Option<&Gram> {
        self.gram.as_ref()
    }

    fn dense_gram_len(&self) -> usize {
        self.gram.as_ref().map_or(0, |gram| 2 * gram.layout.dense_len())
    }

    /// The scattered cells: of the gradient, and of the Gram matrix.
    pub fn scattered<'c>(&self, cells: &'c mut [i64]) -> (&'c mut [i64], &'c mut [i64]) {
        let start = HEAD + 2 * self.dense + self.dense_gram_len();
        cells[start..].split_at_mut(self.parameters - self.dense)
    }

    /// Folds what a grain's dense columns added.
    ///
    /// # Errors
    /// [`Error::Sum`] when a sum is beyond its bound.
    pub fn fold(&self, loss: &LossSums, gradient: &[f64], gram: &[f64], cells: &mut [i64]) -> Result<()> {
        self.loss.add(loss.loss, &mut cells[LOSS..])?;
        self.residual.add(loss.residual, &mut cells[RESIDUAL..])?;
        self.weight.add(loss.weight, &mut cells[WEIGHT..])?;
        for ((scale, sum), cells) in self.gradient.iter().zip(gradient).zip(cells[HEAD..].chunks_exact_mut(2)) {
            scale.add(*sum, cells)?;
        }
        if let Some(plan) = &self.gram {
            plan.fold(gram, &mut cells[HEAD + 2 * self.dense..])?;
        }
        Ok(())
    }

    /// Notes that this rank was asked to stop.
    pub fn ask_to_stop(&self, cells: &mut [i64]) {
        cells[STOP] += 1;
    }

    /// Notes that this rank left the pass before its end.
    pub fn leave(&self, cells: &mut [i64]) {
        cells[STOP] += LEFT;
    }

    /// True when some rank left the pass before its end: the sums are not those of all rows.
    pub fn is_left(&self, cells: &[i64]) -> bool {
        cells[STOP] >= LEFT
    }

    /// Notes the bytes that this rank read.
    pub fn count_bytes(&self, cells: &mut [i64], bytes: u64) {
        cells[BYTES] += bytes.cast_signed();
    }

    /// Bytes that all ranks read.
    pub fn bytes(&self, cells: &[i64]) -> u64 {
        cells[BYTES].cast_unsigned()
    }

    /// True when some rank was asked to stop.
    pub fn stops(&self, cells: &[i64]) -> bool {
        cells[STOP] != 0
    }

    /// Sums of loss, residual and weight.
    pub fn loss(&self, cells: &[i64]) -> LossSums {
        LossSums {
            loss: self.loss.value(&cells[LOSS..]),
            residual: self.residual.value(&cells[RESIDUAL..]),
            weight: self.weight.value(&cells[WEIGHT..]),
            curvature: 0.0,
        }
    }

    /// Sums of residual times column, a number a parameter.
    pub fn gradient(&self, cells: &[i64]) -> Vec<f64> {
        let dense = self.gradient.iter().zip(cells[HEAD..].chunks_exact(2)).map(|(scale, cells)| scale.value(cells));
        let start = HEAD + 2 * self.dense + self.dense_gram_len();
        let scattered = self.scattered.iter().zip(&cells[start..]);
        dense.chain(scattered.map(|(&exponent, &cell)| cell as f64 * power_of_two(-exponent))).collect()
    }

    /// The Gram matrix, symmetric, over the variables of its layout.
    pub fn matrix(&self, cells: &[i64]) -> Option<Vec<f64>> {
        let gram = self.gram.as_ref()?;
        let start = HEAD + 2 * self.dense;
        let dense = gram.values(&cells[start..]);
        let scattered = &cells[start + self.dense_gram_len() + self.parameters - self.dense..];
        Some(gram.layout.assemble(&gram.scales, &dense, scattered))
    }
}

impl Gram {
    fn new(setup: &Setup<'_>, bounds: Bounds, layout: GramLayout) -> Result<Gram> {
        let mut of_variables = setup.space.largest.clone();
        of_variables.push(1.0);
        if layout.target().is_some() {
            of_variables.push(setup.target.largest);
        }
        let scales = GramScales::new(&layout, setup.statistics.rows, 2.0 * bounds.bend, &of_variables)
            .map_err(|e| Error::Sum(e.to_string()))?;
        let tail = 1 + usize::from(layout.target().is_some());
        let dense = layout.dense_variables();
        let mut exponents: Vec<i32> = of_variables[..dense - tail].iter().map(|x| exponent_above(*x)).collect();
        exponents.extend(of_variables[of_variables.len() - tail..].iter().map(|x| exponent_above(*x)));
        let common = exponent_above(2.0 * setup.grain_rows as f64 * bounds.bend);
        let (lowest, highest) = exponents.iter().fold((0, 0), |(low, high), &e| (low.min(e), high.max(e)));
        let table = (2 * lowest..=2 * highest).map(|sum| Scale::of(common + sum)).collect();
        Ok(Gram { layout, scales, exponents, table, lowest: 2 * lowest })
    }

    fn fold(&self, sums: &[f64], cells: &mut [i64]) -> Result<()> {
        let mut pairs = sums.iter().zip(cells.chunks_exact_mut(2));
        for (a, &row) in self.exponents.iter().enumerate() {
            for (&column, (sum, cells)) in self.exponents[a..].iter().zip(&mut pairs) {
                self.table[(row + column - self.lowest) as usize].add(*sum, cells)?;
            }
        }
        Ok(())
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
