//! Text columns (stage 2): the words of a text, and runs of them, hashed to a sparse row.
//!
//! ```text
//! word      two or more characters in a row of which each is a letter, a number or _      (?u)\b\w\w+\b over the text in lower case
//! n-gram    n words that follow each other, joined by a blank
//! element   j = |h| mod 2^bits, h = MurmurHash3_x86_32(n-gram) as a signed number
//! value     x_j = sum of the signs of h over the n-grams of element j, divided by the row's Euclidean norm
//! ```
//!
//! The row of scikit-learn's `HashingVectorizer(n_features=2**bits, ngram_range=(a, b))` with its defaults (`alternate_sign=True`,
//! `norm="l2"`); elements whose signs cancel are left out. The signs make n-grams that share an element cancel on average
//! (Weinberger and others, 2009). A missing text is an empty row.
//!
//! Cost: about 10 ns a word and n-gram. Memory: the distinct elements of one row and its longest run without a blank, whatever the
//! length of the text.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::murmur3::bucket;
use super::raw::{self, Fault, SparseRows};
use super::word_table::is_word;

/// Elements of a row that are gathered before equal ones are joined.
const GATHERED: usize = 1 << 16;

/// How texts are hashed.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Binary logarithm of the number of elements.
    pub bits: u8,
    /// Fewest and most words of an n-gram.
    pub ngrams: (u8, u8),
}

/// A text in the making into a row.
struct Row {
    words: Words,
    /// The last words, at most as many as the longest n-gram has.
    last: VecDeque<String>,
    key: Vec<u8>,
    entries: Vec<(u32, i64)>,
    limit: usize,
}

impl Words {
    /// The rows of an array of texts.
    ///
    /// # Errors
    /// [`Fault`] when the array holds no text, or has more than 2^31 elements.
    pub fn rows(&self, array: &ArrayRef) -> Result<SparseRows, Fault> {
        let texts = raw::texts(array)?;
        let mut out = Gathered { offsets: vec![0], ..Gathered::default() };
        match texts.data_type() {
            DataType::LargeUtf8 => self.each(texts.as_string::<i64>().iter(), &mut out)?,
            DataType::Utf8View => self.each(texts.as_string_view().iter(), &mut out)?,
            DataType::Utf8 => self.each(texts.as_string::<i32>().iter(), &mut out)?,
            // Dictionaries: of text, as `raw::texts` has them.
            _ => {
                let plain = cast(&texts, &DataType::Utf8).map_err(|e| Fault::whole(e.to_string(), ""))?;
                let plain: &StringArray = plain.as_string();
                self.each(plain.iter(), &mut out)?;
            }
        }
        Ok(SparseRows { offsets: out.offsets, indices: out.indices.into(), values: out.values.into() })
    }

    fn each<'a>(&self, texts: impl Iterator<Item = Option<&'a str>>, out: &mut Gathered) -> Result<(), Fault> {
        let mut row = Row::new(*self);
        for (number, text) in texts.enumerate() {
            row.read(text.unwrap_or_default());
            row.end(out);
            let end = i32::try_from(out.indices.len());
            let end = end.map_err(|_| Fault::at(number, "a batch of texts has more than 2^31 elements", ""))?;
            out.offsets.push(end);
        }
        Ok(())
    }
}

/// Rows so far.
#[derive(Default)]
struct Gathered {
    offsets: Vec<i32>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl Row {
    fn new(words: Words) -> Row {
        Row { words, last: VecDeque::new(), key: Vec::new(), entries: Vec::new(), limit: GATHERED }
    }

    /// A blank neither has a case nor is passed over where the case of a neighbour depends on its own neighbours (Greek sigma), so
    /// pieces between blanks can be brought to lower case one by one.
    fn read(&mut self, text: &str) {
        let mut lower = String::new();
        for piece in text.split_ascii_whitespace() {
            if piece.is_ascii() {
                lower.clear();
                lower.push_str(piece);
                lower.make_ascii_lowercase();
            } else {
                lower = piece.to_lowercase();
            }
            for run in lower.split(|c| !is_word(c)) {
                if run.chars().nth(1).is_some() {
                    self.word(run);
                }
            }
        }
    }

    fn word(&mut self, word: &str) {
        let (fewest, most) = (usize::from(self.words.ngrams.0), usize::from(self.words.ngrams.1));
        let mut own = if self.last.len() == most { self.last.pop_front().unwrap_or_default() } else { String::new() };
        own.clear();
        own.push_str(word);
        self.last.push_back(own);
        for n in fewest..=most.min(self.last.len()) {
            self.key.clear();
            for (number, word) in self.last.range(self.last.len() - n..).enumerate() {
                if number > 0 {
                    self.key.push(b' ');
                }
                self.key.extend_from_slice(word.as_bytes());
            }
            let (element, is_plus) = bucket(&self.key, self.words.bits);
            self.entries.push((element, if is_plus { 1 } else { -1 }));
        }
        if self.entries.len() >= self.limit {
            self.join();
            self.limit = GATHERED.max(2 * self.entries.len());
        }
    }

    /// Adds up what belongs to one element, in rising order of the elements.
    fn join(&mut self) {
        self.entries.sort_unstable_by_key(|&(element, _)| element);
        self.entries.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0 };
            same
        });
    }

    fn end(&mut self, out: &mut Gathered) {
        self.join();
        let norm = self.entries.iter().map(|&(_, sum)| (sum * sum) as f64).sum::<f64>().sqrt();
        for &(element, sum) in self.entries.iter().filter(|&&(_, sum)| sum != 0) {
            out.indices.push(element);
            out.values.push((sum as f64 / norm) as f32);
        }
        self.entries.clear();
        self.last.clear();
        self.limit = GATHERED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int64Array, LargeStringArray, StringViewArray, types::Int8Type};
    use serde_json::Value;
    use std::sync::Arc;

    fn words(first: u8, last: u8) -> Words {
        Words { bits: 18, ngrams: (first, last) }
    }

    /// `tests/reference/words.py`, scikit-learn 1.9.1: English, Greek with final sigmas, Turkish dotted capitals, Russian, Japanese, Hindi,
    /// Thai, Arabic, combining marks, emoji.
    #[test]
    fn rows_are_those_of_a_hashing_vectorizer() {
        let reference: Value = serde_json::from_str(include_str!("../../../tests/reference/words.json")).unwrap();
        let texts: Vec<&str> =
            reference["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        let array: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        for (name, words) in [("words", words(1, 1)), ("pairs", words(1, 2)), ("threes", words(2, 3))] {
            let rows = words.rows(&array).unwrap();
            for (number, text) in texts.iter().enumerate() {
                let own = rows.offsets[number] as usize..rows.offsets[number + 1] as usize;
                let found: Vec<(u32, f32)> = own.map(|entry| (rows.indices[entry], rows.values[entry])).collect();
                let told = reference["rows"][name][number].as_array().unwrap().iter();
                let told: Vec<(u32, f32)> =
                    told.map(|pair| (pair[0].as_u64().unwrap() as u32, pair[1].as_f64().unwrap() as f32)).collect();
                assert_eq!(found, told, "{name}: {text:?}");
            }
        }
    }

    #[test]
    fn every_layout_of_text_makes_the_same_rows_and_a_missing_text_an_empty_one() {
        let texts = vec![Some("two words"), None, Some("42 x")];
        let plain: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        let expected = words(1, 2).rows(&plain).unwrap();
        assert_eq!(expected.offsets, [0, 3, 3, 4]);
        let arrays: [ArrayRef; 3] = [
            Arc::new(LargeStringArray::from(texts.clone())),
            Arc::new(StringViewArray::from(texts.clone())),
            Arc::new(texts.into_iter().collect::<DictionaryArray<Int8Type>>()),
        ];
        for array in arrays {
            let rows = words(1, 2).rows(&array).unwrap();
            assert_eq!((&rows.offsets, &rows.indices), (&expected.offsets, &expected.indices), "{}", array.data_type());
        }
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![42]));
        assert_eq!(words(1, 1).rows(&numbers).unwrap().indices[0], bucket(b"42", 18).0);
    }

    /// 1,050,000 words of 3,000 kinds: more than are gathered at a time, and more than 100 MB.
    #[test]
    fn a_huge_text_is_joined_on_the_way() {
        let kinds: String = (0..3_000).map(|i| format!("Word{i:0>96} ")).collect();
        let text = kinds.repeat(350);
        assert!(text.len() > 100 << 20);
        let mut row = Row::new(words(1, 1));
        row.read(&text);
        assert!(row.entries.capacity() <= 4 * GATHERED, "{}", row.entries.capacity());
        let mut out = Gathered::default();
        row.end(&mut out);
        assert!(out.indices.len() > 2_900 && out.indices.windows(2).all(|pair| pair[0] < pair[1]));
        let norm: f64 = out.values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        assert!((norm - 1.0).abs() < 1e-4, "{norm}");
    }
}
