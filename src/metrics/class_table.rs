//! Accuracy and its like for several classes, from the weighted confusion matrix C (true class by predicted class).
//!
//! ```text
//! precision_k   C_kk / sum_j C_jk           0 where nothing was predicted so
//! recall_k      C_kk / sum_j C_kj           0 where nothing was so
//! f1_k          2 C_kk / (sum_j C_jk + sum_j C_kj)
//! macro         mean over the classes that occur, true or predicted        scikit-learn's `average="macro"`
//! weighted      mean by the weight of the true class                       `average="weighted"`
//! ```
//! Beyond [`MATRIX_MAX`] classes only what the figures need is kept: the diagonal and the sums of rows and columns.

use super::multiclass::predicted;
use super::{Figure, Metric, Rows, ratio};

/// Most classes whose whole matrix is kept.
pub const MATRIX_MAX: usize = 50;

/// The room.
#[derive(Clone, Copy, Debug)]
pub struct ClassTable {
    /// Number of classes.
    pub classes: usize,
}

impl ClassTable {
    fn is_whole(&self) -> bool {
        self.classes <= MATRIX_MAX
    }

    /// Rightly predicted, true and predicted weight of each class.
    fn classes(&self, sums: &[f64]) -> Vec<[f64; 3]> {
        let n = self.classes;
        let of_class = |k: usize| {
            if self.is_whole() {
                let column = (0..n).map(|j| sums[j * n + k]).sum();
                [sums[k * n + k], sums[k * n..(k + 1) * n].iter().sum(), column]
            } else {
                [sums[k], sums[n + k], sums[2 * n + k]]
            }
        };
        (0..n).map(of_class).collect()
    }
}

impl Metric for ClassTable {
    fn sums(&self) -> usize {
        self.classes * if self.is_whole() { self.classes } else { 3 }
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        let (n, pitch) = (self.classes, rows.label.len());
        for (row, label) in rows.label.iter().enumerate() {
            let guess = predicted((0..n).map(|class| rows.prediction[class * pitch + row]));
            let (own, weight) = (*label as usize, rows.weight.map_or(1.0, |weight| weight[row]));
            if self.is_whole() {
                sums[own * n + guess] += weight;
                continue;
            }
            sums[own] += if own == guess { weight } else { 0.0 };
            sums[n + own] += weight;
            sums[2 * n + guess] += weight;
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        let classes = self.classes(sums);
        let sum = |part: &dyn Fn(&[f64; 3]) -> f64| classes.iter().map(part).sum::<f64>();
        let (right, all) = (sum(&|class| class[0]), sum(&|class| class[1]));
        let occur = sum(&|[_, own, guessed]| f64::from(own + guessed > 0.0));
        let share = |part: f64, of: f64| if of > 0.0 { part / of } else { 0.0 };
        let f1 = |class: &[f64; 3]| share(2.0 * class[0], class[1] + class[2]);
        vec![
            ratio("accuracy", right, all),
            ratio("macro_precision", sum(&|class| share(class[0], class[2])), occur),
            ratio("macro_recall", sum(&|class| share(class[0], class[1])), occur),
            ratio("macro_f1", sum(&f1), occur),
            ratio("weighted_f1", sum(&|class| class[1] * f1(class)), all),
        ]
    }

    fn matrix(&self, sums: &[f64]) -> Option<Vec<Vec<f64>>> {
        self.is_whole().then(|| sums.chunks_exact(self.classes).map(<[f64]>::to_vec).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beyond the largest matrix the figures are the same.
    #[test]
    fn figures_do_not_need_the_matrix() {
        let (n, rows) = (MATRIX_MAX + 1, 400);
        let label: Vec<f64> = (0..rows).map(|i| ((i * i) % 7) as f64).collect();
        let mut prediction = vec![0.0; n * rows];
        (0..rows).for_each(|i| prediction[((i * 5) % 9) * rows + i] = 1.0);
        let weight: Vec<f64> = (0..rows).map(|i| 1.0 + (i % 4) as f64).collect();
        let judge = |classes: usize| {
            let table = ClassTable { classes };
            let prediction = &prediction[..classes * rows];
            let mut sums = vec![0.0; table.sums()];
            table.add(&Rows { prediction, label: &label, weight: Some(&weight), centre: 0.0 }, &mut sums);
            (table.figures(&sums), table.matrix(&sums).is_some())
        };
        let (many, few) = (judge(n), judge(MATRIX_MAX));
        assert!(!many.1 && few.1);
        for (many, few) in many.0.iter().zip(&few.0) {
            assert!((many.value.expect("rows") - few.value.expect("rows")).abs() < 1e-14, "{many:?} {few:?}");
        }
    }
}
