//! Memory in huge pages that several threads fill, each its own strip, and that is used again once nobody has a strip any more.
//!
//! A page of 4 KiB costs some two microseconds when it is touched first, more than decoding its content does; a huge page of 2 MiB
//! costs some hundred. Buffers of a column are smaller than a huge page, so those of many columns lie in one block.

use std::ptr::NonNull;
use std::sync::Arc;

use arrow::buffer::Buffer;

use super::{Block, HUGE_PAGE};
use crate::error::{Error, Result};

/// Strips begin at multiples of this: the alignment of Arrow buffers, and no two in one cache line.
const ALIGNMENT: usize = 64;

/// Blocks whose strips are given away.
#[derive(Debug, Default)]
pub struct Strips {
    blocks: Vec<Arc<Block>>,
}

/// A range of a block that has one owner.
#[derive(Debug)]
pub struct Strip {
    /// Keeps the memory.
    block: Arc<Block>,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the bytes belong to the strip alone (see `Strips::cut`), and the block may be dropped by any thread.
unsafe impl Send for Strip {}
// SAFETY: through a shared strip nothing can be reached but its length.
unsafe impl Sync for Strip {}

impl Strips {
    /// Strips of these lengths, in memory whose strips are all gone where there is such memory. What stands there is any bytes.
    ///
    /// # Errors
    /// As [`Block::new`].
    pub fn cut(&mut self, lengths: &[usize]) -> Result<Vec<Strip>> {
        let (mut places, mut end) = (Vec::with_capacity(lengths.len()), 0usize);
        for &bytes in lengths {
            places.push((end, bytes));
            let next = end.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(ALIGNMENT));
            end = next.ok_or_else(|| Error::Usage("a part of the rows is larger than all memory".into()))?;
        }
        let (block, start) = self.free(end)?;
        let strip = |(at, bytes)| {
            // SAFETY: `at + bytes` is at most `end`, the length of the block or less.
            let start = unsafe { start.add(at) };
            Strip { block: Arc::clone(&block), start, bytes }
        };
        Ok(places.into_iter().map(strip).collect())
    }

    /// One strip, as [`Strips::cut`].
    ///
    /// # Errors
    /// As [`Block::new`].
    pub fn cut_one(&mut self, bytes: usize) -> Result<Strip> {
        self.free(bytes).map(|(block, start)| Strip { block, start, bytes })
    }

    /// A block that nobody has a strip of, and where it begins.
    fn free(&mut self, bytes: usize) -> Result<(Arc<Block>, NonNull<u8>)> {
        let fits = |block: &Arc<Block>| Arc::strong_count(block) == 1 && block.len() >= bytes;
        let found = self.blocks.iter().position(fits).map(|at| self.blocks.swap_remove(at));
        let mut block = match found.and_then(Arc::into_inner) {
            Some(block) => block,
            // A map of whole huge pages begins with one.
            None => Block::for_long(if bytes < HUGE_PAGE { bytes } else { bytes.next_multiple_of(HUGE_PAGE) })?,
        };
        // Others that are free are too small, and will be for the next part as well.
        self.blocks.retain(|block| Arc::strong_count(block) > 1);
        let start = NonNull::from(block.bytes_mut()).cast();
        let block = Arc::new(block);
        self.blocks.push(Arc::clone(&block));
        Ok((block, start))
    }
}

impl Strip {
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
        // other strip has these bytes: strips of one cut do not overlap, and a block is cut again only when it has one owner.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// Its bytes as an Arrow buffer that keeps the memory.
    pub fn into_buffer(self) -> Buffer {
        // SAFETY: as above; the strip is gone, so that nobody writes the bytes until the buffer's owner is dropped.
        unsafe { Buffer::from_custom_allocation(self.start, self.bytes, self.block) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_are_filled_apart_and_memory_comes_back() {
        let mut pool = Strips::default();
        let mut strips = pool.cut(&[100, 0, 5_000]).unwrap();
        std::thread::scope(|scope| {
            for (number, strip) in strips.iter_mut().enumerate() {
                scope.spawn(move || strip.bytes_mut().fill(number as u8 + 1));
            }
        });
        let first = strips[0].start;
        let buffers: Vec<Buffer> = strips.into_iter().map(Strip::into_buffer).collect();
        assert_eq!(buffers.iter().map(Buffer::len).collect::<Vec<_>>(), [100, 0, 5_000]);
        assert!(buffers[0].iter().all(|&byte| byte == 1) && buffers[2].iter().all(|&byte| byte == 3));
        // Somebody still has some of it.
        let others = pool.cut(&[100]).unwrap();
        assert_ne!(others[0].start, first);
        drop((buffers, others));
        assert_eq!(pool.cut(&[6_000]).unwrap()[0].start, first);
        assert_eq!(pool.blocks.len(), 1);
        // A block that is too small makes way.
        pool.cut(&[1 << 20]).unwrap();
        assert_eq!(pool.blocks.len(), 1);
    }
}
