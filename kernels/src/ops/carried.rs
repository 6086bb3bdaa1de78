//! Sums that several calls make together, each with the next rows.
//!
//! Lanes are added up once for all of them, at the end of the last. The bits are those of one call with all rows, where every call but the last has a
//! multiple of 64.

/// Where a call stands among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// It begins with lanes of zero, whatever it finds.
    pub first: bool,
    /// It adds lanes up, and leaves none.
    pub last: bool,
}

impl Call {
    /// One call for all rows.
    pub(crate) const ONLY: Call = Call { first: true, last: true };
}

/// What a call finds of the calls before it, and leaves to those after it.
#[derive(Debug)]
pub struct Carried<'a, L: ?Sized> {
    /// Which call it is.
    pub call: Call,
    /// Lanes of every sum.
    pub lanes: &'a mut L,
}
