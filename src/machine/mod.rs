//! What this machine can do, measured: the ruler that speeds are reported against.
//!
//! Every figure is soft: where the system does not tell (no `/sys`, a container without `/proc`), the field is empty
//! and nothing fails. Bandwidths are bytes a second, sizes bytes, FMA peaks floating-point operations a second
//! (a fused multiply-add counts as two).

pub mod disk;
pub mod memory;
pub mod processor;

use serde::{Deserialize, Serialize};

pub use disk::{DiskBandwidth, DiskTest};
pub use memory::{MemoryBandwidth, MemoryTest};
pub use processor::{Cache, NumaNode, Processor, processor};

/// The machine as described by the system and measured by us; printed by `gristmill doctor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineReport {
    /// Name, cores, caches, NUMA nodes.
    pub processor: Processor,
    /// Memory-read bandwidth.
    pub memory: MemoryBandwidth,
}

impl MachineReport {
    /// Describes and measures the machine with `threads` threads, in less than a second on common machines.
    pub fn measure(threads: usize) -> MachineReport {
        let processor = processor();
        let memory = memory::measure(&MemoryTest::quick(threads, &processor));
        MachineReport { processor, memory }
    }
}

/// Memory-read bandwidth of `threads` threads in bytes a second, measured in about a quarter of a second.
pub fn memory_bandwidth(threads: usize) -> f64 {
    memory::measure(&MemoryTest::quick(threads, &processor())).best
}
