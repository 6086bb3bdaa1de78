//! Values of any storage type as numbers of the arithmetic type, and link functions over margins.

use super::ahead;
use super::loss::store_tail;
use super::margins::CACHE_LINE;
use crate::isa::{Group, Isa, Kernel, LANES, Lanes, Load, Real};
use crate::losses::Link;
use crate::math;

/// Bytes of the values of a piece, at most. More are a whole column, behind which is another.
const PIECE: usize = 4 << 10;

/// `out[i] = values[i]`. A label or a weight a row is too little a stream for processors to follow: those of the pieces to come are asked for
/// as margins ask for theirs.
pub struct Convert<'a, E, R> {
    /// Values of the tile's rows.
    pub values: &'a [E],
    /// As many numbers.
    pub out: &'a mut [R],
}

impl<E: Load, R: Real> Kernel for Convert<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        let ((from, from_tail), (to, to_tail)) = (self.values.as_chunks::<LANES>(), self.out.as_chunks_mut::<LANES>());
        let (bytes, ahead) = (size_of_val(self.values), self.values.len() * ahead::calls());
        for line in 0..if bytes > PIECE { 0 } else { bytes.div_ceil(CACHE_LINE) } {
            tier.prefetch_far(self.values, ahead + line * CACHE_LINE / size_of::<E>());
        }
        for (from, to) in from.iter().zip(to) {
            E::load::<T, R>(tier, from).store(to);
        }
        store_tail::<T, R>(E::load_tail::<T, R>(tier, from_tail), to_tail);
    }
}

/// Margins become predictions in place.
pub struct Predict<'a, R> {
    /// How.
    pub link: Link,
    /// Margins in, predictions out.
    pub z: &'a mut [R],
}

impl<R: Real> Kernel for Predict<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) {
        if self.link == Link::Identity {
            return;
        }
        let (groups, rest) = self.z.as_chunks_mut::<{ 4 * LANES }>();
        for z in groups {
            predict(tier, self.link, Group::<T, R, 4>::load(tier, z)).store(z);
        }
        for z in rest.chunks_mut(LANES) {
            let lanes = Group::<T, R, 1>([R::load_tail::<T, R>(tier, z)]);
            store_tail::<T, R>(predict(tier, self.link, lanes).0[0], z);
        }
    }
}

#[inline(always)]
fn predict<T: Isa, R: Real, const N: usize>(tier: T, link: Link, z: Group<T, R, N>) -> Group<T, R, N> {
    match link {
        Link::Identity => z,
        Link::Sigmoid => math::sigmoid(tier, z),
        Link::Exp => math::exp(tier, z),
    }
}
