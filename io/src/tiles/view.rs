//! Stored columns of a grain as the blocks that kernels take.
//!
//! A [`GrainView`] owns (shares of) the buffers; [`GrainView::grain`] borrows slices from it, some 3 ns a column, so a
//! view can be kept from pass to pass and a grain made anew for each visit.

use std::ops::Range;

use gristmill_kernels::dtype::DType;
use gristmill_kernels::tile::{Block, Columns, Grain, Values};

use super::options::StreamOptions;
use crate::crossed::Crossing;
use crate::error::{Error, Result};
use crate::manifest::{Column, Kind, Layout, Manifest, Role};
use crate::shard::stored::Stored;

/// Which columns a stream reads and what blocks they form.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Where the parameters lie.
    pub layout: Layout,
    /// Numbers of the columns to read: those of the blocks in order, then parts of crosses, label, weight, offset.
    pub columns: Vec<usize>,
    /// Share of a row's dense bytes that these columns hold, for the choice between one read and many.
    pub wanted_share: f64,
    /// Number of buffers that they have.
    pub pieces: u64,
    blocks: Vec<BlockShape>,
    /// Crossed columns; their parts are counted among `columns`.
    crosses: Vec<Crossing>,
    /// Columns of features: the first so many.
    features: usize,
    label: bool,
    weight: bool,
    offset: bool,
}

#[derive(Clone, Copy, Debug)]
enum BlockShape {
    Columns {
        dtype: DType,
        count: usize,
    },
    Vectors {
        width: usize,
    },
    Codes {
        levels: usize,
    },
    Sparse {
        width: usize,
    },
    /// Number among the crossed columns.
    Crossed(usize),
}

/// The columns of a grain, ready to be borrowed.
#[derive(Clone, Debug)]
pub struct GrainView {
    /// Number of rows.
    pub rows: usize,
    /// Bytes of the columns.
    pub bytes: u64,
    /// In the order of [`Shape::columns`].
    pub columns: Vec<Stored>,
}

impl Shape {
    /// The shape that `options` ask for.
    ///
    /// # Errors
    /// [`Error::Usage`] when a column is no feature, or there is no label.
    pub fn of(manifest: &Manifest, options: &StreamOptions) -> Result<Shape> {
        let layout = features(&manifest.columns, options.columns.as_deref())?;
        let wanted = layout.blocks.iter().flat_map(|block| block.columns.iter().copied());
        let (crossed, mut columns): (Vec<usize>, Vec<usize>) =
            wanted.partition(|&column| manifest.columns[column].kind.is_crossed());
        let mut crosses = Vec::new();
        for number in crossed {
            crosses.extend(Crossing::of(&manifest.columns, number)?.map(|cross| among(cross, &mut columns)));
        }
        let features = columns.len();
        let mut numbers = 0..crosses.len();
        let blocks =
            layout.blocks.iter().map(|block| block_shape(&manifest.columns, &block.columns, &mut numbers)).collect();
        let label = manifest.column_with(Role::Label).filter(|_| options.label);
        if options.label && label.is_none() {
            return Err(Error::Usage(
                "the dataset has no label. Ingest its sources again with --label COLUMN".to_string(),
            ));
        }
        let weight = manifest.column_with(Role::Weight).filter(|_| options.weight);
        let offset = manifest.column_with(Role::Offset).filter(|_| options.offset);
        columns.extend(label.iter().chain(&weight).chain(&offset));
        let stored = manifest.columns.iter().filter(|column| !column.kind.is_crossed()).count();
        let wanted_share = columns.len() as f64 / stored as f64;
        let sparse = |&&column: &&usize| manifest.columns[column].kind.is_sparse();
        let pieces = (columns.len() + 2 * columns.iter().filter(sparse).count()) as u64;
        let (label, weight, offset) = (label.is_some(), weight.is_some(), offset.is_some());
        Ok(Shape { layout, columns, wanted_share, pieces, blocks, crosses, features, label, weight, offset })
    }

    /// True when every stored column is wanted.
    pub fn is_whole(&self) -> bool {
        self.wanted_share >= 1.0
    }
}

fn features(columns: &[Column], wanted: Option<&[usize]>) -> Result<Layout> {
    let Some(wanted) = wanted else { return Ok(Layout::of(columns, |_| true)) };
    let mut names = std::collections::HashSet::new();
    for &number in wanted {
        match columns.get(number) {
            Some(column) if column.role == Role::Feature => names.insert(column.name.as_str()),
            _ => return Err(Error::Usage(format!("column number {number} is no feature"))),
        };
    }
    Ok(Layout::of(columns, |column| names.contains(column.name.as_str())))
}

/// The parts of a cross by their places among the columns to read, where they are added if need be.
fn among(mut cross: Crossing, columns: &mut Vec<usize>) -> Crossing {
    for (part, _) in &mut cross.parts {
        let place = columns.iter().position(|column| column == part);
        if place.is_none() {
            columns.push(*part);
        }
        *part = place.unwrap_or(columns.len() - 1);
    }
    cross
}

fn block_shape(columns: &[Column], numbers: &[usize], crossed: &mut Range<usize>) -> BlockShape {
    let first = numbers.first().map(|&number| &columns[number].kind);
    match first {
        Some(Kind::Vector { width, .. }) => BlockShape::Vectors { width: *width },
        Some(codes) if codes.codes().is_some() => BlockShape::Codes { levels: codes.parameters() },
        Some(Kind::Crossed { .. }) => BlockShape::Crossed(crossed.next().unwrap_or(usize::MAX)),
        Some(sparse) if sparse.is_sparse() => BlockShape::Sparse { width: sparse.parameters() },
        Some(scalar) => BlockShape::Columns { dtype: scalar.scalar_dtype().unwrap_or(DType::U8), count: numbers.len() },
        None => BlockShape::Columns { dtype: DType::U8, count: 0 },
    }
}

impl GrainView {
    /// Borrow it as kernels take it.
    ///
    /// # Errors
    /// [`Error::Usage`] when the view does not have the shape it was made with.
    pub fn grain(&self, shape: &Shape) -> Result<Grain<'_>> {
        self.borrow(shape).ok_or_else(|| Error::Usage("a grain's columns do not have the stream's shape".to_string()))
    }

    fn borrow(&self, shape: &Shape) -> Option<Grain<'_>> {
        let mut columns = self.columns.iter();
        let mut blocks = Vec::with_capacity(shape.blocks.len());
        for block in &shape.blocks {
            blocks.push(match *block {
                BlockShape::Columns { dtype, count } => {
                    Block::Columns(scalars(dtype, columns.by_ref().take(count), count)?)
                }
                BlockShape::Vectors { width } => Block::Vectors { values: columns.next()?.values()?, width },
                BlockShape::Codes { levels } => Block::Codes { codes: columns.next()?.codes()?, levels },
                BlockShape::Crossed(number) => {
                    shape.crosses.get(number)?.block(|place| self.columns.get(place)?.codes())?
                }
                BlockShape::Sparse { width } => match columns.next()? {
                    Stored::Sparse { offsets, indices, values } => Block::Sparse { offsets, indices, values, width },
                    _ => return None,
                },
            });
        }
        let mut columns = self.columns.get(shape.features..)?.iter();
        let label = if shape.label { Some(columns.next()?.values()?) } else { None };
        let weight = if shape.weight { Some(columns.next()?.values()?) } else { None };
        let offset = if shape.offset { Some(columns.next()?.values()?) } else { None };
        Some(Grain { rows: self.rows, blocks, label, weight, offset })
    }
}

/// Slices of columns of one storage type; none when one is of another.
fn scalars<'a>(dtype: DType, columns: impl Iterator<Item = &'a Stored>, count: usize) -> Option<Columns<'a>> {
    macro_rules! slices {
        ($variant:ident) => {{
            let mut slices = Vec::with_capacity(count);
            for column in columns {
                match column.values()? {
                    Values::$variant(values) => slices.push(values),
                    _ => return None,
                }
            }
            (slices.len() == count).then_some(Columns::$variant(slices))
        }};
    }
    match dtype {
        DType::F64 => slices!(F64),
        DType::F32 => slices!(F32),
        DType::F16 => slices!(F16),
        DType::U16 => slices!(U16),
        DType::U8 => slices!(U8),
    }
}
