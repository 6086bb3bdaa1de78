//! Text to small numbers: an append-only hash table of byte strings (stage 2, categories).
//!
//! Ids count from 0 in the order of first insertion. The table is open-addressing with linear probing over 32-bit ids
//! and keeps every text once in one arena, so that a million levels of ten bytes cost about 35 MB.
//! Reading needs `&self` only: many threads look levels up while nobody inserts.

use twox_hash::XxHash3_64;

const EMPTY: u32 = u32::MAX;

/// Byte strings and their ids.
#[derive(Debug)]
pub struct Interner {
    arena: Vec<u8>,
    ends: Vec<usize>,
    hashes: Vec<u64>,
    slots: Vec<u32>,
}

impl Default for Interner {
    fn default() -> Self {
        Interner { arena: Vec::new(), ends: Vec::new(), hashes: Vec::new(), slots: vec![EMPTY; 64] }
    }
}

impl Interner {
    /// An empty table.
    pub fn new() -> Interner {
        Interner::default()
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when nothing was inserted.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text of an id below [`Interner::len`].
    pub fn text(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.arena[start..self.ends[id]]
    }

    /// The id of a text that was inserted before.
    #[inline]
    pub fn find(&self, text: &[u8]) -> Option<u32> {
        self.probe(XxHash3_64::oneshot(text), text).ok()
    }

    /// The id of a text, inserted when new.
    ///
    /// Ids are 32 bits wide; callers bound the number of texts far below that ([`Interner::len`]).
    pub fn insert(&mut self, text: &[u8]) -> u32 {
        let hash = XxHash3_64::oneshot(text);
        match self.probe(hash, text) {
            Ok(id) => id,
            Err(slot) => {
                let id = self.ends.len() as u32;
                self.arena.extend_from_slice(text);
                self.ends.push(self.arena.len());
                self.hashes.push(hash);
                self.slots[slot] = id;
                if self.ends.len() * 2 > self.slots.len() {
                    self.grow();
                }
                id
            }
        }
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.arena.capacity() + 8 * (self.ends.capacity() + self.hashes.capacity()) + 4 * self.slots.capacity()
    }

    /// The id of the text, or the slot where it belongs. At least half of the slots are empty, so probing ends.
    #[inline]
    fn probe(&self, hash: u64, text: &[u8]) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let id = self.slots[slot];
            if id == EMPTY {
                return Err(slot);
            }
            if self.hashes[id as usize] == hash && self.text(id) == text {
                return Ok(id);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let size = self.slots.len() * 2;
        let mask = size - 1;
        self.slots.clear();
        self.slots.resize(size, EMPTY);
        for (id, &hash) in self.hashes.iter().enumerate() {
            let mut slot = hash as usize & mask;
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = id as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_first_insertion_and_survive_growth() {
        let mut table = Interner::new();
        for i in 0..10_000u32 {
            assert_eq!(table.insert(format!("level {i}").as_bytes()), i);
        }
        assert_eq!(table.insert(b""), 10_000);
        for i in 0..10_000u32 {
            let text = format!("level {i}");
            assert_eq!(table.find(text.as_bytes()), Some(i));
            assert_eq!(table.insert(text.as_bytes()), i);
            assert_eq!(table.text(i), text.as_bytes());
        }
        assert_eq!(table.find(b""), Some(10_000));
        assert_eq!(table.find(b"level 10000"), None);
        assert_eq!(table.len(), 10_001);
    }
}
