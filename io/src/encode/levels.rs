//! Levels of categories (stage 2): text columns become ids, ids become codes by falling frequency.
//!
//! A level that training saw less often than `min_count` times has no code of its own: it is encoded as unseen. Codes: the
//! dictionary by falling count (ties: by bytes), then the level for missing values (when the training rows have any), then
//! the level for unseen values, always. Without a level for missing values a missing value counts as unseen. Classes
//! of a label: ascending (numbers by value, text by bytes, as scikit-learn sorts them), no special levels.

use arrow::array::types::ArrowDictionaryKeyType;
use arrow::array::{Array, ArrayAccessor, ArrayRef, AsArray, downcast_dictionary_array};
use arrow::datatypes::DataType;

use super::intern::Interner;
use super::raw::Fault;
use crate::manifest::code_bytes;

/// The id of a missing value.
pub const MISSING: u32 = u32::MAX;
/// The id of a text that the table does not hold.
pub const UNKNOWN: u32 = u32::MAX - 1;

/// The id of every row's text: [`MISSING`] without a value, [`UNKNOWN`] when `id_of` answers none.
///
/// # Errors
/// [`Fault`] when the array holds no text (see [`super::raw::texts`]).
pub fn ids(texts: &ArrayRef, mut id_of: impl FnMut(&[u8]) -> Option<u32>) -> Result<Vec<u32>, Fault> {
    let mut ids = Vec::with_capacity(texts.len());
    match texts.data_type() {
        DataType::Utf8 => each(texts.as_string::<i32>(), &mut id_of, &mut ids),
        DataType::LargeUtf8 => each(texts.as_string::<i64>(), &mut id_of, &mut ids),
        DataType::Utf8View => each(texts.as_string_view(), &mut id_of, &mut ids),
        _ => {
            let array = texts.as_ref();
            downcast_dictionary_array!(
                array => through_keys(array, &mut id_of, &mut ids)?,
                other => return Err(Fault::whole(format!("type {other} holds no text"), ""))
            );
        }
    }
    Ok(ids)
}

fn each<'a, A: ArrayAccessor<Item = &'a str> + Copy>(
    array: A,
    id_of: &mut impl FnMut(&[u8]) -> Option<u32>,
    ids: &mut Vec<u32>,
) {
    let id =
        |row: usize, id_of: &mut dyn FnMut(&[u8]) -> Option<u32>| id_of(array.value(row).as_bytes()).unwrap_or(UNKNOWN);
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => ids.extend((0..array.len()).map(|row| id_of(array.value(row).as_bytes()).unwrap_or(UNKNOWN))),
        Some(nulls) => {
            ids.extend((0..array.len()).map(|row| if nulls.is_valid(row) { id(row, id_of) } else { MISSING }));
        }
    }
}

/// Only values that some key points at are looked up: a dictionary may list more than the rows use.
fn through_keys<K: ArrowDictionaryKeyType>(
    array: &arrow::array::DictionaryArray<K>,
    id_of: &mut dyn FnMut(&[u8]) -> Option<u32>,
    out: &mut Vec<u32>,
) -> Result<(), Fault> {
    let values = array.values();
    let used: Vec<Option<usize>> = array.keys_iter().collect();
    let mut is_used = vec![false; values.len()];
    used.iter().flatten().for_each(|&key| is_used[key] = true);
    let mut position = 0;
    let mut of_used = |text: &[u8]| {
        // Called once for every value that is not null, in order.
        while values.is_null(position) {
            position += 1;
        }
        position += 1;
        if is_used[position - 1] { id_of(text) } else { None }
    };
    let of_values = ids(values, &mut of_used as &mut dyn FnMut(&[u8]) -> Option<u32>)?;
    out.extend(used.into_iter().map(|key| key.map_or(MISSING, |key| of_values[key])));
    Ok(())
}

/// The levels of a column and the code of every id.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    /// Levels with a code of their own, by code.
    pub texts: Vec<String>,
    /// Their numbers of training rows.
    pub counts: Vec<u64>,
    /// The code of every id of the table they were interned in.
    pub codes: Vec<u32>,
    /// The code of missing values.
    pub missing_code: Option<u32>,
    /// The code of unseen values.
    pub unseen_code: Option<u32>,
}

impl Levels {
    /// The levels of a feature; `counts` are training rows by id, `missing` is true when training rows have missing values.
    pub fn of_feature(table: &Interner, counts: &[u64], min_count: u64, missing: bool) -> Levels {
        let count = |id: u32| counts.get(id as usize).copied().unwrap_or(0);
        let mut order: Vec<u32> = (0..table.len() as u32).filter(|&id| count(id) >= min_count.max(1)).collect();
        order.sort_unstable_by(|&a, &b| count(b).cmp(&count(a)).then_with(|| table.text(a).cmp(table.text(b))));
        let listed = order.len() as u32;
        let unseen = listed + u32::from(missing);
        Levels::new(table, &order, count, Some(if missing { listed } else { unseen }), Some(unseen))
    }

    /// The classes of a label; `numeric` sorts them by value.
    pub fn of_label(table: &Interner, counts: &[u64], numeric: bool) -> Levels {
        let mut order: Vec<u32> = (0..table.len() as u32).collect();
        let value = |id: u32| fast_float2::parse::<f64, _>(table.text(id)).ok().filter(|_| numeric);
        order.sort_by(|&a, &b| match (value(a), value(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => table.text(a).cmp(table.text(b)),
        });
        Levels::new(table, &order, |id| counts.get(id as usize).copied().unwrap_or(0), None, None)
    }

    fn new(
        table: &Interner,
        order: &[u32],
        count: impl Fn(u32) -> u64,
        missing_code: Option<u32>,
        unseen_code: Option<u32>,
    ) -> Levels {
        let mut codes = vec![unseen_code.unwrap_or(UNKNOWN); table.len()];
        order.iter().enumerate().for_each(|(code, &id)| codes[id as usize] = code as u32);
        Levels {
            texts: order.iter().map(|&id| String::from_utf8_lossy(table.text(id)).into_owned()).collect(),
            counts: order.iter().map(|&id| count(id)).collect(),
            codes,
            missing_code,
            unseen_code,
        }
    }

    /// Number of parameters: listed and special levels.
    pub fn parameters(&self) -> usize {
        let special = self.missing_code.max(self.unseen_code).map_or(0, |code| code as usize + 1);
        special.max(self.texts.len())
    }

    /// Bytes of a code.
    pub fn code_bytes(&self) -> u8 {
        code_bytes(self.parameters())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int8Array, StringArray, StringViewArray};
    use std::sync::Arc;

    fn intern(array: impl Array + 'static) -> (Interner, Vec<u32>) {
        let array: ArrayRef = Arc::new(array);
        let mut table = Interner::new();
        let found = ids(&array, |text| Some(table.insert(text))).unwrap();
        (table, found)
    }

    #[test]
    fn text_of_every_layout_gets_ids() {
        let texts = vec![Some("b"), None, Some("a"), Some("b")];
        let expected = vec![0, MISSING, 1, 0];
        assert_eq!(intern(StringArray::from(texts.clone())).1, expected);
        assert_eq!(intern(StringViewArray::from(texts)).1, expected);
        let values = Arc::new(StringArray::from(vec![None, Some("never used"), Some("a"), Some("b")]));
        let keys = Int8Array::from(vec![Some(3), Some(0), Some(2), None]);
        let (table, found) = intern(DictionaryArray::new(keys, values));
        assert_eq!((table.len(), found), (2, vec![1, MISSING, 0, MISSING]));
    }

    #[test]
    fn codes_fall_with_frequency_and_rare_levels_are_unseen() {
        let (table, _) = intern(StringArray::from(vec!["rare", "b", "a", "often", "test only"]));
        let levels = Levels::of_feature(&table, &[1, 3, 3, 9], 2, true);
        assert_eq!(levels.texts, ["often", "a", "b"]);
        assert_eq!(levels.counts, [9, 3, 3]);
        assert_eq!((levels.missing_code, levels.unseen_code, levels.parameters()), (Some(3), Some(4), 5));
        assert_eq!(levels.codes, [4, 2, 1, 0, 4]);
        let complete = Levels::of_feature(&table, &[1, 3, 3, 9], 1, false);
        assert_eq!((complete.missing_code, complete.unseen_code, complete.parameters()), (Some(4), Some(4), 5));
    }

    #[test]
    fn classes_are_in_ascending_order() {
        let (table, _) = intern(StringArray::from(vec!["10", "9", "-1"]));
        assert_eq!(Levels::of_label(&table, &[], true).texts, ["-1", "9", "10"]);
        let text = Levels::of_label(&table, &[], false);
        assert_eq!(
            (text.texts.clone(), text.codes.clone(), text.parameters()),
            (vec!["-1".into(), "10".into(), "9".into()], vec![1, 2, 0], 3)
        );
    }
}
