//! What to do about an error, as far as the command can: the advice of errors about sources names flags of ingest, and other commands
//! that read sources have only some of them.

use gristmill_io::Error as IoError;

use crate::error::Error;

/// The error with the parts of its advice left out that name flags other than `flags`.
pub fn possible(error: Error, flags: &[&str]) -> Error {
    match error {
        Error::Data(IoError::Data(mut data)) => {
            data.help = kept(&data.help, flags);
            Error::Data(IoError::Data(data))
        }
        Error::OnRank { name, error } => Error::OnRank { name, error: Box::new(possible(*error, flags)) },
        Error::Everywhere(error) => Error::Everywhere(Box::new(possible(*error, flags))),
        other => other,
    }
}

fn kept(help: &str, flags: &[&str]) -> String {
    let is_flag = |word: &&str| word.starts_with("--") && word.len() > 2;
    let flag = |word: &str| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    let is_possible = |part: &&str| part.split_whitespace().filter(is_flag).all(|word| flags.contains(&&*flag(word)));
    let parts: Vec<&str> = help.split_inclusive(", ").flat_map(|part| part.split_inclusive("; ")).collect();
    if parts.iter().all(is_possible) {
        return help.to_owned();
    }
    let parts = parts.iter().filter(|part| is_possible(part));
    let joined: String = parts.copied().collect();
    let joined = joined.trim_end_matches([' ', ',', ';']);
    let joined = joined.strip_prefix("or ").unwrap_or(joined);
    let mut letters = joined.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::kept;

    #[test]
    fn advice_that_a_command_cannot_take_is_left_out() {
        let flags = ["null-values", "header", "format"];
        for (help, expected) in [
            ("", ""),
            (
                "Pass --header false when it is a row, --header true when these are the names",
                "Pass --header false when it is a row, --header true when these are the names",
            ),
            ("Drop such rows, or leave the column out with --ignore", "Drop such rows"),
            (
                "Read the column as categories with --categorical, or add the text to --null-values",
                "Add the text to --null-values",
            ),
            ("Leave the column out with --ignore a,b", ""),
            (
                "All files of a source need the same columns; leave out those that differ with --ignore",
                "All files of a source need the same columns",
            ),
            (
                "The type was inferred from the first rows: pass --null-values '-' if it stands for a missing value, --categorical x to read it as text, or --ignore x",
                "The type was inferred from the first rows: pass --null-values '-' if it stands for a missing value",
            ),
        ] {
            assert_eq!(kept(help, &flags), expected);
        }
    }
}
