//! Stored columns in the making (stage 2): raw columns are appended, an Arrow array or a kernel's block comes out.

use std::sync::Arc;

use arrow::array::types::{Float32Type, Float64Type, UInt8Type, UInt32Type};
use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, ListArray, StructArray, UInt8Array, UInt16Array,
    UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use gristmill_kernels::dtype::DType;
use gristmill_kernels::tile::{Block, Codes, Values};

use super::affine::Affine;
use super::buckets::Buckets;
use super::levels::{MISSING, UNKNOWN};
use super::raw::{Fault, SparseRows};
use super::store::Numbers;

/// How a raw column becomes a stored one.
#[derive(Clone, Debug)]
pub enum Encoder {
    /// Numbers.
    Numeric {
        /// How they are stored.
        affine: Affine,
        /// What stands for a missing one; none: a missing value is a fault.
        impute: Option<f64>,
    },
    /// 1 for a missing number, in this storage type.
    Indicator(DType),
    /// Codes of ids.
    Codes {
        /// Bytes of a code.
        bytes: u8,
        /// The code of every id.
        codes: Arc<[u32]>,
        /// The code of missing values; none: a fault.
        missing: Option<u32>,
        /// The code of ids beyond `codes`; none: a fault.
        unseen: Option<u32>,
    },
    /// Ids that are codes already: buckets of a hashed column.
    Buckets {
        /// Bytes of a code.
        bytes: u8,
        /// The code of missing values.
        missing: u32,
    },
    /// Buckets of numbers.
    Edges(Buckets),
    /// Vectors.
    Vector {
        /// How their numbers are stored.
        affine: Affine,
        /// Numbers a row.
        width: usize,
    },
    /// Sparse vectors.
    Sparse {
        /// Number of elements.
        width: usize,
        /// What indices of raw columns count from.
        base: u32,
    },
}

/// A raw column.
#[derive(Clone, Debug)]
pub enum Raw {
    /// Raw numbers (see [`super::raw`]).
    Numbers(ArrayRef),
    /// Ids of levels.
    Ids(arrow::buffer::ScalarBuffer<u32>),
    /// Raw numbers of vectors, row-major, and their width.
    Vectors(ArrayRef, usize),
    /// Sparse rows.
    Sparse(SparseRows),
}

/// A stored column in the making.
#[derive(Clone, Debug)]
pub enum Stored {
    /// Numbers, or the row-major numbers of vectors of a width.
    Numbers(Numbers, Option<usize>),
    /// Raw numbers that are stored as they are, where they lie.
    Lent(ArrayRef),
    /// Codes below 2^8.
    Codes8(Vec<u8>),
    /// Codes below 2^16.
    Codes16(Vec<u16>),
    /// Codes.
    Codes32(Vec<u32>),
    /// Sparse rows.
    Sparse {
        /// Row `i` holds the entries `offsets[i]..offsets[i + 1]`.
        offsets: Vec<i32>,
        /// Element numbers.
        indices: Vec<u32>,
        /// Values.
        values: Vec<f32>,
    },
}

impl Encoder {
    /// An empty stored column with room for `rows` rows.
    pub fn start(&self, rows: usize) -> Stored {
        match self {
            Encoder::Numeric { affine, .. } => Stored::Numbers(Numbers::with_capacity(affine.dtype, rows), None),
            Encoder::Indicator(dtype) => Stored::Numbers(Numbers::with_capacity(*dtype, rows), None),
            Encoder::Codes { bytes: 1, .. } | Encoder::Buckets { bytes: 1, .. } => {
                Stored::Codes8(Vec::with_capacity(rows))
            }
            Encoder::Codes { bytes: 2, .. } | Encoder::Buckets { bytes: 2, .. } => {
                Stored::Codes16(Vec::with_capacity(rows))
            }
            Encoder::Codes { .. } | Encoder::Buckets { .. } => Stored::Codes32(Vec::with_capacity(rows)),
            Encoder::Edges(buckets) => buckets.start(rows),
            Encoder::Vector { affine, width } => {
                Stored::Numbers(Numbers::with_capacity(affine.dtype, rows * width), Some(*width))
            }
            Encoder::Sparse { .. } => Stored::Sparse { offsets: vec![0], indices: Vec::new(), values: Vec::new() },
        }
    }

    /// True when raw numbers of this type, none of which is missing, are stored as they are, without an error.
    pub fn lends(&self, raw: &DataType) -> bool {
        let Encoder::Numeric { affine, .. } = self else { return false };
        let is_alike = matches!(
            (affine.dtype, raw),
            (DType::F64, DataType::Float64) | (DType::F32, DataType::Float32) | (DType::U8, DataType::UInt8)
        );
        is_alike && affine.is_plain()
    }

    /// Append a raw column; returns the largest error of a stored number.
    ///
    /// # Errors
    /// [`Fault`] for values that the encoder has no place for.
    pub fn append(&self, raw: &Raw, to: &mut Stored) -> Result<f64, Fault> {
        match (self, raw, to) {
            (Encoder::Numeric { affine, impute }, Raw::Numbers(raw), Stored::Numbers(numbers, _)) => {
                if impute.is_none() && raw.null_count() > 0 {
                    let row = (0..raw.len()).find(|&row| raw.is_null(row));
                    return Err(Fault {
                        row,
                        message: "found no value, expected a number".into(),
                        help: String::new(),
                    });
                }
                append_numbers(numbers, raw, affine, impute.unwrap_or(0.0), 1)
            }
            (Encoder::Indicator(_), Raw::Numbers(raw), Stored::Numbers(numbers, _)) => {
                numbers.append_indicator(raw);
                Ok(0.0)
            }
            (Encoder::Vector { affine, width }, Raw::Vectors(raw, found), Stored::Numbers(numbers, _)) => {
                if found != width && !raw.is_empty() {
                    return Err(super::raw::ragged(0, *found, *width));
                }
                append_numbers(numbers, raw, affine, 0.0, *width)
            }
            (Encoder::Codes { codes, missing, unseen, .. }, Raw::Ids(ids), to) => {
                let code = |id: u32| match id {
                    MISSING => missing.unwrap_or(UNKNOWN),
                    id => codes.get(id as usize).copied().or(*unseen).unwrap_or(UNKNOWN),
                };
                to.append_codes(ids, code)?;
                Ok(0.0)
            }
            (Encoder::Buckets { missing, .. }, Raw::Ids(ids), to) => {
                to.append_codes(ids, |id| if id == MISSING { *missing } else { id })?;
                Ok(0.0)
            }
            (Encoder::Edges(buckets), Raw::Numbers(raw), to) => {
                to.append_codes(&buckets.codes(raw)?, |code| code)?;
                Ok(0.0)
            }
            (Encoder::Sparse { width, base }, Raw::Sparse(rows), Stored::Sparse { offsets, indices, values }) => {
                let rows = &rows.clone().from_base(*base)?;
                let too_far = rows.indices.iter().position(|&index| index as usize >= *width);
                if let Some(entry) = too_far {
                    let row = rows.offsets.partition_point(|&offset| offset as usize <= entry) - 1;
                    return Err(Fault::at(
                        row,
                        format!("element {} is beyond the {width} elements that training knew", rows.indices[entry]),
                        "",
                    ));
                }
                let base = indices.len();
                if i32::try_from(base + rows.indices.len()).is_err() {
                    return Err(Fault::whole("a batch of rows has more than 2^31 sparse entries", ""));
                }
                offsets.extend(rows.offsets[1..].iter().map(|&offset| offset + base as i32));
                indices.extend_from_slice(&rows.indices);
                values.extend_from_slice(&rows.values);
                Ok(0.0)
            }
            _ => Err(Fault::whole("the column holds another kind of values than expected", "")),
        }
    }
}

/// What is wrong with a level that has no code.
pub const UNSEEN: &str = "found a level that training never saw";

fn append_numbers(
    numbers: &mut Numbers,
    raw: &ArrayRef,
    affine: &Affine,
    impute: f64,
    width: usize,
) -> Result<f64, Fault> {
    let start = numbers.len();
    let error = numbers.append(raw, affine, impute);
    let error = error.ok_or_else(|| Fault::whole("the column holds another kind of values than expected", ""))?;
    match numbers.first_infinite(start) {
        Some(at) => Err(Fault::at(
            (at - start) / width.max(1),
            format!("the number is too large for the storage type {}", affine.dtype.name()),
            "Store the column as f64",
        )),
        None => Ok(error),
    }
}

impl Stored {
    fn append_codes(&mut self, ids: &[u32], code: impl Fn(u32) -> u32) -> Result<(), Fault> {
        // A fold finds the common case of no fault without a branch a row.
        let worst = ids.iter().fold(0, |worst, &id| worst.max(code(id)));
        if worst == UNKNOWN {
            let row = ids.iter().position(|&id| code(id) == UNKNOWN);
            let message =
                if row.is_some_and(|row| ids[row] == MISSING) { "found no value, expected a level" } else { UNSEEN };
            return Err(Fault { row, message: message.into(), help: String::new() });
        }
        match self {
            Stored::Codes8(codes) => codes.extend(ids.iter().map(|&id| code(id) as u8)),
            Stored::Codes16(codes) => codes.extend(ids.iter().map(|&id| code(id) as u16)),
            Stored::Codes32(codes) => codes.extend(ids.iter().map(|&id| code(id))),
            _ => return Err(Fault::whole("the column holds another kind of values than expected", "")),
        }
        Ok(())
    }

    /// These numbers and then those of another piece of the same column.
    ///
    /// # Errors
    /// [`Fault`] when it is of another kind.
    pub fn append(&mut self, next: &Stored) -> Result<(), Fault> {
        let joined = match (self, next) {
            (Stored::Numbers(all, _), Stored::Numbers(next, _)) => all.extend(next),
            _ => false,
        };
        if joined { Ok(()) } else { Err(Fault::whole("pieces of a column differ in kind", "")) }
    }

    /// As an Arrow array, in the type of the shard format.
    ///
    /// # Errors
    /// [`Fault`] when the numbers do not make whole rows (an invariant of [`Encoder::append`]).
    pub fn into_array(self) -> Result<ArrayRef, Fault> {
        let odd = |e: arrow::error::ArrowError| Fault::whole(e.to_string(), "");
        Ok(match self {
            Stored::Numbers(numbers, None) => numbers.into_array(),
            Stored::Lent(array) => array,
            Stored::Numbers(numbers, Some(width)) => {
                let values = numbers.into_array();
                let item = Arc::new(Field::new("item", values.data_type().clone(), false));
                let width = i32::try_from(width).map_err(|_| Fault::whole("the vectors are too wide", ""))?;
                Arc::new(FixedSizeListArray::try_new(item, width, values, None).map_err(odd)?)
            }
            Stored::Codes8(codes) => Arc::new(UInt8Array::from(codes)),
            Stored::Codes16(codes) => Arc::new(UInt16Array::from(codes)),
            Stored::Codes32(codes) => Arc::new(UInt32Array::from(codes)),
            Stored::Sparse { offsets, indices, values } => {
                sparse_array(SparseRows { offsets, indices: indices.into(), values: values.into() })?
            }
        })
    }

    /// As kernels see a feature of `levels` levels or `width` elements (`parameters`); none for scalar numbers, which are
    /// grouped.
    pub fn block(&self, parameters: usize) -> Option<Block<'_>> {
        if let Some(codes) = self.codes() {
            return Some(Block::Codes { codes, levels: parameters });
        }
        match self {
            Stored::Numbers(_, None) => None,
            Stored::Numbers(numbers, Some(width)) => Some(Block::Vectors { values: numbers.values(), width: *width }),
            Stored::Sparse { offsets, indices, values } => {
                Some(Block::Sparse { offsets, indices, values, width: parameters })
            }
            _ => None,
        }
    }

    /// Codes of a categorical feature.
    pub fn codes(&self) -> Option<Codes<'_>> {
        match self {
            Stored::Codes8(codes) => Some(Codes::U8(codes)),
            Stored::Codes16(codes) => Some(Codes::U16(codes)),
            Stored::Codes32(codes) => Some(Codes::U32(codes)),
            _ => None,
        }
    }

    /// As a label or weight: numbers, or class codes (of up to 16 bits).
    pub fn values(&self) -> Option<Values<'_>> {
        match self {
            Stored::Numbers(numbers, None) => Some(numbers.values()),
            Stored::Lent(array) => lent_values(array),
            Stored::Codes8(codes) => Some(Values::U8(codes)),
            Stored::Codes16(codes) => Some(Values::U16(codes)),
            _ => None,
        }
    }
}

/// The numbers of [`Stored::Lent`].
fn lent_values(array: &ArrayRef) -> Option<Values<'_>> {
    Some(match array.data_type() {
        DataType::Float64 => Values::F64(array.as_primitive_opt::<Float64Type>()?.values()),
        DataType::Float32 => Values::F32(array.as_primitive_opt::<Float32Type>()?.values()),
        DataType::UInt8 => Values::U8(array.as_primitive_opt::<UInt8Type>()?.values()),
        _ => return None,
    })
}

/// Sparse rows as the Arrow array that sources yield and shards hold.
///
/// # Errors
/// [`Fault`] when the parts do not fit each other.
pub fn sparse_array(rows: SparseRows) -> Result<ArrayRef, Fault> {
    let odd = |e: arrow::error::ArrowError| Fault::whole(e.to_string(), "");
    let fields =
        Fields::from(vec![Field::new("index", DataType::UInt32, false), Field::new("value", DataType::Float32, false)]);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(UInt32Array::new(rows.indices, None)), Arc::new(Float32Array::new(rows.values, None))];
    let items = StructArray::try_new(fields.clone(), columns, None).map_err(odd)?;
    let item = Arc::new(Field::new("item", DataType::Struct(fields), false));
    let lists = ListArray::try_new(item, OffsetBuffer::new(rows.offsets.into()), Arc::new(items), None).map_err(odd)?;
    Ok(Arc::new(lists))
}

/// Raw columns travel between the passes as Arrow arrays, so that they can be sliced, gathered and spilled.
impl Raw {
    /// As an Arrow array.
    ///
    /// # Errors
    /// [`Fault`] when the vectors are wider than Arrow allows.
    pub fn into_array(self) -> Result<ArrayRef, Fault> {
        match self {
            Raw::Numbers(array) => Ok(array),
            Raw::Ids(ids) => Ok(Arc::new(UInt32Array::new(ids, None))),
            Raw::Vectors(values, width) => {
                let item = Arc::new(Field::new("item", values.data_type().clone(), true));
                let width = i32::try_from(width).map_err(|_| Fault::whole("the vectors are too wide", ""))?;
                let rows = if width == 0 { 0 } else { values.len() / width as usize };
                let lists = FixedSizeListArray::try_new_with_length(item, width, values, None, rows);
                Ok(Arc::new(lists.map_err(|e| Fault::whole(e.to_string(), ""))?))
            }
            Raw::Sparse(rows) => sparse_array(rows),
        }
    }

    /// The raw column in an array that [`Raw::into_array`] made, perhaps sliced since.
    ///
    /// # Errors
    /// [`Fault`] when it is of another type than `encoder` takes.
    pub fn from_array(array: &ArrayRef, encoder: &Encoder) -> Result<Raw, Fault> {
        let other = || Fault::whole("the column holds another kind of values than expected", "");
        match encoder {
            Encoder::Numeric { .. } | Encoder::Indicator(_) | Encoder::Edges(_) => Ok(Raw::Numbers(Arc::clone(array))),
            Encoder::Codes { .. } | Encoder::Buckets { .. } => {
                Ok(Raw::Ids(array.as_primitive_opt::<UInt32Type>().ok_or_else(other)?.values().clone()))
            }
            Encoder::Vector { .. } => {
                let lists = array.as_fixed_size_list_opt().ok_or_else(other)?;
                Ok(Raw::Vectors(Arc::clone(lists.values()), lists.value_length() as usize))
            }
            Encoder::Sparse { .. } => {
                Ok(Raw::Sparse(super::raw::sparse_parts(array.as_list_opt().ok_or_else(other)?)?))
            }
        }
    }
}
