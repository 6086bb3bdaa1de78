//! From files on disk, through the readers.

use super::*;
use crate::encode::RowEncoder;
use crate::manifest::{Column, Layout};
use crate::roles::Roles;
use crate::source::SourceOptions;
use gristmill_kernels::tile::Block;

fn from_files(files: &[(&str, &str)], options: &IngestOptions, folder: &Path) -> Result<(IngestReport, PathBuf)> {
    let paths = files.iter().map(|(name, content)| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    });
    let output = folder.join("data");
    let paths: Vec<String> = paths.collect();
    let report = ingest(&paths, options, &output, &Silent, &Cancel::new())?;
    Ok((report, output))
}

#[test]
fn csv_with_ignored_and_forced_columns() {
    let folder = tempfile::tempdir().unwrap();
    let text = "id,code,when,x,y\n1,01,2020-01-01,0.5,yes\n2,1,2020-01-03,,no\n3,01,1970-01-02,2.5,yes\n";
    let roles = Roles { ignore: vec!["id".into()], categorical: vec!["code".into()], ..Roles::default() };
    let options = IngestOptions { roles, ..IngestOptions::default() };
    let (report, output) = from_files(&[("a.csv", text)], &options, folder.path()).unwrap();
    let batch = stored(&output, &report.manifest, Split::Train).unwrap();
    assert_eq!(report.manifest.ignored, ["id"]);
    // 01 stays text: two rows have it, one has 1.
    assert_eq!(raw(&batch, "code"), [0.0, 1.0, 0.0]);
    assert_eq!(real(&batch, &report.manifest, "when"), [18_262.0, 18_264.0, 1.0]);
    assert_eq!(real(&batch, &report.manifest, "x"), [0.5, 1.5, 2.5]);
    assert_eq!(raw(&batch, "y"), [1.0, 0.0, 1.0]);
    assert!(report.manifest.sources[0].path.ends_with("a.csv"));
}

#[test]
fn libsvm_counts_from_one_unless_a_zero_occurs_and_prediction_follows() {
    for (text, one_based, width) in [("1 1:2 3:4\n0 2:5\n", true, 3), ("1 1:2 3:4\n0 0:5\n", false, 4)] {
        let folder = tempfile::tempdir().unwrap();
        let (report, output) = from_files(&[("a.libsvm", text)], &IngestOptions::default(), folder.path()).unwrap();
        let found = kind(&report.manifest, "features");
        assert_eq!(*found, Kind::Sparse { width, one_based });
        let batch = stored(&output, &report.manifest, Split::Train).unwrap();
        let lists = arrow::array::AsArray::as_list::<i32>(batch.column_by_name("features").unwrap());
        let expected = if one_based { [0, 2, 1] } else { [1, 3, 0] };
        assert_eq!(crate::encode::raw::sparse_parts(lists).unwrap().indices.to_vec(), expected);

        let columns: &[Column] = &report.manifest.columns;
        let encoder = RowEncoder::new(columns, &[], &Layout::of(columns, |_| true)).unwrap();
        let file = folder.path().join("a.libsvm").display().to_string();
        let source = source::open(&[file], &SourceOptions::default()).unwrap();
        let chunk = source.next().unwrap().unwrap();
        let encoded = encoder.encode(&source.decode(chunk).unwrap()[0], &|row| source.place(0, row as u64)).unwrap();
        let Block::Sparse { indices, .. } = encoded.grain().blocks[0] else { panic!() };
        assert_eq!(indices, expected);
    }
}

#[test]
fn a_stray_huge_index_is_an_error_not_an_allocation() {
    let folder = tempfile::tempdir().unwrap();
    let options = IngestOptions { memory: Some(1 << 30), threads: Some(2), ..IngestOptions::default() };
    let error = from_files(&[("a.libsvm", "1 2147483647:1\n")], &options, folder.path()).unwrap_err().to_string();
    assert!(error.contains("column 'features': indices up to 2147483647 take"), "{error}");
}

#[test]
fn a_generated_parquet_file_becomes_a_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quickstart.parquet");
    crate::recipe::write(crate::recipe::Recipe::Quickstart, 5_000, 1, &path, 2, &Silent, &Cancel::new()).unwrap();
    let options = IngestOptions { test_share: 0.2, ..IngestOptions::default() };
    let output = folder.path().join("data");
    let report = ingest(&[path.display().to_string()], &options, &output, &Silent, &Cancel::new()).unwrap();
    assert_eq!(report.train_rows + report.test_rows, 5_000);
    assert_eq!(report.manifest.columns.len(), 25);
    // The file is f32, so nothing is lost.
    assert!(report.manifest.columns.iter().all(|column| match column.kind {
        Kind::Numeric { worst_error, .. } => worst_error == 0.0,
        _ => true,
    }));
    crate::verify::verify(&output, &Silent, &Cancel::new()).unwrap();
}

#[test]
fn files_may_differ_in_columns_that_are_left_out() {
    use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
    use std::sync::Arc;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut file = File::create(folder.path().join(name)).unwrap();
        if name.ends_with("parquet") {
            let mut writer = ::parquet::arrow::ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
        } else {
            let mut writer = arrow::ipc::writer::FileWriter::try_new(&mut file, &batch.schema()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
        }
    };
    let numbers = |values: [f64; 2]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    for format in ["parquet", "arrow"] {
        let (a, b) = (format!("a.{format}"), format!("b.{format}"));
        write(&a, vec![("label", numbers([1.0, 0.0])), ("x", numbers([1.0, 2.0])), ("w", texts.clone())]);
        write(
            &b,
            vec![
                ("z", texts.clone()),
                ("w", numbers([7.0, 8.0])),
                ("x", numbers([3.0, 4.0])),
                ("label", numbers([0.0, 1.0])),
            ],
        );
        let paths = [&a, &b].map(|name| folder.path().join(name).display().to_string());
        let output = folder.path().join(format!("of-{format}"));
        let read = |ignore: &[&str]| {
            let ignore = ignore.iter().map(ToString::to_string).collect();
            let options =
                IngestOptions { roles: Roles { ignore, ..Roles::default() }, force: true, ..IngestOptions::default() };
            ingest(&paths, &options, &output, &Silent, &Cancel::new())
        };
        let report = read(&["z", "w"]).unwrap();
        assert_eq!(report.manifest.ignored, ["w", "z"]);
        let batch = stored(&output, &report.manifest, Split::Train).unwrap();
        assert_eq!(raw(&batch, "x"), [1.0, 2.0, 3.0, 4.0]);
        let error = |ignore: &[&str]| read(ignore).unwrap_err().to_string();
        assert!(error(&["w"]).contains(&format!("{b}, column 'z': the column is not in")), "{}", error(&["w"]));
        assert!(error(&["z"]).contains("column 'w': the type is Float64, but in"), "{}", error(&["z"]));
        assert!(error(&["z", "w", "nosuch"]).contains("no column 'nosuch'"), "{}", error(&["z", "w", "nosuch"]));
    }
}

#[test]
fn headers_may_differ_in_columns_that_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("a.csv", "label,x,w\n1,1,a\n0,2,b\n"),
        ("b.csv", "z,label,w,extra,x\nq,0,7,,3\n"),
        ("c.csv", "label,x\n1,4\n"),
    ];
    let read = |ignore: &[&str]| {
        let ignore = ignore.iter().map(ToString::to_string).collect();
        let options =
            IngestOptions { roles: Roles { ignore, ..Roles::default() }, force: true, ..IngestOptions::default() };
        from_files(&files, &options, folder.path())
    };
    let (report, output) = read(&["w", "z", "e*"]).unwrap();
    assert_eq!(report.manifest.ignored, ["w", "z", "extra"]);
    let batch = stored(&output, &report.manifest, Split::Train).unwrap();
    assert_eq!(raw(&batch, "x"), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(raw(&batch, "label"), [1.0, 0.0, 0.0, 1.0]);
    let error = |ignore: &[&str]| read(ignore).unwrap_err().to_string();
    assert!(error(&["w", "z"]).contains("b.csv, column 'extra': the column is not in"), "{}", error(&["w", "z"]));
    assert!(error(&["z", "extra"]).contains("c.csv, column 'w': the column is missing"), "{}", error(&["z", "extra"]));
    assert!(error(&["w", "z", "extra", "no"]).contains("no column 'no'"), "{}", error(&["w", "z", "extra", "no"]));
    assert!(error(&[]).contains("b.csv, line 1: the header has 5 columns"), "{}", error(&[]));
}
