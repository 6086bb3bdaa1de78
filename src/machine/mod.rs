//! What this machine can do, measured: the ruler that speeds are reported against.
//!
//! Every figure is soft: where the system does not tell (no `/sys`, a container without `/proc`), the field is empty
//! and nothing fails. Bandwidths are bytes a second, sizes bytes, FMA peaks floating-point operations a second
//! (a fused multiply-add counts as two).

pub mod clock;
pub mod disk;
pub mod fma;
pub mod memory;
pub mod processor;

use std::num::NonZero;

use gristmill_kernels::tier::Tier;
use serde::{Deserialize, Serialize};

use crate::error::Result;

pub use disk::{DiskBandwidth, DiskTest};
pub use fma::FmaPeak;
pub use memory::{MemoryBandwidth, MemoryTest};
pub use processor::{Cache, NumaNode, Processor, processor};

/// The machine as described by the system and measured by us; printed by `gristmill doctor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineReport {
    /// Name, cores, caches, NUMA nodes.
    pub processor: Processor,
    /// Memory-read bandwidth.
    pub memory: MemoryBandwidth,
    /// Peak of fused multiply-add under the tier in use.
    pub fma: FmaPeak,
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Worker threads that are meant by a number of them: 0 are as many as [`cores`].
pub fn threads(asked: usize) -> usize {
    if asked == 0 { cores() } else { asked }
}

/// Whether a signal reaches this process: `nohup` has SIGHUP ignored, and it is to stay so. Without `/proc` nobody knows, and what is
/// ignored must not be caught.
pub fn heeds(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & (1 << (signal - 1)) == 0)
}

impl MachineReport {
    /// Describes and measures the machine with `threads` threads under `tier`, in less than a second on common machines.
    ///
    /// # Errors
    /// When there is no memory for the buffers.
    pub fn measure(tier: Tier, threads: usize) -> Result<MachineReport> {
        let processor = processor();
        let memory = memory::measure(&MemoryTest::quick(threads, &processor, u64::MAX))?;
        Ok(MachineReport { processor, memory, fma: fma::measure(tier, threads) })
    }
}

/// Memory-read bandwidth of `threads` threads in bytes a second, measured in about a twentieth of a second with buffers of
/// at most `bytes_max`; none without memory for them.
pub fn memory_bandwidth(threads: usize, bytes_max: u64) -> Option<f64> {
    memory::measure(&MemoryTest::quick(threads, &processor(), bytes_max)).ok().map(|found| found.best)
}
