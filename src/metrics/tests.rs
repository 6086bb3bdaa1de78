//! Every figure against scikit-learn (version in `tests/reference/metrics.json`, made by `metrics.py` beside it).

use super::*;

const COUNT: i64 = 4_000;

fn reference() -> serde_json::Value {
    serde_json::from_str(include_str!("../../tests/reference/metrics.json")).expect("reference file")
}

/// The rows of the recipe: prediction, label, weight.
fn rows_of(task: Task) -> [Vec<f64>; 3] {
    let column = |value: &dyn Fn(i64) -> f64| (0..COUNT).map(value).collect::<Vec<f64>>();
    let weight = column(&|i| ((i * 31) % 7) as f64 / 4.0);
    let margin = |i: i64| ((i * 7919) % 1013 - 506) as f64 / 128.0;
    let value = |i: i64| 1e6 + ((i * 6007) % 3001) as f64 / 16.0;
    match task {
        Task::Binary | Task::Margin => [
            column(&margin),
            column(&|i| {
                let chance = ((i * 104_729) % 2003) as f64 / 2003.0;
                f64::from(u8::from(chance < 1.0 / (1.0 + (-margin(i) * 0.8).exp())))
            }),
            weight,
        ],
        Task::Deviance(power) => {
            let least = f64::from(u8::from(power == 2.0));
            let mean = |i: i64| 0.5 + ((i * 577) % 211) as f64 / 8.0;
            [column(&mean), column(&|i| least + ((i * 7907) % 41) as f64), weight]
        }
        Task::Multiclass(of) => {
            let margin =
                |k: i64, i: i64| ((i * (7919 + 26 * k) + 97 * k) % 1013 - 506) as f64 / 128.0 + k as f64 / 1024.0;
            let best = |i: i64| multiclass::predicted((0..7).map(|k| margin(k, i))) as i64;
            let label = |i: i64| if i % 3 == 0 { best(i) } else { (i * 104_729 % 2003) % 7 };
            let classes = of.classes as i64;
            [(0..classes * COUNT).map(|j| margin(j / COUNT, j % COUNT)).collect(), column(&|i| label(i) as f64), weight]
        }
        Task::Multilabel(of) => {
            let margin = |k: i64, i: i64| ((i * (7919 + 26 * k) + 97 * k) % 101 - 50) as f64 / 16.0;
            let has = |k: i64, i: i64| {
                let chance = ((i * 104_729 + 331 * k) % 2003) as f64 / 2003.0;
                u64::from(chance < 1.0 / (1.0 + (-margin(k, i) * 0.8).exp()))
            };
            let labels = of.labels as i64;
            let held = |i: i64| (0..labels).map(|k| has(k, i) << k).sum::<u64>() as f64;
            [(0..labels * COUNT).map(|j| margin(j / COUNT, j % COUNT)).collect(), column(&held), weight]
        }
        Task::Regression | Task::Quantile(_) => {
            [column(&|i| value(i) + ((i * 577) % 211 - 105) as f64 / 8.0), column(&value), weight]
        }
    }
}

/// Evaluate in chunks of `step` rows.
fn evaluate(task: Task, weighted: bool, step: usize) -> Evaluation {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let [prediction, label, weight] = rows_of(task);
    let board = Scoreboard::new(task, None, 1 << 16, scratch.path());
    // Backwards: the order in which chunks arrive must not matter.
    for from in (0..label.len()).step_by(step).rev() {
        let range = from..(from + step).min(label.len());
        let of_range: Vec<f64> = prediction.chunks(label.len()).flat_map(|one| one[range.clone()].to_vec()).collect();
        let rows = Rows {
            prediction: &of_range,
            label: &label[range.clone()],
            weight: weighted.then(|| &weight[range.clone()]),
            centre: if matches!(task, Task::Regression | Task::Quantile(_)) { 1e6 } else { 20.0 },
        };
        board.add(from as u64, &rows).expect("scratch file");
    }
    board.finish().expect("scratch file")
}

/// Sums of 4,000 terms in another order than numpy's pairwise one: 1e-12 is some hundred roundings.
fn close(found: Option<f64>, expected: &serde_json::Value, what: &str) {
    let (found, expected) = (found.expect(what), expected.as_f64().expect(what));
    assert!((found - expected).abs() <= 1e-12 * expected.abs(), "{what}: {found} instead of {expected}");
}

#[test]
fn figures_are_those_of_scikit_learn() {
    let reference = reference();
    for (task, key) in [
        (Task::Binary, "binary"),
        (Task::Margin, "margin"),
        (Task::Regression, "regression"),
        (Task::Quantile(0.9), "quantile"),
        (Task::Deviance(1.0), "poisson"),
        (Task::Deviance(1.5), "tweedie"),
        (Task::Deviance(2.0), "gamma"),
        (Task::Multiclass(Multiclass { classes: 7, odds: Odds::Joint }), "joint"),
        (Task::Multiclass(Multiclass { classes: 7, odds: Odds::Each }), "each"),
        (Task::Multiclass(Multiclass { classes: 7, odds: Odds::Never }), "never"),
        (Task::Binary.of_labels(5), "labels"),
        (Task::Margin.of_labels(5), "label_margins"),
    ] {
        for (weighted, suffix) in [(false, ""), (true, "_weighted")] {
            let expected = reference[format!("{key}{suffix}")].as_object().expect("figures");
            for step in [97, 4_000] {
                let found = evaluate(task, weighted, step);
                for (name, value) in expected.iter().filter(|(name, _)| *name != "calibration") {
                    if name == "labels" {
                        let labels = value.as_array().expect("labels");
                        assert_eq!(found.labels.len(), labels.len());
                        for (own, expected) in found.labels.iter().zip(labels) {
                            let expected = expected.as_object().expect("figures");
                            assert_eq!(own.figures.len(), expected.len());
                            for figure in &own.figures {
                                let what = format!("{key}{suffix} {} of label {}", figure.name, own.label);
                                close(figure.value, &expected[&figure.name], &what);
                            }
                        }
                        continue;
                    }
                    if name == "confusion" {
                        let matrix: Vec<Vec<f64>> = serde_json::from_value(value.clone()).expect("a matrix");
                        assert_eq!(found.confusion, matrix);
                        continue;
                    }
                    close(found.figure(name), value, &format!("{key}{suffix} {name}"));
                }
            }
        }
    }
}

#[test]
fn the_calibration_table_is_that_of_scikit_learn() {
    let reference = reference();
    for (weighted, key) in [(false, "binary"), (true, "binary_weighted")] {
        let found = evaluate(Task::Binary, weighted, 1_000).calibration;
        let expected = reference[key]["calibration"].as_array().expect("table");
        assert_eq!(found.len(), expected.len());
        for (bin, line) in found.iter().zip(expected) {
            close(Some(bin.weight), &line[0], "weight");
            close(bin.predicted, &line[1], "predicted");
            close(bin.observed, &line[2], "observed");
        }
    }
}

/// Ranks that share the chunks find the figures of one process, to the bit.
#[test]
fn ranks_find_the_same_figures_of_labels() {
    let task = Task::Binary.of_labels(5);
    let alone = evaluate(task, true, 97);
    let [prediction, label, weight] = rows_of(task);
    let scratch = tempfile::tempdir().expect("temporary folder");
    // The first chunk may be on any rank.
    for (ranks, shift) in [(2, 0), (2, 1), (3, 0), (3, 2)] {
        let all = mpi_launch::threads::run(ranks, |comm| {
            let board = Scoreboard::new(task, None, 1 << 16, scratch.path());
            for (chunk, from) in
                (0..label.len()).step_by(97).enumerate().filter(|(chunk, _)| (chunk + shift) % ranks == comm.rank())
            {
                let range = from..(from + 97).min(label.len());
                let of_range: Vec<f64> =
                    prediction.chunks(label.len()).flat_map(|one| one[range.clone()].to_vec()).collect();
                let (label, weight) = (&label[range.clone()], Some(&weight[range.clone()]));
                board.add(chunk as u64, &Rows { prediction: &of_range, label, weight, centre: 0.0 }).expect("scratch");
            }
            let gathered = board.gathered(comm)?;
            Ok::<_, crate::Error>(gathered.map(|board| board.finish().expect("scratch")))
        });
        let found: Vec<Evaluation> = all.into_iter().filter_map(|rank| rank.expect("no rank is lost")).collect();
        assert_eq!(found, std::slice::from_ref(&alone), "{ranks} ranks");
    }
}

/// Chunks that come in order, with gaps in their numbers, are added up at once, to the same bits.
#[test]
fn chunks_in_order_give_the_same_figures() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let task = Task::Binary;
    let [prediction, label, weight] = rows_of(task);
    let board = Scoreboard::new(task, None, 1 << 16, scratch.path());
    for (chunk, from) in (0..label.len()).step_by(97).enumerate() {
        let range = from..(from + 97).min(label.len());
        let (prediction, label, weight) = (&prediction[range.clone()], &label[range.clone()], &weight[range]);
        let number = (chunk as u64 / 3) << 24 | (chunk as u64 % 3);
        board.add(number, &Rows { prediction, label, weight: Some(weight), centre: 20.0 }).expect("scratch");
        if chunk % 3 == 2 {
            board.settle((chunk as u64 / 3 + 1) << 24);
        }
    }
    assert_eq!(board.finish().expect("scratch"), evaluate(task, true, 97));
}

#[test]
fn what_is_not_defined_has_no_value() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let judge = |task, prediction: &[f64], label: &[f64]| {
        let rows = Rows { prediction, label, weight: None, centre: 0.0 };
        let board = Scoreboard::new(task, None, 1 << 20, scratch.path());
        board.add(0, &rows).expect("no spill");
        board.finish().expect("no spill")
    };
    let one_class = judge(Task::Binary, &[-1.0, -2.0], &[0.0, 0.0]);
    assert_eq!(one_class.figure("auc"), None);
    assert_eq!(one_class.figure("precision"), None);
    assert_eq!(one_class.figure("accuracy"), Some(1.0));
    let constant = judge(Task::Regression, &[1.0, 2.0, 3.0], &[0.1, 0.1, 0.1]);
    assert_eq!(constant.figure("r2"), None);
    // Many equal labels whose distance to the centre rounds: sums of 50,000 terms that each err the same way.
    for rows in [400, 50_000] {
        let many = judge(Task::Regression, &vec![1.0; rows], &vec![1.37; rows]);
        assert_eq!(many.figure("r2"), None, "{rows}");
        for power in [1.0, 1.5, 2.0] {
            let many = judge(Task::Deviance(power), &vec![1.0; rows], &vec![1.37; rows]);
            assert_eq!(many.figure("d2"), None, "{rows} {power}");
        }
    }
    assert!(judge(Task::Regression, &[], &[]).figures.iter().all(|figure| figure.value.is_none()));
}

/// Shares of deviance do not depend on the unit of labels, as long as what they are counted from is near them.
#[test]
fn the_share_of_deviance_knows_no_unit() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    for power in [1.0, 1.5, 2.0] {
        let [prediction, label, weight] = rows_of(Task::Deviance(power));
        let share = |unit: f64| {
            let scaled = |values: &[f64]| values.iter().map(|value| value * unit).collect::<Vec<f64>>();
            let (prediction, label) = (scaled(&prediction), scaled(&label));
            let board = Scoreboard::new(Task::Deviance(power), None, 1 << 20, scratch.path());
            let rows = Rows { prediction: &prediction, label: &label, weight: Some(&weight), centre: 19.0 * unit };
            assert!(board.add(0, &rows).expect("no spill"), "finite");
            board.finish().expect("no spill").figure("d2").expect("a spread")
        };
        let small = share(1.0);
        for unit in [1e-200, 1e-13, 1e9, 1e13, 1e25, 1e140] {
            assert!((share(unit) - small).abs() < 1e-11 * small.abs(), "{power} {unit}: {} {small}", share(unit));
        }
    }
}
