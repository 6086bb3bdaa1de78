//! Collectives that move bytes as they are: broadcast, all-gather, gather, barrier.
//!
//! They carry configuration, decisions and small results, not sums; each blocks until done.

use crate::communicator::Result;
use crate::group::Group;
use crate::transport::{Step, Tag, Transport, drive, receive};

/// Bytes of a length on the wire.
const LENGTH: usize = 8;

/// Binomial tree: with ranks counted from the root, rank v receives from v minus its lowest set bit and sends to
/// v + 2^k for every smaller 2^k. Cost: ceil(log2 N) (alpha + bytes * beta) and one message for the length.
pub(crate) fn broadcast<T: Transport>(group: &Group<T>, bytes: &mut Vec<u8>, root: usize) -> Result<()> {
    let transport = group.transport();
    let (rank, ranks) = (transport.rank(), transport.size());
    let operation = group.next_operation();
    let tag = Tag::new(operation, 0);
    let place = (rank + ranks - root) % ranks;
    let doing = || format!("receiving a broadcast of rank {root}");
    let reach = if place == 0 { ranks.next_power_of_two() } else { 1 << place.trailing_zeros() };
    let parent = (place != 0).then(|| (root + place - reach) % ranks);
    let steps = std::iter::successors(Some(reach / 2), |step| Some(step / 2)).take_while(|step| *step > 0);
    let children: Vec<_> =
        steps.filter(|step| place + step < ranks).map(|step| (root + place + step) % ranks).collect();
    let pass_on = |message: &[u8]| {
        children.iter().try_for_each(|child| {
            let mut copy = transport.buffer(message.len());
            copy.copy_from_slice(message);
            transport.send(*child, tag, copy)
        })
    };
    let take = |length: usize| -> Result<Option<Vec<u8>>> {
        let Some(parent) = parent else { return Ok(None) };
        transport.expect(parent, tag, length)?;
        receive(transport, parent, tag, doing).map(Some)
    };
    let own_length = (bytes.len() as u64).to_le_bytes();
    let length_bytes = take(LENGTH)?.unwrap_or_else(|| own_length.to_vec());
    pass_on(&length_bytes)?;
    let length = read_length(&length_bytes);
    if parent.is_some() {
        bytes.clear();
    }
    let chunk = group.settings().chunk_bytes.max(1);
    for start in (0..length).step_by(chunk) {
        let end = (start + chunk).min(length);
        match take(end - start)? {
            Some(message) => {
                pass_on(&message)?;
                bytes.extend_from_slice(&message);
                transport.recycle(message);
            }
            None => pass_on(&bytes[start..end])?,
        }
    }
    finish(group, operation, "sending a broadcast")
}

fn read_length(bytes: &[u8]) -> usize {
    let mut array = [0; LENGTH];
    array[..bytes.len().min(LENGTH)].copy_from_slice(&bytes[..bytes.len().min(LENGTH)]);
    usize::try_from(u64::from_le_bytes(array)).unwrap_or(usize::MAX)
}

/// Around a ring: in step s = 0 .. N-1 rank r passes on the bytes of rank r - s. The lengths go first, the same way.
/// Cost: 2 (N-1) alpha + (total bytes) beta.
pub(crate) fn all_gather<T: Transport>(group: &Group<T>, own: &[u8]) -> Result<Vec<Vec<u8>>> {
    let lengths = gather_known(group, &vec![LENGTH; group.transport().size()], &(own.len() as u64).to_le_bytes())?;
    let lengths: Vec<_> = lengths.iter().map(|bytes| read_length(bytes)).collect();
    gather_known(group, &lengths, own)
}

/// [`all_gather`] where every rank knows every length.
fn gather_known<T: Transport>(group: &Group<T>, lengths: &[usize], own: &[u8]) -> Result<Vec<Vec<u8>>> {
    let transport = group.transport();
    let (rank, ranks) = (transport.rank(), transport.size());
    let (left, right) = ((rank + ranks - 1) % ranks, (rank + 1) % ranks);
    let operation = group.next_operation();
    let tag = Tag::new(operation, 0);
    let chunk = group.settings().chunk_bytes.max(1);
    let mut gathered = vec![Vec::new(); ranks];
    gathered[rank] = own.to_vec();
    for step in 0..ranks - 1 {
        let (ours, theirs) = ((rank + ranks - step) % ranks, (rank + 2 * ranks - step - 1) % ranks);
        for part in gathered[ours].chunks(chunk) {
            let mut message = transport.buffer(part.len());
            message.copy_from_slice(part);
            transport.send(right, tag, message)?;
        }
        let length = lengths[theirs];
        gathered[theirs].reserve_exact(length);
        for start in (0..length).step_by(chunk) {
            transport.expect(left, tag, chunk.min(length - start))?;
            let message = receive(transport, left, tag, || format!("gathering the bytes of rank {theirs}"))?;
            gathered[theirs].extend_from_slice(&message);
            transport.recycle(message);
        }
    }
    finish(group, operation, "gathering")?;
    Ok(gathered)
}

/// Every rank sends to the root, which takes one rank after the other, so that only what it keeps is in its memory.
/// Cost at the root: (N-1) (2 alpha) and all other ranks' bytes.
pub(crate) fn gather<T: Transport>(group: &Group<T>, own: &[u8], root: usize) -> Result<Option<Vec<Vec<u8>>>> {
    let transport = group.transport();
    let (rank, ranks) = (transport.rank(), transport.size());
    let operation = group.next_operation();
    let tag = Tag::new(operation, 0);
    let chunk = group.settings().chunk_bytes.max(1);
    if rank != root {
        transport.send(root, tag, (own.len() as u64).to_le_bytes().to_vec())?;
        for part in own.chunks(chunk) {
            let mut message = transport.buffer(part.len());
            message.copy_from_slice(part);
            transport.send(root, tag, message)?;
        }
        finish(group, operation, "handing bytes to one rank")?;
        return Ok(None);
    }
    let mut gathered = Vec::with_capacity(ranks);
    for from in 0..ranks {
        if from == root {
            gathered.push(own.to_vec());
            continue;
        }
        let take = |bytes: usize| {
            transport.expect(from, tag, bytes)?;
            receive(transport, from, tag, || format!("gathering the bytes of rank {from}"))
        };
        let length = read_length(&take(LENGTH)?);
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let message = take(chunk.min(length - bytes.len()))?;
            bytes.extend_from_slice(&message);
            transport.recycle(message);
        }
        gathered.push(bytes);
    }
    finish(group, operation, "gathering")?;
    Ok(Some(gathered))
}

/// Dissemination: in round k a rank tells rank r + 2^k and hears of rank r - 2^k; after ceil(log2 N) rounds it has
/// heard, directly or not, of all. Source: D. Hensgen, R. Finkel and U. Manber, IJPP 17 (1988).
pub(crate) fn barrier<T: Transport>(group: &Group<T>) -> Result<()> {
    let transport = group.transport();
    let (rank, ranks) = (transport.rank(), transport.size());
    let operation = group.next_operation();
    let tag = Tag::new(operation, 0);
    let mut reach = 1;
    while reach < ranks {
        let from = (rank + ranks - reach) % ranks;
        transport.expect(from, tag, 0)?;
        transport.send((rank + reach) % ranks, tag, Vec::new())?;
        receive(transport, from, tag, || "waiting at a barrier".to_string())?;
        reach *= 2;
    }
    finish(group, operation, "leaving a barrier")
}

/// Waits until everything sent has left.
fn finish<T: Transport>(group: &Group<T>, operation: u32, doing: &str) -> Result<()> {
    let transport = group.transport();
    let right = (transport.rank() + 1) % transport.size();
    drive(
        transport,
        &mut (),
        |()| doing.to_string(),
        |()| Ok(if transport.sent(operation)? { Step::Done } else { Step::Waiting(right) }),
    )
}
