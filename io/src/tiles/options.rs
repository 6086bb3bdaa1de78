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
    /// Workers that scans will have.
    pub threads: usize,
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
