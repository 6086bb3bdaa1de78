//! The rings that a sum goes around: one of all ranks, or rings nested in each other, which is a torus of ranks.
//!
//! On each axis of a torus a rank is one of the d members of a ring. A sum takes the reduce-scatters of the axes in turn, each on
//! the part that the one before left to this rank, and then the all-gathers in the opposite order:
//!
//! | axes | the algorithm |
//! |---|---|
//! | one, of all N ranks | the ring |
//! | the k ranks of a node, the N/k nodes | hierarchical: between nodes goes what is a k-th of the slice already |
//! | the prime factors of N | where all are 2, recursive halving and doubling |
//!
//! Cost: 2 (d-1) messages a rank on each axis; 2 (d-1)/d of the slice on the first, 2 (d'-1)/d' of a d-th of it on the second
//! and so on, which is 2 (N-1)/N in all whatever the axes.
//! Sources: M. Cho and others, "BlueConnect: decomposing all-reduce for deep learning on heterogeneous network hierarchy", MLSys
//! (2019); R. Rabenseifner, "Optimization of collective reduction operations", ICCS (2004).

use std::ops::Range;

/// A rank's rings, the innermost first. With one rank there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torus {
    ranks: usize,
    axes: Vec<Axis>,
    /// Of each column, in order.
    hops: Vec<Hop>,
}

/// A ring of ranks, of which this rank is one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Axis {
    /// As errors name it.
    name: &'static str,
    members: Vec<usize>,
    /// This rank's place among them.
    place: usize,
}

/// A message to the right and one from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hop {
    axis: usize,
    /// Which of the 2 (d-1) of its axis: the first d - 1 are the reduce-scatter.
    turn: usize,
}

/// Part `index` of `range` cut into `parts` parts whose lengths differ by one at most.
pub(crate) fn part(range: &Range<usize>, parts: usize, index: usize) -> Range<usize> {
    let (each, longer) = (range.len() / parts, range.len() % parts);
    let start = range.start + index * each + index.min(longer);
    start..start + each + usize::from(index < longer)
}

impl Torus {
    /// One ring, in rank order.
    #[must_use]
    pub fn ring(rank: usize, ranks: usize) -> Self {
        Self::new(ranks, vec![Axis { name: "the ring", members: (0..ranks).collect(), place: rank }])
    }

    /// Rings of the prime factors of the number of ranks, neighbours first: the fewest messages without more bytes. None
    /// where that is the ring itself.
    #[must_use]
    pub fn of_factors(rank: usize, ranks: usize) -> Option<Self> {
        let (mut axes, mut left, mut stride) = (Vec::new(), ranks, 1);
        let mut factor = 2;
        while left > 1 {
            if left % factor != 0 {
                factor += 1;
                continue;
            }
            let place = rank / stride % factor;
            let members = (0..factor).map(|member| rank - place * stride + member * stride).collect();
            axes.push(Axis { name: "the ring of a factor", members, place });
            (left, stride) = (left / factor, stride * factor);
        }
        (axes.len() > 1).then(|| Self::new(ranks, axes))
    }

    /// The ring of this rank's node, and that of the ranks that have the same place on their nodes. `nodes` has a number for
    /// each rank, the same for ranks of a node. None where there is one node, one rank on each, or not the same number on all:
    /// then some ranks would have to do the work of two, and the ring is as good.
    #[must_use]
    pub fn over_nodes(rank: usize, nodes: &[usize]) -> Option<Self> {
        let ranks_of = |node: usize| (0..nodes.len()).filter(move |&other| nodes[other] == node);
        let inside: Vec<usize> = ranks_of(*nodes.get(rank)?).collect();
        let place = inside.iter().position(|&member| member == rank)?;
        let firsts = (0..nodes.len()).filter(|&first| nodes[..first].iter().all(|&node| node != nodes[first]));
        let on_nodes: Vec<Vec<usize>> = firsts.map(|first| ranks_of(nodes[first]).collect()).collect();
        let is_even = on_nodes.iter().all(|members| members.len() == inside.len());
        if !is_even || inside.len() == 1 || on_nodes.len() == 1 {
            return None;
        }
        let between: Vec<usize> = on_nodes.iter().map(|members| members[place]).collect();
        let node = between.iter().position(|&member| member == rank)?;
        let inside = Axis { name: "the ring inside the node", members: inside, place };
        let between = Axis { name: "the ring between nodes", members: between, place: node };
        Some(Self::new(nodes.len(), vec![inside, between]))
    }

    fn new(ranks: usize, mut axes: Vec<Axis>) -> Self {
        axes.retain(|axis| axis.members.len() > 1);
        let half = |axis: usize| 0..axes[axis].members.len() - 1;
        let scatter = (0..axes.len()).flat_map(|axis| half(axis).map(move |turn| Hop { axis, turn }));
        let gather = (0..axes.len()).rev().flat_map(|axis| {
            let turns = half(axis).len();
            half(axis).map(move |turn| Hop { axis, turn: turns + turn })
        });
        let hops = scatter.chain(gather).collect();
        Self { ranks, axes, hops }
    }

    /// Ranks of all rings together.
    #[must_use]
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// Messages that a rank sends, and receives, for each column.
    #[must_use]
    pub fn hops(&self) -> usize {
        self.hops.len()
    }

    /// Whether the message of a hop is a partial sum.
    pub(crate) fn adds(&self, hop: usize) -> bool {
        let Hop { axis, turn } = self.hops[hop];
        turn + 1 < self.axes[axis].members.len()
    }

    /// Whether what came with a hop, added to, is what the next one sends.
    pub(crate) fn passes_on_a_sum(&self, hop: usize) -> bool {
        self.adds(hop) && self.adds(hop + 1) && self.hops[hop].axis == self.hops[hop + 1].axis
    }

    /// The rank that sends a hop's message.
    pub(crate) fn left(&self, hop: usize) -> usize {
        let Axis { members, place, .. } = &self.axes[self.hops[hop].axis];
        members[(place + members.len() - 1) % members.len()]
    }

    /// The rank that a hop's message goes to.
    pub(crate) fn right(&self, hop: usize) -> usize {
        let Axis { members, place, .. } = &self.axes[self.hops[hop].axis];
        members[(place + 1) % members.len()]
    }

    /// The ring of a hop, as errors name it.
    pub(crate) fn name(&self, hop: usize) -> &'static str {
        self.hops.get(hop).map_or("the ring", |hop| self.axes[hop.axis].name)
    }
}

/// How a slice is cut: the same on every rank.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut<'t> {
    torus: &'t Torus,
    elements: usize,
    /// Piece c of every segment of the first axis is column c, which goes its way on its own.
    pub columns: usize,
}

impl<'t> Cut<'t> {
    /// In columns whose messages have at most `longest` elements on the last axis, if that is `piece_max` times less than
    /// on the first, or fewer.
    pub fn new(torus: &'t Torus, elements: usize, longest: usize, piece_max: usize) -> Self {
        let lengths: Vec<usize> = torus.axes.iter().map(|axis| axis.members.len()).collect();
        let segment = elements.div_ceil(lengths.first().copied().unwrap_or(1));
        let shrinks = lengths.iter().skip(1).product::<usize>().min(piece_max);
        Self { torus, elements, columns: segment.div_ceil((longest * shrinks).max(1)) }
    }

    /// Segment `number` of what an axis cuts: the slice, piece by piece, or what the axis before leaves to this rank.
    fn segment(&self, axis: usize, number: usize, column: usize) -> Range<usize> {
        let parts = self.torus.axes[axis].members.len();
        match axis {
            0 => part(&part(&(0..self.elements), parts, number), self.columns, column),
            _ => part(&self.own(axis - 1, column), parts, number),
        }
    }

    /// The segment that the reduce-scatter of an axis leaves to this rank.
    fn own(&self, axis: usize, column: usize) -> Range<usize> {
        let Axis { members, place, .. } = &self.torus.axes[axis];
        self.segment(axis, (place + 1) % members.len(), column)
    }

    /// Elements of a column that the rank sends with a hop.
    pub fn sent(&self, hop: usize, column: usize) -> Range<usize> {
        self.turned(hop, 0, column)
    }

    /// Elements of a column that the rank receives with a hop: those that its left neighbour sends.
    pub fn received(&self, hop: usize, column: usize) -> Range<usize> {
        self.turned(hop, 1, column)
    }

    fn turned(&self, hop: usize, more: usize, column: usize) -> Range<usize> {
        let Hop { axis, turn } = self.torus.hops[hop];
        let Axis { members, place, .. } = &self.torus.axes[axis];
        let parts = members.len();
        self.segment(axis, (place + 2 * parts - turn - more) % parts, column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every torus of so many ranks that this crate makes, seen from each rank.
    fn all(ranks: usize) -> Vec<Vec<Torus>> {
        let seen = |torus: &dyn Fn(usize) -> Option<Torus>| (0..ranks).map(torus).collect::<Option<Vec<_>>>();
        let mut kinds =
            vec![seen(&|rank| Some(Torus::ring(rank, ranks))), seen(&|rank| Torus::of_factors(rank, ranks))];
        for together in 2..ranks {
            let in_turn: Vec<usize> = (0..ranks).map(|rank| rank / together).collect();
            let dealt: Vec<usize> = (0..ranks).map(|rank| rank % together).collect();
            kinds.push(seen(&|rank| Torus::over_nodes(rank, &in_turn)));
            kinds.push(seen(&|rank| Torus::over_nodes(rank, &dealt)));
        }
        kinds.into_iter().flatten().collect()
    }

    #[test]
    fn parts_cover_the_range_without_overlap() {
        for elements in [0, 1, 2, 3, 7, 8, 9, 1000] {
            for parts in 1..9 {
                let range = 5..5 + elements;
                let all: Vec<_> = (0..parts).flat_map(|index| part(&range, parts, index)).collect();
                assert!(all.into_iter().eq(range), "{elements} in {parts}");
            }
        }
    }

    /// The step table of the README: with each hop a rank receives what its left neighbour sends.
    #[test]
    fn a_rank_receives_what_its_left_neighbour_sends() {
        for torus in (2..10).flat_map(all) {
            for rank in 0..torus.len() {
                let own = Cut::new(&torus[rank], 103, 4, 8);
                for hop in 0..torus[rank].hops() {
                    let left = torus[rank].left(hop);
                    assert_eq!(torus[left].right(hop), rank);
                    let theirs = Cut { torus: &torus[left], ..own };
                    for column in 0..own.columns {
                        assert_eq!(own.received(hop, column), theirs.sent(hop, column), "rank {rank}, hop {hop}");
                    }
                }
            }
        }
    }

    /// The whole slice comes back to every rank: what it keeps itself and what the all-gathers bring it.
    #[test]
    fn the_all_gathers_bring_what_the_reduce_scatters_took_away() {
        for torus in (2..10).flat_map(all).flatten() {
            for elements in [0, 1, 7, 64, 103] {
                let cut = Cut::new(&torus, elements, 5, 8);
                let gathered = (0..torus.hops()).filter(|&hop| !torus.adds(hop));
                let columns = |hop| (0..cut.columns).flat_map(move |column| cut.received(hop, column));
                let kept = (0..cut.columns).flat_map(|column| cut.own(torus.axes.len() - 1, column));
                let mut all: Vec<usize> = gathered.flat_map(columns).chain(kept).collect();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..elements), "{elements} elements, {torus:?}");
            }
        }
    }

    #[test]
    fn axes_follow_nodes_and_factors() {
        let members = |torus: &Torus| torus.axes.iter().map(|axis| axis.members.clone()).collect::<Vec<_>>();
        let nested = |rank, nodes: &[usize]| Torus::over_nodes(rank, nodes).map(|torus| members(&torus));
        assert_eq!(nested(2, &[0, 0, 7, 7]), Some(vec![vec![2, 3], vec![0, 2]]));
        assert_eq!(nested(2, &[4, 5, 4, 5]), Some(vec![vec![0, 2], vec![2, 3]]));
        for flat in [&[0, 0, 0, 3][..], &[0, 0, 0, 0], &[0, 1, 2, 3], &[0]] {
            assert_eq!(nested(0, flat), None, "{flat:?}");
        }
        let factors = |rank, ranks| Torus::of_factors(rank, ranks).map(|torus| members(&torus));
        assert_eq!(factors(5, 6), Some(vec![vec![4, 5], vec![1, 3, 5]]));
        assert_eq!(factors(3, 8), Some(vec![vec![2, 3], vec![1, 3], vec![3, 7]]));
        assert_eq!([1, 2, 3, 5].map(|ranks| factors(0, ranks)), [None, None, None, None]);
        assert_eq!(Torus::ring(0, 4).hops(), 6);
        assert_eq!(Torus::of_factors(0, 4).map(|torus| torus.hops()), Some(4));
        assert_eq!(Torus::ring(0, 1).hops(), 0);
    }
}
