//! Hashed columns, rare levels, buckets of numbers and texts through the binary: ingest, training by passes and by batches, prediction of values never seen, inspection.

use crate::harness::{fails, ok};
use crate::interrupted::models;
use crate::samples::write;

/// Rows whose click follows from the number of the user modulo 3.
fn rows(users: std::ops::Range<u64>) -> String {
    let row = |i: u64| {
        let user = i * 7_919 % 1_000_003;
        let noise = u64::from(i.is_multiple_of(10));
        format!(
            "u{user},{},{},{}\n",
            if i.is_multiple_of(5) { String::new() } else { format!("s{}", i % 7) },
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
fn the_level_of_rare_values_is_unseen_where_none_is_missing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    let colours = (0..40).map(|i| ["red", "blue", "red", "blue", "only", "once"][if i < 38 { i % 4 } else { i - 34 }]);
    let body: String = colours.map(|colour| format!("{colour},{}\n", if colour.len() == 4 { 1 } else { 5 })).collect();
    write(at, "a.csv", format!("colour,label\n{body}"));
    ok(at, "ingest a.csv -o data --min-count 3 -q");
    ok(at, "train data --model linear --l2 0.001 -o run -q");
    let found: serde_json::Value = serde_json::from_str(&ok(at, "inspect run --json")).expect("JSON");
    let names: Vec<&str> = found["coefficients"].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, ["colour (unseen)", "colour=blue", "colour=red"]);
    assert!(found["coefficients"]["colour (unseen)"].as_f64().is_some_and(|weight| weight != 0.0), "{found}");
}

#[test]
fn digits_that_are_categories_keep_their_zeros_in_prediction() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    let row = |i: u64| {
        format!("{},{}\n", ["007", "010", "123"][i as usize % 3], u64::from(i.is_multiple_of(3) || i % 50 == 1))
    };
    let body: String = (0..1_000).map(row).collect();
    write(at, "a.csv", format!("zip,y\n{body}"));
    write(at, "new.csv", "zip,y\n007,1\n010,0\n");
    for flags in ["--categorical zip", "--categorical zip --hash-bits 8", "--text zip"] {
        ok(at, &format!("ingest a.csv -o data --force --label y {flags} -q"));
        ok(at, "train data --model logistic --l2 0.001 -o run --force -q");
        ok(at, "predict run new.csv -o p.csv --force -q");
        let predicted = std::fs::read_to_string(at.join("p.csv")).expect("predictions");
        let classes: Vec<&str> = predicted.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
        assert_eq!(classes, ["1", "0"], "{flags}: {predicted}");
    }
    // A label of such digits is found by evaluate as well.
    write(at, "b.csv", format!("x,z\n{}", (0..300).map(|i| format!("{},0{}\n", i % 2, i % 2)).collect::<String>()));
    ok(at, "ingest b.csv -o data --force --label z --categorical z -q");
    ok(at, "train data --model logistic --l2 0.1 -o run --force -q");
    assert!(ok(at, "evaluate run b.csv").contains("accuracy"));
}

#[test]
fn a_text_column_through_the_binary() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = folder.path();
    // What decides is a pair of words: each word alone is as frequent in both classes.
    let row = |i: u64| {
        let (first, second) = (i % 2, i / 2 % 2);
        let words = format!("{} {}", ["not", "very"][first as usize], ["good", "bad"][second as usize]);
        format!("\"Film {} was {words}, ÉTÉ {}\",{}\n", i % 13, i % 5, (first + second) % 2)
    };
    let text: String = (0..2_000).map(row).collect();
    write(at, "a.csv", format!("review,liked\n{text}"));
    for (name, ngrams, most) in [("words", "", 0.72), ("pairs", "--ngrams 1..2", 0.2)] {
        ok(at, &format!("ingest a.csv -o {name} --label liked --text review --test-share 0.2 {ngrams} -q"));
        ok(at, &format!("verify {name} -q"));
        assert!(ok(at, &format!("inspect {name}")).contains("262,144 elements"));
        ok(at, &format!("train {name} --model logistic --l2 0.0001 -o {name}-run --threads 2 -q"));
        let found: serde_json::Value =
            serde_json::from_str(&ok(at, &format!("evaluate {name}-run {name} --json"))).expect("JSON");
        let figures = found["evaluation"]["figures"].as_array().expect("figures");
        let loss =
            figures.iter().find(|figure| figure["name"] == "log_loss").and_then(|figure| figure["value"].as_f64());
        let loss = loss.expect("a log loss");
        assert!(loss < most && (most < 0.5 || loss > 0.6), "{name}: {loss}");
        ok(at, &format!("predict {name}-run a.csv -o {name}.csv -q"));
        ok(at, &format!("train {name} --model logistic --solver adagrad -o {name}-online --force -q"));
    }
    ok(at, "train pairs --model logistic --l2 0.0001 -o one --threads 1 -q");
    assert!(models(&at.join("one")) == models(&at.join("pairs-run")), "threads do not matter");
    let found: serde_json::Value = serde_json::from_str(&ok(at, "inspect one --json")).expect("JSON");
    let names: Vec<&String> = found["coefficients"].as_object().expect("an object").keys().collect();
    assert!(names.len() < 100 && names.iter().all(|name| name.starts_with("review#")), "{names:?}");
    assert!(fails(at, "ingest a.csv -o no --label liked --text review --ngrams 2..1 -q", 2).contains("found 2..1"));
    assert!(fails(at, "ingest a.csv -o no --label liked --ngrams 1..2 -q", 2).contains("no column is text"));
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

    write(at, "c.toml", "label = \"click\"\nhash-bits = { user = 17, site = 6 }\n");
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
