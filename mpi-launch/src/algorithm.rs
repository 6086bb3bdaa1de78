//! Which way a sum over ranks goes, and how it is tuned.

use std::num::NonZero;
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
    /// A ring inside every node, rings between the nodes: [`crate::Torus::over_nodes`]. Where there is one node, or the nodes have
    /// not the same number of ranks, like [`Algorithm::Ring`].
    Hierarchical,
    /// The MPI library's own `MPI_Allreduce`; where there is no MPI, like [`Algorithm::Auto`].
    Mpi,
}

impl Algorithm {
    /// Every algorithm with its name on the command line.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("auto", Self::Auto),
        ("ring", Self::Ring),
        ("tree", Self::Tree),
        ("hierarchical", Self::Hierarchical),
        ("mpi", Self::Mpi),
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, algorithm)| *algorithm == self).map_or("auto", |(name, _)| name)
    }
}

/// What there is to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Ranks that add.
    pub ranks: usize,
    /// Whether the MPI library can do it.
    pub has_native: bool,
    /// Whether there are several nodes of as many ranks each.
    pub has_nodes: bool,
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
    /// Sums shorter than this that go around the ring go around rings of the prime factors of the number of ranks: fewer
    /// messages that wait for each other, which counts while a message is short ([`crate::Torus::of_factors`]).
    pub factored_bytes_max: usize,
    /// The same where all ranks share a node.
    pub factored_in_memory_bytes_max: usize,
    /// Whether `Auto` takes `MPI_Allreduce`, where there is one, for sums shorter than that.
    pub short_by_mpi: bool,
    /// Whether `Auto` goes around rings of nodes, where there are nodes, instead of the ring of all ranks.
    pub by_nodes: bool,
    /// Ranks that count as one node, in rank order, whatever the transport knows of nodes: to try the hierarchical way on one
    /// machine. It counts when a group is made.
    pub ranks_per_node: Option<NonZero<usize>>,
    /// Bytes of the longest message of a ring or tree.
    pub chunk_bytes: usize,
    /// Columns that a ring has under way at a time, up to [`crate::Tag::LANES`].
    pub lanes: u32,
    /// The same where all ranks share a node and wait for the sum: a rank copies its messages itself, so nothing is under way
    /// meanwhile, and one buffer stays in the cache where several would not.
    pub lanes_in_memory: u32,
    /// Sums of so many bytes stay in a core's own cache, with their messages.
    pub cached_bytes_max: usize,
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
            factored_bytes_max: 256 << 10,
            factored_in_memory_bytes_max: 32 << 20,
            short_by_mpi: true,
            by_nodes: true,
            ranks_per_node: None,
            chunk_bytes: 512 << 10,
            lanes: 8,
            lanes_in_memory: 1,
            cached_bytes_max: 1 << 20,
            patience: None,
        }
    }
}

impl Settings {
    /// The algorithm for a sum of `bytes`. Short sums take the MPI library's own way where there is one, unless a
    /// silent rank must be noticed (`patience`), for the library waits for ever; else the tree, for latency rules them.
    /// Long ones take a ring, which moves the fewest bytes.
    #[must_use]
    pub fn chosen(&self, bytes: usize, choice: Choice) -> Algorithm {
        let by_mpi = choice.has_native && self.short_by_mpi && self.patience.is_none();
        let around = |by_nodes: bool| match by_nodes && choice.has_nodes {
            true => Algorithm::Hierarchical,
            false => Algorithm::Ring,
        };
        match self.algorithm {
            Algorithm::Mpi if choice.has_native => Algorithm::Mpi,
            asked @ (Algorithm::Ring | Algorithm::Hierarchical)
                if bytes >= self.short_segment_bytes.saturating_mul(choice.ranks) =>
            {
                around(asked == Algorithm::Hierarchical)
            }
            Algorithm::Ring | Algorithm::Hierarchical | Algorithm::Tree => Algorithm::Tree,
            Algorithm::Auto if by_mpi && bytes < self.ring_over_mpi_bytes_min => Algorithm::Mpi,
            _ if bytes >= self.ring_bytes_min => around(self.by_nodes),
            _ => Algorithm::Tree,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: Algorithm = Algorithm::Ring;
    const TREE: Algorithm = Algorithm::Tree;
    const TWO: Choice = Choice { ranks: 2, has_native: true, has_nodes: false };
    const WITHOUT_MPI: Choice = Choice { has_native: false, ..TWO };

    fn told(algorithm: Algorithm) -> Settings {
        Settings { algorithm, ..Settings::default() }
    }

    #[test]
    fn length_decides_unless_told() {
        let auto = Settings::default();
        assert_eq!(auto.chosen(8, WITHOUT_MPI), TREE);
        assert_eq!(auto.chosen(1 << 20, WITHOUT_MPI), RING);
        assert_eq!(auto.chosen(8, TWO), Algorithm::Mpi);
        assert_eq!(auto.chosen(512 << 10, TWO), Algorithm::Mpi);
        assert_eq!(auto.chosen(64 << 20, TWO), RING);
        let limited = Settings { patience: Some(Duration::from_secs(60)), ..auto };
        assert_eq!(limited.chosen(8, TWO), TREE);
        let calibrated = Settings { short_by_mpi: false, ..auto };
        assert_eq!(calibrated.chosen(8, TWO), TREE);
        let ring = told(RING);
        assert_eq!([16 << 10, 31 << 10, 32 << 10].map(|bytes| ring.chosen(bytes, TWO)), [TREE, TREE, RING]);
        assert_eq!(Settings { short_segment_bytes: 0, ..ring }.chosen(8, TWO), RING);
        assert_eq!(told(TREE).chosen(64 << 20, TWO), TREE);
        assert_eq!(told(Algorithm::Mpi).chosen(64 << 20, TWO), Algorithm::Mpi);
        assert_eq!(told(Algorithm::Mpi).chosen(64 << 20, WITHOUT_MPI), RING);
    }

    #[test]
    fn nodes_decide_as_well() {
        let nodes = Choice { ranks: 4, has_native: true, has_nodes: true };
        let asked = told(Algorithm::Hierarchical);
        assert_eq!([63 << 10, 64 << 10].map(|bytes| asked.chosen(bytes, nodes)), [TREE, Algorithm::Hierarchical]);
        assert_eq!(asked.chosen(1 << 20, TWO), RING);
        assert_eq!(told(RING).chosen(1 << 20, nodes), RING);
        assert_eq!(Settings::default().chosen(1 << 20, nodes), Algorithm::Hierarchical);
        assert_eq!(Settings { by_nodes: false, ..Settings::default() }.chosen(1 << 20, nodes), RING);
    }
}
