//! The end of every pass: the workers' flat sums are added, then those of the ranks, and with them the wish to stop.
//!
//! A rank that is asked to stop may not leave the others alone in the sum, so the wish travels in the sum's head:
//!
//! ```text
//! [stop: ranks that were asked, 2^32 for each that left before its end][bytes that all ranks read]
//! ```

use std::time::Instant;

use gristmill_io::Error as IoError;
use gristmill_io::tiles::ScanReport;

use super::drive;
use super::setup::Setup;
use crate::error::{Error, Result};

/// Cells of the head.
pub const HEAD: usize = 2;
const STOP: usize = 0;
const BYTES: usize = 1;
/// A rank that left counts so much in the stop cell, more than there can be ranks that only ask.
const LEFT: i64 = 1 << 32;

/// What a pass took.
#[derive(Clone, Copy, Debug)]
pub struct Reduced {
    /// True when some rank was asked to stop.
    pub stop: bool,
    /// What this rank read; bytes and seconds are those of all ranks together.
    pub report: ScanReport,
    /// Seconds of these that adding over workers and ranks took.
    pub reducing_seconds: f64,
    /// Seconds in which sums went over the ranks while rows were scanned.
    pub overlapped_seconds: f64,
}

impl Reduced {
    /// Counts another pass over some of the same points with this one.
    pub fn add(&mut self, more: &Reduced) {
        self.stop |= more.stop;
        self.report.bytes += more.report.bytes;
        self.report.seconds += more.report.seconds;
        self.report.wait_seconds += more.report.wait_seconds;
        self.reducing_seconds += more.reducing_seconds;
        self.overlapped_seconds += more.overlapped_seconds;
    }
}

/// Adds the workers' sums into the first, and then those of all ranks. All ranks come here together, whatever came of
/// their scan.
///
/// # Errors
/// What the scan failed with, [`IoError::Interrupted`] when some rank left, and when a rank is lost.
pub fn reduce<'w>(
    setup: &Setup<'_>,
    began: Instant,
    scanned: Result<ScanReport>,
    mut workers: impl Iterator<Item = &'w mut Vec<i64>>,
) -> Result<(Reduced, &'w [i64])> {
    let comm = setup.company.comm;
    lane_of_scan(setup, began);
    let left = matches!(scanned, Err(Error::Data(IoError::Interrupted)));
    let report = if left && comm.size() > 1 { ScanReport::default() } else { scanned? };
    let reducing = Instant::now();
    let Some(sum) = workers.next() else { return Err(no_worker()) };
    for worker in workers {
        sum.iter_mut().zip(&*worker).for_each(|(sum, cell)| *sum = sum.wrapping_add(*cell));
    }
    sign(setup, sum, left, report.bytes);
    comm.all_reduce_vec(sum)?;
    Ok((ended(setup, sum, (began, reducing), report)?, sum))
}

/// The span of a scan in the trace.
pub(super) fn lane_of_scan(setup: &Setup<'_>, began: Instant) {
    drive::lane(setup).span("scan", began, None);
}

pub(super) fn no_worker() -> Error {
    Error::usage("a pass needs at least one thread")
}

/// Writes what this rank has to say into the head of its sum.
pub(super) fn sign(setup: &Setup<'_>, sum: &mut [i64], left: bool, bytes: u64) {
    sum[STOP] += i64::from(setup.company.cancel.requested()) + if left { LEFT } else { 0 };
    sum[BYTES] += bytes.cast_signed();
}

/// What the sum's head says of a pass, and how long it took.
///
/// # Errors
/// [`IoError::Interrupted`] when some rank left.
pub(super) fn ended(
    setup: &Setup<'_>,
    sum: &[i64],
    (began, reducing): (Instant, Instant),
    mut report: ScanReport,
) -> Result<Reduced> {
    drive::lane(setup).span("reduce", reducing, None);
    let reducing_seconds = reducing.elapsed().as_secs_f64();
    // Of all ranks, and with the wait for the slowest.
    (report.bytes, report.seconds) = (sum[BYTES].cast_unsigned(), began.elapsed().as_secs_f64());
    if sum[STOP] >= LEFT {
        return Err(Error::from(IoError::Interrupted));
    }
    Ok(Reduced { stop: sum[STOP] > 0, report, reducing_seconds, overlapped_seconds: 0.0 })
}
