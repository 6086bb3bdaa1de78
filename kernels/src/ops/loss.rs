//! Losses of a tile: margins become weighted residuals in place, and what the objective needs is summed.
//!
//! 64 rows at a time; lane `k` of each sum adds rows `k`, `k + 16`, `k + 32`, `k + 48` of them in the arithmetic type (that of
//! the loss: see [`LossFunction::WIDE`]), then those of all turns in `f64`, and the lanes are folded in the fixed tree of [`Lanes::sum`], or kept for
//! the next call ([`Carried`]). Cost: about 40 operations per sixteen rows for the logistic loss.

use super::ahead::Next;
use super::carried::{Call, Carried};
use crate::isa::{Group, Isa, Kernel, LANES, Lanes, Load, Real};
use crate::losses::LossFunction;

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

/// The lanes of [`LossSums`], between calls.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub struct LossLanes {
    loss: [f64; LANES],
    residual: [f64; LANES],
    curvature: [f64; LANES],
    weight: [f64; LANES],
}

/// The rows of a loss; all slices have one number a row.
pub struct LossRows<'a, R> {
    /// Margins in, weighted residuals out.
    pub z: &'a mut [R],
    /// Targets.
    pub y: &'a [R],
    /// Sample weights; 1 each when there are none.
    pub weight: Option<&'a [R]>,
    /// Weighted curvatures out.
    pub curvature: Option<&'a mut [R]>,
    /// What is asked for meanwhile.
    pub next: Option<Next<'a>>,
}

/// The arguments.
pub struct Losses<'a, L, R> {
    /// The loss.
    pub loss: L,
    /// Its rows.
    pub rows: LossRows<'a, R>,
    /// Lanes, where the sums are made by several calls: all but the last find none, but for the number of rows.
    pub carried: Option<Carried<'a, LossLanes>>,
}

/// Rows of one turn of the loop.
pub(super) const ROWS: usize = 4 * LANES;

/// True where the rows of two turns go side by side: four registers of a polynomial are too few to keep the multiply-adds busy, each waiting
/// for the one before.
const fn two_turns<T: Isa, L: LossFunction, R: Real>() -> bool {
    T::REGISTERS >= 32 && <R::Lanes<T> as Lanes<T, R>>::REGISTERS == 1 && !L::WIDE
}

impl<L: LossFunction, R: Real> Kernel for Losses<'_, L, R> {
    type Output = LossSums;

    #[inline(always)]
    fn run<T: Isa>(self, tier: T) -> LossSums {
        let Losses { loss, rows: LossRows { z, y, weight, mut curvature, next }, carried } = self;
        let (call, mut lanes) = carried.map_or((Call::ONLY, None), |carried| (carried.call, Some(carried.lanes)));
        let mut sums = Sums::zero(tier);
        if !call.first
            && let Some(lanes) = &lanes
        {
            sums = Sums::load(tier, lanes);
        }
        let (rows, whole) = (z.len(), z.len() / ROWS * ROWS);
        let (mut start, most) = (0, if const { two_turns::<T, L, R>() } { 2 * ROWS } else { ROWS });
        while start < whole {
            let count = most.min(whole - start);
            if let Some(next) = next {
                next.ask(tier, start..start + count);
            }
            let group = LossRows {
                z: &mut z[start..start + count],
                y: &y[start..start + count],
                weight: weight.map(|weight| &weight[start..start + count]),
                curvature: curvature.as_deref_mut().map(|curvature| &mut curvature[start..start + count]),
                next: None,
            };
            if const { two_turns::<T, L, R>() } && count > ROWS {
                step::<T, L, R, { 2 * ROWS / LANES }>(tier, loss, group, &mut sums);
            } else {
                step::<T, L, R, { ROWS / LANES }>(tier, loss, group, &mut sums);
            }
            start += count;
        }
        for start in (whole..rows).step_by(LANES) {
            let rows = start..rows.min(start + LANES);
            let weight = weight.map(|weight| &weight[rows.clone()]);
            let curvature = curvature.as_deref_mut().map(|curvature| &mut curvature[rows.clone()]);
            let few = LossRows { z: &mut z[rows.clone()], y: &y[rows], weight, curvature, next: None };
            add_few(tier, loss, few, &mut sums);
        }
        let mut found = LossSums { weight: if weight.is_some() { 0.0 } else { rows as f64 }, ..LossSums::default() };
        if call.last {
            found.loss = sums.loss.sum();
            found.residual = sums.residual.sum();
            if curvature.is_some() {
                found.curvature = sums.curvature.sum();
            }
            if weight.is_some() {
                found.weight = sums.weight.sum();
            }
        } else if let Some(lanes) = &mut lanes {
            sums.store(lanes);
        }
        found
    }
}

/// One lane a row.
struct Sums<T: Isa> {
    loss: T::F64,
    residual: T::F64,
    curvature: T::F64,
    weight: T::F64,
}

impl<T: Isa> Sums<T> {
    #[inline(always)]
    fn zero(tier: T) -> Sums<T> {
        let zero = T::F64::zero(tier);
        Sums { loss: zero, residual: zero, curvature: zero, weight: zero }
    }

    #[inline(always)]
    fn load(tier: T, lanes: &LossLanes) -> Sums<T> {
        let load = |lanes| f64::load::<T, f64>(tier, lanes);
        Sums {
            loss: load(&lanes.loss),
            residual: load(&lanes.residual),
            curvature: load(&lanes.curvature),
            weight: load(&lanes.weight),
        }
    }

    #[inline(always)]
    fn store(self, lanes: &mut LossLanes) {
        self.loss.store(&mut lanes.loss);
        self.residual.store(&mut lanes.residual);
        self.curvature.store(&mut lanes.curvature);
        self.weight.store(&mut lanes.weight);
    }
}

/// `N` vectors of rows.
#[inline(always)]
fn step<T: Isa, L: LossFunction, R: Real, const N: usize>(tier: T, loss: L, rows: LossRows<'_, R>, sums: &mut Sums<T>) {
    if L::WIDE {
        return step_wide::<T, L, R, N>(tier, loss, rows, sums);
    }
    let mut terms = loss.terms(tier, Group::<T, R, N>::load(tier, rows.z), Group::load(tier, rows.y));
    if let Some(weight) = rows.weight {
        let weight = Group::load(tier, weight);
        terms.loss = terms.loss * weight;
        terms.residual = terms.residual * weight;
        terms.curvature = terms.curvature * weight;
        sums.weight = add(sums.weight, weight);
    }
    sums.loss = add(sums.loss, terms.loss);
    sums.residual = add(sums.residual, terms.residual);
    terms.residual.store(rows.z);
    if let Some(curvature) = rows.curvature {
        sums.curvature = add(sums.curvature, terms.curvature);
        terms.curvature.store(curvature);
    }
}

/// `N` vectors of rows of a loss that is computed in `f64`.
#[inline(always)]
fn step_wide<T: Isa, L: LossFunction, R: Real, const N: usize>(
    tier: T,
    loss: L,
    rows: LossRows<'_, R>,
    sums: &mut Sums<T>,
) {
    let load = |values: &[R]| Group::<T, R, N>::load(tier, values).widen(tier);
    let mut terms = loss.terms(tier, load(rows.z), load(rows.y));
    if let Some(weight) = rows.weight {
        let weight = load(weight);
        terms.loss = terms.loss * weight;
        terms.residual = terms.residual * weight;
        terms.curvature = terms.curvature * weight;
        sums.weight = add(sums.weight, weight);
    }
    sums.loss = add(sums.loss, terms.loss);
    sums.residual = add(sums.residual, terms.residual);
    Group::<T, R, N>::narrow(tier, terms.residual).store(rows.z);
    if let Some(curvature) = rows.curvature {
        sums.curvature = add(sums.curvature, terms.curvature);
        Group::<T, R, N>::narrow(tier, terms.curvature).store(curvature);
    }
}

/// Adds the vectors of a group, first those of 64 rows among themselves in the arithmetic type.
#[inline(always)]
pub(super) fn add<T: Isa, R: Real, const N: usize>(mut sum: T::F64, group: Group<T, R, N>) -> T::F64 {
    for vectors in group.0.chunks(ROWS / LANES) {
        let mut total = vectors[0];
        for &lanes in &vectors[1..] {
            total = total + lanes;
        }
        sum = sum + total.widen();
    }
    sum
}

/// At most 16 rows: the lanes behind them repeat the first of them with weight 0, so that they add nothing and yet hold
/// numbers for which the loss is made.
#[inline(always)]
fn add_few<T: Isa, L: LossFunction, R: Real>(tier: T, loss: L, rows: LossRows<'_, R>, sums: &mut Sums<T>) {
    let count = rows.z.len();
    let (mut z, mut y) = ([rows.z[0]; LANES], [rows.y[0]; LANES]);
    let (mut weight, mut curvature) = ([R::default(); LANES], [R::default(); LANES]);
    for i in 0..count {
        z[i] = rows.z[i];
        y[i] = rows.y[i];
        weight[i] = rows.weight.map_or(R::ONE, |weight| weight[i]);
    }
    let padded = LossRows { z: &mut z, y: &y, weight: Some(&weight), curvature: Some(&mut curvature), next: None };
    step::<T, L, R, 1>(tier, loss, padded, sums);
    rows.z.copy_from_slice(&z[..count]);
    if let Some(out) = rows.curvature {
        out.copy_from_slice(&curvature[..count]);
    }
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
