//! Recursive doubling: a sum in ceil(log2 N) exchanges, for slices so short that latency is all that counts.
//!
//! Let P be the largest power of two up to N. Rank r >= P first gives its values to rank r - P and gets the result from
//! it at the end. The P others exchange their partial sums with rank r XOR 1, then r XOR 2, r XOR 4, ... P / 2: after
//! round k each holds the sum of the 2^k ranks that share its higher bits. Both partners compute the same commutative
//! addition, so all ranks end with the same bits.
//!
//! Slices longer than a chunk go chunk after chunk. Between about 4 and 16 KiB an exchange is several messages that are under way
//! together: short ones are sent at once, where a longer one first asks the receiver for leave, which costs a latency more.
//!
//! Cost: time (log2 P + 2 if N > P) (alpha + bytes * beta + additions). Source: R. Thakur, R. Rabenseifner and
//! W. Gropp, "Optimization of collective communication operations in MPICH", IJHPCA 19 (2005).

use std::ops::Range;

use crate::communicator::Result;
use crate::element::Element;
use crate::torus::part;
use crate::transport::{Step, Tag, Transport};

/// A sum on its way up and down the tree.
pub struct Tree<'a, E, A> {
    values: &'a mut [E],
    add: A,
    operation: u32,
    chunk: usize,
    /// Elements of the chunk under way.
    window: Range<usize>,
    /// Exchanges of a chunk, in order.
    plan: Vec<Exchange>,
    /// The exchange whose message comes next.
    next: usize,
    /// Whether that exchange has begun.
    begun: bool,
    /// Messages of that exchange that have come.
    arrived: usize,
}

/// The longest message that every MPI library known sends at once, with its head (Open MPI in shared memory: 4 KiB).
const EAGER_BYTES: usize = 3_968;
/// Exchanges that would be more messages are one.
const MESSAGES_MAX: usize = 4;

/// One exchange of a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    /// Give the values away and nothing more for now.
    Give(usize),
    /// Add what that rank gives.
    Add(usize),
    /// Give and add.
    Swap(usize),
    /// Take the result.
    Take(usize),
}

/// The exchanges of `rank`.
fn plan(rank: usize, ranks: usize) -> Vec<Exchange> {
    let power = if ranks == 0 { 1 } else { 1 << ranks.ilog2() };
    if rank >= power {
        return vec![Exchange::Give(rank - power), Exchange::Take(rank - power)];
    }
    let helped = (rank + power < ranks).then_some(rank + power);
    let rounds = (0..power.ilog2()).map(|round| Exchange::Swap(rank ^ (1 << round)));
    let before = helped.map(Exchange::Add);
    before.into_iter().chain(rounds).chain(helped.map(Exchange::Give)).collect()
}

impl<'a, E: Element, A: Fn(E, E) -> E> Tree<'a, E, A> {
    /// Sends the first message.
    ///
    /// # Errors
    /// [`crate::CommError`] when a rank is lost or failed.
    pub fn start<T: Transport + ?Sized>(
        transport: &T,
        operation: u32,
        chunk_bytes: usize,
        values: &'a mut [E],
        add: A,
    ) -> Result<Self> {
        let chunk = (chunk_bytes / E::BYTES).max(1);
        let window = 0..chunk.min(values.len());
        let plan = plan(transport.rank(), transport.size());
        let mut tree = Self { values, add, operation, chunk, window, plan, next: 0, begun: false, arrived: 0 };
        tree.advance(transport)?;
        Ok(tree)
    }

    /// Takes, adds and gives all that can be now.
    pub(crate) fn advance<T: Transport + ?Sized>(&mut self, transport: &T) -> Result<Step> {
        while !self.window.is_empty() {
            while let Some(&exchange) = self.plan.get(self.next) {
                if !self.begun {
                    self.begin(transport, exchange)?;
                    self.begun = true;
                }
                if let Some(rank) = self.finish(transport, exchange)? {
                    return Ok(Step::Waiting(rank));
                }
                (self.next, self.begun, self.arrived) = (self.next + 1, false, 0);
            }
            let end = self.window.end;
            (self.window, self.next) = (end..(end + self.chunk).min(self.values.len()), 0);
        }
        let complete = transport.sent(self.operation)?;
        let last = self.plan.last().map_or(transport.rank(), Exchange::peer);
        Ok(if complete { Step::Done } else { Step::Waiting(last) })
    }

    /// Messages of an exchange of the chunk under way: a stream each.
    fn messages(&self) -> usize {
        let needed = (self.window.len() * E::BYTES).div_ceil(EAGER_BYTES);
        if needed > MESSAGES_MAX { 1 } else { needed }
    }

    fn message(&self, number: usize) -> (Tag, Range<usize>) {
        (Tag::new(self.operation, number as u32), part(&self.window, self.messages(), number))
    }

    fn begin<T: Transport + ?Sized>(&self, transport: &T, exchange: Exchange) -> Result<()> {
        for (tag, range) in (0..self.messages()).map(|number| self.message(number)) {
            let bytes = range.len() * E::BYTES;
            let own = || {
                let mut message = transport.buffer(bytes);
                E::encode(&self.values[range.clone()], &mut message);
                message
            };
            match exchange {
                Exchange::Add(rank) | Exchange::Take(rank) => transport.expect(rank, tag, bytes)?,
                Exchange::Swap(rank) => transport.swap(rank, tag, own())?,
                Exchange::Give(rank) => transport.send(rank, tag, own())?,
            }
        }
        Ok(())
    }

    /// The rank still waited for, if any.
    fn finish<T: Transport + ?Sized>(&mut self, transport: &T, exchange: Exchange) -> Result<Option<usize>> {
        if matches!(exchange, Exchange::Give(_)) {
            return Ok(None);
        }
        let rank = exchange.peer();
        while self.arrived < self.messages() {
            let (tag, range) = self.message(self.arrived);
            let Some(message) = transport.poll(rank, tag)? else { return Ok(Some(rank)) };
            let values = &mut self.values[range];
            match exchange {
                Exchange::Take(_) => E::decode(&message, values),
                _ => E::fold_in(&message, values, &self.add),
            }
            transport.recycle(message);
            self.arrived += 1;
        }
        Ok(None)
    }

    pub(crate) fn doing(&self) -> String {
        let (exchange, exchanges) = (self.next + 1, self.plan.len());
        format!("summing by recursive doubling (exchange {exchange} of {exchanges})")
    }
}

impl Exchange {
    fn peer(&self) -> usize {
        match *self {
            Self::Give(rank) | Self::Add(rank) | Self::Swap(rank) | Self::Take(rank) => rank,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_ranks_make_a_square_and_a_helper() {
        assert_eq!(plan(0, 5), [Exchange::Add(4), Exchange::Swap(1), Exchange::Swap(2), Exchange::Give(4)]);
        assert_eq!(plan(3, 5), [Exchange::Swap(2), Exchange::Swap(1)]);
        assert_eq!(plan(4, 5), [Exchange::Give(0), Exchange::Take(0)]);
        assert_eq!(plan(0, 1), []);
    }
}
