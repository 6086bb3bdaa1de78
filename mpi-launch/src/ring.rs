//! Ring all-reduce: every rank sends 2 (N-1)/N of the buffer, the least any algorithm can.
//!
//! The slice is cut into N segments. In step s = 0 .. 2(N-1) rank r sends segment r - s to rank r + 1 and receives
//! segment r - s - 1 from rank r - 1 (numbers modulo N). In the first N - 1 steps, the reduce-scatter, what arrives is
//! a partial sum: the rank adds its own values and passes it on; with step N - 2 it holds one finished segment. In the
//! other N - 1 steps, the all-gather, finished segments go round.
//!
//! Each segment is cut into pieces of at most a chunk. Piece c of all segments makes column c, a ring of its own; several
//! columns (lanes) are under way at a time, so links stay busy while a rank adds. A segment of one chunk is one piece: what more
//! messages cost is more than what they would overlap. A received partial sum is added
//! to and sent on in the buffer it came in; own values go out of, and finished segments come into, a [`Window`].
//!
//! Cost: time 2(N-1) alpha + 2(N-1)/N * bytes * beta + (N-1)/N * elements additions; memory 2 chunks per lane.
//! Source: P. Patarasuk and X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC 69
//! (2009).

use std::marker::PhantomData;
use std::ops::Range;

use crate::algorithm::Settings;
use crate::communicator::Result;
use crate::element::Element;
use crate::transport::{Step, Tag, Transport};
use crate::window::Window;

/// Segments of fewer chunks are sent in pieces of two.
const CHUNKS_OF_A_LONG_SEGMENT: usize = 16;

/// A sum on its way around the ring.
pub struct Ring<W, E, A> {
    window: W,
    add: A,
    element: PhantomData<E>,
    cut: Cut,
    operation: u32,
    lanes: Vec<Lane>,
    /// Most lanes at a time.
    width: u32,
}

/// One column under way.
struct Lane {
    tag: Tag,
    column: usize,
    /// The step whose message comes next.
    step: usize,
}

/// How a slice is cut: the same on every rank.
#[derive(Clone, Copy, Debug)]
struct Cut {
    rank: usize,
    ranks: usize,
    elements: usize,
    columns: usize,
}

/// Part `index` of `range` cut into `parts` parts whose lengths differ by one at most.
pub(crate) fn part(range: &Range<usize>, parts: usize, index: usize) -> Range<usize> {
    let (each, longer) = (range.len() / parts, range.len() % parts);
    let start = range.start + index * each + index.min(longer);
    start..start + each + usize::from(index < longer)
}

impl Cut {
    fn new(rank: usize, ranks: usize, elements: usize, chunk_elements: usize) -> Self {
        let segment = elements.div_ceil(ranks);
        Self { rank, ranks, elements, columns: segment.div_ceil(chunk_elements.max(1)) }
    }

    /// Number of steps, sends and receives of each column.
    fn steps(&self) -> usize {
        2 * (self.ranks - 1)
    }

    /// Elements of a column that the rank sends in `step`.
    fn sent(&self, column: usize, step: usize) -> Range<usize> {
        let segment = (self.rank + 2 * self.ranks - step) % self.ranks;
        part(&part(&(0..self.elements), self.ranks, segment), self.columns, column)
    }

    /// Elements of a column that the rank receives in `step`: those that its left neighbour sends.
    fn received(&self, column: usize, step: usize) -> Range<usize> {
        self.sent(column, step + 1)
    }
}

impl<W: Window<E>, E: Element, A: Fn(E, E) -> E> Ring<W, E, A> {
    /// Puts the first columns on their way.
    ///
    /// # Errors
    /// [`crate::CommError`] when a rank is lost or failed.
    pub fn start<T: Transport + ?Sized>(
        transport: &T,
        operation: u32,
        settings: &Settings,
        mut window: W,
        add: A,
    ) -> Result<Self> {
        let ranks = transport.size();
        let width = settings.lanes.clamp(1, Tag::LANES);
        let elements = window.elements();
        let mut chunk = settings.chunk_bytes / E::BYTES;
        // Few long pieces beat many while a segment stays in the caches; where it does not, a piece should.
        if elements.div_ceil(ranks) < CHUNKS_OF_A_LONG_SEGMENT * chunk {
            chunk *= 2;
        }
        let cut = Cut::new(transport.rank(), ranks, elements, chunk);
        let mut ring = Self { window, add, element: PhantomData, cut, operation, lanes: Vec::new(), width };
        if ranks > 1 {
            for (column, lane) in (0..ring.width).enumerate() {
                ring.start_column(transport, Tag::new(operation, lane), column)?;
            }
        }
        Ok(ring)
    }

    /// Sends the column's first message, if there is such a column. Which lane carries a column is the same on every
    /// rank, whatever comes first there: columns c, c + lanes, c + 2 lanes ... follow each other on lane c.
    fn start_column<T: Transport + ?Sized>(&mut self, transport: &T, tag: Tag, column: usize) -> Result<()> {
        if column >= self.cut.columns {
            return Ok(());
        }
        let lane = Lane { tag, column, step: 0 };
        self.expect(transport, &lane)?;
        self.window.send(self.right(), tag, self.cut.sent(column, 0))?;
        self.lanes.push(lane);
        Ok(())
    }

    /// The last step whose message is a partial sum.
    fn last_sum(&self) -> usize {
        self.cut.ranks - 2
    }

    fn expect<T: Transport + ?Sized>(&mut self, transport: &T, lane: &Lane) -> Result<()> {
        let range = self.cut.received(lane.column, lane.step);
        if lane.step <= self.last_sum() {
            transport.expect(self.left(), lane.tag, range.len() * E::BYTES)
        } else {
            self.window.expect(self.left(), lane.tag, range)
        }
    }

    fn left(&self) -> usize {
        (self.cut.rank + self.cut.ranks - 1) % self.cut.ranks
    }

    fn right(&self) -> usize {
        (self.cut.rank + 1) % self.cut.ranks
    }

    /// Takes, adds and passes on what has come.
    pub(crate) fn advance<T: Transport + ?Sized>(&mut self, transport: &T) -> Result<Step> {
        let mut index = 0;
        while index < self.lanes.len() {
            // A lane that moves goes to the end, and the last one takes its place, which is looked at next.
            if !self.take(transport, index)? {
                index += 1;
            }
        }
        if !self.lanes.is_empty() {
            return Ok(Step::Waiting(self.left()));
        }
        Ok(if transport.sent(self.operation)? { Step::Done } else { Step::Waiting(self.right()) })
    }

    /// Handles a lane's next message, if it has come.
    fn take<T: Transport + ?Sized>(&mut self, transport: &T, index: usize) -> Result<bool> {
        let Lane { tag, column, step } = self.lanes[index];
        let (left, right, range) = (self.left(), self.right(), self.cut.received(column, step));
        let partial_sum = if step <= self.last_sum() {
            let Some(message) = transport.poll(left, tag)? else { return Ok(false) };
            Some(message)
        } else if self.window.arrived(left, tag, range.clone())? {
            None
        } else {
            return Ok(false);
        };
        self.lanes.swap_remove(index);
        let next = Lane { tag, column, step: step + 1 };
        if next.step == self.cut.steps() {
            self.start_column(transport, tag, column + self.width as usize)?;
            return Ok(true);
        }
        self.expect(transport, &next)?;
        match partial_sum {
            Some(mut message) if step < self.last_sum() => {
                E::fold_onto(&mut message, self.window.part(range)?, &self.add);
                transport.send(right, tag, message)?;
            }
            finished => {
                if let Some(message) = finished {
                    E::fold_in(&message, self.window.part(range.clone())?, &self.add);
                    transport.recycle(message);
                }
                self.window.send(right, tag, range)?;
            }
        }
        self.lanes.push(next);
        Ok(true)
    }

    /// The window, to be taken when the sum stands.
    pub(crate) fn into_window(self) -> W {
        self.window
    }

    pub(crate) fn doing(&self) -> String {
        let (columns, steps) = (self.cut.columns, self.cut.steps());
        let oldest = self.lanes.iter().min_by_key(|lane| (lane.column, lane.step));
        let (column, step) = oldest.map_or((columns, steps), |lane| (lane.column + 1, lane.step + 1));
        format!("summing around the ring (column {column} of {columns}, step {step} of {steps})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_range_without_overlap() {
        for elements in [0, 1, 2, 3, 7, 8, 9, 1000] {
            for parts in 1..9 {
                let range = 5..5 + elements;
                let all: Vec<_> = (0..parts).flat_map(|index| part(&range, parts, index)).collect();
                assert!(all.into_iter().eq(range), "{elements} in {parts}");
            }
        }
    }

    /// The step table of the README: in each step a rank receives what its left neighbour sends.
    #[test]
    fn a_rank_receives_what_its_left_neighbour_sends() {
        for ranks in 2..6 {
            for rank in 0..ranks {
                let cut = Cut::new(rank, ranks, 103, 4);
                let left = Cut { rank: (rank + ranks - 1) % ranks, ..cut };
                for step in 0..cut.steps() {
                    for column in 0..cut.columns {
                        assert_eq!(cut.received(column, step), left.sent(column, step));
                    }
                }
            }
        }
    }
}
