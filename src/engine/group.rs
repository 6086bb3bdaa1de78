//! Points whose margins and gradients kernels compute together: a value that was loaded serves them all.

use std::ops::Range;

use gristmill_io::manifest::Layout;
use gristmill_kernels::tile::Grain;
use gristmill_kernels::{Kernels, Real};

use super::space::Stored;

/// Most points of a group, but for the margins of one loss, which stay together: as many as have their sums in registers at
/// once.
const POINTS_MAX: usize = 8;

/// Parameters of each block of a row.
pub struct Blocks(Vec<Range<usize>>);

impl Blocks {
    /// Those of a layout.
    pub fn of(layout: &Layout) -> Blocks {
        Blocks(layout.blocks.iter().map(|b| b.first_parameter..b.first_parameter + b.parameters).collect())
    }

    /// First parameter and end of each block.
    pub fn iter(&self) -> impl Iterator<Item = &Range<usize>> {
        self.0.iter()
    }
}

/// Some points of a pass.
pub struct Group<R> {
    /// Their numbers.
    pub points: Range<usize>,
    /// Block after block, in a block point after point.
    weights: Vec<R>,
    intercepts: Vec<R>,
}

impl<R: Real> Group<R> {
    /// Points in groups; `joint` of them in turn make one loss.
    pub fn all(points: &[&Stored], blocks: &Blocks, joint: usize) -> Vec<Group<R>> {
        let most = (POINTS_MAX / joint).max(1) * joint;
        let starts = (0..points.len()).step_by(most);
        starts.map(|start| Group::new(points, start..points.len().min(start + most), blocks)).collect()
    }

    fn new(points: &[&Stored], numbers: Range<usize>, blocks: &Blocks) -> Group<R> {
        let points = &points[numbers.clone()];
        let of_block = |block: &Range<usize>| {
            let block = block.clone();
            points.iter().flat_map(move |point| point.weights[block.clone()].iter().map(|&w| R::from_f64(w)))
        };
        Group {
            weights: blocks.iter().flat_map(of_block).collect(),
            intercepts: points.iter().map(|point| R::from_f64(point.intercept)).collect(),
            points: numbers,
        }
    }

    /// Numbers of the points of the largest group.
    pub fn most(groups: &[Group<R>]) -> usize {
        groups.iter().map(|group| group.points.len()).max().unwrap_or(0)
    }

    /// Where what belongs to a block lies among what belongs to the group.
    pub fn part(&self, block: &Range<usize>) -> Range<usize> {
        block.start * self.points.len()..block.end * self.points.len()
    }

    /// Margins of a tile, point after point; `offset`: what is known of those of its rows, nothing where it is empty.
    pub fn margins(
        &self,
        kernels: &Kernels<R>,
        blocks: &Blocks,
        (grain, rows): (&Grain<'_>, &Range<usize>),
        offset: &[R],
        z: &mut [R],
    ) {
        for (z, intercept) in z.chunks_exact_mut(rows.len()).zip(&self.intercepts) {
            z.fill(*intercept);
            z.iter_mut().zip(offset).for_each(|(z, offset)| *z += *offset);
        }
        for (block, range) in grain.blocks.iter().zip(blocks.iter()) {
            let weights = &self.weights[self.part(range)];
            if self.points.len() == 1 {
                kernels.margins(block, rows.clone(), weights, z);
            } else {
                kernels.margins_k(block, rows.clone(), weights, z);
            }
        }
    }
}
