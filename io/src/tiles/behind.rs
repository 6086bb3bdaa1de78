//! What a pass in order over maps in huge pages leaves behind, and when that may go.
//!
//! ```text
//! huge pages   |         |         |         |         |
//! grains        a    | b     | c     | d     | e
//! done, in order: a, c     nothing of b's pages goes before b is done; then a, b and c up to the page that d begins in
//! ```
//! The page cache holds and drops huge pages as a whole, and one that is dropped too early is read again. So grains are let go of in the
//! order of the pass, each up to the huge page in which the next begins. Their room in the window is free then, not before.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::mmap::HUGE_PAGE;

/// The part of a file that goes with a grain: its shard, and the range.
pub type Part = (usize, Range<u64>);

/// Grains of a pass in their order, and those that are done.
pub struct Behind {
    parts: Vec<Part>,
    state: Mutex<State>,
}

struct State {
    done: Vec<bool>,
    /// All before are done.
    mark: usize,
}

/// What may go.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone {
    /// Grains whose room in the window is free.
    pub items: Range<usize>,
    /// Whole huge pages that nobody needs any more.
    pub parts: Vec<Part>,
}

/// What lies beside a grain in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Nothing that is ever read again.
    Nothing,
    /// A grain that goes as well.
    Moves,
    /// A grain that stays.
    Stays,
}

/// The range of a file that goes with a grain at `file` between two neighbours: the huge page at its beginning is its own unless the grain
/// before stays, the one at its end belongs to the next.
pub fn part(file: &Range<u64>, [before, after]: [Beside; 2]) -> Range<u64> {
    let page = HUGE_PAGE as u64;
    let start = if before == Beside::Stays { file.start.next_multiple_of(page) } else { file.start / page * page };
    let end = if after == Beside::Nothing { file.end.next_multiple_of(page) } else { file.end / page * page };
    start..end.max(start)
}

impl Behind {
    /// For grains with these parts, empty ones for those that stay.
    pub fn new(parts: Vec<Part>) -> Behind {
        let state = Mutex::new(State { done: vec![false; parts.len()], mark: 0 });
        Behind { parts, state }
    }

    /// A grain is done.
    pub fn done(&self, item: usize) -> Gone {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let start = state.mark;
        state.done[item] = true;
        state.mark += state.done[start..].iter().take_while(|done| **done).count();
        let items = start..state.mark;
        drop(state);
        let mut parts: Vec<Part> = Vec::new();
        for (shard, range) in self.parts[items.clone()].iter().filter(|(_, range)| !range.is_empty()) {
            match parts.last_mut() {
                Some((last, before)) if last == shard && before.end == range.start => before.end = range.end,
                _ => parts.push((*shard, range.clone())),
            }
        }
        Gone { items, parts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = HUGE_PAGE as u64;

    #[test]
    fn pages_go_with_the_last_grain_that_needs_them() {
        use Beside::{Moves, Nothing, Stays};
        let grain = PAGE / 2 + 100..PAGE * 3 / 2;
        assert_eq!(part(&grain, [Nothing, Moves]), 0..PAGE);
        assert_eq!(part(&grain, [Moves, Moves]), 0..PAGE);
        assert_eq!(part(&grain, [Moves, Stays]), 0..PAGE);
        assert_eq!(part(&grain, [Moves, Nothing]), 0..2 * PAGE);
        assert_eq!(part(&grain, [Stays, Moves]), PAGE..PAGE);
        assert_eq!(part(&grain, [Stays, Nothing]), PAGE..2 * PAGE);
        assert!(part(&(PAGE + 1..PAGE + 2), [Stays, Stays]).is_empty());
    }

    #[test]
    fn grains_go_in_their_order() {
        let behind = Behind::new(vec![(0, 0..PAGE), (0, PAGE..PAGE), (0, PAGE..3 * PAGE), (1, 0..PAGE)]);
        let none = |at: usize| Gone { items: at..at, parts: vec![] };
        assert_eq!(behind.done(1), none(0));
        assert_eq!(behind.done(2), none(0));
        assert_eq!(behind.done(0), Gone { items: 0..3, parts: vec![(0, 0..3 * PAGE)] });
        assert_eq!(behind.done(3), Gone { items: 3..4, parts: vec![(1, 0..PAGE)] });
    }
}
