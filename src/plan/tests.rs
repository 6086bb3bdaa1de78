//! What a request may say, and what it then means.

use super::*;

fn request(text: &str) -> Result<TrainPlan> {
    serde_json::from_str::<TrainRequest>(text).expect("a request").resolve()
}

fn message(text: &str) -> String {
    match request(text) {
        Err(Error::Usage(message)) => message,
        other => panic!("expected a usage error, found {other:?}"),
    }
}

#[test]
fn a_short_request_becomes_a_full_plan() {
    let plan = request(r#"{"model": "logistic", "l2": [0.1, 1.0], "l1": 0.5}"#).expect("valid");
    assert_eq!((plan.l1.as_slice(), plan.l2.as_slice()), ([0.5].as_slice(), [0.1, 1.0].as_slice()));
    assert_eq!(plan.path(), [Strengths { l1: 0.5, l2: 0.1, rate: None }, Strengths { l1: 0.5, l2: 1.0, rate: None }]);
    let text = serde_json::to_string(&plan).expect("serialises");
    assert_eq!(serde_json::from_str::<TrainPlan>(&text).expect("parses"), plan);
}

#[test]
fn faults_are_named() {
    assert!(message("{}").contains("--model"));
    assert!(message(r#"{"model": "logistc"}"#).contains("logistic"));
    assert!(message(r#"{"model": "linear", "l1": -1}"#).contains("l1 is -1"));
    assert!(message(r#"{"model": "linear", "l2": []}"#).contains("empty list"));
    assert!(message(r#"{"model": "linear", "l2": [0.1, 1, 0.10]}"#).contains("lists 0.1 twice"));
    assert!(message(r#"{"model": "linear", "tolerance": 0}"#).contains("tolerance is 0"));
    assert!(message(r#"{"model": "linear", "max-passes": 0}"#).contains("max-passes"));
    assert!(message(r#"{"model": "linear", "folds": 1}"#).contains("from 2 to 1000 folds"));
    assert!(message(r#"{"model": "linear", "solver": "sdg"}"#).contains("owlqn"));
    assert!(message(r#"{"model": "logistic", "solver": "cholesky"}"#).contains("newton"));
    assert!(message(r#"{"model": "logistic", "solver": "lbfgs", "l1": 1}"#).contains("owlqn"));
    assert!(message(r#"{"model": "linear", "class-weight": "balanced"}"#).contains("class-weight"));
    assert!(message(r#"{"model": "logistic", "class-weight": {"yes": -2}}"#).contains("'yes'"));
    assert!(message(r#"{"model": "linear", "huber-delta": 2}"#).contains("--model huber"));
    assert!(message(r#"{"model": "huber", "huber-delta": 0}"#).contains("huber-delta is 0"));
    assert!(message(r#"{"model": "poisson", "tweedie-power": 1.5}"#).contains("--model tweedie"));
    assert!(message(r#"{"model": "tweedie", "tweedie-power": 3}"#).contains("from 1 (Poisson) to 2 (gamma)"));
    assert!(message(r#"{"model": "linear", "cross": ["a*a"]}"#).contains("'a' twice"));
    assert!(message(r#"{"model": "linear", "cross-bits": 9}"#).contains("there is no cross"));
    assert!(serde_json::from_str::<TrainRequest>(r#"{"l3": 1}"#).is_err());
}

#[test]
fn differences_are_named() {
    let one = request(r#"{"model": "linear", "l2": 0.1, "threads": 1}"#).expect("valid");
    let other = request(r#"{"model": "linear", "l2": 0.5, "threads": 2, "seed": 7}"#).expect("valid");
    assert_eq!(one.differences(&other), ["l2 is [0.1], it was [0.5]", "seed is 42, it was 7"]);
    assert!(one.differences(&one.clone()).is_empty());
}

#[test]
fn flags_lie_over_the_file() {
    let flags = TrainRequest { seed: Some(1), ..TrainRequest::default() };
    let file = TrainRequest { seed: Some(2), model: Some("linear".into()), ..TrainRequest::default() };
    let plan = flags.over(file).resolve().expect("valid");
    assert_eq!((plan.seed, plan.model.to_string().as_str()), (1, "linear"));
}
