//! What [`super::amx`] is on other processors: nothing that could be had.

use super::bytes::{Line, STRIP};
use super::even::Even;
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

    pub fn of_columns(_: Even<'a>, _: usize, _: usize, _: usize) -> Option<Place<'a>> {
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
    pub fn clear(&self) {
        match *self {}
    }

    pub fn add_unsigned_by_signed(&self, _: Place<'_>, _: Place<'_>) {
        match *self {}
    }

    pub fn add_signed_by_unsigned(&self, _: Place<'_>, _: Place<'_>) {
        match *self {}
    }

    pub fn store(&self, _: &mut [[i32; STRIP]], _: usize) {
        match *self {}
    }

    pub fn store_apart(&self, _: &mut [Sums; 4]) {
        match *self {}
    }

    pub fn transpose(&self, _: &Sums, _: &mut [[i32; STRIP]], _: usize) {
        match *self {}
    }

    pub fn turn(&self, _: &mut [Line; SIDE]) {
        match *self {}
    }
}
