//! Rows of many plain columns as one column of bytes (stage 2), while a shuffle has them in temporary files.
//!
//! What a bucket has of a group of wide rows is few of them. Three thousand columns of eight rows each take several times as
//! much for descriptions and padding as for values, and a buffer a column; packed, a row is gathered, written and read as a whole:
//!
//! ```text
//! value of column 0 | of column 1 | ... | a bit for each, set where the value is missing, column 0 in the lowest
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch, make_array};
use arrow::buffer::{BooleanBuffer, MutableBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::odd;
use crate::error::{Error, Result};

/// Fewer plain columns than this stay as they are.
pub const COLUMNS_MIN: usize = 64;
/// Rows whose values are moved together, so that the lines of memory that neighbouring columns share stay in the cache.
const TILE: usize = 256;

/// Where the values of a plain column stand in a row.
#[derive(Clone, Copy, Debug)]
struct Plain {
    column: usize,
    start: usize,
    bytes: usize,
}

/// How the rows of a schema are packed.
#[derive(Debug)]
pub struct Packing {
    /// As they are unpacked.
    schema: SchemaRef,
    plain: Vec<Plain>,
    /// Columns that stay as they are.
    rest: Vec<usize>,
    /// Where the bits begin.
    bits: usize,
    row_bytes: usize,
}

impl Packing {
    /// Of the columns of `schema` but for the last, the keys; none where there is little to pack.
    pub fn of(schema: &Schema) -> Option<Packing> {
        let columns = schema.fields().len().checked_sub(1)?;
        let (mut plain, mut rest, mut bits) = (Vec::new(), Vec::new(), 0);
        for column in 0..columns {
            match schema.field(column).data_type().primitive_width() {
                Some(bytes @ (1 | 2 | 4 | 8)) => {
                    plain.push(Plain { column, start: bits, bytes });
                    bits += bytes;
                }
                _ => rest.push(column),
            }
        }
        let row_bytes = bits + plain.len().div_ceil(8);
        let schema = schema.project(&(0..columns).collect::<Vec<_>>()).ok()?;
        let fits = plain.len() >= COLUMNS_MIN && i32::try_from(row_bytes).is_ok();
        fits.then(|| Packing { schema: Arc::new(schema), plain, rest, bits, row_bytes })
    }

    /// The rows as bytes, the columns that stay as they are, and the keys.
    ///
    /// # Errors
    /// For a batch of another schema.
    pub fn pack(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut packed = MutableBuffer::from_len_zeroed(rows * self.row_bytes);
        let columns: Vec<ArrayData> = self.plain.iter().map(|plain| batch.column(plain.column).to_data()).collect();
        for (tile, to) in packed.as_slice_mut().chunks_mut(TILE * self.row_bytes).enumerate() {
            let first = tile * TILE;
            for (number, (plain, data)) in self.plain.iter().zip(&columns).enumerate() {
                let values = &data.buffers()[0].as_slice()[(data.offset() + first) * plain.bytes..];
                let scatter = match plain.bytes {
                    1 => scatter::<1>,
                    2 => scatter::<2>,
                    4 => scatter::<4>,
                    _ => scatter::<8>,
                };
                scatter(values, to, plain.start, self.row_bytes);
                let Some(nulls) = data.nulls().filter(|nulls| nulls.null_count() > 0) else { continue };
                for (row, to) in to.chunks_exact_mut(self.row_bytes).enumerate() {
                    to[self.bits + number / 8] |= u8::from(nulls.is_null(first + row)) << (number % 8);
                }
            }
        }
        let width = i32::try_from(self.row_bytes).map_err(|_| Error::Usage("rows are too long to shuffle".into()))?;
        let packed = FixedSizeBinaryArray::try_new(width, packed.into(), None).map_err(|error| odd(&error))?;
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(packed)];
        arrays.extend(self.rest.iter().map(|&column| Arc::clone(batch.column(column))));
        arrays.extend(batch.columns().last().cloned());
        let mut fields = vec![Field::new("", DataType::FixedSizeBinary(width), false)];
        let schema = batch.schema_ref();
        fields.extend(self.rest.iter().map(|&column| schema.field(column).clone()));
        fields.extend(schema.fields().last().map(|keys| keys.as_ref().clone()));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|error| odd(&error))
    }

    /// The columns of packed rows, whose keys are gone.
    ///
    /// # Errors
    /// For a batch of another schema.
    pub fn unpack(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let packed = batch.column(0).as_fixed_size_binary_opt().ok_or_else(|| Error::Usage("no packed rows".into()))?;
        let from = packed.value_data();
        let mut values: Vec<MutableBuffer> =
            self.plain.iter().map(|plain| MutableBuffer::from_len_zeroed(rows * plain.bytes)).collect();
        for (tile, from) in from.chunks(TILE * self.row_bytes).enumerate() {
            for (plain, values) in self.plain.iter().zip(&mut values) {
                let gather = match plain.bytes {
                    1 => gather::<1>,
                    2 => gather::<2>,
                    4 => gather::<4>,
                    _ => gather::<8>,
                };
                gather(&mut values.as_slice_mut()[tile * TILE * plain.bytes..], from, plain.start, self.row_bytes);
            }
        }
        let bits = |row: usize| &from[row * self.row_bytes + self.bits..(row + 1) * self.row_bytes];
        let mut any = vec![0; self.row_bytes - self.bits];
        (0..rows).for_each(|row| any.iter_mut().zip(bits(row)).for_each(|(any, bits)| *any |= bits));
        let mut columns: Vec<(usize, ArrayRef)> =
            self.rest.iter().zip(&batch.columns()[1..]).map(|(&column, array)| (column, Arc::clone(array))).collect();
        for (number, (plain, values)) in self.plain.iter().zip(values).enumerate() {
            let is_missing = |bits: &[u8]| bits[number / 8] >> (number % 8) & 1 == 1;
            let present = || NullBuffer::new(BooleanBuffer::collect_bool(rows, |row| !is_missing(bits(row))));
            let builder = ArrayData::builder(self.schema.field(plain.column).data_type().clone()).len(rows);
            let data = builder.add_buffer(values.into()).nulls(is_missing(&any).then(present)).build();
            columns.push((plain.column, make_array(data.map_err(|error| odd(&error))?)));
        }
        columns.sort_unstable_by_key(|(column, _)| *column);
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(|error| odd(&error))
    }
}

/// Values of `W` bytes to their places in rows.
fn scatter<const W: usize>(values: &[u8], rows: &mut [u8], start: usize, row_bytes: usize) {
    for (value, row) in values.as_chunks::<W>().0.iter().zip(rows.chunks_exact_mut(row_bytes)) {
        row[start..start + W].copy_from_slice(value);
    }
}

/// And back.
fn gather<const W: usize>(values: &mut [u8], rows: &[u8], start: usize, row_bytes: usize) {
    for (value, row) in values.as_chunks_mut::<W>().0.iter_mut().zip(rows.chunks_exact(row_bytes)) {
        value.copy_from_slice(&row[start..start + W]);
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float32Array, Float64Array, Int8Array, Int16Array, StringArray, UInt64Array};

    use super::*;

    /// Every width, with and without missing values, texts between them, more rows than a tile has, slices.
    #[test]
    fn what_is_unpacked_is_what_was_packed() {
        let rows = 3 * TILE + 5;
        let column = |number: usize| -> ArrayRef {
            let value =
                |row: usize| (number % 3 != 1 || !(row + number).is_multiple_of(7)).then_some(row * number % 101);
            let values = (0..rows).map(value);
            match number % 5 {
                0 => Arc::new(Float32Array::from_iter(values.map(|x| x.map(|x| x as f32)))),
                1 => Arc::new(Float64Array::from_iter(values.map(|x| x.map(|x| x as f64)))),
                2 => Arc::new(Int8Array::from_iter(values.map(|x| x.map(|x| x as i8)))),
                3 => Arc::new(Int16Array::from_iter(values.map(|x| x.map(|x| x as i16)))),
                _ => Arc::new(StringArray::from_iter(values.map(|x| x.map(|x| x.to_string())))),
            }
        };
        let keys: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..rows as u64));
        let named = (0..COLUMNS_MIN * 5 / 4).map(|number| (number.to_string(), column(number), true));
        let all = RecordBatch::try_from_iter_with_nullable(named.chain([("".into(), keys, false)])).unwrap();
        let packing = Packing::of(all.schema_ref()).expect("enough columns");
        let without_keys: Vec<usize> = (0..all.num_columns() - 1).collect();
        for batch in [all.clone(), all.slice(TILE - 1, TILE + 3), all.slice(7, 0)] {
            let packed = packing.pack(&batch).unwrap();
            assert_eq!(packed.num_columns(), packing.rest.len() + 2);
            let packed = packed.project(&(0..packed.num_columns() - 1).collect::<Vec<_>>()).unwrap();
            assert_eq!(packing.unpack(&packed).unwrap(), batch.project(&without_keys).unwrap());
        }
        assert!(Packing::of(&all.schema_ref().project(&without_keys[..COLUMNS_MIN]).unwrap()).is_none(), "too few");
    }
}
