//! `gristmill generate`: a file of more rows begins with those of a smaller one, and nothing is replaced unasked.

use crate::harness::{fails, ok};

#[test]
fn a_generated_file_goes_through_ingest_and_train() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let said = ok(folder.path(), "generate numeric --rows 2000 --columns 3 -o n.parquet --json -q");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["rows"], 2000);
    let about = ok(folder.path(), "inspect n.parquet --json");
    for column in ["x00", "x02", "label"] {
        assert!(about.contains(&format!("\"{column}\"")), "{about}");
    }
    assert!(!about.contains("\"x03\""), "{about}");
    ok(folder.path(), "train n.parquet --model logistic --label label -o run -q");

    let before = std::fs::read(folder.path().join("n.parquet")).expect("the file");
    assert!(fails(folder.path(), "generate numeric --rows 10 -o n.parquet", 2).contains("--force"));
    assert!(before == std::fs::read(folder.path().join("n.parquet")).expect("the file"));
    ok(folder.path(), "generate numeric --rows 2000 --columns 3 -o n.parquet --force --threads 1 -q");
    assert!(before == std::fs::read(folder.path().join("n.parquet")).expect("the file"), "not the same bytes again");
    assert!(fails(folder.path(), "generate clicks --columns 3 -o c.parquet", 2).contains("numeric"));
    assert!(fails(folder.path(), "generate clicks -o c.csv.gz", 2).contains("writes Parquet"));
    assert!(fails(folder.path(), "generate nonsense -o c.parquet", 2).contains("clicks"));
}
