//! Damaged files of every format: whatever bytes are changed, cut off or doubled, reading them ends, in rows or in an
//! error. (A panic, an abort for want of memory, or a hang fails the run.)

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Float32Array, Int32Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{Float32Type, Int32Type};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::{SourceOptions, open};
use crate::error::Result;

/// Damaged versions of each file.
const CASES: u64 = 400;

/// A small generator of its own, so that a case can be made again from its number (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }
}

fn damage(bytes: &[u8], case: u64) -> Vec<u8> {
    let mut random = Random(case.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut bytes = bytes.to_vec();
    match random.below(8) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 => {
            let from = random.below(bytes.len());
            let piece = bytes[from..(from + 40).min(bytes.len())].to_vec();
            let at = random.below(bytes.len());
            bytes.splice(at..at, piece);
        }
        2 => {
            // Lengths and counts lie near the ends of binary files.
            let at = bytes.len() - 1 - random.below(bytes.len().min(700));
            bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
        }
        _ => {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
        }
    }
    bytes
}

fn read(path: &Path) -> Result<usize> {
    // Small chunks, so that every way between chunks is walked.
    let options =
        SourceOptions { chunk_bytes: 512, sample_bytes: 512, part_bytes: 1 << 12, ..SourceOptions::default() };
    let source = open(&[path.display().to_string()], &options)?;
    let mut rows = 0;
    while let Some(chunk) = source.next()? {
        let number = chunk.number;
        rows += source.decode(chunk)?.iter().map(RecordBatch::num_rows).sum::<usize>();
        source.place(number, 0);
    }
    Ok(rows)
}

fn survives(name: &str, bytes: &[u8], rows: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(read(&path).unwrap(), rows, "{name} as written");
    let mut errors = 0;
    for case in 0..CASES {
        std::fs::write(&path, damage(bytes, case)).unwrap();
        errors += usize::from(read(&path).is_err());
    }
    assert!(errors > 0, "{name}: no damage was ever noticed");
}

fn table() -> RecordBatch {
    let rows = 300;
    let numbers: ArrayRef =
        Arc::new(Float32Array::from_iter((0..rows).map(|row| (row % 5 != 1).then_some(row as f32 * 0.37))));
    let counts: ArrayRef = Arc::new(Int32Array::from_iter_values(0..rows));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("t{}", row % 11))));
    let levels: ArrayRef =
        Arc::new((0..rows).map(|row| ["a", "b", "c"][row as usize % 3]).collect::<DictionaryArray<Int32Type>>());
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(
        (0..rows).map(|row| (row % 4 != 0).then(|| vec![Some(row as f32), None])),
    ));
    RecordBatch::try_from_iter([("x", numbers), ("n", counts), ("t", texts), ("w", levels), ("v", lists)]).unwrap()
}

#[test]
fn parquet_files_survive_damage() {
    for (name, codec) in [
        ("plain.parquet", Compression::UNCOMPRESSED),
        ("snappy.parquet", Compression::SNAPPY),
        ("gzip.parquet", Compression::GZIP(Default::default())),
        ("lz4.parquet", Compression::LZ4_RAW),
        ("zstd.parquet", Compression::ZSTD(Default::default())),
        ("brotli.parquet", Compression::BROTLI(Default::default())),
    ] {
        let properties =
            WriterProperties::builder().set_compression(codec).set_max_row_group_row_count(Some(200)).build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, table().schema(), Some(properties)).unwrap();
        writer.write(&table()).unwrap();
        writer.close().unwrap();
        survives(name, &bytes, 300);
    }
}

#[test]
fn arrow_files_and_streams_survive_damage() {
    for (name, compression) in [
        ("plain.arrow", None),
        ("lz4.arrow", Some(CompressionType::LZ4_FRAME)),
        ("zstd.arrow", Some(CompressionType::ZSTD)),
    ] {
        let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let mut file = FileWriter::try_new_with_options(Vec::new(), &table().schema(), options.clone()).unwrap();
        let mut stream = StreamWriter::try_new_with_options(Vec::new(), &table().schema(), options).unwrap();
        for (from, count) in [(0, 100), (100, 200)] {
            file.write(&table().slice(from, count)).unwrap();
            stream.write(&table().slice(from, count)).unwrap();
        }
        survives(name, &file.into_inner().unwrap(), 300);
        survives(name, &stream.into_inner().unwrap(), 300);
    }
}

#[test]
fn text_files_survive_damage() {
    let csv: String =
        (0..100).map(|row| format!("{row},{}.5,\"a \"\"{row}\"\"\nb\",2024-01-0{}\n", row * 3, row % 9 + 1)).collect();
    let csv = format!("i,x,s,d\n{csv}");
    let libsvm: String = (0..100).map(|row| format!("{} 1:0.5 {}:1e-3 # c\n", row % 2, row + 2)).collect();
    let json: String =
        (0..100).map(|row| format!("{{\"a\": {row}, \"o\": {{\"x\": [1, {row}.5]}}, \"s\": \"t\\n\"}}\n")).collect();
    for (name, text) in [("x.csv", &csv), ("x.svm", &libsvm), ("x.ndjson", &json)] {
        survives(name, text.as_bytes(), 100);
        survives(name, &zstd::encode_all(text.as_bytes(), 1).unwrap(), 100);
        let mut encoder = flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::fast());
        let mut gzip = Vec::new();
        std::io::Read::read_to_end(&mut encoder, &mut gzip).unwrap();
        survives(name, &gzip, 100);
    }
}
