//! What commands say at their end.

use gristmill_io::manifest::Split;

use crate::metrics::Evaluation;
use crate::report::{Table, number};

/// The name of a split, as `--split` takes it.
pub fn split_name(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Test => "test",
    }
}

/// The figures.
pub fn figures(evaluation: &Evaluation, indent: usize) -> String {
    let mut table = Table::of_pairs();
    table.pair("rows", number::count(evaluation.rows));
    for figure in &evaluation.figures {
        table.pair(&figure.name.replace('_', " "), number::optional(figure.value, 6));
    }
    table.text(indent)
}

/// Most classes whose confusion matrix is shown.
const CLASSES_MAX: usize = 12;

/// The figures, and the confusion matrix or the calibration table of a classifier, or the figures of each of several labels; `classes` are its classes.
pub fn evaluation(evaluation: &Evaluation, classes: &[String]) -> String {
    let figures = figures(evaluation, 2);
    if !evaluation.confusion.is_empty() && classes.len() <= CLASSES_MAX {
        let heads = classes.iter().map(|class| format!(">as {class}"));
        let heads: Vec<String> = std::iter::once("true class".into()).chain(heads).collect();
        let mut table = Table::with_head(&heads.iter().map(String::as_str).collect::<Vec<_>>());
        let cells = number::weights(&evaluation.confusion.concat());
        for (class, cells) in classes.iter().zip(cells.chunks(classes.len())) {
            table.line(std::iter::once(class).chain(cells));
        }
        return format!("{figures}\n\n  predicted\n{}", table.text(2));
    }
    if let Some(first) = evaluation.labels.first() {
        let heads = first.figures.iter().map(|figure| format!(">{}", figure.name.replace('_', " ")));
        let heads: Vec<String> = std::iter::once("label".into()).chain(heads).collect();
        let mut table = Table::with_head(&heads.iter().map(String::as_str).collect::<Vec<_>>());
        for own in &evaluation.labels {
            let figures = own.figures.iter().map(|figure| number::optional(figure.value, 6));
            table.line(std::iter::once(own.label.clone()).chain(figures).collect::<Vec<_>>());
        }
        return format!("{figures}\n\n  each label\n{}", table.text(2));
    }
    if evaluation.calibration.is_empty() {
        return figures;
    }
    let mut bins = Table::with_head(&["predicted", ">weight", ">mean predicted", ">observed"]);
    let weights = number::weights(&evaluation.calibration.iter().map(|bin| bin.weight).collect::<Vec<f64>>());
    for (bin, weight) in evaluation.calibration.iter().zip(weights) {
        bins.line([
            format!("{:.1} .. {:.1}", bin.above, bin.up_to),
            weight,
            bin.predicted.map_or_else(|| "-".into(), |value| format!("{value:.4}")),
            bin.observed.map_or_else(|| "-".into(), |value| format!("{value:.4}")),
        ]);
    }
    format!("{figures}\n\n  calibration\n{}", bins.text(2))
}
