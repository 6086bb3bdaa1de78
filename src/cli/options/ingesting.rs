//! How sources become a dataset: roles of columns, storage, missing values, the split.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use gristmill_io::ingest::{Impute, IngestOptions};
use gristmill_io::roles::Roles;
use gristmill_io::source::options::null_values;
use gristmill_kernels::dtype::DType;

use super::reading::delimiter;
use super::{MachineOptions, ReadingOptions};
use crate::error::{Error, Result};

/// Flags of ingest. Names of columns may be patterns with `*` and `?`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Columns")]
pub struct IngestingOptions {
    /// Column to predict; several columns of 0 and 1, set apart by commas, are learnt together [default: the column called label, target or y]
    #[arg(long, value_name = "COLUMN")]
    pub label: Option<String>,
    /// Column with the weights of rows
    #[arg(long, value_name = "COLUMN")]
    pub weight: Option<String>,
    /// Column that is added to the margin with coefficient 1, such as the logarithm of the exposure; predict reads it too
    #[arg(long, value_name = "COLUMN")]
    pub offset: Option<String>,
    /// Columns to leave out
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub ignore: Vec<String>,
    /// Columns to read as numbers
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub numeric: Vec<String>,
    /// Columns to read as categories
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub categorical: Vec<String>,
    /// Columns of lists to read as vectors
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub vector: Vec<String>,
    /// Columns of text: their words are hashed to sparse vectors (2^18 elements, or --hash-bits COLUMN=N)
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub text: Vec<String>,
    /// Words of the n-grams of text columns, such as 1..2 for words and pairs of neighbours [default: 1..1]
    #[arg(long, value_name = "FEWEST..MOST")]
    pub ngrams: Option<String>,
    /// TOML file with roles: label, weight, offset, ignore, numeric, categorical, vector, text; flags beat it
    #[arg(long, value_name = "FILE")]
    pub roles: Option<PathBuf>,
    /// Storage of numbers: f32, f64, f16, u16, u8 (the last three may round; inspect shows the worst error), or COLUMN=TYPE, separated by commas [default: f32]
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    pub dtype: Vec<String>,
    /// What stands for a missing number: mean, zero, refuse, a number, or COLUMN=... of these [default: mean]
    #[arg(long, value_name = "RULE", value_delimiter = ',', allow_hyphen_values = true)]
    pub impute: Vec<String>,
    /// Add a column NAME_missing beside every numeric column with missing values
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub indicator: Option<bool>,
    /// Leave rows without a label out instead of stopping
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub drop_missing_label: Option<bool>,
    /// Most levels of a category; more are an error [default: 1000000]
    #[arg(long, value_name = "N")]
    pub max_categories: Option<usize>,
    /// Levels with fewer training rows than this share one level, that of unseen values [default: 1]
    #[arg(long, value_name = "N")]
    pub min_count: Option<u64>,
    /// Hash categorical columns into 2^N levels each, without dictionaries: N, or COLUMN=N, separated by commas (1 to 30)
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub hash_bits: Vec<String>,
    /// Turn a number into N buckets with equally many training rows each, a parameter a bucket: COLUMN=N, separated by commas
    #[arg(long, value_name = "COLUMN=N", value_delimiter = ',')]
    pub bucketize: Vec<String>,
    /// Share of the rows to hold out, decided row by row by the seed [default: 0]
    #[arg(long, value_name = "SHARE", help_heading = "Rows", allow_negative_numbers = true)]
    pub test_share: Option<f64>,
    /// Column that says which rows are held out: true, 1 or `test` are
    #[arg(long, value_name = "COLUMN", help_heading = "Rows")]
    pub split_column: Option<String>,
    /// Put the rows in random order (sorted input, mini-batches)
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Rows")]
    pub shuffle: Option<bool>,
}

impl IngestingOptions {
    /// The options that these flags make.
    ///
    /// # Errors
    /// When a flag's value makes no sense, or the file of roles cannot be read.
    pub fn options(
        &self,
        reading: &ReadingOptions,
        machine: &MachineOptions,
        seed: Option<u64>,
        force: bool,
    ) -> Result<IngestOptions> {
        let mut options = IngestOptions {
            roles: self.roles()?,
            indicator: self.indicator.unwrap_or(false),
            drop_missing_label: self.drop_missing_label.unwrap_or(false),
            test_share: self.test_share.unwrap_or(0.0),
            split_column: self.split_column.clone(),
            shuffle: self.shuffle.unwrap_or(false),
            seed: seed.unwrap_or(crate::plan::SEED),
            memory: machine.memory,
            threads: Some(machine.threads()),
            format: reading.format.clone(),
            delimiter: reading.delimiter.as_deref().map(delimiter).transpose()?.map(char::from),
            header: reading.header,
            null_values: (!reading.null_values.is_empty()).then(|| null_values(&reading.null_values)),
            index_base: reading.index_base,
            force,
            ..IngestOptions::default()
        };
        options.max_categories = self.max_categories.unwrap_or(options.max_categories);
        options.min_count = self.min_count.unwrap_or(options.min_count);
        check_rules("dtype", &self.dtype)?;
        check_rules("impute", &self.impute)?;
        check_rules("hash-bits", &self.hash_bits)?;
        check_rules("bucketize", &self.bucketize)?;
        for given in &self.dtype {
            let (column, name) = split_rule(given);
            let dtype = DType::from_name(name).ok_or_else(|| {
                Error::usage(format!("--dtype: unknown storage type '{name}'; f64, f32, f16, u16 or u8 was expected"))
            })?;
            match column {
                Some(column) => drop(options.dtypes.insert(column.to_string(), dtype)),
                None => options.dtype = Some(dtype),
            }
        }
        for given in &self.impute {
            let (column, rule) = split_rule(given);
            let rule: Impute = rule.parse().map_err(|message| Error::usage(format!("--impute: {message}")))?;
            match column {
                Some(column) => drop(options.imputes.insert(column.to_string(), rule)),
                None => options.impute = rule,
            }
        }
        for given in &self.hash_bits {
            let (column, bits) = split_rule(given);
            let number = bits.parse().map_err(|_| {
                Error::usage(format!(
                    "--hash-bits: found '{bits}', expected a number of bits from 1 to 30, or COLUMN=N"
                ))
            })?;
            match column {
                Some(column) => drop(options.hashes.insert(column.to_string(), number)),
                None => options.hash_bits = Some(number),
            }
        }
        if let Some(given) = &self.ngrams {
            let parsed = match given.split_once("..") {
                Some((fewest, most)) => fewest.parse().ok().zip(most.parse().ok()),
                None => given.parse().ok().map(|n| (n, n)),
            };
            let expected =
                || Error::usage(format!("--ngrams: found '{given}', expected FEWEST..MOST words such as 1..2"));
            options.ngrams = Some(parsed.ok_or_else(expected)?);
        }
        for given in &self.bucketize {
            let parsed = given.rsplit_once('=').and_then(|(column, buckets)| Some((column, buckets.parse().ok()?)));
            let (column, buckets) = parsed.ok_or_else(|| {
                Error::usage(format!("--bucketize: found '{given}', expected COLUMN=N with a number of buckets"))
            })?;
            options.bucketize.insert(column.to_string(), buckets);
        }
        options.check()?;
        Ok(options)
    }

    /// Roles of the file, with those of the flags over them.
    fn roles(&self) -> Result<Roles> {
        let file = self.roles.as_deref().map(Roles::read).transpose()?.unwrap_or_default();
        Ok(self.typed_roles().over(file))
    }

    fn typed_roles(&self) -> Roles {
        Roles {
            label: self.label.clone(),
            weight: self.weight.clone(),
            offset: self.offset.clone(),
            ignore: self.ignore.clone(),
            numeric: self.numeric.clone(),
            categorical: self.categorical.clone(),
            vector: self.vector.clone(),
            text: self.text.clone(),
            ..Roles::default()
        }
    }
}

/// Refuses two rules for the same column, or for all: one of them would be forgotten.
fn check_rules(flag: &str, rules: &[String]) -> Result<()> {
    let mut seen = BTreeMap::new();
    for rule in rules {
        let Some(before) = seen.insert(split_rule(rule).0, rule) else { continue };
        let of = split_rule(rule).0.map_or("all columns".into(), |column| format!("column '{column}'"));
        return Err(Error::usage(format!(
            "--{flag}: '{before}' and '{rule}' are both a rule for {of}. Give one of them, or name columns: COLUMN=RULE,COLUMN=RULE"
        )));
    }
    Ok(())
}

/// `COLUMN=RULE` or `RULE`.
fn split_rule(given: &str) -> (Option<&str>, &str) {
    given.rsplit_once('=').map_or((None, given), |(column, rule)| (Some(column), rule))
}
