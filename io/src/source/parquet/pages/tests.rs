//! Pages written by the `parquet` crate, read by ours; expected are the values that were written.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::FloatType;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::SerializedPageReader;

use super::*;

const ROWS: usize = 5_003;

fn written(column: ArrayRef, optional: bool, properties: WriterPropertiesBuilder) -> Bytes {
    let batch = RecordBatch::try_from_iter_with_nullable([("x", column, optional)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

/// The only column of the only row group.
fn group(file: &Bytes) -> parquet::errors::Result<RowGroupMetaData> {
    let reader = SerializedFileReader::new(file.clone())?;
    reader.metadata().row_groups().first().cloned().ok_or_else(|| parquet::errors::ParquetError::EOF("empty".into()))
}

/// What was found, and the values as they lie in memory.
fn read<const N: usize>(file: &Bytes, first: usize, rows: usize, spare: &mut Spare) -> Option<(Found, Vec<[u8; N]>)> {
    let group = group(file).ok()?;
    let column = group.column(0);
    let snappy = column.compression() == Compression::SNAPPY;
    let compression = if snappy { Compression::UNCOMPRESSED } else { column.compression() };
    let about = column.clone().into_builder().set_compression(compression).build().unwrap();
    let reader = SerializedPageReader::new(Arc::new(file.clone()), &about, group.num_rows() as usize, None).ok()?;
    let optional = column.column_descr().max_def_level() == 1;
    let bytes_max = column.uncompressed_size() as usize;
    let mut values = vec![[0xab; N]; rows];
    Pages { reader, snappy, optional, bytes_max, spare }.read(first, &mut values).map(|found| (found, values))
}

fn pages() -> WriterPropertiesBuilder {
    WriterProperties::builder().set_data_page_row_count_limit(700).set_write_batch_size(350)
}

#[test]
fn values_are_those_written() {
    let mut spare = Spare::default();
    // Distinct values from one (places of no bits) to more than a dictionary takes.
    for distinct in [1, 2, 3, 9, 33, 300, 5_000] {
        // Runs, and places in no order.
        let values: Vec<f32> =
            (0..ROWS).map(|row| (if row % 900 < 200 { 0 } else { row * 7_919 % distinct }) as f32 / 3.0).collect();
        let column: ArrayRef = Arc::new(Float32Array::from(values.clone()));
        for (number, properties) in [
            pages(),
            pages().set_dictionary_enabled(false),
            pages().set_dictionary_page_size_limit(4_000),
            pages().set_writer_version(WriterVersion::PARQUET_2_0),
        ]
        .into_iter()
        .enumerate()
        {
            for codec in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())] {
                for optional in [false, true] {
                    let file = written(Arc::clone(&column), optional, properties.clone().set_compression(codec));
                    for (first, rows) in [(0, ROWS), (0, 1), (700, 700), (1_399, 2_802), (ROWS - 1, 1)] {
                        let found = read(&file, first, rows, &mut spare);
                        let expected = values[first..first + rows].iter().map(|value| value.to_ne_bytes()).collect();
                        let case = (distinct, number, codec, optional, first);
                        assert!(found == Some((Found::All, expected)), "{case:?}: {:?}", found.is_some());
                    }
                }
            }
        }
    }
}

#[test]
fn places_of_every_width_are_unpacked() {
    for (width, unpack) in UNPACK.iter().enumerate() {
        let numbers: Vec<u32> = (0..24_u64).map(|k| ((k * 0x9e37_79b9 + 5) & ((1 << width) - 1)) as u32).collect();
        let mut packed = vec![0; 3 * width];
        for (at, number) in numbers.iter().enumerate() {
            (0..width).for_each(|bit| {
                let place = at * width + bit;
                packed[place / 8] |= ((number >> bit & 1) as u8) << (place % 8);
            });
        }
        let mut groups = [[7; 8]; 3];
        unpack(&packed, &mut groups);
        assert_eq!(groups.concat(), numbers, "{width} bits");
    }
}

#[test]
fn missing_values_are_told_and_other_encodings_left_to_the_crate() {
    let mut spare = Spare::default();
    let some: ArrayRef = Arc::new(Float32Array::from_iter((0..ROWS).map(|row| (row != 4_000).then_some(row as f32))));
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for codec in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
            let file = written(Arc::clone(&some), true, pages().set_writer_version(version).set_compression(codec));
            let found = |rows: usize, spare: &mut Spare| read::<4>(&file, 0, rows, spare).map(|(found, _)| found);
            assert_eq!(found(ROWS, &mut spare), Some(Found::Missing));
            assert_eq!(found(3_500, &mut spare), Some(Found::All));
        }
    }
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|row| row * row)));
    assert!(read::<8>(&written(Arc::clone(&numbers), false, pages()), 0, ROWS, &mut spare).is_some());
    let delta = pages().set_dictionary_enabled(false).set_encoding(Encoding::DELTA_BINARY_PACKED);
    assert_eq!(read::<8>(&written(numbers, false, delta), 0, ROWS, &mut spare), None);
}

/// The values as the `parquet` crate reads them.
fn by_crate(file: &Bytes) -> Option<Vec<f32>> {
    let group = group(file).ok()?;
    let column = group.column(0);
    let pages = SerializedPageReader::new(Arc::new(file.clone()), column, group.num_rows() as usize, None).ok()?;
    let mut reader = ColumnReaderImpl::<FloatType>::new(column.column_descr_ptr(), Box::new(pages));
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    while values.len() < ROWS {
        let (records, _, _) = reader.read_records(ROWS, Some(&mut levels), None, &mut values).ok()?;
        if records == 0 {
            return None;
        }
    }
    Some(values)
}

#[test]
fn damaged_pages_are_left_to_the_crate_or_read_as_it_reads_them() {
    let column: ArrayRef = Arc::new(Float32Array::from_iter_values((0..ROWS).map(|row| (row % 1_000) as f32)));
    let (mut refused, mut read_alike) = (0, 0);
    for codec in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
        let file = written(Arc::clone(&column), true, pages().set_compression(codec));
        let mut random = 1_u64;
        for _ in 0..2_000 {
            // Knuth's MMIX generator: a case can be made again.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut damaged = file.to_vec();
            let at = 4 + (random >> 33) as usize % (file.len() - 1_000);
            damaged[at] ^= 1 << ((random >> 25) % 8);
            let damaged = Bytes::from(damaged);
            match read(&damaged, 0, ROWS, &mut Spare::default()) {
                Some((Found::All, found)) => {
                    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_ne_bytes).collect::<Vec<_>>();
                    // Where the crate refuses a page that can be read, there is nothing to compare with.
                    let expected = std::panic::catch_unwind(|| by_crate(&damaged)).ok().flatten();
                    read_alike += usize::from(expected.is_some());
                    assert!(expected.is_none_or(|expected| bits(expected) == found), "{codec:?}, byte {at}");
                }
                Some((Found::Missing, _)) | None => refused += 1,
            }
        }
    }
    assert!(refused > 50 && read_alike > 50, "{refused} refused, {read_alike} read alike");
}
