//! Ranks share the work of ingest, and the dataset is that of one process, byte for byte.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use crate::harness::{error_line, line, ok, tree};
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

/// Text files that take two passes: categories, of which later files have others, and missing values.
fn texts(folder: &Path) {
    std::fs::create_dir(folder).expect("a folder");
    for file in 0..5 {
        let mut text = String::from("a,b,kind,y\n");
        for row in file * 60_000..(file + 1) * 60_000 {
            let gap = if row % 9 == 2 { String::new() } else { samples::number(row, 1).to_string() };
            let one = format!("{},{gap},k{},{}\n", samples::number(row, 0), row % 5 + file * 3, samples::class(row));
            text.push_str(&one);
        }
        std::fs::write(folder.join(format!("{file}.csv")), text).expect("writes");
    }
}

#[test]
fn ranks_make_the_two_passes_of_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    texts(&at.join("parts"));
    let words = "ingest parts --shard-size 200kB --test-share 0.2";
    ok(at, &format!("{words} -o alone --threads 1 -q"));
    let expected = dataset(at, "alone");
    assert_eq!(expected.len(), 4 + 1 + 3, "four shards and one held out, statistics, a dictionary and the manifest");
    for number in [2, 3] {
        let Some(mut together) = ranks(at, number, &format!("{words} -o together --force --json")) else { return };
        let found = end(start(&mut together));
        assert_eq!(found.code, Some(0), "{}", found.stderr);
        assert!(found.stdout.contains(&format!("\"ranks\": {number}")), "{}", found.stdout);
        assert!(dataset(at, "together") == expected, "{number} ranks");
    }
    // A fault in the rows of the last rank is told in the words of one process, once, and nothing changes.
    let last = at.join("parts/4.csv");
    let text = std::fs::read_to_string(&last).expect("reads");
    std::fs::write(&last, text + "1,2,k1\n").expect("writes");
    let alone = line(at, &format!("{words} -o alone --force --threads 1 -q"));
    let found = end(start(&mut ranks(at, 3, &format!("{words} -o together --force -q")).expect("found before")));
    assert_eq!((alone.code, found.code), (Some(1), Some(1)), "{}", found.stderr);
    assert!(error_line(&found).contains("4.csv, line 60002: expected 4 fields, found 3"), "{}", found.stderr);
    assert_eq!(error_line(&found), error_line(&alone));
    assert!(dataset(at, "together") == expected);
    assert!(!at.join(".together.partial").exists());
}
