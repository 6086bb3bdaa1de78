//! Ways in and starts that must not change a model: standard input, storage types, a warm start.

use std::fs::File;

use crate::harness::{command, ok, outcome};
use crate::samples::{csv, write};
use crate::weights::{agree, coefficients};

#[test]
fn standard_input_trains_the_same_model() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(400));
    let flags = "--format csv --ignore id,t --label y --model logistic --l2 0.1 -q";
    let input = File::open(folder.path().join("d.csv")).expect("a file");
    let words = format!("train - {flags} -o piped");
    let run = command(folder.path()).args(words.split_whitespace()).stdin(input).output();
    let run = outcome(run.expect("the binary starts"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    ok(folder.path(), &format!("train d.csv {flags} -o named"));
    let [piped, named] = ["piped", "named"]
        .map(|run| std::fs::read(folder.path().join(run).join("model.safetensors")).expect("a model"));
    assert!(piped == named, "standard input gives another model than the file");
}

/// `a` and `b` are multiples of 1/8 between -12.5 and 12.5: an f16 holds them exactly, a u16 to 2e-4, a u8 to 0.05 (half a
/// step of 25/255): times a coefficient of 2, spread evenly and averaged over 170 rows of a colour, that is 0.1 / sqrt(3) /
/// sqrt(170) = 4e-3 in a coefficient; five of these are allowed.
#[test]
fn small_storage_of_values_that_fit_gives_the_same_answer() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(500));
    let cases = [("f64", 0.0), ("f32", 1e-6), ("f16", 1e-6), ("a=u16,b=u16", 1e-4), ("a=u8,b=u8", 2e-2)];
    for (dtype, tolerance) in cases {
        let name = dtype.replace(['=', ','], "");
        ok(folder.path(), &format!("ingest d.csv --ignore id,y --label t --impute zero --dtype {dtype} -o {name} -q"));
        ok(folder.path(), &format!("train {name} --model linear --l2 0.01 -o {name}.run -q"));
        let about: serde_json::Value =
            serde_json::from_str(&ok(folder.path(), &format!("inspect {name} --json"))).expect("JSON");
        let stored = about["columns"].as_array().and_then(|columns| columns.iter().find(|c| c["name"] == "b"));
        let expected = dtype.rsplit('=').next().unwrap_or_default();
        assert_eq!(stored.expect("column b")["stored_as"], expected, "{dtype}");
        agree(&coefficients(folder.path(), "f64.run"), &coefficients(folder.path(), &format!("{name}.run")), tolerance);
    }
}

#[test]
fn a_warm_start_begins_where_the_other_run_ended() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(800));
    ok(folder.path(), "ingest d.csv --ignore id,t --label y -o data -q");
    let train = "train data --model logistic --l2 0.01 --solver newton -q";
    ok(folder.path(), &format!("{train} -o cold"));
    ok(folder.path(), &format!("{train} --warm-start cold -o warm"));
    let passes = |run: &str| {
        let about: serde_json::Value =
            serde_json::from_str(&ok(folder.path(), &format!("inspect {run} --json"))).expect("JSON");
        about["passes"].as_u64().expect("passes")
    };
    let (cold, warm) = (passes("cold"), passes("warm"));
    assert!(warm <= 2 && warm < cold, "cold {cold}, warm {warm}");
    agree(&coefficients(folder.path(), "cold"), &coefficients(folder.path(), "warm"), 1e-5);
    write(folder.path(), "other.csv", "a,y\n1,0\n2,1\n3,0\n");
    let words = "train other.csv --label y --model logistic --l2 1 --warm-start cold -o x";
    let message = crate::harness::fails(folder.path(), words, 2);
    assert!(
        message.contains("--warm-start") && message.contains("column 'a'") && !message.contains("source files"),
        "{message}"
    );
    assert!(
        crate::harness::fails(folder.path(), "train data --model linear --warm-start data -o x", 2).contains("no run")
    );
}

#[test]
fn flags_of_ingest_are_refused_beside_a_dataset() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "d.csv", csv(300));
    ok(folder.path(), "ingest d.csv --ignore id,t --label y -o data -q");
    ok(folder.path(), "train data --label y --model logistic --l2 0.1 -o run -q");
    for flag in ["--label a", "--weight b", "--ignore a", "--header true", "--test-share 0.1"] {
        let words = format!("train data {flag} --model logistic --l2 0.1 -o other");
        let message = crate::harness::fails(folder.path(), &words, 2);
        assert!(message.contains(flag.split(' ').next().unwrap_or_default()), "{message}");
    }
}
