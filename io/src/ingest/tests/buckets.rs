//! Bucketized columns and rare levels, against scikit-learn 1.9.1 (`tests/reference/categories.py`).

use arrow::array::{Float64Array, StringArray};
use gristmill_kernels::tile::{Block, Codes};
use serde_json::Value;

use super::*;
use crate::encode::RowEncoder;
use crate::manifest::Layout;
use crate::statistics::Statistics;

fn expected() -> Value {
    serde_json::from_str(include_str!("../../../../tests/reference/categories.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

const NAMES: [&str; 3] = ["spread", "tied", "mostly_zero"];

/// The recipes of the script.
fn column(name: &str) -> Vec<f64> {
    let value = |i: i64| match name {
        "spread" => (i * 7919 % 1013 - 506) as f64 / 8.0,
        "tied" => (i * i % 17) as f64,
        _ if i % 4 == 0 => (i % 97) as f64 / 4.0,
        _ => 0.0,
    };
    (0..1_000).map(value).collect()
}

fn source(rows: usize) -> Memory {
    let mut columns: Vec<(&str, ArrayRef)> = NAMES.iter().map(|name| (*name, floats(column(name)))).collect();
    columns.push(("y", floats((0..1_000).map(f64::from))));
    Memory::new(columns, rows)
}

fn options(buckets: &[(&str, usize)]) -> IngestOptions {
    let bucketize = buckets.iter().map(|(name, buckets)| ((*name).to_string(), *buckets)).collect();
    IngestOptions { bucketize, ..IngestOptions::default() }
}

#[test]
fn edges_counts_and_new_values_are_those_of_kbinsdiscretizer() {
    let folder = tempfile::tempdir().unwrap();
    let reference = expected();
    let new: ArrayRef = Arc::new(Float64Array::from(vec![-1e9, -63.25, -1.0, 0.0, 0.25, 3.0, 4.0, 16.0, 24.0, 1e9]));
    for buckets in [2, 4, 10, 50] {
        let output = folder.path().join(buckets.to_string());
        let report = ingested(&source(77), &options(&NAMES.map(|name| (name, buckets))), &output).unwrap();
        let batch = stored(&output, &report.manifest, Split::Train).unwrap();
        let columns = &report.manifest.columns;
        let layout = Layout::of(columns, |_| true);
        let statistics = Statistics::read(&output, &report.manifest.statistics, layout.parameters).unwrap();
        let encoder = RowEncoder::new(columns, &vec![None; columns.len()], &layout).unwrap();
        let place = |row: usize| (PathBuf::from("new.csv"), Place::Row(row as u64 + 1));
        let rows = NAMES.map(|name| (name, Arc::clone(&new), true));
        let encoded = encoder.encode(&RecordBatch::try_from_iter_with_nullable(rows).unwrap(), &place).unwrap();
        for (number, name) in NAMES.into_iter().enumerate() {
            let told = &reference["buckets"][name][buckets.to_string()];
            let Kind::Bucketized { edges } = kind(&report.manifest, name) else { panic!("{name}") };
            assert_eq!(*edges, numbers(&told["edges"]), "{name} {buckets}");
            let mut counts = vec![0.0; edges.len() + 2];
            raw(&batch, name).iter().for_each(|&code| counts[code as usize] += 1.0);
            let first = layout.blocks[number].first_parameter;
            let nonzero = &statistics.nonzero[first..first + counts.len()];
            assert!(counts.iter().zip(nonzero).all(|(count, nonzero)| *count == *nonzero as f64));
            assert_eq!(counts.pop(), Some(0.0), "none is missing");
            assert_eq!(counts, numbers(&told["counts"]), "{name} {buckets}");
            let Block::Codes { codes: Codes::U8(codes), .. } = encoded.grain().blocks[number] else { panic!() };
            assert_eq!(codes.iter().map(|&code| f64::from(code)).collect::<Vec<_>>(), numbers(&told["new"]));
        }
    }
}

#[test]
fn missing_numbers_have_a_level_and_held_out_rows_no_say() {
    let folder = tempfile::tempdir().unwrap();
    let x: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(2.0), Some(3.0), Some(4.0), Some(900.0)]));
    let sides = texts([Some("train"); 5].into_iter().chain([Some("test")]));
    let source = Memory::new(vec![("x", x), ("side", sides), ("y", floats((0..6).map(f64::from)))], 2);
    let options = IngestOptions { split_column: Some("side".into()), indicator: true, ..options(&[("x", 2)]) };
    let output = folder.path().join("data");
    let report = ingested(&source, &options, &output).unwrap();
    // Of 1, 2, 3, 4 the median is between 2 and 3.
    assert_eq!(*kind(&report.manifest, "x"), Kind::Bucketized { edges: vec![2.5] });
    assert_eq!(raw(&stored(&output, &report.manifest, Split::Train).unwrap(), "x"), [0.0, 2.0, 0.0, 1.0, 1.0]);
    assert_eq!(raw(&stored(&output, &report.manifest, Split::Test).unwrap(), "x"), [1.0]);
    assert_eq!(report.manifest.columns.len(), 2, "no indicator beside a level for missing values");
    let statistics = Statistics::read(&output, &report.manifest.statistics, 3).unwrap();
    assert_eq!(statistics.nonzero, [2, 2, 1]);
    assert_eq!(report.manifest.columns[0].missing, 1);
}

#[test]
fn threads_and_memory_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for (threads, memory) in [(1, 1 << 30), (2, 1 << 30), (5, 20_000)] {
        let options = IngestOptions {
            threads: Some(threads),
            memory: Some(memory),
            shuffle: true,
            grain_rows: Some(64),
            shard_grains: Some(3),
            test_share: 0.2,
            ..options(&[("spread", 50), ("tied", 3)])
        };
        let output = folder.path().join(format!("{threads} {memory}"));
        let report = ingested(&source(33), &options, &output).unwrap();
        assert_eq!(report.spilled_bytes > 0, memory < 1 << 30);
        seen.push(report.manifest.fingerprint);
    }
    assert_eq!(seen, vec![seen[0].clone(); 3]);
}

#[test]
fn bad_buckets_and_columns_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = || {
        Memory::new(vec![("x", floats([1.0, 2.0])), ("k", texts([Some("1"), Some("b")])), ("y", floats([0.0, 1.0]))], 2)
    };
    let refused = |options: IngestOptions| {
        let error = options.check().and_then(|()| ingested(&source(), &options, &folder.path().join("no")));
        error.unwrap_err().to_string()
    };
    assert!(refused(options(&[("x", 1)])).contains("--bucketize x: found 1, expected 2 to 65535 buckets"));
    assert!(refused(options(&[("x", 1 << 16)])).contains("found 65536"));
    assert!(refused(options(&[("xx", 3)])).contains("no column 'xx'; did you mean 'x'?"));
    assert!(refused(options(&[("y", 3)])).contains("--bucketize y: the column is no feature"));
    assert!(refused(options(&[("k", 3)])).contains("only numbers have buckets. Read it as one with --numeric k"));
    let twice = IngestOptions { imputes: [("x".to_string(), Impute::Zero)].into(), ..options(&[("x", 3)]) };
    assert!(refused(twice).contains("--bucketize x and --impute x=... contradict each other"));
}

#[test]
fn rare_and_unseen_levels_are_those_of_onehotencoder() {
    let folder = tempfile::tempdir().unwrap();
    let levels = [("b", 5), ("a", 3), ("c", 3), ("d", 2), ("e", 1)];
    let levels: Vec<&str> = levels.iter().flat_map(|&(level, count)| vec![level; count]).collect();
    let new: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d", "e", "never"]));
    for minimum in 1..5u64 {
        let rows = (0..levels.len()).map(|i| i as f64);
        let source = Memory::new(vec![("k", texts(levels.iter().map(|level| Some(*level)))), ("y", floats(rows))], 4);
        let options = IngestOptions { min_count: minimum, ..IngestOptions::default() };
        let output = folder.path().join(minimum.to_string());
        let report = ingested(&source, &options, &output).unwrap();
        let dataset = crate::dataset::Dataset::open(&output).unwrap();
        let dictionary = dataset.dictionary(0).unwrap();
        let statistics = dataset.statistics().unwrap();
        let columns = &report.manifest.columns;
        let listed = [Some(dictionary.levels.clone()), None];
        let encoder = RowEncoder::new(columns, &listed, &Layout::of(columns, |_| true)).unwrap();
        let place = |row: usize| (PathBuf::from("new.csv"), Place::Row(row as u64 + 1));
        let batch = RecordBatch::try_from_iter([("k", Arc::clone(&new))]).unwrap();
        let encoded = encoder.encode(&batch, &place).unwrap();
        let Block::Codes { codes: Codes::U8(codes), .. } = encoded.grain().blocks[0] else { panic!() };
        let told = &expected()["rare"][minimum.to_string()];
        for (code, told) in codes.iter().zip(told.as_array().unwrap()) {
            let code = usize::from(*code);
            let told: Vec<&str> = told.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            let own = dictionary.levels.get(code).map(|level| format!("k_{level}"));
            let rows = statistics.nonzero[code];
            match own {
                Some(own) => assert_eq!(told, [own.as_str()]),
                // The level of all rare ones is learnt; where there are none it has no row and so no weight.
                None if rows > 0 => assert_eq!(told, ["k_infrequent_sklearn"]),
                None => assert!(told.is_empty(), "{told:?}"),
            }
        }
    }
}
