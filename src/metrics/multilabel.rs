//! Several labels a row, each there or not: the figures of all of them together, and of each by itself.
//!
//! A row's labels are a whole number, of which bit k is label k; label k is predicted where its margin z_k is above zero. T_k, P_k and R_k
//! are the weights of rows that have label k, that are predicted to have it, and both.
//!
//! ```text
//! subset_accuracy   weight of rows all of whose labels are right / sum w           scikit-learn's `accuracy_score` of label sets
//! hamming_loss      sum w (labels that are wrong) / (labels * sum w)
//! micro_f1          2 sum_k R_k / (sum_k T_k + sum_k P_k)                          micro_precision, micro_recall alike
//! macro_f1          mean over labels of 2 R_k / (T_k + P_k), 0 where that is 0/0   macro_precision, macro_recall alike
//! label_ranking_average_precision
//!                   mean over a row's labels of (own labels / labels) with no less a margin; 1 where a row has none or all
//! coverage_error    how many of the greatest margins hold all own labels; 0 where a row has none
//! label_ranking_loss
//!                   share of the pairs (own label, other) in which the other's margin is no less; 0 where there is no pair
//! log_loss (or hinge_loss, squared_hinge_loss)                                      mean over labels of each label's
//! ```
//! The last three before are weighted means over rows. Cost: a sort of the margins of every row.

use serde::{Deserialize, Serialize};

use super::{Figure, Metric, Rows, Task, ratio};

/// Labels, and what their margins mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Multilabel {
    /// How many.
    pub labels: usize,
    /// A margin says a probability.
    pub probabilities: bool,
}

/// The figures of a label by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfLabel {
    /// Its name.
    pub label: String,
    /// Those of a model of two classes.
    pub figures: Vec<Figure>,
}

/// Sums of whole rows: weight, all labels right, labels wrong, and those of the three figures of order.
const OWN: usize = 6;

/// Sums of a label's confusion, its last ones.
const CONFUSION: usize = 4;

/// The room.
pub struct LabelTable {
    of: Multilabel,
    /// Of each label.
    metrics: Vec<Box<dyn Metric>>,
}

/// True when a row of those labels has that one.
pub fn has(labels: f64, label: usize) -> bool {
    labels as u64 >> label & 1 == 1
}

impl Multilabel {
    /// The task of each label.
    pub fn each(self) -> Task {
        if self.probabilities { Task::Binary } else { Task::Margin }
    }
}

impl Rows<'_> {
    /// The rows as one label sees them; `own` is room for whether they have it.
    pub fn of_label<'a>(&'a self, label: usize, own: &'a mut Vec<f64>) -> Rows<'a> {
        let rows = self.label.len();
        own.clear();
        own.extend(self.label.iter().map(|labels| f64::from(u8::from(has(*labels, label)))));
        Rows { prediction: &self.prediction[label * rows..(label + 1) * rows], label: own, ..*self }
    }
}

impl LabelTable {
    /// Of so many labels.
    pub fn new(of: Multilabel) -> LabelTable {
        LabelTable { of, metrics: of.each().metrics(None) }
    }

    /// Sums of a label.
    fn width(&self) -> usize {
        self.metrics.iter().map(|metric| metric.sums()).sum()
    }

    fn of_label(&self, sums: &[f64]) -> Vec<Figure> {
        let mut rest = sums;
        let figures = self.metrics.iter().flat_map(|metric| {
            let (own, others) = rest.split_at(metric.sums());
            rest = others;
            metric.figures(own)
        });
        figures.collect()
    }
}

impl Metric for LabelTable {
    fn sums(&self) -> usize {
        OWN + self.of.labels * self.width()
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        let (whole, of_labels) = sums.split_at_mut(OWN);
        let mut own = Vec::new();
        for (label, mut rest) in of_labels.chunks_exact_mut(self.width()).enumerate() {
            let rows = rows.of_label(label, &mut own);
            for metric in &self.metrics {
                let (part, others) = rest.split_at_mut(metric.sums());
                metric.add(&rows, part);
                rest = others;
            }
        }
        let mut margins = vec![0.0; self.of.labels];
        let mut order = Vec::with_capacity(self.of.labels);
        for (row, labels) in rows.label.iter().enumerate() {
            rows.margins(row, &mut margins);
            let weight = rows.weight.map_or(1.0, |weight| weight[row]);
            let wrong = margins.iter().enumerate().filter(|(label, z)| (**z > 0.0) != has(*labels, *label)).count();
            order.clear();
            order.extend(margins.iter().enumerate().map(|(label, z)| (*z, has(*labels, label))));
            let [precision, coverage, loss] = of_order(&mut order);
            let found = [1.0, f64::from(u8::from(wrong == 0)), wrong as f64, precision, coverage, loss];
            whole.iter_mut().zip(found).for_each(|(sum, more)| *sum += weight * more);
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        let (whole, of_labels) = sums.split_at(OWN);
        let labels = self.of.labels as f64;
        let each: Vec<Vec<Figure>> = self.labels(sums);
        let mut figures = Vec::new();
        for (number, figure) in each[0].iter().enumerate().filter(|(_, figure)| figure.name.ends_with("loss")) {
            let values: Option<Vec<f64>> = each.iter().map(|label| label[number].value).collect();
            figures.push(Figure { value: values.map(|values| values.iter().sum::<f64>() / labels), ..figure.clone() });
        }
        figures.push(ratio("subset_accuracy", whole[1], whole[0]));
        figures.push(ratio("hamming_loss", whole[2], labels * whole[0]));
        // Right, true and predicted weight of each label.
        let parts = of_labels.chunks_exact(self.width()).map(|sums| {
            let [_, fp, missed, right] = [0, 1, 2, 3].map(|cell| sums[sums.len() - CONFUSION + cell]);
            [right, right + missed, right + fp]
        });
        let parts: Vec<[f64; 3]> = parts.collect();
        let sum = |k: usize| parts.iter().map(|part| part[k]).sum::<f64>();
        let [right, own, guessed] = [sum(0), sum(1), sum(2)];
        figures.push(ratio("micro_f1", 2.0 * right, own + guessed));
        let share = |part: f64, of: f64| if of > 0.0 { part / of } else { 0.0 };
        let mean =
            |of: fn(&[f64; 3]) -> (f64, f64)| parts.iter().map(of).map(|(part, of)| share(part, of)).sum::<f64>();
        figures.push(ratio("macro_f1", mean(|[right, own, guessed]| (2.0 * right, own + guessed)), labels));
        let names = ["label_ranking_average_precision", "coverage_error", "label_ranking_loss"];
        figures.extend(names.into_iter().zip(&whole[3..]).map(|(name, sum)| ratio(name, *sum, whole[0])));
        figures.push(ratio("micro_precision", right, guessed));
        figures.push(ratio("micro_recall", right, own));
        figures.push(ratio("macro_precision", mean(|[right, _, guessed]| (*right, *guessed)), labels));
        figures.push(ratio("macro_recall", mean(|[right, own, _]| (*right, *own)), labels));
        figures
    }

    fn labels(&self, sums: &[f64]) -> Vec<Vec<Figure>> {
        sums[OWN..].chunks_exact(self.width()).map(|sums| self.of_label(sums)).collect()
    }
}

/// Average precision, coverage and loss of the order of a row's margins, each with whether the row has the label.
fn of_order(margins: &mut [(f64, bool)]) -> [f64; 3] {
    let own = margins.iter().filter(|(_, own)| *own).count();
    let others = margins.len() - own;
    margins.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
    let (mut precision, mut coverage, mut above, mut wrong) = (0.0, 0, 0, 0);
    let mut seen = 0;
    // Equal margins are taken together.
    for equal in margins.chunk_by(|(a, _), (b, _)| a == b) {
        let here = equal.iter().filter(|(_, own)| *own).count();
        seen += equal.len();
        above += here;
        if here > 0 {
            precision += here as f64 * above as f64 / seen as f64;
            wrong += here * (seen - above);
            coverage = seen;
        }
    }
    if own == 0 || others == 0 {
        return [1.0, coverage as f64, 0.0];
    }
    [precision / own as f64, coverage as f64, wrong as f64 / (own * others) as f64]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Own labels have margins 2 and 1 (twice, once another's): precision (1/1 + 2/3) / 2, three margins hold both, and one of the two
    /// pairs with the equal margin, of four pairs, is in the wrong order.
    #[test]
    fn equal_margins_are_taken_together() {
        let mut margins = [(1.0, false), (2.0, true), (-1.0, false), (1.0, true)];
        assert_eq!(of_order(&mut margins), [(1.0 + 2.0 / 3.0) / 2.0, 3.0, 0.25]);
        assert_eq!(of_order(&mut [(1.0, false), (0.5, false)]), [1.0, 0.0, 0.0]);
        assert_eq!(of_order(&mut [(1.0, true), (0.5, true)]), [1.0, 2.0, 0.0]);
    }

    #[test]
    fn bits_are_labels() {
        let most = ((1u64 << 53) - 1) as f64;
        assert!((0..53).all(|label| has(most, label) && !has(0.0, label)));
        assert!(has(5.0, 2) && !has(5.0, 1));
    }
}
