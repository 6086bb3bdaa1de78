//! Memory in huge pages that several threads fill, each its own strip, and that is used again once nobody has a strip any more.
//!
//! A page of 4 KiB costs some two microseconds when it is touched first, more than decoding its content does; a huge page of 2 MiB
//! costs some hundred. Buffers of a column are smaller than a huge page, so those of many columns lie in one block.

use std::ptr::NonNull;
use std::sync::Arc;

use arrow::buffer::Buffer;
use bytes::Bytes;

use super::{Block, HUGE_PAGE};
use crate::error::{Error, Result};

/// Strips begin at multiples of this: the alignment of Arrow buffers, and no two in one cache line.
const ALIGNMENT: usize = 64;

/// Strips are cut from blocks of this length, where they are not longer and enough of them are wanted: two huge pages.
const BLOCK_BYTES: usize = 2 * HUGE_PAGE;

/// Blocks whose strips are given away.
#[derive(Debug, Default)]
pub struct Strips {
    blocks: Vec<Arc<Block>>,
    /// What is left of the block that is being cut.
    rest: Option<Strip>,
}

/// A range of a block that has one owner.
#[derive(Debug)]
pub struct Strip {
    /// Keeps the memory.
    block: Arc<Block>,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the bytes belong to the strip alone (see `Strip::bytes_mut`), and the block may be dropped by any thread.
unsafe impl Send for Strip {}
// SAFETY: through a shared strip its bytes can be read only, and nobody else has them.
unsafe impl Sync for Strip {}

impl Strips {
    /// A strip, in memory whose strips are all gone where there is such memory, beside those that were cut before it. What stands there
    /// is any bytes. No memory is taken for more than the `all` bytes that are to be cut.
    ///
    /// # Errors
    /// As [`Block::new`].
    pub fn cut(&mut self, bytes: usize, all: usize) -> Result<Strip> {
        let too_long = || Error::Usage("a column of some rows is larger than all memory".into());
        let taken = bytes.checked_next_multiple_of(ALIGNMENT).ok_or_else(too_long)?;
        let rest = match self.rest.take().filter(|rest| rest.len() >= taken) {
            Some(rest) => rest,
            None => self.cut_one(taken.max(BLOCK_BYTES.min(all)))?,
        };
        let (mut strip, rest) = rest.split(taken);
        strip.bytes = bytes;
        self.rest = Some(rest);
        Ok(strip)
    }

    /// A strip as by [`Strips::cut`], alone in its block.
    ///
    /// # Errors
    /// As [`Block::new`].
    pub fn cut_one(&mut self, bytes: usize) -> Result<Strip> {
        self.free(bytes).map(|(block, start)| Strip { block, start, bytes })
    }

    /// A block that nobody has a strip of, and where it begins.
    fn free(&mut self, bytes: usize) -> Result<(Arc<Block>, NonNull<u8>)> {
        let is_free = |block: &Arc<Block>| Arc::strong_count(block) == 1;
        let fits = |block: &Arc<Block>| is_free(block) && block.len() >= bytes;
        let found = self.blocks.iter().position(fits).map(|at| self.blocks.swap_remove(at));
        let mut block = match found.and_then(Arc::into_inner) {
            Some(block) => block,
            None => {
                // One that is as long as the others fits what comes after them.
                let bytes = self.blocks.iter().map(|block| block.len()).fold(bytes, usize::max);
                // A map of whole huge pages begins with one.
                Block::for_long(if bytes < HUGE_PAGE { bytes } else { bytes.next_multiple_of(HUGE_PAGE) })?
            }
        };
        // What is free and too small now will be for the next part as well.
        self.blocks.retain(|block| !is_free(block) || block.len() >= bytes);
        let start = NonNull::from(block.bytes_mut()).cast();
        let block = Arc::new(block);
        self.blocks.push(Arc::clone(&block));
        Ok((block, start))
    }
}

impl Strip {
    /// The first `bytes` bytes, of which there are so many, and the others.
    fn split(self, bytes: usize) -> (Strip, Strip) {
        assert!(bytes <= self.bytes);
        // SAFETY: within the strip.
        let start = unsafe { self.start.add(bytes) };
        let rest = Strip { block: Arc::clone(&self.block), start, bytes: self.bytes - bytes };
        (Strip { bytes, ..self }, rest)
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// True for a strip of nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Its bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the block lives as long as the strip, its memory is initialised (the system's zeros, or what was written), and no
        // other strip has these bytes: a block has one strip when it has no other owner, and strips that are split do not overlap.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// Its bytes, no longer written, as shared bytes that keep the memory.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Its bytes as an Arrow buffer that keeps the memory.
    pub fn into_buffer(self) -> Buffer {
        // SAFETY: as above; the strip is gone, so that nobody writes the bytes until the buffer's owner is dropped.
        unsafe { Buffer::from_custom_allocation(self.start, self.bytes, self.block) }
    }
}

impl AsRef<[u8]> for Strip {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: as for `bytes_mut`, which nobody can have called who still has what it gave.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_are_filled_apart_and_memory_comes_back() {
        let mut pool = Strips::default();
        let mut strips = [100, 0, 5_000].map(|bytes| pool.cut(bytes, 20_000).unwrap());
        std::thread::scope(|scope| {
            for (number, strip) in strips.iter_mut().enumerate() {
                scope.spawn(move || strip.bytes_mut().fill(number as u8 + 1));
            }
        });
        let first = strips[0].start;
        let buffers = strips.map(Strip::into_buffer);
        assert_eq!(buffers.each_ref().map(Buffer::len), [100, 0, 5_000]);
        assert!(buffers[0].iter().all(|&byte| byte == 1) && buffers[2].iter().all(|&byte| byte == 3));
        // Somebody still has some of it.
        let other = pool.cut(18_000, 20_000).unwrap();
        assert_eq!(pool.blocks.len(), 2);
        assert_ne!(other.start, first);
        drop((buffers, other));
        assert_eq!(pool.cut(18_000, 20_000).unwrap().start, first);
        // Blocks that are too small make way.
        pool.cut(1 << 20, 1 << 20).unwrap();
        assert_eq!(pool.blocks.len(), 1);
    }

    #[test]
    fn a_strip_of_its_own_comes_back_for_shorter_ones() {
        let mut pool = Strips::default();
        let mut strip = pool.cut_one(10_000).unwrap();
        strip.bytes_mut().fill(7);
        let (first, bytes) = (strip.start, strip.into_bytes());
        // As long as the other, so that each will do for both.
        let other = pool.cut_one(1_000).unwrap();
        assert_eq!((other.len(), other.block.len()), (1_000, pool.blocks[0].len()));
        assert!(bytes.len() == 10_000 && bytes.iter().all(|&byte| byte == 7));
        drop((bytes.slice(5..10), bytes));
        assert_eq!(pool.cut_one(9_000).unwrap().start, first);
        drop(other);
        assert_eq!(pool.cut_one(9_000).map(|_| pool.blocks.len()).unwrap(), 2);
    }
}
