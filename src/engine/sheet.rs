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
use crate::error::Result;
use crate::models::Reach;

/// The plan of the flat sum.
pub struct Sheet {
    /// The plan of each point's section.
    pub cells: Vec<Cells>,
    /// Where sections begin, and where the last ends.
    starts: Vec<usize>,
}

impl Sheet {
    /// For a pass over `points`; `layout` where some of them want a matrix.
    ///
    /// # Errors
    /// [`crate::error::Error::Sum`] when a bound is not a finite number.
    pub fn new(setup: &Setup<'_>, points: &[Point], layout: Option<GramLayout>) -> Result<Sheet> {
        let bounds: Vec<Bounds> = points.iter().map(|point| bounds(setup, point)).collect();
        // The bound of a product does not depend on the point.
        let bend = bounds.iter().map(|bounds| bounds.bend).fold(0.0, f64::max);
        let gram = layout.map(|layout| Gram::new(setup, bend, layout).map(Arc::new)).transpose()?;
        let (mut cells, mut starts): (Vec<Cells>, Vec<usize>) = (Vec::new(), vec![HEAD]);
        for (point, bounds) in points.iter().zip(bounds) {
            let known = cells.iter().rfind(|cells| cells.slopes.residual == bounds.residual);
            let slopes = match known {
                Some(cells) => Arc::clone(&cells.slopes),
                None => Arc::new(Slopes::new(setup, bounds.residual)?),
            };
            let own = Cells::new(setup, bounds, slopes, gram.clone().filter(|_| point.want != Want::Gradient))?;
            starts.push(starts[starts.len() - 1] + own.count());
            cells.push(own);
        }
        Ok(Sheet { cells, starts })
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
    pub fn found(&self, sum: &[i64]) -> Vec<Found> {
        let of = |(point, cells): (usize, &Cells)| {
            let section = &sum[self.section(point)];
            Found { loss: cells.loss(section), gradient: cells.gradient(section), matrix: cells.matrix(section) }
        };
        self.cells.iter().enumerate().map(of).collect()
    }
}

fn bounds(setup: &Setup<'_>, point: &Point) -> Bounds {
    let (low, high) = setup.space.margins(&point.at);
    let row = setup.model.bounds(&Reach { label: setup.target.largest, low, high });
    let bend = if point.want == Want::Gram { 1.0 } else { row.curvature };
    let weight = setup.weight_max;
    Bounds { loss: weight * row.loss, residual: weight * row.residual, bend: weight * bend }
}
