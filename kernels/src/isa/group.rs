//! Several vectors side by side.
//!
//! A polynomial is one long chain of operations that wait for each other. A [`Group`] runs `N` such chains in turns, so
//! that the processor always has one to go on with; lane for lane it computes what a single vector would.

use super::{Isa, LANES, Lanes, Real};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// `N` vectors of sixteen lanes.
#[derive(Clone, Copy)]
pub struct Group<T: Isa, R: Real, const N: usize>(pub [R::Lanes<T>; N]);

/// One truth value per lane of a [`Group`].
#[derive(Clone, Copy)]
pub struct GroupMask<T: Isa, R: Real, const N: usize>([<R::Lanes<T> as Lanes<T, R>>::Mask; N]);

macro_rules! binary {
    ($trait:ident, $method:ident) => {
        impl<T: Isa, R: Real, const N: usize> $trait for Group<T, R, N> {
            type Output = Self;
            #[inline(always)]
            fn $method(mut self, other: Self) -> Self {
                for k in 0..N {
                    self.0[k] = self.0[k].$method(other.0[k]);
                }
                self
            }
        }
    };
}
binary!(Add, add);
binary!(Sub, sub);
binary!(Mul, mul);
binary!(Div, div);

impl<T: Isa, R: Real, const N: usize> Neg for Group<T, R, N> {
    type Output = Self;
    #[inline(always)]
    fn neg(mut self) -> Self {
        for k in 0..N {
            self.0[k] = -self.0[k];
        }
        self
    }
}

impl<T: Isa, R: Real, const N: usize> Group<T, R, N> {
    /// `value` in every lane.
    #[inline(always)]
    pub fn splat(tier: T, value: R) -> Self {
        Group([R::Lanes::<T>::splat(tier, value); N])
    }

    /// Zero in every lane.
    #[inline(always)]
    pub fn zero(tier: T) -> Self {
        Self::splat(tier, R::default())
    }

    /// Loads the vectors one after the other from the front of `values`.
    #[inline(always)]
    pub fn load(tier: T, values: &[R]) -> Self {
        let mut group = Self::zero(tier);
        for (lanes, values) in group.0.iter_mut().zip(values[..N * LANES].as_chunks().0) {
            *lanes = R::load::<T, R>(tier, values);
        }
        group
    }

    /// Stores the vectors one after the other at the front of `values`.
    #[inline(always)]
    pub fn store(self, values: &mut [R]) {
        for (lanes, values) in self.0.iter().zip(values[..N * LANES].as_chunks_mut().0) {
            lanes.store(values);
        }
    }

    /// See [`Lanes::fma`].
    #[inline(always)]
    pub fn fma(mut self, factor: Self, addend: Self) -> Self {
        for k in 0..N {
            self.0[k] = self.0[k].fma(factor.0[k], addend.0[k]);
        }
        self
    }

    /// See [`Lanes::min`].
    #[inline(always)]
    pub fn min(mut self, other: Self) -> Self {
        for k in 0..N {
            self.0[k] = self.0[k].min(other.0[k]);
        }
        self
    }

    /// See [`Lanes::max`].
    #[inline(always)]
    pub fn max(mut self, other: Self) -> Self {
        for k in 0..N {
            self.0[k] = self.0[k].max(other.0[k]);
        }
        self
    }

    /// See [`Lanes::abs`].
    #[inline(always)]
    pub fn abs(mut self) -> Self {
        for k in 0..N {
            self.0[k] = self.0[k].abs();
        }
        self
    }

    /// See [`Lanes::less`].
    #[inline(always)]
    pub fn less(self, other: Self) -> GroupMask<T, R, N> {
        let mut mask = [self.0[0].less(other.0[0]); N];
        for (k, mask) in mask.iter_mut().enumerate().skip(1) {
            *mask = self.0[k].less(other.0[k]);
        }
        GroupMask(mask)
    }

    /// See [`Lanes::select`].
    #[inline(always)]
    pub fn select(mask: GroupMask<T, R, N>, mut yes: Self, no: Self) -> Self {
        for k in 0..N {
            yes.0[k] = R::Lanes::<T>::select(mask.0[k], yes.0[k], no.0[k]);
        }
        yes
    }

    /// See [`Lanes::widen`].
    #[inline(always)]
    pub fn widen(self, tier: T) -> Group<T, f64, N> {
        let mut wide = Group::<T, f64, N>::zero(tier);
        for k in 0..N {
            wide.0[k] = self.0[k].widen();
        }
        wide
    }

    /// See [`Lanes::narrow`].
    #[inline(always)]
    pub fn narrow(tier: T, wide: Group<T, f64, N>) -> Self {
        let mut group = Self::zero(tier);
        for k in 0..N {
            group.0[k] = R::Lanes::<T>::narrow(wide.0[k]);
        }
        group
    }

    /// See [`Lanes::shift_into_exponent`].
    #[inline(always)]
    pub fn shift_into_exponent(mut self) -> Self {
        for k in 0..N {
            self.0[k] = self.0[k].shift_into_exponent();
        }
        self
    }
}
