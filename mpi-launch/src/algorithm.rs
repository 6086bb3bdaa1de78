//! Which way a sum over ranks goes, and how it is tuned.

use std::time::Duration;

/// The way of a sum over ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// By length: see [`Settings::chosen`].
    #[default]
    Auto,
    /// Reduce-scatter and all-gather around a ring: [`crate::ring`]; sums too short for it take the tree.
    Ring,
    /// Recursive doubling: [`crate::tree`].
    Tree,
    /// The MPI library's own `MPI_Allreduce`; where there is no MPI, like [`Algorithm::Auto`].
    Mpi,
}

impl Algorithm {
    /// Every algorithm with its name on the command line.
    pub const NAMES: [(&'static str, Self); 4] =
        [("auto", Self::Auto), ("ring", Self::Ring), ("tree", Self::Tree), ("mpi", Self::Mpi)];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, algorithm)| *algorithm == self).map_or("auto", |(name, _)| name)
    }
}

/// How a [`crate::Group`] works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The way of sums.
    pub algorithm: Algorithm,
    /// Bytes from which `Auto` takes the ring rather than the tree.
    pub ring_bytes_min: usize,
    /// Bytes from which `Auto` takes the ring rather than `MPI_Allreduce`.
    pub ring_over_mpi_bytes_min: usize,
    /// Where a ring's segments would be shorter than this, its many latencies cost more than its fewer bytes save, and `Ring`
    /// takes the tree.
    pub short_segment_bytes: usize,
    /// Whether `Auto` takes `MPI_Allreduce`, where there is one, for sums shorter than that.
    pub short_by_mpi: bool,
    /// Bytes of the longest message of a ring or tree.
    pub chunk_bytes: usize,
    /// Columns that a ring has under way at a time, up to [`crate::Tag::LANES`].
    pub lanes: u32,
    /// Silence after which a rank counts as lost. It must exceed the longest time by which one rank may be ahead of
    /// another; `None` waits for ever.
    pub patience: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Auto,
            ring_bytes_min: 256 << 10,
            ring_over_mpi_bytes_min: 1 << 20,
            short_segment_bytes: 16 << 10,
            short_by_mpi: true,
            chunk_bytes: 256 << 10,
            lanes: 4,
            patience: None,
        }
    }
}

impl Settings {
    /// The algorithm for a sum of `bytes` over `ranks`. Short sums take the MPI library's own way where there is one, unless a
    /// silent rank must be noticed (`patience`), for the library waits for ever; else the tree, for latency rules them.
    /// Long ones take the ring, which moves the fewest bytes.
    #[must_use]
    pub fn chosen(&self, bytes: usize, ranks: usize, has_native: bool) -> Algorithm {
        let by_mpi = has_native && self.short_by_mpi && self.patience.is_none();
        match self.algorithm {
            Algorithm::Mpi if has_native => Algorithm::Mpi,
            Algorithm::Ring if bytes >= self.short_segment_bytes.saturating_mul(ranks) => Algorithm::Ring,
            Algorithm::Ring | Algorithm::Tree => Algorithm::Tree,
            Algorithm::Auto if by_mpi && bytes < self.ring_over_mpi_bytes_min => Algorithm::Mpi,
            _ if bytes >= self.ring_bytes_min => Algorithm::Ring,
            _ => Algorithm::Tree,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_decides_unless_told() {
        let auto = Settings::default();
        const RING: Algorithm = Algorithm::Ring;
        const TREE: Algorithm = Algorithm::Tree;
        assert_eq!(auto.chosen(8, 2, false), Algorithm::Tree);
        assert_eq!(auto.chosen(1 << 20, 2, false), Algorithm::Ring);
        assert_eq!(auto.chosen(8, 2, true), Algorithm::Mpi);
        assert_eq!(auto.chosen(512 << 10, 2, true), Algorithm::Mpi);
        assert_eq!(auto.chosen(64 << 20, 2, true), Algorithm::Ring);
        let limited = Settings { patience: Some(Duration::from_secs(60)), ..auto };
        assert_eq!(limited.chosen(8, 2, true), Algorithm::Tree);
        let calibrated = Settings { short_by_mpi: false, ..auto };
        assert_eq!(calibrated.chosen(8, 2, true), Algorithm::Tree);
        let told = |algorithm| Settings { algorithm, ..Settings::default() };
        let ring = told(Algorithm::Ring);
        assert_eq!([16 << 10, 31 << 10, 32 << 10].map(|bytes| ring.chosen(bytes, 2, true)), [TREE, TREE, RING]);
        assert_eq!(Settings { short_segment_bytes: 0, ..ring }.chosen(8, 2, true), RING);
        assert_eq!(told(Algorithm::Tree).chosen(64 << 20, 2, true), Algorithm::Tree);
        assert_eq!(told(Algorithm::Mpi).chosen(64 << 20, 2, true), Algorithm::Mpi);
        assert_eq!(told(Algorithm::Mpi).chosen(64 << 20, 2, false), Algorithm::Ring);
    }
}
