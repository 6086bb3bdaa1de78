//! The slice of an exchange, parts of which are sent and received.
//!
//! [`Copied`] works over any transport: a part is copied to a message when it is sent and from one when it has come.
//! A transport that can send and receive in place lends memory that it owns meanwhile: [`Transport::lend`].

use std::marker::PhantomData;
use std::ops::Range;

use crate::communicator::Result;
use crate::element::Element;
use crate::transport::{Tag, Transport};

/// A slice that parts can be sent from and received into.
pub trait Window<E> {
    /// Number of elements.
    fn elements(&mut self) -> usize;

    /// A part that is neither being sent nor received.
    ///
    /// # Errors
    /// [`crate::CommError`] when it is.
    fn part(&mut self, range: Range<usize>) -> Result<&mut [E]>;

    /// Starts to send a part, which stays as it is until it has left.
    ///
    /// # Errors
    /// [`crate::CommError`] when the rank, or the group, is known to have failed.
    fn send(&mut self, to: usize, tag: Tag, range: Range<usize>) -> Result<()>;

    /// Announces that the next message of this stream replaces a part.
    ///
    /// # Errors
    /// [`crate::CommError`] when the rank, or the group, is known to have failed.
    fn expect(&mut self, from: usize, tag: Tag, range: Range<usize>) -> Result<()>;

    /// Whether the oldest expected part of this stream, which is `range`, has come.
    ///
    /// # Errors
    /// As [`Transport::poll`].
    fn arrived(&mut self, from: usize, tag: Tag, range: Range<usize>) -> Result<bool>;
}

/// A window on memory that a transport holds for the time of an exchange.
pub trait Lent: Window<i64> {
    /// The values, once the exchange is complete.
    ///
    /// # Errors
    /// [`crate::CommError`] when it is not.
    fn give_back(self: Box<Self>) -> Result<Vec<i64>>;
}

impl Window<i64> for Box<dyn Lent + '_> {
    fn elements(&mut self) -> usize {
        (**self).elements()
    }

    fn part(&mut self, range: Range<usize>) -> Result<&mut [i64]> {
        (**self).part(range)
    }

    fn send(&mut self, to: usize, tag: Tag, range: Range<usize>) -> Result<()> {
        (**self).send(to, tag, range)
    }

    fn expect(&mut self, from: usize, tag: Tag, range: Range<usize>) -> Result<()> {
        (**self).expect(from, tag, range)
    }

    fn arrived(&mut self, from: usize, tag: Tag, range: Range<usize>) -> Result<bool> {
        (**self).arrived(from, tag, range)
    }
}

/// A window that copies, on values borrowed or owned.
pub struct Copied<'a, T, V, E> {
    transport: &'a T,
    values: V,
    element: PhantomData<E>,
}

impl<'a, T: Transport, V: AsMut<[E]>, E: Element> Copied<'a, T, V, E> {
    /// A window on `values`.
    pub fn new(transport: &'a T, values: V) -> Self {
        Self { transport, values, element: PhantomData }
    }
}

impl<T: Transport, V: AsMut<[E]>, E: Element> Window<E> for Copied<'_, T, V, E> {
    fn elements(&mut self) -> usize {
        self.values.as_mut().len()
    }

    fn part(&mut self, range: Range<usize>) -> Result<&mut [E]> {
        Ok(&mut self.values.as_mut()[range])
    }

    fn send(&mut self, to: usize, tag: Tag, range: Range<usize>) -> Result<()> {
        let mut message = self.transport.buffer(range.len() * E::BYTES);
        E::encode(&self.values.as_mut()[range], &mut message);
        self.transport.send(to, tag, message)
    }

    fn expect(&mut self, from: usize, tag: Tag, range: Range<usize>) -> Result<()> {
        self.transport.expect(from, tag, range.len() * E::BYTES)
    }

    fn arrived(&mut self, from: usize, tag: Tag, range: Range<usize>) -> Result<bool> {
        let Some(message) = self.transport.poll(from, tag)? else { return Ok(false) };
        E::decode(&message, &mut self.values.as_mut()[range]);
        self.transport.recycle(message);
        Ok(true)
    }
}

impl<T: Transport> Lent for Copied<'_, T, Vec<i64>, i64> {
    fn give_back(self: Box<Self>) -> Result<Vec<i64>> {
        Ok(self.values)
    }
}
