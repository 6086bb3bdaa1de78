//! Ring all-reduce: every rank sends 2 (N-1)/N of the buffer, the least any algorithm can.
//!
//! The slice is cut into N segments. In step s = 0 .. 2(N-1) rank r sends segment r - s to rank r + 1 and receives
//! segment r - s - 1 from rank r - 1 (numbers modulo N). In the first N - 1 steps, the reduce-scatter, what arrives is
//! a partial sum: the rank adds its own values and passes it on; with step N - 2 it holds one finished segment. In the
//! other N - 1 steps, the all-gather, finished segments go round.
//!
//! Each segment is cut into pieces of at most a chunk. Piece c of all segments makes column c, a ring of its own;
//! several columns (lanes) are under way at a time, so links stay busy while a rank adds. A received buffer is added
//! to and sent on as it is: nothing is copied but a rank's own first segment on the way out and finished segments on
//! the way in.
//!
//! Cost: time 2(N-1) alpha + 2(N-1)/N * bytes * beta + (N-1)/N * elements additions; memory 2 chunks per lane.
//! Source: P. Patarasuk and X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC 69
//! (2009).

use std::cmp::Ordering;
use std::ops::Range;

use crate::algorithm::Settings;
use crate::communicator::Result;
use crate::element::Element;
use crate::transport::{Step, Tag, Transport};

/// A sum on its way around the ring.
pub struct Ring<'a, E, A> {
    values: &'a mut [E],
    add: A,
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
fn part(range: &Range<usize>, parts: usize, index: usize) -> Range<usize> {
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

impl<'a, E: Element, A: Fn(E, E) -> E> Ring<'a, E, A> {
    /// Puts the first columns on their way.
    ///
    /// # Errors
    /// [`crate::CommError`] when a rank is lost or failed.
    pub fn start<T: Transport + ?Sized>(
        transport: &T,
        operation: u32,
        settings: &Settings,
        values: &'a mut [E],
        add: A,
    ) -> Result<Self> {
        let ranks = transport.size();
        let cut = Cut::new(transport.rank(), ranks, values.len(), settings.chunk_bytes / E::BYTES);
        let mut ring =
            Self { values, add, cut, operation, lanes: Vec::new(), width: settings.lanes.clamp(1, Tag::LANES) };
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
        let own = self.cut.sent(lane.column, 0);
        let mut message = transport.buffer(own.len() * E::BYTES);
        E::encode(&self.values[own], &mut message);
        transport.send(self.right(), tag, message)?;
        self.lanes.push(lane);
        Ok(())
    }

    fn expect<T: Transport + ?Sized>(&self, transport: &T, lane: &Lane) -> Result<()> {
        transport.expect(self.left(), lane.tag, self.cut.received(lane.column, lane.step).len() * E::BYTES)
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
            let lane = &self.lanes[index];
            match transport.poll(self.left(), lane.tag)? {
                None => index += 1,
                // A lane that ends gives its place to the last one, which is looked at next.
                Some(message) => self.take(transport, index, message)?,
            }
        }
        if !self.lanes.is_empty() {
            return Ok(Step::Waiting(self.left()));
        }
        Ok(if transport.sent(self.operation)? { Step::Done } else { Step::Waiting(self.right()) })
    }

    /// Handles a lane's next message.
    fn take<T: Transport + ?Sized>(&mut self, transport: &T, index: usize, mut message: Vec<u8>) -> Result<()> {
        let mut lane = self.lanes.swap_remove(index);
        let values = &mut self.values[self.cut.received(lane.column, lane.step)];
        let last_sum = self.cut.ranks - 2;
        match lane.step.cmp(&last_sum) {
            Ordering::Less => E::fold_onto(&mut message, values, &self.add),
            Ordering::Equal => E::fold_both(&mut message, values, &self.add),
            Ordering::Greater => E::decode(&message, values),
        }
        lane.step += 1;
        if lane.step == self.cut.steps() {
            transport.recycle(message);
            return self.start_column(transport, lane.tag, lane.column + self.width as usize);
        }
        self.expect(transport, &lane)?;
        transport.send(self.right(), lane.tag, message)?;
        self.lanes.push(lane);
        Ok(())
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
