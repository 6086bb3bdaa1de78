//! Small dense linear algebra in plain `f64` with a fixed order of operations, so that every processor computes the same
//! bits (libraries choose their loops by processor). A symmetric matrix is stored in full, row by row.
//!
//! [`Factor`] solves `A x = b` for a symmetric positive semi-definite A: Cholesky (n^3 / 3 multiply-adds) when A has full
//! rank, else Cholesky with diagonal pivoting, A = L L' with L of n x r, and the solution of smallest norm,
//! x = L (L'L)^-1 (L'L)^-1 L' b (Courrieu, "Fast computation of Moore-Penrose inverse matrices", 2005). That solution is the
//! limit of the ridge solution as its strength falls to 0. Where L'L is singular to rounding (columns in units of 1e-9 and 1e9
//! beside dependent ones) the dependent columns get nothing instead: a minimum all the same, by another choice.

use serde::{Deserialize, Serialize};

/// A diagonal element that fell below this share of its first value is rounding noise: its column is a combination of
/// the columns before it. Rounding of the sums that make a Gram matrix leaves about 1e-16 times their number of terms'
/// square root; of the factorisation n times 1e-16.
pub const RANK_TOLERANCE: f64 = 1e-13;

/// The same of L'L, whose pivots are shares of those above that passed already: less than this is rounding alone.
const INNER_TOLERANCE: f64 = 1e-14;

/// A square matrix, row by row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// Rows, and columns.
    pub n: usize,
    /// `n * n` numbers.
    pub values: Vec<f64>,
}

impl Matrix {
    /// All zero.
    pub fn zero(n: usize) -> Matrix {
        Matrix { n, values: vec![0.0; n * n] }
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.n..(i + 1) * self.n]
    }

    /// Row `i`.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.values[i * self.n..(i + 1) * self.n]
    }

    /// Element `i`, `j`.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.n + j]
    }

    /// `A x` into `out`.
    pub fn times(&self, x: &[f64], out: &mut [f64]) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = dot(self.row(i), x);
        }
    }

    /// The matrix of the rows and columns named.
    pub fn part(&self, which: &[usize]) -> Matrix {
        let values = which.iter().flat_map(|&i| which.iter().map(move |&j| self.at(i, j))).collect();
        Matrix { n: which.len(), values }
    }
}

/// Dot product: eight partial sums, folded pairwise.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a8.zip(b8) {
        for k in 0..8 {
            lanes[k] += a[k] * b[k];
        }
    }
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7])) + rest
}

/// `y += a x`.
pub fn axpy(a: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// Euclidean norm.
pub fn norm(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

/// A factorised symmetric positive semi-definite matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Factor {
    n: usize,
    rank: usize,
    /// Which row of A stands at each row of L; the first `rank` are the independent ones.
    order: Vec<usize>,
    /// L, n rows of `rank` numbers.
    lower: Vec<f64>,
    /// Cholesky factor of L'L, `rank` rows of `rank` numbers; empty where `lower` is square, at full rank and where L'L is singular.
    inner: Vec<f64>,
}

impl Factor {
    /// Factorises `a`.
    pub fn new(a: &Matrix) -> Factor {
        Factor::above(a, RANK_TOLERANCE)
    }

    /// Factorises `a`, where what is below `share` of a diagonal element is rounding noise.
    pub fn above(a: &Matrix, share: f64) -> Factor {
        let mut lower = a.values.clone();
        if cholesky(&mut lower, a.n, |j| share * a.at(j, j)) {
            return Factor { n: a.n, rank: a.n, order: (0..a.n).collect(), lower, inner: Vec::new() };
        }
        let (order, mut lower, rank) = pivoted(a, share);
        let mut inner = vec![0.0; rank * rank];
        for row in lower.chunks_exact(rank.max(1)).take(if rank == 0 { 0 } else { a.n }) {
            for (j, &x) in row.iter().enumerate() {
                axpy(x, &row[..=j], &mut inner[j * rank..=j * rank + j]);
            }
        }
        let diagonal: Vec<f64> = (0..rank).map(|j| inner[j * rank + j]).collect();
        if !cholesky(&mut inner, rank, |j| INNER_TOLERANCE * diagonal[j]) {
            lower.truncate(rank * rank);
            inner.clear();
        }
        Factor { n: a.n, rank, order, lower, inner }
    }

    /// Number of independent columns.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Columns that are combinations of others, by number, ascending.
    pub fn dependent(&self) -> Vec<usize> {
        let mut dependent = self.order[self.rank..].to_vec();
        dependent.sort_unstable();
        dependent
    }

    /// True where dependent columns share their weight as the smallest norm has it, false where they get nothing.
    pub fn is_smallest(&self) -> bool {
        self.rank == self.n || !self.inner.is_empty()
    }

    /// The solution of `A x = b`; of smallest norm where there are many ([`Factor::is_smallest`]), of smallest residual where there is none.
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        let (n, rank) = (self.n, self.rank);
        if self.inner.is_empty() {
            let independent = &self.order[..rank];
            let mut inside: Vec<f64> = independent.iter().map(|&i| b[i]).collect();
            substitute(&self.lower, rank, &mut inside);
            let mut x = vec![0.0; n];
            independent.iter().zip(inside).for_each(|(&i, value)| x[i] = value);
            return x;
        }
        let mut inside = vec![0.0; rank];
        for (row, &i) in self.lower.chunks_exact(rank).zip(&self.order) {
            axpy(b[i], row, &mut inside);
        }
        substitute(&self.inner, rank, &mut inside);
        substitute(&self.inner, rank, &mut inside);
        let mut x = vec![0.0; n];
        for (row, &i) in self.lower.chunks_exact(rank).zip(&self.order) {
            x[i] = dot(row, &inside);
        }
        x
    }
}

/// Replaces the lower triangle of `a` by its Cholesky factor. False when a pivot is not above `floor` of its column.
fn cholesky(a: &mut [f64], n: usize, floor: impl Fn(usize) -> f64) -> bool {
    for i in 0..n {
        let (above, row) = a.split_at_mut(i * n);
        let row = &mut row[..=i];
        for j in 0..i {
            let other = &above[j * n..=j * n + j];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        // Put so that NaN fails.
        let firm = pivot > floor(i);
        if !firm {
            return false;
        }
        row[i] = pivot.sqrt();
    }
    true
}

/// Solves `L L' x = b` in place.
fn substitute(lower: &[f64], n: usize, x: &mut [f64]) {
    for i in 0..n {
        let row = &lower[i * n..=i * n + i];
        x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
    }
    for i in (0..n).rev() {
        let row = &lower[i * n..=i * n + i];
        x[i] /= row[i];
        let (before, here) = x.split_at_mut(i);
        axpy(-here[0], &row[..i], before);
    }
}

/// Cholesky with diagonal pivoting: the order of the rows, L as n rows of `rank` numbers, and the rank.
fn pivoted(a: &Matrix, tolerance: f64) -> (Vec<usize>, Vec<f64>, usize) {
    let n = a.n;
    let mut order: Vec<usize> = (0..n).collect();
    let mut lower = vec![0.0; n * n];
    let first: Vec<f64> = (0..n).map(|i| a.at(i, i)).collect();
    let mut left = first.clone();
    let mut rank = 0;
    while rank < n {
        // The column with most left of what it began with, so that the scale of a column does not matter.
        let share = |i: usize| if first[i] > 0.0 { left[i] / first[i] } else { 0.0 };
        let mut best = rank;
        for k in rank + 1..n {
            if share(order[k]) > share(order[best]) {
                best = k;
            }
        }
        let enough = share(order[best]) > tolerance * 10.0;
        if !enough {
            break;
        }
        order.swap(rank, best);
        swap_rows(&mut lower, n, rank, best);
        let pivot = left[order[rank]].sqrt();
        let (done, rest) = lower.split_at_mut((rank + 1) * n);
        let pivot_row = &mut done[rank * n..];
        pivot_row[rank] = pivot;
        for (row, &i) in rest.chunks_exact_mut(n).zip(&order[rank + 1..]) {
            let value = (a.at(i, order[rank]) - dot(&row[..rank], &pivot_row[..rank])) / pivot;
            row[rank] = value;
            left[i] -= value * value;
        }
        rank += 1;
    }
    let packed = lower.chunks_exact(n.max(1)).flat_map(|row| row[..rank].iter().copied()).collect();
    (order, packed, rank)
}

fn swap_rows(values: &mut [f64], n: usize, a: usize, b: usize) {
    if a != b {
        let (low, high) = values.split_at_mut(b * n);
        low[a * n..(a + 1) * n].swap_with_slice(&mut high[..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gram(rows: &[Vec<f64>]) -> Matrix {
        let n = rows[0].len();
        let mut a = Matrix::zero(n);
        for row in rows {
            for i in 0..n {
                axpy(row[i], row, a.row_mut(i));
            }
        }
        a
    }

    proptest! {
        /// A x = b is solved for random full-rank matrices of n = 1..12.
        #[test]
        fn full_rank_is_solved(rows in (1usize..12).prop_flat_map(|n| prop::collection::vec(prop::collection::vec(-1.0..1.0f64, n), n + 8))) {
            let a = gram(&rows);
            let want: Vec<f64> = (0..a.n).map(|i| 1.0 + i as f64).collect();
            let mut b = vec![0.0; a.n];
            a.times(&want, &mut b);
            let factor = Factor::new(&a);
            prop_assume!(factor.rank() == a.n);
            let x = factor.solve(&b);
            let mut back = vec![0.0; a.n];
            a.times(&x, &mut back);
            for (back, b) in back.iter().zip(&b) {
                prop_assert!((back - b).abs() <= 1e-11 * (1.0 + b.abs()));
            }
        }
    }

    /// Two equal columns share their weight, as the smallest norm has it; a zero column gets nothing.
    #[test]
    fn dependent_columns_get_the_smallest_norm() {
        let rows: Vec<Vec<f64>> =
            [[1.0, 2.0], [-3.0, 0.5], [0.25, -1.0]].iter().map(|r| vec![r[0], r[1], r[0], 0.0]).collect();
        let a = gram(&rows);
        let mut b = vec![0.0; 4];
        a.times(&[2.0, -1.0, 0.0, 0.0], &mut b);
        let factor = Factor::new(&a);
        assert_eq!((factor.rank(), factor.dependent()), (2, vec![2, 3]));
        for (x, want) in factor.solve(&b).iter().zip([1.0, -1.0, 1.0, 0.0]) {
            assert!((x - want).abs() < 1e-12, "{x} {want}");
        }
    }

    /// Units so far apart that L'L forgets one of them: still a minimum, in each of its equations.
    #[test]
    fn columns_of_far_units_beside_dependent_ones_are_solved() {
        let pairs = [(1.0, 0.3), (-0.5, 1.0), (0.25, -2.0), (2.0, 0.7)];
        let rows: Vec<Vec<f64>> = pairs.map(|(u, v)| vec![1e-9 * u, 1e9 * (u + v), 2e9 * (u + v)]).into();
        let a = gram(&rows);
        let (mut b, mut found) = (vec![0.0; 3], vec![0.0; 3]);
        a.times(&[3e9, 1e-9, 0.0], &mut b);
        let factor = Factor::new(&a);
        assert_eq!((factor.rank(), factor.dependent().len(), factor.is_smallest()), (2, 1, false));
        a.times(&factor.solve(&b), &mut found);
        assert!(found.iter().zip(&b).all(|(found, b)| (found / b - 1.0).abs() < 1e-9), "{found:?} {b:?}");
    }

    /// More columns than rows: the pseudo-inverse solution X'(XX')^-1 y of one row (1, 2, 2), y = 9, is (1, 2, 2).
    #[test]
    fn wide_problems_get_the_pseudo_inverse() {
        let a = gram(&[vec![1.0, 2.0, 2.0]]);
        let x = Factor::new(&a).solve(&[9.0, 18.0, 18.0]);
        for (x, want) in x.iter().zip([1.0, 2.0, 2.0]) {
            assert!((x - want).abs() < 1e-12);
        }
    }

    #[test]
    fn nothing_is_solved_by_nothing() {
        assert_eq!(Factor::new(&Matrix::zero(3)).solve(&[1.0, 1.0, 1.0]), [0.0; 3]);
        assert_eq!(Factor::new(&Matrix::zero(0)).solve(&[]), [0.0; 0]);
    }
}
