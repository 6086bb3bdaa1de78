//! Margins of rows: intercept + sum of weight * stored value, in f64 (stage 10).
//!
//! Prediction and evaluation share it. Rows go through the same kernels as in training, in tiles of
//! `TILE_ROWS` rows; cost: one multiply-add a stored number.

use gristmill_io::manifest::Layout;
use gristmill_kernels::tile::Grain;
use gristmill_kernels::{Kernels, Tier};

use crate::error::{Error, Result};
use crate::run::Model;

/// Rows of a kernel call: a few columns of f64 margins and values fit the first cache.
const TILE_ROWS: usize = 512;

/// A model ready to score grains.
#[derive(Debug)]
pub struct Scorer {
    kernels: Kernels<f64>,
    intercept: f64,
    blocks: Vec<Vec<f64>>,
}

impl Scorer {
    /// The scorer of a model whose features lie as `layout` says.
    ///
    /// # Errors
    /// When `GRISTMILL_TIER` asks for what this processor lacks.
    pub fn new(model: &Model, layout: &Layout) -> Result<Scorer> {
        let tier = Tier::chosen().map_err(|error| Error::usage(error.to_string()))?;
        let weights = &model.weights.weights;
        let blocks = layout
            .blocks
            .iter()
            .map(|block| weights[block.first_parameter..block.first_parameter + block.parameters].to_vec())
            .collect();
        Ok(Scorer { kernels: Kernels::new(tier), intercept: model.weights.intercept, blocks })
    }

    /// Append the margin of every row of a grain of that layout.
    pub fn score(&self, grain: &Grain<'_>, margins: &mut Vec<f64>) {
        let first = margins.len();
        margins.resize(first + grain.rows, self.intercept);
        for (number, tile) in margins[first..].chunks_mut(TILE_ROWS).enumerate() {
            let start = number * TILE_ROWS;
            for (block, weights) in grain.blocks.iter().zip(&self.blocks) {
                self.kernels.margins(block, start..start + tile.len(), weights, tile);
            }
        }
    }
}
