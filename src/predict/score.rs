//! Margins of rows: intercept + sum of weight * stored value, in f64 (stage 10); one a row, or one a class and row.
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
    intercepts: Vec<f64>,
    /// Weights of a block, margin after margin.
    blocks: Vec<Vec<f64>>,
}

impl Scorer {
    /// The scorer of a model whose features lie as `layout` says.
    ///
    /// # Errors
    /// When `GRISTMILL_TIER` asks for what this processor lacks.
    pub fn new(model: &Model, layout: &Layout) -> Result<Scorer> {
        let tier = Tier::chosen().map_err(|error| Error::usage(error.to_string()))?;
        let margins = || model.weights.weights.chunks_exact(layout.parameters.max(1));
        let blocks = layout.blocks.iter().map(|block| {
            let range = block.first_parameter..block.first_parameter + block.parameters;
            margins().flat_map(|weights| weights[range.clone()].iter().copied()).collect()
        });
        let intercepts = model.weights.intercepts.clone();
        Ok(Scorer { kernels: Kernels::new(tier), intercepts, blocks: blocks.collect() })
    }

    /// The margins of every row of a grain of that layout, margin after margin.
    pub fn score(&self, grain: &Grain<'_>, margins: &mut Vec<f64>) {
        margins.clear();
        margins.extend(self.intercepts.iter().flat_map(|intercept| std::iter::repeat_n(*intercept, grain.rows)));
        let mut tile = Vec::new();
        for start in (0..grain.rows).step_by(TILE_ROWS) {
            let rows = start..grain.rows.min(start + TILE_ROWS);
            let own = |margin: usize| margin * grain.rows + rows.start..margin * grain.rows + rows.end;
            tile.clear();
            (0..self.intercepts.len()).for_each(|margin| tile.extend_from_slice(&margins[own(margin)]));
            for (block, weights) in grain.blocks.iter().zip(&self.blocks) {
                if self.intercepts.len() == 1 {
                    self.kernels.margins(block, rows.clone(), weights, &mut tile);
                } else {
                    self.kernels.margins_k(block, rows.clone(), weights, &mut tile);
                }
            }
            for (margin, tile) in tile.chunks_exact(rows.len()).enumerate() {
                margins[own(margin)].copy_from_slice(tile);
            }
        }
    }
}
