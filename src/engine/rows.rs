//! The rows of a tile as a loss takes them: targets, weights, and for points that leave a fold out the weights with that
//! fold's rows at 0.

use std::ops::Range;

use gristmill_kernels::tile::Grain;
use gristmill_kernels::{Aligned, Kernels, Real};

use super::setup::Setup;
use super::target::{self, Target};

/// Buffers of a worker.
#[derive(Default)]
pub struct Rows<R> {
    y: Aligned<R>,
    weight: Aligned<R>,
    /// What is added to margins; empty where there is nothing.
    offset: Vec<R>,
    /// 1 for rows of a class or with a label, 0 for all others.
    against: Aligned<R>,
    /// The fold of each row.
    fold: Aligned<u16>,
    /// For each fold that is left out, one after the other, the weights of the other rows.
    outside: Aligned<R>,
    /// Rows that are in the buffers.
    rows: usize,
}

/// The folds that the points of a pass leave out.
pub struct LeftOut {
    folds: Vec<u16>,
    /// For each point the place of its fold in `folds`.
    places: Vec<Option<usize>>,
}

impl LeftOut {
    /// Those of points in order.
    pub fn new(points: impl Iterator<Item = Option<u16>>) -> LeftOut {
        let (mut folds, mut places) = (Vec::new(), Vec::new());
        for point in points {
            places.push(point.map(|fold| {
                folds.iter().position(|known| *known == fold).unwrap_or_else(|| {
                    folds.push(fold);
                    folds.len() - 1
                })
            }));
        }
        LeftOut { folds, places }
    }

    /// True when no point leaves rows out.
    pub fn is_empty(&self) -> bool {
        self.folds.is_empty()
    }
}

impl<R: Real + Default> Rows<R> {
    /// Room for tiles of so many rows.
    pub fn prepare(&mut self, rows: usize, left_out: &LeftOut) {
        self.y.resize(rows);
        self.weight.resize(rows);
        self.against.resize(rows);
        let (folds, outside) = if left_out.is_empty() { (0, 0) } else { (rows, rows * left_out.folds.len()) };
        self.fold.resize(folds);
        self.outside.resize(outside);
    }

    /// Reads the rows of a tile.
    pub fn read(
        &mut self,
        kernels: &Kernels<R>,
        setup: &Setup<'_>,
        (number, grain): (usize, &Grain<'_>),
        rows: &Range<usize>,
        left_out: &LeftOut,
    ) {
        let n = rows.len();
        self.rows = n;
        let weighs = setup.has_weights() || !left_out.is_empty();
        setup.read_offset(kernels, grain, rows, &mut self.offset);
        if weighs {
            target::read(kernels, grain.weight.as_ref(), rows.clone(), &mut self.weight[..n]);
        }
        let (y, weight) = (&mut self.y[..n], weighs.then_some(&mut self.weight[..n]));
        setup.target.read_labels(kernels, grain.label.as_ref(), rows.clone(), y, weight);
        if let Some(folds) = setup.folds.filter(|_| !left_out.is_empty()) {
            folds.read(setup.first_row(number) + rows.start as u64, &mut self.fold[..n]);
            for (place, &fold) in left_out.folds.iter().enumerate() {
                let own = self.outside[place * n..(place + 1) * n].iter_mut().zip(&*self.fold).zip(&*self.weight);
                own.for_each(|((to, of), weight)| *to = if *of == fold { R::default() } else { *weight });
            }
        }
    }

    /// What is added to margins; empty where there is nothing.
    pub fn offset(&self) -> &[R] {
        &self.offset
    }

    /// Targets.
    pub fn y(&self) -> &[R] {
        &self.y[..self.rows]
    }

    /// Makes the targets of a point that tells a class from all others, or of a label.
    pub fn turn_against(&mut self, target: &Target, class: Option<u16>) {
        if let Some(class) = class {
            target.turn(class, &self.y[..self.rows], &mut self.against);
        }
    }

    /// Targets of the point that they were last made for.
    pub fn against(&self) -> &[R] {
        &self.against[..self.rows]
    }

    /// Weights as a point counts them; none: 1 each.
    pub fn weight(&self, setup: &Setup<'_>, left_out: &LeftOut, point: usize) -> Option<&[R]> {
        match left_out.places[point] {
            Some(place) => Some(&self.outside[place * self.rows..(place + 1) * self.rows]),
            None => setup.has_weights().then_some(&self.weight[..self.rows]),
        }
    }
}
