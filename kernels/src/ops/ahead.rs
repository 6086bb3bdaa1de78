//! How far ahead rows are asked for.
//!
//! A kernel asks for rows long before it reads them, so that memory answers meanwhile. How long that takes, and how many requests a
//! core has under way, differs between makers of processors; answers do not depend on it.

use super::margins::{CACHE_LINE, is_wide};
use crate::isa::Isa;
use crate::tile::{Block, Columns, Values};
use std::ops::Range;
use std::sync::LazyLock;

/// How many calls later the rows are read that margins and gradient of few columns ask for. With 2 instead of 1 an AMD EPYC (Zen 4) is a tenth faster
/// with `f32` and a third with `f16`; elsewhere it was not measured.
pub(super) fn calls() -> usize {
    if *IS_AMD { 2 } else { 1 }
}

/// True where what is asked for some kilobytes ahead is to come into the second-level cache, not the first. An AMD EPYC (Zen 4) is a third faster so with 512
/// columns of `f32`: of requests into its first-level cache only some twenty are under way at a time. There margins and gradient share the next
/// tile of many columns as they share that of few, so that memory is idle in neither: a seventh faster than a gradient that asks for the first 64
/// rows of all.
pub(super) fn is_far() -> bool {
    *IS_AMD
}

/// Of four columns the first so many are asked for their rows of the next tile while margins are made, the others while the gradient is:
/// memory is idle in neither. With one or three of them passes of `f32` and `f16` were as fast or slower, but see [`with_margins`].
pub(super) const WITH_MARGINS: usize = 2;

/// The same of few columns. Of two bytes a value it is one on an AMD EPYC (Zen 4), where losses ask as well ([`Next`]): passes of `f16` are faster by 4 % so
/// with AVX-512; with AVX2 as fast, or up to 3 % slower, as bytes were in the same series. Elsewhere it was not measured.
pub(super) fn with_margins<E>() -> usize {
    if *IS_AMD && size_of::<E>() == 2 { 1 } else { WITH_MARGINS }
}

/// True where pieces of a run ([`crate::tile::Cut`]) of such rows should be short. An AMD EPYC (Zen 4), where losses ask for rows too, reads few columns as fast in whole
/// runs, and in short pieces that carry their lanes up to a twentieth slower; 40 columns of `f32` and more it is the other way about.
pub(crate) fn wants_short_pieces(row_bytes: usize) -> bool {
    !*IS_AMD || row_bytes > 128
}

/// Rows that are asked for while losses are made, when nothing else is asked of memory: those of every fourth column of a block. The
/// gradient asks for them once more, which costs nothing. Of several weight vectors the first one's loss asks.
#[derive(Clone, Copy, Debug)]
pub struct Next<'a> {
    /// The first of the columns.
    values: Values<'a>,
    /// The first row.
    row: usize,
    columns: usize,
    /// Values from one of the columns to the next.
    pitch: usize,
}

impl<'a> Next<'a> {
    /// What to ask for between margins and gradient of rows. None where nothing is gained: elsewhere than on an AMD EPYC (Zen 4) it was not measured,
    /// and there passes of bytes are as fast without it, of `f16` up to 4 % slower, of `f32` 7 to 9 %.
    pub fn after(block: &Block<'a>, rows: &Range<usize>) -> Option<Next<'a>> {
        let Block::Columns(columns) = block else { return None };
        if !*IS_AMD {
            return None;
        }
        match columns {
            Columns::F64(columns) => Next::of(columns, rows, Values::F64),
            Columns::F32(columns) => Next::of(columns, rows, Values::F32),
            Columns::F16(columns) => Next::of(columns, rows, Values::F16),
            Columns::U16(columns) => Next::of(columns, rows, Values::U16),
            Columns::U8(_) => None,
        }
    }

    fn of<E>(columns: &[&'a [E]], rows: &Range<usize>, values: impl Fn(&'a [E]) -> Values<'a>) -> Option<Next<'a>> {
        let (fours, _) = columns.as_chunks::<4>();
        if is_wide::<E>(columns.len()) {
            return None;
        }
        // Columns of a grain lie equally far apart; where they do not, something else is asked for.
        let pitch = match fours {
            [one, two, ..] => two[3].as_ptr().addr().wrapping_sub(one[3].as_ptr().addr()) / size_of::<E>(),
            _ => 0,
        };
        let row = rows.start + rows.len() * calls();
        fours.first().map(|four| Next { values: values(four[3]), row, columns: fours.len(), pitch })
    }

    /// Asks for what belongs to some of the rows whose losses are made.
    #[inline(always)]
    pub(super) fn ask<T: Isa>(&self, tier: T, rows: Range<usize>) {
        match self.values {
            Values::F64(values) => self.ask_of(tier, values, rows),
            Values::F32(values) => self.ask_of(tier, values, rows),
            Values::F16(values) => self.ask_of(tier, values, rows),
            Values::U16(values) => self.ask_of(tier, values, rows),
            Values::U8(_) => {}
        }
    }

    #[inline(always)]
    fn ask_of<T: Isa, E>(&self, tier: T, values: &[E], rows: Range<usize>) {
        for column in 0..self.columns {
            let first = (self.row + rows.start).wrapping_add(column.wrapping_mul(self.pitch));
            for line in 0..rows.len() * size_of::<E>() / CACHE_LINE {
                tier.prefetch_far(values, first.wrapping_add(line * CACHE_LINE / size_of::<E>()));
            }
        }
    }
}

static IS_AMD: LazyLock<bool> = LazyLock::new(is_amd);

#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_amd() -> bool {
    false
}
