//! Part of a pass: the sum over some of its grains, and which these are, so that a long pass that is ended early need not be
//! made again from its beginning.
//!
//! The flat sum does not depend on the order of grains, so a sum over any of them, whoever took them, is as good as
//! having scanned them. While a pass goes on, the watcher may want its part: every worker then adds, at the end of its
//! grain, its sum and its grains to a copy, and the last one to do so hands the copy over; nobody waits. A later process
//! that makes the same pass, on any number of ranks and threads, begins with that sum and skips those grains.
//!
//! What makes two passes the same is their [`Key`]: data, points, what is collected there. Cost of a copy: one addition of
//! the flat sum a worker.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use gristmill_io::checksum;
use serde::{Deserialize, Serialize};

use super::pass::Order;
use super::setup::Setup;
use crate::models::Smoothing;
use crate::train::TrainWatch;

/// What a pass sums, as a checksum.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// Of a pass over all rows; a sample is over so soon that no part of it is kept. Cells and level decide the scales of
    /// the sum.
    pub fn of(setup: &Setup<'_>, order: &Order<'_>, cells: usize, level: usize) -> Option<Key> {
        if !order.sample.is_all() {
            return None;
        }
        let mut bytes = setup.dataset.manifest().fingerprint.clone().into_bytes();
        let columns = &setup.dataset.manifest().columns;
        bytes.extend(setup.dataset.crosses().flat_map(|number| columns[number].name.bytes().chain([0])));
        let mut add = |number: u64| bytes.extend_from_slice(&number.to_le_bytes());
        add(cells as u64);
        add(level as u64);
        add(u64::from(order.exact));
        // What losses are counted from.
        add(setup.model.least_loss(1.0).to_bits());
        for point in order.points {
            add(point.want as u64);
            add(point.left_out.map_or(u64::MAX, u64::from));
            add(point.against.map_or(u64::MAX, u64::from));
            let (what, width, lift) = match point.smoothing {
                Smoothing::Exact => (0, 0.0, 0.0),
                Smoothing::Width(width) => (1, width, 0.0),
                Smoothing::Gap(width) => (2, width, 0.0),
                Smoothing::Lifted(width, lift) => (3, width, lift),
            };
            add(what);
            add(f64::to_bits(width));
            add(f64::to_bits(lift));
            add(point.at.intercept.to_bits());
            point.at.weights.iter().for_each(|weight| add(weight.to_bits()));
        }
        Some(Key(checksum::of_bytes(&bytes)))
    }
}

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Of which pass.
    pub key: Key,
    /// Grains of the training split, in rising order.
    pub grains: Vec<u32>,
    /// Their sum; empty on ranks that know of it only what they need not do.
    pub sum: Vec<i64>,
}

/// What a worker has done of a pass.
#[derive(Debug, Default)]
pub struct Done {
    /// Grains in its sum.
    grains: Vec<u32>,
    /// Copies that it has given to.
    given: u32,
}

impl Done {
    /// Nothing of a new pass, but what `part` holds.
    pub fn begin(&mut self, part: Option<&Part>) {
        self.grains.clear();
        self.grains.extend(part.iter().flat_map(|part| &part.grains));
        self.given = 0;
    }
}

/// Copies the part of a pass while workers go on.
pub struct Gatherer<'a> {
    key: Option<Key>,
    watch: &'a dyn TrainWatch,
    workers: u32,
    /// Copies begun.
    copies: AtomicU32,
    copy: Mutex<Option<Copy>>,
}

/// A copy on its way.
struct Copy {
    sum: Vec<i64>,
    grains: Vec<u32>,
    /// Workers that have given.
    givers: u32,
}

impl<'a> Gatherer<'a> {
    /// For a pass by so many workers.
    pub fn new(key: Option<Key>, watch: &'a dyn TrainWatch, workers: usize) -> Gatherer<'a> {
        Gatherer { key, watch, workers: workers as u32, copies: AtomicU32::new(0), copy: Mutex::new(None) }
    }

    /// A worker has added a grain to its sum, which is asked for only when it is wanted.
    pub fn done<'s>(&self, worker: &mut Done, grain: usize, sum: impl FnOnce() -> &'s [i64]) {
        let Some(key) = &self.key else { return };
        worker.grains.push(grain as u32);
        let wanted = worker.given == self.copies.load(Ordering::Acquire) && self.watch.wants_part();
        if !wanted && worker.given >= self.copies.load(Ordering::Acquire) {
            return;
        }
        let sum = sum();
        if wanted {
            self.begin(sum.len(), worker.given);
        }
        if worker.given < self.copies.load(Ordering::Acquire) {
            self.give(key, worker, sum);
        }
    }

    /// Begins a copy, unless another worker has done so.
    fn begin(&self, cells: usize, copies: u32) {
        let mut copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        if copy.is_none() && self.copies.load(Ordering::Acquire) == copies {
            *copy = Some(Copy { sum: vec![0; cells], grains: Vec::new(), givers: 0 });
            self.copies.fetch_add(1, Ordering::Release);
        }
    }

    fn give(&self, key: &Key, worker: &mut Done, sum: &[i64]) {
        let mut copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = copy.as_mut() else { return };
        open.add(worker, sum);
        worker.given += 1;
        if open.givers == self.workers
            && let Some(whole) = copy.take()
        {
            drop(copy);
            self.watch.part(whole.into_part(key.clone()));
        }
    }

    /// Hands over what the workers, who have stopped, have done: the pass is left before its end.
    pub fn left<'w>(&self, workers: impl Iterator<Item = (&'w mut Done, &'w [i64])>) {
        let Some(key) = &self.key else { return };
        let mut copy = Copy { sum: Vec::new(), grains: Vec::new(), givers: 0 };
        for (worker, sum) in workers {
            copy.sum.resize(sum.len(), 0);
            copy.add(worker, sum);
        }
        if !copy.grains.is_empty() {
            self.watch.part(copy.into_part(key.clone()));
        }
    }
}

impl Copy {
    fn add(&mut self, worker: &Done, sum: &[i64]) {
        self.sum.iter_mut().zip(sum).for_each(|(total, own)| *total = total.wrapping_add(*own));
        self.grains.extend_from_slice(&worker.grains);
        self.givers += 1;
    }

    fn into_part(mut self, key: Key) -> Part {
        self.grains.sort_unstable();
        Part { key, grains: self.grains, sum: self.sum }
    }
}

/// Those of `parts` that can be added without counting a grain twice, the largest first, as one for each pass.
pub fn joined(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_by_key(|part| std::cmp::Reverse(part.grains.len()));
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        let Some(known) = joined.iter_mut().find(|known| known.key == part.key) else {
            joined.push(part);
            continue;
        };
        let twice = part.grains.iter().any(|grain| known.grains.binary_search(grain).is_ok());
        if twice || known.sum.len() != part.sum.len() {
            continue;
        }
        known.sum.iter_mut().zip(&part.sum).for_each(|(total, own)| *total = total.wrapping_add(*own));
        known.grains.extend(part.grains);
        known.grains.sort_unstable();
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(key: &str, grains: &[u32], sum: i64) -> Part {
        Part { key: Key(key.into()), grains: grains.to_vec(), sum: vec![sum, 10 * sum] }
    }

    #[test]
    fn no_grain_counts_twice() {
        let all = vec![part("a", &[0, 1], 1), part("a", &[4, 7, 9], 2), part("a", &[1, 2], 4), part("b", &[1], 8)];
        assert_eq!(joined(all), [part("a", &[0, 1, 4, 7, 9], 3), part("b", &[1], 8)]);
    }

    /// Wants a part after every grain, and keeps the last.
    #[derive(Default)]
    struct Greedy(Mutex<Vec<Part>>);

    impl TrainWatch for Greedy {
        fn pass(&self, _report: &crate::train::PassReport) {}
        fn rows(&self, _rows: u64) {}
        fn wants_part(&self) -> bool {
            true
        }
        fn part(&self, part: Part) {
            self.0.lock().expect("no panic").push(part);
        }
    }

    #[test]
    fn a_copy_holds_what_every_worker_had_done() {
        let watch = Greedy::default();
        let gatherer = Gatherer::new(Some(Key("a".into())), &watch, 2);
        let (mut one, mut other) = (Done::default(), Done::default());
        gatherer.done(&mut one, 5, || &[1]);
        gatherer.done(&mut one, 6, || &[3]);
        assert!(watch.0.lock().expect("no panic").is_empty());
        gatherer.done(&mut other, 2, || &[100]);
        // The first worker gave before its second grain.
        assert_eq!(
            *watch.0.lock().expect("no panic"),
            [Part { key: Key("a".into()), grains: vec![2, 5], sum: vec![101] }]
        );
        gatherer.left([(&mut one, &[3][..]), (&mut other, &[100][..])].into_iter());
        let last = watch.0.lock().expect("no panic").pop();
        assert_eq!(last, Some(Part { key: Key("a".into()), grains: vec![2, 5, 6], sum: vec![103] }));
    }
}
