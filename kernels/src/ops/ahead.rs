//! How far ahead rows are asked for.
//!
//! A kernel asks for rows long before it reads them, so that memory answers meanwhile. How long that takes, and how many requests a
//! core has under way, differs between makers of processors; answers do not depend on it.

use std::sync::LazyLock;

/// How many calls later the rows are read that margins and gradient of few columns ask for. With 2 instead of 1 an AMD EPYC (Zen 4) is a tenth faster
/// with `f32` and a third with `f16`; elsewhere it was not measured.
pub(super) fn calls() -> usize {
    if *IS_AMD { 2 } else { 1 }
}

/// True where what is asked for some kilobytes ahead is to come into the second-level cache, not the first. An AMD EPYC (Zen 4) is a third faster so with 512
/// columns of `f32`: of requests into its first-level cache only some twenty are under way at a time. There margins and gradient share the next
/// tile of many columns as they share that of few, so that memory is idle in neither: a seventh faster than a gradient that asks for the first 64
/// rows of all.
pub(super) fn is_far() -> bool {
    *IS_AMD
}

static IS_AMD: LazyLock<bool> = LazyLock::new(is_amd);

#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_amd() -> bool {
    false
}
