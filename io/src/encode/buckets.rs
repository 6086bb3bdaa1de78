//! Bucketized columns (stage 2): numbers as levels, by edges that quantiles of the training rows gave.
//!
//! ```text
//! code = number of edges <= value        0 ..= edges; values beyond all that training saw fall into the end buckets
//! code = edges + 1                       of a missing value
//! ```
//!
//! As scikit-learn's `KBinsDiscretizer` has it (`searchsorted(edges, value, side="right")`). Cost: log2(edges) comparisons.

use std::sync::Arc;

use arrow::array::Array;
use arrow::buffer::NullBuffer;

use super::column::Stored;
use super::raw::{Fault, Number, WithNumbers, with_numbers};
use crate::manifest::code_bytes;

/// The edges between buckets.
#[derive(Clone, Debug)]
pub struct Buckets {
    edges: Arc<[f64]>,
}

impl Buckets {
    /// Between rising edges.
    pub fn new(edges: &[f64]) -> Buckets {
        Buckets { edges: Arc::from(edges) }
    }

    /// An empty column of codes.
    pub(super) fn start(&self, rows: usize) -> Stored {
        match code_bytes(self.edges.len() + 2) {
            1 => Stored::Codes8(Vec::with_capacity(rows)),
            2 => Stored::Codes16(Vec::with_capacity(rows)),
            _ => Stored::Codes32(Vec::with_capacity(rows)),
        }
    }

    /// The code of every row.
    ///
    /// # Errors
    /// [`Fault`] when the array holds no raw numbers.
    pub fn codes(&self, raw: &dyn Array) -> Result<Vec<u32>, Fault> {
        with_numbers(raw, Search(&self.edges)).ok_or_else(|| Fault::whole("the column holds no numbers", ""))
    }
}

struct Search<'a>(&'a [f64]);

impl WithNumbers for Search<'_> {
    type Output = Vec<u32>;

    fn call<T: Number>(self, values: &[T], nulls: Option<&NullBuffer>) -> Vec<u32> {
        let edges = self.0;
        let code = |value: &T| edges.partition_point(|&edge| edge <= value.number()) as u32;
        let mut codes: Vec<u32> = values.iter().map(code).collect();
        if let Some(nulls) = nulls {
            let missing = edges.len() as u32 + 1;
            codes.iter_mut().zip(nulls).filter(|(_, valid)| !valid).for_each(|(code, _)| *code = missing);
        }
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int32Array};

    #[test]
    fn an_edge_belongs_to_the_bucket_above_it() {
        let buckets = Buckets::new(&[-1.0, 2.0]);
        let values: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(-1e9), Some(-1.0), Some(1.999), None, Some(2.0), Some(1e9)]));
        assert_eq!(buckets.codes(&values).unwrap(), [0, 1, 1, 3, 2, 2]);
        assert_eq!(buckets.codes(&Int32Array::from(vec![-2, 0, 2])).unwrap(), [0, 1, 2]);
        assert!(buckets.codes(&arrow::array::StringArray::from(vec!["1"])).is_err());
        assert_eq!(Buckets::new(&[]).codes(&Int32Array::from(vec![Some(5), None])).unwrap(), [0, 1]);
    }
}
