//! A reader: a thread that loads grains for the feed and keeps the disk busy.
//!
//! Of maps, some grains are asked for before the first of them is waited for and populated. Direct reads go through a ring, as many at
//! once as the window has room for; where the kernel allows no ring, one after the other.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::TileStream;
use super::feed::Feed;
use super::load::{Loaded, Reading, Step, explain, read};
use super::scan::Picked;
use crate::error::{Error, Result};
use crate::mmap::Block;
use crate::mmap::ring::{Failure, Ring};
use crate::trace::Lane;

/// Grains to be mapped that a reader asks for at once, some megabytes each. With one the disk waits for the reader in between; eight were
/// no faster than four.
const ASKED: usize = 4;

/// Loads grains for the feed; keeps the last shard open.
pub struct Reader<'s> {
    stream: &'s TileStream<'s>,
    /// The grain of each item of the feed.
    to_read: &'s [Picked],
    open: Option<(usize, Arc<File>)>,
    /// Items to be mapped, asked for, in order.
    asked: VecDeque<usize>,
    ring: Option<Ring>,
    /// Items in the ring.
    readings: HashMap<usize, Reading>,
    lane: Lane<'s>,
}

impl<'s> Reader<'s> {
    /// A reader of these grains.
    pub fn new(stream: &'s TileStream<'s>, to_read: &'s [Picked], lane: Lane<'s>) -> Reader<'s> {
        let ring = stream.block_bytes.filter(|_| stream.rings).and_then(|_| Ring::new());
        let (asked, readings) = (VecDeque::new(), HashMap::new());
        Reader { stream, to_read, open: None, asked, ring, readings, lane }
    }

    /// Load one after the other until all are claimed or `stop` is set; the seconds that loading took.
    pub fn run(mut self, feed: &Feed, stop: &AtomicBool) -> f64 {
        let mut seconds = 0.0;
        loop {
            let idle = self.readings.is_empty() && self.asked.is_empty();
            let has_room = self.asked.len() < ASKED && self.ring.as_ref().is_none_or(Ring::has_room);
            let claimed = match (idle, has_room) {
                (true, _) => feed.claim(stop),
                (false, true) => feed.claim_now(stop),
                (false, false) => None,
            };
            let start = Instant::now();
            match claimed {
                Some(item) => {
                    if let Some(loaded) = self.begin(item).transpose() {
                        self.lane.span("load", start, Some(self.to_read[item].number as u64));
                        feed.put(item, loaded);
                    }
                }
                None if idle => return seconds,
                None => self.wait(feed),
            }
            seconds += start.elapsed().as_secs_f64();
        }
    }

    /// Load a grain, or begin to.
    fn begin(&mut self, item: usize) -> Result<Option<Loaded>> {
        let (stream, Picked { number, index }) = (self.stream, self.to_read[item]);
        let entry = &stream.grains[number];
        let shard = stream.shard(entry);
        let stays = stream.residency.resident[index];
        let Some(block_bytes) = stream.block_bytes else {
            Loaded::ask(shard, entry, &stream.shape)?;
            self.asked.push_back(item);
            return Ok(None);
        };
        let block = if stays {
            stream.spare.cut(stream.stay_bytes[index] as usize)?
        } else {
            stream.spare.take(block_bytes as usize)?
        };
        let file = self.file(number)?;
        let reading = Reading::begin(shard, entry, &stream.shape, block.len())?;
        self.go_on(item, &file, Step::Again(reading, block))
    }

    /// The next step of an item: in the ring, or at once.
    fn go_on(&mut self, item: usize, file: &Arc<File>, mut step: Step) -> Result<Option<Loaded>> {
        let entry = &self.stream.grains[self.to_read[item].number];
        let shard = self.stream.shard(entry);
        let told = |failure: Failure| explain(shard, &failure);
        loop {
            match (step, &mut self.ring) {
                (Step::Loaded(loaded), _) => return Ok(Some(loaded)),
                (Step::Again(reading, block), Some(ring)) => {
                    ring.begin(item, file, block, reading.parts()).map_err(told)?;
                    self.readings.insert(item, reading);
                    return Ok(None);
                }
                (Step::Again(reading, mut block), None) => {
                    read(file, &mut block, reading.parts()).map_err(told)?;
                    step = reading.arrived(shard, entry, &self.stream.shape, block)?;
                }
            }
        }
    }

    /// Wait for the oldest item that is to be mapped, or until something in the ring is done.
    fn wait(&mut self, feed: &Feed) {
        let start = Instant::now();
        if let Some(item) = self.asked.pop_front() {
            let entry = &self.stream.grains[self.to_read[item].number];
            let loaded = Loaded::mapped(self.stream.shard(entry), entry, &self.stream.shape);
            self.lane.span("load", start, Some(self.to_read[item].number as u64));
            feed.put(item, loaded);
            return;
        }
        let Some(ring) = &mut self.ring else { return };
        let (item, block, outcome) = match ring.wait() {
            Ok(Some(done)) => done,
            Ok(None) => return self.give_up(feed, &std::io::Error::other("a read was lost")),
            Err(error) => return self.give_up(feed, &error),
        };
        let Some(reading) = self.readings.remove(&item) else { return };
        let loaded = self.arrived(item, reading, block, outcome);
        if let Some(loaded) = loaded.transpose() {
            self.lane.span("load", start, Some(self.to_read[item].number as u64));
            feed.put(item, loaded);
        }
    }

    fn arrived(
        &mut self,
        item: usize,
        reading: Reading,
        block: Arc<Block>,
        outcome: std::result::Result<(), Failure>,
    ) -> Result<Option<Loaded>> {
        let number = self.to_read[item].number;
        let entry = &self.stream.grains[number];
        let shard = self.stream.shard(entry);
        outcome.map_err(|failure| explain(shard, &failure))?;
        let step = reading.arrived(shard, entry, &self.stream.shape, block)?;
        let file = self.file(number)?;
        self.go_on(item, &file, step)
    }

    /// The ring does not work any more: everything in it is lost.
    fn give_up(&mut self, feed: &Feed, error: &std::io::Error) {
        self.ring = None;
        for (item, _) in self.readings.drain() {
            let shard = self.stream.shard(&self.stream.grains[self.to_read[item].number]);
            feed.put(item, Err(Error::data(shard.path(), format!("cannot read: {error}"))));
        }
    }

    /// The shard of a grain, open for direct reads.
    fn file(&mut self, number: usize) -> Result<Arc<File>> {
        let entry = &self.stream.grains[number];
        if let Some((_, file)) = self.open.as_ref().filter(|(open, _)| *open == entry.shard) {
            return Ok(Arc::clone(file));
        }
        let shard = self.stream.shard(entry);
        let file = shard.open_direct()?.map(Arc::new).ok_or_else(|| {
            Error::Usage(format!("{} cannot be read by direct I/O. Use --io mmap", shard.path().display()))
        })?;
        self.open = Some((entry.shard, Arc::clone(&file)));
        Ok(file)
    }
}
