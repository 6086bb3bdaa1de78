//! The one flat sum of a pass: a head, then a section for each point (see `cells`).
//!
//! ```text
//! [stop][bytes] [section of point 0][section of point 1] ...
//! ```

use std::ops::Range;
use std::sync::Arc;

use gristmill_kernels::ops::gram::GramLayout;

use super::cells::{Bounds, Cells, Slopes};
use super::gram::Gram;
use super::pass::{Found, Point, Want};
use super::reduce::HEAD;
use super::setup::Setup;
use crate::error::{Error, Result};
use crate::models::{Reach, Smoothing};

/// The plan of the flat sum.
pub struct Sheet {
    /// The plan of each point's section.
    pub cells: Vec<Cells>,
    /// Where sections begin, and where the last ends.
    starts: Vec<usize>,
    /// True for points whose bounds are proven, not guessed.
    proven: Vec<bool>,
}

/// How far from the margin that fits all rows the margins of a row are first guessed to lie, and what is tried after that, for
/// models whose residuals grow as the exponential of the margin. What the statistics prove is far too high there (the
/// sum of all columns at their worst), and digits below the scale are lost: e^10 costs 14 bits of the 61 that sums have. A row
/// that leaves the guess is noticed, and the pass made again with the next: by all threads and ranks, and for that point
/// alone, so that the bits depend on data and point only.
const REACHES: [f64; 6] = [10.0, 24.0, 48.0, 96.0, 192.0, 384.0];

/// The last guess: beyond it, a loss counts as infinite.
pub const LEVEL_MAX: usize = REACHES.len() - 1;

impl Sheet {
    /// For a pass over `points` with guesses of that level; `layout` where some of them want a matrix.
    ///
    /// # Errors
    /// [`crate::error::Error::Sum`] when a bound is not a finite number.
    pub fn new(setup: &Setup<'_>, points: &[Point], level: usize, layout: Option<&GramLayout>) -> Result<Sheet> {
        let (mut cells, mut starts): (Vec<Cells>, Vec<usize>) = (Vec::new(), vec![HEAD]);
        let (mut grams, mut proven): (Vec<(f64, Arc<Gram>)>, Vec<bool>) = (Vec::new(), Vec::new());
        for (number, point) in points.iter().enumerate() {
            let first = number / setup.joint * setup.joint;
            let (bounds, is_proven) = bounds(setup, &points[first..first + setup.joint], level);
            proven.push(is_proven);
            let known = cells.iter().rfind(|cells| cells.slopes.residual == bounds.residual);
            let slopes = match known {
                Some(cells) => Arc::clone(&cells.slopes),
                None => Arc::new(Slopes::new(setup, bounds.residual)?),
            };
            let gram = match (layout.filter(|_| point.want != Want::Gradient), grams.last()) {
                (None, _) => None,
                (Some(_), Some((bend, known))) if *bend == bounds.bend => Some(Arc::clone(known)),
                (Some(layout), _) => {
                    let made = Arc::new(Gram::new(setup, bounds.bend, layout.clone())?);
                    grams.push((bounds.bend, Arc::clone(&made)));
                    Some(made)
                }
            };
            let matrices = matrices(setup.joint, number % setup.joint);
            let own = Cells::new(setup, bounds, slopes, gram.filter(|_| matrices > 0).map(|gram| (gram, matrices)))?;
            starts.push(starts[starts.len() - 1] + own.count());
            cells.push(own);
        }
        Ok(Sheet { cells, starts, proven })
    }

    /// Cells of the flat sum.
    pub fn count(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// Where the section of a point lies.
    pub fn section(&self, point: usize) -> Range<usize> {
        self.starts[point]..self.starts[point + 1]
    }

    /// What the sum says of every point.
    ///
    /// # Errors
    /// [`Error::Sum`] when a row left bounds that are proven.
    pub fn found(&self, sum: &[i64]) -> Result<Vec<Found>> {
        let of = |(point, cells): (usize, &Cells)| {
            let section = &sum[self.section(point)];
            let beyond = cells.is_beyond(section);
            if beyond && self.proven[point] {
                return Err(Error::Sum(
                    "a row adds more than the dataset's statistics allow: they do not belong to these rows, or values \
                     overflow. Check with 'gristmill verify'"
                        .into(),
                ));
            }
            let (loss, gradient, matrices) = (cells.loss(section), cells.gradient(section), cells.matrices_of(section));
            Ok(Found { loss, gradient, matrices, beyond })
        };
        self.cells.iter().enumerate().map(of).collect()
    }
}

/// Matrices of a Hessian that stand with a margin: its own; of `joint` margins one for each margin behind it.
pub fn matrices(joint: usize, margin: usize) -> usize {
    if joint == 1 { 1 } else { joint - 1 - margin }
}

/// The bounds of the sums of points that make one loss, and whether they are proven.
fn bounds(setup: &Setup<'_>, points: &[Point], level: usize) -> (Bounds, bool) {
    let margins = points.iter().map(|point| setup.space.margins(&point.at));
    let (low, high) = margins.fold((f64::INFINITY, f64::NEG_INFINITY), |all, own| (all.0.min(own.0), all.1.max(own.1)));
    let (low, high) = (low + setup.offset_range.0, high + setup.offset_range.1);
    let reach = if setup.deviance().is_some() { REACHES[level] } else { f64::INFINITY };
    let (least, most) = (setup.centre - reach, setup.centre + reach);
    // All margins may lie on one side of the guess.
    let (within_low, within_high) = (low.max(least).min(most), high.min(most).max(least));
    let mut row = setup.model.bounds(&Reach { label: setup.target.largest, low: within_low, high: within_high });
    let smoothing = points.first().map_or(Smoothing::Exact, |point| point.smoothing);
    if let (Smoothing::Width(width) | Smoothing::Lifted(width, _) | Smoothing::Gap(width), Some(kink)) =
        (smoothing, setup.model.kink())
    {
        row.loss += kink.slopes * width;
        row.curvature = kink.slopes / (4.0 * width);
    }
    let is_gram = points.first().is_some_and(|point| point.want == Want::Gram);
    let bend = if is_gram { 1.0 } else { row.curvature };
    let weight = setup.weight_max;
    let bounds = Bounds { loss: weight * row.loss, residual: weight * row.residual, bend: weight * bend };
    // The proof is of real numbers: sums of the means of further guesses may leave those of the arithmetic.
    (bounds, level == 0 && least <= low && high <= most)
}
