//! pyarrow opens every shard: schema, numbers of rows and values agree with the source.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::ok;
use crate::samples::{csv, number, write};

/// Reads every shard of `data` and prints names, types, rows, and the values of column `b` in their order.
const SCRIPT: &str = "
import glob, json, sys
import pyarrow.ipc as ipc
out = {}
for split in ('train', 'test'):
    tables = [ipc.open_file(path).read_all() for path in sorted(glob.glob(sys.argv[1] + f'/{split}-*.arrow'))]
    for table in tables:
        table.validate(full=True)
    out[split] = {
        'names': tables[0].schema.names, 'types': [str(t) for t in tables[0].schema.types],
        'rows': sum(t.num_rows for t in tables), 'b': [x for t in tables for x in t['b'].to_pylist()],
        'id': [x for t in tables for x in t['id'].to_pylist()],
    }
print(json.dumps(out))
";

/// A Python with pyarrow: of the environment variable, or of `make test`.
fn python() -> Option<PathBuf> {
    let own = crate::tidy::root().join("target/python/bin/python");
    let found = std::env::var_os("GRISTMILL_PYTHON").map_or(own, PathBuf::from);
    let works = Command::new(&found).args(["-c", "import pyarrow.ipc"]).output().is_ok_and(|run| run.status.success());
    works.then_some(found)
}

#[test]
fn shards_open_in_pyarrow() {
    let Some(python) = python() else {
        eprintln!("skipped: no Python with pyarrow (GRISTMILL_PYTHON, or target/python by `make test`)");
        return;
    };
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(3_000));
    let words = "ingest d.csv --label y --ignore t --dtype id=f64,b=f64 --test-share 0.3 -o data -q";
    ok(folder.path(), words);
    let run = Command::new(python).args(["-c", SCRIPT]).arg(folder.path().join("data")).output().expect("Python runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let found: serde_json::Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("data/manifest.json")).expect("manifest"))
            .expect("JSON");
    let columns = manifest["columns"].as_array().expect("columns");
    let affine = |name: &str| {
        let kind = &columns.iter().find(|column| column["name"] == name).expect("a column")["kind"];
        (kind["offset"].as_f64().expect("offset"), kind["scale"].as_f64().expect("scale"))
    };
    let ((b_offset, b_scale), (id_offset, id_scale)) = (affine("b"), affine("id"));
    let mut rows = 0;
    for split in ["train", "test"] {
        let part = &found[split];
        assert_eq!(part["names"], serde_json::json!(["id", "a", "b", "colour", "y"]), "{split}");
        assert_eq!(part["types"][2], "double", "{split}");
        let values = |name: &str| part[name].as_array().expect("values").iter().map(|x| x.as_f64().expect("a number"));
        for (b, id) in values("b").zip(values("id")) {
            let (b, row) = (b_offset + b_scale * b, (id_offset + id_scale * id).round() as u64);
            assert!((b - number(row, 1)).abs() < 1e-12, "{split}, row {row}: {b}");
        }
        rows += part["rows"].as_u64().expect("rows");
    }
    assert_eq!(rows, 3_000);
}
