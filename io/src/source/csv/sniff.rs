//! What the head of a CSV file tells (stage 1): the delimiter, and the names of the columns.
//!
//! The delimiter is the one of comma, tab, semicolon and bar that splits the first records into the same number of fields, at
//! least two (the most, where several do, and none where two of them make as many); comma where none does.

use std::path::Path;

use super::fields::record;
use crate::error::{Error, Place, Result};
use crate::source::SourceOptions;

/// Delimiters that are looked for.
const CANDIDATES: [u8; 4] = [b',', b'\t', b';', b'|'];
/// Records that a delimiter must split evenly.
const RECORDS: usize = 50;

/// The delimiter that fits `head`, the first bytes of the file at `path`.
///
/// # Errors
/// When two fit alike.
pub fn delimiter(path: &Path, head: &[u8]) -> Result<u8> {
    let widths = CANDIDATES.map(|candidate| (even_width(head, candidate).unwrap_or(0), candidate));
    let most = widths.iter().map(|&(width, _)| width).max().unwrap_or(0);
    let named = |delimiter: u8| if delimiter == b'\t' { "tab".into() } else { format!("'{}'", char::from(delimiter)) };
    match widths.iter().filter(|&&(width, _)| width == most).collect::<Vec<_>>()[..] {
        _ if most < 2 => Ok(b','),
        [(_, one), (_, other), ..] => {
            let (one, other) = (named(*one), named(*other));
            let message = format!("{one} and {other} both split the first records into {most} fields each");
            Err(Error::data(path, message).help(format!("Pass --delimiter {one} or --delimiter {other}")))
        }
        [(_, one)] => Ok(*one),
        [] => Ok(b','),
    }
}

/// Number of fields of the first records, when it is the same for all of them.
fn even_width(head: &[u8], delimiter: u8) -> Option<usize> {
    // The last record of the head may be cut short, unless it is the only one.
    let (mut widths, mut at) = (Vec::new(), 0);
    while widths.len() <= RECORDS {
        match record(head, at, delimiter) {
            Ok(Some((fields, next))) => {
                widths.push(fields.len());
                at = next;
            }
            _ => break,
        }
    }
    if widths.len() > 1 && at >= head.len() && !head.ends_with(b"\n") {
        widths.pop();
    }
    let first = *widths.first()?;
    widths.iter().all(|&width| width == first).then_some(first)
}

/// The names in a header record.
///
/// # Errors
/// For names that matter and are empty or stand twice, for names that are no UTF-8, and for a line of numbers where `may_be_data`.
pub fn names(
    path: &Path,
    header: &[u8],
    delimiter: u8,
    may_be_data: bool,
    options: &SourceOptions,
) -> Result<Vec<String>> {
    let fault = |message: String| Error::data(path, message).at(Place::Line(1));
    let fields = match record(header, 0, delimiter) {
        Ok(Some((fields, _))) => fields,
        Ok(None) => return Err(fault("the header line is empty".into()).help("Pass --header false when there is none")),
        Err((reason, _)) => {
            let (message, help) = reason.message();
            return Err(fault(message.into()).help(help));
        }
    };
    let mut names: Vec<String> = Vec::with_capacity(fields.len());
    for (number, field) in fields.iter().enumerate() {
        let name = String::from_utf8(field.unescaped().into_owned())
            .map_err(|_| fault(format!("the name of column {} is not UTF-8", number + 1)))?;
        names.push(if field.quoted { name } else { name.trim().to_owned() });
    }
    if may_be_data && looks_like_data(&names) {
        return Err(fault(format!("the first line holds numbers ({}), expected column names", names.join(", ")))
            .help("Pass --header false when it is a row, --header true when these are the names"));
    }
    if let Some(number) = names.iter().position(|name| name.is_empty() && options.looks_at(name)) {
        let help = "Name it, write the file without it (index=False in pandas), or pass --header false where there is no header";
        return Err(fault(format!("column {} has no name", number + 1)).help(help));
    }
    let mut sorted: Vec<&String> = names.iter().filter(|name| options.looks_at(name)).collect();
    sorted.sort();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(fault("two columns have this name".into())
            .column(pair[0].clone())
            .help("Rename one, or pass --header false"));
    }
    Ok(names)
}

/// True for a line of nothing but numbers, other than a count from 0 or 1 (which some writers put for want of names).
fn looks_like_data(names: &[String]) -> bool {
    let all_numbers = names.iter().all(|name| fast_float2::parse::<f64, _>(name).is_ok());
    let counts_from =
        |first: usize| names.iter().enumerate().all(|(number, name)| *name == (number + first).to_string());
    all_numbers && !(names.len() > 1 && (counts_from(0) || counts_from(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names_of(header: &str) -> std::result::Result<Vec<String>, String> {
        names(Path::new("x.csv"), header.as_bytes(), b',', true, &SourceOptions::default())
            .map_err(|error| error.to_string())
    }

    /// None where it has to be told.
    fn of(head: &[u8]) -> Option<u8> {
        delimiter(Path::new("x.csv"), head).ok()
    }

    #[test]
    fn the_delimiter_is_the_one_that_splits_evenly() {
        assert_eq!(of(b"a,b\n1,2\n"), Some(b','));
        assert_eq!(of(b"a;b;c\n1,5;2,5;x\n1,5;2;x\n"), Some(b';'));
        assert_eq!(of(b"a\tb\n1\t\"x,y\tz\"\n"), Some(b'\t'));
        assert_eq!(of(b"a|b|c\n1|2|3\n4|5"), Some(b'|'));
        assert_eq!(of(b"only\none\n"), Some(b','));
        assert_eq!(of(b""), Some(b','));
        let both = delimiter(Path::new("x.csv"), b"Price, EUR;Size, m2;y\n100,5;20,5;1\n").map_err(|e| e.to_string());
        assert!(both.unwrap_err().contains("',' and ';' both split the first records into 3 fields each"));
    }

    #[test]
    fn names_that_nobody_reads_may_be_any() {
        let of = |header: &str, columns: &[&str], kept: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
            let (columns, verbatim) = (Some(owned(columns)), owned(kept));
            let options = SourceOptions { columns, verbatim, settled: true, ..SourceOptions::default() };
            names(Path::new("x.csv"), header.as_bytes(), b',', true, &options).map_err(|error| error.to_string())
        };
        assert_eq!(of("x,z,z\n", &["x"], &[]).unwrap(), ["x", "z", "z"]);
        assert_eq!(of(",x,\n", &["x"], &[]).unwrap(), ["", "x", ""]);
        assert!(of("x,z,z\n", &["x", "z"], &[]).unwrap_err().contains("column 'z': two columns"));
        assert!(of("x,z,z\n", &["x"], &["z"]).unwrap_err().contains("column 'z': two columns"));
        let look = SourceOptions { settled: true, ..SourceOptions::default() };
        assert_eq!(names(Path::new("x.csv"), b"a,a,\n", b',', true, &look).unwrap(), ["a", "a", ""]);
    }

    #[test]
    fn bad_headers_are_named() {
        assert!(names_of("a,b,a\n").unwrap_err().contains("column 'a': two columns have this name"));
        assert!(names_of("a,,b\n").unwrap_err().contains("column 2 has no name"));
        assert!(names_of("1.5,2,3\n").unwrap_err().contains("--header false"));
        assert_eq!(names_of("0,1,2\n").unwrap(), ["0", "1", "2"]);
        assert_eq!(names_of(" a , \"b c\"\r\n").unwrap(), ["a", "\"b c\""]);
        assert_eq!(names_of("a,\" b\"\r\n").unwrap(), ["a", " b"]);
    }

    proptest! {
        #[test]
        fn any_head_gives_a_candidate(head in "[a;,|\t\"\n]{0,60}") {
            prop_assert!(of(head.as_bytes()).is_none_or(|found| CANDIDATES.contains(&found)));
        }
    }
}
