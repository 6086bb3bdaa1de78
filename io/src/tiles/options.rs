//! What a stream reads and what a scan picks and reports.

use std::ops::Range;

use crate::manifest::Split;

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
    /// Grains to read (a rank's share); none: all of the split.
    pub grains: Option<Range<usize>>,
    /// Memory that maps and read buffers may take.
    pub budget_bytes: u64,
    /// Workers that scans will have at most; read-ahead is sized for them.
    pub threads: usize,
    /// How to read what does not fit the budget.
    pub io: Io,
}

/// How to read what does not fit the memory budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// Direct where the file system can, else maps.
    #[default]
    Auto,
    /// Through maps: populated ahead, dropped behind.
    Mmap,
    /// Past the page cache, into buffers of our own.
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
}

impl StreamOptions {
    /// All features, label and weight of all grains of a split, without a limit of memory.
    pub fn new(split: Split) -> StreamOptions {
        StreamOptions {
            split,
            columns: None,
            label: true,
            weight: true,
            grains: None,
            budget_bytes: u64::MAX,
            threads: 1,
            io: Io::Auto,
        }
    }
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
    /// Bytes that came through a reader instead of views that were at hand.
    pub read_bytes: u64,
}
