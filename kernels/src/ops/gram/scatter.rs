//! Pairs of variables that touch a scattered block: each row's product is rounded to fixed point and added to its own
//! integer, so that the order of rows, tiles and workers does not matter.
//!
//! With `v = x n` (a variable brought to at most 1 in size by its power of two) and `t = h U v[e]` for an entry `e`, row
//! after row: entry with dense variable `s` adds `round(t v[s])`, entry with entry `f` adds `round(t v[f])`. A row's
//! line of dense variables is rounded once for all its categorical columns, whose `v` is 1.
//!
//! Range is checked where numbers come in (`h U <= L`, `|v| <= 1`), so the inner loops only multiply, round and add.
//! Cost a row: 2 flops and one 8-byte addition for each of its `s D + s (s + 1) / 2` pairs.

use super::GramRows;
use super::layout::{GramLayout, ScatteredBlock, in_triangle};
use super::scales::{GramScales, OutOfRange, round_small};
use crate::dtype::Element;
use crate::isa::{Isa, Kernel, Real};
use crate::ops::codes::Code;
use crate::ops::crossed;
use crate::tile::{Block, Codes, Columns, Values};
use std::ops::Range;

/// Rows whose dense variables are brought into lines at a time: a cache line of eight `f64` per column and step.
const ROWS: usize = 16;

/// Memory for the lines of a few rows; grows on first use and is then reused.
#[derive(Clone, Debug, Default)]
pub struct ScatterScratch {
    /// `v` of the dense variables, row-major.
    lines: Vec<f64>,
    /// One line, times `h U`, rounded.
    rounded: Vec<i64>,
    /// The row's entries, block after block.
    entries: Vec<Entry>,
    /// The end of each block's entries.
    ends: Vec<usize>,
}

/// A scattered parameter of a row.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Number in its block.
    element: usize,
    /// `x n`.
    value: f64,
}

/// The arguments.
pub(super) struct Scatter<'a, R> {
    pub layout: &'a GramLayout,
    pub scales: &'a GramScales,
    pub tile: &'a GramRows<'a, R>,
    pub scratch: &'a mut ScatterScratch,
    pub sums: &'a mut [i64],
}

impl<R: Real> Kernel for Scatter<'_, R> {
    type Output = Result<(), OutOfRange>;

    #[inline(always)]
    fn run<T: Isa>(self, _: T) -> Result<(), OutOfRange> {
        let Scatter { layout, scales, tile, scratch, sums } = self;
        let dense = layout.dense_variables();
        scratch.lines.resize(ROWS * dense, 0.0);
        scratch.rounded.resize(dense, 0);
        let mut rows = tile.rows.clone();
        while !rows.is_empty() {
            let some = rows.start..rows.end.min(rows.start + ROWS);
            lines(layout, scales, tile, some.clone(), &mut scratch.lines)?;
            for (row, line) in some.clone().zip(scratch.lines.chunks_exact(dense)) {
                let weight = tile.weight.map_or(1.0, |weight| weight[row - tile.rows.start].to_f64());
                let unit = in_range(weight * scales.unit, scales.limit)?;
                entries(layout, scales, &tile.grain.blocks, row, &mut scratch.entries, &mut scratch.ends)?;
                let row = Row { entries: &scratch.entries, ends: &scratch.ends };
                with_line(layout, unit, line, row, &mut scratch.rounded, sums);
                with_each_other(layout, unit, row, sums);
            }
            rows.start = some.end;
        }
        Ok(())
    }
}

/// `value`, if it is at most `limit` in size.
#[inline(always)]
fn in_range(value: f64, limit: f64) -> Result<f64, OutOfRange> {
    if value.abs() <= limit { Ok(value) } else { Err(OutOfRange) }
}

/// Fills the lines of `rows` with `x n` of the dense variables.
#[inline(always)]
fn lines<R: Real>(
    layout: &GramLayout,
    scales: &GramScales,
    tile: &GramRows<'_, R>,
    rows: Range<usize>,
    lines: &mut [f64],
) -> Result<(), OutOfRange> {
    let mut writer = Lines { width: layout.dense_variables(), rows, slot: 0, inside: true, lines };
    let mut variable = 0;
    for block in &tile.grain.blocks {
        let normalisers = &scales.normaliser[variable..variable + block.parameters()];
        match block {
            Block::Columns(columns) => writer.columns(columns, normalisers),
            Block::Vectors { values, width } => writer.vectors(values, *width, normalisers),
            Block::Codes { .. } | Block::Crossed(_) | Block::Sparse { .. } => {}
        }
        variable += block.parameters();
    }
    writer.put(|_| 1.0, scales.normaliser[layout.one()]);
    if let (Some(target), Some(label)) = (layout.target(), &tile.grain.label) {
        writer.values(label, scales.normaliser[target]);
    }
    if writer.inside { Ok(()) } else { Err(OutOfRange) }
}

/// Writes dense variables, one after the other, into the lines of some rows.
struct Lines<'a> {
    width: usize,
    rows: Range<usize>,
    slot: usize,
    /// False once a value was beyond its bound.
    inside: bool,
    lines: &'a mut [f64],
}

impl Lines<'_> {
    /// The next variable: `value(row) * normaliser`.
    #[inline(always)]
    fn put(&mut self, value: impl Fn(usize) -> f64, normaliser: f64) {
        for (row, line) in self.rows.clone().zip(self.lines.chunks_exact_mut(self.width)) {
            let value = value(row) * normaliser;
            self.inside &= value.abs() <= 1.0;
            line[self.slot] = value;
        }
        self.slot += 1;
    }

    #[inline(always)]
    fn all<E: Element>(&mut self, columns: &[&[E]], normalisers: &[f64]) {
        for (column, &normaliser) in columns.iter().zip(normalisers) {
            self.put(|row| column[row].to_f64(), normaliser);
        }
    }

    #[inline(always)]
    fn columns(&mut self, columns: &Columns<'_>, normalisers: &[f64]) {
        match columns {
            Columns::F64(columns) => self.all(columns, normalisers),
            Columns::F32(columns) => self.all(columns, normalisers),
            Columns::F16(columns) => self.all(columns, normalisers),
            Columns::U16(columns) => self.all(columns, normalisers),
            Columns::U8(columns) => self.all(columns, normalisers),
        }
    }

    #[inline(always)]
    fn strided<E: Element>(&mut self, values: &[E], width: usize, normalisers: &[f64]) {
        for (element, &normaliser) in normalisers.iter().enumerate() {
            self.put(|row| values[row * width + element].to_f64(), normaliser);
        }
    }

    #[inline(always)]
    fn vectors(&mut self, values: &Values<'_>, width: usize, normalisers: &[f64]) {
        match values {
            Values::F64(values) => self.strided(values, width, normalisers),
            Values::F32(values) => self.strided(values, width, normalisers),
            Values::F16(values) => self.strided(values, width, normalisers),
            Values::U16(values) => self.strided(values, width, normalisers),
            Values::U8(values) => self.strided(values, width, normalisers),
        }
    }

    /// One variable.
    #[inline(always)]
    fn values(&mut self, values: &Values<'_>, normaliser: f64) {
        self.vectors(values, 1, &[normaliser]);
    }
}

/// Lists the scattered entries of a row, block after block.
#[inline(always)]
fn entries(
    layout: &GramLayout,
    scales: &GramScales,
    blocks: &[Block<'_>],
    row: usize,
    entries: &mut Vec<Entry>,
    ends: &mut Vec<usize>,
) -> Result<(), OutOfRange> {
    entries.clear();
    ends.clear();
    for scattered in &layout.scattered {
        match &blocks[scattered.block] {
            Block::Codes { codes, .. } => entries.push(Entry { element: level(codes, row), value: 1.0 }),
            Block::Crossed(cross) => {
                entries.push(Entry { element: crossed::code(cross, row).index(), value: 1.0 });
            }
            Block::Sparse { offsets, indices, values, .. } => {
                let normalisers = &scales.normaliser[scattered.variable..];
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                for (&element, &value) in indices[range.clone()].iter().zip(&values[range]) {
                    let element = element as usize;
                    let value = in_range(f64::from(value) * normalisers[element], 1.0)?;
                    entries.push(Entry { element, value });
                }
            }
            Block::Columns(_) | Block::Vectors { .. } => {}
        }
        ends.push(entries.len());
    }
    Ok(())
}

fn level(codes: &Codes<'_>, row: usize) -> usize {
    match codes {
        Codes::U8(codes) => codes[row].index(),
        Codes::U16(codes) => codes[row].index(),
        Codes::U32(codes) => codes[row].index(),
    }
}

/// Every entry with every dense variable.
#[inline(always)]
fn with_line(layout: &GramLayout, unit: f64, line: &[f64], row: Row<'_>, rounded: &mut [i64], sums: &mut [i64]) {
    for (rounded, value) in rounded.iter_mut().zip(line) {
        *rounded = round_small(unit * value);
    }
    for (scattered, entries) in row.blocks(layout) {
        for entry in entries {
            let at = (scattered.first + entry.element) * line.len();
            let sums = &mut sums[at..at + line.len()];
            if scattered.is_codes() {
                for (sum, rounded) in sums.iter_mut().zip(&*rounded) {
                    *sum = sum.wrapping_add(*rounded);
                }
            } else {
                let factor = unit * entry.value;
                for (sum, value) in sums.iter_mut().zip(line) {
                    *sum = sum.wrapping_add(round_small(factor * value));
                }
            }
        }
    }
}

/// Every entry with every entry behind it, and with itself in sparse blocks.
#[inline(always)]
fn with_each_other(layout: &GramLayout, unit: f64, row: Row<'_>, sums: &mut [i64]) {
    for (p, (a, entries)) in row.blocks(layout).enumerate() {
        if !a.is_codes() {
            with_itself(unit, entries, a.shape.parameters(), &mut sums[layout.pair(p, p)..]);
        }
        for (q, (b, others)) in row.blocks(layout).enumerate().skip(p + 1) {
            let width = b.shape.parameters();
            let sums = &mut sums[layout.pair(p, q)..];
            for entry in entries {
                let factor = unit * entry.value;
                let sums = &mut sums[entry.element * width..][..width];
                for other in others {
                    let sum = &mut sums[other.element];
                    *sum = sum.wrapping_add(round_small(factor * other.value));
                }
            }
        }
    }
}

/// The pairs of one sparse block's entries, whose elements increase.
#[inline(always)]
fn with_itself(unit: f64, entries: &[Entry], width: usize, sums: &mut [i64]) {
    for (number, entry) in entries.iter().enumerate() {
        let factor = unit * entry.value;
        let sums = &mut sums[in_triangle(width, entry.element, entry.element)..];
        for other in &entries[number..] {
            let sum = &mut sums[other.element - entry.element];
            *sum = sum.wrapping_add(round_small(factor * other.value));
        }
    }
}

/// The entries of one row.
#[derive(Clone, Copy)]
struct Row<'a> {
    entries: &'a [Entry],
    ends: &'a [usize],
}

impl<'a> Row<'a> {
    /// Each scattered block with its entries.
    #[inline(always)]
    fn blocks(self, layout: &'a GramLayout) -> impl Iterator<Item = (&'a ScatteredBlock, &'a [Entry])> {
        layout.scattered.iter().enumerate().map(move |(number, block)| {
            let start = if number == 0 { 0 } else { self.ends[number - 1] };
            (block, &self.entries[start..self.ends[number]])
        })
    }
}
