//! The manifest: what is in a dataset folder.
//!
//! ```text
//! DATASET/manifest.json        this module, as JSON
//!         train-00000.arrow    shards: Arrow IPC files, uncompressed, buffers aligned to 64 bytes
//!         test-00000.arrow     the rows held out
//!         dictionary-3.arrow   the levels of categorical column number 3, with their counts
//!         statistics.arrow     one row a parameter: mean, variance, extremes (stored units, training rows)
//! ```

use gristmill_kernels::dtype::DType;
use serde::{Deserialize, Serialize};

/// The version of the dataset format that this build writes.
pub const FORMAT_VERSION: u32 = 1;

/// Most bits of a hashed column's levels: what is left of 32 without the sign and one, so that codes fit an `i32`.
pub const HASH_BITS_MAX: u8 = 30;

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format version.
    pub format: u32,
    /// Program and version that wrote it.
    pub created_by: String,
    /// Seed of the split and of the shuffle.
    pub seed: u64,
    /// True when the rows lie in random order.
    pub shuffled: bool,
    /// The files it was made from.
    pub sources: Vec<SourceEntry>,
    /// Rows of every grain but the last of a split.
    pub grain_rows: usize,
    /// Stored columns, in the order of the shards' schema.
    pub columns: Vec<Column>,
    /// Columns of the source that were left out.
    pub ignored: Vec<String>,
    /// Texts that stood for a missing value, where other than the usual ones were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_values: Option<Vec<String>>,
    /// The shards; grains are numbered through the shards of a split in this order.
    pub shards: Vec<ShardEntry>,
    /// Per-parameter statistics of the training rows.
    pub statistics: FileEntry,
    /// Changes when any stored value, column or statistic changes (XXH3-128 of the checksums and columns, hexadecimal).
    pub fingerprint: String,
}

/// A file that rows came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceEntry {
    /// As given on the command line, or as found below it.
    pub path: String,
    /// Its size when it was read.
    pub bytes: u64,
}

/// A file of the dataset folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Name inside the folder.
    pub file: String,
    /// Length in bytes.
    pub bytes: u64,
    /// XXH3-64 of the content, hexadecimal.
    pub xxh3: String,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// The file.
    #[serde(flatten)]
    pub file: FileEntry,
    /// Which rows it holds.
    pub split: Split,
    /// Number of rows.
    pub rows: u64,
    /// Number of grains (record batches).
    pub grains: usize,
}

/// What a row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Learnt from.
    Train,
    /// Held out, to evaluate on.
    Test,
}

/// A stored column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// How it is stored.
    pub kind: Kind,
    /// Type in the source, as Arrow names it; behind it [`READ_AS`] and the type that it was read as, where that is another.
    pub source_type: String,
    /// Rows (both splits) in which the source had no value.
    pub missing: u64,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Learnt from.
    Feature,
    /// The target.
    Label,
    /// The sample weight.
    Weight,
    /// What is known of the margin beforehand and added to it, with coefficient 1.
    Offset,
}

/// How a column is stored and what its stored values mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Kind {
    /// A number; value = `offset` + `scale` * stored.
    Numeric {
        /// Storage type.
        #[serde(with = "dtype_name")]
        dtype: DType,
        /// The value that is stored as zero.
        offset: f64,
        /// The step of one stored unit.
        scale: f64,
        /// What stands for a missing value (in the units of the source); none: a missing value is an error.
        impute: Option<f64>,
        /// Largest absolute difference between a source value and what is stored for it; of integers beyond 2^53 a bound of it.
        worst_error: f64,
    },
    /// Several labels, each 0 or 1, as a whole number of which bit k is label k (see [`crate::encode::labels`]).
    Labels {
        /// Their columns in the source.
        names: Vec<String>,
        /// Storage type.
        #[serde(with = "dtype_name")]
        dtype: DType,
    },
    /// 1 where the numeric column `of` had no value, else 0; stored as u8.
    Indicator {
        /// The column that it speaks of.
        of: String,
    },
    /// A level out of a dictionary, one-hot; codes count levels by falling frequency (ties: by bytes).
    /// As a label: the class, codes in the order of the dictionary.
    Categorical {
        /// Bytes of a code: 1, 2 or 4.
        code_bytes: u8,
        /// Number of parameters: dictionary entries and the special levels below.
        levels: usize,
        /// The dictionary: columns `level` (Utf8) and `count` (UInt64).
        dictionary: FileEntry,
        /// Code of missing values; none: a missing value is an error.
        missing_code: Option<u32>,
        /// Code of values that training never saw (or saw too rarely); none: such a value is an error.
        unseen_code: Option<u32>,
    },
    /// A level found by hashing: |MurmurHash3("name=value")| mod 2^bits, of a missing value |MurmurHash3("name")| mod 2^bits.
    /// No dictionary: every value has a level, and several may share one.
    Hashed {
        /// Binary logarithm of the number of levels.
        bits: u8,
    },
    /// The bucket of a number: code i of a value between `edges[i - 1]`, included, and `edges[i]`, excluded; the first and the
    /// last bucket have no end. The code behind them is that of missing values.
    Bucketized {
        /// Rising.
        edges: Vec<f64>,
    },
    /// Categorical columns crossed, one-hot: made of their codes row by row and never stored; in models only. See
    /// [`crate::crossed`].
    Crossed {
        /// The columns, in order.
        of: Vec<String>,
        /// Number of parameters.
        levels: usize,
        /// Its binary logarithm where combinations are hashed; none: each has a level of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash_bits: Option<u32>,
    },
    /// A vector of numbers, `FixedSizeList`.
    Vector {
        /// Storage type.
        #[serde(with = "dtype_name")]
        dtype: DType,
        /// Numbers a row.
        width: usize,
    },
    /// A sparse vector, `List<Struct<index: UInt32, value: Float32>>`.
    Sparse {
        /// Number of elements; indices lie below it.
        width: usize,
        /// True when the source counted from 1 (names of parameters do too).
        one_based: bool,
    },
    /// A text as the hashed counts of its words and runs of words (`encode::words`), stored as a sparse vector.
    Text {
        /// Binary logarithm of the number of elements.
        bits: u8,
        /// Fewest and most words of an n-gram.
        ngrams: (u8, u8),
    },
}

/// Between the type of a column in its source and the one it was read as: `Int64, read as Utf8` are digits that are text, of which a
/// text format keeps leading zeros.
pub const READ_AS: &str = ", read as ";

/// The type of the values, by the name of a type that may be that of a dictionary.
pub fn value_type(name: &str) -> &str {
    let values = name.strip_prefix("Dictionary(").and_then(|inside| inside.strip_suffix(')')?.split_once(", "));
    values.map_or(name, |(_, values)| values)
}

/// Most words of an n-gram.
pub const NGRAM_MAX: u8 = 8;

/// Most buckets of a bucketized column: with the level for missing values, codes fit two bytes.
pub const BUCKETS_MAX: usize = (1 << 16) - 1;

/// Bytes of a code that tells so many levels apart.
pub fn code_bytes(levels: usize) -> u8 {
    match levels {
        0..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 4,
    }
}

mod dtype_name {
    use super::DType;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(dtype: &DType, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(dtype.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DType, D::Error> {
        let name = String::deserialize(from)?;
        DType::from_name(&name).ok_or_else(|| D::Error::custom(format!("unknown storage type '{name}'")))
    }
}

/// Which columns of a dataset a model reads, and where their parameters lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Blocks in the order in which a [`gristmill_kernels::tile::Grain`] holds them.
    pub blocks: Vec<BlockLayout>,
    /// Number of parameters in all.
    pub parameters: usize,
}

/// A block of a [`Layout`].
#[derive(Clone, Debug, PartialEq)]
pub struct BlockLayout {
    /// Columns of the manifest, by number: all of one storage type for scalar numeric columns, else one.
    pub columns: Vec<usize>,
    /// Number of its first parameter.
    pub first_parameter: usize,
    /// Number of its parameters.
    pub parameters: usize,
}

impl Kind {
    /// Number of parameters a feature of this kind has.
    pub fn parameters(&self) -> usize {
        match self {
            Kind::Numeric { .. } | Kind::Labels { .. } | Kind::Indicator { .. } => 1,
            Kind::Categorical { levels, .. } | Kind::Crossed { levels, .. } => *levels,
            Kind::Hashed { bits } | Kind::Text { bits, .. } => 1 << bits,
            Kind::Bucketized { edges } => edges.len() + 2,
            Kind::Vector { width, .. } | Kind::Sparse { width, .. } => *width,
        }
    }

    /// Bytes of a code and number of levels, of a kind that is stored as codes.
    pub fn codes(&self) -> Option<(u8, usize)> {
        match self {
            Kind::Categorical { code_bytes, levels, .. } => Some((*code_bytes, *levels)),
            Kind::Hashed { .. } | Kind::Bucketized { .. } => Some((code_bytes(self.parameters()), self.parameters())),
            _ => None,
        }
    }

    /// True for levels of text: values are read as they stand in the file.
    pub fn is_text(&self) -> bool {
        matches!(self, Kind::Categorical { .. } | Kind::Hashed { .. } | Kind::Text { .. })
    }

    /// The names of several labels.
    pub fn labels(&self) -> Option<&[String]> {
        match self {
            Kind::Labels { names, .. } => Some(names),
            _ => None,
        }
    }

    /// True for what is stored as sparse vectors.
    pub fn is_sparse(&self) -> bool {
        matches!(self, Kind::Sparse { .. } | Kind::Text { .. })
    }

    /// True for a kind that is made of other columns and never stored.
    pub fn is_crossed(&self) -> bool {
        matches!(self, Kind::Crossed { .. })
    }

    /// Storage type of a scalar numeric column (an indicator is u8).
    pub fn scalar_dtype(&self) -> Option<DType> {
        match self {
            Kind::Numeric { dtype, .. } | Kind::Labels { dtype, .. } => Some(*dtype),
            Kind::Indicator { .. } => Some(DType::U8),
            _ => None,
        }
    }
}

impl Layout {
    /// The layout of the features among `columns` that `wanted` accepts: scalar columns grouped by storage type (in
    /// the order of [`DType::ALL`]), then vectors, then categories, then crossed ones, then sparse vectors, each in column order.
    pub fn of(columns: &[Column], wanted: impl Fn(&Column) -> bool) -> Layout {
        let features: Vec<usize> =
            (0..columns.len()).filter(|&i| columns[i].role == Role::Feature && wanted(&columns[i])).collect();
        let mut groups: Vec<Vec<usize>> = DType::ALL
            .iter()
            .map(|&dtype| features.iter().copied().filter(|&i| columns[i].kind.scalar_dtype() == Some(dtype)).collect())
            .filter(|group: &Vec<usize>| !group.is_empty())
            .collect();
        let singles: [fn(&Kind) -> bool; 4] = [
            |kind| matches!(kind, Kind::Vector { .. }),
            |kind| kind.codes().is_some(),
            Kind::is_crossed,
            Kind::is_sparse,
        ];
        for single in singles {
            groups.extend(features.iter().filter(|&&i| single(&columns[i].kind)).map(|&i| vec![i]));
        }
        let mut first_parameter = 0;
        let blocks = groups
            .into_iter()
            .map(|group| {
                let parameters = group.iter().map(|&i| columns[i].kind.parameters()).sum();
                let block = BlockLayout { columns: group, first_parameter, parameters };
                first_parameter += parameters;
                block
            })
            .collect();
        Layout { blocks, parameters: first_parameter }
    }
}
