//! The dense variables of some rows as columns of one type: as they lie in memory where they are of it, copied otherwise.
//!
//! Copied are columns of other storage types, elements of vectors (transposed), the constant 1, and, where the rows are no
//! whole units of sixteen, everything, zeros behind the last row.

use crate::aligned::Aligned;
use crate::dtype::Element;
use crate::isa::{Isa, LANES, Lanes, Load, Operand, Real};
use crate::tile::{Block, Columns, Values};
use std::ops::Range;

/// Where a variable is.
#[derive(Clone, Copy, Debug)]
enum Origin<'a, S> {
    /// It is read as it lies: its column of the grain.
    Lying(&'a [S]),
    /// It is copied, and so many before it.
    Copied(usize),
}

/// Where each variable is.
#[derive(Clone, Debug)]
pub(super) struct Plan<'a, S> {
    source: Source<'a>,
    origins: Vec<Origin<'a, S>>,
    copied: usize,
}

/// The dense blocks of a grain and the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub blocks: &'a [Block<'a>],
    pub target: Option<&'a Values<'a>>,
}

/// The dense variables of some rows.
#[derive(Clone, Debug)]
pub(super) struct Variables<'a, S> {
    origins: &'a [Origin<'a, S>],
    copied: &'a [S],
    rows: Range<usize>,
}

impl Source<'_> {
    /// True when there are numbers that `f32` does not hold.
    pub fn is_wide(&self) -> bool {
        let wide = |block: &Block<'_>| match block {
            Block::Columns(columns) => matches!(columns, Columns::F64(_)),
            Block::Vectors { values, .. } => matches!(values, Values::F64(_)),
            Block::Codes { .. } | Block::Crossed(_) | Block::Sparse { .. } => false,
        };
        self.blocks.iter().any(wide) || matches!(self.target, Some(Values::F64(_)))
    }
}

impl<'a, S: Real> Plan<'a, S> {
    /// Decides which variables are read as they lie; `whole` says that the rows are whole units.
    pub fn new<R: Real>(source: Source<'a>, whole: bool) -> Plan<'a, S>
    where
        S: Operand<R>,
    {
        let mut plan = Plan { source, origins: Vec::new(), copied: 0 };
        for block in source.blocks {
            match block {
                Block::Columns(columns) if whole && !S::columns(columns).is_empty() => {
                    plan.origins.extend(S::columns(columns).iter().copied().map(Origin::Lying));
                }
                Block::Columns(_) | Block::Vectors { .. } => plan.copy(block.parameters()),
                Block::Codes { .. } | Block::Crossed(_) | Block::Sparse { .. } => {}
            }
        }
        plan.copy(1);
        match source.target.and_then(S::values) {
            Some(target) if whole => plan.origins.push(Origin::Lying(target)),
            _ => plan.copy(usize::from(source.target.is_some())),
        }
        plan
    }

    fn copy(&mut self, variables: usize) {
        self.origins.extend((self.copied..self.copied + variables).map(Origin::Copied));
        self.copied += variables;
    }

    /// The variables of `rows`, copied into `memory` as planned.
    #[inline(always)]
    pub fn read<'b, T: Isa>(&'b self, tier: T, memory: &'b mut Aligned<S>, rows: Range<usize>) -> Variables<'b, S> {
        let padded = rows.len().next_multiple_of(LANES);
        memory.resize(self.copied * padded);
        let mut copier =
            Copier { tier, rows: rows.clone(), origins: self.origins.iter(), columns: memory.chunks_exact_mut(padded) };
        for block in self.source.blocks {
            copier.block(block);
        }
        copier.constant();
        if let Some(target) = self.source.target {
            copier.values(target);
        }
        Variables { origins: &self.origins, copied: memory, rows }
    }
}

/// Copies variable after variable.
struct Copier<'a, T, S> {
    tier: T,
    rows: Range<usize>,
    origins: std::slice::Iter<'a, Origin<'a, S>>,
    columns: std::slice::ChunksExactMut<'a, S>,
}

impl<T: Isa, S: Real> Copier<'_, T, S> {
    #[inline(always)]
    fn block(&mut self, block: &Block<'_>) {
        match block {
            Block::Columns(Columns::F64(columns)) => columns.iter().for_each(|column| self.column(column)),
            Block::Columns(Columns::F32(columns)) => columns.iter().for_each(|column| self.column(column)),
            Block::Columns(Columns::F16(columns)) => columns.iter().for_each(|column| self.column(column)),
            Block::Columns(Columns::U16(columns)) => columns.iter().for_each(|column| self.column(column)),
            Block::Columns(Columns::U8(columns)) => columns.iter().for_each(|column| self.column(column)),
            Block::Vectors { values, width } => match values {
                Values::F64(values) => self.vectors(values, *width),
                Values::F32(values) => self.vectors(values, *width),
                Values::F16(values) => self.vectors(values, *width),
                Values::U16(values) => self.vectors(values, *width),
                Values::U8(values) => self.vectors(values, *width),
            },
            Block::Codes { .. } | Block::Crossed(_) | Block::Sparse { .. } => {}
        }
    }

    #[inline(always)]
    fn values(&mut self, values: &Values<'_>) {
        match values {
            Values::F64(values) => self.column(values),
            Values::F32(values) => self.column(values),
            Values::F16(values) => self.column(values),
            Values::U16(values) => self.column(values),
            Values::U8(values) => self.column(values),
        }
    }

    /// Where the next variable is to be copied, if it is.
    #[inline(always)]
    fn next(&mut self) -> Option<&mut [S]> {
        match self.origins.next() {
            Some(Origin::Copied(_)) => self.columns.next(),
            _ => None,
        }
    }

    /// A column, whose rows behind these are asked for.
    #[inline(always)]
    fn column<E: Load>(&mut self, column: &[E]) {
        let (tier, rows) = (self.tier, self.rows.clone());
        let Some(copy) = self.next() else { return };
        let (whole, tail) = column[rows.clone()].as_chunks::<LANES>();
        let (units, _) = copy.as_chunks_mut::<LANES>();
        let mut units = units.iter_mut();
        for ((row, values), unit) in (rows.end..).step_by(LANES).zip(whole).zip(&mut units) {
            E::load::<T, S>(tier, values).store(unit);
            tier.prefetch_far(column, row);
        }
        if let Some(unit) = units.next() {
            E::load_tail::<T, S>(tier, tail).store(unit);
        }
    }

    /// The column of ones.
    #[inline(always)]
    fn constant(&mut self) {
        let rows = self.rows.len();
        if let Some(copy) = self.next() {
            copy[..rows].fill(S::from_f64(1.0));
            copy[rows..].fill(S::default());
        }
    }

    /// A row-major block: each element is a column.
    #[inline(always)]
    fn vectors<E: Element>(&mut self, values: &[E], width: usize) {
        let rows = self.rows.clone();
        for element in 0..width {
            let mut column = values[rows.start * width..rows.end * width].iter().skip(element).step_by(width);
            for copy in self.next().into_iter().flatten() {
                *copy = column.next().map_or(S::default(), |x| S::from_f64(x.to_f64()));
            }
        }
    }
}

impl<S: Real> Variables<'_, S> {
    /// Units of sixteen rows.
    #[inline(always)]
    pub fn units(&self) -> usize {
        self.rows.len().div_ceil(LANES)
    }

    /// The units of a variable.
    #[inline(always)]
    pub fn column(&self, variable: usize) -> &[[S; LANES]] {
        let rows = self.units() * LANES;
        let column = match self.origins[variable] {
            Origin::Lying(column) => &column[self.rows.start..][..rows],
            Origin::Copied(number) => &self.copied[number * rows..][..rows],
        };
        column.as_chunks().0
    }

    /// The rows behind these of a variable that is read as it lies; of any other, what costs nothing to ask for.
    #[inline(always)]
    pub fn behind(&self, variable: usize) -> &[S] {
        match self.origins.get(variable) {
            Some(Origin::Lying(column)) => &column[self.rows.end..],
            Some(Origin::Copied(_)) | None => self.copied,
        }
    }
}
