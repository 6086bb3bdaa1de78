//! What a stream reads and what a scan picks and reports.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::manifest::Split;
use crate::trace::Trace;

/// What a stream reads.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// Rows of which split.
    pub split: Split,
    /// Numbers of the feature columns to read, in any order; none: all.
    pub columns: Option<Vec<usize>>,
    /// Read the label too.
    pub label: bool,
    /// Read the weight too, where there is one.
    pub weight: bool,
    /// Read the offset too, where there is one.
    pub offset: bool,
    /// Numbers of the grains to read (a rank's share), in rising order; none: all of the split.
    pub grains: Option<Vec<usize>>,
    /// Memory that maps and read buffers may take.
    pub budget_bytes: u64,
    /// Workers that scans will have at most; read-ahead is sized for them.
    pub threads: usize,
    /// How to read.
    pub io: Io,
    /// Direct reads many at a time (io_uring), where the kernel allows it.
    pub rings: bool,
    /// Where scans leave a record of who did what when.
    pub trace: Option<Arc<Trace>>,
}

/// How grains get into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// Maps where all stays in memory; else direct where the file system can, else through maps.
    #[default]
    Auto,
    /// Through maps of the files: populated ahead, and dropped behind where they do not stay.
    Mmap,
    /// Past the page cache, into memory of our own.
    Direct,
}

impl Io {
    /// All ways, in the order of the help.
    pub const ALL: [Io; 3] = [Io::Auto, Io::Mmap, Io::Direct];

    /// The name used in flags and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Io::Auto => "auto",
            Io::Mmap => "mmap",
            Io::Direct => "direct",
        }
    }

    /// The way of that name.
    ///
    /// # Errors
    /// [`Error::Usage`] with the names there are.
    pub fn find(name: &str) -> Result<Io> {
        Io::ALL.into_iter().find(|io| io.name() == name).ok_or_else(|| {
            let names = Io::ALL.map(Io::name).join(", ");
            Error::Usage(format!("io is '{name}'; one of {names} was expected"))
        })
    }
}

impl StreamOptions {
    /// All features, label, weight and offset of all grains of a split, without a limit of memory.
    pub fn new(split: Split) -> StreamOptions {
        StreamOptions {
            split,
            columns: None,
            label: true,
            weight: true,
            offset: true,
            grains: None,
            budget_bytes: u64::MAX,
            threads: 1,
            io: Io::Auto,
            rings: true,
            trace: None,
        }
    }
}

/// How a stream reads, and why it reads so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// What was asked for.
    pub asked: Io,
    /// How grains that stay in memory got there.
    pub resident: Io,
    /// How the others are read, every pass; none where all stay.
    pub streamed: Option<Io>,
    /// Why, in words.
    pub why: String,
    /// Bytes that stay in memory.
    pub resident_bytes: u64,
    /// Bytes that every pass reads again.
    pub streamed_bytes: u64,
    /// Memory that the stream may take.
    pub budget_bytes: u64,
}

/// Which of a stream's grains a scan visits, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick<'a> {
    /// All.
    All,
    /// Those whose number in the split is `offset` modulo `step`.
    Every {
        /// One grain in so many.
        step: usize,
        /// Which of them.
        offset: usize,
    },
    /// Those with these numbers in the split, in this order.
    List(&'a [usize]),
}

/// What a scan did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ScanReport {
    /// Grains visited.
    pub grains: usize,
    /// Rows visited.
    pub rows: u64,
    /// Bytes of the columns that were visited.
    pub bytes: u64,
    /// Wall time.
    pub seconds: f64,
    /// Time that workers waited for data, summed over workers.
    pub wait_seconds: f64,
    /// Time that workers took to make and check views of what was read, and to let go of it, summed over workers.
    pub view_seconds: f64,
    /// Time that workers visited grains, summed over workers.
    pub visit_seconds: f64,
    /// Time that readers took to load grains, summed over readers.
    pub load_seconds: f64,
    /// Bytes that came through a reader instead of views that were at hand.
    pub read_bytes: u64,
}
