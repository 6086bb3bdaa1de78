//! What the user may say about how sources are read (stage 1). Everything has a default that fits common files.

use std::collections::BTreeMap;

use crate::watch::Cancel;

/// Texts that stand for a missing value in an unquoted field, unless others are given.
pub const NULL_MARKERS: &[&str] = &[
    "", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-nan", "-NaN", "NULL", "Null", "null", "None", "none", "?", "<NA>",
];

/// What stands for a missing value where these texts are named: `default` stands for [`NULL_MARKERS`].
pub fn null_values(texts: &[String]) -> Vec<String> {
    let of = |text: &String| match text.as_str() {
        "default" => NULL_MARKERS.iter().map(|&marker| marker.to_owned()).collect(),
        _ => vec![text.clone()],
    };
    texts.iter().flat_map(of).collect()
}

/// The type of a column of a text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextType {
    /// `true` or `false`, in lower, upper or title case.
    Boolean,
    /// A whole number that fits 64 bits.
    Integer,
    /// A decimal number, with or without exponent.
    Float,
    /// The same, or `true` or `false` as 1 and 0, and in NDJSON also a number that stands in quotes.
    Number,
    /// ISO 8601 date, `YYYY-MM-DD`.
    Date,
    /// ISO 8601 date and time, `YYYY-MM-DD hh:mm:ss[.fraction][zone]`.
    Timestamp,
    /// Anything.
    Text,
}

impl TextType {
    /// What a value of this type looks like, for messages.
    pub fn expected(self) -> &'static str {
        match self {
            TextType::Boolean => "true or false",
            TextType::Integer => "an integer",
            TextType::Float | TextType::Number => "a number",
            TextType::Date => "a date (YYYY-MM-DD)",
            TextType::Timestamp => "a timestamp (YYYY-MM-DD hh:mm:ss)",
            TextType::Text => "text in UTF-8",
        }
    }
}

/// How sources are read.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Name of the format ([`super::FORMATS`]); none: by extension, else by content.
    pub format: Option<String>,
    /// The only columns to read (flattened names); none: all of them.
    pub columns: Option<Vec<String>>,
    /// Columns to hand on as they stand in the source. Of CSV and NDJSON as texts, behind all others: a column that is read as well is
    /// there twice under its name. Of other formats with the type they have, whatever it is, unless they are read as well.
    pub verbatim: Vec<String>,
    /// What is read is settled beforehand, by `columns`, `verbatim` and `types`: a source may hold no rows, and a NDJSON key that no line
    /// has is a missing value in all of them.
    pub settled: bool,
    /// Columns not to read; a column of an unsupported type is no error when it stands here.
    pub ignore: Vec<String>,
    /// Hand on columns of types that cannot be read as they are, for a caller that first looks at the schema and then says
    /// what to ignore; else they are errors.
    pub any_type: bool,
    /// CSV: what separates fields; none: tab for `.tsv` and `.tab`, else the one that fits the first lines.
    pub delimiter: Option<u8>,
    /// CSV: whether the first line holds the names; none: it does, and a line of numbers there is an error.
    pub header: Option<bool>,
    /// CSV: texts that stand for a missing value.
    pub null_values: Vec<String>,
    /// libsvm: the number that indices count from, 0 or 1; none: 1, unless an index 0 occurs anywhere.
    pub index_base: Option<u32>,
    /// CSV and NDJSON: types by column name; the others are inferred from a sample.
    pub types: BTreeMap<String, TextType>,
    /// Text formats: bytes of a chunk.
    pub chunk_bytes: usize,
    /// Binary formats: decoded bytes of a chunk, about; larger row groups are split.
    pub part_bytes: usize,
    /// Text formats: bytes at the head of the first file that types are inferred from.
    pub sample_bytes: usize,
    /// libsvm and CSV: a record longer than this is an error (bounds memory when a quote is never closed).
    pub record_bytes_max: usize,
    /// Folder for a copy of the standard input, for formats that need to seek or to be read twice.
    pub scratch: std::path::PathBuf,
    /// Ends the wait for the standard input.
    pub cancel: Cancel,
}

impl Default for SourceOptions {
    fn default() -> SourceOptions {
        SourceOptions {
            format: None,
            columns: None,
            verbatim: Vec::new(),
            settled: false,
            ignore: Vec::new(),
            any_type: false,
            delimiter: None,
            header: None,
            null_values: NULL_MARKERS.iter().map(|&marker| marker.to_owned()).collect(),
            index_base: None,
            types: BTreeMap::new(),
            chunk_bytes: 2 << 20,
            part_bytes: 64 << 20,
            sample_bytes: 4 << 20,
            record_bytes_max: 64 << 20,
            scratch: crate::memory::scratch_folder(),
            cancel: Cancel::new(),
        }
    }
}

impl SourceOptions {
    /// True when the column is to be read.
    pub fn wants(&self, name: &str) -> bool {
        !self.ignore.iter().any(|ignored| ignored == name)
            && self.columns.as_ref().is_none_or(|columns| columns.iter().any(|column| column == name))
    }

    /// True when the name of a column matters: of settled columns those that are read or handed on, else all.
    pub fn looks_at(&self, name: &str) -> bool {
        !self.settled || self.columns.is_some() && self.wants(name) || self.keeps(name)
    }

    /// True when the column is to be handed on as it stands in the source.
    pub fn keeps(&self, name: &str) -> bool {
        self.verbatim.iter().any(|kept| kept == name)
    }
}
