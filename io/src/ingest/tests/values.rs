//! What is stored for every kind of column, against values computed here.

use arrow::array::{AsArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray, StructArray};
use arrow::array::{Float32Array, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Float32Type, UInt32Type};
use gristmill_kernels::dtype::DType;

use super::*;
use crate::roles::Roles;
use crate::statistics::Statistics;

const ROWS: usize = 1000;

fn reals() -> Vec<f64> {
    (0..ROWS).map(|i| ((i * 7919 % ROWS) as f64).sqrt() * 0.1 - 1.0).collect()
}

#[test]
fn numbers_labels_weights_and_categories_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let years: Vec<i32> = (0..ROWS as i32).map(|i| 1950 + i % 70).collect();
    let colours = ["red", "green", "blue"];
    // red in half of the rows, green in a third, blue in a sixth.
    let colour: Vec<&str> = (0..ROWS).map(|i| colours[[0, 0, 0, 1, 1, 2][i % 6]]).collect();
    let source = Memory::new(
        vec![
            ("x", floats(reals())),
            ("year", Arc::new(Int32Array::from(years.clone()))),
            ("colour", Arc::new(StringArray::from(colour.clone()))),
            ("importance", floats((0..ROWS).map(|i| i as f64 * 0.5))),
            ("y", floats((0..ROWS).map(|i| (i % 2) as f64))),
            ("id", floats((0..ROWS).map(|i| i as f64))),
        ],
        77,
    );
    let options = IngestOptions {
        roles: Roles { weight: Some("importance".into()), ignore: vec!["id".into()], ..Roles::default() },
        threads: Some(2),
        ..IngestOptions::default()
    };
    let report = ingested(&source, &options, &output).unwrap();
    let manifest = &report.manifest;
    let batch = stored(&output, manifest, Split::Train).unwrap();
    assert_eq!((report.train_rows, report.test_rows, batch.num_rows()), (1000, 0, 1000));
    assert_eq!(manifest.ignored, ["id"]);

    let Kind::Numeric { dtype, worst_error, .. } = *kind(manifest, "x") else { panic!() };
    // x lies in [-1, 2.17]: half an ulp of f32 below 4 is 2^-23.
    assert!(dtype == DType::F32 && worst_error > 0.0 && worst_error <= 2f64.powi(-23), "{worst_error}");
    let errors = real(&batch, manifest, "x").into_iter().zip(reals()).map(|(found, given)| (found - given).abs());
    assert_eq!(errors.fold(0.0, f64::max), worst_error);
    assert!(matches!(kind(manifest, "year"), Kind::Numeric { dtype: DType::U8, offset: 1950.0, worst_error: 0.0, .. }));
    assert_eq!(real(&batch, manifest, "year"), years.iter().map(|&y| f64::from(y)).collect::<Vec<_>>());
    assert!(matches!(kind(manifest, "y"), Kind::Numeric { dtype: DType::U8, impute: None, .. }));
    assert_eq!(real(&batch, manifest, "importance")[3], 1.5);

    let Kind::Categorical { code_bytes: 1, levels: 4, dictionary, missing_code: Some(3), unseen_code: Some(3) } =
        kind(manifest, "colour")
    else {
        panic!("{:?}", kind(manifest, "colour"))
    };
    let dictionary = crate::dictionary::Dictionary::read(&output, dictionary).unwrap();
    assert_eq!(dictionary.levels, colours);
    // 1000 rows: 166 whole rounds of six and the first four of the next.
    assert_eq!(dictionary.counts, [501, 333, 166]);
    let codes = raw(&batch, "colour");
    assert!((0..ROWS).all(|i| colours[codes[i] as usize] == colour[i]));

    // Layout: f32 x, u8 year, then the four levels of colour.
    let statistics = Statistics::read(&output, &manifest.statistics, 6).unwrap();
    let mean = reals().iter().sum::<f64>() / ROWS as f64;
    let Kind::Numeric { offset, .. } = *kind(manifest, "x") else { panic!() };
    assert!((statistics.mean[0] + offset - mean).abs() < 1e-7);
    assert_eq!((statistics.min[1], statistics.max[1]), (0.0, 69.0));
    assert_eq!(statistics.nonzero[2..], [501, 333, 166, 0]);
    assert!((statistics.m2[2] - 501.0 * 499.0 / 1000.0).abs() < 1e-9);
    let label = statistics.label.unwrap();
    assert_eq!((label.mean, label.distinct), (0.5, Some(vec![(0.0, 500), (1.0, 500)])));
}

/// Labels that may be names of classes are told apart and keep their names; measurements stay what they are stored as.
#[test]
fn few_labels_that_f32_does_not_tell_are_f64() {
    let folder = tempfile::tempdir().unwrap();
    let stored_as = |name: &str, label: &dyn Fn(usize) -> f64, options: &IngestOptions| {
        let columns = vec![("x", floats((0..ROWS).map(|i| i as f64))), ("y", floats((0..ROWS).map(label)))];
        let options = IngestOptions { roles: Roles { label: Some("y".into()), ..Roles::default() }, ..options.clone() };
        let report = ingested(&Memory::new(columns, 64), &options, &folder.path().join(name)).unwrap();
        let Kind::Numeric { dtype, worst_error, .. } = *kind(&report.manifest, "y") else { panic!() };
        (dtype, worst_error == 0.0)
    };
    let own = IngestOptions::default();
    let near = |i: usize| [0.1, 0.100_000_000_1, 0.5][i % 3];
    assert_eq!(stored_as("near", &near, &own), (DType::F64, true));
    assert_eq!(stored_as("thirds", &|i| (i % 2 + 1) as f64 / 3.0, &own), (DType::F64, true));
    assert_eq!(stored_as("tenths", &|i| (i % 10) as f64 / 10.0, &own), (DType::F32, false));
    assert_eq!(stored_as("measured", &|i| (i as f64).sqrt(), &own), (DType::F32, false));
    let asked = IngestOptions { dtypes: [("y".to_string(), DType::F32)].into(), ..IngestOptions::default() };
    assert_eq!(stored_as("asked", &near, &asked), (DType::F32, false));
}

#[test]
fn missing_numbers_are_imputed_and_marked_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let some = |i: usize| (!i.is_multiple_of(4)).then_some((i % 3) as f64);
    let columns = || -> Vec<(&str, ArrayRef)> {
        vec![
            ("a", Arc::new((0..ROWS).map(some).collect::<Float64Array>())),
            ("b", Arc::new((0..ROWS).map(some).collect::<Float64Array>())),
            ("c", Arc::new((0..ROWS).map(some).collect::<Float64Array>())),
            ("none", arrow::array::new_null_array(&DataType::Null, ROWS)),
        ]
    };
    let options = IngestOptions {
        imputes: [("b".to_string(), Impute::Zero), ("c".to_string(), Impute::Constant(0.5))].into(),
        indicator: true,
        ..IngestOptions::default()
    };
    let output = folder.path().join("data");
    let report = ingested(&Memory::new(columns(), 64), &options, &output).unwrap();
    let batch = stored(&output, &report.manifest, Split::Train).unwrap();
    let present: Vec<f64> = (0..ROWS).filter_map(some).collect();
    let mean = present.iter().sum::<f64>() / present.len() as f64;
    let a = real(&batch, &report.manifest, "a");
    let (b, c) = (real(&batch, &report.manifest, "b"), real(&batch, &report.manifest, "c"));
    for i in 0..ROWS {
        // The mean is rounded to f32 as it is stored.
        assert!(
            (a[i] - some(i).unwrap_or(mean)).abs() <= if some(i).is_some() { 0.0 } else { 1e-7 },
            "row {i}: {}",
            a[i]
        );
        assert_eq!((b[i], c[i]), (some(i).unwrap_or(0.0), some(i).unwrap_or(0.5)), "row {i}");
    }
    assert_eq!(raw(&batch, "a_missing"), (0..ROWS).map(|i| f64::from(i % 4 == 0)).collect::<Vec<_>>());
    assert_eq!((report.empty_columns, report.manifest.columns[0].missing), (vec!["none".to_string()], 250));
    assert!(matches!(kind(&report.manifest, "b"), Kind::Numeric { dtype: DType::U8, .. }));

    let refuse = IngestOptions { impute: Impute::Refuse, ..IngestOptions::default() };
    let error = ingested(&Memory::new(columns(), 64), &refuse, &folder.path().join("no")).unwrap_err();
    assert!(error.to_string().contains("column 'a': 250 rows have no value"), "{error}");
}

#[test]
fn categories_have_levels_for_missing_rare_and_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let levels = [Some("b"), Some("a"), None, Some("b"), Some("rare"), Some("a"), Some("test only")];
    let sides = [Some("train"); 6].into_iter().chain([Some("test")]);
    let source =
        Memory::new(vec![("k", texts(levels)), ("side", texts(sides)), ("x", floats((0..7).map(f64::from)))], 3);
    let options = IngestOptions { split_column: Some("side".into()), min_count: 2, ..IngestOptions::default() };
    let report = ingested(&source, &options, &output).unwrap();
    let Kind::Categorical { levels: 4, missing_code: Some(2), unseen_code: Some(3), .. } = kind(&report.manifest, "k")
    else {
        panic!("{:?}", kind(&report.manifest, "k"))
    };
    // a and b are equally frequent: by bytes.
    assert_eq!(raw(&stored(&output, &report.manifest, Split::Train).unwrap(), "k"), [1.0, 0.0, 2.0, 1.0, 3.0, 0.0]);
    assert_eq!(raw(&stored(&output, &report.manifest, Split::Test).unwrap(), "k"), [3.0]);
    let statistics = Statistics::read(&output, &report.manifest.statistics, 5).unwrap();
    assert_eq!(statistics.nonzero[1..], [2, 2, 1, 1]);
}

#[test]
fn text_labels_become_classes_and_rows_without_one_can_be_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let label = [Some("yes"), None, Some("no"), Some("yes")];
    let columns = || vec![("label", texts(label)), ("x", floats((0..4).map(f64::from)))];
    let options = IngestOptions { drop_missing_label: true, ..IngestOptions::default() };
    let report = ingested(&Memory::new(columns(), 3), &options, &output).unwrap();
    let batch = stored(&output, &report.manifest, Split::Train).unwrap();
    assert_eq!(
        (report.dropped_rows, raw(&batch, "label"), raw(&batch, "x")),
        (1, vec![1.0, 0.0, 1.0], vec![0.0, 2.0, 3.0])
    );
    assert!(matches!(kind(&report.manifest, "label"), Kind::Categorical { levels: 2, unseen_code: None, .. }));
    let error = ingested(&Memory::new(columns(), 3), &IngestOptions::default(), &folder.path().join("no")).unwrap_err();
    assert!(error.to_string().starts_with("rows.mem, row 2, column 'label': the label is missing"), "{error}");
}

#[test]
fn vectors_and_sparse_rows_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let vectors = (0..10).map(|i| Some((0..3).map(|j| Some((i * j) as f32 + 0.25)).collect::<Vec<_>>()));
    let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>(vectors);
    let fields =
        Fields::from(vec![Field::new("index", DataType::UInt32, false), Field::new("value", DataType::Float32, false)]);
    // Row i holds (0, 1) and (i * 100_000, i) but row 0, which is empty.
    let indices: Vec<u32> = (1..10).flat_map(|i| [0, i * 100_000]).collect();
    let values: Vec<f32> = (1..10).flat_map(|i| [1.0, i as f32]).collect();
    let items = StructArray::new(
        fields.clone(),
        vec![Arc::new(UInt32Array::from(indices.clone())), Arc::new(Float32Array::from(values.clone()))],
        None,
    );
    let lengths = (0..10).map(|i| if i == 0 { 0 } else { 2 });
    let item = Arc::new(Field::new("item", DataType::Struct(fields), false));
    let sparse = ListArray::new(item, OffsetBuffer::from_lengths(lengths), Arc::new(items), None);
    let source =
        Memory::new(vec![("v", Arc::new(vectors)), ("s", Arc::new(sparse)), ("y", floats((0..10).map(f64::from)))], 4);
    let options = IngestOptions { grain_rows: Some(64), ..IngestOptions::default() };
    let report = ingested(&source, &options, &output).unwrap();
    let batch = stored(&output, &report.manifest, Split::Train).unwrap();
    let v = batch.column_by_name("v").unwrap().as_fixed_size_list();
    let expected: Vec<f32> = (0..10).flat_map(|i| (0..3).map(move |j| (i * j) as f32 + 0.25)).collect();
    assert_eq!(v.values().as_primitive::<Float32Type>().values().to_vec(), expected);
    let s = batch.column_by_name("s").unwrap().as_list::<i32>();
    let pairs = s.values().as_struct();
    assert_eq!(pairs.column(0).as_primitive::<UInt32Type>().values().to_vec(), indices);
    assert_eq!(pairs.column(1).as_primitive::<Float32Type>().values().to_vec(), values);
    assert!(matches!(kind(&report.manifest, "s"), Kind::Sparse { width: 900_001, .. }));
    let statistics = Statistics::read(&output, &report.manifest.statistics, 900_004).unwrap();
    // v[1] is 0.25, 1.25, ..., 9.25: mean 4.75, m2 82.5. s[0] is 0 once and 1 nine times, s[500000] is 5 once.
    assert!((statistics.mean[1] - 4.75).abs() < 1e-12 && (statistics.m2[1] - 82.5).abs() < 1e-9);
    assert!((statistics.mean[3] - 0.9).abs() < 1e-12 && (statistics.m2[3] - 0.9).abs() < 1e-12);
    let p = 3 + 500_000;
    assert_eq!((statistics.min[p], statistics.max[p], statistics.nonzero[p]), (0.0, 5.0, 1));
    assert!((statistics.m2[p] - (25.0 - 2.5)).abs() < 1e-12);
}

#[test]
fn types_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let columns =
        || vec![("x", floats(reals())), ("z", floats(reals())), ("n", floats((0..ROWS).map(|i| (i % 5) as f64)))];
    let options = IngestOptions {
        dtype: Some(DType::F64),
        dtypes: [("z".to_string(), DType::U8)].into(),
        ..IngestOptions::default()
    };
    let report = ingested(&Memory::new(columns(), 100), &options, &output).unwrap();
    let batch = stored(&output, &report.manifest, Split::Train).unwrap();
    assert_eq!(real(&batch, &report.manifest, "x"), reals());
    assert!(matches!(kind(&report.manifest, "n"), Kind::Numeric { dtype: DType::U8, .. }));
    let Kind::Numeric { dtype: DType::U8, worst_error, .. } = *kind(&report.manifest, "z") else { panic!() };
    let range = reals().iter().fold(0.0, |m: f64, x| m.max(*x)) + 1.0;
    assert!(worst_error <= range / 255.0 / 2.0 * (1.0 + 1e-9), "{worst_error}");
    let unknown = IngestOptions { dtypes: [("zz".to_string(), DType::U8)].into(), ..IngestOptions::default() };
    let error = ingested(&Memory::new(columns(), 100), &unknown, &folder.path().join("no")).unwrap_err();
    assert!(error.to_string().contains("no column 'zz'"), "{error}");
}

#[test]
fn a_constant_column_with_gaps_stays_constant() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let values = (0..ROWS).map(|i| (i % 3 != 1).then_some(0.1)).collect::<Float64Array>();
    let ints = (0..ROWS).map(|i| (i % 3 != 1).then_some(60_000.0)).collect::<Float64Array>();
    let labels = floats((0..ROWS).map(|i| i as f64));
    // Sums of many chunks of odd sizes: their mean is not 0.1 to the last bit.
    let source = Memory::new(vec![("x", Arc::new(values)), ("n", Arc::new(ints)), ("y", labels)], 7);
    for dtype in [None, Some(DType::F64)] {
        let options = IngestOptions { dtype, force: true, ..IngestOptions::default() };
        let manifest = ingested(&source, &options, &output).unwrap().manifest;
        source.next.store(0, Ordering::Relaxed);
        let batch = stored(&output, &manifest, Split::Train).unwrap();
        for (name, value) in [("x", 0.1), ("n", 60_000.0)] {
            let found = real(&batch, &manifest, name);
            assert!(found.iter().all(|&x| x == value), "{name} {dtype:?}: {:?}", &found[..3]);
        }
    }
}

#[test]
fn integers_that_no_f64_holds_are_told_to_be_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let large = 1i64 << 53;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|i| large + 2 * i + 1)));
    let whole: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|i| large - i)));
    let source = Memory::new(vec![("id", ids), ("whole", whole), ("y", floats(reals()))], 100);
    let options = IngestOptions { dtype: Some(DType::F64), ..IngestOptions::default() };
    let manifest = ingested(&source, &options, &folder.path().join("data")).unwrap().manifest;
    assert!(matches!(kind(&manifest, "id"), Kind::Numeric { worst_error: 1.0.., .. }), "{:?}", kind(&manifest, "id"));
    assert!(matches!(kind(&manifest, "whole"), Kind::Numeric { worst_error: 0.0, .. }));
}

#[test]
fn labels_that_are_large_integers_stay_whole() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let codes = [123_456_789.0, 5.0, 123_456_791.0];
    let label = |of: &[f64; 3]| floats((0..ROWS).map(|i| of[i % 3]));
    let source = Memory::new(vec![("x", floats(reals())), ("y", label(&codes))], 100);
    let manifest = ingested(&source, &IngestOptions::default(), &output).unwrap().manifest;
    assert!(matches!(kind(&manifest, "y"), Kind::Numeric { dtype: DType::F64, worst_error: 0.0, .. }));
    assert_eq!(real(&stored(&output, &manifest, Split::Train).unwrap(), &manifest, "y")[..3], codes);
    // What f32 holds, or holds beside an offset, stays f32.
    for of in [[70_000.0, 0.0, 3.0], [2_000_000_000.0, 2_000_100_001.0, 2_000_000_003.0], [1e9, 2.5, 0.0]] {
        let source = Memory::new(vec![("x", floats(reals())), ("y", label(&of))], 100);
        let options = IngestOptions { force: true, ..IngestOptions::default() };
        let manifest = ingested(&source, &options, &output).unwrap().manifest;
        assert!(matches!(kind(&manifest, "y"), Kind::Numeric { dtype: DType::F32, .. }), "{of:?}");
    }
}

#[test]
fn the_largest_u32_is_a_number_and_no_mark() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let label = |i: usize| if i == 7 { u32::MAX } else { i as u32 };
    let labels: ArrayRef = Arc::new(UInt32Array::from_iter_values((0..ROWS).map(label)));
    let source = Memory::new(vec![("x", floats(reals())), ("y", labels.clone()), ("o", labels)], 100);
    for drop_missing_label in [false, true] {
        let roles = Roles { offset: Some("o".into()), ..Roles::default() };
        let options = IngestOptions { roles, drop_missing_label, force: true, ..IngestOptions::default() };
        let report = ingested(&source, &options, &output).unwrap();
        source.next.store(0, Ordering::Relaxed);
        assert_eq!(report.train_rows, ROWS as u64);
        let batch = stored(&output, &report.manifest, Split::Train).unwrap();
        assert_eq!(real(&batch, &report.manifest, "y")[6..8], [6.0, f64::from(u32::MAX)]);
    }
}

#[test]
fn vectors_of_a_type_that_cannot_square_them_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let rows = (0..ROWS).map(|i| Some(vec![Some(1e-25f32 * (i % 7) as f32), Some(2e-25)]));
    let vectors: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows));
    let source = Memory::new(vec![("v", vectors), ("y", floats((0..ROWS).map(|i| i as f64)))], 100);
    let manifest = ingested(&source, &IngestOptions::default(), &output).unwrap().manifest;
    assert!(matches!(kind(&manifest, "v"), Kind::Vector { dtype: DType::F64, width: 2 }));
    source.next.store(0, Ordering::Relaxed);
    let options = IngestOptions { dtypes: [("v".into(), DType::F32)].into(), force: true, ..IngestOptions::default() };
    let error = ingested(&source, &options, &output).unwrap_err().to_string();
    assert!(error.contains("column 'v'") && error.contains("which f32 cannot hold or square"), "{error}");
}

#[test]
fn what_stands_for_a_missing_number_is_whole_where_training_had_none() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let source = Memory::new(
        vec![
            ("x", floats((0..ROWS).map(|i| (i % 2) as f64))),
            (
                "gaps",
                Arc::new((0..ROWS).map(|i| (i % 2 == 0).then_some(0.1 * (i % 3) as f64)).collect::<Float64Array>()),
            ),
            ("y", floats((0..ROWS).map(|i| i as f64))),
        ],
        100,
    );
    for (impute, expected) in [(Impute::Mean, 0.5), (Impute::Constant(-3.5), -3.5)] {
        let options = IngestOptions { impute, force: true, ..IngestOptions::default() };
        let manifest = ingested(&source, &options, &output).unwrap().manifest;
        source.next.store(0, Ordering::Relaxed);
        // A byte has no place for it, but new rows are encoded as reals.
        let Kind::Numeric { dtype: DType::U8, impute: Some(found), .. } = *kind(&manifest, "x") else { panic!() };
        assert_eq!(found, expected);
        // Where rows are missing it is what they were given.
        let Kind::Numeric { impute: Some(found), .. } = *kind(&manifest, "gaps") else { panic!() };
        assert_eq!(real(&stored(&output, &manifest, Split::Train).unwrap(), &manifest, "gaps")[1], found);
    }
}
