use super::*;
use arrow::datatypes::Field;

fn schema(columns: &[(&str, DataType)]) -> Schema {
    Schema::new(columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>())
}

fn plain() -> Schema {
    schema(&[
        ("age", DataType::Int32),
        ("city", DataType::Utf8),
        ("Target", DataType::Float64),
        ("pixels", DataType::new_list(DataType::Float32, true)),
        (
            "words",
            DataType::new_list(
                DataType::Struct(
                    vec![Field::new("index", DataType::UInt32, false), Field::new("value", DataType::Float32, false)]
                        .into(),
                ),
                false,
            ),
        ),
    ])
}

fn shapes(found: &Resolved) -> Vec<(&str, Role, Shape)> {
    found.columns.iter().map(|column| (column.name.as_str(), column.role, column.shape)).collect()
}

fn usage(result: Result<Resolved>) -> String {
    match result {
        Err(Error::Usage(message)) => message,
        other => panic!("a usage error was expected, not {other:?}"),
    }
}

#[test]
fn roles_are_inferred_from_types_and_the_label_from_its_name() {
    let found = Roles::default().resolve(&plain(), None).unwrap();
    assert_eq!(
        shapes(&found),
        [
            ("age", Role::Feature, Shape::Numeric),
            ("city", Role::Feature, Shape::Categorical),
            ("Target", Role::Label, Shape::Numeric),
            ("pixels", Role::Feature, Shape::Vector),
            ("words", Role::Feature, Shape::Sparse),
        ]
    );
}

#[test]
fn the_user_overrules_with_names_and_patterns() {
    let roles = Roles {
        label: Some("city".into()),
        weight: Some("Target".into()),
        ignore: vec!["p*".into()],
        categorical: vec!["a?e".into()],
        ..Roles::default()
    };
    let found = roles.resolve(&plain(), Some("words")).unwrap();
    assert_eq!(found.ignored, ["pixels", "words"]);
    assert_eq!(found.split, Some(4));
    assert_eq!(
        shapes(&found),
        [
            ("age", Role::Feature, Shape::Categorical),
            ("city", Role::Label, Shape::Categorical),
            ("Target", Role::Weight, Shape::Numeric),
        ]
    );
}

#[test]
fn what_is_said_of_a_column_beats_patterns_of_less_weight() {
    let file = Roles {
        label: Some("city".into()),
        categorical: vec!["a*".into(), "T*".into()],
        ignore: vec!["p*".into(), "words".into()],
        ..Roles::default()
    };
    let flags = Roles { label: Some("Target".into()), numeric: vec!["age".into()], ..Roles::default() };
    let found = flags.over(file).resolve(&plain(), None).unwrap();
    assert_eq!(
        shapes(&found),
        [
            ("age", Role::Feature, Shape::Numeric),
            ("city", Role::Feature, Shape::Categorical),
            ("Target", Role::Label, Shape::Numeric),
        ]
    );
    assert_eq!(found.ignored, ["pixels", "words"]);
    let wrong = Roles { categorical: vec!["nosuch".into()], ..Roles::default() };
    assert!(usage(Roles::default().over(wrong).resolve(&plain(), None)).contains("no column 'nosuch'"));
}

#[test]
fn several_labels_become_one_column() {
    let names = ["x", "b", "a", "c,d"];
    let numbers = schema(&names.map(|name| (name, DataType::Int8)));
    let roles = |label: &str| Roles { label: Some(label.into()), ..Roles::default() };
    let found = roles("a, b").resolve(&numbers, None).unwrap();
    let labels: Vec<_> = found.columns.iter().filter(|column| column.role == Role::Label).collect();
    assert_eq!((labels.len(), labels[0].name.as_str(), labels[0].shape), (1, "a,b", Shape::Labels));
    assert_eq!(labels[0].labels, [("a".to_string(), 2), ("b".to_string(), 1)]);
    assert_eq!(found.columns.len(), 3);
    let one = roles("c,d").resolve(&numbers, None).unwrap();
    assert!(one.columns.iter().any(|column| column.name == "c,d" && column.shape == Shape::Numeric));
    assert!(usage(roles("a,b,a").resolve(&numbers, None)).contains("'a' is named twice"));
    assert!(usage(roles("a,e").resolve(&numbers, None)).contains("no column 'e'"));
    let roles = Roles { categorical: vec!["b".into()], ..roles("a,b") };
    assert!(usage(roles.resolve(&numbers, None)).contains("'b' is one of several labels"));
    let roles = Roles { weight: Some("b".into()), ..Roles { categorical: Vec::new(), ..roles } };
    assert!(usage(roles.resolve(&numbers, None)).contains("'b' is given as label and as weight"));
}

#[test]
fn an_unknown_name_gets_the_nearest_one() {
    let roles = Roles { label: Some("taget".into()), ..Roles::default() };
    assert_eq!(
        usage(roles.resolve(&plain(), None)),
        "--label: the source has no column 'taget'; did you mean 'Target'?"
    );
    let roles = Roles { ignore: vec!["zzz".into()], ..Roles::default() };
    assert!(usage(roles.resolve(&plain(), None)).contains("'age', 'city', 'Target'"));
}

#[test]
fn the_name_of_a_struct_gets_its_fields() {
    let nested = schema(&[("a.u", DataType::Int8), ("ab", DataType::Int8), ("a.v", DataType::Int8)]);
    let roles = Roles { ignore: vec!["a".into()], ..Roles::default() };
    assert_eq!(
        usage(roles.resolve(&nested, None)),
        "--ignore: 'a' is no column but has some: 'a.u', 'a.v'. Name them, or all with 'a.*'"
    );
    let roles = Roles { label: Some("a".into()), ..Roles::default() };
    assert_eq!(usage(roles.resolve(&nested, None)), "--label: 'a' is no column but has some: 'a.u', 'a.v'. Name them");
}

#[test]
fn duplicates_contradictions_and_meaningless_types_are_refused() {
    let twice = schema(&[("a", DataType::Int8), ("b", DataType::Int8), ("a", DataType::Int8)]);
    assert!(usage(Roles::default().resolve(&twice, None)).contains("columns 1, 3"));
    let roles = Roles { label: Some("age".into()), ignore: vec!["a*".into()], ..Roles::default() };
    assert!(usage(roles.resolve(&plain(), None)).contains("'age' is given as label and as ignore"));
    let roles = Roles { numeric: vec!["age".into()], categorical: vec!["age".into()], ..Roles::default() };
    assert!(usage(roles.resolve(&plain(), None)).contains("numeric and as categorical"));
    let odd = schema(&[("a", DataType::Int8), ("b", DataType::Binary)]);
    assert!(usage(Roles::default().resolve(&odd, None)).contains("--ignore b"));
    let roles = Roles { vector: vec!["age".into()], ..Roles::default() };
    assert!(usage(roles.resolve(&plain(), None)).contains("not a list of numbers"));
    let roles = Roles { ignore: vec!["*".into()], ..Roles::default() };
    assert!(usage(roles.resolve(&plain(), None)).contains("no column is left"));
}

#[test]
fn a_toml_file_with_an_unknown_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roles.toml");
    std::fs::write(&path, "label = \"y\"\nignore = [\"id\"]\n").unwrap();
    assert_eq!(Roles::read(&path).unwrap().ignore, ["id"]);
    std::fs::write(&path, "lable = \"y\"\n").unwrap();
    let message = Roles::read(&path).unwrap_err().to_string();
    assert!(message.contains("lable") && message.contains("Keys are label"), "{message}");
}
