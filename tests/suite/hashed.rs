//! Hashed columns, rare levels and buckets of numbers through the binary: ingest, training by passes and by batches, prediction of values never seen, inspection.

use crate::harness::{fails, ok};
use crate::interrupted::models;
use crate::samples::write;

/// Rows whose click follows from the number of the user modulo 3.
fn rows(users: std::ops::Range<u64>) -> String {
    let row = |i: u64| {
        let user = i * 7_919 % 1_000_003;
        let noise = u64::from(i % 10 == 0);
        format!(
            "u{user},{},{},{}\n",
            if i % 5 == 0 { String::new() } else { format!("s{}", i % 7) },
            i % 11,
            (user % 3 + noise) % 2
        )
    };
    let body: String = users.map(row).collect();
    format!("user,site,x,click\n{body}")
}

#[test]
fn buckets_of_numbers_and_rare_levels_through_the_binary() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    write(at, "a.csv", rows(0..2_000));
    ok(at, "ingest a.csv -o data --label click --bucketize x=4 --ignore user --min-count 300 -q");
    ok(at, "verify data -q");
    assert!(ok(at, "inspect data").contains("4 buckets at"), "{}", ok(at, "inspect data"));
    ok(at, "train data --model logistic --l2 0.001 -o run -q");
    let found: serde_json::Value = serde_json::from_str(&ok(at, "inspect run --json")).expect("JSON");
    let names: Vec<&str> = found["coefficients"].as_object().expect("an object").keys().map(String::as_str).collect();
    // x is 0..=10, 182 or 181 rows each: a quarter of 2,000 rows ends at 2, a half at 5, three quarters at 8.
    let expected = ["site (missing)", "site (unseen)", "x < 2", "2 <= x < 5", "5 <= x < 8", "8 <= x", "x (missing)"];
    assert!(expected.iter().all(|name| names.contains(name)) && names.len() == 7, "{names:?}");
    write(at, "new.csv", "site,x\nnever,-1e9\ns1,1e9\n,\n");
    ok(at, "predict run new.csv -o p.csv -q");
    ok(at, "evaluate run a.csv -q");
    assert!(fails(at, "ingest a.csv -o no --label click --bucketize x -q", 2).contains("expected COLUMN=N"));
    assert!(
        fails(at, "ingest a.csv -o no --label click --bucketize user=3 -q", 2).contains("only numbers have buckets")
    );
}

#[test]
fn a_hashed_dataset_trains_predicts_and_is_inspected() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    write(at, "a.csv", rows(0..4_000));
    write(at, "new.csv", rows(500_000..500_200));
    ok(at, "ingest a.csv -o data --label click --hash-bits 6,user=18 --test-share 0.2 -q");
    ok(at, "verify data -q");
    assert!(!at.join("data/dictionary-0.arrow").exists());
    let about: serde_json::Value = serde_json::from_str(&ok(at, "inspect data --json")).expect("JSON");
    assert_eq!(about["parameters"], (1 << 18) + 64 + 1);
    assert!(ok(at, "inspect data").contains("262,144 levels by hash"));

    ok(at, "train data --model logistic --solver adagrad --epochs 2 -o one --threads 1 -q");
    ok(at, "train data --model logistic --solver adagrad --epochs 2 -o two --threads 2 -q");
    assert!(models(&at.join("one")) == models(&at.join("two")), "threads do not matter");
    ok(at, "train data --model logistic --solver lbfgs --l2 0.01 -o passes -q");
    for run in ["one", "passes"] {
        ok(at, &format!("predict {run} new.csv -o {run}.csv -q"));
        let predicted = std::fs::read_to_string(at.join(format!("{run}.csv"))).expect("predictions");
        assert_eq!(predicted.lines().count(), 201);
        ok(at, &format!("evaluate {run} new.csv -q"));
        let found: serde_json::Value = serde_json::from_str(&ok(at, &format!("inspect {run} --json"))).expect("JSON");
        let names: Vec<&String> = found["coefficients"].as_object().expect("coefficients").keys().collect();
        assert!(names.iter().any(|name| name.starts_with("user#")) && names.len() < 4_100, "{}", names.len());
    }
    // Straight from the source, through the cache, it is the same model; another number of bits is another dataset.
    let words = "train a.csv --label click --test-share 0.2 --model logistic --solver adagrad --epochs 2 -q --force";
    ok(at, &format!("{words} --hash-bits 6,user=18 -o straight"));
    assert!(models(&at.join("straight")) == models(&at.join("one")));
    ok(at, &format!("{words} --hash-bits 6,user=17 -o straight"));
    assert!(models(&at.join("straight")) != models(&at.join("one")));

    write(at, "c.toml", "label = \"click\"\nhash-bits = { user = 17, site = 6 }\n".to_string());
    ok(at, "ingest a.csv -o file --config c.toml -q");
    let about: serde_json::Value = serde_json::from_str(&ok(at, "inspect file --json")).expect("JSON");
    assert_eq!(about["parameters"], (1 << 17) + 64 + 1);

    let refused = |bits: &str| fails(at, &format!("ingest a.csv -o no --label click --hash-bits {bits} -q"), 2);
    assert!(refused("40").contains("--hash-bits: found 40, expected 1 to 30"));
    assert!(refused("many").contains("found 'many'"));
    assert!(refused("usr=4").contains("no column 'usr'; did you mean 'user'?"));
    assert!(refused("x=4").contains("--categorical x"));
    assert!(!at.join("no").exists());
}
