//! The model on disk: written and read back bit by bit, and no damage that panics or passes unseen.

use gristmill_kernels::dtype::DType;

use super::*;

fn columns() -> Vec<Column> {
    let column =
        |name: &str, role, kind| Column { name: name.into(), role, kind, source_type: "Float64".into(), missing: 0 };
    let numeric =
        |offset, scale| Kind::Numeric { dtype: DType::F32, offset, scale, impute: Some(1.0), worst_error: 0.0 };
    vec![
        column("age", Role::Feature, numeric(40.0, 1.0)),
        column("y", Role::Label, numeric(0.0, 1.0)),
        column("v", Role::Feature, Kind::Vector { dtype: DType::F32, width: 2 }),
    ]
}

fn metadata() -> Metadata {
    Metadata {
        format: FORMAT_VERSION,
        created_by: "gristmill test".into(),
        model: ModelName::find("logistic").expect("registered"),
        settings: Settings::default(),
        link: "logit".into(),
        classes: Some(vec!["no".into(), "yes".into()]),
        multiclass: None,
        label_mean: 0.25,
        columns: columns(),
        parameters: 3,
        fit: Fit {
            strengths: Strengths { l1: 0.0, l2: 0.1, rate: None },
            standardize: true,
            intercept: true,
            solver: "newton".into(),
            tolerance: 1e-7,
            seed: 42,
            objective: 0.1 + 0.2,
            loss: 0.3,
            gradient_norm: Some(1e-9),
            passes: 5,
            converged: Some(true),
            reason: "estimated gap".into(),
            rows: 10,
        },
        null_values: None,
        dataset_fingerprint: "00".into(),
        weights: FileEntry { file: String::new(), bytes: 0, xxh3: String::new() },
    }
}

fn weights() -> Weights {
    Weights {
        weights: vec![0.5, 1.0, 2.0],
        intercepts: vec![1.0],
        coefficients: vec![0.5, 1.0, 2.0],
        real_intercepts: vec![-19.0],
    }
}

fn written() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    Model::write(metadata(), &weights(), folder.path(), folder.path()).expect("writes");
    folder
}

#[test]
fn a_model_comes_back_as_it_was() {
    let folder = written();
    let model = Model::read(folder.path()).expect("reads");
    assert_eq!(model.weights, weights());
    assert_eq!(model.metadata.fit, metadata().fit);
    assert_eq!(model.metadata.columns, columns());
    assert_eq!(model.metadata.task(), Task::Binary);
    assert_eq!(model.metadata.label().map(|label| label.name.as_str()), Some("y"));
}

#[test]
fn damage_is_an_error_that_names_the_file() {
    for file in [METADATA_FILE, WEIGHTS_FILE] {
        let folder = written();
        let path = folder.path().join(file);
        let bytes = std::fs::read(&path).expect("written");
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            std::fs::write(&path, &damaged).expect("writes");
            // A changed digit of the metadata may still make sense; what fails must say where.
            if let Err(error) = Model::read(folder.path()) {
                assert!(error.to_string().contains(&*folder.path().to_string_lossy()), "{error}");
            } else {
                assert_eq!(file, METADATA_FILE, "changed byte {at} of {file} went unseen");
            }
        }
        std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("writes");
        assert!(Model::read(folder.path()).is_err());
        std::fs::remove_file(&path).expect("removes");
        assert!(Model::read(folder.path()).expect_err("missing").to_string().contains(file));
    }
}

#[test]
fn contradictions_and_later_versions_are_refused() {
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let folder = written();
        let path = folder.path().join(METADATA_FILE);
        let mut value = serde_json::from_slice(&std::fs::read(&path).expect("written")).expect("JSON");
        change(&mut value);
        std::fs::write(&path, value.to_string()).expect("writes");
        Model::read(folder.path()).expect_err("refused").to_string()
    };
    assert!(refused(&|value| value["format"] = 2.into()).contains("model format 2"));
    assert!(refused(&|value| value["parameters"] = 4.into()).contains("states 4 parameters"));
    assert!(refused(&|value| value["weights"]["file"] = "../x".into()).contains("own folder"));
    assert!(refused(&|value| value["columns"][0]["kind"]["scale"] = 0.into()).contains("'age'"));
    assert!(refused(&|value| value["classes"] = serde_json::Value::Null).contains("classes"));
    assert!(refused(&|value| value["extra"] = 1.into()).contains("extra"));
}
