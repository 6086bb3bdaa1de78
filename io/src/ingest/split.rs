//! Which rows are held out (stage 2): by a hash of (seed, row number), or by a column.

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;

use crate::encode::levels::{self, MISSING};
use crate::encode::raw::{self, Fault, Number, WithNumbers, with_numbers};
use crate::rng::{Purpose, Stream};

/// Says which rows are held out.
#[derive(Clone, Copy, Debug)]
pub enum Splitter {
    /// None.
    None,
    /// A share of them.
    Share {
        /// One number a row decides.
        stream: Stream,
        /// Held out when that number is below.
        share: f64,
    },
    /// A column says it.
    Column,
}

const TEST: [&str; 7] = ["test", "valid", "validation", "val", "holdout", "true", "1"];
const TRAIN: [&str; 5] = ["train", "training", "learn", "false", "0"];

impl Splitter {
    /// By share.
    pub fn share(seed: u64, share: f64) -> Splitter {
        if share > 0.0 { Splitter::Share { stream: Stream::new(seed, Purpose::Split), share } } else { Splitter::None }
    }

    /// The rows held out, of `rows` rows from number `first`; `column` is the split column.
    ///
    /// # Errors
    /// [`Fault`] for a value of the column that says neither.
    pub fn test_rows(
        &self,
        column: Option<&ArrayRef>,
        first: u64,
        rows: usize,
    ) -> Result<Option<BooleanBuffer>, Fault> {
        Ok(match (self, column) {
            (Splitter::Share { stream, share }, _) => {
                Some(BooleanBuffer::collect_bool(rows, |row| stream.uniform(first + row as u64) < *share))
            }
            (Splitter::Column, Some(column)) => Some(by_column(column)?),
            _ => None,
        })
    }
}

fn by_column(column: &ArrayRef) -> Result<BooleanBuffer, Fault> {
    let mut sides: Vec<Option<bool>> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    let numbers = match crate::roles::is_number(column.data_type()) {
        true => &arrow::compute::cast(&raw::numbers(column)?, &arrow::datatypes::DataType::Float64)
            .and_then(|numbers| arrow::compute::cast(&numbers, &arrow::datatypes::DataType::Utf8))
            .map_err(|e| Fault::whole(e.to_string(), ""))?,
        false => column,
    };
    let ids = levels::ids(&raw::texts(numbers)?, |text| {
        let text = String::from_utf8_lossy(text).to_lowercase();
        let text = text.strip_suffix(".0").unwrap_or(&text);
        Some(seen.iter().position(|known| known == text).unwrap_or_else(|| {
            let is = |names: &[&str]| names.contains(&text);
            sides.push(if is(&TEST) { Some(true) } else { is(&TRAIN).then_some(false) });
            seen.push(text.to_owned());
            seen.len() - 1
        }) as u32)
        .filter(|_| seen.len() < 100)
    })?;
    let side = |row: usize| sides.get(ids[row] as usize).copied().flatten();
    match (0..ids.len()).find(|&row| side(row).is_none()) {
        None => Ok(BooleanBuffer::collect_bool(ids.len(), |row| side(row) == Some(true))),
        Some(row) => {
            let found = match seen.get(ids[row] as usize) {
                Some(text) => format!("found '{}'", raw::clipped(text)),
                None if ids[row] == MISSING => "found no value".into(),
                None => "found one of very many values".into(),
            };
            Err(Fault::at(
                row,
                format!("{found}, expected test or train (or valid, true, 1; false, 0)"),
                "The column of --split-column says for every row whether it is held out",
            ))
        }
    }
}

/// Weights are finite and not negative.
///
/// # Errors
/// [`Fault`] with the first row that has none or a negative one.
pub fn check_weights(array: &ArrayRef) -> Result<(), Fault> {
    if let Some(row) = (0..array.len()).find(|&row| array.is_null(row)) {
        return Err(Fault::at(row, "the weight is missing", "Every row needs a weight, zero or more"));
    }
    match with_numbers(array, FirstNegative) {
        Some(Some((row, value))) => Err(Fault::at(row, format!("found the weight {value}, expected zero or more"), "")),
        Some(None) => Ok(()),
        None => Err(Fault::whole("the weight is not a number", "")),
    }
}

struct FirstNegative;

impl WithNumbers for FirstNegative {
    type Output = Option<(usize, f64)>;

    fn call<T: Number>(self, values: &[T], _: Option<&arrow::buffer::NullBuffer>) -> Self::Output {
        values.iter().position(|x| x.number() < 0.0).map(|row| (row, values[row].number()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BooleanArray, Float64Array, Int32Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn a_share_is_near_what_was_asked_and_depends_on_the_row_number_only() {
        let splitter = Splitter::share(3, 0.2);
        let whole = splitter.test_rows(None, 0, 100_000).unwrap().unwrap();
        // Binomial: 20,000 with a standard deviation of 126; 5 of them.
        assert!(whole.count_set_bits().abs_diff(20_000) < 630, "{}", whole.count_set_bits());
        let part = splitter.test_rows(None, 500, 100).unwrap().unwrap();
        assert!((0..100).all(|row| part.value(row) == whole.value(500 + row)));
    }

    #[test]
    fn a_column_of_any_kind_may_say_it() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["Train", "test", "VALID"])),
            Arc::new(BooleanArray::from(vec![false, true, true])),
            Arc::new(Int32Array::from(vec![0, 1, 1])),
            Arc::new(Float64Array::from(vec![0.0, 1.0, 1.0])),
        ];
        for column in columns {
            let test = Splitter::Column.test_rows(Some(&column), 0, 3).unwrap().unwrap();
            assert_eq!(test.iter().collect::<Vec<_>>(), [false, true, true], "{}", column.data_type());
        }
        let odd: ArrayRef = Arc::new(StringArray::from(vec![Some("train"), Some("maybe")]));
        let fault = Splitter::Column.test_rows(Some(&odd), 0, 2).unwrap_err();
        assert!(fault.row == Some(1) && fault.message.contains("'maybe'"), "{fault:?}");
        let none: ArrayRef = Arc::new(StringArray::from(vec![Some("train"), None]));
        assert!(Splitter::Column.test_rows(Some(&none), 0, 2).unwrap_err().message.contains("no value"));
    }

    #[test]
    fn weights_are_not_negative() {
        let good: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 2.5]));
        assert!(check_weights(&good).is_ok());
        let bad: ArrayRef = Arc::new(Int32Array::from(vec![1, -1]));
        assert_eq!(check_weights(&bad).unwrap_err().row, Some(1));
        let bad: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None]));
        assert_eq!(check_weights(&bad).unwrap_err().row, Some(1));
    }
}
