//! Softmax and cross-entropy of a tile (stage 5): the margins of all classes become weighted residuals in place.
//!
//! ```text
//! loss          log(sum_k e^z_k) - z_y = log(1 + rest) + (most - z_y)       most = max_k z_k, rest = sum_k e^(z_k - most) - 1
//! residual_k    e^(z_k - most) / (1 + rest) - [k = y]
//! ```
//! `rest` is summed over the classes but the first that has the most, and never as a difference, so that a row that is told
//! apart well keeps the relative precision of its small loss and residuals (as in the logistic loss). The logarithm is
//! `log1p` of what is left of `1 + rest` when powers of two are taken out, by halving its exponent four times.
//!
//! Margins lie class after class, with a number a row: `z[k * rows + i]`. 64 rows at a time, lanes and sums as in
//! [`super::loss`]. Cost: about 30 operations a class and sixteen rows.

use super::loss::{ROWS, add, store_tail};
use crate::isa::{Group, Isa, Kernel, LANES, Lanes, Real};
use crate::math;

/// The arguments.
pub struct Softmax<'a, R> {
    /// Margins in, weighted residuals out; class after class.
    pub z: &'a mut [R],
    /// Number of each row's class.
    pub y: &'a [R],
    /// Sample weights; 1 each when there are none.
    pub weight: Option<&'a [R]>,
    /// Sum of residuals of each class, added to: the gradient of its intercept.
    pub residuals: &'a mut [f64],
}

/// Sums over the rows of a tile, each row counted with its weight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SoftmaxSums {
    /// Sum of losses.
    pub loss: f64,
    /// Sum of weights.
    pub weight: f64,
}

impl<R: Real> Kernel for Softmax<'_, R> {
    type Output = SoftmaxSums;

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) -> SoftmaxSums {
        let Softmax { z, y, weight, residuals } = self;
        let (rows, whole) = (y.len(), y.len() / ROWS * ROWS);
        let (mut loss, mut weights) = (T::F64::zero(tier), T::F64::zero(tier));
        for at in (0..whole).step_by(ROWS) {
            let weight = weight.map(|weight| &weight[at..at + ROWS]);
            let part = Part { y: &y[at..at + ROWS], weight, pitch: rows };
            let (own, own_weight) = part.step::<T, { ROWS / LANES }>(tier, &mut z[at..]);
            (loss, weights) = (add(loss, own), add(weights, own_weight));
        }
        for at in (whole..rows).step_by(LANES) {
            let near = at..rows.min(at + LANES);
            let part = Part { y: &y[near.clone()], weight: weight.map(|weight| &weight[near]), pitch: rows };
            let (own, own_weight) = part.step::<T, 1>(tier, &mut z[at..]);
            (loss, weights) = (add(loss, own), add(weights, own_weight));
        }
        if rows > 0 {
            for (z, total) in z.chunks_exact(rows).zip(residuals) {
                *total += total_of(tier, z);
            }
        }
        SoftmaxSums { loss: loss.sum(), weight: if weight.is_some() { weights.sum() } else { rows as f64 } }
    }
}

/// The sum of a class's residuals, in the order of [`super::loss`].
#[inline(always)]
fn total_of<T: Isa, R: Real>(tier: T, z: &[R]) -> f64 {
    let mut sum = T::F64::zero(tier);
    let (groups, rest) = z.as_chunks::<ROWS>();
    for z in groups {
        sum = add(sum, Group::<T, R, { ROWS / LANES }>::load(tier, z));
    }
    for z in rest.chunks(LANES) {
        sum = add(sum, Group::<T, R, 1>([R::load_tail::<T, R>(tier, z)]));
    }
    sum.sum()
}

/// Some rows of the tile, as many as `y` holds.
struct Part<'a, R> {
    y: &'a [R],
    weight: Option<&'a [R]>,
    /// Rows of the tile: from a class's margin to the next class's.
    pitch: usize,
}

impl<R: Real> Part<'_, R> {
    /// These rows as `N` vectors: weighted losses, and weights. Lanes behind the last row weigh nothing.
    #[inline(always)]
    fn step<T: Isa, const N: usize>(&self, tier: T, z: &mut [R]) -> (Group<T, R, N>, Group<T, R, N>) {
        let (zero, one) = (Group::<T, R, N>::zero(tier), Group::splat(tier, R::ONE));
        let y = self.load(tier, self.y);
        let (mut most, mut own) = (self.load(tier, z), zero);
        for (class, z) in z.chunks(self.pitch).enumerate() {
            let z = self.load(tier, z);
            most = most.max(z);
            own = own + is_class(tier, y, class) * z;
        }
        let (mut rest, mut free) = (zero, one);
        for z in z.chunks_mut(self.pitch) {
            let share = math::exp_below_overflow(tier, self.load(tier, z) - most);
            let first = first_of_most(tier, share, &mut free);
            rest = rest + (share - first);
            self.store(share, z);
        }
        let weight = match self.weight {
            Some(weight) => self.load(tier, weight),
            None => self.load(tier, &[R::ONE; ROWS]),
        };
        let (scale, mut free) = (weight / (one + rest), one);
        for (class, z) in z.chunks_mut(self.pitch).enumerate() {
            let share = self.load(tier, z);
            let first = first_of_most(tier, share, &mut free);
            // Of the row's own class: all other shares, negative. They are `rest` where it has the most.
            let others = ((share - first) - rest) - (one - first);
            let residual = Group::select(zero.less(is_class(tier, y, class)), others, share);
            self.store(residual * scale, z);
        }
        ((math::log1p(tier, rest) + (most - own)) * weight, weight)
    }

    #[inline(always)]
    fn load<T: Isa, const N: usize>(&self, tier: T, values: &[R]) -> Group<T, R, N> {
        if self.y.len() == N * LANES {
            return Group::load(tier, values);
        }
        let mut group = Group::zero(tier);
        group.0[0] = R::load_tail::<T, R>(tier, &values[..self.y.len()]);
        group
    }

    #[inline(always)]
    fn store<T: Isa, const N: usize>(&self, group: Group<T, R, N>, values: &mut [R]) {
        if self.y.len() == N * LANES {
            group.store(values);
        } else {
            store_tail::<T, R>(group.0[0], &mut values[..self.y.len()]);
        }
    }
}

/// 1 in the lanes of that class, else 0.
#[inline(always)]
fn is_class<T: Isa, R: Real, const N: usize>(tier: T, y: Group<T, R, N>, class: usize) -> Group<T, R, N> {
    let (zero, one) = (Group::zero(tier), Group::splat(tier, R::ONE));
    let [below, above] = [-0.5, 0.5].map(|side| Group::splat(tier, R::from_f64(class as f64 + side)));
    Group::select(y.less(below), zero, Group::select(y.less(above), one, zero))
}

/// 1 in the lanes whose share is the first of 1, that is, of the most; `free` is 1 in those that had none before.
#[inline(always)]
fn first_of_most<T: Isa, R: Real, const N: usize>(
    tier: T,
    share: Group<T, R, N>,
    free: &mut Group<T, R, N>,
) -> Group<T, R, N> {
    let first = Group::select(share.less(Group::splat(tier, R::ONE)), Group::zero(tier), *free);
    *free = *free - first;
    first
}
