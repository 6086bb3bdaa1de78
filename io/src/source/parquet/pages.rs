//! Pages of plain numbers (stage 1), decoded without a byte being written twice: what nearly every Parquet file of numbers has.
//!
//! ```text
//! page -> [levels: is every value there?] -> the values as they lie, or runs of places in the dictionary -> where they stay
//! ```
//!
//! For columns that are not nested, encodings PLAIN and dictionary, data pages of both versions, and no missing value.
//! Everything else, damaged pages among it, is left to the `parquet` crate, whose messages are better; it fills what it
//! decompresses Snappy into, what it decodes into, and a copy of every dictionary with zeros first, which took a sixth of ingest.
//!
//! Source: Apache Parquet format 2.11, Encodings.md (PLAIN, RLE_DICTIONARY, and the run length / bit packing hybrid):
//!
//! ```text
//! dictionary data: width in bits (1 byte) | run | run | ...
//! run: varint h; h even: h / 2 times the number in the next ceil(width / 8) bytes
//!                h odd:  h / 2 groups of 8 numbers of `width` bits each, lowest bits first
//! ```

use bytes::Bytes;
use gristmill_kernels::{Work, vectorised_work};
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};

use crate::source::columnar::Spare;

/// What was found in the rows asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found {
    /// Their values.
    All,
    /// Some have none.
    Missing,
}

/// Numbers of `N` bytes, as they lie in memory, in the making.
pub struct Values<'a, const N: usize> {
    /// Values that come first and are not wanted.
    pub skip: usize,
    /// Where the others go.
    pub to: &'a mut [[u8; N]],
}

impl<const N: usize> Values<'_, N> {
    /// Values as they lie in a page: the lowest byte first. None: more than there is room for.
    fn put(&mut self, values: &[[u8; N]]) -> Option<()> {
        let values = &values[self.pass(values.len())..];
        for (to, &from) in self.next(values.len())?.iter_mut().zip(values) {
            *to = native(from);
        }
        Some(())
    }

    /// A value that occurs so many times.
    fn put_same(&mut self, value: [u8; N], count: usize) -> Option<()> {
        let count = count - self.pass(count);
        self.next(count)?.fill(native(value));
        Some(())
    }

    /// How many of the next values are passed over.
    fn pass(&mut self, count: usize) -> usize {
        let passed = self.skip.min(count);
        self.skip -= passed;
        passed
    }

    /// The next places.
    fn next(&mut self, count: usize) -> Option<&mut [[u8; N]]> {
        self.to.split_off_mut(..count)
    }
}

/// A number of a page as this machine has it.
#[inline(always)]
fn native<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    if cfg!(target_endian = "big") {
        bytes.reverse();
    }
    bytes
}

/// The pages of a column of a row group.
pub struct Pages<'a, P> {
    /// They, still compressed where that is by Snappy.
    pub reader: P,
    /// True where it is.
    pub snappy: bool,
    /// True where values may be missing: pages then say which are there.
    pub optional: bool,
    /// No decompressed page is longer than this.
    pub bytes_max: usize,
    /// Where to decompress.
    pub spare: &'a mut Spare,
}

/// A page of values.
struct Data {
    bytes: Bytes,
    values: usize,
    encoding: Encoding,
    levels: Levels,
}

/// Where a page says which values are there.
enum Levels {
    /// In front of the values, compressed with them, after their length.
    Inside,
    /// In so many bytes before the values, which may be compressed.
    Apart(usize, bool),
}

impl<P: PageReader> Pages<'_, P> {
    /// The values of the rows from row `first` on, as many as there are places; none: the pages are of a kind that is not read here, or
    /// damaged.
    pub fn read<const N: usize>(mut self, first: usize, places: &mut [[u8; N]]) -> Option<Found> {
        let (mut values, mut dictionary) = (Values { skip: first, to: places }, 0);
        while !values.to.is_empty() {
            values.skip = self.skipped(values.skip)?;
            let data = match self.reader.get_next_page().ok()?? {
                Page::DictionaryPage { buf, encoding: Encoding::PLAIN | Encoding::PLAIN_DICTIONARY, .. } => {
                    dictionary = self.keep_dictionary(&buf)?;
                    continue;
                }
                page => Data::of(page)?,
            };
            // Rows before the first are in its page only, and that is the first which is decoded.
            let wanted = data.values.min(values.skip + values.to.len());
            if wanted <= values.skip {
                return None;
            }
            let Spare { page, dictionary: words, .. } = &mut *self.spare;
            let (levels, body) = data.parts(self.snappy.then_some(self.bytes_max), self.optional, page)?;
            if self.optional && !all_ones(levels, data.values)? {
                return Some(Found::Missing);
            }
            match data.encoding {
                Encoding::PLAIN => values.put(body.as_chunks().0.get(..wanted)?)?,
                Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                    look_up(body, words.get(..dictionary)?.as_chunks().0, wanted, &mut values)?;
                }
                _ => return None,
            }
        }
        Some(Found::All)
    }

    /// Passes over the pages before row `skip`; how many rows of the next are before it.
    fn skipped(&mut self, mut skip: usize) -> Option<usize> {
        while skip > 0 {
            let next = self.reader.peek_next_page().ok()??;
            let rows = next.num_rows.or(next.num_levels).filter(|&rows| !next.is_dict && rows <= skip);
            let Some(rows) = rows else { break };
            self.reader.skip_next_page().ok()?;
            skip -= rows;
        }
        Some(skip)
    }

    /// Keeps the dictionary; its length in bytes.
    fn keep_dictionary(&mut self, bytes: &[u8]) -> Option<usize> {
        let to = &mut self.spare.dictionary;
        if self.snappy {
            return decompressed(bytes, to, self.bytes_max).map(<[u8]>::len);
        }
        to.clear();
        to.extend_from_slice(bytes);
        Some(bytes.len())
    }
}

impl Data {
    /// None: no page of values, or of a nested column.
    fn of(page: Page) -> Option<Data> {
        match page {
            Page::DataPage { buf, num_values, encoding, def_level_encoding: Encoding::RLE, .. } => {
                Some(Data { bytes: buf, values: num_values as usize, encoding, levels: Levels::Inside })
            }
            Page::DataPageV2 { buf, num_values, encoding, def_levels_byte_len, is_compressed, .. } => {
                let levels = Levels::Apart(def_levels_byte_len as usize, is_compressed);
                Some(Data { bytes: buf, values: num_values as usize, encoding, levels })
            }
            _ => None,
        }
    }

    /// Which values are there, and the values; `snappy` where they are compressed so, with the most bytes there may be of them.
    fn parts<'a>(
        &'a self,
        snappy: Option<usize>,
        optional: bool,
        room: &'a mut Vec<u8>,
    ) -> Option<(&'a [u8], &'a [u8])> {
        let (levels, body, is_compressed) = match self.levels {
            Levels::Inside => (&[][..], &self.bytes[..], true),
            Levels::Apart(length, is_compressed) => {
                let (levels, body) = self.bytes.split_at_checked(length)?;
                (levels, body, is_compressed)
            }
        };
        let body = match snappy.filter(|_| is_compressed) {
            Some(bytes_max) => decompressed(body, room, bytes_max)?,
            None => body,
        };
        match self.levels {
            Levels::Inside if optional => {
                let (length, rest) = body.split_first_chunk()?;
                rest.split_at_checked(u32::from_le_bytes(*length) as usize)
            }
            _ => Some((levels, body)),
        }
    }
}

/// Decompresses Snappy; zeros are written only where memory was never used.
fn decompressed<'a>(bytes: &[u8], to: &'a mut Vec<u8>, bytes_max: usize) -> Option<&'a [u8]> {
    let length = snap::raw::decompress_len(bytes).ok().filter(|&length| length <= bytes_max)?;
    if to.len() < length {
        to.resize(length, 0);
    }
    snap::raw::Decoder::new().decompress(bytes, &mut to[..length]).ok()?;
    to.get(..length)
}

/// Runs of numbers of `width` bits, of which `left` are still to come.
struct Runs<'a> {
    bytes: &'a [u8],
    width: usize,
    left: usize,
}

/// A run, with how many numbers it has.
enum Run<'a> {
    Same(u32, usize),
    Packed(&'a [u8], usize),
}

impl<'a> Runs<'a> {
    /// None: damaged.
    fn next(&mut self) -> Option<Run<'a>> {
        let header = self.varint()?;
        let (numbers, bytes) = if header & 1 == 0 {
            (header >> 1, self.width.div_ceil(8))
        } else {
            ((header >> 1).checked_mul(8)?, (header >> 1).checked_mul(self.width)?)
        };
        let numbers = numbers.min(self.left);
        if numbers == 0 {
            return None;
        }
        self.left -= numbers;
        let (run, rest) = self.bytes.split_at_checked(bytes)?;
        self.bytes = rest;
        Some(if header & 1 == 0 {
            let mut number = [0; 4];
            number.get_mut(..bytes)?.copy_from_slice(run);
            Run::Same(u32::from_le_bytes(number), numbers)
        } else {
            Run::Packed(run, numbers)
        })
    }

    fn varint(&mut self) -> Option<usize> {
        let mut number = 0_usize;
        for shift in [0, 7, 14, 21, 28] {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

/// True when all of `count` numbers of one bit are 1; none: damaged.
pub fn all_ones(bytes: &[u8], count: usize) -> Option<bool> {
    let mut runs = Runs { bytes, width: 1, left: count };
    while runs.left > 0 {
        let ones = match runs.next()? {
            Run::Same(bit, _) => bit == 1,
            Run::Packed(bits, count) => {
                let (whole, rest) = (&bits[..count / 8], count % 8);
                whole.iter().all(|&byte| byte == 0xff)
                    && (rest == 0 || bits[count / 8].trailing_ones() as usize >= rest)
            }
        };
        if !ones {
            return Some(false);
        }
    }
    Some(true)
}

/// Numbers that are unpacked together.
const BLOCK: usize = 512;

/// The next `count` values, of a dictionary; none: damaged.
pub fn look_up<const N: usize>(
    bytes: &[u8],
    dictionary: &[[u8; N]],
    count: usize,
    values: &mut Values<'_, N>,
) -> Option<()> {
    let (&width, bytes) = bytes.split_first()?;
    let unpack = UNPACK.get(usize::from(width))?;
    let mut runs = Runs { bytes, width: usize::from(width), left: count };
    let mut places = [[0; 8]; BLOCK / 8];
    while runs.left > 0 {
        match runs.next()? {
            Run::Same(place, count) => {
                values.put_same(*dictionary.get(place as usize)?, count)?;
            }
            Run::Packed(packed, count) => {
                for start in (0..count).step_by(BLOCK) {
                    let count = BLOCK.min(count - start);
                    let groups = &mut places[..count.div_ceil(8)];
                    unpack(packed.get(start * runs.width / 8..)?, groups);
                    let passed = values.pass(count);
                    let places = &groups.as_flattened()[passed..count];
                    vectorised_work(LookUp { places, dictionary, to: values.next(places.len())? })?;
                }
            }
        }
    }
    Some(())
}

/// Values at places of a dictionary, of which there are as many as places to put them.
struct LookUp<'a, const N: usize> {
    places: &'a [u32],
    dictionary: &'a [[u8; N]],
    to: &'a mut [[u8; N]],
}

impl<const N: usize> Work for LookUp<'_, N> {
    type Output = Option<()>;

    #[inline(always)]
    fn run(self) -> Option<()> {
        let (groups, places) = self.places.as_chunks();
        let (to_groups, to) = self.to.as_chunks_mut();
        for (group, to) in groups.iter().zip(to_groups) {
            *to = looked_up(group, self.dictionary)?;
        }
        for (&place, to) in places.iter().zip(to) {
            *to = native(*self.dictionary.get(place as usize)?);
        }
        Some(())
    }
}

/// The values at eight places of a dictionary. It has them in the order in which they occur first, so that the places of a column
/// with few equal values mostly follow each other.
#[inline(always)]
fn looked_up<const N: usize>(places: &[u32; 8], dictionary: &[[u8; N]]) -> Option<[[u8; N]; 8]> {
    let first = places[0];
    let follow = (0_u32..).zip(places).fold(true, |all, (k, &place)| all & (place == first.wrapping_add(k)));
    if follow && let Some(run) = dictionary.get(first as usize..).and_then(<[_]>::first_chunk::<8>) {
        return Some(run.map(native));
    }
    let mut values = [[0; N]; 8];
    for (value, &place) in values.iter_mut().zip(places) {
        *value = native(*dictionary.get(place as usize)?);
    }
    Some(values)
}

/// Unpacks groups of eight numbers.
type Unpack = fn(&[u8], &mut [[u32; 8]]);

/// By width in bits. Wider numbers are those of dictionaries of more than 16 million words.
const UNPACK: [Unpack; 25] = [
    |_, groups| groups.fill([0; 8]),
    unpack::<1>,
    unpack::<2>,
    unpack::<3>,
    unpack::<4>,
    unpack::<5>,
    unpack::<6>,
    unpack::<7>,
    unpack::<8>,
    unpack::<9>,
    unpack::<10>,
    unpack::<11>,
    unpack::<12>,
    unpack::<13>,
    unpack::<14>,
    unpack::<15>,
    unpack::<16>,
    unpack::<17>,
    unpack::<18>,
    unpack::<19>,
    unpack::<20>,
    unpack::<21>,
    unpack::<22>,
    unpack::<23>,
    unpack::<24>,
];

/// Bytes in which a group of eight numbers lies, and those that are read with its last one.
const WINDOW: usize = 32;

/// The groups that lie in `bytes`.
fn unpack<const WIDTH: usize>(bytes: &[u8], groups: &mut [[u32; 8]]) {
    for (number, group) in groups.iter_mut().enumerate() {
        let bytes = bytes.get(number * WIDTH..).unwrap_or_default();
        match bytes.first_chunk() {
            Some(window) => unpack_group::<WIDTH>(window, group),
            None => unpack_end::<WIDTH>(bytes, group),
        }
    }
}

/// A group of the last ones, apart: filling its window would cost the others a third of their time.
#[cold]
#[inline(never)]
fn unpack_end<const WIDTH: usize>(bytes: &[u8], group: &mut [u32; 8]) {
    let mut window = [0; WINDOW];
    window[..bytes.len()].copy_from_slice(bytes);
    unpack_group::<WIDTH>(&window, group);
}

/// The width is known here, so that all shifts are.
#[inline(always)]
fn unpack_group<const WIDTH: usize>(window: &[u8; WINDOW], group: &mut [u32; 8]) {
    for (at, number) in group.iter_mut().enumerate() {
        let mut word = [0; 8];
        word.copy_from_slice(&window[at * WIDTH / 8..][..8]);
        *number = (u64::from_le_bytes(word) >> (at * WIDTH % 8)) as u32 & ((1 << WIDTH) - 1);
    }
}

#[cfg(test)]
mod tests;
