//! The tile stream (stage 4): grains of a split, handed to workers, inside a memory budget.
//!
//! A [`TileStream`] is made once for a set of columns; each [`TileStream::scan`] is one pass. Only the columns asked for
//! are read. Grains are views into maps: nothing is copied.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`options`] | what is read, of which grains, in how much memory? |
//! | [`budget`] | which grains stay in memory, and how many may be on their way? |
//! | [`load`] | how does one grain get into memory, by map or direct I/O? |
//! | [`reader`] | how is the disk kept busy? |
//! | [`pages`] | who reads which huge page of a map, and when does it go? |
//! | [`feed`] | how do readers stay ahead of the workers? |
//! | [`view`] | how do stored columns become the blocks of a kernel's grain? |
//! | [`scan`] | how do workers share the grains of a pass? |
//! | [`open`] | how are several grains held at once? |

pub mod budget;
pub mod feed;
pub mod load;
pub mod open;
pub mod options;
pub mod pages;
pub mod reader;
pub mod scan;
pub mod view;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use budget::Residency;
use load::Spare;
pub use open::OpenGrain;
pub use options::{Io, Pick, ScanReport, StreamOptions, Way};
use view::{GrainView, Shape};

use crate::dataset::{Dataset, GrainEntry};
use crate::error::{Error, Result};
use crate::manifest::Layout;
use crate::memory::format_size;
use crate::mmap;
use crate::shard::Shard;
use crate::trace::Trace;

/// The grains of a split, ready to be scanned, one scan at a time (two at once would take the window's memory twice).
#[derive(Debug)]
pub struct TileStream<'d> {
    dataset: &'d Dataset,
    shape: Shape,
    grains: &'d [GrainEntry],
    /// Numbers of the stream's grains, in rising order.
    numbers: Vec<usize>,
    residency: Residency,
    /// Memory that each grain takes if it stays, in the order of the stream.
    stay_bytes: Vec<u64>,
    /// Bytes of a read buffer, where grains are read by direct I/O.
    block_bytes: Option<u64>,
    /// Whether passes over all grains read maps in huge pages.
    huge_pages: bool,
    /// How it reads.
    way: Way,
    /// Whether direct reads may go through a ring.
    rings: bool,
    /// Where scans leave a record.
    trace: Option<Arc<Trace>>,
    /// Views of the grains that stay, made on first use.
    views: Vec<OnceLock<GrainView>>,
    /// Which grains were looked at before.
    seen: Vec<AtomicBool>,
    spare: Spare,
}

impl Dataset {
    /// Make a stream of grains.
    ///
    /// # Errors
    /// [`Error::Usage`] when the options ask for what the dataset or the memory does not have.
    // By value, as literals with `..StreamOptions::new(split)` are written in the call.
    #[allow(clippy::needless_pass_by_value)]
    pub fn stream(&self, options: StreamOptions) -> Result<TileStream<'_>> {
        let grains = self.grains(options.split);
        let numbers = options.grains.clone().unwrap_or_else(|| (0..grains.len()).collect());
        if let Some(beyond) = numbers.last().filter(|last| **last >= grains.len()) {
            return Err(Error::Usage(format!("grain {beyond} was asked for, there are {}", grains.len())));
        }
        if !numbers.is_sorted_by(|one, next| one < next) {
            return Err(Error::Usage("the grains asked for are not in rising order".to_string()));
        }
        let shape = Shape::of(self.manifest(), &options)?;
        let chosen: Vec<&GrainEntry> = numbers.iter().map(|&number| &grains[number]).collect();
        let mapped_bytes = budget::mapped_bytes(&self.manifest().columns, &shape.columns, &chosen);
        let budget = options.budget_bytes;
        let fits = mapped_bytes.iter().sum::<u64>() <= budget;
        let has_direct = self.has_direct(options.io, fits, &chosen)?;
        let blocks = if has_direct { Some(self.block_bytes(&chosen, &shape, &mapped_bytes)?) } else { None };
        let stay_bytes = blocks.as_ref().unwrap_or(&mapped_bytes).clone();
        let most = |bytes: &[u64]| bytes.iter().copied().max().unwrap_or(0);
        let block_bytes = blocks.as_deref().map(most);
        let moving_bytes = block_bytes.unwrap_or_else(|| most(&mapped_bytes));
        let mut residency = Residency::of(&stay_bytes, moving_bytes, budget, options.threads)?;
        let huge_pages =
            !has_direct && shape.is_whole() && residency.has_room_for_huge_pages() && mmap::reads_huge_pages();
        if huge_pages {
            residency = residency.in_runs(&stay_bytes, moving_bytes, budget, options.threads);
        }
        let way = way(options.io, has_direct, &residency, budget);
        let views = numbers.iter().map(|_| OnceLock::new()).collect();
        let seen = numbers.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(TileStream {
            dataset: self,
            shape,
            grains,
            numbers,
            residency,
            stay_bytes,
            block_bytes,
            huge_pages,
            way,
            rings: options.rings,
            trace: options.trace,
            views,
            seen,
            spare: Spare::default(),
        })
    }

    /// Whether to read by direct I/O: what is wanted (`Io::Direct`), or everything of data that do not fit.
    fn has_direct(&self, io: Io, fits: bool, grains: &[&GrainEntry]) -> Result<bool> {
        let Some(first) = grains.first().filter(|_| io == Io::Direct || (io == Io::Auto && !fits)) else {
            return Ok(false);
        };
        let has = self.shards()[first.shard].open_direct()?.is_some();
        if !has && io == Io::Direct {
            return Err(Error::Usage(format!(
                "the file system of {} has no direct I/O. Use --io mmap, or auto",
                self.folder().display()
            )));
        }
        Ok(has)
    }

    /// Memory that a read buffer for each grain takes, whole pages.
    fn block_bytes(&self, grains: &[&GrainEntry], shape: &Shape, mapped_bytes: &[u64]) -> Result<Vec<u64>> {
        let page = mmap::PAGE as u64;
        let of = |(&entry, &bytes): (&&GrainEntry, &u64)| {
            Ok(load::block_bytes(&self.shards()[entry.shard], entry, shape, bytes)?.next_multiple_of(page))
        };
        grains.iter().zip(mapped_bytes).map(of).collect()
    }
}

/// How a stream reads, and why.
fn way(asked: Io, has_direct: bool, residency: &Residency, budget: u64) -> Way {
    let streams = residency.streamed_bytes > 0;
    let by = |direct: bool| if direct { Io::Direct } else { Io::Mmap };
    let resident = by(has_direct);
    let [stay, stream, limit] = [residency.resident_bytes, residency.streamed_bytes, budget].map(format_size);
    let why = match (streams, asked, has_direct) {
        (false, Io::Direct, _) => format!("all {stay} stay in memory of our own, past the page cache, as asked"),
        (false, _, _) if budget == u64::MAX => format!("all {stay} stay mapped; no memory limit was set"),
        (false, _, _) => format!("all {stay} stay mapped: they fit the {limit} for data"),
        (true, Io::Auto, true) => {
            format!(
                "{stay} of the {limit} for data stay in memory of our own; {stream} a pass are read past the page cache, which is \
                     as fast as maps or faster, for less work"
            )
        }
        (true, Io::Auto, false) => format!(
            "{stay} of the {limit} for data stay mapped; {stream} a pass are mapped and dropped again, as the file system has \
             no direct I/O"
        ),
        (true, io, _) => {
            format!(
                "{stay} of the {limit} for data stay in memory; {stream} a pass are read by {}, as asked",
                io.name()
            )
        }
    };
    Way {
        asked,
        resident,
        streamed: streams.then(|| by(has_direct)),
        why,
        resident_bytes: residency.resident_bytes,
        streamed_bytes: residency.streamed_bytes,
        budget_bytes: budget,
    }
}

impl TileStream<'_> {
    /// Which parameter lies where.
    pub fn layout(&self) -> &Layout {
        &self.shape.layout
    }

    /// The numbers of the stream's grains, in rising order.
    pub fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// The grains of the stream.
    pub fn grains(&self) -> impl ExactSizeIterator<Item = &GrainEntry> {
        self.numbers.iter().map(|&number| &self.grains[number])
    }

    /// How its memory is divided.
    pub fn residency(&self) -> &Residency {
        &self.residency
    }

    /// How it reads, and why.
    pub fn way(&self) -> &Way {
        &self.way
    }

    fn shard(&self, entry: &GrainEntry) -> &Shard {
        &self.dataset.shards()[entry.shard]
    }

    /// An error when a shard of the stream changed since it was opened.
    fn check_unchanged(&self) -> Result<()> {
        let mut last = None;
        for entry in self.grains() {
            if last != Some(entry.shard) {
                self.shard(entry).check_unchanged()?;
                last = Some(entry.shard);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;
