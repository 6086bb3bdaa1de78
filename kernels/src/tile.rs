//! The shape of a row: blocks of columns that one kernel call reads.
//!
//! A [`Grain`] borrows the columns of one record batch. Its parameters (weights, gradient) lie in the order of its
//! blocks and, inside a block, in the order of its columns, elements or levels; see [`Block::parameters`].
//! Kernels take a grain's block and a range of rows: that range is the tile.

use crate::dtype::{DType, f16};
use crate::ops::ahead;
use crate::ops::bytes::LEAST_COLUMNS;
use crate::ops::carried::Call;
use std::ops::Range;

/// Scalar numeric columns of one storage type; every slice holds the grain's rows.
#[derive(Clone, Debug)]
pub enum Columns<'a> {
    /// `f64` columns.
    F64(Vec<&'a [f64]>),
    /// `f32` columns.
    F32(Vec<&'a [f32]>),
    /// `f16` columns.
    F16(Vec<&'a [f16]>),
    /// `u16` columns.
    U16(Vec<&'a [u16]>),
    /// `u8` columns.
    U8(Vec<&'a [u8]>),
}

/// Numbers of one storage type.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// `f64` values.
    F64(&'a [f64]),
    /// `f32` values.
    F32(&'a [f32]),
    /// `f16` values.
    F16(&'a [f16]),
    /// `u16` values.
    U16(&'a [u16]),
    /// `u8` values.
    U8(&'a [u8]),
}

/// Codes of a categorical column.
#[derive(Clone, Copy, Debug)]
pub enum Codes<'a> {
    /// At most 2^8 levels.
    U8(&'a [u8]),
    /// At most 2^16 levels.
    U16(&'a [u16]),
    /// At most 2^32 levels.
    U32(&'a [u32]),
}

/// One of the columns that meet in a [`Cross`].
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The level of every row.
    pub codes: Codes<'a>,
    /// Number of levels; every code is below it.
    pub levels: usize,
}

/// Categorical columns crossed: a level for each combination of their levels, or for several; made row by row, never stored.
/// See [`crate::ops::crossed`].
#[derive(Clone, Debug)]
pub struct Cross<'a> {
    /// What meets, in order.
    pub parts: Vec<Part<'a>>,
    /// Number of levels: the product of those of the parts, at most 2^32; where combinations are hashed, a power of two.
    pub levels: usize,
    /// Its exponent, 0 to 32; none: every combination has a level of its own.
    pub hash_bits: Option<u32>,
}

/// Columns that one kernel call reads.
#[derive(Clone, Debug)]
pub enum Block<'a> {
    /// Scalar numeric columns, each contiguous: one parameter a column.
    Columns(Columns<'a>),
    /// One vector column, row-major (`values[row * width + element]`): one parameter an element.
    Vectors {
        /// Numbers of every row, `rows * width` of them.
        values: Values<'a>,
        /// Numbers a row.
        width: usize,
    },
    /// One categorical column, one-hot: one parameter a level; every code is below `levels` (checked on reading).
    Codes {
        /// The level of every row.
        codes: Codes<'a>,
        /// Number of levels.
        levels: usize,
    },
    /// Categorical columns crossed, one-hot: one parameter a level.
    Crossed(Cross<'a>),
    /// One sparse vector column, compressed sparse rows: one parameter an element.
    Sparse {
        /// Row `i` holds the entries `offsets[i]..offsets[i + 1]`; `rows + 1` of them (checked on reading).
        offsets: &'a [i32],
        /// Element numbers, strictly increasing inside a row and below `width` (checked on reading).
        indices: &'a [u32],
        /// The values beside the indices.
        values: &'a [f32],
        /// Number of elements.
        width: usize,
    },
}

/// One record batch: the unit of scheduling and shuffling.
#[derive(Clone, Debug)]
pub struct Grain<'a> {
    /// Number of rows.
    pub rows: usize,
    /// Feature blocks in layout order.
    pub blocks: Vec<Block<'a>>,
    /// Targets, finite.
    pub label: Option<Values<'a>>,
    /// Sample weights, finite and not negative.
    pub weight: Option<Values<'a>>,
    /// What is added to margins, finite.
    pub offset: Option<Values<'a>>,
}

/// How the rows of a grain are cut for kernels. Sums depend on tiles and runs, which are functions of the columns alone; pieces follow from
/// the processor too, so what does not carry lanes ([`Cut::pieces`]) goes in runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Rows whose matrix one call makes: whole runs. They stay in the second-level cache.
    pub tile: usize,
    /// Rows whose lanes are added up together: whole pieces, so that each asks for all rows of one that is read later.
    pub run: usize,
    /// Rows of a run whose margins, losses and gradients of one weight vector are made one after the other; of several vectors they are a run.
    pub piece: usize,
}

impl Cut {
    /// Where a row is `numbers` numbers of so many bytes together. To add up lanes costs eight vectors a fifth of their gradient where it is done
    /// after 192 rows, so runs are longer, but no longer than stays in the second-level cache with what is asked for. Of many columns a run is a piece:
    /// residuals of bytes are rounded call by call there ([`crate::ops::bytes`]). A matrix wants 256 rows or more.
    ///
    /// Of one vector pieces are short where little or nothing is asked of memory while losses are made: presumably it is busy with what
    /// margins asked for where that does not last long. Of narrower numbers they are longer, for arithmetic bounds these, and a call costs
    /// something.
    pub fn dense(row_bytes: usize, numbers: usize) -> Cut {
        let rows = match row_bytes / numbers.max(1) {
            0 | 1 => RUN_ROWS,
            2 | 3 => 320,
            _ => 192,
        };
        let piece = rows_of(64 << 10, row_bytes, rows);
        let pieces = if numbers < LEAST_COLUMNS { rows_of(128 << 10, row_bytes, RUN_ROWS) / piece } else { 1 };
        let run = piece * pieces.max(1);
        let piece = if ahead::wants_short_pieces(row_bytes) { piece } else { run };
        Cut { tile: run * 256_usize.div_ceil(run), run, piece }
    }

    /// The same for several vectors.
    pub fn several(self) -> Cut {
        Cut { piece: self.run, ..self }
    }

    /// True where a run has several pieces, which carry its lanes.
    pub fn carries(&self) -> bool {
        self.piece < self.run
    }

    /// The pieces of rows that begin with a run.
    pub fn pieces(self, rows: &Range<usize>) -> impl Iterator<Item = (Range<usize>, Call)> + use<> {
        parts(rows, self.run).flat_map(move |run| {
            let Range { start, end } = run;
            parts(&run, self.piece).map(move |piece| {
                let call = Call { first: piece.start == start, last: piece.end == end };
                (piece, call)
            })
        })
    }

    /// Where some of it are codes or sparse, each of which costs something a call.
    pub fn scattered(row_bytes: usize) -> Cut {
        let piece = rows_of(64 << 10, row_bytes, 1_024);
        Cut { tile: piece, run: piece, piece }
    }

    /// Where several margins of a row make one loss: half of a common second-level cache. The end of a call costs each of its sums about
    /// as much as 128 rows, so there are many rows; residuals of twelve margins and 512 rows fill the first-level cache.
    pub fn joint(row_bytes: usize) -> Cut {
        let piece = rows_of(512 << 10, row_bytes, 512);
        Cut { tile: piece, run: piece, piece }
    }
}

/// Most rows of a run: whole pieces, and not so many that the margins of several vectors lie 4 KiB apart.
const RUN_ROWS: usize = 960;

/// How many rows have so many bytes: a multiple of 64 in `128..=most`.
fn rows_of(bytes: usize, row_bytes: usize, most: usize) -> usize {
    (bytes / row_bytes.max(1)).clamp(128, most) / 64 * 64
}

/// Rows in parts of so many, the last of what is left.
pub fn parts(rows: &Range<usize>, count: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let end = rows.end;
    rows.clone().step_by(count).map(move |start| start..end.min(start + count))
}

impl Columns<'_> {
    /// Number of columns.
    pub fn len(&self) -> usize {
        match self {
            Columns::F64(columns) => columns.len(),
            Columns::F32(columns) => columns.len(),
            Columns::F16(columns) => columns.len(),
            Columns::U16(columns) => columns.len(),
            Columns::U8(columns) => columns.len(),
        }
    }

    /// True when there is no column.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The storage type.
    pub fn dtype(&self) -> DType {
        match self {
            Columns::F64(_) => DType::F64,
            Columns::F32(_) => DType::F32,
            Columns::F16(_) => DType::F16,
            Columns::U16(_) => DType::U16,
            Columns::U8(_) => DType::U8,
        }
    }
}

impl Values<'_> {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Values::F64(values) => values.len(),
            Values::F32(values) => values.len(),
            Values::F16(values) => values.len(),
            Values::U16(values) => values.len(),
            Values::U8(values) => values.len(),
        }
    }

    /// True when there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The storage type.
    pub fn dtype(&self) -> DType {
        match self {
            Values::F64(_) => DType::F64,
            Values::F32(_) => DType::F32,
            Values::F16(_) => DType::F16,
            Values::U16(_) => DType::U16,
            Values::U8(_) => DType::U8,
        }
    }
}

impl Block<'_> {
    /// Number of parameters that the block's columns have.
    pub fn parameters(&self) -> usize {
        match self {
            Block::Columns(columns) => columns.len(),
            Block::Vectors { width, .. } | Block::Sparse { width, .. } => *width,
            Block::Codes { levels, .. } => *levels,
            Block::Crossed(cross) => cross.levels,
        }
    }

    /// True for blocks whose rows touch few of their parameters (codes, crossed or not, sparse rows): their gradient is scattered.
    pub fn is_scattered(&self) -> bool {
        matches!(self, Block::Codes { .. } | Block::Crossed(_) | Block::Sparse { .. })
    }
}
