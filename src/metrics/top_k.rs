//! Top-k accuracy: the weight of rows whose class is among the k with the greatest margins. Of equal margins the class that comes
//! first counts as greater, as it does where one class is predicted.

use super::{Figure, Metric, Rows, ratio};

/// The room.
#[derive(Clone, Copy, Debug)]
pub struct TopK {
    /// Number of classes.
    pub classes: usize,
    /// How many of them count.
    pub k: usize,
}

impl Metric for TopK {
    fn sums(&self) -> usize {
        2
    }

    fn add(&self, rows: &Rows<'_>, sums: &mut [f64]) {
        let mut margins = vec![0.0; self.classes];
        for row in 0..rows.label.len() {
            rows.margins(row, &mut margins);
            let own = rows.label[row] as usize;
            let before =
                |(class, margin): (usize, &f64)| *margin > margins[own] || (*margin == margins[own] && class < own);
            let rank = margins.iter().enumerate().filter(|&pair| before(pair)).count();
            let weight = rows.weight.map_or(1.0, |weight| weight[row]);
            sums[0] += if rank < self.k { weight } else { 0.0 };
            sums[1] += weight;
        }
    }

    fn figures(&self, sums: &[f64]) -> Vec<Figure> {
        vec![ratio(&format!("top_{}_accuracy", self.k), sums[0], sums[1])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Margins of three rows: 3 2 1 of class 1, 1 1 1 of class 1, 0 5 4 of class 0: ranks 1, 1 and 2.
    #[test]
    fn ranks_count_ties_by_number() {
        let prediction = [3.0, 1.0, 0.0, 2.0, 1.0, 5.0, 1.0, 1.0, 4.0];
        let rows =
            Rows { prediction: &prediction, label: &[1.0, 1.0, 0.0], weight: Some(&[1.0, 2.0, 4.0]), centre: 0.0 };
        for (k, share) in [(1, 0.0), (2, 3.0), (3, 7.0)] {
            let (top, mut sums) = (TopK { classes: 3, k }, [0.0; 2]);
            top.add(&rows, &mut sums);
            assert_eq!(sums, [share, 7.0]);
            assert_eq!(top.figures(&sums)[0].name, format!("top_{k}_accuracy"));
        }
    }
}
