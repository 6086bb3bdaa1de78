//! Ranks share the work of ingest, and the dataset is that of one process, byte for byte.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use crate::harness::{error_line, ok, tree};
use crate::ranks::{end, ranks, start};
use crate::samples;

/// Four grains of four columns, in row groups that end elsewhere.
const ROWS: u64 = 200_000;

fn source(path: &Path) {
    let column = |number: u64| -> ArrayRef {
        Arc::new(Float32Array::from_iter_values((0..ROWS).map(|row| samples::number(row, number) as f32)))
    };
    let batch = RecordBatch::try_from_iter([("a", column(0)), ("b", column(1)), ("c", column(2)), ("y", column(3))]);
    let batch = batch.expect("a batch");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(30_000)).build();
    let file = File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("writes");
    writer.close().expect("closes");
}

/// The files of a dataset, by their names in it.
fn dataset(folder: &Path, name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder.join(name);
    let prefix = folder.display().to_string();
    tree(&folder).into_iter().map(|(name, bytes)| (name.replace(&prefix, ""), bytes)).collect()
}

#[test]
fn ranks_make_the_dataset_of_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    source(&at.join("x.parquet"));
    ok(at, "ingest x.parquet --label y --shard-size 1MB -o alone --threads 1 -q");
    let expected = dataset(at, "alone");
    assert_eq!(expected.len(), 4 + 2, "four shards, statistics and manifest");
    for number in [2, 3] {
        let words = "ingest x.parquet --label y --shard-size 1MB -o together --force --json";
        let Some(mut together) = ranks(at, number, words) else { return };
        let found = end(start(&mut together));
        assert_eq!(found.code, Some(0), "{}", found.stderr);
        assert!(found.stdout.contains(&format!("\"ranks\": {number}")), "{}", found.stdout);
        assert!(dataset(at, "together") == expected, "{number} ranks");
    }
    // What is not to be shared, rank 0 does, and says so.
    ok(at, "ingest x.parquet --label y --shard-size 1MB --shuffle -o shuffled --threads 1 -q");
    let words = "ingest x.parquet --label y --shard-size 1MB --shuffle -o first";
    let found = end(start(&mut ranks(at, 2, words).expect("found before")));
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(found.stderr.contains("rank 0 ingested alone"), "{}", found.stderr);
    assert!(dataset(at, "first") == dataset(at, "shuffled"));
    // A fault is said once, and the output stays as it was.
    let words = "ingest x.parquet --label nowhere --shard-size 1MB -o together --force";
    let found = end(start(&mut ranks(at, 3, words).expect("found before")));
    assert_eq!(found.code, Some(2), "{}", found.stderr);
    assert!(error_line(&found).contains("nowhere"), "{}", found.stderr);
    assert!(dataset(at, "together") == expected);
}
