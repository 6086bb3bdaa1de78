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
//! node add up the next column. A segment of one chunk is one piece: what more messages cost is more than what they would
//! overlap. A received partial sum is added to and sent on in the buffer it came in; own values go out of, and finished
//! segments come into, a [`Window`].
//!
//! Cost: time 2(N-1) alpha + 2(N-1)/N * bytes * beta + (N-1)/N * elements additions; memory 2 chunks per lane.
//! Source: P. Patarasuk and X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC 69
//! (2009).

use std::marker::PhantomData;

use crate::algorithm::Settings;
use crate::communicator::Result;
use crate::element::Element;
use crate::torus::{Cut, Torus};
use crate::transport::{Step, Tag, Transport};
use crate::window::Window;

/// Segments of fewer chunks are sent in pieces of two.
const CHUNKS_OF_A_LONG_SEGMENT: usize = 16;
/// Most chunks that a piece has on the first of nested rings, where it is longest: more leave the caches.
const CHUNKS_OF_A_NESTED_PIECE: usize = 8;

/// A sum on its way around the ring.
pub struct Ring<'t, W, E, A> {
    window: W,
    add: A,
    element: PhantomData<E>,
    torus: &'t Torus,
    cut: Cut<'t>,
    operation: u32,
    lanes: Vec<Lane>,
    /// Most lanes at a time.
    width: u32,
}

/// One column under way.
#[derive(Clone, Copy)]
struct Lane {
    tag: Tag,
    column: usize,
    /// The hop whose message comes next.
    hop: usize,
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
        let width = settings.lanes.clamp(1, Tag::LANES);
        let elements = window.elements();
        let mut chunk = settings.chunk_bytes / E::BYTES;
        // Few long pieces beat many while a segment stays in the caches; where it does not, a piece should.
        if elements.div_ceil(torus.ranks()) < CHUNKS_OF_A_LONG_SEGMENT * chunk {
            chunk *= 2;
        }
        let cut = Cut::new(torus, elements, chunk, CHUNKS_OF_A_NESTED_PIECE);
        let mut ring = Self { window, add, element: PhantomData, torus, cut, operation, lanes: Vec::new(), width };
        if torus.hops() > 0 {
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
        let lane = Lane { tag, column, hop: 0 };
        self.expect(transport, &lane)?;
        self.window.send(self.torus.right(0), tag, self.cut.sent(0, column))?;
        self.lanes.push(lane);
        Ok(())
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
        self.lanes.iter().min_by_key(|lane| (lane.column, lane.hop))
    }

    /// Handles a lane's next message, if it has come.
    fn take<T: Transport + ?Sized>(&mut self, transport: &T, index: usize) -> Result<bool> {
        let Lane { tag, column, hop } = self.lanes[index];
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
        let next = Lane { tag, column, hop: hop + 1 };
        if next.hop == self.torus.hops() {
            self.start_column(transport, tag, column + self.width as usize)?;
            return Ok(true);
        }
        self.expect(transport, &next)?;
        let right = self.torus.right(next.hop);
        match partial_sum {
            Some(mut message) if self.torus.passes_on_a_sum(hop) => {
                E::fold_onto(&mut message, self.window.part(range)?, &self.add);
                transport.send(right, tag, message)?;
            }
            finished => {
                if let Some(message) = finished {
                    E::fold_in(&message, self.window.part(range)?, &self.add);
                    transport.recycle(message);
                }
                self.window.send(right, tag, self.cut.sent(next.hop, column))?;
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
        let (columns, hops) = (self.cut.columns, self.torus.hops());
        let (column, hop) = self.oldest().map_or((columns, hops), |lane| (lane.column + 1, lane.hop + 1));
        let ring = self.torus.name(hop.saturating_sub(1));
        format!("summing around {ring} (column {column} of {columns}, step {hop} of {hops})")
    }
}
