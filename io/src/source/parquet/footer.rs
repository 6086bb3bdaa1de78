//! A look at a Parquet footer before it is decoded (stage 1): no list in it may announce more elements than bytes are left.
//!
//! The decoder reserves room for the row groups a footer announces; a footer of a few bytes that announces two thousand million
//! of them would end the program for want of memory. This walk over the Thrift compact protocol allocates nothing and
//! costs a few nanoseconds a byte. Source: Apache Thrift, `doc/specs/thrift-compact-protocol.md`.
//!
//! ```text
//! file: "PAR1" ... | footer (Thrift struct FileMetaData) | its length, u32 | "PAR1"
//! ```

use crate::source::files::Positioned;

/// Structs, lists and maps nested deeper than this are refused.
const DEPTH_MAX: u32 = 32;

/// Why a footer is refused.
type Refused = &'static str;

/// The check of the footer of `file`; a file without one is left to the decoder, which says so.
///
/// # Errors
/// The system's, or what is wrong with the footer.
pub fn check(file: &Positioned) -> std::io::Result<Result<(), Refused>> {
    let Some(at) = file.length().checked_sub(8) else { return Ok(Ok(())) };
    let mut tail = [0; 8];
    file.read_exact_at(&mut tail, at)?;
    let [a, b, c, d, magic @ ..] = tail;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let Some(from) = at.checked_sub(length).filter(|_| magic == *b"PAR1") else { return Ok(Ok(())) };
    let mut footer = vec![0; length as usize];
    file.read_exact_at(&mut footer, from)?;
    Ok(walk(&footer))
}

/// Walk over a Thrift struct.
///
/// # Errors
/// What is wrong with it.
pub fn walk(bytes: &[u8]) -> Result<(), Refused> {
    Walker { rest: bytes }.structure(0)
}

struct Walker<'a> {
    rest: &'a [u8],
}

impl Walker<'_> {
    fn byte(&mut self) -> Result<u8, Refused> {
        let (&byte, rest) = self.rest.split_first().ok_or("the footer is cut short")?;
        self.rest = rest;
        Ok(byte)
    }

    fn skip(&mut self, count: u64) -> Result<(), Refused> {
        let count = usize::try_from(count).map_err(|_| "an impossible length in the footer")?;
        self.rest = self.rest.get(count..).ok_or("the footer is cut short")?;
        Ok(())
    }

    /// An unsigned number, seven bits a byte, low bits first.
    fn varint(&mut self) -> Result<u64, Refused> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number of more than 64 bits in the footer")
    }

    fn structure(&mut self, depth: u32) -> Result<(), Refused> {
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Ok(());
            }
            if header >> 4 == 0 {
                self.varint()?;
            }
            match header & 0x0f {
                // The value of a boolean field is its type.
                1 | 2 => {}
                kind => self.value(kind, depth + 1)?,
            }
        }
    }

    fn value(&mut self, kind: u8, depth: u32) -> Result<(), Refused> {
        if depth > DEPTH_MAX {
            return Err("the footer is nested too deeply");
        }
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => self.list(depth),
            11 => self.map(depth),
            12 => self.structure(depth),
            13 => self.skip(16),
            _ => Err("an unknown type in the footer"),
        }
    }

    fn list(&mut self, depth: u32) -> Result<(), Refused> {
        let header = self.byte()?;
        let count = if header >> 4 == 15 { self.varint()? } else { u64::from(header >> 4) };
        self.elements(count)?;
        (0..count).try_for_each(|_| self.value(header & 0x0f, depth + 1))
    }

    fn map(&mut self, depth: u32) -> Result<(), Refused> {
        let count = self.varint()?;
        if count == 0 {
            return Ok(());
        }
        self.elements(count)?;
        let kinds = self.byte()?;
        (0..count).try_for_each(|_| {
            self.value(kinds >> 4, depth + 1)?;
            self.value(kinds & 0x0f, depth + 1)
        })
    }

    /// An element takes at least a byte.
    fn elements(&self, count: u64) -> Result<(), Refused> {
        if count > self.rest.len() as u64 { Err("a list in the footer is longer than the footer") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn announced_lengths_are_held_against_what_is_left() {
        // Field 4, list of structs: two thousand million of them, and nothing behind.
        let huge = [0x49, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
        assert_eq!(walk(&huge), Err("a list in the footer is longer than the footer"));
        // Field 1 i32, field 2 list of two empty structs, field 3 binary of two bytes.
        assert_eq!(walk(&[0x15, 0x02, 0x19, 0x2c, 0x00, 0x00, 0x18, 0x02, 0x41, 0x42, 0x00]), Ok(()));
        assert_eq!(walk(&[0x15]), Err("the footer is cut short"));
        assert_eq!(walk(&[0x1c; 100]), Err("the footer is nested too deeply"));
        assert_eq!(walk(&[0x1e, 0x00]), Err("an unknown type in the footer"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = walk(&bytes);
        }
    }
}
