//! Bad input is an error with its place, and nothing is left where a dataset would be.

use std::process::Command;

use arrow::array::{Float64Array, ListArray};
use arrow::datatypes::Float32Type;

use super::*;
use crate::roles::Roles;

fn failing(columns: Vec<(&str, ArrayRef)>, options: &IngestOptions) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = ingested(&Memory::new(columns, 3), options, &folder.path().join("data")).unwrap_err();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    error.to_string()
}

#[test]
fn faults_name_file_row_and_column() {
    let x = || ("x", floats((0..8).map(f64::from)));
    let y = |at: f64| ("y", floats((0..8).map(|i| if i == 5 { at } else { 1.0 })));
    let plain = IngestOptions { threads: Some(3), ..IngestOptions::default() };
    let weighted = IngestOptions { roles: Roles { weight: Some("y".into()), ..Roles::default() }, ..plain.clone() };
    let few = IngestOptions { max_categories: 4, ..plain.clone() };
    let list = |widths: [usize; 8]| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(widths.map(|width| Some(vec![Some(1.0); width]))))
    };
    let levels: Vec<String> = (0..8).map(|i| i.to_string()).collect();
    type Columns = Vec<(&'static str, ArrayRef)>;
    let cases: Vec<(Columns, &IngestOptions, &str)> = vec![
        (vec![x(), y(f64::NAN)], &plain, "rows.mem, row 6, column 'y': the label is missing or not a number"),
        (vec![x(), y(f64::INFINITY)], &plain, "rows.mem, row 6, column 'y': found an infinite value"),
        (vec![("x", y(f64::NEG_INFINITY).1)], &plain, "rows.mem, row 6, column 'x': found an infinite value"),
        (vec![x(), y(-0.5)], &weighted, "rows.mem, row 6, column 'y': found the weight -0.5"),
        (
            vec![("v", list([2, 2, 2, 2, 3, 2, 2, 2]))],
            &plain,
            "rows.mem, row 5, column 'v': found a vector of 3 numbers, expected 2",
        ),
        (
            vec![("v", list([2, 2, 2, 3, 3, 3, 3, 3]))],
            &plain,
            "rows.mem, row 4, column 'v': found a vector of 3 numbers, expected 2",
        ),
        (vec![("k", texts(levels.iter().map(|s| Some(s.as_str()))))], &few, "column 'k': has more than 4 levels"),
        (vec![("k", texts([None; 8]))], &plain, "no column is left to learn from"),
        (vec![("x", floats([1e200; 8]))], &plain, "column 'x': found values between 1e200"),
        (vec![("y", floats([1.0; 8]))], &plain, "no column is left to learn from"),
        (vec![("x", floats([])), ("y", floats([]))], &plain, "the source has no rows"),
    ];
    for (columns, options, expected) in cases {
        let message = failing(columns, options);
        assert!(message.contains(expected), "expected '{expected}', found '{message}'");
    }
}

#[test]
fn everything_held_out_and_nothing_labelled_are_refused() {
    let side = ("side", texts([Some("test"); 4]));
    let options = IngestOptions { split_column: Some("side".into()), ..IngestOptions::default() };
    assert!(failing(vec![("x", floats([1.0; 4])), side], &options).contains("all 4 rows are held out"));
    let options = IngestOptions { drop_missing_label: true, ..IngestOptions::default() };
    let label: ArrayRef = Arc::new(Float64Array::from(vec![None::<f64>; 4]));
    assert!(failing(vec![("x", floats([1.0; 4])), ("y", label)], &options).contains("none has a label"));
}

#[test]
fn an_existing_dataset_survives_a_failure_and_is_replaced_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let good = || Memory::new(vec![("x", floats((0..9).map(f64::from)))], 3);
    let first = ingested(&good(), &IngestOptions::default(), &output).unwrap();
    let error = ingested(&good(), &IngestOptions::default(), &output).unwrap_err();
    assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("--force"), "{error}");
    let force = IngestOptions { force: true, ..IngestOptions::default() };
    let bad = Memory::new(vec![("x", floats([f64::INFINITY]))], 3);
    assert!(ingested(&bad, &force, &output).is_err());
    assert!(stored(&output, &first.manifest, Split::Train).is_some());
    ingested(&good(), &force, &output).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_cancelled_ingest_leaves_nothing() {
    /// Asks to stop after so many reports of progress.
    struct StopAfter(AtomicUsize, Cancel);
    impl Progress for StopAfter {
        fn begin(&self, _: &str, _: Option<u64>) {}
        fn advance(&self, _: u64, _: u64) {
            if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.1.request();
            }
        }
        fn end(&self) {}
    }
    // 30 chunks and 5 grains: stopped in the survey, then among the grains.
    for after in [1, 10, 31, 33] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("data");
        let source = Memory::new(vec![("x", floats((0..300).map(f64::from)))], 10);
        let stop = StopAfter(AtomicUsize::new(after), Cancel::new());
        let options = IngestOptions { grain_rows: Some(64), threads: Some(2), ..IngestOptions::default() };
        let error = ingest_source(&source, Vec::new(), &options, &output, &stop, &stop.1).unwrap_err();
        assert!(matches!(error, Error::Interrupted), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "stopped after {after}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&small).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: a small file system cannot be mounted here (it takes root)");
        return;
    }
    let outcomes: Vec<_> = [1u64 << 30, 100_000]
        .into_iter()
        .map(|memory| {
            let source = Memory::new(vec![("x", floats((0..600_000).map(|i| f64::from(i) * 0.1)))], 10_000);
            let options = IngestOptions { memory: Some(memory), ..IngestOptions::default() };
            let error = ingested(&source, &options, &small.join("data")).map(|_| ());
            (error, std::fs::read_dir(&small).unwrap().count())
        })
        .collect();
    let unmounted = Command::new("umount").arg(&small).status();
    for (outcome, left) in outcomes {
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("No space left on device") && left == 0, "{message}, {left} left");
    }
    assert!(unmounted.is_ok_and(|status| status.success()));
}
