//! Where records of a text end (stage 1). Lines end at a line feed; in CSV a line feed inside quotes does not count
//! (RFC 4180).
//!
//! A quote opens a quoted field only where a field begins, that is at the head of a record or after a delimiter; anywhere
//! else it is an ordinary character. The field splitter of CSV follows the same rule, so both agree on where records end.
//! Cost: one `memchr` over text without quotes, and a few nanoseconds a quote otherwise.

use memchr::{memchr, memrchr};

/// How records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cutter {
    /// A record is a line.
    Lines,
    /// A record is a line, except that quoted fields may hold line feeds.
    Quoted {
        /// What separates fields.
        delimiter: u8,
    },
}

impl Cutter {
    /// End of the last record that is complete in `text` (past its line feed); `text` begins at the head of a record.
    pub fn last_end(self, text: &[u8]) -> Option<usize> {
        match self {
            Cutter::Lines => memrchr(b'\n', text).map(|at| at + 1),
            Cutter::Quoted { delimiter } => {
                let mut last = None;
                outside_quotes(text, delimiter, |from, to| {
                    last = memrchr(b'\n', &text[from..to]).map(|at| from + at + 1).or(last);
                    true
                });
                last
            }
        }
    }

    /// End of the first record in `text` (past its line feed).
    pub fn first_end(self, text: &[u8]) -> Option<usize> {
        match self {
            Cutter::Lines => memchr(b'\n', text).map(|at| at + 1),
            Cutter::Quoted { delimiter } => {
                let mut first = None;
                outside_quotes(text, delimiter, |from, to| {
                    first = memchr(b'\n', &text[from..to]).map(|at| from + at + 1);
                    first.is_none()
                });
                first
            }
        }
    }
}

/// Call `span` with each stretch of `text` outside quoted fields, in order, until it says false.
fn outside_quotes(text: &[u8], delimiter: u8, mut span: impl FnMut(usize, usize) -> bool) {
    let (mut from, mut search) = (0, 0);
    loop {
        let Some(quote) = memchr(b'"', &text[search..]).map(|at| search + at) else {
            span(from, text.len());
            return;
        };
        let opens = quote == 0 || text[quote - 1] == delimiter || text[quote - 1] == b'\n';
        if !opens {
            search = quote + 1;
            continue;
        }
        if !span(from, quote) {
            return;
        }
        let Some(end) = quoted_end(text, quote) else { return };
        (from, search) = (end, end);
    }
}

/// Past the closing quote of the field that opens at `open`; a doubled quote does not close.
pub fn quoted_end(text: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += memchr(b'"', text.get(at..)?)? + 1;
        if text.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CSV: Cutter = Cutter::Quoted { delimiter: b',' };

    /// The rule once more, a byte at a time.
    fn naive_ends(text: &[u8], delimiter: u8) -> Vec<usize> {
        let (mut ends, mut inside, mut at) = (Vec::new(), false, 0);
        let mut field_start = true;
        while at < text.len() {
            let byte = text[at];
            if inside {
                if byte == b'"' && text.get(at + 1) == Some(&b'"') {
                    at += 1;
                } else if byte == b'"' {
                    inside = false;
                }
                field_start = false;
            } else if byte == b'"' && field_start {
                inside = true;
            } else {
                field_start = byte == delimiter || byte == b'\n';
                if byte == b'\n' {
                    ends.push(at + 1);
                }
            }
            at += 1;
        }
        ends
    }

    proptest! {
        #[test]
        fn cuts_agree_with_the_naive_rule(text in "[ab,\"\n\r]{0,60}") {
            let ends = naive_ends(text.as_bytes(), b',');
            prop_assert_eq!(CSV.first_end(text.as_bytes()), ends.first().copied());
            prop_assert_eq!(CSV.last_end(text.as_bytes()), ends.last().copied());
        }
    }

    #[test]
    fn line_feeds_in_quotes_do_not_cut() {
        assert_eq!(CSV.last_end(b"a,\"x\ny\"\nb,\"z\n"), Some(8));
        assert_eq!(CSV.first_end(b"a,\"x\ny\"\nb\n"), Some(8));
        assert_eq!(CSV.last_end(b"5\" pipe,3\nrest"), Some(10));
        assert_eq!(Cutter::Lines.last_end(b"\"a\nb\""), Some(3));
        assert_eq!(CSV.last_end(b"\"never closed\n\n"), None);
    }
}
