//! The operators of a vector that fills several machine registers, made from the intrinsic that does one register.
//!
//! `elementwise!(Name, [Register; N], indices [0 1 ..], add: intrinsic, ...)` defines the vector type and its operators.
//! SAFETY of every intrinsic named in a use: a value of the vector type exists only when its tier's token does, and the
//! token only when the processor has the instructions.

macro_rules! elementwise {
    (
        $lanes:ident, [$register:ty; $count:literal], indices [$($i:tt)*],
        add: $add:ident, sub: $sub:ident, mul: $mul:ident, div: $div:ident,
        fma: $fma:ident, xor: $xor:ident, splat: $splat:ident,
    ) => {
        /// Sixteen lanes, in machine registers.
        #[derive(Clone, Copy, Debug)]
        pub struct $lanes([$register; $count]);

        $crate::isa::elementwise::elementwise!(@binary $lanes, Add, add, $add, $($i)*);
        $crate::isa::elementwise::elementwise!(@binary $lanes, Sub, sub, $sub, $($i)*);
        $crate::isa::elementwise::elementwise!(@binary $lanes, Mul, mul, $mul, $($i)*);
        $crate::isa::elementwise::elementwise!(@binary $lanes, Div, div, $div, $($i)*);

        impl std::ops::Neg for $lanes {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                // SAFETY: `self` proves the instructions.
                let sign = unsafe { $splat(-0.0) };
                // SAFETY: as above.
                Self([$(unsafe { $xor(self.0[$i], sign) }),*])
            }
        }

        impl $lanes {
            #[inline(always)]
            fn fused(self, factor: Self, addend: Self) -> Self {
                // SAFETY: `self` proves the instructions.
                Self([$(unsafe { $fma(self.0[$i], factor.0[$i], addend.0[$i]) }),*])
            }
        }
    };
    (@binary $lanes:ident, $trait:ident, $method:ident, $intrinsic:ident, $($i:tt)*) => {
        impl std::ops::$trait for $lanes {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                // SAFETY: `self` proves the instructions.
                Self([$(unsafe { $intrinsic(self.0[$i], other.0[$i]) }),*])
            }
        }
    };
}
pub(super) use elementwise;
