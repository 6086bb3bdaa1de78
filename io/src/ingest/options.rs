//! What the user may say about ingest (stage 2). Everything has a default.

use std::collections::BTreeMap;
use std::path::Path;

use gristmill_kernels::dtype::DType;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::manifest::{BUCKETS_MAX, HASH_BITS_MAX, NGRAM_MAX};
use crate::memory::{Limits, format_size};
use crate::roles::Roles;
use crate::source::SourceOptions;

/// What stands for a missing number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Impute {
    /// The mean of the training rows that have one.
    #[default]
    Mean,
    /// Zero.
    Zero,
    /// This number.
    Constant(f64),
    /// Nothing: a missing number is an error.
    Refuse,
}

impl std::str::FromStr for Impute {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Impute, String> {
        match text {
            "mean" => Ok(Impute::Mean),
            "zero" => Ok(Impute::Zero),
            "refuse" => Ok(Impute::Refuse),
            number => match number.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Impute::Constant(value)),
                _ => Err(format!("found '{number}', expected mean, zero, refuse or a number")),
            },
        }
    }
}

/// How sources become a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestOptions {
    /// What each column is for.
    pub roles: Roles,
    /// Storage type of numbers that are no small integers (those are `u8` or `u16`, exactly); none: `f32`.
    #[serde(with = "optional_dtype")]
    pub dtype: Option<DType>,
    /// Storage types by column name; they go before everything else.
    #[serde(with = "dtypes")]
    pub dtypes: BTreeMap<String, DType>,
    /// What stands for a missing number.
    pub impute: Impute,
    /// The same by column name.
    pub imputes: BTreeMap<String, Impute>,
    /// Add a column `NAME_missing` (0 or 1) beside every numeric column with missing values in training rows. Off by
    /// default, as in scikit-learn's imputer: a model has the columns of its source and no more, unless asked.
    pub indicator: bool,
    /// Share of the rows that are held out, by a hash of (seed, row number).
    pub test_share: f64,
    /// The column that says which rows are held out: true, 1, `test` (or `valid`, `validation`, `holdout`) are; false, 0,
    /// `train` are not.
    pub split_column: Option<String>,
    /// Put the rows in random order.
    pub shuffle: bool,
    /// Seed of the split and of the shuffle.
    pub seed: u64,
    /// Bytes of memory to stay within; none: the default of [`crate::memory`].
    pub memory: Option<u64>,
    /// Number of threads; none: as many as there are processors.
    pub threads: Option<usize>,
    /// A categorical column with more levels than this is an error.
    pub max_categories: usize,
    /// Levels with fewer training rows than this are treated as unseen.
    pub min_count: u64,
    /// Categorical features are hashed into 2^this levels each; none: they have dictionaries.
    pub hash_bits: Option<u8>,
    /// The same by column name.
    pub hashes: BTreeMap<String, u8>,
    /// Fewest and most words of the n-grams of text columns; none: single words.
    pub ngrams: Option<(u8, u8)>,
    /// Numeric features that become levels, with their numbers of buckets.
    pub bucketize: BTreeMap<String, usize>,
    /// A source without a label is an error: a model is to be trained on it.
    #[serde(skip)]
    pub needs_label: bool,
    /// Leave rows without a label out instead of stopping.
    pub drop_missing_label: bool,
    /// Rows of a grain; none: about 4 MiB.
    pub grain_rows: Option<usize>,
    /// Grains of a shard; none: by its bytes.
    pub shard_grains: Option<usize>,
    /// Bytes of a shard, about; none: 256 MiB.
    pub shard_bytes: Option<u64>,
    /// Format of the sources; none: by extension or content.
    pub format: Option<String>,
    /// CSV: what separates fields; none: found out.
    pub delimiter: Option<char>,
    /// CSV: whether the first line holds names; none: found out.
    pub header: Option<bool>,
    /// CSV: texts that stand for a missing value; none: the usual ones.
    pub null_values: Option<Vec<String>>,
    /// libsvm: what indices count from, 0 or 1; none: 1, unless an index 0 occurs.
    pub index_base: Option<u32>,
    /// Replace an output that exists.
    pub force: bool,
    /// Files of somebody else that get into the folder with the dataset, by name: where it is, they are.
    #[serde(skip)]
    pub beside: Vec<(String, Vec<u8>)>,
}

impl Default for IngestOptions {
    fn default() -> IngestOptions {
        IngestOptions {
            roles: Roles::default(),
            dtype: None,
            dtypes: BTreeMap::new(),
            impute: Impute::Mean,
            imputes: BTreeMap::new(),
            indicator: false,
            test_share: 0.0,
            split_column: None,
            shuffle: false,
            seed: 0,
            memory: None,
            threads: None,
            max_categories: 1_000_000,
            min_count: 1,
            hash_bits: None,
            hashes: BTreeMap::new(),
            bucketize: BTreeMap::new(),
            ngrams: None,
            needs_label: false,
            drop_missing_label: false,
            grain_rows: None,
            shard_grains: None,
            shard_bytes: None,
            format: None,
            delimiter: None,
            header: None,
            null_values: None,
            index_base: None,
            force: false,
            beside: Vec::new(),
        }
    }
}

impl IngestOptions {
    /// Check what can be checked without a source.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn check(&self) -> Result<()> {
        let refuse = |message: &str| Err(Error::Usage(message.into()));
        if !(0.0..1.0).contains(&self.test_share) {
            return Err(Error::Usage(format!(
                "--test-share: found {}, expected at least 0 and less than 1",
                self.test_share
            )));
        }
        if self.test_share > 0.0 && self.split_column.is_some() {
            return refuse("--test-share and --split-column both say which rows are held out. Give one of them");
        }
        if self.threads == Some(0) {
            return refuse("--threads: found 0, expected at least 1");
        }
        if self.max_categories == 0 || self.max_categories > 1 << 31 {
            return refuse("--max-categories: expected a number from 1 to 2147483648");
        }
        for bits in self.hash_bits.iter().chain(self.hashes.values()) {
            if !(1..=HASH_BITS_MAX).contains(bits) {
                return Err(Error::Usage(format!("--hash-bits: found {bits}, expected 1 to {HASH_BITS_MAX}")));
            }
        }
        if let Some((fewest, most)) =
            self.ngrams.filter(|&(fewest, most)| fewest < 1 || fewest > most || most > NGRAM_MAX)
        {
            return Err(Error::Usage(format!(
                "--ngrams: found {fewest}..{most}, expected FEWEST..MOST words, from 1 to {NGRAM_MAX}"
            )));
        }
        for (column, buckets) in &self.bucketize {
            if !(2..=BUCKETS_MAX).contains(buckets) {
                return Err(Error::Usage(format!(
                    "--bucketize {column}: found {buckets}, expected 2 to {BUCKETS_MAX} buckets"
                )));
            }
            let twice = [("dtype", self.dtypes.contains_key(column)), ("impute", self.imputes.contains_key(column))];
            if let Some((flag, _)) = twice.into_iter().find(|(_, given)| *given) {
                return Err(Error::Usage(format!(
                    "--bucketize {column} and --{flag} {column}=... contradict each other: buckets are stored as codes, and a \
                     missing value has a level of its own"
                )));
            }
        }
        if self.grain_rows.is_some_and(|rows| rows == 0 || rows % 64 != 0) || self.shard_grains == Some(0) {
            return refuse("rows of a grain are a multiple of 64, a shard has at least one grain");
        }
        self.check_memory(&Limits::now())
    }

    /// Whether what may be used of the memory, or what is, is enough.
    fn check_memory(&self, limits: &Limits) -> Result<()> {
        let (memory, least) = (self.memory.unwrap_or_else(|| limits.default_bytes()), format_size(MEMORY_MIN));
        if memory >= MEMORY_MIN {
            return Ok(());
        }
        Err(Error::Usage(match self.memory {
            Some(memory) => format!("--memory is {}; ingest needs at least {least}", format_size(memory)),
            None => {
                let more =
                    if limits.free_bytes() < MEMORY_MIN { "" } else { ", or say with --memory to use more of it" };
                let (binds, used) = (limits.what_binds(), format_size(memory));
                format!("{binds}, of which {used} would be used; ingest needs at least {least}. Raise that limit{more}")
            }
        }))
    }

    /// How the sources are read; `scratch` is a folder for temporary files.
    ///
    /// # Errors
    /// [`Error::Usage`] for a delimiter that is no single byte.
    pub fn source_options(&self, scratch: &Path) -> Result<SourceOptions> {
        let mut options =
            SourceOptions { format: self.format.clone(), scratch: scratch.to_path_buf(), ..Default::default() };
        if let Some(delimiter) = self.delimiter {
            let byte = u8::try_from(delimiter).ok().filter(u8::is_ascii);
            options.delimiter = Some(byte.ok_or_else(|| {
                Error::Usage(format!("--delimiter: found '{delimiter}', expected one ASCII character"))
            })?);
        }
        options.part_bytes = PART_BYTES;
        options.index_base = self.index_base;
        options.header = self.header;
        if let Some(markers) = &self.null_values {
            options.null_values.clone_from(markers);
        }
        Ok(options)
    }

    /// Number of worker threads.
    pub fn workers(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// Less memory than this cannot hold the buffers of one worker.
pub const MEMORY_MIN: u64 = 128 << 20;

/// Decoded bytes of a chunk of a binary source. Not a function of the memory: chunks are the units in which means are
/// summed up, and those must have the same bits for any memory.
pub const PART_BYTES: usize = 32 << 20;

fn named<E: serde::de::Error>(name: &str) -> std::result::Result<DType, E> {
    DType::from_name(name)
        .ok_or_else(|| E::custom(format!("unknown storage type '{name}', expected f64, f32, f16, u16 or u8")))
}

mod optional_dtype {
    use super::{DType, Deserialize, Deserializer, Serialize, Serializer, named};

    pub fn serialize<S: Serializer>(dtype: &Option<DType>, to: S) -> Result<S::Ok, S::Error> {
        dtype.map(DType::name).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DType>, D::Error> {
        Option::<String>::deserialize(from)?.map(|name| named(&name)).transpose()
    }
}

mod dtypes {
    use super::{BTreeMap, DType, Deserialize, Deserializer, Serialize, Serializer, named};

    pub fn serialize<S: Serializer>(dtypes: &BTreeMap<String, DType>, to: S) -> Result<S::Ok, S::Error> {
        dtypes.iter().map(|(name, dtype)| (name, dtype.name())).collect::<BTreeMap<_, _>>().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, DType>, D::Error> {
        let names = BTreeMap::<String, String>::deserialize(from)?;
        names.into_iter().map(|(column, name)| Ok((column, named::<D::Error>(&name)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_is_blamed_on_what_limits_it() {
        let limits = Limits {
            machine_bytes: 8 << 30,
            available_bytes: 4 << 30,
            group_bytes: Some(128 << 20),
            space_bytes: None,
        };
        let said =
            |memory| IngestOptions { memory, ..Default::default() }.check_memory(&limits).unwrap_err().to_string();
        assert!(said(Some(64 << 20)).starts_with("--memory is 64.0 MiB"));
        let by_group = said(None);
        assert!(by_group.contains("(cgroup)") && by_group.contains("128.0 MiB, of which 102.4 MiB"), "{by_group}");
        assert!(IngestOptions { memory: Some(128 << 20), ..Default::default() }.check_memory(&limits).is_ok());
        let machine = Limits { group_bytes: None, available_bytes: 100 << 20, ..limits };
        let said = IngestOptions::default().check_memory(&machine).unwrap_err().to_string();
        assert!(said.contains("this machine has 100.0 MiB") && !said.contains("--memory"), "{said}");
    }

    #[test]
    fn options_survive_toml_and_unknown_keys_do_not() {
        let options = IngestOptions {
            dtype: Some(DType::F64),
            dtypes: [("a".to_string(), DType::U8)].into(),
            imputes: [("b".to_string(), Impute::Constant(-1.5))].into(),
            ..IngestOptions::default()
        };
        let text = toml::to_string(&options).unwrap();
        assert_eq!(toml::from_str::<IngestOptions>(&text).unwrap(), options);
        assert_eq!(toml::from_str::<IngestOptions>("").unwrap(), IngestOptions::default());
        assert!(toml::from_str::<IngestOptions>("sed = 1").is_err());
        assert!(toml::from_str::<IngestOptions>("dtype = \"f8\"").unwrap_err().to_string().contains("f16"));
    }

    #[test]
    fn senseless_options_are_refused() {
        let refused = |options: IngestOptions| matches!(options.check(), Err(Error::Usage(_)));
        assert!(refused(IngestOptions { test_share: 1.0, ..Default::default() }));
        assert!(refused(IngestOptions { test_share: f64::NAN, ..Default::default() }));
        assert!(refused(IngestOptions { test_share: 0.1, split_column: Some("s".into()), ..Default::default() }));
        assert!(refused(IngestOptions { threads: Some(0), ..Default::default() }));
        assert!(refused(IngestOptions { memory: Some(1 << 20), ..Default::default() }));
        assert!(IngestOptions::default().check().is_ok());
        assert_eq!("-1".parse::<Impute>(), Ok(Impute::Constant(-1.0)));
        assert!("nan".parse::<Impute>().is_err());
    }
}
