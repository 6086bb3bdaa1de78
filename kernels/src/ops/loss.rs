//! Losses of a tile: margins become weighted residuals in place, and what the objective needs is summed.
//!
//! Sixteen rows at a time; lane `k` of each `f64` sum adds rows `k, k + 16, ..` in row order, folded in the fixed tree
//! of [`Lanes::sum`]. Cost: about 40 operations per sixteen rows for the logistic loss.

use crate::isa::{Isa, Kernel, LANES, Lanes, Load, Real};
use crate::losses::{LossFunction, Terms};

/// Sums over the rows of a tile, each row counted with its weight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// Sum of losses.
    pub loss: f64,
    /// Sum of residuals: the gradient of an intercept.
    pub residual: f64,
    /// Sum of curvatures: the second derivative of an intercept; 0 when no curvature was asked for.
    pub curvature: f64,
    /// Sum of weights.
    pub weight: f64,
}

impl std::ops::AddAssign for LossSums {
    fn add_assign(&mut self, other: LossSums) {
        self.loss += other.loss;
        self.residual += other.residual;
        self.curvature += other.curvature;
        self.weight += other.weight;
    }
}

/// The arguments; all slices have one number a row.
pub struct Losses<'a, L, R> {
    /// The loss.
    pub loss: L,
    /// Margins in, weighted residuals out.
    pub z: &'a mut [R],
    /// Targets.
    pub y: &'a [R],
    /// Sample weights; 1 each when there are none.
    pub weight: Option<&'a [R]>,
    /// Weighted curvatures out.
    pub curvature: Option<&'a mut [R]>,
}

impl<L: LossFunction, R: Real> Kernel for Losses<'_, L, R> {
    type Output = LossSums;

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) -> LossSums {
        match self.curvature {
            None => sweep::<T, L, R, false>(tier, self.loss, self.z, self.y, self.weight, &mut []),
            Some(curvature) => sweep::<T, L, R, true>(tier, self.loss, self.z, self.y, self.weight, curvature),
        }
    }
}

/// Loss, residual, curvature and weight sums, one lane a row.
struct Sums<V> {
    loss: V,
    residual: V,
    curvature: V,
    weight: V,
}

#[inline(always)]
fn sweep<T: Isa, L: LossFunction, R: Real, const CURVATURE: bool>(
    tier: T,
    loss: L,
    z: &mut [R],
    y: &[R],
    weight: Option<&[R]>,
    curvature: &mut [R],
) -> LossSums {
    let zero = T::F64::zero(tier);
    let mut sums = Sums { loss: zero, residual: zero, curvature: zero, weight: zero };
    let rows = z.len();
    let (y, y_tail) = y[..rows].as_chunks::<LANES>();
    let (z, z_tail) = z.as_chunks_mut::<LANES>();
    let (w, w_tail) = weight.map_or((None, None), |w| {
        let (whole, tail) = w[..rows].as_chunks::<LANES>();
        (Some(whole), Some(tail))
    });
    let (c, c_tail) = if CURVATURE { curvature[..rows].as_chunks_mut::<LANES>() } else { (&mut [][..], &mut [][..]) };
    let one = R::Lanes::<T>::splat(tier, R::ONE);
    for (group, (z, y)) in z.iter_mut().zip(y).enumerate() {
        let weight = w.map_or(one, |w| R::load::<T, R>(tier, &w[group]));
        let terms = loss.terms::<T, R>(tier, R::load::<T, R>(tier, z), R::load::<T, R>(tier, y));
        let terms = weighted::<T, R>(terms, weight);
        add::<T, R, CURVATURE>(&mut sums, &terms, weight);
        terms.residual.store(z);
        if CURVATURE {
            terms.curvature.store(&mut c[group]);
        }
    }
    if !z_tail.is_empty() {
        let live = live_lanes::<T, R>(tier, z_tail.len());
        let dead = R::Lanes::<T>::zero(tier);
        let weight = w_tail.map_or(one, |w| R::load_tail::<T, R>(tier, w));
        let weight = R::Lanes::<T>::select(live, weight, dead);
        let terms = loss.terms::<T, R>(tier, R::load_tail::<T, R>(tier, z_tail), R::load_tail::<T, R>(tier, y_tail));
        let terms = weighted::<T, R>(terms, weight);
        // A lane without a row may hold anything: a loss need not be finite at zero.
        let terms = Terms {
            loss: R::Lanes::<T>::select(live, terms.loss, dead),
            residual: R::Lanes::<T>::select(live, terms.residual, dead),
            curvature: R::Lanes::<T>::select(live, terms.curvature, dead),
        };
        add::<T, R, CURVATURE>(&mut sums, &terms, weight);
        store_tail::<T, R>(terms.residual, z_tail);
        if CURVATURE {
            store_tail::<T, R>(terms.curvature, c_tail);
        }
    }
    LossSums {
        loss: sums.loss.sum(),
        residual: sums.residual.sum(),
        curvature: sums.curvature.sum(),
        weight: if weight.is_some() { sums.weight.sum() } else { rows as f64 },
    }
}

#[inline(always)]
fn weighted<T: Isa, R: Real>(terms: Terms<R::Lanes<T>>, weight: R::Lanes<T>) -> Terms<R::Lanes<T>> {
    Terms { loss: terms.loss * weight, residual: terms.residual * weight, curvature: terms.curvature * weight }
}

#[inline(always)]
fn add<T: Isa, R: Real, const CURVATURE: bool>(
    sums: &mut Sums<T::F64>,
    terms: &Terms<R::Lanes<T>>,
    weight: R::Lanes<T>,
) {
    sums.loss = sums.loss + terms.loss.widen();
    sums.residual = sums.residual + terms.residual.widen();
    if CURVATURE {
        sums.curvature = sums.curvature + terms.curvature.widen();
    }
    sums.weight = sums.weight + weight.widen();
}

/// True in the first `count` lanes.
#[inline(always)]
fn live_lanes<T: Isa, R: Real>(tier: T, count: usize) -> <R::Lanes<T> as Lanes<T, R>>::Mask {
    let numbers: [u8; LANES] = std::array::from_fn(|lane| lane as u8);
    u8::load::<T, R>(tier, &numbers).less(R::Lanes::<T>::splat(tier, R::from_f64(count as f64)))
}

/// Stores the first `values.len()` lanes.
#[inline(always)]
pub(crate) fn store_tail<T: Isa, R: Real>(lanes: R::Lanes<T>, values: &mut [R]) {
    let mut whole = [R::default(); LANES];
    lanes.store(&mut whole);
    for (to, from) in values.iter_mut().zip(whole) {
        *to = from;
    }
}
