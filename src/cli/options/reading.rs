//! How source files are read.

use clap::Args;
use gristmill_io::source::SourceOptions;
use gristmill_io::source::options::null_values;

use crate::error::{Error, Result};

/// Flags of reading; formats and delimiters are recognised, so most sources need none of them.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Reading")]
pub struct ReadingOptions {
    #[arg(long, value_name = "NAME", help = format!("Format of the sources: {} [default: by extension, else by content]", formats()))]
    pub format: Option<String>,
    /// CSV: what separates fields, a character or `tab` [default: recognised]
    #[arg(long, value_name = "CHAR")]
    pub delimiter: Option<String>,
    /// CSV: whether the first line holds names (without, columns are column_1, column_2, ...)
    #[arg(long, value_name = "true|false")]
    pub header: Option<bool>,
    /// Text formats: texts that stand for a missing value in place of the usual ones, separated by commas; `default` names these
    /// [default: empty, NA, NaN, null, ...]
    #[arg(long, value_name = "TEXTS", value_delimiter = ',', allow_hyphen_values = true)]
    pub null_values: Vec<String>,
    /// libsvm: what indices count from, 0 or 1 [default: 1, unless an index 0 occurs]
    #[arg(long, value_name = "0|1", value_parser = clap::value_parser!(u32).range(0..=1))]
    pub index_base: Option<u32>,
}

impl ReadingOptions {
    /// The options that these flags make.
    ///
    /// # Errors
    /// When a delimiter or a type is not one.
    pub fn options(&self) -> Result<SourceOptions> {
        let mut options = SourceOptions {
            format: self.format.clone(),
            header: self.header,
            index_base: self.index_base,
            ..SourceOptions::default()
        };
        options.delimiter = self.delimiter.as_deref().map(delimiter).transpose()?;
        if !self.null_values.is_empty() {
            options.null_values = null_values(&self.null_values);
        }
        Ok(options)
    }
}

fn formats() -> String {
    gristmill_io::source::FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ")
}

pub fn delimiter(text: &str) -> Result<u8> {
    match text {
        "tab" | "\\t" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
            _ => Err(Error::usage(format!("--delimiter is '{text}'; one character or `tab` was expected"))),
        },
    }
}
