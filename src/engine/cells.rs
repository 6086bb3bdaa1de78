//! What one point of a pass adds to the flat sum: where each quantity lies in its section, and at which scale. The sections of
//! all points stand one after the other in the sum (see `sheet`).
//!
//! ```text
//! [loss 2][residual 2][weight 2][beyond][dense gradient 2 each][dense Gram 2 each][scattered gradient 1 each][scattered Gram 1 each]
//! ```
//! A class of a joint loss has a matrix for each class behind it, one after the other in both Gram parts.
//!
//! What dense columns add is summed over a grain in `f64` and then folded into two limbs (see `sum`); what a level or a
//! sparse entry adds goes straight into one limb at its block's scale, chosen so that all rows together stay below 2^62.

use std::ops::Range;
use std::sync::Arc;

use gristmill_kernels::LossSums;
use gristmill_kernels::fixed::{FixedScale, power_of_two};

use super::gram::Gram;
use super::setup::Setup;
use super::sum::{Scale, exponent_above};
use crate::error::Result;

/// Bits that the sum of a scattered parameter may use.
const SCATTERED_BITS: i32 = 62;

/// Bounds that a point's sums lie between.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Largest loss of a row, weight included.
    pub loss: f64,
    /// Largest |residual| of a row, weight included.
    pub residual: f64,
    /// Largest h of a row in a Gram matrix, weight included.
    pub bend: f64,
}

/// The scales of a gradient: the same for all points with the same bound on a residual.
pub struct Slopes {
    /// The bound that they were made for.
    pub residual: f64,
    /// Dense parameters: the first so many.
    pub dense: usize,
    /// All parameters.
    pub parameters: usize,
    scales: Vec<Scale>,
    /// Scale of each scattered block, by number of the block.
    pub scattered: Vec<FixedScale>,
    /// Behind the dense parameters: how many have which exponent.
    exponents: Vec<(usize, i32)>,
}

impl Slopes {
    /// For residuals of at most `residual` in size.
    ///
    /// # Errors
    /// [`crate::error::Error::Sum`] when a bound is not a finite number.
    pub fn new(setup: &Setup<'_>, residual: f64) -> Result<Slopes> {
        let rows = setup.grain_rows as f64;
        let largest = &setup.space.largest;
        let blocks = &setup.stream.layout().blocks;
        let parameters = largest.len();
        let kind = |number: usize| &setup.dataset.manifest().columns[number].kind;
        let is_categorical = |columns: &[usize]| {
            columns.iter().any(|&number| kind(number).codes().is_some() || kind(number).is_crossed())
        };
        let is_scattered =
            |columns: &[usize]| is_categorical(columns) || columns.iter().any(|&number| kind(number).is_sparse());
        let dense = blocks.iter().find(|block| is_scattered(&block.columns)).map_or(parameters, |b| b.first_parameter);
        // Twice the bound: kernels round.
        let scales = largest[..dense].iter().map(|x| Scale::new(2.0 * rows * residual * x)).collect::<Result<_>>()?;
        let (mut exponents, mut most) = (vec![0; blocks.len()], vec![0.0; blocks.len()]);
        for (number, block) in blocks.iter().enumerate().filter(|(_, block)| block.first_parameter >= dense) {
            let range = block.first_parameter..block.first_parameter + block.parameters;
            let fullest = range.clone().map(|j| setup.statistics.nonzero[j] as f64 * largest[j]).fold(0.0, f64::max);
            let most_of_a_row = range.map(|j| largest[j]).fold(0.0, f64::max);
            most[number] = 2.0 * residual * most_of_a_row;
            let bound = 2.0 * residual * fullest.max(most_of_a_row);
            if !bound.is_finite() {
                Scale::new(bound)?;
            }
            // Rounding adds at most half a unit a row, 2^40 rows at most.
            exponents[number] = (SCATTERED_BITS - 1 - exponent_above(bound)).clamp(-1_000, 1_000);
        }
        share_among_categorical(&mut exponents, &mut most, |number| is_categorical(&blocks[number].columns));
        let behind = blocks.iter().zip(&exponents).filter(|(block, _)| block.first_parameter >= dense);
        Ok(Slopes {
            residual,
            dense,
            parameters,
            scales,
            exponents: behind.map(|(block, &exponent)| (block.parameters, exponent)).collect(),
            scattered: exponents.iter().zip(&most).map(|(&exponent, &most)| FixedScale::new(exponent, most)).collect(),
        })
    }
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

/// The plan of a point's section.
pub struct Cells {
    /// Scales of its gradient.
    pub slopes: Arc<Slopes>,
    gram: Option<Arc<Gram>>,
    matrices: usize,
    loss: Scale,
    residual: Scale,
    weight: Scale,
}

const LOSS: usize = 0;
const RESIDUAL: usize = 2;
const WEIGHT: usize = 4;
/// How often something was too large for its scale.
const BEYOND: usize = 6;
const HEAD: usize = 7;

impl Cells {
    /// For a point between `bounds`, with so many matrices of one Gram plan where there is one.
    ///
    /// # Errors
    /// [`crate::error::Error::Sum`] when a bound is not a finite number.
    pub fn new(
        setup: &Setup<'_>,
        bounds: Bounds,
        slopes: Arc<Slopes>,
        gram: Option<(Arc<Gram>, usize)>,
    ) -> Result<Cells> {
        let rows = setup.grain_rows as f64;
        let matrices = gram.as_ref().map_or(0, |(_, matrices)| *matrices);
        Ok(Cells {
            loss: Scale::new(2.0 * rows * bounds.loss)?,
            residual: Scale::new(2.0 * rows * bounds.residual)?,
            weight: Scale::new(2.0 * rows * setup.weight_max)?,
            slopes,
            gram: gram.map(|(gram, _)| gram),
            matrices,
        })
    }

    /// Cells of the section.
    pub fn count(&self) -> usize {
        let gram = self.gram.as_ref().map_or(0, |gram| 2 * gram.layout.dense_len() + gram.layout.scattered_len());
        HEAD + 2 * self.slopes.dense + (self.slopes.parameters - self.slopes.dense) + self.matrices * gram
    }

    /// The plan of its matrices.
    pub fn gram(&self) -> Option<&Gram> {
        self.gram.as_deref()
    }

    /// How many matrices there are.
    pub fn matrices(&self) -> usize {
        self.matrices
    }

    /// Dense sums of all matrices.
    pub fn dense_gram_len(&self) -> usize {
        self.gram.as_ref().map_or(0, |gram| self.matrices * gram.layout.dense_len())
    }

    /// Where the scattered cells begin.
    pub fn scattered_start(&self) -> usize {
        HEAD + 2 * self.slopes.dense + 2 * self.dense_gram_len()
    }

    /// The scattered cells: of the gradient, and of the matrices.
    pub fn scattered<'c>(&self, section: &'c mut [i64]) -> (&'c mut [i64], &'c mut [i64]) {
        section[self.scattered_start()..].split_at_mut(self.slopes.parameters - self.slopes.dense)
    }

    /// Folds what a grain's dense columns added; the gradient comes in the order of the parameters.
    ///
    /// # Errors
    /// [`crate::error::Error::Sum`] when a sum is beyond its bound.
    pub fn fold<'g>(
        &self,
        loss: &LossSums,
        gradient: impl Iterator<Item = &'g f64>,
        gram: &[f64],
        section: &mut [i64],
    ) -> Result<()> {
        self.loss.add(loss.loss, &mut section[LOSS..])?;
        self.residual.add(loss.residual, &mut section[RESIDUAL..])?;
        self.weight.add(loss.weight, &mut section[WEIGHT..])?;
        let cells = section[HEAD..].chunks_exact_mut(2);
        for ((scale, sum), cells) in self.slopes.scales.iter().zip(gradient).zip(cells) {
            scale.add(*sum, cells)?;
        }
        match &self.gram {
            Some(plan) => {
                let dense = plan.layout.dense_len().max(1);
                let cells = section[HEAD + 2 * self.slopes.dense..].chunks_exact_mut(2 * dense);
                gram.chunks_exact(dense).zip(cells).try_for_each(|(sums, cells)| plan.fold(sums, cells))
            }
            None => Ok(()),
        }
    }

    /// Notes that something was too large for its scale: the section says nothing.
    pub fn note_beyond(section: &mut [i64]) {
        section[BEYOND] += 1;
    }

    /// True when something was too large for its scale.
    pub fn is_beyond(&self, section: &[i64]) -> bool {
        section[BEYOND] != 0
    }

    /// Sums of loss, residual and weight.
    pub fn loss(&self, section: &[i64]) -> LossSums {
        LossSums {
            loss: self.loss.value(&section[LOSS..]),
            residual: self.residual.value(&section[RESIDUAL..]),
            weight: self.weight.value(&section[WEIGHT..]),
            curvature: 0.0,
        }
    }

    /// Sums of residual times column, a number a parameter.
    pub fn gradient(&self, section: &[i64]) -> Vec<f64> {
        let mut gradient = Vec::with_capacity(self.slopes.parameters);
        let dense = self.slopes.scales.iter().zip(section[HEAD..].chunks_exact(2));
        gradient.extend(dense.map(|(scale, cells)| scale.value(cells)));
        let mut scattered = &section[self.scattered_start()..];
        for &(count, exponent) in &self.slopes.exponents {
            let (own, rest) = scattered.split_at(count);
            gradient.extend(own.iter().map(|&cell| cell as f64 * power_of_two(-exponent)));
            scattered = rest;
        }
        gradient
    }

    /// The matrices, symmetric, over the variables of their layout.
    pub fn matrices_of(&self, section: &[i64]) -> Vec<Vec<f64>> {
        let Some(gram) = &self.gram else { return Vec::new() };
        let Range { start, end } = self.gram_range();
        let scattered = &section[end + self.slopes.parameters - self.slopes.dense..];
        let (of_dense, of_scattered) = (2 * gram.layout.dense_len(), gram.layout.scattered_len());
        let matrix = |number: usize| {
            let dense = &section[start + number * of_dense..start + (number + 1) * of_dense];
            gram.matrix(dense, &scattered[number * of_scattered..(number + 1) * of_scattered])
        };
        (0..self.matrices).map(matrix).collect()
    }

    fn gram_range(&self) -> Range<usize> {
        let start = HEAD + 2 * self.slopes.dense;
        start..start + 2 * self.dense_gram_len()
    }
}
