//! Text columns: the same rows at ingest and at prediction, two of them in one dataset, the same bytes on any number of threads.

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{Float32Type, UInt32Type};
use gristmill_kernels::tile::Block;

use super::*;
use crate::encode::RowEncoder;
use crate::encode::words::Words;
use crate::manifest::Layout;
use crate::roles::Roles;

const TEXTS: [Option<&str>; 6] = [
    Some("The cat sat on the mat"),
    None,
    Some("Grüße, GRÜSSE!"),
    Some(""),
    Some("a cat, the cat; the CAT"),
    Some("42 of 42"),
];

fn source(rows: usize) -> Memory {
    let repeated = |n: usize| texts((0..n).map(|i| TEXTS[i % 6]));
    let n = if rows > 6 { 3_000 } else { 6 };
    let title: ArrayRef = Arc::new(StringArray::from_iter_values((0..n).map(|i| format!("title {}", i % 7))));
    Memory::new(vec![("review", repeated(n)), ("title", title), ("y", floats((0..n).map(|i| i as f64)))], rows.min(n))
}

fn options() -> IngestOptions {
    IngestOptions {
        roles: Roles { text: vec!["review".into(), "ti*".into()], ..Roles::default() },
        hashes: [("title".to_string(), 10)].into(),
        ngrams: Some((1, 2)),
        ..IngestOptions::default()
    }
}

#[test]
fn rows_are_stored_and_predicted_as_they_are_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let report = ingested(&source(4), &options(), &output).unwrap();
    let columns = &report.manifest.columns;
    assert_eq!(columns[0].kind, Kind::Text { bits: 18, ngrams: (1, 2) });
    assert_eq!((columns[1].kind.parameters(), columns[0].missing), (1 << 10, 0));
    assert!(crate::verify::verify(&output, &Silent, &Cancel::new()).unwrap().faults.is_empty());

    let array = texts(TEXTS);
    let expected = Words { bits: 18, ngrams: (1, 2) }.rows(&array).unwrap();
    let batch = stored(&output, &report.manifest, Split::Train).unwrap();
    let lists = batch.column_by_name("review").unwrap().as_list::<i32>();
    assert_eq!(lists.offsets().to_vec(), expected.offsets);
    let pairs = lists.values().as_struct();
    assert_eq!(pairs.column(0).as_primitive::<UInt32Type>().values(), &expected.indices);
    assert_eq!(pairs.column(1).as_primitive::<Float32Type>().values(), &expected.values);

    let layout = Layout::of(columns, |column| column.name == "review");
    let encoder = RowEncoder::new(columns, &[None, None, None], &layout).unwrap();
    let place = |row: usize| (PathBuf::from("new.csv"), Place::Row(row as u64 + 1));
    let rows = RecordBatch::try_from_iter_with_nullable([("review", array, true)]).unwrap();
    let encoded = encoder.encode(&rows, &place).unwrap();
    let Block::Sparse { offsets, indices, values, width } = encoded.grain().blocks[0].clone() else { panic!() };
    assert_eq!((offsets, indices, width), (&expected.offsets[..], &expected.indices[..], 1 << 18));
    assert_eq!(values, &expected.values[..]);
}

#[test]
fn threads_and_memory_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for (threads, memory) in [(1, 1 << 30), (2, 1 << 30), (5, 200 << 20)] {
        let options = IngestOptions {
            threads: Some(threads),
            memory: Some(memory),
            shuffle: true,
            grain_rows: Some(192),
            shard_grains: Some(2),
            test_share: 0.2,
            ..options()
        };
        let output = folder.path().join(format!("{threads} {memory}"));
        seen.push(ingested(&source(113), &options, &output).unwrap().manifest.fingerprint);
    }
    assert_eq!(seen, vec![seen[0].clone(); 3]);
}

#[test]
fn bad_columns_and_flags_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |options: IngestOptions| {
        let error = options.check().and_then(|()| ingested(&source(4), &options, &folder.path().join("no")));
        error.unwrap_err().to_string()
    };
    let of = |text: &str| IngestOptions {
        roles: Roles { text: vec![text.into()], ..Roles::default() },
        ..IngestOptions::default()
    };
    assert!(refused(of("reviews")).contains("--text: the source has no column 'reviews'; did you mean 'review'?"));
    assert!(refused(of("y")).contains("a label is one number or one class a row"));
    for ngrams in [(0, 1), (2, 1), (1, 9)] {
        assert!(
            refused(IngestOptions { ngrams: Some(ngrams), ..of("review") })
                .contains("expected FEWEST..MOST words, from 1 to 8")
        );
    }
    let none = IngestOptions { ngrams: Some((1, 2)), ..IngestOptions::default() };
    assert!(refused(none).contains("--ngrams: no column is text. Name one with --text"));
    let twice = Roles { text: vec!["review".into()], categorical: vec!["review".into()], ..Roles::default() };
    assert!(
        refused(IngestOptions { roles: twice, ..IngestOptions::default() })
            .contains("given as categorical and as text")
    );
    let wide = IngestOptions {
        hashes: [("review".to_string(), 24)].into(),
        memory: Some(1 << 30),
        threads: Some(1),
        ..of("review")
    };
    assert!(refused(wide).contains("16777216 levels and elements in all, whose statistics take 2952 MB"));
}

#[test]
fn numbers_are_read_as_text_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![42, 7]));
    let source = Memory::new(vec![("n", numbers), ("y", floats([0.0, 1.0]))], 2);
    let options =
        IngestOptions { roles: Roles { text: vec!["n".into()], ..Roles::default() }, ..IngestOptions::default() };
    let output = folder.path().join("data");
    let report = ingested(&source, &options, &output).unwrap();
    let batch = stored(&output, &report.manifest, Split::Train).unwrap();
    // 7 is a word of one character, which counts as none.
    assert_eq!(batch.column(0).as_list::<i32>().offsets().to_vec(), [0, 1, 1]);
}
