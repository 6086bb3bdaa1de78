//! Shards (stage 3): immutable Arrow IPC files whose record batches are the grains.
//!
//! ```text
//! "ARROW1" 0 0 | schema | grain 0: message, body | grain 1 | ... | end of stream | footer | its length | "ARROW1"
//!                                          ^ buffers of the columns, each at a multiple of 64 bytes, uncompressed
//! ```
//!
//! Any Arrow reader opens one. Ours never trusts one: every range in footer and messages is checked against the length
//! of file and body before a byte is touched, and then there is nothing left to decode: a column is a range of the file.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`writer`] | how is a shard written? |
//! | [`footer`] | where do the grains of a file lie, and has it the right columns? |
//! | [`message`] | where do the columns of a grain lie? |
//! | [`stored`] | how does such a range become numbers, and are they allowed ones? |
//! | [`reader`] | how is a shard of a dataset opened and read? |
//! | [`table`] | how are small tables (dictionaries, statistics) written and read? |

pub mod footer;
pub mod message;
pub mod reader;
pub mod stored;
pub mod table;
pub mod writer;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use gristmill_kernels::dtype::DType;

use crate::manifest::{Column, Kind};

pub use reader::Shard;
pub use writer::ShardWriter;

/// Every buffer of a shard starts at a multiple of this many bytes.
pub const ALIGNMENT: usize = 64;

/// Bytes that a grain aims at: long enough that handing it out costs nothing, short enough that many are in flight.
const GRAIN_BYTES: f64 = 4.0 * 1024.0 * 1024.0;

/// Bytes that a shard aims at.
const SHARD_BYTES: f64 = 256.0 * 1024.0 * 1024.0;

/// Rows of a grain for rows of `row_bytes` bytes: about 4 MiB, between 960 and 65,472, and an odd multiple of 64, so
/// that no two columns of a grain lie a power of two apart (they would fight for the same cache sets).
pub fn grain_rows(row_bytes: f64) -> usize {
    let units = (GRAIN_BYTES / row_bytes.max(1.0) / 64.0).clamp(15.0, 1023.0) as usize;
    (units - (units + 1) % 2) * 64
}

/// Grains of every shard but the last of a split: about 256 MiB.
pub fn grains_per_shard(row_bytes: f64, grain_rows: usize) -> usize {
    grains_within(SHARD_BYTES, row_bytes, grain_rows)
}

/// Grains of a shard of so many bytes, one at least.
pub fn grains_within(bytes: f64, row_bytes: f64, grain_rows: usize) -> usize {
    ((bytes / (row_bytes.max(1.0) * grain_rows as f64)) as usize).max(1)
}

/// The Arrow schema of stored columns.
pub fn schema(columns: &[Column]) -> Schema {
    Schema::new(
        columns.iter().map(|column| Field::new(&column.name, data_type(&column.kind), false)).collect::<Fields>(),
    )
}

/// The Arrow type of a stored column.
pub fn data_type(kind: &Kind) -> DataType {
    match kind {
        Kind::Numeric { dtype, .. } | Kind::Labels { dtype, .. } => number(*dtype),
        Kind::Indicator { .. } => DataType::UInt8,
        Kind::Categorical { .. } | Kind::Hashed { .. } | Kind::Bucketized { .. } => match kind.codes() {
            Some((1, _)) => DataType::UInt8,
            Some((2, _)) => DataType::UInt16,
            _ => DataType::UInt32,
        },
        // In no shard; its codes would have 32 bits.
        Kind::Crossed { .. } => DataType::UInt32,
        Kind::Vector { dtype, width } => {
            let width = i32::try_from(*width).unwrap_or(i32::MAX);
            DataType::FixedSizeList(Arc::new(Field::new("item", number(*dtype), false)), width)
        }
        Kind::Sparse { .. } | Kind::Text { .. } => {
            let entry = [Field::new("index", DataType::UInt32, false), Field::new("value", DataType::Float32, false)];
            DataType::List(Arc::new(Field::new("item", DataType::Struct(Fields::from_iter(entry)), false)))
        }
    }
}

fn number(dtype: DType) -> DataType {
    match dtype {
        DType::F64 => DataType::Float64,
        DType::F32 => DataType::Float32,
        DType::F16 => DataType::Float16,
        DType::U16 => DataType::UInt16,
        DType::U8 => DataType::UInt8,
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod geometry_tests {
    use super::*;

    #[test]
    fn grains_hold_an_odd_multiple_of_64_rows() {
        for row_bytes in [0.0, 1.0, 28.0, 63.9, 112.0, 2048.0, 4400.0, 1e6, 1e12] {
            let rows = grain_rows(row_bytes);
            assert!((960..=65_472).contains(&rows) && rows % 128 == 64, "{row_bytes}: {rows}");
            assert!(grains_per_shard(row_bytes, rows) >= 1);
        }
        // 4 MiB / 112 bytes = 37,449 rows = 585 units of 64, which is odd.
        assert_eq!(grain_rows(112.0), 585 * 64);
    }
}
