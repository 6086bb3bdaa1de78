//! Hashed columns: the levels that scikit-learn's `FeatureHasher` gives, nothing unseen, the same bytes on any number of threads.

use arrow::array::{Int64Array, StringArray};

use super::*;
use crate::encode::RowEncoder;
use crate::manifest::Layout;
use crate::statistics::Statistics;
use gristmill_kernels::tile::{Block, Codes};

fn options(hash_bits: Option<u8>, hashes: &[(&str, u8)]) -> IngestOptions {
    IngestOptions {
        hash_bits,
        hashes: hashes.iter().map(|(name, bits)| ((*name).to_string(), *bits)).collect(),
        ..IngestOptions::default()
    }
}

/// Bits, bytes of a code and, by `tests/reference/hashing.py` with scikit-learn 1.9.1, the levels of b, a, b, Zürich, 42, the empty text, and missing.
const EXPECTED: [(u8, u8, [f64; 7]); 3] = [
    (8, 1, [57.0, 167.0, 57.0, 151.0, 144.0, 193.0, 95.0]),
    (12, 2, [3129.0, 3239.0, 3129.0, 1431.0, 3984.0, 1473.0, 1887.0]),
    (20, 4, [252_985.0, 212_135.0, 252_985.0, 447_895.0, 561_040.0, 1_025_473.0, 792_415.0]),
];

fn cities() -> ArrayRef {
    texts([Some("b"), Some("a"), Some("b"), Some("Zürich"), Some("42"), Some(""), None])
}

fn source() -> Memory {
    Memory::new(vec![("city", cities()), ("x", floats((0..7).map(f64::from))), ("y", floats((0..7).map(f64::from)))], 2)
}

#[test]
fn levels_are_those_of_a_feature_hasher() {
    let folder = tempfile::tempdir().unwrap();
    for (bits, bytes, expected) in EXPECTED {
        let output = folder.path().join(bits.to_string());
        let report = ingested(&source(), &options(Some(bits), &[]), &output).unwrap();
        let manifest = &report.manifest;
        assert_eq!(*kind(manifest, "city"), Kind::Hashed { bits });
        assert_eq!(kind(manifest, "city").codes(), Some((bytes, 1 << bits)));
        assert_eq!(raw(&stored(&output, manifest, Split::Train).unwrap(), "city"), expected);
        assert_eq!(manifest.files().count(), 2, "a shard and the statistics, no dictionary");
        // Two numbers, then the levels: b is there twice, the missing value is counted like any.
        let statistics = Statistics::read(&output, &manifest.statistics, 1 + (1 << bits)).unwrap();
        let count = |row: usize| statistics.nonzero[1 + expected[row] as usize];
        assert_eq!((count(0), count(1), count(6)), (2, 1, 1));
        assert_eq!(statistics.nonzero[1..].iter().sum::<u64>(), 7);
        let dataset = crate::dataset::Dataset::open(&output).unwrap();
        assert!(crate::verify::verify(&output, &Silent, &Cancel::new()).unwrap().faults.is_empty());
        assert!(matches!(dataset.dictionary(0), Err(Error::Usage(_))));
    }
}

#[test]
fn prediction_hashes_as_training_did_and_nothing_is_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let report = ingested(&source(), &options(None, &[("city", 12)]), &output).unwrap();
    let columns = &report.manifest.columns;
    let layout = Layout::of(columns, |column| column.name == "city");
    let encoder = RowEncoder::new(columns, &[None, None, None], &layout).unwrap();
    let place = |row: usize| (PathBuf::from("new.csv"), Place::Row(row as u64 + 1));
    let batch = RecordBatch::try_from_iter_with_nullable([("city", cities(), true)]).unwrap();
    let encoded = encoder.encode(&batch, &place).unwrap();
    let Block::Codes { codes: Codes::U16(codes), levels: 4096 } = encoded.grain().blocks[0] else {
        panic!("{:?}", encoded.grain().blocks)
    };
    assert_eq!(codes.iter().map(|&code| f64::from(code)).collect::<Vec<_>>(), EXPECTED[1].2);
    let new: ArrayRef = Arc::new(StringArray::from(vec!["never seen"]));
    let batch = RecordBatch::try_from_iter_with_nullable([("city", new, true)]).unwrap();
    assert!(encoder.encode(&batch, &place).is_ok());
}

#[test]
fn numbers_that_are_categories_are_hashed_as_text_and_labels_are_not_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![42, 7]));
    let source = Memory::new(vec![("city", numbers), ("label", texts([Some("yes"), Some("no")]))], 2);
    let roles = crate::roles::Roles { categorical: vec!["city".into()], ..Default::default() };
    let options = IngestOptions { roles, ..options(Some(12), &[]) };
    let output = folder.path().join("data");
    let report = ingested(&source, &options, &output).unwrap();
    assert_eq!(raw(&stored(&output, &report.manifest, Split::Train).unwrap(), "city")[0], EXPECTED[1].2[4]);
    assert!(matches!(kind(&report.manifest, "label"), Kind::Categorical { .. }));
}

#[test]
fn threads_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let levels: Vec<String> = (0..20_000).map(|i| format!("{}", (i * 7919) % 3_001)).collect();
    let mut seen = Vec::new();
    for threads in [1, 2, 5] {
        let level: ArrayRef = Arc::new(StringArray::from_iter_values(&levels));
        let source = Memory::new(vec![("k", level), ("y", floats((0..20_000).map(f64::from)))], 333);
        let options = IngestOptions {
            threads: Some(threads),
            grain_rows: Some(960),
            shard_grains: Some(3),
            shuffle: true,
            test_share: 0.2,
            ..options(Some(17), &[])
        };
        seen.push(ingested(&source, &options, &folder.path().join(threads.to_string())).unwrap().manifest.fingerprint);
    }
    assert_eq!(seen, vec![seen[0].clone(); 3]);
}

#[test]
fn bad_bits_and_columns_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |options: IngestOptions| {
        let error = options.check().and_then(|()| ingested(&source(), &options, &folder.path().join("no")));
        error.unwrap_err().to_string()
    };
    assert!(refused(options(Some(31), &[])).contains("--hash-bits: found 31, expected 1 to 30"));
    assert!(refused(options(None, &[("city", 0)])).contains("found 0, expected 1 to 30"));
    assert!(refused(options(None, &[("ctiy", 9)])).contains("no column 'ctiy'; did you mean 'city'?"));
    assert!(
        refused(options(None, &[("x", 9)]))
            .contains("no category, only categories and texts are hashed. Read it as one with --categorical x")
    );
    assert!(refused(options(None, &[("y", 9)])).contains("the column is no feature"));
    let memory = IngestOptions { memory: Some(128 << 20), threads: Some(2), ..options(Some(24), &[]) };
    assert!(
        refused(memory)
            .contains("16777216 levels and elements in all, whose statistics take 1744 MB, more than half of --memory")
    );
    let roles = crate::roles::Roles { ignore: vec!["city".into()], ..Default::default() };
    let ignored = IngestOptions { roles, ..options(None, &[("city", 9)]) };
    assert!(refused(ignored).contains("--hash-bits city: the column is left out"));
    let roles = crate::roles::Roles { ignore: vec!["city".into()], ..Default::default() };
    assert!(refused(IngestOptions { roles, ..options(Some(9), &[]) }).contains("no categorical feature to hash"));
}
