//! Columns of bytes that lie one behind the other in memory, equally far apart, as those of a grain do: what stands where is
//! computed, not looked up column by column, so that a processor sees more loads ahead.

use super::bytes::{QUAD, STRIP};
use std::marker::PhantomData;
use std::ptr;

/// Such columns. Column `j` begins `j * pitch` bytes behind the first.
#[derive(Clone, Copy, Debug)]
pub struct Even<'a> {
    first: usize,
    pitch: usize,
    columns: usize,
    /// Rows that every column has.
    rows: usize,
    bytes: PhantomData<&'a [u8]>,
}

impl<'a> Even<'a> {
    /// None unless the columns lie so.
    pub fn new(columns: &[&'a [u8]]) -> Option<Even<'a>> {
        let [one, two, ..] = columns else { return None };
        let pitch = two.as_ptr().addr().checked_sub(one.as_ptr().addr())?;
        let (mut next, mut rows, mut even) = (one.as_ptr().addr(), one.len(), true);
        for column in columns {
            even &= column.as_ptr().expose_provenance() == next;
            rows = rows.min(column.len());
            next = next.wrapping_add(pitch);
        }
        let first = one.as_ptr().addr();
        even.then_some(Even { first, pitch, columns: columns.len(), rows, bytes: PhantomData })
    }

    /// From a row of a column on: the address, and how far the columns are apart. None unless so many columns are there with so
    /// many rows.
    #[inline(always)]
    pub(super) fn place(
        &self,
        (column, columns): (usize, usize),
        (row, rows): (usize, usize),
    ) -> Option<(usize, usize)> {
        let fit = column + columns <= self.columns && row + rows <= self.rows;
        fit.then(|| (self.first + column * self.pitch + row, self.pitch))
    }

    /// 64 rows of so many fours of columns, if they are there.
    #[inline(always)]
    pub fn quads(
        &self,
        (column, quads): (usize, usize),
        row: usize,
    ) -> Option<impl Iterator<Item = [&'a [u8; STRIP]; QUAD]> + use<'a>> {
        let (first, pitch) = self.place((column, quads * QUAD), (row, STRIP))?;
        let starts = (0..quads).scan(first, move |next, _| {
            let start = *next;
            *next = start.wrapping_add(QUAD * pitch);
            Some(start)
        });
        // SAFETY: the columns are borrowed for the lifetime, each has the 64 bytes, at any alignment, and begins so many bytes
        // behind the one before; their addresses have been exposed.
        Some(
            starts.map(move |start| [0, 1, 2, 3].map(|j| unsafe { &*ptr::with_exposed_provenance(start + j * pitch) })),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_where_they_were() {
        let data: Vec<u8> = (0..8 * 100).map(|at| (at * 37 % 251) as u8).collect();
        let columns: Vec<&[u8]> = data.chunks(100).map(|column| &column[..90]).collect();
        let even = Even::new(&columns).expect("equally far apart");
        for (column, quads, row) in [(0, 1, 0), (2, 1, 26), (1, 1, 13), (0, 2, 7), (3, 0, 0)] {
            let all: Vec<_> = even.quads((column, quads), row).expect("all are there").flatten().collect();
            let want = columns[column..column + quads * QUAD].iter().map(|column| &column[row..row + STRIP]);
            assert!(all.into_iter().map(|rows| rows.as_slice()).eq(want), "{column} {quads} {row}");
        }
        assert!(even.quads((5, 1), 0).is_none() && even.quads((0, 1), 27).is_none());
        assert!(Even::new(&columns[..1]).is_none() && Even::new(&[]).is_none());
        assert!(Even::new(&[columns[1], columns[0]]).is_none());
        assert!(Even::new(&[columns[0], columns[1], columns[3]]).is_none());
        // The shortest counts.
        assert!(
            Even::new(&[columns[0], &columns[1][..64], columns[2], columns[3]])
                .is_some_and(|even| even.quads((0, 1), 1).is_none())
        );
    }
}
