//! Margins of rows: intercept + offset + sum of weight * stored value, in f64 (stage 10); one a row, or one a class and row.
//!
//! Prediction and evaluation share it. Rows go through the same kernels as in training, in tiles of
//! `TILE_ROWS` rows; cost: one multiply-add a stored number.

use gristmill_io::manifest::{Kind, Layout, Role};
use gristmill_kernels::tile::Grain;
use gristmill_kernels::{Kernels, Tier};

use crate::error::{Error, Result};
use crate::models;
use crate::run::Model;

/// Rows of a kernel call: a few columns of f64 margins and values fit the first cache.
const TILE_ROWS: usize = 512;

/// Turns the margins of so many rows into what the model predicts from: of a number the number itself, of classes the margins. `at` says
/// where a row came from; rows count from 0.
///
/// # Errors
/// [`Error::Training`] for a row where that is no finite number.
pub fn turn(model: &dyn models::Model, margins: &mut [f64], rows: usize, at: &dyn Fn(usize) -> String) -> Result<()> {
    if !model.is_classifier() {
        margins.iter_mut().for_each(|margin| *margin = model.mean(*margin));
    }
    match margins.iter().position(|margin| !margin.is_finite()) {
        Some(place) => Err(Error::training(format!(
            "{}: the prediction is {}: the row's numbers are too far from those of the training",
            at(place % rows),
            margins[place]
        ))),
        None => Ok(()),
    }
}

/// A model ready to score grains.
#[derive(Debug)]
pub struct Scorer {
    kernels: Kernels<f64>,
    intercepts: Vec<f64>,
    /// What is added to margins, of a stored number: offset and scale.
    offset: (f64, f64),
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
        let mut columns = model.metadata.columns.iter();
        let offset = match columns.find(|column| column.role == Role::Offset).map(|column| &column.kind) {
            Some(Kind::Numeric { offset, scale, .. }) => (*offset, *scale),
            _ => (0.0, 1.0),
        };
        Ok(Scorer { kernels: Kernels::new(tier), intercepts, offset, blocks: blocks.collect() })
    }

    /// The margins of every row of a grain of that layout, margin after margin.
    pub fn score(&self, grain: &Grain<'_>, margins: &mut Vec<f64>) {
        margins.clear();
        margins.extend(self.intercepts.iter().flat_map(|intercept| std::iter::repeat_n(*intercept, grain.rows)));
        if let Some(stored) = &grain.offset {
            let mut known = vec![0.0; grain.rows];
            self.kernels.convert(stored, 0..grain.rows, &mut known);
            let (offset, scale) = self.offset;
            let rows = margins.iter_mut().zip(known.iter().cycle());
            rows.for_each(|(margin, stored)| *margin += offset + scale * stored);
        }
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
