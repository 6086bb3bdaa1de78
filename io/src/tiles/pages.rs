//! The huge pages of a pass in order over maps: who reads them, when a grain is whole, and when they may go.
//!
//! ```text
//! huge pages   |    0    |    1    |    2    |    3    |   read in order, each by one reader
//! grains          a   |   b  |     c     |   d           a and b are whole once 0 and 1 are read; 1 goes when a, b and c are done
//! ```
//! The page cache holds and drops huge pages as a whole, and one that is dropped too early is read again. So a page goes when all grains up
//! to the last that has a part of it are done, and not before the reader of another needs its room: that reader lets go of it, and the system
//! gives it the same memory again. A disk fills memory that was just in use faster than other memory (docs/experiments.md), so few pages go round.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::feed::NAP;
use crate::mmap::HUGE_PAGE;

/// A grain of a pass, and what lies beside it.
pub struct Piece {
    /// Number of its shard.
    pub shard: usize,
    /// Its part of the file.
    pub file: Range<u64>,
    /// Whether it stays in memory.
    pub stays: bool,
    /// Where a grain before it that stays ends, and where one after it that stays begins, in the same file.
    pub beside: [Option<u64>; 2],
}

/// A huge page.
struct Page {
    shard: u32,
    /// Which of its file.
    number: u32,
    /// The first grain that has a part of it, and the last.
    items: [u32; 2],
    /// True when a grain that stays has a part of it.
    stays: bool,
}

/// The huge pages of a pass.
pub struct Pages {
    pages: Vec<Page>,
    /// For each grain how many pages are read when it is whole.
    ends: Vec<u32>,
    /// How many pages that do not stay may be there at once.
    window: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The first page that no reader has.
    next: usize,
    /// Pages that are there and do not stay.
    held: usize,
    /// All such pages before are gone.
    tail: usize,
    read: Marks,
    whole: usize,
    done: Marks,
}

/// What was done in any order, and how far all of it is.
struct Marks {
    set: Vec<bool>,
    /// All before are set.
    mark: usize,
}

impl Marks {
    fn new(count: usize) -> Marks {
        Marks { set: vec![false; count], mark: 0 }
    }

    fn set(&mut self, at: usize) {
        self.set[at] = true;
        self.mark += self.set[self.mark..].iter().take_while(|set| **set).count();
    }
}

/// What a reader is to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn {
    /// Let go of this page first.
    pub gone: Option<usize>,
    /// Then read this one.
    pub page: usize,
}

impl Pages {
    /// Those of these grains, at most `window` at once of those that do not stay: as many as a grain has, and more.
    pub fn new(pieces: impl Iterator<Item = Piece>, window: usize) -> Pages {
        let size = HUGE_PAGE as u64;
        let mut pages: Vec<Page> = Vec::new();
        let mut ends = Vec::new();
        for (item, piece) in (0..).zip(pieces) {
            let [before, after] = piece.beside;
            for number in piece.file.start / size..piece.file.end.div_ceil(size) {
                let stays = piece.stays
                    || before.is_some_and(|end| end > number * size)
                    || after.is_some_and(|start| start < (number + 1) * size);
                let (shard, number) = (piece.shard as u32, number as u32);
                match pages.last_mut().filter(|last| (last.shard, last.number) == (shard, number)) {
                    Some(last) => (last.items[1], last.stays) = (item, last.stays || stays),
                    None => pages.push(Page { shard, number, items: [item, item], stays }),
                }
            }
            ends.push(pages.len() as u32);
        }
        let (read, done) = (Marks::new(pages.len()), Marks::new(ends.len()));
        let state = Mutex::new(State { next: 0, held: 0, tail: 0, read, whole: 0, done });
        Pages { pages, ends, window, state, changed: Condvar::new() }
    }

    /// The next page to read, once there is room for it. None when there is none, or `stop` is set.
    pub fn claim(&self, stop: &AtomicBool) -> Option<Turn> {
        let mut state = self.lock();
        while !stop.load(Ordering::Relaxed) {
            let page = state.next;
            let moves = !self.pages.get(page)?.stays;
            let full = moves && state.held == self.window;
            let gone = if full { self.oldest(&mut state) } else { None };
            if full && gone.is_none() {
                state = self.changed.wait_timeout(state, NAP).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.next += 1;
            state.held += usize::from(moves && !full);
            return Some(Turn { gone, page });
        }
        None
    }

    /// The oldest page that is there and does not stay, once it may go; it counts as gone.
    fn oldest(&self, state: &mut State) -> Option<usize> {
        let moves = |page: &Page| !page.stays;
        let page = state.tail + self.pages[state.tail..state.next].iter().position(moves)?;
        ((self.pages[page].items[1] as usize) < state.done.mark).then(|| {
            state.tail = page + 1;
            page
        })
    }

    /// A page is in memory; the grains that are whole now.
    pub fn arrived(&self, page: usize) -> Range<usize> {
        let mut state = self.lock();
        state.read.set(page);
        let (start, mark) = (state.whole, state.read.mark);
        state.whole += self.ends[start..].iter().take_while(|end| **end as usize <= mark).count();
        start..state.whole
    }

    /// A grain is not needed any more.
    pub fn done(&self, item: usize) {
        self.lock().done.set(item);
        self.changed.notify_all();
    }

    /// A page that is there and may go, when no reader needs its room.
    pub fn rest(&self) -> Option<usize> {
        let mut state = self.lock();
        let page = self.oldest(&mut state)?;
        state.held -= 1;
        Some(page)
    }

    /// Wake all, to look whether they should stop.
    pub fn wake(&self) {
        self.changed.notify_all();
    }

    /// The shard of a page, and its part of the file, the last of which may have less.
    pub fn place(&self, page: usize) -> (usize, Range<usize>) {
        let Page { shard, number, .. } = self.pages[page];
        let start = number as usize * HUGE_PAGE;
        (shard as usize, start..start + HUGE_PAGE)
    }

    /// The first grain that has a part of a page.
    pub fn item(&self, page: usize) -> usize {
        self.pages[page].items[0] as usize
    }

    /// The state is a set of counters that stay right even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = HUGE_PAGE as u64;

    fn moving(shard: usize, file: Range<u64>) -> Piece {
        Piece { shard, file, stays: false, beside: [None, None] }
    }

    fn turn(gone: Option<usize>, page: usize) -> Option<Turn> {
        Some(Turn { gone, page })
    }

    #[test]
    fn grains_are_whole_and_pages_go_in_their_order() {
        let stop = AtomicBool::new(false);
        let pieces = [moving(0, 100..PAGE + 10), moving(0, PAGE + 10..3 * PAGE), moving(1, 64..PAGE)];
        let pages = Pages::new(pieces.into_iter(), 2);
        assert_eq!((pages.claim(&stop), pages.claim(&stop)), (turn(None, 0), turn(None, 1)));
        assert_eq!((pages.arrived(1), pages.arrived(0)), (0..0, 0..1));
        pages.done(0);
        assert_eq!(pages.claim(&stop), turn(Some(0), 2));
        assert_eq!((pages.place(2), pages.item(2)), ((0, 2 * HUGE_PAGE..3 * HUGE_PAGE), 1));
        assert_eq!(pages.arrived(2), 1..2);
        // The second page is still needed.
        assert_eq!(pages.rest(), None);
        pages.done(1);
        assert_eq!(pages.claim(&stop), turn(Some(1), 3));
        assert_eq!(pages.place(3).0, 1);
        assert_eq!((pages.claim(&stop), pages.arrived(3)), (None, 2..3));
        assert_eq!((pages.rest(), pages.rest()), (Some(2), None));
        pages.done(2);
        assert_eq!((pages.rest(), pages.rest()), (Some(3), None));
    }

    #[test]
    fn pages_of_grains_that_stay_take_no_room() {
        let stop = AtomicBool::new(false);
        let stays = Piece { stays: true, ..moving(0, PAGE + 5..2 * PAGE + 5) };
        let before = Piece { beside: [None, Some(PAGE + 5)], ..moving(0, 0..PAGE + 5) };
        let after = Piece { beside: [Some(2 * PAGE + 5), None], ..moving(0, 2 * PAGE + 5..4 * PAGE) };
        // In a first pass it is read as well.
        let pages = Pages::new([before, stays, after].into_iter(), 1);
        let turns = [(); 3].map(|()| pages.claim(&stop));
        assert_eq!(turns, [turn(None, 0), turn(None, 1), turn(None, 2)]);
        assert_eq!([0, 1, 2].map(|page| pages.arrived(page).end), [0, 1, 2]);
        pages.done(0);
        assert_eq!(pages.claim(&stop), turn(Some(0), 3));
        // Later it is there.
        let after = Piece { beside: [Some(2 * PAGE + 5), None], ..moving(0, 2 * PAGE + 5..4 * PAGE) };
        let pages = Pages::new([after].into_iter(), 1);
        assert_eq!((pages.claim(&stop), pages.claim(&stop)), (turn(None, 0), turn(None, 1)));
        assert_eq!((pages.arrived(1), pages.arrived(0)), (0..0, 0..1));
        pages.done(0);
        assert_eq!((pages.rest(), pages.rest()), (Some(1), None));
    }

    #[test]
    fn readers_stop_when_told() {
        let pages = Pages::new([moving(0, 0..PAGE)].into_iter(), 1);
        assert_eq!(pages.claim(&AtomicBool::new(true)), None);
    }
}
