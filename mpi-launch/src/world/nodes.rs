//! Which ranks share the memory of a node, as MPI knows it.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use mpi::ffi;

/// Of each rank the least rank on its node. Collective. Where the library gives no answer, all ranks count as one node.
///
/// Cost: three short collectives, once per process.
pub(super) fn of(comm: ffi::MPI_Comm, rank: c_int, size: usize) -> Vec<usize> {
    let mut node = MaybeUninit::uninit();
    let mut least = rank;
    let mut all = vec![0 as c_int; size];
    // SAFETY: `comm` is live, every output pointer is valid for one integer, `all` for one of each rank, and `node` is read,
    // and freed, only when the call that writes it succeeded. Ranks are ordered by `rank` in it, so place 0 is the least.
    let known = unsafe {
        let (info, kind) = (ffi::RSMPI_INFO_NULL, ffi::RSMPI_COMM_TYPE_SHARED);
        let split = ffi::MPI_Comm_split_type(comm, kind, rank, info, node.as_mut_ptr()) == ffi::MPI_SUCCESS as c_int;
        let told = split && {
            let mut node = node.assume_init();
            let told = ffi::MPI_Bcast((&raw mut least).cast(), 1, ffi::RSMPI_INT32_T, 0, node);
            ffi::MPI_Comm_free(&raw mut node);
            told == ffi::MPI_SUCCESS as c_int
        };
        // Told or not, every rank takes part: the others wait for it.
        least = if told { least } else { -1 };
        let (from, to) = ((&raw const least).cast(), all.as_mut_ptr().cast());
        ffi::MPI_Allgather(from, 1, ffi::RSMPI_INT32_T, to, 1, ffi::RSMPI_INT32_T, comm) == ffi::MPI_SUCCESS as c_int
    };
    let nodes: Option<Vec<usize>> = all.into_iter().map(|least| usize::try_from(least).ok()).collect();
    nodes.filter(|_| known).unwrap_or_else(|| vec![0; size])
}
