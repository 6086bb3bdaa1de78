//! Splitting CSV text into fields (stage 1, RFC 4180).
//!
//! A field that begins with a quote ends at the matching quote, and a doubled quote inside stands for one. Any other field ends
//! at the delimiter or the line feed, and quotes in it are ordinary characters. A carriage return before a line feed belongs
//! to the line end.

use std::borrow::Cow;

use memchr::memchr2;

use crate::source::text::cut::quoted_end;

/// A field as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its bytes, without the quotes around it, doubled quotes still doubled.
    pub raw: &'a [u8],
    /// True when it stood in quotes.
    pub quoted: bool,
}

impl<'a> Field<'a> {
    /// Its bytes with doubled quotes made single.
    pub fn unescaped(&self) -> Cow<'a, [u8]> {
        if !self.quoted || memchr::memchr(b'"', self.raw).is_none() {
            return Cow::Borrowed(self.raw);
        }
        let mut bytes = Vec::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some(at) = memchr::memchr(b'"', rest) {
            bytes.extend_from_slice(&rest[..=at]);
            rest = rest.get(at + 2..).unwrap_or_default();
        }
        bytes.extend_from_slice(rest);
        Cow::Owned(bytes)
    }
}

/// Why a field cannot be split off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The closing quote is missing.
    Unclosed,
    /// Something other than a delimiter follows the closing quote.
    AfterQuote,
}

impl Fault {
    /// What is wrong, and what to do.
    pub fn message(self) -> (&'static str, &'static str) {
        match self {
            Fault::Unclosed => ("a quoted field is never closed", "Write a quote inside a quoted field twice (\"\")"),
            Fault::AfterQuote => (
                "expected a delimiter or the end of the line after the closing quote",
                "Write a quote inside a quoted field twice (\"\"); if fields are separated otherwise, pass --delimiter",
            ),
        }
    }
}

/// The field that begins at `at`, and the position of what ends it: a delimiter, a line feed, or the end of the text.
///
/// # Errors
/// [`Fault`] for quotes that do not match.
pub fn split(text: &[u8], at: usize, delimiter: u8) -> Result<(Field<'_>, usize), Fault> {
    if text.get(at) == Some(&b'"') {
        return split_quoted(text, at, delimiter);
    }
    let rest = text.get(at..).unwrap_or_default();
    let length = memchr2(delimiter, b'\n', rest).unwrap_or(rest.len());
    let raw = &rest[..length];
    let ends_line = rest.get(length) != Some(&delimiter);
    let raw = if ends_line { raw.strip_suffix(b"\r").unwrap_or(raw) } else { raw };
    Ok((Field { raw, quoted: false }, at + length))
}

fn split_quoted(text: &[u8], at: usize, delimiter: u8) -> Result<(Field<'_>, usize), Fault> {
    let end = quoted_end(text, at).ok_or(Fault::Unclosed)?;
    let field = Field { raw: &text[at + 1..end - 1], quoted: true };
    match &text[end..] {
        [] | [b'\n', ..] => Ok((field, end)),
        [b'\r'] | [b'\r', b'\n', ..] => Ok((field, end + 1)),
        [byte, ..] if *byte == delimiter => Ok((field, end)),
        _ => Err(Fault::AfterQuote),
    }
}

/// Past a blank line that begins at `at`.
pub fn blank_line(text: &[u8], at: usize) -> Option<usize> {
    match &text[at..] {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        [b'\r'] => Some(at + 1),
        _ => None,
    }
}

/// The fields of a record, and where the next one begins.
pub type Record<'a> = (Vec<Field<'a>>, usize);

/// The record that begins at `at` (blank lines are skipped): its fields, and where the next one begins; none at the end.
///
/// # Errors
/// [`Fault`] with the position of the field.
pub fn record(text: &[u8], mut at: usize, delimiter: u8) -> Result<Option<Record<'_>>, (Fault, usize)> {
    while let Some(after) = text.get(at..).and_then(|_| blank_line(text, at)) {
        at = after;
    }
    if at >= text.len() {
        return Ok(None);
    }
    let mut fields = Vec::new();
    loop {
        let (field, end) = split(text, at, delimiter).map_err(|fault| (fault, at))?;
        fields.push(field);
        at = end + 1;
        if text.get(end) != Some(&delimiter) {
            return Ok(Some((fields, at)));
        }
    }
}

/// Number of records of a text, up to the first that cannot be split.
pub fn records(text: &[u8], delimiter: u8) -> u64 {
    let (mut at, mut count) = (0, 0);
    while at < text.len() {
        if let Some(after) = blank_line(text, at) {
            at = after;
            continue;
        }
        loop {
            let Ok((_, end)) = split(text, at, delimiter) else { return count };
            at = end + 1;
            if text.get(end) != Some(&delimiter) {
                break;
            }
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(text: &str) -> Result<Vec<Vec<String>>, (Fault, usize)> {
        let (mut at, mut rows) = (0, Vec::new());
        while let Some((fields, next)) = record(text.as_bytes(), at, b',')? {
            rows.push(fields.iter().map(|field| String::from_utf8(field.unescaped().into_owned()).unwrap()).collect());
            at = next;
        }
        Ok(rows)
    }

    fn written(value: &str, quote: bool) -> String {
        if quote || value.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", value.replace('"', "\"\""))
        } else {
            value.to_owned()
        }
    }

    proptest! {
        /// What a plain writer wrote is read back, whatever the values hold.
        #[test]
        fn written_fields_are_read_back(
            table in prop::collection::vec(prop::collection::vec(("[ab,\"\n\r]{0,6}", any::<bool>()), 2..4), 0..6),
            line_end in prop::sample::select(vec!["\n", "\r\n"]),
            last_end in any::<bool>(),
        ) {
            let lines: Vec<String> = table
                .iter()
                .map(|row| row.iter().map(|(value, quote)| written(value, *quote)).collect::<Vec<_>>().join(","))
                .collect();
            let mut text = lines.join(line_end);
            if last_end {
                text.push_str(line_end);
            }
            let expected: Vec<Vec<String>> =
                table.iter().map(|row| row.iter().map(|(value, _)| value.clone()).collect()).collect();
            prop_assert_eq!(records(text.as_bytes(), b','), rows(&text).unwrap().len() as u64);
            prop_assert_eq!(rows(&text).unwrap(), expected);
        }

        /// Any text at all: no panic, and every byte is consumed.
        #[test]
        fn anything_is_split_or_refused(text in "[a,\"\n\r]{0,40}") {
            if let Err((_, at)) = rows(&text) {
                prop_assert!(at < text.len());
            }
        }
    }

    #[test]
    fn quotes_follow_the_standard() {
        assert_eq!(rows("a,\"b \"\"c\"\"\",d\"e\n").unwrap(), [["a", "b \"c\"", "d\"e"]]);
        assert_eq!(rows("a,\n,b").unwrap(), [["a", ""], ["", "b"]]);
        assert_eq!(rows("\n\r\na\r\n\n").unwrap(), [["a"]]);
        assert_eq!(rows("a,\"b"), Err((Fault::Unclosed, 2)));
        assert_eq!(rows("\"a\"b,c"), Err((Fault::AfterQuote, 0)));
    }
}
