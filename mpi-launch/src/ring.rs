//! Ring all-reduce: every rank sends 2 (N-1)/N of the buffer, the least any algorithm can.
//!
//! The slice is cut into N segments. In step s = 0 .. 2(N-1) rank r sends segment r - s to rank r + 1 and receives
//! segment r - s - 1 from rank r - 1 (numbers modulo N). In the first N - 1 steps, the reduce-scatter, what arrives is
//! a partial sum: the rank adds its own values and passes it on; with step N - 2 it holds one finished segment. In the
//! other N - 1 steps, the all-gather, finished segments go round. Rings may be nested in each other, reduce-scatter in
//! reduce-scatter: [`Torus`] says who sends what to whom in each step, and nothing here knows of more than the next one.
//!
//! Each segment is cut into pieces of at most a chunk. Piece c of all segments makes column c, a ring of its own; several
//! columns (lanes) are under way at a time, so links stay busy while a rank adds, and the links between nodes while ranks of a
//! node add up the next column. A received partial sum is added to and sent on in the buffer it came in; own values go out of,
//! and finished segments come into, a [`Window`].
//!
//! The two halves of a column, its reduce-scatter and its all-gather, take their turns apart, some columns between them: what a
//! rank has just added lies in its core's own cache, whence another core reads it slower than from the cache they share. Sums
//! that never leave these caches do otherwise: there the finished segment goes out of the message it was added in, because memory
//! that another core has read must be taken back from its cache before it can be written again. And a rank sends before it
//! announces what it expects: in shared memory that may copy the whole message at once, while the neighbour would wait.
//!
//! Cost: time 2(N-1) alpha + 2(N-1)/N * bytes * beta + (N-1)/N * elements additions; memory 2 chunks per lane.
//! Source: P. Patarasuk and X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC 69
//! (2009).

use std::marker::PhantomData;
use std::ops::Range;

use crate::algorithm::Settings;
use crate::communicator::Result;
use crate::element::Element;
use crate::torus::{Cut, Torus};
use crate::transport::{Step, Tag, Transport};
use crate::window::Window;

/// Most chunks that a piece has on the first of nested rings, where it is longest: more leave the caches.
const CHUNKS_OF_A_NESTED_PIECE: usize = 8;
/// Reduce-scatters that are ahead of the all-gathers: so many pieces leave a core's own cache.
const COLUMNS_AHEAD: usize = 8;

/// A sum on its way around the ring.
pub struct Ring<'t, W, E, A> {
    window: W,
    add: A,
    element: PhantomData<E>,
    torus: &'t Torus,
    cut: Cut<'t>,
    operation: u32,
    lanes: Vec<Lane>,
    /// What became of this rank's segment of each column.
    own: Vec<Own>,
    /// Whether the sum stays in a core's own cache.
    is_cached: bool,
    /// Most lanes at a time.
    width: usize,
}

/// The segment of a column that its reduce-scatter leaves to this rank.
enum Own {
    UnderWay,
    /// It stands in the window.
    Finished,
    /// And in this message as well.
    Kept(Vec<u8>),
    Sent,
}

/// Half of a column, under way: its reduce-scatter or its all-gather.
#[derive(Clone, Copy)]
struct Lane {
    tag: Tag,
    /// Its place in the order of all halves.
    turn: usize,
    column: usize,
    /// The hop whose message comes next.
    hop: usize,
    /// The first hop that is not of this half.
    end: usize,
    /// Whether its first message has been sent.
    begun: bool,
}

impl<'t, W: Window<E>, E: Element, A: Fn(E, E) -> E> Ring<'t, W, E, A> {
    /// Puts the first columns on their way around the rings of `torus`.
    ///
    /// # Errors
    /// [`crate::CommError`] when a rank is lost or failed.
    pub fn start<T: Transport + ?Sized>(
        transport: &T,
        torus: &'t Torus,
        operation: u32,
        settings: &Settings,
        mut window: W,
        add: A,
    ) -> Result<Self> {
        let width = settings.lanes.clamp(1, Tag::LANES) as usize;
        let elements = window.elements();
        let cut = Cut::new(torus, elements, settings.chunk_bytes / E::BYTES, CHUNKS_OF_A_NESTED_PIECE);
        let columns = if torus.hops() == 0 { 0 } else { cut.columns };
        let own = (0..columns).map(|_| Own::UnderWay).collect();
        let is_cached = elements * E::BYTES <= settings.cached_bytes_max;
        let (element, lanes) = (PhantomData, Vec::with_capacity(width));
        let mut ring = Self { window, add, element, torus, cut, operation, lanes, own, is_cached, width };
        for turn in 0..width {
            ring.lanes.extend(ring.half(turn));
        }
        for index in 0..ring.lanes.len() {
            ring.begin(transport, index)?;
        }
        for index in 0..ring.lanes.len() {
            let lane = ring.lanes[index];
            if lane.begun {
                ring.expect(transport, &lane)?;
            }
        }
        Ok(ring)
    }

    /// The half of a column whose turn it is: turn t goes on lane t modulo the lanes, on every rank, whatever comes first there.
    fn half(&self, turn: usize) -> Option<Lane> {
        let (column, scatters) = half_of(turn, self.own.len())?;
        let middle = self.torus.hops() / 2;
        let (hop, end) = if scatters { (0, middle) } else { (middle, 2 * middle) };
        let tag = Tag::new(self.operation, (turn % self.width) as u32);
        Some(Lane { tag, turn, column, hop, end, begun: false })
    }

    /// Sends a lane's first message, if that can be: an all-gather sends what the reduce-scatter leaves.
    fn begin<T: Transport + ?Sized>(&mut self, transport: &T, index: usize) -> Result<bool> {
        let Lane { tag, column, hop, .. } = self.lanes[index];
        let right = self.torus.right(hop);
        let message = match &mut self.own[column] {
            _ if self.torus.adds(hop) => None,
            Own::UnderWay => return Ok(false),
            finished => match std::mem::replace(finished, Own::Sent) {
                Own::Kept(message) => Some(message),
                _ => None,
            },
        };
        match message {
            Some(message) => transport.send(right, tag, message)?,
            None => self.window.send(right, tag, self.cut.sent(hop, column))?,
        }
        self.lanes[index].begun = true;
        Ok(true)
    }

    fn expect<T: Transport + ?Sized>(&mut self, transport: &T, lane: &Lane) -> Result<()> {
        let (left, range) = (self.torus.left(lane.hop), self.cut.received(lane.hop, lane.column));
        if self.torus.adds(lane.hop) {
            transport.expect(left, lane.tag, range.len() * E::BYTES)
        } else {
            self.window.expect(left, lane.tag, range)
        }
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
        if let Some(oldest) = self.oldest() {
            return Ok(Step::Waiting(self.torus.left(oldest.hop)));
        }
        let complete = self.torus.hops() == 0 || transport.sent(self.operation)?;
        Ok(if complete { Step::Done } else { Step::Waiting(self.torus.right(self.torus.hops() - 1)) })
    }

    /// The lane that has been under way for longest.
    fn oldest(&self) -> Option<&Lane> {
        self.lanes.iter().min_by_key(|lane| (lane.turn, lane.hop))
    }

    /// Begins the lanes that can now be begun.
    fn begin_waiting<T: Transport + ?Sized>(&mut self, transport: &T) -> Result<()> {
        for index in 0..self.lanes.len() {
            if !self.lanes[index].begun && self.begin(transport, index)? {
                let lane = self.lanes[index];
                self.expect(transport, &lane)?;
            }
        }
        Ok(())
    }

    /// Handles a lane's next message, if it has come.
    fn take<T: Transport + ?Sized>(&mut self, transport: &T, index: usize) -> Result<bool> {
        let lane = self.lanes[index];
        let Lane { tag, column, hop, begun, .. } = lane;
        if !begun {
            return Ok(false);
        }
        let (left, range) = (self.torus.left(hop), self.cut.received(hop, column));
        let partial_sum = if self.torus.adds(hop) {
            let Some(message) = transport.poll(left, tag)? else { return Ok(false) };
            Some(message)
        } else if self.window.arrived(left, tag, range.clone())? {
            None
        } else {
            return Ok(false);
        };
        self.lanes.swap_remove(index);
        let next = Lane { hop: hop + 1, ..lane };
        if next.hop == next.end {
            if let Some(message) = partial_sum {
                self.own[column] = self.finish(transport, range, message)?;
            }
            self.lanes.extend(self.half(lane.turn + self.width));
            self.begin_waiting(transport)?;
            return Ok(true);
        }
        let right = self.torus.right(next.hop);
        match partial_sum {
            Some(mut message) if self.torus.passes_on_a_sum(hop) => {
                E::fold_onto(&mut message, self.window.part(range)?, &self.add);
                transport.send(right, tag, message)?;
            }
            came => {
                if let Some(message) = came {
                    E::fold_in(&message, self.window.part(range)?, &self.add);
                    transport.recycle(message);
                }
                self.window.send(right, tag, self.cut.sent(next.hop, column))?;
            }
        }
        self.expect(transport, &next)?;
        self.lanes.push(next);
        Ok(true)
    }

    /// Adds the last partial sum of this rank's own segment.
    fn finish<T: Transport + ?Sized>(
        &mut self,
        transport: &T,
        range: Range<usize>,
        mut message: Vec<u8>,
    ) -> Result<Own> {
        let part = self.window.part(range)?;
        if self.is_cached {
            E::fold_both(&mut message, part, &self.add);
            return Ok(Own::Kept(message));
        }
        E::fold_in(&message, part, &self.add);
        transport.recycle(message);
        Ok(Own::Finished)
    }

    /// The window, to be taken when the sum stands.
    pub(crate) fn into_window(self) -> W {
        self.window
    }

    pub(crate) fn doing(&self) -> String {
        let (columns, hops) = (self.cut.columns, self.torus.hops());
        let (column, hop) = self.oldest().map_or((columns, hops), |lane| (lane.column + 1, lane.hop + 1));
        let ring = self.torus.name(hop.saturating_sub(1));
        format!("summing around {ring} (column {column} of {columns}, step {hop} of {hops})")
    }
}

/// The column whose turn it is, and whether it is its reduce-scatter's: some reduce-scatters, then an all-gather and a
/// reduce-scatter in turn, then the all-gathers that are left.
fn half_of(turn: usize, columns: usize) -> Option<(usize, bool)> {
    let ahead = COLUMNS_AHEAD.min(columns);
    let last = 2 * columns - ahead;
    match turn {
        _ if turn < ahead => Some((turn, true)),
        _ if turn < last => {
            let (pair, scatters) = ((turn - ahead) / 2, (turn - ahead) % 2 == 1);
            Some((if scatters { ahead + pair } else { pair }, scatters))
        }
        _ if turn < 2 * columns => Some((turn - columns, false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_is_scattered_before_it_is_gathered() {
        for columns in [0, 1, 3, COLUMNS_AHEAD, COLUMNS_AHEAD + 1, 50] {
            let halves: Vec<_> = (0..).map_while(|turn| half_of(turn, columns)).collect();
            let of = |scatters: bool| halves.iter().filter(move |half| half.1 == scatters).map(|half| half.0);
            assert!(of(true).eq(0..columns) && of(false).eq(0..columns), "{columns} columns: {halves:?}");
            let place = |half| halves.iter().position(|other| *other == half);
            let ahead = (0..columns).map(|column| place((column, false)) > place((column, true)));
            assert!(ahead.into_iter().all(|is_so| is_so), "{columns} columns: {halves:?}");
        }
        let short: Vec<_> = (0..).map_while(|turn| half_of(turn, 2)).collect();
        assert_eq!(short, [(0, true), (1, true), (0, false), (1, false)]);
    }
}
