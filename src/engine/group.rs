//! Points whose margins and gradients kernels compute together: a value that was loaded serves them all.

use std::ops::Range;

use gristmill_io::manifest::{BlockLayout, Column, Layout};
use gristmill_io::mmap;
use gristmill_kernels::ops::lines;
use gristmill_kernels::tile::Grain;
use gristmill_kernels::{Aligned, Kernels, Real, vectorised};

use super::space::Stored;

/// Most points of a group, but for the margins of one loss, which stay together: as many as have their sums in registers at
/// once.
const POINTS_MAX: usize = 8;

/// Points from which on what they have for a level stands side by side: fewer lose as much by turning margins as a look at memory costs.
pub const LINED_MIN: usize = 4;

/// Parameters of each block of a row.
pub struct Blocks {
    ranges: Vec<Range<usize>>,
    /// Numbers of the categorical blocks, crossed ones among them: they stand together.
    codes: Range<usize>,
}

impl Blocks {
    /// Those of a layout.
    pub fn of(layout: &Layout, columns: &[Column]) -> Blocks {
        let has_codes = |block: &BlockLayout| {
            block
                .columns
                .iter()
                .any(|&number| columns[number].kind.codes().is_some() || columns[number].kind.is_crossed())
        };
        let first = layout.blocks.iter().position(has_codes).unwrap_or(layout.blocks.len());
        let count = layout.blocks[first..].iter().take_while(|block| has_codes(block)).count();
        Blocks {
            ranges: layout.blocks.iter().map(|b| b.first_parameter..b.first_parameter + b.parameters).collect(),
            codes: first..first + count,
        }
    }

    /// Numbers of the categorical blocks.
    pub fn codes(&self) -> Range<usize> {
        self.codes.clone()
    }

    /// Parameters of the categorical blocks.
    pub fn levels(&self) -> Range<usize> {
        match &self.ranges[self.codes()] {
            [] => 0..0,
            [first, ..] => first.start..self.ranges[self.codes.end - 1].end,
        }
    }

    /// First parameter and end of each block.
    pub fn iter(&self) -> impl Iterator<Item = &Range<usize>> {
        self.ranges.iter()
    }
}

/// Some points of a pass.
pub struct Group<R> {
    /// Their numbers.
    pub points: Range<usize>,
    /// Block after block, in a block point after point; of categorical blocks level after level, where the group is lined.
    weights: Aligned<R>,
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
        let mut weights = Vec::with_capacity(points.len() * blocks.ranges.last().map_or(0, |last| last.end));
        for (number, block) in blocks.iter().enumerate() {
            if points.len() >= LINED_MIN && blocks.codes.contains(&number) {
                for level in block.clone() {
                    weights.extend(points.iter().map(|point| R::from_f64(point.weights[level])));
                }
            } else {
                let of_point =
                    |point: &&Stored| point.weights[block.clone()].iter().map(|&w| R::from_f64(w)).collect::<Vec<_>>();
                weights.extend(points.iter().flat_map(of_point));
            }
        }
        let mut own = Aligned::within(mmap::table(Aligned::<R>::room(weights.len())), weights.len());
        own.copy_from_slice(&weights);
        Group {
            weights: own,
            intercepts: points.iter().map(|point| R::from_f64(point.intercept)).collect(),
            points: numbers,
        }
    }

    /// True where the weights of a level, and its sums, stand side by side.
    pub fn is_lined(&self) -> bool {
        self.points.len() >= LINED_MIN
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
            vectorised(|| z.fill(*intercept));
            z.iter_mut().zip(offset).for_each(|(z, offset)| *z += *offset);
        }
        let count = self.points.len();
        for (number, (block, range)) in grain.blocks.iter().zip(blocks.iter()).enumerate() {
            let weights = &self.weights[self.part(range)];
            if count == 1 {
                kernels.margins(block, rows.clone(), weights, z);
            } else if !self.is_lined() || !blocks.codes.contains(&number) {
                kernels.margins_k(block, rows.clone(), weights, z);
            } else if number == blocks.codes.start {
                let w = &self.weights[self.part(&blocks.levels())];
                let blocks = &grain.blocks[blocks.codes()];
                kernels.margins_lines(lines::Margins { blocks, rows: rows.clone(), count, w, z });
            }
        }
    }
}
