//! What [`super::amx`] is on other processors: nothing that could be had.

use super::bytes::{Line, STRIP};
use std::marker::PhantomData;

/// Lines of a matrix; sums of a product in a row.
pub const SIDE: usize = 16;

/// Sums of a product of matrices: row after row.
pub type Sums = [[i32; SIDE]; SIDE];

/// Of which there is none.
#[derive(Clone, Copy, Debug)]
pub enum Amx {}

/// Of which there is none.
#[derive(Clone, Copy, Debug)]
pub enum Matrices {}

/// Bytes that matrices lie in, of which there are none.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a>(Matrices, PhantomData<&'a [u8]>);

#[allow(missing_docs)]
impl<'a> Place<'a> {
    pub fn among(_: &'a [Line], _: usize, _: [usize; 3]) -> Option<Place<'a>> {
        None
    }

    pub fn of_columns(_: &[&'a [u8]], _: usize, _: usize) -> Option<Place<'a>> {
        None
    }
}

#[allow(missing_docs)]
impl Amx {
    pub fn detect() -> Option<Amx> {
        None
    }

    pub fn start(self) -> Matrices {
        match self {}
    }
}

#[allow(missing_docs)]
impl Matrices {
    pub fn unsigned_by_signed(&self, _: Place<'_>, _: Place<'_>, _: &mut [Sums; 4]) {
        match *self {}
    }

    pub fn transpose(&self, _: &Sums, _: &mut [[i32; STRIP]], _: usize) {
        match *self {}
    }

    pub fn turn(&self, _: &mut [Line; SIDE]) {
        match *self {}
    }

    pub fn signed_by_unsigned(&self, _: Place<'_>, _: Place<'_>, _: &mut [Sums; 4]) {
        match *self {}
    }
}
